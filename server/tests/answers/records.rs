//! Questions about records: Produce, Fetch, ListOffsets, DeleteRecords, producers.

use bytes::Bytes;
use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::{Offset, Timestamp, TopicId};
use corelog_server::protocol::delete_records::{
    DeleteRecords, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use corelog_server::protocol::describe_producers::{DescribeProducers, DescribeProducersRequest, TopicRequest};
use corelog_server::protocol::fetch::{Fetch, FetchRequest};
use corelog_server::protocol::init_producer_id::{InitProducerId, InitProducerIdRequest};
use corelog_server::protocol::list_offsets::{ListOffsets, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use corelog_server::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use corelog_server::protocol::produce::Produce;

use super::Answers;
use super::support::{batch, fetch_request, now, produce_request, timed_batch};

const NOWHERE: TopicId = TopicId(uuid::Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef));

pub fn ask(answers: &mut Answers) {
    let client = answers.client();
    let id =
        client.create("plain", 2, &[("max.message.bytes", "10000"), ("message.timestamp.before.max.ms", "86400000")]);
    client.create("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    client.create("keyed", 1, &[("cleanup.policy", "compact")]);
    client.create("odd", 1, &[]);
    client.create("claimed", 1, &[]);
    client.create("both", 1, &[("cleanup.policy", "compact,delete")]);
    produce(answers, id);
    producers(answers);
    fetch(answers, id);
    offsets(answers);
}

fn produce(answers: &mut Answers, id: TopicId) {
    let good = batch(&["good", "two"]);
    let mut send = |what: &str, version, topic: &str, partition, batch: Vec<u8>, acks| {
        answers.ask::<Produce>(what, version, produce_request(topic, partition, batch, acks));
    };
    send("unknown topic", 12, "nowhere", 0, good.clone(), -1);
    send("illegal name", 12, "a b", 0, good.clone(), -1);
    send("unknown partition", 12, "plain", 9, good.clone(), -1);
    send("negative partition", 12, "plain", -1, good.clone(), 1);
    send("acks 2", 12, "plain", 0, good.clone(), 2);
    send("acks -2", 9, "plain", 0, good.clone(), -2);
    send("the metadata", 12, "__cluster_metadata", 0, good.clone(), -1);
    for (what, batch) in batches(&good) {
        // What only one of us takes must not move the offsets of the others.
        let topic =
            if super::DEVIATIONS.iter().any(|(question, _)| question.ends_with(&what)) { "odd" } else { "plain" };
        send(&what, 12, topic, 0, batch, -1);
    }
    let broker_time = |codec: Codec, time| {
        let mut batch = timed_batch(codec, &[(time, "x"), (time - 5, "y")]);
        batch[22] |= 8;
        let crc = super::support::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    };
    for (what, topic, codec, time) in [
        ("the broker's timestamps", "claimed", Codec::None, now()),
        ("the broker's timestamps, compressed", "claimed", Codec::Lz4, now()),
        ("the broker's timestamps that are none", "plain", Codec::None, -1),
        ("the broker's timestamps that are older", "plain", Codec::None, now() - 2 * 86_400_000),
        ("the broker's timestamps that are older, compressed", "plain", Codec::Lz4, now() - 2 * 86_400_000),
        ("the broker's timestamps for the broker's", "stamped", Codec::None, now()),
        ("the broker's timestamps for the broker's, compressed", "stamped", Codec::Gzip, now()),
    ] {
        send(what, 12, topic, 0, broker_time(codec, time), -1);
    }
    let zstd = timed_batch(Codec::Zstd, &[(now(), "x")]);
    send("zstd too early", 6, "plain", 0, zstd, 1);
    send("no key where it is needed", 12, "keyed", 0, good.clone(), -1);
    send("no key where it is needed, and deleted too", 12, "both", 0, good.clone(), -1);
    let mut keyed = BatchBuilder::new(Codec::None);
    keyed.push(Timestamp(now()), Some(b"k"), None, &[]);
    keyed.push(Timestamp(now()), None, Some(b"v"), &[]);
    send("no key in the second record", 12, "keyed", 0, keyed.build(Offset::ZERO), -1);

    let mut request = produce_request("plain", 0, Bytes::new(), -1);
    request.topic_data[0].partition_data[0].records = None;
    answers.ask::<Produce>("null", 12, request);
    let mut request = produce_request("", 0, good.clone(), -1);
    request.topic_data[0].topic_id = NOWHERE;
    answers.ask::<Produce>("unknown id", 13, request.clone());
    request.topic_data[0].topic_id = TopicId::ZERO;
    answers.ask::<Produce>("no id", 13, request.clone());
    request.topic_data[0].topic_id = id;
    request.topic_data[0].partition_data[0].index = 7;
    answers.ask::<Produce>("unknown partition", 13, request);
    let mut none = produce_request("plain", 0, Bytes::new(), -1);
    none.topic_data.clear();
    answers.ask::<Produce>("nothing at all", 12, none);
}

/// Batches that are wrong, or only look so.
fn batches(good: &[u8]) -> Vec<(String, Vec<u8>)> {
    let changed = |place: usize, bytes: &[u8]| {
        let mut batch = good.to_vec();
        batch[place..place + bytes.len()].copy_from_slice(bytes);
        batch
    };
    let summed = |place: usize, bytes: &[u8]| {
        let mut batch = changed(place, bytes);
        let crc = super::support::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    };
    let mut control = BatchBuilder::new(Codec::None).producer(1, 0, -1).control();
    control.push(Timestamp(now()), Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), &[]);
    let mut unsequenced = BatchBuilder::new(Codec::None).producer(7, 0, -1);
    unsequenced.push(Timestamp(now()), None, Some(b"x"), &[]);
    let timed = |time| timed_batch(Codec::None, &[(time, "x")]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a flipped bit", changed(70, &[good[70] ^ 1])),
        ("a wrong checksum", changed(17, &[1, 2, 3, 4])),
        ("magic 0", changed(16, &[0])),
        ("magic 1", changed(16, &[1])),
        ("magic 3", changed(16, &[3])),
        ("too large", batch(&[&"x".repeat(10_001)])),
        ("a count too high", summed(57, &3i32.to_be_bytes())),
        ("a count too low", summed(57, &1i32.to_be_bytes())),
        ("a count of 0", summed(57, &0i32.to_be_bytes())),
        ("a negative count", summed(57, &(-1i32).to_be_bytes())),
        ("a last delta too high", summed(23, &5i32.to_be_bytes())),
        ("a negative last delta", summed(23, &(-2i32).to_be_bytes())),
        ("two batches", [good, good].concat()),
        ("a cut batch", good[..good.len() - 1].to_vec()),
        ("a cut header", good[..30].to_vec()),
        ("nothing", Vec::new()),
        ("bytes behind it", [good, b"abc"].concat()),
        ("too far ahead", timed(now() + 7_200_000)),
        ("too old", timed(now() - 2 * 86_400_000)),
        ("no timestamp", timed(-1)),
        ("a codec that is none", summed(21, &[0, 7])),
        ("a control batch", control.build(Offset::ZERO)),
        ("a producer without a sequence", unsequenced.build(Offset::ZERO)),
        ("a base offset", changed(0, &77i64.to_be_bytes())),
        ("a leader epoch", changed(12, &9i32.to_be_bytes())),
    ];
    cases.into_iter().map(|(what, batch)| (what.to_string(), batch)).collect()
}

fn producers(answers: &mut Answers) {
    let sequenced = |id, epoch, sequence, count: usize| {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence);
        for _ in 0..count {
            builder.push(Timestamp(now()), None, Some(b"x"), &[]);
        }
        builder.build(Offset::ZERO)
    };
    let wrapping = i32::MAX - 1;
    for (what, batch) in [
        ("any first sequence", sequenced(9_000, 3, 40, 1)),
        ("the next", sequenced(9_000, 3, 41, 2)),
        ("the same again", sequenced(9_000, 3, 41, 2)),
        ("a part of it again", sequenced(9_000, 3, 41, 1)),
        ("a gap", sequenced(9_000, 3, 45, 1)),
        ("an epoch that is over", sequenced(9_000, 2, 43, 1)),
        ("a new epoch that goes on", sequenced(9_000, 4, 43, 1)),
        ("a new epoch that begins", sequenced(9_000, 4, 0, 1)),
        ("a negative epoch", sequenced(9_000, -2, 0, 1)),
        ("a sequence that wraps in a batch", sequenced(9_001, 0, wrapping, 4)),
        ("and goes on", sequenced(9_001, 0, 2, 1)),
        ("and again", sequenced(9_001, 0, wrapping, 4)),
        ("a sequence up to the last", sequenced(9_002, 0, i32::MAX, 1)),
        ("and from the first", sequenced(9_002, 0, 0, 1)),
        ("a skipped first", sequenced(9_002, 0, 2, 1)),
    ] {
        answers.ask::<Produce>(what, 12, produce_request("plain", 1, batch, -1));
    }
    let init =
        |producer_id, producer_epoch| InitProducerIdRequest { producer_id, producer_epoch, ..Default::default() };
    answers.ask::<InitProducerId>("an id without an epoch", 5, init(7, -1));
    answers.ask::<InitProducerId>("an epoch without an id", 5, init(-1, 7));
    let empty =
        InitProducerIdRequest { transactional_id: Some("".into()), transaction_timeout_ms: 1000, ..init(-1, -1) };
    answers.ask::<InitProducerId>("an empty transactional id", 5, empty);
    let topics = vec![
        TopicRequest { name: "plain".into(), partition_indexes: vec![0, 7, -1] },
        TopicRequest { name: "nowhere".into(), partition_indexes: vec![0] },
        TopicRequest { name: "a b".into(), partition_indexes: vec![0] },
    ];
    answers.ask::<DescribeProducers>("unknown partitions", 0, DescribeProducersRequest { topics });
}

