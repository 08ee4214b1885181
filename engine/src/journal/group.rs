//! A commit group: the unit in which the journal is written, a header of 64 bytes and entries behind it.
//!
//! The header's checksum binds the group to its shard, generation, sequence and place, and covers the checksum of the
//! entries. So a group is believed only where it was meant to be, whole, and in its turn: a torn write, a sector of an
//! earlier lap or of an earlier generation, or one that the disk put elsewhere, does not verify. This file has no I/O.

use bytes::Bytes;

use crate::checksum::{crc32c, crc32c_append};
use crate::journal::cursor::Cursor;
use crate::journal::entry::{ENTRY_HEAD_BYTES, Entry, OwnedEntry};
use crate::types::{BLOCK_BYTES, Position};

/// The first bytes of a group.
pub const GROUP_MAGIC: [u8; 8] = *b"corelogG";

/// The version of the group format that is written, and the newest that is read.
pub const GROUP_VERSION: u16 = 2;

/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 64;

/// The greatest size of a group with its padding: one write of the disk.
pub const GROUP_BYTES_MAX: usize = 1 << 20;

/// A place in a journal: everything before it is no longer needed, or was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct JournalMark {
    /// The generation of the journal; a new one begins each time the store is opened.
    pub generation: u64,
    /// The sequence of the group at the mark, from 1 in each generation.
    pub sequence: u64,
    /// Where that group is, or will be: here, or at the start of the ring where it does not fit here.
    pub position: Position,
}

impl JournalMark {
    /// Where the first group of a generation goes: behind the file's own header.
    pub fn first(generation: u64) -> JournalMark {
        JournalMark { generation, sequence: 1, position: Position(BLOCK_BYTES) }
    }
}

/// What a group says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHeader {
    /// The shard whose journal it is.
    pub shard: u32,
    /// The generation of the journal.
    pub generation: u64,
    /// The group's number in its generation, from 1 without gaps.
    pub sequence: u64,
    /// Where in the file the group is.
    pub place: Position,
    /// Every group of this generation with a smaller sequence than this was on stable storage when this one was sealed.
    pub flushed_before: u64,
    /// Bytes of header and entries, without the padding.
    pub length: u32,
    /// The number of entries.
    pub count: u32,
    /// CRC-32C of the entries.
    pub entries_crc: u32,
}

/// Why bytes are not a group that can be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAGroup {
    /// The magic is missing: nothing was written here, or a group's inside.
    Magic,
    /// The header does not verify.
    HeaderChecksum,
    /// The header verifies and is of a format that is not known here. Who the group is stays where it is in every version.
    Newer {
        /// The version of the format.
        version: u16,
        /// The generation of the journal.
        generation: u64,
        /// The group's number.
        sequence: u64,
        /// Where in the file the group is.
        place: Position,
    },
    /// The header verifies, but its numbers cannot be.
    Bounds,
    /// The header verifies, the entries behind it do not.
    EntriesChecksum,
}

impl GroupHeader {
    /// The size of the group in the file, a multiple of 4 KiB.
    pub fn padded_bytes(&self) -> u64 {
        u64::from(self.length).next_multiple_of(BLOCK_BYTES)
    }

