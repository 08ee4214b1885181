//! What a commit group says about a partition: bytes of its log, or a change of its ends or epochs.
//!
//! An entry is a head of 56 bytes and what its kind adds. All numbers are little-endian; `docs/format.md` has the table.

use bytes::Bytes;
use uuid::Uuid;

use crate::journal::cursor::Cursor;
use crate::journal::producer::{PRODUCED_BYTES, decode_produced, encode_produced};
use crate::log::{IndexPoint, ProducedBatch};
use crate::types::{Epoch, Offset, Position, Timestamp, TopicId};

/// Bytes of the head that every entry has.
pub const ENTRY_HEAD_BYTES: usize = 56;

/// Bytes of one index point.
pub(crate) const POINT_BYTES: usize = 32;

/// Bytes of an extent entry before its index points.
const EXTENT_BYTES: usize = 16;

const DATA: u8 = 1;
const EXTENT: u8 = 2;
const START: u8 = 4;
const EPOCH_START: u8 = 5;

/// A partition by its topic's id, so that entries for a deleted topic never reach one of the same name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionKey {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition's index in its topic.
    pub partition: i32,
}

/// An entry to be written. Borrowed, since its bytes are copied straight into the group.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// Bytes of a segment that are durable by being here; they reach the segment later.
    Data {
        /// The partition.
        id: PartitionKey,
        /// The base offset of the segment.
        segment: Offset,
        /// Where in the segment the bytes belong.
        position: Position,
        /// The log's end with these bytes.
        next_offset: Offset,
        /// The bytes in parts, which are written one behind the other.
        bytes: &'a [&'a [u8]],
    },
    /// Bytes that went straight to the segment, and are durable there, before this entry was written.
    Extent {
        /// The partition.
        id: PartitionKey,
        /// The base offset of the segment.
        segment: Offset,
        /// Where in the segment the bytes begin.
        position: Position,
        /// How many bytes they are.
        length: u64,
        /// The log's end with these bytes.
        next_offset: Offset,
        /// CRC-32C over the checksum fields of the batches, so that recovery need not read what they hold.
        chain_crc: u32,
        /// The index entries that fell into the bytes.
        points: &'a [IndexPoint],
        /// The batches of producers among them, as far as their producers' states depend on them.
        produced: &'a [ProducedBatch],
    },
    /// The log's prefix was dropped.
    Start {
        /// The partition.
        id: PartitionKey,
        /// The first readable offset.
        start: Offset,
    },
    /// A leader epoch began.
    EpochStart {
        /// The partition.
        id: PartitionKey,
        /// The epoch.
        epoch: Epoch,
        /// Its first offset.
        start: Offset,
    },
}

/// An entry that was read back; data shares the memory that the group was read into.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are those of `Entry`")]
pub enum OwnedEntry {
    /// See [`Entry::Data`].
    Data { id: PartitionKey, segment: Offset, position: Position, next_offset: Offset, bytes: Bytes },
    /// See [`Entry::Extent`].
    Extent {
        id: PartitionKey,
        segment: Offset,
        position: Position,
        length: u64,
        next_offset: Offset,
        chain_crc: u32,
        points: Vec<IndexPoint>,
        produced: Vec<ProducedBatch>,
    },
    /// See [`Entry::Start`].
    Start { id: PartitionKey, start: Offset },
    /// See [`Entry::EpochStart`].
    EpochStart { id: PartitionKey, epoch: Epoch, start: Offset },
}

impl Entry<'_> {
    /// The bytes that the entry takes in a group.
    pub fn encoded_bytes(&self) -> usize {
        ENTRY_HEAD_BYTES
            + match self {
                Entry::Data { bytes, .. } => bytes.iter().map(|part| part.len()).sum(),
                Entry::Extent { points, produced, .. } => {
                    EXTENT_BYTES + points.len() * POINT_BYTES + produced.len() * PRODUCED_BYTES
                }
                _ => 0,
            }
    }

    /// Writes the entry over the whole of `out`, which has [`Entry::encoded_bytes`].
    pub(crate) fn encode(&self, out: &mut [u8]) {
        let length = out.len() as u32;
        let (head, mut rest) = out.split_first_chunk_mut::<ENTRY_HEAD_BYTES>().expect("room for the head");
        let mut put_head = |kind: u8, id: &PartitionKey, epoch: i32, segment: Offset, position: u64, next: Offset| {
            assert!(id.partition >= 0 && segment.0 >= 0 && next.0 >= 0, "{self:?}");
            head[0..4].copy_from_slice(&length.to_le_bytes());
            head[4..8].copy_from_slice(&[kind, 0, 0, 0]);
            head[8..24].copy_from_slice(&id.topic_id.0.as_u128().to_le_bytes());
            head[24..28].copy_from_slice(&id.partition.to_le_bytes());
            head[28..32].copy_from_slice(&epoch.to_le_bytes());
            head[32..40].copy_from_slice(&segment.0.to_le_bytes());
            head[40..48].copy_from_slice(&position.to_le_bytes());
            head[48..56].copy_from_slice(&next.0.to_le_bytes());
        };
        match self {
            Entry::Data { id, segment, position, next_offset, bytes } => {
                put_head(DATA, id, 0, *segment, position.0, *next_offset);
                for part in *bytes {
                    let (here, behind) = rest.split_at_mut(part.len());
                    here.copy_from_slice(part);
                    rest = behind;
                }
            }
            Entry::Extent { id, segment, position, length, next_offset, chain_crc, points, produced } => {
                put_head(EXTENT, id, 0, *segment, position.0, *next_offset);
                rest[0..8].copy_from_slice(&length.to_le_bytes());
                rest[8..12].copy_from_slice(&chain_crc.to_le_bytes());
                rest[12..16].copy_from_slice(&(points.len() as u32).to_le_bytes());
                let (for_points, for_produced) = rest[EXTENT_BYTES..].split_at_mut(points.len() * POINT_BYTES);
                for (point, out) in points.iter().zip(for_points.as_chunks_mut::<POINT_BYTES>().0) {
                    *out = encode_point(point);
                }
                for (batch, out) in produced.iter().zip(for_produced.as_chunks_mut::<PRODUCED_BYTES>().0) {
                    *out = encode_produced(batch);
                }
            }
            Entry::Start { id, start } => put_head(START, id, 0, Offset::ZERO, 0, *start),
            Entry::EpochStart { id, epoch, start } => put_head(EPOCH_START, id, epoch.0, Offset::ZERO, 0, *start),
        }
    }
}

