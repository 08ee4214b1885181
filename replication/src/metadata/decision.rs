//! What a decision is, and how it refuses.

use std::fmt;

use super::record::MetadataRecord;

/// Records to append, and the reply that goes out once they are safe. Without records the reply may go at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision changes nothing until its records are in the log"]
pub struct Decision<R> {
    /// The change.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub reply: R,
}

impl<R> Decision<R> {
    /// An answer that changes nothing.
    pub fn only(reply: R) -> Decision<R> {
        Decision { records: Vec::new(), reply }
    }
}

/// Why a change of metadata is refused; [`Refusal::code`] is Kafka's error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No topic of that name.
    UnknownTopic,
    /// No topic of that id.
    UnknownTopicId,
    /// The name is not allowed.
    InvalidTopic,
    /// The topic exists.
    TopicExists,
    /// The number of partitions is not possible.
    InvalidPartitions,
    /// The number of replicas is not possible.
    InvalidReplicationFactor,
    /// The replicas named are not possible.
    InvalidReplicaAssignment,
    /// A setting is unknown or malformed.
    InvalidConfig,
    /// The request contradicts itself.
    InvalidRequest,
    /// The request is larger than this cluster allows.
    PolicyViolation,
    /// A feature cannot have this level.
    InvalidUpdateVersion,
    /// A newer incarnation of the broker is registered.
    StaleBrokerEpoch,
}

impl Refusal {
    /// The error code on the wire (`org.apache.kafka.common.protocol.Errors`).
    pub fn code(self) -> i16 {
        match self {
            Refusal::UnknownTopic => 3,
            Refusal::InvalidTopic => 17,
            Refusal::TopicExists => 36,
            Refusal::InvalidPartitions => 37,
            Refusal::InvalidReplicationFactor => 38,
            Refusal::InvalidReplicaAssignment => 39,
            Refusal::InvalidConfig => 40,
            Refusal::InvalidRequest => 42,
            Refusal::PolicyViolation => 44,
            Refusal::StaleBrokerEpoch => 77,
            Refusal::InvalidUpdateVersion => 95,
            Refusal::UnknownTopicId => 100,
        }
    }
}

/// A refused change, with the sentence that the client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataError {
    /// Why.
    pub refusal: Refusal,
    /// What is wrong, with its numbers and names.
    pub message: String,
}

impl MetadataError {
    /// A refusal with its sentence.
    pub fn new(refusal: Refusal, message: impl Into<String>) -> MetadataError {
        MetadataError { refusal, message: message.into() }
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for MetadataError {}
