//! The admin APIs: settings, partitions, records, and what is told of the cluster.

mod support;

use corelog_server::protocol::alter_configs::{self, AlterConfigs, AlterConfigsRequest};
use corelog_server::protocol::api_versions::{ApiVersions, ApiVersionsRequest};
use corelog_server::protocol::consumer_group_heartbeat::{ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest};
use corelog_server::protocol::create_partitions::{CreatePartitions, CreatePartitionsRequest, CreatePartitionsTopic};
use corelog_server::protocol::delete_records::{
    DeleteRecords, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use corelog_server::protocol::describe_cluster::{DescribeCluster, DescribeClusterRequest};
use corelog_server::protocol::describe_configs::{
    DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use corelog_server::protocol::describe_log_dirs::{DescribeLogDirs, DescribeLogDirsRequest};
use corelog_server::protocol::describe_quorum::{DescribeQuorum, DescribeQuorumRequest, QuorumPartition, QuorumTopic};
use corelog_server::protocol::describe_topic_partitions::{
    DescribeTopicPartitions, DescribeTopicPartitionsRequest, TopicRequest,
};
use corelog_server::protocol::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use corelog_server::protocol::get_telemetry_subscriptions::{
    GetTelemetrySubscriptions, GetTelemetrySubscriptionsRequest,
};
use corelog_server::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use corelog_server::protocol::list_offsets::{
    EARLIEST, ListOffsets, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use corelog_server::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use corelog_server::protocol::push_telemetry::{PushTelemetry, PushTelemetryRequest};
use corelog_server::protocol::update_features::{FeatureUpdateKey, UpdateFeatures, UpdateFeaturesRequest};
use corelog_server::protocol::{ErrorCode, Text};
use support::{Client, TestBroker, batch, until, values};
use uuid::Uuid;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Resource type and name, the changes, and the code and part of the sentence with which they are refused.
type Refusal<'a> = (i8, &'a str, &'a [(i8, &'a str, &'a str)], ErrorCode, &'a str);

/// Changes settings of one resource; the code and the sentence.
fn alter(client: &mut Client, kind: i8, name: &str, changes: &[(i8, &str, &str)]) -> (ErrorCode, String) {
    let configs = changes.iter().map(|(config_operation, key, value)| AlterableConfig {
        name: (*key).into(),
        config_operation: *config_operation,
        value: Some((*value).into()),
    });
    let resource = AlterConfigsResource { resource_type: kind, resource_name: name.into(), configs: configs.collect() };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = client.call::<IncrementalAlterConfigs>(1, &request).responses.remove(0);
    (response.error_code, response.error_message.unwrap_or_default().to_string())
}

fn describe(client: &mut Client, kind: i8, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, ErrorCode> {
    let resource =
        DescribeConfigsResource { resource_type: kind, resource_name: name.into(), configuration_keys: None };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: true };
    let result = client.call::<DescribeConfigs>(4, &request).results.remove(0);
    if result.error_code.is_error() { Err(result.error_code) } else { Ok(result.configs) }
}

/// Value and source of a setting.
fn setting(client: &mut Client, kind: i8, name: &str, key: &str) -> (String, i8) {
    let described = describe(client, kind, name).expect("described");
    let found = described.into_iter().find(|setting| setting.name == key).unwrap_or_else(|| panic!("no {key}"));
    (found.value.unwrap_or_default().to_string(), found.config_source)
}

#[test]
fn every_setting_of_a_topic_is_described_with_type_documentation_and_source() {
    let broker = TestBroker::start(&[("log.segment.bytes", "2097152"), ("group.consumer.session.timeout.ms", "50000")]);
    let mut client = broker.client();
    client.create("t", 1, &[("retention.ms", "77")]);
    let described = describe(&mut client, TOPIC, "t").expect("described");
    assert_eq!(described.len(), 35, "as Kafka 4.2 has them");
    for setting in &described {
        let documentation = setting.documentation.clone().unwrap_or_default();
        assert!(documentation.len() > 10 && (1..=9).contains(&setting.config_type), "{setting:?}");
        assert!(!setting.read_only && !setting.is_sensitive && setting.value.is_some(), "{setting:?}");
    }
    let mut of = |key: &str| setting(&mut client, TOPIC, "t", key);
    assert_eq!(of("retention.ms"), ("77".into(), 1));
    assert_eq!(of("segment.bytes"), ("2097152".into(), 4));
    assert_eq!(of("max.message.bytes"), ("1048588".into(), 5));

    assert_eq!(describe(&mut client, TOPIC, "nowhere"), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(describe(&mut client, TOPIC, "no such/name"), Err(ErrorCode::INVALID_TOPIC_EXCEPTION));
    assert_eq!(describe(&mut client, BROKER, "9"), Err(ErrorCode::INVALID_REQUEST));
    assert_eq!(describe(&mut client, 99, "t"), Err(ErrorCode::INVALID_REQUEST));
    assert!(describe(&mut client, BROKER, "1").expect("this broker").len() > 250);
    assert_eq!(setting(&mut client, GROUP, "g", "consumer.session.timeout.ms"), ("50000".into(), 5));

    // Only what is asked for.
    let keys = Some(vec![Text::from("retention.ms"), Text::from("no.such.key")]);
    let resource =
        DescribeConfigsResource { resource_type: TOPIC, resource_name: "t".into(), configuration_keys: keys };
    let mut request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let configs = client.call::<DescribeConfigs>(1, &request).results.remove(0).configs;
    assert_eq!(configs.iter().map(|setting| &*setting.name).collect::<Vec<_>>(), ["retention.ms"]);
    request.resources[0].configuration_keys = Some(Vec::new());
    let all = client.call::<DescribeConfigs>(1, &request).results.remove(0).configs;
    assert_eq!(all.len(), described.len(), "no keys at all are all of them, as in Kafka");
    assert!(configs[0].synonyms.is_empty(), "synonyms were not asked for");
}

#[test]
fn a_groups_settings_stay_within_the_brokers_bounds() {
    let broker = TestBroker::start(&[
        ("group.consumer.min.session.timeout.ms", "10000"),
        ("group.consumer.max.heartbeat.interval.ms", "20000"),
    ]);
    let mut client = broker.client();
    let (session, heartbeat) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
    let refused = [
        (
            session,
            "9999",
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            session,
            "60001",
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms",
        ),
        (
            heartbeat,
            "4999",
            "consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms",
        ),
        (
            heartbeat,
            "20001",
            "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
        ),
    ];
    for (key, value, why) in refused {
        assert_eq!(alter(&mut client, GROUP, "g", &[(SET, key, value)]), (ErrorCode::INVALID_CONFIG, why.into()));
    }
    assert_eq!(
        alter(&mut client, GROUP, "g", &[(SET, session, "15000"), (SET, heartbeat, "14999")]).0,
        ErrorCode::NONE
    );
    // What the group has counts with what is changed.
    let why = "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms";
    assert_eq!(alter(&mut client, GROUP, "g", &[(SET, session, "14999")]), (ErrorCode::INVALID_CONFIG, why.into()));

    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    assert_eq!(client.call::<FindCoordinator>(6, &find).coordinators[0].error_code, ErrorCode::NONE);
    let joined = client.call::<ConsumerGroupHeartbeat>(1, &request);
    assert_eq!((joined.error_code, joined.heartbeat_interval_ms), (ErrorCode::NONE, 14_999));
    assert_eq!(alter(&mut client, GROUP, "g", &[(DELETE, heartbeat, "")]).0, ErrorCode::NONE);
    let beat = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        member_epoch: joined.member_epoch,
        ..Default::default()
    };
    let beaten = client.call::<ConsumerGroupHeartbeat>(1, &beat);
    assert_eq!((beaten.error_code, beaten.heartbeat_interval_ms), (ErrorCode::NONE, 5000));
}

#[test]
fn clients_are_asked_for_the_metrics_of_the_subscriptions_that_match_them() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let ask = |client: &mut Client, client_instance_id| {
        client.call::<GetTelemetrySubscriptions>(0, &GetTelemetrySubscriptionsRequest { client_instance_id })
    };
    let nothing = ask(&mut client, Uuid::nil());
    let id = nothing.client_instance_id;
    assert!(!id.is_nil() && nothing.requested_metrics.is_empty() && nothing.push_interval_ms == 300_000);
    let push = |client: &mut Client, subscription_id| {
        let request = PushTelemetryRequest { client_instance_id: id, subscription_id, ..Default::default() };
        client.call::<PushTelemetry>(0, &request).error_code
    };
    assert_eq!(push(&mut client, nothing.subscription_id), ErrorCode::NONE);

    let wrong = alter(&mut client, CLIENT_METRICS, "s", &[(SET, "match", "client=a")]);
    assert_eq!(wrong, (ErrorCode::INVALID_CONFIG, "Illegal client matching pattern: client=a".into()));
    let mut subscribe = |name: &str, settings: &[(&str, &str)]| {
        let changes: Vec<_> = settings.iter().map(|(key, value)| (SET, *key, *value)).collect();
        assert_eq!(alter(&mut client, CLIENT_METRICS, name, &changes).0, ErrorCode::NONE);
    };
    subscribe("mine", &[("match", "client_id=te.*"), ("metrics", "a.b,c"), ("interval.ms", "1000")]);
    subscribe("java", &[("match", "client_software_name=apache-kafka-java"), ("metrics", "*"), ("interval.ms", "100")]);
    subscribe("other", &[("match", "client_id=t"), ("metrics", "x"), ("interval.ms", "500")]);
    let wanted = ask(&mut client, id);
    assert_eq!(wanted.requested_metrics, ["a.b", "c"]);
    assert_eq!((wanted.push_interval_ms, wanted.client_instance_id), (1000, id));
    assert_eq!(push(&mut client, nothing.subscription_id), ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
    let again = ask(&mut client, id);
    assert_eq!((again.error_code, again.subscription_id), (ErrorCode::NONE, wanted.subscription_id));
    until("the interval is over", || push(&mut client, wanted.subscription_id) == ErrorCode::NONE);

    let software = ApiVersionsRequest {
        client_software_name: "apache-kafka-java".into(),
        client_software_version: "4.1.1".into(),
    };
    assert_eq!(client.call::<ApiVersions>(4, &software).error_code, ErrorCode::NONE);
    let all = ask(&mut client, id);
    assert_eq!((all.requested_metrics, all.push_interval_ms), (vec!["*".into()], 100));
}

#[test]
fn metrics_of_clients_are_bounded_in_size_and_come_once_in_an_interval() {
    let broker = TestBroker::start(&[("telemetry.max.bytes", "1000")]);
    let mut client = broker.client();
    let ask = |client: &mut Client, client_instance_id| {
        client.call::<GetTelemetrySubscriptions>(0, &GetTelemetrySubscriptionsRequest { client_instance_id })
    };
    let wanted = ask(&mut client, Uuid::nil());
    assert_eq!((wanted.push_interval_ms, wanted.telemetry_max_bytes), (300_000, 1000));
    let (client_instance_id, subscription_id) = (wanted.client_instance_id, wanted.subscription_id);
    // The next from another shard, perhaps: they know of each other.
    let push = |bytes: usize, terminating| {
        let metrics = vec![0; bytes].into();
        let request =
            PushTelemetryRequest { client_instance_id, subscription_id, terminating, metrics, ..Default::default() };
        broker.client().call::<PushTelemetry>(0, &request).error_code
    };
    assert_eq!(push(1001, false), ErrorCode::TELEMETRY_TOO_LARGE);
    assert_eq!(push(1000, false), ErrorCode::THROTTLING_QUOTA_EXCEEDED);
    let throttled = ask(&mut broker.client(), client_instance_id);
    assert_eq!((throttled.error_code, throttled.subscription_id), (ErrorCode::THROTTLING_QUOTA_EXCEEDED, 0));
    assert_eq!(ask(&mut client, Uuid::nil()).error_code, ErrorCode::NONE, "another client");
    assert_eq!((push(1000, true), push(1000, true)), (ErrorCode::NONE, ErrorCode::INVALID_REQUEST));
}

#[test]
fn a_changed_setting_acts_at_once_and_after_a_restart() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let big = "x".repeat(3000);
    assert_eq!(client.produce("t", 0, batch(&[&big])).error_code, ErrorCode::NONE);
    let changed =
        alter(&mut client, TOPIC, "t", &[(SET, "max.message.bytes", "2000"), (APPEND, "cleanup.policy", "compact")]);
    assert_eq!(changed.0, ErrorCode::NONE);
    for round in 0..2 {
        assert_eq!(client.produce("t", 0, batch(&[&big])).error_code, ErrorCode::MESSAGE_TOO_LARGE, "round {round}");
        assert_eq!(setting(&mut client, TOPIC, "t", "cleanup.policy").0, "delete,compact");
        broker.restart();
        client = broker.client();
    }
    let undone =
        alter(&mut client, TOPIC, "t", &[(DELETE, "max.message.bytes", ""), (SUBTRACT, "cleanup.policy", "compact")]);
    assert_eq!(undone.0, ErrorCode::NONE);
    assert_eq!(setting(&mut client, TOPIC, "t", "max.message.bytes"), ("1048588".into(), 5));
    assert_eq!(client.produce("t", 0, batch(&[&big])).error_code, ErrorCode::NONE);

    // The broker's setting is the topic's default.
    assert_eq!(alter(&mut client, BROKER, "", &[(SET, "message.max.bytes", "1500")]).0, ErrorCode::NONE);
    assert_eq!(setting(&mut client, TOPIC, "t", "max.message.bytes"), ("1500".into(), 3));
    assert_eq!(setting(&mut client, BROKER, "1", "message.max.bytes"), ("1500".into(), 3));
    assert_eq!(client.produce("t", 0, batch(&[&big])).error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(alter(&mut client, BROKER, "1", &[(SET, "message.max.bytes", "9000")]).0, ErrorCode::NONE);
    assert_eq!(setting(&mut client, TOPIC, "t", "max.message.bytes"), ("9000".into(), 2));
    assert_eq!(client.produce("t", 0, batch(&[&big])).error_code, ErrorCode::NONE);

    assert_eq!(alter(&mut client, BROKER, "", &[(SET, "max.connections", "1")]).0, ErrorCode::NONE);
    let mut waiting = broker.client();
    waiting.stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a timeout");
    waiting.send::<ApiVersions>(0, &ApiVersionsRequest::default());
    assert!(waiting.receive_frame().is_err(), "one connection is all there may be");
    waiting.stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    assert_eq!(alter(&mut client, BROKER, "", &[(DELETE, "max.connections", "")]).0, ErrorCode::NONE);
    assert!(waiting.receive_frame().is_ok(), "there is a place");
    assert_eq!(setting(&mut broker.client(), BROKER, "1", "max.connections").0, "2147483647");
}

#[test]
fn a_setting_that_cannot_be_is_refused_with_the_reason() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let cases: &[Refusal<'_>] = &[
        (TOPIC, "t", &[(SET, "retention.m", "1")], ErrorCode::INVALID_CONFIG, "Unknown topic config name: retention.m"),
        (TOPIC, "t", &[(SET, "retention.ms", "soon")], ErrorCode::INVALID_CONFIG, "Not a number of type LONG"),
        (TOPIC, "t", &[(APPEND, "retention.ms", "1")], ErrorCode::INVALID_CONFIG, "Can't APPEND to key retention.ms"),
        (TOPIC, "t", &[(9, "retention.ms", "1")], ErrorCode::INVALID_REQUEST, "Unknown operation type 9"),
        (
            TOPIC,
            "t",
            &[(SET, "retention.ms", "1"), (SET, "retention.ms", "2")],
            ErrorCode::INVALID_REQUEST,
            "duplicate config keys: retention.ms",
        ),
        (TOPIC, "u", &[(SET, "retention.ms", "1")], ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "topic u"),
        (BROKER, "", &[(SET, "log.dirs", "/x")], ErrorCode::INVALID_REQUEST, "Cannot update these configs dynamically"),
        (BROKER, "1", &[(SET, "message.max.bytes", "x")], ErrorCode::INVALID_REQUEST, "Not a number of type INT"),
        (
            BROKER,
            "2",
            &[(SET, "message.max.bytes", "1")],
            ErrorCode::INVALID_REQUEST,
            "Unexpected broker id, expected 1",
        ),
        (8, "1", &[(SET, "root", "loud")], ErrorCode::INVALID_CONFIG, "Valid log levels are DEBUG"),
        (GROUP, "g", &[(SET, "nope", "1")], ErrorCode::INVALID_CONFIG, "Unknown group config name: nope"),
        (GROUP, "", &[(SET, "nope", "1")], ErrorCode::INVALID_REQUEST, "Default group resources"),
    ];
    for (kind, name, changes, code, sentence) in cases {
        let (found, message) = alter(&mut client, *kind, name, changes);
        assert!(found == *code && message.contains(sentence), "{changes:?}: {found} {message}");
    }
    // Nothing of it was kept.
    assert_eq!(setting(&mut client, TOPIC, "t", "retention.ms").1, 5);

    let resource = |value: &str| alter_configs::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".into(),
        configs: vec![alter_configs::AlterableConfig { name: "retention.ms".into(), value: Some(value.into()) }],
    };
    let mut replace = |value: &str, validate_only| {
        let request = AlterConfigsRequest { resources: vec![resource(value)], validate_only };
        let code = client.call::<AlterConfigs>(2, &request).responses.remove(0).error_code;
        (code, setting(&mut client, TOPIC, "t", "retention.ms").0)
    };
    assert_eq!(replace("5000", true), (ErrorCode::NONE, "604800000".into()));
    assert_eq!(replace("x", false), (ErrorCode::INVALID_CONFIG, "604800000".into()));
    assert_eq!(replace("5000", false), (ErrorCode::NONE, "5000".into()));
}

