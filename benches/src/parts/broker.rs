//! The part *broker*: produce and fetch over the Kafka protocol, against a corelog that the harness starts itself or
//! against any broker (*peer*).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::payload;
use crate::broker_process::BrokerProcess;
use crate::case::{Case, Durability, Sample, interleave};
use crate::client::produce::{Pace, ProduceLoad, Produced};
use crate::client::{FetchLoad, Topic};
use crate::measure::Spread;
use crate::report::row::size;
use crate::report::{Axis, Figure, Kind, Part, Scale, Series, Unit};
use crate::run::Run;

/// The share of a core above which the generator's thread is called the bottleneck.
const GENERATOR_SHARE_MAX: f64 = 0.9;

/// The share of an open loop's rate below which the system is said not to have sustained it.
const SUSTAINED_SHARE_MIN: f64 = 0.97;

/// What is sent and how, for a broker of ours and for others.
#[derive(Clone, Debug, Args)]
pub struct LoadArguments {
    /// Partitions of the topics
    #[arg(long, default_value_t = 6)]
    pub partitions: i32,
    /// Connections of the generator
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Unanswered requests per connection
    #[arg(long, default_value_t = 5)]
    pub in_flight: usize,
    /// 1 or -1
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub acks: i16,
    /// Bytes of a record's value [default: 100 and 1024]
    #[arg(long)]
    pub record_bytes: Option<usize>,
    /// Bytes of a batch [default: 16 KiB]
    #[arg(long)]
    pub batch_bytes: Option<usize>,
    /// Fractions of the maximum for the open loop, in percent
    #[arg(long, value_delimiter = ',', default_values_t = [10, 30, 50, 70, 85])]
    pub load_percent: Vec<u32>,
    /// Most MiB sent in one sample
    #[arg(long, default_value_t = 384)]
    pub sample_mib: u64,
    /// Replicas of the topics
    #[arg(long, default_value_t = 1)]
    pub replication: i16,
}

impl Default for LoadArguments {
    fn default() -> LoadArguments {
        LoadArguments {
            partitions: 6,
            connections: 4,
            in_flight: 5,
            acks: -1,
            record_bytes: None,
            batch_bytes: None,
            load_percent: vec![10, 30, 50, 70, 85],
            sample_mib: 384,
            replication: 1,
        }
    }
}

/// The parameters of *broker*.
#[derive(Clone, Debug, Default, Args)]
pub struct BrokerArguments {
    /// The broker’s binary [default: the same broker, built into this program]
    #[arg(long)]
    pub broker: Option<PathBuf>,
    /// Settings for the broker, as its -o
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// The load
    #[command(flatten)]
    pub load: LoadArguments,
}

/// The parameters of *peer*.
#[derive(Clone, Debug, Args)]
pub struct PeerArguments {
    /// The broker to drive
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: String,
    /// Its process id on this machine, to report its CPU and its writes
    #[arg(long)]
    pub pid: Option<u32>,
    /// Its name in the report
    #[arg(long, default_value = "peer")]
    pub name: String,
    /// The load
    #[command(flatten)]
    pub load: LoadArguments,
}

/// The broker under load.
#[derive(Clone, Debug)]
struct Target {
    bootstrap: String,
    pid: Option<u32>,
    name: String,
}

/// What one case does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Produce { record_bytes: usize, batch_bytes: usize, durable: bool },
    Fetch { record_bytes: usize, batch_bytes: usize },
}

/// Measures a corelog of our own.
pub fn run(run: &mut Run, arguments: &BrokerArguments) -> Result<Part> {
    run.progress.part("broker", "produce and fetch over the Kafka protocol");
    let scratch = run.scratch("broker")?;
    let broker = BrokerProcess::start(arguments.broker.as_deref(), scratch.path(), &arguments.settings)?;
    let target = Target { bootstrap: broker.address().to_owned(), pid: Some(broker.pid()), name: "corelog".to_owned() };
    warm_up(run, &target, &arguments.load, scratch.path())?;
    let mut part = Part::new("broker", "The broker over the Kafka protocol", &TEXT);
    measure(run, &target, &arguments.load, &mut part)?;
    broker.stop()?;
    Ok(part)
}

/// Measures another broker with the same generator.
pub fn peer(run: &mut Run, arguments: &PeerArguments) -> Result<Part> {
    run.progress.part("peer", &format!("produce and fetch at {}", arguments.bootstrap));
    let target = Target { bootstrap: arguments.bootstrap.clone(), pid: arguments.pid, name: arguments.name.clone() };
    let mut part = Part::new("peer", &format!("{} over the Kafka protocol", arguments.name), &TEXT);
    measure(run, &target, &arguments.load, &mut part)?;
    Ok(part)
}

