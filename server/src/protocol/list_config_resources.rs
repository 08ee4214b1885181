//! ListConfigResources (key 74), versions 0-1: what has settings (KIP-714, KIP-1142).
//!
//! v0 knows telemetry subscriptions only.

use super::{ErrorCode, Text, api, message};

api! {
    /// ListConfigResources.
    ListConfigResources = 74, versions 0..=1, flexible from 0, ListConfigResourcesRequest => ListConfigResourcesResponse
}

message! {
    /// Which resources to list.
    pub struct ListConfigResourcesRequest {
        /// Their types (`ConfigResource.Type`); empty for all.
        resource_types: Vec<i8> [1..],
    }

    /// The resources.
    pub struct ListConfigResourcesResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// The resources.
        config_resources: Vec<ConfigResource>,
    }

    /// A resource.
    pub struct ConfigResource {
        /// Its name.
        resource_name: Text,
        /// Its type.
        resource_type: i8 [1..] = 16,
    }
}
