//! OffsetFetch (key 9), versions 1-10: how far groups have read.
//!
//! v2 null asks for all topics, a top-level error; v3 throttle time; v5 leader epochs (KIP-320); v6 flexible; v7 only stable offsets
//! (KIP-447); v8 many groups (KIP-709); v9 member epochs (KIP-848); v10 topics by id.

use corelog_engine::TopicId;

use super::{ErrorCode, Text, api, message};

api! {
    /// OffsetFetch.
    OffsetFetch = 9, versions 1..=10, flexible from 6, OffsetFetchRequest => OffsetFetchResponse
}

message! {
    /// What is asked for.
    pub struct OffsetFetchRequest {
        /// The group.
        group_id: Text [..=7],
        /// Its topics; null for all.
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7] = Some(Vec::new()),
        /// The groups.
        groups: Vec<OffsetFetchRequestGroup> [8..],
        /// Whether an offset that a transaction may still change is an error.
        require_stable: bool [7..],
    }

    /// What is asked of a group.
    pub struct OffsetFetchRequestGroup {
        /// The group.
        group_id: Text,
        /// The member that asks; null for who is none.
        member_id: Option<Text> [9..],
        /// Its epoch; -1 for who is none.
        member_epoch: i32 [9..] = -1,
        /// The topics; null for all.
        topics: Option<Vec<OffsetFetchRequestTopics>>,
    }

    /// What is asked of a topic, up to v7.
    pub struct OffsetFetchRequestTopic {
        /// Its name.
        name: Text,
        /// The partitions.
        partition_indexes: Vec<i32>,
    }

    /// What is asked of a topic, from v8 on.
    pub struct OffsetFetchRequestTopics {
        /// Its name.
        name: Text [..=9],
        /// Its id.
        topic_id: TopicId [10..],
        /// The partitions.
        partition_indexes: Vec<i32>,
    }

    /// What is known.
    pub struct OffsetFetchResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [3..],
        /// By topic.
        topics: Vec<OffsetFetchResponseTopic> [..=7],
        /// What is wrong with the whole request.
        error_code: ErrorCode [2..=7],
        /// By group.
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// What is known of a group.
    pub struct OffsetFetchResponseGroup {
        /// The group.
        group_id: Text,
        /// By topic.
        topics: Vec<OffsetFetchResponseTopics>,
        /// What is wrong with the group.
        error_code: ErrorCode,
    }

    /// What is known of a topic, up to v7.
    pub struct OffsetFetchResponseTopic {
        /// Its name.
        name: Text,
        /// By partition.
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    /// What is known of a partition, up to v7.
    pub struct OffsetFetchResponsePartition {
        /// The partition's index.
        partition_index: i32,
        /// The next offset to read; -1 for none.
        committed_offset: i64,
        /// The leader's epoch of the last record read; -1 for none.
        committed_leader_epoch: i32 [5..] = -1,
        /// What the client kept beside it.
        metadata: Option<Text> = Some(Text::default()),
        /// What is wrong.
        error_code: ErrorCode,
    }

    /// What is known of a topic, from v8 on.
    pub struct OffsetFetchResponseTopics {
        /// Its name.
        name: Text [..=9],
        /// Its id.
        topic_id: TopicId [10..],
        /// By partition.
        partitions: Vec<OffsetFetchResponsePartitions>,
    }

    /// What is known of a partition, from v8 on.
    pub struct OffsetFetchResponsePartitions {
        /// The partition's index.
        partition_index: i32,
        /// The next offset to read; -1 for none.
        committed_offset: i64,
        /// The leader's epoch of the last record read; -1 for none.
        committed_leader_epoch: i32 = -1,
        /// What the client kept beside it.
        metadata: Option<Text> = Some(Text::default()),
        /// What is wrong.
        error_code: ErrorCode,
    }
}
