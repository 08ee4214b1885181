//! The groups of one partition of `__consumer_offsets`: what is asked of them, decided without I/O and without a clock.
//!
//! Offsets and consumer groups change by [`Coordinator::replay`] and nothing else. A classic group lives between two
//! generations in memory alone, as in Kafka, and its record is what it is after each.

use std::collections::BTreeMap;

use corelog_engine::Timestamp;
use corelog_engine::io::Instant;

use super::classic::{ClassicGroup, ClassicState};
use super::consumer::ConsumerGroup;
use super::group::Group;
use super::offsets::Offsets;
use super::record::{GroupKey, GroupRecord};
use super::timers::{TimerKey, Timers};
use super::turn::{Client, Effects, Ticket, Turn, World};
use crate::protocol::consumer_group_describe::DescribedGroup as DescribedConsumerGroup;
use crate::protocol::describe_groups::DescribedGroup;
use crate::protocol::heartbeat::HeartbeatRequest;
use crate::protocol::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::protocol::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};
use crate::protocol::list_groups::ListedGroup;
use crate::protocol::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::protocol::{ErrorCode, Text};

/// The first version in which members that leave are a list.
const LEAVE_MANY_VERSION: i16 = 3;

/// The groups of one partition.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    pub(super) groups: BTreeMap<Text, Group>,
    pub(super) offsets: Offsets,
    pub(super) timers: Timers,
}

impl Coordinator {
    /// Follows a record.
    pub(crate) fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Offset(key, value) => {
                if value.is_some() && !self.groups.contains_key(&key.group) {
                    let mut simple = ClassicGroup::new(key.group.clone(), Timestamp::NONE);
                    simple.state_since = None;
                    self.groups.insert(key.group.clone(), Group::Classic(simple));
                }
                self.offsets.replay(key, value.as_ref());
            }
            GroupRecord::Classic(key, Some(value)) => {
                let group = ClassicGroup::from_record(&key.group, value);
                self.groups.insert(key.group.clone(), Group::Classic(group));
            }
            // It may stand behind the records of the consumer group that the classic one became.
            GroupRecord::Classic(key, None) => self.forget(key, |group| matches!(group, Group::Classic(_))),
            GroupRecord::Consumer(key, Some(value)) => {
                let group = self.replayed_consumer(&key.group);
                (group.epoch, group.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            GroupRecord::Consumer(key, None) => self.forget(key, |group| matches!(group, Group::Consumer(_))),
            GroupRecord::Target(key, Some(value)) => {
                self.replayed_consumer(&key.group).target_epoch = value.assignment_epoch;
            }
            GroupRecord::Member(key, Some(value)) => {
                self.replayed_consumer(&key.group).replay_member(&key.member, Some(value));
            }
            GroupRecord::Current(key, Some(value)) => {
                self.replayed_consumer(&key.group).replay_current(&key.member, Some(value));
            }
            GroupRecord::TargetMember(key, Some(value)) => {
                self.replayed_consumer(&key.group).replay_target(&key.member, Some(value));
            }
            GroupRecord::Regex(key, Some(value)) => {
                self.replayed_consumer(&key.group).regexes.insert(key.regular_expression.clone(), value.clone());
            }
            // What is forgotten of a group that is gone was forgotten with it.
            GroupRecord::Target(key, None) => self.if_consumer(&key.group, |group| group.target_epoch = 0),
            GroupRecord::Member(key, None) => {
                self.if_consumer(&key.group, |group| group.replay_member(&key.member, None))
            }
            GroupRecord::Current(key, None) => {
                self.if_consumer(&key.group, |group| group.replay_current(&key.member, None))
            }
            GroupRecord::TargetMember(key, None) => {
                self.if_consumer(&key.group, |group| group.replay_target(&key.member, None));
            }
            GroupRecord::Regex(key, None) => {
                self.if_consumer(&key.group, |group| drop(group.regexes.remove(&key.regular_expression)));
            }
        }
    }

    fn forget(&mut self, key: &GroupKey, which: impl Fn(&Group) -> bool) {
        if self.groups.get(&key.group).is_some_and(which) {
            self.groups.remove(&key.group);
        }
    }

