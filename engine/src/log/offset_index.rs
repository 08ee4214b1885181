//! The sparse map of one segment from offsets to positions: an array in memory, Apache Kafka's `.index` on disk.
//!
//! Kafka's rule (`LogSegment.append`, `OffsetIndex`): a batch gets an entry once `index.interval.bytes` were appended
//! since the last entry; the entry holds the batch's *last* offset, relative to the segment's base, and the position
//! where the batch begins. The first batch of a segment so never has one, and no entry points at position 0. A reader
//! of offset `o` starts at `floor(o)` and walks batches forward.
//!
//! The file is untrusted: an index that is not exactly what this type could have written is reported as damaged, and
//! the caller rebuilds it from the segment.

use std::path::Path;

use crate::error::{Error, Result};
use crate::types::{Offset, Position, Timestamp};

/// Bytes of one entry of the file: the relative offset and the position, both big-endian i32.
pub const OFFSET_ENTRY_BYTES: usize = 8;

/// The greatest relative offset and the greatest position that an entry can hold.
pub const INDEX_VALUE_MAX: u64 = i32::MAX as u64;

/// What a batch contributes to the sparse indexes of its segment when it is due for an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexPoint {
    /// The *last* offset of the batch that begins at `position`, as Kafka records it.
    pub offset: Offset,
    /// Where that batch begins in its segment; never 0.
    pub position: Position,
    /// The greatest timestamp of the segment up to and including that batch.
    pub max_timestamp: Timestamp,
    /// The last offset of the batch that brought `max_timestamp`.
    pub max_timestamp_offset: Offset,
}

/// The offset index of one segment. Eight bytes per entry in memory, as on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetIndex {
    base: Offset,
    /// (relative offset, position), both strictly rising.
    entries: Vec<(u32, u32)>,
}

impl OffsetIndex {
    /// The empty index of the segment that begins at `base`.
    pub fn new(base: Offset) -> OffsetIndex {
        OffsetIndex { base, entries: Vec::new() }
    }

    /// Whether an entry for `offset` at `position` can be represented; where not, the segment must be rolled first.
    pub fn fits(base: Offset, offset: Offset, position: Position) -> bool {
        u64::try_from(offset - base).is_ok_and(|relative| relative <= INDEX_VALUE_MAX) && position.0 <= INDEX_VALUE_MAX
    }

    /// Adds an entry behind the last one; panics where it does not rise or does not fit.
    pub fn push(&mut self, point: IndexPoint) {
        assert!(
            Self::fits(self.base, point.offset, point.position),
            "{point:?} does not fit an index from {}",
            self.base
        );
        let entry = ((point.offset - self.base) as u32, point.position.0 as u32);
        assert!(entry.1 > 0, "the first batch of a segment has no index entry, but {point:?} is at position 0");
        if let Some(&last) = self.entries.last() {
            assert!(
                entry.0 > last.0 && entry.1 > last.1,
                "{point:?} does not rise behind entry {last:?} of {}",
                self.base
            );
        }
        self.entries.push(entry);
    }

    /// The last entry at or before `offset`: where to begin to look for it. `None`: at the start of the segment.
    pub fn floor(&self, offset: Offset) -> Option<(Offset, Position)> {
        let relative = offset - self.base;
        let after = self.entries.partition_point(|entry| i64::from(entry.0) <= relative);
        after.checked_sub(1).map(|place| self.entry(place))
    }

    /// Drops the entries at or behind `to`, the new end of the segment.
    pub fn truncate(&mut self, to: Offset) {
        let relative = to - self.base;
        let kept = self.entries.partition_point(|entry| i64::from(entry.0) < relative);
        self.entries.truncate(kept);
    }

    /// The last entry.
    pub fn last(&self) -> Option<(Offset, Position)> {
        self.entries.len().checked_sub(1).map(|place| self.entry(place))
    }

    /// The entries, first to last.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Offset, Position)> + '_ {
        (0..self.entries.len()).map(|place| self.entry(place))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The base offset of the segment.
    pub fn base(&self) -> Offset {
        self.base
    }

