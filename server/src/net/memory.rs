//! The memory that the connections of a shard hold: frames that are not whole, requests not yet answered, answers not yet sent.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What a connection may hold even when all together hold too much: enough for the requests of honest small clients.
pub(super) const SHARE_BYTES: usize = 1 << 20;

/// What an answer may have of records even then: a reader must get on.
const ANSWER_BYTES_MIN: usize = 64 << 10;

/// The memory of a shard's connections.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    held: Cell<usize>,
    freed: Arc<Notify>,
}

impl Memory {
    /// Nothing is held yet, of at most about `max` bytes (`corelog.connection.bytes`).
    pub(crate) fn new(max: usize) -> Memory {
        Memory { max, held: Cell::new(0), freed: Arc::new(Notify::new()) }
    }

    /// A connection that held `before` holds `after`.
    pub(super) fn change(&self, before: usize, after: usize) {
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
        self.change(0, granted);
        granted
    }

    /// Gives back what [`Memory::reserve`] gave.
    pub(crate) fn release(&self, granted: usize) {
        self.change(granted, 0);
    }

    /// How much is held, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    /// Whether as much is held as may be.
    pub(super) fn is_full(&self) -> bool {
        self.held.get() >= self.max
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
        memory.release(6 << 20);
        assert!(!memory.is_full() && memory.held() == (4 << 20) + ANSWER_BYTES_MIN + 100);
    }
}
