//! Metadata, CreateTopics, DeleteTopics, and what of them a restart keeps.

mod support;

use corelog_engine::TopicId;
use corelog_server::protocol::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopics,
    CreateTopicsRequest,
};
use corelog_server::protocol::delete_topics::{DeleteTopicState, DeleteTopics, DeleteTopicsRequest};
use corelog_server::protocol::metadata::{Metadata, MetadataRequest, MetadataRequestTopic, MetadataResponse};
use corelog_server::protocol::{ErrorCode, Text};
use support::{Client, TestBroker, batch, values};

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions: partitions, replication_factor: 1, ..Default::default() }
}

fn create(
    client: &mut Client,
    version: i16,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest { topics, validate_only, ..Default::default() };
    client.call::<CreateTopics>(version, &request).topics
}

fn ask(client: &mut Client, version: i16, names: &[&str], allow_auto_topic_creation: bool) -> MetadataResponse {
    let topics = names.iter().map(|name| MetadataRequestTopic { name: Some(Text::from(*name)), ..Default::default() });
    let request = MetadataRequest { topics: Some(topics.collect()), allow_auto_topic_creation, ..Default::default() };
    client.call::<Metadata>(version, &request)
}

fn names(response: &MetadataResponse) -> Vec<String> {
    response.topics.iter().map(|topic| topic.name.as_ref().expect("a name").to_string()).collect()
}

