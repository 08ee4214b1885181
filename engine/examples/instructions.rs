//! The parts of the engine that only the processor works on, each a function that is called [`CALLS`] times, so that their
//! instructions can be counted: `benches/instructions.sh` runs this under callgrind and compares with the counts it knows.
//!
//! A count is the same to the digit on a busy machine, where a time is not. It says nothing about caches and branches;
//! `cargo bench -p corelog-benches` does.

use std::hint::black_box;
use std::path::PathBuf;
use std::rc::Rc;

use corelog_engine::batch::{BatchBuilder, Codec, Limits, Origin, ValidBatch, records, scan, validate, verify_crc};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{SimConfig, Simulation};
use corelog_engine::journal::{Entry, GROUP_BYTES_MAX, GroupEncoder, GroupHeader, PartitionKey};
use corelog_engine::log::{IndexPoint, LeaderEpochs, Log, LogConfig, OffsetIndex, SegmentState};
use corelog_engine::{Epoch, Offset, Position, Timestamp, TopicId};

/// How often each part is called.
const CALLS: usize = 100;
const NOW: Timestamp = Timestamp(1_750_000_000_000);
const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// A batch of `count` records with values of what `size` says for each.
fn batch(codec: Codec, count: usize, size: impl Fn(usize) -> usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for number in 0..count {
        let value: Vec<u8> = (0..size(number)).map(|place| (place * 7 % 64 + number % 8) as u8).collect();
        builder.push(Timestamp(NOW.0 + number as i64 / 10), Some(b"some key"), Some(&value), &[]);
    }
    builder.build(Offset(0))
}

/// A batch of 160 records of 100 bytes of an idempotent producer.
fn sequenced(sequence: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None).producer(7, 0, sequence);
    for number in 0..160 {
        builder.push(Timestamp(NOW.0 + number / 10), Some(b"some key"), Some(&[7; 100]), &[]);
    }
    builder.build(Offset(0))
}

/// 100 to 163, in no order.
fn mixed(number: usize) -> usize {
    100 + number * 2_654_435_761 / 128 % 64
}

#[inline(never)]
fn part_validate_160x100_b(batch: &[u8], limits: &Limits) {
    for _ in 0..CALLS {
        assert!(black_box(validate(black_box(batch), limits)).is_ok());
    }
}

#[inline(never)]
fn part_validate_160_mixed(batch: &[u8], limits: &Limits) {
    for _ in 0..CALLS {
        assert!(black_box(validate(black_box(batch), limits)).is_ok());
    }
}

#[inline(never)]
fn part_validate_160x100_b_lz4(batch: &[u8], limits: &Limits) {
    for _ in 0..CALLS {
        assert!(black_box(validate(black_box(batch), limits)).is_ok());
    }
}

/// What `part_validate_…` has beyond this is the walk over the records.
#[inline(never)]
fn part_verify_crc_160x100_b(batch: &[u8]) {
    for _ in 0..CALLS {
        assert!(verify_crc(black_box(batch)));
    }
}

#[inline(never)]
fn part_write_to_160x100_b(batch: &ValidBatch<'_>, out: &mut [u8]) {
    for _ in 0..CALLS {
        batch.write_to(black_box(out), Offset(77), Epoch(3), None);
    }
}

#[inline(never)]
fn part_records_160x100_b(batch: &[u8]) {
    for _ in 0..CALLS {
        let read = records(black_box(batch), OUTPUT_BYTES_MAX).expect("a good batch");
        assert_eq!(read.iter().count(), 160);
    }
}

#[inline(never)]
fn part_scan_60_batches(batches: &[u8]) {
    for _ in 0..CALLS {
        assert_eq!(scan(black_box(batches)).count(), 60);
    }
}

#[inline(never)]
fn part_offset_index_floor_of_100k(index: &OffsetIndex) {
    let mut wanted = 1u64;
    for _ in 0..CALLS {
        wanted = wanted.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        black_box(index.floor(Offset((wanted >> 33) as i64 % 4_000_000)));
    }
}

