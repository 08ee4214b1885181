//! A shard's journal: the ring of commit groups that makes small appends durable, and the checkpoint that frees it.
//!
//! Every byte is documented in `docs/format.md`, with what a power cut at any point leaves.

mod chain;
pub mod checkpoint;
mod cursor;
pub mod entry;
pub mod group;
mod placement;
mod producer;
pub mod ring;
pub mod scan;

pub use crate::log::IndexPoint;
pub use chain::{LOOK_AHEAD_BYTES, ScannedGroup};
pub use checkpoint::{Checkpoint, PartitionState, RECOVERED_SHARD, checkpoint_file_name, shard_of_checkpoint};
pub use entry::{Entry, OwnedEntry, PartitionKey};
pub use group::{GROUP_BYTES_MAX, GroupEncoder, GroupHeader, JournalMark, NotAGroup, parse_group};
pub use placement::RING_START;
pub use ring::{
    GROUPS_IN_FLIGHT_MAX, GroupWriter, Grown, Growth, Journal, SealedGroup, Written, journal_file_name,
    shard_of_journal,
};
pub use scan::{JournalReader, JournalScan, read_journal};

pub(crate) use chain::Chain;
