//! One core's part of the store: its partitions, and the calls that a server or an embedding program makes.
//!
//! Everything here runs on the shard's own thread. A call borrows a log for as long as it computes and never across an await;
//! after an await it looks again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::batch::{self, Limits, Origin};
use crate::error::{Error, Result};
use crate::io::Io;
use crate::journal::{Journal, PartitionKey};
use crate::log::{Appended, Log, LogConfig, LogOffsets, SealedSegment};
use crate::shard::config::{CleanerConfig, StoreConfig};
use crate::shard::flusher::Flusher;
use crate::shard::metrics::Metrics;
use crate::shard::partition::Partition;
use crate::shard::recycler::Recycler;
use crate::shard::waiters::{Event, Wait};
use crate::types::{Epoch, Offset, Timestamp, TopicId, TopicPartition};

/// Told of each partition whose end or flushed offset moved; decides the high watermark ([`Shard::set_high_watermark`]).
pub type Observer = Rc<dyn Fn(&Shard, &TopicPartition, LogOffsets)>;

/// The number of a shard in its store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub usize);

/// What an append brings along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendOptions {
    /// The leader epoch to append in, which begins with this batch if it is later than the log's; [`Epoch::NONE`] for whatever the
    /// log has.
    pub epoch: Epoch,
    /// Who wrote the batch: a client may not write control batches.
    pub origin: Origin,
}

impl Default for AppendOptions {
    fn default() -> AppendOptions {
        AppendOptions { epoch: Epoch::NONE, origin: Origin::Client }
    }
}

/// One core's part of the store.
pub struct Shard {
    id: ShardId,
    pub(super) io: Io,
    pub(super) config: Rc<StoreConfig>,
    pub(super) generation: u64,
    pub(super) partitions: RefCell<FxHashMap<TopicPartition, Rc<Partition>>>,
    /// Partitions that are created but not told of yet, which only checkpoints look at.
    pub(super) newborn: RefCell<Vec<Rc<Partition>>>,
    /// Names of partitions that are being created or deleted.
    pub(super) changing: RefCell<FxHashSet<TopicPartition>>,
    pub(super) changed: tokio::sync::Notify,
    pub(super) journal: RefCell<Journal>,
    pub(super) flusher: Flusher,
    pub(super) recycler: RefCell<Recycler>,
    pub(super) metrics: Metrics,
    /// Memory that the tails hold, in bytes; and the partitions whose tails have something to give back.
    pub(super) held_bytes: Cell<usize>,
    /// How many partitions hold more than a quiet one needs.
    pub(super) growing: Cell<usize>,
    pub(super) evictable: RefCell<VecDeque<Rc<Partition>>>,
    /// Bytes appended that are neither in a segment nor in the journal.
    pub(super) backlog_bytes: Cell<u64>,
    pub(super) backlog_shrunk: tokio::sync::Notify,
    /// Segment writes under way.
    pub(super) writes_in_flight: Cell<usize>,
    /// Partitions that want a segment write but found too many under way.
    pub(super) writes_wanted: RefCell<VecDeque<Rc<Partition>>>,
    /// How many things wait for space on a full disk.
    pub(super) waits_for_space: Cell<usize>,
    pub(super) failure: RefCell<Option<Error>>,
    pub(super) closing: Cell<bool>,
    /// Checkpoints that were begun, and that have ended.
    pub(super) checkpoints: Cell<(u64, u64)>,
    /// Held while a checkpoint is made: one at a time, or an older one could replace a newer.
    pub(super) checkpointing: tokio::sync::Mutex<()>,
    /// Held while many files are synced at once.
    pub(super) syncing_many: tokio::sync::Mutex<()>,
    /// Whether partitions were deleted since the last checkpoint, or none was made yet.
    pub(super) partitions_gone: Cell<bool>,
    /// The indexes of sealed segments in memory, oldest first, with their bytes.
    pub(super) indexes: RefCell<VecDeque<(Rc<SealedSegment>, usize)>>,
    pub(super) index_bytes: Cell<usize>,
    /// Held while a log is compacted: the memory for keys is for one.
    pub(super) cleaning: tokio::sync::Mutex<()>,
    pub(super) cleaner: Cell<CleanerConfig>,
    pub(super) cleaner_changed: tokio::sync::Notify,
    /// The share of dirty bytes of the dirtiest log, in millionths.
    pub(super) dirty_ppm_max: Cell<u64>,
    observer: RefCell<Option<Observer>>,
}

