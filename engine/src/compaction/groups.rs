//! Which segments become one: neighbours, as long as they are no larger together than a segment may be
//! (Kafka's `Cleaner.groupSegmentsBySize`).

use std::ops::Range;

use crate::compaction::SegmentFacts;
use crate::log::LogConfig;

/// The bytes of an offset index's entry.
const INDEX_ENTRY_BYTES: u64 = 8;
/// One index entry for so many bytes of a compacted segment.
const INTERVAL_BYTES: u64 = 4096;

/// The places of the segments that become one each, in order, all of them in some group.
pub fn groups(segments: &[SegmentFacts], config: &LogConfig) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (place, segment) in segments.iter().enumerate() {
        let fits = groups.last().is_some_and(|group| {
            let together = bytes + segment.bytes;
            let index_bytes = (together / INTERVAL_BYTES + 1) * INDEX_ENTRY_BYTES;
            together <= config.segment_bytes
                && index_bytes <= u64::from(config.segment_index_bytes)
                && segment.next - segments[group.start].base <= i64::from(i32::MAX)
        });
        match groups.last_mut().filter(|_| fits) {
            Some(group) => {
                group.end = place + 1;
                bytes += segment.bytes;
            }
            None => {
                groups.push(place..place + 1);
                bytes = segment.bytes;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;

    fn facts(spans: &[(i64, i64, u64)]) -> Vec<SegmentFacts> {
        let facts = |&(base, next, bytes)| SegmentFacts { base: Offset(base), next: Offset(next), bytes };
        spans.iter().map(facts).collect()
    }

    #[test]
    fn neighbours_are_joined_up_to_the_size_of_a_segment() {
        let config = LogConfig { segment_bytes: 100, ..LogConfig::default() };
        let segments = facts(&[(0, 10, 60), (10, 20, 40), (20, 30, 1), (30, 40, 200), (40, 50, 1), (50, 60, 99)]);
        assert_eq!(groups(&segments, &config), [0..2, 2..3, 3..4, 4..6]);
        assert!(groups(&[], &config).is_empty());
    }

    #[test]
    fn offsets_that_do_not_fit_31_bits_are_kept_apart() {
        let far = i64::from(i32::MAX);
        let segments = facts(&[(0, 10, 1), (10, far, 1), (far, far + 1, 1)]);
        assert_eq!(groups(&segments, &LogConfig::default()), [0..2, 2..3]);
    }

    #[test]
    fn an_index_that_would_be_too_large_keeps_them_apart() {
        let config = LogConfig { segment_index_bytes: 16, ..LogConfig::default() };
        let segments = facts(&[(0, 10, 4000), (10, 20, 4000), (20, 30, 4000)]);
        assert_eq!(groups(&segments, &config), [0..2, 2..3]);
    }
}
