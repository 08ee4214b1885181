//! The corelog store: partitioned, durable, append-only logs on io_uring and O_DIRECT, in Apache Kafka's segment format.

pub mod batch;
pub mod error;
pub mod io;
pub mod journal;
pub mod log;
pub mod types;

pub use error::{Error, Result};
pub use types::{Epoch, Offset, Position, Timestamp, TopicId, TopicPartition};
