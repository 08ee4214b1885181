//! The checkpoint of a shard: how far each of its partitions is in its segments, so that the journal before it is free.
//!
//! A small file that is replaced as a whole. Recovery believes it, and the journal from its mark on, and nothing else.

use std::path::Path;

use uuid::Uuid;

use crate::checksum::{crc32c, crc32c_append};
use crate::error::{Error, Result};
use crate::io::Io;
use crate::journal::cursor::Cursor;
use crate::journal::entry::{POINT_BYTES, PartitionKey, decode_point, encode_point};
use crate::journal::group::JournalMark;
use crate::journal::producer::{PRODUCER_BYTES, decode_producer, encode_producer, producer_bytes};
use crate::log::{IndexPoint, Producer};
use crate::types::{BLOCK_BYTES, Epoch, Offset, Position, Timestamp, TopicId};

/// The first bytes of a checkpoint.
pub const CHECKPOINT_MAGIC: [u8; 8] = *b"corelogC";

/// The version of the checkpoint format that is written, and the newest that is read.
pub const CHECKPOINT_VERSION: u16 = 2;

/// Bytes of a checkpoint before its partitions.
pub const CHECKPOINT_HEADER_BYTES: usize = 64;

/// The greatest length of a topic's name, as in Kafka (`Topic.MAX_NAME_LENGTH`).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The greatest length of a damage's description; what is longer is cut.
const DAMAGE_BYTES_MAX: usize = 1000;

/// Bytes of a partition before its name, partial block, epochs, points and producers, in version 1: what bounds the count of
/// partitions.
const PARTITION_BYTES: usize = 2 + 16 + 4 + 10 * 8 + 2 + 3 * 4 + 2;

/// Bytes of one epoch and its start.
const EPOCH_BYTES: usize = 12;

/// How far the partitions of one shard are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The shard.
    pub shard: u32,
    /// The generation of the store, which rises each time it is opened.
    pub generation: u64,
    /// Where in the journal recovery begins.
    pub mark: JournalMark,
    /// The shard's partitions.
    pub partitions: Vec<PartitionState>,
}

/// How far one partition is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionState {
    /// The topic's name.
    pub topic: String,
    /// The partition by its topic's id.
    pub id: PartitionKey,
    /// The generation of the store in which this was recorded; of two records of a partition the later one counts.
    pub generation: u64,
    /// The state may be newer than the checkpoint's mark: entries of groups with a smaller sequence than this are in it
    /// already, and recovery skips them for this partition. The mark's own sequence where it is as old as the mark.
    pub applied_before: u64,
    /// The first readable offset.
    pub start: Offset,
    /// The base offset of the active segment.
    pub segment: Offset,
    /// The durable bytes of the active segment.
    pub position: Position,
    /// The first offset behind them.
    pub next_offset: Offset,
    /// When the active segment was made; none where it has not been.
    pub segment_created: Timestamp,
    /// The timestamp of the first batch of the active segment, from which `segment.ms` counts; none while it is empty.
    pub first_timestamp: Timestamp,
    /// The greatest timestamp in the active segment.
    pub max_timestamp: Timestamp,
    /// The last offset of the batch that brought it; -1 where there is none.
    pub max_timestamp_offset: Offset,
    /// The bytes of the last, not whole, block of the active segment; empty where the segment's file has them.
    pub partial: Vec<u8>,
    /// The leader epochs and their first offsets.
    pub epochs: Vec<(Epoch, Offset)>,
    /// The index entries of the active segment that are in no file yet.
    pub index_points: Vec<IndexPoint>,
    /// How many index entries of the active segment, before those, are in its `.points` file.
    pub index_spilled: u32,
    /// Who wrote to the log before `next_offset`.
    pub producers: Vec<Producer>,
    /// Why the partition serves no more, so that a later start does not take what is left of it for all there was.
    pub damage: Option<String>,
}

/// The shard number of the checkpoint that recovery itself writes, of all partitions; above that of any real shard. Checkpoints and
/// journals of an older generation are of no use beside it.
pub const RECOVERED_SHARD: u32 = 999_999;

/// The name of a shard's checkpoint in the data directory.
pub fn checkpoint_file_name(shard: u32) -> String {
    format!("corelog-checkpoint-{shard}")
}

/// The shard whose checkpoint has this name; `None` where it is not the name of a checkpoint.
pub fn shard_of_checkpoint(name: &str) -> Option<u32> {
    let shard = name.strip_prefix("corelog-checkpoint-")?.parse().ok()?;
    (checkpoint_file_name(shard) == name).then_some(shard)
}

