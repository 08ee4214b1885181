//! What a coordinator waits for: one deadline per name, the next one first.

use std::collections::BTreeSet;

use corelog_engine::io::Instant;
use rustc_hash::FxHashMap;

use crate::protocol::Text;

/// What a deadline is for; the first field is the group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TimerKey {
    /// A member of a classic group has to be heard of.
    Session(Text, Text),
    /// The members of a classic group have to have joined.
    Join(Text),
    /// The members of a classic group have to have asked for their assignment.
    Sync(Text),
    /// A member of a consumer group has to be heard of.
    ConsumerSession(Text, Text),
    /// A member of a consumer group has to have given its partitions up.
    Revocation(Text, Text),
    /// A classic member of a consumer group has to join again.
    ConsumerJoin(Text, Text),
    /// A classic member of a consumer group has to ask for its assignment.
    ConsumerSync(Text, Text),
}

/// Deadlines by name.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: FxHashMap<TimerKey, Instant>,
    queue: BTreeSet<(Instant, TimerKey)>,
}

impl Timers {
    /// Sets a deadline, in the place of the one of the same name.
    pub(crate) fn set(&mut self, key: TimerKey, at: Instant) {
        if let Some(before) = self.deadlines.insert(key.clone(), at) {
            self.queue.remove(&(before, key.clone()));
        }
        self.queue.insert((at, key));
    }

    /// Takes a deadline back.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        if let Some(at) = self.deadlines.remove(&key) {
            self.queue.remove(&(at, key));
        }
    }

    /// Whether a deadline of this name is set.
    pub(crate) fn is_set(&self, key: &TimerKey) -> bool {
        self.deadlines.contains_key(key)
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes out the next deadline that has passed.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<TimerKey> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.queue.pop_first().expect("there is one");
        self.deadlines.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_replaces_the_one_of_its_name_and_comes_once() {
        let mut timers = Timers::default();
        let (a, b) = (TimerKey::Join("a".into()), TimerKey::Sync("a".into()));
        timers.set(a.clone(), Instant(10));
        timers.set(b.clone(), Instant(20));
        timers.set(a.clone(), Instant(30));
        assert_eq!((timers.next(), timers.take_due(Instant(19))), (Some(Instant(20)), None));
        assert_eq!(timers.take_due(Instant(20)), Some(b.clone()));
        timers.set(b.clone(), Instant(25));
        timers.cancel(b.clone());
        assert!(timers.is_set(&a) && !timers.is_set(&b));
        assert_eq!((timers.take_due(Instant(30)), timers.take_due(Instant(99))), (Some(a), None));
    }
}
