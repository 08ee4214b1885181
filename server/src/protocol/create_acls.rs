//! CreateAcls (key 30), versions 1-3.
//!
//! v2 flexible; v3 adds a resource type (users, KIP-373).

use super::{ErrorCode, Text, api, message};

api! {
    /// CreateAcls.
    CreateAcls = 30, versions 1..=3, flexible from 2, CreateAclsRequest => CreateAclsResponse
}

message! {
    /// Entries to add.
    pub struct CreateAclsRequest {
        /// The entries.
        creations: Vec<AclCreation>,
    }

    /// An entry to add.
    pub struct AclCreation {
        /// The type of resource.
        resource_type: i8,
        /// The resource's name.
        resource_name: Text,
        /// How the name is matched.
        resource_pattern_type: i8 = 3,
        /// The principal.
        principal: Text,
        /// The host.
        host: Text,
        /// The operation.
        operation: i8,
        /// Allowed or denied.
        permission_type: i8,
    }

    /// What became of them.
    pub struct CreateAclsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By entry, in the order of the request.
        results: Vec<AclCreationResult>,
    }

    /// What became of an entry.
    pub struct AclCreationResult {
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
    }
}
