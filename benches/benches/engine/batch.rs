//! What accepting, placing, reading and compressing a batch costs the processor.
//!
//! The budget (per batch of 160 x 100 B): 0.3 to 0.55 µs for header and checksum, 3 ns per record for the walk, 0.25 µs for the
//! copy. The walk is `validate` without `verify_crc`.

use std::hint::black_box;

use corelog_engine::batch::{BatchBuilder, Codec, Limits, codec, records, scan, validate, verify_crc};
use corelog_engine::{Epoch, Offset, Timestamp};
use criterion::{Criterion, Throughput, criterion_group};

const NOW: Timestamp = Timestamp(1_750_000_000_000);
const OUTPUT_BYTES_MAX: usize = 8 << 20;
/// Records, and bytes of each value.
const SHAPES: [(usize, usize); 3] = [(160, 100), (1000, 100), (1000, 1024)];

fn name((count, size): (usize, usize)) -> String {
    format!("{count}x{size}B")
}

/// Records as a log of events has them: text that compresses three to five times.
fn batch(codec: Codec, (count, size): (usize, usize)) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    let mut state = 1u64;
    for number in 0..count {
        let mut value = Vec::with_capacity(size + 64);
        while value.len() < size {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (user, page) = (state >> 40, state >> 58);
            value
                .extend_from_slice(format!("{{\"user\":{user},\"page\":\"/article/{page}\",\"ok\":true}} ").as_bytes());
        }
        value.truncate(size);
        builder.push(Timestamp(NOW.0 + number as i64 / 10), None, Some(&value), &[]);
    }
    builder.build(Offset(0))
}

fn accept(criterion: &mut Criterion) {
    for shape in SHAPES {
        let batch = batch(Codec::None, shape);
        let limits = Limits { max_batch_bytes: batch.len(), ..Limits::new(NOW) };
        let mut group = criterion.benchmark_group(format!("batch_{}", name(shape)));
        group.throughput(Throughput::Elements(shape.0 as u64));
        group.bench_function("validate", |bencher| {
            bencher.iter(|| black_box(validate(black_box(&batch), &limits)).is_ok());
        });
        group.bench_function("verify_crc", |bencher| bencher.iter(|| verify_crc(black_box(&batch))));
        let valid = validate(&batch, &limits).expect("the bench's own batch");
        let mut out = vec![0; batch.len()];
        group.bench_function("write_to", |bencher| {
            bencher.iter(|| valid.write_to(black_box(&mut out), Offset(77), Epoch(3), None));
        });
        group.bench_function("write_to_stamped", |bencher| {
            bencher.iter(|| valid.write_to(black_box(&mut out), Offset(77), Epoch(3), Some(NOW)));
        });
        group.bench_function("records", |bencher| {
            bencher.iter(|| records(black_box(&batch), OUTPUT_BYTES_MAX).expect("good").iter().count());
        });
        group.bench_function("build", |bencher| {
            let read = records(&batch, OUTPUT_BYTES_MAX).expect("good");
            bencher.iter(|| {
                let mut builder = BatchBuilder::new(Codec::None);
                for record in &read {
                    let record = record.expect("good");
                    builder.push(record.timestamp, record.key, record.value, &[]);
                }
                builder.build(Offset(0))
            });
        });
        group.finish();
    }
}

fn checksum(criterion: &mut Criterion) {
    let bytes = vec![7u8; 1 << 20];
    let mut group = criterion.benchmark_group("crc32c");
    for size in [61, 512, 16 << 10, 1 << 20] {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size}B"), |bencher| bencher.iter(|| crc32c::crc32c(black_box(&bytes[..size]))));
    }
    group.finish();
}

fn walk_over_batches(criterion: &mut Criterion) {
    let one = batch(Codec::None, SHAPES[0]);
    let many = one.repeat((1 << 20) / one.len());
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(scan(&many).count() as u64));
    group.bench_function("1MiB_of_160x100B", |bencher| bencher.iter(|| scan(black_box(&many)).count()));
    group.finish();
}

fn codecs(criterion: &mut Criterion) {
    let shape = SHAPES[1];
    let plain = batch(Codec::None, shape);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut group = criterion.benchmark_group(format!("codec_{codec}"));
        group.throughput(Throughput::Bytes(plain.len() as u64));
        let mut packed = Vec::new();
        group.bench_function("compress", |bencher| {
            bencher.iter(|| {
                packed.clear();
                codec::compress(codec, black_box(&plain), &mut packed);
            });
        });
        let mut output = Vec::new();
        group.bench_function("decompress", |bencher| {
            bencher.iter(|| codec::decompress(codec, black_box(&packed), &mut output, OUTPUT_BYTES_MAX).is_ok());
        });
        let batch = batch(codec, shape);
        let limits = Limits::new(NOW);
        group.bench_function("validate", |bencher| bencher.iter(|| validate(black_box(&batch), &limits).is_ok()));
        group.finish();
    }
}

criterion_group!(benches, accept, checksum, walk_over_batches, codecs);
