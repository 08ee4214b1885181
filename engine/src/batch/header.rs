//! The 61 bytes at the head of a batch, as numbers.
//!
//! [`BatchHeader::parse`] checks only what is needed to find the end of the batch: magic and length. Everything else
//! in it may lie until [`validate`](crate::batch::validate) has seen it.

use crate::batch::codec::Codec;
use crate::batch::error::BatchError;
use crate::types::{Epoch, Offset, Timestamp};

/// The size of a batch's header, and so of a batch without records.
pub const HEADER_BYTES: usize = 61;
/// The bytes before and including the length field, which it does not count.
pub(crate) const LENGTH_OVERHEAD: usize = 12;
/// The least value of the length field.
pub(crate) const LENGTH_MIN: i32 = (HEADER_BYTES - LENGTH_OVERHEAD) as i32;
/// The only batch format that is written and read.
pub(crate) const MAGIC: i8 = 2;

/// Where each field begins.
pub(crate) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
}

/// Who sets the timestamps of a topic's records (KIP-32).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TimestampType {
    /// The producer, record by record.
    CreateTime,
    /// The broker: the whole batch has the time of its append, in `max_timestamp`.
    LogAppendTime,
}

/// The attribute bits of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Attributes(pub i16);

impl Attributes {
    /// The bits that hold the codec.
    pub const CODEC_MASK: i16 = 0x07;
    /// Set where the timestamp is the broker's.
    pub const LOG_APPEND_TIME: i16 = 0x08;
    /// Set where the batch is part of a transaction.
    pub const TRANSACTIONAL: i16 = 0x10;
    /// Set where the records are control records.
    pub const CONTROL: i16 = 0x20;
    /// Set where `base_timestamp` is the time from which tombstones may go (KIP-534).
    pub const DELETE_HORIZON: i16 = 0x40;

    /// The codec of the records.
    pub fn codec(self) -> Result<Codec, BatchError> {
        Codec::from_id(self.0 & Self::CODEC_MASK).ok_or(BatchError::UnknownCodec(self.0 & Self::CODEC_MASK))
    }

