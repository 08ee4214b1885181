//! A simulated machine: the same engine on a virtual clock and a disk that forgets, all from one seed.
//!
//! A [`Simulation`] is the machine, and each run on it a process. Between runs the process died, or [`Simulation::crash`]
//! cut the power: then what was not synced is gone, kept or torn, as the seed says. The same seed gives the same run,
//! event for event; [`Simulation::fingerprint`] shows it.
//!
//! - `executor`, `seed` what happens next; `machine` what outlives a process
//! - `disk` names, `contents` bytes, each as written and as durable; `file` operations on them
//! - `net` connections; `faults` what goes wrong, how often

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::Io;
use super::buffer::Buffer;
use super::clock::Instant;
use super::facts::{IoCounters, IoFacts, RingMode};
use super::file::{DirEntry, OpenMode, Sync};
use super::random;
use crate::types::{Position, Timestamp};

mod contents;
mod disk;
mod executor;
mod faults;
mod file;
mod machine;
mod net;
mod seed;

pub use contents::Survival;
pub use faults::{Faults, Injection, Operation, SimConfig};
pub(super) use file::SimFile;
pub(super) use net::{SimListener, SimStream};

use machine::Machine;

/// When a run is cut short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// When a time has passed.
    After(Duration),
    /// When this many disk operations were begun, the last of them in flight; at least 1.
    AfterOperations(u64),
}

/// A simulated machine.
pub struct Simulation {
    number: u64,
    machine: Rc<Machine>,
}

impl Simulation {
    /// A machine with an empty disk, on which everything follows from `seed`.
    pub fn new(seed: u64, config: SimConfig) -> Simulation {
        Simulation { number: seed, machine: Rc::new(Machine::new(seed, config)) }
    }

    /// Runs `main` to its end as a process; what it spawned and left dies with it, and what it had begun to write is
    /// written.
    ///
    /// # Panics
    /// Where every task waits for something that will not come, or after [`SimConfig::steps_max`] steps.
    pub fn run<F, Fut, T>(&self, main: F) -> T
    where
        F: FnOnce(Io) -> Fut,
        Fut: Future<Output = T>,
    {
        self.run_with(None, main).expect("a run without a stop ends with its main task")
    }

    /// As [`Simulation::run`], cut short where `stop` comes first; then `None`, and [`Simulation::crash`] may follow.
    pub fn run_until<F, Fut, T>(&self, stop: Stop, main: F) -> Option<T>
    where
        F: FnOnce(Io) -> Fut,
        Fut: Future<Output = T>,
    {
        self.run_with(Some(stop), main)
    }

    fn run_with<F, Fut, T>(&self, stop: Option<Stop>, main: F) -> Option<T>
    where
        F: FnOnce(Io) -> Fut,
        Fut: Future<Output = T>,
    {
        let _named = SeedOnPanic(self.number);
        let machine = &self.machine;
        // What an earlier process had begun completes, unless the power was cut meanwhile.
        machine.process_died();
        machine.begin(match stop {
            Some(Stop::AfterOperations(count)) => Some(count),
            _ => None,
        });
        if let Some(Stop::After(time)) = stop {
            let sleep = machine.sleep(time);
            let executor = Rc::clone(&machine.executor);
            machine.executor.spawn(async move {
                sleep.await;
                executor.stop();
            });
        }
        let io = Io::Sim(SimIo(Rc::clone(machine)));
        // Called within the run, so that `main` may spawn before it first waits.
        let result = machine.executor.run(&machine.seed, machine.config.steps_max, async move { main(io).await });
        machine.note(format_args!("the process died"));
        result
    }

    /// Cuts the power: completed durable writes and synced files and names are left; of the rest the seed picks what
    /// survives, and tears it, at sectors of 512 bytes. Some seconds pass.
    pub fn crash(&self) {
        self.machine.cut_power(Survival::Some);
    }

    /// As [`Simulation::crash`], with a say in what survives of what had completed.
    pub fn crash_with(&self, survival: Survival) {
        self.machine.cut_power(survival);
    }

