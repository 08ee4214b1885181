//! IncrementalAlterConfigs (key 44), versions 0-1: changes single settings of resources (KIP-339).
//!
//! v1 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// IncrementalAlterConfigs.
    IncrementalAlterConfigs = 44, versions 0..=1, flexible from 1, IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse
}

message! {
    /// Resources and what is to change of them.
    pub struct IncrementalAlterConfigsRequest {
        /// The resources.
        resources: Vec<AlterConfigsResource>,
        /// Only say whether it would work.
        validate_only: bool,
    }

    /// A resource and what is to change of it.
    pub struct AlterConfigsResource {
        /// Its type (`ConfigResource.Type`).
        resource_type: i8,
        /// Its name.
        resource_name: Text,
        /// The changes.
        configs: Vec<AlterableConfig>,
    }

    /// A change of a setting.
    pub struct AlterableConfig {
        /// The setting.
        name: Text,
        /// What is done to it (`AlterConfigOp.OpType`): 0 set, 1 delete, 2 append, 3 subtract.
        config_operation: i8,
        /// The value.
        value: Option<Text> = Some(Text::default()),
    }

    /// What became of them.
    pub struct IncrementalAlterConfigsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By resource, in the order of the request.
        responses: Vec<AlterConfigsResourceResponse>,
    }

    /// What became of a resource.
    pub struct AlterConfigsResourceResponse {
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
        /// Its type.
        resource_type: i8,
        /// Its name.
        resource_name: Text,
    }
}