    /// Reads the header that begins `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<GroupHeader, NotAGroup> {
        let header = bytes.first_chunk::<GROUP_HEADER_BYTES>().ok_or(NotAGroup::Magic)?;
        if header[..8] != GROUP_MAGIC {
            return Err(NotAGroup::Magic);
        }
        let mut cursor = Cursor::new(&header[8..]);
        let header = Self::fields(&mut cursor, header_crc(header)).ok_or(NotAGroup::Bounds)??;
        let entries = (header.length as usize).checked_sub(GROUP_HEADER_BYTES).ok_or(NotAGroup::Bounds)?;
        if header.length as usize > GROUP_BYTES_MAX
            || (header.count as usize).saturating_mul(ENTRY_HEAD_BYTES) > entries
        {
            return Err(NotAGroup::Bounds);
        }
        Ok(header)
    }

    fn fields(cursor: &mut Cursor<'_>, crc: u32) -> Option<Result<GroupHeader, NotAGroup>> {
        let (version, reserved) = (cursor.u16()?, cursor.u16()?);
        if cursor.u32()? != crc {
            return Some(Err(NotAGroup::HeaderChecksum));
        }
        let (generation, sequence, place) = (cursor.u64()?, cursor.u64()?, Position(cursor.u64()?));
        if version > GROUP_VERSION {
            return Some(Err(NotAGroup::Newer { version, generation, sequence, place }));
        }
        if version == 0 || reserved != 0 {
            return Some(Err(NotAGroup::Bounds));
        }
        let (flushed_before, length, count) = (cursor.u64()?, cursor.u32()?, cursor.u32()?);
        let (entries_crc, shard) = (cursor.u32()?, cursor.u32()?);
        Some(Ok(GroupHeader { shard, generation, sequence, place, flushed_before, length, count, entries_crc }))
    }

    fn encode(&self) -> [u8; GROUP_HEADER_BYTES] {
        let mut out = [0; GROUP_HEADER_BYTES];
        out[0..8].copy_from_slice(&GROUP_MAGIC);
        out[8..10].copy_from_slice(&GROUP_VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.generation.to_le_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.place.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.flushed_before.to_le_bytes());
        out[48..52].copy_from_slice(&self.length.to_le_bytes());
        out[52..56].copy_from_slice(&self.count.to_le_bytes());
        out[56..60].copy_from_slice(&self.entries_crc.to_le_bytes());
        out[60..64].copy_from_slice(&self.shard.to_le_bytes());
        let crc = header_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// The checksum over all of the header but the checksum itself. Its place and rule hold for every version.
fn header_crc(header: &[u8; GROUP_HEADER_BYTES]) -> u32 {
    crc32c_append(crc32c(&header[..12]), &header[16..])
}

/// Fills memory with the entries of one group. Each entry is copied once and checksummed while it is in the cache.
#[derive(Debug)]
pub struct GroupEncoder {
    filled: usize,
    count: u32,
    crc: u32,
}

impl Default for GroupEncoder {
    fn default() -> GroupEncoder {
        GroupEncoder { filled: GROUP_HEADER_BYTES, count: 0, crc: 0 }
    }
}

impl GroupEncoder {
    /// Bytes of header and entries so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The number of entries so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds an entry, or leaves `memory`, the group's, as it is and returns false where the entry does not fit.
    pub fn push(&mut self, memory: &mut [u8], entry: &Entry<'_>) -> bool {
        let length = entry.encoded_bytes();
        let end = self.filled + length;
        if end > memory.len().min(GROUP_BYTES_MAX) {
            return false;
        }
        let out = &mut memory[self.filled..end];
        entry.encode(out);
        self.crc = crc32c_append(self.crc, out);
        self.filled = end;
        self.count += 1;
        true
    }

    /// Writes the header and zeroes the padding; returns the size of the group with it. `header` says who the group
    /// is; its length, count and checksum are filled in here.
    pub fn finish(self, memory: &mut [u8], header: GroupHeader) -> usize {
        let padded = self.filled.next_multiple_of(BLOCK_BYTES as usize);
        let header = GroupHeader { length: self.filled as u32, count: self.count, entries_crc: self.crc, ..header };
        memory[..GROUP_HEADER_BYTES].copy_from_slice(&header.encode());
        memory[self.filled..padded].fill(0);
        padded
    }
}

/// Reads the group that begins `bytes`, which may go on behind it: its header and its entries, still encoded.
pub fn parse_group(bytes: &Bytes) -> Result<(GroupHeader, GroupEntries), NotAGroup> {
    let header = GroupHeader::parse(bytes)?;
    if header.length as usize > bytes.len() {
        return Err(NotAGroup::EntriesChecksum);
    }
    let entries = bytes.slice(GROUP_HEADER_BYTES..header.length as usize);
    if crc32c(&entries) != header.entries_crc {
        return Err(NotAGroup::EntriesChecksum);
    }
    Ok((header, GroupEntries { total: entries.len(), rest: entries, left: header.count }))
}

/// The entries of a group that verified, decoded one by one. An entry that cannot be read ends them as an `Err` with
/// the place of the entry in the group.
#[derive(Clone, Debug)]
pub struct GroupEntries {
    rest: Bytes,
    total: usize,
    left: u32,
}

impl Iterator for GroupEntries {
    type Item = Result<OwnedEntry, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 && self.rest.is_empty() {
            return None;
        }
        let place = GROUP_HEADER_BYTES + self.total - self.rest.len();
        let entry = if self.left == 0 { None } else { OwnedEntry::decode(&mut self.rest) };
        self.left = self.left.saturating_sub(1);
        if entry.is_none() {
            (self.left, self.rest) = (0, Bytes::new());
        }
        Some(entry.ok_or(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PartitionKey;
    use crate::log::{IndexPoint, ProducedBatch};
    use crate::types::{Epoch, Offset, Timestamp, TopicId};
    use proptest::prelude::*;

    fn id() -> PartitionKey {
        PartitionKey { topic_id: TopicId(uuid::Uuid::from_u128(7)), partition: 3 }
    }

    fn header() -> GroupHeader {
        GroupHeader {
            shard: 2,
            generation: 9,
            sequence: 40,
            place: Position(8192),
            flushed_before: 39,
            length: 0,
            count: 0,
            entries_crc: 0,
        }
    }

    fn point(offset: i64) -> IndexPoint {
        IndexPoint {
            offset: Offset(offset),
            position: Position(4096),
            max_timestamp: Timestamp(-1),
            max_timestamp_offset: Offset(-1),
        }
    }

    fn group(entries: &[Entry<'_>]) -> Bytes {
        let mut memory = vec![0xaa; GROUP_BYTES_MAX];
        let mut encoder = GroupEncoder::default();
        for entry in entries {
            assert!(encoder.push(&mut memory, entry));
        }
        let padded = encoder.finish(&mut memory, header());
        memory.truncate(padded);
        Bytes::from(memory)
    }

    fn produced() -> [ProducedBatch; 2] {
        let batch = ProducedBatch {
            id: 7,
            epoch: 3,
            base_sequence: i32::MAX - 1,
            last_offset_delta: 4,
            base_offset: Offset(120),
            max_timestamp: Timestamp(-1),
            is_transactional: true,
            marker: None,
        };
        let marker = ProducedBatch { base_sequence: -1, last_offset_delta: 0, marker: Some(9), ..batch };
        [batch, marker]
    }

    fn sample() -> Bytes {
        let (segment, position) = (Offset(100), Position(4096));
        group(&[
            Entry::Data { id: id(), segment, position, next_offset: Offset(120), bytes: &[b"ab", b"", b"cde"] },
            Entry::Extent {
                id: id(),
                segment,
                position,
                length: 1 << 20,
                next_offset: Offset(200),
                chain_crc: 77,
                points: &[point(150), point(199)],
                produced: &produced(),
            },
            Entry::Start { id: id(), start: Offset(110) },
            Entry::EpochStart { id: id(), epoch: Epoch(4), start: Offset(130) },
        ])
    }

    #[test]
    fn entries_come_back_in_order_from_a_group_padded_to_blocks() {
        let bytes = sample();
        assert_eq!(bytes.len(), 4096);
        let (found, entries) = parse_group(&bytes).expect("a group");
        let crc = found.entries_crc;
        assert_eq!(found, GroupHeader { length: found.length, count: 4, entries_crc: crc, ..header() });
        assert!(bytes[found.length as usize..].iter().all(|byte| *byte == 0), "the padding is zero");
        let entries: Vec<_> = entries.collect::<Result<_, _>>().expect("sound entries");
        assert_eq!(entries.len(), 4);
        match &entries[0] {
            OwnedEntry::Data { bytes, next_offset, .. } => {
                assert_eq!((&bytes[..], *next_offset), (&b"abcde"[..], Offset(120)))
            }
            other => panic!("{other:?}"),
        }
        match &entries[1] {
            OwnedEntry::Extent { points, length, chain_crc, produced: batches, .. } => {
                assert_eq!((&points[..], *length, *chain_crc), (&[point(150), point(199)][..], 1 << 20, 77));
                assert_eq!(batches[..], produced());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(entries[3], OwnedEntry::EpochStart { id: id(), epoch: Epoch(4), start: Offset(130) });
    }

    #[test]
    fn an_entry_that_does_not_fit_leaves_the_group_as_it_was() {
        let mut memory = vec![0; 4096];
        let mut encoder = GroupEncoder::default();
        let big = vec![1; 4096 - GROUP_HEADER_BYTES - ENTRY_HEAD_BYTES + 1];
        let mut push = |encoder: &mut GroupEncoder, part: &[u8]| {
            let (segment, position) = (Offset(0), Position(0));
            let entry = Entry::Data { id: id(), segment, position, next_offset: Offset(1), bytes: &[part] };
            encoder.push(&mut memory, &entry)
        };
        assert!(!push(&mut encoder, &big));
        assert_eq!((encoder.filled(), encoder.count()), (GROUP_HEADER_BYTES, 0));
        assert!(push(&mut encoder, &big[1..]));
        assert!(!push(&mut encoder, &[]));
        assert_eq!(encoder.finish(&mut memory, header()), 4096);
    }

    #[test]
    fn a_flipped_bit_anywhere_but_in_the_padding_is_seen() {
        let bytes = sample();
        let length = GroupHeader::parse(&bytes).expect("a header").length as usize;
        for place in 0..length {
            let mut bad = bytes.to_vec();
            bad[place] ^= 1 << (place % 8);
            assert!(parse_group(&Bytes::from(bad)).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = sample().to_vec();
        bytes[8] = 3;
        assert_eq!(GroupHeader::parse(&bytes), Err(NotAGroup::HeaderChecksum));
        let crc = header_crc(bytes.first_chunk().expect("64 bytes"));
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let (generation, sequence, place) = (9, 40, Position(8192));
        assert_eq!(GroupHeader::parse(&bytes), Err(NotAGroup::Newer { version: 3, generation, sequence, place }));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(cut in 0usize..4096, flips in prop::collection::vec((0usize..4096, any::<u8>()), 0..20), honest in any::<bool>()) {
            let mut bytes = sample().to_vec();
            flips.iter().for_each(|(place, byte)| bytes[*place] = *byte);
            bytes.truncate(4096 - cut);
            if honest && bytes.len() > GROUP_HEADER_BYTES {
                // With checksums made right again the decoders behind them see the damage.
                let length = (u32::from_le_bytes(*bytes[48..].first_chunk().unwrap()) as usize).clamp(64, bytes.len());
                bytes[..8].copy_from_slice(&GROUP_MAGIC);
                bytes[8..12].copy_from_slice(&[1, 0, 0, 0]);
                let crc = crc32c(&bytes[64..length]);
                bytes[56..60].copy_from_slice(&crc.to_le_bytes());
                let crc = header_crc(bytes.first_chunk().unwrap());
                bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            }
            if let Ok((header, entries)) = parse_group(&Bytes::from(bytes)) {
                prop_assert!(entries.count() <= header.count as usize + 1);
            }
        }

        #[test]
        fn random_entries_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0u8..8, length in 0u32..400) {
            let mut bytes = bytes;
            if bytes.len() > 8 {
                bytes[..4].copy_from_slice(&length.to_le_bytes());
                bytes[4..8].copy_from_slice(&[kind, 0, 0, 0]);
            }
            let mut bytes = Bytes::from(bytes);
            let before = bytes.len();
            if OwnedEntry::decode(&mut bytes).is_some() {
                prop_assert!(bytes.len() <= before - ENTRY_HEAD_BYTES);
            } else {
                prop_assert_eq!(bytes.len(), before);
            }
        }
    }
}
