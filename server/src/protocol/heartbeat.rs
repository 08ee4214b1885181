//! Heartbeat (key 12), versions 0-4: a member of a classic group is alive.
//!
//! v1 throttle time; v3 static members (KIP-345); v4 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// Heartbeat.
    Heartbeat = 12, versions 0..=4, flexible from 4, HeartbeatRequest => HeartbeatResponse
}

message! {
    /// Who is alive.
    pub struct HeartbeatRequest {
        /// The group.
        group_id: Text,
        /// The generation.
        generation_id: i32,
        /// The member.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text> [3..],
    }

    /// How the group is.
    pub struct HeartbeatResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What is wrong.
        error_code: ErrorCode,
    }
}
