//! What can go wrong in the store, with the file and the place where it did and what to do about it.
//!
//! Bugs panic; faults of the world (disk, settings, data of others) are an [`Error`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::{Epoch, Offset, Position, TopicPartition};

/// The result of an operation of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault. Cheap to clone, since one failed write fails every append that waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a file failed in the operating system.
    #[error("{operation} {}{}: {source}", path.display(), at(position))]
    Io {
        /// What was tried: "read", "write", "sync", "open", …
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The byte place, where the operation has one.
        position: Option<Position>,
        /// The operating system's word.
        source: Arc<std::io::Error>,
    },
    /// Bytes that were once written whole do not read back as written.
    #[error("{}{} is damaged: {what}", path.display(), at(position))]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where the damage begins.
        position: Option<Position>,
        /// What is wrong with it.
        what: String,
    },
    /// The batch that was to be appended breaks a rule of the format or of the topic.
    #[error("{0}")]
    Batch(#[from] crate::batch::BatchError),
    /// The batch does not go on from what its producer sent before.
    #[error("{0}")]
    Producer(#[from] crate::log::ProducerError),
    /// A read outside the log.
    #[error("offset {requested} is outside the log, which has {start} to {end}")]
    OffsetOutOfRange {
        /// The offset asked for.
        requested: Offset,
        /// The first readable offset.
        start: Offset,
        /// The first offset not yet assigned.
        end: Offset,
    },
    /// An append by someone who does not know that the log is in a later leader epoch.
    #[error("leader epoch {given} is over, the log is in epoch {current}")]
    FencedEpoch {
        /// The epoch of the append.
        given: Epoch,
        /// The log's epoch.
        current: Epoch,
    },
    /// No such partition on this store.
    #[error("partition {0} is not on this store")]
    UnknownPartition(TopicPartition),
    /// The partition exists already.
    #[error("partition {0} exists already")]
    PartitionExists(TopicPartition),
    /// The partition or its log directory failed earlier and serves no more.
    #[error("{what} is offline: {reason}")]
    Offline {
        /// The partition or directory.
        what: String,
        /// The first failure, which is final.
        reason: String,
    },
    /// The disk has no room; nothing was changed, and the same call may succeed when space returns.
    #[error("no space left on the file system of {}; free some, or add retention", path.display())]
    DiskFull {
        /// The directory that could not grow.
        path: PathBuf,
    },
    /// Another process has this data directory.
    #[error("data directory {} is in use by another process (its lock file is {}); stop that process or choose another directory",
        dir.display(), dir.join(".lock").display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// A file was written by a later version of this program.
    #[error("{} has format version {found}, this program reads up to {supported}; use a newer corelog", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest version known here.
        supported: u16,
    },
    /// The machine or its settings do not allow what the store needs.
    #[error("{what}; {remedy}")]
    Unsupported {
        /// What is missing.
        what: String,
        /// What to change.
        remedy: String,
    },
    /// A setting has a value that cannot be used.
    #[error("setting {name}: {reason}")]
    Setting {
        /// The setting's name.
        name: String,
        /// Why its value is refused.
        reason: String,
    },
    /// More is waiting to be written than the memory bound allows; try again.
    #[error("the store is overloaded: {0}")]
    Overloaded(String),
    /// The store or the shard is shutting down.
    #[error("the store is closed")]
    Closed,
}

fn at(position: &Option<Position>) -> String {
    position.map(|position| format!(" at byte {position}")).unwrap_or_default()
}

impl Error {
    /// An operating-system failure of `operation` on `path`; a full disk becomes [`Error::DiskFull`], which may be tried again,
    /// but not where a sync found it, since no sync is.
    pub fn io(operation: &'static str, path: &Path, position: Option<Position>, source: std::io::Error) -> Error {
        let full = matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        if full && !operation.starts_with("sync") {
            return Error::DiskFull { path: path.to_path_buf() };
        }
        Error::Io { operation, path: path.to_path_buf(), position, source: Arc::new(source) }
    }

    /// Damage in `path` at `position`.
    pub fn corrupt(path: &Path, position: Option<Position>, what: impl Into<String>) -> Error {
        Error::Corrupt { path: path.to_path_buf(), position, what: what.into() }
    }

    /// Whether the same call may succeed later without anyone's help beyond time or space.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Error::DiskFull { .. } | Error::Overloaded(_))
    }
}
