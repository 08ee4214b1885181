//! AlterReplicaLogDirs (key 34), versions 1-2: moves replicas between the directories of a broker (KIP-113).
//!
//! v2 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// AlterReplicaLogDirs.
    AlterReplicaLogDirs = 34, versions 1..=2, flexible from 2, AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse
}

message! {
    /// Replicas to move.
    pub struct AlterReplicaLogDirsRequest {
        /// By directory.
        dirs: Vec<AlterReplicaLogDir>,
    }

    /// Replicas to move to a directory.
    pub struct AlterReplicaLogDir {
        /// The directory.
        path: Text,
        /// The topics.
        topics: Vec<AlterReplicaLogDirTopic>,
    }

    /// Replicas of a topic to move.
    pub struct AlterReplicaLogDirTopic {
        /// Its name.
        name: Text,
        /// The partitions.
        partitions: Vec<i32>,
    }

    /// What became of them.
    pub struct AlterReplicaLogDirsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By topic.
        results: Vec<AlterReplicaLogDirTopicResult>,
    }

    /// What became of the replicas of a topic.
    pub struct AlterReplicaLogDirTopicResult {
        /// Its name.
        topic_name: Text,
        /// By partition.
        partitions: Vec<AlterReplicaLogDirPartitionResult>,
    }

    /// What became of a replica.
    pub struct AlterReplicaLogDirPartitionResult {
        /// The partition's index.
        partition_index: i32,
        /// What is wrong.
        error_code: ErrorCode,
    }
}
