//! The disk without us: what the kernel and the device give to whoever asks in the best known way.
//!
//! - [`arena`]: huge-page memory for the buffers
//! - [`mod@file`]: files in a known state: overwritten before, or allocated and unwritten
//! - [`mod@pinned`]: the raw loop on the core that the store’s shard has
//! - [`ring`]: a raw io_uring loop with registered buffers and files, the limit that ratios are taken against
//! - [`commits`]: durable commits of many partitions, without a journal of ours
//! - [`baseline`]: the same through tokio-uring's file API
//! - [`fio`]: the same through fio, where it is installed
//!
//! Nothing here shares code with the engine: a fault in one would not hide in the other.

pub mod arena;
pub mod baseline;
pub mod commits;
pub mod file;
pub mod fio;
pub mod pinned;
pub mod ring;

pub use arena::Arena;
pub use pinned::pinned;
pub use ring::RawLoop;

use std::time::Duration;

/// What to do to a file, from its start to its end and round again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sequential reads.
    Read,
    /// Sequential writes, not synced.
    Write,
    /// Sequential writes, each on stable storage when it completes (`RWF_DSYNC`).
    DurableWrite,
}

impl Operation {
    /// The verb for tables.
    pub fn verb(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::DurableWrite => "durable write",
        }
    }
}

/// A stretch of sequential work on one file.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// What is done.
    pub operation: Operation,
    /// Bytes of each operation, a multiple of 4096.
    pub block_bytes: usize,
    /// Operations in flight.
    pub depth: usize,
    /// Bytes of the file that are used; the place wraps at its end.
    pub file_bytes: u64,
    /// The end: after this time …
    pub time_max: Duration,
    /// … or this many bytes, whichever comes first.
    pub bytes_max: u64,
}
