//! What an append costs the processor: offsets given out, one copy into the tail, the sparse index.

use std::hint::black_box;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corelog_engine::batch::{BatchBuilder, Codec, Limits, Origin, validate};
use corelog_engine::io::sim::{SimConfig, Simulation};
use corelog_engine::log::{LeaderEpochs, Log, LogConfig, SegmentState};
use corelog_engine::{Offset, Timestamp};
use criterion::{Criterion, Throughput, criterion_group};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Appends into one log before another begins: its tail stays within the cache of a shard.
const APPENDS: u64 = 1000;

/// Appends `count` batches to fresh logs in memory; the time that the appends alone took.
fn append(batch: &[u8], count: u64) -> Duration {
    let batch = batch.to_vec();
    Simulation::new(1, SimConfig::default()).run(|io| async move {
        let valid = validate(&batch, &Limits::new(NOW)).expect("a good batch");
        let mut took = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let (config, dir) = (Rc::new(LogConfig::default()), PathBuf::from("/log/topic-0"));
            let (state, epochs) = (SegmentState::empty(Offset::ZERO), LeaderEpochs::new());
            let (zero, producers) = (Offset::ZERO, Vec::new());
            let mut log = Log::open(&io, dir, config, zero, zero, epochs, producers, Vec::new(), state);
            let some = left.min(APPENDS);
            let began = Instant::now();
            for _ in 0..some {
                let _ = black_box(log.append(&io, black_box(&valid), Origin::Client, NOW));
            }
            took += began.elapsed();
            left -= some;
        }
        took
    })
}

fn tail_append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tail append");
    for (name, records, bytes) in [("160 x 100 B", 160, 100), ("16 x 1 KiB", 16, 1024)] {
        let mut builder = BatchBuilder::new(Codec::None);
        for _ in 0..records {
            builder.push(NOW, None, Some(&vec![7; bytes]), &[]);
        }
        let batch = builder.build(Offset::ZERO);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(name, |bencher| bencher.iter_custom(|count| append(&batch, count)));
    }
    group.finish();
}

criterion_group!(benches, tail_append);