    /// Memory held beyond the struct itself.
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * OFFSET_ENTRY_BYTES
    }

    /// The bytes of the `.index` file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * OFFSET_ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.0.to_be_bytes());
            bytes.extend_from_slice(&entry.1.to_be_bytes());
        }
        bytes
    }

    /// Reads an `.index` file of the segment that begins at `base` and is `segment_bytes` long. Entries that do not
    /// rise strictly, point at or beyond the end of the segment, or are padding are [`Error::Corrupt`] with their place.
    pub fn decode(path: &Path, base: Offset, bytes: &[u8], segment_bytes: Position) -> Result<OffsetIndex> {
        let (whole, rest) = bytes.as_chunks::<OFFSET_ENTRY_BYTES>();
        let mut entries = Vec::with_capacity(whole.len());
        let mut last = None;
        for (place, entry) in whole.iter().enumerate() {
            let damaged = |what: String| {
                Error::corrupt(
                    path,
                    Some(Position((place * OFFSET_ENTRY_BYTES) as u64)),
                    format!("index entry {place} {what}"),
                )
            };
            let [r0, r1, r2, r3, p0, p1, p2, p3] = *entry;
            let (relative, position) = (u32::from_be_bytes([r0, r1, r2, r3]), u32::from_be_bytes([p0, p1, p2, p3]));
            if position == 0 {
                return Err(damaged("points at position 0, as padding does".into()));
            }
            if u64::from(relative.max(position)) > INDEX_VALUE_MAX {
                return Err(damaged(format!("is out of range: relative offset {relative}, position {position}")));
            }
            if u64::from(position) >= segment_bytes.0 {
                return Err(damaged(format!("points at {position}, the segment has {segment_bytes} bytes")));
            }
            if last.is_some_and(|last: (u32, u32)| relative <= last.0 || position <= last.1) {
                return Err(damaged(format!(
                    "({relative}, {position}) does not rise behind {:?}",
                    last.expect("seen")
                )));
            }
            last = Some((relative, position));
            entries.push((relative, position));
        }
        if !rest.is_empty() {
            let place = Position((bytes.len() - rest.len()) as u64);
            return Err(Error::corrupt(path, Some(place), format!("{} bytes behind the last whole entry", rest.len())));
        }
        Ok(OffsetIndex { base, entries })
    }

    fn entry(&self, place: usize) -> (Offset, Position) {
        let (relative, position) = self.entries[place];
        (self.base + i64::from(relative), Position(u64::from(position)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(offset: i64, position: u64) -> IndexPoint {
        IndexPoint {
            offset: Offset(offset),
            position: Position(position),
            max_timestamp: Timestamp(offset),
            max_timestamp_offset: Offset(offset),
        }
    }

    fn index(base: i64, points: &[(i64, u64)]) -> OffsetIndex {
        let mut index = OffsetIndex::new(Offset(base));
        points.iter().for_each(|&(offset, position)| index.push(point(offset, position)));
        index
    }

    fn decode(bytes: &[u8]) -> Result<OffsetIndex> {
        OffsetIndex::decode(Path::new("00.index"), Offset(0), bytes, Position(1 << 20))
    }

    #[test]
    fn the_file_is_kafkas_big_endian_pairs() {
        let index = index(1000, &[(1009, 4100), (1300, 70_000)]);
        assert_eq!(index.encode(), [0, 0, 0, 9, 0, 0, 0x10, 4, 0, 0, 1, 44, 0, 1, 0x11, 0x70]);
        let back = OffsetIndex::decode(Path::new("x"), Offset(1000), &index.encode(), Position(70_001)).unwrap();
        assert_eq!(back, index);
        assert!(OffsetIndex::decode(Path::new("x"), Offset(1000), &index.encode(), Position(70_000)).is_err());
    }

    #[test]
    fn a_look_up_before_the_first_entry_starts_at_the_segments_start() {
        let index = index(1000, &[(1009, 4100), (1300, 70_000)]);
        assert_eq!(index.floor(Offset(5)), None);
        assert_eq!(index.floor(Offset(1008)), None);
        assert_eq!(index.floor(Offset(1009)), Some((Offset(1009), Position(4100))));
        assert_eq!(index.floor(Offset(1299)), Some((Offset(1009), Position(4100))));
        assert_eq!(index.floor(Offset(i64::MAX)), Some((Offset(1300), Position(70_000))));
        assert_eq!(index.last(), Some((Offset(1300), Position(70_000))));
    }

    #[test]
    fn a_truncation_drops_the_entries_at_and_behind_the_new_end() {
        let mut index = index(0, &[(10, 10), (20, 20), (30, 30)]);
        index.truncate(Offset(20));
        assert_eq!(index.last(), Some((Offset(10), Position(10))));
        index.truncate(Offset(0));
        assert!(index.is_empty());
    }

    #[test]
    fn padding_and_entries_that_do_not_rise_are_damage_at_their_place() {
        let place = |bytes: &[u8]| match decode(bytes).unwrap_err() {
            Error::Corrupt { position, .. } => position.expect("a place").0,
            other => panic!("{other}"),
        };
        let mut bytes = index(0, &[(10, 10), (20, 20), (30, 30)]).encode();
        assert!(decode(&bytes).is_ok());
        assert_eq!(place(&[0; 16]), 0);
        bytes.extend_from_slice(&[0; 8]);
        assert_eq!(place(&bytes), 24);
        bytes.truncate(20);
        assert_eq!(place(&bytes), 16);
        bytes.truncate(16);
        bytes[8..16].copy_from_slice(&[0, 0, 0, 10, 0, 0, 0, 20]);
        assert_eq!(place(&bytes), 8);
        assert_eq!(place(&[0xff; 8]), 0);
    }

    proptest! {
        #[test]
        fn a_look_up_agrees_with_a_linear_search(steps in prop::collection::vec((1u32..500, 1u32..500), 0..200), offset in 0i64..60_000) {
            let mut index = OffsetIndex::new(Offset(7));
            let (mut at, mut position) = (7i64, 0u64);
            for (offsets, bytes) in steps {
                at += i64::from(offsets);
                position += u64::from(bytes);
                index.push(point(at, position));
            }
            let wanted = index.iter().filter(|entry| entry.0.0 <= offset).last();
            prop_assert_eq!(index.floor(Offset(offset)), wanted);
            let back = OffsetIndex::decode(Path::new("x"), Offset(7), &index.encode(), Position(position + 1)).unwrap();
            prop_assert_eq!(back, index);
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_back_as_they_were(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(index) = decode(&bytes) {
                prop_assert_eq!(index.encode(), bytes);
            }
        }
    }
}
