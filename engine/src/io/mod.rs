//! The one door to the outside: files, sockets, clock, tasks, randomness.
//!
//! There are two worlds behind it: `uring`, the real machine with one io_uring per thread, and `sim`, a simulated one with
//! a seed, a virtual clock and a disk that can fail. A closed enum tells them apart; nothing else in the engine does.
//!
//! - `buffer` aligned memory that is written once and shared; `arena` and `buddy` where it comes from
//! - `file` data files in whole blocks; `net` sockets
//! - `clock`, `random`, `facts` moments, numbers, and what a world has and did

#![deny(unsafe_code)]

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::types::Timestamp;

#[allow(unsafe_code)]
mod arena;
mod buddy;
#[allow(unsafe_code)]
mod buffer;
mod clock;
mod facts;
mod file;
mod net;
mod random;
pub mod sim;
#[allow(unsafe_code)]
pub mod uring;

pub use buffer::{Buffer, Slice};
pub use clock::Instant;
pub use facts::{IoCounters, IoFacts, RingMode};
pub use file::{DirEntry, File, OpenMode, Sync};
pub use net::{Listener, Stream};
pub use uring::{UringOptions, run};

use file::FileWorld;

/// A world, as one thread sees it. Clones are cheap and share it; it does not leave its thread.
#[derive(Clone)]
pub enum Io {
    /// The real machine.
    Uring(uring::UringIo),
    /// A simulated one.
    Sim(sim::SimIo),
}

impl Io {
    /// Opens a data file: past the page cache where its file system allows, and registered with the ring where there is
    /// room. A created file's name is durable after [`Io::sync_dir`].
    pub async fn open(&self, path: &Path, mode: OpenMode) -> Result<File> {
        let world = match self {
            Io::Uring(io) => io.open(path, mode).await.map(FileWorld::Uring),
            Io::Sim(io) => io.open(path, mode).await.map(FileWorld::Sim),
        };
        world.map(|world| File::new(path, world)).map_err(|error| Error::io("open", path, None, error))
    }

    /// Creates a directory and those above it that are missing; no error where it exists. Durable after
    /// [`Io::sync_dir`] of the directory above each that was created.
    pub async fn create_dir_all(&self, dir: &Path) -> Result<()> {
        let created = match self {
            Io::Uring(io) => io.create_dir_all(dir),
            Io::Sim(io) => io.create_dir_all(dir).await,
        };
        created.map_err(|error| Error::io("create directory", dir, None, error))
    }

    /// What is in a directory, by name. Names that are not UTF-8 are none of ours and left out.
    pub async fn list_dir(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let entries = match self {
            Io::Uring(io) => io.list_dir(dir),
            Io::Sim(io) => io.list_dir(dir),
        };
        let mut entries = entries.map_err(|error| Error::io("list directory", dir, None, error))?;
        entries.sort();
        Ok(entries)
    }

