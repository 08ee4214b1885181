//! Files in a known state, since the state decides what a write costs: overwriting is one block request, writing
//! allocated but unwritten extents is a file-system journal commit, extending is a trip through worker threads.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Operation, RawLoop, Work};

/// What was done to a file before it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every block was written before, as in a recycled segment or the journal: writes only overwrite.
    Prewritten,
    /// Space was reserved with `fallocate`, nothing written: each first write converts an extent.
    Unwritten,
}

/// Opens `path` for direct reads and writes; falls back to the page cache where the file system has no direct I/O, and says so.
pub fn open_direct(path: &Path) -> Result<(File, bool)> {
    let open = |flags: i32| {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path)
    };
    match open(libc::O_DIRECT) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok((open(0).with_context(|| format!("cannot open {}", path.display()))?, false))
        }
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

/// Makes `path` a file of `bytes` in this state, synced.
pub fn prepare(path: &Path, bytes: u64, state: State, ring: &mut RawLoop) -> Result<()> {
    if state == State::Unwritten && path.exists() {
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let (file, _) = open_direct(path)?;
    reserve(&file, bytes).with_context(|| format!("cannot reserve {bytes} bytes for {}", path.display()))?;
    if state == State::Prewritten {
        let work = Work {
            operation: Operation::Write,
            block_bytes: 1 << 20,
            depth: 4,
            file_bytes: bytes,
            time_max: std::time::Duration::MAX,
            bytes_max: bytes,
        };
        ring.run(&file, work)?;
    }
    file.sync_all().with_context(|| format!("cannot sync {}", path.display()))
}

/// `fallocate` in mode 0: the size grows too, so that no later write extends the file.
fn reserve(file: &File, bytes: u64) -> std::io::Result<()> {
    let length = i64::try_from(bytes).expect("files of the harness are small");
    nix::fcntl::fallocate(file, nix::fcntl::FallocateFlags::empty(), 0, length).map_err(std::io::Error::from)
}

/// Drops what the page cache holds of `file`, for readers through the page cache.
pub fn drop_cache(file: &File) {
    let _ = nix::fcntl::posix_fadvise(file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}
