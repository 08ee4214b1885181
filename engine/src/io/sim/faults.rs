//! What may go wrong on the simulated machine, how often, and how long things take.

use std::ops::Range;
use std::time::Duration;

/// An operation that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Reading a file.
    Read,
    /// Writing a file.
    Write,
    /// Syncing a file.
    Sync,
    /// Opening a file.
    Open,
    /// Reserving room, or changing a file's length.
    Resize,
    /// Creating, renaming, removing and syncing names.
    Names,
}

/// A fault at a chosen place.
#[derive(Clone, Debug)]
pub struct Injection {
    /// Which operations.
    pub operation: Operation,
    /// A part of the file's path.
    pub path: String,
    /// How many of them succeed first.
    pub skip: u32,
    /// How many of them fail then.
    pub count: u32,
    /// The operating system's code, such as `libc::EIO`.
    pub code: i32,
}

/// Faults by chance; each chance is out of a million operations.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Reads that fail with EIO.
    pub read_errors: u32,
    /// Writes that fail with EIO, any of their sectors written.
    pub write_errors: u32,
    /// Syncs that fail with EIO, after which any of what was written is durable and none is tried again.
    pub sync_errors: u32,
    /// Reads that return fewer bytes than there are.
    pub short_reads: u32,
    /// Writes that write fewer bytes than they were given.
    pub short_writes: u32,
    /// Operations that take `slow_time` longer.
    pub slow: u32,
    /// How much longer slow operations take.
    pub slow_time: Duration,
    /// Reads that return one bit wrong; the disk still has it right.
    pub flipped_reads: u32,
    /// Writes after which one bit of what was written is wrong on the disk.
    pub flipped_writes: u32,
    /// Uses of a connection that find it cut.
    pub cut_connections: u32,
    /// The bytes that the disk holds; `None` is without end.
    pub capacity_bytes: Option<u64>,
}

/// How the simulated machine is made.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// What goes wrong by chance.
    pub faults: Faults,
    /// How long a read takes.
    pub read_time: Range<Duration>,
    /// How long a write takes.
    pub write_time: Range<Duration>,
    /// How long a sync takes, and how much longer a durable write.
    pub sync_time: Range<Duration>,
    /// How long bytes take to the other end of a connection.
    pub network_time: Range<Duration>,
    /// Whether a rename may survive a power cut in part, as without a journaling file system.
    pub renames_tear: bool,
    /// Whether a durable write goes past the device's cache (FUA) rather than flush all of it; `None` leaves that to the seed.
    pub fua: Option<bool>,
    /// The bytes of the arena that buffers come from.
    pub arena_bytes: usize,
    /// The steps after which a run is believed to hang.
    pub steps_max: u64,
    /// Whether events are kept to be read, beside their fingerprint.
    pub keep_trace: bool,
}

impl Default for SimConfig {
    fn default() -> SimConfig {
        let micros = |range: Range<u64>| Duration::from_micros(range.start)..Duration::from_micros(range.end);
        SimConfig {
            faults: Faults::default(),
            read_time: micros(20..200),
            write_time: micros(20..200),
            sync_time: micros(30..1000),
            network_time: micros(10..500),
            renames_tear: true,
            fua: None,
            arena_bytes: 16 << 20,
            steps_max: 50_000_000,
            keep_trace: false,
        }
    }
}
