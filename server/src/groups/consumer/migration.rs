//! How a group gets from one protocol to the other, with its members or without.

use std::collections::BTreeSet;

use super::group::{ConsumerGroup, ConsumerMember, Partitions, by_name, to_record};
use super::heartbeat::Refusal;
use crate::groups::classic::{ClassicGroup, Member};
use crate::groups::consumer_protocol::{CONSUMER, ConsumerAssignment, ConsumerPartitions, Subscription};
use crate::groups::coordinator::Coordinator;
use crate::groups::group::Group;
use crate::groups::record::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerValue, GroupKey, GroupRecord, MemberKey, MemberValue, RegexKey,
    TargetMemberValue, TargetValue,
};
use crate::groups::turn::{Effects, World};
use crate::protocol::{ErrorCode, Text};

impl Coordinator {
    /// Has a consumer group of this id: the one that is there, a classic one that becomes one, or a new one if a member joins.
    pub(super) fn have_consumer_group(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        id: &Text,
        joining: bool,
    ) -> Result<(), Refusal> {
        let not_found = |why: String| Err((ErrorCode::GROUP_ID_NOT_FOUND, why));
        match self.groups.get(id) {
            Some(Group::Consumer(_)) => Ok(()),
            _ if !world.settings.consumer_protocol => {
                Err((ErrorCode::UNSUPPORTED_VERSION, "The consumer group protocol is not enabled.".into()))
            }
            None if !joining => not_found(format!("Consumer group {id} not found.")),
            Some(Group::Classic(_)) if !joining => not_found(format!("Group {id} is not a consumer group.")),
            None => {
                self.groups.insert(id.clone(), Group::Consumer(ConsumerGroup::new()));
                Ok(())
            }
            Some(Group::Classic(group)) if group.members.is_empty() => {
                if !group.is_simple() {
                    self.put(effects, GroupRecord::Classic(GroupKey { group: id.clone() }, None));
                }
                self.groups.insert(id.clone(), Group::Consumer(ConsumerGroup::new()));
                Ok(())
            }
            Some(Group::Classic(group)) => {
                let members = group.can_become_consumer(world);
                let Some(members) = members else {
                    return not_found(format!("Group {id} is not a consumer group."));
                };
                self.upgrade(world, effects, id, members);
                Ok(())
            }
        }
    }

    /// Makes a consumer group of a classic one: its members go on by the classic protocol, with what they have.
    fn upgrade(&mut self, world: World<'_>, effects: &mut Effects, id: &Text, members: Vec<(Text, ConsumerMember)>) {
        let Some(Group::Classic(mut classic)) = self.groups.remove(id) else { panic!("group {id} is a classic group") };
        let generation = classic.generation;
        classic.dissolve(&mut self.turn(world, effects));
        self.put(effects, GroupRecord::Classic(GroupKey { group: id.clone() }, None));
        self.groups.insert(id.clone(), Group::Consumer(ConsumerGroup::new()));
        let key = |member: &Text| MemberKey { group: id.clone(), member: member.clone() };
        let value = ConsumerValue { epoch: generation, metadata_hash: 0 };
        self.put(effects, GroupRecord::Consumer(GroupKey { group: id.clone() }, Some(value)));
        for (member, value) in &members {
            self.put(effects, GroupRecord::Member(key(member), Some(value.wants.clone())));
            let target = TargetMemberValue { topic_partitions: to_record(&value.assigned) };
            self.put(effects, GroupRecord::TargetMember(key(member), Some(target)));
        }
        let value = TargetValue { assignment_epoch: generation };
        self.put(effects, GroupRecord::Target(GroupKey { group: id.clone() }, Some(value)));
        for (member, value) in &members {
            self.put(effects, GroupRecord::Current(key(member), Some(value.to_record())));
            self.heard_of_consumer(world, effects, id, member);
        }
    }

    /// Makes a classic group of a consumer one when the last member of the consumer protocol is gone; whether it did.
    pub(super) fn downgrade_if_all_are_classic(&mut self, world: World<'_>, effects: &mut Effects, id: &Text) -> bool {
        let group = self.consumer(id);
        let allowed = world.settings.downgrade && group.members.len() <= world.settings.size_max;
        if !allowed || group.is_empty() || !group.members.values().all(ConsumerMember::is_classic) {
            return false;
        }
        let members: Vec<Member> =
            group.members.iter().map(|(member, value)| classic_member(world, member, value)).collect();
        let generation = group.epoch;
        self.erase_group(effects, id);
        let mut classic = ClassicGroup::new(id.clone(), world.time);
        classic.restore(CONSUMER, generation, members, world.time);
        let mut turn = self.turn(world, effects);
        turn.write(classic.to_record());
        let ids: Vec<Text> = classic.members.keys().cloned().collect();
        for member in &ids {
            classic.heard_of(&mut turn, member);
        }
        classic.rebalance(&mut turn);
        self.groups.insert(id.clone(), Group::Classic(classic));
        true
    }

