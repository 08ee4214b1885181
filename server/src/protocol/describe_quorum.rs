//! DescribeQuorum (key 55), versions 0-2: who has the metadata log, and how far (KIP-595).
//!
//! v1 times (KIP-836); v2 directories, addresses and reasons (KIP-853).

use uuid::Uuid;

use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeQuorum.
    DescribeQuorum = 55, versions 0..=2, flexible from 0, DescribeQuorumRequest => DescribeQuorumResponse
}

message! {
    /// Partitions to tell of; there is one.
    pub struct DescribeQuorumRequest {
        /// The topics.
        topics: Vec<QuorumTopic>,
    }

    /// Partitions of a topic to tell of.
    pub struct QuorumTopic {
        /// Its name.
        topic_name: Text,
        /// The partitions.
        partitions: Vec<QuorumPartition>,
    }

    /// A partition to tell of.
    pub struct QuorumPartition {
        /// The partition's index.
        partition_index: i32,
    }

    /// The quorum.
    pub struct DescribeQuorumResponse {
        /// Whether the whole request failed.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<Text> [2..] = Some(Text::default()),
        /// By topic.
        topics: Vec<TopicData>,
        /// The nodes named above.
        nodes: Vec<Node> [2..],
    }

    /// The quorum of a topic.
    pub struct TopicData {
        /// Its name.
        topic_name: Text,
        /// By partition.
        partitions: Vec<PartitionData>,
    }

    /// The quorum of a partition.
    pub struct PartitionData {
        /// The partition's index.
        partition_index: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> [2..] = Some(Text::default()),
        /// The leader; -1 if unknown.
        leader_id: i32,
        /// Its epoch.
        leader_epoch: i32,
        /// The high watermark.
        high_watermark: i64,
        /// Those who vote.
        current_voters: Vec<ReplicaState>,
        /// Those who only follow.
        observers: Vec<ReplicaState>,
    }

    /// How far a replica is.
    pub struct ReplicaState {
        /// The replica.
        replica_id: i32,
        /// Its directory.
        replica_directory_id: Uuid [2..],
        /// Its end; -1 if unknown.
        log_end_offset: i64,
        /// When it last fetched, in milliseconds; -1 for the leader.
        last_fetch_timestamp: i64 [1..] = -1,
        /// When it last had everything, in milliseconds; for the leader now.
        last_caught_up_timestamp: i64 [1..] = -1,
    }

    /// A node of the quorum.
    pub struct Node {
        /// Its id.
        node_id: i32,
        /// Its addresses.
        listeners: Vec<Listener>,
    }

    /// An address of a node.
    pub struct Listener {
        /// The listener's name.
        name: Text,
        /// The host.
        host: Text,
        /// The port.
        port: u16,
    }
}
