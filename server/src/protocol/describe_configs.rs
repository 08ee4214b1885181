//! DescribeConfigs (key 32), versions 1-4: the settings of topics, brokers, groups and telemetry subscriptions.
//!
//! v1 synonyms (KIP-226); v2 throttled after the answer (KIP-219); v3 type and documentation (KIP-569); v4 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeConfigs.
    DescribeConfigs = 32, versions 1..=4, flexible from 4, DescribeConfigsRequest => DescribeConfigsResponse
}

message! {
    /// Resources whose settings are wanted.
    pub struct DescribeConfigsRequest {
        /// The resources.
        resources: Vec<DescribeConfigsResource>,
        /// Whether to tell what else would give a value.
        include_synonyms: bool,
        /// Whether to tell what a setting means.
        include_documentation: bool [3..],
    }

    /// A resource whose settings are wanted.
    pub struct DescribeConfigsResource {
        /// Its type (`ConfigResource.Type`).
        resource_type: i8,
        /// Its name.
        resource_name: Text,
        /// The settings; null for all.
        configuration_keys: Option<Vec<Text>> = Some(Vec::new()),
    }

    /// The settings.
    pub struct DescribeConfigsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// By resource, in the order of the request.
        results: Vec<DescribeConfigsResult>,
    }

    /// The settings of a resource.
    pub struct DescribeConfigsResult {
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
        /// Its type.
        resource_type: i8,
        /// Its name.
        resource_name: Text,
        /// The settings.
        configs: Vec<DescribeConfigsResourceResult>,
    }

    /// A setting.
    pub struct DescribeConfigsResourceResult {
        /// Its name.
        name: Text,
        /// Its value; null where it has none or is secret.
        value: Option<Text> = Some(Text::default()),
        /// Whether it cannot be changed.
        read_only: bool,
        /// Where its value comes from (`DescribeConfigsResponse.ConfigSource`).
        config_source: i8 = -1,
        /// Whether it is secret.
        is_sensitive: bool,
        /// What gives a value, the first goes before the others.
        synonyms: Vec<DescribeConfigsSynonym>,
        /// Its type (`DescribeConfigsResponse.ConfigType`).
        config_type: i8 [3..],
        /// What it means.
        documentation: Option<Text> [3..] = Some(Text::default()),
    }

    /// What gives a setting a value.
    pub struct DescribeConfigsSynonym {
        /// The setting's name there.
        name: Text,
        /// The value.
        value: Option<Text> = Some(Text::default()),
        /// Where it comes from.
        source: i8,
    }
}