#[test]
fn metadata_tells_of_the_broker_and_of_the_topics_asked_for_in_every_version() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let id = client.create("b", 3, &[]);
    client.create("a", 1, &[]);
    for version in 0..=13 {
        let all = MetadataRequest { topics: if version == 0 { Some(Vec::new()) } else { None }, ..Default::default() };
        let response = client.call::<Metadata>(version, &all);
        assert_eq!(names(&response), ["a", "b"], "v{version}");
        assert_eq!(response.brokers.len(), 1);
        assert_eq!(
            (&*response.brokers[0].host, response.brokers[0].port),
            ("127.0.0.1", i32::from(broker.addr().port()))
        );
        assert_eq!(response.cluster_id.is_some(), version >= 2);
        let topic = &response.topics[1];
        assert_eq!(topic.topic_id, if version >= 10 { id } else { TopicId::ZERO });
        assert_eq!(topic.partitions.iter().map(|partition| partition.partition_index).collect::<Vec<_>>(), [0, 1, 2]);
        let node = response.brokers[0].node_id;
        assert!(topic.partitions.iter().all(|partition| {
            partition.leader_id == node && partition.isr_nodes == [node] && partition.replica_nodes == [node]
        }));
        if version > 0 {
            let none = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
            assert_eq!(names(&client.call::<Metadata>(version, &none)), [""; 0]);
        }
    }
    let by_id = |topic_id| {
        let topics = Some(vec![MetadataRequestTopic { topic_id, name: None }]);
        MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() }
    };
    assert_eq!(names(&client.call::<Metadata>(12, &by_id(id))), ["b"]);
    let unknown = client.call::<Metadata>(12, &by_id(TopicId::random())).topics.remove(0);
    assert_eq!((unknown.error_code, unknown.name), (ErrorCode::UNKNOWN_TOPIC_ID, None));
    assert_eq!(client.call::<Metadata>(10, &by_id(id)).topics[0].error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn a_topic_is_created_when_asked_for_if_client_and_broker_allow_it() {
    let broker = TestBroker::start(&[("num.partitions", "3")]);
    let mut client = broker.client();
    let not_allowed = ask(&mut client, 4, &["t"], false);
    assert_eq!(not_allowed.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let created = ask(&mut client, 4, &["t"], true);
    assert_eq!((created.topics[0].error_code, created.topics[0].partitions.len()), (ErrorCode::NONE, 3));
    assert_eq!(client.produce("t", 2, batch(&["at once"])).error_code, ErrorCode::NONE);
    // Before v4 the client has no say.
    assert_eq!(ask(&mut client, 3, &["u", "u"], false).topics.len(), 1, "what is asked for twice is told once");
    assert_eq!(client.metadata("u").error_code, ErrorCode::NONE);
    for bad in ["", "a b", "..", &"x".repeat(250)] {
        assert_eq!(
            ask(&mut client, 9, &[bad], true).topics[0].error_code,
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "{bad:?}"
        );
    }
    let strict = TestBroker::start(&[("auto.create.topics.enable", "false")]);
    let refused = ask(&mut strict.client(), 4, &["t"], true);
    assert_eq!(refused.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn topics_are_created_with_kafkas_rules_and_words() {
    let broker = TestBroker::start(&[("num.partitions", "2")]);
    let mut client = broker.client();
    client.create("there", 1, &[]);
    let config = |name: &str, value: &str| CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
    let assigned = |broker: i32| CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![broker] }],
        ..topic("assigned", -1)
    };
    let cases = vec![
        (topic("there", 1), ErrorCode::TOPIC_ALREADY_EXISTS, "already exists"),
        (topic("a/b", 1), ErrorCode::INVALID_TOPIC_EXCEPTION, "a/b"),
        (topic("", 1), ErrorCode::INVALID_TOPIC_EXCEPTION, "empty"),
        (topic("t", 0), ErrorCode::INVALID_PARTITIONS, "partitions"),
        (topic("t", -2), ErrorCode::INVALID_PARTITIONS, "partitions"),
        (CreatableTopic { replication_factor: 2, ..topic("t", 1) }, ErrorCode::INVALID_REPLICATION_FACTOR, "2"),
        (
            CreatableTopic { replication_factor: 0, ..topic("t", 1) },
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Replication factor",
        ),
        (assigned(99), ErrorCode::INVALID_REPLICA_ASSIGNMENT, "99"),
        (
            CreatableTopic { configs: vec![config("retention.mss", "1")], ..topic("t", 1) },
            ErrorCode::INVALID_CONFIG,
            "retention.ms",
        ),
        (
            CreatableTopic { configs: vec![config("segment.bytes", "many")], ..topic("t", 1) },
            ErrorCode::INVALID_CONFIG,
            "segment.bytes",
        ),
    ];
    for (topic, expected, word) in cases {
        let result = create(&mut client, 7, vec![topic.clone()], false).remove(0);
        assert_eq!(result.error_code, expected, "{topic:?}");
        let message = result.error_message.expect("words").to_string();
        assert!(message.contains(word), "{message}");
        assert_eq!((result.topic_id, result.num_partitions), (TopicId::ZERO, -1));
    }
    let twice = create(&mut client, 7, vec![topic("twice", 1), topic("once", 1), topic("twice", 1)], false);
    assert_eq!(twice.iter().map(|result| result.error_code.0).collect::<Vec<_>>(), [42, 0], "each once");

    let defaults = CreatableTopic { replication_factor: -1, ..topic("defaults", -1) };
    let by_an_old_client =
        create(&mut client, 3, vec![CreatableTopic { name: "v3-defaults".into(), ..defaults.clone() }], false);
    assert_eq!(by_an_old_client[0].error_code, ErrorCode::NONE, "as Kafka, whatever KIP-464 says of versions");
    let only_checked = create(&mut client, 7, vec![defaults.clone()], true).remove(0);
    assert_eq!((only_checked.error_code, only_checked.num_partitions), (ErrorCode::NONE, 2));
    assert_eq!(client.metadata("defaults").error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let with_config = CreatableTopic { configs: vec![config("max.message.bytes", "2000")], ..defaults };
    let created = create(&mut client, 7, vec![with_config], false).remove(0);
    assert_eq!((created.error_code, created.num_partitions, created.replication_factor), (ErrorCode::NONE, 2, 1));
    let configs = created.configs.expect("the settings");
    let of = |name: &str| {
        let config = configs.iter().find(|config| config.name == name).expect("listed");
        (config.value.as_ref().expect("a value").to_string(), config.config_source)
    };
    assert_eq!(of("max.message.bytes"), ("2000".to_string(), 1));
    assert_eq!(of("flush.messages"), ("1".to_string(), 5));
    assert_eq!(client.produce("defaults", 1, batch(&[&"x".repeat(3000)])).error_code, ErrorCode::MESSAGE_TOO_LARGE);

    for version in 2..=7 {
        let name = format!("v{version}");
        assert_eq!(create(&mut client, version, vec![topic(&name, 1)], false)[0].error_code, ErrorCode::NONE);
    }
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    for version in 1..=5 {
        client.create("t", 2, &[]);
        let request = DeleteTopicsRequest { topic_names: vec!["t".into(), "none".into()], ..Default::default() };
        let response = client.call::<DeleteTopics>(version, &request);
        let codes: Vec<_> = response.responses.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION], "v{version}");
        assert_eq!(client.metadata("t").error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let id = client.create("t", 1, &[]);
    let by_id = |topic_id| DeleteTopicState { name: None, topic_id };
    let request = DeleteTopicsRequest { topics: vec![by_id(id), by_id(TopicId::random())], ..Default::default() };
    let response = client.call::<DeleteTopics>(6, &request);
    let found: Vec<_> = response.responses.iter().map(|result| (result.error_code, result.name.as_deref())).collect();
    assert_eq!(found, [(ErrorCode::NONE, Some("t")), (ErrorCode::UNKNOWN_TOPIC_ID, None)]);
    let dir = broker.dir.path().join("data");
    let left: Vec<_> =
        std::fs::read_dir(dir).expect("the data directory").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name == "t-0" || name == "t-1"), "{left:?}");

    let strict = TestBroker::start(&[("delete.topic.enable", "false")]);
    let mut client = strict.client();
    client.create("t", 1, &[]);
    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    assert_eq!(client.call::<DeleteTopics>(5, &request).responses[0].error_code, ErrorCode::TOPIC_DELETION_DISABLED);
}

