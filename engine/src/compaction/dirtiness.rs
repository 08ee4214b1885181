//! How much of a log is worth compacting (Kafka's `LogCleanerManager.cleanableOffsets` and `LogToClean`).

use crate::log::LogConfig;
use crate::types::{Offset, Timestamp};

/// A complete segment, as far as compaction has to know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFacts {
    /// Its first offset.
    pub base: Offset,
    /// The first offset of the one behind it.
    pub next: Offset,
    /// Its size.
    pub bytes: u64,
}

/// How dirty a log is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Dirtiness {
    /// Bytes of segments that were compacted before.
    pub clean_bytes: u64,
    /// Bytes of segments that may be compacted and were not.
    pub dirty_bytes: u64,
    /// The time of the oldest record of the dirty part, where it was asked for.
    pub oldest: Option<Timestamp>,
}

impl Dirtiness {
    /// How dirty a log of these segments is, of which everything before `cleaned_to` was compacted.
    pub fn of(segments: &[SegmentFacts], cleaned_to: Offset) -> Dirtiness {
        let bytes = |is_dirty: bool| {
            let those = segments.iter().filter(|segment| (segment.next > cleaned_to) == is_dirty);
            those.map(|segment| segment.bytes).sum()
        };
        Dirtiness { clean_bytes: bytes(false), dirty_bytes: bytes(true), oldest: None }
    }

    /// The dirty share in millionths.
    pub fn ppm(&self) -> u64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0,
            all => (u128::from(self.dirty_bytes) * 1_000_000 / u128::from(all)) as u64,
        }
    }

    /// Whether it is to be compacted now: it is dirtier than `min.cleanable.dirty.ratio`, or holds what may not wait any longer.
    pub fn is_due(&self, config: &LogConfig, now: Timestamp) -> bool {
        let is_late = self.oldest.is_some_and(|oldest| {
            let age_ms = now.0.saturating_sub(oldest.0);
            u64::try_from(age_ms).is_ok_and(|age_ms| age_ms > config.max_compaction_lag_ms)
        });
        self.dirty_bytes > 0 && (is_late || self.ppm() > u64::from(config.min_cleanable_ppm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: i64, next: i64, bytes: u64) -> SegmentFacts {
        SegmentFacts { base: Offset(base), next: Offset(next), bytes }
    }

    #[test]
    fn a_log_is_due_above_its_ratio() {
        let segments = [segment(0, 10, 100), segment(10, 20, 50), segment(20, 30, 51)];
        let dirtiness = Dirtiness::of(&segments, Offset(10));
        assert_eq!((dirtiness.clean_bytes, dirtiness.dirty_bytes), (100, 101));
        let config = LogConfig::default();
        assert!(dirtiness.is_due(&config, Timestamp(0)));
        assert!(
            !Dirtiness { dirty_bytes: 100, ..dirtiness }.is_due(&config, Timestamp(0)),
            "half is not more than half"
        );
        assert!(
            !Dirtiness::of(&segments, Offset(30)).is_due(&LogConfig { min_cleanable_ppm: 0, ..config }, Timestamp(0))
        );
        assert_eq!(Dirtiness::of(&segments, Offset(5)).clean_bytes, 0, "a segment is as dirty as its end");
    }

    #[test]
    fn what_waited_too_long_is_due_however_little_it_is() {
        let config = LogConfig { max_compaction_lag_ms: 1000, ..LogConfig::default() };
        let dirtiness = Dirtiness { clean_bytes: 1000, dirty_bytes: 1, oldest: Some(Timestamp(500)) };
        assert!(!dirtiness.is_due(&config, Timestamp(1500)));
        assert!(dirtiness.is_due(&config, Timestamp(1501)));
        assert!(!dirtiness.is_due(&config, Timestamp(0)), "from the future");
    }
}
