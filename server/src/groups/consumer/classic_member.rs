//! Members of a consumer group that still speak the classic protocol: JoinGroup is their subscription, SyncGroup their
//! assignment, Heartbeat how they learn that they have to join again.

use super::group::{ConsumerMember, MemberState, Partitions};
use super::heartbeat::SUBSCRIPTION_BYTES_MAX;
use super::migration::classic_assignment;
use crate::groups::consumer_protocol::{CONSUMER, Subscription};
use crate::groups::coordinator::Coordinator;
use crate::groups::record::{ClassicMemberMetadata, ClassicProtocol, MemberValue};
use crate::groups::timers::TimerKey;
use crate::groups::turn::{Client, Effects, World};
use crate::protocol::heartbeat::HeartbeatRequest;
use crate::protocol::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::protocol::leave_group::{MemberIdentity, MemberResponse};
use crate::protocol::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::protocol::{ErrorCode, Text};

/// The first version in which a member has to ask again with the id it was given (KIP-394).
const KNOWN_ID_VERSION: i16 = 4;

impl Coordinator {
    /// JoinGroup of a member of a consumer group.
    pub(in crate::groups) fn classic_join(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        client: &Client,
        request: &JoinGroupRequest,
    ) -> JoinGroupResponse {
        let id = request.group_id.detached();
        let joined = self.classic_join_member(world, effects, client, request, &id);
        joined.unwrap_or_else(|(error_code, member_id)| JoinGroupResponse {
            error_code,
            member_id,
            ..Default::default()
        })
    }