    /// Who set the timestamps.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the batch is part of a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the records are control records (transaction markers, leader changes).
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether `base_timestamp` is the delete horizon (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// The header of a batch. All numbers are as they stand in the bytes, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The offset of the first record (of the first there once was, after compaction).
    pub base_offset: Offset,
    /// The bytes after this field.
    pub length: i32,
    /// The epoch of the leader that appended the batch.
    pub leader_epoch: Epoch,
    /// The format, 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// The offset of the last record, counted from the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamps are counted from; the delete horizon where that flag is set.
    pub base_timestamp: Timestamp,
    /// The greatest timestamp; the time of the append under LogAppendTime.
    pub max_timestamp: Timestamp,
    /// The idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// The number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which need not hold the whole batch.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Short(bytes.len()));
        };
        let header = BatchHeader::read(head);
        if header.magic != MAGIC {
            return Err(BatchError::Magic(header.magic));
        }
        if header.length < LENGTH_MIN {
            return Err(BatchError::Length(header.length));
        }
        Ok(header)
    }

    fn read(head: &[u8; HEADER_BYTES]) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(i64::from_be_bytes(field(head, at::BASE_OFFSET))),
            length: i32::from_be_bytes(field(head, at::LENGTH)),
            leader_epoch: Epoch(i32::from_be_bytes(field(head, at::LEADER_EPOCH))),
            magic: i8::from_be_bytes(field(head, at::MAGIC)),
            crc: u32::from_be_bytes(field(head, at::CRC)),
            attributes: Attributes(i16::from_be_bytes(field(head, at::ATTRIBUTES))),
            last_offset_delta: i32::from_be_bytes(field(head, at::LAST_OFFSET_DELTA)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(head, at::BASE_TIMESTAMP))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(head, at::MAX_TIMESTAMP))),
            producer_id: i64::from_be_bytes(field(head, at::PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(head, at::PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(head, at::BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(field(head, at::RECORD_COUNT)),
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut head = [0; HEADER_BYTES];
        put(&mut head, at::BASE_OFFSET, self.base_offset.0.to_be_bytes());
        put(&mut head, at::LENGTH, self.length.to_be_bytes());
        put(&mut head, at::LEADER_EPOCH, self.leader_epoch.0.to_be_bytes());
        put(&mut head, at::MAGIC, self.magic.to_be_bytes());
        put(&mut head, at::CRC, self.crc.to_be_bytes());
        put(&mut head, at::ATTRIBUTES, self.attributes.0.to_be_bytes());
        put(&mut head, at::LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(&mut head, at::BASE_TIMESTAMP, self.base_timestamp.0.to_be_bytes());
        put(&mut head, at::MAX_TIMESTAMP, self.max_timestamp.0.to_be_bytes());
        put(&mut head, at::PRODUCER_ID, self.producer_id.to_be_bytes());
        put(&mut head, at::PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(&mut head, at::BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(&mut head, at::RECORD_COUNT, self.record_count.to_be_bytes());
        head
    }

    /// The whole batch, header included.
    pub fn size_bytes(&self) -> usize {
        // `length` is at least 49 by construction; a hand-made header with less would be a bug.
        usize::try_from(self.length).expect("the length of a parsed batch is positive") + LENGTH_OVERHEAD
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// The offset that the next batch may have first.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// The codec of the records.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        self.attributes.codec()
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// The timestamp of the first record, as a reader sees it.
    pub fn first_timestamp(&self) -> Timestamp {
        match self.timestamp_type() {
            TimestampType::CreateTime => self.base_timestamp,
            TimestampType::LogAppendTime => self.max_timestamp,
        }
    }

    /// Whether the batch is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// Whether the records are control records.
    pub fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// Whether the batch is of an idempotent or transactional producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }
}

/// `N` bytes of the header from `place`; the places are constants, so the check folds away.
#[inline(always)]
fn field<const N: usize>(head: &[u8; HEADER_BYTES], place: usize) -> [u8; N] {
    *head[place..].first_chunk().expect("the places and sizes of the fields are those of the format")
}

/// Overwrites the field at `place`.
#[inline(always)]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], place: usize, field: [u8; N]) {
    bytes[place..place + N].copy_from_slice(&field);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            base_offset: Offset(0x0102_0304_0506_0708),
            length: 49,
            leader_epoch: Epoch(7),
            magic: 2,
            crc: 0xdead_beef,
            attributes: Attributes(0x14),
            last_offset_delta: 3,
            base_timestamp: Timestamp(1_000),
            max_timestamp: Timestamp(2_000),
            producer_id: 9,
            producer_epoch: 1,
            base_sequence: 5,
            record_count: 4,
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        let head = header().encode();
        assert_eq!(BatchHeader::parse(&head), Ok(header()));
        assert_eq!(header().size_bytes(), HEADER_BYTES);
        assert_eq!(header().next_offset() - header().base_offset, 4);
        assert_eq!(header().codec(), Ok(Codec::Zstd));
        assert!(header().is_transactional() && !header().is_control());
    }

    #[test]
    fn a_header_that_cannot_lead_to_the_end_of_its_batch_is_refused() {
        let head = header().encode();
        assert_eq!(BatchHeader::parse(&head[..60]), Err(BatchError::Short(60)));
        for length in [i32::MIN, -1, 0, 48] {
            assert_eq!(
                BatchHeader::parse(&BatchHeader { length, ..header() }.encode()),
                Err(BatchError::Length(length))
            );
        }
        for magic in [-1, 0, 1, 3, 127] {
            assert_eq!(BatchHeader::parse(&BatchHeader { magic, ..header() }.encode()), Err(BatchError::Magic(magic)));
        }
    }

    #[test]
    fn offsets_at_the_end_of_the_number_range_do_not_overflow() {
        let header = BatchHeader { base_offset: Offset(i64::MAX), last_offset_delta: i32::MAX, ..header() };
        assert_eq!(header.next_offset(), Offset(i64::MAX));
    }
}
