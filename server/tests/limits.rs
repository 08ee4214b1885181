//! More connections than allowed: of one address, of all, and in a second.

mod support;

use std::time::{Duration, Instant};

use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::api_versions::{ApiVersions, ApiVersionsRequest};
use support::{Client, TestBroker, until};

fn introduced() -> ApiVersionsRequest {
    ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() }
}

fn is_served(client: &mut Client) -> bool {
    client.call::<ApiVersions>(3, &introduced()).error_code == ErrorCode::NONE
}

/// Whether it is answered before `wait` is over.
fn is_served_within(client: &mut Client, wait: Duration) -> bool {
    client.stream.set_read_timeout(Some(wait)).expect("a timeout");
    let answer = client.receive_frame();
    client.stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    answer.is_ok()
}

#[test]
fn one_too_many_waits_for_a_place() {
    let broker = TestBroker::start(&[("max.connections", "3")]);
    let mut clients: Vec<Client> = (0..3).map(|_| broker.client()).collect();
    assert!(clients.iter_mut().all(is_served));
    // As with Kafka: the sockets are open, and nothing is answered.
    let mut waiting: Vec<Client> = (0..4).map(|_| broker.client()).collect();
    for client in &mut waiting {
        client.send::<ApiVersions>(3, &introduced());
    }
    assert!(!waiting.iter_mut().any(|client| is_served_within(client, Duration::from_millis(100))));
    assert!(clients.iter_mut().all(is_served));
    for left in (0..3).rev() {
        drop(clients.pop());
        let mut served = 0;
        until("one that waited has the place", || {
            served =
                waiting.iter_mut().position(|client| is_served_within(client, Duration::from_millis(10))).unwrap_or(9);
            served < 9
        });
        assert!(
            !waiting.iter_mut().any(|client| is_served_within(client, Duration::from_millis(50))),
            "only one, {left}"
        );
        // It stays; the next place is another's.
        clients.insert(0, waiting.remove(served));
    }
    // More places, for all that wait.
    clients[0].set(None, "max.connections", "4");
    until("the last has a place", || is_served_within(&mut waiting[0], Duration::from_millis(10)));
}

#[test]
fn one_too_many_of_its_address_is_closed() {
    let broker = TestBroker::start(&[("max.connections.per.ip", "1")]);
    let mut first = broker.client();
    assert!(is_served(&mut first) && broker.client().is_closed() && is_served(&mut first));
}

#[test]
fn connections_end_where_the_limit_is_lowered() {
    let broker = TestBroker::start(&[]);
    let mut clients: Vec<Client> = (0..6).map(|_| broker.client()).collect();
    assert!(clients.iter_mut().all(is_served));
    clients[5].set(None, "max.connections", "2");
    until("all but two are closed", || {
        clients.retain_mut(|client| {
            client.stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
            !client.is_closed()
        });
        clients.len() <= 2
    });
    for client in &mut clients {
        client.stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    }
    assert!(clients.iter_mut().all(is_served) && clients.len() == 2);
}

