//! DescribeLogDirs (key 35), versions 1-4: how large partitions are on disk (KIP-113).
//!
//! v2 flexible; v3 an error for the whole request; v4 the size of the volume (KIP-827).

use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeLogDirs.
    DescribeLogDirs = 35, versions 1..=4, flexible from 2, DescribeLogDirsRequest => DescribeLogDirsResponse
}

message! {
    /// Partitions to tell of.
    pub struct DescribeLogDirsRequest {
        /// The topics; null for all.
        topics: Option<Vec<DescribableLogDirTopic>> = Some(Vec::new()),
    }

    /// Partitions of a topic to tell of.
    pub struct DescribableLogDirTopic {
        /// Its name.
        topic: Text,
        /// The partitions.
        partitions: Vec<i32>,
    }

    /// The directories of the broker.
    pub struct DescribeLogDirsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// Whether the whole request failed.
        error_code: ErrorCode [3..],
        /// By directory.
        results: Vec<DescribeLogDirsResult>,
    }

    /// A directory.
    pub struct DescribeLogDirsResult {
        /// What is wrong with it.
        error_code: ErrorCode,
        /// Its path.
        log_dir: Text,
        /// The topics in it.
        topics: Vec<DescribeLogDirsTopic>,
        /// The size of its volume in bytes; -1 if unknown.
        total_bytes: i64 [4..] = -1,
        /// The free bytes of its volume; -1 if unknown.
        usable_bytes: i64 [4..] = -1,
    }

    /// A topic in a directory.
    pub struct DescribeLogDirsTopic {
        /// Its name.
        name: Text,
        /// Its partitions in this directory.
        partitions: Vec<DescribeLogDirsPartition>,
    }

    /// A partition in a directory.
    pub struct DescribeLogDirsPartition {
        /// The partition's index.
        partition_index: i32,
        /// The size of its segments in bytes.
        partition_size: i64,
        /// How far the log is behind the high watermark.
        offset_lag: i64,
        /// Whether it is about to replace a log in another directory.
        is_future_key: bool,
    }
}
