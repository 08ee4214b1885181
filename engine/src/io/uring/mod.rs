//! The real machine: one io_uring for the disk on one thread, hosted by tokio-uring's runtime, which also has the sockets,
//! the timers and the cold files.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::Io;
use super::arena::Arena;
use super::buffer::Buffer;
use super::clock::Instant;
use super::facts::{IoCounters, IoFacts, RingMode};
use super::file::{DirEntry, OpenMode};
use crate::error::{Error, Result};
use crate::types::Timestamp;

mod cold;
mod covered;
mod file;
mod probe;
mod ring;

pub(super) use file::UringFile;
use probe::Known;
use ring::Ring;

/// The bytes of the arena's first registered piece: in use at once, while the rest is fetched from the kernel beside.
const FIRST_BUFFER_BYTES: usize = 8 << 20;
/// How long after its begin a world has the rest fetched, so that what starts has the processor to itself.
const REST_DELAY: Duration = Duration::from_millis(150);
/// The bytes of each further piece; the kernel takes at most 1 GiB at once.
const FIXED_BUFFER_BYTES: usize = 1 << 30;
/// The arena is registered where it is up to this many pieces.
const FIXED_BUFFERS_MAX: usize = 1024;

/// What a world on the real machine is made of.
#[derive(Clone, Debug)]
pub struct UringOptions {
    /// The core that the thread is pinned to; `None` leaves it to the kernel.
    pub core: Option<usize>,
    /// The best way to set up the ring that is tried; worse ones follow where the kernel is older.
    pub ring_mode: RingMode,
    /// Operations that are submitted with one system call at most; rounded up to a power of two.
    pub ring_entries: u32,
    /// The bytes of registered memory for reads and writes; rounded up to 2 MiB.
    pub arena_bytes: usize,
    /// Whether huge pages are asked for.
    pub huge_pages: bool,
    /// Whether memory and files are registered with the ring.
    pub registered: bool,
    /// Whether files are read and written past the page cache.
    pub direct: bool,
    /// The places of the ring's table of files; files opened beyond them are not registered.
    pub fixed_files: u32,
}

impl Default for UringOptions {
    fn default() -> UringOptions {
        UringOptions {
            core: None,
            ring_mode: RingMode::Defer,
            ring_entries: 256,
            arena_bytes: 64 << 20,
            huge_pages: true,
            registered: true,
            direct: true,
            fixed_files: 4096,
        }
    }
}

/// Runs `main` to its end on this thread with a world of its own; what it spawned and left is dropped then.
///
/// # Errors
/// [`Error::Unsupported`] where io_uring is missing or forbidden, with what to change; what is merely slower is a warning
/// in [`IoFacts`] and in the log.
///
/// # Panics
/// Where `main` or a task of this world panics, and where it is called within an asynchronous runtime.
pub fn run<F, Fut, T>(options: UringOptions, main: F) -> Result<T>
where
    F: FnOnce(Io) -> Fut,
    Fut: Future<Output = T>,
{
    let world = Rc::new(World::new(options)?);
    let mut builder = tokio_uring::builder();
    builder.entries(cold::QUEUE_ENTRIES);
    let runtime = tokio_uring::Runtime::new(&builder).map_err(|error| probe::explain(&error))?;
    let result = runtime.block_on(async {
        world.ring.start().map_err(|error| probe::explain(&error))?;
        World::grow_arena(&world);
        let mut main = pin!(main(Io::Uring(UringIo(Rc::clone(&world)))));
        let until_the_end = std::future::poll_fn(|context| {
            *world.main_waker.borrow_mut() = Some(context.waker().clone());
            assert!(!world.task_panicked.get(), "a task panicked, and its world ends with it");
            main.as_mut().poll(context)
        });
        Ok(until_the_end.await)
    });
    // Tasks that are left are dropped first; then nothing can be queued any more, and what is in flight is awaited.
    drop(runtime);
    world.ring.finish();
    result
}

