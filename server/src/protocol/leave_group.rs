//! LeaveGroup (key 13), versions 0-5: members leave a group.
//!
//! v1 throttle time; v3 many members at once, static ones by name (KIP-345); v4 flexible; v5 a reason (KIP-800).

use super::{ErrorCode, Text, api, message};

api! {
    /// LeaveGroup.
    LeaveGroup = 13, versions 0..=5, flexible from 4, LeaveGroupRequest => LeaveGroupResponse
}

message! {
    /// Who leaves.
    pub struct LeaveGroupRequest {
        /// The group.
        group_id: Text,
        /// The member.
        member_id: Text [..=2],
        /// The members.
        members: Vec<MemberIdentity> [3..],
    }

    /// A member that leaves.
    pub struct MemberIdentity {
        /// The member; empty for a static one of which only the name is known.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text>,
        /// Why.
        reason: Option<Text> [5..],
    }

    /// What became of it.
    pub struct LeaveGroupResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What is wrong.
        error_code: ErrorCode,
        /// By member.
        members: Vec<MemberResponse> [3..],
    }

    /// What became of a member's leaving.
    pub struct MemberResponse {
        /// The member.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text>,
        /// What is wrong.
        error_code: ErrorCode,
    }
}
