//! Questions about groups and their offsets.

use bytes::Bytes;
use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::consumer_group_describe::{ConsumerGroupDescribe, ConsumerGroupDescribeRequest};
use corelog_server::protocol::consumer_group_heartbeat::{ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest};
use corelog_server::protocol::delete_groups::{DeleteGroups, DeleteGroupsRequest};
use corelog_server::protocol::delete_records::{
    DeleteRecords, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use corelog_server::protocol::describe_groups::{DescribeGroups, DescribeGroupsRequest};
use corelog_server::protocol::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use corelog_server::protocol::heartbeat::{Heartbeat, HeartbeatRequest};
use corelog_server::protocol::join_group::{JoinGroup, JoinGroupRequest, JoinGroupRequestProtocol};
use corelog_server::protocol::leave_group::{LeaveGroup, LeaveGroupRequest, MemberIdentity};
use corelog_server::protocol::list_groups::{ListGroups, ListGroupsRequest};
use corelog_server::protocol::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_server::protocol::offset_delete::{
    OffsetDelete, OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use corelog_server::protocol::offset_fetch::{
    OffsetFetch, OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use corelog_server::protocol::produce::Produce;
use corelog_server::protocol::sync_group::{SyncGroup, SyncGroupRequest};

use super::Answers;
use super::support::{batch, produce_request, until};

pub fn ask(answers: &mut Answers) {
    let find = |key_type, key: &str| FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec![key.into()],
        ..Default::default()
    };
    answers.ask::<FindCoordinator>("a kind that is none", 4, find(9, "g"));
    let client = answers.client();
    until("the coordinators are there", || {
        let found = client.call::<FindCoordinator>(4, &find(0, "g")).coordinators.remove(0);
        let request = HeartbeatRequest { group_id: "g".into(), member_id: "m".into(), ..Default::default() };
        found.error_code == ErrorCode::NONE
            && client.call::<Heartbeat>(4, &request).error_code == ErrorCode::UNKNOWN_MEMBER_ID
    });
    let own = "__consumer_offsets";
    answers.ask::<Produce>("a topic of the broker's", 12, produce_request(own, 0, batch(&["x"]), -1));
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 0 }];
    let topics = vec![DeleteRecordsTopic { name: own.into(), partitions }];
    answers.ask::<DeleteRecords>("a topic of the broker's", 2, DeleteRecordsRequest { topics, timeout_ms: 1000 });
    classic(answers);
    offsets(answers);
    consumer(answers);
    member(answers);
    consumer_member(answers);
}

fn classic(answers: &mut Answers) {
    let mut join = |what: &str, version, change: &dyn Fn(&mut JoinGroupRequest)| {
        let mut request = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "test".into(),
            protocols: vec![JoinGroupRequestProtocol { name: "p".into(), metadata: Bytes::from_static(b"m") }],
            ..Default::default()
        };
        change(&mut request);
        answers.ask::<JoinGroup>(what, version, request);
    };
    join("no group", 9, &|request| request.group_id = "".into());
    join("a session too short", 9, &|request| request.session_timeout_ms = 5999);
    join("a session too long", 9, &|request| request.session_timeout_ms = 1_800_001);
    join("unknown member", 9, &|request| request.member_id = "m".into());
    join("no protocol", 9, &|request| request.protocols.clear());
    join("no kind", 9, &|request| request.protocol_type = "".into());
    join("an instance with an unknown id", 9, &|request| {
        (request.member_id, request.group_instance_id) = ("m".into(), Some("i".into()));
    });
    for group in ["g", "", "nobody"] {
        let sync = SyncGroupRequest {
            group_id: group.into(),
            generation_id: 1,
            member_id: "m".into(),
            protocol_type: Some("test".into()),
            protocol_name: Some("p".into()),
            ..Default::default()
        };
        answers.ask::<SyncGroup>(&format!("unknown in {group:?}"), 5, sync);
        let beat =
            HeartbeatRequest { group_id: group.into(), generation_id: 1, member_id: "m".into(), ..Default::default() };
        answers.ask::<Heartbeat>(&format!("unknown in {group:?}"), 4, beat);
        let members = vec![MemberIdentity { member_id: "m".into(), ..Default::default() }];
        let leave = LeaveGroupRequest { group_id: group.into(), members, ..Default::default() };
        answers.ask::<LeaveGroup>(&format!("unknown in {group:?}"), 5, leave);
        answers.ask::<LeaveGroup>(
            &format!("unknown in {group:?}"),
            2,
            LeaveGroupRequest { group_id: group.into(), member_id: "m".into(), ..Default::default() },
        );
        let groups = vec![group.into()];
        for version in [5, 6] {
            let request = DescribeGroupsRequest { groups: groups.clone(), ..Default::default() };
            answers.ask::<DescribeGroups>(&format!("unknown {group:?}"), version, request);
        }
        let request = DeleteGroupsRequest { groups_names: groups.clone() };
        answers.ask::<DeleteGroups>(&format!("unknown {group:?}"), 2, request);
        let request = ConsumerGroupDescribeRequest { group_ids: groups, ..Default::default() };
        answers.ask::<ConsumerGroupDescribe>(&format!("unknown {group:?}"), 1, request);
    }
    let list = |states: &[&str], types: &[&str]| ListGroupsRequest {
        states_filter: states.iter().map(|state| (*state).into()).collect(),
        types_filter: types.iter().map(|kind| (*kind).into()).collect(),
    };
    answers.ask::<ListGroups>("a state that is none", 5, list(&["Happy"], &[]));
    answers.ask::<ListGroups>("a type that is none", 5, list(&[], &["happy"]));
}