    /// The consumer group to which a record belongs; whatever was there before has become it.
    fn replayed_consumer(&mut self, id: &Text) -> &mut ConsumerGroup {
        if !matches!(self.groups.get(id), Some(Group::Consumer(_))) {
            self.groups.insert(id.clone(), Group::Consumer(ConsumerGroup::new()));
        }
        match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) => group,
            _ => unreachable!("it was put there"),
        }
    }

    fn if_consumer(&mut self, id: &Text, run: impl FnOnce(&mut ConsumerGroup)) {
        if let Some(Group::Consumer(group)) = self.groups.get_mut(id) {
            run(group);
        }
    }

    /// Writes a record, and follows it at once.
    pub(super) fn put(&mut self, effects: &mut Effects, record: GroupRecord) {
        self.replay(&record);
        effects.applied = true;
        effects.records.push(record);
    }

    /// What groups have in their hands.
    pub(super) fn turn<'a>(&'a mut self, world: World<'a>, effects: &'a mut Effects) -> Turn<'a> {
        Turn { world, timers: &mut self.timers, effects }
    }

    /// All records are replayed: members are given their time from now on.
    pub(crate) fn begin(&mut self, world: World<'_>, effects: &mut Effects) {
        let Coordinator { groups, timers, .. } = self;
        let mut turn = Turn { world, timers, effects };
        for (id, group) in groups {
            match group {
                Group::Classic(group) => {
                    let ids: Vec<Text> = group.members.keys().cloned().collect();
                    for id in &ids {
                        group.heard_of(&mut turn, id);
                    }
                    if ids.len() > world.settings.size_max {
                        group.rebalance(&mut turn);
                    }
                }
                Group::Consumer(group) => group.begin(&mut turn, id),
            }
        }
    }

    /// The next moment at which something has to be done.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, world: World<'_>, effects: &mut Effects) {
        while let Some(key) = self.timers.take_due(world.now) {
            match key {
                TimerKey::Session(group, member) => {
                    self.with_classic(&group, world, effects, |group, turn| group.on_session_timeout(turn, &member));
                }
                TimerKey::Join(group) => {
                    self.with_classic(&group, world, effects, |group, turn| group.on_join_timeout(turn));
                }
                TimerKey::Sync(group) => {
                    self.with_classic(&group, world, effects, |group, turn| group.on_sync_timeout(turn));
                }
                TimerKey::ConsumerSession(group, member)
                | TimerKey::Revocation(group, member)
                | TimerKey::ConsumerJoin(group, member)
                | TimerKey::ConsumerSync(group, member) => self.on_consumer_timeout(world, effects, &group, &member),
            }
        }
    }

    fn with_classic<R>(
        &mut self,
        id: &Text,
        world: World<'_>,
        effects: &mut Effects,
        run: impl FnOnce(&mut ClassicGroup, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let Coordinator { groups, timers, .. } = self;
        match groups.get_mut(id)? {
            Group::Classic(group) => Some(run(group, &mut Turn { world, timers, effects })),
            Group::Consumer(_) => None,
        }
    }

    /// JoinGroup. `None` if the answer comes later.
    pub(crate) fn join(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        client: &Client,
        request: &JoinGroupRequest,
        ticket: Ticket,
    ) -> Option<JoinGroupResponse> {
        let refused = |code| {
            Some(JoinGroupResponse { error_code: code, member_id: request.member_id.clone(), ..Default::default() })
        };
        let settings = world.settings;
        if !(settings.session_timeout_ms_min..=settings.session_timeout_ms_max).contains(&request.session_timeout_ms) {
            return refused(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        match self.groups.get(&request.group_id) {
            Some(Group::Consumer(group)) if !group.is_empty() => {
                return Some(self.classic_join(world, effects, client, request));
            }
            Some(Group::Consumer(_)) if request.member_id.is_empty() => self.erase_group(effects, &request.group_id),
            Some(Group::Consumer(_)) => return refused(ErrorCode::UNKNOWN_MEMBER_ID),
            _ => {}
        }
        if !self.groups.contains_key(&request.group_id) {
            if !request.member_id.is_empty() {
                return refused(ErrorCode::UNKNOWN_MEMBER_ID);
            }
            let id = request.group_id.detached();
            self.groups.insert(id.clone(), Group::Classic(ClassicGroup::new(id, world.time)));
        }
        let joined = self
            .with_classic(&request.group_id, world, effects, |group, turn| group.join(turn, client, request, ticket));
        joined.unwrap_or_else(|| refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL))
    }

    /// SyncGroup. `None` if the answer comes later.
    pub(crate) fn sync(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        request: &SyncGroupRequest,
        ticket: Ticket,
    ) -> Option<SyncGroupResponse> {
        if self.is_consumer(&request.group_id) {
            return Some(self.classic_sync(world, effects, request));
        }
        let synced =
            self.with_classic(&request.group_id, world, effects, |group, turn| group.sync(turn, request, ticket));
        synced.unwrap_or_else(|| {
            Some(SyncGroupResponse { error_code: ErrorCode::UNKNOWN_MEMBER_ID, ..Default::default() })
        })
    }

    /// Heartbeat.
    pub(crate) fn heartbeat(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        request: &HeartbeatRequest,
    ) -> ErrorCode {
        if self.is_consumer(&request.group_id) {
            return self.classic_heartbeat(world, effects, request);
        }
        let beaten = self.with_classic(&request.group_id, world, effects, |group, turn| group.heartbeat(turn, request));
        beaten.unwrap_or(ErrorCode::UNKNOWN_MEMBER_ID)
    }

    /// LeaveGroup.
    pub(crate) fn leave(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        version: i16,
        request: &LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let single = [MemberIdentity { member_id: request.member_id.clone(), ..Default::default() }];
        let members = if version < LEAVE_MANY_VERSION { &single[..] } else { &request.members[..] };
        let left = if self.is_consumer(&request.group_id) {
            Some(self.classic_leave(world, effects, &request.group_id, members))
        } else {
            self.with_classic(&request.group_id, world, effects, |group, turn| group.leave(turn, members))
        };
        let members = left.unwrap_or_else(|| {
            let unknown = members.iter().map(|member| MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: ErrorCode::UNKNOWN_MEMBER_ID,
            });
            unknown.collect()
        });
        if version < LEAVE_MANY_VERSION {
            return LeaveGroupResponse { error_code: members[0].error_code, ..Default::default() };
        }
        LeaveGroupResponse { members, ..Default::default() }
    }

    /// DescribeGroups, of one group; `Err` is the sentence for what is none that its members assign.
    pub(crate) fn describe(&self, id: &Text) -> Result<DescribedGroup, String> {
        match self.groups.get(id) {
            Some(Group::Classic(group)) => Ok(group.describe()),
            Some(Group::Consumer(_)) => Err(format!("Group {id} is not a classic group.")),
            None => Err(format!("Group {id} not found.")),
        }
    }

    /// ConsumerGroupDescribe, of one group; `Err` is the sentence for what is none.
    pub(crate) fn describe_consumer(&self, world: World<'_>, id: &Text) -> Result<DescribedConsumerGroup, String> {
        match self.groups.get(id) {
            Some(Group::Consumer(group)) => Ok(group.describe(world, id)),
            Some(Group::Classic(_)) => Err(format!("Group {id} is not a consumer group.")),
            None => Err(format!("Group {id} not found.")),
        }
    }

    fn is_consumer(&self, id: &Text) -> bool {
        matches!(self.groups.get(id), Some(Group::Consumer(_)))
    }

    /// ListGroups.
    pub(crate) fn list(&self, states: &[Text], types: &[Text]) -> Vec<ListedGroup> {
        let is_of = |wanted: &[Text], name: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let groups = self.groups.iter();
        let groups = groups.filter(|(_, group)| is_of(states, group.state_name()) && is_of(types, group.type_name()));
        groups.map(|(id, group)| group.listed(id)).collect()
    }

    /// Every committed offset: group, topic, partition, offset.
    pub(crate) fn committed(&self) -> Vec<(Text, Text, i32, i64)> {
        let mut all = Vec::new();
        for (group, topics) in self.offsets.groups() {
            for (topic, partitions) in topics {
                let offsets = partitions.iter().map(|(index, one)| (group.clone(), topic.clone(), *index, one.offset));
                all.extend(offsets);
            }
        }
        all
    }

    /// DeleteGroups, of one group.
    pub(crate) fn delete(&self, effects: &mut Effects, id: &Text) -> ErrorCode {
        let Some(group) = self.groups.get(id) else { return ErrorCode::GROUP_ID_NOT_FOUND };
        if !group.is_empty() {
            return ErrorCode::NON_EMPTY_GROUP;
        }
        self.offsets.forget(id, |_, _, _| true, &mut effects.records);
        self.forget_group(effects, id, group);
        ErrorCode::NONE
    }

    /// The records that forget a group with no members.
    pub(super) fn forget_group(&self, effects: &mut Effects, id: &Text, group: &Group) {
        match group {
            Group::Classic(group) => {
                assert_eq!(group.state, ClassicState::Empty, "group {id} is forgotten with members");
                effects.records.push(GroupRecord::Classic(GroupKey { group: id.clone() }, None));
            }
            Group::Consumer(group) => effects.records.extend(group.tombstones(id)),
        }
    }
}
