//! DeleteAcls (key 31), versions 1-3.
//!
//! v2 flexible; v3 adds a resource type (users, KIP-373).

use super::{ErrorCode, Text, api, message};

api! {
    /// DeleteAcls.
    DeleteAcls = 31, versions 1..=3, flexible from 2, DeleteAclsRequest => DeleteAclsResponse
}

message! {
    /// Entries to remove.
    pub struct DeleteAclsRequest {
        /// Which.
        filters: Vec<DeleteAclsFilter>,
    }

    /// Which entries to remove.
    pub struct DeleteAclsFilter {
        /// The type of resource.
        resource_type_filter: i8,
        /// The resource's name; null for any.
        resource_name_filter: Option<Text> = Some(Text::default()),
        /// How the name is matched.
        pattern_type_filter: i8 = 3,
        /// The principal; null for any.
        principal_filter: Option<Text> = Some(Text::default()),
        /// The host; null for any.
        host_filter: Option<Text> = Some(Text::default()),
        /// The operation.
        operation: i8,
        /// Allowed or denied.
        permission_type: i8,
    }

    /// What became of them.
    pub struct DeleteAclsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By filter, in the order of the request.
        filter_results: Vec<DeleteAclsFilterResult>,
    }

    /// The entries that matched a filter.
    pub struct DeleteAclsFilterResult {
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
        /// The entries.
        matching_acls: Vec<DeleteAclsMatchingAcl>,
    }

    /// An entry that matched.
    pub struct DeleteAclsMatchingAcl {
        /// Why it was not removed.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<Text> = Some(Text::default()),
        /// The type of resource.
        resource_type: i8,
        /// The resource's name.
        resource_name: Text,
        /// How the name is matched.
        pattern_type: i8 = 3,
        /// The principal.
        principal: Text,
        /// The host.
        host: Text,
        /// The operation.
        operation: i8,
        /// Allowed or denied.
        permission_type: i8,
    }
}
