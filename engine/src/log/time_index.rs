//! The sparse map of one segment from timestamps to offsets: an array in memory, Apache Kafka's `.timeindex` on disk.
//!
//! Kafka's rule (`TimeIndex.maybeAppend`): an entry says that no record before `offset` (inclusive) is younger than
//! `timestamp`; entries rise strictly, so a batch that brings no new greatest timestamp adds none. At the roll of a
//! segment its greatest timestamp is added ([`TimeIndex::push_max`]). With producers' own timestamps records are not
//! in order of time, so a look-up gives the place to begin a scan, not the answer.

use std::path::Path;

use crate::error::{Error, Result};
use crate::log::offset_index::{INDEX_VALUE_MAX, IndexPoint};
use crate::types::{Offset, Position, Timestamp};

/// Bytes of one entry of the file: the timestamp as big-endian i64 and the relative offset as big-endian i32.
pub const TIME_ENTRY_BYTES: usize = 12;

/// The time index of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIndex {
    base: Offset,
    /// (timestamp, relative offset), both strictly rising.
    entries: Vec<(i64, u32)>,
}

impl TimeIndex {
    /// The empty index of the segment that begins at `base`.
    pub fn new(base: Offset) -> TimeIndex {
        TimeIndex { base, entries: Vec::new() }
    }

    /// Adds the point's greatest timestamp; nothing where it is not greater than the last one.
    pub fn push(&mut self, point: IndexPoint) {
        self.push_max(point.max_timestamp, point.max_timestamp_offset);
    }

    /// Adds the greatest timestamp so far and the last offset of the batch that brought it; nothing where it is not
    /// greater than the last one, or is none. Panics where its offset does not rise with it.
    pub fn push_max(&mut self, timestamp: Timestamp, offset: Offset) {
        if timestamp.0 < 0 || self.entries.last().is_some_and(|last| timestamp.0 <= last.0) {
            return;
        }
        let relative = offset - self.base;
        assert!(
            (0..=INDEX_VALUE_MAX as i64).contains(&relative),
            "offset {offset} does not fit a segment from {}",
            self.base
        );
        if let Some(last) = self.entries.last() {
            assert!(
                relative > i64::from(last.1),
                "timestamp {timestamp} at {offset} is behind entry {last:?} of {}",
                self.base
            );
        }
        self.entries.push((timestamp.0, relative as u32));
    }

    /// The last entry whose timestamp is at most `timestamp`: every record before its offset is at most that old, so
    /// a search for the first record that is not older than `timestamp` begins there. `None`: at the segment's start.
    pub fn floor(&self, timestamp: Timestamp) -> Option<(Timestamp, Offset)> {
        let after = self.entries.partition_point(|entry| entry.0 <= timestamp.0);
        after.checked_sub(1).map(|place| self.entry(place))
    }

    /// Drops the entries at or behind `to`, the new end of the segment.
    pub fn truncate(&mut self, to: Offset) {
        let relative = to - self.base;
        let kept = self.entries.partition_point(|entry| i64::from(entry.1) < relative);
        self.entries.truncate(kept);
    }

    /// The last entry: the greatest timestamp that the index knows.
    pub fn last(&self) -> Option<(Timestamp, Offset)> {
        self.entries.len().checked_sub(1).map(|place| self.entry(place))
    }

