//! ConsumerGroupHeartbeat: a member joins, says what it wants and owns, learns what it is to own, and leaves.

use std::collections::BTreeSet;

use super::group::{ConsumerGroup, ConsumerMember, JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Partitions, to_record};
use super::reconcile::is_subset;
use super::regex;
use crate::groups::coordinator::Coordinator;
use crate::groups::group::Group;
use crate::groups::record::{CurrentValue, GroupRecord, MemberKey, MemberValue, TargetMemberValue};
use crate::groups::settings::Assignor;
use crate::groups::timers::TimerKey;
use crate::groups::turn::{Client, Effects, World};
use crate::protocol::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use crate::protocol::{ErrorCode, Text};

/// The bytes of names in a subscription: it has to fit a record.
pub(super) const SUBSCRIPTION_BYTES_MAX: usize = 500_000;
/// The first version in which the client makes the member's id (KIP-1082).
const OWN_ID_VERSION: i16 = 1;

/// A code, and why, in words.
pub(in crate::groups) type Refusal = (ErrorCode, String);

fn refuse<T>(code: ErrorCode, why: impl Into<String>) -> Result<T, Refusal> {
    Err((code, why.into()))
}

impl Coordinator {
    /// ConsumerGroupHeartbeat.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let beaten = check(world, client.version, request).and_then(|()| match request.member_epoch {
            LEAVE_EPOCH | LEAVE_STATIC_EPOCH => self.consumer_leave(world, effects, request),
            _ => self.consumer_beat(world, effects, client, request),
        });
        beaten.unwrap_or_else(|(error_code, why)| ConsumerGroupHeartbeatResponse {
            error_code,
            error_message: Some(Text::from(why)),
            ..Default::default()
        })
    }

    fn consumer_beat(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let joining = request.member_epoch == JOIN_EPOCH;
        let id = request.group_id.detached();
        // What the request says is checked before anything is written.
        if let Some(Err(why)) =
            request.subscribed_topic_regex.as_deref().filter(|text| !text.is_empty()).map(regex::compile)
        {
            return refuse(ErrorCode::INVALID_REGULAR_EXPRESSION, format!("SubscribedTopicRegex is not valid: {why}."));
        }
        let member = if request.member_id.is_empty() {
            Text::from(uuid::Uuid::new_v4().to_string())
        } else {
            request.member_id.detached()
        };
        let owned = request.topic_partitions.as_ref().map(|topics| from_wire(topics));
        self.have_consumer_group(world, effects, &id, joining)?;
        self.identify(world, effects, &id, &member, request, owned.as_ref())?;

        let known = self.consumer(&id).members.get(&member);
        let before = known.map(|known| known.wants.clone()).unwrap_or_default();
        let changed = self.note_member(effects, &id, &member, told(before, client, request));
        self.follow(world, effects, &id, changed);
        let moved = self.bring_on(world, effects, &id, &member, owned.as_ref());
        self.heard_of_consumer(world, effects, &id, &member);

        let whole = request.rebalance_timeout_ms != -1
            && request.topic_partitions.is_some()
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some());
        let now = &self.consumer(&id).members[&member];
        Ok(ConsumerGroupHeartbeatResponse {
            member_epoch: now.epoch,
            heartbeat_interval_ms: world.consumer_times(&id).1,
            assignment: (joining || whole || moved).then(|| Assignment { topic_partitions: to_wire(&now.assigned) }),
            member_id: Some(member),
            ..Default::default()
        })
    }

    /// Finds out whether the member is who it says it is, and makes room for it if it is new.
    fn identify(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        id: &Text,
        member: &Text,
        request: &ConsumerGroupHeartbeatRequest,
        owned: Option<&Partitions>,
    ) -> Result<(), Refusal> {
        let group = self.consumer(id);
        let joining = request.member_epoch == JOIN_EPOCH;
        let full = group.members.len() >= world.settings.consumer_size_max;
        if joining && full && !group.members.contains_key(member) {
            let most = world.settings.consumer_size_max;
            let why = format!("The consumer group has reached its maximum capacity of {most} members.");
            return refuse(ErrorCode::GROUP_MAX_SIZE_REACHED, why);
        }
        if let Some(instance) = &request.instance_id {
            let holder = group.instances.get(instance).cloned();
            match (joining, holder) {
                (true, Some(holder)) if holder != *member => {
                    return self.take_over(world, effects, id, &holder, member, instance);
                }
                (true, _) => {}
                (false, None) => {
                    return refuse(ErrorCode::UNKNOWN_MEMBER_ID, format!("Instance id {instance} is unknown."));
                }
                (false, Some(holder)) if holder != *member => {
                    let why =
                        format!("Static member {member} with instance id {instance} was fenced by member {holder}.");
                    return refuse(ErrorCode::FENCED_INSTANCE_ID, why);
                }
                (false, Some(_)) => {}
            }
        }
        if joining {
            return Ok(());
        }
        let group = self.consumer(id);
        let Ok(known) = group.member(member) else {
            return refuse(ErrorCode::UNKNOWN_MEMBER_ID, format!("Member {member} is not a member of group {id}."));
        };
        check_epoch(known, request.member_epoch, owned)
    }

    /// A static member is back under another id: it gets what it had, and nobody else has to move.
    fn take_over(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        id: &Text,
        holder: &Text,
        member: &Text,
        instance: &Text,
    ) -> Result<(), Refusal> {
        let before = self.consumer(id).members[holder].clone();
        if before.epoch != LEAVE_STATIC_EPOCH {
            let why = format!(
                "Static member {member} with instance id {instance} cannot join the group because the instance id is owned by {holder} member."
            );
            return refuse(ErrorCode::UNRELEASED_INSTANCE_ID, why);
        }
        self.replace_member(world, effects, id, holder, member, before);
        Ok(())
    }

    /// Gives a member's place to another id.
    pub(super) fn replace_member(
        &mut self,
        _world: World<'_>,
        effects: &mut Effects,
        id: &Text,
        holder: &Text,
        member: &Text,
        before: ConsumerMember,
    ) {
        let target = self.consumer(id).targets.get(holder).map(to_record).unwrap_or_default();
        self.erase_member(effects, id, holder);
        let key = MemberKey { group: id.clone(), member: member.clone() };
        self.put(effects, GroupRecord::Member(key.clone(), Some(before.wants.clone())));
        self.put(effects, GroupRecord::TargetMember(key.clone(), Some(TargetMemberValue { topic_partitions: target })));
        let current = CurrentValue { assigned_partitions: to_record(&before.assigned), ..Default::default() };
        self.put(effects, GroupRecord::Current(key, Some(current)));
    }

    fn consumer_leave(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = request.group_id.detached();
        let Some(Group::Consumer(group)) = self.groups.get(&id) else {
            return refuse(ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {id} not found."));
        };
        let member = match &request.instance_id {
            None => request.member_id.detached(),
            Some(instance) => match group.instances.get(instance) {
                Some(holder) if *holder == request.member_id => holder.clone(),
                Some(holder) => {
                    let why = format!("Instance id {instance} belongs to member {holder}.");
                    return refuse(ErrorCode::FENCED_INSTANCE_ID, why);
                }
                None => return refuse(ErrorCode::UNKNOWN_MEMBER_ID, format!("Instance id {instance} is unknown.")),
            },
        };
        let Some(known) = group.members.get(&member) else {
            return refuse(ErrorCode::UNKNOWN_MEMBER_ID, format!("Member {member} is not a member of group {id}."));
        };
        if request.member_epoch == LEAVE_STATIC_EPOCH {
            // Its place is kept until its session ends.
            let left = ConsumerMember { epoch: LEAVE_STATIC_EPOCH, revoking: Partitions::new(), ..known.clone() };
            self.timers.cancel(TimerKey::Revocation(id.clone(), member.clone()));
            let key = MemberKey { group: id, member: member.clone() };
            self.put(effects, GroupRecord::Current(key, Some(left.to_record())));
        } else {
            self.remove_members(world, effects, &id, std::slice::from_ref(&member));
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(member),
            member_epoch: request.member_epoch,
            ..Default::default()
        })
    }

    /// A member's session begins anew.
    pub(super) fn heard_of_consumer(&mut self, world: World<'_>, effects: &mut Effects, id: &Text, member: &Text) {
        let known = self.consumer(id).members.get(member);
        let classic = known.and_then(|known| known.wants.classic_member_metadata.as_ref());
        let ms = classic.map_or_else(|| world.consumer_times(id).0, |classic| classic.session_timeout_ms);
        self.turn(world, effects).after(TimerKey::ConsumerSession(id.clone(), member.clone()), ms);
    }

    /// A member was not heard of in time, or did not do in time what it had to.
    pub(in crate::groups) fn on_consumer_timeout(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        id: &Text,
        member: &Text,
    ) {
        let known = matches!(self.groups.get(id), Some(Group::Consumer(group)) if group.members.contains_key(member));
        if known {
            self.remove_members(world, effects, id, std::slice::from_ref(member));
        }
    }
}