    /// The length of a file, or `None` where there is none.
    pub async fn file_len(&self, path: &Path) -> Result<Option<u64>> {
        let len = match self {
            Io::Uring(io) => io.file_len(path),
            Io::Sim(io) => io.file_len(path),
        };
        match len {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("stat", path, None, error)),
        }
    }

    /// When a file was last written.
    pub async fn modified(&self, path: &Path) -> Result<Timestamp> {
        let modified = match self {
            Io::Uring(io) => io.modified(path),
            Io::Sim(io) => io.modified(path),
        };
        modified.map_err(|error| Error::io("stat", path, None, error))
    }

    /// Gives a file or directory another name, in place of the file that has it. Durable after [`Io::sync_dir`] of both
    /// directories.
    pub async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = match self {
            Io::Uring(io) => io.rename(from, to).await,
            Io::Sim(io) => io.rename(from, to).await,
        };
        renamed.map_err(|error| Error::io("rename", from, None, error))
    }

    /// Removes a file's name; its bytes go when nobody has it open. Durable after [`Io::sync_dir`].
    pub async fn remove_file(&self, path: &Path) -> Result<()> {
        let removed = match self {
            Io::Uring(io) => io.remove_file(path).await,
            Io::Sim(io) => io.remove_file(path).await,
        };
        removed.map_err(|error| Error::io("remove", path, None, error))
    }

    /// Removes a directory and everything in it. Durable after [`Io::sync_dir`] of the directory above.
    pub async fn remove_dir_all(&self, dir: &Path) -> Result<()> {
        let removed = match self {
            Io::Uring(io) => io.remove_dir_all(dir).await,
            Io::Sim(io) => io.remove_dir_all(dir).await,
        };
        removed.map_err(|error| Error::io("remove directory", dir, None, error))
    }

    /// Makes the names in a directory durable: what was created, renamed and removed in it.
    pub async fn sync_dir(&self, dir: &Path) -> Result<()> {
        let synced = match self {
            Io::Uring(io) => io.sync_dir(dir).await,
            Io::Sim(io) => io.sync_dir(dir).await,
        };
        synced.map_err(|error| Error::io("sync directory", dir, None, error))
    }

    /// Makes everything durable that was written, and every name that was changed, before this call on the file system that holds
    /// `dir` (syncfs): one call where thousands of files would each need one. Others' files on it too, so it may take as
    /// long as they have much to write.
    ///
    /// What was written past the page cache over blocks that were written before needs a flush of the device besides, which XFS may
    /// leave out: the caller syncs any one file behind it.
    pub async fn sync_all(&self, dir: &Path) -> Result<()> {
        let synced = match self {
            Io::Uring(io) => io.sync_all(dir).await,
            Io::Sim(io) => io.sync_all(dir).await,
        };
        synced.map_err(|error| Error::io("sync the file system of", dir, None, error))
    }

    /// All bytes of a file, through the page cache: for small files off the data path.
    pub async fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        let read = match self {
            Io::Uring(io) => io.read_file(path).await,
            Io::Sim(io) => io.read_file(path).await,
        };
        read.map_err(|error| Error::io("read", path, None, error))
    }

    /// Puts `contents` in place of a file, whole and durably: after a power cut at any moment the file is the old one or
    /// the new one, and the new one once this returns. Writes and renames `<path>.tmp`.
    pub async fn replace_file(&self, path: &Path, contents: Vec<u8>) -> Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let temporary = Path::new(&name);
        // A rename that a power cut tore may have left the file under both names: writing to the one would destroy the other.
        match self.remove_file(temporary).await {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        let written = match self {
            Io::Uring(io) => io.write_synced(temporary, contents).await,
            Io::Sim(io) => io.write_synced(temporary, contents).await,
        };
        written.map_err(|error| Error::io("write", temporary, None, error))?;
        self.rename(temporary, path).await?;
        self.sync_dir(path.parent().unwrap_or(Path::new("."))).await
    }

    /// Writes `contents` at a place of a file through the page cache, not synced; the file is created where it is
    /// missing.
    pub async fn append_file(&self, path: &Path, at: u64, contents: Vec<u8>) -> Result<()> {
        let written = match self {
            Io::Uring(io) => io.append_file(path, at, contents).await,
            Io::Sim(io) => io.append_file(path, at, contents).await,
        };
        written.map_err(|error| Error::io("write", path, Some(crate::types::Position(at)), error))
    }

    /// An empty buffer for at least `len` bytes, aligned to 4 KiB; its capacity is the next power of two up to 1 MiB.
    /// From the world's arena if that has room, else from the heap. Makes no system call in the first case.
    pub fn alloc(&self, len: usize) -> Buffer {
        match self {
            Io::Uring(io) => io.alloc(len),
            Io::Sim(io) => io.alloc(len),
        }
    }

    /// The monotonic clock.
    pub fn now(&self) -> Instant {
        match self {
            Io::Uring(io) => io.now(),
            Io::Sim(io) => io.now(),
        }
    }

    /// The wall clock.
    pub fn unix_time(&self) -> Timestamp {
        match self {
            Io::Uring(io) => io.unix_time(),
            Io::Sim(io) => io.unix_time(),
        }
    }

    /// Waits for a time; on the real machine a millisecond is the smallest step.
    pub async fn sleep(&self, duration: Duration) {
        match self {
            Io::Uring(_) => tokio::time::sleep(duration).await,
            Io::Sim(io) => io.sleep(duration).await,
        }
    }

    /// Waits until a moment; not at all where it is past.
    pub async fn sleep_until(&self, moment: Instant) {
        let now = self.now();
        if moment > now {
            self.sleep(moment - now).await;
        }
    }

    /// Runs a task on this thread beside the others. It is dropped when the world ends; if it panics, the world ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        match self {
            Io::Uring(io) => io.spawn(task),
            Io::Sim(io) => io.spawn(task),
        }
    }

    /// As [`Io::spawn`], but the task begins at once, and what it does at the disk first is on its way when this returns. For
    /// what should not wait until others that are ready have computed.
    pub fn spawn_begun(&self, task: impl Future<Output = ()> + 'static) {
        let mut task = Box::pin(task);
        // Whatever it waits for, it asks for again when it is polled as a task.
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.spawn(task);
        }
        if let Io::Uring(io) = self {
            io.submit();
        }
    }

    /// Lets the other tasks that are ready run first.
    pub async fn yield_now(&self) {
        match self {
            Io::Uring(_) => tokio::task::yield_now().await,
            Io::Sim(io) => io.yield_now().await,
        }
    }

    /// A random number; not for secrets.
    pub fn random(&self) -> u64 {
        match self {
            Io::Uring(io) => io.random(),
            Io::Sim(io) => io.random(),
        }
    }

    /// Listens at an address; port 0 picks a free one. With `reuse_port` several threads may listen at the same one.
    pub async fn listen(&self, addr: SocketAddr, reuse_port: bool) -> Result<Listener> {
        let listener = match self {
            Io::Uring(_) => Listener::tcp(addr, reuse_port),
            Io::Sim(io) => io.listen(addr, reuse_port).map(Listener::sim),
        };
        listener.map_err(|error| Error::io("listen at", Path::new(&addr.to_string()), None, error))
    }

    /// Connects to an address.
    pub async fn connect(&self, addr: SocketAddr) -> Result<Stream> {
        let stream = match self {
            Io::Uring(_) => Stream::connect_tcp(addr).await,
            Io::Sim(io) => io.connect(addr).await.map(Stream::sim),
        };
        stream.map_err(|error| Error::io("connect to", Path::new(&addr.to_string()), None, error))
    }

    /// What the machine granted.
    pub fn facts(&self) -> IoFacts {
        match self {
            Io::Uring(io) => io.facts(),
            Io::Sim(io) => io.facts(),
        }
    }

    /// What was done so far.
    pub fn counters(&self) -> IoCounters {
        match self {
            Io::Uring(io) => io.counters(),
            Io::Sim(io) => io.counters(),
        }
    }
}
