//! Produce: what is appended and acknowledged, and which error a bad batch gets.

mod support;

use std::time::Duration;

use bytes::Bytes;
use corelog_engine::batch::{BatchBuilder, BatchHeader, Codec};
use corelog_engine::{Offset, Timestamp, TopicId};
use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::fetch::{Fetch, FetchPartition, FetchRequest, FetchTopic};
use corelog_server::protocol::metadata::{Metadata, MetadataRequest};
use corelog_server::protocol::produce::{PartitionProduceData, Produce, ProduceRequest, TopicProduceData};
use support::{Client, TestBroker, batch, crc32c, fetch_request, now, only, produce_request, timed_batch, values};

#[test]
fn what_is_produced_in_any_version_is_fetched_in_any_version() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let id = client.create("t", 1, &[]);
    let mut next = 0;
    for version in 3..=13 {
        for acks in [1, -1] {
            let text = format!("v{version} acks {acks}");
            let mut request = produce_request("t", 0, batch(&[&text, "second"]), acks);
            if version >= 13 {
                request.topic_data[0].topic_id = id;
            }
            let response = client.call::<Produce>(version, &request);
            let topic = &response.responses[0];
            assert_eq!((&*topic.name, topic.topic_id), if version < 13 { ("t", TopicId::ZERO) } else { ("", id) });
            let answer = &topic.partition_responses[0];
            assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, next), "v{version}");
            assert_eq!(answer.log_start_offset, if version >= 5 { 0 } else { -1 });
            next += 2;
        }
    }
    for version in 4..=18 {
        let mut request = fetch_request("t", 0, 0);
        if version >= 13 {
            request.topics[0].topic_id = id;
        }
        let data = only(client.call::<Fetch>(version, &request));
        assert_eq!((data.error_code, data.high_watermark), (ErrorCode::NONE, next));
        let values = values(&data);
        assert_eq!(values.len() as i64, next);
        assert_eq!(values[2], (2, "v3 acks -1".to_string()));
        assert!(values.iter().zip(0..).all(|((offset, _), expected)| *offset == expected));
    }
}

#[test]
fn acks_0_gets_no_answer_and_a_failure_closes_the_connection() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    client.send::<Produce>(9, &produce_request("t", 0, batch(&["silent"]), 0));
    // The next answer is that of the next request.
    client.call::<Metadata>(1, &MetadataRequest::default());
    client.produce("t", 0, batch(&["loud"]));
    assert_eq!(values(&client.fetch("t", 0, 0)), [(0, "silent".to_string()), (1, "loud".to_string())]);

    client.send::<Produce>(9, &produce_request("no-such-topic", 0, batch(&["lost"]), 0));
    assert!(client.is_closed());
}

