//! The memory that the connections of a shard hold: frames that are not whole, requests not yet answered, answers not yet sent.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What a connection may hold even when all together hold too much: enough for the requests of honest small clients.
pub(super) const SHARE_BYTES: usize = 1 << 20;

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
