//! A classic group: its state, its members, and what can be said of it without changing it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use corelog_engine::Timestamp;
use rustc_hash::FxHashMap;

use crate::groups::consumer_protocol::{CONSUMER, Subscription};
use crate::groups::turn::Ticket;
use crate::protocol::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::protocol::join_group::{JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember};
use crate::protocol::{ErrorCode, Text};

/// Where a group is between two generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum ClassicState {
    /// No members; offsets may be kept.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// All have joined; the leader assigns.
    CompletingRebalance,
    /// All know what is theirs.
    Stable,
    /// Forgotten; only a turn sees it so.
    Dead,
}

impl ClassicState {
    /// Kafka's name of it.
    pub(in crate::groups) fn name(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
            ClassicState::Dead => "Dead",
        }
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::groups) struct Member {
    pub(in crate::groups) id: Text,
    pub(in crate::groups) instance: Option<Text>,
    pub(in crate::groups) client_id: Text,
    pub(in crate::groups) client_host: Text,
    pub(in crate::groups) rebalance_timeout_ms: i32,
    pub(in crate::groups) session_timeout_ms: i32,
    /// What it can do, the best first, with what it tells the leader.
    pub(in crate::groups) protocols: Vec<(Text, Bytes)>,
    pub(in crate::groups) assignment: Bytes,
    /// Its JoinGroup waits for the others.
    pub(in crate::groups) joining: Option<Ticket>,
    /// Its SyncGroup waits for the leader.
    pub(in crate::groups) syncing: Option<Ticket>,
    /// It has never got an answer to a JoinGroup, so that it cannot send heartbeats.
    pub(in crate::groups) is_new: bool,
}

impl Member {
    /// What it tells with a protocol.
    pub(in crate::groups) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| *name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Whether it can do just the same as these, in the same order.
    pub(super) fn matches(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|((name, data), other)| *name == other.name && *data == other.metadata)
    }

    /// Whether it may be silent now, since it waits for an answer.
    pub(super) fn may_be_silent(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }
}

/// A classic group.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::groups) struct ClassicGroup {
    pub(in crate::groups) id: Text,
    pub(in crate::groups) state: ClassicState,
    /// The state before this one.
    pub(super) previous: ClassicState,
    /// Since when it is in its state; none for one that was never told.
    pub(in crate::groups) state_since: Option<Timestamp>,
    pub(in crate::groups) generation: i32,
    /// What kind of group it is; none for one that only keeps offsets.
    pub(in crate::groups) protocol_type: Option<Text>,
    /// The protocol of the generation.
    pub(in crate::groups) protocol: Option<Text>,
    pub(in crate::groups) leader: Option<Text>,
    pub(in crate::groups) members: BTreeMap<Text, Member>,
    /// Static members' ids by their names.
    pub(in crate::groups) static_members: FxHashMap<Text, Text>,
    /// Ids that were given out to clients that have not joined with them yet (KIP-394).
    pub(super) pending: BTreeSet<Text>,
    /// Members that have not asked for their assignment yet.
    pub(super) unsynced: BTreeSet<Text>,
    /// Somebody came while the first rebalance was delayed.
    pub(super) somebody_came: bool,
    /// The first rebalance is delayed for so many milliseconds more, at most.
    pub(super) delay_left_ms: i32,
}

impl ClassicGroup {
    /// A group with no members.
    pub(in crate::groups) fn new(id: Text, time: Timestamp) -> ClassicGroup {
        ClassicGroup {
            id,
            state: ClassicState::Empty,
            previous: ClassicState::Dead,
            state_since: Some(time),
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: FxHashMap::default(),
            pending: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            somebody_came: false,
            delay_left_ms: 0,
        }
    }

    pub(super) fn transition(&mut self, state: ClassicState, time: Timestamp) {
        self.previous = std::mem::replace(&mut self.state, state);
        self.state_since = Some(time);
    }

    /// Whether it only keeps offsets: no member ever joined.
    pub(in crate::groups) fn is_simple(&self) -> bool {
        self.protocol_type.is_none()
    }

    /// Whether ids were given out to clients that have not joined with them yet.
    pub(in crate::groups) fn awaits_members(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether its members are consumers, whose subscriptions can be read.
    pub(in crate::groups) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    pub(super) fn is_leader(&self, member: &Text) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// The longest rebalance timeout of its members, in milliseconds.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// The member that a request names, by id and, where it is static, by its name.
    pub(super) fn member(&self, id: &Text, instance: Option<&Text>) -> Result<&Member, ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(current) if current != id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        self.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
    }

    /// Whether somebody with these protocols can take part.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all =
            |name: &Text| self.members.values().all(|member| member.protocols.iter().any(|(has, _)| has == name));
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(|protocol| by_all(&protocol.name))
    }

    /// The protocol that most members like best of those that all can do.
    pub(super) fn select_protocol(&self) -> Option<Text> {
        let mut votes: BTreeMap<&Text, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut liked = member.protocols.iter().map(|(name, _)| name);
            let all =
                |name: &&Text| self.members.values().all(|other| other.protocols.iter().any(|(has, _)| has == *name));
            if let Some(best) = liked.find(all) {
                *votes.entry(best).or_default() += 1;
            }
        }
        // Of equal ones the first by name, so that it does not depend on the order of the members.
        let best = votes.into_iter().max_by(|(a, votes_a), (b, votes_b)| votes_a.cmp(votes_b).then(b.cmp(a)));
        best.map(|(name, _)| name.clone())
    }

    /// Whether all known members, and those that are about to become so, have joined.
    pub(super) fn all_have_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    pub(super) fn joining_count(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    /// The topics that its members read, if that can be known.
    pub(in crate::groups) fn subscribed_topics(&self) -> Option<BTreeSet<Text>> {
        if !self.is_of_consumers() {
            return None;
        }
        let Some(protocol) = &self.protocol else {
            return self.members.is_empty().then(BTreeSet::new);
        };
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let (_, subscription) = Subscription::decode(&member.metadata(protocol)).ok()?;
            topics.extend(subscription.topics);
        }
        Some(topics)
    }

    /// Whether it reads a topic; consumers whose subscriptions cannot be read may read any.
    pub(in crate::groups) fn reads(&self, topic: &Text) -> bool {
        self.subscribed_topics().map_or(self.is_of_consumers(), |topics| topics.contains(topic))
    }

    /// What a member is told of the generation.
    pub(super) fn generation_for(&self, member: &Text) -> JoinGroupResponse {
        let protocol = self.protocol.clone().unwrap_or_default();
        let described = self.members.values().map(|member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            metadata: member.metadata(&protocol),
        });
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member.clone(),
            members: if self.is_leader(member) { described.collect() } else { Vec::new() },
            ..Default::default()
        }
    }

    /// What an operator is told of it.
    pub(in crate::groups) fn describe(&self) -> DescribedGroup {
        let stable = self.state == ClassicState::Stable;
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = self.members.values().map(|member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: if stable { member.metadata(&protocol) } else { Bytes::new() },
            member_assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        });
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: Text::from_static(self.state.name()),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: if stable { protocol.clone() } else { Text::default() },
            members: members.collect(),
            ..Default::default()
        }
    }
}
