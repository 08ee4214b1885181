//! Files of either world: the rules for places and lengths, and the loops over short reads and writes.
//!
//! Data files are read and written in whole 4 KiB blocks, past the page cache where the file system allows. A world does
//! one operation at a time and may do it short; here it is carried to its end, so that the simulated machine tests the
//! same loops that the real one runs.

use std::io;
use std::path::Path;
use std::rc::Rc;

use smallvec::SmallVec;

use super::buffer::{Buffer, Slice};
use super::sim::SimFile;
use super::uring::UringFile;
use crate::error::{Error, Result};
use crate::types::{BLOCK_BYTES, Position};

/// How often an operation may make no progress before it is an error.
const STALLS_MAX: u32 = 8;
/// The slices of one operation; the kernel takes 1024.
const SLICES_PER_WRITE: usize = 256;
/// The bytes of one read or slice at most, a whole number of blocks below what the kernel takes (2 GiB).
const BYTES_MAX: usize = 1 << 30;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// To be read; it must exist.
    Read,
    /// To be read and written; it must exist.
    Write,
    /// To be read and written; created where it is missing.
    Create,
}

/// When the bytes of a write are on stable storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sync {
    /// After a later [`File::sync`].
    None,
    /// When the write completes (`RWF_DSYNC`). A power cut before that may keep any of its 512-byte sectors.
    Data,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// The bytes of the file.
    pub len: u64,
}

/// An open file. Clones share it; it closes with the last of them and of the operations in flight.
#[derive(Clone)]
pub struct File {
    path: Rc<Path>,
    world: FileWorld,
}

#[derive(Clone)]
pub(super) enum FileWorld {
    Uring(UringFile),
    Sim(SimFile),
}

impl File {
    pub(super) fn new(path: &Path, world: FileWorld) -> File {
        File { path: Rc::from(path), world }
    }

    /// Whether someone else has it too.
    pub fn is_shared(&self) -> bool {
        Rc::strong_count(&self.path) > 1
    }

    /// The same file, which has the name `path` now.
    pub fn renamed(&self, path: &Path) -> File {
        File::new(path, self.world.clone())
    }

