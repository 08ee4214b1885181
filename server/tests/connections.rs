//! Connections: what is not a request, who is not served, and how a broker ends.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use corelog_server::protocol::api_versions::{ApiVersions, ApiVersionsRequest};
use corelog_server::protocol::fetch::{Fetch, FetchRequest};
use corelog_server::protocol::metadata::{Metadata, MetadataRequest};
use corelog_server::protocol::produce::Produce;
use corelog_server::protocol::{APIS, ErrorCode, encode_request};
use support::{Client, TestBroker, batch, fetch_request, produce_request, settings, values};

fn introduced() -> ApiVersionsRequest {
    ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() }
}

fn is_served(client: &mut Client) -> bool {
    client.call::<ApiVersions>(3, &introduced()).error_code == ErrorCode::NONE
}

/// A frame: its length, and this.
fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// The frame of a request without its length.
fn body<A: corelog_server::protocol::Api>(version: i16, request: &A::Request) -> Vec<u8> {
    encode_request::<A>(7, "test", version, request).to_bytes()[4..].to_vec()
}

#[test]
fn what_is_advertised_is_what_is_served() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    for version in 0..=4 {
        let response = client.call::<ApiVersions>(version, &introduced());
        let told: Vec<_> =
            response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        let table: Vec<_> = APIS.iter().map(|api| (api.key, api.version_min_advertised, api.version_max)).collect();
        assert_eq!((response.error_code, told), (ErrorCode::NONE, table));
        let has_features = response.finalized_features.iter().any(|feature| feature.name == "metadata.version");
        assert_eq!(has_features, version >= 3);
    }
    // librdkafka takes a broker without Produce v0 for one without compression (KAFKA-18659).
    assert_eq!((APIS[0].name, APIS[0].version_min_advertised, APIS[0].version_min), ("Produce", 0, 3));
    let nameless = client.call::<ApiVersions>(3, &ApiVersionsRequest::default());
    assert_eq!(nameless.error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn an_api_versions_request_of_the_future_is_answered_so_that_the_client_can_ask_again() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    for version in [5, 99, i16::MAX, -1] {
        let mut request = vec![0, 18];
        request.extend(version.to_be_bytes());
        request.extend([0, 0, 0, 9, 0xff, 0xff, 1, 2, 3]);
        client.stream.write_all(&frame(&request)).expect("sent");
        let (correlation_id, response) = client.receive::<ApiVersions>(0);
        assert_eq!((correlation_id, response.error_code), (9, ErrorCode::UNSUPPORTED_VERSION));
        let own = &response.api_keys[0];
        assert_eq!((response.api_keys.len(), own.api_key, own.min_version, own.max_version), (1, 18, 0, 4));
    }
    assert!(is_served(&mut client));
}

#[test]
fn what_is_not_a_request_closes_its_connection_and_no_other() {
    let broker = TestBroker::start(&[]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);
    let good = body::<Metadata>(9, &MetadataRequest::default());
    let produce = body::<Produce>(9, &produce_request("t", 0, batch(&["x"]), 1));
    let mut attacks: Vec<(&str, Vec<u8>)> = vec![
        ("a length of -1", (-1i32).to_be_bytes().to_vec()),
        ("a length of 0", 0i32.to_be_bytes().to_vec()),
        ("a length of 7", [&7i32.to_be_bytes()[..], &[0; 7]].concat()),
        ("the largest length", i32::MAX.to_be_bytes().to_vec()),
        ("longer than socket.request.max.bytes", (104_857_601i32).to_be_bytes().to_vec()),
        ("an unknown API", frame(&[0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff])),
        ("a negative API", frame(&[0xff, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff])),
        ("a version that is too new", frame(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0, 0])),
        (
            "produce of a version that is only advertised",
            frame(&[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]),
        ),
        ("a client id that is longer than the frame", frame(&[0, 3, 0, 9, 0, 0, 0, 1, 0x7f, 0xff, 1, 1])),
        ("a client id that is not UTF-8", frame(&[0, 3, 0, 1, 0, 0, 0, 1, 0, 1, 0xff, 0, 0, 0, 0])),
        ("an array longer than the frame", frame(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff])),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    for len in [good.len() - 1, good.len() / 2, 9] {
        attacks.push(("a cut body", frame(&good[..len])));
        attacks.push(("a cut produce", frame(&produce[..len])));
    }
    for (what, bytes) in attacks {
        let mut client = broker.client();
        assert!(is_served(&mut client));
        client.stream.write_all(&bytes).expect("sent");
        assert!(client.is_closed(), "{what}");
        assert!(is_served(&mut bystander), "after {what}");
    }
    assert_eq!(values(&bystander.fetch("t", 0, 0)), []);
}

