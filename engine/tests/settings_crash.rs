//! Settings that change while appends and flushes are under way: whatever a topic's durability was when, after a power cut all
//! that was flushed is there, as it was sent.
//!
//! A failure prints its seed: `CORELOG_SEED=n` replays it, `CORELOG_SEEDS=n` runs so many.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec, Compression, records};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{SimConfig, Simulation, Stop, Survival};
use corelog_engine::shard::{AppendOptions, ReadRequest, ReadUpTo, Shard, StoreConfig};
use corelog_engine::{LogConfig, Offset, Timestamp, TopicId, TopicPartition};

const SEEDS: u64 = 12;

/// A machine whose topic became durable, and committed an extent, while a checkpoint told of what was appended before.
const COMMITTED_DURING_A_CHECKPOINT: u64 = 27;

const LIVES: usize = 6;
const CLIENTS: usize = 4;

/// What is known of the log from outside: the values by offset, and up to where they were flushed.
#[derive(Default)]
struct Known {
    sent: RefCell<Vec<(i64, Vec<u8>)>>,
    flushed: Cell<i64>,
    changes: Cell<u64>,
}

fn store() -> StoreConfig {
    StoreConfig {
        shards: 1,
        pin: false,
        journal_bytes: 8 << 20,
        checkpoint_interval_ms: 3,
        direct_bytes_min: 4 << 10,
        write_bytes: 8 << 10,
        sync_each_max: 0,
        ..StoreConfig::new("/data")
    }
}

/// Any settings that a topic may get while it is written to.
fn any(io: &Io) -> LogConfig {
    let pick = |count: u64| io.random() % count;
    LogConfig {
        flush_messages: [1, 1, 3, 1000][pick(4) as usize],
        flush_ms: (pick(3) == 0).then_some(1),
        segment_bytes: [32 << 10, 96 << 10, 1 << 20][pick(3) as usize],
        index_interval_bytes: [0, 512, 4096][pick(3) as usize],
        compression: (pick(3) == 0).then_some(Compression { codec: Codec::ALL[pick(5) as usize], level: None }),
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

async fn check(shard: &Rc<Shard>, name: &TopicPartition, known: &Known) {
    let offsets = shard.offsets(name).expect("it is there");
    assert!(offsets.end.0 >= known.flushed.get(), "{} was flushed: {offsets:?}", known.flushed.get());
    // Taken only at the end: the power may go while this reads.
    let mut sent = known.sent.borrow().clone();
    sent.retain(|(offset, _)| *offset < offsets.end.0);
    let mut from = offsets.start;
    for (offset, value) in &sent {
        let request = ReadRequest { from, bytes_max: 1, at_least_one: true, up_to: ReadUpTo::End };
        let read = shard.read(name, request).await.expect("it is sound");
        let batch = read.to_vec();
        let records = records(&batch, 1 << 20).expect("a batch");
        let found = records.iter().next().expect("a record").expect("a good one");
        assert_eq!((found.offset.0, found.value), (*offset, Some(&value[..])));
        from = read.next_offset;
    }
    assert_eq!(from, offsets.end);
    known.flushed.set(known.flushed.get().max(offsets.end.0));
    known.sent.replace(sent);
}

async fn client(io: Io, shard: Rc<Shard>, name: TopicPartition, known: Rc<Known>) {
    loop {
        let mut value = vec![0; 50 + (io.random() % 30_000) as usize];
        value[..8].copy_from_slice(&io.random().to_le_bytes());
        let mut builder = BatchBuilder::new(Codec::ALL[(io.random() % 5) as usize]);
        builder.push(Timestamp(1_750_000_000_000), None, Some(&value), &[]);
        let Ok(appended) = shard.append(&name, &builder.build(Offset::ZERO), AppendOptions::default()) else { return };
        known.sent.borrow_mut().push((appended.base_offset.0, value));
        // Some do not wait, as with acks=0.
        if io.random().is_multiple_of(3) {
            io.sleep(Duration::from_micros(200)).await;
            continue;
        }
        if shard.flushed(&name, appended.next_offset).await.is_err() {
            return;
        }
        known.flushed.set(known.flushed.get().max(appended.next_offset.0));
    }
}

async fn operator(io: Io, shard: Rc<Shard>, name: TopicPartition, known: Rc<Known>) {
    loop {
        io.sleep(Duration::from_micros(100 + io.random() % 4000)).await;
        shard.configure(&name, any(&io)).expect("it is there");
        known.changes.set(known.changes.get() + 1);
    }
}

#[test]
fn what_was_flushed_survives_whatever_the_settings_were() {
    let (mut flushed, mut changes) = (0, 0);
    let seeds = support::seeds(SEEDS);
    let also = (seeds == (0..SEEDS)).then_some(COMMITTED_DURING_A_CHECKPOINT);
    for seed in seeds.clone().chain(also) {
        let sim = Simulation::new(
            seed,
            SimConfig { fua: Some(seed % 2 == 0), arena_bytes: 8 << 20, renames_tear: false, ..SimConfig::default() },
        );
        let known = Rc::new(Known::default());
        let name = TopicPartition::new("tuned", 0);
        for life in 0..LIVES {
            let (known, name) = (known.clone(), name.clone());
            let stop = Stop::AfterOperations(100 + (seed * 7919 + life as u64 * 104_729) % 400);
            let ended = sim.run_until(stop, async |io| {
                let shard = Shard::open_alone(&io, store()).await.expect("the store opens");
                if !shard.contains(&name) {
                    assert_eq!(known.flushed.get(), 0, "the partition is gone");
                    known.sent.borrow_mut().clear();
                    if shard.create(&name, TopicId(uuid::Uuid::from_u128(1)), any(&io)).await.is_err() {
                        return;
                    }
                }
                check(&shard, &name, &known).await;
                for _ in 0..CLIENTS {
                    io.spawn(client(io.clone(), shard.clone(), name.clone(), known.clone()));
                }
                io.spawn(operator(io.clone(), shard.clone(), name.clone(), known.clone()));
                std::future::pending::<()>().await;
            });
            assert!(ended.is_none(), "a life ends with a power cut");
            sim.crash_with(if seed % 3 == 0 { Survival::None } else { Survival::Some });
        }
        flushed += known.flushed.get();
        changes += known.changes.get();
    }
    assert!(
        seeds.end - seeds.start < SEEDS || flushed > 200 && changes > 100,
        "{flushed} records were flushed under {changes} changes"
    );
}
