//! The file of one segment: opened when it is first needed, grown ahead of its writes, closed when it is quiet.
//!
//! A file is created (or renamed from a recycled one) and grown off the append path. Growing allocates and makes the
//! directory entry durable before any write relies on it.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::{File, Io, OpenMode};
use crate::types::Position;

/// The first allocation of a segment, in bytes; each later one doubles the file, up to the segment's size.
const ALLOCATION_BYTES_MIN: u64 = 64 << 10;

struct State {
    file: Option<File>,
    /// The file's length, where the file is known to exist.
    allocated: Option<Position>,
    /// The file's name was synced: a process that died may have left one that a power cut takes away.
    named: bool,
}

/// The file of one segment.
pub struct SegmentFile {
    path: PathBuf,
    segment_bytes: u64,
    state: tokio::sync::Mutex<State>,
    /// Bytes were written without a sync since the last one.
    unsynced: Cell<bool>,
    open: Cell<bool>,
    used: Cell<bool>,
}

impl SegmentFile {
    /// The file at `path`, which may not exist yet.
    pub fn new(path: PathBuf, segment_bytes: u64) -> SegmentFile {
        SegmentFile {
            path,
            segment_bytes,
            state: tokio::sync::Mutex::new(State { file: None, allocated: None, named: false }),
            unsynced: Cell::new(false),
            open: Cell::new(false),
            used: Cell::new(false),
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

    /// Whether a sync is due; the caller that gets `true` syncs.
    pub fn take_unsynced(&self) -> bool {
        self.unsynced.replace(false)
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

    /// The file for writing up to `needed`: created where it is missing (from `recycled`, if there is one) and grown.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`] where it cannot grow; nothing is lost, the call may be made again.
    pub async fn writable(&self, io: &Io, needed: Position, recycled: Option<PathBuf>) -> Result<File> {
        self.used.set(true);
        let mut state = self.state.lock().await;
        if state.file.is_none() {
            let exists = io.file_len(&self.path).await?;
            let directory = self.path.parent().expect("a segment is in a partition's directory");
            if exists.is_none() {
                if let Some(recycled) = recycled {
                    io.rename(&recycled, &self.path).await?;
                }
            } else if let Some(recycled) = recycled {
                io.remove_file(&recycled).await?;
            }
            let file = io.open(&self.path, OpenMode::Create).await?;
            if !state.named {
                io.sync_dir(directory).await?;
                state.named = true;
            }
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
            let doubled = (allocated.0 * 2).max(ALLOCATION_BYTES_MIN).min(self.segment_bytes.next_multiple_of(4096));
            let mut target = doubled.max(needed.0);
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
            file.sync().await?;
            state.allocated = Some(Position(target));
        } else {
            state.allocated = Some(allocated);
        }
        Ok(file)
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
        let file = self.writable(io, Position::ZERO, None).await?;
        let mut state = self.state.lock().await;
        file.truncate(length).await?;
        state.allocated = Some(length);
        self.unsynced.set(true);
        Ok(())
    }

    /// Makes what was written durable, where something was.
    pub async fn sync(&self, io: &Io) -> Result<()> {
        if !self.take_unsynced() {
            return Ok(());
        }
        let file = self.readable(io).await?;
        file.sync().await
    }

    /// Closes the file if nothing uses it just now; it is opened again when needed.
    pub fn close(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            state.file = None;
            self.open.set(false);
        }
    }
}
