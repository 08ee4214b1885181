//! Record batches of Apache Kafka's format v2: view, validate, iterate, build, codecs.
//!
//! A batch is the unit of write, checksum, compression and transfer, and its bytes on the wire, in memory and in a
//! segment are the same. Bytes from outside become a [`ValidBatch`] by [`validate`], which is the only way in; what
//! is in the log already is walked with [`scan`] and read with [`records`]. The format is specified by the Javadoc of
//! `org.apache.kafka.common.record.DefaultRecordBatch` and `DefaultRecord`, the rules of acceptance by
//! `org.apache.kafka.storage.internals.log.LogValidator`.

mod builder;
pub mod codec;
mod error;
mod header;
mod recompress;
mod records;
mod rejected;
mod scan;
mod shape;
mod validate;
mod varint;
mod walk;

pub use builder::{BatchBuilder, emptied};
pub use codec::Codec;
pub use error::{BatchError, BatchErrorKind};
pub use header::{Attributes, BatchHeader, HEADER_BYTES, TimestampType};
pub use recompress::{Compression, recompress};
pub use records::{Record, RecordHeader, RecordHeaders, RecordIter, Records, records};
pub use rejected::{RecordError, RecordFault, RejectedRecords};
pub use scan::{Scan, scan};
pub use validate::{
    COMPRESSION_RATIO_MAX, Limits, MAX_BATCH_BYTES_DEFAULT, OUTPUT_BYTES_MAX, Origin, TIMESTAMP_AFTER_MAX_MS_DEFAULT,
    TIMESTAMP_BEFORE_MAX_MS_DEFAULT, ValidBatch, validate, verify_crc,
};
