//! Segment writes behind the appends: whole blocks, without a sync, large, or in pieces where commits would have to wait behind large
//! ones (`docs/decisions/paced-writes.md`); and the completion of rolled segments.

use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::io::{File, Sync};
use crate::log::{SegmentFile, SegmentIndex, SegmentWrite};
use crate::shard::join::join2;
use crate::shard::leftovers::remove_indexes;
use crate::shard::partition::Partition;
use crate::shard::producer_files::snapshot_path;
use crate::shard::shard::Shard;
use crate::types::{BLOCK_BYTES, Offset, Position};

/// Bytes of a segment write while groups are committed: a device that serves one after the other keeps a commit waiting for all that
/// it was given before.
const PACED_BYTES: u64 = 128 << 10;
/// Such writes of a shard under way at once.
const PACED_WRITES_MAX: usize = 2;
/// Segment writes of a shard under way at once while groups are committed, where so much waits that they have to be large.
const HURRIED_WRITES_MAX: usize = 8;
/// Large writes that wait in one partition before commits have to wait for them: the disk is busy then, and memory is held meanwhile.
const HURRIED_AFTER_WRITES: u64 = 2;

/// How long a full disk is left alone before it is tried again.
pub(super) const DISK_FULL_RETRY: Duration = Duration::from_millis(250);

/// Something waits for space on the disk.
struct DiskFull<'a>(&'a Shard);

impl DiskFull<'_> {
    fn begin<'a>(shard: &'a Shard, error: &Error) -> DiskFull<'a> {
        if shard.waits_for_space.replace(shard.waits_for_space.get() + 1) == 0 {
            tracing::error!(%error, "appends are refused until there is space");
            shard.backlog_shrunk.notify_waiters();
        }
        DiskFull(shard)
    }
}

impl Drop for DiskFull<'_> {
    fn drop(&mut self) {
        let waits = &self.0.waits_for_space;
        waits.set(waits.get() - 1);
        if waits.get() == 0 {
            tracing::warn!(dir = %self.0.config.dir.display(), "nothing waits for space any more, appends go on");
        }
    }
}

/// How segment writes are made now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WritePace {
    /// Bytes of one.
    pub(super) bytes: u64,
    /// Of the shard under way at once.
    at_once: usize,
}

impl Shard {
    /// How a partition is to be written of which so many bytes wait.
    pub(super) fn write_pace(&self, waiting_bytes: u64) -> WritePace {
        let (bytes, at_once) = (self.config.write_bytes, self.config.writes_in_flight_max);
        if !self.commits_lately() {
            WritePace { bytes, at_once }
        } else if waiting_bytes >= bytes * HURRIED_AFTER_WRITES {
            WritePace { bytes, at_once: at_once.min(HURRIED_WRITES_MAX) }
        } else {
            WritePace { bytes: bytes.min(PACED_BYTES), at_once: at_once.min(PACED_WRITES_MAX) }
        }
    }

    /// Starts the segment writes that are worth making.
    pub(super) fn write_behind(self: &Rc<Self>, partition: &Rc<Partition>) {
        loop {
            if self.failed().is_err() || partition.is_deleted() {
                return;
            }
            let pace = self.write_pace(partition.log.borrow().unwritten_bytes());
            if self.writes_in_flight.get() >= pace.at_once {
                if !partition.wants_write.replace(true) {
                    self.writes_wanted.borrow_mut().push_back(partition.clone());
                }
                return;
            }
            let planned = partition.log.borrow_mut().plan_write(pace.bytes, pace.bytes);
            let Some((base, write)) = planned else { return };
            self.writes_in_flight.set(self.writes_in_flight.get() + 1);
            let (shard, partition, work) = (self.clone(), partition.clone(), partition.work());
            self.io.spawn(async move {
                let outcome = shard.run_write(&partition, base, write).await;
                drop(work);
                shard.writes_in_flight.set(shard.writes_in_flight.get() - 1);
                // Those that wait come first, so that they take turns.
                shard.write_waiting();
                match outcome {
                    Ok(()) => shard.write_behind(&partition),
                    Err(_) if partition.is_deleted() => {}
                    Err(error) => shard.fail(error),
                }
            });
        }
    }

