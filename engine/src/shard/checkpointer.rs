//! Checkpoints: how far each partition is, so that the journal before can be used again and recovery begins there.
//!
//! A checkpoint takes a mark in the journal, then each partition's state, then sees to it that what the states say is in the
//! segments and synced, and only then is stored. States may be newer than the mark: recovery skips what they have already.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::io::OpenMode;
use crate::journal::{Checkpoint, JournalMark, PartitionState};
use crate::log::{SegmentFile, Times, encode_points};
use crate::shard::join::workers;
use crate::shard::partition::{Partition, Work};
use crate::shard::shard::Shard;
use crate::shard::writer::DISK_FULL_RETRY;
use crate::types::{BLOCK_BYTES, Offset, Position, Timestamp};

/// Partitions whose segments are written at once.
const WRITTEN_AT_ONCE: usize = 16;
/// Blocks that a checkpoint has on their way to segments at once.
const WRITING_BLOCKS_MAX: usize = (2 << 20) / BLOCK_BYTES as usize;
/// The same while groups are committed, which would have to wait for them, and the journal has room.
const PACED_BLOCKS_MAX: usize = (256 << 10) / BLOCK_BYTES as usize;
/// Partitions whose state is taken before others get their turn.
const STATES_AT_ONCE: usize = 64;
/// Index points that a checkpoint carries rather than have them written to a file of their own.
const POINTS_CARRIED_MAX: usize = 64;

/// A partition's part in a checkpoint under way.
struct Taken {
    partition: Rc<Partition>,
    segment: Offset,
    position: Position,
    times: Times,
    next_offset: Offset,
    appended_bytes: u64,
}

/// What is still to be done for a partition whose blocks are written.
enum Settled {
    /// Nothing.
    Nothing,
    /// The journal's device is to be flushed.
    Covered,
    /// The file is to be synced.
    Unsynced(Rc<SegmentFile>, Work),
}

impl Shard {
    /// Makes checkpoints until the shard is closed: at intervals, and when the journal is half full or a group finds no place in it.
    pub(super) async fn run_checkpointer(self: Rc<Self>) {
        loop {
            let interval = Duration::from_millis(self.checkpoint_interval_ms());
            let asked = self.wait_for_checkpoint(interval).await;
            if asked && !self.flusher.flush_wanted.replace(false) && !self.journal_wants_checkpoint() {
                // The one that was just made has seen to it.
                continue;
            }
            let turn = self.checkpointing.lock().await;
            // A shard that closes makes its last checkpoint itself, and fails then; what it waits for may need one before.
            if self.failed().is_err() {
                return;
            }
            let made = self.checkpoint().await;
            drop(turn);
            match made {
                Ok(()) => {}
                // The shard closes, and makes its last one itself. Nothing is lost if that fails too: the journal has it all.
                Err(Error::DiskFull { .. }) => self.io.sleep(DISK_FULL_RETRY).await,
                Err(error) => {
                    self.fail(error);
                    return;
                }
            }
        }
    }

    /// The interval of the store, or of the partition that wants to be flushed most often.
    fn checkpoint_interval_ms(&self) -> u64 {
        let flush_ms =
            self.partitions.borrow().values().filter_map(|partition| partition.log.borrow().flush_ms()).min();
        flush_ms.unwrap_or(u64::MAX).min(self.config.checkpoint_interval_ms).max(1)
    }

