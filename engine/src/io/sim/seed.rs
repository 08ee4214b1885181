//! Every choice of the simulated machine: one sequence of numbers from one seed.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use crate::io::random;

/// Out of how many a chance is given.
const MILLION: u64 = 1_000_000;

/// The source of choices.
pub(super) struct Seed(Cell<u64>);

impl Seed {
    pub(super) fn new(seed: u64) -> Seed {
        Seed(Cell::new(seed))
    }

    /// Any number.
    pub(super) fn any(&self) -> u64 {
        random::next(&self.0)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `count` times.
    pub(super) fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// True `chance` times in a million; asks for no number where it never is.
    pub(super) fn happens(&self, chance: u32) -> bool {
        chance > 0 && self.below(MILLION) < u64::from(chance)
    }

    /// A time within the range, in nanoseconds.
    pub(super) fn nanos(&self, range: &Range<Duration>) -> u64 {
        let (start, end) = (range.start.as_nanos() as u64, range.end.as_nanos() as u64);
        start + if end > start { self.below(end - start) } else { 0 }
    }
}
