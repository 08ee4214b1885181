//! What compaction keeps of a log (`cleanup.policy=compact`): the newest record of each key, without I/O.
//!
//! The rules are those of Kafka's `Cleaner` and `LogCleanerManager`. Offsets never change: what goes leaves gaps, and the last batch
//! of each new segment stays, without records if need be, so that segments still join. [`KeyMap`] knows the newest offset of each key
//! of the dirty part, [`keep`] makes of a batch what is kept of it, [`groups`] says which segments become one, [`Dirtiness`] whether it
//! is worth it, and [`CleanedTo`] is how far a log is compacted, on disk. Who reads, writes and swaps files is
//! `shard/cleaner.rs`, `shard/clean.rs` and `shard/swap.rs`.

#[cfg(test)]
mod against_model;
mod cleaned_to;
mod dirtiness;
mod groups;
mod keep;
mod key_map;

pub use cleaned_to::{CLEANED_TO_FILE, CleanedTo};
pub use dirtiness::{Dirtiness, SegmentFacts};
pub use groups::groups;
pub(crate) use keep::is_last_of_producer;
pub use keep::{Kept, Rules, keep};
pub use key_map::KeyMap;

/// The most that one batch may decompress to while it is compacted.
const OUTPUT_BYTES_MAX: usize = 256 << 20;
