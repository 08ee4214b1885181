//! ListGroups (key 16), versions 0-5: the groups of a broker.
//!
//! v1 throttle time; v3 flexible; v4 states (KIP-518); v5 types (KIP-848).

use super::{ErrorCode, Text, api, message};

api! {
    /// ListGroups.
    ListGroups = 16, versions 0..=5, flexible from 3, ListGroupsRequest => ListGroupsResponse
}

message! {
    /// Which groups are asked for.
    pub struct ListGroupsRequest {
        /// Those in these states; none for all.
        states_filter: Vec<Text> [4..],
        /// Those of these types; none for all.
        types_filter: Vec<Text> [5..],
    }

    /// The groups.
    pub struct ListGroupsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What is wrong.
        error_code: ErrorCode,
        /// Each.
        groups: Vec<ListedGroup>,
    }

    /// A group.
    pub struct ListedGroup {
        /// The group.
        group_id: Text,
        /// What kind of group it is.
        protocol_type: Text,
        /// Its state.
        group_state: Text [4..],
        /// Its type.
        group_type: Text [5..],
    }
}