const TEXT: [&str; 3] = [
    "The generator is a Kafka client of its own on one thread: requests are ready-made, one batch each, without compression or idempotence, over a few pipelined \
     connections on the loopback device. MB count the values of records, not their framing. CPU µs/MB is that of the broker’s process alone.",
    "The closed loop keeps a fixed number of requests unanswered and finds the greatest throughput. The open loop sends at fixed fractions of that maximum, whatever the broker does; its \
     latency counts from the intended send time.",
    "“Durable” topics have flush.messages=1, the others flush.messages at its greatest value; both are Kafka’s own settings.",
];

fn measure(run: &mut Run, target: &Target, load: &LoadArguments, part: &mut Part) -> Result<()> {
    let actions = actions(load, run.quick);
    let mut cases: Vec<Case> = actions.iter().map(|action| case_of(*action, target, load)).collect();
    interleave(run, 3, &mut cases, |run, index, _| match actions[index] {
        Action::Produce { record_bytes, batch_bytes, durable } => {
            let topic = make_topic(target, load, "produce", durable)?;
            let sample = produce(run, target, load, &topic, (record_bytes, batch_bytes), Pace::Closed);
            topic.delete(&target.bootstrap)?;
            Ok(sample?.0)
        }
        Action::Fetch { record_bytes, batch_bytes } => {
            let topic = make_topic(target, load, "fetch", false)?;
            produce(run, target, load, &topic, (record_bytes, batch_bytes), Pace::Closed)?;
            let sample = fetch(run, target, load, &topic);
            topic.delete(&target.bootstrap)?;
            sample
        }
    })?;
    part.rows.extend(cases.iter().map(Case::row));
    let (record_bytes, batch_bytes) = (load.record_bytes.unwrap_or(1024), load.batch_bytes.unwrap_or(16 << 10));
    for (durable, percents) in [(true, load.load_percent.as_slice()), (false, &[50])] {
        let wanted = Action::Produce { record_bytes, batch_bytes, durable };
        let Some(most) = actions.iter().position(|action| *action == wanted) else { continue };
        let most = cases[most].spread(Sample::operations_per_s).context("the closed loop was measured")?.median;
        let percents = run.amount(percents, &[50]);
        let open = open_loop(run, target, load, (record_bytes, batch_bytes), durable, (most, percents))?;
        if open.len() > 1 {
            part.figures.push(latency_figure(target, record_bytes, durable, &open));
        }
        if durable {
            let half = open.iter().find(|point| point.0 == 50.0);
            let p999 = half.and_then(|point| point.1.spread(|sample| sample.latency.micros_at(0.999) / 1000.0));
            part.headline(p999, "ms", "p99.9 of a durable produce over Kafka’s protocol at half of the maximum");
        }
        part.rows.extend(open.iter().map(|point| point.1.row()));
    }
    let rate = |wanted: fn(&Action) -> bool| {
        let rates = actions.iter().zip(&cases).filter(|pair| wanted(pair.0));
        rates.filter_map(|pair| pair.1.spread(Sample::mb_per_s)).max_by(|a, b| a.median.total_cmp(&b.median))
    };
    let produced = rate(|action| matches!(action, Action::Produce { durable: true, .. }));
    part.headline(produced, "MB/s", "durable produce over Kafka’s protocol, client on the same machine");
    let fetched = rate(|action| matches!(action, Action::Fetch { .. }));
    part.headline(fetched, "MB/s", "fetch over Kafka’s protocol, client on the same machine");
    part.figures.insert(0, throughput_figure(&cases, &actions));
    Ok(())
}

