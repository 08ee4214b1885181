//! One replica's log: its segments in Apache Kafka's format, their sparse indexes, and its leader epochs.

pub mod leader_epochs;
pub mod offset_index;
pub mod partition_metadata;
pub mod time_index;

pub use leader_epochs::LeaderEpochs;
pub use offset_index::{IndexPoint, OffsetIndex};
pub use partition_metadata::PartitionMetadata;
pub use time_index::TimeIndex;