    /// Changes what goes wrong by chance from here on.
    pub fn set_faults(&self, faults: Faults) {
        *self.machine.faults.borrow_mut() = faults;
    }

    /// Makes operations at a chosen place fail.
    pub fn inject(&self, injection: Injection) {
        self.machine.injections.borrow_mut().push(injection);
    }

    /// The disk operations begun in the last run, for [`Stop::AfterOperations`].
    pub fn operations(&self) -> u64 {
        self.machine.operations()
    }

    /// Every file on the disk, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        self.machine.disk.borrow().files()
    }

    /// The bytes of a file, from outside: nothing fails and no time passes. `None` where there is no such file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut disk = self.machine.disk.borrow_mut();
        let inode = disk.find(path).ok()?;
        let file = disk.bytes(inode).ok()?;
        let mut bytes = vec![0; file.len() as usize];
        file.read(0, &mut bytes);
        Some(bytes)
    }

    /// Changes bytes of a file from outside, as a decaying disk does; the file's length stays.
    ///
    /// # Panics
    /// Where there is no such file.
    pub fn damage(&self, path: &Path, position: Position, bytes: &[u8]) {
        let mut disk = self.machine.disk.borrow_mut();
        let inode = disk.find(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        disk.bytes(inode).expect("a file").rot(position.0, bytes);
    }

    /// Flips one bit of a file from outside, as a decaying disk does.
    ///
    /// # Panics
    /// Where there is no such byte.
    pub fn flip_bit(&self, path: &Path, position: Position, bit: u8) {
        let mut disk = self.machine.disk.borrow_mut();
        let inode = disk.find(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = disk.bytes(inode).expect("a file");
        assert!(position.0 < file.len(), "{} ends before byte {position}", path.display());
        file.flip(position.0, 1 << bit);
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        Instant(self.machine.executor.now())
    }

    /// A number that two runs only share if the same things happened in them in the same order.
    pub fn fingerprint(&self) -> u64 {
        self.machine.executor.hash()
    }

    /// What happened on the disk, where [`SimConfig::keep_trace`] is set.
    pub fn trace(&self) -> Vec<String> {
        self.machine.trace()
    }
}

/// Says which seed to try again.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation seed {}", self.0);
        }
    }
}

/// The simulated machine, as a process on it sees it.
#[derive(Clone)]
pub struct SimIo(Rc<Machine>);

