//! Files made ready ahead of the writes that need them: the next segment's before the log rolls, and the active one's length.
//!
//! To find a file, allocate it, have it synced and learn which of its writes a flush covers takes milliseconds, and the appends behind a
//! roll would wait for it. So it is done while the segment before still has room; the roll itself is a change in
//! memory, and the first write behind it waits for one rename.

use std::rc::Rc;

use crate::error::{Error, Result};
use crate::io::OpenMode;
use crate::log::PreparedFile;
use crate::shard::partition::Partition;
use crate::shard::recycler::Recycler;
use crate::shard::shard::Shard;
use crate::types::{BLOCK_BYTES, Offset, Position};

impl Shard {
    /// Makes the file of the partition's next segment ready, in the background.
    pub(super) fn prepare_next(self: &Rc<Self>, partition: &Rc<Partition>) {
        let base = partition.log.borrow().active().base();
        if self.closing.get() || partition.prepared_for.get() == Some(base) || partition.is_preparing.replace(true) {
            return;
        }
        partition.prepared_for.set(Some(base));
        let (shard, partition, work) = (self.clone(), partition.clone(), partition.work());
        self.io.spawn(async move {
            let prepared = shard.prepare(&partition).await;
            partition.is_preparing.set(false);
            match prepared {
                Ok(prepared) => {
                    partition.log.borrow_mut().keep_prepared(prepared);
                    shard.metrics.segments_prepared.add(1);
                }
                // The roll looks for itself.
                Err(Error::DiskFull { .. }) => {}
                Err(_) if partition.check().is_err() => {}
                Err(error) => shard.fail(error),
            }
            drop(work);
        });
    }

    async fn prepare(&self, partition: &Partition) -> Result<PreparedFile> {
        let path = partition.dir.join(PreparedFile::NAME);
        let (segment_bytes, commits) = {
            let log = partition.log.borrow();
            (log.config().segment_bytes.next_multiple_of(BLOCK_BYTES), log.commits())
        };
        // What no checkpoint knows is sought in the file itself when it is recovered, where nothing old may be.
        let recycled = match partition.checkpointed.get() {
            true => self.recycler.borrow_mut().take(segment_bytes),
            false => None,
        };
        match &recycled {
            Some(recycled) => {
                self.io.rename(recycled, &path).await?;
                self.io.sync_dir(&self.config.dir).await?;
            }
            // One of a segment that was cut off before anything was written to it.
            None if self.io.file_len(&path).await?.is_some() => self.io.remove_file(&path).await?,
            None => {}
        }
        let file = self.io.open(&path, OpenMode::Create).await?;
        let mut allocated = file.len().await?;
        if allocated.0 < segment_bytes {
            if let Err(error) = file.allocate(allocated, segment_bytes - allocated.0).await {
                self.io.remove_file(&path).await?;
                return Err(error);
            }
            allocated = Position(segment_bytes);
        }
        let covered = match recycled.is_some() && commits {
            true => {
                let journal = self.journal.borrow().file().clone();
                Some(file.covered_by(&journal).await?)
            }
            false => None,
        };
        file.sync().await?;
        self.io.sync_dir(&partition.dir).await?;
        Ok(PreparedFile { file, allocated, is_recycled: recycled.is_some(), covered })
    }

    /// Keeps a file that was made ready, and is not needed any more, for another segment.
    pub(super) async fn discard_prepared(&self, partition: &Partition) -> Result<()> {
        while partition.is_preparing.get() {
            let progress = partition.progress.notified();
            if partition.is_preparing.get() {
                progress.await;
            }
        }
        drop(partition.log.borrow_mut().take_prepared());
        let path = partition.dir.join(PreparedFile::NAME);
        match self.io.file_len(&path).await? {
            Some(_) => Recycler::give(&self.recycler, &self.io, path).await,
            None => Ok(()),
        }
    }

    /// Removes the files that wait to become segments, since the disk is full; whether there was one.
    pub(super) async fn give_space_back(&self) -> bool {
        let mut files = self.recycler.borrow_mut().take_all();
        let mut preparing = Vec::new();
        for partition in self.partitions.borrow().values() {
            if !partition.is_preparing.get() && partition.log.borrow_mut().take_prepared().is_some() {
                // Nor may another be made under this name meanwhile.
                partition.is_preparing.set(true);
                files.push(partition.dir.join(PreparedFile::NAME));
                preparing.push((partition.clone(), partition.work()));
            }
        }
        for path in &files {
            // The directory of a deleted partition is gone with it.
            if let Err(error) = self.io.remove_file(path).await {
                tracing::debug!(%error, "a file that gives space back stays");
            }
        }
        for (partition, work) in preparing {
            partition.is_preparing.set(false);
            drop(work);
        }
        !files.is_empty()
    }

    /// Grows the file of the active segment before a write has to wait for it, in the background; `written` is where a write ended.
    pub(super) fn grow_ahead(self: &Rc<Self>, partition: &Rc<Partition>, base: Offset, written: Position) {
        let file = match partition.log.borrow().active() {
            active if active.base() == base && active.file().wants_growth(written) => active.file().clone(),
            _ => return,
        };
        let (shard, partition, work) = (self.clone(), partition.clone(), partition.work());
        self.io.spawn(async move {
            let is_active = partition.log.borrow().active().base() == base;
            if is_active && !shard.closing.get() {
                let durable = partition.log.borrow().config().is_durable();
                match file.grow_ahead(written, durable).await {
                    // The write that needs it says so.
                    Ok(()) | Err(Error::DiskFull { .. }) => {}
                    Err(_) if partition.check().is_err() => {}
                    Err(error) => shard.fail(error),
                }
            }
            drop(work);
        });
    }
}
