//! The metadata decisions: what is refused and why, and that replay of the log rebuilds what was live, at every prefix.

use corelog_engine::{Epoch, Offset, TopicId};
use corelog_replication::NodeId;
use corelog_replication::metadata::record::Endpoint;
use corelog_replication::metadata::{
    AlterConfig, AlterOperation, ClusterImage, ConfigMap, ConfigResource, ConfigRules, Decision, MetadataError,
    MetadataRecord, NewPartitions, NewTopic, Refusal, Registration, ResourceType, TopicRules, TopicSelector,
    decide_alter_configs, decide_create_partitions, decide_create_topics, decide_delete_topics,
    decide_incremental_alter_configs, decide_register_broker,
};
use proptest::prelude::*;
use uuid::Uuid;

/// A cluster whose log is kept, so that it can be replayed.
struct Cluster {
    image: ClusterImage,
    log: Vec<Vec<u8>>,
    ids: u128,
}

fn check(_: ResourceType, _: &str, configs: &ConfigMap) -> Result<(), MetadataError> {
    match configs.get("bad") {
        Some(value) => Err(MetadataError::new(Refusal::InvalidConfig, format!("bad={value} is not allowed"))),
        None => Ok(()),
    }
}

const CONFIG_RULES: ConfigRules<'static> = ConfigRules { check: &check, list_default: &|_, _| None };
const RULES: TopicRules<'static> = TopicRules { partitions: 2, replication_factor: 1, check: &check };

fn registration(node: i32, incarnation: u128) -> Registration {
    Registration {
        node: NodeId(node),
        incarnation: Uuid::from_u128(incarnation),
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: None,
        directories: vec![Uuid::from_u128(77)],
    }
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor, assignments: vec![], configs: vec![] }
}

impl Cluster {
    fn empty() -> Cluster {
        Cluster { image: ClusterImage::new("cluster"), log: Vec::new(), ids: 0 }
    }

    fn of(nodes: i32) -> Cluster {
        let mut cluster = Cluster::empty();
        for node in 1..=nodes {
            let decision = decide_register_broker(&cluster.image, &registration(node, node as u128));
            cluster.commit(decision).expect("registered");
        }
        cluster
    }

    /// Appends and replays, through bytes as a restart would.
    fn commit<R>(&mut self, decision: Decision<R>) -> R {
        for record in &decision.records {
            let bytes = record.encode();
            let offset = Offset(self.log.len() as i64);
            self.image.replay(offset, &MetadataRecord::decode(&bytes).expect("reads back")).expect("replays");
            self.log.push(bytes);
        }
        decision.reply
    }

    fn create(&mut self, topics: &[NewTopic]) -> Vec<Result<TopicId, (Refusal, String)>> {
        let mut ids = self.ids;
        let decision = decide_create_topics(&self.image, topics, &RULES, || {
            ids += 1;
            TopicId(Uuid::from_u128(ids))
        });
        self.ids = ids;
        let reply = self.commit(decision).into_iter();
        reply.map(|answer| answer.map(|created| created.id).map_err(parts)).collect()
    }
}

fn parts(error: MetadataError) -> (Refusal, String) {
    (error.refusal, error.message)
}

fn replayed(log: &[Vec<u8>]) -> ClusterImage {
    let mut image = ClusterImage::new("cluster");
    for (offset, bytes) in (0..).zip(log) {
        image.replay(Offset(offset), &MetadataRecord::decode(bytes).expect("reads back")).expect("replays");
    }
    image
}

#[test]
fn an_empty_log_begins_with_the_metadata_version_and_the_broker() {
    let cluster = Cluster::of(1);
    assert!(matches!(MetadataRecord::decode(&cluster.log[0]), Ok(MetadataRecord::FeatureLevel(f)) if f.level == 27));
    let broker = cluster.image.broker(NodeId(1)).expect("registered");
    assert_eq!((broker.epoch, broker.fenced), (2, false), "the epoch is the record's offset");
    assert_eq!(cluster.image.features().get("metadata.version"), Some(&27));
    assert_eq!(cluster.image.features().get("group.version"), Some(&1));
}

