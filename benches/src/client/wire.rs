//! The protocol's numbers and strings, big-endian, and the names of its errors.

use anyhow::{Context, Result, bail};

/// An API by its key, at the version this client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// The key.
    pub key: i16,
    /// The version.
    pub version: i16,
    /// Its name, for errors.
    pub name: &'static str,
}

/// Produce 8, the last without tagged fields.
pub const PRODUCE: Api = Api { key: 0, version: 8, name: "Produce" };
/// Fetch 11, the last without tagged fields.
pub const FETCH: Api = Api { key: 1, version: 11, name: "Fetch" };
/// ListOffsets 2.
pub const LIST_OFFSETS: Api = Api { key: 2, version: 2, name: "ListOffsets" };
/// Metadata 4.
pub const METADATA: Api = Api { key: 3, version: 4, name: "Metadata" };
/// ApiVersions 0.
pub const API_VERSIONS: Api = Api { key: 18, version: 0, name: "ApiVersions" };
/// CreateTopics 2.
pub const CREATE_TOPICS: Api = Api { key: 19, version: 2, name: "CreateTopics" };
/// DeleteTopics 1.
pub const DELETE_TOPICS: Api = Api { key: 20, version: 1, name: "DeleteTopics" };

/// The name this client gives itself.
const CLIENT_ID: &str = "corelog-bench";

/// Where the correlation id lies in a frame: after the length, the key and the version.
pub const CORRELATION_AT: usize = 8;

/// A request in the making.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A frame with room for its length, and a request header of version 1.
    pub fn request(api: Api) -> Writer {
        let mut writer = Writer { bytes: vec![0; 4] };
        writer.i16(api.key).i16(api.version).i32(0).string(CLIENT_ID);
        writer
    }

    /// One byte.
    pub fn i8(&mut self, value: i8) -> &mut Writer {
        self.bytes.push(value as u8);
        self
    }

    /// Two bytes.
    pub fn i16(&mut self, value: i16) -> &mut Writer {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Four bytes.
    pub fn i32(&mut self, value: i32) -> &mut Writer {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) -> &mut Writer {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A string with its length in two bytes.
    pub fn string(&mut self, text: &str) -> &mut Writer {
        self.i16(i16::try_from(text.len()).expect("names are short"));
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// No string.
    pub fn null_string(&mut self) -> &mut Writer {
        self.i16(-1)
    }

    /// Bytes with their length in four bytes.
    pub fn blob(&mut self, bytes: &[u8]) -> &mut Writer {
        self.i32(i32::try_from(bytes.len()).expect("batches are small"));
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// How many bytes there are.
    pub fn position(&self) -> usize {
        self.bytes.len()
    }

    /// The frame, with its length in front.
    pub fn frame(mut self) -> Vec<u8> {
        let length = i32::try_from(self.bytes.len() - 4).expect("frames are below 2 GiB");
        self.bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }
}

/// An answer being read. Every read past its end is an error.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).context("the broker’s answer ends early")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT]> {
        Ok(self.take(COUNT)?.try_into().expect("as many bytes as taken"))
    }

    /// One byte.
    pub fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// Two bytes.
    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A string; `None` where there is none.
    pub fn string(&mut self) -> Result<Option<&'a str>> {
        let length = self.i16()?;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        Ok(Some(std::str::from_utf8(self.take(length)?).context("a string of the broker is not UTF-8")?))
    }

    /// Bytes; none where there are none.
    pub fn blob(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        self.take(length)
    }

    /// The number of entries of an array: 0 where it is null, an error where it cannot fit into what is left.
    pub fn count(&mut self) -> Result<usize> {
        let count = usize::try_from(self.i32()?).unwrap_or(0);
        if count > self.bytes.len() {
            bail!("the broker announces {count} entries in {} bytes", self.bytes.len());
        }
        Ok(count)
    }
}

/// The name of a Kafka error code, those that a load generator may meet.
pub fn error_name(code: i16) -> &'static str {
    match code {
        0 => "none",
        -1 => "UNKNOWN_SERVER_ERROR",
        1 => "OFFSET_OUT_OF_RANGE",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        10 => "MESSAGE_TOO_LARGE",
        17 => "INVALID_TOPIC_EXCEPTION",
        19 => "NOT_ENOUGH_REPLICAS",
        20 => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        31 => "CLUSTER_AUTHORIZATION_FAILED",
        32 => "INVALID_TIMESTAMP",
        35 => "UNSUPPORTED_VERSION",
        36 => "TOPIC_ALREADY_EXISTS",
        40 => "INVALID_CONFIG",
        41 => "NOT_CONTROLLER",
        44 => "POLICY_VIOLATION",
        56 => "KAFKA_STORAGE_ERROR",
        87 => "INVALID_RECORD",
        _ => "another error",
    }
}

/// An error of the broker in words, unless the code is 0.
pub fn check(code: i16, what: &str) -> Result<()> {
    if code == 0 { Ok(()) } else { bail!("{what}: the broker says {} ({code})", error_name(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_length_and_header_in_front() {
        let mut writer = Writer::request(METADATA);
        writer.i32(1).string("t").i8(1);
        let frame = writer.frame();
        let mut reader = Reader::new(&frame);
        assert_eq!(reader.i32().expect("length") as usize, frame.len() - 4);
        assert_eq!((reader.i16().expect("key"), reader.i16().expect("version")), (3, 4));
        assert_eq!(reader.i32().expect("correlation"), 0);
        assert_eq!(reader.string().expect("client"), Some("corelog-bench"));
        assert_eq!((reader.count().expect("one"), reader.string().expect("name")), (1, Some("t")));
        assert_eq!(reader.i8().expect("flag"), 1);
        assert!(reader.i8().is_err());
    }

    #[test]
    fn a_lying_count_is_refused() {
        assert!(Reader::new(&[0x7f, 0, 0, 0, 1]).count().is_err());
        assert_eq!(Reader::new(&[0xff; 4]).count().expect("null"), 0);
    }
}