#[test]
fn a_restart_keeps_topics_settings_ids_and_records_and_begins_a_new_epoch() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let id = client.create("t", 3, &[("max.message.bytes", "2000")]);
    client.create("gone", 1, &[]);
    for partition in 0..3 {
        client.produce("t", partition, batch(&["before", "the end"]));
    }
    let request = DeleteTopicsRequest { topic_names: vec!["gone".into()], ..Default::default() };
    client.call::<DeleteTopics>(5, &request);
    let before = client.metadata("t");
    for round in 1..=2 {
        broker.restart();
        let mut client = broker.client();
        let after = client.metadata("t");
        assert_eq!((after.topic_id, after.partitions.len()), (id, 3));
        assert_eq!(after.partitions[0].leader_epoch, before.partitions[0].leader_epoch + round);
        assert_eq!(client.metadata("gone").error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        for partition in 0..3 {
            let found = client.fetch("t", partition, 0);
            assert_eq!(values(&found).len() as i32, 1 + round, "{found:?}");
            let answer = client.produce("t", partition, batch(&["after"]));
            assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, i64::from(1 + round)));
        }
        assert_eq!(client.produce("t", 0, batch(&[&"x".repeat(3000)])).error_code, ErrorCode::MESSAGE_TOO_LARGE);
    }
}

#[test]
fn a_directory_without_metadata_is_taken_in_with_its_records() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let id = client.create("t", 2, &[]);
    client.produce("t", 1, batch(&["kept"]));
    broker.stop();
    let dir = broker.dir.path().join("data");
    for entry in std::fs::read_dir(&dir).expect("the data directory").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        // What a stopped Kafka leaves: no files of ours.
        if name.starts_with("corelog-") {
            std::fs::remove_file(entry.path()).expect("removed");
        } else if name.starts_with("__cluster_metadata") {
            std::fs::remove_dir_all(entry.path()).expect("removed");
        }
    }
    broker.restart();
    let mut client = broker.client();
    let found = client.metadata("t");
    assert_eq!((found.error_code, found.topic_id, found.partitions.len()), (ErrorCode::NONE, id, 2));
    assert_eq!(values(&client.fetch("t", 1, 0)), [(0, "kept".to_string())]);
    assert_eq!(client.produce("t", 1, batch(&["more"])).base_offset, 1);
}