    /// The path that it was opened under.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `len` bytes at `position` of the file to `buffer`; fewer only at the end of the file.
    ///
    /// `position`, `len` and what is in the buffer already are whole blocks, and `len` bytes fit the buffer. After an
    /// error the buffer is as long as before; what follows means nothing.
    pub async fn read_at(&self, mut buffer: Buffer, position: Position, len: usize) -> (Result<usize>, Buffer) {
        assert_blocks(position.0, "a read's position");
        assert_blocks(len as u64, "a read's length");
        assert_blocks(buffer.len() as u64, "a read's place in its buffer");
        assert!(len <= buffer.remaining(), "{len} bytes do not fit, {} are left", buffer.remaining());
        let mut done = 0;
        let mut stalls = 0;
        let read = loop {
            let at = position + done as u64;
            let wanted = (len - done).min(BYTES_MAX);
            if wanted == 0 {
                break Ok(done);
            }
            let read;
            (read, buffer) = match &self.world {
                FileWorld::Uring(file) => file.read(buffer, done, at.0, wanted).await,
                FileWorld::Sim(file) => file.read(buffer, done, at.0, wanted).await,
            };
            let read = match read {
                Err(error) if is_passing(&error) => 0,
                Err(error) => break Err(Error::io("read", &self.path, Some(at), error)),
                Ok(read) if read == wanted => {
                    done += read;
                    stalls = 0;
                    continue;
                }
                Ok(read) => match self.file_len() {
                    Ok(end) if at.0 + read as u64 >= end => break Ok(done + read),
                    Ok(_) => read,
                    Err(error) => break Err(Error::io("stat", &self.path, None, error)),
                },
            };
            // Short within the file: go on from the last whole block, since memory must stay aligned.
            let whole = read - read % BLOCK_BYTES as usize;
            done += whole;
            stalls = if whole == 0 { stalls + 1 } else { 0 };
            if stalls > STALLS_MAX {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "reads make no progress");
                break Err(Error::io("read", &self.path, Some(at), error));
            }
        };
        if let Ok(read) = read {
            buffer.advance(read);
        }
        (read, buffer)
    }

    /// Writes the slices one behind the other from `position` on: all of them, or an error, after which any part may be
    /// in the file. With [`Sync::Data`] they are on stable storage then.
    ///
    /// `position` and each slice's length are whole blocks, and each slice begins at a multiple of the block in memory.
    pub async fn write_at(&self, slices: &[Slice], position: Position, sync: Sync) -> Result<()> {
        assert_blocks(position.0, "a write's position");
        for slice in slices {
            assert_blocks(slice.len() as u64, "a slice's length");
            assert_blocks(slice.as_ptr() as u64, "a slice's place in memory");
            assert!(
                slice.len() <= BYTES_MAX,
                "a slice of {} bytes is written at once, {BYTES_MAX} may be",
                slice.len()
            );
        }
        let mut left = joined(slices);
        let mut at = position;
        let mut stalls = 0;
        while !left.is_empty() {
            let some = &left[..left.len().min(SLICES_PER_WRITE)];
            let written = match &self.world {
                FileWorld::Uring(file) => file.write(some, at.0, sync).await,
                FileWorld::Sim(file) => file.write(some, at.0, sync).await,
            };
            let written = match written {
                Err(error) if is_passing(&error) => 0,
                Err(error) => return Err(Error::io("write", &self.path, Some(at), error)),
                Ok(written) => written,
            };
            stalls = if written == 0 { stalls + 1 } else { 0 };
            if stalls > STALLS_MAX {
                let error = io::Error::new(io::ErrorKind::WriteZero, "writes make no progress");
                return Err(Error::io("write", &self.path, Some(at), error));
            }
            cut(&mut left, written);
            at += written as u64;
        }
        Ok(())
    }

    /// Makes everything written to the file durable, with its length (fdatasync). Its name is durable after
    /// [`super::Io::sync_dir`] of its directory. After an error nothing can be said of what was written since the last
    /// sync, and trying again does not help.
    pub async fn sync(&self) -> Result<()> {
        let synced = match &self.world {
            FileWorld::Uring(file) => file.sync().await,
            FileWorld::Sim(file) => file.sync().await,
        };
        synced.map_err(|error| Error::io("sync", &self.path, None, error))
    }

    /// Reserves room for `len` bytes at `from` and extends the file to their end (fallocate, mode 0); they read as zeros.
    pub async fn allocate(&self, from: Position, len: u64) -> Result<()> {
        let allocated = match &self.world {
            FileWorld::Uring(file) => file.allocate(from.0, len).await,
            FileWorld::Sim(file) => file.allocate(from.0, len).await,
        };
        allocated.map_err(|error| Error::io("allocate", &self.path, Some(from), error))
    }

    /// Cuts the file to `len` bytes, or extends it with zeros.
    pub async fn truncate(&self, len: Position) -> Result<()> {
        let truncated = match &self.world {
            FileWorld::Uring(file) => file.truncate(len.0).await,
            FileWorld::Sim(file) => file.truncate(len.0).await,
        };
        truncated.map_err(|error| Error::io("truncate", &self.path, Some(len), error))
    }

    /// The bytes from the file's start that are *covered* by `by`, whole blocks: a write there without a sync is on stable storage
    /// once a write to `by` with [`Sync::Data`], begun after it had completed, has completed too. None where that cannot be
    /// told, and where a durable write does not flush the device. What is covered stays so until the file is cut. Has the file synced
    /// where it matters.
    pub async fn covered_by(&self, by: &File) -> Result<Position> {
        let shares = match (&self.world, &by.world) {
            (FileWorld::Uring(file), FileWorld::Uring(by)) => file.shares_flushes(by),
            (FileWorld::Sim(file), FileWorld::Sim(_)) => file.shares_flushes(),
            _ => false,
        };
        if !shares || self.len().await? == Position::ZERO {
            return Ok(Position::ZERO);
        }
        // Blocks that were written for the first time are known to be so only when the file system's own writes are durable.
        self.sync().await?;
        let written = match &self.world {
            FileWorld::Uring(file) => file.written_bytes(),
            FileWorld::Sim(file) => file.settled_bytes(),
        };
        // A file system that cannot say has none.
        Ok(Position(written.unwrap_or(0)).block_start())
    }

    /// The file's length.
    pub async fn len(&self) -> Result<Position> {
        self.file_len().map(Position).map_err(|error| Error::io("stat", &self.path, None, error))
    }

    fn file_len(&self) -> io::Result<u64> {
        match &self.world {
            FileWorld::Uring(file) => file.len(),
            FileWorld::Sim(file) => file.len(),
        }
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({})", self.path.display())
    }
}

fn assert_blocks(bytes: u64, what: &str) {
    assert_eq!(bytes % BLOCK_BYTES, 0, "{what} is a multiple of {BLOCK_BYTES}, not {bytes}");
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// The slices without empty ones, neighbours in memory as one.
fn joined(slices: &[Slice]) -> SmallVec<[Slice; 4]> {
    let mut joined: SmallVec<[Slice; 4]> = SmallVec::new();
    for slice in slices.iter().filter(|slice| !slice.is_empty()) {
        match joined.last().and_then(|last| last.joined(slice)) {
            Some(both) => *joined.last_mut().expect("it has a last one") = both,
            None => joined.push(slice.clone()),
        }
    }
    joined
}

/// Drops the first `bytes` of the slices.
fn cut(slices: &mut SmallVec<[Slice; 4]>, bytes: usize) {
    let mut left = bytes;
    let whole = slices.iter().take_while(|slice| {
        let fits = slice.len() <= left;
        left -= if fits { slice.len() } else { 0 };
        fits
    });
    let whole = whole.count();
    slices.drain(..whole);
    if left > 0 {
        let first = &mut slices[0];
        *first = first.slice(left..first.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_memory_are_written_as_one() {
        let mut buffer = Buffer::heap(16 << 10);
        buffer.extend_zeros(16 << 10);
        let other = buffer.slice(12288..16384);
        let joined = joined(&[buffer.slice(0..4096), buffer.slice(0..0), buffer.slice(4096..8192), other]);
        assert_eq!(joined.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [8192, 4096]);
    }

    #[test]
    fn a_short_write_goes_on_where_it_ended() {
        let mut buffer = Buffer::heap(16 << 10);
        buffer.extend_zeros(16 << 10);
        let mut left: SmallVec<[Slice; 4]> = [buffer.slice(0..8192), buffer.slice(0..4096)].into_iter().collect();
        cut(&mut left, 512);
        assert_eq!(left.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [7680, 4096]);
        cut(&mut left, 7680);
        assert_eq!(left.len(), 1);
        cut(&mut left, 4096);
        assert!(left.is_empty());
    }
}
