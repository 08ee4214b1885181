//! The shape of a record, by which others like it are recognised without being read.
//!
//! A batch often holds records of one size: then each has the same bytes as the one before where its lengths stand, an
//! offset delta that is one more, and a zero of header count at its end. Comparing that is less than half the work of
//! reading it. What a shape accepts, [`RawRecord::read`](crate::batch::records::RawRecord) accepts too.

use std::ops::Range;

use crate::batch::varint::{unsigned, unzigzag};
use crate::batch::walk::Walked;

/// The first bytes of a record, up to its key's length, have to fit a word.
const PREFIX_BYTES_MAX: usize = 8;
/// Set in each byte of a number but the last.
const CONTINUATION: u64 = 0x8080_8080_8080_8080;

/// What records of one size, one key length and one value length have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The first bytes that the next record must have.
    prefix: u64,
    /// Which bits of them count: not the attributes, and of the timestamp delta only its size.
    mask: u64,
    /// What takes the offset delta in the prefix one further.
    offset_step: u64,
    /// A carry of that runs through the bit that says that another byte follows; this sets it again.
    offset_continuation: u64,
    /// The first offset delta that needs more bytes.
    index_end: i32,
    timestamp_shift: usize,
    timestamp_mask: u64,
    value_at: usize,
    /// The bytes of the value's length.
    value_length: u16,
    value_length_mask: u16,
    size: usize,
}

impl Shape {
    /// The shape of the record at `index`, which is `record` and has been read and accepted; `None` where it is not one
    /// of the common ones, without headers, with short numbers.
    pub(crate) fn of(record: &[u8], index: i32) -> Option<Shape> {
        let prefix = u64::from_le_bytes(*record.first_chunk()?);
        let timestamp_at = unsigned(record)?.1 + 1;
        let offset_at = timestamp_at + unsigned(&record[timestamp_at..])?.1;
        let key_at = offset_at + unsigned(&record[offset_at..])?.1;
        let (key_length, key_length_bytes) = unsigned(&record[key_at..])?;
        let prefix_bytes = key_at + key_length_bytes;
        let (timestamp_bytes, offset_bytes) = (offset_at - timestamp_at, key_at - offset_at);
        let value_at = prefix_bytes + (key_length >> 1) as usize;
        let (value_length, value_length_bytes) = unsigned(&record[value_at..])?;
        let headers_at = value_at + value_length_bytes + (value_length >> 1) as usize;

        let short = timestamp_bytes <= 2 && offset_bytes <= 2 && value_length_bytes <= 2;
        let index_end = if offset_bytes == 1 { 1 << 6 } else { 1 << 13 };
        let bare = headers_at + 1 == record.len() && record[headers_at] == 0;
        if !short || !bare || prefix_bytes > PREFIX_BYTES_MAX || index + 1 >= index_end {
            return None;
        }
        let attributes = bytes_mask(timestamp_at - 1, 1);
        let timestamp_value = bytes_mask(timestamp_at, timestamp_bytes) & !CONTINUATION;
        let shape = Shape {
            prefix,
            mask: bytes_mask(0, prefix_bytes) & !attributes & !timestamp_value,
            offset_step: 2 << (8 * offset_at),
            offset_continuation: bytes_mask(offset_at, offset_bytes - 1) & CONTINUATION,
            index_end,
            timestamp_shift: 8 * timestamp_at,
            timestamp_mask: bytes_mask(0, timestamp_bytes),
            value_at,
            value_length: u16::from_le_bytes(*record[value_at..].first_chunk()?),
            value_length_mask: bytes_mask(0, value_length_bytes) as u16,
            size: record.len(),
        };
        Some(shape.next())
    }

    /// Goes over the records at the start of `payload` while they are of this shape, and says how many are.
    #[inline(never)]
    pub(crate) fn run(mut self, payload: &[u8], indexes: Range<i32>, walked: &mut Walked) -> i32 {
        // In registers, not through the reference.
        let mut seen = *walked;
        let mut index = indexes.start;
        let index_end = indexes.end.min(self.index_end);
        let mut records = payload.chunks_exact(self.size);
        while index < index_end {
            let Some(timestamp_delta) = records.next().and_then(|record| self.timestamp_delta(record)) else { break };
            seen.see(timestamp_delta, index);
            self = self.next();
            index += 1;
        }
        *walked = seen;
        index - indexes.start
    }

    /// The record's timestamp delta, where it is of this shape.
    #[inline(always)]
    fn timestamp_delta(&self, record: &[u8]) -> Option<i64> {
        let prefix = u64::from_le_bytes(*record.first_chunk()?);
        let value_length = u16::from_le_bytes(*record.get(self.value_at..self.value_at + 2)?.first_chunk()?);
        let differs = (prefix ^ self.prefix) & self.mask
            | u64::from((value_length ^ self.value_length) & self.value_length_mask)
            | u64::from(*record.last()?);
        if differs != 0 {
            return None;
        }
        let raw = prefix >> self.timestamp_shift & self.timestamp_mask;
        Some(unzigzag(raw & 0x7f | raw >> 1 & 0x3f80))
    }

    #[inline(always)]
    fn next(self) -> Shape {
        Shape { prefix: (self.prefix + self.offset_step) | self.offset_continuation, ..self }
    }
}

/// The bits of `bytes` bytes of a word from the byte at `at`.
fn bytes_mask(at: usize, bytes: usize) -> u64 {
    let bits = |bytes: usize| if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 };
    bits(at + bytes) & !bits(at)
}