    /// Whether it was asked for, rather than due.
    async fn wait_for_checkpoint(&self, interval: Duration) -> bool {
        let mut asked = std::pin::pin!(self.flusher.checkpoint.notified());
        let mut timer = std::pin::pin!(self.io.sleep(interval));
        std::future::poll_fn(|context| {
            if asked.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(true);
            }
            timer.as_mut().poll(context).map(|()| false)
        })
        .await
    }

    /// Makes a checkpoint, where anything changed since the last one. The caller holds [`Shard::checkpointing`] where others
    /// may make one too.
    pub(super) async fn checkpoint(self: &Rc<Self>) -> Result<()> {
        let mut all: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
        all.extend(self.newborn.borrow().iter().cloned());
        let mark = self.journal.borrow().head();
        let (begun, ended) = self.checkpoints.get();
        self.checkpoints.set((begun + 1, ended));
        self.checkpoint_at(mark, &all).await?;
        self.checkpoints.set((begun + 1, begun + 1));
        self.flusher.released.notify_waiters();
        Ok(())
    }

    /// Returns when a checkpoint has been made that began after this call.
    pub(super) async fn checkpointed(&self) -> Result<()> {
        let wanted = self.checkpoints.get().0 + 1;
        loop {
            self.failed()?;
            let ended = self.flusher.released.notified();
            if self.checkpoints.get().1 >= wanted {
                return Ok(());
            }
            self.flusher.flush_wanted.set(true);
            self.flusher.checkpoint.notify_one();
            ended.await;
        }
    }

    /// Makes the first checkpoint of a shard that was just opened: no group may be written before.
    pub(super) async fn first_checkpoint(self: &Rc<Self>) -> Result<()> {
        self.partitions_gone.set(true);
        self.checkpoint().await
    }

    async fn checkpoint_at(self: &Rc<Self>, mark: JournalMark, all: &[Rc<Partition>]) -> Result<()> {
        let used = self.journal.borrow().used_bytes() > 0;
        if !used && !self.partitions_gone.replace(false) && !all.iter().any(|partition| partition.changed.get()) {
            self.quiet_down(all);
            return Ok(());
        }
        let taken = match self.record(mark, all).await {
            Ok(taken) => taken,
            Err(error) => {
                // The next one must look at all of them again.
                all.iter().for_each(|partition| partition.changed.set(true));
                self.partitions_gone.set(true);
                return Err(error);
            }
        };
        self.release(mark).await?;
        for taken in &taken {
            self.apply_checkpoint(taken);
        }
        self.metrics.checkpoints.add(1);
        self.quiet_down(all);
        Ok(())
    }

    /// Takes the states of all, has what they speak of synced, and writes them down.
    async fn record(self: &Rc<Self>, mark: JournalMark, all: &[Rc<Partition>]) -> Result<Vec<Taken>> {
        let began = self.io.now();
        let (states, taken) = self.take_states(all).await?;
        let took_states = self.io.now();
        self.settle(&taken).await?;
        let settled = self.io.now();
        let checkpoint =
            Checkpoint { shard: self.id().0 as u32, generation: self.generation, mark, partitions: states };
        self.when_space(None, async || checkpoint.store(&self.io, &self.config.dir).await).await?;
        tracing::debug!(
            shard = self.id().0,
            changed = taken.len(),
            states_us = (took_states - began).as_micros() as u64,
            segments_us = (settled - took_states).as_micros() as u64,
            stored_us = (self.io.now() - settled).as_micros() as u64,
            "a checkpoint was taken"
        );
        Ok(taken)
    }

    async fn release(&self, mark: JournalMark) -> Result<()> {
        if mark.sequence > 1 {
            self.group_applied(mark.sequence - 1).await?;
        }
        self.journal.borrow_mut().release(mark);
        self.flusher.released.notify_waiters();
        Ok(())
    }

    /// Takes each partition's state. Where a partition has segments that are rolled but not complete, they are completed first.
    async fn take_states(self: &Rc<Self>, all: &[Rc<Partition>]) -> Result<(Vec<PartitionState>, Vec<Taken>)> {
        let mut states = Vec::with_capacity(all.len());
        let mut taken = Vec::new();
        for (count, partition) in all.iter().enumerate() {
            if count % STATES_AT_ONCE == STATES_AT_ONCE - 1 {
                self.io.yield_now().await;
            }
            if let Some(damaged) = partition.damaged() {
                let applied_before = self.journal.borrow().head().sequence;
                states.push(PartitionState { generation: self.generation, applied_before, ..damaged });
                continue;
            }
            let _work = partition.work();
            if !self.wait_sealed(partition).await? {
                continue;
            }
            self.spill_points(partition).await?;
            if !self.wait_sealed(partition).await? {
                continue;
            }
            // From here on nothing is awaited: the state, and whether it changed, are of one moment.
            let changed = partition.changed.replace(false);
            let applied_before = self.journal.borrow().head().sequence;
            let mut log = partition.log.borrow_mut();
            let (segment, next_offset, appended_bytes) = log.checkpoint_state();
            if changed {
                log.begin_telling(next_offset);
                taken.push(Taken {
                    partition: partition.clone(),
                    segment: segment.base,
                    position: segment.position,
                    times: (segment.first_timestamp, segment.max_timestamp, segment.max_timestamp_offset),
                    next_offset,
                    appended_bytes,
                });
            }
            states.push(PartitionState {
                topic: partition.name.topic.to_string(),
                id: partition.key,
                generation: self.generation,
                applied_before,
                start: log.offsets().start,
                segment: segment.base,
                position: segment.position,
                next_offset,
                segment_created: Timestamp::NONE,
                first_timestamp: segment.first_timestamp,
                max_timestamp: segment.max_timestamp,
                max_timestamp_offset: segment.max_timestamp_offset,
                partial: segment.partial,
                epochs: log.epochs().entries().to_vec(),
                index_points: segment.points,
                index_spilled: u32::try_from(segment.spilled).expect("fewer points than bytes"),
                producers: log.producers().as_of(next_offset),
                damage: None,
            });
        }
        Ok((states, taken))
    }

    /// Returns when the oldest open segment of the partition is the one to tell of; `false` where the partition is gone.
    async fn wait_sealed(&self, partition: &Partition) -> Result<bool> {
        loop {
            self.failed()?;
            if partition.check().is_err() {
                return Ok(false);
            }
            let progress = partition.progress.notified();
            if !partition.log.borrow().must_seal_first() {
                return Ok(true);
            }
            progress.await;
        }
    }

    /// Writes index points to a file where a checkpoint would carry many.
    async fn spill_points(&self, partition: &Partition) -> Result<()> {
        // The segment may roll meanwhile, and whoever completes it removes the file.
        let _points = partition.points.lock().await;
        let (path, base, at, points) = {
            let log = partition.log.borrow();
            let segment = log.active();
            let (points, spilled) = segment.unspilled();
            if points.len() <= POINTS_CARRIED_MAX || log.sealing().is_some() {
                return Ok(());
            }
            // Only what the checkpoint tells of: after a crash others may be of batches that were lost, and lead into those that came
            // in their place.
            let told = log.checkpoint_position();
            let points = &points[..points.partition_point(|point| point.position < told)];
            if points.is_empty() {
                return Ok(());
            }
            (segment.file().path().with_extension("points"), segment.base(), spilled, points.to_vec())
        };
        let place = (at * crate::log::POINT_RECORD_BYTES) as u64;
        match self.io.append_file(&path, place, encode_points(base, &points)).await {
            // The checkpoint carries them then.
            Err(Error::DiskFull { .. }) => return Ok(()),
            appended => appended?,
        }
        // Old points may be at the same place of the file, and a checkpoint is going to count on these.
        self.io.open(&path, OpenMode::Write).await?.sync().await?;
        if let Some(segment) = partition.log.borrow_mut().open_segment_mut(base) {
            segment.points_spilled(at + points.len());
        }
        Ok(())
    }

    /// Has the whole blocks that the states speak of written and synced. Little is written at once, so that commit groups do not queue
    /// behind it, and one flush serves all segments that it covers.
    async fn settle(self: &Rc<Self>, taken: &[Taken]) -> Result<()> {
        let next = Cell::new(0);
        let covered = Cell::new(false);
        let unsynced = RefCell::new(Vec::new());
        let paced = Cell::new(self.commits_lately());
        let at_once = if paced.get() { PACED_BLOCKS_MAX } else { WRITING_BLOCKS_MAX };
        let writing = (tokio::sync::Semaphore::new(at_once), at_once);
        workers(WRITTEN_AT_ONCE.min(taken.len()), async || {
            loop {
                let place = next.replace(next.get() + 1);
                let Some(taken) = taken.get(place) else { return Ok(()) };
                if paced.get() && self.journal_fills() {
                    paced.set(false);
                    writing.0.add_permits(WRITING_BLOCKS_MAX - PACED_BLOCKS_MAX);
                }
                match self.settle_partition(taken, &writing).await? {
                    Settled::Nothing => {}
                    Settled::Covered => covered.set(true),
                    Settled::Unsynced(file, work) => unsynced.borrow_mut().push((file, work)),
                }
            }
        })
        .await?;
        let (files, _works): (Vec<_>, Vec<_>) = unsynced.into_inner().into_iter().unzip();
        self.sync_segments(&files).await?;
        if !covered.get() || files.len() > self.config.sync_each_max {
            return Ok(());
        }
        let journal = self.journal.borrow().file().clone();
        journal.sync().await
    }

    /// Writes what is told of one partition; what has still to be done then.
    async fn settle_partition(
        self: &Rc<Self>,
        taken: &Taken,
        (writing, at_once): &(tokio::sync::Semaphore, usize),
    ) -> Result<Settled> {
        let partition = &taken.partition;
        if taken.position.block_start() == Position::ZERO || partition.is_deleted() {
            return Ok(Settled::Nothing);
        }
        let work = partition.work();
        let unwritten = partition.log.borrow().open_segment(taken.segment).map_or(0, |segment| {
            (taken.position.block_start().0.saturating_sub(segment.written().0) / BLOCK_BYTES) as usize
        });
        let turn = writing.acquire_many(unwritten.min(*at_once) as u32).await.expect("it is not closed");
        match self.write_blocks(partition, taken.segment, taken.position).await {
            Err(_) if partition.is_deleted() => return Ok(Settled::Nothing),
            written => written?,
        }
        drop(turn);
        let file = partition.log.borrow().open_segment(taken.segment).map(|segment| segment.file().clone());
        Ok(match file {
            Some(file) if file.is_covered(taken.position.block_start()) => {
                file.named(&self.io).await?;
                Settled::Covered
            }
            Some(file) if partition.check().is_ok() => Settled::Unsynced(file, work),
            // Sealed meanwhile, and so synced; or deleted.
            _ => Settled::Nothing,
        })
    }

    fn apply_checkpoint(self: &Rc<Self>, taken: &Taken) {
        let partition = &taken.partition;
        partition.checkpointed.set(true);
        partition.checkpointed_segment.set(Some(taken.segment));
        let mut log = partition.log.borrow_mut();
        let before = log.offsets().flushed;
        if let Some(segment) = log.open_segment_mut(taken.segment) {
            segment.apply_checkpoint(taken.position, taken.times);
        }
        log.apply_told(taken.next_offset);
        log.apply_flushed(taken.next_offset, taken.appended_bytes);
        self.recount(partition, &log);
        let moved = log.offsets().flushed > before;
        let pending = log.config().is_durable() && log.pending_bytes() > 0;
        drop(log);
        if moved {
            self.moved(partition);
        }
        if pending {
            self.queue_commit(partition);
        }
    }

    /// Partitions that were not used since the last checkpoint hold no open file and little memory.
    fn quiet_down(&self, all: &[Rc<Partition>]) {
        for partition in all {
            let mut log = partition.log.borrow_mut();
            log.quiet_down(&self.io);
            self.recount(partition, &log);
            drop(log);
            partition.streams.borrow_mut().quiet_down();
            partition.waiters.borrow_mut().shrink();
        }
    }
}
