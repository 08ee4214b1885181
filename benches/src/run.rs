//! One run of the harness: where it writes, how long a sample is, and what the parts share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::measure::{Machine, Meter, QuietGate};
use crate::progress::Progress;

/// What every part gets.
#[derive(Debug)]
pub struct Run {
    /// Where the parts put their files; each makes a directory of its own and removes it.
    pub data_dir: PathBuf,
    /// Interleaved rounds per case.
    pub rounds: usize,
    /// Seconds of one sample, where a part does not measure a fixed amount.
    pub seconds: f64,
    /// A short run for CI: every part, small amounts.
    pub quick: bool,
    /// The machine, with what the parts learn about it.
    pub machine: Machine,
    /// The gate before each sample.
    pub gate: QuietGate,
    /// What the user sees.
    pub progress: Progress,
}

impl Run {
    /// Makes the data directory and looks at the machine.
    pub fn new(data_dir: &Path, rounds: usize, seconds: f64, quick: bool, gate_wait_max: Duration) -> Result<Run> {
        std::fs::create_dir_all(data_dir)
            .with_context(|| format!("cannot create the data directory {}", data_dir.display()))?;
        let data_dir = data_dir.canonicalize().with_context(|| format!("cannot resolve {}", data_dir.display()))?;
        let machine = Machine::look(&data_dir);
        Ok(Run {
            data_dir,
            rounds,
            seconds,
            quick,
            machine,
            gate: QuietGate::new(gate_wait_max),
            progress: Progress::new(),
        })
    }

    /// The length of one sample.
    pub fn sample_time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Starts measuring the costs of a sample.
    pub fn meter(&self, children: &[u32]) -> Meter {
        Meter::start(children, Some(&self.machine.disk.device).filter(|name| !name.is_empty()).map(String::as_str))
    }

    /// `full`, or `short` in a quick run.
    pub fn amount<T>(&self, full: T, short: T) -> T {
        if self.quick { short } else { full }
    }

    /// An empty directory for a part, removed when the guard is dropped.
    pub fn scratch(&self, part: &str) -> Result<Scratch> {
        let path = self.data_dir.join(format!("corelog-bench-{part}"));
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Scratch { path })
    }
}

/// A directory that goes away with its owner.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
