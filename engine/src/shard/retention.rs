//! What shortens a log: retention and DeleteRecords at its front, truncation at its end.

use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::log::{LogConfig, LogOffsets, SealedSegment, SegmentState};
use crate::shard::leftovers::remove_indexes;
use crate::shard::partition::Partition;
use crate::shard::producer_files::remove_snapshots_behind;
use crate::shard::recycler::Recycler;
use crate::shard::segment_scan::scan_file;
use crate::shard::shard::{NotedEntry, Shard, age_ms};
use crate::shard::waiters::{Event, Wait};
use crate::types::{BLOCK_BYTES, Offset, Position, Timestamp, TopicPartition};

impl Shard {
    /// Looks after retention until the shard is closed.
    pub(super) async fn run_retention(self: Rc<Self>) {
        loop {
            self.io.sleep(Duration::from_millis(self.config.retention_check_ms)).await;
            if self.closing.get() || self.failed().is_err() {
                return;
            }
            let all: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
            for partition in all {
                if let Err(error) = self.retain(&partition).await {
                    tracing::warn!(%error, partition = %partition.name, "retention did not get through");
                }
            }
        }
    }

    /// Applies retention to one partition now; the offset that its log starts at then.
    pub async fn apply_retention(self: &Rc<Self>, name: &TopicPartition) -> Result<Offset> {
        let partition = self.partition(name)?;
        self.retain(&partition).await?;
        let start = partition.log.borrow().durable_start();
        Ok(start)
    }

    /// The bytes of a partition's segments.
    pub async fn log_bytes(self: &Rc<Self>, name: &TopicPartition) -> Result<u64> {
        let partition = self.partition(name)?;
        let (_, sealed, open) = self.sizes(&partition).await?;
        Ok(sealed.iter().sum::<u64>() + open)
    }

    /// The sealed segments that are not deleted, the bytes of each, and the bytes of the open ones.
    async fn sizes(&self, partition: &Rc<Partition>) -> Result<(Vec<Rc<SealedSegment>>, Vec<u64>, u64)> {
        let _work = partition.work();
        let sealed: Vec<Rc<SealedSegment>> = {
            let log = partition.log.borrow();
            let start = log.offsets().start;
            let live = |segment: &&Rc<SealedSegment>| log.segment_after(segment.base).is_some_and(|next| next > start);
            log.sealed().iter().filter(live).cloned().collect()
        };
        let mut sizes = Vec::with_capacity(sealed.len());
        for segment in &sealed {
            sizes.push(self.sealed_size(segment).await?.0);
        }
        let open: u64 = partition.log.borrow().open_segments().map(|segment| segment.end().0).sum();
        Ok((sealed, sizes, open))
    }

    /// Kafka's rules (`UnifiedLog.deleteOldSegments`): by size while what is left is at least `retention.bytes`, then by the age of
    /// a segment's largest timestamp; only whole segments, only below the high watermark. An active segment that
    /// is too old is rolled first.
    async fn retain(self: &Rc<Self>, partition: &Rc<Partition>) -> Result<()> {
        let config = partition.log.borrow().config().clone();
        if !config.deletes() {
            return Ok(());
        }
        let now = self.io.unix_time();
        if let Some(retention_ms) = config.retention_ms
            && self.roll_expired(partition, now, retention_ms)
        {
            self.seal_rolled(partition);
            self.wait_rolled(partition).await?;
        }
        let start = self.expired_before(partition, &config, now).await?;
        if start > partition.offsets().start {
            self.move_start(partition, start).await?;
        }
        Ok(())
    }

