//! A frame as a connection receives it, without its length: its header and its body, of every API and version served.

use bytes::Bytes;
use corelog_server::for_each_api;
use corelog_server::protocol::{
    self, Api, ApiFacts, DECODED_BYTES_FREE, DECODED_BYTES_PER_BYTE, DecodeError, Reader, RequestHeader, Text,
    decode_body, encode_request,
};

use crate::allocated::allocated_by;
use crate::batch;

/// An error and the handle of the shared frame take a little of their own.
const EXTRA_BYTES: usize = 1024;

/// Reads `frame` as the broker would. Panics where that breaks a promise.
pub fn check(frame: &[u8]) {
    let frame = Bytes::copy_from_slice(frame);
    let mut reader = Reader::new(frame.clone());
    let header = match RequestHeader::read(&mut reader) {
        Ok(header) => header,
        Err(error) => return told(&error, &frame),
    };
    let Some(facts) = protocol::api_facts(header.key).filter(|facts| facts.serves(header.version)) else { return };
    match header.read_client_id(facts, &mut reader) {
        Ok(client_id) => dispatch(facts, &header, client_id.unwrap_or_default(), reader, &frame),
        Err(error) => told(&error, &frame),
    }
}

macro_rules! dispatch {
    ($($module:ident $api:ident),* $(,)?) => {
        fn dispatch(facts: &ApiFacts, header: &RequestHeader, client_id: Text, reader: Reader, frame: &Bytes) {
            match facts.key {
                $(key if key == <protocol::$module::$api as Api>::FACTS.key => {
                    check_body::<protocol::$module::$api>(header, &client_id, reader, frame);
                })*
                key => unreachable!("{key} is in the table"),
            }
        }
    };
}
for_each_api!(dispatch);

fn check_body<A: Api>(header: &RequestHeader, client_id: &Text, mut reader: Reader, frame: &Bytes) {
    let (decoded, allocated) = allocated_by(|| decode_body::<A>(&mut reader));
    let bound = DECODED_BYTES_FREE + frame.len() * DECODED_BYTES_PER_BYTE + EXTRA_BYTES;
    assert!(allocated <= bound, "{} v{}: {allocated} bytes, {bound} at most", A::FACTS.name, header.version);
    let request = match decoded {
        Ok(request) => request,
        Err(error) => return told(&error, frame),
    };

    // Written and read again it is the same message: compared by its bytes, since a NaN is not equal to itself.
    let written = encode_request::<A>(header.correlation_id, client_id, header.version, &request).to_bytes().slice(4..);
    let mut reader = Reader::new(written.clone());
    let again = RequestHeader::read(&mut reader).expect("a header of ours");
    assert_eq!(&again, header);
    let again_id = again.read_client_id(&A::FACTS, &mut reader).expect("a header of ours").expect("it was written");
    assert_eq!(&again_id, client_id);
    let again = decode_body::<A>(&mut reader).expect("a body of ours");
    reader.finish().expect("all of what we write");
    let rewritten = encode_request::<A>(header.correlation_id, client_id, header.version, &again).to_bytes().slice(4..);
    assert_eq!(rewritten, written, "{} v{}: {request:?}", A::FACTS.name, header.version);

    if A::FACTS.key == protocol::produce::Produce::FACTS.key {
        produced(header, frame);
    }
}

/// The batches of a Produce, on their way to the log.
fn produced(header: &RequestHeader, frame: &Bytes) {
    let facts = protocol::produce::Produce::FACTS;
    let mut reader = Reader::new(frame.clone());
    RequestHeader::read(&mut reader)
        .and_then(|_| header.read_client_id(&facts, &mut reader))
        .expect("it was read before");
    let request = decode_body::<protocol::produce::Produce>(&mut reader).expect("it was read before");
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.filter_map(|partition| partition.records.as_ref()).for_each(|records| batch::check(records));
}

/// An error names a place in the frame, and can be said.
fn told(error: &DecodeError, frame: &Bytes) {
    assert!(error.position() <= frame.len(), "{error} in {} bytes", frame.len());
    assert!(!error.to_string().is_empty());
}
