//! The part *device*: what the disk gives to a raw io_uring loop, to fio and to tokio-uring, by size, depth, durability and
//! state of the file.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::case::{Case, Durability, Sample, interleave};
use crate::device::{Operation, RawLoop, Work, baseline, file, fio};
use crate::report::row::size;
use crate::report::{Axis, Figure, Kind, Part, Scale, Series, Unit};
use crate::run::Run;

/// Bytes of buffers behind the raw loop: enough for four operations of 1 MiB, within a memlock limit of 8 MiB.
pub const ARENA_BYTES: usize = 4 << 20;

/// The parameters of *device*.
#[derive(Clone, Debug, Args)]
pub struct DeviceArguments {
    /// MiB of the file that is written and read
    #[arg(long, default_value_t = 1024)]
    pub file_mib: u64,
    /// Leave fio out even where it is installed
    #[arg(long)]
    pub no_fio: bool,
    /// Leave tokio-uring out
    #[arg(long)]
    pub no_baseline: bool,
}

impl Default for DeviceArguments {
    fn default() -> DeviceArguments {
        DeviceArguments { file_mib: 1024, no_fio: false, no_baseline: false }
    }
}

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Raw,
    /// Raw on a file that is reserved but unwritten.
    RawUnwritten,
    /// Raw without registered memory and file, on 4 KiB pages.
    RawPlain,
    Fio,
    TokioUring,
}