#[test]
fn partitions_are_added_and_every_topic_of_the_request_has_an_answer() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    let topic = |name: &str, count| CreatePartitionsTopic { name: name.into(), count, assignments: None };
    let grow = |client: &mut Client, topics: Vec<CreatePartitionsTopic>, validate_only| {
        let request = CreatePartitionsRequest { topics, timeout_ms: 1000, validate_only };
        let results = client.call::<CreatePartitions>(3, &request).results.into_iter();
        results.map(|result| (result.name.to_string(), result.error_code)).collect::<Vec<_>>()
    };
    let all = vec![topic("t", 5), topic("gone", 3)];
    let expected = [("t".to_string(), ErrorCode::NONE), ("gone".into(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)];
    assert_eq!(grow(&mut client, all.clone(), true), expected);
    assert_eq!(client.metadata("t").partitions.len(), 2);
    assert_eq!(grow(&mut client, all, false), expected);
    assert_eq!(client.produce("t", 4, batch(&["new"])).base_offset, 0);
    for too_few in [5, 4, 0, -1] {
        let refused = grow(&mut client, vec![topic("t", too_few)], false);
        assert_eq!(refused[0].1, ErrorCode::INVALID_PARTITIONS, "{too_few}");
    }
    broker.restart();
    let mut client = broker.client();
    assert_eq!(client.metadata("t").partitions.len(), 5);
    assert_eq!(values(&client.fetch("t", 4, 0)), [(0, "new".to_string())]);
}

