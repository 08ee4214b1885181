//! Groups over real sockets: members join, share, commit, leave, come back after a restart of the broker.

mod support;

use std::time::Duration;

use bytes::Bytes;
use corelog_server::protocol::delete_groups::{DeleteGroups, DeleteGroupsRequest};
use corelog_server::protocol::delete_topics::{DeleteTopics, DeleteTopicsRequest};
use corelog_server::protocol::describe_groups::{DescribeGroups, DescribeGroupsRequest, DescribedGroup};
use corelog_server::protocol::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use corelog_server::protocol::heartbeat::{Heartbeat, HeartbeatRequest};
use corelog_server::protocol::join_group::{JoinGroup, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use corelog_server::protocol::leave_group::{LeaveGroup, LeaveGroupRequest, MemberIdentity};
use corelog_server::protocol::list_groups::{ListGroups, ListGroupsRequest};
use corelog_server::protocol::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_server::protocol::offset_delete::{
    OffsetDelete, OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use corelog_server::protocol::offset_fetch::{OffsetFetch, OffsetFetchRequest, OffsetFetchRequestGroup};
use corelog_server::protocol::sync_group::{SyncGroup, SyncGroupRequest, SyncGroupRequestAssignment};
use corelog_server::protocol::{ErrorCode, Text};
use support::{Client, TestBroker, until};

const OPTIONS: &[(&str, &str)] = &[("group.initial.rebalance.delay.ms", "50"), ("offsets.topic.num.partitions", "4")];

/// Asks where the group is, which also creates what groups need, and waits until its coordinator has read what it has to.
fn find(client: &mut Client, group: &str) {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    assert_eq!(client.call::<FindCoordinator>(6, &request).coordinators[0].error_code, ErrorCode::NONE);
    let is_loading = [ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::NOT_COORDINATOR];
    until("the coordinator serves", || !is_loading.contains(&describe(client, group).error_code));
}

fn join_request(group: &str, member: &str, metadata: &'static [u8]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.into(),
        protocol_type: "test".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "p".into(), metadata: Bytes::from_static(metadata) }],
        ..Default::default()
    }
}

/// Joins with an id that the broker gives; the answer comes by another call.
fn begin_join(client: &mut Client, group: &str, metadata: &'static [u8]) -> String {
    let first = client.call::<JoinGroup>(9, &join_request(group, "", metadata));
    assert_eq!(first.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    client.send::<JoinGroup>(9, &join_request(group, &first.member_id, metadata));
    first.member_id.to_string()
}

fn joined(client: &mut Client) -> JoinGroupResponse {
    let (_, response) = client.receive::<JoinGroup>(9);
    assert_eq!(response.error_code, ErrorCode::NONE);
    response
}

fn sync_request(group: &str, generation: i32, member: &str, assigned: &[(&str, &'static [u8])]) -> SyncGroupRequest {
    let assignments = assigned.iter().map(|(member, bytes)| SyncGroupRequestAssignment {
        member_id: Text::from(*member),
        assignment: Bytes::from_static(bytes),
    });
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("test".into()),
        protocol_name: Some("p".into()),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

fn beat(client: &mut Client, group: &str, generation: i32, member: &str) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        ..Default::default()
    };
    client.call::<Heartbeat>(4, &request).error_code
}

fn commit(client: &mut Client, by: (&str, i32, &str), topic: &str, partition: i32, offset: i64) -> ErrorCode {
    let (group, generation, member) = by;
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_leader_epoch: 3,
        committed_metadata: Some("beside it".into()),
    };
    let topics =
        vec![OffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition], ..Default::default() }];
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics,
        ..Default::default()
    };
    client.call::<OffsetCommit>(8, &request).topics[0].partitions[0].error_code
}

/// All offsets of a group: topic, partition, offset, leader epoch, metadata.
fn offsets(client: &mut Client, group: &str) -> Vec<(String, i32, i64, i32, String)> {
    let group = OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let mut response = client.call::<OffsetFetch>(9, &request);
    let group = response.groups.remove(0);
    assert_eq!(group.error_code, ErrorCode::NONE);
    let topics = group.topics.into_iter().flat_map(|topic| {
        let name = topic.name.to_string();
        topic.partitions.into_iter().map(move |partition| {
            let metadata = partition.metadata.unwrap_or_default().to_string();
            let offset = (partition.committed_offset, partition.committed_leader_epoch);
            (name.clone(), partition.partition_index, offset.0, offset.1, metadata)
        })
    });
    topics.collect()
}

fn describe(client: &mut Client, group: &str) -> DescribedGroup {
    let request = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
    client.call::<DescribeGroups>(6, &request).groups.remove(0)
}

