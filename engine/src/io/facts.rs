//! What a world offers and what it has done so far: for logs, metrics and reports.

/// How the disk ring was set up; each falls back to the next where the kernel is older.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingMode {
    /// `SINGLE_ISSUER | DEFER_TASKRUN` (Linux 6.1): completions run when this thread asks for them.
    Defer,
    /// `COOP_TASKRUN` (Linux 5.19).
    Coop,
    /// No flags.
    Plain,
    /// No ring: the machine is simulated.
    Simulated,
}

impl RingMode {
    /// The mode in a word, for metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            RingMode::Defer => "defer",
            RingMode::Coop => "coop",
            RingMode::Plain => "plain",
            RingMode::Simulated => "simulated",
        }
    }
}

/// What the machine granted to one world.
#[derive(Clone, Debug)]
pub struct IoFacts {
    /// How the disk ring was set up.
    pub ring_mode: RingMode,
    /// Whether every file opened so far is read and written past the page cache.
    pub direct: bool,
    /// The bytes of the arena.
    pub arena_bytes: u64,
    /// The bytes of the arena that lay on huge pages when it was made.
    pub huge_pages_bytes_granted: u64,
    /// Whether the ring knows the arena, so that its pages are not pinned for each operation.
    pub registered_buffers: bool,
    /// The places of the ring's table of files; 0 where files are not registered.
    pub fixed_files: u32,
    /// The core that the thread is pinned to.
    pub core: Option<usize>,
    /// What is less than it could be, each with what to change.
    pub warnings: Vec<String>,
}

/// Counts since the world began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IoCounters {
    /// Read operations that completed.
    pub reads: u64,
    /// Write operations that completed.
    pub writes: u64,
    /// Sync operations that completed; durable writes are not among them.
    pub syncs: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Operations that failed.
    pub errors: u64,
    /// System calls into the disk ring.
    pub enters: u64,
    /// Operations under way.
    pub in_flight: u64,
    /// Bytes of the arena that are not handed out.
    pub arena_free_bytes: u64,
    /// Buffers that came from the heap because the arena was full or they are larger than 1 MiB.
    pub heap_buffers: u64,
}
