//! One core's part of the store, and the store made of them.
//!
//! [`Store`] is the handle from outside; a [`Shard`] lives on its own thread. An append goes through `shard` (validate, assign, copy),
//! `flusher` (group commit), `writer` (the segment behind it), `memory` (what of it stays there); `checkpointer` frees the journal,
//! `recovery` reads it; `reader` serves memory and files. `create_delete` begins and ends partitions; `retention` drops old segments;
//! `cleaner` finds what to compact, `clean` does it, `swap` puts it in place.

mod aborted;
mod checkpointer;
mod clean;
mod cleaner;
mod close;
mod config;
mod create_delete;
mod flusher;
mod group_sync;
mod join;
mod leftovers;
mod memory;
mod metrics;
mod partition;
mod prepare;
mod producer_files;
mod read_stream;
mod reader;
mod recovery;
mod recycler;
mod retention;
mod segment_scan;
#[allow(clippy::module_inception, reason = "a shard is what this folder is about")]
mod shard;
mod store;
mod swap;
mod sync_many;
mod time_lookup;
mod waiters;
mod writer;

pub use clean::Compacted;
pub use config::{CleanerConfig, StoreConfig};
pub use metrics::{Counter, HISTOGRAM_BOUNDS_US, Histogram, Metrics};
pub use reader::{ReadBatches, ReadRequest, ReadUpTo};
pub use recycler::RECYCLED_PREFIX;
pub use shard::{AppendOptions, Observer, Shard, ShardId};
pub use store::Store;
pub use time_lookup::TimedOffset;
