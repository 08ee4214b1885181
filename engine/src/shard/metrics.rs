//! What a shard counts: plain numbers on its own thread, read by whoever asks there.

use std::cell::Cell;
use std::time::Duration;

/// A number that only grows.
#[derive(Default, Debug)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get() + count);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Upper ends of the buckets of a [`Histogram`], in microseconds; what is longer goes into one more.
pub const HISTOGRAM_BOUNDS_US: [u64; 18] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600, 819_200, 1_638_400,
    6_553_600, 26_214_400,
];

/// How long something took, as counts of times up to each of [`HISTOGRAM_BOUNDS_US`].
#[derive(Default, Debug)]
pub struct Histogram {
    counts: [Cell<u64>; HISTOGRAM_BOUNDS_US.len() + 1],
    sum_ns: Cell<u64>,
}

impl Histogram {
    /// Counts one that took so long.
    pub fn observe(&self, took: Duration) {
        let us = took.as_micros() as u64;
        let bucket = &self.counts[HISTOGRAM_BOUNDS_US.partition_point(|bound| *bound < us)];
        bucket.set(bucket.get() + 1);
        self.sum_ns.set(self.sum_ns.get() + took.as_nanos() as u64);
    }

    /// How many fell into each bucket (the last one has no bound), and how long all took together.
    pub fn get(&self) -> ([u64; HISTOGRAM_BOUNDS_US.len() + 1], Duration) {
        (std::array::from_fn(|index| self.counts[index].get()), Duration::from_nanos(self.sum_ns.get()))
    }
}

/// What a shard counts.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Batches appended.
    pub batches_appended: Counter,
    /// Their bytes.
    pub bytes_appended: Counter,
    /// Their records.
    pub records_appended: Counter,
    /// Commit groups written to the journal.
    pub groups: Counter,
    /// How long a group took from its closing to its end: the durable write, and the turn in the order of groups.
    pub group_seconds: Histogram,
    /// How long commits waited for room in the journal, each time that there was none.
    pub journal_full_seconds: Histogram,
    /// Bytes of segments that went through the journal.
    pub journal_bytes: Counter,
    /// Bytes of segments that went straight to their file, durably.
    pub direct_bytes: Counter,
    /// Those of them that were written without a sync of their own: the group's covers them.
    pub covered_bytes: Counter,
    /// Bytes written to segments behind the appends.
    pub segment_bytes: Counter,
    /// Files of segments that were made ready before the log rolled.
    pub segments_prepared: Counter,
    /// Checkpoints.
    pub checkpoints: Counter,
    /// Reads served from memory, and from files.
    pub reads_memory: Counter,
    /// Reads that needed a file.
    pub reads_file: Counter,
    /// Bytes read from files for readers.
    pub bytes_read_file: Counter,
    /// Reads whose bytes were already under way or there when asked for.
    pub read_ahead_hits: Counter,
    /// Logs compacted.
    pub compactions: Counter,
    /// Compactions that ended with an error.
    pub compactions_failed: Counter,
    /// Bytes of segments before they were compacted.
    pub compaction_bytes_before: Counter,
    /// Bytes of them afterwards.
    pub compaction_bytes_after: Counter,
    /// Damaged batches found by readers.
    pub damaged: Counter,
}
