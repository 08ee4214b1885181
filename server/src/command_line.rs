//! The command line of `corelog`: a broker, and the tools that look into its data directory.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use corelog_engine::{Error, inspect};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use crate::config::{ConfigError, Given, Settings};
use crate::loggers;

/// A durable commit log that speaks the Apache Kafka protocol.
#[derive(Parser)]
#[command(name = "corelog", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Serves clients, until SIGTERM or Ctrl-C. This is what `corelog` does without a command.
    Serve(ServeArgs),
    /// Prints what is in a segment, index, journal or checkpoint, or in all of a data directory.
    Dump {
        /// The file or directory.
        path: PathBuf,
        /// As JSON, one object per line.
        #[arg(long)]
        json: bool,
    },
    /// Checks every invariant of a data directory that nobody has open; exit 1 and a list if one is broken.
    Verify {
        /// The data directory.
        dir: PathBuf,
    },
}

#[derive(Args)]
struct ServeArgs {
    /// A server.properties file; the flags go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory (`log.dirs`), created where it is missing.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen (`listeners`); port 0 picks a free one.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Shards, each a thread on a core of its own (`corelog.cores`).
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// How logs are written to stderr; their level is that of RUST_LOG, else info.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", env = "CORELOG_LOG_FORMAT")]
    log_format: LogFormat,
    /// A setting; may be repeated, the last one counts.
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    option: Vec<String>,
}

/// Does what the arguments say, the program's name first; what goes wrong is one line on stderr. For the start of a
/// `main`: it blocks SIGTERM and SIGINT, which threads that run already would go on taking.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Before any thread is started, so that each inherits it and only `serve` takes the signals.
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    signals.thread_block().expect("signals can be blocked");
    let cli = Cli::parse_from(arguments);
    let outcome = match cli.command {
        None => serve(&cli.serve, &signals),
        Some(Command::Serve(args)) => serve(&args, &signals),
        Some(Command::Dump { path, json }) => dump(&path, json, &signals),
        Some(Command::Verify { dir }) => verify(&dir, &signals),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("corelog: {error}");
            if let Some(Error::Corrupt { .. }) = error.downcast_ref() {
                eprintln!("{DAMAGED}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What to do about damage, whichever file it is in.
const DAMAGED: &str = "corelog: nothing was changed; `corelog verify DIR` lists all damage, and docs/operations.md, \
    \"A damaged data directory\", says what can be done";

fn serve(args: &ServeArgs, signals: &SigSet) -> Result<ExitCode, Box<dyn std::error::Error>> {
    log_to_stderr(args.log_format);
    raise_descriptor_limit();
    let settings = args.settings()?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let running = crate::serve(settings)?;
    let mut stdout = io::stdout();
    // Whoever started us may not listen.
    let _ = writeln!(stdout, "corelog ready on {}", running.addr()).and_then(|()| stdout.flush());
    let signal = signals.wait()?;
    tracing::info!(%signal, "shutting down");
    end_at_once_if_told_again(*signals);
    running.shutdown()?;
    Ok(ExitCode::SUCCESS)
}

/// Some senders, such as `timeout`, signal the process and then its group: what comes right behind the first signal is the same wish.
const SAME_WISH: Duration = Duration::from_secs(1);

fn end_at_once_if_told_again(signals: SigSet) {
    let first = Instant::now();
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if first.elapsed() < SAME_WISH {
                continue;
            }
            eprintln!(
                "corelog: {signal} again: ended without a clean shutdown; the next start recovers from the journal"
            );
            std::process::exit(130);
        }
    });
}

fn dump(path: &Path, json: bool, signals: &SigSet) -> Result<ExitCode, Box<dyn std::error::Error>> {
    signals.thread_unblock()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match inspect::dump(path, json, &mut out)
        .and_then(|()| out.flush().map_err(|error| Error::io("write", path, None, error)))
    {
        // Whoever reads has read enough.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        outcome => outcome.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
}

fn verify(dir: &Path, signals: &SigSet) -> Result<ExitCode, Box<dyn std::error::Error>> {
    signals.thread_unblock()?;
    let inspect::Report { partitions, segments, batches, records, bytes, index_entries, notes, findings } =
        inspect::verify(dir)?;
    for note in notes {
        println!("note: {note}");
    }
    for finding in &findings {
        println!("broken: {finding}");
    }
    println!(
        "{}: {partitions} partitions, {segments} segments, {batches} batches, {records} records, {bytes} bytes, {index_entries} index entries; {}",
        dir.display(),
        if findings.is_empty() { "all is well".into() } else { format!("{} broken", findings.len()) }
    );
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl ServeArgs {
    /// The file's settings, then the flags', then those of `-o`.
    fn settings(&self) -> Result<Settings, ConfigError> {
        let mut given = match &self.config {
            Some(path) => Given::from_file(path)?,
            None => Vec::new(),
        };
        if let Some(dir) = &self.data_dir {
            given.push(Given::from_flag("--data-dir", "log.dirs", dir.to_string_lossy()));
        }
        if let Some(listen) = &self.listen {
            given.push(Given::from_flag("--listen", "listeners", format!("PLAINTEXT://{listen}")));
        }
        if let Some(cores) = self.cores {
            given.push(Given::from_flag("--cores", "corelog.cores", cores.to_string()));
        }
        for option in &self.option {
            given.push(Given::from_option(option)?);
        }
        Settings::new(&given)
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logs go to stderr, at `info` or what `RUST_LOG` says, until clients set other levels.
fn log_to_stderr(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let base = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let base = if base.is_empty() || EnvFilter::try_new(&base).is_err() { "info".to_string() } else { base };
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&base)).with_writer(io::stderr);
    // One that is gone logs nothing anyway.
    match format {
        LogFormat::Text => {
            let log = log.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
            let handle = log.reload_handle();
            loggers::begin(base, move |filter| drop(handle.reload(filter)));
            log.init();
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            let handle = log.reload_handle();
            loggers::begin(base, move |filter| drop(handle.reload(filter)));
            log.init();
        }
    }
}

/// With fewer descriptors a broker of some size runs out of them.
const DESCRIPTORS_MIN: u64 = 8192;

/// Partitions and connections are descriptors; the soft limit is often 1024.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) if limit < DESCRIPTORS_MIN => tracing::warn!(
            limit,
            connections_max = crate::net::connections_of(limit as usize),
            "few descriptors may be open: each connection is one, and each partition in use; raise the hard limit \
             (ulimit -Hn, or LimitNOFILE in the systemd unit)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files stays as it is"),
    }
}