    /// Where the log is to start so that nothing expired is left.
    async fn expired_before(&self, partition: &Rc<Partition>, config: &LogConfig, now: Timestamp) -> Result<Offset> {
        let _work = partition.work();
        let (mut start, upheavals) = (partition.offsets().start, partition.upheavals());
        let (sealed, sizes, open) = self.sizes(partition).await?;
        let mut total = sizes.iter().sum::<u64>() + open;
        for (segment, size) in sealed.iter().zip(sizes) {
            let Some(next) = partition.log.borrow().segment_after(segment.base) else { break };
            let by_size = config.retention_bytes.is_some_and(|bytes| total.saturating_sub(size) >= bytes);
            let by_time = match config.retention_ms {
                Some(retention_ms) => {
                    let mut newest = self.sealed_max_timestamp(segment).await?;
                    if newest.0 < 0 {
                        newest = self.io.modified(segment.file.path()).await?;
                    }
                    age_ms(now, newest) > retention_ms as i64
                }
                None => false,
            };
            if !(by_size || by_time) || next > partition.offsets().high_watermark {
                break;
            }
            if partition.upheavals() != upheavals {
                // Where segments became one, the one behind an old one is not the one behind its records: the next time will do.
                return Ok(partition.offsets().start);
            }
            total -= size;
            start = next;
        }
        Ok(start)
    }

    /// Rolls an active segment whose newest record is too old; whether it did.
    fn roll_expired(&self, partition: &Partition, now: Timestamp, retention_ms: u64) -> bool {
        let mut log = partition.log.borrow_mut();
        let (_, newest, _) = log.active().timestamps();
        let expired = !log.active().is_empty() && age_ms(now, newest) > retention_ms as i64;
        let roll = expired && log.offsets().high_watermark == log.offsets().end && !partition.is_being_cut();
        if roll {
            log.roll(&self.io);
        }
        roll
    }

    async fn wait_rolled(&self, partition: &Partition) -> Result<()> {
        loop {
            partition.check()?;
            let progress = partition.progress.notified();
            if partition.log.borrow().sealing().is_none() {
                return Ok(());
            }
            progress.await;
        }
    }

    /// Drops everything before an offset (DeleteRecords); the log's new start, which survives a power cut when this returns.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] for an offset above the high watermark.
    pub async fn delete_records(self: &Rc<Self>, name: &TopicPartition, before: Offset) -> Result<Offset> {
        let partition = self.partition(name)?;
        let offsets = partition.offsets();
        if before.0 < 0 || before > offsets.high_watermark {
            return Err(Error::OffsetOutOfRange {
                requested: before,
                start: offsets.start,
                end: offsets.high_watermark,
            });
        }
        self.move_start(&partition, before).await?;
        let start = partition.log.borrow().durable_start();
        Ok(start)
    }

    async fn move_start(self: &Rc<Self>, partition: &Rc<Partition>, start: Offset) -> Result<()> {
        if partition.offsets().flushed < start {
            // Else a power cut could leave a start behind the end.
            self.queue_commit(partition);
            Wait::new(partition.clone(), Event::Flushed(start)).await?;
        }
        let now = {
            let mut log = partition.log.borrow_mut();
            log.set_start(start);
            // Somebody else may have moved it, but that need not be durable yet.
            if log.durable_start() >= start {
                return Ok(());
            }
            log.offsets().start
        };
        partition.changed.set(true);
        let sequence = self.note_entry(NotedEntry::Start { key: partition.key, start: now });
        self.group_applied(sequence).await?;
        partition.log.borrow_mut().apply_start(now);
        self.bury_dead(partition);
        Ok(())
    }

    /// Removes the files of the segments that lie before the log's start, after the delay that readers are given.
    pub(super) fn bury_dead(self: &Rc<Self>, partition: &Rc<Partition>) {
        // Else who replaces segments calls this when that is done.
        let Ok(files) = partition.files.try_lock() else { return };
        let dead = partition.log.borrow_mut().take_dead();
        drop(files);
        if dead.is_empty() {
            return;
        }
        let delay = Duration::from_millis(partition.log.borrow().config().file_delete_delay_ms);
        let (shard, partition) = (self.clone(), partition.clone());
        self.io.spawn(async move {
            shard.io.sleep(delay).await;
            for segment in dead {
                // A deleted partition's files go with it, and another may have its name by now.
                if partition.is_deleted() || shard.failed().is_err() {
                    return;
                }
                let _work = partition.work();
                if let Err(error) = shard.bury(&segment).await {
                    tracing::warn!(%error, "a dead segment's file stays");
                }
            }
        });
    }