fn offsets(answers: &mut Answers) {
    let mut commit =
        |what: &str, version, group: &str, generation, member: &str, topic: &str, partition, metadata: usize| {
            let partition = OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: 1,
                committed_metadata: Some("x".repeat(metadata).into()),
                ..Default::default()
            };
            let topics = vec![OffsetCommitRequestTopic {
                name: topic.into(),
                partitions: vec![partition],
                ..Default::default()
            }];
            let request = OffsetCommitRequest {
                group_id: group.into(),
                generation_id_or_member_epoch: generation,
                member_id: member.into(),
                topics,
                ..Default::default()
            };
            answers.ask::<OffsetCommit>(what, version, request);
        };
    for version in [8, 9] {
        commit("no group", version, "", -1, "", "plain", 0, 0);
        commit("unknown member", version, "g", 3, "m", "plain", 0, 0);
        commit("a member of nobody", version, "nobody", -1, "m", "plain", 0, 0);
        commit("unknown topic", version, "o", -1, "", "nowhere", 0, 0);
        commit("illegal name", version, "o", -1, "", "a b", 0, 0);
        commit("unknown partition", version, "o", -1, "", "plain", 9, 0);
        commit("metadata too long", version, "o", -1, "", "plain", 0, 4097);
        commit("as long as it may be", version, "o", -1, "", "plain", 0, 4096);
    }
    let fetch = |group: &str, member: Option<&str>, epoch, topic: Option<&str>| {
        let topics = topic.map(|topic| {
            vec![OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0, 9], ..Default::default() }]
        });
        let member_id = member.map(Into::into);
        let group = OffsetFetchRequestGroup { group_id: group.into(), member_id, member_epoch: epoch, topics };
        OffsetFetchRequest { groups: vec![group], ..Default::default() }
    };
    answers.ask::<OffsetFetch>("no group", 9, fetch("", None, -1, Some("plain")));
    answers.ask::<OffsetFetch>("unknown group", 9, fetch("nobody", None, -1, Some("plain")));
    answers.ask::<OffsetFetch>("all of an unknown group", 9, fetch("nobody", None, -1, None));
    answers.ask::<OffsetFetch>("unknown member", 9, fetch("nobody", Some("m"), 3, Some("plain")));
    answers.ask::<OffsetFetch>("unknown topic", 9, fetch("o", None, -1, Some("nowhere")));
    answers.ask::<OffsetFetch>("unknown partition", 8, fetch("o", None, -1, Some("plain")));
    let delete = |group: &str, topic: &str, partition_index| OffsetDeleteRequest {
        group_id: group.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index }],
        }],
    };
    answers.ask::<OffsetDelete>("no group", 0, delete("", "plain", 0));
    answers.ask::<OffsetDelete>("unknown group", 0, delete("nobody", "plain", 0));
    answers.ask::<OffsetDelete>("unknown topic", 0, delete("o", "nowhere", 0));
    answers.ask::<OffsetDelete>("unknown partition", 0, delete("o", "plain", 9));
    answers.ask::<OffsetDelete>("nothing there", 0, delete("o", "plain", 1));
}

