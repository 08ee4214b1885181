//! The second half of the part *crowd*: a topic of thousands of partitions that all get records, how long that broker takes to end,
//! and to start again cleanly and after a kill.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::crowd::{CrowdArguments, Watch, mib, settled, tell};
use super::payload;
use crate::broker_process::BrokerProcess;
use crate::case::{Case, Durability, Sample};
use crate::client::Topic;
use crate::client::produce::{Pace, ProduceLoad};
use crate::report::Part;
use crate::report::row::size;
use crate::run::Run;

/// The generator's connections, and unanswered requests on each in the closed loop.
const CONNECTIONS: usize = 16;
const IN_FLIGHT: usize = 4;
/// Requests per second and partition of the paced load.
const PACED_PER_PARTITION: f64 = 2.0;
/// Long enough for two checkpoints: then a partition that is not used holds no file.
const QUIET: Duration = Duration::from_secs(12);

const TEXT: [&str; 2] = [
    "One topic, durable before the acknowledgement, its partitions used in turn by 16 connections. First all of them begin to grow at once under a paced load, then once more, on a fresh topic, under a \
     closed loop with 64 requests unanswered; the last load is the same on partitions that have grown.",
    "“Ended” is from SIGTERM to the end of the process, “started” from its start to the line that says that it serves.",
];

/// Measures it.
pub fn run(run: &mut Run, arguments: &CrowdArguments) -> Result<Part> {
    let count = run.amount(arguments.partitions, arguments.partitions.min(100));
    run.progress.part("partitions", &format!("{count} partitions"));
    let mut part = Part::new("partitions", &format!("{count} partitions"), &TEXT);
    let scratch = run.scratch("partitions")?;
    let start = || BrokerProcess::start(arguments.broker.as_deref(), scratch.path(), &arguments.settings);
    let own = arguments.bootstrap.is_none().then(start).transpose()?;
    let pid = own.as_ref().map(BrokerProcess::pid).or(arguments.pid);
    let bootstrap = own.as_ref().map(|own| own.address().to_owned()).or_else(|| arguments.bootstrap.clone());
    let bootstrap = bootstrap.context("a broker was started or named")?;
    tell(&mut part, "broker without topics", settled(pid));
    run.progress.doing("creating the topics");
    let began = Instant::now();
    let paced_topic = Topic::create(&bootstrap, "corelog-bench-paced", count, 1, &[])?;
    part.fact(format!("topic of {count} partitions created"), began.elapsed().as_secs_f64(), "s");
    tell(&mut part, &format!("{count} partitions without records"), settled(pid));

    let paced = Pace::Open { requests_per_s: f64::from(count) * PACED_PER_PARTITION };
    let name = "1 KiB, twice a second and partition, from empty";
    load(run, arguments, &mut part, (pid, &paced_topic), (name, 1024, paced))?;
    let closed_topic = Topic::create(&bootstrap, "corelog-bench-closed", count, 1, &[])?;
    for name in ["16 KiB, closed loop, from empty", "16 KiB, closed loop, grown"] {
        load(run, arguments, &mut part, (pid, &closed_topic), (name, 16 << 10, Pace::Closed))?;
    }
    tell(&mut part, "behind the loads", settled(pid));
    let Some(own) = own else {
        paced_topic.delete(&bootstrap)?;
        closed_topic.delete(&bootstrap)?;
        return Ok(part);
    };
    run.progress.doing("waiting until the partitions are quiet");
    std::thread::sleep(run.amount(QUIET, Duration::from_millis(100)));
    tell(&mut part, &format!("{} quiet partitions", 2 * count), settled(pid));

    run.progress.doing("ending and starting the broker");
    let (own, seconds) = restarted(run, own, &start, BrokerProcess::stop)?;
    part.fact("ended, all partitions quiet", seconds.0, "s");
    part.fact("started after a clean end", seconds.1, "s");
    let topic = |name: &str, own: &BrokerProcess| Topic {
        name: name.to_owned(),
        leaders: vec![own.address().to_owned(); count as usize],
    };
    let again = topic("corelog-bench-closed", &own);
    load(
        run,
        arguments,
        &mut part,
        (Some(own.pid()), &again),
        ("16 KiB, closed loop, restarted", 16 << 10, Pace::Closed),
    )?;
    run.progress.doing("killing the broker under load");
    let loading = load_of(&again, 16 << 10, Pace::Closed, arguments.load_time(run));
    let loading = std::thread::spawn(move || loading.run());
    std::thread::sleep(arguments.load_time(run) / 2);
    let killed = |own: BrokerProcess| {
        own.kill();
        Ok(())
    };
    let (own, seconds) = restarted(run, own, &start, killed)?;
    // It lost its broker: that it says so is all it can do.
    let _ = loading.join();
    part.fact("started after kill -9 under load", seconds.1, "s");
    let again = topic("corelog-bench-closed", &own);
    let name = "16 KiB, closed loop, after kill -9";
    load(run, arguments, &mut part, (Some(own.pid()), &again), (name, 16 << 10, Pace::Closed))?;
    let (own, seconds) = restarted(run, own, &start, BrokerProcess::stop)?;
    part.fact("ended right behind a load", seconds.0, "s");
    part.fact("started after that", seconds.1, "s");
    tell(&mut part, &format!("{} partitions with records, just started", 2 * count), settled(Some(own.pid())));
    own.stop()?;
    Ok(part)
}

