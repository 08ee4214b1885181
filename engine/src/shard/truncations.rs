//! Takes out of a journal, before it is replayed, what a truncation in it took away later, earlier truncations included.
//!
//! Replay writes to segments as it goes. Bytes that were cut off later must not be among what it writes: their places in the
//! segment may hold, durable already, what was appended after the cut and went there directly. For the same reason a segment
//! that was rolled and then cut back must not be completed at its old length.

use std::collections::HashMap;

use crate::journal::{OwnedEntry, PartitionKey, ScannedGroup};
use crate::types::{Offset, Position};

/// Where a later truncation cuts: the newest segment, its length, and the log's end.
#[derive(Clone, Copy)]
struct Cut {
    segment: Offset,
    position: Position,
    next_offset: Offset,
}

/// Removes or shortens the entries that a later truncation of the same partition cuts off.
pub(super) fn take_out_what_was_cut(groups: &mut [ScannedGroup]) {
    let mut cuts: HashMap<PartitionKey, Cut> = HashMap::new();
    for group in groups.iter_mut().rev() {
        let mut kept: Vec<OwnedEntry> = Vec::with_capacity(group.entries.len());
        for entry in group.entries.drain(..).rev() {
            let id = entry.id();
            if let OwnedEntry::Truncate { segment, position, next_offset, .. } = entry {
                let cut = Cut { segment, position, next_offset };
                // One that a later one goes below is of no more use, and its segment may be gone.
                if cuts.get(&id).is_none_or(|later| next_offset < later.next_offset) {
                    cuts.insert(id, cut);
                    kept.push(entry);
                }
            } else {
                kept.extend(cuts.get(&id).map_or(Some(entry.clone()), |cut| remaining(entry, *cut)));
            }
        }
        kept.reverse();
        group.entries = kept;
    }
}

/// What is left of an entry before a cut.
fn remaining(entry: OwnedEntry, cut: Cut) -> Option<OwnedEntry> {
    let left = |segment: Offset, position: Position, length: u64| {
        if (segment, position) >= (cut.segment, cut.position) {
            None
        } else if segment == cut.segment {
            Some(length.min(cut.position - position))
        } else {
            Some(length)
        }
    };
    match entry {
        OwnedEntry::Data { id, segment, position, next_offset, bytes } => {
            let length = left(segment, position, bytes.len() as u64)?;
            let bytes = bytes.slice(..length as usize);
            let next_offset = next_offset.min(cut.next_offset);
            Some(OwnedEntry::Data { id, segment, position, next_offset, bytes })
        }
        OwnedEntry::Extent { id, segment, position, length, next_offset, chain_crc, mut points } => {
            let length = left(segment, position, length)?;
            if segment == cut.segment {
                points.retain(|point| point.position < cut.position && point.offset < cut.next_offset);
            }
            let next_offset = next_offset.min(cut.next_offset);
            Some(OwnedEntry::Extent { id, segment, position, length, next_offset, chain_crc, points })
        }
        OwnedEntry::EpochStart { start, .. } if start >= cut.next_offset => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::GroupHeader;
    use crate::types::{Epoch, TopicId};
    use bytes::Bytes;

    fn id(partition: i32) -> PartitionKey {
        PartitionKey { topic_id: TopicId::ZERO, partition }
    }

    fn data(partition: i32, segment: i64, position: u64, bytes: &'static [u8]) -> OwnedEntry {
        OwnedEntry::Data {
            id: id(partition),
            segment: Offset(segment),
            position: Position(position),
            next_offset: Offset(segment + position as i64 + bytes.len() as i64),
            bytes: Bytes::from_static(bytes),
        }
    }

    fn truncate(partition: i32, segment: i64, position: u64) -> OwnedEntry {
        let (segment, position, next_offset) = (Offset(segment), Position(position), Offset(segment + position as i64));
        OwnedEntry::Truncate { id: id(partition), segment, position, next_offset }
    }

    fn group(entries: Vec<OwnedEntry>) -> ScannedGroup {
        let header = GroupHeader {
            shard: 0,
            generation: 1,
            sequence: 1,
            place: Position(4096),
            flushed_before: 1,
            length: 0,
            count: 0,
            entries_crc: 0,
        };
        ScannedGroup { header, entries }
    }

    #[test]
    fn a_truncation_that_a_later_one_goes_below_is_left_out() {
        let mut groups = [group(vec![
            truncate(0, 8, 2),
            truncate(1, 8, 2),
            truncate(0, 0, 3),
            data(0, 0, 3, b"abc"),
            truncate(0, 0, 5),
        ])];
        take_out_what_was_cut(&mut groups);
        let short = OwnedEntry::Data {
            id: id(0),
            segment: Offset(0),
            position: Position(3),
            next_offset: Offset(5),
            bytes: Bytes::from_static(b"ab"),
        };
        assert_eq!(groups[0].entries, [truncate(1, 8, 2), truncate(0, 0, 3), short, truncate(0, 0, 5)]);
    }

    #[test]
    fn what_was_cut_is_taken_out_before_and_kept_after_the_cut() {
        let epoch = OwnedEntry::EpochStart { id: id(0), epoch: Epoch(3), start: Offset(5) };
        let mut groups = [
            group(vec![data(0, 0, 0, b"abcd"), data(1, 0, 0, b"abcd"), data(0, 0, 4, b"efgh"), epoch]),
            group(vec![data(0, 8, 0, b"ijk"), truncate(0, 0, 2), data(0, 0, 2, b"XY")]),
            group(vec![data(0, 0, 4, b"Z"), truncate(0, 0, 3), data(0, 0, 3, b"end")]),
        ];
        take_out_what_was_cut(&mut groups);
        let left: Vec<_> = groups.iter().map(|group| group.entries.clone()).collect();
        let short = |position, bytes: &'static [u8], next| OwnedEntry::Data {
            id: id(0),
            segment: Offset(0),
            position: Position(position),
            next_offset: Offset(next),
            bytes: Bytes::from_static(bytes),
        };
        assert_eq!(left[0], [short(0, b"ab", 2), data(1, 0, 0, b"abcd")]);
        assert_eq!(left[1], [truncate(0, 0, 2), short(2, b"X", 3)]);
        assert_eq!(left[2], [truncate(0, 0, 3), data(0, 0, 3, b"end")]);
    }
}
