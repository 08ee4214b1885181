//! What a commit group and an index look-up cost the processor.

use std::hint::black_box;
use std::path::Path;

use corelog_engine::journal::{Entry, GROUP_BYTES_MAX, GroupEncoder, GroupHeader, PartitionKey, parse_group};
use corelog_engine::log::{IndexPoint, OffsetIndex};
use corelog_engine::{Offset, Position, Timestamp, TopicId};
use criterion::{BatchSize, Criterion, Throughput, criterion_group};

const ENTRIES: usize = 64;
const POINTS: i64 = 1_000_000;

fn header() -> GroupHeader {
    GroupHeader {
        shard: 0,
        generation: 1,
        sequence: 1,
        place: Position(4096),
        flushed_before: 1,
        length: 0,
        count: 0,
        entries_crc: 0,
    }
}

/// Encodes one entry of `len` bytes for each of 64 partitions, beginning another group where one is full.
fn encode(memory: &mut [u8], sources: &[Vec<u8>]) -> usize {
    let mut encoder = GroupEncoder::default();
    let mut bytes = 0;
    for (partition, source) in sources.iter().enumerate() {
        let entry = Entry::Data {
            id: PartitionKey { topic_id: TopicId::ZERO, partition: partition as i32 },
            segment: Offset(0),
            position: Position(0),
            next_offset: Offset(1),
            bytes: &[source],
        };
        if !encoder.push(memory, &entry) {
            bytes += std::mem::take(&mut encoder).finish(memory, header());
            assert!(encoder.push(memory, &entry), "an entry fits an empty group");
        }
    }
    bytes + encoder.finish(memory, header())
}

fn groups(criterion: &mut Criterion) {
    let mut memory = vec![0; GROUP_BYTES_MAX];
    for len in [200, 16 << 10] {
        let sources = vec![vec![7u8; len]; ENTRIES];
        let mut group = criterion.benchmark_group("journal");
        group.throughput(Throughput::Elements(ENTRIES as u64));
        group.bench_function(format!("encode_64x{len}B"), |bencher| {
            bencher.iter(|| black_box(encode(black_box(&mut memory), black_box(&sources))));
        });
        let bytes = encode(&mut memory, &sources[..32]);
        let encoded = bytes::Bytes::copy_from_slice(&memory[..bytes]);
        group.throughput(Throughput::Elements(32));
        group.bench_function(format!("decode_32x{len}B"), |bencher| {
            bencher.iter(|| {
                let (_, entries) = parse_group(black_box(&encoded)).expect("a group");
                black_box(entries.map(|entry| entry.expect("an entry").id().partition).sum::<i32>())
            });
        });
    }
}

fn index(criterion: &mut Criterion) {
    let mut index = OffsetIndex::new(Offset(0));
    for place in 1..=POINTS {
        index.push(IndexPoint {
            offset: Offset(place * 40),
            position: Position(place as u64 * 2048),
            max_timestamp: Timestamp(place),
            max_timestamp_offset: Offset(place * 40),
        });
    }
    let mut group = criterion.benchmark_group("index");
    let mut wanted = 1u64;
    group.bench_function("look_up_of_1M", |bencher| {
        bencher.iter(|| {
            wanted = wanted.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            black_box(index.floor(Offset(((wanted >> 33) % (POINTS as u64 * 40)) as i64)))
        });
    });
    let bytes = index.encode();
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("decode_1M", |bencher| {
        let end = Position(POINTS as u64 * 2048 + 1);
        bencher.iter_batched(
            || (),
            |()| OffsetIndex::decode(Path::new("index"), Offset(0), black_box(&bytes), end).expect("sound"),
            BatchSize::LargeInput,
        );
    });
}

criterion_group!(benches, groups, index);