#[inline(never)]
fn part_journal_encode_16x1_kib(memory: &mut [u8], bytes: &[u8], header: GroupHeader) {
    for _ in 0..CALLS {
        let mut encoder = GroupEncoder::default();
        for partition in 0..16 {
            let id = PartitionKey { topic_id: TopicId::ZERO, partition };
            let (segment, position, next_offset) = (Offset(0), Position(0), Offset(1));
            let entry = Entry::Data { id, segment, position, next_offset, bytes: &[bytes] };
            assert!(encoder.push(memory, black_box(&entry)));
        }
        black_box(encoder.finish(memory, header));
    }
}

#[inline(never)]
fn part_log_append_160x100_b(log: &mut Log, io: &Io, batch: &ValidBatch<'_>) {
    for _ in 0..CALLS {
        black_box(log.append(io, black_box(batch), Origin::Client, NOW)).expect("no producer");
    }
}

/// What it has beyond `part_log_append_…` is what an idempotent producer costs.
#[inline(never)]
fn part_log_append_sequenced_160x100_b(log: &mut Log, io: &Io, batches: &[ValidBatch<'_>]) {
    for batch in batches {
        let appended = black_box(log.append(io, black_box(batch), Origin::Client, NOW)).expect("it is the next one");
        log.apply_flushed(appended.next_offset, 0);
    }
}

fn batches() {
    let limits = Limits::new(NOW);
    let plain = batch(Codec::None, 160, |_| 100);
    let lz4 = batch(Codec::Lz4, 160, |_| 100);
    let uneven = batch(Codec::None, 160, mixed);
    let valid = validate(&plain, &limits).expect("a good batch");
    // Once before, so that what the thread keeps is there.
    validate(&lz4, &limits).expect("a good batch");
    part_validate_160x100_b(&plain, &limits);
    part_validate_160_mixed(&uneven, &limits);
    part_validate_160x100_b_lz4(&lz4, &limits);
    part_verify_crc_160x100_b(&plain);
    part_write_to_160x100_b(&valid, &mut vec![0; plain.len()]);
    part_records_160x100_b(&plain);
    part_scan_60_batches(&plain.repeat(60));
}

fn index() {
    let mut index = OffsetIndex::new(Offset(0));
    for place in 1..=100_000 {
        index.push(IndexPoint {
            offset: Offset(place * 40),
            position: Position(place as u64 * 4096),
            max_timestamp: Timestamp(place),
            max_timestamp_offset: Offset(place * 40),
        });
    }
    part_offset_index_floor_of_100k(&index);
}

fn journal() {
    let header = GroupHeader {
        shard: 0,
        generation: 1,
        sequence: 1,
        place: Position(4096),
        flushed_before: 1,
        length: 0,
        count: 0,
        entries_crc: 0,
    };
    part_journal_encode_16x1_kib(&mut vec![0; GROUP_BYTES_MAX], &[7; 1024], header);
}

/// An append without its shard: into the tail in memory, index points included.
fn log() {
    let plain = batch(Codec::None, 160, |_| 100);
    let valid = validate(&plain, &Limits::new(NOW)).expect("a good batch");
    Simulation::new(1, SimConfig::default()).run(|io| async move {
        let (config, dir) = (Rc::new(LogConfig::default()), PathBuf::from("/log/topic-0"));
        let state = SegmentState::empty(Offset::ZERO);
        let epochs = LeaderEpochs::new();
        let mut log = Log::open(&io, dir, config, Offset::ZERO, Offset::ZERO, epochs, Vec::new(), Vec::new(), state);
        log.append(&io, &valid, Origin::Client, NOW).expect("no producer");
        part_log_append_160x100_b(&mut log, &io, &valid);

        let sequenced: Vec<Vec<u8>> = (0..CALLS as i32 + 1).map(|number| sequenced(number * 160)).collect();
        let mut sequenced = sequenced.iter().map(|batch| validate(batch, &Limits::new(NOW)).expect("a good batch"));
        let first = sequenced.next().expect("there is one");
        let appended = log.append(&io, &first, Origin::Client, NOW).expect("a new producer");
        log.apply_flushed(appended.next_offset, 0);
        part_log_append_sequenced_160x100_b(&mut log, &io, &sequenced.collect::<Vec<_>>());
    });
}

fn main() {
    batches();
    index();
    journal();
    log();
}