    /// The entries, first to last.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Timestamp, Offset)> + '_ {
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
        self.entries.capacity() * size_of::<(i64, u32)>()
    }

    /// The bytes of the `.timeindex` file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * TIME_ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.0.to_be_bytes());
            bytes.extend_from_slice(&entry.1.to_be_bytes());
        }
        bytes
    }

    /// Reads a `.timeindex` file of the segment of the offsets `base..end`. Entries that do not rise strictly, lie
    /// outside the segment, or are padding are [`Error::Corrupt`] with their place.
    pub fn decode(path: &Path, base: Offset, bytes: &[u8], end: Offset) -> Result<TimeIndex> {
        let (whole, rest) = bytes.as_chunks::<TIME_ENTRY_BYTES>();
        let mut entries: Vec<(i64, u32)> = Vec::with_capacity(whole.len());
        for (place, entry) in whole.iter().enumerate() {
            let damaged = |what: String| {
                Error::corrupt(
                    path,
                    Some(Position((place * TIME_ENTRY_BYTES) as u64)),
                    format!("time index entry {place} {what}"),
                )
            };
            let [t0, t1, t2, t3, t4, t5, t6, t7, r0, r1, r2, r3] = *entry;
            let timestamp = i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
            let relative = u32::from_be_bytes([r0, r1, r2, r3]);
            if timestamp < 0 {
                return Err(damaged(format!("has timestamp {timestamp}")));
            }
            if u64::from(relative) > INDEX_VALUE_MAX || i64::from(relative) >= end - base {
                return Err(damaged(format!("points at relative offset {relative}, the segment is {base} to {end}")));
            }
            if let Some(&last) = entries.last()
                && (timestamp <= last.0 || relative <= last.1)
            {
                return Err(damaged(format!("({timestamp}, {relative}) does not rise behind {last:?}")));
            }
            entries.push((timestamp, relative));
        }
        if !rest.is_empty() {
            let place = Position((bytes.len() - rest.len()) as u64);
            return Err(Error::corrupt(path, Some(place), format!("{} bytes behind the last whole entry", rest.len())));
        }
        Ok(TimeIndex { base, entries })
    }

    fn entry(&self, place: usize) -> (Timestamp, Offset) {
        let (timestamp, relative) = self.entries[place];
        (Timestamp(timestamp), self.base + i64::from(relative))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(entries: &[(i64, i64)]) -> TimeIndex {
        let mut index = TimeIndex::new(Offset(100));
        entries.iter().for_each(|&(timestamp, offset)| index.push_max(Timestamp(timestamp), Offset(offset)));
        index
    }

    fn decode(bytes: &[u8]) -> Result<TimeIndex> {
        TimeIndex::decode(Path::new("00.timeindex"), Offset(100), bytes, Offset(1000))
    }

    #[test]
    fn the_file_is_kafkas_big_endian_entries() {
        let index = index(&[(0x0102, 101), (0x0304, 109)]);
        assert_eq!(index.encode(), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 9]);
        assert_eq!(decode(&index.encode()).unwrap(), index);
    }

    #[test]
    fn only_a_new_greatest_timestamp_adds_an_entry() {
        let index = index(&[(-1, 100), (50, 101), (50, 101), (40, 105), (60, 110)]);
        let entries: Vec<_> = index.iter().map(|(timestamp, offset)| (timestamp.0, offset.0)).collect();
        assert_eq!(entries, [(50, 101), (60, 110)]);
        assert_eq!(index.floor(Timestamp(49)), None);
        assert_eq!(index.floor(Timestamp(59)), Some((Timestamp(50), Offset(101))));
        assert_eq!(index.floor(Timestamp(i64::MAX)), index.last());
    }

    #[test]
    fn padding_disorder_and_offsets_beyond_the_segment_are_damage_at_their_place() {
        let place = |bytes: &[u8]| match decode(bytes).unwrap_err() {
            Error::Corrupt { position, .. } => position.expect("a place").0,
            other => panic!("{other}"),
        };
        let mut bytes = index(&[(5, 101), (6, 102)]).encode();
        bytes.extend_from_slice(&[0; 24]);
        assert_eq!(place(&bytes), 24);
        assert_eq!(place(&[0; 24]), 12);
        assert_eq!(place(&index(&[(5, 101), (6, 1000)]).encode()), 12);
        assert_eq!(place(&bytes[..30]), 24);
    }

    proptest! {
        #[test]
        fn a_look_up_agrees_with_a_linear_search(entries in prop::collection::btree_map(0i64..5000, Just(()), 0..200), timestamp in 0i64..5100) {
            let mut index = TimeIndex::new(Offset(0));
            entries.keys().enumerate().for_each(|(place, at)| index.push_max(Timestamp(*at), Offset(place as i64 * 3)));
            let wanted = index.iter().filter(|entry| entry.0.0 <= timestamp).last();
            prop_assert_eq!(index.floor(Timestamp(timestamp)), wanted);
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_back_as_they_were(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(index) = decode(&bytes) {
                prop_assert_eq!(index.encode(), bytes);
            }
        }
    }
}
