//! DescribeTopicPartitions (key 75), version 0: the partitions of topics, page by page, with eligible leaders (KIP-966).

use corelog_engine::TopicId;

use super::metadata::OPERATIONS_NOT_ASKED;
use super::{ErrorCode, Text, api, message, nullable_message};

api! {
    /// DescribeTopicPartitions.
    DescribeTopicPartitions = 75, versions 0..=0, flexible from 0, DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse
}

message! {
    /// Topics to tell of.
    pub struct DescribeTopicPartitionsRequest {
        /// The topics; none for all.
        topics: Vec<TopicRequest>,
        /// The most partitions on a page.
        response_partition_limit: i32 = 2000,
        /// Where to go on; null for the start.
        cursor: Option<Cursor>,
    }

    /// A topic to tell of.
    pub struct TopicRequest {
        /// Its name.
        name: Text,
    }

    /// A place among all partitions.
    pub struct Cursor {
        /// The topic.
        topic_name: Text,
        /// The partition's index.
        partition_index: i32,
    }

    /// A page.
    pub struct DescribeTopicPartitionsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By topic.
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        /// Where the next page begins; null for the last one.
        next_cursor: Option<Cursor>,
    }

    /// A topic.
    pub struct DescribeTopicPartitionsResponseTopic {
        /// What is wrong.
        error_code: ErrorCode,
        /// Its name.
        name: Option<Text> = Some(Text::default()),
        /// Its id.
        topic_id: TopicId,
        /// Whether it is the broker's own.
        is_internal: bool,
        /// Its partitions on this page.
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        /// What the client may do, as bits by `AclOperation`.
        topic_authorized_operations: i32 = OPERATIONS_NOT_ASKED,
    }

    /// A partition.
    pub struct DescribeTopicPartitionsResponsePartition {
        /// What is wrong.
        error_code: ErrorCode,
        /// The partition's index.
        partition_index: i32,
        /// The leader; -1 for none.
        leader_id: i32,
        /// Its epoch.
        leader_epoch: i32 = -1,
        /// All replicas.
        replica_nodes: Vec<i32>,
        /// The replicas in sync.
        isr_nodes: Vec<i32>,
        /// Replicas out of sync that lack nothing.
        eligible_leader_replicas: Option<Vec<i32>>,
        /// Those that were eligible last.
        last_known_elr: Option<Vec<i32>>,
        /// Replicas that are not there.
        offline_replicas: Vec<i32>,
    }
}

nullable_message!(Cursor);
