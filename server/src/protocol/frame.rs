//! A request and a response as frames: length, header, body.
//!
//! A request header is key, version, correlation id, client id, and from flexible versions on a tagged section; a
//! response header is the correlation id and the tagged section, except that an ApiVersions response never has one,
//! since its reader cannot know yet what the broker speaks (KIP-511).

use bytes::Bytes;

use super::reader::{DecodeError, Reader};
use super::text::Text;
use super::wire::Wire;
use super::writer::{Frame, Writer};
use super::{Api, ApiFacts};

/// The start of every request; its meaning does not depend on the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API's key.
    pub key: i16,
    /// The version in which the request is, and in which the client wants the answer.
    pub version: i16,
    /// What the answer must repeat.
    pub correlation_id: i32,
}

impl RequestHeader {
    /// Reads the part of a header that every version of every API has.
    pub fn read(reader: &mut Reader) -> Result<RequestHeader, DecodeError> {
        Ok(RequestHeader {
            key: reader.field("key")?,
            version: reader.field("version")?,
            correlation_id: reader.field("correlation_id")?,
        })
    }

    /// Reads the rest, which takes knowledge of the API: the client's id. The body follows.
    pub fn read_client_id(&self, facts: &ApiFacts, reader: &mut Reader) -> Result<Option<Text>, DecodeError> {
        // Not compact in any version: the broker must find it before it knows the API (KIP-482).
        reader.set_version(self.version, false);
        let client_id = reader.field("client_id")?;
        reader.set_version(self.version, facts.is_flexible(self.version));
        reader.tagged(|_, _| Ok(false))?;
        Ok(client_id)
    }
}

/// Reads the body of a request of the API, behind its whole header. What follows it is passed over, as Kafka does:
/// librdkafka leaves three bytes behind a Metadata request for all topics (its issue 5049).
pub fn decode_body<A: Api>(reader: &mut Reader) -> Result<A::Request, DecodeError> {
    A::Request::read(reader)
}

/// The frame of a response.
pub fn encode_response<A: Api>(correlation_id: i32, version: i16, response: &A::Response) -> Frame {
    let flexible = A::FACTS.is_flexible(version);
    let mut writer = Writer::frame();
    correlation_id.write(&mut writer);
    if flexible && A::FACTS.key != super::api_versions::ApiVersions::FACTS.key {
        writer.tagged_count(0);
    }
    writer.set_version(version, flexible);
    response.write(&mut writer);
    writer.finish()
}

/// The frame of a request, as a client writes it.
pub fn encode_request<A: Api>(correlation_id: i32, client_id: &str, version: i16, request: &A::Request) -> Frame {
    let mut writer = Writer::frame();
    A::FACTS.key.write(&mut writer);
    version.write(&mut writer);
    correlation_id.write(&mut writer);
    Text::from(client_id).write(&mut writer);
    let flexible = A::FACTS.is_flexible(version);
    if flexible {
        writer.tagged_count(0);
    }
    writer.set_version(version, flexible);
    request.write(&mut writer);
    writer.finish()
}

/// Reads a response (without its length prefix), as a client does: correlation id and body.
pub fn decode_response<A: Api>(frame: Bytes, version: i16) -> Result<(i32, A::Response), DecodeError> {
    let flexible = A::FACTS.is_flexible(version);
    let mut reader = Reader::new(frame);
    let correlation_id = reader.field("correlation_id")?;
    reader.set_version(version, flexible && A::FACTS.key != super::api_versions::ApiVersions::FACTS.key);
    reader.tagged(|_, _| Ok(false))?;
    reader.set_version(version, flexible);
    let response = A::Response::read(&mut reader)?;
    reader.finish()?;
    Ok((correlation_id, response))
}