/// One thread's world.
struct World {
    options: UringOptions,
    ring: Rc<Ring>,
    arena: Arena,
    known: Known,
    facts: RefCell<IoFacts>,
    counters: Cell<IoCounters>,
    /// Free places of the ring's table of files.
    places: RefCell<Vec<u32>>,
    /// Lists for operations on many slices, to be used again.
    iovecs: RefCell<Vec<Vec<libc::iovec>>>,
    random: Cell<u64>,
    main_waker: RefCell<Option<Waker>>,
    task_panicked: Cell<bool>,
}

impl World {
    fn new(options: UringOptions) -> Result<World> {
        let mut warnings = Vec::new();
        let core = options.core.filter(|core| match pin(*core) {
            Ok(()) => true,
            Err(error) => {
                warnings.push(format!("the thread is not pinned to core {core} ({error}): check taskset and cgroups"));
                false
            }
        });
        let (uring, ring_mode) = probe::create_ring(options.ring_entries, options.ring_mode)?;
        if ring_mode != options.ring_mode {
            warnings.push(format!("the disk ring runs in mode {}: Linux 6.1 or later is faster", ring_mode.name()));
        }
        let known = probe::known(&uring)?;
        let arena = Arena::staged(options.arena_bytes, options.huge_pages, true, FIRST_BUFFER_BYTES)
            .map_err(|error| out_of_memory(options.arena_bytes, &error))?;
        let huge_pages_bytes_granted = huge_pages_granted(&arena, options.huge_pages, &mut warnings);
        let ring = Rc::new(Ring::new(uring).map_err(|error| probe::explain(&error))?);
        let registered_buffers = options.registered && register_arena(&ring, &arena, &mut warnings);
        if registered_buffers {
            arena.set_registered();
        }
        let fixed_files =
            if options.registered { register_table(&ring, options.fixed_files, &mut warnings) } else { 0 };
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let facts = IoFacts {
            ring_mode,
            direct: options.direct,
            arena_bytes: arena.ready_bytes() as u64,
            huge_pages_bytes_granted,
            registered_buffers,
            fixed_files,
            core,
            warnings,
        };
        Ok(World {
            options,
            ring,
            arena,
            known,
            facts: RefCell::new(facts),
            counters: Cell::default(),
            places: RefCell::new((0..fixed_files).rev().collect()),
            iovecs: RefCell::default(),
            random: Cell::new(seed()),
            main_waker: RefCell::default(),
            task_panicked: Cell::new(false),
        })
    }

    /// Has the rest of the arena fetched from the kernel on a thread of its own, and used when it is there.
    fn grow_arena(world: &Rc<World>) {
        let Some(rest) = world.arena.rest() else { return };
        let world = Rc::clone(world);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(REST_DELAY).await;
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let fetching = std::thread::Builder::new().name("corelog-arena".into()).spawn(move || {
                rest.populate();
                let _ = sender.send(());
            });
            if let Err(error) = fetching {
                return tracing::warn!("the arena stays at {} bytes: {error}", world.arena.ready_bytes());
            }
            if receiver.await.is_ok() {
                world.use_rest();
            }
        });
    }

    fn use_rest(&self) {
        let mut warnings = Vec::new();
        let registered = self.facts.borrow().registered_buffers;
        if registered && !register_rest(&self.ring, &self.arena, &mut warnings) {
            return tracing::warn!("the arena stays at {} bytes: {}", self.arena.ready_bytes(), warnings.join("; "));
        }
        self.arena.grow();
        let mut facts = self.facts.borrow_mut();
        facts.huge_pages_bytes_granted = huge_pages_granted(&self.arena, self.options.huge_pages, &mut warnings);
        facts.arena_bytes = self.arena.ready_bytes() as u64;
        for warning in warnings {
            tracing::warn!("{warning}");
            facts.warnings.push(warning);
        }
    }

    /// A place in the ring's table of files for `fd`, or `None` where it has none.
    fn register_file(&self, fd: RawFd) -> Option<u32> {
        let place = self.places.borrow_mut().pop()?;
        match self.ring.submitter(|submitter| submitter.register_files_update(place, &[fd])) {
            Ok(_) => Some(place),
            Err(error) => {
                tracing::debug!("a file was not registered: {error}");
                self.places.borrow_mut().push(place);
                None
            }
        }
    }

    fn unregister_file(&self, place: u32) {
        match self.ring.submitter(|submitter| submitter.register_files_update(place, &[-1])) {
            Ok(_) => self.places.borrow_mut().push(place),
            Err(error) => tracing::warn!("file place {place} is lost: {error}"),
        }
    }

    fn warn_not_direct(&self, path: &Path) {
        let mut facts = self.facts.borrow_mut();
        if facts.direct {
            let warning = format!(
                "the file system of {} has no O_DIRECT (tmpfs?), its files go through the page cache: slower, and the \
                 cache competes for memory; use ext4 or XFS",
                path.display()
            );
            tracing::warn!("{warning}");
            facts.warnings.push(warning);
            facts.direct = false;
        }
    }

    /// Counts an operation by its result.
    fn count(&self, result: &io::Result<usize>, add: impl FnOnce(&mut IoCounters, u64)) {
        let mut counters = self.counters.get();
        match result {
            Ok(bytes) => add(&mut counters, *bytes as u64),
            Err(_) => counters.errors += 1,
        }
        self.counters.set(counters);
    }
}

