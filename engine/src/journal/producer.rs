//! Producers in our own files: whole in a checkpoint, and batch by batch where the batches themselves are not in the journal.
//!
//! All numbers are little-endian; `docs/format.md` has the tables.

use crate::journal::cursor::Cursor;
use crate::log::{BATCHES_KEPT, ProducedBatch, Producer, SequencedBatch};
use crate::types::{Offset, Timestamp};

/// Bytes of a producer before its batches.
pub(super) const PRODUCER_BYTES: usize = 32;
/// Bytes of one of its batches.
const BATCH_BYTES: usize = 24;
/// Bytes of a batch in an extent.
pub(super) const PRODUCED_BYTES: usize = 40;

const TRANSACTIONAL: u16 = 1;
const MARKER: u16 = 2;

/// The bytes that a producer takes in a checkpoint.
pub(super) fn producer_bytes(producer: &Producer) -> usize {
    PRODUCER_BYTES + producer.batches().len() * BATCH_BYTES
}

pub(super) fn encode_producer(producer: &Producer, out: &mut Vec<u8>) {
    out.extend_from_slice(&producer.id.to_le_bytes());
    out.extend_from_slice(&producer.epoch.to_le_bytes());
    out.extend_from_slice(&[producer.batches().len() as u8, 0]);
    out.extend_from_slice(&producer.coordinator_epoch.to_le_bytes());
    out.extend_from_slice(&producer.last_timestamp.0.to_le_bytes());
    out.extend_from_slice(&producer.transaction_start.map_or(-1, |start| start.0).to_le_bytes());
    for batch in producer.batches() {
        out.extend_from_slice(&batch.last_sequence.to_le_bytes());
        out.extend_from_slice(&batch.offset_delta.to_le_bytes());
        out.extend_from_slice(&batch.last_offset.0.to_le_bytes());
        out.extend_from_slice(&batch.timestamp.0.to_le_bytes());
    }
}

pub(super) fn decode_producer(cursor: &mut Cursor<'_>) -> Option<Producer> {
    let mut producer = Producer::new(cursor.i64()?);
    producer.epoch = cursor.u16()? as i16;
    let (batches, reserved) = (usize::from(cursor.u8()?), cursor.u8()?);
    producer.coordinator_epoch = cursor.i32()?;
    producer.last_timestamp = Timestamp(cursor.i64()?);
    let start = cursor.i64()?;
    if reserved != 0 || batches > BATCHES_KEPT || start < -1 {
        return None;
    }
    producer.transaction_start = (start >= 0).then_some(Offset(start));
    for _ in 0..batches {
        producer.push(SequencedBatch {
            last_sequence: cursor.i32()?,
            offset_delta: cursor.i32().filter(|delta| *delta >= 0)?,
            last_offset: Offset(cursor.natural()?),
            timestamp: Timestamp(cursor.i64()?),
        });
    }
    Some(producer)
}

pub(super) fn encode_produced(batch: &ProducedBatch) -> [u8; PRODUCED_BYTES] {
    let flags = if batch.is_transactional { TRANSACTIONAL } else { 0 } | batch.marker.map_or(0, |_| MARKER);
    let mut out = [0; PRODUCED_BYTES];
    out[0..8].copy_from_slice(&batch.id.to_le_bytes());
    out[8..16].copy_from_slice(&batch.base_offset.0.to_le_bytes());
    out[16..24].copy_from_slice(&batch.max_timestamp.0.to_le_bytes());
    out[24..28].copy_from_slice(&batch.last_offset_delta.to_le_bytes());
    out[28..32].copy_from_slice(&batch.base_sequence.to_le_bytes());
    out[32..36].copy_from_slice(&batch.marker.unwrap_or(0).to_le_bytes());
    out[36..38].copy_from_slice(&batch.epoch.to_le_bytes());
    out[38..40].copy_from_slice(&flags.to_le_bytes());
    out
}

pub(super) fn decode_produced(cursor: &mut Cursor<'_>) -> Option<ProducedBatch> {
    let (id, base_offset) = (cursor.natural()?, Offset(cursor.natural()?));
    let max_timestamp = Timestamp(cursor.i64()?);
    let last_offset_delta = cursor.i32().filter(|delta| *delta >= 0)?;
    let (base_sequence, coordinator_epoch) = (cursor.i32()?, cursor.i32()?);
    let (epoch, flags) = (cursor.u16()? as i16, cursor.u16()?);
    let is_marker = flags & MARKER != 0;
    if flags & !(TRANSACTIONAL | MARKER) != 0 || (!is_marker && coordinator_epoch != 0) {
        return None;
    }
    base_offset.0.checked_add(i64::from(last_offset_delta) + 1)?;
    Some(ProducedBatch {
        id,
        epoch,
        base_sequence,
        last_offset_delta,
        base_offset,
        max_timestamp,
        is_transactional: flags & TRANSACTIONAL != 0,
        marker: is_marker.then_some(coordinator_epoch),
    })
}
