//! DeleteRecords (key 21), versions 0-2: moves the start of partitions.
//!
//! v1 throttled after the answer (KIP-219); v2 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// DeleteRecords.
    DeleteRecords = 21, versions 0..=2, flexible from 2, DeleteRecordsRequest => DeleteRecordsResponse
}

message! {
    /// Records to delete.
    pub struct DeleteRecordsRequest {
        /// The topics.
        topics: Vec<DeleteRecordsTopic>,
        /// How long to wait for it, in milliseconds.
        timeout_ms: i32,
    }

    /// Records to delete from a topic.
    pub struct DeleteRecordsTopic {
        /// Its name.
        name: Text,
        /// The partitions.
        partitions: Vec<DeleteRecordsPartition>,
    }

    /// Records to delete from a partition.
    pub struct DeleteRecordsPartition {
        /// The partition's index.
        partition_index: i32,
        /// The first offset that stays; -1 for the high watermark.
        offset: i64,
    }

    /// What became of them.
    pub struct DeleteRecordsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By topic.
        topics: Vec<DeleteRecordsTopicResult>,
    }

    /// What became of the records of a topic.
    pub struct DeleteRecordsTopicResult {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// What became of the records of a partition.
    pub struct DeleteRecordsPartitionResult {
        /// The partition's index.
        partition_index: i32,
        /// The first readable offset of every replica; -1 where it failed.
        low_watermark: i64,
        /// What is wrong.
        error_code: ErrorCode,
    }
}
