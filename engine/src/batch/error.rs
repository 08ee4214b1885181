//! Why a batch is refused, with the numbers, and which Kafka error that is for the one who sent it.

use crate::batch::codec::Codec;
use crate::batch::rejected::{RecordError, RejectedRecords};

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a batch header has.
    #[error("a record batch has at least 61 bytes, this one has {0}")]
    Short(usize),
    /// The batch claims more bytes than there are.
    #[error("the record batch claims {claimed} bytes, {actual} are there")]
    Truncated {
        /// What its length field says, in whole.
        claimed: usize,
        /// What was given.
        actual: usize,
    },
    /// There are bytes behind the batch where exactly one batch was to be.
    #[error("exactly one record batch was expected, but {0} bytes follow the first")]
    Trailing(usize),
    /// The length field cannot be one of a batch.
    #[error("the record batch has length {0}, the least possible is 49")]
    Length(i32),
    /// Not format v2.
    #[error("the record batch has magic {0}, only 2 is supported")]
    Magic(i8),
    /// The checksum does not match.
    #[error("the record batch has checksum {stored:#010x}, its bytes have {computed:#010x}")]
    Crc {
        /// What the header says.
        stored: u32,
        /// CRC-32C of the bytes it covers.
        computed: u32,
    },
    /// Larger than the topic allows.
    #[error("the record batch has {bytes} bytes, max.message.bytes is {limit}")]
    TooLarge {
        /// The whole batch.
        bytes: usize,
        /// `max.message.bytes`.
        limit: usize,
    },
    /// A client's batch starts at 0; the log assigns the offsets.
    #[error("the record batch has base offset {0}, a producer's has 0")]
    BaseOffset(i64),
    /// The number of records and the range of offsets do not agree.
    #[error("the record batch claims {count} records and last offset delta {last_offset_delta}")]
    Count {
        /// The header's record count.
        count: i32,
        /// The header's last offset delta.
        last_offset_delta: i32,
    },
    /// Control batches are the coordinators' alone.
    #[error("clients are not allowed to write control records")]
    Control,
    /// A batch of an idempotent producer needs a sequence.
    #[error("the record batch of producer {producer_id} has base sequence {base_sequence}")]
    Sequence {
        /// The producer.
        producer_id: i64,
        /// The sequence, which is negative.
        base_sequence: i32,
    },
    /// The compression codec is not known.
    #[error("compression codec {0} is not known")]
    UnknownCodec(i16),
    /// A record is not of the format.
    #[error("record {index} of the batch is malformed: {what}")]
    Record {
        /// Its place in the batch, from 0.
        index: i32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Offsets in a batch go 0, 1, 2 ….
    #[error("record {index} of the batch has offset delta {offset_delta}")]
    OffsetDelta {
        /// Its place in the batch, from 0.
        index: i32,
        /// What it claims.
        offset_delta: i32,
    },
    /// There are bytes behind the last record.
    #[error("{0} bytes follow the last record of the batch")]
    RecordsTrailing(usize),
    /// Every record can be read, but some are not what the topic accepts.
    #[error("{0}")]
    Rejected(RejectedRecords),
    /// The compressed bytes are not of their codec's format.
    #[error("the records do not decompress with {codec}: {what}")]
    Decompress {
        /// The codec.
        codec: Codec,
        /// The codec's word.
        what: String,
    },
    /// The records decompress to more than is accepted.
    #[error("the records decompress with {codec} to more than {limit} bytes")]
    DecompressedTooLarge {
        /// The codec.
        codec: Codec,
        /// The bound.
        limit: usize,
    },
}

/// The class of a [`BatchError`]: the Kafka error that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchErrorKind {
    /// CORRUPT_MESSAGE (2): damaged on the way; a producer sends it again.
    Corrupt,
    /// MESSAGE_TOO_LARGE (10): a producer splits the batch.
    TooLarge,
    /// INVALID_TIMESTAMP (32).
    InvalidTimestamp,
    /// INVALID_RECORD (87).
    InvalidRecord,
    /// A format before v2: INVALID_RECORD (87) in every version of Produce that is served.
    UnsupportedMagic,
    /// UNSUPPORTED_COMPRESSION_TYPE (76).
    UnsupportedCodec,
}

impl BatchError {
    /// The class of the error.
    pub fn kind(&self) -> BatchErrorKind {
        use BatchError::*;
        match self {
            Magic(0 | 1) => BatchErrorKind::UnsupportedMagic,
            Magic(_) | Length(_) | Crc { .. } => BatchErrorKind::Corrupt,
            TooLarge { .. } | DecompressedTooLarge { .. } => BatchErrorKind::TooLarge,
            Rejected(records) if records.any_time() => BatchErrorKind::InvalidTimestamp,
            UnknownCodec(_) => BatchErrorKind::UnsupportedCodec,
            Short(_)
            | Truncated { .. }
            | Trailing(_)
            | BaseOffset(_)
            | Count { .. }
            | Control
            | Sequence { .. }
            | Record { .. }
            | OffsetDelta { .. }
            | Rejected(_)
            | RecordsTrailing(_)
            | Decompress { .. } => BatchErrorKind::InvalidRecord,
        }
    }

    /// The records because of which the batch is refused, where it is because of some of them (`RecordErrors` of Produce v8,
    /// KIP-467). None where one cannot be read: then Kafka names none either.
    pub fn rejected_records(&self) -> &[RecordError] {
        match self {
            BatchError::Rejected(records) => records.named(),
            _ => &[],
        }
    }
}
