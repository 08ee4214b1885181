//! What a coordinator writes to `__consumer_offsets`: Kafka's own records, byte for byte (its `group-coordinator` schemas).
//!
//! A key begins with the record's type, a value with its version; a key without a value forgets what it names. Types of a
//! newer coordinator are passed over, as Kafka does, and so is the one that Kafka 4.1 gave up (4).

use bytes::Bytes;
use corelog_engine::TopicId;

use crate::protocol::{DecodeError, Reader, Reason, Text, Wire, Writer, message, nullable_message};

message! {
    /// Names a committed offset.
    pub struct OffsetKey {
        /// The group.
        group: Text,
        /// The topic.
        topic: Text,
        /// The partition.
        partition: i32,
    }

    /// A committed offset.
    pub struct OffsetValue {
        /// The next offset to read.
        offset: i64,
        /// The leader's epoch of the last record read; -1 for none.
        leader_epoch: i32 [3..] = -1,
        /// What the client wants kept beside it.
        metadata: Text,
        /// When it was committed.
        commit_timestamp: i64,
        /// When it is to be forgotten, if its client said so.
        expire_timestamp: i64 [1..=1] = -1,
        /// The topic's id; zero if it was not known.
        topic_id: TopicId [4.., tag 0],
    }

    /// Names a group.
    pub struct GroupKey {
        /// The group.
        group: Text,
    }

    /// A generation of a classic group.
    pub struct ClassicValue {
        /// What kind of group it is; empty for one that only keeps offsets.
        protocol_type: Text,
        /// The generation.
        generation: i32,
        /// Its protocol.
        protocol: Option<Text>,
        /// Its leader.
        leader: Option<Text>,
        /// When the group came into its state.
        current_state_timestamp: i64 [2..] = -1,
        /// Its members.
        members: Vec<ClassicMemberValue>,
    }

    /// A member of a generation.
    pub struct ClassicMemberValue {
        /// The member.
        member_id: Text,
        /// The static member's name.
        group_instance_id: Option<Text> [3..],
        /// What its client calls itself.
        client_id: Text,
        /// From where it speaks.
        client_host: Text,
        /// How long it may take to join again, in milliseconds.
        rebalance_timeout: i32 [1..],
        /// After how long without a heartbeat it is gone, in milliseconds.
        session_timeout: i32,
        /// What it told with the protocol.
        subscription: Bytes,
        /// What it was given.
        assignment: Bytes,
    }

    /// The epoch of a consumer group.
    pub struct ConsumerValue {
        /// Counts what changes in the group.
        epoch: i32,
        /// What the group's topics were like.
        metadata_hash: i64 [0.., tag 0],
    }

    /// Names a member of a consumer group.
    pub struct MemberKey {
        /// The group.
        group: Text,
        /// The member.
        member: Text,
    }

    /// What a member of a consumer group wants.
    pub struct MemberValue {
        /// The static member's name.
        instance_id: Option<Text>,
        /// Its rack.
        rack_id: Option<Text>,
        /// What its client calls itself.
        client_id: Text,
        /// From where it speaks.
        client_host: Text,
        /// The topics it wants.
        subscribed_topic_names: Vec<Text>,
        /// The expression that names of the topics it wants match.
        subscribed_topic_regex: Option<Text>,
        /// How long it may take to give partitions up, in milliseconds.
        rebalance_timeout_ms: i32 = -1,
        /// The assignor it wants.
        server_assignor: Option<Text>,
        /// What a member of the classic protocol can do.
        classic_member_metadata: Option<ClassicMemberMetadata> [0.., tag 0],
    }

    /// What a member of the classic protocol in a consumer group can do.
    pub struct ClassicMemberMetadata {
        /// After how long without a heartbeat it is gone, in milliseconds.
        session_timeout_ms: i32,
        /// Its protocols.
        supported_protocols: Vec<ClassicProtocol>,
    }

    /// A protocol of a classic member.
    pub struct ClassicProtocol {
        /// Its name.
        name: Text,
        /// What the member tells with it.
        metadata: Bytes,
    }

    /// For which epoch of the group the target assignment was made.
    pub struct TargetValue {
        /// The epoch.
        assignment_epoch: i32,
    }

    /// What a member is to own in the end.
    pub struct TargetMemberValue {
        /// By topic.
        topic_partitions: Vec<TopicPartitionsValue>,
    }

    /// Partitions of a topic.
    pub struct TopicPartitionsValue {
        /// The topic.
        topic_id: TopicId,
        /// The partitions.
        partitions: Vec<i32>,
    }

    /// What a member owns.
    pub struct CurrentValue {
        /// The epoch it is to tell.
        member_epoch: i32,
        /// The one before, for a member that did not hear of the last.
        previous_member_epoch: i32,
        /// Whether it is there yet.
        state: i8,
        /// What it owns.
        assigned_partitions: Vec<TopicPartitionsValue>,
        /// What it has to give up.
        partitions_pending_revocation: Vec<TopicPartitionsValue>,
    }

    /// Names an expression of a group.
    pub struct RegexKey {
        /// The group.
        group: Text,
        /// The expression.
        regular_expression: Text,
    }

    /// The topics that an expression matches.
    pub struct RegexValue {
        /// Their names.
        topics: Vec<Text>,
        /// The version of the cluster's metadata in which they were.
        version: i64,
        /// When they were looked up.
        timestamp: i64,
    }
}

