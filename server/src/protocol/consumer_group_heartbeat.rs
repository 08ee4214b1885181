//! ConsumerGroupHeartbeat (key 68), versions 0-1: the one request by which a member joins, lives in and leaves a group whose
//! assignment the broker makes (KIP-848).
//!
//! v1 subscriptions by regular expression, and the client makes the member's id (KIP-1082).

use corelog_engine::TopicId;

use super::{ErrorCode, Text, api, message, nullable_message};

api! {
    /// ConsumerGroupHeartbeat.
    ConsumerGroupHeartbeat = 68, versions 0..=1, flexible from 0, ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse
}

message! {
    /// How a member is. What is null did not change since it was last told.
    pub struct ConsumerGroupHeartbeatRequest {
        /// The group.
        group_id: Text,
        /// The member.
        member_id: Text,
        /// Its epoch; 0 to join, -1 to leave, -2 to leave for a while as a static member.
        member_epoch: i32,
        /// The static member's name.
        instance_id: Option<Text>,
        /// Its rack.
        rack_id: Option<Text>,
        /// How long it may take to give partitions up, in milliseconds; -1 for what it was.
        rebalance_timeout_ms: i32 = -1,
        /// The topics it wants.
        subscribed_topic_names: Option<Vec<Text>>,
        /// The expression that names of the topics it wants match.
        subscribed_topic_regex: Option<Text> [1..],
        /// The assignor it wants.
        server_assignor: Option<Text>,
        /// What it owns.
        topic_partitions: Option<Vec<TopicPartitions>>,
    }

    /// Partitions of a topic.
    pub struct TopicPartitions {
        /// The topic.
        topic_id: TopicId,
        /// The partitions.
        partitions: Vec<i32>,
    }

    /// What the member is to do.
    pub struct ConsumerGroupHeartbeatResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text>,
        /// The member.
        member_id: Option<Text>,
        /// Its epoch.
        member_epoch: i32,
        /// After how long it is to tell again, in milliseconds.
        heartbeat_interval_ms: i32,
        /// What it is to own; null if that did not change.
        assignment: Option<Assignment>,
    }

    /// What a member is to own.
    pub struct Assignment {
        /// By topic.
        topic_partitions: Vec<TopicPartitions>,
    }
}

nullable_message!(Assignment);
