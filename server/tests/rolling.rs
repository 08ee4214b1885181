//! When segments are rolled and what retention deletes, as the topic's settings say.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use corelog_engine::batch::Codec;
use corelog_server::protocol::ErrorCode;
use support::{TestBroker, batch, now, timed_batch, until};

/// The first offsets of the segments of a partition.
fn segments(broker: &TestBroker, partition: &str) -> BTreeSet<i64> {
    let dir = broker.dir.path().join("data").join(partition);
    let files = std::fs::read_dir(dir).expect("the partition's directory").flatten();
    let names = files.map(|file| file.file_name().into_string().expect("text"));
    names.filter_map(|name| Path::new(&name).file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()).collect()
}

#[test]
fn a_segment_is_rolled_when_its_first_record_is_old_and_with_jitter_before() {
    const PARTITIONS: i32 = 16;
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("timed", 1, &[("segment.ms", "100000")]);
    client.create("spread", PARTITIONS, &[("segment.ms", "100000"), ("segment.jitter.ms", "100000")]);
    let start = now() - 500_000;
    for step in 0..=11 {
        let batch = timed_batch(Codec::None, &[(start + step * 10_000, "x")]);
        assert_eq!(client.produce("timed", 0, batch.clone()).error_code, ErrorCode::NONE);
        for partition in 0..PARTITIONS {
            assert_eq!(client.produce("spread", partition, batch.clone()).error_code, ErrorCode::NONE);
        }
    }
    broker.stop();
    assert_eq!(segments(&broker, "timed-0"), BTreeSet::from([0, 11]), "100 s after the first is not more than 100 s");
    let second: BTreeSet<i64> = (0..PARTITIONS)
        .map(|partition| *segments(&broker, &format!("spread-{partition}")).iter().nth(1).expect("it was rolled"))
        .collect();
    assert!(second.len() > 3 && second.iter().all(|base| (1..=11).contains(base)), "{second:?}");
}

#[test]
fn retention_by_size_and_by_time_deletes_whole_old_segments_and_never_the_last_records_of_now() {
    let broker = TestBroker::start(&[("log.retention.check.interval.ms", "50")]);
    let mut client = broker.client();
    let value = "x".repeat(400_000);
    let small = ("segment.bytes", "1048576");
    client.create("size", 1, &[small, ("retention.bytes", "1500000"), ("retention.ms", "-1")]);
    client.create(
        "time",
        1,
        &[small, ("retention.ms", "-1"), ("message.timestamp.before.max.ms", "9223372036854775807")],
    );
    client.create("kept", 1, &[small, ("retention.bytes", "1"), ("cleanup.policy", "")]);
    let old = now() - 2 * 3_600_000;
    for number in 0..10 {
        client.produce("size", 0, batch(&[&value]));
        client.produce("kept", 0, batch(&[&value]));
        let time = if number < 6 { old } else { now() };
        client.produce("time", 0, timed_batch(Codec::None, &[(time, &value)]));
    }
    // Not before all is written: else the last segment may be deleted when it has one old batch, and the next begins at 5.
    client.set(Some("time"), "retention.ms", "3600000");
    let mut start = |topic: &str| client.fetch(topic, 0, 9).log_start_offset;
    // Two batches fill a segment. Kafka deletes one only while what is left is still as large as the budget.
    until("the old segments are deleted by size", || start("size") == 6);
    until("and by time", || start("time") == 6);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!((start("size"), start("time"), start("kept")), (6, 6, 0));
}