#[test]
fn a_bad_batch_gets_kafkas_error_and_leaves_the_log_as_it_was() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[("max.message.bytes", "10000")]);
    client.create("keyed", 1, &[("cleanup.policy", "compact")]);
    let good = batch(&["good", "two"]);
    let changed = |place: usize, bytes: &[u8]| {
        let mut batch = good.clone();
        batch[place..place + bytes.len()].copy_from_slice(bytes);
        batch
    };
    let with_crc = |mut batch: Vec<u8>| {
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    };
    let mut transactional = BatchBuilder::new(Codec::None).producer(1, 0, 0).transactional();
    transactional.push(Timestamp(now()), None, Some(b"x"), &[]);
    let mut control = BatchBuilder::new(Codec::None).producer(1, 0, -1).control();
    control.push(Timestamp(now()), Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), &[]);

    let cases: Vec<(&str, &str, Vec<u8>, ErrorCode)> = vec![
        ("a flipped bit", "t", changed(70, &[good[70] ^ 1]), ErrorCode::CORRUPT_MESSAGE),
        ("a wrong checksum", "t", changed(17, &[1, 2, 3, 4]), ErrorCode::CORRUPT_MESSAGE),
        ("magic 1", "t", changed(16, &[1]), ErrorCode::INVALID_RECORD),
        ("too large", "t", batch(&[&"x".repeat(10_001)]), ErrorCode::MESSAGE_TOO_LARGE),
        (
            "a count that is not the records'",
            "t",
            with_crc(changed(57, &3i32.to_be_bytes())),
            ErrorCode::INVALID_RECORD,
        ),
        ("a negative count", "t", with_crc(changed(57, &(-1i32).to_be_bytes())), ErrorCode::INVALID_RECORD),
        ("two batches", "t", [good.clone(), good.clone()].concat(), ErrorCode::INVALID_RECORD),
        ("a cut batch", "t", good[..good.len() - 1].to_vec(), ErrorCode::INVALID_RECORD),
        ("nothing", "t", Vec::new(), ErrorCode::INVALID_RECORD),
        (
            "a time too far ahead",
            "t",
            timed_batch(Codec::None, &[(now() + 7_200_000, "x")]),
            ErrorCode::INVALID_TIMESTAMP,
        ),
        ("a codec that is none", "t", with_crc(changed(21, &[0, 7])), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        ("a control batch", "t", control.build(Offset::ZERO), ErrorCode::INVALID_RECORD),
        ("a transaction", "t", transactional.build(Offset::ZERO), ErrorCode::INVALID_TXN_STATE),
        ("no key in a compacted topic", "keyed", good.clone(), ErrorCode::INVALID_RECORD),
    ];
    for (what, topic, batch, expected) in cases {
        let answer = client.produce(topic, 0, batch);
        assert_eq!((answer.error_code, answer.base_offset), (expected, -1), "{what}: {:?}", answer.error_message);
    }
    let mut request = produce_request("t", 0, Bytes::new(), -1);
    request.topic_data[0].partition_data[0].records = None;
    let response = client.call::<Produce>(9, &request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::INVALID_RECORD);

    let keyless = client.produce("keyed", 0, batch(&["a", "b"]));
    assert_eq!(keyless.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(client.produce("t", 0, good.clone()).base_offset, 0);
}

#[test]
fn every_codec_passes_through_and_zstd_needs_version_7() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let text = "the same words again and again, ".repeat(100);
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (codec, offset) in codecs.into_iter().zip(0..) {
        let answer = client.produce("t", 0, timed_batch(codec, &[(now(), &text)]));
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, offset), "{codec:?}");
    }
    assert_eq!(values(&client.fetch("t", 0, 0)), (0..5).map(|offset| (offset, text.clone())).collect::<Vec<_>>());
    let zstd = timed_batch(Codec::Zstd, &[(now(), &text)]);
    let old = client.call::<Produce>(6, &produce_request("t", 0, zstd, 1));
    assert_eq!(old.responses[0].partition_responses[0].error_code, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
}

#[test]
fn partitions_and_acks_that_are_not_there_are_named_each() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let id = client.create("t", 2, &[]);
    let data = |index| PartitionProduceData { index, records: Some(batch(&["x"]).into()) };
    let by_name = |name: &str, partitions: &[i32]| TopicProduceData {
        name: name.into(),
        partition_data: partitions.iter().map(|index| data(*index)).collect(),
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 60_000,
        topic_data: vec![by_name("none", &[0]), by_name("t", &[0, 1, 2, -1, i32::MAX])],
        ..Default::default()
    };
    let codes = |response: &corelog_server::protocol::produce::ProduceResponse| -> Vec<i16> {
        let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        answers.map(|answer| answer.error_code.0).collect()
    };
    assert_eq!(codes(&client.call::<Produce>(12, &request)), [3, 0, 0, 3, 3, 3]);
    let wrong_acks = ProduceRequest { acks: 2, ..request.clone() };
    assert_eq!(codes(&client.call::<Produce>(12, &wrong_acks)), [21; 6]);

    let by_id = |topic_id| TopicProduceData { topic_id, partition_data: vec![data(0)], ..Default::default() };
    let request = ProduceRequest { topic_data: vec![by_id(TopicId::random()), by_id(id)], ..request };
    assert_eq!(codes(&client.call::<Produce>(13, &request)), [100, 0]);
}

