//! The metadata records, compared byte for byte with what Apache Kafka writes.

use corelog_engine::{Epoch, TopicId};
use corelog_replication::NodeId;
use corelog_replication::metadata::record::{
    Config, Endpoint, FeatureLevel, FeatureRange, Partition, PartitionChange, ProducerIds, RegisterBroker, Topic,
};
use corelog_replication::metadata::{MetadataRecord, RecordError, ResourceType};
use uuid::Uuid;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

const TOPIC: TopicId = TopicId(Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677));
const DIRECTORY: Uuid = Uuid::from_u128(5 << 64 | 6);

fn partition() -> Partition {
    Partition {
        partition: 3,
        topic: TOPIC,
        replicas: vec![NodeId(1)],
        isr: vec![NodeId(1)],
        removing: vec![],
        adding: vec![],
        leader: NodeId(1),
        leader_epoch: Epoch(2),
        partition_epoch: 4,
        directories: vec![DIRECTORY],
    }
}

fn config(value: Option<&str>) -> MetadataRecord {
    MetadataRecord::Config(Config {
        resource: ResourceType::Topic,
        name: "foo".into(),
        key: "retention.ms".into(),
        value: value.map(Into::into),
    })
}

/// Written by `MetadataRecordSerde` of Apache Kafka 4.1.1.
fn golden() -> Vec<(&'static str, MetadataRecord)> {
    vec![
        (
            "01020004666f6f0123456789abcdef001122334455667700",
            MetadataRecord::Topic(Topic { name: "foo".into(), id: TOPIC }),
        ),
        (
            "010301000000030123456789abcdef00112233445566770200000001020000000101010000000100000002000000040200000000\
             00000005000000000000000600",
            MetadataRecord::Partition(partition()),
        ),
        ("0104000204666f6f0d726574656e74696f6e2e6d73053130303000", config(Some("1000"))),
        ("0104000204666f6f0d726574656e74696f6e2e6d730000", config(None)),
        ("0109000123456789abcdef001122334455667700", MetadataRecord::RemoveTopic(TOPIC)),
        (
            "010c00116d657461646174612e76657273696f6e001b00",
            MetadataRecord::FeatureLevel(FeatureLevel { name: "metadata.version".into(), level: 27 }),
        ),
        (
            "010500000000030123456789abcdef00112233445566770200050200000001010400000001",
            MetadataRecord::PartitionChange(PartitionChange {
                partition: 3,
                topic: TOPIC,
                isr: Some(vec![NodeId(1)]),
                leader: Some(NodeId(1)),
            }),
        ),
        (
            "010f0000000001000000000000000700000000000003e800",
            MetadataRecord::ProducerIds(ProducerIds { node: NodeId(1), epoch: 7, next: 1000 }),
        ),
        (
            "01000300000001000123456789abcdef00112233445566770000000000000007020a504c41494e544558540a6c6f63616c686f73\
             7498b400000002116d657461646174612e76657273696f6e0007001b0000000001001102000000000000000500000000000000\
             06",
            MetadataRecord::RegisterBroker(RegisterBroker {
                node: NodeId(1),
                incarnation: TOPIC.0,
                epoch: 7,
                endpoints: vec![Endpoint {
                    listener: "PLAINTEXT".into(),
                    host: "localhost".into(),
                    port: 39092,
                    security_protocol: 0,
                }],
                features: vec![FeatureRange { name: "metadata.version".into(), min: 7, max: 27 }],
                rack: None,
                fenced: false,
                directories: vec![DIRECTORY],
            }),
        ),
        ("01140000", MetadataRecord::NoOp),
    ]
}

#[test]
fn records_are_written_and_read_as_apache_kafka_writes_them() {
    for (text, record) in golden() {
        let bytes = hex(&text.replace(char::is_whitespace, ""));
        assert_eq!(record.encode(), bytes, "{record:?}");
        assert_eq!(MetadataRecord::decode(&bytes), Ok(record));
    }
}

#[test]
fn older_and_newer_versions_of_a_partition_are_read() {
    let zero = "010300000000030123456789abcdef001122334455667702000000010200000001010100000001000000020000000400";
    let expected = Partition { directories: vec![], ..partition() };
    assert_eq!(MetadataRecord::decode(&hex(zero)), Ok(MetadataRecord::Partition(expected)));
    // Version 2 with the recovery state (tag 0) and the eligible leader replicas (tag 1).
    let two = "010302000000030123456789abcdef0011223344556677030000000100000002020000000101010000000100000002\
               000000040300000000000000050000000000000006000000000000000500000000000000060200010101050200000002";
    let two = MetadataRecord::decode(&hex(&two.replace(char::is_whitespace, "")));
    let expected =
        Partition { replicas: vec![NodeId(1), NodeId(2)], directories: vec![DIRECTORY, DIRECTORY], ..partition() };
    assert_eq!(two, Ok(MetadataRecord::Partition(expected)));
}

#[test]
fn a_cut_or_lengthened_record_is_refused() {
    for (text, record) in golden() {
        let mut bytes = hex(&text.replace(char::is_whitespace, ""));
        for cut in 0..bytes.len() {
            assert!(MetadataRecord::decode(&bytes[..cut]).is_err(), "{record:?} cut at {cut}");
        }
        bytes.push(0);
        assert_eq!(MetadataRecord::decode(&bytes), Err(RecordError::Trailing(1)), "{record:?}");
    }
}

#[test]
fn what_is_not_known_says_so_and_a_lying_length_reserves_nothing() {
    for (bytes, frame, api_key, version) in [([2, 2, 0], 2, 2, 0), ([1, 99, 0], 1, 99, 0), ([1, 2, 9], 1, 2, 9)] {
        let unknown = RecordError::Unknown { frame, api_key, version };
        assert_eq!(MetadataRecord::decode(&bytes), Err(unknown));
    }
    let mut lying = hex("010300000000030123456789abcdef0011223344556677");
    lying.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(MetadataRecord::decode(&lying), Err(RecordError::Short("replicas")));
}
