//! What a shard counts: plain numbers on its own thread, read by whoever asks there.

use std::cell::Cell;

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
    /// Bytes of segments that went through the journal.
    pub journal_bytes: Counter,
    /// Bytes of segments that went straight to their file, durably.
    pub direct_bytes: Counter,
    /// Bytes written to segments behind the appends.
    pub segment_bytes: Counter,
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
    /// Damaged batches found by readers.
    pub damaged: Counter,
}
