//! The file of one segment: opened when it is first needed, grown ahead of its writes, closed when it is quiet.
//!
//! A file is created (or renamed from a recycled one) and grown off the append path. Growing allocates. Where a write is to be durable
//! when it completes, the file's name and its length are so before; where a later sync makes it durable, that sync sees to
//! the name too, so that thousands of files that begin to grow at once cost no sync each.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::{File, Io, OpenMode};
use crate::types::{BLOCK_BYTES, Position};

/// The first allocation of a segment, in bytes; each later one doubles the file, up to the segment's size.
const ALLOCATION_BYTES_MIN: u64 = 64 << 10;

struct State {
    file: Option<File>,
    /// The file's length, where the file is known to exist.
    allocated: Option<Position>,
}

/// The file of one segment.
pub struct SegmentFile {
    path: PathBuf,
    segment_bytes: u64,
    state: tokio::sync::Mutex<State>,
    /// The file's name was synced: a process that died may have left one that a power cut takes away.
    named: Cell<bool>,
    /// It grew since the last sync.
    grown: Cell<bool>,
    /// Bytes were written without a sync since the last one.
    unsynced: Cell<bool>,
    /// Held while a sync is under way.
    sync_failure: tokio::sync::Mutex<Option<Error>>,
    open: Cell<bool>,
    used: Cell<bool>,
    /// Up to where a write needs no sync of its own ([`File::covered_by`]), and whether that was asked since the file was opened.
    covered: Cell<Position>,
    covered_asked: Cell<bool>,
    /// Whether the file had another life, and so blocks that are written.
    recycled: Cell<bool>,
}

