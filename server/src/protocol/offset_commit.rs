//! OffsetCommit (key 8), versions 2-10: how far a group has read.
//!
//! v2-4 with a retention of its own; v3 throttle time; v6 leader epochs (KIP-320); v7 static members (KIP-345); v8 flexible; v9 member
//! epochs (KIP-848); v10 topics by id.

use corelog_engine::TopicId;

use super::{ErrorCode, Text, api, message};

api! {
    /// OffsetCommit.
    OffsetCommit = 8, versions 2..=10, flexible from 8, OffsetCommitRequest => OffsetCommitResponse
}

message! {
    /// Offsets to keep.
    pub struct OffsetCommitRequest {
        /// The group.
        group_id: Text,
        /// The generation or the member's epoch; -1 for who is no member.
        generation_id_or_member_epoch: i32 = -1,
        /// The member.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text> [7..],
        /// How long to keep them, in milliseconds; -1 for as long as the broker does.
        retention_time_ms: i64 [..=4] = -1,
        /// By topic.
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// Offsets of a topic.
    pub struct OffsetCommitRequestTopic {
        /// Its name.
        name: Text [..=9],
        /// Its id.
        topic_id: TopicId [10..],
        /// By partition.
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// The offset of a partition.
    pub struct OffsetCommitRequestPartition {
        /// The partition's index.
        partition_index: i32,
        /// The next offset to read.
        committed_offset: i64,
        /// The leader's epoch of the last record read; -1 for none.
        committed_leader_epoch: i32 [6..] = -1,
        /// What the client wants kept beside it.
        committed_metadata: Option<Text> = Some(Text::default()),
    }

    /// What became of them.
    pub struct OffsetCommitResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [3..],
        /// By topic.
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// What became of a topic's offsets.
    pub struct OffsetCommitResponseTopic {
        /// Its name.
        name: Text [..=9],
        /// Its id.
        topic_id: TopicId [10..],
        /// By partition.
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// What became of a partition's offset.
    pub struct OffsetCommitResponsePartition {
        /// The partition's index.
        partition_index: i32,
        /// What is wrong.
        error_code: ErrorCode,
    }
}