#[test]
fn a_listener_has_a_limit_of_its_own_and_that_of_brokers_always_a_place() {
    let broker = TestBroker::start(&[
        ("listeners", "ALL://127.0.0.1:0,BETWEEN://127.0.0.1:0,SMALL://127.0.0.1:0"),
        ("listener.security.protocol.map", "ALL:PLAINTEXT,BETWEEN:PLAINTEXT,SMALL:PLAINTEXT"),
        ("inter.broker.listener.name", "BETWEEN"),
        ("listener.name.small.max.connections", "1"),
        ("max.connections", "3"),
        // Each shard knows which of its own is the most silent, as each network thread of Kafka does.
        ("corelog.cores", "1"),
    ]);
    let (between, small) = (broker.addrs()[1], broker.addrs()[2]);
    let connect = Client::connect;
    let mut first = connect(small);
    assert!(is_served(&mut first));
    let mut second = connect(small);
    second.send::<ApiVersions>(3, &introduced());
    assert!(!is_served_within(&mut second, Duration::from_millis(200)));
    let mut others: Vec<Client> = (0..2).map(|_| broker.client()).collect();
    assert!(others.iter_mut().all(is_served));
    // The place of the most silent one is taken for it, and that of the next.
    let mut brokers = vec![connect(between)];
    assert!(is_served(&mut brokers[0]) && first.is_closed());
    brokers.extend((0..2).map(|_| connect(between)));
    assert!(brokers.iter_mut().all(is_served) && others.iter_mut().all(Client::is_closed));
    // As many as for all others together, where nothing else is said.
    let mut fourth = connect(between);
    fourth.send::<ApiVersions>(3, &introduced());
    assert!(!is_served_within(&mut fourth, Duration::from_millis(200)));
    assert!(!is_served_within(&mut second, Duration::from_millis(200)), "there is no place but for brokers");
    // First the fourth: were a place free for both, it might be the second's for a moment and then be taken for the fourth.
    brokers[0].set(None, "listener.name.between.max.connections", "4");
    assert!(is_served_within(&mut fourth, support::PATIENCE));
    assert!(!is_served_within(&mut second, Duration::from_millis(200)), "there are more than three");
    brokers.truncate(1);
    assert!(is_served_within(&mut second, support::PATIENCE));
    // More, and less, while the broker runs.
    let mut third = connect(small);
    third.send::<ApiVersions>(3, &introduced());
    assert!(!is_served_within(&mut third, Duration::from_millis(200)));
    brokers[0].set(None, "max.connections", "100");
    brokers[0].set(None, "listener.name.small.max.connections", "2");
    assert!(is_served_within(&mut third, support::PATIENCE));
    brokers[0].set(None, "listener.name.between.max.connections", "2");
    let mut one_more = connect(between);
    one_more.send::<ApiVersions>(3, &introduced());
    assert!(!is_served_within(&mut one_more, Duration::from_millis(200)));
}

#[test]
fn new_connections_of_a_listener_wait_at_its_own_rate() {
    let broker = TestBroker::start(&[
        ("listeners", "ALL://127.0.0.1:0,SLOW://127.0.0.1:0"),
        ("listener.security.protocol.map", "ALL:PLAINTEXT,SLOW:PLAINTEXT"),
        ("listener.name.slow.max.connection.creation.rate", "5"),
    ]);
    let connect = || Client::connect(broker.addrs()[1]);
    let began = Instant::now();
    let mut clients: Vec<Client> = (0..15).map(|_| connect()).collect();
    // At the rate of the first it would take half a minute.
    assert!((0..160).all(|_| is_served(&mut broker.client())));
    assert!(began.elapsed() < Duration::from_secs(25), "the other listener has no rate: {:?}", began.elapsed());
    assert!(clients.iter_mut().all(is_served), "all are served in the end");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1900) && took < support::PATIENCE, "{took:?}");
    // Another rate while the broker runs.
    clients[0].set(None, "listener.name.slow.max.connection.creation.rate", "1000");
    let began = Instant::now();
    assert!((0..160).all(|_| is_served(&mut connect())));
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn an_address_with_a_limit_of_its_own_has_that_one() {
    let settings = [("max.connections.per.ip", "1"), ("max.connections.per.ip.overrides", "10.9.9.9:0,127.0.0.1:3")];
    let broker = TestBroker::start(&settings);
    let mut clients: Vec<Client> = (0..3).map(|_| broker.client()).collect();
    assert!(clients.iter_mut().all(is_served));
    assert!(broker.client().is_closed());

    // It changes while the broker runs, and those that are there stay.
    clients[0].set(None, "max.connections.per.ip.overrides", "localhost:4");
    clients.push(broker.client());
    assert!(clients.iter_mut().all(is_served));
    assert!(broker.client().is_closed());
    clients[0].set(None, "max.connections.per.ip.overrides", "127.0.0.1:0");
    assert!(clients.iter_mut().all(is_served) && broker.client().is_closed());
    clients[0].set(None, "max.connections.per.ip.overrides", "");
    clients.truncate(1);
    until("the others are gone, and one is allowed", || {
        assert!(is_served(&mut clients[0]));
        broker.client().is_closed()
    });
}

#[test]
fn new_connections_wait_where_there_are_too_many_in_a_second() {
    let broker = TestBroker::start(&[("max.connection.creation.rate", "5")]);
    let began = Instant::now();
    let mut clients: Vec<Client> = (0..15).map(|_| broker.client()).collect();
    assert!(clients.iter_mut().all(is_served), "all are served in the end");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1900) && took < support::PATIENCE, "{took:?}");
    clients[0].set(None, "max.connection.creation.rate", "1000");
    let began = Instant::now();
    // At the rate before, 160 would take half a minute.
    assert!((0..160).all(|_| is_served(&mut broker.client())));
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}