#[test]
fn requests_before_a_malformed_one_are_still_answered() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let mut bytes = Vec::new();
    for number in 0..10 {
        bytes.extend(frame(&body::<Produce>(9, &produce_request("t", 0, batch(&[&number.to_string()]), -1))));
    }
    bytes.extend(frame(&[0x7f, 0, 0, 0, 0, 0, 0, 1]));
    client.stream.write_all(&bytes).expect("sent");
    for number in 0..10 {
        let (_, response) = client.receive::<Produce>(9);
        assert_eq!(response.responses[0].partition_responses[0].base_offset, number);
    }
    assert!(client.is_closed());
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    for byte in frame(&body::<Metadata>(9, &MetadataRequest::default())) {
        client.stream.write_all(&[byte]).expect("sent");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.receive::<Metadata>(9).0, 7);
}

#[test]
fn a_client_that_reads_no_answers_is_read_from_no_more_and_harms_nobody() {
    let broker = TestBroker::start(&[]);
    let mut other = broker.client();
    other.create("t", 1, &[]);
    for _ in 0..20 {
        other.produce("t", 0, batch(&[&"x".repeat(900_000)]));
    }
    let mut greedy = broker.client();
    greedy.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let request = FetchRequest { max_bytes: 50 << 20, ..fetch_request("t", 0, 0) };
    let bytes = frame(&body::<Fetch>(12, &FetchRequest { topics: large(&request), ..request.clone() }));
    // Each asks for 18 MB. The broker takes a bounded number of requests, then the socket is full.
    let mut sent = 0usize;
    let start = Instant::now();
    let blocked = loop {
        // What the kernel takes may end inside a request.
        match greedy.stream.write(&bytes[sent % bytes.len()..]) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break error.kind(),
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{sent} bytes of requests were taken");
    };
    assert!(matches!(blocked, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{blocked:?}");
    for _ in 0..20 {
        assert!(is_served(&mut other));
    }
    assert_eq!(other.produce("t", 0, batch(&["served"])).error_code, ErrorCode::NONE);
    // Whoever begins to read gets everything.
    let mut answer = vec![0; 1 << 20];
    greedy.stream.read_exact(&mut answer).expect("the first answers");
}

fn large(request: &FetchRequest) -> Vec<corelog_server::protocol::fetch::FetchTopic> {
    let mut topics = request.topics.clone();
    topics[0].partitions[0].partition_max_bytes = 50 << 20;
    topics
}

#[test]
fn frames_that_never_end_cannot_use_up_the_memory() {
    let broker = TestBroker::start(&[("corelog.connection.bytes", "16777216")]);
    let mut other = broker.client();
    other.create("t", 2, &[]);
    // Each claims 90 MB and sends 8, again and again, until it is held back.
    let claim = (90_000_000i32).to_be_bytes();
    let mut attackers: Vec<Client> = (0..12).map(|_| broker.client()).collect();
    for attacker in &mut attackers {
        attacker.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        attacker.stream.write_all(&claim).expect("sent");
        let sent: usize = (0..80).map_while(|_| attacker.stream.write(&vec![0; 100_000]).ok()).sum();
        assert!(sent <= 8_000_000);
        assert_eq!(other.produce("t", 0, batch(&["served"])).error_code, ErrorCode::NONE);
        assert_eq!(other.produce("t", 1, batch(&["served"])).error_code, ErrorCode::NONE);
    }
    // Those that hold the memory give it back.
    support::until("half of them are closed", || {
        attackers.retain_mut(|attacker| {
            attacker.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
            !attacker.is_closed()
        });
        attackers.len() <= 6
    });
    assert!(is_served(&mut other));
}

#[test]
fn a_silent_connection_is_closed_and_one_that_waits_is_not() {
    // Long enough for a machine that stands still for a while not to make one silent that is not.
    let broker = TestBroker::start(&[("connections.max.idle.ms", "5000")]);
    let mut silent = broker.client();
    let mut half = broker.client();
    half.stream.write_all(&[0, 0, 0, 50, 0, 3]).expect("sent");
    let mut waiting = broker.client();
    waiting.create("t", 1, &[]);
    let request = FetchRequest { max_wait_ms: 8000, min_bytes: 1, ..fetch_request("t", 0, 0) };
    let start = Instant::now();
    waiting.send::<Fetch>(12, &request);
    assert!(silent.is_closed() && half.is_closed());
    waiting.receive::<Fetch>(12);
    assert!(start.elapsed() > Duration::from_millis(7900), "it waited for longer than one may be silent");
    assert!(waiting.is_closed());
}

#[test]
fn the_kernel_looks_whether_a_silent_client_is_still_there() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert!(is_served(&mut client));
    let ports = [broker.addr().port(), client.stream.local_addr().expect("open").port()];
    // `/proc/net/tcp`: number, address:port here, there, state, queues, timer. Of an idle one with SO_KEEPALIVE it is 02.
    let of = |address: &str| u16::from_str_radix(address.rsplit(':').next().expect("a port"), 16).ok();
    support::until("it has SO_KEEPALIVE", || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let connection = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut ours = connection.filter(|row| [of(row[1]), of(row[2])] == ports.map(Some));
        // The table is read in pieces, between which it changes: a row may be missed.
        ours.next().is_some_and(|row| row[5].starts_with("02:"))
    });
}