fn pin(core: usize) -> nix::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)
}

fn out_of_memory(bytes: usize, error: &io::Error) -> Error {
    Error::Unsupported {
        what: format!("an arena of {bytes} bytes could not be mapped: {error}"),
        remedy: "give it less, or the machine or its container more memory".into(),
    }
}

/// The bytes of the arena in use that are on huge pages; a warning where that is not all of them.
fn huge_pages_granted(arena: &Arena, wanted: bool, warnings: &mut Vec<String>) -> u64 {
    let granted = probe::huge_page_bytes(arena.base() as usize, arena.ready_bytes());
    if wanted && granted < arena.ready_bytes() as u64 {
        warnings.push(format!(
            "{granted} of {} arena bytes are on huge pages, large reads and writes are slower; \
             set /sys/kernel/mm/transparent_hugepage/enabled to madvise or always, and leave more memory free",
            arena.ready_bytes()
        ));
    }
    granted
}

/// The pieces of the arena behind the first one.
fn further_pieces(arena: &Arena) -> Vec<libc::iovec> {
    let starts = (FIRST_BUFFER_BYTES..arena.bytes()).step_by(FIXED_BUFFER_BYTES);
    starts
        .map(|start| libc::iovec {
            iov_base: arena.base().wrapping_add(start).cast(),
            iov_len: FIXED_BUFFER_BYTES.min(arena.bytes() - start),
        })
        .collect()
}

/// Registers the first piece of the arena with the ring; false, with a warning, where too little memory may be locked.
fn register_arena(ring: &Ring, arena: &Arena, warnings: &mut Vec<String>) -> bool {
    let further = further_pieces(arena).len();
    if further >= FIXED_BUFFERS_MAX {
        warnings.push(format!("an arena of {} bytes is too large to be registered; give it less", arena.bytes()));
        return false;
    }
    let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut pieces = vec![none; further + 1];
    pieces[0] = libc::iovec { iov_base: arena.base().cast(), iov_len: arena.ready_bytes() };
    // SAFETY: the kernel pins the memory; `World` keeps the arena as long as the ring. An empty piece is filled later.
    let registered =
        ring.submitter(|submitter| unsafe { submitter.register_buffers2(&pieces, &vec![0; pieces.len()]) });
    registered.map_err(|error| warnings.push(not_registered(arena.ready_bytes(), &error))).is_ok()
}

/// Registers the other pieces, which are in memory now.
fn register_rest(ring: &Ring, arena: &Arena, warnings: &mut Vec<String>) -> bool {
    let pieces = further_pieces(arena);
    let tags = vec![0; pieces.len()];
    // SAFETY: as for the first piece; the places in the table are empty.
    let registered = ring.submitter(|submitter| unsafe { submitter.register_buffers_update(1, &pieces, Some(&tags)) });
    registered.map_err(|error| warnings.push(not_registered(arena.bytes(), &error))).is_ok()
}

