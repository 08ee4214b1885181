//! A clean shutdown while a rolled segment is completed: it ends well, and leaves the files as Kafka does, whichever of the segment's
//! last steps is slow.
//!
//! A failure prints its seed: `CORELOG_SEED=n` replays it, `CORELOG_SEEDS=n` runs so many.

mod support;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{Faults, SimConfig, Simulation};
use corelog_engine::{AppendOptions, Epoch, LogConfig, Offset, Shard, StoreConfig, Timestamp, TopicId, TopicPartition};

const SEEDS: u64 = 100;
const DIR: &str = "/data/rolled-0";
const EPOCHS: &str = "leader-epoch-checkpoint";

fn name() -> TopicPartition {
    TopicPartition::new("rolled", 0)
}

fn store() -> StoreConfig {
    let small = StoreConfig { journal_bytes: 8 << 20, checkpoint_interval_ms: 600_000, ..StoreConfig::new("/data") };
    StoreConfig { shards: 1, pin: false, ..small }
}

/// Appends a batch of 10 KB in a leader epoch.
fn append(shard: &Rc<Shard>, epoch: i32) -> Offset {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1_750_000_000_000), None, Some(&[7; 10_000]), &[]);
    let options = AppendOptions { epoch: Epoch(epoch), ..AppendOptions::default() };
    shard.append(&name(), &builder.build(Offset::ZERO), options).expect("appended").next_offset
}

fn is_there(sim: &Simulation, file: &str) -> bool {
    sim.contents(&Path::new(DIR).join(file)).is_some()
}

/// Rolls a segment, and shuts down while one of the last steps of its completion takes some milliseconds; whether its leader epochs
/// were just being written then.
async fn close_while_completed(io: Io, sim: &Simulation) -> bool {
    let shard = Shard::open_alone(&io, store()).await.expect("the store opens");
    let log = LogConfig { segment_bytes: 24 << 10, ..LogConfig::default() };
    shard.create(&name(), TopicId(uuid::Uuid::from_u128(1)), log).await.expect("created");
    let ends = [1, 1, 1].map(|epoch| append(&shard, epoch));
    shard.flushed(&name(), ends[2]).await.expect("flushed");
    // The file that is written just before the epochs.
    while !is_there(sim, "00000000000000000002.snapshot") {
        io.sleep(Duration::from_micros(5)).await;
    }
    io.sleep(Duration::from_micros(io.random() % 1_500)).await;
    let slow_time = Duration::from_micros(500 + io.random() % 4_000);
    sim.set_faults(Faults { slow: 1_000_000, slow_time, ..Faults::default() });
    // Until an operation begins, which is at most as long away as one usually takes.
    io.sleep(Duration::from_micros(200)).await;
    sim.set_faults(Faults::default());
    // What the completion of the rolled segment writes does not have this one.
    append(&shard, 2);
    let writes_epochs = is_there(sim, "leader-epoch-checkpoint.tmp");
    shard.close().await.expect("it closes");
    writes_epochs
}

/// Whether the epochs of the rolled segment were being written when the shutdown began.
fn close(seed: u64) -> bool {
    let sim = Simulation::new(seed, SimConfig { arena_bytes: 8 << 20, ..SimConfig::default() });
    let writes_epochs = sim.run(async |io| close_while_completed(io, &sim).await);
    let left: Vec<_> =
        sim.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "tmp")).collect();
    assert!(left.is_empty(), "seed {seed}: {left:?} were left");
    let epochs = sim.contents(&Path::new(DIR).join(EPOCHS)).expect("it is there");
    assert_eq!(String::from_utf8_lossy(&epochs), "0\n2\n1 0\n2 3\n", "seed {seed}");
    // What was shut down is as durable as it can be.
    sim.crash();
    sim.run(async |io| {
        let shard = Shard::open_alone(&io, store()).await.expect("the store opens");
        assert_eq!(shard.offsets(&name()).expect("it is there").end, Offset(4), "seed {seed}");
    });
    writes_epochs
}

#[test]
fn a_shutdown_waits_for_the_epochs_of_a_rolled_segment() {
    let seeds = support::seeds(SEEDS);
    let written = seeds.clone().filter(|seed| close(*seed)).count() as u64;
    assert!(seeds.end - seeds.start < SEEDS || written > SEEDS / 4, "epochs were being written on {written} machines");
}
