//! The rules of groups one by one, as tables of what is asked and what is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use corelog_engine::io::Instant;
use corelog_engine::{Timestamp, TopicId};
use corelog_replication::metadata::record::Config;
use corelog_replication::metadata::{ClusterImage, MetadataRecord, ResourceType};

use super::commit::{Commit, Committer};
use super::coordinator::Coordinator;
use super::random_histories::{add_topic, settings};
use super::settings::GroupSettings;
use super::turn::{Answer, Client, Effects, Ticket, World};
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

#[test]
fn the_first_rebalance_waits_for_more_members_while_they_come_but_not_for_ever() {
    let mut room = Room::new();
    room.settings.initial_rebalance_delay_ms = 3000;
    let first = room.id();
    let first = room.join(&first).later();
    let mut others = Vec::new();
    // Each newcomer prolongs it, up to the rebalance timeout of 20 s.
    for _ in 0..7 {
        room.pass(2500);
        assert!(room.answers.is_empty(), "after {} ms", room.now.0 / 1_000_000);
        let id = room.id();
        others.push(room.join(&id).later());
    }
    room.pass(2500);
    let generation = room.joined(first).generation_id;
    assert!(others.into_iter().all(|ticket| room.joined(ticket).generation_id == generation));

    let mut room = Room::new();
    room.settings.initial_rebalance_delay_ms = 3000;
    let only = room.id();
    let only = room.join(&only).later();
    room.pass(2999);
    assert!(room.answers.is_empty());
    room.pass(1);
    assert_eq!(room.joined(only).generation_id, 1);
}

#[test]
fn before_v4_a_member_joins_without_asking_twice() {
    let mut room = Room::new();
    let ticket = room.join_as(3, |_| {}).later();
    room.pass(0);
    let joined = room.joined(ticket);
    assert!(joined.member_id.starts_with("client-") && joined.leader == joined.member_id);
}