fn consumer(answers: &mut Answers) {
    let mut beat = |what: &str, change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest)| {
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: "c".into(),
            member_id: "m".into(),
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec!["plain".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        change(&mut request);
        answers.ask::<ConsumerGroupHeartbeat>(what, 1, request);
    };
    beat("no group", &|request| request.group_id = "".into());
    beat("no member", &|request| request.member_id = "".into());
    beat("no timeout", &|request| request.rebalance_timeout_ms = -1);
    beat("nothing wanted", &|request| request.subscribed_topic_names = None);
    beat("something owned", &|request| request.topic_partitions = None);
    beat("no such assignor", &|request| request.server_assignor = Some("luck".into()));
    beat("an expression that is none", &|request| request.subscribed_topic_regex = Some("(".into()));
    beat("an unknown member", &|request| request.member_epoch = 5);
    beat("an epoch that is none", &|request| request.member_epoch = -3);
    beat("one who leaves", &|request| request.member_epoch = -1);
    beat("a static one who leaves", &|request| (request.member_epoch, request.instance_id) = (-2, Some("i".into())));
    beat("an empty rack", &|request| request.rack_id = Some("".into()));
    beat("an empty instance", &|request| request.instance_id = Some("".into()));
}

/// A classic group with one member, and what it and others may not ask of it.
fn member(answers: &mut Answers) {
    let join = |member: &str, kind: &str, protocol: &str| JoinGroupRequest {
        group_id: "live".into(),
        session_timeout_ms: 300_000,
        rebalance_timeout_ms: 300_000,
        member_id: member.into(),
        group_instance_id: Some("static".into()),
        protocol_type: kind.into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: protocol.to_string().into(),
            metadata: Bytes::from_static(b"m"),
        }],
        ..Default::default()
    };
    let client = answers.client();
    let joined = client.call::<JoinGroup>(9, &join("", "test", "p"));
    assert_eq!(joined.error_code, ErrorCode::NONE);
    let me = joined.member_id.to_string();
    let sync = |generation: i32, member: &str, kind: &str, protocol: &str| SyncGroupRequest {
        group_id: "live".into(),
        generation_id: generation,
        member_id: member.into(),
        group_instance_id: Some("static".into()),
        protocol_type: Some(kind.into()),
        protocol_name: Some(protocol.into()),
        ..Default::default()
    };
    answers.ask::<SyncGroup>("another generation", 5, sync(9, &me, "test", "p"));
    answers.ask::<SyncGroup>("another kind", 5, sync(joined.generation_id, &me, "other", "p"));
    answers.ask::<SyncGroup>("another protocol", 5, sync(joined.generation_id, &me, "test", "q"));
    answers.ask::<SyncGroup>("a fenced instance", 5, sync(joined.generation_id, "other", "test", "p"));
    assert_eq!(
        answers.client().call::<SyncGroup>(5, &sync(joined.generation_id, &me, "test", "p")).error_code,
        ErrorCode::NONE
    );
    answers.ask::<JoinGroup>("a fenced instance", 9, join("other", "test", "p"));
    answers.ask::<JoinGroup>("another kind", 9, JoinGroupRequest { group_instance_id: None, ..join("", "other", "p") });
    answers.ask::<JoinGroup>(
        "no common protocol",
        9,
        JoinGroupRequest { group_instance_id: None, ..join("", "test", "q") },
    );
    for (what, generation, member, instance) in [
        ("another generation", 9, &*me, None),
        ("unknown member", joined.generation_id, "other", None),
        ("a fenced instance", joined.generation_id, "other", Some("static")),
        ("an unknown instance", joined.generation_id, &me, Some("nobody")),
        ("as it should be", joined.generation_id, &me, Some("static")),
    ] {
        let beat = HeartbeatRequest {
            group_id: "live".into(),
            generation_id: generation,
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
        };
        answers.ask::<Heartbeat>(what, 4, beat);
        let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
        let topics =
            vec![OffsetCommitRequestTopic { name: "plain".into(), partitions: vec![partition], ..Default::default() }];
        let commit = OffsetCommitRequest {
            group_id: "live".into(),
            generation_id_or_member_epoch: generation,
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            topics,
            ..Default::default()
        };
        answers.ask::<OffsetCommit>(what, 9, commit);
    }
    answers.ask::<DeleteGroups>("one with members", 2, DeleteGroupsRequest { groups_names: vec!["live".into()] });
    let leave = |member: &str, instance: Option<&str>| LeaveGroupRequest {
        group_id: "live".into(),
        members: vec![MemberIdentity {
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            ..Default::default()
        }],
        ..Default::default()
    };
    answers.ask::<LeaveGroup>("a fenced instance", 5, leave("other", Some("static")));
    answers.ask::<LeaveGroup>("an unknown instance", 5, leave("", Some("nobody")));
    answers.ask::<LeaveGroup>("by its instance", 5, leave("", Some("static")));
}

