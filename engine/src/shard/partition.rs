//! One partition on its shard: the log and what belongs to it while the process lives.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::journal::{PartitionKey, PartitionState};
use crate::log::{Log, LogOffsets};
use crate::shard::read_stream::ReadStreams;
use crate::shard::waiters::{Event, Waiters};
use crate::types::{Offset, Position, TopicPartition};

/// Recent places in memory where sequential readers go on.
const CURSORS_MAX: usize = 4;

/// A batch's place in an open segment.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// The batch's first offset.
    pub offset: Offset,
    /// The open segment.
    pub segment: Offset,
    /// Where the batch begins.
    pub position: Position,
}

/// One partition on its shard.
pub struct Partition {
    /// Its name.
    pub name: TopicPartition,
    /// Its identity in journal and checkpoint.
    pub key: PartitionKey,
    /// Its directory.
    pub dir: PathBuf,
    /// Its log.
    pub log: RefCell<Log>,
    /// Who waits for it.
    pub waiters: RefCell<Waiters>,
    /// Whether the flusher has it in its queue.
    pub queued: Cell<bool>,
    /// Whether the cache has it in its queue.
    pub evictable: Cell<bool>,
    /// Whether a checkpoint must look at it.
    pub changed: Cell<bool>,
    /// Whether a checkpoint knows it, so that recovery will.
    pub checkpointed: Cell<bool>,
    /// Whether a task is completing its rolled segments.
    pub is_sealing: Cell<bool>,
    /// Woken whenever a write or a seal of it ended.
    pub progress: tokio::sync::Notify,
    /// Whether it waits for its turn to write to its segment.
    pub wants_write: Cell<bool>,
    /// Bytes that had been appended when its files were last left as Kafka's own.
    pub opened_appends: Cell<u64>,
    /// Its cold readers.
    pub streams: RefCell<ReadStreams>,
    cursors: RefCell<smallvec::SmallVec<[Cursor; CURSORS_MAX]>>,
    failure: RefCell<Option<Error>>,
    /// What is recorded of it where it was found damaged: checkpoints carry that on.
    damaged: RefCell<Option<PartitionState>>,
}

impl Partition {
    /// A partition with its log.
    pub fn new(name: TopicPartition, key: PartitionKey, dir: PathBuf, log: Log) -> Partition {
        Partition {
            name,
            key,
            dir,
            log: RefCell::new(log),
            waiters: RefCell::default(),
            queued: Cell::new(false),
            evictable: Cell::new(false),
            changed: Cell::new(false),
            checkpointed: Cell::new(false),
            is_sealing: Cell::new(false),
            progress: tokio::sync::Notify::new(),
            wants_write: Cell::new(false),
            opened_appends: Cell::new(0),
            streams: RefCell::default(),
            cursors: RefCell::default(),
            failure: RefCell::new(None),
            damaged: RefCell::new(None),
        }
    }

    /// Keeps what is recorded of a damaged partition.
    pub fn keep_damaged(&self, state: PartitionState) {
        *self.damaged.borrow_mut() = Some(state);
    }

    /// What is recorded of it where it is damaged.
    pub fn damaged(&self) -> Option<PartitionState> {
        self.damaged.borrow().clone()
    }

    /// An error where it serves no more.
    pub fn check(&self) -> Result<()> {
        match &*self.failure.borrow() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Serves no more, for the given reason; the first one stays.
    pub fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
        self.waiters.borrow_mut().wake(|_| true);
        self.progress.notify_waiters();
    }

    /// How far its log reaches.
    pub fn offsets(&self) -> LogOffsets {
        self.log.borrow().offsets()
    }

    /// Whether an event has come.
    pub fn reached(&self, event: Event) -> bool {
        let log = self.log.borrow();
        match event {
            Event::Flushed(offset) => log.offsets().flushed >= offset,
            Event::Visible(offset) => log.offsets().high_watermark >= offset,
            Event::VisibleBytes(bytes) => log.visible_bytes() >= bytes,
        }
    }

    /// Wakes those whose event has come.
    pub fn wake(&self) {
        let mut waiters = self.waiters.borrow_mut();
        if !waiters.is_empty() {
            waiters.wake(|event| self.reached(event));
        }
    }

    /// Where the batch with this first offset is, if a reader just stopped before it.
    pub fn take_cursor(&self, offset: Offset) -> Option<Cursor> {
        let mut cursors = self.cursors.borrow_mut();
        let place = cursors.iter().position(|cursor| cursor.offset == offset)?;
        Some(cursors.remove(place))
    }

    /// Remembers where a reader stopped.
    pub fn keep_cursor(&self, cursor: Cursor) {
        let mut cursors = self.cursors.borrow_mut();
        if cursors.len() == CURSORS_MAX {
            cursors.remove(0);
        }
        cursors.push(cursor);
    }

    /// Forgets where readers were: the log was cut.
    pub fn forget_readers(&self) {
        self.cursors.borrow_mut().clear();
        *self.streams.borrow_mut() = ReadStreams::default();
    }
}
