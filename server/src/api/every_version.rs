//! Every version of every API that is advertised, over a socket: it decodes and is answered, and one beyond is refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Given, Settings};
use crate::protocol::{self, Api, api_facts, decode_response, encode_request, for_each_api};

const CORRELATION_ID: i32 = 77;

struct Client(TcpStream);

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("the broker listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Client(stream)
    }

    /// The next frame; `None` where the connection is closed.
    fn receive(&mut self) -> Option<Bytes> {
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.0.read_exact(&mut frame).ok()?;
        Some(frame.into())
    }
}

/// A frame with another version in its header.
fn as_version(mut frame: Vec<u8>, version: i16) -> Vec<u8> {
    frame[6..8].copy_from_slice(&version.to_be_bytes());
    frame
}

fn check<A: Api>(addr: SocketAddr) {
    let facts = A::FACTS;
    let mut client = Client::connect(addr);
    let frame =
        |version| encode_request::<A>(CORRELATION_ID, "test", version, &A::Request::default()).to_bytes().to_vec();
    // A produce request that asks for nothing wants no answer; `tests/produce.rs` has all its versions.
    let is_answered = facts.key != protocol::produce::Produce::FACTS.key;
    for version in facts.version_min..=facts.version_max {
        client.0.write_all(&frame(version)).expect("open");
        if is_answered {
            let answer = client.receive().unwrap_or_else(|| panic!("{} v{version} closes its connection", facts.name));
            let (correlation_id, _) = decode_response::<A>(answer, version)
                .unwrap_or_else(|error| panic!("{} v{version} is answered with what it is not: {error}", facts.name));
            assert_eq!(correlation_id, CORRELATION_ID, "{} v{version}", facts.name);
        }
    }
    // ApiVersions is answered whatever its version, so that a client can ask again (`tests/connections.rs`).
    if facts.key == protocol::api_versions::ApiVersions::FACTS.key {
        return;
    }
    for (known, beyond) in [(facts.version_max, facts.version_max + 1), (facts.version_min, facts.version_min - 1)] {
        let mut client = Client::connect(addr);
        client.0.write_all(&as_version(frame(known), beyond)).expect("open");
        assert_eq!(client.receive(), None, "{} v{beyond} is not served", facts.name);
    }
}

macro_rules! check_all {
    ($($module:ident $api:ident),* $(,)?) => {
        fn check_all(addr: SocketAddr) {
            $(check::<protocol::$module::$api>(addr);)*
        }
    };
}
for_each_api!(check_all);

#[test]
fn every_version_that_is_advertised_is_answered_and_one_beyond_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let given = [
        Given::from_flag("test", "log.dirs", dir.path().join("data").to_string_lossy()),
        Given::from_flag("test", "listeners", "PLAINTEXT://127.0.0.1:0"),
        Given::from_flag("test", "corelog.cores", "2"),
        Given::from_flag("test", "corelog.pin", "false"),
        Given::from_flag("test", "corelog.arena.bytes", "16777216"),
        Given::from_flag("test", "corelog.journal.bytes", "8388608"),
    ];
    let broker = crate::serve(Settings::new(&given).expect("good settings")).expect("it starts");
    check_all(broker.addr());
    for key in (-1..=120).filter(|key| api_facts(*key).is_none()) {
        let mut client = Client::connect(broker.addr());
        let header = [&key.to_be_bytes()[..], &[0, 0, 0, 0, 0, 1, 0xff, 0xff]].concat();
        client.0.write_all(&[&(header.len() as u32).to_be_bytes()[..], &header].concat()).expect("open");
        assert_eq!(client.receive(), None, "there is no API {key}");
    }
    broker.shutdown().expect("a clean end");
}
