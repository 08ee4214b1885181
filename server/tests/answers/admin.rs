//! Questions about topics, settings and the cluster.

use corelog_engine::TopicId;
use corelog_server::protocol::Text;
use corelog_server::protocol::alter_configs::{self, AlterConfigs, AlterConfigsRequest};
use corelog_server::protocol::create_partitions::{
    CreatePartitions, CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use corelog_server::protocol::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopics, CreateTopicsRequest,
};
use corelog_server::protocol::delete_topics::{DeleteTopicState, DeleteTopics, DeleteTopicsRequest};
use corelog_server::protocol::describe_configs::{DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResource};
use corelog_server::protocol::describe_topic_partitions::{
    Cursor, DescribeTopicPartitions, DescribeTopicPartitionsRequest, TopicRequest,
};
use corelog_server::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use corelog_server::protocol::list_config_resources::{ListConfigResources, ListConfigResourcesRequest};
use corelog_server::protocol::metadata::{Metadata, MetadataRequest, MetadataRequestTopic};

use super::Answers;

pub fn ask(answers: &mut Answers) {
    create(answers);
    grow_and_delete(answers);
    describe(answers);
    settings(answers);
    limits_of_listeners(answers);
}

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions: partitions, replication_factor: 1, ..Default::default() }
}

fn create(answers: &mut Answers) {
    answers.client().create("made.of_dots", 1, &[]);
    let mut ask = |what: &str, topics: Vec<CreatableTopic>| {
        let request = CreateTopicsRequest { topics, validate_only: true, ..Default::default() };
        answers.ask::<CreateTopics>(what, 7, request);
    };
    let config = |name: &str, value: Option<&str>| CreatableTopic {
        configs: vec![CreatableTopicConfig { name: name.into(), value: value.map(Text::from) }],
        ..topic("new", 1)
    };
    let assigned = |partitions: i32, replicas: i16, assignments: &[(i32, &[i32])]| CreatableTopic {
        num_partitions: partitions,
        replication_factor: replicas,
        assignments: assignments
            .iter()
            .map(|(index, brokers)| CreatableReplicaAssignment {
                partition_index: *index,
                broker_ids: brokers.to_vec(),
            })
            .collect(),
        ..topic("new", -1)
    };
    let with_factor = |replication_factor| CreatableTopic { replication_factor, ..topic("new", 1) };
    let cases = vec![
        ("there already", topic("plain", 1)),
        ("a name that looks the same", topic("made_of.dots", 1)),
        ("an empty name", topic("", 1)),
        (".", topic(".", 1)),
        ("..", topic("..", 1)),
        ("a slash", topic("a/b", 1)),
        ("not ASCII", topic("größe", 1)),
        ("250 characters", topic(&"x".repeat(250), 1)),
        ("the metadata", topic("__cluster_metadata", 1)),
        ("no partitions", topic("new", 0)),
        ("-2 partitions", topic("new", -2)),
        ("2 replicas", with_factor(2)),
        ("no replicas", with_factor(0)),
        ("-2 replicas", with_factor(-2)),
        ("an unknown broker", assigned(-1, -1, &[(0, &[99])])),
        ("a broker twice", assigned(-1, -1, &[(0, &[1, 1])])),
        ("no broker", assigned(-1, -1, &[(0, &[])])),
        ("a gap", assigned(-1, -1, &[(0, &[1]), (2, &[1])])),
        ("a partition twice", assigned(-1, -1, &[(0, &[1]), (0, &[1])])),
        ("assigned and counted", assigned(1, -1, &[(0, &[1])])),
        ("assigned and replicated", assigned(-1, 1, &[(0, &[1])])),
        ("an unknown setting", config("retention.mss", Some("1"))),
        ("a setting without a value", config("retention.ms", None)),
        ("a number that is none", config("retention.ms", Some("soon"))),
        ("below the bound", config("segment.bytes", Some("1"))),
        ("above the type", config("segment.bytes", Some("3000000000"))),
        ("no such word", config("cleanup.policy", Some("vanish"))),
        ("a boolean that is none", config("preallocate", Some("maybe"))),
        ("tiered", config("remote.storage.enable", Some("true"))),
        ("a level that is none", config("compression.gzip.level", Some("0"))),
        ("throttled replicas that are none", config("leader.replication.throttled.replicas", Some("x"))),
    ];
    for (what, topic) in cases {
        ask(what, vec![topic]);
    }
    ask("a name twice", vec![topic("twice", 1), topic("twice", 2)]);
    ask("nothing", vec![]);
}

