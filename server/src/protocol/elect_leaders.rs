//! ElectLeaders (key 43), versions 0-2: has partitions led by their preferred replica, or by any that lives (KIP-183, KIP-460).
//!
//! v1 the type of election; v2 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// ElectLeaders.
    ElectLeaders = 43, versions 0..=2, flexible from 2, ElectLeadersRequest => ElectLeadersResponse
}

message! {
    /// Elections to hold.
    pub struct ElectLeadersRequest {
        /// 0 for the preferred replica; 1 for any that lives, should none be in sync.
        election_type: i8 [1..],
        /// The partitions; null for all.
        topic_partitions: Option<Vec<TopicPartitions>> = Some(Vec::new()),
        /// How long to wait for it, in milliseconds.
        timeout_ms: i32 = 60_000,
    }

    /// Partitions of a topic.
    pub struct TopicPartitions {
        /// Its name.
        topic: Text,
        /// The partitions.
        partitions: Vec<i32>,
    }

    /// What became of them.
    pub struct ElectLeadersResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// Whether the whole request failed.
        error_code: ErrorCode [1..],
        /// By topic.
        replica_election_results: Vec<ReplicaElectionResult>,
    }

    /// What became of the elections of a topic.
    pub struct ReplicaElectionResult {
        /// Its name.
        topic: Text,
        /// By partition.
        partition_result: Vec<PartitionResult>,
    }

    /// What became of an election.
    pub struct PartitionResult {
        /// The partition's index.
        partition_id: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
    }
}
