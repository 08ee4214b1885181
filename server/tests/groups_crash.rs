//! Kill -9 while groups commit and heartbeat: no acknowledged offset is lost or moved back, and the members go on.

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corelog_server::protocol::consumer_group_heartbeat::{
    ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use corelog_server::protocol::find_coordinator::{FindCoordinator, FindCoordinatorRequest};
use corelog_server::protocol::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_server::protocol::offset_fetch::{OffsetFetch, OffsetFetchRequest, OffsetFetchRequestGroup};
use corelog_server::protocol::{Api, ErrorCode, encode_request};
use support::{Client, PATIENCE};

/// How many times it is killed, and for how long it runs before.
const KILLS: u64 = 4;
const RUN: Duration = Duration::from_millis(150);

struct Process(Child);

impl Process {
    fn spawn(dir: &Path) -> (Process, SocketAddr) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_corelog"))
            .args(["--data-dir", dir.join("data").to_str().expect("text"), "--listen", "127.0.0.1:0", "--cores", "2"])
            .args([
                "-o",
                "corelog.pin=false",
                "-o",
                "corelog.arena.bytes=16777216",
                "-o",
                "offsets.topic.num.partitions=4",
            ])
            .args(["-o", "corelog.cache.bytes=8388608", "-o", "corelog.journal.bytes=8388608"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let addr = line.trim_end().strip_prefix("corelog ready on ").expect("it is ready").parse().expect("an address");
        (Process(child), addr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the coordinator, which may still be loading.
fn find(client: &mut Client) {
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    assert_eq!(client.call::<FindCoordinator>(6, &request).coordinators[0].error_code, ErrorCode::NONE);
    let began = Instant::now();
    while fetched(client).is_err() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn fetched(client: &mut Client) -> Result<Option<i64>, ErrorCode> {
    let group = OffsetFetchRequestGroup { group_id: "g".into(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let group = client.call::<OffsetFetch>(9, &request).groups.remove(0);
    match group.error_code {
        ErrorCode::NONE => Ok(group.topics.first().map(|topic| topic.partitions[0].committed_offset)),
        code => Err(code),
    }
}

fn commit_request(epoch: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: epoch,
        member_id: "m".into(),
        topics: vec![topic],
        ..Default::default()
    }
}

fn beat(client: &mut Client, epoch: i32, owned: Option<Vec<TopicPartitions>>) -> ConsumerGroupHeartbeatResponse {
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        member_epoch: epoch,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: owned,
        ..Default::default()
    };
    let response = client.call::<ConsumerGroupHeartbeat>(1, &request);
    assert_eq!(response.error_code, ErrorCode::NONE, "{:?}", response.error_message);
    response
}

/// Asks and waits for the answer, unless the broker is gone.
fn try_call<A: Api>(client: &mut Client, version: i16, request: &A::Request) -> Option<A::Response> {
    use std::io::Write;
    client.stream.write_all(&encode_request::<A>(1, "test", version, request).to_bytes()).ok()?;
    let frame = client.receive_frame().ok()?;
    Some(corelog_server::protocol::decode_response::<A>(frame, version).expect("a good answer").1)
}

#[test]
fn no_committed_offset_is_lost_or_moved_back_and_members_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut process, mut addr) = Process::spawn(dir.path());
    let mut client = Client::connect(addr);
    client.create("t", 2, &[]);
    find(&mut client);
    let joined = beat(&mut client, 0, Some(Vec::new()));
    let owned = joined.assignment.expect("all of it").topic_partitions;
    assert_eq!((joined.member_epoch, owned[0].partitions.len()), (1, 2));

    let (mut acknowledged, mut sent) = (0, 0);
    for _ in 0..KILLS {
        let is_under_way = Arc::new(AtomicBool::new(false));
        let told = is_under_way.clone();
        let committer = std::thread::spawn(move || {
            let mut last = acknowledged;
            let mut next = sent;
            loop {
                next += 1;
                match try_call::<OffsetCommit>(&mut client, 9, &commit_request(1, next)) {
                    Some(response) => {
                        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);
                        last = next;
                        told.store(true, Ordering::Relaxed);
                    }
                    None => return (last, next),
                }
            }
        });
        support::until("an offset is acknowledged", || is_under_way.load(Ordering::Relaxed));
        std::thread::sleep(RUN);
        drop(process);
        (acknowledged, sent) = committer.join().expect("it ends");
        (process, addr) = Process::spawn(dir.path());
        client = Client::connect(addr);
        find(&mut client);
        let found = fetched(&mut client).expect("it is loaded").expect("an offset");
        assert!((acknowledged..=sent).contains(&found), "{found} was found, {acknowledged} acknowledged, {sent} sent");
        // The member is still one, in its epoch, with what it had.
        let still = beat(&mut client, 1, Some(owned.clone()));
        assert_eq!((still.member_epoch, still.assignment.expect("told").topic_partitions), (1, owned.clone()));
    }
    assert!(acknowledged > 0);
    drop(process);
}
