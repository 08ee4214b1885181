//! Metadata (key 3), versions 0-13: brokers, topics, partitions and their leaders.
//!
//! v1 null asks for all topics (v0: an empty list does), racks, controller; v2 cluster id; v4 auto-creation is the client's
//! choice (before, it always creates); v5 offline replicas; v7 leader epoch (KIP-320); v8-10 authorized operations of the cluster
//! (KIP-430), v8 of topics; v9 flexible; v10 topic ids (KIP-516); v12 topics by id; v13 a top-level error (KIP-1102).

use corelog_engine::TopicId;

use super::{ErrorCode, Text, api, message};

api! {
    /// Metadata.
    Metadata = 3, versions 0..=13, flexible from 9, MetadataRequest => MetadataResponse
}

/// Authorized operations that were not asked for.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

message! {
    /// What the client wants to know.
    pub struct MetadataRequest {
        /// The topics; null for all, none for only the brokers (v0: none for all).
        topics: Option<Vec<MetadataRequestTopic>>,
        /// Whether topics that do not exist may be created.
        allow_auto_topic_creation: bool [4..] = true,
        /// Whether to tell what the client may do to the cluster.
        include_cluster_authorized_operations: bool [8..=10],
        /// Whether to tell what the client may do to the topics.
        include_topic_authorized_operations: bool [8..],
    }

    /// A topic the client wants to know about.
    pub struct MetadataRequestTopic {
        /// Its id; zero if it is named.
        topic_id: TopicId [10..],
        /// Its name; null if the id is given.
        name: Option<Text>,
    }

    /// What there is.
    pub struct MetadataResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [3..],
        /// The brokers.
        brokers: Vec<MetadataResponseBroker>,
        /// The cluster's id.
        cluster_id: Option<Text> [2..],
        /// The broker to send administration to; -1 if unknown.
        controller_id: i32 [1..] = -1,
        /// The topics.
        topics: Vec<MetadataResponseTopic>,
        /// What the client may do to the cluster, as a bit set.
        cluster_authorized_operations: i32 [8..=10] = OPERATIONS_NOT_ASKED,
        /// Whether the whole request failed.
        error_code: ErrorCode [13..],
    }

    /// A broker.
    pub struct MetadataResponseBroker {
        /// Its id.
        node_id: i32,
        /// Its host.
        host: Text,
        /// Its port.
        port: i32,
        /// Its rack.
        rack: Option<Text> [1..],
    }

    /// A topic.
    pub struct MetadataResponseTopic {
        /// What is wrong with it.
        error_code: ErrorCode,
        /// Its name; null only for an unknown id (v12).
        name: Option<Text>,
        /// Its id.
        topic_id: TopicId [10..],
        /// Whether it belongs to the broker itself.
        is_internal: bool [1..],
        /// Its partitions.
        partitions: Vec<MetadataResponsePartition>,
        /// What the client may do to it, as a bit set.
        topic_authorized_operations: i32 [8..] = OPERATIONS_NOT_ASKED,
    }

    /// A partition.
    pub struct MetadataResponsePartition {
        /// What is wrong with it.
        error_code: ErrorCode,
        /// Its index.
        partition_index: i32,
        /// The leading broker.
        leader_id: i32,
        /// The leader's epoch.
        leader_epoch: i32 [7..] = -1,
        /// The brokers that hold it.
        replica_nodes: Vec<i32>,
        /// Those in sync.
        isr_nodes: Vec<i32>,
        /// Those offline.
        offline_replicas: Vec<i32> [5..],
    }
}