fn fetch(answers: &mut Answers, id: TopicId) {
    let mut ask = |what: &str, version, change: &dyn Fn(&mut FetchRequest)| {
        let mut request = fetch_request("plain", 0, 0);
        request.topics[0].partitions[0].partition_max_bytes = 0;
        request.topics[0].partitions[0].fetch_offset = 6;
        request.topics[0].topic_id = if version >= 13 { id } else { TopicId::ZERO };
        change(&mut request);
        answers.ask::<Fetch>(what, version, request);
    };
    for version in [4, 11, 12] {
        ask("unknown topic", version, &|request| request.topics[0].topic = "nowhere".into());
        ask("illegal name", version, &|request| request.topics[0].topic = "a b".into());
        ask("unknown partition", version, &|request| request.topics[0].partitions[0].partition = 9);
        ask("offset -1", version, &|request| request.topics[0].partitions[0].fetch_offset = -1);
        ask("offset beyond", version, &|request| request.topics[0].partitions[0].fetch_offset = 1000);
    }
    ask("unknown id", 13, &|request| request.topics[0].topic_id = NOWHERE);
    ask("no id", 13, &|request| request.topics[0].topic_id = TopicId::ZERO);
    ask("unknown partition", 16, &|request| request.topics[0].partitions[0].partition = 9);
    ask("an epoch to come", 12, &|request| request.topics[0].partitions[0].current_leader_epoch = 9);
    ask("a fetched epoch to come", 12, &|request| request.topics[0].partitions[0].last_fetched_epoch = 9);
    ask("no such session", 12, &|request| (request.session_id, request.session_epoch) = (77, 3));
    ask("no such session closed", 12, &|request| (request.session_id, request.session_epoch) = (77, -1));
    ask("an isolation level that is none", 12, &|request| request.isolation_level = 7);
    ask("a follower that is none", 12, &|request| request.replica_id = 7);
    ask("nothing", 12, &|request| request.topics.clear());
}