#[test]
fn two_members_share_what_the_leader_assigns_and_one_takes_over_when_the_other_leaves() {
    let broker = TestBroker::start(OPTIONS);
    let (mut a, mut b) = (broker.client(), broker.client());
    a.create("t", 2, &[]);
    find(&mut a, "g");
    let first = begin_join(&mut a, "g", b"a");
    assert_eq!(joined(&mut a).generation_id, 1);
    // The other comes when it comes: the first is told, and joins again.
    let second = begin_join(&mut b, "g", b"b");
    until("the first is told", || beat(&mut a, "g", 1, &first) == ErrorCode::REBALANCE_IN_PROGRESS);
    a.send::<JoinGroup>(9, &join_request("g", &first, b"a"));
    let (at_a, at_b) = (joined(&mut a), joined(&mut b));
    assert_eq!((at_a.generation_id, at_b.generation_id), (2, 2));
    assert_eq!((&*at_a.leader, &*at_b.leader), (&*first, &*first));
    let mut members: Vec<_> = at_a.members.iter().map(|member| (&*member.member_id, &member.metadata[..])).collect();
    members.sort_unstable();
    let mut expected = vec![(&*first, &b"a"[..]), (&*second, &b"b"[..])];
    expected.sort_unstable();
    assert_eq!((members, at_b.members.len()), (expected, 0));

    // The follower asks first, and waits for the leader.
    b.send::<SyncGroup>(5, &sync_request("g", 2, &second, &[]));
    let of_a = a.call::<SyncGroup>(5, &sync_request("g", 2, &first, &[(&first, b"one"), (&second, b"two")]));
    let (_, of_b) = b.receive::<SyncGroup>(5);
    assert_eq!((&of_a.assignment[..], &of_b.assignment[..]), (&b"one"[..], &b"two"[..]));
    assert_eq!((beat(&mut a, "g", 2, &first), beat(&mut b, "g", 2, &second)), (ErrorCode::NONE, ErrorCode::NONE));
    let described = describe(&mut a, "g");
    assert_eq!(
        (&*described.group_state, &*described.protocol_type, &*described.protocol_data),
        ("Stable", "test", "p")
    );
    assert_eq!(described.members.len(), 2);
    assert_eq!(described.members[0].client_host, "/127.0.0.1");

    assert_eq!(commit(&mut b, ("g", 2, &second), "t", 0, 7), ErrorCode::NONE);
    assert_eq!(commit(&mut b, ("g", 1, &second), "t", 0, 8), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(commit(&mut b, ("g", 2, "nobody"), "t", 0, 8), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&mut b, ("g", -1, ""), "t", 0, 8), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&mut b, ("g", 2, &second), "t", 9, 8), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    let members = vec![MemberIdentity { member_id: Text::from(&*second), ..Default::default() }];
    let left = b.call::<LeaveGroup>(5, &LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() });
    assert_eq!((left.error_code, left.members[0].error_code), (ErrorCode::NONE, ErrorCode::NONE));
    assert_eq!(beat(&mut a, "g", 2, &first), ErrorCode::REBALANCE_IN_PROGRESS);
    let again = a.call::<JoinGroup>(9, &join_request("g", &first, b"a"));
    assert_eq!((again.generation_id, again.members.len()), (3, 1));
    let alone = a.call::<SyncGroup>(5, &sync_request("g", 3, &first, &[(&first, b"all")]));
    assert_eq!(&alone.assignment[..], b"all");
    assert_eq!(offsets(&mut a, "g"), vec![("t".to_string(), 0, 7, 3, "beside it".to_string())]);
}

#[test]
fn a_restart_brings_back_members_assignments_and_offsets() {
    let mut broker = TestBroker::start(OPTIONS);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    find(&mut client, "g");
    let member = begin_join(&mut client, "g", b"m");
    joined(&mut client);
    client.call::<SyncGroup>(5, &sync_request("g", 1, &member, &[(&member, b"mine")]));
    assert_eq!(commit(&mut client, ("g", 1, &member), "t", 0, 41), ErrorCode::NONE);
    assert_eq!(commit(&mut client, ("g", 1, &member), "t", 0, 42), ErrorCode::NONE);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    // A coordinator that is loading takes the heartbeat for good; it is told of it once it is loaded.
    find(&mut client, "g");
    assert_eq!(beat(&mut client, "g", 1, &member), ErrorCode::NONE);
    let assigned = client.call::<SyncGroup>(5, &sync_request("g", 1, &member, &[]));
    assert_eq!(&assigned.assignment[..], b"mine");
    assert_eq!(offsets(&mut client, "g")[0].2, 42);
    assert_eq!(commit(&mut client, ("g", 1, &member), "t", 0, 43), ErrorCode::NONE);
}

