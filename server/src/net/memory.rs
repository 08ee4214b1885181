//! The memory that the connections of a shard hold: frames that are not whole, requests not yet answered, answers not yet sent.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The most that a connection may hold when all together hold too much: enough for the requests of honest small clients.
const SHARE_BYTES_MAX: usize = 1 << 20;
/// What it may hold even then, however many there are: its first read.
const SHARE_BYTES_MIN: usize = 8 << 10;

/// What an answer may have of records even then: a reader must get on.
const ANSWER_BYTES_MIN: usize = 64 << 10;

/// The memory of a shard's connections.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    held: Cell<usize>,
    /// The connections that hold some of it.
    holders: Cell<usize>,
    freed: Arc<Notify>,
}

impl Memory {
    /// Nothing is held yet, of at most about `max` bytes (`corelog.connection.bytes`).
    pub(crate) fn new(max: usize) -> Memory {
        Memory { max, held: Cell::new(0), holders: Cell::new(0), freed: Arc::new(Notify::new()) }
    }

    /// A connection that held `before` holds `after`.
    pub(super) fn change(&self, before: usize, after: usize) {
        let holders = self.holders.get() + usize::from(after > 0) - usize::from(before > 0);
        self.holders.set(holders);
        self.count(before, after);
    }

    fn count(&self, before: usize, after: usize) {
        let was_full = self.is_full();
        self.held.set(self.held.get() + after - before);
        if was_full && !self.is_full() {
            self.freed.notify_waiters();
        }
    }

    /// Takes room for an answer before it is made, of at most `wanted` bytes: what is left, or a little where nothing is. It is given
    /// back with [`Memory::release`] when the answer is the connection's own to count.
    pub(crate) fn reserve(&self, wanted: usize) -> usize {
        let left = self.max.saturating_sub(self.held.get());
        let granted = wanted.min(left.max(ANSWER_BYTES_MIN));
        self.count(0, granted);
        granted
    }

    /// Gives back what [`Memory::reserve`] gave.
    pub(crate) fn release(&self, granted: usize) {
        self.count(granted, 0);
    }

    /// How much is held, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    /// Whether as much is held as may be.
    pub(super) fn is_full(&self) -> bool {
        self.held.get() >= self.max
    }

    /// Whether a connection that holds `bytes` holds more than it may while as much is held as may be: then more than an even share.
    pub(super) fn is_too_much(&self, bytes: usize) -> bool {
        self.is_full() && bytes > (self.max / self.holders.get().max(1)).clamp(SHARE_BYTES_MIN, SHARE_BYTES_MAX)
    }

    /// Ready when that is no longer so.
    pub(super) fn freed(&self) -> OwnedNotified {
        self.freed.clone().notified_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gets_what_is_left_and_a_little_where_nothing_is() {
        let memory = Memory::new(10 << 20);
        assert_eq!(memory.reserve(4 << 20), 4 << 20);
        assert_eq!(memory.reserve(50 << 20), 6 << 20);
        assert!(memory.is_full());
        assert_eq!(memory.reserve(50 << 20), ANSWER_BYTES_MIN);
        assert_eq!(memory.reserve(100), 100);
        assert!(memory.is_full() && memory.is_too_much(SHARE_BYTES_MAX + 1) && !memory.is_too_much(SHARE_BYTES_MAX));
        memory.release(6 << 20);
        assert!(!memory.is_too_much(SHARE_BYTES_MAX + 1));
        assert!(!memory.is_full() && memory.held() == (4 << 20) + ANSWER_BYTES_MIN + 100);
    }

    #[test]
    fn the_more_hold_some_the_less_each_may() {
        let memory = Memory::new(10 << 20);
        (0..100).for_each(|_| memory.change(0, 200 << 10));
        assert!(memory.is_too_much((10 << 20) / 100 + 1) && !memory.is_too_much((10 << 20) / 100));
        (0..100).for_each(|_| memory.change(200 << 10, 0));
        assert_eq!((memory.held(), memory.holders.get(), memory.is_full()), (0, 0, false));
        (0..100_000).for_each(|_| memory.change(0, SHARE_BYTES_MIN));
        assert!(memory.is_full() && !memory.is_too_much(SHARE_BYTES_MIN));
    }
}