fn not_registered(bytes: usize, error: &io::Error) -> String {
    let limit = probe::lockable_bytes().map_or("unlimited".into(), |bytes| bytes.to_string());
    format!(
        "the arena of {bytes} bytes could not be registered with the ring ({error}), reads and writes cost more CPU; \
         RLIMIT_MEMLOCK is {limit}: raise it (ulimit -l unlimited, LimitMEMLOCK=infinity in the systemd unit) \
         or grant CAP_IPC_LOCK"
    )
}

/// Makes the ring's table of files; returns its places, 0 with a warning where there is none.
fn register_table(ring: &Ring, wanted: u32, warnings: &mut Vec<String>) -> u32 {
    let open_files_max = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let places = u64::from(wanted).min(open_files_max) as u32;
    if places == 0 {
        return 0;
    }
    match ring.submitter(|submitter| submitter.register_files_sparse(places)) {
        Ok(()) => places,
        Err(error) => {
            warnings.push(format!("no table of {places} files could be registered with the ring: {error}"));
            0
        }
    }
}

fn seed() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(32) | 1
}

/// Lies in each task and is dropped with it.
struct EndsTheWorld(Rc<World>);

impl Drop for EndsTheWorld {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.task_panicked.set(true);
            if let Some(waker) = self.0.main_waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

/// The real machine, as one thread sees it.
#[derive(Clone)]
pub struct UringIo(Rc<World>);

impl UringIo {
    pub(super) async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<UringFile> {
        if mode == OpenMode::Create && !path.exists() {
            // To make a file may wait for the file system's journal, which this thread must not do.
            cold::create(path).await?;
        }
        UringFile::open(&self.0, path, mode)
    }

    pub(super) fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    pub(super) fn list_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            let Ok(name) = entry.file_name().into_string() else { continue };
            entries.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len() });
        }
        Ok(entries)
    }

    pub(super) fn file_len(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len())
    }

    pub(super) fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        let modified = std::fs::metadata(path)?.modified()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Timestamp(since.as_millis() as i64))
    }

    pub(super) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        cold::rename(from, to).await
    }

    pub(super) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        cold::remove_file(path).await
    }

    pub(super) async fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        cold::remove_dir_all(dir).await
    }

    pub(super) async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        cold::sync_dir(dir).await
    }

    pub(super) async fn sync_all(&self, dir: &Path) -> io::Result<()> {
        cold::sync_all(dir).await
    }

    pub(super) async fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        cold::read(path).await
    }

    pub(super) async fn write_synced(&self, path: &Path, contents: Vec<u8>) -> io::Result<()> {
        cold::write_synced(path, contents).await
    }

    pub(super) async fn append_file(&self, path: &Path, at: u64, contents: Vec<u8>) -> io::Result<()> {
        cold::write_at(path, at, contents).await
    }

    pub(super) fn alloc(&self, len: usize) -> Buffer {
        self.0.arena.allocate(len)
    }

    pub(super) fn now(&self) -> Instant {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
        Instant(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
    }

    pub(super) fn unix_time(&self) -> Timestamp {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux has a clock");
        Timestamp(now.tv_sec() * 1000 + now.tv_nsec() / 1_000_000)
    }

    /// The runtime would keep a task's panic to itself; a bug in one ends its world instead.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let bug = EndsTheWorld(Rc::clone(&self.0));
        let task = async move {
            let _bug = bug;
            task.await;
        };
        drop(tokio::task::spawn_local(task));
    }

    /// Submits what is queued now, not when the tasks that are ready have run.
    pub(super) fn submit(&self) {
        self.0.ring.submit();
    }

    pub(super) fn random(&self) -> u64 {
        super::random::next(&self.0.random)
    }

    pub(super) fn facts(&self) -> IoFacts {
        self.0.facts.borrow().clone()
    }

    pub(super) fn counters(&self) -> IoCounters {
        IoCounters {
            enters: self.0.ring.enters(),
            in_flight: self.0.ring.in_flight() as u64,
            arena_free_bytes: self.0.arena.free_bytes() as u64,
            heap_buffers: self.0.arena.heap_buffers(),
            ..self.0.counters.get()
        }
    }
}
