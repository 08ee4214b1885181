//! OffsetDelete (key 47), version 0: offsets of topics that a group does not read any more are forgotten (KIP-496).

use super::{ErrorCode, Text, api, message};

api! {
    /// OffsetDelete.
    OffsetDelete = 47, versions 0..=0, flexible from 1, OffsetDeleteRequest => OffsetDeleteResponse
}

message! {
    /// The offsets to forget.
    pub struct OffsetDeleteRequest {
        /// The group.
        group_id: Text,
        /// By topic.
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    /// Offsets of a topic.
    pub struct OffsetDeleteRequestTopic {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    /// The offset of a partition.
    pub struct OffsetDeleteRequestPartition {
        /// The partition's index.
        partition_index: i32,
    }

    /// What became of them.
    pub struct OffsetDeleteResponse {
        /// What is wrong with the whole request.
        error_code: ErrorCode,
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By topic.
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    /// What became of a topic's offsets.
    pub struct OffsetDeleteResponseTopic {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    /// What became of a partition's offset.
    pub struct OffsetDeleteResponsePartition {
        /// The partition's index.
        partition_index: i32,
        /// What is wrong.
        error_code: ErrorCode,
    }
}
