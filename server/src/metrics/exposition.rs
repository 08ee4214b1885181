//! Prometheus' text format, version 0.0.4: samples by family, each family with its help and its type once.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Duration;

use corelog_engine::shard::HISTOGRAM_BOUNDS_US;

/// A family: its name, its type, and what it counts.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Samples, gathered in any order and from any thread.
#[derive(Default)]
pub(crate) struct Samples {
    families: BTreeMap<&'static str, (&'static Family, String)>,
}

/// Labels with their values.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a dyn Display)];

impl Samples {
    /// Adds a sample.
    pub(crate) fn add(&mut self, family: &'static Family, labels: Labels<'_>, value: impl Display) {
        debug_assert_ne!(family.kind, Kind::Histogram);
        let lines = self.lines(family);
        line(lines, family.name, "", labels, value);
    }

    /// Adds a histogram.
    pub(crate) fn histogram(
        &mut self,
        family: &'static Family,
        labels: Labels<'_>,
        (counts, sum): ([u64; HISTOGRAM_BOUNDS_US.len() + 1], Duration),
    ) {
        debug_assert_eq!(family.kind, Kind::Histogram);
        let lines = self.lines(family);
        let mut total = 0;
        for (place, count) in counts.into_iter().enumerate() {
            total += count;
            let seconds = HISTOGRAM_BOUNDS_US.get(place).map(|us| Duration::from_micros(*us).as_secs_f64());
            let bound = seconds.map_or_else(|| "+Inf".to_string(), |seconds| seconds.to_string());
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            line(lines, family.name, "_bucket", &labels, total);
        }
        line(lines, family.name, "_sum", labels, sum.as_secs_f64());
        line(lines, family.name, "_count", labels, total);
    }

    /// Takes the samples of others in.
    pub(crate) fn merge(&mut self, others: Samples) {
        for (family, lines) in others.families.into_values() {
            self.lines(family).push_str(&lines);
        }
    }

    /// All of them as text.
    pub(crate) fn text(self) -> String {
        let mut text = String::new();
        for (name, (family, lines)) in self.families {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{lines}", family.help);
        }
        text
    }

    fn lines(&mut self, family: &'static Family) -> &mut String {
        &mut self.families.entry(family.name).or_insert_with(|| (family, String::new())).1
    }
}

fn line(out: &mut String, name: &str, suffix: &str, labels: Labels<'_>, value: impl Display) {
    let _ = write!(out, "{name}{suffix}");
    for (place, (label, value)) in labels.iter().enumerate() {
        let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{}{label}=\"{value}\"", if place == 0 { '{' } else { ',' });
    }
    let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_their_head_once_and_labels_are_escaped() {
        static A: Family = Family { name: "a_total", kind: Kind::Counter, help: "What a counts." };
        static B: Family = Family { name: "b_seconds", kind: Kind::Histogram, help: "How long b takes." };
        let mut counts = [0; HISTOGRAM_BOUNDS_US.len() + 1];
        (counts[0], counts[2], counts[HISTOGRAM_BOUNDS_US.len()]) = (1, 2, 3);
        let mut samples = Samples::default();
        samples.add(&A, &[("topic", &"a\"\\\n")], 1);
        samples.histogram(&B, &[("shard", &0)], (counts, Duration::from_millis(1500)));
        let mut others = Samples::default();
        others.add(&A, &[], 2.5);
        samples.merge(others);
        let text = samples.text();
        let head =
            "# HELP a_total What a counts.\n# TYPE a_total counter\na_total{topic=\"a\\\"\\\\\\n\"} 1\na_total 2.5\n";
        assert!(text.starts_with(head), "{text}");
        for line in [
            "b_seconds_bucket{shard=\"0\",le=\"0.00005\"} 1",
            "b_seconds_bucket{shard=\"0\",le=\"0.0001\"} 1",
            "b_seconds_bucket{shard=\"0\",le=\"0.0002\"} 3",
            "b_seconds_bucket{shard=\"0\",le=\"26.2144\"} 3",
            "b_seconds_bucket{shard=\"0\",le=\"+Inf\"} 6",
            "b_seconds_sum{shard=\"0\"} 1.5",
            "b_seconds_count{shard=\"0\"} 6",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("# TYPE b_seconds histogram").count(), 1);
    }
}
