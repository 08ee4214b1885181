//! The file of one segment: opened when it is first needed, grown ahead of its writes, closed when it is quiet.
//!
//! A file is made of one that was prepared ahead ([`PreparedFile`]), of a recycled one, or created; and grown, ahead of the writes where
//! it is large. Growing allocates. Where a write is to be durable when it completes, the file's length is so before, and its name is made
//! so beside the write ([`SegmentFile::named`]); where a later sync makes it durable, that sync sees to the name too, so that
//! thousands of files that begin to grow at once cost no sync each.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::{File, Io, OpenMode};
use crate::types::{BLOCK_BYTES, Position};

/// The first allocation of a segment, in bytes; each later one doubles the file, up to the segment's size.
const ALLOCATION_BYTES_MIN: u64 = 64 << 10;

/// A file is grown ahead once it has so many bytes; below it grows with its writes, so that many small ones stay small.
const GROWN_AHEAD_BYTES_MIN: u64 = 16 << 20;

/// A file that was made ready to become a partition's next segment: as long as that will be, and open, on stable storage
/// under [`PreparedFile::NAME`] in the partition's directory. Nothing in it is believed, and what a crash leaves of it is removed.
pub struct PreparedFile {
    /// The open file.
    pub file: File,
    /// Its length.
    pub allocated: Position,
    /// Whether it had another life ([`SegmentFile::is_recycled`]).
    pub is_recycled: bool,
    /// Up to where a write needs no sync of its own ([`SegmentFile::is_covered`]), where that was asked.
    pub covered: Option<Position>,
}

impl PreparedFile {
    /// What it is called in the partition's directory until it is a segment.
    pub const NAME: &str = "corelog-next";
}

