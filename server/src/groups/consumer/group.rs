//! A consumer group: what its records say, and what follows from that.

use std::collections::{BTreeMap, BTreeSet};

use corelog_engine::{Offset, TopicId};
use corelog_replication::metadata::ClusterImage;
use rustc_hash::FxHashMap;

use crate::groups::record::{CurrentValue, MemberValue, RegexValue, TargetMemberValue, TopicPartitionsValue};
use crate::groups::timers::TimerKey;
use crate::groups::turn::Turn;
use crate::protocol::{ErrorCode, Text};

/// The epoch with which a member joins.
pub(super) const JOIN_EPOCH: i32 = 0;
/// The epoch with which a member leaves.
pub(super) const LEAVE_EPOCH: i32 = -1;
/// The epoch with which a static member leaves for a while.
pub(super) const LEAVE_STATIC_EPOCH: i32 = -2;

/// Partitions by topic; no topic without any.
pub(super) type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;

/// Whether a member is where it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum MemberState {
    /// It is.
    #[default]
    Stable,
    /// It has to give partitions up first.
    Unrevoked,
    /// Others have to give partitions up first.
    Unreleased,
}

impl MemberState {
    /// Kafka's number of it.
    pub(super) fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
        }
    }

    fn from_number(number: i8) -> MemberState {
        match number {
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            _ => MemberState::Stable,
        }
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct ConsumerMember {
    /// What it says of itself.
    pub(super) wants: MemberValue,
    pub(super) epoch: i32,
    /// The epoch before, for a member that did not hear of the last.
    pub(super) previous_epoch: i32,
    pub(super) state: MemberState,
    /// What it owns.
    pub(super) assigned: Partitions,
    /// What it has to give up.
    pub(super) revoking: Partitions,
}

impl ConsumerMember {
    /// Whether it takes part by the classic protocol.
    pub(super) fn is_classic(&self) -> bool {
        self.wants.classic_member_metadata.is_some()
    }

    pub(super) fn to_record(&self) -> CurrentValue {
        CurrentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.number(),
            assigned_partitions: to_record(&self.assigned),
            partitions_pending_revocation: to_record(&self.revoking),
        }
    }
}

/// A consumer group.
#[derive(Clone, Debug)]
pub(in crate::groups) struct ConsumerGroup {
    pub(in crate::groups) epoch: i32,
    /// What its topics were like in this epoch.
    pub(in crate::groups) metadata_hash: i64,
    /// The epoch for which the target assignment was made.
    pub(in crate::groups) target_epoch: i32,
    pub(super) members: BTreeMap<Text, ConsumerMember>,
    /// Static members' ids by their names.
    pub(super) instances: FxHashMap<Text, Text>,
    /// What each member is to own in the end.
    pub(super) targets: BTreeMap<Text, Partitions>,
    /// What expressions match.
    pub(in crate::groups) regexes: BTreeMap<Text, RegexValue>,
    /// Who owns a partition, or has not given it up yet.
    pub(super) owners: FxHashMap<(TopicId, i32), Text>,
    /// The version of the metadata with which the group was compared last; not kept.
    pub(super) seen: Option<Offset>,
}

/// What was compared last is no part of the state.
impl PartialEq for ConsumerGroup {
    fn eq(&self, other: &ConsumerGroup) -> bool {
        (self.epoch, self.metadata_hash, self.target_epoch) == (other.epoch, other.metadata_hash, other.target_epoch)
            && self.members == other.members
            && self.instances == other.instances
            && self.targets == other.targets
            && self.regexes == other.regexes
            && self.owners == other.owners
    }
}