impl Shard {
    pub(super) fn new(
        id: ShardId,
        io: Io,
        config: Rc<StoreConfig>,
        generation: u64,
        journal: Journal,
        recycler: Recycler,
    ) -> Shard {
        Shard {
            id,
            io,
            cleaning: tokio::sync::Mutex::new(()),
            cleaner: Cell::new(config.cleaner),
            cleaner_changed: tokio::sync::Notify::new(),
            dirty_ppm_max: Cell::new(0),
            config,
            generation,
            partitions: RefCell::default(),
            newborn: RefCell::default(),
            changing: RefCell::default(),
            changed: tokio::sync::Notify::new(),
            journal: RefCell::new(journal),
            flusher: Flusher::default(),
            recycler: RefCell::new(recycler),
            metrics: Metrics::default(),
            held_bytes: Cell::new(0),
            growing: Cell::new(0),
            evictable: RefCell::default(),
            backlog_bytes: Cell::new(0),
            backlog_shrunk: tokio::sync::Notify::new(),
            writes_in_flight: Cell::new(0),
            writes_wanted: RefCell::default(),
            waits_for_space: Cell::new(0),
            failure: RefCell::new(None),
            closing: Cell::new(false),
            checkpoints: Cell::new((0, 0)),
            checkpointing: tokio::sync::Mutex::new(()),
            syncing_many: tokio::sync::Mutex::new(()),
            partitions_gone: Cell::new(false),
            indexes: RefCell::default(),
            index_bytes: Cell::new(0),
            observer: RefCell::new(None),
        }
    }

    /// Its number.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Its door to the outside.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Bytes of memory that its tails hold, and bytes that were appended and wait for the disk.
    pub fn memory_bytes(&self) -> (u64, u64) {
        (self.held_bytes.get() as u64, self.backlog_bytes.get())
    }

    /// Bytes of the journal that a restart would read, and bytes that it has.
    pub fn journal_bytes(&self) -> (u64, u64) {
        let journal = self.journal.borrow();
        (journal.used_bytes(), journal.capacity_bytes())
    }

    /// Registers the one that decides the high watermarks. Without one it is what is flushed for a durable log, else the end.
    pub fn observe(&self, observer: Observer) {
        *self.observer.borrow_mut() = Some(observer);
    }

    /// Its partitions, in no order.
    pub fn partitions(&self) -> Vec<(TopicPartition, TopicId)> {
        let partitions = self.partitions.borrow();
        partitions.values().map(|partition| (partition.name.clone(), partition.key.topic_id)).collect()
    }

    /// Whether it has the partition.
    pub fn contains(&self, name: &TopicPartition) -> bool {
        self.partitions.borrow().contains_key(name)
    }

    pub(super) fn partition(&self, name: &TopicPartition) -> Result<Rc<Partition>> {
        let partitions = self.partitions.borrow();
        partitions.get(name).cloned().ok_or_else(|| Error::UnknownPartition(name.clone()))
    }

    pub(super) fn partition_dir(&self, name: &TopicPartition) -> PathBuf {
        self.config.dir.join(name.to_string())
    }

    /// Gives a partition other settings.
    pub fn configure(self: &Rc<Self>, name: &TopicPartition, config: LogConfig) -> Result<()> {
        let partition = self.partition(name)?;
        partition.log.borrow_mut().configure(Rc::new(config));
        partition.changed.set(true);
        // Who commits what is pending may be another from now on.
        partition.progress.notify_waiters();
        self.queue_commit(&partition);
        Ok(())
    }

    /// A partition's settings.
    pub fn log_config(&self, name: &TopicPartition) -> Result<Rc<LogConfig>> {
        Ok(self.partition(name)?.log.borrow().config().clone())
    }

    /// Checks a batch, gives it offsets and copies it into the log's tail. It is readable, and on stable storage, when
    /// [`Shard::flushed`] and [`Shard::high_watermark_reached`] say so.
    ///
    /// # Errors
    /// [`Error::Batch`] where the batch breaks a rule; [`Error::DiskFull`] and [`Error::Overloaded`], after which the call may be
    /// made again; [`Error::FencedEpoch`]; [`Error::Offline`].
    pub fn append(self: &Rc<Self>, name: &TopicPartition, bytes: &[u8], options: AppendOptions) -> Result<Appended> {
        let partition = self.partition(name)?;
        self.append_to(&partition, bytes, options)
    }

