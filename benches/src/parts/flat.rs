//! The part *flat*: whether an append costs the same whatever lies behind it: bytes, segments, partitions.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use corelog_engine::{Error, Offset, ReadRequest, ReadUpTo, Shard, TopicPartition};

use super::embedded::{AppendLoad, Embedded, log_config};
use super::payload;
use crate::case::{Case, Durability, Sample, interleave};
use crate::measure::Spread;
use crate::measure::ratio::SplitMix;
use crate::report::{Axis, Figure, Kind, Part, Scale, Series, Unit};
use crate::run::Run;

/// The parameters of *flat*.
#[derive(Clone, Debug, Args)]
pub struct FlatArguments {
    /// MiB that the log grows to in each round
    #[arg(long, default_value_t = 1536)]
    pub log_mib: u64,
    /// MiB of a segment of the growing log
    #[arg(long, default_value_t = 64)]
    pub segment_mib: u64,
    /// MiB of each of the logs with 1, 100 and 1000 segments
    #[arg(long, default_value_t = 250)]
    pub segments_mib: u64,
    /// The largest number of partitions
    #[arg(long, default_value_t = 5000)]
    pub partitions: i32,
}

impl Default for FlatArguments {
    fn default() -> FlatArguments {
        FlatArguments { log_mib: 1536, segment_mib: 64, segments_mib: 250, partitions: 5000 }
    }
}

/// Stretches that the growth of the log is cut into.
const STRETCHES: usize = 10;

/// Measures the part.
pub fn run(run: &mut Run, arguments: &FlatArguments) -> Result<Part> {
    run.progress.part("flat", "whether an append costs the same whatever lies behind it");
    let mut part = Part::new("flat", "Flat: O(1) in the size of the log", &TEXT);
    growth(run, arguments, &mut part)?;
    segments(run, arguments, &mut part)?;
    partitions(run, arguments, &mut part)?;
    Ok(part)
}

const TEXT: [&str; 3] = [
    "A log grows from nothing, in ten stretches of equal length, with durable appends of 64 KiB, eight in flight; between rounds it is deleted and its files are recycled. If appending is O(1), \
     the last tenth is as fast as the first.",
    "Three logs of one size hold 1, 100 and 1000 segments; each is appended to (16 KiB durable, 16 in flight) and read at random offsets (16 KiB, through the indexes, from the disk).",
    "The same number of appends in flight (64 of 16 KiB, durable) is spread over 1, 100 and thousands of partitions.",
];

/// The growing log.
fn growth(run: &mut Run, arguments: &FlatArguments, part: &mut Part) -> Result<()> {
    let scratch = run.scratch("flat-growth")?;
    let log_bytes = run.amount(arguments.log_mib, arguments.log_mib.min(160)) << 20;
    let stretch_bytes = log_bytes / STRETCHES as u64;
    let segment_bytes = (arguments.segment_mib << 20).min(stretch_bytes);
    let embedded = Embedded::open(scratch.path(), |config| config.retention_check_ms = 3_600_000)?;
    embedded.settle()?;
    let names = embedded.create("growing", 1, log_config(true, segment_bytes))?;
    let batch = payload::batch(1024, 64 << 10);
    let load = |in_flight, bytes_max| AppendLoad {
        names: names.clone(),
        batch: batch.clone(),
        in_flight,
        bytes_max,
        time_max: Duration::MAX,
    };
    let embedded = embedded.reopen(&[(names.clone(), log_config(true, segment_bytes))])?;
    run.progress.doing("growing the log once, so that the store recycles its files");
    embedded.append(load(16, log_bytes + segment_bytes))?;
    embedded.recycle(&names)?;
    let mut cases: Vec<Case> = (1..=STRETCHES)
        .map(|stretch| {
            let name = format!("append 64 KiB, 8 in flight, tenth {stretch} of {} MiB", log_bytes >> 20);
            Case::new(name, "corelog", Durability::BeforeAck).sized(64 << 10, 8).over(1)
        })
        .collect();
    for round in 0..run.rounds {
        run.gate.pass(&[]);
        for case in &mut cases {
            run.progress.sample(&case.name, round, run.rounds);
            let meter = run.meter(&[]);
            let mut sample = embedded.append(load(8, stretch_bytes))?;
            sample.cost = meter.stop();
            run.progress.took(&case.name, &sample);
            case.samples.push(sample);
        }
        embedded.recycle(&names)?;
    }
    embedded.close()?;
    let p99 = |case: &Case| case.rounds(|sample| sample.latency.micros_at(0.99));
    let (first, last) = (&cases[0], &cases[STRETCHES - 1]);
    part.ratio("append_last_tenth_vs_first", Spread::of_paired_ratios(&last.rates(), &first.rates()));
    part.ratio("p99_last_tenth_vs_first", Spread::of_paired_ratios(&p99(last), &p99(first)));
    part.rows.extend([first, &cases[STRETCHES / 2 - 1], last].map(Case::row));
    part.figures.extend(growth_figures(&cases, log_bytes));
    Ok(())
}