impl SimIo {
    pub(super) async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        SimFile::open(&self.0, path, mode).await
    }

    /// An operation on names: done at once, so that a power cut while it lasts may keep it or not.
    async fn names<T>(&self, what: &str, path: &Path, change: impl FnOnce(&Machine) -> io::Result<T>) -> io::Result<T> {
        self.0.begin_operation(Operation::Names, path)?;
        let changed = change(&self.0);
        self.0.note(format_args!("{what} {} {}", path.display(), changed.is_ok()));
        let nanos = self.0.duration(self.0.seed.nanos(&self.0.config.write_time));
        self.0.executor.sleep_until(self.0.executor.now() + nanos).await;
        changed
    }

    pub(super) async fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.names("create directory", dir, |machine| {
            machine.disk.borrow_mut().create_dir_all(dir, machine.unix_time())
        })
        .await
    }

    pub(super) fn list_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.disk.borrow().list(dir)
    }

    pub(super) fn file_len(&self, path: &Path) -> io::Result<u64> {
        let mut disk = self.0.disk.borrow_mut();
        let inode = disk.find(path)?;
        Ok(disk.bytes(inode).map_or(4096, |bytes| bytes.len()))
    }

    pub(super) fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        let disk = self.0.disk.borrow();
        Ok(disk.modified(disk.find(path)?))
    }

    pub(super) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.names("rename", from, |machine| machine.disk.borrow_mut().rename(from, to, machine.unix_time())).await
    }

    pub(super) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.names("remove", path, |machine| machine.disk.borrow_mut().remove_file(path, machine.unix_time())).await
    }

    pub(super) async fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.names("remove directory", dir, |machine| {
            machine.disk.borrow_mut().remove_dir_all(dir, machine.unix_time())
        })
        .await
    }

    pub(super) async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (inode, last) = {
            let disk = self.0.disk.borrow();
            (disk.find(dir)?, disk.changes())
        };
        self.names("sync directory", dir, |_| Ok(())).await?;
        if self.0.seed.happens(self.0.faults.borrow().sync_errors) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.0.disk.borrow_mut().sync_dir(inode, last, self.0.config.renames_tear);
        Ok(())
    }

    pub(super) async fn sync_all(&self, dir: &Path) -> io::Result<()> {
        let (completed, last) = {
            let disk = self.0.disk.borrow();
            disk.find(dir)?;
            (disk.completed(), disk.changes())
        };
        self.names("sync all", dir, |_| Ok(())).await?;
        let fails = self.0.seed.happens(self.0.faults.borrow().sync_errors);
        let mut disk = self.0.disk.borrow_mut();
        if fails {
            disk.fail_sync_all(&completed, &self.0.seed);
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        disk.sync_all(&completed, last, self.0.config.renames_tear);
        Ok(())
    }

    pub(super) async fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read).await?;
        let mut bytes = Vec::new();
        loop {
            let buffer = Buffer::heap(COLD_READ_BYTES);
            let (read, mut buffer) = file.read(buffer, 0, bytes.len() as u64, COLD_READ_BYTES).await;
            let read = read?;
            buffer.advance(read);
            bytes.extend_from_slice(&buffer);
            if bytes.len() as u64 >= file.len()? {
                return Ok(bytes);
            }
        }
    }

    pub(super) async fn write_synced(&self, path: &Path, contents: Vec<u8>) -> io::Result<()> {
        let file = self.open(path, OpenMode::Create).await?;
        file.truncate(0).await?;
        self.write_all(&file, 0, contents).await?;
        file.sync().await
    }

    pub(super) async fn append_file(&self, path: &Path, at: u64, contents: Vec<u8>) -> io::Result<()> {
        let file = self.open(path, OpenMode::Create).await?;
        self.write_all(&file, at, contents).await
    }

    async fn write_all(&self, file: &SimFile, at: u64, contents: Vec<u8>) -> io::Result<()> {
        let mut done = 0;
        while done < contents.len() {
            done += file.write_bytes(contents[done..].to_vec(), at + done as u64, Sync::None).await?;
        }
        Ok(())
    }

    pub(super) fn alloc(&self, len: usize) -> Buffer {
        self.0.arena.allocate(len)
    }

    pub(super) fn now(&self) -> Instant {
        Instant(self.0.executor.now())
    }

    pub(super) fn unix_time(&self) -> Timestamp {
        self.0.unix_time()
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.executor.spawn(task);
    }

    pub(super) async fn yield_now(&self) {
        let yielded = Cell::new(false);
        std::future::poll_fn(|context| {
            if yielded.replace(true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }

    pub(super) fn random(&self) -> u64 {
        random::next(&self.0.numbers)
    }

    pub(super) fn listen(&self, addr: SocketAddr, reuse_port: bool) -> io::Result<SimListener> {
        SimListener::bind(&self.0, addr, reuse_port)
    }

    pub(super) async fn connect(&self, addr: SocketAddr) -> io::Result<SimStream> {
        SimStream::connect(&self.0, addr).await
    }

    pub(super) fn facts(&self) -> IoFacts {
        IoFacts {
            ring_mode: RingMode::Simulated,
            direct: true,
            arena_bytes: self.0.arena.bytes() as u64,
            huge_pages_bytes_granted: 0,
            registered_buffers: false,
            fixed_files: 0,
            core: None,
            warnings: Vec::new(),
        }
    }

    pub(super) fn counters(&self) -> IoCounters {
        IoCounters {
            arena_free_bytes: self.0.arena.free_bytes() as u64,
            heap_buffers: self.0.arena.heap_buffers(),
            ..self.0.counters.get()
        }
    }
}

/// The bytes of one read of a small file.
const COLD_READ_BYTES: usize = 64 << 10;
