//! The part *crowd*: thousands of connections to one broker, idle and active, and then thousands of partitions
//! ([`many_partitions`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::{many_partitions, payload};
use crate::broker_process::BrokerProcess;
use crate::case::{Case, Durability, MB, Sample};
use crate::client::Topic;
use crate::client::crowd::{Crowd, CrowdLoad, Crowded, Doing, raise_descriptor_limit};
use crate::client::wire::error_name;
use crate::measure::proc;
use crate::report::Part;
use crate::run::Run;

/// How often a producer sends where it is paced.
const PACE: Duration = Duration::from_secs(1);
/// How often memory is looked at under load.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// How long the memory of a process must stay as it is to be called idle, and how long that is waited for.
const SETTLED: Duration = Duration::from_millis(500);
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// The parameters of *crowd*.
#[derive(Clone, Debug, Args)]
pub struct CrowdArguments {
    /// Connections; 0 leaves out what is done with them
    #[arg(long, default_value_t = 10_000)]
    pub connections: usize,
    /// Partitions of a topic that all get records; 0 leaves that out
    #[arg(long, default_value_t = 5_000)]
    pub partitions: i32,
    /// Seconds of each load
    #[arg(long, default_value_t = 10.0)]
    pub load_seconds: f64,
    /// A running broker in place of one of its own; then what needs its process is left out
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// The running broker’s process id on this machine, to report its memory
    #[arg(long, requires = "bootstrap")]
    pub pid: Option<u32>,
    /// The broker’s binary [default: the same broker, built into this program]
    #[arg(long, conflicts_with = "bootstrap")]
    pub broker: Option<PathBuf>,
    /// Settings for the broker, as its -o
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

impl CrowdArguments {
    /// Seconds of each load in this run.
    pub(super) fn load_time(&self, run: &Run) -> Duration {
        Duration::from_secs_f64(run.amount(self.load_seconds, self.load_seconds.min(0.5)))
    }
}

const TEXT: [&str; 2] = [
    "Each connection is a client of its own that has asked for the broker’s versions. Memory is that of the broker’s process; the broker without connections holds its registered buffers \
     (corelog.arena.bytes per core), which do not grow with load. The generator and the broker share the machine.",
    "Every two connections have a partition of their own. Paced: one of them produces 1 KiB once a second, the other follows it by long polling; latency counts from the intended time. Closed loop: every connection \
     produces 1 KiB as soon as its last one is answered, so with ten thousand requests unanswered at any time the latency is what the throughput makes it.",
];

/// Measures both.
pub fn run(run: &mut Run, arguments: &CrowdArguments) -> Result<Vec<Part>> {
    raise_descriptor_limit(arguments.connections)?;
    let mut parts = Vec::new();
    if arguments.connections > 0 {
        parts.push(connections(run, arguments)?);
    }
    if arguments.partitions > 0 {
        parts.push(many_partitions::run(run, arguments)?);
    }
    Ok(parts)
}

fn connections(run: &mut Run, arguments: &CrowdArguments) -> Result<Part> {
    let count = run.amount(arguments.connections, arguments.connections.min(200));
    run.progress.part("crowd", &format!("{count} connections"));
    let mut part = Part::new("connections", &format!("{count} connections"), &TEXT);
    let scratch = run.scratch("crowd")?;
    let own = match &arguments.bootstrap {
        Some(_) => None,
        None => Some(BrokerProcess::start(arguments.broker.as_deref(), scratch.path(), &arguments.settings)?),
    };
    let pid = own.as_ref().map(BrokerProcess::pid).or(arguments.pid);
    let bootstrap = own.as_ref().map(|own| own.address().to_owned()).or_else(|| arguments.bootstrap.clone());
    let bootstrap = bootstrap.context("a broker was started or named")?;
    // A partition for each pair: what one produces, one other gets.
    let pairs = i32::try_from(count.div_ceil(2)).context("too many connections")?;
    let topic = Topic::create(&bootstrap, "corelog-bench-crowd", pairs, 1, &[])?;
    let alone = settled(pid);
    tell(&mut part, "broker without connections", alone);

    run.progress.doing("connecting");
    let began = Instant::now();
    let mut crowd = Crowd::connect(&topic, count)?;
    part.fact(format!("{count} connections made"), began.elapsed().as_secs_f64(), "s");
    let idle = settled(pid);
    tell(&mut part, &format!("{count} idle connections"), idle);
    if let (Some(alone), Some(idle)) = (alone, idle) {
        let each = idle.resident_bytes.saturating_sub(alone.resident_bytes) as f64 / count as f64;
        part.fact("an idle connection", each / 1024.0, "KiB");
    }
    let batch = payload::batch(1024, 1024);
    let length = arguments.load_time(run);
    let paced = CrowdLoad { doing: Doing::ProduceAndFollow, batch, every: Some(PACE), length };
    let closed = CrowdLoad { doing: Doing::Produce, every: None, ..paced.clone() };
    let loads = [("1 KiB a second each, or followed", paced), ("1 KiB, closed loop", closed)];
    for (name, load) in loads {
        run.progress.doing(name);
        let name = format!("{count} connections: {name}");
        let watch = pid.map(Watch::start);
        let tcp_before = proc::tcp_bytes();
        let meter = run.meter(pid.as_slice());
        let seen = crowd.run(&load)?;
        let cost = meter.stop();
        if let Some(watch) = watch {
            part.fact(format!("{name}: most memory"), mib(watch.stop()), "MiB");
        }
        part.fact(format!("{name}: TCP buffers behind it, both ends"), mib(proc::tcp_bytes().max(tcp_before)), "MiB");
        let mut case = Case::new(name.clone(), "corelog", Durability::BeforeAck).sized(1024, count as u64);
        case = case.over(pairs as u64);
        let mut sample = sample_of(&seen, &load);
        sample.cpu_seconds = Some(if pid.is_some() { cost.children_cpu_seconds } else { f64::NAN });
        sample.cost = cost;
        run.progress.took(&case.name, &sample);
        case.samples.push(sample);
        part.rows.push(case.row());
        part.fact(format!("{name}: errors"), seen.errors.values().sum::<u64>() as f64, "requests");
        part.fact(format!("{name}: connections lost"), seen.lost as f64, "");
        if load.doing == Doing::ProduceAndFollow {
            part.fact(format!("{name}: records followed"), seen.followed_records as f64, "records");
        }
        tell_fairness(&mut part, &name, &seen);
    }
    let after = settled(pid);
    tell(&mut part, "idle again", after);
    drop(crowd);
    let gone = settled(pid);
    tell(&mut part, "connections closed", gone);
    topic.delete(&bootstrap)?;
    own.map_or(Ok(()), BrokerProcess::stop)?;
    Ok(part)
}

fn sample_of(seen: &Crowded, load: &CrowdLoad) -> Sample {
    let mut sample = Sample {
        bytes: seen.produced * load.batch.payload_bytes,
        operations: seen.produced,
        records: seen.produced * u64::from(load.batch.records),
        seconds: seen.seconds,
        latency: seen.latency.clone(),
        ..Sample::default()
    };
    if let Some((code, count)) = seen.errors.iter().max_by_key(|error| error.1) {
        sample.notes.push(format!("{count} requests refused with {} ({code})", error_name(*code)));
    }
    if let Some(why) = &seen.lost_why {
        sample.notes.push(format!("{} connections lost: {why}", seen.lost));
    }
    if seen.followed_bytes > 0 {
        sample.notes.push(format!("followers got {:.1} MB/s", seen.followed_bytes as f64 / MB / seen.seconds));
    }
    sample.notes.push(format!("the generator used {:.0} % of a core", seen.generator_share * 100.0));
    sample
}

/// How evenly producers were served.
fn tell_fairness(part: &mut Part, name: &str, seen: &Crowded) {
    let by = &seen.by_producer;
    let at = |share: f64| by.get(((by.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0) as f64;
    for (word, share) in [("fewest", 0.0), ("median", 0.5), ("most", 1.0)] {
        part.fact(format!("{name}: answers of one producer, {word}"), at(share), "answers");
    }
}

/// A memory size in MiB.
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Writes down what a process holds.
pub(super) fn tell(part: &mut Part, when: &str, held: Option<proc::Holding>) {
    let Some(held) = held else { return };
    part.fact(format!("{when}: resident memory"), mib(held.resident_bytes), "MiB");
    part.fact(format!("{when}: proportional memory"), mib(held.proportional_bytes), "MiB");
    part.fact(format!("{when}: descriptors"), held.descriptors as f64, "");
}

/// What a process holds once that does not change any more.
pub(super) fn settled(pid: Option<u32>) -> Option<proc::Holding> {
    let pid = pid?;
    let began = Instant::now();
    let mut before = proc::resident_bytes(pid);
    let mut since = Instant::now();
    while since.elapsed() < SETTLED && began.elapsed() < SETTLED_WITHIN {
        std::thread::sleep(WATCH_EVERY);
        let now = proc::resident_bytes(pid);
        if now.abs_diff(before) > 1 << 20 {
            (before, since) = (now, Instant::now());
        }
    }
    Some(proc::holding(pid))
}

/// Watches the memory of a process.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Begins.
    pub(super) fn start(pid: u32) -> Watch {
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (its_stop, its_most) = (stop.clone(), most.clone());
        let thread = std::thread::spawn(move || {
            while !its_stop.load(Ordering::Relaxed) {
                its_most.fetch_max(proc::resident_bytes(pid), Ordering::Relaxed);
                std::thread::sleep(WATCH_EVERY);
            }
        });
        Watch { stop, most, thread }
    }

    /// Ends; the most bytes that were resident.
    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("reading /proc does not panic");
        self.most.load(Ordering::Relaxed)
    }
}