#[test]
fn a_created_topic_is_led_by_its_replicas_in_turn() {
    let mut cluster = Cluster::of(3);
    let id = cluster.create(&[topic("a", 3, 2)])[0].clone().expect("created");
    let image = cluster.image.topic("a").expect("there");
    assert_eq!((image.id, cluster.image.partition_count()), (id, 3));
    let leaders: Vec<_> = image.partitions.iter().map(|partition| partition.leader.0).collect();
    assert_eq!(leaders, [1, 2, 3]);
    for partition in &image.partitions {
        assert_eq!((partition.replicas.len(), &partition.isr), (2, &partition.replicas));
        assert_eq!((partition.leader_epoch, partition.partition_epoch), (Epoch(0), 0));
        assert_eq!(partition.directories, [Uuid::from_u128(77); 2]);
    }
    let defaults = cluster.create(&[topic("b", -1, -1)]);
    assert!(defaults[0].is_ok());
    assert_eq!(cluster.image.topic("b").expect("there").partitions.len(), 2, "num.partitions");
}

#[test]
fn what_cannot_be_created_is_refused_with_kafkas_code() {
    let mut cluster = Cluster::of(1);
    assert!(cluster.create(&[topic("present.topic", 1, 1)])[0].is_ok());
    let assigned = |assignments: &[(i32, &[i32])]| {
        let assignments = assignments.iter().map(|(p, nodes)| (*p, nodes.iter().map(|n| NodeId(*n)).collect()));
        NewTopic { assignments: assignments.collect(), ..topic("t", -1, -1) }
    };
    let configured =
        |key: &str, value: &str| NewTopic { configs: vec![(key.into(), Some(value.into()))], ..topic("t", 1, 1) };
    let cases = [
        (topic("", 1, 1), Refusal::InvalidTopic, "empty string"),
        (topic("a/b", 1, 1), Refusal::InvalidTopic, "other than ASCII alphanumerics"),
        (topic("__cluster_metadata", 1, 1), Refusal::InvalidRequest, "prohibited"),
        (topic("present.topic", 1, 1), Refusal::TopicExists, "already exists"),
        (topic("present_topic", 1, 1), Refusal::InvalidTopic, "collides with existing topic: present.topic"),
        (topic("t", 0, 1), Refusal::InvalidPartitions, "non-positive"),
        (topic("t", -2, 1), Refusal::InvalidPartitions, "non-positive"),
        (topic("t", 10_001, 1), Refusal::PolicyViolation, "10001"),
        (topic("t", 1, 0), Refusal::InvalidReplicationFactor, "larger than 0"),
        (topic("t", 1, 2), Refusal::InvalidReplicationFactor, "only 1 broker(s)"),
        (NewTopic { partitions: 1, ..assigned(&[(0, &[1])]) }, Refusal::InvalidRequest, "numPartitions"),
        (NewTopic { replication_factor: 1, ..assigned(&[(0, &[1])]) }, Refusal::InvalidRequest, "replicationFactor"),
        (assigned(&[(1, &[1])]), Refusal::InvalidReplicaAssignment, "consecutive"),
        (assigned(&[(0, &[1]), (0, &[1])]), Refusal::InvalidReplicaAssignment, "consecutive"),
        (assigned(&[(0, &[])]), Refusal::InvalidReplicaAssignment, "no replicas"),
        (assigned(&[(0, &[1, 1])]), Refusal::InvalidReplicaAssignment, "more than once"),
        (assigned(&[(0, &[9])]), Refusal::InvalidReplicaAssignment, "broker 9"),
        (configured("bad", "x"), Refusal::InvalidConfig, "bad=x is not allowed"),
        (
            NewTopic { configs: vec![("a".into(), None)], ..topic("t", 1, 1) },
            Refusal::InvalidConfig,
            "Null value not supported for topic configs: a",
        ),
    ];
    let before = cluster.image.clone();
    for (request, refusal, sentence) in cases {
        let (found, message) = cluster.create(std::slice::from_ref(&request))[0].clone().expect_err("refused");
        assert_eq!(found, refusal, "{request:?}: {message}");
        assert!(message.contains(sentence), "{message}");
    }
    assert_eq!(cluster.image, before, "a refusal changes nothing");
}

