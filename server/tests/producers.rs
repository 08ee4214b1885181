//! Idempotent producers over real sockets: their ids, and what becomes of what they send again.

mod support;

use std::collections::HashSet;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::{Offset, Timestamp};
use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::describe_producers::{DescribeProducers, DescribeProducersRequest, TopicRequest};
use corelog_server::protocol::init_producer_id::{InitProducerId, InitProducerIdRequest, InitProducerIdResponse};
use corelog_server::protocol::produce::Produce;
use support::{BY_NAME, Client, PATIENCE, TestBroker, now, produce_request, values};

fn init(client: &mut Client, version: i16, request: InitProducerIdRequest) -> InitProducerIdResponse {
    client.call::<InitProducerId>(version, &request)
}

fn new_id(client: &mut Client) -> i64 {
    let response = init(client, 5, InitProducerIdRequest::default());
    assert_eq!((response.error_code, response.producer_epoch), (ErrorCode::NONE, 0));
    response.producer_id
}

#[test]
fn no_id_is_given_twice_across_blocks_and_restarts() {
    let mut broker = TestBroker::start(&[]);
    let mut seen = HashSet::new();
    for _ in 0..2 {
        let mut client = broker.client();
        for _ in 0..1_050 {
            assert!(seen.insert(new_id(&mut client)), "given before");
        }
        broker.restart();
    }
    assert!(seen.insert(new_id(&mut broker.client())));
}

#[test]
fn every_version_gives_an_id_and_one_who_has_an_id_gets_another() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    for version in 0..=5 {
        let response = init(&mut client, version, InitProducerIdRequest::default());
        assert_eq!((response.error_code, response.producer_epoch), (ErrorCode::NONE, 0), "version {version}");
    }
    let first = new_id(&mut client);
    let again = InitProducerIdRequest { producer_id: first, producer_epoch: 3, ..Default::default() };
    let response = init(&mut client, 5, again);
    assert_eq!((response.error_code, response.producer_epoch), (ErrorCode::NONE, 0));
    assert_ne!(response.producer_id, first);
}

#[test]
fn half_an_identity_and_a_transactional_id_are_refused_for_good() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let half = InitProducerIdRequest { producer_id: 7, ..Default::default() };
    assert_eq!(init(&mut client, 5, half).error_code, ErrorCode::INVALID_REQUEST);
    let empty = InitProducerIdRequest { transactional_id: Some("".into()), ..Default::default() };
    assert_eq!(init(&mut client, 5, empty).error_code, ErrorCode::INVALID_REQUEST);
    let named = InitProducerIdRequest { transactional_id: Some("t".into()), ..Default::default() };
    let response = init(&mut client, 5, named);
    assert_eq!((response.error_code, response.producer_id), (ErrorCode::UNSUPPORTED_VERSION, -1));
}

/// One record of a producer, as a batch.
fn sequenced(id: i64, epoch: i16, sequence: i32, value: &str) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence);
    builder.push(Timestamp(now()), None, Some(value.as_bytes()), &[]);
    builder.build(Offset::ZERO)
}

/// Sends a batch; its offset, or why it was refused.
fn send(client: &mut Client, batch: Vec<u8>) -> Result<i64, ErrorCode> {
    let answer = client.produce("t", 0, batch);
    if answer.error_code.is_error() { Err(answer.error_code) } else { Ok(answer.base_offset) }
}

#[test]
fn what_is_sent_again_is_answered_with_its_offset_also_after_a_restart() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let id = new_id(&mut client);
    let batches: Vec<_> = (0..7).map(|sequence| sequenced(id, 0, sequence, &format!("value {sequence}"))).collect();
    for (offset, batch) in (0..).zip(&batches) {
        assert_eq!(send(&mut client, batch.clone()), Ok(offset));
    }
    for round in 0..2 {
        let mut client = broker.client();
        for (offset, batch) in (0..).zip(&batches).skip(2) {
            assert_eq!(send(&mut client, batch.clone()), Ok(offset), "round {round}");
        }
        assert_eq!(send(&mut client, batches[1].clone()), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        broker.restart();
    }
    let mut client = broker.client();
    assert_eq!(send(&mut client, sequenced(id, 0, 7, "value 7")), Ok(7));
    let found: Vec<_> = values(&client.fetch("t", 0, 0)).into_iter().map(|(_, value)| value).collect();
    assert_eq!(found, (0..8).map(|number| format!("value {number}")).collect::<Vec<_>>());
}

