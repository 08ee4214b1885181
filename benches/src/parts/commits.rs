//! The part *commits*: durable commits of many partitions, group commit in a shared journal against a file per partition.

use std::fs::File;

use anyhow::{Context, Result};
use clap::Args;

use super::embedded::{AppendLoad, Embedded, log_config};
use super::payload;
use crate::case::{Case, Durability, Sample, interleave};
use crate::device::commits::{Commits, Way};
use crate::device::{RawLoop, file, pinned};
use crate::measure::Spread;
use crate::report::row::size;
use crate::report::{Axis, Figure, Kind, Part, Scale, Series, Unit};
use crate::run::Run;

/// The parameters of *commits*.
#[derive(Clone, Debug, Args)]
pub struct CommitsArguments {
    /// Numbers of partitions, at most 64
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
    pub partitions: Vec<usize>,
    /// KiB of a commit, a multiple of 4
    #[arg(long, default_value_t = 16)]
    pub commit_kib: usize,
}

impl Default for CommitsArguments {
    fn default() -> CommitsArguments {
        CommitsArguments { partitions: vec![1, 4, 16, 64], commit_kib: 16 }
    }
}

/// Who commits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Ours,
    Raw(Way),
}

const WHO: [Who; 4] = [
    Who::Ours,
    Who::Raw(Way::FilePerPartitionDsync),
    Who::Raw(Way::FilePerPartitionSync),
    Who::Raw(Way::SharedJournal),
];

/// Bytes of each partition's own file: they are overwritten again and again.
const FILE_BYTES: u64 = 4 << 20;

/// Bytes of a segment of the store here: all partitions' active segments and as many recycled ones fit on a small disk.
const SEGMENT_BYTES: u64 = 16 << 20;

impl Who {
    fn system(self) -> &'static str {
        match self {
            Who::Ours => "corelog",
            Who::Raw(Way::FilePerPartitionDsync) => "a file each, RWF_DSYNC",
            Who::Raw(Way::FilePerPartitionSync) => "a file each, write + fdatasync",
            Who::Raw(Way::SharedJournal) => "one shared journal",
        }
    }
}

/// Measures the part.
pub fn run(run: &mut Run, arguments: &CommitsArguments) -> Result<Part> {
    run.progress.part("commits", "durable commits of many partitions");
    let scratch = run.scratch("commits")?;
    let most = arguments.partitions.iter().copied().max().unwrap_or(1).clamp(1, 64);
    let commit_bytes = arguments.commit_kib << 10;
    let mut raw = RawLoop::new((most * commit_bytes).max(super::device::ARENA_BYTES), true, true)?;
    run.progress.doing("writing the files once");
    let files = (0..most)
        .map(|index| {
            let path = scratch.path().join(format!("partition-{index}"));
            file::prepare(&path, FILE_BYTES, file::State::Prewritten, &mut raw)?;
            Ok(file::open_direct(&path)?.0)
        })
        .collect::<Result<Vec<File>>>()?;
    let journal_path = scratch.path().join("journal");
    file::prepare(&journal_path, 64 << 20, file::State::Prewritten, &mut raw)?;
    let journal = [file::open_direct(&journal_path)?.0];

    let store_dir = scratch.path().join("store");
    let embedded = Embedded::open(&store_dir, |config| config.retention_check_ms = 3_600_000)?;
    let log = log_config(true, SEGMENT_BYTES);
    let names = embedded.create("commits", most as i32, log.clone())?;
    embedded.settle()?;
    let embedded = embedded.reopen(&[(names.clone(), log)])?;
    run.progress.doing("writing segments once, so that the store recycles them");
    // The second time the open segments are recycled ones as well: else the first rounds would write into fresh blocks, which the
    // files that the store is compared with never do.
    for _ in 0..2 {
        embedded.append(AppendLoad {
            names: names.clone(),
            batch: payload::batch(1024, 512 << 10),
            in_flight: most,
            bytes_max: most as u64 * (SEGMENT_BYTES + (2 << 20)),
            time_max: std::time::Duration::MAX,
        })?;
        embedded.recycle(&names)?;
    }
    let batch = payload::batch(1024, commit_bytes);
    let settings: Vec<(usize, Who)> =
        arguments.partitions.iter().flat_map(|count| WHO.iter().map(|who| ((*count).clamp(1, 64), *who))).collect();
    let mut cases: Vec<Case> = settings.iter().map(|(count, who)| case_of(*count, *who, commit_bytes)).collect();
    interleave(run, 3, &mut cases, |run, index, _| {
        let (count, who) = settings[index];
        let meter = run.meter(&[]);
        let mut sample = match who {
            Who::Ours => embedded.append(AppendLoad {
                names: names[..count].to_vec(),
                batch: batch.clone(),
                in_flight: count,
                bytes_max: 1 << 30,
                time_max: run.sample_time(),
            })?,
            Who::Raw(way) => {
                let shared = way == Way::SharedJournal;
                let commits = Commits {
                    partitions: count,
                    commit_bytes,
                    way,
                    file_bytes: if shared { 64 << 20 } else { FILE_BYTES },
                    time: run.sample_time(),
                };
                pinned(0, || raw.commit(if shared { &journal } else { &files }, commits))?
            }
        };
        sample.cost = meter.stop();
        if who == Who::Ours {
            embedded.recycle(&names)?;
        }
        Ok(sample)
    })?;
    embedded.close()?;
    drop(raw);
    let mut part = Part::new("commits", "Durable commits of many partitions", &TEXT);
    part.rows = cases.iter().map(Case::row).collect();
    let of = |count: usize, who: Who| settings.iter().position(|setting| *setting == (count, who)).map(|at| &cases[at]);
    for (count, key) in [(64, "durable_commits_vs_per_file"), (16, "durable_commits_vs_per_file_16_partitions")] {
        let per_file = [Way::FilePerPartitionDsync, Way::FilePerPartitionSync].map(|way| of(count, Who::Raw(way)));
        if let (Some(ours), [Some(dsync), Some(sync)]) = (of(count, Who::Ours), per_file) {
            let better: Vec<f64> = dsync.rounds(Sample::operations_per_s);
            let better = better.iter().zip(sync.rounds(Sample::operations_per_s)).map(|(a, b)| a.max(b));
            let better: Vec<f64> = better.collect();
            part.ratio(key, Spread::of_paired_ratios(&ours.rounds(Sample::operations_per_s), &better));
        }
    }
    if let Some(ours) = of(most, Who::Ours) {
        let label = format!("durable 16 KiB commits over {most} partitions, one core");
        part.headline(ours.spread(Sample::operations_per_s), "/s", label);
    }
    let written = written_per_payload(run, &store_dir, &names[..most.min(16)], &batch)?;
    part.ratio("write_amplification_durable_small", written.spread(Sample::write_amplification));
    part.rows.push(written.row());
    part.figures = vec![commits_figure(&settings, &cases, commit_bytes), cpu_figure(&settings, &cases)];
    Ok(part)
}

