//! Fetch and ListOffsets: what is read, when an answer comes, and which error says what.

mod support;

use std::time::{Duration, Instant};

use corelog_engine::TopicId;
use corelog_engine::batch::Codec;
use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::fetch::{Fetch, FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};
use corelog_server::protocol::list_offsets::{
    EARLIEST, EARLIEST_LOCAL, EARLIEST_PENDING_UPLOAD, LATEST, LATEST_TIERED, ListOffsets, ListOffsetsPartition,
    ListOffsetsRequest, ListOffsetsTopic, MAX_TIMESTAMP,
};
use corelog_server::protocol::produce::Produce;
use support::{Client, TestBroker, batch, fetch_request, get, only, produce_request, sum, timed_batch, until, values};

fn wanted(partition: i32, offset: i64, bytes_max: i32) -> FetchPartition {
    FetchPartition { partition, fetch_offset: offset, partition_max_bytes: bytes_max, ..Default::default() }
}

/// For how long a fetch waits that is answered before, and how long that takes at most on a machine that has much else to do.
const MAX_WAIT_MS: i32 = 55_000;
const AT_ONCE: Duration = Duration::from_secs(30);

fn waiting(topic: &str, partitions: Vec<FetchPartition>, min_bytes: i32, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms,
        min_bytes,
        max_bytes: 50 << 20,
        topics: vec![FetchTopic { topic: topic.into(), partitions, ..Default::default() }],
        ..Default::default()
    }
}

/// Offsets of the records by partition.
fn offsets(response: &FetchResponse) -> Vec<(i32, Vec<i64>)> {
    let data = response.responses.iter().flat_map(|topic| &topic.partitions);
    data.map(|data| (data.partition_index, values(data).into_iter().map(|(offset, _)| offset).collect())).collect()
}

#[test]
fn an_offset_inside_a_batch_gives_the_whole_batch() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    client.produce("t", 0, batch(&["0", "1", "2"]));
    client.produce("t", 0, batch(&["3", "4"]));
    for (from, expected) in [(0, 0..5), (1, 0..5), (2, 0..5), (3, 3..5), (4, 3..5), (5, 5..5)] {
        let data = client.fetch("t", 0, from);
        assert_eq!((data.error_code, data.high_watermark, data.log_start_offset), (ErrorCode::NONE, 5, 0));
        assert_eq!(values(&data).iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
    for outside in [-1, 6, i64::MAX, i64::MIN] {
        let data = client.fetch("t", 0, outside);
        assert_eq!((data.error_code, data.high_watermark), (ErrorCode::OFFSET_OUT_OF_RANGE, -1), "{outside}");
    }
}

#[test]
fn the_first_batch_is_given_over_every_limit_and_no_other_is() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 4, &[]);
    let large = "x".repeat(5000);
    for partition in 0..4 {
        client.produce("t", partition, batch(&[&large]));
        client.produce("t", partition, batch(&[&large]));
    }
    let all = |bytes_max| (0..4).map(|partition| wanted(partition, 0, bytes_max)).collect::<Vec<_>>();
    let with_room = |bytes| bytes + 200;
    for (partition_bytes, bytes, expected) in [
        (1, 1 << 20, 1),
        (1 << 20, 1, 1),
        (0, 0, 1),
        (with_room(5000), 1 << 20, 4),
        (1 << 20, with_room(10_000), 2),
        (1 << 20, 1 << 20, 8),
    ] {
        let request = FetchRequest { max_bytes: bytes, ..waiting("t", all(partition_bytes), 0, 0) };
        let response = client.call::<Fetch>(12, &request);
        let batches: usize = offsets(&response).iter().map(|(_, offsets)| offsets.len()).sum();
        assert_eq!(batches, expected, "at most {partition_bytes} of a partition, {bytes} of all");
    }
    // An empty partition before it does not use up the exception.
    let request = waiting("t", vec![wanted(0, 2, 1), wanted(1, 0, 1), wanted(2, 0, 1)], 0, 0);
    let found = offsets(&client.call::<Fetch>(12, &request));
    assert_eq!(found.iter().map(|(_, offsets)| offsets.len()).sum::<usize>(), 1, "{found:?}");
}

