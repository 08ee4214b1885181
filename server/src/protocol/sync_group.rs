//! SyncGroup (key 14), versions 0-5: the leader of a classic group hands in the assignment, everyone gets theirs.
//!
//! v1 throttle time; v3 static members (KIP-345); v4 flexible; v5 protocol type and name (KIP-559).

use bytes::Bytes;

use super::{ErrorCode, Text, api, message};

api! {
    /// SyncGroup.
    SyncGroup = 14, versions 0..=5, flexible from 4, SyncGroupRequest => SyncGroupResponse
}

message! {
    /// A member that wants its assignment.
    pub struct SyncGroupRequest {
        /// The group.
        group_id: Text,
        /// The generation.
        generation_id: i32,
        /// The member.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text> [3..],
        /// What kind of group the member takes it for.
        protocol_type: Option<Text> [5..],
        /// The protocol that it takes the generation to have.
        protocol_name: Option<Text> [5..],
        /// From the leader: who gets what.
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// What a member gets.
    pub struct SyncGroupRequestAssignment {
        /// The member.
        member_id: Text,
        /// What it gets.
        assignment: Bytes,
    }

    /// The assignment.
    pub struct SyncGroupResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What is wrong.
        error_code: ErrorCode,
        /// What kind of group this is.
        protocol_type: Option<Text> [5..],
        /// The protocol of the generation.
        protocol_name: Option<Text> [5..],
        /// What the member gets.
        assignment: Bytes,
    }
}
