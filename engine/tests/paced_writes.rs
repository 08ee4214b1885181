//! How large segment writes are: in pieces while groups are committed, which would have to wait behind large ones, and large otherwise.

use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{SimConfig, Simulation};
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
