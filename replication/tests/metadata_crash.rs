//! The metadata log on a simulated machine that loses power: every acknowledged change is there again, the one that was
//! under way is there whole or not at all, and nothing else is.
//!
//! A failure prints its seed; `CORELOG_SEED=n cargo test -p corelog-replication --test metadata_crash` runs that one, and
//! `CORELOG_SEEDS=n` runs so many.

use std::cell::RefCell;
use std::rc::Rc;

use corelog_engine::TopicId;
use corelog_engine::io::Io;
use corelog_engine::io::sim::{SimConfig, Simulation, Stop};
use corelog_engine::shard::{Shard, StoreConfig};
use corelog_replication::NodeId;
use corelog_replication::metadata::{
    AlterConfig, AlterOperation, ClusterImage, ConfigResource, ConfigRules, MetadataLog, MetadataRecord, NewPartitions,
    NewTopic, Registration, ResourceType, TopicRules, TopicSelector, batch, decide_create_partitions,
    decide_create_topics, decide_delete_topics, decide_incremental_alter_configs, decide_register_broker,
};
use uuid::Uuid;

/// So small that the log is begun anew every few changes.
const LOG_BYTES_MAX: u64 = 3000;
const CRASHES: u64 = 4;

/// What outlives a crash outside of the machine: what was acknowledged, and what may have happened besides.
struct Known {
    acknowledged: ClusterImage,
    under_way: Option<ClusterImage>,
    changes: u64,
}

fn allow(
    _: ResourceType,
    _: &str,
    _: &corelog_replication::metadata::ConfigMap,
) -> Result<(), corelog_replication::metadata::MetadataError> {
    Ok(())
}

async fn open(io: &Io) -> Rc<Shard> {
    let config = StoreConfig {
        journal_bytes: 8 << 20,
        arena_bytes: 4 << 20,
        cache_bytes: 4 << 20,
        checkpoint_interval_ms: 20,
        pin: false,
        ..StoreConfig::new("/data")
    };
    Shard::open_alone(io, config).await.expect("opens")
}

/// A change of some kind, by chance.
fn decide(io: &Io, image: &ClusterImage, number: u64) -> Vec<MetadataRecord> {
    let pick = |count: u64| io.random() % count;
    let topic = format!("topic-{}", pick(5));
    let rules = TopicRules { partitions: 1, replication_factor: 1, check: &allow };
    match pick(8) {
        0..=2 => {
            let new = NewTopic {
                name: topic,
                partitions: 1 + pick(20) as i32,
                replication_factor: 1,
                assignments: vec![],
                configs: vec![("number".into(), Some(number.to_string()))],
            };
            decide_create_topics(image, &[new], &rules, || TopicId(Uuid::from_u128(u128::from(number) + 1000))).records
        }
        3 => decide_delete_topics(image, &[TopicSelector::Name(topic)]).records,
        4 => {
            let count = 1 + pick(30) as i32;
            decide_create_partitions(image, &[NewPartitions { topic, count, assignments: None }]).records
        }
        _ => {
            let (operation, value) = match pick(3) {
                0 => (AlterOperation::Delete, None),
                _ => (AlterOperation::Set, Some(number.to_string())),
            };
            let resource = ConfigResource { kind: ResourceType::Topic, name: topic };
            let change = AlterConfig { key: format!("key-{}", pick(3)), operation, value };
            decide_incremental_alter_configs(
                image,
                &[(resource, vec![change])],
                ConfigRules { check: &allow, list_default: &|_, _| None },
            )
            .records
        }
    }
}

