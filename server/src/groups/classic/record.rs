//! A classic group as a record, and back.

use bytes::Bytes;
use corelog_engine::Timestamp;

use super::group::{ClassicGroup, ClassicState, Member};
use crate::groups::record::{ClassicMemberValue, ClassicValue, GroupKey, GroupRecord};
use crate::protocol::Text;

impl ClassicGroup {
    /// The generation as it is, to be kept.
    pub(in crate::groups) fn to_record(&self) -> GroupRecord {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = self.members.values().map(|member| ClassicMemberValue {
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(&protocol),
            assignment: member.assignment.clone(),
        });
        let value = ClassicValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since.unwrap_or(Timestamp::NONE).0,
            members: members.collect(),
        };
        GroupRecord::Classic(GroupKey { group: self.id.clone() }, Some(value))
    }

    /// A group as it was kept. Of the protocols its members can do only the chosen one is known.
    pub(in crate::groups) fn from_record(id: &Text, value: &ClassicValue) -> ClassicGroup {
        let since = Some(Timestamp(value.current_state_timestamp)).filter(|since| *since != Timestamp::NONE);
        let mut group = ClassicGroup::new(id.clone(), Timestamp::NONE);
        group.state_since = since;
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type.clone()).filter(|kind| !kind.is_empty());
        group.protocol = value.protocol.clone();
        group.leader = value.leader.clone();
        group.state = if value.members.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        group.previous = group.state;
        for member in &value.members {
            let protocol = value.protocol.clone().unwrap_or_default();
            if let Some(instance) = &member.group_instance_id {
                group.static_members.insert(instance.clone(), member.member_id.clone());
            }
            let member = Member {
                id: member.member_id.clone(),
                instance: member.group_instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                // Version 0 has none, and there the session timeout was both.
                rebalance_timeout_ms: if member.rebalance_timeout > 0 {
                    member.rebalance_timeout
                } else {
                    member.session_timeout
                },
                session_timeout_ms: member.session_timeout,
                protocols: vec![(protocol, member.subscription.clone())],
                assignment: Bytes::clone(&member.assignment),
                joining: None,
                syncing: None,
                is_new: false,
            };
            group.members.insert(member.id.clone(), member);
        }
        group
    }
}
