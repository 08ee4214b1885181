//! What clients do that send halves and read nothing cannot use up the memory. It is that of the whole process which is measured, so
//! these tests have one of their own, and run one after the other.

mod support;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corelog_server::protocol::ErrorCode;
use corelog_server::protocol::api_versions::{ApiVersions, ApiVersionsRequest};
use corelog_server::protocol::fetch::Fetch;
use corelog_server::protocol::produce::Produce;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{BY_NAME, Client, TestBroker, batch, fetch_request, produce_request, until};

/// Held by the test that measures.
fn alone() -> MutexGuard<'static, ()> {
    static MEMORY: Mutex<()> = Mutex::new(());
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_served(client: &mut Client) -> bool {
    let introduced = ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() };
    client.call::<ApiVersions>(3, &introduced).error_code == ErrorCode::NONE
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
    let _alone = alone();
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

/// As many clients at once as are wanted, or as there are descriptors for: each is two of this process.
fn crowd(wanted: usize) -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard one");
    wanted.min((hard as usize / 8) * 3)
}

#[test]
fn thousands_of_half_sent_requests_cannot_use_up_the_memory() {
    const SENT_BYTES: usize = 100_000;
    let _alone = alone();
    let count = crowd(3000);
    let broker = TestBroker::start(&[("corelog.connection.bytes", "8388608")]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    let before = resident();
    // Each claims less than a connection may hold that is alone, sends a part of it and then nothing more.
    let part = [&900_000_u32.to_be_bytes()[..], &[0; SENT_BYTES]].concat();
    let mut halves: Vec<Client> = (0..count).map(|_| broker.client()).collect();
    let mut most = 0;
    for (half, number) in halves.iter_mut().zip(0..) {
        half.stream.set_nonblocking(true).expect("a socket");
        // What the kernel does not take is not sent.
        let _ = half.stream.write(&part);
        if number % 100 == 0 {
            assert!(is_served(&mut client));
            most = most.max(resident().saturating_sub(before));
        }
    }
    assert_eq!(client.produce("t", 0, batch(&["served"])).error_code, ErrorCode::NONE);
    most = most.max(resident().saturating_sub(before));
    assert!(most < count * SENT_BYTES / 2, "{count} half requests made it hold {} MiB more", most >> 20);
    // The oldest make room; who is closed with them asks again, as every client does.
    let large = produce_request("t", 1, batch(&[&"x".repeat(900_000)]), -1);
    until("a large request is served", || {
        let mut client = broker.client();
        client.send::<Produce>(BY_NAME, &large);
        client.receive_frame().is_ok()
    });
    let mut open = count;
    until("most are closed", || {
        open = halves.iter_mut().map(|half| usize::from(!half.is_closed())).sum();
        open < count / 2
    });
    assert!(is_served(&mut client));
}