impl Checkpoint {
    /// Replaces the shard's checkpoint in `dir`, whole and durably.
    pub async fn store(&self, io: &Io, dir: &Path) -> Result<()> {
        io.replace_file(&dir.join(checkpoint_file_name(self.shard)), self.encode()).await
    }

    /// Reads the shard's checkpoint in `dir`, if there is one.
    pub async fn load(io: &Io, dir: &Path, shard: u32) -> Result<Option<Checkpoint>> {
        let path = dir.join(checkpoint_file_name(shard));
        if io.file_len(&path).await?.is_none() {
            return Ok(None);
        }
        let checkpoint = Checkpoint::decode(&path, &io.read_file(&path).await?)?;
        if checkpoint.shard != shard {
            let what = format!("is the checkpoint of shard {}, not of the shard of its name", checkpoint.shard);
            return Err(Error::corrupt(&path, Some(Position(24)), what));
        }
        Ok(Some(checkpoint))
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            CHECKPOINT_HEADER_BYTES + self.partitions.iter().map(PartitionState::encoded_bytes).sum::<usize>(),
        );
        out.extend_from_slice(&CHECKPOINT_MAGIC);
        out.extend_from_slice(&CHECKPOINT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 14]); // reserved, checksum and length: the latter two are filled in below
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&(self.partitions.len() as u32).to_le_bytes());
        for number in [self.generation, self.mark.generation, self.mark.sequence, self.mark.position.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.partitions.iter().for_each(|partition| partition.encode(&mut out));
        let length = out.len() as u64;
        out[16..24].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a checkpoint. It is replaced as a whole, so anything but a whole and sound one is [`Error::Corrupt`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Checkpoint> {
        let damaged = |place: usize, what: &str| Error::corrupt(path, Some(Position(place as u64)), what);
        if bytes.len() < CHECKPOINT_HEADER_BYTES {
            return Err(damaged(bytes.len(), "shorter than a checkpoint's header"));
        }
        if bytes[..8] != CHECKPOINT_MAGIC {
            return Err(damaged(0, "not a checkpoint: its first bytes are wrong"));
        }
        let mut cursor = Cursor::new(bytes);
        cursor.bytes(8);
        let header = |cursor: &mut Cursor<'_>| {
            let (version, reserved) = (cursor.u16()?, cursor.u16()?);
            Some((version, reserved, cursor.u32()?, cursor.u64()?))
        };
        let (version, reserved, crc, length) = header(&mut cursor).expect("64 bytes are there");
        if crc != checksum(bytes) {
            return Err(damaged(0, "its checksum does not match"));
        }
        if version > CHECKPOINT_VERSION {
            return Err(Error::NewerFormat { path: path.to_path_buf(), found: version, supported: CHECKPOINT_VERSION });
        }
        if version == 0 || reserved != 0 || length != bytes.len() as u64 {
            return Err(damaged(8, "its version or length cannot be"));
        }
        let checkpoint = Self::decode_body(&mut cursor, version);
        match checkpoint {
            Some(checkpoint) if cursor.remaining() == 0 => Ok(checkpoint),
            Some(_) => Err(damaged(cursor.at(), "bytes behind its last partition")),
            None => Err(damaged(cursor.at(), "a number in it cannot be")),
        }
    }

    fn decode_body(cursor: &mut Cursor<'_>, version: u16) -> Option<Checkpoint> {
        let (shard, count, generation) = (cursor.u32()?, cursor.u32()?, cursor.u64()?);
        let mark =
            JournalMark { generation: cursor.u64()?, sequence: cursor.u64()?, position: Position(cursor.u64()?) };
        if mark.sequence == 0 || mark.position.0 == 0 || !mark.position.0.is_multiple_of(BLOCK_BYTES) {
            return None;
        }
        let partitions = cursor.items(count, PARTITION_BYTES, |cursor| PartitionState::decode(cursor, version))?;
        Some(Checkpoint { shard, generation, mark, partitions })
    }
}

/// The checksum over all of the file but the checksum itself. Its place and rule hold for every version.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c_append(crc32c(&bytes[..12]), &bytes[16..])
}

impl PartitionState {
    fn encoded_bytes(&self) -> usize {
        PARTITION_BYTES
            + 4
            + self.producers.iter().map(producer_bytes).sum::<usize>()
            + self.topic.len()
            + self.partial.len()
            + self.epochs.len() * EPOCH_BYTES
            + self.index_points.len() * POINT_BYTES
            + self.damage_text().len()
    }

