//! The part *read*: sequential reads from memory and from the disk, and what a cold reader does to produce latency.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use corelog_engine::{Error, ReadRequest, ReadUpTo, Shard, TopicPartition};
use tokio::sync::mpsc;

use super::embedded::{AppendLoad, Embedded, append_durably, log_config};
use super::payload;
use crate::case::{Case, Durability, Sample, interleave};
use crate::client::produce::ReadyBatch;
use crate::device::{Operation, RawLoop, Work, file, pinned};
use crate::measure::{Latency, Schedule, Spread};
use crate::report::{Axis, Figure, Kind, Part, Scale, Series, Unit};
use crate::run::Run;

/// The parameters of *read*.
#[derive(Clone, Debug, Args)]
pub struct ReadArguments {
    /// MiB of the log that is read
    #[arg(long, default_value_t = 1536)]
    pub log_mib: u64,
    /// KiB asked for in one read
    #[arg(long, default_value_t = 1024)]
    pub read_kib: usize,
    /// Durable 16 KiB appends per second while a cold reader runs
    #[arg(long, default_value_t = 1000.0)]
    pub appends_per_s: f64,
}

impl Default for ReadArguments {
    fn default() -> ReadArguments {
        ReadArguments { log_mib: 1536, read_kib: 1024, appends_per_s: 1000.0 }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Setting {
    Cold,
    Raw { depth: usize },
    Tail,
    Appends { beside_cold_reader: bool },
}

const SETTINGS: [Setting; 6] = [
    Setting::Raw { depth: 4 },
    Setting::Cold,
    Setting::Raw { depth: 2 },
    Setting::Tail,
    Setting::Appends { beside_cold_reader: false },
    Setting::Appends { beside_cold_reader: true },
];

/// Bytes at the end of the log that the tail reader reads: they are in memory.
const TAIL_BYTES: u64 = 32 << 20;

/// Measures the part.
pub fn run(run: &mut Run, arguments: &ReadArguments) -> Result<Part> {
    run.progress.part("read", "sequential reads from memory and from the disk");
    let scratch = run.scratch("read")?;
    let log_bytes = run.amount(arguments.log_mib, arguments.log_mib.min(192)) << 20;
    let read_bytes = arguments.read_kib << 10;
    let mut raw = RawLoop::new(super::device::ARENA_BYTES, true, true)?;
    let raw_path = scratch.path().join("prewritten");
    let raw_bytes = log_bytes.min(1 << 30);
    file::prepare(&raw_path, raw_bytes, file::State::Prewritten, &mut raw)?;
    let (raw_file, _) = file::open_direct(&raw_path)?;
    let store_dir = scratch.path().join("store");
    let batch = payload::batch(1024, 256 << 10);
    run.progress.doing("writing the log");
    let cold = {
        let embedded = Embedded::open(&store_dir, |_| ())?;
        let names = embedded.create("cold", 1, log_config(false, 1 << 30))?;
        embedded.append(AppendLoad {
            names: names.clone(),
            batch: batch.clone(),
            in_flight: 0,
            bytes_max: log_bytes,
            time_max: Duration::MAX,
        })?;
        // Closing and opening again leaves nothing of the log in the store's memory; O_DIRECT leaves nothing in the kernel's.
        embedded.close()?;
        names[0].clone()
    };
    let embedded = Embedded::open(&store_dir, |config| config.retention_check_ms = 3_600_000)?;
    embedded.settle()?;
    let hot = embedded.create("hot", 2, log_config(true, 1 << 30))?;
    let tail = AppendLoad {
        names: vec![hot[0].clone()],
        batch: batch.clone(),
        in_flight: 8,
        bytes_max: TAIL_BYTES,
        time_max: Duration::MAX,
    };
    let small = payload::batch(1024, 16 << 10);
    let mut cases: Vec<Case> = SETTINGS.iter().map(|setting| case_of(*setting, arguments)).collect();
    let mut beside = Case::new("read cold beside the appends", "corelog", Durability::NotApplicable).sized(1 << 20, 1);
    interleave(run, usize::MAX, &mut cases, |run, index, _| {
        let time = run.sample_time();
        // The latency of appends needs more samples than throughput does.
        let appends_time = run.amount(time * 3, time * 2);
        if SETTINGS[index] == Setting::Tail {
            // What was appended since may have pushed the older tail out of memory.
            embedded.recycle(&hot[..1])?;
            embedded.append(tail.clone())?;
        }
        let meter = run.meter(&[]);
        let mut sample = match SETTINGS[index] {
            Setting::Raw { depth } => {
                let work = Work {
                    operation: Operation::Read,
                    block_bytes: 1 << 20,
                    depth,
                    file_bytes: raw_bytes,
                    time_max: time,
                    bytes_max: u64::MAX,
                };
                pinned(0, || raw.run(&raw_file, work))?
            }
            Setting::Cold => scan(&embedded, &cold, read_bytes, time)?,
            Setting::Tail => scan(&embedded, &hot[0], read_bytes, time)?,
            Setting::Appends { beside_cold_reader } => {
                let reader = beside_cold_reader.then(|| (cold.clone(), read_bytes));
                let rate = arguments.appends_per_s;
                let (sample, read) = appends(&embedded, &hot[1], &small, rate, appends_time, reader)?;
                if let Some(mut read) = read {
                    read.cost = meter.stop();
                    beside.samples.push(read);
                }
                sample
            }
        };
        sample.cost = meter.stop();
        Ok(sample)
    })?;
    embedded.close()?;
    let mut part = Part::new("read", "Sequential reads, hot and cold", &TEXT);
    part.rows = cases.iter().map(Case::row).collect();
    part.rows.push(beside.row());
    let of = |wanted: Setting| {
        let place = SETTINGS.iter().position(|setting| *setting == wanted);
        &cases[place.expect("all settings are measured")]
    };
    let rate = |case: &Case| case.spread(Sample::mb_per_s).map_or(0.0, |spread| spread.median);
    let depths = [2, 4].map(|depth| of(Setting::Raw { depth }));
    let device = depths.into_iter().max_by(|left, right| rate(left).total_cmp(&rate(right))).context("two depths")?;
    part.ratio("read_vs_device", Spread::of_paired_ratios(&of(Setting::Cold).rates(), &device.rates()));
    part.headline(of(Setting::Cold).spread(Sample::mb_per_s), "MB/s", "sequential read from the disk, one core");
    let p999 = |beside_cold_reader| {
        of(Setting::Appends { beside_cold_reader }).rounds(|sample| sample.latency.micros_at(0.999))
    };
    part.ratio("produce_p999_with_cold_reader_vs_without", Spread::of_paired_ratios(&p999(true), &p999(false)));
    part.figures = vec![
        throughput_figure(&[("cold", of(Setting::Cold)), ("device", device), ("beside", &beside)]),
        latency_figure(
            of(Setting::Appends { beside_cold_reader: false }),
            of(Setting::Appends { beside_cold_reader: true }),
        ),
    ];
    Ok(part)
}

const TEXT: [&str; 3] = [
    "Cold: a log that was written, closed and opened again is read from its start, 1 MiB at a time; every byte comes from the disk, since the store uses O_DIRECT. The raw loop reads a file with the same \
     size of operation in the same rounds.",
    "Tail: the newest bytes are read again and again from the memory they were appended into; no byte is copied.",
    "Both at once: durable appends of 16 KiB at a fixed rate (open loop, from another thread, latency from the intended time), alone and beside a reader that reads the cold log as fast as it can on the \
     same shard and the same disk.",
];

fn case_of(setting: Setting, arguments: &ReadArguments) -> Case {
    let read_bytes = (arguments.read_kib << 10) as u64;
    match setting {
        Setting::Cold => Case::new("read cold", "corelog", Durability::NotApplicable).sized(read_bytes, 1).over(1),
        Setting::Tail => Case::new("read the tail", "corelog", Durability::NotApplicable).sized(read_bytes, 1).over(1),
        Setting::Raw { depth } => {
            let name = format!("read 1 MiB, depth {depth}");
            Case::new(name, "raw io_uring", Durability::NotApplicable).sized(1 << 20, depth as u64)
        }
        Setting::Appends { beside_cold_reader } => {
            let beside = if beside_cold_reader { "beside a cold reader" } else { "alone" };
            let name = format!("append 16 KiB at {} per second, {beside}", arguments.appends_per_s);
            Case::new(name, "corelog", Durability::BeforeAck).sized(16 << 10, 0).over(1)
        }
    }
}

/// Reads a partition from its start to its end and round again for some time.
fn scan(embedded: &Embedded, name: &TopicPartition, bytes_max: usize, time: Duration) -> Result<Sample> {
    let name = name.clone();
    embedded.call(move |shard| {
        Box::pin(async move {
            let until = Instant::now() + time;
            scan_until(&shard, &name, bytes_max, || Instant::now() < until).await
        })
    })
}

async fn scan_until(
    shard: &Rc<Shard>,
    name: &TopicPartition,
    bytes_max: usize,
    goes_on: impl Fn() -> bool,
) -> Result<Sample, Error> {
    let mut sample = Sample::default();
    let start = Instant::now();
    let mut from = shard.offsets(name)?.start;
    let begin = from;
    while goes_on() {
        let request = ReadRequest { from, bytes_max, at_least_one: true, up_to: ReadUpTo::End };
        let began = Instant::now();
        let read = shard.read(name, request).await?;
        sample.latency.record(began.elapsed());
        sample.operations += 1;
        sample.bytes += read.bytes as u64;
        from = if read.next_offset >= read.offsets.end { begin } else { read.next_offset };
        // A read from memory never waits: give way as a server does between requests.
        shard.io().yield_now().await;
    }
    sample.seconds = start.elapsed().as_secs_f64();
    Ok(sample)
}

/// Durable appends at a fixed rate, sent from this thread; with a cold reader on the shard where one is named. Returns the
/// appends and what the reader read.
fn appends(
    embedded: &Embedded,
    name: &TopicPartition,
    batch: &ReadyBatch,
    per_second: f64,
    time: Duration,
    reader: Option<(TopicPartition, usize)>,
) -> Result<(Sample, Option<Sample>)> {
    let (sender, receiver) = mpsc::unbounded_channel::<Instant>();
    let (name, batch) = (name.clone(), batch.clone());
    std::thread::scope(|scope| {
        let serving = scope
            .spawn(move || embedded.call(move |shard| Box::pin(serve_appends(shard, name, batch, receiver, reader))));
        let _ = nix::sys::prctl::set_timerslack(1);
        // The reader gets going first.
        std::thread::sleep(Duration::from_millis(30));
        let mut schedule = Schedule::new(Instant::now(), per_second, time);
        while let Some(due) = schedule.next_due() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            while let Some(due) = schedule.take_due(Instant::now()) {
                // The other end goes away only when an append failed, which `serving` reports.
                let _ = sender.send(due);
            }
        }
        drop(sender);
        serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn serve_appends(
    shard: Rc<Shard>,
    name: TopicPartition,
    batch: ReadyBatch,
    mut due: mpsc::UnboundedReceiver<Instant>,
    reader: Option<(TopicPartition, usize)>,
) -> Result<(Sample, Option<Sample>), Error> {
    let reads = Rc::new(Cell::new(true));
    let (read_sender, mut read) = mpsc::channel(1);
    let has_reader = reader.is_some();
    if let Some((cold, bytes_max)) = reader {
        let (shard_of_reader, reads) = (shard.clone(), reads.clone());
        shard.io().spawn(async move {
            let outcome = scan_until(&shard_of_reader, &cold, bytes_max, || reads.get()).await;
            let _ = read_sender.send(outcome).await;
        });
    }
    let latency = Rc::new(RefCell::new(Latency::new()));
    let failure: Rc<RefCell<Option<Error>>> = Rc::default();
    let in_flight = Rc::new(Cell::new(0u64));
    let mut sample = Sample::default();
    let start = Instant::now();
    while let Some(intended) = due.recv().await {
        sample.operations += 1;
        sample.bytes += batch.bytes.len() as u64;
        in_flight.set(in_flight.get() + 1);
        let (append_shard, name, bytes) = (shard.clone(), name.clone(), batch.bytes.clone());
        let (latency, failure, in_flight) = (latency.clone(), failure.clone(), in_flight.clone());
        shard.io().spawn(async move {
            match append_durably(&append_shard, &name, &bytes).await {
                Ok(_) => latency.borrow_mut().record(intended.elapsed()),
                Err(error) => *failure.borrow_mut() = Some(error),
            }
            in_flight.set(in_flight.get() - 1);
        });
    }
    while in_flight.get() > 0 {
        shard.io().sleep(Duration::from_millis(1)).await;
    }
    sample.seconds = start.elapsed().as_secs_f64();
    reads.set(false);
    let read = if has_reader { Some(read.recv().await.expect("the reader reports")?) } else { None };
    if let Some(error) = failure.borrow_mut().take() {
        return Err(error);
    }
    sample.latency = latency.take();
    Ok((sample, read))
}

fn throughput_figure(cases: &[(&str, &Case)]) -> Figure {
    let mut ours = Series::new("corelog");
    let mut raw = Series::new("raw io_uring");
    let mut groups = Vec::new();
    for (name, case) in cases {
        let (group, series) = match *name {
            "device" => {
                raw.push(0.0, case.spread(Sample::mb_per_s));
                continue;
            }
            "cold" => ("cold, from the disk", &mut ours),
            _ => ("cold, beside durable appends", &mut ours),
        };
        series.push(groups.len() as f64, case.spread(Sample::mb_per_s));
        groups.push(group.to_owned());
    }
    Figure {
        id: "read-throughput".into(),
        title: "Sequential read throughput".into(),
        caption: "Higher is better. The grey bar is the raw loop reading a file with the same size of operation. Reads of the tail hand out slices of memory and copy nothing; they are in the \
                  table. Whiskers are the range over rounds."
            .into(),
        kind: Kind::Bars { groups },
        x: Axis::linear(""),
        y: Axis::linear("MB/s"),
        series: vec![ours, raw],
    }
}

fn latency_figure(alone: &Case, beside: &Case) -> Figure {
    let line = |name: &str, case: &Case| {
        let mut series = Series::new(name);
        for (tail, micros) in case.latency().tail_curve() {
            series.push_value(tail, micros);
        }
        series
    };
    Figure {
        id: "read-append-latency".into(),
        title: "Latency of durable appends, alone and beside a cold reader".into(),
        caption: "Lower is better, and the closer the lines the less a reader of old data disturbs writers. The horizontal axis is the percentile, stretched towards the tail; all rounds together."
            .into(),
        kind: Kind::Lines,
        x: Axis::new("percentile", Scale::Log10, Unit::Tail),
        y: Axis::new("latency", Scale::Log10, Unit::Micros),
        series: vec![line("appends alone", alone), line("beside a cold reader", beside)],
    }
}
