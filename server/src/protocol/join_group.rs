//! JoinGroup (key 11), versions 0-9: a member of a classic group wants to take part in the next generation.
//!
//! v1 rebalance timeout; v2 throttle time; v4 MEMBER_ID_REQUIRED (KIP-394); v5 static members (KIP-345); v6 flexible; v7 protocol type in
//! the answer (KIP-559); v8 a reason (KIP-800); v9 the leader may skip the assignment (KIP-814).

use bytes::Bytes;

use super::{ErrorCode, Text, api, message};

api! {
    /// JoinGroup.
    JoinGroup = 11, versions 0..=9, flexible from 6, JoinGroupRequest => JoinGroupResponse
}

message! {
    /// Who wants to join.
    pub struct JoinGroupRequest {
        /// The group.
        group_id: Text,
        /// After how long without a heartbeat the member is gone, in milliseconds.
        session_timeout_ms: i32,
        /// How long it may take to join again, in milliseconds.
        rebalance_timeout_ms: i32 [1..] = -1,
        /// The member; empty for who has no id yet.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text> [5..],
        /// What kind of group this is.
        protocol_type: Text,
        /// The protocols that the member can do, the best first.
        protocols: Vec<JoinGroupRequestProtocol>,
        /// Why it joins.
        reason: Option<Text> [8..],
    }

    /// A protocol that a member can do.
    pub struct JoinGroupRequestProtocol {
        /// Its name.
        name: Text,
        /// What the leader is to know of the member.
        metadata: Bytes,
    }

    /// The generation.
    pub struct JoinGroupResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [2..],
        /// What is wrong.
        error_code: ErrorCode,
        /// The generation.
        generation_id: i32 = -1,
        /// What kind of group this is.
        protocol_type: Option<Text> [7..],
        /// The protocol of this generation.
        protocol_name: Option<Text> = Some(Text::default()),
        /// The member that assigns.
        leader: Text,
        /// Whether the leader may leave the assignment as it is.
        skip_assignment: bool [9..],
        /// The member.
        member_id: Text,
        /// For the leader: all members.
        members: Vec<JoinGroupResponseMember>,
    }

    /// A member of the generation.
    pub struct JoinGroupResponseMember {
        /// The member.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text> [5..],
        /// What it told with the protocol.
        metadata: Bytes,
    }
}
