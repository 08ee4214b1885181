//! How large segment writes are: in pieces while groups are committed, which would have to wait behind large ones, and large otherwise;
//! that all partitions that wait for a turn to write get one; and that a full journal is freed at once.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{Faults, SimConfig, Simulation};
use corelog_engine::shard::{AppendOptions, Shard, StoreConfig};
use corelog_engine::{LogConfig, Offset, Timestamp, TopicId, TopicPartition};

const PARTITIONS: i32 = 4;
/// Of each partition.
const ROUNDS: usize = 256;

fn name(partition: i32) -> TopicPartition {
    TopicPartition::new("even", partition)
}

/// A batch of about 16 KiB.
fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..16 {
        builder.push(Timestamp(1_750_000_000_000), None, Some(&[7; 1_000]), &[]);
    }
    builder.build(Offset::ZERO)
}

/// Appends to all partitions alike, with time for what is written behind.
async fn fill(io: &Io, shard: &Rc<Shard>, is_durable: bool) {
    let batch = batch();
    for _ in 0..ROUNDS {
        for partition in 0..PARTITIONS {
            let appended = shard.append(&name(partition), &batch, AppendOptions::default()).expect("appended");
            if is_durable {
                shard.flushed(&name(partition), appended.next_offset).await.expect("flushed");
            }
        }
        io.sleep(Duration::from_micros(500)).await;
    }
}

/// Bytes of a segment write in the mean, where all partitions are loaded alike.
async fn segment_write_bytes(io: Io, config: LogConfig) -> u64 {
    let store = StoreConfig { shards: 1, pin: false, checkpoint_interval_ms: 600_000, ..StoreConfig::new("/data") };
    let shard = Shard::open_alone(&io, store).await.expect("the store opens");
    for partition in 0..PARTITIONS {
        let id = TopicId(uuid::Uuid::from_u128(1));
        shard.create(&name(partition), id, config.clone()).await.expect("created");
    }
    // The journal grows behind the first groups.
    fill(&io, &shard, config.is_durable()).await;
    io.sleep(Duration::from_secs(10)).await;
    let count = || {
        let metrics = shard.metrics();
        (metrics.segment_bytes.get(), io.counters().writes - metrics.groups.get())
    };
    let (bytes_before, writes_before) = count();
    fill(&io, &shard, config.is_durable()).await;
    let (bytes, writes) = count();
    assert!(bytes - bytes_before > (8 << 20), "{} bytes were written", bytes - bytes_before);
    (bytes - bytes_before) / (writes - writes_before)
}

fn machine(seed: u64) -> Simulation {
    Simulation::new(seed, SimConfig { arena_bytes: 64 << 20, ..SimConfig::default() })
}

#[test]
fn segments_are_written_in_pieces_while_groups_are_committed() {
    for seed in 0..4 {
        let bytes = machine(seed).run(async |io| segment_write_bytes(io, LogConfig::default()).await);
        assert!((64 << 10..=128 << 10).contains(&bytes), "seed {seed}: {bytes} bytes at once");
    }
}

#[test]
fn segments_are_written_at_large_where_nothing_is_committed() {
    for seed in 0..4 {
        let config = LogConfig { flush_messages: u64::MAX, ..LogConfig::default() };
        let bytes = machine(seed).run(async |io| segment_write_bytes(io, config).await);
        assert!(bytes >= 512 << 10, "seed {seed}: {bytes} bytes at once");
    }
}

/// Whether the file of a partition's first segment has its first batch.
fn is_written(sim: &Simulation, partition: i32) -> bool {
    let file = format!("/data/{}/00000000000000000000.log", name(partition));
    // The batch's magic.
    sim.contents(Path::new(&file)).is_some_and(|bytes| bytes.get(16) == Some(&2))
}

/// Sleeps until something is so.
async fn until(io: &Io, what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        io.sleep(Duration::from_millis(20)).await;
    }
    panic!("a minute has passed, and not {what}");
}