    /// Starts the segment writes of those that wait for their turn, as many as the pace allows. One may have nothing to write any more,
    /// since a checkpoint wrote it: the turn is the next one's then, which else had to wait for a write to end where none is under way.
    fn write_waiting(self: &Rc<Self>) {
        // One that waits again does so behind these.
        let waiting = self.writes_wanted.borrow().len();
        for _ in 0..waiting {
            let next = self.writes_wanted.borrow_mut().pop_front().expect("only this takes them out");
            next.wants_write.set(false);
            self.write_behind(&next);
            if next.wants_write.get() {
                // As many are under way as may be, and the end of each comes here again.
                return;
            }
        }
    }

    /// Writes whole blocks to a segment and applies the outcome.
    pub(super) async fn run_write(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
        write: SegmentWrite,
    ) -> Result<()> {
        let open = partition.log.borrow().open_segment(base).map(|segment| segment.file().clone());
        let segment_file = open.expect("a segment is not sealed while it is written");
        self.write_grown(partition, &segment_file, &write, Sync::None, false).await?;
        segment_file.mark_unsynced();
        self.grow_ahead(partition, base, write.end);
        let bytes = write.end - write.position;
        self.metrics.segment_bytes.add(bytes);
        let mut log = partition.log.borrow_mut();
        if let Some(segment) = log.open_segment_mut(base) {
            segment.apply_write(write.end);
        }
        self.recount(partition, &log);
        drop(log);
        partition.progress.notify_waiters();
        self.offer_eviction(partition);
        self.evict();
        Ok(())
    }

    /// Writes whole blocks to a segment's file, which is made and grows where it has to. With `commits` a commit group tells of them,
    /// and what it needs of the file beside the bytes is durable too when this returns.
    pub(super) async fn write_grown(
        &self,
        partition: &Partition,
        file: &SegmentFile,
        write: &SegmentWrite,
        sync: Sync,
        commits: bool,
    ) -> Result<()> {
        let attempt = async || {
            let open = self.writable(partition, file, write.end, sync == Sync::Data).await?;
            let written = open.write_at(&write.slices, write.position, sync);
            if !commits || file.is_named() {
                return written.await;
            }
            let (written, named) = join2(written, file.named(&self.io)).await;
            written.and(named)
        };
        self.when_space(Some(partition), attempt).await
    }

    /// The segment's file, grown to `needed`.
    async fn writable(
        &self,
        partition: &Partition,
        file: &SegmentFile,
        needed: Position,
        durable: bool,
    ) -> Result<File> {
        // What no checkpoint knows is sought in the file itself when it is recovered, where nothing old may be.
        let recycled = || match partition.checkpointed.get() {
            true => self.recycler.borrow_mut().take(file.segment_bytes()),
            false => None,
        };
        let open = file.writable(&self.io, needed, durable, recycled).await?;
        // To ask costs a sync, in the middle of the writes: only where a commit may spare one for it.
        if file.is_recycled() && partition.log.borrow().commits() {
            let journal = self.journal.borrow().file().clone();
            file.learn_covered(&journal).await?;
        }
        Ok(open)
    }

    /// Does something that may find the disk full, again and again until there is space, for which files that wait to be used again are
    /// given up; until then appends are refused, and those
    /// that wait are told so with [`Error::DiskFull`], although they may still become durable. Not for
    /// what a sync found, since that is final. Ends with the error when the partition or the shard does, and while the shard is
    /// being opened.
    pub(super) async fn when_space<T>(
        &self,
        partition: Option<&Partition>,
        attempt: impl AsyncFn() -> Result<T>,
    ) -> Result<T> {
        let mut waiting = None;
        loop {
            match attempt().await {
                Err(Error::DiskFull { .. }) if self.give_space_back().await => {}
                Err(error @ Error::DiskFull { .. }) => {
                    match &waiting {
                        None => waiting = Some(DiskFull::begin(self, &error)),
                        // What needed no space is done by now, and who waits for the rest may try again elsewhere.
                        Some(_) => self.refuse_waiters(&error),
                    }
                    partition.map_or(Ok(()), Partition::check)?;
                    let is_open = self.checkpoints.get().1 > 0;
                    if !is_open || self.closing.get() || self.failed().is_err() {
                        return Err(error);
                    }
                    self.io.sleep(DISK_FULL_RETRY).await;
                }
                outcome => return outcome,
            }
        }
    }

