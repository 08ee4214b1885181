//! Both sparse indexes of one complete segment, as they are kept in memory while it is read.

use crate::journal::IndexPoint;
use crate::log::offset_index::OffsetIndex;
use crate::log::time_index::TimeIndex;
use crate::types::{Offset, Position, Timestamp};

/// The offset index and the time index of a segment.
pub struct SegmentIndex {
    /// Offsets to positions.
    pub offsets: OffsetIndex,
    /// Timestamps to offsets.
    pub times: TimeIndex,
}

impl SegmentIndex {
    /// Empty indexes.
    pub fn new(base: Offset) -> SegmentIndex {
        SegmentIndex { offsets: OffsetIndex::new(base), times: TimeIndex::new(base) }
    }

    /// Adds what a batch contributes.
    pub fn push(&mut self, point: IndexPoint) {
        self.offsets.push(point);
        self.times.push(point);
    }

    /// Closes the indexes: the time index ends with the largest timestamp of the segment, as Kafka's does.
    pub fn finish(&mut self, max_timestamp: Timestamp, max_timestamp_offset: Offset) {
        if max_timestamp != Timestamp::NONE {
            self.times.push_max(max_timestamp, max_timestamp_offset);
        }
    }

    /// Where to begin to look for `offset`.
    pub fn position_for(&self, offset: Offset) -> Position {
        self.offsets.floor(offset).map_or(Position::ZERO, |(_, position)| position)
    }

    /// Memory held.
    pub fn memory_bytes(&self) -> usize {
        self.offsets.memory_bytes() + self.times.memory_bytes()
    }
}
