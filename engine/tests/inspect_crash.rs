//! Power cuts under a working store, seen twice: what the offline tools find in what is left, and what recovery then serves.
//!
//! Both must have every acknowledged record and the same bytes, and the directory must verify, before recovery has touched
//! it and after. A failure names its seed; `CORELOG_SEED=<n> cargo test -p corelog-engine --test inspect_crash` runs that one alone,
//! `CORELOG_SEEDS=<n>` as many as one has time for (500 of 4 cuts where nothing is said).

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use corelog_engine::batch::{BatchBuilder, Codec, records, scan};
use corelog_engine::inspect::{read_partition, verify};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{SimConfig, Simulation, Stop};
use corelog_engine::log::LogConfig;
use corelog_engine::shard::{AppendOptions, ReadRequest, ReadUpTo, Shard, StoreConfig};
use corelog_engine::{Epoch, Offset, Timestamp, TopicId, TopicPartition};

const DIR: &str = "/data";
const PARTITIONS: i32 = 3;
const CRASHES: u64 = 4;

/// What the outside knows of a partition.
#[derive(Default)]
struct Known {
    /// The number in the record at each offset, as it was last appended.
    numbers: BTreeMap<i64, u64>,
    /// Everything before this was acknowledged.
    flushed: i64,
    /// The log may begin here, or before.
    start: i64,
    epoch: i32,
}

#[derive(Default)]
struct Outside {
    partitions: Vec<Known>,
    next_number: u64,
    created: bool,
    records_found: u64,
}

type Shared = Rc<RefCell<Outside>>;

fn name(partition: i32) -> TopicPartition {
    TopicPartition::new("crash", partition)
}

fn config(io: &Io) -> StoreConfig {
    StoreConfig {
        sync_each_max: [0, 16][io.random() as usize % 2],
        shards: 1,
        pin: false,
        journal_bytes: 9 << 20,
        arena_bytes: 4 << 20,
        cache_bytes: 1 << 20,
        checkpoint_interval_ms: 15,
        direct_bytes_min: 48 << 10,
        write_bytes: 64 << 10,
        ..StoreConfig::new(DIR)
    }
}