/// Appends, replays and notes what is known; begins the log anew where it is time.
async fn commit(shard: &Rc<Shard>, log: &MetadataLog, known: &RefCell<Known>, records: &[MetadataRecord]) {
    if records.is_empty() {
        return;
    }
    let before = known.borrow().acknowledged.clone();
    let bytes = batch::encode(records, shard.io().unix_time()).expect("small");
    let mut after = before.clone();
    for (offset, record) in (before.next_offset().0..).zip(records) {
        after.replay(corelog_engine::Offset(offset), record).expect("replays");
    }
    known.borrow_mut().under_way = Some(after.clone());
    let base = log.append(shard, &bytes).await.expect("appended");
    assert_eq!(base, before.next_offset(), "nothing else is in the log");
    {
        let mut known = known.borrow_mut();
        known.acknowledged = after;
        known.under_way = None;
        known.changes += 1;
    }
    if log.is_long() {
        let image = known.borrow().acknowledged.clone();
        let next = log.begin_anew(shard, &image).await.expect("begun anew");
        known.borrow_mut().acknowledged.skip_to(next);
    }
}

fn summary(known: &Known, image: &ClusterImage) -> String {
    let of = |image: &ClusterImage| {
        format!(
            "{} records, {} topics, {} partitions",
            image.next_offset(),
            image.topic_count(),
            image.partition_count()
        )
    };
    let under_way = known.under_way.as_ref().map(of);
    format!("{} instead of {} or {under_way:?}", of(image), of(&known.acknowledged))
}

/// One process: opens, compares with what is known, changes things until it is stopped.
async fn live(io: Io, known: Rc<RefCell<Known>>, incarnation: u128, changes: u64) {
    let shard = open(&io).await;
    let log = MetadataLog::new(LOG_BYTES_MAX);
    let mut image = ClusterImage::new("cluster");
    log.open(&shard, &mut image, |_| {}).await.expect("replays");
    {
        let mut known = known.borrow_mut();
        let candidates = [Some(&known.acknowledged), known.under_way.as_ref()];
        // The image written to the log anew moves the offset and changes nothing.
        let same = candidates.into_iter().flatten().any(|candidate| {
            let (mut a, mut b) = (candidate.clone(), image.clone());
            let end = a.next_offset().max(b.next_offset());
            a.skip_to(end);
            b.skip_to(end);
            a == b
        });
        assert!(
            same,
            "after {} changes the log of incarnation {incarnation} is that of another cluster: {}",
            known.changes,
            summary(&known, &image)
        );
        known.acknowledged = image;
        known.under_way = None;
    }
    let registration = Registration {
        node: NodeId(1),
        incarnation: Uuid::from_u128(incarnation),
        endpoints: vec![],
        rack: None,
        directories: vec![Uuid::from_u128(9)],
    };
    let records = decide_register_broker(&known.borrow().acknowledged, &registration).records;
    commit(&shard, &log, &known, &records).await;
    for _ in 0..changes {
        let number = incarnation as u64 * 1000 + known.borrow().changes;
        let records = decide(&io, &known.borrow().acknowledged, number);
        commit(&shard, &log, &known, &records).await;
    }
    shard.close().await.expect("closes");
}

fn run(seed: u64) {
    let simulation = Simulation::new(seed, SimConfig::default());
    let empty = Known { acknowledged: ClusterImage::new("cluster"), under_way: None, changes: 0 };
    let known = Rc::new(RefCell::new(empty));
    for incarnation in 1..=CRASHES {
        let operations = 20 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(incarnation as u32 * 7) % 400;
        let main = |io| live(io, known.clone(), u128::from(incarnation), 200);
        if simulation.run_until(Stop::AfterOperations(operations), main).is_none() {
            simulation.crash();
        }
    }
    simulation.run(|io| live(io, known.clone(), 99, 3));
}

#[test]
fn acknowledged_metadata_survives_power_cuts_and_new_beginnings() {
    if let Ok(seed) = std::env::var("CORELOG_SEED") {
        return run(seed.parse().expect("CORELOG_SEED is a number"));
    }
    let seeds = std::env::var("CORELOG_SEEDS").map_or(60, |seeds| seeds.parse().expect("CORELOG_SEEDS is a number"));
    for seed in 0..seeds {
        run(seed);
    }
}