fn growth_figures(cases: &[Case], log_bytes: u64) -> [Figure; 2] {
    let x = |stretch: usize| (log_bytes >> 20) as f64 * (stretch + 1) as f64 / STRETCHES as f64;
    let mut rate = Series::new("corelog");
    let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    let mut latencies = quantiles.map(|quantile| Series::new(quantile.0));
    for (stretch, case) in cases.iter().enumerate() {
        rate.push(x(stretch), case.spread(Sample::mb_per_s));
        for (series, (_, quantile)) in latencies.iter_mut().zip(quantiles) {
            series.push(x(stretch), case.spread(|sample| sample.latency.micros_at(quantile)));
        }
    }
    let size = Axis::linear("size of the log, MiB");
    [
        Figure {
            id: "flat-throughput".into(),
            title: "Throughput while the log grows".into(),
            caption: "A flat line is an append that costs the same at any size of the log. Durable appends of 64 KiB, eight in flight; whiskers are the range over rounds.".into(),
            kind: Kind::Lines,
            x: size.clone(),
            y: Axis::linear("MB/s, durable"),
            series: vec![rate],
        },
        Figure {
            id: "flat-latency".into(),
            title: "Latency while the log grows".into(),
            caption: "Flat lines again. Percentiles of each tenth, median over rounds with their range; the vertical axis is logarithmic.".into(),
            kind: Kind::Lines,
            x: size,
            y: Axis::new("latency of a durable append", Scale::Log10, Unit::Micros),
            series: latencies.to_vec(),
        },
    ]
}

/// Logs of one size and several numbers of segments.
fn segments(run: &mut Run, arguments: &FlatArguments, part: &mut Part) -> Result<()> {
    let scratch = run.scratch("flat-segments")?;
    let counts: &[u64] = if run.quick { &[1, 100] } else { &[1, 100, 1000] };
    let log_bytes = run.amount(arguments.segments_mib, 32) << 20;
    let embedded = Embedded::open(scratch.path(), |config| {
        config.retention_check_ms = 3_600_000;
        config.cache_bytes = 8 << 20;
    })?;
    embedded.settle()?;
    let batch = payload::batch(1024, 16 << 10);
    let mut logs = Vec::new();
    for &count in counts {
        run.progress.doing(&format!("writing a log of {count} segments"));
        let names = embedded.create(&format!("segments-{count}"), 1, log_config(false, log_bytes / count))?;
        embedded.append(AppendLoad {
            names: names.clone(),
            batch: batch.clone(),
            in_flight: 0,
            bytes_max: log_bytes,
            time_max: Duration::MAX,
        })?;
        let (name, config) = (names[0].clone(), log_config(true, 1 << 30));
        embedded.call(move |shard| {
            Box::pin(async move {
                let end = shard.offsets(&name)?.end;
                shard.flushed(&name, end).await?;
                shard.configure(&name, config)
            })
        })?;
        logs.push(names);
    }
    let mut cases = Vec::new();
    for count in counts {
        let append = format!("append 16 KiB, 16 in flight, behind {count} segments");
        cases.push(Case::new(append, "corelog", Durability::BeforeAck).sized(16 << 10, 16).over(1));
        let read = format!("read 16 KiB at random, {count} segments");
        cases.push(Case::new(read, "corelog", Durability::NotApplicable).sized(16 << 10, 1).over(1));
    }
    interleave(run, 3, &mut cases, |run, index, _| {
        let names = logs[index / 2].clone();
        let time = run.sample_time().min(Duration::from_millis(250));
        let meter = run.meter(&[]);
        let mut sample = if index % 2 == 0 {
            let batch = batch.clone();
            embedded.append(AppendLoad { names, batch, in_flight: 16, bytes_max: 64 << 20, time_max: time })?
        } else {
            let records = log_bytes / batch.bytes.len() as u64 * u64::from(batch.records);
            let name = names[0].clone();
            embedded.call(move |shard| Box::pin(random_reads(shard, name, records, time)))?
        };
        sample.cost = meter.stop();
        Ok(sample)
    })?;
    embedded.close()?;
    part.rows.extend(cases.iter().map(Case::row));
    let most = cases.len() - 2;
    part.ratio("append_most_segments_vs_1", Spread::of_paired_ratios(&cases[most].rates(), &cases[0].rates()));
    Ok(())
}