/// The file of one segment.
pub struct SegmentFile {
    path: PathBuf,
    segment_bytes: u64,
    file: RefCell<Option<File>>,
    /// The file's length, where the file is known to exist.
    allocated: Cell<Option<Position>>,
    /// Held while the file is opened, named, grown or cut.
    changing: tokio::sync::Mutex<()>,
    /// What the file will be made of with its first write.
    prepared: RefCell<Option<PreparedFile>>,
    /// The file's name was synced: a process that died may have left one that a power cut takes away.
    named: Cell<bool>,
    /// It grew since the last sync.
    grown: Cell<bool>,
    /// Bytes were written without a sync since the last one.
    unsynced: Cell<bool>,
    /// Held while a sync is under way.
    sync_failure: tokio::sync::Mutex<Option<Error>>,
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
        SegmentFile::of(path, segment_bytes, None)
    }

    /// The file at `path`, which does not exist yet; its first write makes it of `prepared`, where that is given.
    pub fn of(path: PathBuf, segment_bytes: u64, prepared: Option<PreparedFile>) -> SegmentFile {
        SegmentFile {
            path,
            segment_bytes,
            file: RefCell::new(None),
            allocated: Cell::new(None),
            changing: tokio::sync::Mutex::new(()),
            prepared: RefCell::new(prepared),
            named: Cell::new(false),
            grown: Cell::new(false),
            unsynced: Cell::new(false),
            sync_failure: tokio::sync::Mutex::new(None),
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
        self.file.borrow().is_some()
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
        let _turn = self.changing.lock().await;
        let file = self.file.borrow().clone();
        if let Some(file) = file
            && !self.covered_asked.replace(true)
        {
            self.covered.set(file.covered_by(journal).await?);
        }
        Ok(())
    }

    /// The file for reading; an error where it does not exist.
    pub async fn readable(&self, io: &Io) -> Result<File> {
        self.used.set(true);
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        let _turn = self.changing.lock().await;
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        let file = io.open(&self.path, OpenMode::Write).await?;
        *self.file.borrow_mut() = Some(file.clone());
        Ok(file)
    }

    /// The file for writing up to `needed`: made where it is missing, of the prepared one or one that `recycled` gives if
    /// there is one, and grown. Where the write is to be `durable` when it completes, the length that it needs is so when this
    /// returns, and [`SegmentFile::named`] is to be called; else [`SegmentFile::sync`] sees to both.
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
        if let Some(file) = self.ready(needed, durable) {
            return Ok(file);
        }
        let _turn = self.changing.lock().await;
        if let Some(file) = self.ready(needed, durable) {
            return Ok(file);
        }
        let file = self.opened(io, recycled).await?;
        let allocated = match self.allocated.get() {
            Some(allocated) => allocated,
            None => file.len().await?,
        };
        self.allocated.set(Some(allocated));
        if needed > allocated {
            self.grow(&file, allocated, needed).await?;
        }
        if durable && self.grown.replace(false) {
            file.sync().await?;
        }
        Ok(file)
    }

    /// The file, where a write up to `needed` finds it as it has to be.
    fn ready(&self, needed: Position, durable: bool) -> Option<File> {
        let is_ready =
            self.allocated.get().is_some_and(|allocated| needed <= allocated) && !(durable && self.grown.get());
        if is_ready { self.file.borrow().clone() } else { None }
    }

    /// The open file, made where it is missing.
    async fn opened(&self, io: &Io, recycled: impl FnOnce() -> Option<PathBuf>) -> Result<File> {
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        let file = match self.is_prepared() {
            true => {
                io.rename(&self.path.with_file_name(PreparedFile::NAME), &self.path).await?;
                let prepared = self.prepared.take().expect("it is not taken elsewhere");
                let PreparedFile { file, allocated, is_recycled, covered } = prepared;
                self.recycled.set(is_recycled);
                self.covered.set(covered.unwrap_or(Position::ZERO));
                self.covered_asked.set(covered.is_some());
                self.allocated.set(Some(allocated));
                file.renamed(&self.path)
            }
            false => {
                if io.file_len(&self.path).await?.is_none()
                    && let Some(recycled) = recycled()
                {
                    io.rename(&recycled, &self.path).await?;
                    self.recycled.set(true);
                    // The old name must not come back: its file would be given out again while it is a segment. Nor may it be
                    // without a name.
                    io.sync_dir(recycled.parent().expect("it is in the data directory")).await?;
                    self.named(io).await?;
                }
                let file = io.open(&self.path, OpenMode::Create).await?;
                self.allocated.set(Some(file.len().await?));
                file
            }
        };
        *self.file.borrow_mut() = Some(file.clone());
        Ok(file)
    }

    async fn grow(&self, file: &File, allocated: Position, needed: Position) -> Result<()> {
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
        self.allocated.set(Some(Position(target)));
        Ok(())
    }

    /// Whether its first write will make it of a prepared file, which has another name until then.
    pub fn is_prepared(&self) -> bool {
        self.prepared.borrow().is_some()
    }

    /// Whether its name is known to be durable.
    pub fn is_named(&self) -> bool {
        self.named.get()
    }

    /// Makes the name of the file, which exists, durable, where that is not known to be done.
    pub async fn named(&self, io: &Io) -> Result<()> {
        if self.named.get() {
            return Ok(());
        }
        io.sync_dir(self.path.parent().expect("a segment is in a partition's directory")).await?;
        self.named.set(true);
        Ok(())
    }

    /// Whether a write behind `written` would soon have to wait until the file has grown.
    pub fn wants_growth(&self, written: Position) -> bool {
        self.allocated.get().is_some_and(|allocated| {
            allocated.0 >= GROWN_AHEAD_BYTES_MIN
                && allocated.0 < self.segment_bytes
                && written.0 + allocated.0 / 4 > allocated.0
        })
    }

    /// Grows the file, where [`SegmentFile::wants_growth`] says so and nobody changes it, while writes to what it has go on. Where
    /// those are `durable` its new length is so too before they come to it.
    pub async fn grow_ahead(&self, written: Position, durable: bool) -> Result<()> {
        let Ok(_turn) = self.changing.try_lock() else { return Ok(()) };
        let (file, allocated) = (self.file.borrow().clone(), self.allocated.get());
        let (Some(file), Some(allocated)) = (file, allocated) else { return Ok(()) };
        if !self.wants_growth(written) {
            return Ok(());
        }
        let target = Position(growth(allocated.0, allocated.0, self.segment_bytes));
        if let Err(error) = file.allocate(allocated, target - allocated).await {
            file.truncate(allocated).await?;
            return Err(error);
        }
        match durable {
            true => file.sync().await?,
            false => self.grown.set(true),
        }
        self.allocated.set(Some(target));
        Ok(())
    }

    /// Sets the file's length to `length`: what is behind it is not of the log.
    pub async fn truncate(&self, io: &Io, length: Position) -> Result<()> {
        let file = self.writable(io, Position::ZERO, false, || None).await?;
        let _turn = self.changing.lock().await;
        self.covered.set(self.covered.get().min(length.block_start()));
        file.truncate(length).await?;
        self.allocated.set(Some(length));
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
        let synced = match self.named(io).await {
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
        let Ok(_turn) = self.changing.try_lock() else { return false };
        let mut file = self.file.borrow_mut();
        if file.as_ref().is_some_and(File::is_shared) {
            return false;
        }
        *file = None;
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