impl SegmentFile {
    /// The file at `path`, which may not exist yet.
    pub fn new(path: PathBuf, segment_bytes: u64) -> SegmentFile {
        SegmentFile {
            path,
            segment_bytes,
            state: tokio::sync::Mutex::new(State { file: None, allocated: None }),
            named: Cell::new(false),
            grown: Cell::new(false),
            unsynced: Cell::new(false),
            sync_failure: tokio::sync::Mutex::new(None),
            open: Cell::new(false),
            used: Cell::new(false),
            covered: Cell::new(Position::ZERO),
            covered_asked: Cell::new(false),
            recycled: Cell::new(false),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of a full segment.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Whether it holds an open file now.
    pub fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Whether it was used since this was last asked.
    pub fn take_used(&self) -> bool {
        self.used.replace(false)
    }

    /// Bytes were written that no sync covers yet.
    pub fn mark_unsynced(&self) {
        self.unsynced.set(true);
    }

    /// Whether a write up to `end` is on stable storage with the next durable write to the journal, as far as is known.
    pub fn is_covered(&self, end: Position) -> bool {
        end <= self.covered.get()
    }

    /// Whether the file was made of an older one, whose blocks are written already.
    pub fn is_recycled(&self) -> bool {
        self.recycled.get()
    }

    /// Finds out which writes those are, where that was not done since the file was opened.
    pub async fn learn_covered(&self, journal: &File) -> Result<()> {
        if self.covered_asked.get() {
            return Ok(());
        }
        let state = self.state.lock().await;
        if let Some(file) = &state.file
            && !self.covered_asked.replace(true)
        {
            self.covered.set(file.covered_by(journal).await?);
        }
        Ok(())
    }

    /// The file for reading; an error where it does not exist.
    pub async fn readable(&self, io: &Io) -> Result<File> {
        self.used.set(true);
        let mut state = self.state.lock().await;
        if let Some(file) = &state.file {
            return Ok(file.clone());
        }
        let file = io.open(&self.path, OpenMode::Write).await?;
        state.file = Some(file.clone());
        self.open.set(true);
        Ok(file)
    }

    /// The file for writing up to `needed`: created where it is missing, from a file that `recycled` gives if it gives one, and
    /// grown. Where the write is to be `durable` when it completes, what it needs of the file is so when this returns; else
    /// [`SegmentFile::sync`] sees to it.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`] where it cannot grow; nothing is lost, the call may be made again.
    pub async fn writable(
        &self,
        io: &Io,
        needed: Position,
        durable: bool,
        recycled: impl FnOnce() -> Option<PathBuf>,
    ) -> Result<File> {
        self.used.set(true);
        let mut state = self.state.lock().await;
        if state.file.is_none() {
            if io.file_len(&self.path).await?.is_none()
                && let Some(recycled) = recycled()
            {
                io.rename(&recycled, &self.path).await?;
                self.recycled.set(true);
                // The old name must not come back: its file would be given out again while it is a segment. Nor may it be
                // without a name.
                io.sync_dir(recycled.parent().expect("it is in the data directory")).await?;
                self.name(io).await?;
            }
            let file = io.open(&self.path, OpenMode::Create).await?;
            state.allocated = Some(file.len().await?);
            state.file = Some(file);
            self.open.set(true);
        }
        let file = state.file.clone().expect("opened above");
        let allocated = match state.allocated {
            Some(allocated) => allocated,
            None => file.len().await?,
        };
        if needed > allocated {
            let mut target = growth(allocated.0, needed.0, self.segment_bytes);
            if let Err(error) = file.allocate(allocated, target - allocated.0).await {
                // Where the disk is nearly full, what is needed may still fit.
                if !matches!(error, Error::DiskFull { .. }) || target == needed.0 {
                    return Err(error);
                }
                // An allocation that failed may have got some of it.
                file.truncate(allocated).await?;
                target = needed.0;
                file.allocate(allocated, target - allocated.0).await?;
            }
            self.grown.set(true);
            state.allocated = Some(Position(target));
        } else {
            state.allocated = Some(allocated);
        }
        if durable {
            self.name(io).await?;
            if self.grown.replace(false) {
                file.sync().await?;
            }
        }
        Ok(file)
    }

    /// Makes the file's name durable, where that is not known to be done.
    async fn name(&self, io: &Io) -> Result<()> {
        if !self.named.get() {
            io.sync_dir(self.path.parent().expect("a segment is in a partition's directory")).await?;
            self.named.set(true);
        }
        Ok(())
    }

    /// Whether a write up to `needed` would have to grow the file soon.
    pub fn wants_growth(&self, needed: Position) -> bool {
        match self.state.try_lock() {
            Ok(state) => state
                .allocated
                .is_some_and(|allocated| needed.0 + (8 << 20) > allocated.0 && allocated.0 < self.segment_bytes),
            Err(_) => false,
        }
    }

    /// Sets the file's length to `length`: what is behind it is not of the log.
    pub async fn truncate(&self, io: &Io, length: Position) -> Result<()> {
        let file = self.writable(io, Position::ZERO, false, || None).await?;
        let mut state = self.state.lock().await;
        self.covered.set(self.covered.get().min(length.block_start()));
        file.truncate(length).await?;
        state.allocated = Some(length);
        self.unsynced.set(true);
        Ok(())
    }

    /// Makes what was written before this call durable, where something was. Of two calls at once the second returns when the
    /// first has synced; after one that failed every later one fails.
    pub async fn sync(&self, io: &Io) -> Result<()> {
        let mut failure = self.sync_failure.lock().await;
        if let Some(error) = &*failure {
            return Err(error.clone());
        }
        if !self.unsynced.get() {
            return Ok(());
        }
        let file = self.readable(io).await?;
        self.unsynced.set(false);
        self.grown.set(false);
        let synced = match self.name(io).await {
            Ok(()) => file.sync().await,
            error => error,
        };
        *failure = synced.clone().err();
        synced
    }

    /// Begins a sync that is made for many files at once ([`Io::sync_all`]): what was written before this call is durable when
    /// that has ended well, and whoever syncs the file meanwhile waits for it. `None` where there is nothing to sync.
    pub async fn begin_sync(&self) -> Result<Option<SharedSync<'_>>> {
        let failure = self.sync_failure.lock().await;
        if let Some(error) = &*failure {
            return Err(error.clone());
        }
        if !self.unsynced.replace(false) {
            return Ok(None);
        }
        self.grown.set(false);
        Ok(Some(SharedSync { file: self, failure }))
    }

    /// Closes the file if nothing uses it just now; it is opened again when needed. Whether it is closed.
    pub fn close(&self) -> bool {
        let Ok(mut state) = self.state.try_lock() else { return false };
        if state.file.as_ref().is_some_and(File::is_shared) {
            return false;
        }
        state.file = None;
        self.open.set(false);
        self.covered_asked.set(false);
        true
    }
}

/// A file's part in a sync of many.
pub struct SharedSync<'a> {
    file: &'a SegmentFile,
    failure: tokio::sync::MutexGuard<'a, Option<Error>>,
}

impl SharedSync<'_> {
    /// The sync has ended.
    pub fn end(mut self, synced: &Result<()>) {
        match synced {
            Ok(()) => self.file.named.set(true),
            Err(error) => *self.failure = Some(error.clone()),
        }
    }
}

/// The length that a file of `allocated` bytes gets when `needed` are needed: twice as long, but no longer than a segment.
fn growth(allocated: u64, needed: u64, segment_bytes: u64) -> u64 {
    let doubled = (allocated * 2).max(ALLOCATION_BYTES_MIN);
    doubled.min(segment_bytes.next_multiple_of(BLOCK_BYTES)).max(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_doubles_up_to_its_segment_and_is_never_shorter_than_needed() {
        assert_eq!(growth(0, 4096, 1 << 30), 64 << 10);
        assert_eq!(growth(64 << 10, 68 << 10, 1 << 30), 128 << 10);
        assert_eq!(growth(800 << 20, 801 << 20, 1 << 30), 1 << 30);
        assert_eq!(growth(0, 4096, 5000), 8192, "a segment smaller than the first growth");
        assert_eq!(growth(8192, 1 << 20, 5000), 1 << 20, "a batch larger than a segment");
    }
}