    fn refuse_waiters(&self, error: &Error) {
        for partition in self.partitions.borrow().values() {
            partition.waiters.borrow_mut().refuse(error);
        }
    }

    /// Writes every whole block that may be written to the open segment with this base up to `to`, and returns when
    /// the file has them.
    pub(super) async fn write_blocks(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
        to: Position,
    ) -> Result<()> {
        loop {
            self.failed()?;
            if partition.is_deleted() {
                return Err(Error::UnknownPartition(partition.name.clone()));
            }
            let progress = partition.progress.notified();
            let planned = {
                let mut log = partition.log.borrow_mut();
                let Some(segment) = log.open_segment_mut(base) else { return Ok(()) };
                if segment.written() >= to.block_start() {
                    return Ok(());
                }
                let bytes = self.write_pace(segment.unwritten_bytes(to)).bytes;
                segment.plan_write(to, 1, bytes)
            };
            match planned {
                Some(write) => {
                    let position = write.position;
                    // The next one is started while this one is under way: a segment's end is written at the disk's speed.
                    let more = {
                        let mut log = partition.log.borrow_mut();
                        log.open_segment_mut(base).and_then(|segment| {
                            let bytes = self.write_pace(segment.unwritten_bytes(to)).bytes;
                            segment.plan_write(to, 1, bytes)
                        })
                    };
                    debug_assert!(more.as_ref().is_none_or(|more| more.position > position));
                    let first = self.run_write(partition, base, write);
                    let outcomes = match more {
                        Some(more) => {
                            crate::shard::join::join_all([
                                Box::pin(first) as std::pin::Pin<Box<dyn Future<Output = Result<()>>>>,
                                Box::pin(self.run_write(partition, base, more)),
                            ])
                            .await
                        }
                        None => vec![first.await],
                    };
                    for outcome in outcomes {
                        outcome?;
                    }
                }
                None => progress.await,
            }
        }
    }

    /// Completes the rolled segments of a partition, oldest first, in the background.
    pub(super) fn seal_rolled(self: &Rc<Self>, partition: &Rc<Partition>) {
        if partition.is_sealing.replace(true) {
            return;
        }
        let (shard, partition, work) = (self.clone(), partition.clone(), partition.work());
        self.io.spawn(async move {
            let _work = work;
            loop {
                let next = partition.log.borrow().sealing().map(|segment| segment.base());
                let Some(base) = next else { break };
                if let Err(error) = shard.seal(&partition, base).await {
                    if partition.check().is_ok() {
                        shard.fail(error);
                    }
                    break;
                }
            }
            partition.is_sealing.set(false);
            partition.progress.notify_waiters();
        });
    }

    /// Completes one rolled segment: all its bytes in the file, the file of exactly its length, its indexes written, all synced.
    async fn seal(self: &Rc<Self>, partition: &Rc<Partition>, base: Offset) -> Result<()> {
        self.wait_committed(partition, base).await?;
        let end = partition.log.borrow().open_segment(base).expect("it is sealed once").end();
        self.write_blocks(partition, base, end).await?;
        self.write_last_block(partition, base).await?;
        let index = self.finish_index(partition, base, end).await?;
        let file = partition.log.borrow().open_segment(base).expect("it is sealed once").file().clone();
        file.truncate(&self.io, end).await?;
        file.sync(&self.io).await?;
        let snapshot = partition.log.borrow().sealing_snapshot().cloned();
        if let Some((at, snapshot)) = snapshot {
            let path = snapshot_path(&partition.dir, at);
            self.when_space(Some(partition), async || self.io.replace_file(&path, snapshot.clone()).await).await?;
        }
        let sealed = {
            let mut log = partition.log.borrow_mut();
            // Its bytes are durable, but nothing says so yet: what counts as flushed is what recovery would find.
            let sealed = log.apply_sealed(base);
            self.recount(partition, &log);
            sealed
        };
        if let Some(index) = index {
            self.keep_index(&sealed, &Rc::new(index));
        }
        let epochs = partition.log.borrow().epochs().clone();
        if !epochs.entries().is_empty() {
            let path = partition.dir.join("leader-epoch-checkpoint");
            self.when_space(Some(partition), async || self.io.replace_file(&path, epochs.encode()).await).await?;
        }
        partition.changed.set(true);
        // A checkpoint waits for this segment, and the commit of the next one perhaps for that checkpoint.
        partition.progress.notify_waiters();
        self.moved(partition);
        self.bury_dead(partition);
        Ok(())
    }