/// Ends a broker in some way and starts another on its data: seconds to end, and to serve.
fn restarted(
    run: &Run,
    own: BrokerProcess,
    start: &impl Fn() -> Result<BrokerProcess>,
    end: impl FnOnce(BrokerProcess) -> Result<()>,
) -> Result<(BrokerProcess, (f64, f64))> {
    let began = Instant::now();
    end(own)?;
    let ended = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let own = start()?;
    let started = began.elapsed().as_secs_f64();
    run.progress.line(&format!("ended in {ended:.2} s, started in {started:.2} s"));
    Ok((own, (ended, started)))
}

fn load_of(topic: &Topic, batch_bytes: usize, pace: Pace, length: Duration) -> ProduceLoad {
    ProduceLoad {
        topic: topic.clone(),
        batch: payload::batch(1024, batch_bytes),
        connections: CONNECTIONS,
        in_flight_max: if pace == Pace::Closed { IN_FLIGHT } else { usize::MAX },
        acks: -1,
        pace,
        warm_up: Duration::ZERO,
        length,
        requests_max: u64::MAX,
    }
}

/// One load on all partitions of a topic, a row of the table.
fn load(
    run: &mut Run,
    arguments: &CrowdArguments,
    part: &mut Part,
    (pid, topic): (Option<u32>, &Topic),
    (name, batch_bytes, pace): (&str, usize, Pace),
) -> Result<()> {
    let count = topic.leaders.len();
    let name = format!("{count} partitions: {name}");
    run.progress.doing(&name);
    let load = load_of(topic, batch_bytes, pace, arguments.load_time(run));
    let watch = pid.map(Watch::start);
    let meter = run.meter(pid.as_slice());
    let produced = load.run()?;
    let cost = meter.stop();
    if let Some(watch) = watch {
        part.fact(format!("{name}: most memory"), mib(watch.stop()), "MiB");
    }
    let in_flight = if pace == Pace::Closed { CONNECTIONS * IN_FLIGHT } else { 0 };
    let case = Case::new(name, "corelog", Durability::BeforeAck).sized(batch_bytes as u64, in_flight as u64);
    let mut case = case.over(count as u64);
    let mut sample = Sample {
        bytes: produced.payload_bytes,
        operations: produced.requests,
        records: produced.records,
        seconds: produced.seconds,
        latency: produced.latency.clone(),
        cpu_seconds: Some(if pid.is_some() { cost.children_cpu_seconds } else { f64::NAN }),
        cost,
        ..Sample::default()
    };
    sample.notes.extend(produced.error_note());
    sample.notes.push(format!(
        "{} batches, the generator used {:.0} % of a core",
        size(batch_bytes as u64),
        produced.generator_share * 100.0
    ));
    run.progress.took(&case.name, &sample);
    case.samples.push(sample);
    part.rows.push(case.row());
    Ok(())
}