nullable_message!(ClassicMemberMetadata);

/// The bytes of the largest record that is written; a little less than a batch may have by default.
pub(super) const RECORD_BYTES_MAX: usize = 1_000_000;

impl GroupRecord {
    /// The bytes of key and value.
    pub(super) fn size(&self) -> usize {
        let (key, value) = self.encode();
        key.len() + value.map_or(0, |value| value.len())
    }
}

/// The versions of a record's value: those that are read, the one that is written, and the first flexible one.
struct Versions {
    last: i16,
    written: i16,
    flexible_from: i16,
}

macro_rules! records {
    ($($(#[$about:meta])* $name:ident = $type:literal, $key:ident => $value:ident, to $last:literal, written $written:literal, flexible from $flexible:literal;)*) => {
        /// A record: what it names, and what that is from now on, if it is still anything.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum GroupRecord {
            $($(#[$about])* $name($key, Option<$value>),)*
        }

        impl GroupRecord {
            /// The key's bytes, and the value's.
            pub(crate) fn encode(&self) -> (Bytes, Option<Bytes>) {
                match self {
                    $(GroupRecord::$name(key, value) => {
                        let versions = Versions { last: $last, written: $written, flexible_from: $flexible };
                        let value = value.as_ref().map(|value| {
                            let version = written_version(self, &versions);
                            encode(version, version, versions.flexible_from, value)
                        });
                        (encode($type, 0, i16::MAX, key), value)
                    })*
                }
            }

            /// Reads a record; `None` if its type is not known.
            ///
            /// # Errors
            /// The bytes are not a record of their type, or the value's version is newer than what is known.
            pub(crate) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<GroupRecord>, DecodeError> {
                let mut reader = Reader::new(Bytes::copy_from_slice(key));
                let kind: i16 = reader.field("type")?;
                Ok(Some(match kind {
                    $($type => {
                        let key = $key::read(&mut reader)?;
                        let versions = Versions { last: $last, written: $written, flexible_from: $flexible };
                        GroupRecord::$name(key, value.map(|value| decode(value, &versions)).transpose()?)
                    })*
                    // The type of an offset's key was its version, which was 0 once.
                    0 => {
                        let key = OffsetKey::read(&mut reader)?;
                        let versions = Versions { last: 4, written: 4, flexible_from: 4 };
                        GroupRecord::Offset(key, value.map(|value| decode(value, &versions)).transpose()?)
                    }
                    _ => return Ok(None),
                }))
            }
        }
    };
}

records! {
    /// A committed offset.
    Offset = 1, OffsetKey => OffsetValue, to 4, written 4, flexible from 4;
    /// A classic group.
    Classic = 2, GroupKey => ClassicValue, to 4, written 3, flexible from 4;
    /// A consumer group.
    Consumer = 3, GroupKey => ConsumerValue, to 0, written 0, flexible from 0;
    /// A member of a consumer group.
    Member = 5, MemberKey => MemberValue, to 0, written 0, flexible from 0;
    /// The target assignment of a consumer group.
    Target = 6, GroupKey => TargetValue, to 0, written 0, flexible from 0;
    /// The target assignment of a member.
    TargetMember = 7, MemberKey => TargetMemberValue, to 0, written 0, flexible from 0;
    /// The assignment of a member as it is.
    Current = 8, MemberKey => CurrentValue, to 0, written 0, flexible from 0;
    /// What an expression matches.
    Regex = 16, RegexKey => RegexValue, to 0, written 0, flexible from 0;
}

/// The version to write: that of the row, but an offset that says when it expires needs the one version that has it.
fn written_version(record: &GroupRecord, versions: &Versions) -> i16 {
    match record {
        GroupRecord::Offset(_, Some(value)) if value.expire_timestamp != -1 => 1,
        _ => versions.written,
    }
}

fn encode<T: Wire>(prefix: i16, version: i16, flexible_from: i16, value: &T) -> Bytes {
    let mut writer = Writer::frame();
    prefix.write(&mut writer);
    writer.set_version(version, version >= flexible_from);
    value.write(&mut writer);
    writer.finish().to_bytes().slice(4..)
}

fn decode<T: Wire>(bytes: &[u8], versions: &Versions) -> Result<T, DecodeError> {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    let version: i16 = reader.field("version")?;
    if !(0..=versions.last).contains(&version) {
        return Err(reader.fail(Reason::Length(version.into())));
    }
    reader.set_version(version, version >= versions.flexible_from);
    T::read(&mut reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
        (0..text.len()).step_by(2).map(digits).collect()
    }

    #[test]
    fn records_are_those_of_apache_kafka() {
        let golden = include_str!("../../tests/golden/group_records.txt").lines();
        let (mut count, mut same) = (0, 0);
        for line in golden.filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once(' ').expect("two columns");
            let (key, value) = (unhex(key), unhex(value));
            let record = GroupRecord::decode(&key, Some(&value)).expect(line).expect("a known type");
            let (our_key, our_value) = record.encode();
            assert_eq!(our_key, key, "{line}");
            let our_value = our_value.expect("a value");
            let again = GroupRecord::decode(&our_key, Some(&our_value)).expect(line);
            assert_eq!(again.as_ref(), Some(&record), "{line}");
            // The version is the same where it is the one that is written today.
            if our_value[..2] == value[..2] {
                assert_eq!(our_value, value, "{line}");
                same += 1;
            }
            let gone = GroupRecord::decode(&key, None).expect(line).expect("a known type");
            assert_eq!(gone.encode(), (our_key, None));
            count += 1;
        }
        assert_eq!((count, same), (18, 11));
    }

    #[test]
    fn a_committed_offset_has_all_its_fields() {
        let golden = include_str!("../../tests/golden/group_records.txt");
        let line = golden.lines().skip_while(|line| *line != "# OffsetCommit v4").nth(1).expect("it is there");
        let (key, value) = line.split_once(' ').expect("two columns");
        let record = GroupRecord::decode(&unhex(key), Some(&unhex(value))).expect("a record");
        let key = OffsetKey { group: "group".into(), topic: "topic".into(), partition: 3 };
        let value = OffsetValue {
            offset: 42,
            leader_epoch: 7,
            metadata: "größe".into(),
            commit_timestamp: 1_700_000_000_000,
            topic_id: "7B4UB03VTnqUGz_80QqhBA".parse().expect("an id"),
            ..Default::default()
        };
        assert_eq!(record, Some(GroupRecord::Offset(key, Some(value))));
    }

    #[test]
    fn what_is_newer_or_broken_is_told_apart_from_what_is_known() {
        assert_eq!(GroupRecord::decode(&[0, 99, 1, 2, 3], Some(&[0, 0])), Ok(None), "a newer type is passed over");
        assert!(GroupRecord::decode(&[0], None).is_err());
        let (key, _) = GroupRecord::Classic(GroupKey { group: "g".into() }, None).encode();
        assert!(GroupRecord::decode(&key, Some(&[0, 9])).is_err(), "a newer version");
        assert!(GroupRecord::decode(&key, Some(&[0, 3, 0, 1])).is_err(), "a torn value");
    }
}