/// A consumer group with one member, and what it and others may not ask of it.
fn consumer_member(answers: &mut Answers) {
    let beat = |member: &str, epoch: i32| ConsumerGroupHeartbeatRequest {
        group_id: "consumers".into(),
        member_id: member.into(),
        member_epoch: epoch,
        instance_id: Some("static".into()),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["plain".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let joined = answers.client().call::<ConsumerGroupHeartbeat>(1, &beat("member-1", 0));
    assert_eq!((joined.error_code, joined.member_epoch), (ErrorCode::NONE, 1), "{:?}", joined.error_message);
    answers.ask::<ConsumerGroupHeartbeat>("another member as the same instance", 1, beat("member-2", 0));
    answers.ask::<ConsumerGroupHeartbeat>("an epoch to come", 1, beat("member-1", 9));
    answers.ask::<ConsumerGroupHeartbeat>("a fenced instance", 1, beat("member-2", 1));
    let other = ConsumerGroupHeartbeatRequest { instance_id: None, ..beat("member-3", 1) };
    answers.ask::<ConsumerGroupHeartbeat>("an unknown member", 1, other);
    for (what, epoch, member) in
        [("another epoch", 9, "member-1"), ("an unknown member", 1, "member-3"), ("no member", -1, "")]
    {
        let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
        let topics =
            vec![OffsetCommitRequestTopic { name: "plain".into(), partitions: vec![partition], ..Default::default() }];
        let commit = OffsetCommitRequest {
            group_id: "consumers".into(),
            generation_id_or_member_epoch: epoch,
            member_id: member.into(),
            topics,
            ..Default::default()
        };
        answers.ask::<OffsetCommit>(what, 9, commit.clone());
        answers.ask::<OffsetCommit>(what, 8, commit);
        let member_id = (!member.is_empty()).then(|| member.into());
        let topics =
            vec![OffsetFetchRequestTopics { name: "plain".into(), partition_indexes: vec![0], ..Default::default() }];
        let group = OffsetFetchRequestGroup {
            group_id: "consumers".into(),
            member_id,
            member_epoch: epoch,
            topics: Some(topics),
        };
        answers.ask::<OffsetFetch>(what, 9, OffsetFetchRequest { groups: vec![group], ..Default::default() });
    }
    let request = DescribeGroupsRequest { groups: vec!["consumers".into()], ..Default::default() };
    answers.ask::<DescribeGroups>("one of consumers", 6, request);
    let classic = JoinGroupRequest {
        group_id: "consumers".into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "connect".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "p".into(), metadata: Bytes::from_static(b"m") }],
        ..Default::default()
    };
    answers.ask::<JoinGroup>("another kind among consumers", 9, classic);
    answers.ask::<DeleteGroups>(
        "one with consumers",
        2,
        DeleteGroupsRequest { groups_names: vec!["consumers".into()] },
    );
}
