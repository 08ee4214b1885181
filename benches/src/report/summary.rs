//! All of a run: `summary.json`.

use serde::{Deserialize, Serialize};

use super::aim::Ratios;
use super::{Figure, Row};
use crate::measure::Machine;

/// The version of the layout of `summary.json`; raised when a reader of the old one would be misled.
pub const SCHEMA: u32 = 1;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When the run began, UTC, RFC 3339.
    pub started: String,
    /// How long it took in seconds.
    pub duration_seconds: f64,
    /// The commit of the harness and the store, "-dirty" appended where files differed from it.
    pub commit: String,
    /// The command line.
    pub command: String,
    /// Rounds per case.
    pub rounds: usize,
    /// Seconds per sample, where a part does not measure a fixed amount.
    pub sample_seconds: f64,
    /// A short run for CI, not for citing.
    pub quick: bool,
    /// Samples that began although the machine was not quiet.
    pub noisy_starts: u32,
    /// The machine.
    pub machine: Machine,
    /// The ratios that the project is judged by.
    pub ratios: Ratios,
    /// The parts, in the order they ran.
    pub parts: Vec<Part>,
}

/// One part of the report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// Its name, as the sub-command.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it asks and how, a paragraph each.
    pub text: Vec<String>,
    /// Its rows.
    pub rows: Vec<Row>,
    /// Its figures.
    pub figures: Vec<Figure>,
    /// The figures that a reader should see first.
    #[serde(default)]
    pub headlines: Vec<Headline>,
    /// Single figures that are neither rates nor latencies: memory, descriptors, seconds to start.
    #[serde(default)]
    pub facts: Vec<Fact>,
    /// Its ratios, those of [`AIMS`](super::aim::AIMS) and others of its own.
    pub ratios: Ratios,
    /// What went wrong, where the part could not run to its end.
    pub error: Option<String>,
}

/// One figure for the head of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// The number in words: "3,250 MB/s".
    pub value: String,
    /// What it is.
    pub label: String,
}

/// A single figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what: "MiB", "s".
    pub unit: String,
}

impl Part {
    /// A part without rows.
    pub fn new(name: &str, title: &str, text: &[&str]) -> Part {
        Part {
            name: name.to_owned(),
            title: title.to_owned(),
            text: text.iter().map(|&paragraph| paragraph.to_owned()).collect(),
            ..Part::default()
        }
    }

    /// Adds a figure to the head of the report, if there is one.
    pub fn headline(&mut self, spread: Option<crate::measure::Spread>, unit: &str, label: impl Into<String>) {
        if let Some(spread) = spread {
            let value = format!("{} {unit}", super::row::number(spread.median));
            self.headlines.push(Headline { value, label: label.into() });
        }
    }

    /// Adds a single figure.
    pub fn fact(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        self.facts.push(Fact { name: name.into(), value, unit: unit.to_owned() });
    }

    /// Adds a ratio, if there is one.
    pub fn ratio(&mut self, key: &str, spread: Option<crate::measure::Spread>) {
        if let Some(spread) = spread {
            self.ratios.insert(key.to_owned(), spread);
        }
    }
}