#[test]
fn records_are_deleted_up_to_an_offset_and_stay_deleted() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    client.create("kept", 1, &[("cleanup.policy", "compact")]);
    for value in ["a", "b", "c", "d"] {
        client.produce("t", 0, batch(&[value]));
    }
    let delete = |client: &mut Client, topic: &str, partition_index, offset| {
        let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic.into(), partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 1000 };
        let result = client.call::<DeleteRecords>(2, &request).topics.remove(0).partitions.remove(0);
        (result.error_code, result.low_watermark)
    };
    assert_eq!(delete(&mut client, "t", 0, 2), (ErrorCode::NONE, 2));
    assert_eq!(delete(&mut client, "t", 0, 1), (ErrorCode::NONE, 2), "it does not go back");
    assert_eq!(delete(&mut client, "t", 0, 5), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut client, "t", 0, -2), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut client, "t", 7, 0), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1));
    assert_eq!(delete(&mut client, "none", 0, 0), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1));
    assert_eq!(delete(&mut client, "kept", 0, 0), (ErrorCode::POLICY_VIOLATION, -1));
    assert_eq!(delete(&mut client, "__consumer_offsets", 0, 0).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    for _ in 0..2 {
        assert_eq!(client.fetch("t", 0, 1).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
        let found = client.fetch("t", 0, 2);
        assert_eq!((values(&found).len(), found.log_start_offset), (2, 2));
        let partitions = vec![ListOffsetsPartition { timestamp: EARLIEST, ..Default::default() }];
        let topics = vec![ListOffsetsTopic { name: "t".into(), partitions }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        assert_eq!(client.call::<ListOffsets>(10, &request).topics[0].partitions[0].offset, 2);
        broker.restart();
        client = broker.client();
    }
    assert_eq!(delete(&mut client, "t", 0, -1), (ErrorCode::NONE, 4), "up to the high watermark");
    assert_eq!(client.produce("t", 0, batch(&["e"])).base_offset, 4);
}

#[test]
fn an_epoch_ends_where_the_next_one_begins() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    client.produce("t", 0, batch(&["a", "b"]));
    broker.restart();
    let mut client = broker.client();
    client.produce("t", 0, batch(&["c"]));
    let mut end_of = |topic: &str, current_leader_epoch, leader_epoch| {
        let partitions = vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch }];
        let topics = vec![OffsetForLeaderTopic { topic: topic.into(), partitions }];
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
        let found = client.call::<OffsetForLeaderEpoch>(4, &request).topics.remove(0).partitions.remove(0);
        (found.error_code, found.leader_epoch, found.end_offset)
    };
    assert_eq!(end_of("t", -1, 0), (ErrorCode::NONE, 0, 2));
    assert_eq!(end_of("t", 1, 1), (ErrorCode::NONE, 1, 3));
    assert_eq!(end_of("t", 1, 2), (ErrorCode::NONE, -1, -1));
    assert_eq!(end_of("t", 0, 0), (ErrorCode::FENCED_LEADER_EPOCH, -1, -1));
    assert_eq!(end_of("t", 2, 0), (ErrorCode::UNKNOWN_LEADER_EPOCH, -1, -1));
    assert_eq!(end_of("none", -1, 0), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1, -1));
}