/// A load that is not counted, until the journals of a fresh broker have grown to their size: they grow behind the first
/// appends, and their bytes are no one's payload.
fn warm_up(run: &mut Run, target: &Target, load: &LoadArguments, data_dir: &Path) -> Result<()> {
    run.progress.doing("warming up");
    let topic = make_topic(target, load, "warm-up", true)?;
    produce(run, target, load, &topic, (1024, 16 << 10), Pace::Closed)?;
    topic.delete(&target.bootstrap)?;
    let journal_bytes = || -> u64 {
        let entries = std::fs::read_dir(data_dir).into_iter().flatten().flatten();
        let journals = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("corelog-journal-"));
        journals.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    };
    let began = Instant::now();
    let mut before = 0;
    while began.elapsed() < Duration::from_secs(5) && journal_bytes() != before {
        before = journal_bytes();
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

fn actions(load: &LoadArguments, quick: bool) -> Vec<Action> {
    let batch_bytes = load.batch_bytes.unwrap_or(16 << 10);
    let records = load.record_bytes.map_or_else(|| if quick { vec![1024] } else { vec![100, 1024] }, |one| vec![one]);
    let mut actions = Vec::new();
    for record_bytes in records {
        for durable in [true, false] {
            actions.push(Action::Produce { record_bytes, batch_bytes, durable });
        }
        if load.batch_bytes.is_none() && record_bytes >= 1024 && !quick {
            for durable in [true, false] {
                actions.push(Action::Produce { record_bytes, batch_bytes: 256 << 10, durable });
            }
        }
        actions.push(Action::Fetch { record_bytes, batch_bytes });
    }
    actions
}

fn case_of(action: Action, target: &Target, load: &LoadArguments) -> Case {
    let in_flight = (load.connections * load.in_flight) as u64;
    let partitions = load.partitions as u64;
    let case = match action {
        Action::Produce { record_bytes, batch_bytes, durable } => {
            let durability = if durable { Durability::BeforeAck } else { Durability::None };
            let name = format!("produce {record_bytes} B records, {} batches, closed loop", size(batch_bytes as u64));
            Case::new(name, &target.name, durability).sized(batch_bytes as u64, in_flight)
        }
        Action::Fetch { record_bytes, batch_bytes } => {
            let name = format!("fetch {record_bytes} B records, {} batches, from the start", size(batch_bytes as u64));
            Case::new(name, &target.name, Durability::NotApplicable).sized(1 << 20, load.connections as u64)
        }
    };
    case.over(partitions)
}

fn make_topic(target: &Target, load: &LoadArguments, purpose: &str, durable: bool) -> Result<Topic> {
    let flush = if durable { "1".to_owned() } else { i64::MAX.to_string() };
    // Deleted files go at once: the samples of a run would fill the disk otherwise.
    let configs = [("flush.messages", flush), ("file.delete.delay.ms", "0".to_owned())];
    let name = format!("corelog-bench-{purpose}-{}", if durable { "durable" } else { "plain" });
    Topic::create(&target.bootstrap, &name, load.partitions, load.replication, &configs)
}

fn produce(
    run: &mut Run,
    target: &Target,
    load: &LoadArguments,
    topic: &Topic,
    (record_bytes, batch_bytes): (usize, usize),
    pace: Pace,
) -> Result<(Sample, Produced)> {
    let batch = payload::batch(record_bytes, batch_bytes);
    let length = if pace == Pace::Closed { run.seconds * 1.5 } else { run.seconds * 2.5 };
    let produce = ProduceLoad {
        topic: topic.clone(),
        requests_max: (load.sample_mib << 20) / batch.bytes.len() as u64,
        batch,
        connections: load.connections,
        in_flight_max: if pace == Pace::Closed { load.in_flight } else { usize::MAX },
        acks: load.acks,
        pace,
        warm_up: Duration::from_secs_f64(run.seconds * 0.3),
        length: Duration::from_secs_f64(length),
    };
    let meter = run.meter(target.pid.as_slice());
    let produced = produce.run()?;
    let mut sample = Sample {
        bytes: produced.payload_bytes,
        operations: produced.requests,
        records: produced.records,
        seconds: produced.seconds,
        latency: produced.latency.clone(),
        cost: meter.stop(),
        ..Sample::default()
    };
    // The cost covers the warm-up too: scaled to the part that was counted.
    let counted = (sample.seconds / sample.cost.seconds).min(1.0);
    sample.cpu_seconds = target.pid.map_or(Some(f64::NAN), |_| Some(sample.cost.children_cpu_seconds * counted));
    sample.cost.written_bytes = (sample.cost.written_bytes as f64 * counted) as u64;
    sample.notes.extend(produced.error_note());
    if let Pace::Open { requests_per_s } = pace {
        let achieved = sample.operations_per_s() / requests_per_s;
        if achieved < SUSTAINED_SHARE_MIN {
            sample.notes.push(format!("fell behind in a round: {:.0} % of the intended rate", achieved * 100.0));
        }
    }
    flag_generator(&mut sample, produced.generator_share);
    Ok((sample, produced))
}

fn fetch(run: &mut Run, target: &Target, load: &LoadArguments, topic: &Topic) -> Result<Sample> {
    let fetch = FetchLoad {
        topic: topic.clone(),
        offsets: topic.offsets()?,
        connections: load.connections,
        partition_bytes_max: 1 << 20,
        bytes_max: 4 << 20,
        length: Duration::from_secs_f64(run.seconds * 1.5),
    };
    let meter = run.meter(target.pid.as_slice());
    let fetched = fetch.run()?;
    let cost = meter.stop();
    let mut sample = Sample {
        bytes: fetched.batch_bytes,
        operations: fetched.requests,
        records: fetched.records,
        seconds: fetched.seconds,
        latency: fetched.latency,
        cpu_seconds: target.pid.map_or(Some(f64::NAN), |_| Some(cost.children_cpu_seconds)),
        cost,
        ..Sample::default()
    };
    flag_generator(&mut sample, fetched.generator_share);
    Ok(sample)
}

fn flag_generator(sample: &mut Sample, share: f64) {
    if share > GENERATOR_SHARE_MAX {
        sample.notes.push("the generator used a whole core in a round: it may be the bottleneck".to_owned());
    }
}

/// Latency at fractions of the maximum: (fraction, case).
fn open_loop(
    run: &mut Run,
    target: &Target,
    load: &LoadArguments,
    (record_bytes, batch_bytes): (usize, usize),
    durable: bool,
    (most_per_s, percents): (f64, &[u32]),
) -> Result<Vec<(f64, Case)>> {
    let durability = if durable { Durability::BeforeAck } else { Durability::None };
    let mut cases: Vec<Case> = percents
        .iter()
        .map(|percent| {
            let name = format!("produce {record_bytes} B records, open loop at {percent} % of the maximum");
            Case::new(name, &target.name, durability).sized(batch_bytes as u64, 0).over(load.partitions as u64)
        })
        .collect();
    interleave(run, 2, &mut cases, |run, index, _| {
        let requests_per_s = most_per_s * f64::from(percents[index]) / 100.0;
        let topic = make_topic(target, load, "open", durable)?;
        let sample = produce(run, target, load, &topic, (record_bytes, batch_bytes), Pace::Open { requests_per_s });
        topic.delete(&target.bootstrap)?;
        Ok(sample?.0)
    })?;
    Ok(percents.iter().map(|percent| f64::from(*percent)).zip(cases).collect())
}

fn throughput_figure(cases: &[Case], actions: &[Action]) -> Figure {
    let mut groups = Vec::new();
    let mut series = [Series::new("produce, durable"), Series::new("produce, not durable"), Series::new("fetch")];
    for (case, action) in cases.iter().zip(actions) {
        let (place, group) = match action {
            Action::Produce { record_bytes, batch_bytes, durable } => {
                (usize::from(!durable), format!("{record_bytes} B in {}", size(*batch_bytes as u64)))
            }
            Action::Fetch { record_bytes, batch_bytes } => {
                (2, format!("{record_bytes} B in {}", size(*batch_bytes as u64)))
            }
        };
        let at = groups.iter().position(|known| *known == group).unwrap_or_else(|| {
            groups.push(group);
            groups.len() - 1
        });
        series[place].push(at as f64, case.spread(Sample::mb_per_s));
    }
    Figure {
        id: "broker-throughput".into(),
        title: "Greatest throughput over the Kafka protocol".into(),
        caption: "Higher is better. Closed loop from one client thread over the loopback device; whiskers are the range over rounds. Generator and broker share the CPUs of this \
                  machine, so the figures are lower bounds for the broker."
            .into(),
        kind: Kind::Bars { groups },
        x: Axis::linear("size of records and batches"),
        y: Axis::linear("MB/s"),
        series: series.to_vec(),
    }
}

fn latency_figure(target: &Target, record_bytes: usize, durable: bool, open: &[(f64, Case)]) -> Figure {
    let mut series = Vec::new();
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let mut line = Series::new(name);
        for (_, case) in open {
            let rounds = case.rounds(|sample| sample.latency.micros_at(quantile));
            if let (Some(rate), Some(latency)) = (case.spread(Sample::mb_per_s), Spread::of(&rounds)) {
                line.push(rate.median, Some(latency));
            }
        }
        series.push(line);
    }
    let word = if durable { "durable" } else { "not durable" };
    Figure {
        id: format!("broker-latency-{}", if durable { "durable" } else { "plain" }),
        title: format!("Produce latency against load, {} ({word}, {record_bytes} B records)", target.name),
        caption: format!(
            "Lower is better. Open loop at fractions of the {word} maximum ({}): latency from the intended send time to the answer, median of rounds with their range.",
            open.iter().map(|point| format!("{} %", point.0)).collect::<Vec<_>>().join(", ")
        ),
        kind: Kind::Lines,
        x: Axis::new("throughput, MB/s", Scale::Linear, Unit::Plain),
        y: Axis::new("latency", Scale::Log10, Unit::Micros),
        series,
    }
}
