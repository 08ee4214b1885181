//! CreatePartitions (key 37), versions 0-3: adds partitions to topics (KIP-195).
//!
//! v1 throttled after the answer (KIP-219); v2 flexible; v3 may be throttled (KIP-599).

use super::{ErrorCode, Text, api, message};

api! {
    /// CreatePartitions.
    CreatePartitions = 37, versions 0..=3, flexible from 2, CreatePartitionsRequest => CreatePartitionsResponse
}

message! {
    /// Topics to enlarge.
    pub struct CreatePartitionsRequest {
        /// The topics.
        topics: Vec<CreatePartitionsTopic>,
        /// How long to wait for it, in milliseconds.
        timeout_ms: i32,
        /// Only say whether it would work.
        validate_only: bool,
    }

    /// A topic to enlarge.
    pub struct CreatePartitionsTopic {
        /// Its name.
        name: Text,
        /// How many partitions it is to have in all.
        count: i32,
        /// The brokers of each new partition; null leaves them to the controller.
        assignments: Option<Vec<CreatePartitionsAssignment>> = Some(Vec::new()),
    }

    /// The brokers of a new partition.
    pub struct CreatePartitionsAssignment {
        /// The brokers, the preferred leader first.
        broker_ids: Vec<i32>,
    }

    /// What became of them.
    pub struct CreatePartitionsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By topic, in the order of the request.
        results: Vec<CreatePartitionsTopicResult>,
    }

    /// What became of a topic.
    pub struct CreatePartitionsTopicResult {
        /// Its name.
        name: Text,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text>,
    }
}