    /// The damage as it is written; nothing where there is none.
    fn damage_text(&self) -> &str {
        let text = self.damage.as_deref().unwrap_or_default();
        &text[..text.floor_char_boundary(DAMAGE_BYTES_MAX)]
    }

    fn encode(&self, out: &mut Vec<u8>) {
        assert!(!self.topic.is_empty() && self.topic.len() <= TOPIC_NAME_BYTES_MAX, "topic name {:?}", self.topic);
        assert!(self.partial_is_sound(), "{} bytes of a partial block at {}", self.partial.len(), self.position);
        out.extend_from_slice(&(self.topic.len() as u16).to_le_bytes());
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&self.id.topic_id.0.as_u128().to_le_bytes());
        out.extend_from_slice(&self.id.partition.to_le_bytes());
        for number in [self.generation, self.applied_before, self.position.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for offset in [self.start, self.segment, self.next_offset, self.max_timestamp_offset] {
            out.extend_from_slice(&offset.0.to_le_bytes());
        }
        for timestamp in [self.segment_created, self.first_timestamp, self.max_timestamp] {
            out.extend_from_slice(&timestamp.0.to_le_bytes());
        }
        out.extend_from_slice(&(self.partial.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.epochs.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.index_points.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.index_spilled.to_le_bytes());
        out.extend_from_slice(&(self.damage_text().len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.producers.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.partial);
        for (epoch, start) in &self.epochs {
            out.extend_from_slice(&epoch.0.to_le_bytes());
            out.extend_from_slice(&start.0.to_le_bytes());
        }
        self.index_points.iter().for_each(|point| out.extend_from_slice(&encode_point(point)));
        out.extend_from_slice(self.damage_text().as_bytes());
        self.producers.iter().for_each(|producer| encode_producer(producer, out));
    }

    fn decode(cursor: &mut Cursor<'_>, version: u16) -> Option<PartitionState> {
        let name_bytes = usize::from(cursor.u16()?);
        if !(1..=TOPIC_NAME_BYTES_MAX).contains(&name_bytes) {
            return None;
        }
        let topic = std::str::from_utf8(cursor.bytes(name_bytes)?).ok()?.to_owned();
        let topic_id = TopicId(Uuid::from_u128(cursor.u128()?));
        let id = PartitionKey { topic_id, partition: cursor.i32().filter(|partition| *partition >= 0)? };
        let (generation, applied_before, position) = (cursor.u64()?, cursor.u64()?, Position(cursor.u64()?));
        let (start, segment) = (Offset(cursor.natural()?), Offset(cursor.natural()?));
        let (next_offset, max_timestamp_offset) = (Offset(cursor.natural()?), Offset(cursor.i64()?));
        let (segment_created, first_timestamp) = (Timestamp(cursor.i64()?), Timestamp(cursor.i64()?));
        let max_timestamp = Timestamp(cursor.i64()?);
        let (partial_bytes, epoch_count) = (cursor.u16()?, cursor.u32()?);
        let (point_count, index_spilled, damage_bytes) = (cursor.u32()?, cursor.u32()?, cursor.u16()?);
        let producer_count = if version == 1 { 0 } else { cursor.u32()? };
        let partial = cursor.bytes(usize::from(partial_bytes))?.to_vec();
        let epochs =
            cursor.items(epoch_count, EPOCH_BYTES, |cursor| Some((Epoch(cursor.i32()?), Offset(cursor.natural()?))))?;
        let index_points = cursor.items(point_count, POINT_BYTES, decode_point)?;
        let damage = std::str::from_utf8(cursor.bytes(usize::from(damage_bytes))?).ok()?;
        let producers = cursor.items(producer_count, PRODUCER_BYTES, decode_producer)?;
        let state = PartitionState {
            topic,
            id,
            generation,
            applied_before,
            start,
            segment,
            position,
            next_offset,
            segment_created,
            first_timestamp,
            max_timestamp,
            max_timestamp_offset,
            partial,
            epochs,
            index_points,
            index_spilled,
            producers,
            damage: (!damage.is_empty()).then(|| damage.to_owned()),
        };
        (state.partial_is_sound() && state.segment <= state.next_offset).then_some(state)
    }

    fn partial_is_sound(&self) -> bool {
        self.partial.is_empty() || self.partial.len() as u64 == self.position.0 % BLOCK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::SequencedBatch;
    use proptest::prelude::*;

    fn producer(id: i64) -> Producer {
        let mut producer = Producer::new(id);
        (producer.epoch, producer.coordinator_epoch, producer.last_timestamp) = (3, 8, Timestamp(2000));
        producer.transaction_start = (id == 1).then_some(Offset(120));
        for number in 0..=id {
            let (last_offset, timestamp) = (Offset(100 + number), Timestamp(1000 + number));
            producer.push(SequencedBatch { last_sequence: number as i32, offset_delta: 0, last_offset, timestamp });
        }
        producer
    }

    fn sample() -> Checkpoint {
        let state = |partition: i32, position: u64, partial: usize| PartitionState {
            topic: format!("topic-{partition}"),
            id: PartitionKey { topic_id: TopicId(Uuid::from_u128(99)), partition },
            generation: 4,
            applied_before: 80,
            start: Offset(10),
            segment: Offset(100),
            position: Position(position),
            next_offset: Offset(150),
            segment_created: Timestamp(1000),
            first_timestamp: Timestamp(1001),
            max_timestamp: Timestamp(2000),
            max_timestamp_offset: Offset(140),
            partial: vec![7; partial],
            epochs: vec![(Epoch(0), Offset(0)), (Epoch(3), Offset(120))],
            index_points: vec![IndexPoint {
                offset: Offset(140),
                position: Position(4500),
                max_timestamp: Timestamp(2000),
                max_timestamp_offset: Offset(140),
            }],
            index_spilled: 12,
            producers: (0..i64::from(partition)).map(producer).collect(),
            damage: (partition == 2).then(|| "a hole".to_owned()),
        };
        Checkpoint {
            shard: 1,
            generation: 5,
            mark: JournalMark { generation: 5, sequence: 77, position: Position(8192) },
            partitions: vec![state(0, 5000, 5000 - 4096), state(1, 4096, 0), state(2, 5000, 0)],
        }
    }

    fn decode(bytes: &[u8]) -> Result<Checkpoint> {
        Checkpoint::decode(Path::new("corelog-checkpoint-1"), bytes)
    }

    #[test]
    fn a_checkpoint_reads_back() {
        let checkpoint = sample();
        assert_eq!(decode(&checkpoint.encode()).unwrap(), checkpoint);
        let empty = Checkpoint { partitions: Vec::new(), ..checkpoint };
        assert_eq!(empty.encode().len(), CHECKPOINT_HEADER_BYTES);
        assert_eq!(decode(&empty.encode()).unwrap(), empty);
    }

    #[test]
    fn a_flipped_bit_or_a_cut_anywhere_is_damage() {
        let bytes = sample().encode();
        for place in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[place] ^= 1 << (place % 8);
            assert!(matches!(decode(&bad), Err(Error::Corrupt { .. })), "byte {place}");
            assert!(matches!(decode(&bytes[..place]), Err(Error::Corrupt { .. })), "{place} bytes");
        }
    }

    #[test]
    fn a_checkpoint_of_version_1_has_no_producers() {
        let checkpoint = sample();
        let partitions = vec![PartitionState { producers: Vec::new(), ..checkpoint.partitions[1].clone() }];
        let checkpoint = Checkpoint { partitions, ..checkpoint };
        let mut bytes = checkpoint.encode();
        let count_at = CHECKPOINT_HEADER_BYTES + PARTITION_BYTES + checkpoint.partitions[0].topic.len();
        assert_eq!(bytes.drain(count_at..count_at + 4).collect::<Vec<_>>(), [0; 4]);
        bytes[8] = 1;
        let length = bytes.len() as u64;
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode(&bytes).unwrap(), checkpoint);
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = sample().encode();
        bytes[8] = 9;
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(decode(&bytes), Err(Error::NewerFormat { found: 9, supported: 2, .. })));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(cut in 0usize..600, flips in prop::collection::vec((16usize..600, any::<u8>()), 0..20)) {
            let mut bytes = sample().encode();
            for (place, byte) in flips {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            let length = bytes.len().saturating_sub(cut).max(CHECKPOINT_HEADER_BYTES);
            bytes.truncate(length);
            bytes[16..24].copy_from_slice(&(length as u64).to_le_bytes());
            let crc = checksum(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            if let Ok(checkpoint) = decode(&bytes) {
                prop_assert_eq!(checkpoint.encode(), bytes);
            }
        }
    }
}
