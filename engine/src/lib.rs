//! The corelog store: partitioned, durable, append-only logs on io_uring and O_DIRECT, in Apache Kafka's segment format.

pub mod batch;
pub mod checksum;
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
