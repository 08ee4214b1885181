//! What bad requests get, held to what Apache Kafka 4.1.1 answered to the same ones (`server/tests/golden/answers.txt`).
//!
//! `CORELOG_PEER=HOST:PORT cargo test -p corelog-server --test answers` asks another broker instead, a fresh one whose
//! `__consumer_offsets` may be created, and prints what it answers with its sentences; `CORELOG_RECORD=1` writes the file anew from it.
//!
//! The whole answer is compared, except the sentences, ids that are drawn at random and what a peer says of itself.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod cluster;
mod groups;
mod records;

use std::fmt::Write as _;
use std::net::ToSocketAddrs;
use std::path::Path;

use corelog_server::protocol::{Api, decode_response, encode_request};
use regex::Regex;
use support::{Client, TestBroker};

/// Where we answer otherwise, and why.
pub const DEVIATIONS: &[(&str, &str)] = &[
    ("Produce v12 bytes behind it", "Kafka drops them without a word; a batch that is not what it claims is refused"),
    ("Produce v12 a codec that is none", "Kafka fails with UNKNOWN_SERVER_ERROR"),
    ("Produce v12 null", "Kafka fails and closes the connection"),
    ("Fetch v12 an isolation level that is none", "Kafka fails with UNKNOWN_SERVER_ERROR; here it is the lower level"),
    ("IncrementalAlterConfigs v1 an operation that is none", "Kafka fails with UNKNOWN_SERVER_ERROR"),
];

/// The answers so far, one line each.
pub struct Answers {
    client: Client,
    lines: Vec<String>,
    /// The same with sentences.
    told: String,
}

impl Answers {
    /// Asks, and notes the answer under `what`; a connection that ends is an answer too.
    pub fn ask<A: Api>(&mut self, what: &str, version: i16, request: A::Request) {
        use std::io::Write;
        let frame = encode_request::<A>(1, "answers", version, &request).to_bytes();
        self.client.stream.write_all(&frame).expect("the connection is open");
        let answer = match self.client.receive_frame() {
            Ok(frame) => {
                let (_, response) = decode_response::<A>(frame, version).expect("a good answer");
                format!("{response:?}")
            }
            Err(_) => {
                let peer = self.client.stream.peer_addr().expect("an address");
                self.client = Client::connect(peer);
                "the connection is closed".into()
            }
        };
        let _ = writeln!(self.told, "{} v{version} {what}: {answer}", A::FACTS.name);
        self.lines.push(format!("{} v{version} {what}: {}", A::FACTS.name, settled(&answer)));
    }

    /// The same, where the answer begins with the brokers, which are each peer's own.
    pub fn ask_of_topics<A: Api>(&mut self, what: &str, version: i16, request: A::Request) {
        self.ask::<A>(what, version, request);
        let line = self.lines.last_mut().expect("it was just asked");
        if let (Some(begin), Some(end)) = (line.find("brokers: "), line.find("topics: ")) {
            line.replace_range(begin..end, "");
        }
    }

    /// A client on the same connection, for what has to be there.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// An answer without what differs from run to run, and without what is always so.
fn settled(answer: &str) -> String {
    let rules = [
        (r#"error_message: (None|Some\("([^"\\]|\\.)*"\)),? ?"#, ""),
        (r#"batch_index_error_message: (None|Some\("([^"\\]|\\.)*"\))"#, ""),
        (r#""test-[0-9A-Za-z_-]{20,}""#, "\"test-some\""),
        // That of a batch which is there already is its own.
        (r"log_append_time_ms: \d+", "log_append_time_ms: some"),
        (r"throttle_time_ms: \d+,? ?", ""),
        (r"TopicId\([^)]*[^A)][^)]*\)", "TopicId(some)"),
        (r", \}", " }"),
    ];
    rules.iter().fold(answer.to_string(), |text, (rule, with)| {
        Regex::new(rule).expect("a good rule").replace_all(&text, *with).into_owned()
    })
}

#[test]
fn bad_requests_get_what_apache_kafka_answers() {
    let peer = std::env::var("CORELOG_PEER").ok();
    let options = [("group.initial.rebalance.delay.ms", "0"), ("offsets.topic.num.partitions", "4")];
    let broker = peer.is_none().then(|| TestBroker::start(&options));
    let addr = match &peer {
        Some(peer) => peer.to_socket_addrs().expect("HOST:PORT").next().expect("an address"),
        None => broker.as_ref().expect("it was started").addr(),
    };
    let mut answers = Answers { client: Client::connect(addr), lines: Vec::new(), told: String::new() };
    records::ask(&mut answers);
    admin::ask(&mut answers);
    cluster::ask(&mut answers);
    groups::ask(&mut answers);

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/answers.txt");
    if peer.is_some() {
        println!("{}", answers.told);
        if std::env::var_os("CORELOG_RECORD").is_some() {
            let head = "# What Apache Kafka 4.1.1 answers to bad requests; made by server/tests/answers\n";
            std::fs::write(&golden, format!("{head}{}\n", answers.lines.join("\n"))).expect("written");
        }
        return;
    }
    let expected = std::fs::read_to_string(&golden).expect("the golden file");
    let expected: Vec<&str> = expected.lines().filter(|line| !line.starts_with('#')).collect();
    let differing: Vec<String> = expected
        .iter()
        .zip(&answers.lines)
        .filter(|(kafka, ours)| {
            let question = ours.split(": ").next().unwrap_or_default();
            let deviates = DEVIATIONS.iter().any(|(known, _)| *known == question);
            (*kafka == ours) == deviates
        })
        .map(|(kafka, ours)| format!("Kafka {kafka}\nours  {ours}"))
        .collect();
    assert!(differing.is_empty(), "{} answers differ:\n{}", differing.len(), differing.join("\n"));
    assert_eq!(expected.len(), answers.lines.len(), "as many questions");
}