/// Reads one batch after another at random offsets.
async fn random_reads(shard: Rc<Shard>, name: TopicPartition, records: u64, time: Duration) -> Result<Sample, Error> {
    let mut random = SplitMix(7);
    let mut sample = Sample::default();
    let start = Instant::now();
    while start.elapsed() < time {
        let from = Offset((random.next() % records) as i64);
        let request = ReadRequest { from, bytes_max: 16 << 10, at_least_one: true, up_to: ReadUpTo::End };
        let began = Instant::now();
        let read = shard.read(&name, request).await?;
        sample.latency.record(began.elapsed());
        sample.operations += 1;
        sample.bytes += read.bytes as u64;
    }
    sample.seconds = start.elapsed().as_secs_f64();
    Ok(sample)
}

/// The same load over several numbers of partitions.
fn partitions(run: &mut Run, arguments: &FlatArguments, part: &mut Part) -> Result<()> {
    let scratch = run.scratch("flat-partitions")?;
    let most = run.amount(arguments.partitions, 200);
    let counts = [1, 100.min(most), most];
    let embedded = Embedded::open(scratch.path(), |config| config.retention_check_ms = 3_600_000)?;
    embedded.settle()?;
    run.progress.doing(&format!("creating {most} partitions"));
    let began = Instant::now();
    let names = embedded.create("many", most, log_config(true, 1 << 30))?;
    let created_seconds = began.elapsed().as_secs_f64();
    let batch = payload::batch(1024, 16 << 10);
    let mut cases: Vec<Case> = counts
        .iter()
        .map(|count| {
            let name = format!("append 16 KiB, 64 in flight over {count} partitions");
            Case::new(name, "corelog", Durability::BeforeAck).sized(16 << 10, 64).over(*count as u64)
        })
        .collect();
    let turn = Rc::new(RefCell::new(0usize));
    interleave(run, 3, &mut cases, |run, index, _| {
        let count = counts[index] as usize;
        // Begin at another partition each time, so that all of them are used.
        let from = *turn.borrow() % count;
        *turn.borrow_mut() += 997;
        let names = (0..count).map(|place| names[(from + place) % count].clone()).collect();
        let meter = run.meter(&[]);
        let mut sample = embedded.append(AppendLoad {
            names,
            batch: batch.clone(),
            in_flight: 64,
            bytes_max: 512 << 20,
            time_max: run.sample_time(),
        })?;
        sample.cost = meter.stop();
        Ok(sample)
    })?;
    run.progress.doing(&format!("closing {most} partitions"));
    let began = Instant::now();
    embedded.close()?;
    cases[2].notes.push(format!(
        "{most} partitions were created in {created_seconds:.2} s and closed in {:.2} s",
        began.elapsed().as_secs_f64()
    ));
    part.rows.extend(cases.iter().map(Case::row));
    part.ratio("commits_most_partitions_vs_1", Spread::of_paired_ratios(&cases[2].rates(), &cases[0].rates()));
    let mut series = Series::new("corelog");
    for (count, case) in counts.iter().zip(&cases) {
        series.push(f64::from(*count), case.spread(Sample::operations_per_s));
    }
    part.figures.push(Figure {
        id: "flat-partitions".into(),
        title: "Durable 16 KiB appends per second over partitions".into(),
        caption: "64 appends in flight, spread over the partitions in turn; whiskers are the range over rounds. With few partitions much of one partition is pending at once and goes straight to its \
                  segment; with thousands each append is for another file."
            .into(),
        kind: Kind::Lines,
        x: Axis::new("partitions", Scale::Log10, Unit::Plain),
        y: Axis::linear("appends per second"),
        series: vec![series],
    });
    Ok(())
}