impl Backend {
    fn system(self) -> &'static str {
        match self {
            Backend::Raw | Backend::RawUnwritten => "raw io_uring",
            Backend::RawPlain => "raw io_uring, plain buffers",
            Backend::Fio => "fio",
            Backend::TokioUring => "tokio-uring",
        }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
struct Setting {
    backend: Backend,
    operation: Operation,
    block_bytes: usize,
    depth: usize,
}

/// Measures the part.
pub fn run(run: &mut Run, arguments: &DeviceArguments) -> Result<Part> {
    run.progress.part("device", "what the disk gives to a raw io_uring loop");
    let scratch = run.scratch("device")?;
    let file_bytes = run.amount(arguments.file_mib, arguments.file_mib.min(256)) << 20;
    let path = scratch.path().join("prewritten");
    let mut raw = RawLoop::new(ARENA_BYTES, true, true)?;
    run.machine.huge_pages_granted_bytes = raw.arena().huge_page_bytes();
    run.machine.huge_pages_asked_bytes = raw.arena().len() as u64;
    run.progress.doing("writing the file once, so that writes only overwrite");
    file::prepare(&path, file_bytes, file::State::Prewritten, &mut raw)?;
    let (open, direct) = file::open_direct(&path)?;
    let mut plain = RawLoop::new(ARENA_BYTES, false, false)?;
    let unwritten = scratch.path().join("unwritten");
    let fio_version = fio::version().filter(|_| !arguments.no_fio);
    let settings = settings(run.quick, fio_version.is_some(), !arguments.no_baseline);
    let mut cases: Vec<Case> = settings.iter().map(case_of).collect();
    if !direct {
        cases
            .iter_mut()
            .for_each(|case| case.notes.push("no O_DIRECT on this file system: through the page cache".into()));
    }
    interleave(run, 3, &mut cases, |run, index, _| {
        let setting = settings[index];
        let work = Work {
            operation: setting.operation,
            block_bytes: setting.block_bytes,
            depth: setting.depth,
            file_bytes,
            time_max: run.sample_time().mul_f64(0.6),
            bytes_max: u64::MAX,
        };
        let fresh =
            (setting.backend == Backend::RawUnwritten).then(|| fresh_file(&unwritten, file_bytes / 2, &mut raw));
        let fresh = fresh.transpose()?;
        let meter = run.meter(&[]);
        let mut sample = match setting.backend {
            Backend::Raw => raw.run(&open, work)?,
            Backend::RawPlain => plain.run(&open, work)?,
            Backend::RawUnwritten => {
                let fresh = fresh.as_ref().expect("made above");
                raw.run(fresh, Work { file_bytes: file_bytes / 2, bytes_max: file_bytes / 2, ..work })?
            }
            Backend::Fio => fio::run(&path, work)?,
            Backend::TokioUring => baseline::run(&path, work)?,
        };
        let own_seconds = sample.cost.seconds;
        sample.cost = meter.stop();
        if setting.backend == Backend::Fio {
            sample.cost.seconds = own_seconds;
            sample.cost.written_bytes = 0;
        }
        Ok(sample)
    })?;
    let mut part = Part::new("device", "The device’s limit", &TEXT);
    if let Some(version) = fio_version {
        part.text.push(format!(
            "fio here is {version}, with registered buffers on transparent huge pages and the same file."
        ));
    }
    part.rows = cases.iter().map(Case::row).collect();
    let find = |backend, operation, block_bytes, depth| -> Option<&Case> {
        let place = settings.iter().position(|setting| {
            setting.backend == backend
                && setting.operation == operation
                && setting.block_bytes == block_bytes
                && setting.depth == depth
        });
        place.map(|place| &cases[place])
    };
    for (key, operation, block_bytes, over, under) in [
        ("raw_vs_fio_write", Operation::Write, 1 << 20, Backend::Raw, Backend::Fio),
        ("raw_vs_fio_read", Operation::Read, 1 << 20, Backend::Raw, Backend::Fio),
        ("tokio_uring_vs_raw_write", Operation::Write, 1 << 20, Backend::TokioUring, Backend::Raw),
        (
            "unwritten_vs_prewritten_durable_write",
            Operation::DurableWrite,
            1 << 20,
            Backend::RawUnwritten,
            Backend::Raw,
        ),
        ("plain_buffers_vs_registered_huge_write", Operation::Write, 1 << 20, Backend::RawPlain, Backend::Raw),
    ] {
        let depth = if operation == Operation::DurableWrite { 1 } else { 2 };
        let pair = (find(over, operation, block_bytes, depth), find(under, operation, block_bytes, depth));
        if let (Some(over), Some(under)) = pair {
            part.ratio(key, crate::measure::Spread::of_paired_ratios(&over.rates(), &under.rates()));
        }
    }
    part.figures = vec![throughput_figure(&settings, &cases), durable_figure(&settings, &cases)];
    Ok(part)
}

const TEXT: [&str; 3] = [
    "What this disk gives to a program that does nothing else: one thread, one io_uring with SINGLE_ISSUER and DEFER_TASKRUN, a registered file, registered \
     buffers on huge pages, O_DIRECT. Later parts are measured against this loop, in rounds of their own.",
    "The file was written once before (prewritten), as a recycled segment or the journal is: its writes only overwrite and touch no file-system metadata. \
     Rows on an unwritten file, reserved with fallocate, show what that is worth.",
    "tokio-uring runs through its file API with registered huge-page buffers; it has neither registered files nor per-write flags, so its durable writes go to a \
     file opened with O_DSYNC. “Plain buffers” is the raw loop without registered memory, on 4 KiB pages.",
];

fn settings(quick: bool, with_fio: bool, with_baseline: bool) -> Vec<Setting> {
    use Operation::{DurableWrite, Read, Write};
    let mut settings = Vec::new();
    let mut add = |backend, operation, block_bytes, depth| {
        settings.push(Setting { backend, operation, block_bytes, depth });
    };
    let mut others = vec![];
    others.extend(with_fio.then_some(Backend::Fio));
    others.extend(with_baseline.then_some(Backend::TokioUring));
    let depths: &[usize] = if quick { &[2] } else { &[1, 2, 4] };
    for operation in [Write, Read] {
        for &depth in depths {
            add(Backend::Raw, operation, 1 << 20, depth);
        }
        for &other in &others {
            add(other, operation, 1 << 20, 2);
        }
        if !quick {
            add(Backend::RawPlain, operation, 1 << 20, 2);
        }
    }
    let blocks: &[usize] =
        if quick { &[16 << 10, 1 << 20] } else { &[4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] };
    for &block_bytes in blocks {
        add(Backend::Raw, DurableWrite, block_bytes, 1);
        for &other in others.iter().filter(|_| !quick && matches!(block_bytes, 0x1000 | 0x10_0000)) {
            add(other, DurableWrite, block_bytes, 1);
        }
        if !quick && matches!(block_bytes, 0x1000 | 0x10_0000) {
            add(Backend::RawUnwritten, DurableWrite, block_bytes, 1);
        }
    }
    settings
}

fn case_of(setting: &Setting) -> Case {
    let durability = match setting.operation {
        Operation::Read => Durability::NotApplicable,
        Operation::Write => Durability::None,
        Operation::DurableWrite => Durability::BeforeAck,
    };
    let mut name =
        format!("{} {}, depth {}", setting.operation.verb(), size(setting.block_bytes as u64), setting.depth);
    if setting.backend == Backend::RawUnwritten {
        name += ", unwritten file";
    }
    Case::new(name, setting.backend.system(), durability).sized(setting.block_bytes as u64, setting.depth as u64)
}

fn fresh_file(path: &Path, bytes: u64, raw: &mut RawLoop) -> Result<std::fs::File> {
    file::prepare(path, bytes, file::State::Unwritten, raw)?;
    Ok(file::open_direct(path)?.0)
}

fn throughput_figure(settings: &[Setting], cases: &[Case]) -> Figure {
    let groups: Vec<(Operation, usize)> = {
        let plain = settings.iter().filter(|setting| setting.operation != Operation::DurableWrite);
        let mut groups: Vec<_> = plain.map(|setting| (setting.operation, setting.depth)).collect();
        groups.sort_by_key(|group| (group.0 == Operation::Read, group.1));
        groups.dedup();
        groups
    };
    let mut series: Vec<Series> = Vec::new();
    for (setting, case) in settings.iter().zip(cases) {
        let group = groups.iter().position(|group| *group == (setting.operation, setting.depth));
        let Some(group) = group.filter(|_| setting.backend != Backend::RawUnwritten) else { continue };
        let system = setting.backend.system();
        let place = series.iter().position(|series| series.name == system).unwrap_or_else(|| {
            series.push(Series::new(system));
            series.len() - 1
        });
        series[place].push(group as f64, case.spread(Sample::mb_per_s));
    }
    Figure {
        id: "device-throughput".into(),
        title: "Sequential throughput of the device, 1 MiB operations".into(),
        caption: "Higher is better. Bars are medians of rounds, whiskers the slowest and the fastest round; depth is the number of operations in flight. \
                  The raw loop is the limit that the store is compared with."
            .into(),
        kind: Kind::Bars {
            groups: groups.iter().map(|(operation, depth)| format!("{}, depth {depth}", operation.verb())).collect(),
        },
        x: Axis::linear(""),
        y: Axis::linear("MB/s"),
        series,
    }
}

fn durable_figure(settings: &[Setting], cases: &[Case]) -> Figure {
    let mut series: Vec<Series> = Vec::new();
    for (setting, case) in settings.iter().zip(cases) {
        if setting.operation != Operation::DurableWrite {
            continue;
        }
        let unwritten = setting.backend == Backend::RawUnwritten;
        let name = if unwritten { "raw io_uring, unwritten file" } else { setting.backend.system() };
        let place = series.iter().position(|series| series.name == name).unwrap_or_else(|| {
            series.push(if unwritten { Series::dashed(name) } else { Series::new(name) });
            series.len() - 1
        });
        let rounds = case.rounds(|sample| sample.latency.micros_at(0.5));
        series[place].push(setting.block_bytes as f64, crate::measure::Spread::of(&rounds));
    }
    Figure {
        id: "device-durable-latency".into(),
        title: "The price of one durable write".into(),
        caption: "Lower is better. Median latency of one write with RWF_DSYNC, one in flight, by its size; whiskers are the range over rounds. Up to about 64 KiB the size hardly \
                  matters: that is why small appends are collected into groups. On an unwritten file each write is also a change of file-system metadata."
            .into(),
        kind: Kind::Lines,
        x: Axis::new("bytes per write", Scale::Log2, Unit::Bytes),
        y: Axis::new("median latency", Scale::Log10, Unit::Micros),
        series,
    }
}
