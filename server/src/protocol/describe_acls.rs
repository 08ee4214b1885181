//! DescribeAcls (key 29), versions 1-3.
//!
//! v2 flexible; v3 adds a resource type (users, KIP-373).

use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeAcls.
    DescribeAcls = 29, versions 1..=3, flexible from 2, DescribeAclsRequest => DescribeAclsResponse
}

message! {
    /// Which entries to tell of.
    pub struct DescribeAclsRequest {
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

    /// The entries.
    pub struct DescribeAclsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
        /// By resource.
        resources: Vec<DescribeAclsResource>,
    }

    /// The entries of a resource.
    pub struct DescribeAclsResource {
        /// Its type.
        resource_type: i8,
        /// Its name.
        resource_name: Text,
        /// How the name is matched.
        pattern_type: i8 = 3,
        /// The entries.
        acls: Vec<AclDescription>,
    }

    /// An entry.
    pub struct AclDescription {
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