#[test]
fn a_request_that_comes_too_slowly_ends_its_connection() {
    // Long enough for those below not to be silent for as long when the machine stands still for a while.
    let broker = TestBroker::start(&[("connections.max.idle.ms", "5000")]);
    let mut client = broker.client();
    assert!(is_served(&mut client));
    let began = Instant::now();
    client.stream.write_all(&1000_u32.to_be_bytes()).expect("open");
    while client.stream.write_all(&[0]).is_ok() {
        assert!(began.elapsed() < support::PATIENCE, "it goes on byte by byte for ever");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(began.elapsed() > Duration::from_millis(4700), "it was given its time");
    assert!(is_served(&mut broker.client()));
}

#[test]
fn hundreds_of_connections_are_served_at_once() {
    let broker = TestBroker::start(&[]);
    broker.client().create("t", 4, &[]);
    let mut clients: Vec<Client> = (0..300).map(|_| broker.client()).collect();
    for round in 0..3 {
        for (client, number) in clients.iter_mut().zip(0..) {
            client.send::<Produce>(9, &produce_request("t", number % 4, batch(&["x"]), 1));
        }
        for client in &mut clients {
            let (_, response) = client.receive::<Produce>(9);
            assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::NONE, "round {round}");
        }
    }
    assert_eq!(values(&clients[0].fetch("t", 0, 0)).len(), 225);
}

#[test]
fn a_clean_end_answers_what_was_asked_and_keeps_what_was_acknowledged() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    for number in 0..100 {
        client.send::<Produce>(9, &produce_request("t", number % 2, batch(&["x"]), -1));
    }
    // The first is answered, so all of them have been read or are about to be.
    client.receive::<Produce>(9);
    broker.stop();
    let mut acknowledged = [0i64, 0];
    acknowledged[0] += 1;
    let mut number = 1;
    while let Ok(answer) = client.receive_frame() {
        let (_, response) = corelog_server::protocol::decode_response::<Produce>(answer, 9).expect("good");
        assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
        acknowledged[number % 2] += 1;
        number += 1;
    }
    broker.restart();
    let mut client = broker.client();
    for (partition, count) in (0..).zip(acknowledged) {
        let found = values(&client.fetch("t", partition, 0)).len() as i64;
        assert!(found >= count, "partition {partition}: {count} acknowledged, {found} there");
    }
}

#[test]
fn a_start_that_cannot_be_says_what_to_do() {
    let broker = TestBroker::start(&[]);
    let error = |dir: &std::path::Path, options: &[(&str, String)]| {
        let options: Vec<_> = options.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        match corelog_server::serve(settings(dir, &options)) {
            Ok(_) => panic!("it starts"),
            Err(error) => error.to_string(),
        }
    };
    let locked = error(broker.dir.path(), &[]);
    assert!(locked.contains("in use by another process") && locked.contains("choose another directory"), "{locked}");

    let other = tempfile::tempdir().expect("a directory");
    let taken = error(other.path(), &[("listeners", format!("PLAINTEXT://{}", broker.addr()))]);
    assert!(taken.contains(&broker.addr().to_string()) && taken.contains("choose another address"), "{taken}");
    // The directory is free again at once.
    let nowhere = error(other.path(), &[("listeners", "PLAINTEXT://no-such-host.invalid:9092".into())]);
    assert!(nowhere.contains("no-such-host.invalid"), "{nowhere}");

    let mut moved = TestBroker::start(&[]);
    moved.stop();
    let wrong_node = error(moved.dir.path(), &[("node.id", "7".into())]);
    assert!(wrong_node.contains("node.id") && wrong_node.contains("belongs to node 1"), "{wrong_node}");
}

#[test]
fn clients_that_break_off_leave_nothing_behind() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    for cut in [0, 3, 4, 10, 40] {
        let bytes = frame(&body::<Produce>(9, &produce_request("t", 0, batch(&["lost"]), 1)));
        let mut stream = TcpStream::connect(broker.addr()).expect("it listens");
        stream.write_all(&bytes[..cut]).expect("sent");
    }
    // One that has sent everything and goes without its answer.
    let mut hasty = broker.client();
    hasty.send::<Produce>(9, &produce_request("t", 0, batch(&["kept"]), 0));
    drop(hasty);
    support::until("what was sent is there", || !values(&client.fetch("t", 0, 0)).is_empty());
    assert_eq!(values(&client.fetch("t", 0, 0)), [(0, "kept".to_string())]);
}