    fn classic_join_member(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        client: &Client,
        request: &JoinGroupRequest,
        id: &Text,
    ) -> Result<JoinGroupResponse, (ErrorCode, Text)> {
        let refuse = |code| Err((code, request.member_id.clone()));
        let group = self.consumer(id);
        if group.members.len() >= world.settings.consumer_size_max && !group.members.contains_key(&request.member_id) {
            return Err((ErrorCode::GROUP_MAX_SIZE_REACHED, Text::default()));
        }
        let first = request.protocols.first().filter(|_| request.protocol_type == CONSUMER);
        let Some(Ok((_, subscription))) = first.map(|first| Subscription::decode(&first.metadata)) else {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        };
        let told: usize = request.protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum();
        if told > SUBSCRIPTION_BYTES_MAX {
            return refuse(ErrorCode::INVALID_REQUEST);
        }
        let common = |member: &ConsumerMember, name: &Text| {
            let classic = member.wants.classic_member_metadata.as_ref();
            classic.is_none_or(|classic| classic.supported_protocols.iter().any(|protocol| protocol.name == *name))
        };
        let mut others = group.members.iter().filter(|(other, _)| **other != request.member_id);
        let names = request.protocols.iter().map(|protocol| &protocol.name);
        let agreed = names.into_iter().any(|name| others.clone().all(|(_, member)| common(member, name)));
        if !agreed && others.next().is_some() {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let member = self.classic_identity(world, effects, client, request, id)?;

        let protocols = request.protocols.iter().map(|protocol| ClassicProtocol {
            name: protocol.name.detached(),
            metadata: bytes::Bytes::copy_from_slice(&protocol.metadata),
        });
        let wants = MemberValue {
            instance_id: request.group_instance_id.as_ref().map(Text::detached),
            rack_id: subscription.rack_id.as_ref().map(Text::detached),
            client_id: client.id.detached(),
            client_host: client.host.clone(),
            subscribed_topic_names: subscription.topics.iter().map(Text::detached).collect(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            classic_member_metadata: Some(ClassicMemberMetadata {
                session_timeout_ms: request.session_timeout_ms,
                supported_protocols: protocols.collect(),
            }),
            ..Default::default()
        };
        let mut owned = Partitions::new();
        for topic in subscription.owned_partitions.iter().filter(|topic| !topic.partitions.is_empty()) {
            if let Some(known) = world.image.topic(&topic.topic) {
                owned.entry(known.id).or_default().extend(&topic.partitions);
            }
        }
        let changed = self.note_member(effects, id, &member, wants);
        self.follow(world, effects, id, changed);
        self.bring_on(world, effects, id, &member, Some(&owned));
        self.timers.cancel(TimerKey::ConsumerJoin(id.clone(), member.clone()));
        self.heard_of_consumer(world, effects, id, &member);
        let now = self.consumer(id).members[&member].clone();
        let sync = TimerKey::ConsumerSync(id.clone(), member.clone());
        self.turn(world, effects).after(sync, now.wants.rebalance_timeout_ms);
        Ok(JoinGroupResponse {
            generation_id: now.epoch,
            protocol_type: Some(Text::from_static(CONSUMER)),
            protocol_name: request.protocols.first().map(|protocol| protocol.name.clone()),
            member_id: member,
            ..Default::default()
        })
    }

    /// The id under which a member joins.
    fn classic_identity(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        client: &Client,
        request: &JoinGroupRequest,
        id: &Text,
    ) -> Result<Text, (ErrorCode, Text)> {
        let new = |name: &Text| Text::from(format!("{name}-{}", uuid::Uuid::new_v4()));
        let group = self.consumer(id);
        match &request.group_instance_id {
            None if !request.member_id.is_empty() => {
                // An id that was given out is not kept; whoever brings one back has it from here.
                Ok(request.member_id.detached())
            }
            None if client.version >= KNOWN_ID_VERSION => Err((ErrorCode::MEMBER_ID_REQUIRED, new(&client.id))),
            None => Ok(new(&client.id)),
            Some(instance) => match group.instances.get(instance).cloned() {
                Some(holder) if request.member_id.is_empty() => {
                    let member = new(instance);
                    let before = group.members[&holder].clone();
                    self.replace_member(world, effects, id, &holder, &member, before);
                    Ok(member)
                }
                Some(holder) if holder == request.member_id => Ok(holder),
                Some(_) => Err((ErrorCode::FENCED_INSTANCE_ID, request.member_id.clone())),
                None if request.member_id.is_empty() => Ok(new(instance)),
                None => Err((ErrorCode::UNKNOWN_MEMBER_ID, request.member_id.clone())),
            },
        }
    }

    /// The member of the classic protocol that a request names.
    fn classic_member(&self, id: &Text, member: &Text, instance: Option<&Text>) -> Result<&ConsumerMember, ErrorCode> {
        let group = self.consumer(id);
        if let Some(instance) = instance {
            match group.instances.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(holder) if holder != member => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        let known = group.member(member)?;
        if known.is_classic() { Ok(known) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// SyncGroup of a member of a consumer group.
    pub(in crate::groups) fn classic_sync(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        request: &SyncGroupRequest,
    ) -> SyncGroupResponse {
        let id = request.group_id.detached();
        let synced = self.classic_assignment_of(world, effects, request, &id);
        synced.unwrap_or_else(|error_code| SyncGroupResponse { error_code, ..Default::default() })
    }

    fn classic_assignment_of(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        request: &SyncGroupRequest,
        id: &Text,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let member = self.classic_member(id, &request.member_id, request.group_instance_id.as_ref())?.clone();
        if request.generation_id != member.epoch {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let protocols = member.wants.classic_member_metadata.iter().flat_map(|classic| &classic.supported_protocols);
        let protocol = protocols.map(|protocol| protocol.name.clone()).next();
        let kind = request.protocol_type.as_deref();
        let name = request.protocol_name.as_ref();
        if kind.is_some_and(|kind| kind != CONSUMER) || name.is_some_and(|name| Some(name) != protocol.as_ref()) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if self.consumer(id).epoch > member.epoch && member.state != MemberState::Unrevoked {
            self.expect_join(world, effects, id, &request.member_id, &member);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.timers.cancel(TimerKey::ConsumerSync(id.clone(), request.member_id.detached()));
        self.heard_of_consumer(world, effects, id, &request.member_id.detached());
        Ok(SyncGroupResponse {
            protocol_type: Some(Text::from_static(CONSUMER)),
            protocol_name: protocol,
            assignment: classic_assignment(world, &member),
            ..Default::default()
        })
    }

    /// Heartbeat of a member of a consumer group.
    pub(in crate::groups) fn classic_heartbeat(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        request: &HeartbeatRequest,
    ) -> ErrorCode {
        let id = request.group_id.detached();
        let member = match self.classic_member(&id, &request.member_id, request.group_instance_id.as_ref()) {
            Ok(member) => member.clone(),
            Err(code) => return code,
        };
        if request.generation_id != member.epoch {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        let member_id = request.member_id.detached();
        self.heard_of_consumer(world, effects, &id, &member_id);
        // The cluster may have changed, of which no other member might tell.
        self.follow(world, effects, &id, false);
        let group = self.consumer(&id);
        let has_to_join = member.epoch < group.epoch
            || member.state == MemberState::Unrevoked
            || (member.state == MemberState::Unreleased && !group.waits_for_others(&member_id));
        if !has_to_join {
            return ErrorCode::NONE;
        }
        self.expect_join(world, effects, &id, &member_id, &member);
        ErrorCode::REBALANCE_IN_PROGRESS
    }

    /// A member was told to join again: it has its rebalance timeout to do so.
    fn expect_join(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        id: &Text,
        member: &Text,
        known: &ConsumerMember,
    ) {
        let timer = TimerKey::ConsumerJoin(id.clone(), member.detached());
        if !self.timers.is_set(&timer) {
            self.turn(world, effects).after(timer, known.wants.rebalance_timeout_ms);
        }
    }

    /// LeaveGroup of members of a consumer group: those of the classic protocol by id, static ones of either by name.
    pub(in crate::groups) fn classic_leave(
        &mut self,
        world: World<'_>,
        effects: &mut Effects,
        id: &Text,
        members: &[MemberIdentity],
    ) -> Vec<MemberResponse> {
        let id = id.detached();
        let mut leaving: Vec<Text> = Vec::new();
        let responses = members.iter().map(|identity| {
            let found = match &identity.group_instance_id {
                Some(instance) if identity.member_id.is_empty() => {
                    self.consumer(&id).instances.get(instance).cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
                }
                instance => {
                    let found = self.classic_member(&id, &identity.member_id, instance.as_ref());
                    found.map(|_| identity.member_id.detached())
                }
            };
            let found = found.and_then(|member| {
                if leaving.contains(&member) {
                    return Err(ErrorCode::UNKNOWN_MEMBER_ID);
                }
                leaving.push(member);
                Ok(())
            });
            MemberResponse {
                member_id: identity.member_id.clone(),
                group_instance_id: identity.group_instance_id.clone(),
                error_code: found.err().unwrap_or_default(),
            }
        });
        let responses = responses.collect();
        self.remove_members(world, effects, &id, &leaving);
        responses
    }
}
