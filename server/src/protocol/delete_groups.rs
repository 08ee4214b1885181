//! DeleteGroups (key 42), versions 0-2: groups with no members are forgotten, with their offsets.
//!
//! v1 same; v2 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// DeleteGroups.
    DeleteGroups = 42, versions 0..=2, flexible from 2, DeleteGroupsRequest => DeleteGroupsResponse
}

message! {
    /// The groups to forget.
    pub struct DeleteGroupsRequest {
        /// Their ids.
        groups_names: Vec<Text>,
    }

    /// What became of them.
    pub struct DeleteGroupsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By group.
        results: Vec<DeletableGroupResult>,
    }

    /// What became of a group.
    pub struct DeletableGroupResult {
        /// The group.
        group_id: Text,
        /// What is wrong.
        error_code: ErrorCode,
    }
}
