//! DeleteTopics (key 20), versions 1-6.
//!
//! v4 flexible; v5 error messages and throttling (KIP-599); v6 by topic id (KIP-516).

use corelog_engine::TopicId;

use super::{ErrorCode, Text, api, message};

api! {
    /// DeleteTopics.
    DeleteTopics = 20, versions 1..=6, flexible from 4, DeleteTopicsRequest => DeleteTopicsResponse
}

message! {
    /// Topics to delete.
    pub struct DeleteTopicsRequest {
        /// By name or id.
        topics: Vec<DeleteTopicState> [6..],
        /// By name.
        topic_names: Vec<Text> [..=5],
        /// How long to wait for it, in milliseconds.
        timeout_ms: i32,
    }

    /// A topic to delete.
    pub struct DeleteTopicState {
        /// Its name; null if the id is given.
        name: Option<Text>,
        /// Its id; zero if the name is given.
        topic_id: TopicId,
    }

    /// What became of them.
    pub struct DeleteTopicsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// The topics.
        responses: Vec<DeletableTopicResult>,
    }

    /// A topic that was deleted, or not.
    pub struct DeletableTopicResult {
        /// Its name; null where the id is unknown (v6).
        name: Option<Text>,
        /// Its id.
        topic_id: TopicId [6..],
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> [5..],
    }
}