/// What can be said of a request without knowing the group, in Kafka's words.
fn check(world: World<'_>, version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |why: &str| refuse(ErrorCode::INVALID_REQUEST, why);
    let names = request.subscribed_topic_names.iter().flatten();
    if names.map(|name| name.len() + 4).sum::<usize>() > SUBSCRIPTION_BYTES_MAX {
        return invalid("SubscribedTopicNames has too many names.");
    }
    let joining = request.member_epoch == JOIN_EPOCH;
    let is_empty = |text: &Option<Text>| text.as_ref().is_some_and(|text| text.is_empty());
    if request.member_id.is_empty() && (version >= OWN_ID_VERSION || !joining) {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        JOIN_EPOCH => {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request.topic_partitions.as_ref().is_none_or(|partitions| !partitions.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            // An empty one is a member that reads nothing yet, as one whose pattern matches no topic so far.
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        LEAVE_STATIC_EPOCH if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < LEAVE_STATIC_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    if let Some(name) = &request.server_assignor {
        let offered = &world.settings.consumer_assignors;
        if Assignor::by_name(name).is_none_or(|assignor| !offered.contains(&assignor)) {
            let names: Vec<&str> = offered.iter().map(|assignor| assignor.name()).collect();
            let why = format!("ServerAssignor {name} is not supported. Supported assignors: {}.", names.join(", "));
            return refuse(ErrorCode::UNSUPPORTED_ASSIGNOR, why);
        }
    }
    Ok(())
}

/// Whether a member's epoch is the one it was told last, or the one before if that answer was lost on the way.
fn check_epoch(member: &ConsumerMember, epoch: i32, owned: Option<&Partitions>) -> Result<(), Refusal> {
    let fenced = |how: &str| {
        let why = format!(
            "The consumer group member has a {how} member epoch ({epoch}) than the one known by the group coordinator ({}). \
             The member must abandon all its partitions and rejoin.",
            member.epoch
        );
        refuse(ErrorCode::FENCED_MEMBER_EPOCH, why)
    };
    if epoch > member.epoch {
        return fenced("greater");
    }
    let lost = epoch == member.previous_epoch && owned.is_some_and(|owned| is_subset(owned, &member.assigned));
    if epoch < member.epoch && !lost {
        return fenced("smaller");
    }
    Ok(())
}

/// What a member says of itself now.
fn told(before: MemberValue, client: &Client, request: &ConsumerGroupHeartbeatRequest) -> MemberValue {
    let or = |new: &Option<Text>, old: Option<Text>| new.as_ref().map(Text::detached).or(old);
    let names = request.subscribed_topic_names.as_ref();
    let regex = match &request.subscribed_topic_regex {
        Some(regex) if regex.is_empty() => None,
        regex => or(regex, before.subscribed_topic_regex),
    };
    MemberValue {
        instance_id: or(&request.instance_id, before.instance_id),
        rack_id: or(&request.rack_id, before.rack_id),
        client_id: client.id.detached(),
        client_host: client.host.clone(),
        subscribed_topic_names: names
            .map_or(before.subscribed_topic_names, |names| names.iter().map(Text::detached).collect()),
        subscribed_topic_regex: regex,
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            ms => ms,
        },
        server_assignor: or(&request.server_assignor, before.server_assignor),
        classic_member_metadata: None,
    }
}

pub(super) fn from_wire(topics: &[TopicPartitions]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        partitions.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    partitions
}

fn to_wire(partitions: &Partitions) -> Vec<TopicPartitions> {
    let listed = |partitions: &BTreeSet<i32>| partitions.iter().copied().collect();
    let topics = partitions.iter();
    topics.map(|(&topic_id, partitions)| TopicPartitions { topic_id, partitions: listed(partitions) }).collect()
}

impl Coordinator {
    /// The consumer group of this id, which is known to be one.
    pub(super) fn consumer(&self, id: &Text) -> &ConsumerGroup {
        match &self.groups[id] {
            Group::Consumer(group) => group,
            Group::Classic(_) => panic!("group {id} is a classic group"),
        }
    }

    pub(super) fn consumer_mut(&mut self, id: &Text) -> &mut ConsumerGroup {
        match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) => group,
            _ => panic!("group {id} is no consumer group"),
        }
    }
}