#[test]
fn a_waiting_fetch_is_answered_as_soon_as_records_are_there() {
    let broker = TestBroker::start(&[]);
    let mut producer = broker.client();
    producer.create("t", 8, &[]);
    // Each partition in turn, so that both shards wake a reader on either.
    for partition in 0..8 {
        let mut reader = broker.client();
        let all = (0..8).map(|other| wanted(other, i64::from(other < partition), 1 << 20)).collect();
        reader.send::<Fetch>(12, &waiting("t", all, 1, MAX_WAIT_MS));
        std::thread::sleep(Duration::from_millis(30));
        let start = Instant::now();
        producer.produce("t", partition, batch(&["now"]));
        let (_, response) = reader.receive::<Fetch>(12);
        let waited = start.elapsed();
        assert!(waited < AT_ONCE, "{waited:?}");
        let found: Vec<_> = offsets(&response).into_iter().filter(|(_, offsets)| !offsets.is_empty()).collect();
        assert_eq!(found, [(partition, vec![0])]);
    }
}

#[test]
fn a_fetch_waits_for_min_bytes_and_no_longer_than_max_wait() {
    let broker = TestBroker::start(&[]);
    let mut producer = broker.client();
    producer.create("t", 2, &[]);
    let mut reader = broker.client();

    let start = Instant::now();
    let response = reader.call::<Fetch>(12, &waiting("t", vec![wanted(0, 0, 1 << 20)], 1, 300));
    assert!((Duration::from_millis(290)..AT_ONCE).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(offsets(&response), [(0, vec![])]);

    let both = vec![wanted(0, 0, 1 << 20), wanted(1, 0, 1 << 20)];
    reader.send::<Fetch>(12, &waiting("t", both, 3000, MAX_WAIT_MS));
    let half = "x".repeat(1000);
    for (partition, count) in [(0, 1), (1, 1), (0, 1)] {
        reader.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        assert!(reader.stream.peek(&mut [0]).is_err(), "it still waits");
        for _ in 0..count {
            producer.produce("t", partition, batch(&[&half]));
        }
    }
    reader.stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    let (_, response) = reader.receive::<Fetch>(12);
    assert_eq!(offsets(&response), [(0, vec![0, 1]), (1, vec![0])]);

    // What is there is more than the limits give: to wait would bring nothing.
    let start = Instant::now();
    reader.call::<Fetch>(12, &waiting("t", vec![wanted(0, 0, 10)], 1_000_000, MAX_WAIT_MS));
    assert!(start.elapsed() < AT_ONCE);
}

#[test]
fn a_waiting_fetch_is_answered_when_its_topic_goes_and_when_the_broker_ends() {
    let mut broker = TestBroker::start(&[("corelog.metrics.listen", "127.0.0.1:0")]);
    let mut client = broker.client();
    client.create("gone", 1, &[]);
    client.create("stays", 1, &[]);
    let mut reader = broker.client();
    reader.send::<Fetch>(12, &waiting("gone", vec![wanted(0, 0, 1)], 1, MAX_WAIT_MS));
    std::thread::sleep(Duration::from_millis(50));
    delete(&mut client, "gone");
    assert_eq!(only(reader.receive::<Fetch>(12).1).error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    // Not before it has the request: what has not come to a broker that ends is not answered.
    let received = || sum(&get(broker.metrics_addr(), "/metrics").1, "corelog_received_bytes_total", &[]);
    let before = received();
    reader.send::<Fetch>(12, &waiting("stays", vec![wanted(0, 0, 1)], 1, MAX_WAIT_MS));
    until("it has the request", || received() > before);
    let start = Instant::now();
    broker.stop();
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(only(reader.receive::<Fetch>(12).1).error_code, ErrorCode::NONE);
    assert!(reader.is_closed());
}

fn delete(client: &mut Client, topic: &str) {
    use corelog_server::protocol::delete_topics::{DeleteTopics, DeleteTopicsRequest};
    let request = DeleteTopicsRequest { topic_names: vec![topic.into()], timeout_ms: 5000, ..Default::default() };
    assert_eq!(client.call::<DeleteTopics>(5, &request).responses[0].error_code, ErrorCode::NONE);
}

#[test]
fn partitions_epochs_ids_and_sessions_that_are_not_there_are_errors() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let id = client.create("t", 1, &[]);
    let epoch = client.metadata("t").partitions[0].leader_epoch;
    let mut code = |change: &dyn Fn(&mut FetchRequest), version: i16| {
        let mut request = fetch_request("t", 0, 0);
        change(&mut request);
        // With a wait: an error is told at once.
        (request.max_wait_ms, request.min_bytes) = (20_000, 1);
        only(client.call::<Fetch>(version, &request)).error_code
    };
    assert_eq!(code(&|request| request.topics[0].topic = "none".into(), 12), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(
        code(&|request| request.topics[0].partitions[0].partition = 1, 12),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(code(&|request| request.topics[0].topic_id = TopicId::random(), 13), ErrorCode::UNKNOWN_TOPIC_ID);
    let with_epoch = |known: i32| {
        move |request: &mut FetchRequest| {
            request.topics[0].topic_id = id;
            request.topics[0].partitions[0].current_leader_epoch = known;
        }
    };
    assert_eq!(code(&with_epoch(epoch + 1), 16), ErrorCode::UNKNOWN_LEADER_EPOCH);
    if epoch > 0 {
        assert_eq!(code(&with_epoch(epoch - 1), 16), ErrorCode::FENCED_LEADER_EPOCH);
    }
    assert_eq!(code(&|request| request.replica_id = 7, 12), ErrorCode::NOT_LEADER_OR_FOLLOWER);

    let session = FetchRequest { session_id: 5, session_epoch: 3, ..fetch_request("t", 0, 0) };
    assert_eq!(client.call::<Fetch>(12, &session).error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    let new_session = FetchRequest { session_epoch: 0, ..fetch_request("t", 0, 0) };
    assert_ne!(client.call::<Fetch>(12, &new_session).session_id, 0);
}

#[test]
fn a_topic_made_again_has_another_id_and_none_of_the_old_records() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let old = client.create("t", 1, &[]);
    client.produce("t", 0, batch(&["old"]));
    delete(&mut client, "t");
    let new = client.create("t", 1, &[]);
    assert_ne!(old, new);
    assert_eq!(values(&client.fetch("t", 0, 0)), []);
    let mut request = fetch_request("", 0, 0);
    request.topics[0].topic_id = old;
    assert_eq!(only(client.call::<Fetch>(13, &request)).error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    request.topics[0].topic_id = new;
    assert_eq!(only(client.call::<Fetch>(13, &request)).error_code, ErrorCode::NONE);
}

/// Error, offset and time of a look-up.
fn look_up(client: &mut Client, version: i16, topic: &str, partition: i32, timestamp: i64) -> (ErrorCode, i64, i64) {
    let wanted = ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: topic.into(), partitions: vec![wanted] }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let found = client.call::<ListOffsets>(version, &request).topics.remove(0).partitions.remove(0);
    (found.error_code, found.offset, found.timestamp)
}

#[test]
fn offsets_are_found_by_place_and_by_time_as_kafka_finds_them() {
    const NONE: ErrorCode = ErrorCode::NONE;
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    for version in 1..=11 {
        assert_eq!(look_up(&mut client, version, "t", 0, LATEST), (NONE, 0, -1));
        assert_eq!(look_up(&mut client, version, "t", 0, EARLIEST), (NONE, 0, -1));
        assert_eq!(look_up(&mut client, version, "t", 0, 0), (NONE, -1, -1));
    }
    assert_eq!(look_up(&mut client, 11, "t", 0, MAX_TIMESTAMP), (NONE, -1, -1));
    client.produce("t", 0, timed_batch(Codec::None, &[(1000, "0"), (3000, "1"), (2000, "2")]));
    client.produce("t", 0, timed_batch(Codec::Lz4, &[(2500, "3"), (5000, "4"), (4000, "5")]));
    client.produce("t", 0, timed_batch(Codec::None, &[(100, "6")]));
    for (time, expected) in [
        (0, (0, 1000)),
        (1000, (0, 1000)),
        (1001, (1, 3000)),
        (2000, (1, 3000)),
        (3000, (1, 3000)),
        (3001, (4, 5000)),
        (5000, (4, 5000)),
        (5001, (-1, -1)),
        (i64::MAX, (-1, -1)),
    ] {
        assert_eq!(look_up(&mut client, 11, "t", 0, time), (NONE, expected.0, expected.1), "at {time}");
    }
    for (place, expected) in [
        (LATEST, (7, -1)),
        (EARLIEST, (0, -1)),
        (MAX_TIMESTAMP, (4, 5000)),
        (EARLIEST_LOCAL, (0, -1)),
        (LATEST_TIERED, (-1, -1)),
        (EARLIEST_PENDING_UPLOAD, (-1, -1)),
    ] {
        assert_eq!(look_up(&mut client, 11, "t", 0, place), (NONE, expected.0, expected.1), "place {place}");
    }
    for (version, place) in
        [(6, MAX_TIMESTAMP), (7, EARLIEST_LOCAL), (8, LATEST_TIERED), (10, EARLIEST_PENDING_UPLOAD), (11, -7)]
    {
        assert_eq!(
            look_up(&mut client, version, "t", 0, place).0,
            ErrorCode::UNSUPPORTED_VERSION,
            "{place} in v{version}"
        );
    }
    assert_eq!(look_up(&mut client, 11, "t", 1, LATEST).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(look_up(&mut client, 11, "none", 0, LATEST).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn a_partition_asked_for_twice_is_refused_once() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    let wanted = |partition_index| ListOffsetsPartition { partition_index, timestamp: LATEST, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: "t".into(), partitions: vec![wanted(0), wanted(1), wanted(0)] }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let found = client.call::<ListOffsets>(7, &request).topics.remove(0).partitions;
    let told: Vec<_> = found.iter().map(|found| (found.partition_index, found.error_code.0)).collect();
    assert_eq!(told, [(0, 42), (1, 0)]);
}

#[test]
fn a_reader_that_goes_on_from_what_it_got_sees_every_record_once() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[("segment.bytes", "1048576")]);
    let text = "0123456789".repeat(80);
    for request in 0..60 {
        let batches: Vec<String> = (0..100).map(|record| format!("{request}-{record} {text}")).collect();
        let values: Vec<&str> = batches.iter().map(String::as_str).collect();
        client.send::<Produce>(9, &produce_request("t", 0, batch(&values), 1));
    }
    for _ in 0..60 {
        let (_, response) = client.receive::<Produce>(9);
        assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    }
    // Over several segments, in answers smaller than some batches and larger than others.
    for bytes in [1000, 100_000, 1_000_000] {
        let mut next = 0;
        while next < 6000 {
            let request = FetchRequest { max_bytes: bytes, ..waiting("t", vec![wanted(0, next, bytes)], 1, 1000) };
            let found = values(&only(client.call::<Fetch>(12, &request)));
            assert!(!found.is_empty(), "nothing at {next}");
            for (offset, value) in found {
                assert_eq!(offset, next);
                assert!(value.starts_with(&format!("{}-{} ", next / 100, next % 100)));
                next += 1;
            }
        }
    }
}

#[test]
fn a_session_tells_what_is_new_and_is_closed_by_its_client() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let mut other = broker.client();
    client.create("t", 4, &[]);
    let partitions: Vec<_> = (0..4)
        .map(|partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..Default::default() })
        .collect();
    let topic = |partitions: Vec<FetchPartition>| FetchTopic { topic: "t".into(), partitions, ..Default::default() };
    let request = |session_id, session_epoch, partitions: Vec<FetchPartition>| FetchRequest {
        session_id,
        session_epoch,
        max_bytes: 50 << 20,
        topics: if partitions.is_empty() { Vec::new() } else { vec![topic(partitions)] },
        ..Default::default()
    };
    let opened = client.call::<Fetch>(12, &request(0, 0, partitions.clone()));
    let session = opened.session_id;
    assert!(session > 0 && opened.responses[0].partitions.len() == 4);
    let nothing = client.call::<Fetch>(12, &request(session, 1, vec![]));
    assert_eq!((nothing.error_code, nothing.session_id, nothing.responses.len()), (ErrorCode::NONE, session, 0));

    // Waits for a produce, and wakes at once.
    let waiting = FetchRequest { max_wait_ms: MAX_WAIT_MS, min_bytes: 1, ..request(session, 2, vec![]) };
    let began = std::time::Instant::now();
    client.send::<Fetch>(12, &waiting);
    std::thread::sleep(Duration::from_millis(50));
    other.produce("t", 2, batch(&["new"]));
    let (_, woken) = client.receive::<Fetch>(12);
    assert!(began.elapsed() < AT_ONCE, "it waited for the deadline");
    let [told] = &woken.responses[0].partitions[..] else { panic!("one partition: {woken:?}") };
    assert_eq!((told.partition_index, values(told)), (2, vec![(0, "new".to_string())]));

    // The reader goes on, and one partition is forgotten.
    let next = FetchPartition { partition: 2, fetch_offset: 1, partition_max_bytes: 1 << 20, ..Default::default() };
    let mut change = request(session, 3, vec![next]);
    change.forgotten_topics_data =
        vec![ForgottenTopic { topic: "t".into(), partitions: vec![0], ..Default::default() }];
    assert_eq!(client.call::<Fetch>(12, &change).responses.len(), 0);
    other.produce("t", 0, batch(&["unseen"]));
    other.produce("t", 3, batch(&["seen"]));
    let seen = client.call::<Fetch>(12, &request(session, 4, vec![]));
    assert_eq!(seen.responses[0].partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>(), [3]);

    let wrong = client.call::<Fetch>(12, &request(session, 9, vec![]));
    assert_eq!(wrong.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let by_id = client.call::<Fetch>(13, &request(session, 5, vec![]));
    assert_eq!(by_id.error_code, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
    let closed = client.call::<Fetch>(12, &request(session, -1, partitions));
    assert_eq!((closed.session_id, closed.responses[0].partitions.len()), (0, 4));
    let gone = client.call::<Fetch>(12, &request(session, 5, vec![]));
    assert_eq!(gone.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn partitions_of_several_shards_share_the_bytes_of_a_fetch() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 8, &[]);
    let value = "x".repeat(1000);
    for partition in 0..8 {
        for _ in 0..10 {
            client.produce("t", partition, batch(&[&value]));
        }
    }
    let fetch = |client: &mut Client, max_bytes| {
        let partitions =
            (0..8).map(|partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..Default::default() });
        let topics = vec![FetchTopic { topic: "t".into(), partitions: partitions.collect(), ..Default::default() }];
        let response = client.call::<Fetch>(12, &FetchRequest { max_bytes, topics, ..Default::default() });
        let partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
        partitions.map(|data| values(&data).len()).collect::<Vec<_>>()
    };
    assert_eq!(fetch(&mut client, i32::MAX), [10; 8]);
    let some = fetch(&mut client, 30_000);
    let records: usize = some.iter().sum();
    assert!((10..=30).contains(&records), "{some:?}");
    let least = fetch(&mut client, 1);
    assert_eq!(least.iter().sum::<usize>(), 1, "one batch, however small the limit: {least:?}");
}
