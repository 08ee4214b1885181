//! Which way makes a commit group durable the sooner: one durable write, or a write and a sync behind it.
//!
//! On a device without FUA Linux completes a durable write on a work queue that is bound to the core of the device's interrupt. While a
//! program computes on that core, the queue may wait for the scheduler's next tick: 4 ms in place of 0.1. A sync that
//! follows the write runs on a thread of its own and does not wait so, but costs another wake-up. So groups are durable writes until
//! many of them take suspiciously long, and then for some time writes with a sync behind; the longer, the more often it was so. One
//! alone tells nothing: any device is slow now and then.

use std::cell::Cell;
use std::time::Duration;

use crate::io::Instant;

/// A durable write that took so long was held up: half a tick, and several times what the write itself takes.
const HELD_UP: Duration = Duration::from_millis(2);
/// What a write that was held up counts, where one that was not takes one off: at a fifth of all writes the sum grows.
const WEIGHT: u32 = 4;
/// The sum at which durable writes are avoided: four in a row.
const SUM_MAX: u32 = 16;
/// How long durable writes are avoided after the first that was held up; doubled for each that follows soon.
const AVOIDED_MIN: Duration = Duration::from_secs(1);
/// The longest time that they are avoided.
const AVOIDED_MAX: Duration = Duration::from_secs(64);
/// So many durable writes in a row that were not held up: what was before is forgotten.
const GOOD_WRITES: u32 = 1000;

/// What is known of the two ways.
#[derive(Default)]
pub(super) struct GroupSync {
    /// Whether there is a choice: where a durable write does not flush the device, it is always the better one.
    choice: Cell<bool>,
    avoided_until: Cell<Instant>,
    avoided: Cell<Duration>,
    good: Cell<u32>,
    held_up: Cell<u32>,
}

impl GroupSync {
    /// The device makes durable writes durable by flushing.
    pub(super) fn give_choice(&self) {
        self.choice.set(true);
    }

    /// Whether the next group is to be written and synced rather than written durably.
    pub(super) fn is_apart(&self, now: Instant) -> bool {
        self.choice.get() && now < self.avoided_until.get()
    }

    /// A durable write that ended `now` took so long.
    pub(super) fn took(&self, now: Instant, time: Duration) {
        if time < HELD_UP {
            self.good.set(self.good.get() + 1);
            self.held_up.set(self.held_up.get().saturating_sub(1));
            if self.good.get() >= GOOD_WRITES {
                self.avoided.set(Duration::ZERO);
            }
            return;
        }
        self.good.set(0);
        self.held_up.set((self.held_up.get() + WEIGHT).min(SUM_MAX));
        if self.held_up.get() < SUM_MAX {
            return;
        }
        // Others that were under way at the same time tell nothing new.
        if now >= self.avoided_until.get() {
            let avoided = (self.avoided.get() * 2).clamp(AVOIDED_MIN, AVOIDED_MAX);
            self.avoided.set(avoided);
            self.avoided_until.set(now + avoided);
            self.held_up.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(100);
    const LONG: Duration = Duration::from_millis(4);

    fn at(millis: u64) -> Instant {
        Instant::default() + Duration::from_millis(millis)
    }

    #[test]
    fn durable_writes_are_avoided_for_longer_the_more_often_they_are_held_up() {
        let sync = GroupSync::default();
        sync.give_choice();
        sync.took(at(10), SHORT);
        assert!(!sync.is_apart(at(11)));
        let four = |millis| (0..4).for_each(|_| sync.took(at(millis), LONG));
        four(20);
        sync.took(at(21), LONG);
        assert!(sync.is_apart(at(1019)) && !sync.is_apart(at(1020)));
        four(1030);
        assert!(sync.is_apart(at(3029)) && !sync.is_apart(at(3030)));
        (0..GOOD_WRITES).for_each(|_| sync.took(at(3040), SHORT));
        four(3050);
        assert!(sync.is_apart(at(4049)) && !sync.is_apart(at(4050)));
    }

    #[test]
    fn a_slow_write_now_and_then_changes_nothing() {
        let sync = GroupSync::default();
        sync.give_choice();
        for round in 0..1000 {
            sync.took(at(round), LONG);
            (0..5).for_each(|_| sync.took(at(round), SHORT));
            assert!(!sync.is_apart(at(round)), "round {round}");
        }
    }

    #[test]
    fn without_a_choice_every_group_is_a_durable_write() {
        let sync = GroupSync::default();
        (0..8).for_each(|_| sync.took(at(20), LONG));
        assert!(!sync.is_apart(at(21)));
    }
}
