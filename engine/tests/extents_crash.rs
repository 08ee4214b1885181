//! Large appends to recycled segments, whose bytes share the group's flush: after a power cut every acknowledged batch is there,
//! as it was sent.
//!
//! A failure prints its seed: `CORELOG_SEED=n` replays it, `CORELOG_SEEDS=n` runs so many.

mod support;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{SimConfig, Simulation, Stop, Survival};
use corelog_engine::shard::{AppendOptions, ReadRequest, ReadUpTo, Shard, StoreConfig};
use corelog_engine::{LogConfig, Offset, Timestamp, TopicId, TopicPartition};

const SEEDS: u64 = 24;
const LIVES: usize = 12;
/// Clients, each with one batch that is not acknowledged.
const CLIENTS: usize = 3;

/// What is known of the log from outside: the batches by base offset, and up to where they were acknowledged.
#[derive(Default)]
struct Known {
    sent: RefCell<Vec<(i64, Vec<u8>)>>,
    acknowledged: Cell<i64>,
    covered_bytes: Cell<u64>,
}

fn store() -> StoreConfig {
    StoreConfig {
        shards: 1,
        pin: false,
        journal_bytes: 8 << 20,
        checkpoint_interval_ms: 2,
        direct_bytes_min: 16 << 10,
        ..StoreConfig::new("/data")
    }
}

fn log() -> LogConfig {
    LogConfig { segment_bytes: 96 << 10, file_delete_delay_ms: 0, ..LogConfig::default() }
}

/// One record of `bytes` that nothing else is like.
fn batch(io: &Io, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    for word in value.chunks_exact_mut(8) {
        word.copy_from_slice(&io.random().to_le_bytes());
    }
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1_750_000_000_000), None, Some(&value), &[]);
    builder.build(Offset::ZERO)
}

/// Checks what was found, and forgets what was lost without having been acknowledged.
async fn check(shard: &Rc<Shard>, name: &TopicPartition, known: &Known) {
    let offsets = shard.offsets(name).expect("it is there");
    assert!(offsets.end.0 >= known.acknowledged.get(), "{} was acknowledged: {offsets:?}", known.acknowledged.get());
    known.sent.borrow_mut().retain(|(base, _)| *base >= offsets.start.0 && *base < offsets.end.0);
    // A copy, since the power may go while it is compared.
    let sent = known.sent.borrow().clone();
    let mut from = offsets.start;
    for (base, bytes) in sent.iter() {
        let request = ReadRequest { from, bytes_max: 1, at_least_one: true, up_to: ReadUpTo::End };
        let read = shard.read(name, request).await.expect("it is sound");
        assert_eq!((from.0, read.to_vec()[61..] == bytes[61..]), (*base, true), "the batch at {from}");
        from = read.next_offset;
    }
    assert_eq!(from, offsets.end);
    known.acknowledged.set(known.acknowledged.get().max(offsets.end.0));
}

async fn client(io: Io, shard: Rc<Shard>, name: TopicPartition, known: Rc<Known>) {
    loop {
        let bytes = batch(&io, 6_000 + (io.random() % 60_000) as usize);
        let Ok(appended) = shard.append(&name, &bytes, AppendOptions::default()) else { return };
        known.sent.borrow_mut().push((appended.base_offset.0, bytes));
        if shard.flushed(&name, appended.next_offset).await.is_err() {
            return;
        }
        known.acknowledged.set(known.acknowledged.get().max(appended.next_offset.0));
        known.covered_bytes.set(known.covered_bytes.get().max(shard.metrics().covered_bytes.get()));
        if io.random().is_multiple_of(4) {
            // What is dead becomes files for new segments.
            let before = Offset(known.acknowledged.get() - 2);
            let _ = shard.delete_records(&name, before).await;
        }
    }
}

#[test]
fn what_shares_a_flush_survives_like_what_has_its_own() {
    let mut covered = [0, 0];
    let seeds = support::seeds(SEEDS);
    for seed in seeds.clone() {
        let fua = seed % 4 == 3;
        let sim = Simulation::new(
            seed,
            SimConfig { fua: Some(fua), arena_bytes: 8 << 20, renames_tear: false, ..SimConfig::default() },
        );
        let known = Rc::new(Known::default());
        let name = TopicPartition::new("large", 0);
        for life in 0..LIVES {
            let (known, name) = (known.clone(), name.clone());
            let stop = Stop::AfterOperations(100 + (seed * 7919 + life as u64 * 104_729) % 700);
            let ended = sim.run_until(stop, async |io| {
                let shard = Shard::open_alone(&io, store()).await.expect("the store opens");
                if !shard.contains(&name) {
                    assert_eq!(known.acknowledged.get(), 0, "the partition is gone");
                    known.sent.borrow_mut().clear();
                    if shard.create(&name, TopicId(uuid::Uuid::from_u128(1)), log()).await.is_err() {
                        return;
                    }
                }
                shard.configure(&name, log()).expect("it is there");
                check(&shard, &name, &known).await;
                for _ in 0..CLIENTS {
                    io.spawn(client(io.clone(), shard.clone(), name.clone(), known.clone()));
                }
                std::future::pending::<()>().await;
            });
            assert!(ended.is_none(), "a life ends with a power cut");
            sim.crash_with(if seed % 3 == 0 { Survival::None } else { Survival::Some });
        }
        covered[usize::from(fua)] += known.covered_bytes.get();
        assert!(sim.files().iter().any(|path| path.starts_with(Path::new("/data"))));
    }
    assert!(seeds.end - seeds.start < SEEDS || covered[0] > 1 << 20, "only {} bytes shared a flush", covered[0]);
    assert_eq!(covered[1], 0, "a durable write past the cache covers nothing");
}