    /// Writes that a consumer group is no more; its members are erased with it.
    pub(in crate::groups) fn erase_group(&mut self, effects: &mut Effects, id: &Text) {
        let members: Vec<Text> = self.consumer(id).members.keys().cloned().collect();
        for member in &members {
            self.erase_member(effects, id, member);
        }
        for record in self.consumer(id).tombstones(id) {
            self.put(effects, record);
        }
    }
}

impl ConsumerGroup {
    /// The records that forget a group with no members.
    pub(in crate::groups) fn tombstones(&self, id: &Text) -> Vec<GroupRecord> {
        let key = || GroupKey { group: id.clone() };
        let regexes = self.regexes.keys();
        let mut records: Vec<GroupRecord> = regexes
            .map(|regex| GroupRecord::Regex(RegexKey { group: id.clone(), regular_expression: regex.clone() }, None))
            .collect();
        records.push(GroupRecord::Target(key(), None));
        records.push(GroupRecord::Consumer(key(), None));
        records
    }
}

impl ClassicGroup {
    /// Its members as members of a consumer group; `None` if it may not or cannot become one.
    fn can_become_consumer(&self, world: World<'_>) -> Option<Vec<(Text, ConsumerMember)>> {
        let fits = self.members.len() <= world.settings.consumer_size_max;
        if !world.settings.upgrade || !self.is_of_consumers() || !fits {
            return None;
        }
        let mut taken = BTreeSet::new();
        let mut members = Vec::with_capacity(self.members.len());
        for (id, member) in &self.members {
            let protocol = self.protocol.clone().or_else(|| Some(member.protocols.first()?.0.clone()))?;
            let (_, subscription) = Subscription::decode(&member.metadata(&protocol)).ok()?;
            // While members join, nothing is known of what they own.
            let mut assigned = Partitions::new();
            if !member.assignment.is_empty() {
                let decoded = ConsumerAssignment::decode(&member.assignment).ok()?;
                for topic in decoded.assigned_partitions {
                    let Some(known) = world.image.topic(&topic.topic) else { continue };
                    let free = topic.partitions.into_iter().filter(|&partition| taken.insert((known.id, partition)));
                    let partitions: BTreeSet<i32> = free.collect();
                    if !partitions.is_empty() {
                        assigned.insert(known.id, partitions);
                    }
                }
            }
            let protocols = member.protocols.iter();
            let supported_protocols = protocols
                .map(|(name, metadata)| ClassicProtocol { name: name.clone(), metadata: metadata.clone() })
                .collect();
            let session_timeout_ms = member.session_timeout_ms;
            let mut topics: Vec<Text> = subscription.topics.iter().map(Text::detached).collect();
            topics.sort_unstable();
            topics.dedup();
            let wants = MemberValue {
                instance_id: member.instance.clone(),
                rack_id: subscription.rack_id.as_ref().map(Text::detached),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                subscribed_topic_names: topics,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                classic_member_metadata: Some(ClassicMemberMetadata { session_timeout_ms, supported_protocols }),
                ..Default::default()
            };
            let epoch = self.generation;
            let member = ConsumerMember { wants, epoch, previous_epoch: epoch, assigned, ..Default::default() };
            members.push((id.clone(), member));
        }
        Some(members)
    }
}

/// A member of a consumer group as one of a classic group.
fn classic_member(world: World<'_>, id: &Text, member: &ConsumerMember) -> Member {
    let classic = member.wants.classic_member_metadata.clone().unwrap_or_default();
    let protocols = classic.supported_protocols.iter();
    Member {
        id: id.clone(),
        instance: member.wants.instance_id.clone(),
        client_id: member.wants.client_id.clone(),
        client_host: member.wants.client_host.clone(),
        rebalance_timeout_ms: member.wants.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocols: protocols.map(|protocol| (protocol.name.clone(), protocol.metadata.clone())).collect(),
        assignment: classic_assignment(world, member),
        joining: None,
        syncing: None,
        is_new: false,
    }
}

/// What a member owns, as consumers of the classic protocol read it, in the version in which it speaks.
pub(super) fn classic_assignment(world: World<'_>, member: &ConsumerMember) -> bytes::Bytes {
    let protocols = member.wants.classic_member_metadata.iter().flat_map(|classic| &classic.supported_protocols);
    let version = protocols
        .filter_map(|protocol| Some(Subscription::decode(&protocol.metadata).ok()?.0))
        .next()
        .unwrap_or_default();
    let topics = by_name(world.image, &member.assigned).into_iter();
    let assigned_partitions = topics.map(|(topic, partitions)| ConsumerPartitions { topic, partitions }).collect();
    ConsumerAssignment { assigned_partitions, user_data: None }.encode(version)
}
