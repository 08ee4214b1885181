//! JoinGroup: who may take part in the next generation, and who may wait for it.

use bytes::Bytes;
use uuid::Uuid;

use super::group::{ClassicGroup, ClassicState, Member};
use crate::groups::timers::TimerKey;
use crate::groups::turn::{Answer, Client, Ticket, Turn};
use crate::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::protocol::sync_group::SyncGroupResponse;
use crate::protocol::{ErrorCode, Text};

/// How long the JoinGroup of a new member may wait. It cannot send heartbeats and its going away is not noticed; if it
/// is still there it asks again.
const NEW_MEMBER_JOIN_MS: i32 = 5 * 60 * 1000;
/// The first version in which a member has to ask again with the id it was given (KIP-394).
const KNOWN_ID_VERSION: i16 = 4;
/// The first version in which a leader can be told to leave the assignment as it is (KIP-814).
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

/// An answer that refuses.
pub(in crate::groups) fn refused(code: ErrorCode, member: Text) -> JoinGroupResponse {
    JoinGroupResponse { error_code: code, member_id: member, ..Default::default() }
}

impl ClassicGroup {
    /// A client joins, for the first time or again. `None` if it has to wait.
    pub(in crate::groups) fn join(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
        ticket: Ticket,
    ) -> Option<JoinGroupResponse> {
        let id = &request.member_id;
        if !self.has_room_for(id, turn.world.settings.size_max) {
            if !id.is_empty() {
                self.remove(turn, id);
            }
            return Some(refused(ErrorCode::GROUP_MAX_SIZE_REACHED, Text::default()));
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return Some(refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL, id.detached()));
        }
        if id.is_empty() {
            return self.join_new(turn, client, request, ticket);
        }
        if self.pending.contains(id) && request.group_instance_id.is_none() {
            self.add(turn, client, request, id.detached(), ticket);
            return None;
        }
        if let Err(code) = self.member(id, request.group_instance_id.as_ref()) {
            return Some(refused(code, id.detached()));
        }
        self.join_again(turn, request, ticket)
    }

    /// Whether there is room for one more, or for who is there already.
    fn has_room_for(&self, id: &Text, size_max: usize) -> bool {
        match self.state {
            ClassicState::Empty | ClassicState::Dead => true,
            ClassicState::PreparingRebalance => {
                self.members.get(id).is_some_and(|member| member.joining.is_some()) || self.joining_count() < size_max
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(id) || self.members.len() < size_max
            }
        }
    }

    fn join_new(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
        ticket: Ticket,
    ) -> Option<JoinGroupResponse> {
        if let Some(instance) = &request.group_instance_id {
            let id = Text::from(format!("{instance}-{}", Uuid::new_v4()));
            let Some(before) = self.static_members.get(instance).cloned() else {
                self.add(turn, client, request, id, ticket);
                return None;
            };
            return self.replace(turn, client, request, &before, id, ticket);
        }
        let id = Text::from(format!("{}-{}", client.id, Uuid::new_v4()));
        if client.version >= KNOWN_ID_VERSION {
            self.pending.insert(id.clone());
            turn.after(TimerKey::Session(self.id.clone(), id.clone()), request.session_timeout_ms);
            return Some(refused(ErrorCode::MEMBER_ID_REQUIRED, id));
        }
        self.add(turn, client, request, id, ticket);
        None
    }

    fn join_again(
        &mut self,
        turn: &mut Turn<'_>,
        request: &JoinGroupRequest,
        ticket: Ticket,
    ) -> Option<JoinGroupResponse> {
        let id = &request.member_id;
        let same = self.members[id].matches(&request.protocols);
        let goes_on = match self.state {
            ClassicState::PreparingRebalance => false,
            // Its first answer may have been lost.
            ClassicState::CompletingRebalance => same,
            // The leader asks since it has seen a reason to assign again.
            ClassicState::Stable => same && !self.is_leader(id),
            ClassicState::Empty | ClassicState::Dead => {
                return Some(refused(ErrorCode::UNKNOWN_MEMBER_ID, id.detached()));
            }
        };
        if goes_on {
            return Some(self.generation_for(&id.detached()));
        }
        self.update(turn, id, request, Some(ticket));
        self.rebalance_or_complete(turn);
        None
    }

    fn add(&mut self, turn: &mut Turn<'_>, client: &Client, request: &JoinGroupRequest, id: Text, ticket: Ticket) {
        let instance = request.group_instance_id.as_ref().map(Text::detached);
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.detached());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        if let Some(instance) = &instance {
            self.static_members.insert(instance.clone(), id.clone());
        }
        self.pending.remove(&id);
        let member = Member {
            id: id.clone(),
            instance,
            client_id: client.id.detached(),
            client_host: client.host.clone(),
            rebalance_timeout_ms: rebalance_timeout(request),
            session_timeout_ms: request.session_timeout_ms,
            protocols: detached(&request.protocols),
            assignment: Bytes::new(),
            joining: Some(ticket),
            syncing: None,
            is_new: true,
        };
        self.members.insert(id.clone(), member);
        if self.state == ClassicState::PreparingRebalance && self.previous == ClassicState::Empty {
            self.somebody_came = true;
        }
        turn.after(TimerKey::Session(self.id.clone(), id), NEW_MEMBER_JOIN_MS);
        self.rebalance_or_complete(turn);
    }

    /// Notes what a member says of itself now, and that it waits.
    fn update(&mut self, turn: &mut Turn<'_>, id: &Text, request: &JoinGroupRequest, ticket: Option<Ticket>) {
        let member = self.members.get_mut(id).expect("the member was looked up");
        member.protocols = detached(&request.protocols);
        member.rebalance_timeout_ms = rebalance_timeout(request);
        member.session_timeout_ms = request.session_timeout_ms;
        let before = std::mem::replace(&mut member.joining, ticket);
        // It asks anew, so that nobody listens to the answer to what it asked before.
        if let Some(before) = before.filter(|before| Some(*before) != ticket) {
            turn.answer(before, Answer::Join(refused(ErrorCode::REBALANCE_IN_PROGRESS, id.detached())));
        }
    }

    /// A static member is back under a new id.
    fn replace(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
        before: &Text,
        id: Text,
        ticket: Ticket,
    ) -> Option<JoinGroupResponse> {
        let leader_before = self.leader.clone().unwrap_or_default();
        let mut member = self.members.remove(before).expect("a static member is a member");
        turn.timers.cancel(TimerKey::Session(self.id.clone(), before.clone()));
        if let Some(ticket) = member.joining.take() {
            turn.answer(ticket, Answer::Join(refused(ErrorCode::FENCED_INSTANCE_ID, before.clone())));
        }
        if let Some(ticket) = member.syncing.take() {
            let response = SyncGroupResponse { error_code: ErrorCode::FENCED_INSTANCE_ID, ..Default::default() };
            turn.answer(ticket, Answer::Sync(response));
        }
        member.id = id.clone();
        member.client_id = client.id.detached();
        member.client_host = client.host.clone();
        if self.is_leader(before) {
            self.leader = Some(id.clone());
        }
        if self.unsynced.remove(before) {
            self.unsynced.insert(id.clone());
        }
        let instance = member.instance.clone().expect("it is static");
        self.static_members.insert(instance, id.clone());
        self.members.insert(id.clone(), member);
        turn.after(TimerKey::Session(self.id.clone(), id.clone()), request.session_timeout_ms);
        self.update(turn, &id, request, None);
        if self.state == ClassicState::Stable && self.select_protocol() == self.protocol {
            turn.write(self.to_record());
            let mut response = self.generation_for(&id);
            if client.version >= SKIP_ASSIGNMENT_VERSION {
                response.skip_assignment = self.is_leader(&id);
            } else {
                // The assignment stands. A leader that does not know how to skip it must not take itself for the leader.
                response.leader = leader_before;
                response.members = Vec::new();
            }
            return Some(response);
        }
        self.members.get_mut(&id).expect("it was put there").joining = Some(ticket);
        self.rebalance_or_complete(turn);
        None
    }
}

/// Version 0 has no rebalance timeout: there the session timeout is both.
fn rebalance_timeout(request: &JoinGroupRequest) -> i32 {
    if request.rebalance_timeout_ms < 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms }
}

/// In memory of its own, since it outlives the request.
fn detached(protocols: &[JoinGroupRequestProtocol]) -> Vec<(Text, Bytes)> {
    protocols.iter().map(|protocol| (protocol.name.detached(), Bytes::copy_from_slice(&protocol.metadata))).collect()
}