#[test]
fn topics_of_one_request_are_answered_one_by_one() {
    let mut cluster = Cluster::of(1);
    let reply = cluster.create(&[
        topic("a", 1, 1),
        topic("twice", 1, 1),
        topic("twice", 2, 1),
        topic("b.c", 1, 1),
        topic("b_c", 1, 1),
    ]);
    let codes: Vec<_> = reply.iter().map(|answer| answer.as_ref().err().map(|(refusal, _)| refusal.code())).collect();
    assert_eq!(codes, [None, Some(42), Some(42), None, Some(17)]);
}

#[test]
fn a_deleted_topic_is_gone_with_its_settings_and_its_name_is_free_for_another_id() {
    let mut cluster = Cluster::of(1);
    let settings = vec![("retention.ms".to_string(), Some("5".to_string()))];
    let first = cluster.create(&[NewTopic { configs: settings, ..topic("a", 1, 1) }])[0].clone().expect("created");
    assert_eq!(cluster.image.configs(ResourceType::Topic, "a").expect("set").len(), 1);
    let by_name = TopicSelector::Name("a".into());
    let decision = decide_delete_topics(
        &cluster.image,
        &[by_name, TopicSelector::Id(first), TopicSelector::Name("b".into()), TopicSelector::Id(TopicId::ZERO)],
    );
    let codes: Vec<_> = cluster.commit(decision).into_iter().map(|r| r.err().map(|e| e.refusal.code())).collect();
    assert_eq!(codes, [None, Some(42), Some(3), Some(100)]);
    assert!(cluster.image.topic("a").is_none() && cluster.image.topic_by_id(first).is_none());
    assert_eq!((cluster.image.partition_count(), cluster.image.configs(ResourceType::Topic, "a")), (0, None));
    let second = cluster.create(&[topic("a", 1, 1)])[0].clone().expect("created again");
    assert_ne!(first, second);
}

#[test]
fn partitions_are_added_behind_the_present_ones() {
    let mut cluster = Cluster::of(2);
    assert!(cluster.create(&[topic("a", 2, 1)])[0].is_ok());
    let more = |topic: &str, count, assignments: Option<&[&[i32]]>| NewPartitions {
        topic: topic.into(),
        count,
        assignments: assignments
            .map(|sets| sets.iter().map(|nodes| nodes.iter().map(|n| NodeId(*n)).collect()).collect()),
    };
    for (request, code, sentence) in [
        (more("nope", 3, None), 3, "nope"),
        (more("a", 1, None), 37, "would not be an increase"),
        (more("a", -1, None), 37, "would not be an increase"),
        (more("a", 2, None), 37, "already has 2"),
        (more("a", 20_000, None), 44, "19998"),
        (more("a", 4, Some(&[&[1]])), 39, "only 1 assignment(s)"),
        (more("a", 3, Some(&[&[1, 2]])), 39, "2 replicas"),
        (more("a", 3, Some(&[&[7]])), 39, "broker 7"),
    ] {
        let error = decide_create_partitions(&cluster.image, &[request]).reply.remove(0).expect_err("refused");
        assert_eq!(error.refusal.code(), code, "{error}");
        assert!(error.message.contains(sentence), "{error}");
    }
    let decision = decide_create_partitions(&cluster.image, &[more("a", 4, Some(&[&[2], &[2]]))]);
    assert!(cluster.commit(decision)[0].is_ok());
    let leaders: Vec<_> = cluster.image.topic("a").expect("there").partitions.iter().map(|p| p.leader.0).collect();
    assert_eq!(leaders, [1, 2, 2, 2]);
}

