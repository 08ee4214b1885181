//! The rules of groups one by one, as tables of what is asked and what is answered.

mod classic;
mod consumer;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use corelog_engine::io::Instant;
use corelog_engine::{Timestamp, TopicId};
use corelog_replication::metadata::record::Config;
use corelog_replication::metadata::{ClusterImage, MetadataRecord, ResourceType};

use crate::groups::commit::{Commit, Committer};
use crate::groups::coordinator::Coordinator;
use crate::groups::random_histories::{add_topic, settings};
use crate::groups::settings::GroupSettings;
use crate::groups::turn::{Answer, Client, Effects, Ticket, World};
use crate::protocol::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use crate::protocol::heartbeat::HeartbeatRequest;
use crate::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::protocol::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use crate::protocol::{ErrorCode, Text};

/// A coordinator, its clock, and the answers that came later.
struct Room {
    now: Instant,
    image: ClusterImage,
    settings: GroupSettings,
    groups: Coordinator,
    answers: BTreeMap<Ticket, Answer>,
    tickets: u64,
    records: usize,
}

/// What came of a request that may have to wait.
#[derive(Debug)]
enum Got<R> {
    Now(R),
    Later(Ticket),
}

impl<R: std::fmt::Debug> Got<R> {
    fn now(self) -> R {
        match self {
            Got::Now(response) => response,
            Got::Later(_) => panic!("it has to wait"),
        }
    }

    fn later(self) -> Ticket {
        match self {
            Got::Now(response) => panic!("it need not wait: {response:?}"),
            Got::Later(ticket) => ticket,
        }
    }
}

impl Room {
    fn new() -> Room {
        let mut image = ClusterImage::new("cluster");
        add_topic(&mut image, "t", 1, 0..2);
        add_topic(&mut image, "u", 2, 0..1);
        Room {
            now: Instant(1_000_000_000),
            image,
            settings: GroupSettings { initial_rebalance_delay_ms: 0, ..settings() },
            groups: Coordinator::default(),
            answers: BTreeMap::new(),
            tickets: 0,
            records: 0,
        }
    }

    fn turn<R>(&mut self, run: impl FnOnce(&mut Coordinator, World<'_>, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let time = Timestamp((self.now.0 / 1_000_000) as i64);
        let world = World { now: self.now, time, image: &self.image, settings: &self.settings };
        let reply = run(&mut self.groups, world, &mut effects);
        self.records += effects.records.len();
        if !effects.applied {
            effects.records.iter().for_each(|record| self.groups.replay(record));
        }
        self.answers.extend(effects.answers);
        reply
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        // What falls due is done when it does.
        while let Some(deadline) = self.groups.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.turn(|groups, world, effects| groups.on_time(world, effects));
        }
        self.now = end;
    }

