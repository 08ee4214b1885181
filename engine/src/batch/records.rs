//! The records of a batch, one after the other.
//!
//! This builds a view per record and decompresses, so it is for compaction, look-ups by time, coordinators and tools;
//! appends and fetches never come here. An uncompressed batch is read in place.

use std::borrow::Cow;

use crate::batch::codec::{self, Codec};
use crate::batch::error::BatchError;
use crate::batch::header::{BatchHeader, HEADER_BYTES, TimestampType};
use crate::batch::varint::Reader;
use crate::types::{Offset, Timestamp};

/// A record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the log.
    pub offset: Offset,
    /// Its timestamp: the producer's, or the batch's under LogAppendTime.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone where the topic is compacted.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: RecordHeaders<'a>,
}

/// A header of a record: a name, UTF-8 by convention, and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Its name.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in order. They were checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RecordHeaders<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> RecordHeaders<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each in order.
    pub fn iter(&self) -> impl Iterator<Item = RecordHeader<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map(move |_| read_header(&mut reader).expect("the headers were read once before"))
    }
}

/// The records of one batch, decompressed where they were compressed.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    payload: Cow<'a, [u8]>,
}

/// The records of the batch at the start of `batch`. Where they are compressed, they are decompressed to at most
/// `output_bytes_max` bytes of memory. The checksum is not looked at.
pub fn records(batch: &[u8], output_bytes_max: usize) -> Result<Records<'_>, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let size = header.size_bytes();
    let payload = batch.get(HEADER_BYTES..size).ok_or(BatchError::Truncated { claimed: size, actual: batch.len() })?;
    let payload = match header.codec()? {
        Codec::None => Cow::Borrowed(payload),
        codec => {
            let mut output = Vec::new();
            codec::decompress(codec, payload, &mut output, output_bytes_max)?;
            Cow::Owned(output)
        }
    };
    Ok(Records { header, payload })
}

impl Records<'_> {
    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Each record in order; the first that is malformed is the last item.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: &self.header, reader: Reader::new(&self.payload), index: 0, ended: false }
    }
}

impl<'a> IntoIterator for &'a Records<'_> {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Records`].
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: &'a BatchHeader,
    reader: Reader<'a>,
    index: i32,
    ended: bool,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.index >= self.header.record_count {
            self.ended = true;
            let rest = self.reader.rest().len();
            return (rest > 0).then_some(Err(BatchError::RecordsTrailing(rest)));
        }
        let item = self.record();
        self.ended = item.is_err();
        self.index += 1;
        Some(item)
    }
}

impl<'a> RecordIter<'a> {
    fn record(&mut self) -> Result<Record<'a>, BatchError> {
        let malformed = |what| BatchError::Record { index: self.index, what };
        let raw = RawRecord::read(&mut self.reader).map_err(malformed)?;
        let offset = self.header.base_offset.0.checked_add(i64::from(raw.offset_delta));
        let timestamp = match self.header.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp.0,
            TimestampType::CreateTime => self.header.base_timestamp.0.wrapping_add(raw.timestamp_delta),
        };
        Ok(Record {
            offset: Offset(offset.ok_or(malformed("its offset does not fit 64 bits"))?),
            timestamp: Timestamp(timestamp),
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        })
    }
}

/// A record as it stands in the bytes, with every length checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: RecordHeaders<'a>,
}

impl<'a> RawRecord<'a> {
    /// Reads the next record, or says what is wrong with it. The attributes of a record are unused and not looked at.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<RawRecord<'a>, &'static str> {
        let length = reader.varint().ok_or("its length is not a number")?;
        let length = usize::try_from(length).map_err(|_| "its length is negative")?;
        let mut body = Reader::new(reader.take(length).ok_or("its length is past the end of the batch")?);
        body.byte().ok_or("it ends before its attributes")?;
        let timestamp_delta = body.varlong().ok_or("its timestamp delta is not a number")?;
        let offset_delta = body.varint().ok_or("its offset delta is not a number")?;
        let key = read_nullable(&mut body).ok_or("its key is past its end")?;
        let value = read_nullable(&mut body).ok_or("its value is past its end")?;
        let count = body.varint().ok_or("its header count is not a number")?;
        let count = usize::try_from(count).map_err(|_| "its header count is negative")?;
        // Each header has two bytes at least, so a count that lies ends soon, and nothing is reserved for it.
        let bytes = body.rest();
        for _ in 0..count {
            read_header(&mut body).ok_or("its headers are past its end")?;
        }
        if !body.rest().is_empty() {
            return Err("its length is not that of its parts");
        }
        Ok(RawRecord { timestamp_delta, offset_delta, key, value, headers: RecordHeaders { count, bytes } })
    }
}

/// Bytes with their length before them, -1 for none. Kafka takes any negative length for none; nobody writes those.
fn read_nullable<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    match reader.varint()? {
        -1 => Some(None),
        length => Some(Some(reader.take(usize::try_from(length).ok()?)?)),
    }
}

fn read_header<'a>(reader: &mut Reader<'a>) -> Option<RecordHeader<'a>> {
    let key = read_nullable(reader)??;
    Some(RecordHeader { key, value: read_nullable(reader)? })
}
