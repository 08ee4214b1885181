//! A shard's journal: the ring of commit groups that makes small appends durable, and the checkpoint that frees it.
//!
//! Every byte is documented in `docs/format.md`, with what a power cut at any point leaves.

pub mod checkpoint;
mod cursor;
pub mod entry;
pub mod group;

pub use crate::log::IndexPoint;
pub use checkpoint::{Checkpoint, PartitionState};
pub use entry::{Entry, OwnedEntry, PartitionKey};
pub use group::{GROUP_BYTES_MAX, GroupEncoder, GroupHeader, JournalMark, NotAGroup, parse_group};
