//! Idempotent producers over real sockets: their ids, and what becomes of what they send again.

mod support;

use std::collections::HashSet;

use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::init_producer_id::{InitProducerId, InitProducerIdRequest, InitProducerIdResponse};
use support::{Client, TestBroker};

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
