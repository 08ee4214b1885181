//! The end of a shard: everything flushed, each partition's files as Kafka leaves its own, and a last checkpoint.
//!
//! Partitions are closed beside each other and synced together, so that thousands of them take seconds. A power cut in between
//! loses nothing: until the checkpoint is stored, the journal has all that the files may lack.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::log::{SegmentFile, encode_snapshot};
use crate::shard::join::each;
use crate::shard::partition::Partition;
use crate::shard::producer_files::snapshot_path;
use crate::shard::shard::Shard;
use crate::shard::sync_many::Replacements;
use crate::types::Offset;

/// How long a clean shutdown waits for what is under way before it gives up on it.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// A partition whose files are written, and wait to be synced.
struct Closed {
    partition: Rc<Partition>,
    base: Offset,
    file: Rc<SegmentFile>,
    replacements: Replacements,
}

impl Shard {
    /// Flushes, writes and records everything; afterwards the shard serves no more, also where some of that failed: then the next
    /// start recovers what is missing from the journal.
    pub async fn close(self: &Rc<Self>) -> Result<()> {
        if self.closing.replace(true) {
            return Ok(());
        }
        let outcome = self.write_all().await;
        let all: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
        for partition in all {
            partition.fail(Error::Closed);
        }
        if outcome.is_ok() || self.failed().is_ok() {
            *self.failure.borrow_mut() = Some(Error::Closed);
        }
        self.backlog_shrunk.notify_waiters();
        self.flusher.released.notify_waiters();
        self.flusher_wake();
        outcome
    }

    async fn write_all(self: &Rc<Self>) -> Result<()> {
        let deadline = self.io.now().0 + CLOSE_WAIT.as_nanos() as u64;
        self.flusher_wake();
        while !self.is_flushed() && self.failed().is_ok() && self.io.now().0 < deadline {
            self.flusher_wake();
            self.io.sleep(Duration::from_micros(200)).await;
        }
        self.failed()?;
        // A compaction that is under way ends before its next batch, or with the segments that it is putting in place.
        drop(self.cleaning.lock().await);
        self.failed()?;
        let all: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
        self.close_partitions(&all).await?;
        each(&all, async |partition| self.discard_prepared(partition).await).await?;
        let turn = self.checkpointing.lock().await;
        self.checkpoint().await?;
        drop(turn);
        Ok(())
    }

    async fn close_partitions(self: &Rc<Self>, all: &[Rc<Partition>]) -> Result<()> {
        let closed = RefCell::new(Vec::new());
        each(all, async |partition| {
            while partition.is_being_cut() {
                let progress = partition.progress.notified();
                if partition.is_being_cut() {
                    progress.await;
                }
            }
            if partition.check().is_ok() {
                let written = self.write_out(partition).await?;
                closed.borrow_mut().extend(written);
            }
            Ok(())
        })
        .await?;
        let mut closed = closed.into_inner();
        let files: Vec<Rc<SegmentFile>> = closed.iter().map(|closed| closed.file.clone()).collect();
        self.sync_segments(&files).await?;
        let mut replacements = Replacements::default();
        for closed in &mut closed {
            replacements.extend(std::mem::take(&mut closed.replacements));
        }
        replacements.finish(&self.io, &self.config.dir, self.config.sync_each_max).await?;
        for Closed { partition, base, file, .. } in closed {
            // A checkpoint that is under way may be writing them.
            let _points = partition.points.lock().await;
            let points: PathBuf = file.path().with_extension("points");
            if self.io.file_len(&points).await?.is_some() {
                self.io.remove_file(&points).await?;
            }
            if let Some(segment) = partition.log.borrow_mut().open_segment_mut(base) {
                segment.points_gone();
            }
            partition.changed.set(true);
        }
        Ok(())
    }

    /// Writes a partition's files as Kafka's own: exact lengths, with indexes. None where an earlier shutdown left them so, or there
    /// is nothing to write.
    async fn write_out(self: &Rc<Self>, partition: &Rc<Partition>) -> Result<Option<Closed>> {
        // Also for one that is complete, and whose leader epochs are just being written: to the file that is written here too.
        let is_sealing = || partition.log.borrow().sealing().is_some() || partition.is_sealing.get();
        while is_sealing() {
            self.seal_rolled(partition);
            let progress = partition.progress.notified();
            if is_sealing() {
                progress.await;
            }
            self.failed()?;
        }
        let (base, end, file, appended) = {
            let log = partition.log.borrow();
            let active = log.active();
            (active.base(), active.end(), active.file().clone(), log.appended_bytes() > 0)
        };
        let bytes = self.io.file_len(file.path()).await?.unwrap_or(0);
        let is_indexed = self.io.file_len(&file.path().with_extension("index")).await?.is_some();
        // As an earlier shutdown left it.
        if !appended && partition.cuts() == 0 && bytes == end.0 && (is_indexed || end.0 == 0) {
            return Ok(None);
        }
        if end.0 == 0 && bytes == 0 {
            return Ok(None);
        }
        self.write_blocks(partition, base, end).await?;
        self.write_last_block(partition, base).await?;
        let mut replacements = Replacements::default();
        if let Some(index) = self.index_of(partition, base, end).await? {
            let path = file.path();
            replacements.write(&self.io, path.with_extension("index"), index.offsets.encode()).await?;
            replacements.write(&self.io, path.with_extension("timeindex"), index.times.encode()).await?;
        }
        file.truncate(&self.io, end).await?;
        // Opened again where it is needed: they may be more than may be open at once.
        file.close();
        let (at, snapshot, epochs) = {
            let log = partition.log.borrow();
            (log.offsets().end, encode_snapshot(&log.producers().to_vec()), log.epochs().clone())
        };
        replacements.write(&self.io, snapshot_path(&partition.dir, at), snapshot).await?;
        if !epochs.entries().is_empty() {
            replacements.write(&self.io, partition.dir.join("leader-epoch-checkpoint"), epochs.encode()).await?;
        }
        Ok(Some(Closed { partition: partition.clone(), base, file, replacements }))
    }
}