impl OwnedEntry {
    /// The partition.
    pub fn id(&self) -> PartitionKey {
        match self {
            OwnedEntry::Data { id, .. }
            | OwnedEntry::Extent { id, .. }
            | OwnedEntry::Start { id, .. }
            | OwnedEntry::EpochStart { id, .. } => *id,
        }
    }

    /// Takes the entry that begins `bytes` off them; `None`, and nothing taken, where they do not begin with a whole and sound one.
    pub(crate) fn decode(bytes: &mut Bytes) -> Option<OwnedEntry> {
        let mut cursor = Cursor::new(bytes);
        let length = cursor.u32()? as usize;
        if !(ENTRY_HEAD_BYTES..=bytes.len()).contains(&length) {
            return None;
        }
        let kind = cursor.u8()?;
        if cursor.bytes(3)? != [0; 3] {
            return None;
        }
        let topic_id = TopicId(Uuid::from_u128(cursor.u128()?));
        let id = PartitionKey { topic_id, partition: cursor.i32().filter(|partition| *partition >= 0)? };
        let epoch = Epoch(cursor.i32()?);
        let (segment, position) = (Offset(cursor.natural()?), Position(cursor.u64()?));
        let next_offset = Offset(cursor.natural()?);
        let mut body = bytes.slice(ENTRY_HEAD_BYTES..length);
        let entry = match kind {
            DATA => OwnedEntry::Data { id, segment, position, next_offset, bytes: std::mem::take(&mut body) },
            EXTENT => decode_extent(&mut body, id, segment, position, next_offset)?,
            START => OwnedEntry::Start { id, start: next_offset },
            EPOCH_START if epoch.0 >= 0 => OwnedEntry::EpochStart { id, epoch, start: next_offset },
            _ => return None,
        };
        let aimless = matches!(entry, OwnedEntry::Start { .. } | OwnedEntry::EpochStart { .. });
        if !body.is_empty() || (kind != EPOCH_START && epoch.0 != 0) || (aimless && (segment.0, position.0) != (0, 0)) {
            return None;
        }
        let _ = bytes.split_to(length);
        Some(entry)
    }
}

fn decode_extent(
    body: &mut Bytes,
    id: PartitionKey,
    segment: Offset,
    position: Position,
    next_offset: Offset,
) -> Option<OwnedEntry> {
    let mut cursor = Cursor::new(body);
    let (length, chain_crc, count) = (cursor.u64()?, cursor.u32()?, cursor.u32()?);
    position.0.checked_add(length)?;
    let points = cursor.items(count, POINT_BYTES, decode_point)?;
    // What is left are the batches of producers; in version 1 there is nothing left.
    let produced = cursor.items((cursor.remaining() / PRODUCED_BYTES) as u32, PRODUCED_BYTES, decode_produced)?;
    let end = cursor.at();
    *body = body.slice(end..);
    Some(OwnedEntry::Extent { id, segment, position, length, next_offset, chain_crc, points, produced })
}

pub(crate) fn encode_point(point: &IndexPoint) -> [u8; POINT_BYTES] {
    let mut out = [0; POINT_BYTES];
    out[0..8].copy_from_slice(&point.offset.0.to_le_bytes());
    out[8..16].copy_from_slice(&point.position.0.to_le_bytes());
    out[16..24].copy_from_slice(&point.max_timestamp.0.to_le_bytes());
    out[24..32].copy_from_slice(&point.max_timestamp_offset.0.to_le_bytes());
    out
}

pub(crate) fn decode_point(cursor: &mut Cursor<'_>) -> Option<IndexPoint> {
    Some(IndexPoint {
        offset: Offset(cursor.natural()?),
        position: Position(cursor.u64()?),
        max_timestamp: Timestamp(cursor.i64()?),
        max_timestamp_offset: Offset(cursor.i64()?),
    })
}
