//! Decisions as record batches: the bytes of the metadata log, and how they are read back.
//!
//! A decision is one batch, so that the log has it whole or not at all. Keys are null, as Kafka's are.

use corelog_engine::Offset;
use corelog_engine::Timestamp;
use corelog_engine::batch::{self, BatchBuilder, BatchError, Codec};

use super::decision::{MetadataError, Refusal};
use super::image::{ClusterImage, ReplayError};
use super::record::MetadataRecord;
use super::wire::RecordError;

/// The largest batch of the metadata log, in bytes.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// Metadata that cannot be replayed: the log is damaged, or a newer program wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    /// A batch that is not one.
    #[error("{0}")]
    Batch(#[from] BatchError),
    /// A record that is not one of ours.
    #[error("metadata record at offset {offset}: {error}")]
    Record {
        /// The record's offset.
        offset: Offset,
        /// What is wrong with it.
        error: RecordError,
    },
    /// A record that contradicts the ones before it.
    #[error("{0}")]
    Replay(#[from] ReplayError),
}

/// The batch that holds `records`; its offsets and leader epoch are the log's to give. A change larger than
/// [`BATCH_BYTES_MAX`] is refused, since it could not be written whole.
pub fn encode(records: &[MetadataRecord], now: Timestamp) -> Result<Vec<u8>, MetadataError> {
    assert!(!records.is_empty(), "a decision without records is not written");
    let mut builder = BatchBuilder::new(Codec::None);
    for record in records {
        builder.push(now, None, Some(&record.encode()), &[]);
    }
    let batch = builder.build(Offset::ZERO);
    if batch.len() > BATCH_BYTES_MAX {
        let message = format!("The change takes {} bytes of metadata, one may take {BATCH_BYTES_MAX}.", batch.len());
        return Err(MetadataError::new(Refusal::PolicyViolation, message));
    }
    Ok(batch)
}

/// Replays one batch and tells `each` record of it. Control batches, which a quorum writes for itself, change nothing.
pub fn replay(image: &mut ClusterImage, batch: &[u8], mut each: impl FnMut(MetadataRecord)) -> Result<(), BatchFault> {
    let header = batch::BatchHeader::parse(batch)?;
    if !header.is_control() {
        let records = batch::records(batch, BATCH_BYTES_MAX)?;
        for record in records.iter() {
            let record = record?;
            let offset = record.offset;
            let decoded = MetadataRecord::decode(record.value.unwrap_or_default());
            let decoded = decoded.map_err(|error| BatchFault::Record { offset, error })?;
            image.replay(offset, &decoded)?;
            each(decoded);
        }
    }
    image.skip_to(header.next_offset());
    Ok(())
}

/// The image as batches of at most `batch_bytes` each (but at least a record): what a log that is begun anew starts with.
pub fn encode_image(image: &ClusterImage, now: Timestamp, batch_bytes: usize) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Codec::None);
    for record in image.to_records() {
        let value = record.encode();
        if builder.record_count() > 0 && builder.size_bytes() + value.len() > batch_bytes {
            batches.push(std::mem::replace(&mut builder, BatchBuilder::new(Codec::None)).build(Offset::ZERO));
        }
        builder.push(now, None, Some(&value), &[]);
    }
    if builder.record_count() > 0 {
        batches.push(builder.build(Offset::ZERO));
    }
    batches
}
