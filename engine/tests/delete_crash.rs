//! A deletion through power cuts: what was deleted stays so, and nothing of it is in the next partition of its name.
//!
//! A failure prints its seed: `CORELOG_SEED=n` replays it, `CORELOG_SEEDS=n` runs so many.

mod support;

use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{SimConfig, Simulation, Stop};
use corelog_engine::{
    AppendOptions, LogConfig, Offset, ReadRequest, ReadUpTo, Shard, StoreConfig, TopicId, TopicPartition,
};

const SEEDS: u64 = 300;
const BATCHES: i64 = 12;

fn name() -> TopicPartition {
    TopicPartition::new("again", 0)
}

async fn open(io: &Io) -> Rc<Shard> {
    let config =
        StoreConfig { journal_bytes: 8 << 20, arena_bytes: 1 << 20, sync_each_max: 0, ..StoreConfig::new("/data") };
    Shard::open_alone(io, config).await.expect("the store opens")
}

async fn create(shard: &Rc<Shard>) {
    let config = LogConfig { segment_bytes: 4096, ..LogConfig::default() };
    shard.create(&name(), TopicId::random(), config).await.expect("created");
}

/// Appends batches of one record, two to a segment.
async fn fill(shard: &Rc<Shard>, batches: i64, byte: u8) {
    for _ in 0..batches {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(shard.io().unix_time(), None, Some(&[byte; 1900]), &[]);
        shard.append(&name(), &builder.build(Offset::ZERO), AppendOptions::default()).expect("appended");
    }
    shard.flushed(&name(), Offset(batches)).await.expect("flushed");
}

async fn check(shard: &Rc<Shard>, batches: i64, byte: u8) {
    let offsets = shard.offsets(&name()).expect("it is there");
    assert_eq!((offsets.start, offsets.end), (Offset::ZERO, Offset(batches)));
    let mut from = Offset::ZERO;
    while from < offsets.end {
        let request = ReadRequest { from, bytes_max: 1 << 20, at_least_one: true, up_to: ReadUpTo::End };
        let read = shard.read(&name(), request).await.expect("readable");
        let bytes = read.to_vec();
        // The last byte says that there are no headers.
        let value = &bytes[bytes.len() - 1000..bytes.len() - 1];
        assert!(value.iter().all(|found| *found == byte), "records of the deleted partition are back at {from}");
        from = read.next_offset;
    }
}

#[test]
fn nothing_of_a_deleted_partition_is_found_in_the_next_one_of_its_name() {
    for seed in support::seeds(SEEDS) {
        // Renames are atomic on the journaling file systems that the store is for.
        let sim = Simulation::new(seed, SimConfig { renames_tear: false, ..SimConfig::default() });
        sim.run(|io| async move {
            let shard = open(&io).await;
            create(&shard).await;
            fill(&shard, BATCHES, b'a').await;
            shard.close().await.expect("closed");
        });
        // The power goes while it is deleted, and again while the store is opened.
        for operations in [30 + seed % 12, 25 + seed / 12 % 25] {
            sim.run_until(Stop::AfterOperations(operations), |io| async move {
                let shard = open(&io).await;
                if shard.contains(&name()) {
                    check(&shard, BATCHES, b'a').await;
                    shard.delete(&name()).await.expect("deleted");
                }
                io.sleep(Duration::from_millis(100)).await;
            });
            sim.crash();
        }
        sim.run(|io| async move {
            let shard = open(&io).await;
            if shard.contains(&name()) {
                check(&shard, BATCHES, b'a').await;
                shard.delete(&name()).await.expect("deleted");
            }
            create(&shard).await;
            fill(&shard, 3, b'b').await;
        });
        sim.crash();
        sim.run(|io| async move {
            let shard = open(&io).await;
            check(&shard, 3, b'b').await;
            shard.close().await.expect("closed");
        });
    }
}
