//! AlterPartitionReassignments (key 45), versions 0-1: moves partitions between brokers (KIP-455).
//!
//! v1 may keep the number of replicas from changing (KIP-860).

use super::{ErrorCode, Text, api, message};

api! {
    /// AlterPartitionReassignments.
    AlterPartitionReassignments = 45, versions 0..=1, flexible from 0, AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse
}

message! {
    /// Partitions to move.
    pub struct AlterPartitionReassignmentsRequest {
        /// How long to wait for it, in milliseconds.
        timeout_ms: i32 = 60_000,
        /// Whether the number of replicas may change.
        allow_replication_factor_change: bool [1..] = true,
        /// The topics.
        topics: Vec<ReassignableTopic>,
    }

    /// Partitions of a topic to move.
    pub struct ReassignableTopic {
        /// Its name.
        name: Text,
        /// The partitions.
        partitions: Vec<ReassignablePartition>,
    }

    /// A partition to move.
    pub struct ReassignablePartition {
        /// The partition's index.
        partition_index: i32,
        /// The brokers that are to have it; null gives up a move under way.
        replicas: Option<Vec<i32>>,
    }

    /// What became of them.
    pub struct AlterPartitionReassignmentsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// Whether the number of replicas could change.
        allow_replication_factor_change: bool [1..] = true,
        /// Whether the whole request failed.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<Text> = Some(Text::default()),
        /// By topic.
        responses: Vec<ReassignableTopicResponse>,
    }

    /// What became of the partitions of a topic.
    pub struct ReassignableTopicResponse {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<ReassignablePartitionResponse>,
    }

    /// What became of a partition.
    pub struct ReassignablePartitionResponse {
        /// The partition's index.
        partition_index: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
    }
}