#[test]
fn offsets_without_members_are_kept_told_and_forgotten() {
    let broker = TestBroker::start(OPTIONS);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    client.create("u", 1, &[]);
    find(&mut client, "g");
    for (topic, partition, offset) in [("t", 0, 5), ("t", 1, 6), ("u", 0, 7)] {
        assert_eq!(commit(&mut client, ("g", -1, ""), topic, partition, offset), ErrorCode::NONE);
    }
    assert_eq!(offsets(&mut client, "g").len(), 3);
    assert_eq!(offsets(&mut client, "other"), vec![]);
    let listed = client.call::<ListGroups>(5, &ListGroupsRequest::default());
    assert_eq!(listed.groups.len(), 1);
    assert_eq!((&*listed.groups[0].group_state, &*listed.groups[0].group_type), ("Empty", "classic"));
    let stable = ListGroupsRequest { states_filter: vec!["Stable".into()], ..Default::default() };
    assert_eq!(client.call::<ListGroups>(5, &stable).groups, vec![]);

    let topics = vec![OffsetDeleteRequestTopic {
        name: "t".into(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 1 }],
    }];
    let deleted = client.call::<OffsetDelete>(0, &OffsetDeleteRequest { group_id: "g".into(), topics });
    assert_eq!(deleted.topics[0].partitions[0].error_code, ErrorCode::NONE);
    let names = vec!["u".into()];
    client.call::<DeleteTopics>(5, &DeleteTopicsRequest { topic_names: names, timeout_ms: 1000, ..Default::default() });
    assert_eq!(offsets(&mut client, "g"), vec![("t".to_string(), 0, 5, 3, "beside it".to_string())]);

    let delete = |client: &mut Client| {
        let request = DeleteGroupsRequest { groups_names: vec!["g".into()] };
        client.call::<DeleteGroups>(2, &request).results[0].error_code
    };
    assert_eq!(delete(&mut client), ErrorCode::NONE);
    assert_eq!(delete(&mut client), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(offsets(&mut client, "g"), vec![]);
    assert_eq!(describe(&mut client, "g").error_code, ErrorCode::GROUP_ID_NOT_FOUND);
}

#[test]
fn bad_requests_get_kafkas_codes() {
    let broker = TestBroker::start(OPTIONS);
    let mut client = broker.client();
    // Nobody has asked for a coordinator yet.
    assert_eq!(beat(&mut client, "g", 1, "m"), ErrorCode::NOT_COORDINATOR);
    find(&mut client, "g");
    assert_eq!(beat(&mut client, "", 1, "m"), ErrorCode::INVALID_GROUP_ID);
    assert_eq!(beat(&mut client, "g", 1, "m"), ErrorCode::UNKNOWN_MEMBER_ID);
    let mut join = |change: &dyn Fn(&mut JoinGroupRequest)| {
        let mut request = join_request("g", "", b"");
        change(&mut request);
        client.call::<JoinGroup>(9, &request).error_code
    };
    assert_eq!(join(&|request| request.group_id = "".into()), ErrorCode::INVALID_GROUP_ID);
    assert_eq!(join(&|request| request.session_timeout_ms = 5999), ErrorCode::INVALID_SESSION_TIMEOUT);
    assert_eq!(join(&|request| request.session_timeout_ms = 1_800_001), ErrorCode::INVALID_SESSION_TIMEOUT);
    assert_eq!(join(&|request| request.member_id = "m".into()), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(join(&|request| request.protocols.clear()), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(join(&|request| request.protocol_type = "".into()), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let wrong_kind = FindCoordinatorRequest { key_type: 7, coordinator_keys: vec!["k".into()], ..Default::default() };
    let found = client.call::<FindCoordinator>(4, &wrong_kind);
    assert_eq!(found.coordinators[0].error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn a_shutdown_does_not_wait_for_members_that_wait() {
    let mut broker = TestBroker::start(&[("group.initial.rebalance.delay.ms", "60000")]);
    let mut client = broker.client();
    find(&mut client, "g");
    begin_join(&mut client, "g", b"m");
    // What has not come to a broker that ends is not answered.
    until("the member is there", || describe(&mut broker.client(), "g").members.len() == 1);
    let began = std::time::Instant::now();
    broker.stop();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let (_, response) = client.receive::<JoinGroup>(9);
    assert_eq!(response.error_code, ErrorCode::NOT_COORDINATOR);
}
