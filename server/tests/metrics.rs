//! What the broker tells of itself over HTTP.

mod support;

use std::net::TcpStream;

use corelog_server::protocol::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use corelog_server::protocol::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use support::{TestBroker, batch, get, sum};

#[test]
fn what_was_done_is_counted_and_health_is_told() {
    let mut broker = TestBroker::start(&[("corelog.metrics.listen", "127.0.0.1:0")]);
    let addr = broker.metrics_addr();
    let mut client = broker.client();
    client.create("t", 4, &[]);
    for partition in 0..4 {
        client.produce("t", partition, batch(&["one", "two", "three"]));
        client.fetch("t", partition, 0);
    }
    client.produce("t", 0, vec![0; 100]);
    // A shard that the machine holds up for two seconds is not well.
    let well = ("HTTP/1.1 200 OK".to_string(), "ok\n".to_string());
    support::until("it is well", || get(addr, "/healthz") == well);
    assert_eq!(get(addr, "/nothing").0, "HTTP/1.1 404 Not Found");
    let (status, text) = get(addr, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let of_topic = ["topic=\"t\""];
    assert_eq!(sum(&text, "corelog_topic_produced_records_total", &of_topic), 12.0);
    assert_eq!(sum(&text, "corelog_topic_produced_batches_total", &of_topic), 4.0);
    assert_eq!(sum(&text, "corelog_topic_produce_errors_total", &of_topic), 1.0);
    assert!(sum(&text, "corelog_topic_fetched_bytes_total", &of_topic) > 4.0 * 61.0);
    assert_eq!(sum(&text, "corelog_topic_partitions", &of_topic), 4.0);
    assert_eq!(sum(&text, "corelog_request_seconds_count", &["api=\"Produce\""]), 5.0);
    assert_eq!(sum(&text, "corelog_shard_healthy", &[]), 2.0);
    assert_eq!(sum(&text, "corelog_connections", &[]), 1.0);
    for name in ["corelog_commit_group_seconds_count", "corelog_sent_bytes_total", "process_resident_memory_bytes"] {
        assert!(sum(&text, name, &[]) > 0.0, "{name}");
    }
    // Each family once, and every sample behind the head of its family.
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# HELP ") {
            Some(rest) => family = rest.split(' ').next().expect("a name"),
            None if line.starts_with('#') => assert!(line.contains(family), "{line}"),
            None => assert!(line.starts_with(family), "{line} behind the head of {family}"),
        }
    }
    broker.stop();
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn a_full_listener_is_told() {
    let broker = TestBroker::start(&[("corelog.metrics.listen", "127.0.0.1:0"), ("max.connections", "1")]);
    let full = || sum(&get(broker.metrics_addr(), "/metrics").1, "corelog_listeners_full", &[]);
    let mut first = broker.client();
    first.create("t", 1, &[]);
    assert_eq!(full(), 0.0);
    let mut second = broker.client();
    support::until("one waits", || full() == 1.0);
    drop(first);
    second.create("u", 1, &[]);
    assert_eq!(full(), 0.0);
}

#[test]
fn the_lag_of_a_group_is_told_in_records_and_in_seconds() {
    let broker = TestBroker::start(&[("corelog.metrics.listen", "127.0.0.1:0"), ("offsets.topic.num.partitions", "2")]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    let old = support::now() - 60_000;
    client.produce("t", 0, support::timed_batch(corelog_engine::batch::Codec::None, &[(old, "a")]));
    client.produce("t", 0, support::timed_batch(corelog_engine::batch::Codec::Zstd, &[(old, "b"), (old + 1, "c")]));
    client.produce("t", 1, batch(&["read"]));
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    support::until("the coordinator is there", || {
        !client.call::<FindCoordinator>(6, &find).coordinators[0].error_code.is_error()
    });
    let partitions = [(0, 1), (1, 1)].map(|(partition_index, committed_offset)| OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        ..Default::default()
    });
    let topics =
        vec![OffsetCommitRequestTopic { name: "t".into(), partitions: partitions.into(), ..Default::default() }];
    let request = OffsetCommitRequest { group_id: "g".into(), topics, ..Default::default() };
    support::until("the offsets are committed", || {
        !client.call::<OffsetCommit>(8, &request).topics[0].partitions[0].error_code.is_error()
    });

    let (_, text) = get(broker.metrics_addr(), "/metrics");
    let lag = |name: &str, partition: &str| sum(&text, name, &["group=\"g\"", "topic=\"t\"", partition]);
    assert_eq!(lag("corelog_group_lag_records", "partition=\"0\""), 2.0);
    assert_eq!(lag("corelog_group_lag_records", "partition=\"1\""), 0.0);
    assert_eq!(lag("corelog_group_committed_offset", "partition=\"0\""), 1.0);
    let seconds = lag("corelog_group_lag_seconds", "partition=\"0\"");
    assert!((60.0..120.0).contains(&seconds), "{seconds}");
    assert_eq!(lag("corelog_group_lag_seconds", "partition=\"1\""), 0.0);
}
