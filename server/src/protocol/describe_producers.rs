//! DescribeProducers (key 61), version 0 (KIP-664): who has written to partitions, and which transactions are open there.

use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeProducers.
    DescribeProducers = 61, versions 0..=0, flexible from 0, DescribeProducersRequest => DescribeProducersResponse
}

message! {
    /// Partitions to tell of.
    pub struct DescribeProducersRequest {
        /// By topic.
        topics: Vec<TopicRequest>,
    }

    /// Partitions of a topic.
    pub struct TopicRequest {
        /// Its name.
        name: Text,
        /// The partitions.
        partition_indexes: Vec<i32>,
    }

    /// Their producers.
    pub struct DescribeProducersResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By topic.
        topics: Vec<TopicResponse>,
    }

    /// The producers of a topic's partitions.
    pub struct TopicResponse {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<PartitionResponse>,
    }

    /// The producers of a partition.
    pub struct PartitionResponse {
        /// Its index.
        partition_index: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text>,
        /// Those that are remembered.
        active_producers: Vec<ProducerState>,
    }

    /// One producer.
    pub struct ProducerState {
        /// Its id.
        producer_id: i64,
        /// Its epoch.
        producer_epoch: i32,
        /// The sequence of its last record; -1 for none.
        last_sequence: i32 = -1,
        /// The time of its last batch; -1 for none.
        last_timestamp: i64 = -1,
        /// The epoch of the coordinator that last ended a transaction of it; -1 for none.
        coordinator_epoch: i32,
        /// The first offset of its open transaction; -1 for none.
        current_txn_start_offset: i64 = -1,
    }
}