/// A topic, how many partitions it is to have, and the brokers of each new one.
type Enlarged<'a> = (&'a str, i32, Option<&'a [&'a [i32]]>);

fn grow_and_delete(answers: &mut Answers) {
    let mut grow = |what: &str, topics: Vec<Enlarged<'_>>| {
        let topics = topics.into_iter().map(|(name, count, assigned)| CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: assigned.map(|assigned| {
                assigned.iter().map(|brokers| CreatePartitionsAssignment { broker_ids: brokers.to_vec() }).collect()
            }),
        });
        let request = CreatePartitionsRequest { topics: topics.collect(), timeout_ms: 1000, validate_only: true };
        answers.ask::<CreatePartitions>(what, 3, request);
    };
    grow("unknown topic", vec![("nowhere", 3, None)]);
    grow("illegal name", vec![("a b", 3, None)]);
    grow("fewer", vec![("plain", 1, None)]);
    grow("as many", vec![("plain", 2, None)]);
    grow("none", vec![("plain", 0, None)]);
    grow("-1", vec![("plain", -1, None)]);
    grow("a topic twice", vec![("plain", 3, None), ("plain", 4, None)]);
    grow("too few assigned", vec![("plain", 4, Some(&[&[1]]))]);
    grow("an unknown broker", vec![("plain", 3, Some(&[&[9]]))]);
    grow("a broker twice", vec![("plain", 3, Some(&[&[1, 1]]))]);
    grow("no broker", vec![("plain", 3, Some(&[&[]]))]);

    let nowhere = TopicId(uuid::Uuid::from_u128(77 << 64 | 1 << 63 | 4 << 76));
    let names = |names: &[&str]| DeleteTopicsRequest {
        topic_names: names.iter().map(|name| Text::from(*name)).collect(),
        timeout_ms: 1000,
        ..Default::default()
    };
    answers.ask::<DeleteTopics>("unknown topic", 5, names(&["nowhere"]));
    answers.ask::<DeleteTopics>("illegal name", 5, names(&["a b"]));
    answers.ask::<DeleteTopics>("an empty name", 5, names(&[""]));
    answers.ask::<DeleteTopics>("a name twice", 5, names(&["nowhere", "nowhere"]));
    answers.ask::<DeleteTopics>("the metadata", 5, names(&["__cluster_metadata"]));
    let topics = |topics| DeleteTopicsRequest { topics, timeout_ms: 1000, ..Default::default() };
    let by = |name: Option<&str>, topic_id| DeleteTopicState { name: name.map(Text::from), topic_id };
    answers.ask::<DeleteTopics>("unknown id", 6, topics(vec![by(None, nowhere)]));
    answers.ask::<DeleteTopics>("name and id", 6, topics(vec![by(Some("plain"), nowhere)]));
    answers.ask::<DeleteTopics>("neither name nor id", 6, topics(vec![by(None, TopicId::ZERO)]));
    answers.ask::<DeleteTopics>("an id twice", 6, topics(vec![by(None, nowhere), by(None, nowhere)]));
}

