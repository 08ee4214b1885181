//! How one generation follows the other: everyone is waited for, and told.

use corelog_engine::Timestamp;

use super::group::{ClassicGroup, ClassicState, Member};
use super::join::refused;
use crate::groups::timers::TimerKey;
use crate::groups::turn::{Answer, Turn};
use crate::protocol::sync_group::SyncGroupResponse;
use crate::protocol::{ErrorCode, Text};

impl ClassicGroup {
    /// Something changed: begins a rebalance, or ends the one under way if that was all it waited for.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance | ClassicState::Empty => self.rebalance(turn),
            ClassicState::PreparingRebalance => self.complete_if_all_joined(turn),
            ClassicState::Dead => {}
        }
    }

    /// Begins a rebalance: members learn of it by their heartbeats, and join again.
    pub(in crate::groups) fn rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state == ClassicState::CompletingRebalance {
            self.fail_assignment(turn, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.unsynced.clear();
        turn.timers.cancel(TimerKey::Sync(self.id.clone()));
        let first = self.state == ClassicState::Empty;
        self.transition(ClassicState::PreparingRebalance, turn.world.time);
        if first {
            // More members are likely to come, and each would mean a rebalance of its own.
            let delay = turn.world.settings.initial_rebalance_delay_ms.max(0);
            self.somebody_came = false;
            self.delay_left_ms = (self.rebalance_timeout_ms() - delay).max(0);
            turn.after(TimerKey::Join(self.id.clone()), delay);
            return;
        }
        turn.after(TimerKey::Join(self.id.clone()), self.rebalance_timeout_ms());
        self.complete_if_all_joined(turn);
    }

    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        let delayed = self.previous == ClassicState::Empty;
        if self.state == ClassicState::PreparingRebalance && self.all_have_joined() && !delayed {
            self.complete_join(turn);
        }
    }

    /// The time to join is over.
    pub(in crate::groups) fn on_join_timeout(&mut self, turn: &mut Turn<'_>) {
        if self.state != ClassicState::PreparingRebalance {
            return;
        }
        if self.previous == ClassicState::Empty && self.somebody_came && self.delay_left_ms > 0 {
            let delay = turn.world.settings.initial_rebalance_delay_ms.clamp(0, self.delay_left_ms);
            self.somebody_came = false;
            self.delay_left_ms -= delay;
            turn.after(TimerKey::Join(self.id.clone()), delay);
            return;
        }
        self.complete_join(turn);
    }

    /// Those who have joined are the next generation. Static members stay though they have not: they are given time to
    /// come back until their sessions end.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        turn.timers.cancel(TimerKey::Join(self.id.clone()));
        let missing = self.members.values().filter(|member| member.joining.is_none() && member.instance.is_none());
        let missing: Vec<Text> = missing.map(|member| member.id.clone()).collect();
        for id in missing {
            self.remove(turn, &id);
        }
        if !self.elect_leader() {
            // Nobody has joined, and the members that are left are static: their sessions end this.
            turn.after(TimerKey::Join(self.id.clone()), self.rebalance_timeout_ms());
            return;
        }
        self.generation += 1;
        self.unsynced.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.transition(ClassicState::Empty, turn.world.time);
            turn.write(self.to_record());
            return;
        }
        self.protocol = self.select_protocol();
        self.transition(ClassicState::CompletingRebalance, turn.world.time);
        let ids: Vec<Text> = self.members.keys().cloned().collect();
        for id in ids {
            let response = self.generation_for(&id);
            let member = self.members.get_mut(&id).expect("its id was listed");
            member.is_new = false;
            let (ticket, session) = (member.joining.take(), member.session_timeout_ms);
            if let Some(ticket) = ticket {
                turn.answer(ticket, Answer::Join(response));
                turn.after(TimerKey::Session(self.id.clone(), id.clone()), session);
            }
            self.unsynced.insert(id);
        }
        turn.after(TimerKey::Sync(self.id.clone()), self.rebalance_timeout_ms());
    }

    /// Has a leader that has joined, if anybody has; whether the generation can begin.
    fn elect_leader(&mut self) -> bool {
        if self.members.is_empty() {
            return true;
        }
        let has_joined = |id: &Text| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.values().find(|member| member.joining.is_some());
        match joined.map(|member| member.id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// The assignment comes to nothing; whoever waits for it is told.
    pub(super) fn fail_assignment(&mut self, turn: &mut Turn<'_>, error_code: ErrorCode) {
        for member in self.members.values_mut() {
            member.assignment.clear();
            if let Some(ticket) = member.syncing.take() {
                let response = SyncGroupResponse { error_code, ..Default::default() };
                turn.answer(ticket, Answer::Sync(response));
                let key = TimerKey::Session(self.id.clone(), member.id.clone());
                turn.after(key, member.session_timeout_ms);
            }
        }
    }

    /// Members that have not asked for their assignment in time are gone.
    pub(in crate::groups) fn on_sync_timeout(&mut self, turn: &mut Turn<'_>) {
        let late = std::mem::take(&mut self.unsynced);
        let going = matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable);
        if !going || late.is_empty() {
            return;
        }
        for id in &late {
            self.remove(turn, id);
        }
        self.rebalance(turn);
    }

    /// A member was not heard of in time.
    pub(in crate::groups) fn on_session_timeout(&mut self, turn: &mut Turn<'_>, id: &Text) {
        if self.pending.remove(id) {
            self.complete_if_all_joined(turn);
            return;
        }
        match self.members.get(id) {
            None => {}
            Some(member) if member.may_be_silent() => {
                // It waits for us. Its deadline begins with our answer.
            }
            Some(_) => {
                self.remove(turn, id);
                self.after_removal(turn);
            }
        }
    }

    /// A member or an id that was given out is no more; whoever waits under it is told.
    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &Text) {
        turn.timers.cancel(TimerKey::Session(self.id.clone(), id.clone()));
        self.pending.remove(id);
        self.unsynced.remove(id);
        let Some(member) = self.members.remove(id) else { return };
        if let Some(instance) = &member.instance {
            self.static_members.remove(instance);
        }
        if let Some(ticket) = member.joining {
            turn.answer(ticket, Answer::Join(refused(ErrorCode::UNKNOWN_MEMBER_ID, id.clone())));
        }
        if let Some(ticket) = member.syncing {
            let response = SyncGroupResponse { error_code: ErrorCode::UNKNOWN_MEMBER_ID, ..Default::default() };
            turn.answer(ticket, Answer::Sync(response));
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// It becomes a group of the other protocol: whoever waits asks again there.
    pub(in crate::groups) fn dissolve(&mut self, turn: &mut Turn<'_>) {
        let code = ErrorCode::REBALANCE_IN_PROGRESS;
        self.fail_assignment(turn, code);
        for member in self.members.values_mut() {
            if let Some(ticket) = member.joining.take() {
                turn.answer(ticket, Answer::Join(refused(code, member.id.clone())));
            }
        }
        for id in self.members.keys().chain(&self.pending) {
            turn.timers.cancel(TimerKey::Session(self.id.clone(), id.clone()));
        }
        turn.timers.cancel(TimerKey::Join(self.id.clone()));
        turn.timers.cancel(TimerKey::Sync(self.id.clone()));
    }

    /// It comes from a group of the other protocol, with these members.
    pub(in crate::groups) fn restore(
        &mut self,
        kind: &'static str,
        generation: i32,
        members: Vec<Member>,
        time: Timestamp,
    ) {
        self.protocol_type = Some(Text::from_static(kind));
        self.generation = generation;
        self.leader = members.first().map(|member| member.id.clone());
        for member in members {
            if let Some(instance) = &member.instance {
                self.static_members.insert(instance.clone(), member.id.clone());
            }
            self.members.insert(member.id.clone(), member);
        }
        self.protocol = self.select_protocol();
        self.transition(ClassicState::Stable, time);
    }

    /// Members were removed.
    pub(super) fn after_removal(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance => self.rebalance(turn),
            ClassicState::PreparingRebalance => self.complete_if_all_joined(turn),
            ClassicState::Empty | ClassicState::Dead => {}
        }
    }
}
