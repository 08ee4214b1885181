//! Fetch (key 1), versions 4-18.
//!
//! v4 isolation level and aborted transactions (KIP-98); v5 log start; v7 sessions (KIP-227); v9 leader epoch (KIP-320); v10 zstd (KIP-110);
//! v11 rack and preferred replica (KIP-392); v12 flexible, diverging epochs (KIP-595); v13 topics by id (KIP-516); v15 the replica's state is
//! tagged (KIP-903); v16 the leader beside NOT_LEADER_OR_FOLLOWER (KIP-951); v17 directory id (KIP-853); v18 the follower's high watermark (KIP-1166).

use corelog_engine::TopicId;

use super::{ErrorCode, LeaderIdAndEpoch, NodeEndpoint, Records, Text, api, message};

api! {
    /// Fetch.
    Fetch = 1, versions 4..=18, flexible from 12, FetchRequest => FetchResponse
}

message! {
    /// What to read.
    pub struct FetchRequest {
        /// The cluster that the client thinks it talks to.
        cluster_id: Option<Text> [12.., tag 0],
        /// The follower that reads; -1 for a consumer.
        replica_id: i32 [..=14] = -1,
        /// The follower that reads.
        replica_state: ReplicaState [15.., tag 1],
        /// How long to wait for `min_bytes`, in milliseconds.
        max_wait_ms: i32,
        /// How many bytes make an answer worth sending.
        min_bytes: i32,
        /// How many bytes the answer may have, a first batch that is larger excepted.
        max_bytes: i32 = i32::MAX,
        /// 0 reads up to the high watermark, 1 up to the last stable offset.
        isolation_level: i8,
        /// The session; 0 for none or a new one.
        session_id: i32 [7..],
        /// The place in the session; -1 for no session, 0 for a new one.
        session_epoch: i32 [7..] = -1,
        /// The partitions.
        topics: Vec<FetchTopic>,
        /// Partitions to take out of the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        /// The rack of the client.
        rack_id: Text [11..],
    }

    /// A follower and its life.
    pub struct ReplicaState {
        /// The follower; -1 for a consumer.
        replica_id: i32 = -1,
        /// Its broker epoch.
        replica_epoch: i64 = -1,
    }

    /// What to read of a topic.
    pub struct FetchTopic {
        /// Its name.
        topic: Text [..=12],
        /// Its id.
        topic_id: TopicId [13..],
        /// The partitions.
        partitions: Vec<FetchPartition>,
    }

    /// What to read of a partition.
    pub struct FetchPartition {
        /// The partition's index.
        partition: i32,
        /// The leader's epoch that the client knows; -1 for none.
        current_leader_epoch: i32 [9..] = -1,
        /// The first offset wanted.
        fetch_offset: i64,
        /// The epoch of the last record that the follower has; -1 for none.
        last_fetched_epoch: i32 [12..] = -1,
        /// The first offset that the follower has; -1 for a consumer.
        log_start_offset: i64 [5..] = -1,
        /// How many bytes of this partition the answer may have.
        partition_max_bytes: i32,
        /// The follower's directory.
        replica_directory_id: TopicId [17.., tag 0],
        /// The follower's high watermark.
        high_watermark: i64 [18.., tag 1] = i64::MAX,
    }

    /// Partitions to take out of the session.
    pub struct ForgottenTopic {
        /// The topic's name.
        topic: Text [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// The partitions.
        partitions: Vec<i32>,
    }

    /// What was read.
    pub struct FetchResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// Whether the whole request failed.
        error_code: ErrorCode [7..],
        /// The session; 0 for none.
        session_id: i32 [7..],
        /// By topic.
        responses: Vec<FetchableTopicResponse>,
        /// The brokers named by `current_leader`.
        node_endpoints: Vec<NodeEndpoint> [16.., tag 0],
    }

    /// What was read of a topic.
    pub struct FetchableTopicResponse {
        /// Its name.
        topic: Text [..=12],
        /// Its id.
        topic_id: TopicId [13..],
        /// By partition.
        partitions: Vec<PartitionData>,
    }

    /// What was read of a partition.
    pub struct PartitionData {
        /// The partition's index.
        partition_index: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// The high watermark.
        high_watermark: i64,
        /// The first offset of the earliest open transaction.
        last_stable_offset: i64 = -1,
        /// The first readable offset.
        log_start_offset: i64 [5..] = -1,
        /// Where the follower and the leader part ways.
        diverging_epoch: EpochEndOffset [12.., tag 0],
        /// The leader, if it is another.
        current_leader: LeaderIdAndEpoch [12.., tag 1],
        /// A snapshot to fetch instead.
        snapshot_id: SnapshotId [12.., tag 2],
        /// Aborted transactions among the records; null if not asked for.
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        /// The broker to read from instead; -1 for this one.
        preferred_read_replica: i32 [11..] = -1,
        /// The records.
        records: Option<Records>,
    }

    /// The end of an epoch.
    pub struct EpochEndOffset {
        /// The epoch.
        epoch: i32 = -1,
        /// The first offset after it.
        end_offset: i64 = -1,
    }

    /// A snapshot of the metadata log.
    pub struct SnapshotId {
        /// The first offset after it.
        end_offset: i64 = -1,
        /// Its epoch.
        epoch: i32 = -1,
    }

    /// A transaction whose records a reader of committed ones must skip.
    pub struct AbortedTransaction {
        /// The producer.
        producer_id: i64,
        /// The transaction's first offset.
        first_offset: i64,
    }
}