fn describe(answers: &mut Answers) {
    let mut ask = |what: &str, version, names: &[&str]| {
        let topics =
            names.iter().map(|name| MetadataRequestTopic { name: Some(Text::from(*name)), ..Default::default() });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: what == "created",
            ..Default::default()
        };
        answers.ask_of_topics::<Metadata>(what, version, request);
    };
    ask("unknown topic", 9, &["nowhere"]);
    ask("illegal name", 9, &["a b"]);
    ask("illegal name", 12, &["a b", "", "nowhere"]);
    ask("created", 9, &["a b"]);
    ask("created", 9, &["__cluster_metadata"]);
    ask("a name twice", 9, &["nowhere", "nowhere"]);
    let pages = |topics: &[&str], limit, cursor: Option<(&str, i32)>| DescribeTopicPartitionsRequest {
        topics: topics.iter().map(|name| TopicRequest { name: Text::from(*name) }).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(name, partition_index)| Cursor { topic_name: name.into(), partition_index }),
    };
    answers.ask::<DescribeTopicPartitions>("unknown topic", 0, pages(&["nowhere"], 10, None));
    answers.ask::<DescribeTopicPartitions>("illegal name", 0, pages(&["a b"], 10, None));
    answers.ask::<DescribeTopicPartitions>("a negative cursor", 0, pages(&["nowhere"], 10, Some(("nowhere", -1))));

    let mut configs = |what: &str, resource_type, name: &str| {
        let resource = DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: Some(vec!["x".into()]),
        };
        answers.ask::<DescribeConfigs>(
            what,
            4,
            DescribeConfigsRequest { resources: vec![resource], ..Default::default() },
        );
    };
    configs("unknown topic", 2, "nowhere");
    configs("illegal name", 2, "a b");
    configs("no name", 2, "");
    configs("another broker", 4, "9");
    configs("a broker that is no number", 4, "x");
    configs("all brokers", 4, "");
    configs("a logger of another broker", 8, "9");
    configs("loggers that are not there", 8, "1");
    configs("loggers without a broker", 8, "");
    configs("loggers of no number", 8, "x");
    configs("a type that is none", 99, "x");
    configs("client metrics without a name", 16, "");
    configs("client metrics", 16, "x");
    configs("a group", 32, "x");
    configs("a group without a name", 32, "");
}

