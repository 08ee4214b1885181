//! Requests as real clients sent them: read, and written as the same bytes.

use bytes::Bytes;

use super::*;

const REQUESTS: &str = include_str!("../../tests/golden/requests.txt");

/// What no client at hand sends: the one is deprecated, the other takes a subscription.
const NOT_SENT: [&str; 2] = ["AlterConfigs", "PushTelemetry"];

fn unhex(text: &str) -> Bytes {
    let digit = |at: usize| text[at..at + 2].to_string();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&digit(at), 16).expect("hexadecimal")).collect()
}

fn read_and_write<A: Api>(header: &RequestHeader, frame: &Bytes) {
    let mut reader = Reader::new(frame.clone());
    RequestHeader::read(&mut reader).expect("a header");
    let client_id = header.read_client_id(&A::FACTS, &mut reader).expect("a header").expect("a name");
    let request =
        decode_body::<A>(&mut reader).unwrap_or_else(|error| panic!("{} v{}: {error}", A::FACTS.name, header.version));
    let written = encode_request::<A>(header.correlation_id, &client_id, header.version, &request);
    assert_eq!(written.to_bytes()[4..], frame[..], "{} v{}: {request:?}", A::FACTS.name, header.version);
}

macro_rules! read_and_write_all {
    ($($module:ident $api:ident),* $(,)?) => {
        #[test]
        fn what_clients_send_is_read_and_written_as_the_same_bytes() {
            let mut seen = std::collections::BTreeSet::new();
            for line in REQUESTS.lines().filter(|line| !line.starts_with('#')) {
                let frame = unhex(line);
                let header = RequestHeader::read(&mut Reader::new(frame.clone())).expect("a header");
                seen.insert(header.key);
                match header.key {
                    $(key if key == <$module::$api as Api>::FACTS.key => read_and_write::<$module::$api>(&header, &frame),)*
                    key => panic!("no API has the key {key}"),
                }
            }
            let unseen = |api: &&ApiFacts| !seen.contains(&api.key) && !NOT_SENT.contains(&api.name);
            assert_eq!(APIS.iter().find(unseen), None, "an API without a frame");
        }
    };
}
for_each_api!(read_and_write_all);
