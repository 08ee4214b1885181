//! What the user types, and what happens then.

use std::path::PathBuf;
use std::process::Command as Process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::parts::append::{self, AppendArguments};
use crate::parts::broker::{self, BrokerArguments, PeerArguments};
use crate::parts::commits::{self, CommitsArguments};
use crate::parts::crowd::{self, CrowdArguments};
use crate::parts::device::{self, DeviceArguments};
use crate::parts::flat::{self, FlatArguments};
use crate::parts::read::{self, ReadArguments};
use crate::parts::recovery::{self, RecoveryArguments, VictimArguments};
use crate::report::aim::Ratios;
use crate::report::summary::SCHEMA;
use crate::report::{Part, Summary, aim, files, row};
use crate::run::Run;

/// Measures the disk, the store and the broker on this machine, and writes a report.
///
/// Without a sub-command every part runs: about two minutes and less than 8 GiB of disk. Each part is a sub-command too.
#[derive(Debug, Parser)]
#[command(name = "corelog-bench", version)]
pub struct Arguments {
    /// Where the data goes: on the disk to be measured. Made if missing; removed files are only ours
    #[arg(long, global = true, default_value = ".bench-data")]
    data_dir: PathBuf,
    /// Where the report goes, in a directory `<UTC date>-<host>`
    #[arg(long, global = true, default_value = "results")]
    results_dir: PathBuf,
    /// Interleaved rounds per case [default: 5, quick 2]
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Seconds of one sample [default: 0.25, quick 0.15]
    #[arg(long, global = true)]
    seconds: Option<f64>,
    /// A short run of every part, for CI: it shows that all works, its figures mean little
    #[arg(long, global = true)]
    quick: bool,
    #[command(subcommand)]
    part: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the disk gives to a raw io_uring loop, fio and tokio-uring
    Device(DeviceArguments),
    /// Appends on one shard beside raw writes, not durable and durable
    Append(AppendArguments),
    /// Whether an append costs the same whatever lies behind it: bytes, segments, partitions
    Flat(FlatArguments),
    /// Durable commits of many partitions, a shared journal against a file each
    Commits(CommitsArguments),
    /// Sequential reads from memory and from the disk, and appends beside a cold reader
    Read(ReadArguments),
    /// Time to open a store whose process was killed under load
    Recovery(RecoveryArguments),
    /// The process that *recovery* kills
    #[command(hide = true)]
    Victim(VictimArguments),
    /// Produce and fetch through a corelog of its own over the Kafka protocol
    Broker(BrokerArguments),
    /// The same load against any Kafka broker
    Peer(PeerArguments),
    /// Thousands of connections, idle and active, and thousands of partitions; not part of the run without a sub-command
    Crowd(CrowdArguments),
    /// Write the CSV, SVG and HTML of an earlier run again from its summary.json
    Render {
        /// The directory of the run
        dir: PathBuf,
    },
}