/// Limits of connections of one listener: which there are, what they may be, and how they are told.
fn limits_of_listeners(answers: &mut Answers) {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    let mut change = |what: &str, of: &str, key: &str, operation, value: Option<&str>, validate_only| {
        let config = AlterableConfig { name: key.into(), config_operation: operation, value: value.map(Text::from) };
        let resource = AlterConfigsResource { resource_type: 4, resource_name: of.into(), configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
        answers.ask::<IncrementalAlterConfigs>(what, 1, request);
    };
    let of_it = |base: &str| format!("listener.name.plaintext.{base}");
    for broker in ["1", ""] {
        for (key, value) in [
            ("listener.name.plaintext.max.connections", "0"),
            ("listener.name.plaintext.max.connections", "7"),
            ("listener.name.plaintext.max.connections", "-1"),
            ("listener.name.plaintext.max.connections", "x"),
            ("listener.name.PLAINTEXT.max.connections", "x"),
            ("listener.name.nowhere.max.connections", "0"),
            ("listener.name.nowhere.max.connections", "x"),
            ("listener.name.plaintext.max.connection.creation.rate", "0"),
            ("listener.name.plaintext.max.connection.creation.rate", "7"),
            ("listener.name.plaintext.max.connection.creation.rate", "-1"),
            ("max.connections", "0"),
            ("max.connection.creation.rate", "0"),
        ] {
            change(&format!("{key}={value} of {broker:?}"), broker, key, SET, Some(value), true);
        }
    }
    for (broker, value) in [("1", "1000"), ("", "2000")] {
        for base in ["max.connections", "max.connection.creation.rate"] {
            change(&format!("{base}={value} of {broker:?}"), broker, &of_it(base), SET, Some(value), false);
        }
    }
    // A moment until the broker has heard of it.
    std::thread::sleep(std::time::Duration::from_millis(500));
    for (broker, base) in [("1", "max.connections"), ("1", "max.connection.creation.rate"), ("", "max.connections")] {
        let resource = DescribeConfigsResource {
            resource_type: 4,
            resource_name: broker.into(),
            configuration_keys: Some(vec![of_it(base).into()]),
        };
        let request =
            DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: false };
        answers.ask::<DescribeConfigs>(&format!("a listener's {base} of {broker:?}"), 4, request);
    }
    let mut change = |broker: &str, base: &str| {
        let config = AlterableConfig { name: of_it(base).into(), config_operation: DELETE, value: None };
        let resource = AlterConfigsResource { resource_type: 4, resource_name: broker.into(), configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        answers.ask::<IncrementalAlterConfigs>(&format!("{base} of {broker:?} deleted"), 1, request);
    };
    for broker in ["1", ""] {
        for base in ["max.connections", "max.connection.creation.rate"] {
            change(broker, base);
        }
    }
}

fn settings(answers: &mut Answers) {
    const SET: i8 = 0;
    let mut ask = |what: &str, resource_type, name: &str, changes: &[(i8, &str, Option<&str>)]| {
        let configs = changes.iter().map(|(config_operation, key, value)| AlterableConfig {
            name: (*key).into(),
            config_operation: *config_operation,
            value: value.map(Text::from),
        });
        let resource = AlterConfigsResource { resource_type, resource_name: name.into(), configs: configs.collect() };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: true };
        answers.ask::<IncrementalAlterConfigs>(what, 1, request);
    };
    ask("unknown topic", 2, "nowhere", &[(SET, "retention.ms", Some("1"))]);
    ask("illegal name", 2, "a b", &[(SET, "retention.ms", Some("1"))]);
    ask("unknown setting", 2, "plain", &[(SET, "retention.mss", Some("1"))]);
    ask("a number that is none", 2, "plain", &[(SET, "retention.ms", Some("soon"))]);
    ask("below the bound", 2, "plain", &[(SET, "segment.bytes", Some("1"))]);
    ask("no value", 2, "plain", &[(SET, "retention.ms", None)]);
    ask("appended to a number", 2, "plain", &[(2, "retention.ms", Some("1"))]);
    ask("subtracted from a number", 2, "plain", &[(3, "retention.ms", Some("1"))]);
    ask("an operation that is none", 2, "plain", &[(9, "retention.ms", Some("1"))]);
    ask("a setting twice", 2, "plain", &[(SET, "retention.ms", Some("1")), (SET, "retention.ms", Some("2"))]);
    ask(
        "lags that contradict",
        2,
        "plain",
        &[(SET, "min.compaction.lag.ms", Some("9")), (SET, "max.compaction.lag.ms", Some("5"))],
    );
    ask("deleted, not there", 2, "plain", &[(1, "no.such", None)]);
    ask("another broker", 4, "9", &[(SET, "message.max.bytes", Some("1000"))]);
    ask("a broker that is no number", 4, "x", &[(SET, "message.max.bytes", Some("1000"))]);
    ask("for a restart only", 4, "1", &[(SET, "log.dirs", Some("/x"))]);
    ask("a bad number", 4, "1", &[(SET, "message.max.bytes", Some("x"))]);
    ask("a bad number for all", 4, "", &[(SET, "message.max.bytes", Some("x"))]);
    ask("for one broker only", 4, "", &[(SET, "ssl.keystore.location", Some("/x"))]);
    ask("a bad rate", 4, "", &[(SET, "max.connection.creation.rate", Some("-1"))]);
    ask("bad overrides", 4, "", &[(SET, "max.connections.per.ip.overrides", Some("x"))]);
    ask("a bad number of overrides", 4, "", &[(SET, "max.connections.per.ip.overrides", Some("127.0.0.1:x"))]);
    for (name, value) in [
        ("log.roll.ms", "-1"),
        ("log.roll.ms", "0"),
        ("log.roll.jitter.ms", "-1"),
        ("log.retention.ms", "0"),
        ("log.retention.ms", "-5"),
        ("log.flush.interval.ms", "-1"),
        ("max.connections.per.ip", "0"),
        ("log.local.retention.ms", "0"),
    ] {
        ask(&format!("{name}={value}"), 4, "", &[(SET, name, Some(value))]);
    }
    const DELETE: i8 = 1;
    for (what, broker, changes) in [
        ("the root's level", "1", vec![(SET, "root", Some("DEBUG"))]),
        ("the root's level in small letters", "1", vec![(SET, "root", Some("debug"))]),
        ("no such level", "1", vec![(SET, "root", Some("LOUD"))]),
        ("a level that is null", "1", vec![(SET, "root", None)]),
        ("no such logger", "1", vec![(SET, "no.such", Some("DEBUG"))]),
        ("no such logger, deleted", "1", vec![(DELETE, "no.such", None)]),
        ("the root's level deleted", "1", vec![(DELETE, "root", None)]),
        ("a level appended", "1", vec![(2, "root", Some("DEBUG"))]),
        ("a level subtracted", "1", vec![(3, "root", Some("DEBUG"))]),
        ("one good and one bad", "1", vec![(SET, "root", Some("INFO")), (SET, "no.such", Some("INFO"))]),
        ("a logger twice", "1", vec![(SET, "root", Some("INFO")), (SET, "root", Some("WARN"))]),
        ("no change", "1", vec![]),
        ("a logger of another broker", "9", vec![(SET, "root", Some("DEBUG"))]),
        ("a logger of no broker", "", vec![(SET, "root", Some("DEBUG"))]),
        ("a logger of no number", "x", vec![(SET, "root", Some("DEBUG"))]),
    ] {
        ask(&format!("loggers: {what}"), 8, broker, &changes);
    }
    ask("a type that is none", 99, "x", &[(SET, "x", Some("1"))]);
    ask("unknown setting of a group", 32, "g", &[(SET, "nope", Some("1"))]);
    ask("a group without a name", 32, "", &[(SET, "consumer.session.timeout.ms", Some("45000"))]);
    ask("unknown client metrics", 16, "m", &[(SET, "nope", Some("1"))]);
    ask("client metrics without a name", 16, "", &[(SET, "interval.ms", Some("1000"))]);
    ask("an interval too short", 16, "m", &[(SET, "interval.ms", Some("1"))]);
    ask("an interval that is no number", 16, "m", &[(SET, "interval.ms", Some("soon"))]);
    ask("a match that is none", 16, "m", &[(SET, "match", Some("x=y"))]);
    ask("a match that is no expression", 16, "m", &[(SET, "match", Some("client_id=("))]);

    let mut replace = |what: &str, resource_type, name: &str, key: &str, value: Option<&str>| {
        let configs = vec![alter_configs::AlterableConfig { name: key.into(), value: value.map(Text::from) }];
        let resource = alter_configs::AlterConfigsResource { resource_type, resource_name: name.into(), configs };
        answers.ask::<AlterConfigs>(what, 2, AlterConfigsRequest { resources: vec![resource], validate_only: true });
    };
    replace("unknown topic", 2, "nowhere", "retention.ms", Some("1"));
    replace("unknown setting", 2, "plain", "retention.mss", Some("1"));
    replace("a number that is none", 2, "plain", "retention.ms", Some("soon"));
    replace("no value", 2, "plain", "retention.ms", None);
    replace("another broker", 4, "9", "message.max.bytes", Some("1000"));
    replace("a logger", 8, "1", "root", Some("DEBUG"));
    replace("a type that is none", 99, "x", "x", Some("1"));
    let resource = |value: &str| AlterConfigsResource {
        resource_type: 2,
        resource_name: "plain".into(),
        configs: vec![AlterableConfig { name: "retention.ms".into(), value: Some(value.into()), ..Default::default() }],
    };
    let twice = IncrementalAlterConfigsRequest { resources: vec![resource("1"), resource("2")], validate_only: true };
    answers.ask::<IncrementalAlterConfigs>("a resource twice", 1, twice);
    answers.ask::<ListConfigResources>(
        "a type that is none",
        1,
        ListConfigResourcesRequest { resource_types: vec![99] },
    );
}
