//! CreateTopics (key 19), versions 2-7.
//!
//! v4 partitions and replication factor may be -1, the broker's default (KIP-464); v5 flexible, the answer tells the settings
//! (KIP-525); v6 may be throttled (KIP-599); v7 the answer tells the topic's id (KIP-516).

use corelog_engine::TopicId;

use super::{ErrorCode, Text, api, message};

api! {
    /// CreateTopics.
    CreateTopics = 19, versions 2..=7, flexible from 5, CreateTopicsRequest => CreateTopicsResponse
}

message! {
    /// Topics to create.
    pub struct CreateTopicsRequest {
        /// The topics.
        topics: Vec<CreatableTopic>,
        /// How long to wait for it, in milliseconds.
        timeout_ms: i32 = 60_000,
        /// Only say whether it would work.
        validate_only: bool,
    }

    /// A topic to create.
    pub struct CreatableTopic {
        /// Its name.
        name: Text,
        /// The number of partitions; -1 for the default, or where they are assigned.
        num_partitions: i32,
        /// The number of replicas; -1 for the default, or where they are assigned.
        replication_factor: i16,
        /// Which broker holds what; empty leaves it to the controller.
        assignments: Vec<CreatableReplicaAssignment>,
        /// Settings.
        configs: Vec<CreatableTopicConfig>,
    }

    /// The brokers of a partition.
    pub struct CreatableReplicaAssignment {
        /// The partition.
        partition_index: i32,
        /// The brokers, the preferred leader first.
        broker_ids: Vec<i32>,
    }

    /// A setting of a topic to create.
    pub struct CreatableTopicConfig {
        /// Its name.
        name: Text,
        /// Its value.
        value: Option<Text>,
    }

    /// What became of them.
    pub struct CreateTopicsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// The topics, in the order of the request.
        topics: Vec<CreatableTopicResult>,
    }

    /// A topic that was created, or not.
    pub struct CreatableTopicResult {
        /// Its name.
        name: Text,
        /// Its id.
        topic_id: TopicId [7..],
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text>,
        /// Why the settings are not told.
        topic_config_error_code: ErrorCode [5.., tag 0],
        /// The number of partitions; -1 where it failed.
        num_partitions: i32 [5..] = -1,
        /// The number of replicas; -1 where it failed.
        replication_factor: i16 [5..] = -1,
        /// All settings of the topic.
        configs: Option<Vec<CreatableTopicConfigs>> [5..] = Some(Vec::new()),
    }

    /// A setting of a created topic.
    pub struct CreatableTopicConfigs {
        /// Its name.
        name: Text,
        /// Its value.
        value: Option<Text>,
        /// Whether it cannot be changed.
        read_only: bool,
        /// Where its value comes from (`DescribeConfigsResponse.ConfigSource`): 1 the topic, 4 server.properties, 5 the default.
        config_source: i8 = -1,
        /// Whether it is secret.
        is_sensitive: bool,
    }
}