    /// Removes a dead segment's indexes, and its file or keeps that for a new segment.
    async fn bury(&self, segment: &SealedSegment) -> Result<()> {
        let path = segment.file.path().to_path_buf();
        for suffix in ["index", "timeindex", "txnindex", "snapshot", "points"] {
            let path = path.with_extension(suffix);
            if self.io.file_len(&path).await?.is_some() {
                self.io.remove_file(&path).await?;
            }
        }
        // Who still reads it must not find another segment's bytes in it.
        match segment.file.close() {
            true => Recycler::give(&self.recycler, &self.io, path).await,
            false => self.io.remove_file(&path).await,
        }
    }

    /// Cuts the log at `end`, which a leader epoch decided: records from there on are gone, and offsets are given out again.
    /// `end` inside a batch cuts that whole batch. Until this returns appends are refused.
    ///
    /// The cut is durable by a checkpoint rather than by the journal: recovery would else write what the journal has of the old
    /// bytes over the new ones.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] for an offset before the log's start; [`Error::Overloaded`] where another cut is under way.
    pub async fn truncate(self: &Rc<Self>, name: &TopicPartition, end: Offset) -> Result<Offset> {
        let partition = self.partition(name)?;
        let (_cut, _work) = (partition.begin_cut()?, partition.work());
        let files = partition.files.lock().await;
        let offsets = partition.offsets();
        if end >= offsets.end {
            return Ok(offsets.end);
        }
        let out_of_range = |offsets: LogOffsets| match end < offsets.start {
            true => Err(Error::OffsetOutOfRange { requested: end, start: offsets.start, end: offsets.end }),
            false => Ok(()),
        };
        out_of_range(offsets)?;
        self.settle_all(&partition).await?;
        let (end, removed) = loop {
            let (state, whole) = self.state_at(&partition, end).await?;
            let producers = self.producers_before(&partition, whole).await?;
            if partition.cleaned_to.get().is_some_and(|to| to > whole) {
                // What gets those offsets next is as dirty as any.
                self.note_cleaned_to(&partition, whole).await?;
            }
            // A checkpoint under way has taken the log as it was, and is to find it so when it ends.
            let _turn = self.checkpointing.lock().await;
            self.failed()?;
            partition.check()?;
            out_of_range(partition.offsets())?;
            let mut log = partition.log.borrow_mut();
            // The log's start may have moved into the batch that is cut.
            if log.offsets().start <= whole {
                let removed = log.truncate(&self.io, whole, state, producers);
                self.recount(&partition, &log);
                break (whole, removed);
            }
        };
        partition.was_cut();
        partition.changed.set(true);
        self.checkpointed().await?;
        for path in removed {
            for suffix in ["log", "index", "timeindex", "txnindex", "snapshot", "points"] {
                let path = path.with_extension(suffix);
                if self.io.file_len(&path).await?.is_some() {
                    self.io.remove_file(&path).await?;
                }
            }
        }
        remove_snapshots_behind(&self.io, &partition.dir, end).await?;
        let kept = partition.log.borrow().active().file().path().to_path_buf();
        {
            let _points = partition.points.lock().await;
            remove_indexes(&self.io, &kept).await?;
        }
        self.cut_aborted(&partition, &kept, end).await?;
        // None of them may come back under the name of what is appended from now on.
        self.io.sync_dir(&partition.dir).await?;
        self.moved(&partition);
        drop(files);
        self.bury_dead(&partition);
        Ok(end)
    }

    /// Returns when nothing of the partition is in flight and everything is flushed.
    async fn settle_all(self: &Rc<Self>, partition: &Rc<Partition>) -> Result<()> {
        loop {
            self.failed()?;
            partition.check()?;
            let progress = partition.progress.notified();
            if is_settled(partition) {
                return Ok(());
            }
            let end = partition.offsets().end;
            if partition.offsets().flushed < end {
                self.queue_commit(partition);
                Wait::new(partition.clone(), Event::Flushed(end)).await?;
            } else {
                progress.await;
            }
        }
    }

