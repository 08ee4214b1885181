//! What the user sees while it runs: a spinner line per part on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::case::Sample;

/// The progress of a run.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    part: String,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{elapsed_precise} {spinner} {prefix:10} {wide_msg}");
            let bar = ProgressBar::new_spinner().with_style(style.expect("the template is well formed"));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Progress { bar, started: Instant::now(), part: String::new() }
    }

    /// A part begins.
    pub fn part(&mut self, name: &str, purpose: &str) {
        self.part = name.to_owned();
        self.line(&format!("{name}: {purpose}"));
        if let Some(bar) = &self.bar {
            bar.set_prefix(name.to_owned());
        }
    }

    /// Something is being prepared.
    pub fn doing(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// A sample of a case begins.
    pub fn sample(&self, case: &str, round: usize, rounds: usize) {
        self.doing(&format!("round {} of {rounds} · {case}", round + 1));
    }

    /// A sample was taken.
    pub fn took(&self, case: &str, sample: &Sample) {
        if self.bar.is_some() {
            return;
        }
        let mut text = format!("  {case}: {:.0} operations/s", sample.operations_per_s());
        if sample.bytes > 0 {
            text += &format!(", {:.0} MB/s", sample.mb_per_s());
        }
        if sample.latency.count() > 0 {
            text +=
                &format!(", p50 {:.0} µs, p99 {:.0} µs", sample.latency.micros_at(0.5), sample.latency.micros_at(0.99));
        }
        if sample.cost.disturbed() {
            text += &format!(" (disturbed: {:.0} % foreign CPU)", sample.cost.foreign_share * 100.0);
        }
        self.line(&text);
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("[{:6.1} s] {text}", self.started.elapsed().as_secs_f64()),
        }
    }

    /// How long the run has taken.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The end: the spinner goes away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
