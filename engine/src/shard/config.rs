//! The settings of a store.

use std::path::PathBuf;

/// The settings of compaction, which may change while the store is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.backoff.ms`: how long the cleaner sleeps where nothing is to be done.
    pub backoff_ms: u64,
    /// Memory for the keys of one log, per shard, in bytes: its part of `log.cleaner.dedupe.buffer.size`. A log with more keys is
    /// compacted in parts.
    pub dedupe_bytes: usize,
    /// Bytes that each shard's cleaner reads and writes in a second: its part of `log.cleaner.io.max.bytes.per.second`.
    pub bytes_per_second: Option<u64>,
}

impl Default for CleanerConfig {
    fn default() -> CleanerConfig {
        CleanerConfig { enabled: true, backoff_ms: 15_000, dedupe_bytes: 128 << 20, bytes_per_second: None }
    }
}

/// The settings of a store; [`StoreConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data directory; created where it is missing.
    pub dir: PathBuf,
    /// Shards, each on a thread of its own: one per core.
    pub shards: usize,
    /// Whether each shard's thread stays on one core.
    pub pin: bool,
    /// The journal of each shard, in bytes (`corelog.journal.bytes`).
    pub journal_bytes: u64,
    /// Registered memory of each shard, in bytes (`corelog.arena.bytes`).
    pub arena_bytes: usize,
    /// Memory of each shard for what was appended last, in bytes (`corelog.cache.bytes`).
    pub cache_bytes: usize,
    /// The longest time between checkpoints, in milliseconds (`corelog.checkpoint.interval.ms`).
    pub checkpoint_interval_ms: u64,
    /// Bytes of deleted segments that each shard keeps as files for new ones (`corelog.recycle.bytes`).
    pub recycle_bytes: u64,
    /// How often retention looks, in milliseconds (`log.retention.check.interval.ms`).
    pub retention_check_ms: u64,
    /// Compaction, until [`Shard::configure_cleaner`](crate::Shard::configure_cleaner) says something else.
    pub cleaner: CleanerConfig,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_expiry_check_ms: u64,
    /// A durable append of at least so many pending bytes goes straight to its segment.
    pub direct_bytes_min: u64,
    /// Segment writes are made of so many bytes; of fewer while groups are committed.
    pub write_bytes: u64,
    /// Segment writes of one shard under way at once; fewer while groups are committed.
    pub writes_in_flight_max: usize,
    /// So many files are synced one by one, beside each other; more of them together, by one sync of their file system.
    pub sync_each_max: usize,
    /// Bytes that may wait for the disk, per shard; more are refused for the moment.
    pub backlog_bytes_max: u64,
    /// Whether segment files are opened with O_DIRECT where the file system has it (`corelog.direct`).
    pub direct: bool,
    /// Whether an index entry lookup may keep this many bytes of sealed segments' indexes in memory, per shard.
    pub index_cache_bytes: usize,
}

impl StoreConfig {
    /// The defaults for a store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> StoreConfig {
        StoreConfig {
            dir: dir.into(),
            shards: std::thread::available_parallelism().map_or(1, |count| count.get()),
            pin: true,
            journal_bytes: 256 << 20,
            arena_bytes: 256 << 20,
            cache_bytes: 160 << 20,
            checkpoint_interval_ms: 5_000,
            recycle_bytes: 4 << 30,
            retention_check_ms: 300_000,
            cleaner: CleanerConfig::default(),
            producer_expiry_check_ms: 600_000,
            direct_bytes_min: 256 << 10,
            write_bytes: 1 << 20,
            writes_in_flight_max: 32,
            sync_each_max: 256,
            backlog_bytes_max: 64 << 20,
            direct: true,
            index_cache_bytes: 64 << 20,
        }
    }
}