#[test]
fn settings_change_one_by_one_or_all_at_once() {
    let mut cluster = Cluster::of(1);
    assert!(cluster.create(&[topic("a", 1, 1)])[0].is_ok());
    let a = ConfigResource { kind: ResourceType::Topic, name: "a".into() };
    let change =
        |key: &str, operation, value: &str| AlterConfig { key: key.into(), operation, value: Some(value.into()) };
    let list_default = |_: ResourceType, key: &str| (key == "cleanup.policy").then(|| "delete".to_string());
    let rules = ConfigRules { check: &check, list_default: &list_default };
    let mut alter = |resource: &ConfigResource, changes: Vec<AlterConfig>| {
        let request = [(resource.clone(), changes)];
        let decision = decide_incremental_alter_configs(&cluster.image, &request, rules);
        let reply = cluster.commit(decision).remove(0).map_err(|e| e.refusal.code());
        let now = cluster.image.configs(ResourceType::Topic, "a").cloned().unwrap_or_default();
        (reply, now.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
    };
    use AlterOperation::{Append, Delete, Set, Subtract};
    let steps = [
        (vec![change("x", Set, "1"), change("y", Set, "2")], Ok(()), "x=1 y=2"),
        (vec![change("cleanup.policy", Append, "compact")], Ok(()), "cleanup.policy=delete,compact x=1 y=2"),
        (vec![change("cleanup.policy", Append, "compact")], Ok(()), "cleanup.policy=delete,compact x=1 y=2"),
        (
            vec![change("cleanup.policy", Subtract, "delete"), change("x", Delete, "")],
            Ok(()),
            "cleanup.policy=compact y=2",
        ),
        (vec![change("y", Set, "3"), change("y", Delete, "")], Err(42), "cleanup.policy=compact y=2"),
        (vec![change("y", Set, "3"), change("bad", Set, "z")], Err(40), "cleanup.policy=compact y=2"),
        (vec![AlterConfig { key: "y".into(), operation: Set, value: None }], Err(42), "cleanup.policy=compact y=2"),
        (vec![change("never", Delete, "")], Ok(()), "cleanup.policy=compact y=2"),
        (vec![change("y", Append, "3")], Err(40), "cleanup.policy=compact y=2"),
    ];
    for (changes, reply, now) in steps {
        assert_eq!(alter(&a, changes.clone()), (reply, now.to_string()), "{changes:?}");
    }
    let nowhere = ConfigResource { name: "b".into(), ..a.clone() };
    assert_eq!(alter(&nowhere, vec![]).0, Err(3));

    let whole = [(a.clone(), vec![("y".to_string(), Some("9".to_string()))])];
    let decision = decide_alter_configs(&cluster.image, &whole, &check);
    assert_eq!(decision.records.len(), 2, "one set, one unset");
    assert!(cluster.commit(decision)[0].is_ok());
    assert_eq!(cluster.image.configs(ResourceType::Topic, "a").expect("set").len(), 1);
    let again = decide_alter_configs(&cluster.image, &whole, &check);
    assert!(again.records.is_empty(), "nothing is written where nothing changes");
}

#[test]
fn a_new_incarnation_begins_a_new_reign_and_the_same_one_does_not() {
    let mut cluster = Cluster::of(2);
    assert!(cluster.create(&[topic("a", 2, 1)])[0].is_ok());
    let same = decide_register_broker(&cluster.image, &registration(1, 1));
    assert_eq!((same.records.len(), same.reply), (0, Ok(2)));
    let end = cluster.log.len() as i64;
    let decision = decide_register_broker(&cluster.image, &registration(1, 99));
    assert_eq!(cluster.commit(decision), Ok(end));
    let partitions = &cluster.image.topic("a").expect("there").partitions;
    let reigns: Vec<_> = partitions.iter().map(|p| (p.leader.0, p.leader_epoch.0, p.partition_epoch)).collect();
    assert_eq!(reigns, [(1, 1, 1), (2, 0, 0)]);
}

#[test]
fn a_record_that_contradicts_the_log_is_refused_with_its_offset() {
    let mut cluster = Cluster::of(1);
    assert!(cluster.create(&[topic("a", 1, 1)])[0].is_ok());
    let id = cluster.image.topic("a").expect("there").id;
    let other = TopicId(Uuid::from_u128(123));
    let partition = |topic, index| {
        let Ok(MetadataRecord::Partition(record)) = MetadataRecord::decode(cluster.log.last().expect("a partition"))
        else {
            panic!("the last record is a partition");
        };
        MetadataRecord::Partition(corelog_replication::metadata::record::Partition {
            topic,
            partition: index,
            ..record
        })
    };
    let renamed =
        |name: &str, id| MetadataRecord::Topic(corelog_replication::metadata::record::Topic { name: name.into(), id });
    let next = cluster.image.next_offset();
    for (record, sentence) in [
        (MetadataRecord::RemoveTopic(other), "no topic has id"),
        (partition(other, 0), "no topic has id"),
        (partition(id, 2), "no partition before 2"),
        (partition(id, -1), "no partition before -1"),
        (renamed("a", other), "exists with id"),
        (renamed("b", id), "belongs to a"),
    ] {
        let error = cluster.image.clone().replay(next, &record).expect_err("contradicts").to_string();
        assert!(error.contains(sentence) && error.contains(&format!("offset {next}")), "{error}");
    }
    let error = cluster.image.clone().replay(Offset(0), &MetadataRecord::NoOp).expect_err("again").to_string();
    assert!(error.contains("replayed already"), "{error}");
}

/// A request of any kind over a few names, so that they meet.
#[derive(Clone, Debug)]
enum Request {
    Create(u8, i32, bool),
    Delete(u8),
    Grow(u8, i32),
    Set(u8, u8, u8),
    Unset(u8, u8),
    Restart(u8),
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (0..6u8, -1..4i32, any::<bool>()).prop_map(|(name, count, set)| Request::Create(name, count, set)),
        (0..6u8).prop_map(Request::Delete),
        (0..6u8, 0..8i32).prop_map(|(name, count)| Request::Grow(name, count)),
        (0..6u8, 0..3u8, 0..3u8).prop_map(|(name, key, value)| Request::Set(name, key, value)),
        (0..6u8, 0..3u8).prop_map(|(name, key)| Request::Unset(name, key)),
        (1..4u8).prop_map(Request::Restart),
    ]
}

