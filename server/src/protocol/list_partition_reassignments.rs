//! ListPartitionReassignments (key 46), version 0: the moves under way (KIP-455).

use super::{ErrorCode, Text, api, message};

api! {
    /// ListPartitionReassignments.
    ListPartitionReassignments = 46, versions 0..=0, flexible from 0, ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse
}

message! {
    /// Partitions to tell of.
    pub struct ListPartitionReassignmentsRequest {
        /// How long to wait for it, in milliseconds.
        timeout_ms: i32 = 60_000,
        /// The topics; null for all.
        topics: Option<Vec<ListPartitionReassignmentsTopics>>,
    }

    /// Partitions of a topic to tell of.
    pub struct ListPartitionReassignmentsTopics {
        /// Its name.
        name: Text,
        /// The partitions.
        partition_indexes: Vec<i32>,
    }

    /// The moves under way.
    pub struct ListPartitionReassignmentsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// Whether the whole request failed.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<Text> = Some(Text::default()),
        /// By topic.
        topics: Vec<OngoingTopicReassignment>,
    }

    /// The moves of a topic.
    pub struct OngoingTopicReassignment {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<OngoingPartitionReassignment>,
    }

    /// The move of a partition.
    pub struct OngoingPartitionReassignment {
        /// The partition's index.
        partition_index: i32,
        /// The brokers that have it.
        replicas: Vec<i32>,
        /// Those about to come.
        adding_replicas: Vec<i32>,
        /// Those about to go.
        removing_replicas: Vec<i32>,
    }
}
