//! The ratios that the project is judged by, and what they should be.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measure::Spread;

/// The ratios of a run by name.
pub type Ratios = BTreeMap<String, Spread>;

/// One ratio: its name in `summary.json`, what it says, its aim.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Aim {
    /// The key in `summary.json`.
    pub key: &'static str,
    /// What is divided by what.
    pub meaning: &'static str,
    /// The bound.
    pub bound: f64,
    /// Whether larger is better.
    pub at_least: bool,
}

/// All ratios, in the order of the report.
pub const AIMS: [Aim; 10] = [
    Aim::at_least("append_vs_device", "append, not synced, 1 MiB groups / raw io_uring writes of the same size", 0.95),
    Aim::at_least(
        "durable_append_vs_device",
        "durable append, 1 MiB / raw io_uring writes with RWF_DSYNC of the same size and depth",
        0.95,
    ),
    Aim::at_least("read_vs_device", "sequential cold read / raw O_DIRECT reads", 0.95),
    Aim::at_least(
        "durable_commits_vs_per_file",
        "durable commits/s over 64 partitions × 16 KiB / the better of one file per partition with RWF_DSYNC or fdatasync",
        4.0,
    ),
    Aim::at_least("append_last_tenth_vs_first", "append throughput, last tenth / first tenth of a growing log", 0.97),
    Aim::at_most("p99_last_tenth_vs_first", "append p99, last tenth / first tenth of a growing log", 1.10),
    Aim::at_most("recovery_100_vs_1_segments", "time to open after kill -9, 100 segments / 1 segment", 1.2),
    Aim::at_most(
        "produce_p999_with_cold_reader_vs_without",
        "produce p99.9 with a cold reader at full speed / without one",
        1.5,
    ),
    Aim::at_most("write_amplification", "bytes written to the disk / payload, not durable", 1.01),
    Aim::at_most("write_amplification_durable_small", "bytes written to the disk / payload, durable 16 KiB", 2.05),
];

impl Aim {
    const fn at_least(key: &'static str, meaning: &'static str, bound: f64) -> Aim {
        Aim { key, meaning, bound, at_least: true }
    }

    const fn at_most(key: &'static str, meaning: &'static str, bound: f64) -> Aim {
        Aim { key, meaning, bound, at_least: false }
    }

    /// Whether a median meets the bound.
    pub fn met(&self, median: f64) -> bool {
        if self.at_least { median >= self.bound } else { median <= self.bound }
    }

    /// The bound in words: "≥ 0.95".
    pub fn bound_text(&self) -> String {
        format!("{} {}", if self.at_least { "≥" } else { "≤" }, self.bound)
    }
}

/// The ratios of a run in lines for the terminal: key, median, range, aim.
pub fn terminal_lines(ratios: &Ratios) -> Vec<String> {
    let width = AIMS.iter().map(|aim| aim.key.len()).max().unwrap_or(0);
    let lines = AIMS.iter().filter_map(|aim| {
        let spread = ratios.get(aim.key)?;
        let verdict = if aim.met(spread.median) { "met" } else { "missed" };
        Some(format!(
            "{:width$}  {:.3}  [{:.3} .. {:.3}] over {} rounds, aim {}: {verdict}",
            aim.key,
            spread.median,
            spread.min,
            spread.max,
            spread.rounds,
            aim.bound_text()
        ))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_met_from_its_side() {
        assert!(AIMS[0].met(0.95) && !AIMS[0].met(0.94));
        assert!(AIMS[5].met(1.1) && !AIMS[5].met(1.2));
        let ratios = Ratios::from([("append_vs_device".to_owned(), Spread::of(&[0.9, 1.0, 0.98]).expect("rounds"))]);
        assert_eq!(terminal_lines(&ratios).len(), 1);
        assert!(terminal_lines(&ratios)[0].ends_with("aim ≥ 0.95: met"));
    }
}