fn offsets(answers: &mut Answers) {
    let mut ask = |what: &str, version, topic: &str, partition_index, timestamp, current_leader_epoch| {
        let wanted = ListOffsetsPartition { partition_index, timestamp, current_leader_epoch };
        let topics = vec![ListOffsetsTopic { name: topic.into(), partitions: vec![wanted] }];
        answers.ask::<ListOffsets>(what, version, ListOffsetsRequest { replica_id: -1, topics, ..Default::default() });
    };
    ask("unknown topic", 10, "nowhere", 0, -1, -1);
    ask("illegal name", 10, "a b", 0, -1, -1);
    ask("unknown partition", 10, "plain", 9, -1, -1);
    ask("negative partition", 10, "plain", -1, -1, -1);
    ask("an epoch to come", 10, "plain", 0, -1, 9);
    for (version, place) in [(6, -3), (7, -4), (8, -5), (10, -6), (10, -7), (10, i64::MIN), (1, -3)] {
        ask(&format!("place {place}"), version, "plain", 0, place, -1);
    }
    ask("a time to come", 10, "plain", 0, i64::MAX, -1);
    ask("the largest timestamp of nothing", 10, "stamped", 0, -3, -1);
    let wanted = |partition_index| ListOffsetsPartition { partition_index, timestamp: -1, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: "stamped".into(), partitions: vec![wanted(0), wanted(0)] }];
    answers.ask::<ListOffsets>(
        "a partition twice",
        10,
        ListOffsetsRequest { replica_id: -1, topics, ..Default::default() },
    );

    let mut epoch = |what: &str, topic: &str, partition, current_leader_epoch, leader_epoch| {
        let partitions = vec![OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch }];
        let topics = vec![OffsetForLeaderTopic { topic: topic.into(), partitions }];
        answers.ask::<OffsetForLeaderEpoch>(what, 4, OffsetForLeaderEpochRequest { replica_id: -1, topics });
    };
    epoch("unknown topic", "nowhere", 0, -1, 0);
    epoch("unknown partition", "plain", 9, -1, 0);
    epoch("an epoch to come", "plain", 0, 9, 0);
    epoch("a later one", "plain", 0, -1, 9);
    epoch("a negative one", "plain", 0, -1, -5);

    let mut delete = |what: &str, topic: &str, partition_index, offset| {
        let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic.into(), partitions }];
        answers.ask::<DeleteRecords>(what, 2, DeleteRecordsRequest { topics, timeout_ms: 1000 });
    };
    delete("unknown topic", "nowhere", 0, 0);
    delete("illegal name", "a b", 0, 0);
    delete("unknown partition", "plain", 9, 0);
    delete("beyond the end", "plain", 0, 1000);
    delete("offset -2", "plain", 0, -2);
    delete("a compacted topic", "keyed", 0, 0);
    delete("a compacted topic that deletes too", "both", 0, 0);
    delete("the metadata", "__cluster_metadata", 0, 0);
}
