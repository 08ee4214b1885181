//! What consumers tell each other through a classic group of the type `consumer`: subscriptions and assignments.
//!
//! The broker looks into them only to know which topics a group still reads, and where a group moves between the two
//! protocols; groups of other types are never looked into.

use bytes::Bytes;

use crate::protocol::{DecodeError, Reader, Text, Wire, Writer, message};

/// The type of groups of consumers.
pub(super) const CONSUMER: &str = "consumer";
/// The last version of both messages.
const VERSION_MAX: i16 = 3;

message! {
    /// What a consumer wants.
    pub struct Subscription {
        /// The topics.
        topics: Vec<Text>,
        /// What the client's assignor wants to know.
        user_data: Option<Bytes>,
        /// What it owns.
        owned_partitions: Vec<ConsumerPartitions> [1..],
        /// The generation in which it came to own that.
        generation_id: i32 [2..] = -1,
        /// Its rack.
        rack_id: Option<Text> [3..],
    }

    /// What a consumer gets.
    pub struct ConsumerAssignment {
        /// The partitions.
        assigned_partitions: Vec<ConsumerPartitions>,
        /// What the client's assignor wants to tell.
        user_data: Option<Bytes>,
    }

    /// Partitions of a topic.
    pub struct ConsumerPartitions {
        /// The topic.
        topic: Text,
        /// The partitions.
        partitions: Vec<i32>,
    }
}

impl Subscription {
    /// Reads a subscription of any version; a newer one is read as the last that is known, as Kafka's clients do.
    pub(super) fn decode(bytes: &Bytes) -> Result<(i16, Subscription), DecodeError> {
        decode(bytes)
    }
}

impl ConsumerAssignment {
    /// Reads an assignment of any version.
    pub(super) fn decode(bytes: &Bytes) -> Result<ConsumerAssignment, DecodeError> {
        Ok(decode(bytes)?.1)
    }

    /// Writes it in this version.
    pub(super) fn encode(&self, version: i16) -> Bytes {
        let mut writer = Writer::frame();
        version.write(&mut writer);
        writer.set_version(version, false);
        self.write(&mut writer);
        writer.finish().to_bytes().slice(4..)
    }
}

fn decode<T: Wire>(bytes: &Bytes) -> Result<(i16, T), DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version: i16 = reader.field("version")?;
    let version = version.min(VERSION_MAX);
    reader.set_version(version, false);
    Ok((version, T::read(&mut reader)?))
}
