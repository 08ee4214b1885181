//! The part *recovery*: how long a store takes to open after its process was killed under load, by the size of the log and
//! the number of its segments; and whether everything acknowledged is still there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use corelog_engine::TopicPartition;

use super::embedded::{AppendLoad, Embedded, append_durably, log_config};
use super::payload;
use crate::case::{Case, Durability, Sample, interleave};
use crate::measure::Spread;
use crate::report::{Axis, Figure, Kind, Part, Series};
use crate::run::Run;

/// The parameters of *recovery*.
#[derive(Clone, Debug, Args)]
pub struct RecoveryArguments {
    /// MiB of the logs
    #[arg(long, value_delimiter = ',', default_values_t = [128, 1408])]
    pub log_mib: Vec<u64>,
    /// MiB appended since the last checkpoint when the process is killed
    #[arg(long, default_value_t = 64)]
    pub journal_mib: u64,
}

impl Default for RecoveryArguments {
    fn default() -> RecoveryArguments {
        RecoveryArguments { log_mib: vec![128, 1408], journal_mib: 64 }
    }
}

/// What the child is told: the process that is killed.
#[derive(Clone, Debug, Args)]
pub struct VictimArguments {
    /// The store’s directory
    #[arg(long)]
    pub dir: PathBuf,
    /// MiB of the log, written where it is not there yet
    #[arg(long)]
    pub log_mib: u64,
    /// Its segments
    #[arg(long)]
    pub segments: u64,
    /// MiB to append before it says that it is ready
    #[arg(long)]
    pub journal_mib: u64,
}

/// How long a child may take until it is ready to be killed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures the part.
pub fn run(run: &mut Run, arguments: &RecoveryArguments) -> Result<Part> {
    run.progress.part("recovery", "opening a store whose process was killed");
    let scratch = run.scratch("recovery")?;
    let sizes = run.amount(arguments.log_mib.clone(), vec![32]);
    let journal_mib = run.amount(arguments.journal_mib, 16);
    let settings: Vec<(u64, u64)> = sizes.iter().flat_map(|size| [(*size, 1), (*size, 100)]).collect();
    let mut cases: Vec<Case> = settings
        .iter()
        .map(|(mib, segments)| {
            let name = format!("open after kill -9: {mib} MiB in {segments} segments");
            let mut case = Case::new(name, "corelog", Durability::BeforeAck).over(1);
            case.writes = false;
            case
        })
        .collect();
    interleave(run, 3, &mut cases, |run, index, _| {
        let (log_mib, segments) = settings[index];
        let dir = scratch.path().join(format!("{log_mib}-{segments}"));
        let victim = VictimArguments { dir: dir.clone(), log_mib, segments, journal_mib };
        let acknowledged = kill_under_load(&victim)?;
        let meter = run.meter(&[]);
        let began = Instant::now();
        let embedded = open(&dir)?;
        let took = began.elapsed();
        let mut sample = Sample { operations: 1, seconds: took.as_secs_f64(), cost: meter.stop(), ..Sample::default() };
        sample.latency.record(took);
        let end = embedded.call(|shard| Box::pin(async move { Ok(shard.offsets(&name())?.end.0) }))?;
        ensure!(
            end >= acknowledged,
            "offset {acknowledged} was acknowledged, but the log ends at {end} after the kill"
        );
        embedded.close()?;
        Ok(sample)
    })?;
    let mut part = Part::new("recovery", "Recovery after kill -9", &TEXT);
    part.rows = cases.iter().map(Case::row).collect();
    let times = |case: &Case| case.rounds(|sample| sample.seconds);
    let last = cases.len() - 2;
    let label = format!("to open a log of {} MiB in 100 segments after kill -9", settings[last].0);
    part.headline(cases[last + 1].spread(|sample| sample.seconds * 1000.0), "ms", label);
    part.ratio("recovery_100_vs_1_segments", Spread::of_paired_ratios(&times(&cases[last + 1]), &times(&cases[last])));
    let largest = Spread::of_paired_ratios(&times(&cases[last]), &times(&cases[0]));
    part.ratio("recovery_largest_vs_smallest_log", largest.filter(|_| cases.len() > 2));
    let mut lines = [Series::new("1 segment"), Series::new("100 segments")];
    for ((mib, segments), case) in settings.iter().zip(&cases) {
        let line = &mut lines[usize::from(*segments != 1)];
        line.push(*mib as f64, case.spread(|sample| sample.seconds * 1000.0));
    }
    part.figures.push(Figure {
        id: "recovery-time".into(),
        title: "Time to open after kill -9".into(),
        caption: format!(
            "Lower is better, and flat is what is claimed: recovery reads the journal, never the log. Each process was killed {journal_mib} MiB after its last checkpoint. Whiskers are the range over rounds."
        ),
        kind: Kind::Lines,
        x: Axis::linear("size of the log, MiB"),
        y: Axis::linear("milliseconds until the store is open"),
        series: lines.to_vec(),
    });
    Ok(part)
}

