//! Every value that a setting may have is one that the broker can live with: the least and the greatest number, every word.

mod support;

use corelog_server::config::Kind;
use corelog_server::config::resource::is_changeable;
use corelog_server::config::table::{broker_keys, topic_keys};
use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopics, CreateTopicsRequest,
};
use corelog_server::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use support::{Client, TestBroker, batch, until};

const BROKER: i8 = 4;

/// The ends of what a setting takes.
fn ends(kind: Kind) -> Vec<String> {
    let numbers = |min: i64, max: i64| vec![min.to_string(), (min.saturating_add(1)).to_string(), max.to_string()];
    match kind {
        Kind::Boolean => vec!["true".into(), "false".into()],
        Kind::Short(min, max) => numbers(min.max(i16::MIN.into()), max.min(i16::MAX.into())),
        Kind::Int(min, max) => numbers(min.max(i32::MIN.into()), max.min(i32::MAX.into())),
        Kind::Long(min, max) => numbers(min, max),
        Kind::Double(..) => vec!["0.0".into(), "1.0".into()],
        Kind::GzipLevel => vec!["-1".into(), "9".into()],
        Kind::OneOf(words) | Kind::OneOfAnyCase(words) => words.iter().map(|word| word.to_string()).collect(),
        Kind::ListOf(words) => words.iter().map(|word| word.to_string()).chain(["".into(), words.join(",")]).collect(),
        _ => Vec::new(),
    }
}

/// Whatever comes of it, it is an answer that a client can make something of.
fn use_it(client: &mut Client, topic: &str, what: &str) {
    for _ in 0..3 {
        let code = client.produce(topic, 0, batch(&["a", "b"])).error_code;
        assert_ne!(code, ErrorCode::UNKNOWN_SERVER_ERROR, "{what}");
    }
    // Retention may have been there already.
    let code = client.fetch(topic, 0, 0).error_code;
    assert!([ErrorCode::NONE, ErrorCode::OFFSET_OUT_OF_RANGE].contains(&code), "{what}: {code}");
}

fn start() -> TestBroker {
    let often = "20";
    TestBroker::start(&[
        ("log.retention.check.interval.ms", often),
        ("corelog.checkpoint.interval.ms", often),
        ("producer.id.expiration.check.interval.ms", often),
    ])
}

#[test]
fn a_topic_may_have_every_value_that_is_accepted() {
    let mut broker = start();
    let mut client = broker.client();
    let mut topics = Vec::new();
    for (number, key) in topic_keys().iter().enumerate() {
        for (end, value) in ends(key.kind).into_iter().enumerate() {
            let what = format!("{}={value}", key.name);
            let name = format!("t{number}.{end}");
            let config = CreatableTopicConfig { name: key.name.into(), value: Some(value.as_str().into()) };
            let topic = CreatableTopic {
                name: name.as_str().into(),
                num_partitions: 1,
                replication_factor: 1,
                configs: vec![config],
                ..Default::default()
            };
            let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
            let created = client.call::<CreateTopics>(7, &request).topics.remove(0);
            // Some contradict what the others are.
            if created.error_code == ErrorCode::NONE {
                use_it(&mut client, &name, &what);
                topics.push((name, what));
            } else {
                assert_eq!(created.error_code, ErrorCode::INVALID_CONFIG, "{what}: {:?}", created.error_message);
            }
        }
    }
    assert!(topics.len() > 60, "{} values", topics.len());
    broker.restart();
    let mut client = broker.client();
    for (name, what) in &topics {
        use_it(&mut client, name, what);
    }
}

#[test]
fn the_broker_may_be_given_every_value_that_is_accepted() {
    let broker = start();
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let mut accepted = 0;
    for key in broker_keys().filter(|key| is_changeable(key)) {
        for value in ends(key.kind) {
            let what = format!("{}={value}", key.name);
            let set = |client: &mut Client, config_operation, value: Option<&str>| {
                let value = value.map(Into::into);
                let configs = vec![AlterableConfig { name: key.name.into(), config_operation, value }];
                let resource = AlterConfigsResource { resource_type: BROKER, resource_name: "1".into(), configs };
                let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
                client.call::<IncrementalAlterConfigs>(1, &request).responses.remove(0)
            };
            let answer = set(&mut client, 0, Some(&value));
            if answer.error_code == ErrorCode::NONE {
                use_it(&mut client, "t", &what);
                accepted += 1;
            } else {
                assert_eq!(answer.error_code, ErrorCode::INVALID_REQUEST, "{what}: {:?}", answer.error_message);
            }
            assert_eq!(set(&mut client, 1, None).error_code, ErrorCode::NONE, "{what}");
        }
    }
    assert!(accepted > 80, "{accepted} values");
    until("all is as before", || client.produce("t", 0, batch(&["x"])).error_code == ErrorCode::NONE);
}
