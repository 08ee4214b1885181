//! ListOffsets (key 2), versions 1-11: the offset at a time, or at a place that a negative time names.
//!
//! v2 isolation level; v4 leader epochs (KIP-320); v6 flexible; v7 -3, the record with the largest time (KIP-734); v8 -4, the earliest local
//! (KIP-405); v9 -5, the latest tiered (KIP-1005); v10 timeout (KIP-1075); v11 -6, the earliest not yet tiered (KIP-1023).

use super::{ErrorCode, Text, api, message};

api! {
    /// ListOffsets.
    ListOffsets = 2, versions 1..=11, flexible from 6, ListOffsetsRequest => ListOffsetsResponse
}

/// The end: the high watermark or, for readers of committed records, the last stable offset.
pub const LATEST: i64 = -1;
/// The first readable offset.
pub const EARLIEST: i64 = -2;
/// The record with the largest time.
pub const MAX_TIMESTAMP: i64 = -3;
/// The first offset on local disks.
pub const EARLIEST_LOCAL: i64 = -4;
/// The last offset in tiered storage.
pub const LATEST_TIERED: i64 = -5;
/// The first offset not yet in tiered storage.
pub const EARLIEST_PENDING_UPLOAD: i64 = -6;

message! {
    /// What to look up.
    pub struct ListOffsetsRequest {
        /// The follower that asks; -1 for a client.
        replica_id: i32,
        /// 0 sees up to the high watermark, 1 up to the last stable offset.
        isolation_level: i8 [2..],
        /// By topic.
        topics: Vec<ListOffsetsTopic>,
        /// How long to wait for tiered storage, in milliseconds.
        timeout_ms: i32 [10..],
    }

    /// What to look up in a topic.
    pub struct ListOffsetsTopic {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<ListOffsetsPartition>,
    }

    /// What to look up in a partition.
    pub struct ListOffsetsPartition {
        /// The partition's index.
        partition_index: i32,
        /// The leader's epoch that the client knows; -1 for none.
        current_leader_epoch: i32 [4..] = -1,
        /// The time in milliseconds, or a negative number that names a place.
        timestamp: i64,
    }

    /// What was found.
    pub struct ListOffsetsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [2..],
        /// By topic.
        topics: Vec<ListOffsetsTopicResponse>,
    }

    /// What was found in a topic.
    pub struct ListOffsetsTopicResponse {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// What was found in a partition.
    pub struct ListOffsetsPartitionResponse {
        /// The partition's index.
        partition_index: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// The time of the record found; -1 for none.
        timestamp: i64 = -1,
        /// The offset found; -1 for none.
        offset: i64 = -1,
        /// The leader's epoch of the record found; -1 for none.
        leader_epoch: i32 [4..] = -1,
    }
}