fn value(number: u64) -> Vec<u8> {
    let len = [30, 1_000, 20, 9_000, 30_000][number as usize % 5];
    (number ^ 0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(len / 8 + 1)
}

async fn open(io: &Io, outside: &Shared) -> Rc<Shard> {
    let shard = Shard::open_alone(io, config(io)).await.expect("opens");
    io.sync_dir(Path::new("/")).await.expect("a durable directory");
    let topic = LogConfig { segment_bytes: 300 << 10, index_interval_bytes: 4096, ..LogConfig::default() };
    for partition in 0..PARTITIONS {
        // The last one is made durable by checkpoints alone.
        let flush_messages = if partition == PARTITIONS - 1 { u64::MAX } else { 1 };
        let topic = LogConfig { flush_messages, ..topic.clone() };
        if shard.contains(&name(partition)) {
            shard.configure(&name(partition), topic.clone()).expect("configured");
        } else {
            assert!(!outside.borrow().created, "{} is gone", name(partition));
            let id = TopicId(uuid::Uuid::from_u128(100 + partition as u128));
            shard.create(&name(partition), id, topic.clone()).await.expect("created");
        }
    }
    outside.borrow_mut().created = true;
    shard
}

/// Appends, waits, cuts and drops, until the power goes.
async fn work(io: Io, outside: Shared) {
    let shard = open(&io, &outside).await;
    check_served(&shard, &outside).await;
    loop {
        let partition = (io.random() % PARTITIONS as u64) as i32;
        match io.random() % 40 {
            0 => {
                let start = shard.offsets(&name(partition)).expect("offsets").flushed;
                outside.borrow_mut().partitions[partition as usize].start = start.0;
                shard.delete_records(&name(partition), start).await.expect("dropped");
            }
            1 => {
                let epoch = {
                    let known = &mut outside.borrow_mut().partitions[partition as usize];
                    known.epoch += 1;
                    known.epoch
                };
                shard.set_epoch(&name(partition), Epoch(epoch)).expect("an epoch");
            }
            2 => truncate(&io, &shard, partition, &outside).await,
            3..10 => {
                let end = shard.offsets(&name(partition)).expect("offsets").end;
                shard.flushed(&name(partition), end).await.expect("flushed");
                outside.borrow_mut().partitions[partition as usize].flushed = end.0;
            }
            10..14 => io.sleep(std::time::Duration::from_millis(io.random() % 20)).await,
            _ => append(&shard, partition, &outside, 1 + io.random() % 6).await,
        }
    }
}

/// Cuts the log; until that returns it may have been cut or not.
async fn truncate(io: &Io, shard: &Rc<Shard>, partition: i32, outside: &Shared) {
    let offsets = shard.offsets(&name(partition)).expect("offsets");
    let to = offsets.end.0 - (io.random() % 30) as i64;
    if to < offsets.start.0 {
        return;
    }
    {
        let known = &mut outside.borrow_mut().partitions[partition as usize];
        // Records that the power kept from being dropped may be cut as well.
        known.start = offsets.start.0;
        // A cut goes to the start of a batch.
        known.flushed = known.flushed.min(to - 6).max(known.start);
    }
    let end = shard.truncate(&name(partition), Offset(to)).await.expect("cut").0;
    let known = &mut outside.borrow_mut().partitions[partition as usize];
    known.numbers.retain(|offset, _| *offset < end);
}

async fn append(shard: &Rc<Shard>, partition: i32, outside: &Shared, count: u64) {
    shard.room().await;
    let mut outside = outside.borrow_mut();
    let mut builder = BatchBuilder::new(Codec::None);
    let now = shard.io().unix_time();
    let first = outside.next_number;
    for number in first..first + count {
        builder.push(Timestamp(now.0), Some(&number.to_le_bytes()), Some(&value(number)), &[]);
    }
    outside.next_number += count;
    let known = &mut outside.partitions[partition as usize];
    let options = AppendOptions { epoch: Epoch(known.epoch), ..AppendOptions::default() };
    let appended = shard.append(&name(partition), &builder.build(Offset::ZERO), options).expect("appended");
    for (place, number) in (first..first + count).enumerate() {
        known.numbers.insert(appended.base_offset.0 + place as i64, number);
    }
}

/// Compares records with what is known; what is not there and was not acknowledged is forgotten.
fn compare(known: &mut Known, found: &[(i64, u64)], by: &str) {
    let end = found.last().map_or(known.flushed.max(known.start), |(offset, _)| offset + 1);
    assert!(end >= known.flushed, "{by}: {} were acknowledged, the end is {end}", known.flushed);
    let first = found.first().map_or(end, |(offset, _)| *offset);
    assert!(first <= known.start.max(known.flushed), "{by}: begins at {first}, the start is {}", known.start);
    for (place, (offset, number)) in found.iter().enumerate() {
        assert_eq!(*offset, first + place as i64, "{by}: offsets are dense");
        assert_eq!(known.numbers.get(offset), Some(number), "{by}: the record at offset {offset}");
    }
    known.numbers.retain(|offset, _| *offset < end);
}

async fn check_served(shard: &Rc<Shard>, outside: &Shared) {
    for partition in 0..PARTITIONS {
        let mut found = Vec::new();
        let mut from = shard.offsets(&name(partition)).expect("offsets").start;
        loop {
            let request = ReadRequest { from, bytes_max: 1 << 20, at_least_one: true, up_to: ReadUpTo::End };
            let read = shard.read(&name(partition), request).await.expect("read");
            if read.bytes == 0 {
                break;
            }
            let bytes = read.to_vec();
            for batch in scan(&bytes) {
                let (position, header) = batch.expect("a batch");
                for record in
                    records(&bytes[position..position + header.size_bytes()], 1 << 20).expect("records").iter()
                {
                    let record = record.expect("a record");
                    if record.offset >= from {
                        found.push(number_of(record.offset, record.key, record.value));
                    }
                }
            }
            from = read.next_offset;
        }
        let mut outside = outside.borrow_mut();
        outside.records_found += found.len() as u64;
        compare(&mut outside.partitions[partition as usize], &found, "recovery");
    }
}

fn number_of(offset: Offset, key: Option<&[u8]>, bytes: Option<&[u8]>) -> (i64, u64) {
    let number = u64::from_le_bytes(key.expect("a key").try_into().expect("8 bytes"));
    assert!(bytes == Some(&value(number)), "the record at offset {offset} has other bytes");
    (offset.0, number)
}

/// Puts the simulated disk into a real directory and looks at it with the offline tools.
fn check_left(simulation: &Simulation, outside: &Shared) {
    let dir = tempfile::tempdir().expect("a directory");
    for path in simulation.files() {
        let target = dir.path().join(path.strip_prefix(DIR).expect("a file of the store"));
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("a directory");
        std::fs::write(target, simulation.contents(&path).expect("its bytes")).expect("a file");
    }
    let report = verify(dir.path()).expect("verified");
    if !report.findings.is_empty() {
        // Left to be looked at with `corelog dump`.
        panic!("{}: {:#?}", dir.keep().display(), report.findings);
    }
    for partition in 0..PARTITIONS {
        if !dir.path().join(name(partition).to_string()).join("partition.metadata").exists() {
            assert!(!outside.borrow().created);
            continue;
        }
        let records = read_partition(dir.path(), &name(partition)).expect("readable");
        let found: Vec<_> = records
            .map(|record| record.expect("a record"))
            .map(|record| number_of(record.offset, record.key.as_deref(), record.value.as_deref()))
            .collect();
        let mut outside = outside.borrow_mut();
        let known = &mut outside.partitions[partition as usize];
        compare(known, &found, "the offline tools");
        // Recovery must serve exactly this, no less: what was found is there to stay.
        known.flushed = found.last().map_or(known.flushed, |(offset, _)| offset + 1);
    }
}

struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("CORELOG_SEED={}", self.0);
        }
    }
}