impl ConsumerGroup {
    /// A group of which nothing is known yet.
    pub(in crate::groups) fn new() -> ConsumerGroup {
        ConsumerGroup {
            epoch: 0,
            metadata_hash: 0,
            target_epoch: 0,
            members: BTreeMap::new(),
            instances: FxHashMap::default(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            owners: FxHashMap::default(),
            seen: None,
        }
    }

    /// Whether it has no members.
    pub(in crate::groups) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of its state.
    pub(in crate::groups) fn state_name(&self) -> &'static str {
        let settled =
            |member: &ConsumerMember| member.state == MemberState::Stable && member.epoch == self.target_epoch;
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().all(settled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Follows a member's record.
    pub(in crate::groups) fn replay_member(&mut self, id: &Text, value: Option<&MemberValue>) {
        let before = self.members.get(id).and_then(|member| member.wants.instance_id.clone());
        if let Some(before) = before.filter(|before| self.instances.get(before) == Some(id)) {
            self.instances.remove(&before);
        }
        match value {
            Some(value) => {
                if let Some(instance) = &value.instance_id {
                    self.instances.insert(instance.clone(), id.clone());
                }
                self.members.entry(id.clone()).or_default().wants = value.clone();
            }
            None => {
                self.disown(id);
                self.members.remove(id);
            }
        }
    }

    /// Follows the record of what a member owns.
    pub(in crate::groups) fn replay_current(&mut self, id: &Text, value: Option<&CurrentValue>) {
        self.disown(id);
        let Some(value) = value else {
            if let Some(member) = self.members.get_mut(id) {
                *member = ConsumerMember { wants: std::mem::take(&mut member.wants), ..Default::default() };
            }
            return;
        };
        let member = self.members.entry(id.clone()).or_default();
        member.epoch = value.member_epoch;
        member.previous_epoch = value.previous_member_epoch;
        member.state = MemberState::from_number(value.state);
        member.assigned = from_record(&value.assigned_partitions);
        member.revoking = from_record(&value.partitions_pending_revocation);
        for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
            for &partition in partitions {
                self.owners.insert((*topic, partition), id.clone());
            }
        }
    }

    /// Follows the record of what a member is to own.
    pub(in crate::groups) fn replay_target(&mut self, id: &Text, value: Option<&TargetMemberValue>) {
        match value {
            Some(value) => self.targets.insert(id.clone(), from_record(&value.topic_partitions)),
            None => self.targets.remove(id),
        };
    }

    /// All records are replayed: members are given their time from now on.
    pub(in crate::groups) fn begin(&self, turn: &mut Turn<'_>, id: &Text) {
        for (member_id, member) in &self.members {
            let classic = member.wants.classic_member_metadata.as_ref();
            let (session, _) = turn.world.consumer_times(id);
            let session = classic.map_or(session, |classic| classic.session_timeout_ms);
            turn.after(TimerKey::ConsumerSession(id.clone(), member_id.clone()), session);
            if member.state == MemberState::Unrevoked {
                let timer = TimerKey::Revocation(id.clone(), member_id.clone());
                turn.after(timer, member.wants.rebalance_timeout_ms);
            }
        }
    }

    fn disown(&mut self, id: &Text) {
        let Some(member) = self.members.get(id) else { return };
        for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
            for &partition in partitions {
                if self.owners.get(&(*topic, partition)) == Some(id) {
                    self.owners.remove(&(*topic, partition));
                }
            }
        }
    }

    /// No partition has two owners, nobody is ahead of the group, and who owns what is known.
    #[cfg(test)]
    pub(in crate::groups) fn check(&self) {
        let mut owners = FxHashMap::default();
        for (id, member) in &self.members {
            assert!(member.epoch <= self.epoch.max(self.target_epoch), "{id} is ahead: {self:#?}");
            for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
                for &partition in partitions {
                    assert_eq!(owners.insert((*topic, partition), id.clone()), None, "two owners: {self:#?}");
                }
            }
        }
        assert_eq!(owners, self.owners);
    }

    /// The names of the topics that a member wants, whether they exist or not.
    pub(super) fn topics_of<'a>(&'a self, member: &'a ConsumerMember) -> BTreeSet<&'a Text> {
        let matched = member.wants.subscribed_topic_regex.as_ref().and_then(|regex| self.regexes.get(regex));
        member
            .wants
            .subscribed_topic_names
            .iter()
            .chain(matched.into_iter().flat_map(|matched| &matched.topics))
            .collect()
    }

    /// The names of the topics that its members want.
    pub(in crate::groups) fn topics(&self) -> BTreeSet<&Text> {
        self.members.values().flat_map(|member| self.topics_of(member)).collect()
    }

    /// The member that a request of the consumer protocol names.
    pub(super) fn member(&self, id: &Text) -> Result<&ConsumerMember, ErrorCode> {
        self.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
    }

    /// Whether somebody may commit: a member in its epoch, or anybody where there are no members.
    pub(in crate::groups) fn check_commit(&self, id: &Text, epoch: i32, knows_epochs: bool) -> Result<(), ErrorCode> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.member(id)?;
        if member.is_classic() {
            return if epoch == member.epoch { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) };
        }
        if !knows_epochs {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        if epoch == member.epoch { Ok(()) } else { Err(ErrorCode::STALE_MEMBER_EPOCH) }
    }

    /// Whether somebody may see the offsets.
    pub(in crate::groups) fn check_fetch(&self, id: Option<&Text>, epoch: i32) -> Result<(), ErrorCode> {
        let Some(id) = id.filter(|_| epoch >= 0) else { return Ok(()) };
        let member = self.member(id)?;
        if epoch == member.epoch || member.is_classic() { Ok(()) } else { Err(ErrorCode::STALE_MEMBER_EPOCH) }
    }
}

/// Partitions as records have them.
pub(super) fn to_record(partitions: &Partitions) -> Vec<TopicPartitionsValue> {
    let topics = partitions.iter();
    topics
        .map(|(&topic_id, partitions)| TopicPartitionsValue {
            topic_id,
            partitions: partitions.iter().copied().collect(),
        })
        .collect()
}

/// Partitions as records have them, read.
pub(super) fn from_record(topics: &[TopicPartitionsValue]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        partitions.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    partitions
}

/// Partitions by the names of their topics; those that are gone have none.
pub(super) fn by_name(image: &ClusterImage, partitions: &Partitions) -> Vec<(Text, Vec<i32>)> {
    let named = partitions.iter().filter_map(|(id, partitions)| {
        let topic = image.topic_by_id(*id)?;
        Some((Text::from(&*topic.name), partitions.iter().copied().collect()))
    });
    named.collect()
}