#[test]
fn the_cluster_its_directory_and_its_quorum_are_told() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    client.produce("t", 1, batch(&[&"x".repeat(5000)]));

    let cluster = client.call::<DescribeCluster>(2, &DescribeClusterRequest::default());
    assert_eq!((cluster.error_code, cluster.controller_id, cluster.brokers.len()), (ErrorCode::NONE, 1, 1));
    assert_eq!(cluster.brokers[0].port, i32::from(broker.addr().port()));
    assert_eq!(cluster.cluster_id.len(), 22);
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    assert_eq!(client.call::<DescribeCluster>(1, &controllers).error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE);

    let dirs = client.call::<DescribeLogDirs>(4, &DescribeLogDirsRequest { topics: None });
    let [dir] = &dirs.results[..] else { panic!("one directory: {dirs:?}") };
    assert_eq!(*dir.log_dir, *broker.dir.path().join("data").to_string_lossy());
    assert!(dir.total_bytes > dir.usable_bytes && dir.usable_bytes > 0);
    let sizes: Vec<_> = dir.topics[0].partitions.iter().map(|p| (p.partition_index, p.partition_size)).collect();
    assert!(matches!(sizes[..], [(0, 0), (1, size)] if size > 5000), "{sizes:?}");

    let topics = |name: &str| {
        vec![QuorumTopic { topic_name: name.into(), partitions: vec![QuorumPartition { partition_index: 0 }] }]
    };
    let request = DescribeQuorumRequest { topics: topics("__cluster_metadata") };
    let quorum = client.call::<DescribeQuorum>(2, &request);
    let partition = &quorum.topics[0].partitions[0];
    assert_eq!(partition.leader_epoch, 1, "the first reign");
    assert_eq!((partition.error_code, partition.leader_id, partition.current_voters.len()), (ErrorCode::NONE, 1, 1));
    assert!(partition.high_watermark > 3 && partition.current_voters[0].log_end_offset == partition.high_watermark);
    let other = client.call::<DescribeQuorum>(2, &DescribeQuorumRequest { topics: topics("t") });
    assert_eq!(other.topics[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn topics_are_told_page_by_page() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    for (name, partitions) in [("b", 3), ("a", 2), ("c", 1)] {
        client.create(name, partitions, &[]);
    }
    let mut request = DescribeTopicPartitionsRequest { response_partition_limit: 2, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let page = client.call::<DescribeTopicPartitions>(0, &request);
        let seen = page.topics.iter().flat_map(|topic| {
            let name = topic.name.clone().unwrap_or_default();
            topic.partitions.iter().map(move |partition| format!("{name}{}", partition.partition_index))
        });
        pages.push(seen.collect::<Vec<_>>().join(" "));
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["a0 a1", "b0 b1", "b2 c0"]);
    let named = ["x", "a", "a/b"].map(|name| TopicRequest { name: name.into() });
    let request = DescribeTopicPartitionsRequest { topics: named.into(), ..Default::default() };
    let topics = client.call::<DescribeTopicPartitions>(0, &request).topics;
    let codes: Vec<_> = topics.iter().map(|topic| (topic.name.as_deref().unwrap_or(""), topic.error_code)).collect();
    assert_eq!(
        codes,
        [
            ("a", ErrorCode::NONE),
            ("a/b", ErrorCode::INVALID_TOPIC_EXCEPTION),
            ("x", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        ]
    );
}

#[test]
fn features_change_all_or_none_and_for_good() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let update = |client: &mut Client, changes: &[(&str, i16, i8)]| {
        let updates = changes.iter().map(|(feature, level, upgrade_type)| FeatureUpdateKey {
            feature: (*feature).into(),
            max_version_level: *level,
            upgrade_type: *upgrade_type,
            ..Default::default()
        });
        let request = UpdateFeaturesRequest { feature_updates: updates.collect(), ..Default::default() };
        client.call::<UpdateFeatures>(2, &request).error_code
    };
    const UP: i8 = 1;
    const DOWN: i8 = 2;
    let refused = ErrorCode::INVALID_UPDATE_VERSION;
    assert_eq!(update(&mut client, &[("group.version", 0, UP)]), refused);
    assert_eq!(update(&mut client, &[("group.version", 9, UP)]), refused);
    assert_eq!(update(&mut client, &[("no.such", 1, UP)]), refused);
    assert_eq!(update(&mut client, &[("group.version", 0, DOWN), ("metadata.version", 7, DOWN)]), refused);
    assert_eq!(update(&mut client, &[("group.version", 1, UP)]), ErrorCode::NONE, "as it was");
    assert_eq!(update(&mut client, &[("group.version", 0, DOWN)]), ErrorCode::NONE);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(update(&mut client, &[("group.version", 0, UP)]), ErrorCode::NONE, "still as it was");
}