#[test]
fn gaps_old_epochs_and_missing_sequences_get_kafkas_errors() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    assert_eq!(send(&mut client, sequenced(7, 3, 40, "first")), Ok(0), "any first sequence");
    assert_eq!(send(&mut client, sequenced(7, 3, 42, "gap")), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(send(&mut client, sequenced(7, 2, 41, "old")), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(send(&mut client, sequenced(7, 4, 41, "new")), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(send(&mut client, sequenced(7, 4, 0, "new")), Ok(1));
    assert_eq!(send(&mut client, sequenced(7, 3, 41, "old")), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(send(&mut client, sequenced(7, 4, -1, "none")), Err(ErrorCode::INVALID_RECORD));
    let mut answer = client.produce("t", 0, sequenced(7, 4, 5, "gap"));
    let words = answer.error_message.take().expect("the reason");
    assert!(words.contains("sequence 5"), "{words:?}");
}

#[test]
fn five_batches_in_flight_are_taken_in_order_and_again_after_a_lost_connection() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let id = new_id(&mut client);
    let requests: Vec<_> =
        (0..5).map(|sequence| produce_request("t", 0, sequenced(id, 0, sequence, "value"), -1)).collect();
    for request in &requests {
        client.send::<Produce>(BY_NAME, request);
    }
    drop(client);
    // Whatever of them came through, sent again they are all there, once.
    let mut client = broker.client();
    for request in &requests {
        client.send::<Produce>(BY_NAME, request);
    }
    for offset in 0..5 {
        let answer = client.receive::<Produce>(BY_NAME).1.responses.remove(0).partition_responses.remove(0);
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, offset));
    }
    assert_eq!(values(&client.fetch("t", 0, 0)).len(), 5);
}

#[test]
fn producers_are_described_and_forgotten_when_they_expire() {
    let settings = [("producer.id.expiration.ms", "1"), ("producer.id.expiration.check.interval.ms", "50")];
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    assert_eq!(send(&mut client, sequenced(9, 2, 5, "value")), Ok(0));
    let topics = vec![TopicRequest { name: "t".into(), partition_indexes: vec![0, 8] }];
    let request = DescribeProducersRequest { topics };
    let described = client.call::<DescribeProducers>(0, &request).topics.remove(0).partitions;
    let only = &described[0].active_producers;
    assert_eq!((only.len(), only[0].producer_id, only[0].producer_epoch, only[0].last_sequence), (1, 9, 2, 5));
    assert_eq!((only[0].coordinator_epoch, only[0].current_txn_start_offset), (-1, -1));
    assert_eq!(described[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    let broker = TestBroker::start(&settings);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    assert_eq!(send(&mut client, sequenced(9, 2, 5, "value")), Ok(0));
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let described = client.call::<DescribeProducers>(0, &request).topics.remove(0).partitions;
        if described[0].active_producers.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < until, "{described:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(send(&mut client, sequenced(9, 2, 50, "value")), Ok(1), "it is not known any more");
}

#[test]
fn ids_that_have_written_are_not_given_again_where_the_metadata_was_lost() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    assert_eq!(send(&mut client, sequenced(5_000, 0, 0, "value")), Ok(0));
    assert_eq!(send(&mut client, sequenced(i64::MAX, 0, 0, "made up")), Ok(1));
    broker.stop();
    std::fs::remove_dir_all(broker.dir.path().join("data/__cluster_metadata-0")).expect("it is there");
    broker.restart();
    assert_eq!(new_id(&mut broker.client()), 5_001);
}
