//! What is not a message: every API and version against truncated, mutated and lying bytes. An error, never a panic.

use bytes::Bytes;

use super::sample::Sampler;
use super::*;

/// Reads `bytes` as a request and as a response; the outcome does not matter, that there is one does.
fn read<A: Api>(bytes: &[u8], version: i16) {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut reader = Reader::new(bytes.clone());
    reader.set_version(version, A::FACTS.is_flexible(version));
    if let Err(error) = decode_body::<A>(&mut reader) {
        assert!(error.position() <= bytes.len() && !error.to_string().is_empty());
    }
    let _ = decode_response::<A>(bytes, version);
}

fn written<M: Wire>(facts: &ApiFacts, version: i16, seed: u64) -> Vec<u8> {
    let mut writer = Writer::frame();
    writer.set_version(version, facts.is_flexible(version));
    M::sample(&mut Sampler::new(seed, version)).write(&mut writer);
    let mut bytes = writer.finish().to_bytes().to_vec();
    bytes.drain(..4);
    bytes.truncate(4000); // Long records would only make it slow.
    bytes
}

fn attack<A: Api>() {
    const LIES: [[u8; 4]; 8] = [
        [0xff; 4],
        [0x7f, 0xff, 0xff, 0xff],
        [0x80, 0, 0, 0],
        [0xff, 0xff, 0xff, 0xfe],
        [0xff, 0xff, 0xff, 0x0f],
        [0, 0x0f, 0x42, 0x40],
        [0, 0, 0xff, 0xff],
        [0; 4],
    ];
    for version in A::FACTS.version_min..=A::FACTS.version_max {
        for seed in 0..4 {
            for bytes in
                [written::<A::Request>(&A::FACTS, version, seed), written::<A::Response>(&A::FACTS, version, seed)]
            {
                let step = 1 + bytes.len() / 200;
                for place in (0..bytes.len()).step_by(step) {
                    read::<A>(&bytes[..place], version);
                    for lie in LIES {
                        let mut lying = bytes.clone();
                        let end = (place + 4).min(lying.len());
                        lying[place..end].copy_from_slice(&lie[..end - place]);
                        read::<A>(&lying, version);
                    }
                }
                let mut sampler = Sampler::new(seed ^ 0xbad, version);
                for _ in 0..200 {
                    let mut mutated = bytes.clone();
                    for _ in 0..=sampler.below(4) {
                        if let Some(byte) = (!mutated.is_empty()).then(|| sampler.below(mutated.len() as u64)) {
                            mutated[byte as usize] = sampler.number() as u8;
                        }
                    }
                    read::<A>(&mutated, version);
                }
            }
        }
    }
}

macro_rules! attack_all {
    ($($module:ident $api:ident),* $(,)?) => {
        mod bytes_that_are_no_message_are_an_error_in {
            $(#[test]
            fn $module() {
                super::attack::<super::super::$module::$api>();
            })*
        }
    };
}
for_each_api!(attack_all);

fn metadata(version: i16, body: &[u8]) -> Result<metadata::MetadataRequest, Reason> {
    let mut reader = Reader::new(Bytes::copy_from_slice(body));
    reader.set_version(version, metadata::Metadata::FACTS.is_flexible(version));
    decode_body::<metadata::Metadata>(&mut reader).map_err(|error| error.reason())
}

#[test]
fn an_array_that_cannot_fit_is_refused_before_room_is_made_for_it() {
    assert_eq!(metadata(1, &[0x7f, 0xff, 0xff, 0xff]), Err(Reason::ArrayTooLong { count: 0x7fff_ffff, left: 0 }));
    assert_eq!(metadata(1, &[0xff, 0xff, 0xff, 0xfe]), Err(Reason::Length(-2)));
    assert_eq!(metadata(9, &[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(Reason::ArrayTooLong { count: 0xffff_fffe, left: 0 }));
    assert_eq!(metadata(9, &[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(Reason::Varint));
    // A million and one empty names: each fills two bytes, and is more than the frame may become.
    let mut body = vec![0; 4 + 2 * 1_000_001];
    body[..4].copy_from_slice(&1_000_001u32.to_be_bytes());
    assert_eq!(metadata(1, &body), Err(Reason::TooMuch));
}

#[test]
fn bytes_behind_a_request_are_passed_over_as_kafka_does() {
    assert!(metadata(1, &[0, 0, 0, 0, 7]).is_ok());
    // librdkafka's Metadata v13 for all topics: it replaces one byte of a length of four.
    let all = metadata(13, &[0, 0, 0, 0, 0, 0, 0]).expect("librdkafka asks so");
    assert!(all.topics.is_none());
}

#[test]
fn tagged_sections_must_ascend_and_keep_their_sizes() {
    let body = |tagged: &[u8]| metadata(9, &[&[1, 1, 0, 0], tagged].concat());
    assert!(body(&[0]).is_ok());
    assert!(body(&[2, 5, 1, 9, 7, 0]).is_ok(), "unknown tags are passed over");
    assert_eq!(body(&[2, 5, 0, 5, 0]), Err(Reason::TagOrder(5)));
    assert_eq!(body(&[0xff, 0xff, 0x7f]), Err(Reason::TagCount(0x1f_ffff)));
    assert_eq!(body(&[1, 5, 0x7f]), Err(Reason::Truncated { wanted: 0x7f, left: 0 }));

    // The cluster id of a fetch claims three bytes and fills two.
    let facts = fetch::Fetch::FACTS;
    let mut writer = Writer::frame();
    writer.set_version(12, facts.is_flexible(12));
    fetch::FetchRequest::default().write(&mut writer);
    let mut bytes = writer.finish().to_bytes()[4..].to_vec();
    assert_eq!(bytes.pop(), Some(0), "no tagged field");
    bytes.extend([1, 0, 3, 2, b'x', 0]);
    let mut reader = Reader::new(bytes.into());
    reader.set_version(12, true);
    let error = decode_body::<fetch::Fetch>(&mut reader).expect_err("a lie");
    assert_eq!(error.reason(), Reason::TagSize { tag: 0, used: 2, size: 3 });
}

#[test]
fn an_error_names_the_field_and_the_byte() {
    let error = {
        let mut reader = Reader::new(Bytes::from_static(&[0, 0, 0, 2, 0, 1, b'a', 0, 9, b'b']));
        reader.set_version(1, false);
        decode_body::<metadata::Metadata>(&mut reader).expect_err("truncated")
    };
    assert_eq!(error.to_string(), "topics.name at byte 9: 9 bytes are wanted and 1 are left");
}
