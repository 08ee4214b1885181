//! The settings of one log, under Kafka's names and with Kafka's defaults, but durable.

use crate::batch::{Compression, TimestampType};

/// What happens to old segments (`cleanup.policy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CleanupPolicy {
    /// Segments past `retention.ms` or `retention.bytes` are deleted.
    Delete,
    /// The newest record of each key is kept.
    Compact,
    /// Both.
    CompactAndDelete,
    /// Neither: everything is kept until DeleteRecords (an empty list, since Kafka 4).
    Keep,
}

/// The settings of one log; `Default` is Kafka's, except that an acknowledged record is on stable storage
/// (`flush.messages` = 1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it would grow beyond this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is rolled when its first record is older than this, in milliseconds.
    pub segment_ms: u64,
    /// `segment.jitter.ms`: a roll by time comes up to so much earlier, by another time for each segment.
    pub segment_jitter_ms: u64,
    /// `index.interval.bytes`: one index entry for so many bytes of log.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: a segment is rolled when its offset index would outgrow this.
    pub segment_index_bytes: u32,
    /// `retention.ms`; `None` keeps for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` keeps any size.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `min.cleanable.dirty.ratio` in millionths: a log whose share of uncompacted bytes is above this is compacted.
    pub min_cleanable_ppm: u32,
    /// `min.compaction.lag.ms`: how long a record stays uncompacted at least.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`: how long one stays so at most, once its segment is complete.
    pub max_compaction_lag_ms: u64,
    /// `delete.retention.ms`: how long a tombstone stays after the compaction that first saw it.
    pub delete_retention_ms: u64,
    /// `flush.messages`: this many records may be unflushed; 1 means that acknowledged is on stable storage.
    pub flush_messages: u64,
    /// `flush.ms`: the longest time that a record stays unflushed; `None` leaves it to the checkpoint.
    pub flush_ms: Option<u64>,
    /// `max.message.bytes`: the largest record batch.
    pub max_batch_bytes: u32,
    /// `compression.type` with its level: what clients' batches are stored with; `None` leaves them as they come.
    pub compression: Option<Compression>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far behind the clock a record's timestamp may be.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead.
    pub timestamp_after_max_ms: i64,
    /// `file.delete.delay.ms`: how long a deleted segment's file stays.
    pub file_delete_delay_ms: u64,
    /// `producer.id.expiration.ms`: for how long a producer that writes nothing is remembered.
    pub producer_expiration_ms: u64,
    /// `corelog.validate.compressed`: decompress batches to check their records.
    pub check_compressed: bool,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            retention_ms: Some(7 * 24 * 3600 * 1000),
            retention_bytes: None,
            cleanup_policy: CleanupPolicy::Delete,
            min_cleanable_ppm: 500_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX as u64,
            delete_retention_ms: 24 * 3600 * 1000,
            flush_messages: 1,
            flush_ms: None,
            max_batch_bytes: (1 << 20) + 12,
            compression: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            file_delete_delay_ms: 60_000,
            producer_expiration_ms: 24 * 3600 * 1000,
            check_compressed: false,
        }
    }
}

impl LogConfig {
    /// Whether a record is acknowledged only when it is on stable storage.
    pub fn is_durable(&self) -> bool {
        self.flush_messages <= 1
    }

    /// Whether every record needs a key.
    pub fn is_compacted(&self) -> bool {
        matches!(self.cleanup_policy, CleanupPolicy::Compact | CleanupPolicy::CompactAndDelete)
    }

    /// Whether old segments are deleted.
    pub fn deletes(&self) -> bool {
        matches!(self.cleanup_policy, CleanupPolicy::Delete | CleanupPolicy::CompactAndDelete)
    }
}