/// Appends to partitions while the write of the first of them takes five seconds, and a checkpoint writes some of those that wait behind
/// it; those that come after that wait too. Whether they are written is asked soon after the first write ended.
async fn wait_for_turns(io: Io, sim: &Simulation) {
    const EARLY: std::ops::Range<i32> = 1..8;
    const LATE: std::ops::Range<i32> = 8..16;
    let store = StoreConfig {
        shards: 1,
        pin: false,
        checkpoint_interval_ms: 1_000,
        write_bytes: 8 << 10,
        writes_in_flight_max: 1,
        ..StoreConfig::new("/data")
    };
    let shard = Shard::open_alone(&io, store).await.expect("the store opens");
    // Nothing is committed.
    let config = LogConfig { flush_messages: u64::MAX, ..LogConfig::default() };
    for partition in 0..LATE.end {
        let id = TopicId(uuid::Uuid::from_u128(1));
        shard.create(&name(partition), id, config.clone()).await.expect("created");
    }
    let batch = batch();
    let append = |partition| {
        shard.append(&name(partition), &batch, AppendOptions::default()).expect("appended");
    };
    // Whatever their creation left to be done is done.
    io.sleep(Duration::from_millis(100)).await;
    sim.set_faults(Faults { slow: 1_000_000, slow_time: Duration::from_secs(5), ..Faults::default() });
    append(0);
    io.sleep(Duration::from_nanos(1)).await;
    sim.set_faults(Faults::default());
    EARLY.for_each(append);
    io.sleep(Duration::from_millis(1)).await;
    assert!((0..EARLY.end).all(|partition| !is_written(sim, partition)), "one write at once");
    until(&io, "a checkpoint wrote those that wait", || EARLY.clone().all(|partition| is_written(sim, partition)))
        .await;
    LATE.for_each(append);
    io.sleep(Duration::from_millis(100)).await;
    assert!((0..1).chain(LATE).all(|partition| !is_written(sim, partition)), "the first write is still under way");
    until(&io, "the first write ended", || is_written(sim, 0)).await;
    io.sleep(Duration::from_millis(100)).await;
    let forgotten: Vec<i32> = LATE.filter(|partition| !is_written(sim, *partition)).collect();
    assert!(forgotten.is_empty(), "partitions {forgotten:?} wait, and no write is under way");
}

#[test]
fn partitions_whose_turn_comes_behind_ones_that_a_checkpoint_wrote_are_written() {
    for seed in 0..8 {
        let sim = machine(seed);
        sim.run(async |io| wait_for_turns(io, &sim).await);
    }
}

/// How long commits waited for room in a small journal while 64 partitions are appended to as fast as they become durable.
async fn waited_for_journal(io: Io) -> (u64, Duration) {
    const MANY: i32 = 64;
    let store = StoreConfig {
        shards: 1,
        pin: false,
        checkpoint_interval_ms: 600_000,
        journal_bytes: 32 << 20,
        ..StoreConfig::new("/data")
    };
    let shard = Shard::open_alone(&io, store).await.expect("the store opens");
    for partition in 0..MANY {
        let id = TopicId(uuid::Uuid::from_u128(1));
        shard.create(&name(partition), id, LogConfig::default()).await.expect("created");
    }
    let batch = batch();
    for _ in 0..96 {
        let ends: Vec<_> = (0..MANY)
            .map(|partition| shard.append(&name(partition), &batch, AppendOptions::default()).expect("appended"))
            .collect();
        for (partition, end) in ends.iter().enumerate() {
            shard.flushed(&name(partition as i32), end.next_offset).await.expect("flushed");
        }
    }
    let (counts, waited) = shard.metrics().journal_full_seconds.get();
    (counts.iter().sum(), waited)
}

#[test]
fn commits_do_not_wait_for_the_interval_where_the_journal_is_full() {
    // It grows meanwhile, and is full then where less than half of it is used: seeds 9, 11, 14 and 20 are of that kind.
    for seed in 0..24 {
        let (times, waited) = machine(seed).run(async |io| waited_for_journal(io).await);
        assert!(times > 0, "seed {seed}: the journal was never full");
        assert!(waited < Duration::from_millis(500), "seed {seed}: {times} times full, {waited:?} in all");
    }
}
