//! DescribeGroups (key 15), versions 0-6: classic groups with their members.
//!
//! v1 throttle time; v3 authorized operations (KIP-430); v4 static members (KIP-345); v5 flexible; v6 GROUP_ID_NOT_FOUND, with words
//! (KIP-1043); before, an unknown group is a dead one.

use bytes::Bytes;

use super::metadata::OPERATIONS_NOT_ASKED;
use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeGroups.
    DescribeGroups = 15, versions 0..=6, flexible from 5, DescribeGroupsRequest => DescribeGroupsResponse
}

message! {
    /// The groups that are asked for.
    pub struct DescribeGroupsRequest {
        /// Their ids.
        groups: Vec<Text>,
        /// Whether to tell what the client may do to them.
        include_authorized_operations: bool [3..],
    }

    /// The groups.
    pub struct DescribeGroupsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// Each.
        groups: Vec<DescribedGroup>,
    }

    /// A group.
    pub struct DescribedGroup {
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> [6..],
        /// The group.
        group_id: Text,
        /// Its state.
        group_state: Text,
        /// What kind of group it is.
        protocol_type: Text,
        /// The protocol of its generation.
        protocol_data: Text,
        /// Its members.
        members: Vec<DescribedGroupMember>,
        /// What the client may do to it, as a bit set.
        authorized_operations: i32 [3..] = OPERATIONS_NOT_ASKED,
    }

    /// A member.
    pub struct DescribedGroupMember {
        /// The member.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text> [4..],
        /// What its client calls itself.
        client_id: Text,
        /// From where it speaks.
        client_host: Text,
        /// What it told with the protocol.
        member_metadata: Bytes,
        /// What it was given.
        member_assignment: Bytes,
    }
}
