//! DescribeCluster (key 60), versions 0-2: the nodes (KIP-700).
//!
//! v1 brokers or controllers (KIP-919); v2 fenced brokers (KIP-1073).

use super::metadata::OPERATIONS_NOT_ASKED;
use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeCluster.
    DescribeCluster = 60, versions 0..=2, flexible from 0, DescribeClusterRequest => DescribeClusterResponse
}

message! {
    /// What to tell.
    pub struct DescribeClusterRequest {
        /// Whether to tell what the client may do.
        include_cluster_authorized_operations: bool,
        /// 1 for brokers, 2 for controllers.
        endpoint_type: i8 [1..] = 1,
        /// Whether to tell of brokers that may not lead.
        include_fenced_brokers: bool [2..],
    }

    /// The nodes.
    pub struct DescribeClusterResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text>,
        /// 1 for brokers, 2 for controllers.
        endpoint_type: i8 [1..] = 1,
        /// The cluster's id.
        cluster_id: Text,
        /// The controller; -1 if unknown.
        controller_id: i32 = -1,
        /// The nodes.
        brokers: Vec<DescribeClusterBroker>,
        /// What the client may do, as bits by `AclOperation`.
        cluster_authorized_operations: i32 = OPERATIONS_NOT_ASKED,
    }

    /// A node.
    pub struct DescribeClusterBroker {
        /// Its id.
        broker_id: i32,
        /// Its host.
        host: Text,
        /// Its port.
        port: i32,
        /// Its rack.
        rack: Option<Text>,
        /// Whether it may not lead.
        is_fenced: bool [2..],
    }
}
