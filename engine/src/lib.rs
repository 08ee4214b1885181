//! The corelog store: partitioned, durable, append-only logs on io_uring and O_DIRECT, in Apache Kafka's segment format.
//!
//! A program that appends and reads, whole (`engine/examples/append_and_read.rs`):
//!
//! ```no_run
#![doc = include_str!("../examples/append_and_read.rs")]
//! ```
//!
//! * [`Store`] opens a data directory and starts a thread per core; [`Shard`] is what runs on each, reached by [`Store::call`].
//! * [`batch`] what is stored: Kafka's record batches; [`log`] partitions and segments; [`journal`] what makes appends durable.
//! * [`io`] the one door to the outside, real or simulated; [`inspect`] looks into a directory that nobody has open.

pub mod batch;
pub mod checksum;
pub mod compaction;
pub mod error;
pub mod inspect;
pub mod io;
pub mod journal;
pub mod log;
pub mod shard;
pub mod types;

pub use error::{Error, Result};
pub use log::{Appended, LogConfig, LogOffsets};
pub use shard::{AppendOptions, ReadBatches, ReadRequest, ReadUpTo, Shard, ShardId, Store, StoreConfig};
pub use types::{Epoch, Offset, Position, Timestamp, TopicId, TopicPartition};
