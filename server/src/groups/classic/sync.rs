//! SyncGroup and Heartbeat: the assignment is handed in and out, and members are heard of.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::group::{ClassicGroup, ClassicState};
use crate::groups::record::RECORD_BYTES_MAX;
use crate::groups::timers::TimerKey;
use crate::groups::turn::{Answer, Ticket, Turn};
use crate::protocol::heartbeat::HeartbeatRequest;
use crate::protocol::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::protocol::{ErrorCode, Text};

impl ClassicGroup {
    /// A member wants its assignment; the leader brings everyone's. `None` if it has to wait.
    pub(in crate::groups) fn sync(
        &mut self,
        turn: &mut Turn<'_>,
        request: &SyncGroupRequest,
        ticket: Ticket,
    ) -> Option<SyncGroupResponse> {
        if let Err(error_code) = self.check_sync(request) {
            return Some(SyncGroupResponse { error_code, ..Default::default() });
        }
        let id = &request.member_id;
        match self.state {
            ClassicState::Empty | ClassicState::Dead => {
                Some(SyncGroupResponse { error_code: ErrorCode::UNKNOWN_MEMBER_ID, ..Default::default() })
            }
            ClassicState::PreparingRebalance => {
                Some(SyncGroupResponse { error_code: ErrorCode::REBALANCE_IN_PROGRESS, ..Default::default() })
            }
            ClassicState::Stable => {
                self.unsynced.remove(id);
                self.heard_of(turn, id);
                Some(self.assignment_of(id))
            }
            ClassicState::CompletingRebalance => {
                self.unsynced.remove(id);
                let before = self.members.get_mut(id).expect("it was checked").syncing.replace(ticket);
                if let Some(before) = before {
                    // It asks anew, so that nobody listens to the answer to what it asked before.
                    let response =
                        SyncGroupResponse { error_code: ErrorCode::REBALANCE_IN_PROGRESS, ..Default::default() };
                    turn.answer(before, Answer::Sync(response));
                }
                if self.is_leader(id) {
                    self.assign(turn, request);
                }
                None
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs = |theirs: &Option<Text>, ours: &Option<Text>| theirs.is_some() && theirs != ours;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    /// The leader has assigned: that is kept, and everyone who waits is told.
    fn assign(&mut self, turn: &mut Turn<'_>, request: &SyncGroupRequest) {
        let assigned: FxHashMap<&Text, &Bytes> =
            request.assignments.iter().map(|assigned| (&assigned.member_id, &assigned.assignment)).collect();
        for member in self.members.values_mut() {
            let bytes = assigned.get(&member.id).map(|bytes| Bytes::copy_from_slice(bytes));
            member.assignment = bytes.unwrap_or_default();
        }
        self.transition(ClassicState::Stable, turn.world.time);
        let record = self.to_record();
        if record.size() > RECORD_BYTES_MAX {
            // Kafka's code for a group that is larger than a record may be.
            self.fail_assignment(turn, ErrorCode::UNKNOWN_SERVER_ERROR);
            self.rebalance(turn);
            return;
        }
        turn.write(record);
        let waiting: Vec<(Text, Ticket)> =
            self.members.values_mut().filter_map(|member| Some((member.id.clone(), member.syncing.take()?))).collect();
        for (id, ticket) in waiting {
            self.heard_of(turn, &id);
            turn.answer(ticket, Answer::Sync(self.assignment_of(&id)));
        }
    }

    fn assignment_of(&self, id: &Text) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members[id].assignment.clone(),
            ..Default::default()
        }
    }

    /// A member is alive.
    pub(in crate::groups) fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest) -> ErrorCode {
        if let Err(code) = self.member(&request.member_id, request.group_instance_id.as_ref()) {
            return code;
        }
        if request.generation_id != self.generation {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        match self.state {
            ClassicState::Empty | ClassicState::Dead => ErrorCode::UNKNOWN_MEMBER_ID,
            ClassicState::PreparingRebalance => {
                self.heard_of(turn, &request.member_id);
                ErrorCode::REBALANCE_IN_PROGRESS
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.heard_of(turn, &request.member_id);
                ErrorCode::NONE
            }
        }
    }

    /// Whether somebody may commit offsets: a member in its generation, or anybody where there are no members.
    pub(in crate::groups) fn check_commit(
        &self,
        id: &Text,
        instance: Option<&Text>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == ClassicState::Empty {
            return Ok(());
        }
        if generation < 0 && id.is_empty() && instance.is_none() {
            // A stranger would move what the members are reading.
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.member(id, instance)?;
        if generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        if self.state == ClassicState::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    /// Its session begins anew.
    pub(in crate::groups) fn heard_of(&self, turn: &mut Turn<'_>, id: &Text) {
        if let Some(member) = self.members.get(id) {
            turn.after(TimerKey::Session(self.id.clone(), member.id.clone()), member.session_timeout_ms);
        }
    }
}
