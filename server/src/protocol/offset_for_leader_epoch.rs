//! OffsetForLeaderEpoch (key 23), versions 2-4: where an epoch ends, by which clients notice a truncation (KIP-320).
//!
//! v3 the replica's id; v4 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// OffsetForLeaderEpoch.
    OffsetForLeaderEpoch = 23, versions 2..=4, flexible from 4, OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse
}

message! {
    /// Epochs to look up.
    pub struct OffsetForLeaderEpochRequest {
        /// The follower that asks; -1 for a consumer.
        replica_id: i32 [3..] = -2,
        /// The topics.
        topics: Vec<OffsetForLeaderTopic>,
    }

    /// Epochs of a topic to look up.
    pub struct OffsetForLeaderTopic {
        /// Its name.
        topic: Text,
        /// The partitions.
        partitions: Vec<OffsetForLeaderPartition>,
    }

    /// An epoch of a partition to look up.
    pub struct OffsetForLeaderPartition {
        /// The partition's index.
        partition: i32,
        /// The leader's epoch that the client knows; -1 for none.
        current_leader_epoch: i32 = -1,
        /// The epoch.
        leader_epoch: i32,
    }

    /// Where epochs end.
    pub struct OffsetForLeaderEpochResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By topic.
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    /// Where epochs of a topic end.
    pub struct OffsetForLeaderTopicResult {
        /// Its name.
        topic: Text,
        /// By partition.
        partitions: Vec<EpochEndOffset>,
    }

    /// Where an epoch of a partition ends.
    pub struct EpochEndOffset {
        /// What is wrong.
        error_code: ErrorCode,
        /// The partition's index.
        partition: i32,
        /// The largest epoch up to the one asked for; -1 for none.
        leader_epoch: i32 = -1,
        /// The first offset after it; -1 for none.
        end_offset: i64 = -1,
    }
}
