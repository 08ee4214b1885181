//! AlterConfigs (key 33), versions 0-2: replaces all settings of resources. Deprecated, but a 4.x broker has it.
//!
//! v1 throttled after the answer (KIP-219); v2 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// AlterConfigs.
    AlterConfigs = 33, versions 0..=2, flexible from 2, AlterConfigsRequest => AlterConfigsResponse
}

message! {
    /// Resources and all the settings that they are to have.
    pub struct AlterConfigsRequest {
        /// The resources.
        resources: Vec<AlterConfigsResource>,
        /// Only say whether it would work.
        validate_only: bool,
    }

    /// A resource and all the settings that it is to have.
    pub struct AlterConfigsResource {
        /// Its type (`ConfigResource.Type`).
        resource_type: i8,
        /// Its name.
        resource_name: Text,
        /// The settings.
        configs: Vec<AlterableConfig>,
    }

    /// A setting.
    pub struct AlterableConfig {
        /// Its name.
        name: Text,
        /// Its value.
        value: Option<Text> = Some(Text::default()),
    }

    /// What became of them.
    pub struct AlterConfigsResponse {
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
