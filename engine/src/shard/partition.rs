//! One partition on its shard: the log and what belongs to it while the process lives.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::journal::{PartitionKey, PartitionState};
use crate::log::{Log, LogOffsets};
use crate::shard::aborted::Aborted;
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
    /// What its shard counts for it: bytes in memory, and bytes that wait for the disk.
    pub counted: Cell<(usize, u64)>,
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
    /// Whether the file of its next segment is being made ready.
    pub is_preparing: Cell<bool>,
    /// The active segment when that was last begun: it is tried once for each.
    pub prepared_for: Cell<Option<Offset>>,
    /// Woken whenever a write or a seal of it ended.
    pub progress: tokio::sync::Notify,
    /// Whether it waits for its turn to write to its segment.
    pub wants_write: Cell<bool>,
    /// Its aborted transactions, once somebody has asked for them.
    pub(super) aborted: RefCell<Option<Rc<Aborted>>>,
    /// Its cold readers.
    pub streams: RefCell<ReadStreams>,
    cursors: RefCell<smallvec::SmallVec<[Cursor; CURSORS_MAX]>>,
    failure: RefCell<Option<Error>>,
    /// How many groups carry something of it and are not applied yet.
    pub commits: Cell<usize>,
    deleted: Cell<bool>,
    works: Cell<usize>,
    being_cut: Cell<bool>,
    /// How often the log was cut.
    cuts: Cell<u64>,
    /// How often compaction replaced segments.
    swaps: Cell<u64>,
    /// Everything before this offset was compacted; none where nothing ever was, and then no offset is missing.
    pub cleaned_to: Cell<Option<Offset>>,
    /// The newest segment as the last stored checkpoint has it: recovery may write to it and to those behind it, never before.
    pub checkpointed_segment: Cell<Option<Offset>>,
    /// Whether compaction found it damaged, or failed on it.
    pub is_uncleanable: Cell<bool>,
    /// Held while complete segments are replaced or cut off, so that none of them is removed meanwhile.
    pub files: tokio::sync::Mutex<()>,
    /// Held while index points are written to their file, or it is removed.
    pub points: tokio::sync::Mutex<()>,
    /// What is recorded of it where it was found damaged: checkpoints carry that on.
    damaged: RefCell<Option<PartitionState>>,
}

/// Something is done to the partition's files: while it lasts they keep their names.
pub struct Work(Rc<Partition>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.works.set(self.0.works.get() - 1);
        self.0.progress.notify_waiters();
    }
}

/// The log is being cut at its end: nothing is appended.
pub struct Cut(Rc<Partition>);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.being_cut.set(false);
        self.0.progress.notify_waiters();
    }
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
            counted: Cell::default(),
            queued: Cell::new(false),
            evictable: Cell::new(false),
            changed: Cell::new(false),
            checkpointed: Cell::new(false),
            is_sealing: Cell::new(false),
            is_preparing: Cell::new(false),
            prepared_for: Cell::new(None),
            progress: tokio::sync::Notify::new(),
            wants_write: Cell::new(false),
            aborted: RefCell::default(),
            streams: RefCell::default(),
            cursors: RefCell::default(),
            failure: RefCell::new(None),
            commits: Cell::new(0),
            deleted: Cell::new(false),
            works: Cell::new(0),
            being_cut: Cell::new(false),
            cuts: Cell::new(0),
            swaps: Cell::new(0),
            cleaned_to: Cell::new(None),
            checkpointed_segment: Cell::new(None),
            is_uncleanable: Cell::new(false),
            files: tokio::sync::Mutex::new(()),
            points: tokio::sync::Mutex::new(()),
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

    /// Begins something that needs the partition's files under their names.
    pub fn work(self: &Rc<Self>) -> Work {
        self.works.set(self.works.get() + 1);
        Work(self.clone())
    }

    /// Whether something is done to its files.
    pub fn is_at_work(&self) -> bool {
        self.works.get() > 0
    }

    /// Refuses appends for as long as the log is being cut.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where it is being cut already.
    pub fn begin_cut(self: &Rc<Self>) -> Result<Cut> {
        self.check_not_cut()?;
        self.being_cut.set(true);
        Ok(Cut(self.clone()))
    }

    /// Whether its log is being cut.
    pub fn is_being_cut(&self) -> bool {
        self.being_cut.get()
    }

    /// An error while its log is being cut.
    pub fn check_not_cut(&self) -> Result<()> {
        match self.is_being_cut() {
            true => Err(Error::Overloaded(format!("the log of {} is being cut", self.name))),
            false => Ok(()),
        }
    }

    /// Whether it was deleted: then what still fails on it is of no account.
    pub fn is_deleted(&self) -> bool {
        self.deleted.get()
    }

    /// Serves no more, since it is deleted.
    pub fn delete(&self) {
        self.deleted.set(true);
        self.fail(Error::UnknownPartition(self.name.clone()));
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

    /// An error where what an event waits for was cut off: what gets those offsets next is something else.
    pub fn check_not_cut_off(&self, event: Event) -> Result<()> {
        let LogOffsets { start, end, .. } = self.offsets();
        match event {
            Event::Flushed(offset) | Event::Visible(offset) if offset > end => {
                Err(Error::OffsetOutOfRange { requested: offset, start, end })
            }
            _ => Ok(()),
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

    /// The log was cut: forgets where readers were, and wakes those who wait for what is gone.
    pub fn was_cut(&self) {
        self.waiters.borrow_mut().wake(|_| true);
        self.cursors.borrow_mut().clear();
        *self.streams.borrow_mut() = ReadStreams::default();
        self.cuts.set(self.cuts.get() + 1);
    }

    /// How often the log was cut.
    pub fn cuts(&self) -> u64 {
        self.cuts.get()
    }

    /// Compaction replaced segments: forgets where readers were in them.
    pub fn was_compacted(&self) {
        *self.streams.borrow_mut() = ReadStreams::default();
        self.swaps.set(self.swaps.get() + 1);
    }

    /// How often places in segments came to mean something else: what was read before that is not to be kept after it.
    pub fn upheavals(&self) -> u64 {
        self.cuts.get() + self.swaps.get()
    }

    /// Whether offsets may be missing in it, as compaction leaves it.
    pub fn has_gaps(&self) -> bool {
        self.cleaned_to.get().is_some() || self.log.borrow().config().is_compacted()
    }
}
