//! What the store refuses: topics that are told apart by nothing, bytes that are not those asked for, leaders of the past.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::io::sim::{Injection, Operation, SimConfig, Simulation};
use corelog_engine::{
    AppendOptions, Epoch, Error, LogConfig, Offset, Position, ReadRequest, ReadUpTo, Shard, StoreConfig, Timestamp,
    TopicId, TopicPartition,
};

const DIR: &str = "/data";

fn machine() -> Simulation {
    Simulation::new(1, SimConfig { arena_bytes: 8 << 20, ..SimConfig::default() })
}

/// Whose tails are not kept, so that reads go to the files.
fn config() -> StoreConfig {
    let small = StoreConfig { journal_bytes: 8 << 20, cache_bytes: 64 << 10, ..StoreConfig::new(DIR) };
    StoreConfig { shards: 1, pin: false, ..small }
}

fn batch(value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1_700_000_000_000), Some(b"key"), Some(&vec![b'x'; value_bytes]), &[]);
    builder.build(Offset::ZERO)
}

async fn create(shard: &Rc<Shard>, name: &TopicPartition) {
    shard.create(name, TopicId::random(), LogConfig::default()).await.expect("created");
}

async fn append(shard: &Rc<Shard>, name: &TopicPartition, value_bytes: usize) {
    let appended = shard.append(name, &batch(value_bytes), AppendOptions::default()).expect("appended");
    shard.flushed(name, appended.next_offset).await.expect("flushed");
}

#[test]
fn two_directories_of_one_topic_and_partition_are_refused() {
    let (sim, names) = (machine(), [TopicPartition::new("one", 0), TopicPartition::new("two", 0)]);
    sim.run(|io| async move {
        let shard = Shard::open_alone(&io, config()).await.expect("opens");
        for name in &names {
            create(&shard, name).await;
            append(&shard, name, 100).await;
        }
        shard.close().await.expect("closes");
    });
    // As a copied directory has it.
    let metadata = |topic: &str| Path::new(DIR).join(topic).join("partition.metadata");
    let copied = sim.contents(&metadata("one-0")).expect("it is there");
    sim.damage(&metadata("two-0"), Position::ZERO, &copied);
    let refused = sim.run(|io| async move { Shard::open_alone(&io, config()).await.err() });
    let refused = refused.expect("it is refused").to_string();
    for part in ["/data/two-0/partition.metadata", "has the topic id of one-0", "take one of them away"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn a_batch_that_is_not_the_one_asked_for_is_not_given_out() {
    let (sim, name) = (machine(), TopicPartition::new("moved", 0));
    let written = name.clone();
    sim.run(|io| async move {
        let shard = Shard::open_alone(&io, config()).await.expect("opens");
        create(&shard, &written).await;
        for _ in 0..40 {
            append(&shard, &written, 5000).await;
        }
        shard.close().await.expect("closes");
    });
    // No checksum covers a batch's base offset: the third says that it is the ninth.
    let path = Path::new(DIR).join("moved-0/00000000000000000000.log");
    let size = batch(5000).len() as u64;
    sim.damage(&path, Position(2 * size), &9i64.to_be_bytes());
    sim.run(|io| async move {
        let shard = Shard::open_alone(&io, config()).await.expect("opens");
        shard.set_high_watermark(&name, Offset(40));
        let request =
            |from| ReadRequest { from: Offset(from), bytes_max: 1 << 20, at_least_one: true, up_to: ReadUpTo::End };
        let read = shard.read(&name, request(2)).await;
        let Err(Error::Corrupt { .. }) = read else { panic!("read: {:?}", read.map(|read| read.next_offset)) };
        let told = read.expect_err("just seen").to_string();
        assert!(told.contains("00000000000000000000.log") && told.contains(&(2 * size).to_string()), "{told}");
        // What is before and behind it is still read.
        for from in [0, 20] {
            let read = shard.read(&name, request(from)).await;
            assert!(read.is_ok_and(|read| read.bytes > 0), "nothing was read at {from}");
        }
    });
}

#[test]
fn a_leader_of_the_past_appends_nothing() {
    machine().run(|io| async move {
        let (shard, name) = (Shard::open_alone(&io, config()).await.expect("opens"), TopicPartition::new("led", 0));
        create(&shard, &name).await;
        let options = |epoch| AppendOptions { epoch: Epoch(epoch), ..AppendOptions::default() };
        let first = shard.append(&name, &batch(10), options(3)).expect("a later epoch begins");
        assert_eq!(first.base_offset, Offset(0));
        let refused = shard.append(&name, &batch(10), options(2));
        assert!(
            matches!(refused, Err(Error::FencedEpoch { given: Epoch(2), current: Epoch(3) })),
            "it was not fenced: {refused:?}"
        );
        shard.append(&name, &batch(10), options(3)).expect("the leader goes on");
        shard.append(&name, &batch(10), AppendOptions::default()).expect("whatever the log has");
        shard.append(&name, &batch(10), options(5)).expect("the next one");
        assert_eq!(shard.offsets(&name).expect("there").end, Offset(4), "the refused batch left nothing");
        let epochs: Vec<_> = (0..4).map(|offset| shard.epoch_of(&name, Offset(offset)).expect("there").0).collect();
        assert_eq!(epochs, [3, 3, 3, 5]);
        assert_eq!(shard.end_offset_for_epoch(&name, Epoch(4)).expect("there"), (Epoch(3), Offset(3)));
    });
}

#[test]
fn a_sync_that_failed_is_not_tried_again() {
    let sim = machine();
    // One fails, the next would succeed, though what was to be synced may be lost.
    let (path, code) = ("once-0/00000000000000000000.log".to_owned(), 5);
    sim.inject(Injection { operation: Operation::Sync, path, skip: 0, count: 1, code });
    sim.run(|io| async move {
        let config = StoreConfig { checkpoint_interval_ms: 10, ..config() };
        let (shard, name) = (Shard::open_alone(&io, config).await.expect("opens"), TopicPartition::new("once", 0));
        let relaxed = LogConfig { flush_messages: u64::MAX, ..LogConfig::default() };
        shard.create(&name, TopicId::random(), relaxed).await.expect("created");
        let appended = shard.append(&name, &batch(9000), AppendOptions::default()).expect("appended");
        io.sleep(Duration::from_millis(500)).await;
        assert!(matches!(shard.check(), Err(Error::Offline { .. })), "it goes on: {:?}", shard.check());
        assert!(shard.flushed(&name, appended.next_offset).await.is_err(), "it believes a second sync");
    });
}
