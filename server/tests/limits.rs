//! More connections than allowed: of one address, of all, and in a second.

mod support;

use std::time::{Duration, Instant};

use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::api_versions::{ApiVersions, ApiVersionsRequest};
use corelog_server::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use support::{Client, TestBroker, until};

fn is_served(client: &mut Client) -> bool {
    let request = ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() };
    client.call::<ApiVersions>(3, &request).error_code == ErrorCode::NONE
}

fn set(client: &mut Client, name: &str, value: &str) {
    const BROKER: i8 = 4;
    let configs = vec![AlterableConfig { name: name.into(), value: Some(value.into()), ..Default::default() }];
    let resource = AlterConfigsResource { resource_type: BROKER, resource_name: "".into(), configs };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call::<IncrementalAlterConfigs>(1, &request).responses[0].error_code, ErrorCode::NONE);
}

#[test]
fn an_address_with_a_limit_of_its_own_has_that_one() {
    let settings = [("max.connections.per.ip", "1"), ("max.connections.per.ip.overrides", "10.9.9.9:0,127.0.0.1:3")];
    let broker = TestBroker::start(&settings);
    let mut clients: Vec<Client> = (0..3).map(|_| broker.client()).collect();
    assert!(clients.iter_mut().all(is_served));
    assert!(broker.client().is_closed());

    // It changes while the broker runs, and those that are there stay.
    set(&mut clients[0], "max.connections.per.ip.overrides", "localhost:4");
    clients.push(broker.client());
    assert!(clients.iter_mut().all(is_served));
    assert!(broker.client().is_closed());
    set(&mut clients[0], "max.connections.per.ip.overrides", "127.0.0.1:0");
    assert!(clients.iter_mut().all(is_served) && broker.client().is_closed());
    set(&mut clients[0], "max.connections.per.ip.overrides", "");
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
    set(&mut clients[0], "max.connection.creation.rate", "1000");
    let began = Instant::now();
    assert!((0..15).all(|_| is_served(&mut broker.client())));
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}