fn carry_out(cluster: &mut Cluster, incarnation: u128, request: &Request) {
    let named = |name: &u8| format!("topic-{name}");
    let alter = |cluster: &mut Cluster, name: &u8, key: &u8, operation, value: Option<String>| {
        let resource = ConfigResource { kind: ResourceType::Topic, name: named(name) };
        let changes = vec![AlterConfig { key: format!("key-{key}"), operation, value }];
        let decision = decide_incremental_alter_configs(&cluster.image, &[(resource, changes)], CONFIG_RULES);
        cluster.commit(decision);
    };
    match request {
        Request::Create(name, count, set) => {
            let configs = if *set { vec![("key-0".to_string(), Some("first".to_string()))] } else { vec![] };
            cluster.create(&[NewTopic { configs, ..topic(&named(name), *count, 1) }]);
        }
        Request::Delete(name) => {
            let decision = decide_delete_topics(&cluster.image, &[TopicSelector::Name(named(name))]);
            cluster.commit(decision);
        }
        Request::Grow(name, count) => {
            let grown = NewPartitions { topic: named(name), count: *count, assignments: None };
            let decision = decide_create_partitions(&cluster.image, &[grown]);
            cluster.commit(decision);
        }
        Request::Set(name, key, value) => alter(cluster, name, key, AlterOperation::Set, Some(value.to_string())),
        Request::Unset(name, key) => alter(cluster, name, key, AlterOperation::Delete, None),
        Request::Restart(node) => {
            let decision = decide_register_broker(&cluster.image, &registration(i32::from(*node), incarnation));
            cluster.commit(decision).expect("registers");
        }
    }
}

proptest! {
    #[test]
    fn replay_of_every_prefix_is_what_was_live(requests in proptest::collection::vec(request(), 0..40)) {
        let mut cluster = Cluster::of(1);
        let mut live = vec![(cluster.log.len(), cluster.image.clone())];
        for (number, request) in requests.iter().enumerate() {
            carry_out(&mut cluster, 1000 + number as u128, request);
            live.push((cluster.log.len(), cluster.image.clone()));
        }
        for (length, image) in &live {
            prop_assert_eq!(&replayed(&cluster.log[..*length]), image);
        }
        // Prefixes that end within a decision are states too: a crash may cut there.
        for length in 0..=cluster.log.len() {
            replayed(&cluster.log[..length]);
        }
    }

    #[test]
    fn the_state_written_out_as_records_makes_the_same_state(requests in proptest::collection::vec(request(), 0..40)) {
        let mut cluster = Cluster::of(1);
        for (number, request) in requests.iter().enumerate() {
            carry_out(&mut cluster, 1000 + number as u128, request);
        }
        let records = cluster.image.to_records();
        let end = cluster.image.next_offset();
        // Alone, as the log begins after it was shortened; and on top of what made it, as it is before that.
        for mut image in [ClusterImage::new("cluster"), cluster.image.clone()] {
            for (offset, record) in (end.0..).zip(&records) {
                image.replay(Offset(offset), record).expect("replays");
            }
            cluster.image.skip_to(image.next_offset());
            prop_assert_eq!(&image, &cluster.image);
        }
    }
}
