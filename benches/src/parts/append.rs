//! The part *append*: how close appends come to the device, not durable and durable, and how many bytes they write.

use anyhow::{Context, Result};
use clap::Args;
use corelog_engine::io::IoFacts;

use super::embedded::{AppendLoad, Embedded, log_config};
use super::payload;
use crate::case::{Case, Durability, Sample, interleave};
use crate::device::{Operation, RawLoop, Work, file, pinned};
use crate::measure::Spread;
use crate::report::row::size;
use crate::report::{Axis, Figure, Kind, Part, Scale, Series, Unit};
use crate::run::Run;

/// The parameters of *append*.
#[derive(Clone, Debug, Args)]
pub struct AppendArguments {
    /// MiB appended in one sample at most
    #[arg(long, default_value_t = 1024)]
    pub sample_mib: u64,
    /// MiB of a segment
    #[arg(long, default_value_t = 1024)]
    pub segment_mib: u64,
    /// Bytes of a record's value
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
}

impl Default for AppendArguments {
    fn default() -> AppendArguments {
        AppendArguments { sample_mib: 1024, segment_mib: 1024, record_bytes: 1024 }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Setting {
    /// The store.
    Ours { durable: bool, batch_bytes: usize, in_flight: usize },
    /// The raw loop.
    Raw { durable: bool, block_bytes: usize, depth: usize },
}

const MIB: usize = 1 << 20;

/// Measures the part.
pub fn run(run: &mut Run, arguments: &AppendArguments) -> Result<Part> {
    run.progress.part("append", "appends on one shard beside raw writes");
    let scratch = run.scratch("append")?;
    let sample_bytes = run.amount(arguments.sample_mib, arguments.sample_mib.min(128)) << 20;
    let segment_bytes = run.amount(arguments.segment_mib, arguments.segment_mib.min(64)) << 20;
    let mut raw = RawLoop::new(super::device::ARENA_BYTES, true, true)?;
    let raw_path = scratch.path().join("prewritten");
    file::prepare(&raw_path, sample_bytes, file::State::Prewritten, &mut raw)?;
    let (raw_file, _) = file::open_direct(&raw_path)?;
    let embedded = Embedded::open(&scratch.path().join("store"), |config| config.retention_check_ms = 3_600_000)?;
    let plain = embedded.create("plain", 1, log_config(false, segment_bytes))?;
    let durable = embedded.create("durable", 1, log_config(true, segment_bytes))?;
    let embedded = embedded.reopen(&[
        (plain.clone(), log_config(false, segment_bytes)),
        (durable.clone(), log_config(true, segment_bytes)),
    ])?;
    embedded.settle()?;
    run.progress.doing("writing segments once, so that the store recycles them");
    // The second time the open segment is a recycled one as well: else the first round would write into fresh blocks.
    for (names, segments) in [(&plain, 2), (&plain, 1), (&durable, 1), (&durable, 1)] {
        let warm = AppendLoad {
            names: names.clone(),
            batch: payload::batch(arguments.record_bytes, MIB),
            in_flight: if names == &durable { 4 } else { 0 },
            bytes_max: segments * segment_bytes + (64 << 20),
            time_max: std::time::Duration::MAX,
        };
        embedded.append(warm)?;
        embedded.recycle(names)?;
    }

    let settings = settings(run.quick);
    let mut cases: Vec<Case> = settings.iter().map(case_of).collect();
    interleave(run, usize::MAX, &mut cases, |run, index, _| {
        let (time_max, meter);
        let mut sample = match settings[index] {
            Setting::Raw { durable, block_bytes, depth } => {
                let large = block_bytes >= MIB;
                time_max = if large { std::time::Duration::from_secs(5) } else { run.sample_time() };
                let work = Work {
                    operation: if durable { Operation::DurableWrite } else { Operation::Write },
                    block_bytes,
                    depth,
                    file_bytes: sample_bytes,
                    time_max,
                    bytes_max: sample_bytes,
                };
                meter = run.meter(&[]);
                pinned(0, || raw.run(&raw_file, work))?
            }
            Setting::Ours { durable: is_durable, batch_bytes, in_flight } => {
                let large = batch_bytes >= MIB || !is_durable;
                time_max = if large { std::time::Duration::from_secs(5) } else { run.sample_time() };
                let load = AppendLoad {
                    names: if is_durable { durable.clone() } else { plain.clone() },
                    batch: payload::batch(arguments.record_bytes.min(batch_bytes / 2), batch_bytes),
                    in_flight,
                    bytes_max: sample_bytes,
                    time_max,
                };
                meter = run.meter(&[]);
                embedded.append(load)?
            }
        };
        sample.cost = meter.stop();
        if let Setting::Ours { durable: is_durable, .. } = settings[index] {
            embedded.recycle(if is_durable { &durable } else { &plain })?;
        }
        Ok(sample)
    })?;
    let mut part = Part::new("append", "Append beside the device", &TEXT);
    let facts = embedded.facts()?;
    run.machine.huge_pages_asked_bytes = facts.arena_bytes;
    run.machine.huge_pages_granted_bytes = facts.huge_pages_bytes_granted;
    part.text.push(facts_text(&facts));
    embedded.close()?;
    part.rows = cases.iter().map(Case::row).collect();
    ratios(&settings, &cases, &mut part)?;
    part.figures = vec![throughput_figure(&settings, &cases), durable_figure(&settings, &cases)];
    Ok(part)
}

const TEXT: [&str; 4] = [
    "The store runs inside the harness, one shard on one core; batches are appended on the shard’s own thread, as a server’s handler does it: validated (length, CRC-32C, every record’s length and \
     offset), given offsets, copied once. The raw loop runs on the same core with the same amounts, in the same rounds.",
    "Not durable: as fast as the store takes batches, until the disk has them; the store writes in groups of 1 MiB. The latency is that of the call, which returns when the batch is in \
     memory.",
    "Durable: a number of appends is in flight, each waits until it is on stable storage; the raw loop has as many RWF_DSYNC writes of the same size in flight. Small appends go to the shared journal \
     and once more, later, to their segment; large ones straight to the segment. “Written / payload” counts both.",
    "Segments are recycled: like the raw loop’s file they were written before.",
];

/// What the shard got from the kernel, in words.
fn facts_text(facts: &IoFacts) -> String {
    let direct = if facts.direct { "O_DIRECT" } else { "the page cache (this file system has no O_DIRECT)" };
    let registered = if facts.registered_buffers { "registered" } else { "not registered" };
    let granted = size(facts.huge_pages_bytes_granted);
    let mut text = format!(
        "The shard’s ring ran in mode “{}” over {direct}, its {} of buffers were {registered}, {granted} of them on huge pages.",
        facts.ring_mode.name(),
        size(facts.arena_bytes),
    );
    for warning in &facts.warnings {
        text += &format!(" It warned: {warning}.");
    }
    text
}

fn settings(quick: bool) -> Vec<Setting> {
    let ours = |durable, batch_bytes, in_flight| Setting::Ours { durable, batch_bytes, in_flight };
    let raw = |durable, block_bytes, depth| Setting::Raw { durable, block_bytes, depth };
    let mut settings = vec![
        raw(false, MIB, 4),
        ours(false, MIB, 0),
        raw(false, MIB, 2),
        ours(false, 16 << 10, 0),
        raw(true, MIB, 4),
        ours(true, MIB, 4),
        raw(true, 16 << 10, 1),
        ours(true, 16 << 10, 1),
    ];
    if !quick {
        settings.extend([
            raw(true, 4 << 10, 1),
            ours(true, 4 << 10, 1),
            raw(true, 256 << 10, 4),
            ours(true, 256 << 10, 4),
        ]);
    }
    settings
}

fn case_of(setting: &Setting) -> Case {
    let durability = |durable| if durable { Durability::BeforeAck } else { Durability::None };
    match *setting {
        Setting::Ours { durable, batch_bytes, in_flight } => {
            let name = match in_flight {
                0 => format!("append {} batches", size(batch_bytes as u64)),
                1 => format!("append {} batches, one in flight", size(batch_bytes as u64)),
                count => format!("append {} batches, {count} in flight", size(batch_bytes as u64)),
            };
            Case::new(name, "corelog", durability(durable)).sized(batch_bytes as u64, in_flight as u64).over(1)
        }
        Setting::Raw { durable, block_bytes, depth } => {
            let name = format!("write {}, depth {depth}", size(block_bytes as u64));
            Case::new(name, "raw io_uring", durability(durable)).sized(block_bytes as u64, depth as u64)
        }
    }
}

fn ratios(settings: &[Setting], cases: &[Case], part: &mut Part) -> Result<()> {
    let find = |wanted: Setting| settings.iter().position(|setting| *setting == wanted).map(|place| &cases[place]);
    let rate = |case: &Case| case.spread(Sample::mb_per_s).map_or(0.0, |spread| spread.median);
    // The device's limit is the depth that gave the most here.
    let limit = |durable: bool| {
        let depths = [2, 4].map(|depth| find(Setting::Raw { durable, block_bytes: MIB, depth }));
        depths.into_iter().flatten().max_by(|left, right| rate(left).total_cmp(&rate(right)))
    };
    let ours = find(Setting::Ours { durable: false, batch_bytes: MIB, in_flight: 0 }).context("it was measured")?;
    let device = limit(false).context("it was measured")?;
    part.ratio("append_vs_device", Spread::of_paired_ratios(&ours.rates(), &device.rates()));
    part.ratio("write_amplification", ours.spread(Sample::write_amplification));
    let durable = find(Setting::Ours { durable: true, batch_bytes: MIB, in_flight: 4 }).context("it was measured")?;
    let same = find(Setting::Raw { durable: true, block_bytes: MIB, depth: 4 }).context("it was measured")?;
    part.ratio("durable_append_vs_device", Spread::of_paired_ratios(&durable.rates(), &same.rates()));
    part.headline(ours.spread(Sample::mb_per_s), "MB/s", "append on one core, not synced");
    part.headline(durable.spread(Sample::mb_per_s), "MB/s", "append on one core, durable before the acknowledgement");
    let small =
        find(Setting::Ours { durable: true, batch_bytes: 16 << 10, in_flight: 1 }).context("it was measured")?;
    let small_raw = find(Setting::Raw { durable: true, block_bytes: 16 << 10, depth: 1 }).context("it was measured")?;
    part.ratio(
        "durable_16_kib_append_vs_one_device_write",
        Spread::of_paired_ratios(&small.rates(), &small_raw.rates()),
    );
    let small_batches =
        find(Setting::Ours { durable: false, batch_bytes: 16 << 10, in_flight: 0 }).context("it was measured")?;
    part.ratio("append_16_kib_batches_vs_device", Spread::of_paired_ratios(&small_batches.rates(), &device.rates()));
    Ok(())
}

fn throughput_figure(settings: &[Setting], cases: &[Case]) -> Figure {
    let mut groups: Vec<String> = Vec::new();
    let mut series = [Series::new("corelog"), Series::new("raw io_uring")];
    for (setting, case) in settings.iter().zip(cases) {
        let (system, group) = match *setting {
            Setting::Ours { durable, batch_bytes, in_flight } => {
                (0, group_name(durable, batch_bytes, if in_flight == 0 { 4 } else { in_flight }))
            }
            Setting::Raw { durable, block_bytes, depth } => (1, group_name(durable, block_bytes, depth)),
        };
        let Some(group) = group else { continue };
        let place = groups.iter().position(|known| *known == group).unwrap_or_else(|| {
            groups.push(group);
            groups.len() - 1
        });
        series[system].push(place as f64, case.spread(Sample::mb_per_s));
    }
    Figure {
        id: "append-throughput".into(),
        title: "Append throughput beside the device’s limit".into(),
        caption: "Higher is better. Blue is the store, which validates, orders and indexes; grey is the raw loop, which only writes. The first group is not durable; in the others every acknowledgement \
                  waits for stable storage, with as many in flight as the label says. Whiskers are the range over rounds."
            .into(),
        kind: Kind::Bars { groups },
        x: Axis::linear(""),
        y: Axis::linear("MB/s"),
        series: series.to_vec(),
    }
}

/// The group of a bar; `None` for what is in the table alone.
fn group_name(durable: bool, bytes: usize, in_flight: usize) -> Option<String> {
    match (durable, in_flight) {
        (false, 4) if bytes >= MIB => Some(format!("{}, not durable", size(bytes as u64))),
        (false, _) => None,
        (true, 1) => None,
        (true, count) => Some(format!("{} × {count}, durable", size(bytes as u64))),
    }
}

fn durable_figure(settings: &[Setting], cases: &[Case]) -> Figure {
    let mut series = [Series::new("corelog"), Series::new("raw io_uring")];
    let mut groups: Vec<String> = Vec::new();
    let mut points: Vec<(usize, usize, &Case)> = settings
        .iter()
        .zip(cases)
        .filter_map(|(setting, case)| match *setting {
            Setting::Ours { durable: true, batch_bytes, in_flight: 1 } => Some((0, batch_bytes, case)),
            Setting::Raw { durable: true, block_bytes, depth: 1 } => Some((1, block_bytes, case)),
            _ => None,
        })
        .collect();
    points.sort_by_key(|point| point.1);
    for (system, bytes, case) in points {
        let group = size(bytes as u64);
        let place = groups.iter().position(|known| *known == group).unwrap_or_else(|| {
            groups.push(group);
            groups.len() - 1
        });
        series[system].push(place as f64, case.spread(|sample| sample.latency.micros_at(0.5)));
    }
    Figure {
        id: "append-durable-latency".into(),
        title: "A lone durable append beside one durable write".into(),
        caption: "Lower is better. Median latency with one append in flight: nothing to share a group with, so this is the store’s worst case. Whiskers are the range over rounds."
            .into(),
        kind: Kind::Bars { groups },
        x: Axis::linear("bytes per append"),
        y: Axis::new("median latency", Scale::Linear, Unit::Micros),
        series: series.to_vec(),
    }
}