fn run(seed: u64) -> u64 {
    let _named = SeedOnPanic(seed);
    let outside = Shared::default();
    outside.borrow_mut().partitions.resize_with(PARTITIONS as usize, Known::default);
    let simulation = Simulation::new(seed, SimConfig { arena_bytes: 4 << 20, ..Default::default() });
    for crash in 0..CRASHES {
        let operations = 1 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % [60, 200, 500, 900][crash as usize];
        let (shared, stop) = (outside.clone(), Stop::AfterOperations(operations));
        simulation.run_until(stop, move |io| work(io, shared));
        simulation.crash();
        check_left(&simulation, &outside);
    }
    let shared = outside.clone();
    simulation.run(|io| async move {
        let shard = open(&io, &shared).await;
        check_served(&shard, &shared).await;
        shard.close().await.expect("closed");
    });
    check_left(&simulation, &outside);
    outside.borrow().records_found
}

#[test]
fn the_offline_tools_and_recovery_see_the_same_after_every_power_cut() {
    let seeds = support::seeds(500);
    // Each seed is a machine of its own: on a thread per core, each taking every so-manieth.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<_> = (0..threads)
        .map(|first| {
            let mine = seeds.clone().skip(first).step_by(threads);
            std::thread::spawn(move || mine.map(run).sum::<u64>())
        })
        .collect();
    let found: u64 = parts.into_iter().map(|part| part.join().expect("the failure is printed above")).sum();
    println!("{} seeds: {found} records found again", seeds.end - seeds.start);
}
