//! Waits for a quiet machine before a sample, for a bounded time.
//!
//! A sample is never thrown away for noise, only flagged: the gate lowers the noise, [`Cost::disturbed`](super::Cost::disturbed)
//! says where some was left.

use std::time::{Duration, Instant};

use super::cost::{FOREIGN_SHARE_MAX, Meter};

/// How long the machine must be quiet.
const WINDOW: Duration = Duration::from_millis(60);

/// The gate in front of each sample.
#[derive(Clone, Debug)]
pub struct QuietGate {
    wait_max: Duration,
    waited: Duration,
    gave_up: u32,
}

impl QuietGate {
    /// A gate that waits at most `wait_max` before each sample; zero is no gate at all.
    pub fn new(wait_max: Duration) -> QuietGate {
        QuietGate { wait_max, waited: Duration::ZERO, gave_up: 0 }
    }

    /// Returns once strangers used less than 8 % of the machine for 60 ms, or when the bound is reached; says which.
    pub fn pass(&mut self, children: &[u32]) -> bool {
        let began = Instant::now();
        let mut quiet = self.wait_max.is_zero();
        while !quiet && began.elapsed() < self.wait_max {
            let meter = Meter::start(children, None);
            std::thread::sleep(WINDOW);
            let cost = meter.stop();
            quiet = cost.foreign_share + cost.steal_share < FOREIGN_SHARE_MAX;
        }
        self.waited += began.elapsed();
        self.gave_up += u32::from(!quiet);
        quiet
    }

    /// How long all samples together waited here.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// How many samples began although the machine was not quiet.
    pub fn gave_up(&self) -> u32 {
        self.gave_up
    }
}
