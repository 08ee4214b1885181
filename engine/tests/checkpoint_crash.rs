//! Checkpoints between an append and its group: after a power cut every acknowledged batch of partitions that are appended to seldom
//! is there, although the checkpoints freed the journal that held it.
//!
//! A failure prints its seed: `CORELOG_SEED=n` replays it, `CORELOG_SEEDS=n` runs so many.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{SimConfig, Simulation, Stop, Survival};
use corelog_engine::shard::{AppendOptions, Shard, StoreConfig};
use corelog_engine::{LogConfig, Offset, Timestamp, TopicId, TopicPartition};

const SEEDS: u64 = 24;
/// So many that several checkpoints are made between two appends of one.
const PARTITIONS: usize = 48;

fn store() -> StoreConfig {
    StoreConfig { shards: 1, pin: false, checkpoint_interval_ms: 1, ..StoreConfig::new("/data") }
}

fn name(partition: usize) -> TopicPartition {
    TopicPartition::new("seldom", partition as i32)
}

/// A batch of more than a block, so that a checkpoint has something to write.
fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1_750_000_000_000), None, Some(&[7; 6_000]), &[]);
    builder.build(Offset::ZERO)
}

/// Appends to one partition after the other; `acknowledged` has each one's end.
async fn append_in_turn(io: Io, shard: Rc<Shard>, acknowledged: Rc<RefCell<Vec<i64>>>) {
    for turn in 0.. {
        let partition = turn % PARTITIONS;
        let Ok(appended) = shard.append(&name(partition), &batch(), AppendOptions::default()) else { return };
        let (shard, acknowledged) = (shard.clone(), acknowledged.clone());
        io.spawn(async move {
            if shard.flushed(&name(partition), appended.next_offset).await.is_ok() {
                let end = &mut acknowledged.borrow_mut()[partition];
                *end = appended.next_offset.0.max(*end);
            }
        });
        io.sleep(Duration::from_micros(20 + io.random() % 400)).await;
    }
}

#[test]
fn a_checkpoint_between_an_append_and_its_group_loses_nothing() {
    for seed in support::seeds(SEEDS) {
        let sim = Simulation::new(seed, SimConfig { arena_bytes: 8 << 20, ..SimConfig::default() });
        let acknowledged = Rc::new(RefCell::new(vec![0; PARTITIONS]));
        let known = acknowledged.clone();
        sim.run_until(Stop::AfterOperations(1_500 + seed % SEEDS * 97), async |io| {
            let shard = Shard::open_alone(&io, store()).await.expect("the store opens");
            for partition in 0..PARTITIONS {
                let id = TopicId(uuid::Uuid::from_u128(1));
                if shard.create(&name(partition), id, LogConfig::default()).await.is_err() {
                    return;
                }
            }
            append_in_turn(io, shard, known).await;
        });
        sim.crash_with(Survival::None);
        sim.run(async |io| {
            let shard = Shard::open_alone(&io, store()).await.expect("the store opens");
            let acknowledged = acknowledged.borrow();
            assert!(
                acknowledged.iter().any(|end| *end > 1),
                "seed {seed}: the power went before anything was acknowledged"
            );
            for (partition, wanted) in acknowledged.iter().enumerate().filter(|(_, end)| **end > 0) {
                let end = shard.offsets(&name(partition)).expect("it is there").end;
                assert!(
                    end.0 >= *wanted,
                    "seed {seed}: partition {partition} ends at {end}, {wanted} was acknowledged"
                );
            }
        });
    }
}