    /// The newest segment as it is when the log is cut at `end`, and the batch boundary that the cut falls on.
    async fn state_at(self: &Rc<Self>, partition: &Rc<Partition>, end: Offset) -> Result<(SegmentState, Offset)> {
        let (base, is_active) = {
            let log = partition.log.borrow();
            let sealed = || log.sealed().iter().rev().map(|segment| segment.base).find(|base| *base <= end);
            match log.active().base() <= end {
                true => (log.active().base(), true),
                false => match sealed() {
                    Some(base) => (base, false),
                    // The log's start moved on meanwhile.
                    None => {
                        let LogOffsets { start, end: log_end, .. } = log.offsets();
                        return Err(Error::OffsetOutOfRange { requested: end, start, end: log_end });
                    }
                },
            }
        };
        // What is not yet in the file is put there, so that one scan sees everything.
        let to = match is_active {
            true => {
                let to = partition.log.borrow().active().end();
                self.write_blocks(partition, base, to).await?;
                self.write_last_block(partition, base).await?;
                to
            }
            false => {
                let sealed = partition.log.borrow().sealed_segment(base).expect("found above");
                self.sealed_size(&sealed).await?
            }
        };
        let mut scanned = None;
        if to > Position::ZERO {
            let segment_file = partition.log.borrow().segment_file_of(base);
            let Some(file) = segment_file else {
                return Err(Error::Overloaded("the log changes too much to be cut".into()));
            };
            let file = file.readable(&self.io).await?;
            let (cut, whole) = cut_before(&self.io, base, &file, to, end).await?;
            scanned = Some((scan_file(&self.io, base, &file, Position::ZERO, cut, false).await?, file, whole));
        }
        let Some((scanned, file, whole)) = scanned else { return Ok((SegmentState::empty(base), base)) };
        let start = partition.offsets().start;
        if whole < start {
            // The batch that holds the log's start is cut: nothing is left, and the log goes on at its start.
            return Ok((SegmentState::empty(start), start));
        }
        let mut partial = Vec::new();
        if scanned.end.block_start() < scanned.end {
            let buffer = self.io.alloc(BLOCK_BYTES as usize);
            let (read, buffer) = file.read_at(buffer, scanned.end.block_start(), BLOCK_BYTES as usize).await;
            read?;
            partial = buffer[..(scanned.end - scanned.end.block_start()) as usize].to_vec();
        }
        let state = SegmentState {
            base,
            position: scanned.end,
            partial,
            first_timestamp: scanned.first_timestamp,
            max_timestamp: scanned.max_timestamp,
            max_timestamp_offset: scanned.max_timestamp_offset,
            points: scanned.points,
            spilled: 0,
        };
        Ok((state, whole))
    }
}

/// Whether nothing of the log is in flight and everything is flushed. A checkpoint may have flushed what a group still carries.
fn is_settled(partition: &Partition) -> bool {
    let log = partition.log.borrow();
    let offsets = log.offsets();
    partition.commits.get() == 0
        && log.sealing().is_none()
        && !log.open_segments().any(|segment| segment.is_writing())
        && log.pending_bytes() == 0
        && offsets.flushed >= offsets.end
}

/// Where the batch that holds `end`, or the first behind it, begins; and where a log ends that is cut there. In a gap that compaction left
/// that is `end`: offsets are not given out again because their records are gone.
async fn cut_before(
    io: &crate::io::Io,
    base: Offset,
    file: &crate::io::File,
    to: Position,
    end: Offset,
) -> Result<(Position, Offset)> {
    let mut stream = crate::shard::read_stream::ReadStream::new(base, Position::ZERO);
    stream.sequential = 1;
    let mut at = Position::ZERO;
    while at < to {
        stream.read_up_to(io, file, at + crate::batch::HEADER_BYTES as u64, to);
        stream.wait(at + crate::batch::HEADER_BYTES as u64).await?;
        let Some(header) = stream.header(file, at)? else { break };
        if header.last_offset() >= end {
            return Ok((at, end.min(header.base_offset)));
        }
        at += header.size_bytes() as u64;
        stream.advance(at, header.next_offset());
    }
    Ok((at, end))
}