#[test]
fn an_id_that_was_given_out_holds_a_rebalance_up_until_it_is_used_or_old() {
    let mut room = Room::new();
    let (a, b) = room.two();
    let unused = room.id();
    assert_eq!(room.leave(&b), ErrorCode::NONE);
    let waiting = room.join(&a).later();
    assert!(room.answers.is_empty(), "somebody is about to come");
    room.pass(10_000);
    assert_eq!(room.joined(waiting).generation_id, 2);
    assert_eq!(room.join(&unused).now().error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn what_a_member_is_told_depends_on_the_state() {
    let mut room = Room::new();
    let nobody = Text::from("nobody");
    assert_eq!(room.beat(&nobody, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let (a, b) = room.two();
    // Stable.
    assert_eq!(room.beat(&nobody, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.beat(&a, 0), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(room.beat(&a, 1), ErrorCode::NONE);
    assert_eq!(room.commit(&a, 1, "t"), ErrorCode::NONE);
    assert_eq!(room.commit(&a, 2, "t"), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(room.commit(&nobody, 1, "t"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.commit(&Text::default(), -1, "t"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.sync(&b, 1, &[]).now().assignment, &b"B"[..]);
    assert_eq!(room.sync(&b, 2, &[]).now().error_code, ErrorCode::ILLEGAL_GENERATION);
    // A follower that asks again has its generation; a leader that does wants another.
    assert_eq!(room.join(&b).now().generation_id, 1);
    let waiting = room.join(&a).later();
    // PreparingRebalance.
    assert_eq!(room.state(), "PreparingRebalance");
    assert_eq!(room.beat(&b, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(room.sync(&b, 1, &[]).now().error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(room.commit(&b, 1, "t"), ErrorCode::NONE);
    let other = room.join(&b).later();
    assert_eq!((room.joined(waiting).generation_id, room.joined(other).generation_id), (2, 2));
    // CompletingRebalance.
    assert_eq!(room.state(), "CompletingRebalance");
    assert_eq!(room.beat(&b, 2), ErrorCode::NONE);
    assert_eq!(room.commit(&b, 2, "t"), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(room.join(&b).now().generation_id, 2);
    let waiting = room.sync(&b, 2, &[]).later();
    let differs = room.join_as(9, |request| {
        request.member_id = b.clone();
        request.protocols[0].metadata = Bytes::from_static(b"other");
    });
    differs.later();
    assert_eq!(room.synced(waiting).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(room.state(), "PreparingRebalance");
}

#[test]
fn nobody_gets_an_assignment_before_the_leader_has_made_it_nor_an_empty_one_after() {
    let mut room = Room::new();
    let (a, b, c) = (room.id(), room.id(), room.id());
    let tickets = [room.join(&a).later(), room.join(&b).later(), room.join(&c).later()];
    room.pass(0);
    let generation = tickets.map(|ticket| room.joined(ticket).generation_id)[0];
    let early = room.sync(&b, generation, &[]).later();
    let again = room.sync(&b, generation, &[]).later();
    assert_eq!(room.synced(early).error_code, ErrorCode::REBALANCE_IN_PROGRESS, "the connection is another by now");
    let all: [(&Text, &[u8]); 3] = [(&a, b"A"), (&b, b"B"), (&c, b"C")];
    assert_eq!(room.sync(&a, generation, &all).now().assignment, &b"A"[..]);
    assert_eq!(room.synced(again).assignment, &b"B"[..]);
    assert_eq!(room.sync(&c, generation, &[]).now().assignment, &b"C"[..]);
}

#[test]
fn a_silent_member_is_removed_and_the_others_share_its_part() {
    let mut room = Room::new();
    let (a, b) = room.two();
    for _ in 0..3 {
        room.pass(4000);
        let code = room.beat(&a, 1);
        assert!([ErrorCode::NONE, ErrorCode::REBALANCE_IN_PROGRESS].contains(&code));
    }
    assert_eq!(room.state(), "PreparingRebalance");
    assert_eq!(room.beat(&b, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let waiting = room.join(&a).later_or_answer(&mut room);
    assert_eq!((waiting.generation_id, waiting.members.len()), (2, 1));
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

#[test]
fn who_does_not_join_again_or_ask_for_its_assignment_in_time_is_removed() {
    let mut room = Room::new();
    let (a, b) = room.two();
    let waiting = room.join(&a).later();
    // It goes on with heartbeats, and never joins.
    for _ in 0..4 {
        room.pass(5000);
        room.beat(&b, 1);
    }
    assert_eq!(room.joined(waiting).generation_id, 2);
    assert_eq!(room.beat(&b, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    // The leader never asks.
    for _ in 0..4 {
        room.pass(5000);
        room.beat(&a, 2);
    }
    assert_eq!(room.beat(&a, 2), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.state(), "Empty");
}

#[test]
fn a_static_member_comes_back_under_a_new_id_without_a_rebalance() {
    for version in [8, 9] {
        let mut room = Room::new();
        let static_join = |room: &mut Room, member: &str, instance: &str| {
            room.join_as(version, |request| {
                request.member_id = member.into();
                request.group_instance_id = Some(instance.into());
            })
        };
        let (leader, follower) = (static_join(&mut room, "", "1").later(), static_join(&mut room, "", "2").later());
        room.pass(0);
        let (leader, follower) = (room.joined(leader), room.joined(follower));
        assert_eq!(follower.leader, leader.member_id);
        let (a, b) = (leader.member_id, follower.member_id);
        room.sync(&a, 1, &[(&a, b"A"), (&b, b"B")]).now();
        let written = room.records;

        let back = static_join(&mut room, "", "1").now();
        assert_eq!((back.error_code, back.generation_id, room.state()), (ErrorCode::NONE, 1, "Stable"));
        assert!(back.member_id != a && room.records > written, "it is kept");
        assert_eq!(room.sync(&back.member_id, 1, &[]).now().assignment, &b"A"[..]);
        if version >= 9 {
            assert!(back.skip_assignment && back.leader == back.member_id && back.members.len() == 2);
        } else {
            assert!(back.leader == a && back.members.is_empty(), "it must not assign");
        }
        // The old id is fenced wherever it shows up.
        assert_eq!(static_join(&mut room, &a, "1").now().error_code, ErrorCode::FENCED_INSTANCE_ID);
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: a.clone(),
            group_instance_id: Some("1".into()),
        };
        let code = room.turn(|groups, world, effects| groups.heartbeat(world, effects, &request));
        assert_eq!(code, ErrorCode::FENCED_INSTANCE_ID);
        // With another protocol there is a rebalance.
        let other = room.join_as(version, |request| {
            request.group_instance_id = Some("2".into());
            request.protocols[0].metadata = Bytes::from_static(b"other");
        });
        assert_eq!(other.now().generation_id, 1, "only the choice of the protocol counts");
        // An operator removes it by its name.
        let members = vec![MemberIdentity { group_instance_id: Some("1".into()), ..Default::default() }];
        let request = LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
        let left = room.turn(|groups, world, effects| groups.leave(world, effects, 5, &request));
        assert_eq!((left.members[0].error_code, room.state()), (ErrorCode::NONE, "PreparingRebalance"));
    }
}

#[test]
fn the_protocol_is_one_that_all_can_do_and_most_like_best() {
    let mut room = Room::new();
    let join = |room: &mut Room, names: &[&'static str]| {
        let protocols: Vec<_> = names
            .iter()
            .map(|name| JoinGroupRequestProtocol { name: Text::from(*name), metadata: Bytes::from_static(b"m") })
            .collect();
        room.join_as(3, |request| request.protocols = protocols)
    };
    let tickets = [join(&mut room, &["x", "y", "z"]), join(&mut room, &["z", "y"]), join(&mut room, &["y", "z"])];
    let refused = join(&mut room, &["x"]).now();
    assert_eq!(refused.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    room.pass(0);
    for ticket in tickets {
        let ticket = ticket.later();
        assert_eq!(room.joined(ticket).protocol_name.as_deref(), Some("y"));
    }
}

#[test]
fn a_group_has_a_largest_size() {
    let mut room = Room::new();
    room.settings.size_max = 2;
    let (a, _) = room.two();
    assert_eq!(room.join("").now().error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(room.beat(&a, 1), ErrorCode::NONE);
    room.settings.consumer_size_max = 1;
    let mut room = Room { settings: room.settings, ..Room::new() };
    assert_eq!(room.consume("a", 0, |_| {}).error_code, ErrorCode::NONE);
    assert_eq!(room.consume("b", 0, |_| {}).error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn offsets_are_forgotten_when_nobody_has_used_them_for_the_retention_time() {
    const DAY: u64 = 24 * 3600 * 1000;
    let mut room = Room::new();
    let nobody = Text::default();
    // Without a group each is as old as its commit.
    assert_eq!(room.commit(&nobody, -1, "t"), ErrorCode::NONE);
    room.pass(6 * DAY);
    assert_eq!(room.commit(&nobody, -1, "u"), ErrorCode::NONE);
    room.pass(DAY);
    room.expire();
    assert_eq!((room.offset("t"), room.offset("u")), (None, Some(1)));
    room.pass(6 * DAY);
    room.expire();
    assert_eq!((room.offset("u"), room.state()), (None, "Dead"));

    // A group keeps them as long as it has members, and for the retention time after.
    let (a, b) = room.two();
    assert_eq!(room.commit(&a, 1, "t"), ErrorCode::NONE);
    for _ in 0..3 {
        room.now += Duration::from_millis(10 * DAY);
        room.expire();
    }
    assert_eq!(room.offset("t"), Some(1));
    assert_eq!((room.leave(&a), room.leave(&b), room.state()), (ErrorCode::NONE, ErrorCode::NONE, "Empty"));
    room.pass(7 * DAY - 1);
    room.expire();
    assert_eq!(room.offset("t"), Some(1));
    room.pass(1);
    room.expire();
    assert_eq!((room.offset("t"), room.state()), (None, "Dead"));
}

#[test]
fn consumers_get_partitions_one_after_the_other_has_given_them_up() {
    let mut room = Room::new();
    let a = room.consume("a", 0, |_| {});
    assert_eq!((a.member_epoch, given(&a)), (1, Some(vec![0, 1])));
    let b = room.consume("b", 0, |_| {});
    assert_eq!((b.member_epoch, given(&b)), (2, Some(vec![])), "nothing is free");
    // It is told what to keep, and stays in its epoch until it has given up the rest.
    let a = room.consume("a", 1, |request| request.topic_partitions = owned(&[0, 1]));
    let kept = given(&a).expect("a new assignment");
    assert_eq!((a.member_epoch, kept.len()), (1, 1));
    assert_eq!(given(&room.consume("b", 2, |_| {})), None);
    let a = room.consume("a", 1, |_| {});
    assert_eq!((a.member_epoch, given(&a)), (1, None), "it does not say what it owns");
    let a = room.consume("a", 1, |request| request.topic_partitions = owned(&kept));
    assert_eq!(a.member_epoch, 2);
    let b = room.consume("b", 2, |_| {});
    assert_eq!(given(&b), Some(vec![1 - kept[0]]));
    assert_eq!(room.state(), "Stable");
    // Commits are for members in their epoch.
    assert_eq!(room.commit(&"a".into(), 2, "t"), ErrorCode::NONE);
    assert_eq!(room.commit(&"a".into(), 1, "t"), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(room.commit(&"x".into(), 2, "t"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(room.consume("b", -1, |_| {}).member_epoch, -1);
    let a = room.consume("a", 2, |_| {});
    assert_eq!((a.member_epoch, given(&a)), (3, Some(vec![0, 1])));
}

#[test]
fn a_consumer_whose_answer_was_lost_goes_on_and_one_that_is_behind_is_fenced() {
    let mut room = Room::new();
    room.consume("a", 0, |_| {});
    room.consume("a", 1, |request| request.subscribed_topic_names = Some(vec!["t".into(), "u".into()]));
    let again = room.consume("a", 1, |request| request.topic_partitions = owned(&[0, 1]));
    assert_eq!((again.error_code, again.member_epoch), (ErrorCode::NONE, 2));
    let behind = |room: &mut Room, epoch, partitions: &[i32]| {
        room.consume("a", epoch, |request| request.topic_partitions = owned(partitions)).error_code
    };
    assert_eq!(behind(&mut room, 1, &[0, 1, 7]), ErrorCode::FENCED_MEMBER_EPOCH, "more than it was given");
    assert_eq!(behind(&mut room, 3, &[]), ErrorCode::FENCED_MEMBER_EPOCH, "an epoch that is not yet");
    assert_eq!(room.consume("x", 1, |_| {}).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    // Fenced or not, it can join anew.
    assert_eq!(room.consume("a", 0, |_| {}).error_code, ErrorCode::NONE);
}

#[test]
fn consumers_that_are_silent_or_keep_what_they_have_to_give_up_are_removed() {
    let mut room = Room::new();
    room.consume("a", 0, |_| {});
    let mut epoch = room.consume("b", 0, |_| {}).member_epoch;
    room.consume("a", 1, |request| request.topic_partitions = owned(&[0, 1]));
    for _ in 0..4 {
        room.pass(5000);
        room.consume("a", 1, |request| request.topic_partitions = owned(&[0, 1]));
        epoch = room.consume("b", epoch, |_| {}).member_epoch;
    }
    assert_eq!(room.consume("a", 1, |_| {}).error_code, ErrorCode::UNKNOWN_MEMBER_ID, "after the rebalance timeout");
    assert_eq!(epoch, 3);
    room.pass(45_000);
    assert_eq!((room.consume("b", 3, |_| {}).error_code, room.state()), (ErrorCode::UNKNOWN_MEMBER_ID, "Empty"));
}

#[test]
fn a_group_has_its_own_times_from_the_next_heartbeat_on() {
    let mut room = Room::new();
    assert_eq!(room.consume("a", 0, |_| {}).heartbeat_interval_ms, 5000);
    for (key, value) in [("consumer.heartbeat.interval.ms", "7000"), ("consumer.session.timeout.ms", "50000")] {
        let config =
            Config { resource: ResourceType::Group, name: "g".into(), key: key.into(), value: Some(value.into()) };
        room.image.replay(room.image.next_offset(), &MetadataRecord::Config(config)).expect("a good record");
    }
    assert_eq!(room.consume("a", 1, |_| {}).heartbeat_interval_ms, 7000);
    room.pass(49_999);
    assert_eq!(room.consume("a", 1, |_| {}).error_code, ErrorCode::NONE);
    room.pass(50_000);
    assert_eq!(room.consume("a", 1, |_| {}).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    // Another group has the broker's.
    let other = room.consume("b", 0, |request| request.group_id = "h".into());
    assert_eq!(other.heartbeat_interval_ms, 5000);
}

#[test]
fn a_consumer_group_is_no_classic_group() {
    let mut room = Room::new();
    room.consume("a", 0, |_| {});
    let describe = |room: &mut Room, id: &str| room.groups.describe(&id.into()).expect_err("it is none");
    assert_eq!(describe(&mut room, "g"), "Group g is not a classic group.");
    assert_eq!(describe(&mut room, "nowhere"), "Group nowhere not found.");
}

#[test]
fn a_static_consumer_that_left_for_a_while_gets_what_it_had() {
    let mut room = Room::new();
    let named = |request: &mut ConsumerGroupHeartbeatRequest| request.instance_id = Some("i".into());
    let first = room.consume("a", 0, named);
    assert_eq!(given(&first), Some(vec![0, 1]));
    let second = room.consume("b", 0, named);
    assert_eq!(second.error_code, ErrorCode::UNRELEASED_INSTANCE_ID);
    assert_eq!(room.consume("a", -2, named).member_epoch, -2);
    let again = room.consume("b", 0, named);
    assert_eq!((again.member_epoch, given(&again)), (1, Some(vec![0, 1])), "no epoch began");
    assert_eq!(room.consume("a", 1, named).error_code, ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn topics_that_come_or_grow_begin_an_epoch() {
    let mut room = Room::new();
    let regex = |request: &mut ConsumerGroupHeartbeatRequest| {
        request.subscribed_topic_names = None;
        request.subscribed_topic_regex = Some("t|new.*".into());
    };
    assert_eq!(given(&room.consume("a", 0, regex)), Some(vec![0, 1]));
    add_topic(&mut room.image, "t", 1, 2..3);
    let grown = room.consume("a", 1, |_| {});
    assert_eq!((grown.member_epoch, given(&grown)), (2, Some(vec![0, 1, 2])));
    add_topic(&mut room.image, "new-1", 9, 0..1);
    assert_eq!(given(&room.consume("a", 2, |_| {})), None, "expressions are not looked up at every change");
    room.pass(10_000);
    let more = room.consume("a", 2, |_| {});
    assert_eq!((more.member_epoch, given(&more)), (3, Some(vec![0, 1, 2, 0])));
}

#[test]
fn requests_that_make_no_sense_get_kafkas_codes() {
    let mut room = Room::new();
    let mut code = |epoch, change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest)| {
        let response = room.consume("a", epoch, change);
        assert!(response.error_message.is_some());
        response.error_code
    };
    assert_eq!(code(0, &|request| request.group_id = "".into()), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.member_id = "".into()), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.instance_id = Some("".into())), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.rebalance_timeout_ms = -1), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.topic_partitions = None), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.subscribed_topic_names = None), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(-2, &|_| {}), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(-3, &|_| {}), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(0, &|request| request.server_assignor = Some("x".into())), ErrorCode::UNSUPPORTED_ASSIGNOR);
    let regex = |request: &mut ConsumerGroupHeartbeatRequest| request.subscribed_topic_regex = Some("(".into());
    assert_eq!(code(0, &regex), ErrorCode::INVALID_REGULAR_EXPRESSION);
    assert_eq!(code(1, &|_| {}), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(code(-1, &|_| {}), ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(room.groups.groups.is_empty() && room.records == 0, "nothing came of them");
}

#[test]
fn a_classic_group_of_another_kind_does_not_become_a_consumer_group() {
    let mut room = Room::new();
    room.two();
    assert_eq!(room.consume("a", 0, |_| {}).error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(room.state(), "Stable");
}

#[test]
fn a_group_that_does_not_fit_a_record_is_told_so_and_harms_nobody() {
    const LARGE: &[u8] = &[7; 600_000];
    let mut room = Room::new();
    let (a, b) = room.two();
    let again = room.join(&a).later();
    let other = room.join(&b).later();
    assert_eq!((room.joined(again).generation_id, room.joined(other).generation_id), (2, 2));
    let waiting = room.sync(&b, 2, &[]).later();
    let written = room.records;
    assert_eq!(room.sync(&a, 2, &[(&a, LARGE), (&b, LARGE)]).now().error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(room.synced(waiting).error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!((room.state(), room.records), ("PreparingRebalance", written));

    let many = |request: &mut ConsumerGroupHeartbeatRequest| {
        request.group_id = "h".into();
        request.subscribed_topic_names = Some((0..50_000).map(|number| Text::from(format!("t{number:09}"))).collect());
    };
    assert_eq!(room.consume("a", 0, many).error_code, ErrorCode::INVALID_REQUEST);
    assert_eq!(room.records, written);
}