    fn join_as(&mut self, version: i16, change: impl FnOnce(&mut JoinGroupRequest)) -> Got<JoinGroupResponse> {
        let client = Client { id: "client".into(), host: "/host".into(), version };
        let protocols = vec![JoinGroupRequestProtocol { name: "p".into(), metadata: Bytes::from_static(b"m") }];
        let mut request = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            protocol_type: "test".into(),
            protocols,
            ..Default::default()
        };
        change(&mut request);
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        match self.turn(|groups, world, effects| groups.join(world, effects, &client, &request, ticket)) {
            Some(response) => Got::Now(response),
            None => Got::Later(ticket),
        }
    }

    fn join(&mut self, member: &str) -> Got<JoinGroupResponse> {
        self.join_as(9, |request| request.member_id = member.into())
    }

    /// An id that the coordinator gives out.
    fn id(&mut self) -> Text {
        let response = self.join("").now();
        assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED);
        response.member_id
    }

    fn joined(&mut self, ticket: Ticket) -> JoinGroupResponse {
        match self.answers.remove(&ticket) {
            Some(Answer::Join(response)) => response,
            other => panic!("no answer to a JoinGroup: {other:?}"),
        }
    }

    fn sync(&mut self, member: &Text, generation: i32, assigned: &[(&Text, &'static [u8])]) -> Got<SyncGroupResponse> {
        let assignments = assigned.iter().map(|(member, bytes)| SyncGroupRequestAssignment {
            member_id: (*member).clone(),
            assignment: Bytes::from_static(bytes),
        });
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        match self.turn(|groups, world, effects| groups.sync(world, effects, &request, ticket)) {
            Some(response) => Got::Now(response),
            // The leader's own comes with its assignment.
            None => match self.answers.remove(&ticket) {
                Some(Answer::Sync(response)) => Got::Now(response),
                _ => Got::Later(ticket),
            },
        }
    }

    fn synced(&mut self, ticket: Ticket) -> SyncGroupResponse {
        match self.answers.remove(&ticket) {
            Some(Answer::Sync(response)) => response,
            other => panic!("no answer to a SyncGroup: {other:?}"),
        }
    }

    fn beat(&mut self, member: &Text, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.clone(),
            ..Default::default()
        };
        self.turn(|groups, world, effects| groups.heartbeat(world, effects, &request))
    }

    fn leave(&mut self, member: &Text) -> ErrorCode {
        let members = vec![MemberIdentity { member_id: member.clone(), ..Default::default() }];
        let request = LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
        self.turn(|groups, world, effects| groups.leave(world, effects, 5, &request)).members[0].error_code
    }

    fn commit(&mut self, member: &Text, generation: i32, topic: &str) -> ErrorCode {
        let by = Committer { group: "g".into(), member: member.clone(), generation, version: 9, ..Default::default() };
        let commit = Commit {
            topic: topic.into(),
            topic_id: TopicId::ZERO,
            partition: 0,
            offset: 1,
            leader_epoch: 0,
            metadata: None,
        };
        match self.turn(|groups, world, effects| groups.commit(world, effects, &by, &[commit])) {
            Ok(codes) => codes[0],
            Err(code) => code,
        }
    }

    fn offset(&self, topic: &str) -> Option<i64> {
        self.groups.offsets.get(&"g".into(), &topic.into(), 0).map(|committed| committed.offset)
    }

    fn expire(&mut self) {
        self.turn(|groups, world, effects| groups.expire(world, effects));
    }

    fn state(&self) -> &'static str {
        self.groups.groups.get(&Text::from("g")).map_or("Dead", |group| group.state_name())
    }

    /// Two members in a stable generation, the leader first.
    fn two(&mut self) -> (Text, Text) {
        let (a, b) = (self.id(), self.id());
        let (join_a, join_b) = (self.join(&a).later(), self.join(&b).later());
        self.pass(0);
        let (at_a, _) = (self.joined(join_a), self.joined(join_b));
        let waiting = self.sync(&b, at_a.generation_id, &[]).later();
        self.sync(&a, at_a.generation_id, &[(&a, b"A"), (&b, b"B")]).now();
        self.synced(waiting);
        assert_eq!(self.state(), "Stable");
        (a, b)
    }

    fn consume(
        &mut self,
        member: &str,
        epoch: i32,
        change: impl FnOnce(&mut ConsumerGroupHeartbeatRequest),
    ) -> ConsumerGroupHeartbeatResponse {
        let client = Client { id: "client".into(), host: "/host".into(), version: 1 };
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: member.into(),
            member_epoch: epoch,
            ..Default::default()
        };
        if epoch == 0 {
            request.rebalance_timeout_ms = 20_000;
            request.subscribed_topic_names = Some(vec!["t".into()]);
            request.topic_partitions = Some(Vec::new());
        }
        change(&mut request);
        self.turn(|groups, world, effects| groups.consumer_heartbeat(world, effects, &client, &request))
    }
}

fn owned(partitions: &[i32]) -> Option<Vec<TopicPartitions>> {
    let topic_id = TopicId(uuid::Uuid::from_u128(1));
    Some(match partitions {
        [] => Vec::new(),
        some => vec![TopicPartitions { topic_id, partitions: some.to_vec() }],
    })
}

/// The partitions of `t` in an answer; `None` where it says nothing of them.
fn given(response: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    assert_eq!(response.error_code, ErrorCode::NONE, "{:?}", response.error_message);
    let topics = &response.assignment.as_ref()?.topic_partitions;
    Some(topics.iter().flat_map(|topic| topic.partitions.clone()).collect())
}

impl Got<JoinGroupResponse> {
    /// The answer, which must have come by now.
    fn later_or_answer(self, room: &mut Room) -> JoinGroupResponse {
        match self {
            Got::Now(response) => response,
            Got::Later(ticket) => room.joined(ticket),
        }
    }
}
