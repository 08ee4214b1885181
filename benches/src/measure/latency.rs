//! Latencies: a histogram with three digits, its percentiles, and its curve for plots.
//!
//! In an open loop the latency handed in here starts at the *intended* send time, so that a stalled system cannot
//! hide its stall by not being asked (coordinated omission). In a closed loop it starts at the actual one. Nothing is
//! corrected afterwards.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told from longer ones, in nanoseconds: ten minutes.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// The latencies of one stretch of a run.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::new()
    }
}

impl Latency {
    /// No latency yet.
    pub fn new() -> Latency {
        Latency { histogram: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("three digits are legal") }
    }

    /// Counts one operation.
    pub fn record(&mut self, latency: Duration) {
        self.record_many(latency, 1);
    }

    /// Counts several operations of the same latency.
    pub fn record_many(&mut self, latency: Duration, count: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_NS_MAX).max(1);
        self.histogram.saturating_record_n(nanos, count);
    }

    /// Adds the operations of another thread or round.
    pub fn merge(&mut self, other: &Latency) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    /// How many operations were counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency, in µs, that `quantile` (0 to 1) of the operations do not exceed; 0 without operations.
    pub fn micros_at(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The percentiles that tables print.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            count: self.count(),
            mean_us: self.histogram.mean() / 1000.0,
            p50_us: self.micros_at(0.5),
            p90_us: self.micros_at(0.9),
            p99_us: self.micros_at(0.99),
            p999_us: self.micros_at(0.999),
            p9999_us: self.micros_at(0.9999),
            max_us: self.histogram.max() as f64 / 1000.0,
        }
    }

    /// The curve of an HDR plot: (1 / (1 - quantile), latency in µs), from the median to the last operation that the
    /// count supports.
    pub fn tail_curve(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::new();
        let mut inverse = 2.0;
        while inverse <= self.count().max(2) as f64 {
            points.push((inverse, self.micros_at(1.0 - 1.0 / inverse)));
            inverse *= 1.25;
        }
        points
    }
}

/// The percentiles of one histogram, in µs. The 99.99th means little below 100,000 operations: print the count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Operations counted.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 90 % are not slower.
    pub p90_us: f64,
    /// 99 % are not slower.
    pub p99_us: f64,
    /// 99.9 % are not slower.
    pub p999_us: f64,
    /// 99.99 % are not slower.
    pub p9999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_have_three_digits() {
        let mut latency = Latency::new();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        let percentiles = latency.percentiles();
        assert_eq!(percentiles.count, 1000);
        assert!((percentiles.p50_us - 500.0).abs() < 1.0, "{percentiles:?}");
        assert!((percentiles.p99_us - 990.0).abs() < 2.0, "{percentiles:?}");
        assert!((percentiles.max_us - 1000.0).abs() < 2.0, "{percentiles:?}");
    }

    #[test]
    fn a_tail_curve_ends_where_the_count_does() {
        let mut latency = Latency::new();
        assert!(latency.tail_curve().iter().all(|point| point.1 == 0.0));
        for _ in 0..100 {
            latency.record(Duration::from_micros(7));
        }
        let curve = latency.tail_curve();
        assert!(curve.last().expect("points").0 <= 100.0);
        assert!(curve.iter().all(|point| (point.1 - 7.0).abs() < 0.1));
    }
}
