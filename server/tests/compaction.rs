//! Compaction over real sockets: a log of few keys stays small, readers get the newest record of each, and so it is after a restart.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use corelog_engine::batch::{BatchBuilder, Codec, records, scan};
use corelog_engine::{Offset, Timestamp};
use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use corelog_server::protocol::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_server::protocol::offset_fetch::{OffsetFetch, OffsetFetchRequest, OffsetFetchRequestGroup};
use corelog_server::protocol::produce::Produce;
use support::{BY_NAME, Client, TestBroker, now, produce_request, until};

const KEYS: u64 = 100;
const RECORDS: u64 = 100_000;
const BATCH_RECORDS: u64 = 500;
/// Quick cleaners: what they may clean has to be behind a checkpoint.
const QUICK: [(&str, &str); 3] =
    [("log.cleaner.backoff.ms", "20"), ("corelog.checkpoint.interval.ms", "50"), ("offsets.topic.num.partitions", "1")];

/// Bytes of the segments in a partition's directory.
fn log_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let logs = files.filter(|entry| entry.path().extension().is_some_and(|suffix| suffix == "log"));
    // Gone meanwhile, or not.
    logs.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Everything from `offset` on: offsets, keys, values.
fn read_all(client: &mut Client, topic: &str, offset: i64) -> Vec<(i64, Vec<u8>, Option<Vec<u8>>)> {
    let (mut from, mut found) = (offset, Vec::new());
    loop {
        let data = client.fetch(topic, 0, from);
        assert_eq!(data.error_code, ErrorCode::NONE);
        let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        if bytes.is_empty() {
            assert_eq!(from, data.high_watermark, "the end is reached");
            return found;
        }
        for batch in scan(&bytes) {
            let (position, header) = batch.expect("whole batches");
            assert!(header.next_offset().0 > from, "nothing comes twice");
            for record in records(&bytes[position..position + header.size_bytes()], 64 << 20).expect("records").iter() {
                let record = record.expect("a record");
                if record.offset.0 >= from {
                    let key = record.key.expect("a key").to_vec();
                    found.push((record.offset.0, key, record.value.map(<[u8]>::to_vec)));
                }
            }
            from = header.next_offset().0;
        }
    }
}

fn value(number: u64) -> Vec<u8> {
    format!("value {number} {}", "x".repeat(60)).into_bytes()
}

/// Produces records of all keys in turn, pipelined, in batches of several codecs.
fn fill(client: &mut Client, topic: &str) {
    let mut number = 0;
    let codecs = [Codec::None, Codec::None, Codec::Lz4, Codec::None];
    while number < RECORDS {
        let mut sent = 0;
        while sent < 20 && number < RECORDS {
            let mut builder = BatchBuilder::new(codecs[(number / BATCH_RECORDS) as usize % 4]);
            for number in number..number + BATCH_RECORDS {
                let key = (number % KEYS).to_be_bytes();
                builder.push(Timestamp(now()), Some(&key), Some(&value(number)), &[]);
            }
            number += BATCH_RECORDS;
            sent += 1;
            client.send::<Produce>(BY_NAME, &produce_request(topic, 0, builder.build(Offset::ZERO), -1));
        }
        for _ in 0..sent {
            let (_, mut answer) = client.receive::<Produce>(BY_NAME);
            let answer = answer.responses.remove(0).partition_responses.remove(0);
            assert_eq!(answer.error_code, ErrorCode::NONE);
        }
    }
}

/// The newest record of each key is there, at its offset, and what is there was written so.
fn check(client: &mut Client, topic: &str) -> usize {
    let found = read_all(client, topic, 0);
    let mut newest = BTreeMap::new();
    for (offset, key, text) in &found {
        let number = *offset as u64;
        assert_eq!((&key[..], text.as_deref()), (&(number % KEYS).to_be_bytes()[..], Some(&value(number)[..])));
        newest.insert(key.clone(), number);
    }
    assert_eq!(newest.len() as u64, KEYS);
    assert!(newest.values().all(|number| *number >= RECORDS - KEYS), "an older record is the newest");
    assert!(found.windows(2).all(|two| two[0].0 < two[1].0), "offsets rise");
    found.len()
}