const TEXT: [&str; 2] = [
    "A child process opens a store, appends durably and is killed with SIGKILL in the middle of it; then the store is opened and the time until it serves is taken. Every child has written the \
     same amount since its last checkpoint.",
    "After each opening the log’s end is compared with the last offset that the child had acknowledged: one that is missing fails the part.",
];

fn name() -> TopicPartition {
    TopicPartition::new("log", 0)
}

fn open(dir: &Path) -> Result<Embedded> {
    // No checkpoint but those at opening and closing: what is in the journal is decided by the load alone.
    Embedded::open(dir, |config| config.checkpoint_interval_ms = 3_600_000)
}

/// Runs a child until it is under load and kills it; the next offset of the last append that it had acknowledged.
fn kill_under_load(victim: &VictimArguments) -> Result<i64> {
    let own = std::env::current_exe().context("cannot find this program’s own place")?;
    let mut child = Command::new(own)
        .arg("victim")
        .arg("--dir")
        .arg(&victim.dir)
        .args(["--log-mib", &victim.log_mib.to_string(), "--segments", &victim.segments.to_string()])
        .args(["--journal-mib", &victim.journal_mib.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a child to be killed")?;
    let outcome = wait_and_kill(&mut child);
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

fn wait_and_kill(child: &mut Child) -> Result<i64> {
    let output = child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = mpsc::channel::<i64>();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(offset) = line.strip_prefix("acknowledged ").and_then(|text| text.parse().ok()) {
                let _ = sender.send(offset);
            }
        }
    });
    let Ok(first) = receiver.recv_timeout(PATIENCE) else {
        bail!("the child did not get under load within {PATIENCE:?}: {:?}", child.try_wait());
    };
    std::thread::sleep(Duration::from_millis(20));
    child.kill().context("cannot kill the child")?;
    child.wait()?;
    // The pipe holds what was acknowledged up to the end.
    reader.join().expect("reading lines does not panic");
    Ok(receiver.try_iter().last().unwrap_or(first))
}

/// The child: fills the log, opens it anew, appends, says what is acknowledged, and goes on until it is killed.
pub fn victim(arguments: &VictimArguments) -> Result<()> {
    let log_bytes = arguments.log_mib << 20;
    let load = |batch_kib: usize, in_flight, bytes_max| AppendLoad {
        names: vec![name()],
        batch: payload::batch(1024, batch_kib << 10),
        in_flight,
        bytes_max,
        time_max: Duration::MAX,
    };
    if !arguments.dir.exists() {
        let embedded = open(&arguments.dir)?;
        embedded.create("log", 1, log_config(false, (log_bytes / arguments.segments).max(1 << 20)))?;
        embedded.append(load(256, 0, log_bytes))?;
        embedded.settle()?;
        embedded.close()?;
    }
    let embedded = open(&arguments.dir)?;
    embedded.call(|shard| Box::pin(async move { shard.configure(&name(), log_config(true, 1 << 30)) }))?;
    embedded.append(load(16, 16, arguments.journal_mib << 20))?;
    let batch = payload::batch(1024, 16 << 10);
    loop {
        let bytes = batch.bytes.clone();
        let next = embedded.call(move |shard| {
            Box::pin(async move {
                let mut next = append_durably(&shard, &name(), &bytes).await?;
                for _ in 0..8 {
                    next = append_durably(&shard, &name(), &bytes).await?;
                }
                Ok(next)
            })
        })?;
        println!("acknowledged {next}");
    }
}
