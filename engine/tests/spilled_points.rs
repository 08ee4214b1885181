//! Index points that checkpoints write to a file of their own, while segments roll, are completed and are cut: nothing of that takes the
//! store offline or fails its shutdown, and after a power cut every flushed record is found by its offset.
//!
//! A failure prints its seed: `CORELOG_SEED=n` replays it, `CORELOG_SEEDS=n` runs so many.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec, records};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{Faults, SimConfig, Simulation, Stop};
use corelog_engine::{
    AppendOptions, LogConfig, Offset, ReadRequest, ReadUpTo, Shard, StoreConfig, Timestamp, TopicId, TopicPartition,
};

const SEEDS: u64 = 40;
const LIVES: u64 = 3;

/// What is known of the log from outside: the values by offset, up to where they were flushed, and how often points were written.
#[derive(Default)]
struct Known {
    sent: RefCell<Vec<u64>>,
    flushed: Cell<usize>,
    spilled: Cell<bool>,
}

fn name() -> TopicPartition {
    TopicPartition::new("dense", 0)
}

fn log() -> LogConfig {
    LogConfig { segment_bytes: 24 << 10, index_interval_bytes: 100, file_delete_delay_ms: 0, ..LogConfig::default() }
}

async fn open(io: &Io) -> Rc<Shard> {
    let store = StoreConfig {
        shards: 1,
        pin: false,
        journal_bytes: 8 << 20,
        checkpoint_interval_ms: 1,
        ..StoreConfig::new("/data")
    };
    let shard = Shard::open_alone(io, store).await.expect("the store opens");
    if !shard.contains(&name()) {
        shard.create(&name(), TopicId(uuid::Uuid::from_u128(1)), log()).await.expect("created");
    }
    shard.configure(&name(), log()).expect("it is there");
    shard
}

/// Appends up to 30 batches of a record each.
fn append_some(io: &Io, shard: &Rc<Shard>, known: &Known) {
    for _ in 0..1 + io.random() % 30 {
        let value = io.random();
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(Timestamp(1), None, Some(&value.to_le_bytes().repeat(8)), &[]);
        shard.append(&name(), &builder.build(Offset::ZERO), AppendOptions::default()).expect("room");
        known.sent.borrow_mut().push(value);
    }
}

async fn work(io: Io, known: Rc<Known>, cuts: bool) {
    let shard = open(&io).await;
    let end = shard.offsets(&name()).expect("it is there").end.0 as usize;
    assert!(end >= known.flushed.get(), "{} was flushed, {end} was found", known.flushed.get());
    known.sent.borrow_mut().truncate(end);
    known.flushed.set(end);
    check(&shard, &known).await;
    loop {
        append_some(&io, &shard, &known);
        let end = known.sent.borrow().len();
        if io.random().is_multiple_of(2) {
            shard.flushed(&name(), Offset(end as i64)).await.expect("the store is online");
            known.flushed.set(end);
        }
        if cuts && io.random().is_multiple_of(40) {
            let to = end - (io.random() % 20).min(end as u64) as usize;
            known.flushed.set(known.flushed.get().min(to));
            shard.truncate(&name(), Offset(to as i64)).await.expect("the store is online");
            known.sent.borrow_mut().truncate(to);
        }
        shard.check().expect("the store is online");
        io.sleep(Duration::from_micros(io.random() % 900)).await;
    }
}

/// Each of some offsets leads to its record.
async fn check(shard: &Rc<Shard>, known: &Known) {
    let sent = known.sent.borrow().clone();
    for offset in (0..sent.len()).step_by(13) {
        let from = Offset(offset as i64);
        let request = ReadRequest { from, bytes_max: 1, at_least_one: true, up_to: ReadUpTo::End };
        let bytes = shard.read(&name(), request).await.expect("readable").to_vec();
        let batch = records(&bytes, 1 << 20).expect("records");
        let record = batch.iter().next().expect("one").expect("a record");
        let value = record.value.expect("a value");
        assert_eq!((record.offset, &value[..8]), (from, &sent[offset].to_le_bytes()[..]));
    }
}

/// Some lives on one machine; whether points were written.
fn live(seed: u64) -> bool {
    // Some operations are slow, so that a whole segment is completed while points are written.
    let faults = Faults { slow: 20_000, slow_time: Duration::from_millis(15), ..Faults::default() };
    let config = SimConfig { faults, renames_tear: false, arena_bytes: 8 << 20, ..SimConfig::default() };
    let sim = Simulation::new(seed, config);
    let known = Rc::new(Known::default());
    for life in 0..LIVES {
        let stop = Stop::AfterOperations(200 + (seed * 7919 + life * 104_729) % 4000);
        let (known, cuts) = (known.clone(), seed % 3 == 2);
        let ended = sim.run_until(stop, async |io| work(io, known.clone(), cuts).await);
        assert!(ended.is_none(), "a life ends with a power cut");
        let is_points = |path: &std::path::PathBuf| path.extension().is_some_and(|suffix| suffix == "points");
        known.spilled.set(known.spilled.get() || sim.files().iter().any(is_points));
        sim.crash();
    }
    known.spilled.get()
}

#[test]
fn points_are_written_while_segments_roll_and_are_cut() {
    let seeds = support::seeds(SEEDS);
    let spilled = seeds.clone().filter(|seed| live(*seed)).count() as u64;
    assert!(seeds.end - seeds.start < SEEDS || spilled > SEEDS / 4, "points were written on {spilled} machines");
}

/// They were counted by the checkpoint, and others came at their places.
#[test]
fn points_of_batches_that_a_power_cut_took_are_forgotten() {
    live(2439);
}

/// Appends a while and closes the store, while a checkpoint may be writing points; then all is there.
async fn close_amid(io: Io) {
    let shard = open(&io).await;
    let known = Known::default();
    for _ in 0..10 + io.random() % 30 {
        append_some(&io, &shard, &known);
        io.sleep(Duration::from_micros(io.random() % 900)).await;
    }
    shard.close().await.expect("the store closes");
    let shard = open(&io).await;
    assert_eq!(shard.offsets(&name()).expect("it is there").end.0 as usize, known.sent.borrow().len());
    check(&shard, &known).await;
    shard.close().await.expect("the store closes again");
}

#[test]
fn a_store_is_closed_while_a_checkpoint_writes_points() {
    for seed in support::seeds(8 * SEEDS) {
        println!("CORELOG_SEED={seed}");
        let faults = Faults { slow: 20_000, slow_time: Duration::from_millis(15), ..Faults::default() };
        let config = SimConfig { faults, renames_tear: false, arena_bytes: 8 << 20, ..SimConfig::default() };
        Simulation::new(seed, config).run(async |io| close_amid(io).await);
    }
}