#[test]
fn a_log_of_few_keys_shrinks_and_has_the_newest_of_each_also_after_a_restart() {
    let mut broker = TestBroker::start(&QUICK);
    let mut client = broker.client();
    let configs = [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.1")];
    client.create("t", 1, &configs);
    fill(&mut client, "t");
    let dir = broker.dir.path().join("data").join("t-0");
    // One segment is open, and one more may wait for a checkpoint.
    until("the log is compacted", || log_bytes(&dir) < 3 << 20 && check(&mut client, "t") < RECORDS as usize / 2);
    // From inside a gap the next record comes, which is another one where a compaction ends between two reads.
    let mut first = |offset| read_all(&mut client, "t", offset).first().expect("a record").0;
    until("two reads see one log", || {
        let before = first(1);
        let inside = first(before - 1);
        let unchanged = before == first(1);
        assert!(!unchanged || inside == before, "{inside} is read from {} on, and {before} from 1 on", before - 1);
        unchanged
    });
    broker.restart();
    check(&mut broker.client(), "t");
    // Offsets may be missing whatever the topic's policy is by now.
    let mut client = broker.client();
    client.set(Some("t"), "cleanup.policy", "delete");
    check(&mut client, "t");
    broker.restart();
    check(&mut broker.client(), "t");
    broker.stop();
    let report = corelog_engine::inspect::verify(&broker.dir.path().join("data")).expect("verified");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn tombstones_go_when_their_time_has_come_and_what_they_deleted_stays_away() {
    let broker = TestBroker::start(&QUICK);
    let mut client = broker.client();
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "1"),
    ];
    client.create("t", 1, &configs);
    let mut write = |key: &str, value: Option<&str>| {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(Timestamp(now()), Some(key.as_bytes()), value.map(str::as_bytes), &[]);
        assert_eq!(client.produce("t", 0, builder.build(Offset::ZERO)).error_code, ErrorCode::NONE);
    };
    write("gone", Some("once"));
    write("gone", None);
    write("stays", Some("here"));
    // A tombstone goes with the second compaction that sees it, so that there has to be something to compact.
    let filler = "f".repeat(600_000);
    let mut number = 0;
    let mut other = broker.client();
    until("the tombstone is gone", || {
        number += 1;
        write("filler", Some(&filler));
        let found = read_all(&mut other, "t", 0);
        assert!(found.iter().any(|(offset, key, _)| *offset == 2 && key == b"stays"));
        let gone: Vec<_> = found.iter().filter(|(_, key, _)| key == b"gone").map(|(offset, ..)| *offset).collect();
        assert!([&[0, 1][..], &[1], &[]].contains(&&gone[..]), "{gone:?}");
        gone.is_empty()
    });
}

fn commit(client: &mut Client, partitions: i32, offset: i64) {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset + i64::from(partition_index),
        committed_metadata: Some("m".repeat(20).as_str().into()),
        ..Default::default()
    };
    let partitions = (0..partitions).map(partition).collect();
    let topics = vec![OffsetCommitRequestTopic { name: "t".into(), partitions, ..Default::default() }];
    let request = OffsetCommitRequest { group_id: "g".into(), topics, ..Default::default() };
    let answer = client.call::<OffsetCommit>(8, &request);
    assert!(answer.topics[0].partitions.iter().all(|partition| partition.error_code == ErrorCode::NONE));
}

#[test]
fn the_offsets_of_groups_stay_small_and_are_loaded_as_they_were() {
    const PARTITIONS: i32 = 200;
    const COMMITS: i64 = 300;
    let mut broker = TestBroker::start(&[&QUICK[..], &[("offsets.topic.segment.bytes", "1048576")]].concat());
    let mut client = broker.client();
    client.create("t", PARTITIONS, &[]);
    let find = |client: &mut Client| {
        let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
        until("the coordinator is found", || {
            client.call::<FindCoordinator>(6, &request).coordinators[0].error_code == ErrorCode::NONE
        });
    };
    find(&mut client);
    for number in 0..COMMITS {
        commit(&mut client, PARTITIONS, number * 1000);
    }
    let dir = broker.dir.path().join("data").join("__consumer_offsets-0");
    until("the offsets are compacted", || log_bytes(&dir) < 3 << 20);
    for _ in 0..2 {
        broker.restart();
        let mut client = broker.client();
        find(&mut client);
        let group = OffsetFetchRequestGroup { group_id: "g".into(), topics: None, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        let mut fetched = Vec::new();
        until("the group is loaded", || {
            let mut answer = client.call::<OffsetFetch>(9, &request).groups.remove(0);
            fetched = answer.topics.pop().map(|topic| topic.partitions).unwrap_or_default();
            answer.error_code == ErrorCode::NONE
        });
        assert_eq!(fetched.len(), PARTITIONS as usize);
        for partition in fetched {
            let expected = (COMMITS - 1) * 1000 + i64::from(partition.partition_index);
            assert_eq!(partition.committed_offset, expected);
        }
    }
}
