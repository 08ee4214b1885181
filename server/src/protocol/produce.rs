//! Produce (key 0), versions 3-13.
//!
//! v3 record batches of format v2 and transactional ids (KIP-98); v5 log start in the answer; v7 zstd may be used (KIP-110); v8 errors by
//! record (KIP-467); v9 flexible; v10 the leader beside NOT_LEADER_OR_FOLLOWER (KIP-951); v12 joins the transaction by itself (KIP-890);
//! v13 topics by id (KIP-516). Versions 0-2 are advertised and refused: librdkafka takes their absence for a broker without compression (KAFKA-18659).

use bytes::Bytes;
use corelog_engine::TopicId;

use super::{ErrorCode, LeaderIdAndEpoch, NodeEndpoint, Text, api, message};

api! {
    /// Produce.
    Produce = 0, versions 3..=13, flexible from 9, (advertised from 0), ProduceRequest => ProduceResponse
}

message! {
    /// Records to append.
    pub struct ProduceRequest {
        /// The transactional id of the producer.
        transactional_id: Option<Text>,
        /// When to answer: 0 never, 1 when the leader has it, -1 when all in-sync replicas have it.
        acks: i16,
        /// How long to wait for the replicas, in milliseconds.
        timeout_ms: i32,
        /// The records.
        topic_data: Vec<TopicProduceData>,
    }

    /// Records for a topic.
    pub struct TopicProduceData {
        /// Its name.
        name: Text [..=12],
        /// Its id.
        topic_id: TopicId [13..],
        /// The records.
        partition_data: Vec<PartitionProduceData>,
    }

    /// Records for a partition.
    pub struct PartitionProduceData {
        /// The partition's index.
        index: i32,
        /// One record batch.
        records: Option<Bytes>,
    }

    /// What became of them.
    pub struct ProduceResponse {
        /// By topic.
        responses: Vec<TopicProduceResponse>,
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// The brokers named by `current_leader`.
        node_endpoints: Vec<NodeEndpoint> [10.., tag 0],
    }

    /// What became of a topic's records.
    pub struct TopicProduceResponse {
        /// Its name.
        name: Text [..=12],
        /// Its id.
        topic_id: TopicId [13..],
        /// By partition.
        partition_responses: Vec<PartitionProduceResponse>,
    }

    /// What became of a partition's records.
    pub struct PartitionProduceResponse {
        /// The partition's index.
        index: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// The offset of the first record; -1 where it failed.
        base_offset: i64,
        /// The time at which it was appended; -1 where the records keep their own.
        log_append_time_ms: i64 = -1,
        /// The first readable offset.
        log_start_offset: i64 [5..] = -1,
        /// The records because of which the batch is refused.
        record_errors: Vec<BatchIndexAndErrorMessage> [8..],
        /// What is wrong, in words.
        error_message: Option<Text> [8..],
        /// The leader, if it is another.
        current_leader: LeaderIdAndEpoch [10.., tag 0],
    }

    /// A record because of which the batch is refused.
    pub struct BatchIndexAndErrorMessage {
        /// Its index in the batch.
        batch_index: i32,
        /// What is wrong with it.
        batch_index_error_message: Option<Text>,
    }
}
