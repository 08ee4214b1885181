//! The metadata log as bytes: begun anew with the image, and read by Kafka's `DumpLogSegments --cluster-metadata-decoder`.
//!
//! The latter is run by the engine's `golden/dump.sh`, which needs a JDK and Maven, so that test is ignored unless asked for:
//! `cargo test -p corelog-replication --test metadata_log -- --ignored`.

use std::path::Path;
use std::process::Command;

use corelog_engine::batch::BatchBuilder;
use corelog_engine::{Epoch, Offset, Timestamp, TopicId};
use corelog_replication::NodeId;
use corelog_replication::metadata::record::{Config, Endpoint, ProducerIds};
use corelog_replication::metadata::{
    AlterConfig, AlterOperation, ClusterImage, ConfigResource, ConfigRules, Decision, MetadataRecord, NewTopic,
    Registration, ResourceType, TopicRules, TopicSelector, batch, decide_create_topics, decide_delete_topics,
    decide_incremental_alter_configs, decide_register_broker,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    records: usize,
}

impl Written {
    fn commit<R>(&mut self, image: &mut ClusterImage, decision: Decision<R>) -> R {
        let mut builder = BatchBuilder::new(corelog_engine::batch::Codec::None).leader_epoch(Epoch(0));
        for record in &decision.records {
            builder.push(NOW, None, Some(&record.encode()), &[]);
        }
        let bytes = builder.build(image.next_offset());
        batch::replay(image, &bytes, |_| self.records += 1).expect("replays");
        self.bytes.extend(bytes);
        decision.reply
    }
}

/// A log with every kind of record.
fn write() -> Written {
    let (mut image, mut written) = (ClusterImage::new("cluster"), Written::default());
    let broker = |incarnation| Registration {
        node: NodeId(1),
        incarnation: Uuid::from_u128(incarnation),
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: Some("a".into()),
        directories: vec![Uuid::from_u128(9)],
    };
    let decision = decide_register_broker(&image, &broker(1));
    written.commit(&mut image, decision).expect("registered");
    let allow = |_: ResourceType, _: &str, _: &_| Ok(());
    let rules = TopicRules { partitions: 1, replication_factor: 1, check: &allow };
    let topics: Vec<_> = ["kept", "gone"]
        .map(|name| NewTopic {
            name: name.into(),
            partitions: 2,
            replication_factor: 1,
            assignments: vec![],
            configs: vec![("retention.ms".into(), Some("5".into()))],
        })
        .into();
    let mut id = 10;
    let decision = decide_create_topics(&image, &topics, &rules, || {
        id += 1;
        TopicId(Uuid::from_u128(id))
    });
    written.commit(&mut image, decision);
    let decision = decide_delete_topics(&image, &[TopicSelector::Name("gone".into())]);
    written.commit(&mut image, decision);
    let resource = ConfigResource { kind: ResourceType::Topic, name: "kept".into() };
    let unset = AlterConfig { key: "retention.ms".into(), operation: AlterOperation::Delete, value: None };
    let decision = decide_incremental_alter_configs(
        &image,
        &[(resource, vec![unset])],
        ConfigRules { check: &allow, list_default: &|_, _| None },
    );
    written.commit(&mut image, decision);
    let decision = decide_register_broker(&image, &broker(2));
    written.commit(&mut image, decision).expect("registered again");
    let ids = MetadataRecord::ProducerIds(ProducerIds { node: NodeId(1), epoch: 1, next: 1000 });
    written.commit(&mut image, Decision { records: vec![ids, MetadataRecord::NoOp], reply: () });
    written
}

#[test]
fn a_change_that_could_not_be_written_whole_is_refused() {
    let config = |value: usize| {
        MetadataRecord::Config(Config {
            resource: ResourceType::Topic,
            name: "a".into(),
            key: "k".into(),
            value: Some("v".repeat(value).into()),
        })
    };
    assert!(batch::encode(&[config(1 << 20)], NOW).is_ok());
    let error = batch::encode(&vec![config(1 << 20); 17], NOW).expect_err("too large");
    assert_eq!(error.refusal.code(), 44);
}

#[test]
fn a_log_begun_anew_with_the_image_has_the_same_state() {
    let written = write();
    let mut image = ClusterImage::new("cluster");
    for (position, header) in corelog_engine::batch::scan(&written.bytes).map(|found| found.expect("ours")) {
        batch::replay(&mut image, &written.bytes[position..position + header.size_bytes()], |_| {}).expect("replays");
    }
    let mut anew = ClusterImage::new("cluster");
    anew.skip_to(image.next_offset());
    let batches = batch::encode_image(&image, NOW, 200);
    assert!(batches.len() > 2, "several batches");
    for bytes in batches {
        let mut moved = bytes.clone();
        moved[..8].copy_from_slice(&anew.next_offset().0.to_be_bytes());
        batch::replay(&mut anew, &moved, |_| {}).expect("replays");
    }
    image.skip_to(anew.next_offset());
    assert_eq!(anew, image);
    assert_eq!(anew.next_producer_id(), 1000);
}

#[test]
#[ignore = "needs a JDK and Maven"]
fn kafka_prints_every_record_of_our_metadata_log() {
    let written = write();
    let dir = tempfile::tempdir().expect("a directory");
    let partition = dir.path().join("__cluster_metadata-0");
    std::fs::create_dir(&partition).expect("created");
    std::fs::write(partition.join(format!("{:020}.log", Offset::ZERO.0)), &written.bytes).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/golden/dump.sh");
    let output = Command::new(script).arg(&partition).output().expect("the script runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let payloads: Vec<&str> = text.lines().filter_map(|line| line.split_once("payload: ").map(|(_, p)| p)).collect();
    assert_eq!(payloads.len(), written.records, "{text}");
    for expected in [
        r#"{"type":"FEATURE_LEVEL_RECORD","version":0,"data":{"name":"metadata.version","featureLevel":27}}"#,
        r#""type":"REGISTER_BROKER_RECORD","version":3,"data":{"brokerId":1"#,
        r#""endPoints":[{"name":"PLAINTEXT","host":"localhost","port":9092,"securityProtocol":0}]"#,
        r#"{"type":"TOPIC_RECORD","version":0,"data":{"name":"kept","topicId":"AAAAAAAAAAAAAAAAAAAACw"}}"#,
        r#""type":"PARTITION_RECORD","version":1,"data":{"partitionId":1,"topicId":"AAAAAAAAAAAAAAAAAAAACw","replicas":[1],"isr":[1]"#,
        r#"{"type":"CONFIG_RECORD","version":0,"data":{"resourceType":2,"resourceName":"kept","name":"retention.ms","value":"5"}}"#,
        r#""name":"retention.ms","value":null}}"#,
        r#"{"type":"REMOVE_TOPIC_RECORD","version":0,"data":{"topicId":"AAAAAAAAAAAAAAAAAAAADA"}}"#,
        r#"{"type":"PARTITION_CHANGE_RECORD","version":0,"data":{"partitionId":0,"topicId":"AAAAAAAAAAAAAAAAAAAACw","leader":1}}"#,
        r#"{"type":"PRODUCER_IDS_RECORD","version":0,"data":{"brokerId":1,"brokerEpoch":1,"nextProducerId":1000}}"#,
        r#"{"type":"NO_OP_RECORD","version":0,"data":{}}"#,
    ] {
        assert!(payloads.iter().any(|payload| payload.contains(expected)), "{expected} is missing in\n{text}");
    }
}