    pub(super) fn append_to(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        bytes: &[u8],
        options: AppendOptions,
    ) -> Result<Appended> {
        self.check()?;
        partition.check()?;
        partition.check_not_cut()?;
        if self.waits_for_space.get() > 0 {
            return Err(Error::DiskFull { path: self.config.dir.clone() });
        }
        if self.backlog_bytes.get() > self.config.backlog_bytes_max {
            let what = format!("{} bytes wait for the disk", self.backlog_bytes.get());
            return Err(Error::Overloaded(what));
        }
        let now = self.io.unix_time();
        let mut log = partition.log.borrow_mut();
        let config = log.config();
        let limits = Limits {
            max_batch_bytes: config.max_batch_bytes as usize,
            timestamp_type: config.timestamp_type,
            now,
            before_max_ms: config.timestamp_before_max_ms,
            after_max_ms: config.timestamp_after_max_ms,
            check_compressed: config.check_compressed,
            keyed: config.is_compacted(),
            origin: options.origin,
        };
        let recompressed = match config.compression {
            Some(wanted) if options.origin == Origin::Client => batch::recompress(bytes, wanted, &limits)?,
            _ => None,
        };
        let bytes = recompressed.as_deref().unwrap_or(bytes);
        let batch = batch::validate(bytes, &limits)?;
        let current = log.offsets().epoch;
        if options.epoch > current {
            self.begin_epoch(partition, &mut log, options.epoch);
        } else if options.epoch != Epoch::NONE && options.epoch < current {
            return Err(Error::FencedEpoch { given: options.epoch, current });
        }
        log.limit_chunks(self.chunk_bytes_max());
        let appended = log.append(&self.io, &batch, options.origin, now)?;
        if appended.is_duplicate {
            return Ok(appended);
        }
        self.recount(partition, &log);
        let durable = log.config().is_durable();
        let must_flush = durable || log.flush_is_due();
        let rolled = log.sealing().is_some();
        let worth_writing = !durable && log.worth_writing(self.config.write_bytes);
        let pending_bytes = log.pending_bytes();
        let prepare = log.wants_prepared();
        drop(log);
        partition.changed.set(true);
        self.metrics.batches_appended.add(1);
        self.metrics.bytes_appended.add(bytes.len() as u64);
        self.metrics.records_appended.add(appended.next_offset.since(appended.base_offset));
        if must_flush {
            self.queue_commit(partition);
            if durable && pending_bytes >= self.config.direct_bytes_min {
                self.begin_large_groups();
            }
        }
        if !durable {
            self.moved(partition);
            if worth_writing {
                self.write_behind(partition);
            }
        }
        if rolled {
            self.seal_rolled(partition);
        }
        if prepare {
            self.prepare_next(partition);
        }
        self.evict();
        Ok(appended)
    }

    /// Whether fewer bytes wait for the disk than half of the bound.
    pub fn has_room(&self) -> bool {
        self.backlog_bytes.get() <= self.config.backlog_bytes_max / 2
    }

    /// Returns when fewer bytes wait for the disk than the bound allows: a server calls it before it reads more from a client.
    pub async fn room(&self) {
        while self.backlog_bytes.get() > self.config.backlog_bytes_max / 2 && self.check().is_ok() {
            let shrunk = self.backlog_shrunk.notified();
            if self.backlog_bytes.get() <= self.config.backlog_bytes_max / 2 {
                return;
            }
            shrunk.await;
        }
    }

    /// Returns when everything before `offset` is on stable storage.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] where the log ends before the offset, because it never had it or was cut.
    pub async fn flushed(self: &Rc<Self>, name: &TopicPartition, offset: Offset) -> Result<()> {
        let partition = self.partition(name)?;
        if !partition.reached(Event::Flushed(offset)) {
            self.queue_commit(&partition);
        }
        Wait::new(partition, Event::Flushed(offset)).await
    }

    /// Returns when the high watermark is at least `offset`.
    ///
    /// # Errors
    /// As [`Shard::flushed`].
    pub async fn high_watermark_reached(&self, name: &TopicPartition, offset: Offset) -> Result<()> {
        Wait::new(self.partition(name)?, Event::Visible(offset)).await
    }

    /// Returns when at least `bytes` more are visible than were when this was called; `seen` is the high watermark that the
    /// caller knows: if it has moved on meanwhile, this returns at once.
    pub async fn readable(&self, name: &TopicPartition, seen: Offset, bytes: u64) -> Result<()> {
        let partition = self.partition(name)?;
        let visible = partition.log.borrow().visible_bytes();
        if partition.offsets().high_watermark > seen {
            return Ok(());
        }
        Wait::new(partition, Event::VisibleBytes(visible + bytes.max(1))).await
    }

    /// How far the log reaches.
    pub fn offsets(&self, name: &TopicPartition) -> Result<LogOffsets> {
        let partition = self.partition(name)?;
        partition.check()?;
        Ok(partition.offsets())
    }

