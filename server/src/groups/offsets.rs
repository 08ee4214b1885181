//! The offsets that groups have committed.

use std::collections::BTreeMap;

use corelog_engine::{Timestamp, TopicId};
use rustc_hash::FxHashMap;

use super::record::{GroupRecord, OffsetKey, OffsetValue};
use crate::protocol::Text;

/// A committed offset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Committed {
    /// The next offset to read.
    pub(crate) offset: i64,
    /// The leader's epoch of the last record read; -1 for none.
    pub(crate) leader_epoch: i32,
    /// What the client wants kept beside it.
    pub(crate) metadata: Text,
    /// When it was committed.
    pub(crate) time: Timestamp,
    /// When it is to be forgotten, if its client said so.
    pub(crate) expires: Option<Timestamp>,
    /// The topic's id; zero if it was not known.
    pub(crate) topic_id: TopicId,
}

impl Committed {
    /// As a record.
    pub(super) fn to_record(&self, group: &Text, topic: &Text, partition: i32) -> GroupRecord {
        let value = OffsetValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.clone(),
            commit_timestamp: self.time.0,
            expire_timestamp: self.expires.unwrap_or(Timestamp::NONE).0,
            topic_id: self.topic_id,
        };
        GroupRecord::Offset(OffsetKey { group: group.clone(), topic: topic.clone(), partition }, Some(value))
    }
}

impl From<&OffsetValue> for Committed {
    fn from(value: &OffsetValue) -> Committed {
        Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
            time: Timestamp(value.commit_timestamp),
            expires: Some(Timestamp(value.expire_timestamp)).filter(|time| *time != Timestamp::NONE),
            topic_id: value.topic_id,
        }
    }
}

/// The offsets of one group, by topic and partition.
pub(crate) type OffsetsOfGroup = BTreeMap<Text, BTreeMap<i32, Committed>>;

/// The offsets of all groups; no group and no topic without one is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Offsets {
    groups: FxHashMap<Text, OffsetsOfGroup>,
}

impl Offsets {
    /// Those of a group.
    pub(super) fn of(&self, group: &Text) -> Option<&OffsetsOfGroup> {
        self.groups.get(group)
    }

    /// One of them.
    pub(super) fn get(&self, group: &Text, topic: &Text, partition: i32) -> Option<&Committed> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// The groups that have any.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Text, &OffsetsOfGroup)> {
        self.groups.iter()
    }

    /// Follows a record.
    pub(super) fn replay(&mut self, key: &OffsetKey, value: Option<&OffsetValue>) {
        match value {
            Some(value) => {
                let topics = self.groups.entry(key.group.clone()).or_default();
                topics.entry(key.topic.clone()).or_default().insert(key.partition, value.into());
            }
            None => {
                let Some(topics) = self.groups.get_mut(&key.group) else { return };
                let Some(partitions) = topics.get_mut(&key.topic) else { return };
                partitions.remove(&key.partition);
                if partitions.is_empty() {
                    topics.remove(&key.topic);
                }
                if topics.is_empty() {
                    self.groups.remove(&key.group);
                }
            }
        }
    }

    /// The records that forget those of a group for which `which` says so.
    pub(super) fn forget(
        &self,
        group: &Text,
        mut which: impl FnMut(&Text, i32, &Committed) -> bool,
        records: &mut Vec<GroupRecord>,
    ) {
        for (topic, partitions) in self.of(group).into_iter().flatten() {
            for (&partition, committed) in partitions {
                if which(topic, partition, committed) {
                    records.push(forgotten(group, topic, partition));
                }
            }
        }
    }
}

/// The record that forgets an offset.
pub(super) fn forgotten(group: &Text, topic: &Text, partition: i32) -> GroupRecord {
    GroupRecord::Offset(OffsetKey { group: group.clone(), topic: topic.clone(), partition }, None)
}
