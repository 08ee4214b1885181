//! More connections than allowed: of one address, of all, and in a second.

mod support;

use std::time::{Duration, Instant};

use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::api_versions::{ApiVersions, ApiVersionsRequest};
use corelog_server::protocol::fetch::Fetch;
use support::{Client, TestBroker, batch, fetch_request, until};

fn is_served(client: &mut Client) -> bool {
    let request = ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() };
    client.call::<ApiVersions>(3, &request).error_code == ErrorCode::NONE
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
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(8), "{took:?}");
    clients[0].set(None, "max.connection.creation.rate", "1000");
    let began = Instant::now();
    assert!((0..15).all(|_| is_served(&mut broker.client())));
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is told");
    let kilobytes: usize = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kilobytes << 10
}

#[test]
fn clients_that_never_read_their_answers_cannot_use_up_the_memory() {
    let broker = TestBroker::start(&[("corelog.connection.bytes", "16777216")]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let value = "x".repeat(1_000_000);
    for _ in 0..60 {
        assert_eq!(client.produce("t", 0, batch(&[&value])).error_code, ErrorCode::NONE);
    }
    let before = resident();
    let mut request = fetch_request("t", 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    let mut greedy: Vec<Client> = (0..40).map(|_| broker.client()).collect();
    for client in &mut greedy {
        // Several, so that there is always another one to begin.
        for _ in 0..3 {
            client.send::<Fetch>(12, &request);
        }
    }
    let mut most = 0;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        most = most.max(resident().saturating_sub(before));
        assert!(is_served(&mut client));
    }
    assert!(most < 300 << 20, "40 clients made it hold {} MiB more", most >> 20);
}