    /// Begins a leader epoch: what is appended from now on carries it.
    pub fn set_epoch(self: &Rc<Self>, name: &TopicPartition, epoch: Epoch) -> Result<()> {
        let partition = self.partition(name)?;
        let mut log = partition.log.borrow_mut();
        self.begin_epoch(&partition, &mut log, epoch);
        Ok(())
    }

    fn begin_epoch(&self, partition: &Partition, log: &mut Log, epoch: Epoch) {
        if log.set_epoch(epoch) {
            partition.changed.set(true);
            self.note_entry(NotedEntry::EpochStart { key: partition.key, epoch, start: log.offsets().end });
        }
    }

    /// Sets the high watermark: up to there consumers may read. It never goes back.
    pub fn set_high_watermark(&self, name: &TopicPartition, offset: Offset) {
        if let Ok(partition) = self.partition(name)
            && partition.log.borrow_mut().set_high_watermark(offset)
        {
            partition.wake();
        }
    }

    /// Where an epoch ended (KIP-101): the largest epoch not above it, and the first offset behind that one.
    pub fn end_offset_for_epoch(&self, name: &TopicPartition, epoch: Epoch) -> Result<(Epoch, Offset)> {
        let partition = self.partition(name)?;
        let log = partition.log.borrow();
        Ok(log.epochs().end_offset(epoch, log.offsets().end))
    }

    /// The epoch in which the record at an offset was appended; [`Epoch::NONE`] where it is not known.
    pub fn epoch_of(&self, name: &TopicPartition, offset: Offset) -> Result<Epoch> {
        let partition = self.partition(name)?;
        Ok(partition.log.borrow().epochs().epoch_of(offset).unwrap_or(Epoch::NONE))
    }

    /// The log's end or flushed offset moved.
    pub(super) fn moved(&self, partition: &Rc<Partition>) {
        // Another may have its name by now, and would be taken to be as far.
        if partition.is_deleted() {
            return;
        }
        let observer = self.observer.borrow().clone();
        match observer {
            Some(observer) => observer(self, &partition.name, partition.offsets()),
            None => {
                let mut log = partition.log.borrow_mut();
                let offsets = log.offsets();
                let visible = if log.config().is_durable() { offsets.flushed } else { offsets.end };
                log.set_high_watermark(visible);
            }
        }
        partition.wake();
    }

    /// An error where this shard's log directory has failed.
    pub fn check(&self) -> Result<()> {
        match &*self.failure.borrow() {
            Some(error) => Err(error.clone()),
            None if self.closing.get() => Err(Error::Closed),
            None => Ok(()),
        }
    }

    /// A write or sync failed: final for the log directory. Nothing is acknowledged on it again and nothing is retried, since file
    /// systems drop the dirty pages of a failed sync and a second one would lie.
    pub(super) fn fail(&self, error: Error) {
        let first = self.failure.borrow().is_none();
        if !first {
            return;
        }
        tracing::error!(%error, dir = %self.config.dir.display(), "the log directory is offline");
        let offline =
            Error::Offline { what: format!("log directory {}", self.config.dir.display()), reason: error.to_string() };
        *self.failure.borrow_mut() = Some(offline.clone());
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        for partition in partitions {
            partition.fail(offline.clone());
        }
        self.backlog_shrunk.notify_waiters();
        self.flusher.released.notify_waiters();
        self.flusher.applied.notify_waiters();
    }

    /// What the partition's files take on the disk, in bytes, as far as it is known without asking the disk.
    pub fn disk_usage(&self, name: &TopicPartition) -> Result<u64> {
        let partition = self.partition(name)?;
        let log = partition.log.borrow();
        let sealed: u64 = log.sealed().iter().filter_map(|segment| segment.size()).map(|size| size.0).sum();
        let open: u64 = log.open_segments().map(|segment| segment.end().0).sum();
        Ok(sealed + open)
    }

    /// Whether [`Shard::close`] has come to its end.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.get() && self.failure.borrow().is_some()
    }
}

/// A change of a partition that is not a batch, for the journal.
#[derive(Clone, Copy, Debug)]
pub(super) enum NotedEntry {
    /// A leader epoch began.
    EpochStart {
        /// The partition.
        key: PartitionKey,
        /// The epoch.
        epoch: Epoch,
        /// Its first offset.
        start: Offset,
    },
    /// The log's start moved.
    Start {
        /// The partition.
        key: PartitionKey,
        /// The first readable offset.
        start: Offset,
    },
}

/// The clock of the log, for tests of retention.
pub(super) fn age_ms(now: Timestamp, then: Timestamp) -> i64 {
    now.0.saturating_sub(then.0)
}
