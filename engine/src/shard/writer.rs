//! Segment writes behind the appends: whole blocks, large, without a sync; and the completion of rolled segments.

use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::io::{File, Sync};
use crate::log::{SegmentFile, SegmentIndex, SegmentWrite};
use crate::shard::partition::Partition;
use crate::shard::shard::Shard;
use crate::shard::waiters::{Event, Wait};
use crate::types::{BLOCK_BYTES, Offset, Position};

/// How long a full disk is left alone before it is tried again.
pub(super) const DISK_FULL_RETRY: Duration = Duration::from_millis(250);

impl Shard {
    /// Starts the segment writes that are worth making.
    pub(super) fn write_behind(self: &Rc<Self>, partition: &Rc<Partition>) {
        loop {
            if self.writes_in_flight.get() >= self.config.writes_in_flight_max {
                if !partition.wants_write.replace(true) {
                    self.writes_wanted.borrow_mut().push_back(partition.clone());
                }
                return;
            }
            let bytes = self.config.write_bytes;
            let Some((base, write)) = partition.log.borrow_mut().plan_write(bytes, bytes) else { return };
            self.writes_in_flight.set(self.writes_in_flight.get() + 1);
            let (shard, partition) = (self.clone(), partition.clone());
            self.io.spawn(async move {
                let outcome = shard.run_write(&partition, base, write).await;
                shard.writes_in_flight.set(shard.writes_in_flight.get() - 1);
                match outcome {
                    Ok(()) => shard.write_behind(&partition),
                    Err(error) => shard.fail(error),
                }
                let next = shard.writes_wanted.borrow_mut().pop_front();
                if let Some(next) = next {
                    next.wants_write.set(false);
                    shard.write_behind(&next);
                }
            });
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
        let file = self.grown(partition, &segment_file, write.end).await?;
        file.write_at(&write.slices, write.position, Sync::None).await?;
        segment_file.mark_unsynced();
        let bytes = write.end - write.position;
        self.metrics.segment_bytes.add(bytes);
        let mut log = partition.log.borrow_mut();
        if !log.config().is_durable() {
            self.shrink_backlog(bytes);
        }
        if let Some(segment) = log.open_segment_mut(base) {
            segment.apply_write(write.end);
        }
        drop(log);
        partition.progress.notify_waiters();
        self.offer_eviction(partition);
        self.evict();
        Ok(())
    }

    /// The segment's file, grown to `needed`. While the disk is full this waits, and appends are refused.
    pub(super) async fn grown(
        self: &Rc<Self>,
        partition: &Partition,
        file: &SegmentFile,
        needed: Position,
    ) -> Result<File> {
        loop {
            let recycled = match file.is_open() || !partition.checkpointed.get() {
                true => None,
                false => self.recycler.borrow_mut().take(file.segment_bytes()),
            };
            match file.writable(&self.io, needed, recycled).await {
                Ok(file) => {
                    self.note_disk_space();
                    return Ok(file);
                }
                Err(error @ Error::DiskFull { .. }) => {
                    self.note_disk_full(&error);
                    if self.closing.get() || self.failed().is_err() {
                        return Err(error);
                    }
                    self.io.sleep(DISK_FULL_RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What failed for want of space succeeds again.
    pub(super) fn note_disk_space(&self) {
        if self.disk_full.replace(false) {
            tracing::warn!(dir = %self.config.dir.display(), "there is space again, appends go on");
        }
    }

    /// Appends are refused from here on, until what failed for want of space succeeds.
    pub(super) fn note_disk_full(&self, error: &Error) {
        if !self.disk_full.replace(true) {
            tracing::error!(%error, "appends are refused until there is space");
        }
        self.backlog_shrunk.notify_waiters();
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
            let progress = partition.progress.notified();
            let planned = {
                let mut log = partition.log.borrow_mut();
                let Some(segment) = log.open_segment_mut(base) else { return Ok(()) };
                if segment.written() >= to.block_start() {
                    return Ok(());
                }
                segment.plan_write(to, 1, self.config.write_bytes)
            };
            match planned {
                Some(write) => {
                    let position = write.position;
                    // The next one is started while this one is under way: a segment's end is written at the disk's speed.
                    let more = {
                        let mut log = partition.log.borrow_mut();
                        log.open_segment_mut(base)
                            .and_then(|segment| segment.plan_write(to, 1, self.config.write_bytes))
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
        let (shard, partition) = (self.clone(), partition.clone());
        self.io.spawn(async move {
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
        let (next_offset, durable) = {
            let log = partition.log.borrow();
            (log.segment_next_offset(base), log.config().is_durable())
        };
        if durable {
            // A durable log's bytes reach the journal or, directly, the segment first; then the rest is written behind.
            self.queue_commit(partition);
            Wait::new(partition.clone(), Event::Flushed(next_offset)).await?;
        }
        let end = partition.log.borrow().open_segment(base).expect("it is sealed once").end();
        self.write_blocks(partition, base, end).await?;
        self.write_last_block(partition, base).await?;
        let index = self.finish_index(partition, base, end).await?;
        let file = partition.log.borrow().open_segment(base).expect("it is sealed once").file().clone();
        file.truncate(&self.io, end).await?;
        file.sync(&self.io).await?;
        let sealed = {
            let mut log = partition.log.borrow_mut();
            let before = log.memory_bytes();
            // Its bytes are durable, but nothing says so yet: what counts as flushed is what recovery would find.
            let sealed = log.apply_sealed(base);
            self.held_bytes.set(self.held_bytes.get() + log.memory_bytes() - before);
            sealed
        };
        sealed.set_index(Some(Rc::new(index)));
        let epochs = partition.log.borrow().epochs().clone();
        if !epochs.entries().is_empty() {
            self.io.replace_file(&partition.dir.join("leader-epoch-checkpoint"), epochs.encode()).await?;
        }
        partition.changed.set(true);
        self.moved(partition);
        Ok(())
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
        let slice = block.slice(0..BLOCK_BYTES as usize);
        let open = self.grown(partition, &file, position + BLOCK_BYTES).await?;
        open.write_at(&[slice], position, Sync::None).await?;
        file.mark_unsynced();
        Ok(())
    }

    /// Writes the index files of an open segment in Kafka's format.
    pub(super) async fn finish_index(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
        end: Position,
    ) -> Result<SegmentIndex> {
        self.load_points(partition, base).await?;
        let (index, path) = {
            let log = partition.log.borrow();
            let segment = log.open_segment(base).expect("it is open");
            let mut index = SegmentIndex::new(base);
            for point in segment.points_from(Position::ZERO).iter().filter(|point| point.position < end) {
                index.push(*point);
            }
            let (_, max_timestamp, max_timestamp_offset) = segment.timestamps();
            index.finish(max_timestamp, max_timestamp_offset);
            (index, segment.file().path().to_path_buf())
        };
        self.io.replace_file(&path.with_extension("index"), index.offsets.encode()).await?;
        self.io.replace_file(&path.with_extension("timeindex"), index.times.encode()).await?;
        let points = path.with_extension("points");
        if self.io.file_len(&points).await?.is_some() {
            self.io.remove_file(&points).await?;
        }
        Ok(index)
    }
}
