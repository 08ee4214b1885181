//! The intended send times of an open loop.
//!
//! The schedule never slips: when the system or the generator falls behind, the next operations are due in the past
//! and their latency counts from there.

use std::time::{Duration, Instant};

/// A fixed rate from a start on: operation `n` is due at `start + n / rate`.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Instant,
    interval_ns: f64,
    sent: u64,
    end: Instant,
}

impl Schedule {
    /// `per_second` operations each second from `start` for `length`. The rate must be positive.
    pub fn new(start: Instant, per_second: f64, length: Duration) -> Schedule {
        assert!(per_second > 0.0, "an open loop has a positive rate, this one {per_second}");
        Schedule { start, interval_ns: 1e9 / per_second, sent: 0, end: start + length }
    }

    /// When the next operation is due; `None` when the schedule is at its end.
    pub fn next_due(&self) -> Option<Instant> {
        let due = self.start + Duration::from_nanos((self.sent as f64 * self.interval_ns) as u64);
        (due < self.end).then_some(due)
    }

    /// Takes the next operation if it is due at `now`; returns its intended time.
    pub fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next_due().filter(|due| *due <= now)?;
        self.sent += 1;
        Some(due)
    }

    /// How many operations were taken.
    pub fn taken(&self) -> u64 {
        self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_generator_sees_the_intended_times() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1000.0, Duration::from_millis(5));
        let late = start + Duration::from_millis(50);
        let taken: Vec<Instant> = std::iter::from_fn(|| schedule.take_due(late)).collect();
        assert_eq!(taken.len(), 5);
        assert_eq!(taken[3] - start, Duration::from_millis(3));
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn nothing_is_due_early() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10.0, Duration::from_secs(1));
        assert_eq!(schedule.take_due(start), Some(start));
        assert_eq!(schedule.take_due(start + Duration::from_millis(99)), None);
        assert_eq!(schedule.taken(), 1);
    }
}