#[test]
fn log_append_time_is_told_and_stored() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = now();
    let answer = client.produce("t", 0, timed_batch(Codec::None, &[(1000, "old")]));
    assert!((before..=now()).contains(&answer.log_append_time_ms), "{answer:?}");
    let bytes = client.fetch("t", 0, 0).records.expect("records").to_bytes();
    let header = corelog_engine::batch::BatchHeader::parse(&bytes).expect("a batch");
    assert_eq!(header.max_timestamp, Timestamp(answer.log_append_time_ms));
    assert!(corelog_engine::batch::verify_crc(&bytes));
}

#[test]
fn pipelined_requests_are_appended_and_answered_in_order() {
    const COUNT: i64 = 500;
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 4, &[]);
    let mut reader = broker.client();
    // All on one connection, over all shards; the answers are read while requests are still being sent.
    let stream = reader.stream.try_clone().expect("a second handle");
    let mut sender = support::Client::over(stream);
    let sending = std::thread::spawn(move || {
        for number in 0..COUNT {
            let partition = (number % 4) as i32;
            sender.send::<Produce>(
                9,
                &produce_request("t", partition, batch(&[&number.to_string()]), if number % 3 == 0 { -1 } else { 1 }),
            );
        }
    });
    for number in 0..COUNT {
        let (correlation_id, response) = reader.receive::<Produce>(9);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(
            (i64::from(correlation_id), answer.error_code, answer.base_offset),
            (number + 1, ErrorCode::NONE, number / 4)
        );
    }
    sending.join().expect("all was sent");
    for partition in 0..4 {
        let found: Vec<i64> = values(&client.fetch("t", partition, 0))
            .iter()
            .map(|(_, value)| value.parse().expect("a number"))
            .collect();
        assert_eq!(found, (0..COUNT).filter(|number| number % 4 == i64::from(partition)).collect::<Vec<_>>());
    }
}

#[test]
fn a_fetch_behind_produces_on_one_connection_sees_them() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    client.send::<Produce>(9, &produce_request("t", 0, batch(&["first"]), 1));
    let wanted = FetchPartition { fetch_offset: 0, partition_max_bytes: 1 << 20, ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: 55_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic { topic: "t".into(), partitions: vec![wanted], ..Default::default() }],
        ..Default::default()
    };
    let start = std::time::Instant::now();
    client.send::<Fetch>(12, &request);
    client.receive::<Produce>(9);
    let (_, response) = client.receive::<Fetch>(12);
    assert_eq!(values(&only(response)), [(0, "first".to_string())]);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_topic_with_a_codec_of_its_own_stores_every_batch_with_it() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[("compression.type", "zstd"), ("compression.zstd.level", "5")]);
    let stored = |client: &mut Client, offset| {
        let data = client.fetch("t", 0, offset);
        let bytes = data.records.as_ref().expect("records").to_bytes();
        let header = BatchHeader::parse(&bytes).expect("a batch");
        (header.codec().expect("a codec"), values(&data)[0].clone())
    };
    let text = "again and again ".repeat(100);
    for (offset, codec) in Codec::ALL.into_iter().enumerate() {
        let answer = client.produce("t", 0, timed_batch(codec, &[(now(), &text)]));
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, offset as i64), "{codec}");
        assert_eq!(stored(&mut client, offset as i64), (Codec::Zstd, (offset as i64, text.clone())), "{codec}");
    }
    // What is damaged is refused, not given a new checksum.
    let mut damaged = timed_batch(Codec::Gzip, &[(now(), &text)]);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(client.produce("t", 0, damaged).error_code, ErrorCode::CORRUPT_MESSAGE);

    client.create("plain", 1, &[("compression.type", "uncompressed"), ("max.message.bytes", "1000")]);
    let large = client.produce("plain", 0, timed_batch(Codec::Gzip, &[(now(), &text)]));
    assert_eq!(large.error_code, ErrorCode::MESSAGE_TOO_LARGE, "as large as it would be stored");
}
