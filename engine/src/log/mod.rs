//! One replica's log: its segments in Apache Kafka's format, their sparse indexes, its leader epochs and producers.

mod config;
pub mod leader_epochs;
#[allow(clippy::module_inception, reason = "a log is what this folder is about")]
mod log;
pub mod offset_index;
mod open_segment;
pub mod partition_metadata;
mod points_file;
pub mod producer;
pub mod producer_snapshot;
pub mod producers;
mod sealed_segment;
mod segment_file;
mod segment_index;
mod tail;
pub mod time_index;
mod transaction_index;

pub use config::{CleanupPolicy, LogConfig};
pub use leader_epochs::LeaderEpochs;
pub use log::{Appended, Log, LogOffsets, Pending, Place};
pub use offset_index::{IndexPoint, OffsetIndex};
pub use open_segment::{OpenSegment, SegmentState, SegmentWrite, Times};
pub use partition_metadata::PartitionMetadata;
pub use points_file::{POINT_RECORD_BYTES, decode_points, encode_points};
pub use producer::{BATCHES_KEPT, ProducedBatch, Producer, ProducerError, SequencedBatch, Verdict};
pub use producer_snapshot::{decode_snapshot, encode_snapshot};
pub use producers::Producers;
pub use sealed_segment::{SealedSegment, segment_base_of, segment_file_name};
pub use segment_file::{PreparedFile, SegmentFile};
pub use segment_index::SegmentIndex;
pub use tail::{CHUNK_BYTES_ENOUGH, CHUNK_BYTES_MAX, Slices, Tail};
pub use time_index::TimeIndex;
pub use transaction_index::{ABORTED_BYTES, AbortedTransaction, TRANSACTION_INDEX_SUFFIX, decode_transaction_index};