const TEXT: [&str; 3] = [
    "Every partition has one commit in flight and begins the next when it is durable. With a file each, every commit is a durable write of its own (in two ways); in a journal shared by all partitions of a \
     core, everyone who waits is acknowledged by one write.",
    "“One shared journal” in the table is the raw loop writing all partitions’ commits as one block: the ideal that group commit can approach. The store does the whole work \
     of an append: it validates each batch, orders and indexes it, and later writes it to its segment as well.",
    "The last row counts every byte written for 16 KiB commits until the store is closed: journal, segments, checkpoints.",
];

fn case_of(count: usize, who: Who, commit_bytes: usize) -> Case {
    let name = format!("{count} × {} commits", size(commit_bytes as u64));
    Case::new(name, who.system(), Durability::BeforeAck).sized(commit_bytes as u64, count as u64).over(count as u64)
}

/// Bytes written from the first commit to the end of closing the store, per byte of payload.
fn written_per_payload(
    run: &mut Run,
    dir: &std::path::Path,
    names: &[corelog_engine::TopicPartition],
    batch: &crate::client::produce::ReadyBatch,
) -> Result<Case> {
    let name = format!("{} × 16 KiB commits, until the store is closed", names.len());
    let mut case = Case::new(name, "corelog", Durability::BeforeAck).over(names.len() as u64);
    for round in 0..run.rounds.min(2) {
        run.progress.sample("corelog · bytes written", round, run.rounds.min(2));
        let embedded = Embedded::open(dir, |_| ())?;
        embedded.settle()?;
        embedded.recycle(names)?;
        let meter = run.meter(&[]);
        let load = AppendLoad {
            names: names.to_vec(),
            batch: batch.clone(),
            in_flight: names.len(),
            bytes_max: run.amount(256 << 20, 32 << 20),
            time_max: std::time::Duration::from_secs(10),
        };
        let mut sample = embedded.append(load).context("counting written bytes")?;
        embedded.close()?;
        sample.cost = meter.stop();
        case.samples.push(sample);
    }
    Ok(case)
}

fn lines(settings: &[(usize, Who)], cases: &[Case], of: impl Fn(&Sample) -> f64) -> Vec<Series> {
    let line = |who: &Who| {
        let ideal = *who == Who::Raw(Way::SharedJournal);
        let mut series = if ideal { Series::dashed(who.system()) } else { Series::new(who.system()) };
        for (setting, case) in settings.iter().zip(cases).filter(|pair| pair.0.1 == *who) {
            series.push(setting.0 as f64, case.spread(&of));
        }
        series
    };
    WHO.iter().map(line).collect()
}

fn commits_figure(settings: &[(usize, Who)], cases: &[Case], commit_bytes: usize) -> Figure {
    Figure {
        id: "commits-rate".into(),
        title: format!("Durable commits of {} per second", size(commit_bytes as u64)),
        caption: "Higher is better. Both axes are logarithmic. Each partition has one commit in flight. The dashed line is the ideal of a shared journal, written by a raw loop that does nothing else. \
                  Whiskers are the range over rounds."
            .into(),
        kind: Kind::Lines,
        x: Axis::new("partitions", Scale::Log2, Unit::Plain),
        y: Axis::new("commits per second", Scale::Log10, Unit::Plain),
        series: lines(settings, cases, Sample::operations_per_s),
    }
}

fn cpu_figure(settings: &[(usize, Who)], cases: &[Case]) -> Figure {
    let per_commit = |sample: &Sample| {
        (sample.cost.own_cpu_seconds + sample.cost.kernel_cpu_seconds) * 1e6 / sample.operations as f64
    };
    Figure {
        id: "commits-cpu".into(),
        title: "CPU time of one durable commit".into(),
        caption: "Lower is better. CPU µs per commit of the process and of the kernel’s threads together, which finish durable writes."
            .into(),
        kind: Kind::Lines,
        x: Axis::new("partitions", Scale::Log2, Unit::Plain),
        y: Axis::new("CPU per commit", Scale::Log10, Unit::Micros),
        series: lines(settings, cases, per_commit),
    }
}
