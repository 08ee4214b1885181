//! ConsumerGroupDescribe (key 69), versions 0-1: groups whose assignment the broker makes, with their members (KIP-848).
//!
//! v1 by which protocol each member takes part (KIP-1099).

use corelog_engine::TopicId;

use super::metadata::OPERATIONS_NOT_ASKED;
use super::{ErrorCode, Text, api, message};

api! {
    /// ConsumerGroupDescribe.
    ConsumerGroupDescribe = 69, versions 0..=1, flexible from 0, ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse
}

/// A member that takes part by the classic protocol.
pub const MEMBER_CLASSIC: i8 = 0;
/// A member that takes part by heartbeats alone.
pub const MEMBER_CONSUMER: i8 = 1;

message! {
    /// The groups that are asked for.
    pub struct ConsumerGroupDescribeRequest {
        /// Their ids.
        group_ids: Vec<Text>,
        /// Whether to tell what the client may do to them.
        include_authorized_operations: bool,
    }

    /// The groups.
    pub struct ConsumerGroupDescribeResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// Each.
        groups: Vec<DescribedGroup>,
    }

    /// A group.
    pub struct DescribedGroup {
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text>,
        /// The group.
        group_id: Text,
        /// Its state.
        group_state: Text,
        /// Counts what changed in it.
        group_epoch: i32,
        /// The epoch for which the target assignment was made.
        assignment_epoch: i32,
        /// The assignor.
        assignor_name: Text,
        /// Its members.
        members: Vec<Member>,
        /// What the client may do to it, as a bit set.
        authorized_operations: i32 = OPERATIONS_NOT_ASKED,
    }

    /// A member.
    pub struct Member {
        /// The member.
        member_id: Text,
        /// The static member's name.
        instance_id: Option<Text>,
        /// Its rack.
        rack_id: Option<Text>,
        /// Its epoch.
        member_epoch: i32,
        /// What its client calls itself.
        client_id: Text,
        /// From where it speaks.
        client_host: Text,
        /// The topics it wants.
        subscribed_topic_names: Vec<Text>,
        /// The expression that names of the topics it wants match.
        subscribed_topic_regex: Option<Text>,
        /// What it owns.
        assignment: Assignment,
        /// What it is to own.
        target_assignment: Assignment,
        /// By which protocol it takes part; -1 if unknown.
        member_type: i8 [1..] = -1,
    }

    /// What a member owns.
    pub struct Assignment {
        /// By topic.
        topic_partitions: Vec<TopicPartitions>,
    }

    /// Partitions of a topic.
    pub struct TopicPartitions {
        /// The topic.
        topic_id: TopicId,
        /// Its name.
        topic_name: Text,
        /// The partitions.
        partitions: Vec<i32>,
    }
}