impl Arguments {
    /// Does what was asked.
    pub fn execute(self) -> Result<()> {
        if let Some(Command::Render { dir }) = &self.part {
            files::write_into(dir, &files::read(dir)?)?;
            println!("rewrote {}", dir.join("report.html").display());
            return Ok(());
        }
        if let Some(Command::Victim(arguments)) = &self.part {
            return recovery::victim(arguments);
        }
        let started = rfc3339(SystemTime::now());
        let rounds = self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1);
        let seconds = self.seconds.unwrap_or(if self.quick { 0.15 } else { 0.25 }).max(0.01);
        let gate = if self.quick { Duration::ZERO } else { Duration::from_millis(300) };
        let mut run = Run::new(&self.data_dir, rounds, seconds, self.quick, gate)?;
        let (parts, suffix) = self.run_parts(&mut run)?;
        run.progress.finish();
        let mut ratios = Ratios::new();
        for (key, spread) in parts.iter().flat_map(|part| &part.ratios) {
            if aim::AIMS.iter().any(|aim| aim.key == key) {
                ratios.insert(key.clone(), *spread);
            }
        }
        let summary = Summary {
            schema: SCHEMA,
            started,
            duration_seconds: run.progress.elapsed().as_secs_f64(),
            commit: commit(),
            command: command_line(),
            rounds,
            sample_seconds: seconds,
            quick: self.quick,
            noisy_starts: run.gate.gave_up(),
            machine: run.machine.clone(),
            ratios,
            parts,
        };
        print(&summary);
        let dir = files::write(&self.results_dir, &suffix, &summary)?;
        println!("\n{}", dir.join("report.html").display());
        let failed: Vec<&str> =
            summary.parts.iter().filter(|part| part.error.is_some()).map(|part| &*part.name).collect();
        anyhow::ensure!(failed.is_empty(), "did not run to their end: {}", failed.join(", "));
        Ok(())
    }

    /// The parts asked for, and what to append to the name of the directory of the results.
    fn run_parts(&self, run: &mut Run) -> Result<(Vec<Part>, String)> {
        let suffix = if self.quick { "-quick" } else { "" };
        match &self.part {
            Some(Command::Device(arguments)) => Ok((vec![device::run(run, arguments)?], format!("-device{suffix}"))),
            Some(Command::Append(arguments)) => Ok((vec![append::run(run, arguments)?], format!("-append{suffix}"))),
            Some(Command::Flat(arguments)) => Ok((vec![flat::run(run, arguments)?], format!("-flat{suffix}"))),
            Some(Command::Commits(arguments)) => Ok((vec![commits::run(run, arguments)?], format!("-commits{suffix}"))),
            Some(Command::Read(arguments)) => Ok((vec![read::run(run, arguments)?], format!("-read{suffix}"))),
            Some(Command::Recovery(arguments)) => {
                Ok((vec![recovery::run(run, arguments)?], format!("-recovery{suffix}")))
            }
            Some(Command::Broker(arguments)) => Ok((vec![broker::run(run, arguments)?], format!("-broker{suffix}"))),
            Some(Command::Peer(arguments)) => {
                Ok((vec![broker::peer(run, arguments)?], format!("-peer-{}{suffix}", arguments.name)))
            }
            Some(Command::Crowd(arguments)) => Ok((crowd::run(run, arguments)?, format!("-crowd{suffix}"))),
            Some(Command::Render { .. } | Command::Victim(_)) => unreachable!("handled before"),
            None => Ok((all(run), suffix.to_owned())),
        }
    }
}

/// Every part with its defaults. One that fails is reported and does not stop the others.
fn all(run: &mut Run) -> Vec<Part> {
    type Body = fn(&mut Run) -> Result<Part>;
    let bodies: [(&str, Body); 7] = [
        ("device", |run| device::run(run, &DeviceArguments::default())),
        ("append", |run| append::run(run, &AppendArguments::default())),
        ("flat", |run| flat::run(run, &FlatArguments::default())),
        ("commits", |run| commits::run(run, &CommitsArguments::default())),
        ("read", |run| read::run(run, &ReadArguments::default())),
        ("recovery", |run| recovery::run(run, &RecoveryArguments::default())),
        ("broker", |run| broker::run(run, &BrokerArguments::default())),
    ];
    let parts = bodies.into_iter().map(|(name, body)| {
        body(run).unwrap_or_else(|error| {
            run.progress.line(&format!("{name} failed: {error:#}"));
            Part { error: Some(format!("{error:#}")), ..Part::new(name, name, &[]) }
        })
    });
    parts.collect()
}

fn print(summary: &Summary) {
    let rows = summary.parts.iter().flat_map(|part| part.rows.iter().map(|row| (part.name.as_str(), row)));
    println!("{}", row::terminal_table(rows));
    if summary.parts.iter().any(|part| !part.facts.is_empty()) {
        println!("{}", row::terminal_facts(summary.parts.iter().flat_map(|part| &part.facts)));
    }
    if summary.parts.iter().flat_map(|part| &part.rows).any(|row| row.disturbed_rounds > 0) {
        println!("* disturbed: in a round or more others used over 8 % of the machine");
    }
    for line in aim::terminal_lines(&summary.ratios) {
        println!("{line}");
    }
}

/// The commit of this build: from the environment of the build, else from git where the sources lie.
fn commit() -> String {
    if let Some(commit) = option_env!("CORELOG_COMMIT") {
        return commit.to_owned();
    }
    let git = |arguments: &[&str]| {
        let output = Process::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    if changed { format!("{head}-dirty") } else { head }
}

/// The command line with the program's name alone, not its place.
fn command_line() -> String {
    let arguments = std::env::args().skip(1);
    std::iter::once("corelog-bench".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A time as RFC 3339 in UTC, to the second (the civil calendar from days, as in Hinnant's `civil_from_days`).
fn rfc3339(time: SystemTime) -> String {
    let seconds =
        time.duration_since(UNIX_EPOCH).context("the clock is before 1970").map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn dates_are_civil() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(1_709_208_000), "2024-02-29T12:00:00Z");
    }
}