    /// Returns when a rolled segment's bytes are durable by a commit; at once where the log is not, or no more, one that commits.
    async fn wait_committed(self: &Rc<Self>, partition: &Rc<Partition>, base: Offset) -> Result<()> {
        loop {
            self.failed()?;
            partition.check()?;
            let progress = partition.progress.notified();
            {
                let log = partition.log.borrow();
                let segment = log.open_segment(base).expect("it is sealed once");
                if !log.commits() || segment.durable() == segment.end() {
                    return Ok(());
                }
            }
            self.queue_commit(partition);
            progress.await;
        }
    }

    /// Writes the last, partial block of an open segment, padded with zeros; its bytes stay in memory too.
    pub(super) async fn write_last_block(self: &Rc<Self>, partition: &Rc<Partition>, base: Offset) -> Result<()> {
        let (position, partial, file) = {
            let log = partition.log.borrow();
            let segment = log.open_segment(base).expect("it is open");
            let position = segment.end().block_start();
            (position, segment.tail().copy(position, segment.end()), segment.file().clone())
        };
        if partial.is_empty() {
            return Ok(());
        }
        let mut block = self.io.alloc(BLOCK_BYTES as usize);
        block.extend_from_slice(&partial);
        block.extend_from_slice(&vec![0; BLOCK_BYTES as usize - partial.len()]);
        let slices = [block.slice(0..BLOCK_BYTES as usize)].into_iter().collect();
        let write = SegmentWrite { slices, position, end: position + BLOCK_BYTES };
        self.write_grown(partition, &file, &write, Sync::None, false).await?;
        file.mark_unsynced();
        Ok(())
    }

    /// Writes the index files of an open segment in Kafka's format. None where the older points cannot be read: then whoever
    /// needs the index first makes it anew.
    pub(super) async fn finish_index(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
        end: Position,
    ) -> Result<Option<SegmentIndex>> {
        let Some(index) = self.index_of(partition, base, end).await? else { return Ok(None) };
        let path = partition.log.borrow().open_segment(base).expect("it is open").file().path().to_path_buf();
        let store = async || {
            self.io.replace_file(&path.with_extension("index"), index.offsets.encode()).await?;
            self.io.replace_file(&path.with_extension("timeindex"), index.times.encode()).await
        };
        self.when_space(Some(partition), store).await?;
        let _points = partition.points.lock().await;
        let points = path.with_extension("points");
        if self.io.file_len(&points).await?.is_some() {
            self.io.remove_file(&points).await?;
        }
        Ok(Some(index))
    }

    /// The index of an open segment; none where the older points cannot be read, and then no files of one either.
    pub(super) async fn index_of(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
        end: Position,
    ) -> Result<Option<SegmentIndex>> {
        if let Err(error) = self.load_points(partition, base).await {
            let path = partition.log.borrow().open_segment(base).expect("it is open").file().path().to_path_buf();
            tracing::warn!(%error, path = %path.display(), "the segment is left without its indexes");
            let _points = partition.points.lock().await;
            remove_indexes(&self.io, &path).await?;
            return Ok(None);
        }
        let log = partition.log.borrow();
        let segment = log.open_segment(base).expect("it is open");
        let mut index = SegmentIndex::new(base);
        for point in segment.points_from(Position::ZERO).iter().filter(|point| point.position < end) {
            index.push(*point);
        }
        let (_, max_timestamp, max_timestamp_offset) = segment.timestamps();
        index.finish(max_timestamp, max_timestamp_offset);
        Ok(Some(index))
    }
}
