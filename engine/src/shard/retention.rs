//! What shortens a log: retention and DeleteRecords at its front, truncation at its end.

use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::log::{Log, SealedSegment, SegmentState};
use crate::shard::partition::Partition;
use crate::shard::recycler::Recycler;
use crate::shard::segment_scan::scan_file;
use crate::shard::shard::{NotedEntry, Shard, age_ms};
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
        Ok(partition.offsets().start)
    }

    /// The bytes of a partition's segments.
    pub async fn log_bytes(self: &Rc<Self>, name: &TopicPartition) -> Result<u64> {
        let partition = self.partition(name)?;
        let (_, sealed, open) = self.sizes(&partition).await?;
        Ok(sealed.iter().sum::<u64>() + open)
    }

    /// The sealed segments, the bytes of each, and the bytes of the open ones.
    async fn sizes(self: &Rc<Self>, partition: &Partition) -> Result<(Vec<Rc<SealedSegment>>, Vec<u64>, u64)> {
        let sealed: Vec<Rc<SealedSegment>> = partition.log.borrow().sealed().iter().cloned().collect();
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
        let (sealed, sizes, open) = self.sizes(partition).await?;
        let mut total = sizes.iter().sum::<u64>() + open;
        let mut start = partition.offsets().start;
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
            total -= size;
            start = next;
        }
        if start > partition.offsets().start {
            self.move_start(partition, start).await?;
        }
        Ok(())
    }

    /// Rolls an active segment whose newest record is too old; whether it did.
    fn roll_expired(&self, partition: &Partition, now: Timestamp, retention_ms: u64) -> bool {
        let mut log = partition.log.borrow_mut();
        let (_, newest, _) = log.active().timestamps();
        let expired = !log.active().is_empty() && age_ms(now, newest) > retention_ms as i64;
        let roll = expired && log.offsets().high_watermark == log.offsets().end;
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
        Ok(partition.offsets().start)
    }

    async fn move_start(self: &Rc<Self>, partition: &Rc<Partition>, start: Offset) -> Result<()> {
        if partition.offsets().flushed < start {
            // Else a power cut could leave a start behind the end.
            self.flushed(&partition.name, start).await?;
        }
        if !partition.log.borrow_mut().set_start(start) {
            return Ok(());
        }
        partition.changed.set(true);
        let sequence = self.note_entry(NotedEntry::Start { key: partition.key, start });
        self.group_applied(sequence).await?;
        let dead = partition.log.borrow_mut().take_dead();
        if dead.is_empty() {
            return Ok(());
        }
        let delay = Duration::from_millis(partition.log.borrow().config().file_delete_delay_ms);
        let shard = self.clone();
        self.io.spawn(async move {
            shard.io.sleep(delay).await;
            for segment in dead {
                if let Err(error) = shard.bury(&segment).await {
                    tracing::warn!(%error, "a dead segment's file stays");
                }
            }
        });
        Ok(())
    }

    /// Removes a dead segment's indexes, and its file or keeps that for a new segment.
    async fn bury(&self, segment: &SealedSegment) -> Result<()> {
        let path = segment.file.path().to_path_buf();
        segment.file.close();
        for suffix in ["index", "timeindex", "txnindex", "snapshot"] {
            let path = path.with_extension(suffix);
            if self.io.file_len(&path).await?.is_some() {
                self.io.remove_file(&path).await?;
            }
        }
        Recycler::give(&self.recycler, &self.io, path).await
    }

    /// Cuts the log at `end`, which a leader epoch decided: records from there on are gone, and offsets are given out again.
    /// `end` inside a batch cuts that whole batch.
    pub async fn truncate(self: &Rc<Self>, name: &TopicPartition, end: Offset) -> Result<Offset> {
        let partition = self.partition(name)?;
        let offsets = partition.offsets();
        if end >= offsets.end {
            return Ok(offsets.end);
        }
        if end < offsets.start {
            return Err(Error::OffsetOutOfRange { requested: end, start: offsets.start, end: offsets.end });
        }
        // Not beside a checkpoint: it would note as durable, of what is appended next, what it saw before the cut.
        let turn = loop {
            self.settle_all(&partition).await?;
            let turn = self.checkpointing.lock().await;
            if is_settled(&partition.log.borrow()) {
                break turn;
            }
        };
        let (state, end) = self.state_at(&partition, end).await?;
        let (segment, position) = (state.base, state.position);
        let removed = {
            let mut log = partition.log.borrow_mut();
            let held = log.memory_bytes();
            let removed = log.truncate(&self.io, end, state);
            self.held_bytes.set(self.held_bytes.get() + log.memory_bytes() - held);
            removed
        };
        partition.forget_readers();
        partition.changed.set(true);
        let sequence =
            self.note_entry(NotedEntry::Truncate { key: partition.key, segment, position, next_offset: end });
        // What is appended next is of the epoch that the log is in, wherever that began before.
        let epoch = partition.offsets().epoch;
        self.set_epoch(name, epoch)?;
        // The group may have to wait for a checkpoint that frees the journal.
        drop(turn);
        self.group_applied(sequence).await?;
        for file in removed {
            file.close();
            for suffix in ["log", "index", "timeindex", "txnindex", "snapshot", "points"] {
                let path = file.path().with_extension(suffix);
                if self.io.file_len(&path).await?.is_some() {
                    self.io.remove_file(&path).await?;
                }
            }
        }
        // Before the log grows again: a file that came back would be taken for a segment in its middle.
        self.io.sync_dir(&partition.dir).await?;
        self.moved(&partition);
        Ok(end)
    }

    /// Returns when nothing of the partition is in flight and everything is flushed.
    async fn settle_all(self: &Rc<Self>, partition: &Rc<Partition>) -> Result<()> {
        loop {
            let progress = partition.progress.notified();
            let end = partition.offsets().end;
            if is_settled(&partition.log.borrow()) {
                return Ok(());
            }
            if partition.offsets().flushed < end {
                self.flushed(&partition.name, end).await?;
            } else {
                progress.await;
            }
        }
    }

    /// The newest segment as it is when the log is cut at `end`, and the batch boundary that the cut falls on.
    async fn state_at(self: &Rc<Self>, partition: &Rc<Partition>, end: Offset) -> Result<(SegmentState, Offset)> {
        let (base, is_active, written) = {
            let log = partition.log.borrow();
            let is_active = log.active().base() <= end;
            let base = match is_active {
                true => log.active().base(),
                false => {
                    log.sealed().iter().rev().map(|segment| segment.base).find(|base| *base <= end).expect("it is held")
                }
            };
            (base, is_active, log.active().written())
        };
        let file_end = match is_active {
            true => written,
            false => {
                let sealed = partition.log.borrow().sealed_segment(base).expect("found above");
                self.sealed_size(&sealed).await?
            }
        };
        // What is not yet in the file is put there, so that one scan sees everything.
        let mut scanned = None;
        let mut to = file_end;
        if is_active {
            to = partition.log.borrow().active().end();
            self.write_blocks(partition, base, to).await?;
            self.write_last_block(partition, base).await?;
        }
        if to > Position::ZERO {
            let file = partition.log.borrow().segment_file_of(base).expect("found above");
            let file = file.readable(&self.io).await?;
            let cut = cut_before(&self.io, base, &file, to, end).await?;
            scanned = Some((scan_file(&self.io, base, &file, Position::ZERO, cut, false).await?, file));
        }
        let Some((scanned, file)) = scanned else { return Ok((SegmentState::empty(base), base)) };
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
        Ok((state, scanned.next_offset))
    }
}

/// Whether nothing of the log is in flight and everything is flushed.
fn is_settled(log: &Log) -> bool {
    let offsets = log.offsets();
    log.sealing().is_none()
        && !log.open_segments().any(|segment| segment.is_writing())
        && log.pending_bytes() == 0
        && offsets.flushed >= offsets.end
}

/// Where the batch that holds `end`, or the first behind it, begins.
async fn cut_before(
    io: &crate::io::Io,
    base: Offset,
    file: &crate::io::File,
    to: Position,
    end: Offset,
) -> Result<Position> {
    let mut stream = crate::shard::read_stream::ReadStream::new(base, Position::ZERO);
    stream.sequential = 1;
    let mut at = Position::ZERO;
    while at < to {
        stream.read_up_to(io, file, at + crate::batch::HEADER_BYTES as u64, to);
        stream.wait(at + crate::batch::HEADER_BYTES as u64).await?;
        let Some(header) = stream.header(file, at)? else { break };
        if header.last_offset() >= end {
            break;
        }
        at += header.size_bytes() as u64;
        stream.advance(at, header.next_offset());
    }
    Ok(at)
}
