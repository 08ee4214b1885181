//! A file of the simulated machine: one operation per call, which takes its time and may fail or fall short.

use std::io;
use std::path::Path;
use std::rc::Rc;

use super::disk::Inode;
use super::faults::Operation;
use super::machine::Machine;
use crate::io::buffer::{Buffer, Slice};
use crate::io::file::{OpenMode, Sync};

/// Reads and writes fall short at multiples of this.
const SHORT_BYTES: u64 = 512;

struct OpenFile {
    machine: Rc<Machine>,
    inode: Inode,
    path: Rc<Path>,
    mode: OpenMode,
}

/// An open file of the simulated machine.
#[derive(Clone)]
pub(crate) struct SimFile(Rc<OpenFile>);

impl SimFile {
    pub(super) async fn open(machine: &Rc<Machine>, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        machine.begin_operation(Operation::Open, path)?;
        let now = machine.unix_time();
        let inode = machine.disk.borrow_mut().file(path, mode == OpenMode::Create, now)?;
        machine.note(format_args!("open {} {mode:?}", path.display()));
        Ok(SimFile::of(machine, inode, path, mode))
    }

    pub(super) fn of(machine: &Rc<Machine>, inode: Inode, path: &Path, mode: OpenMode) -> SimFile {
        machine.disk.borrow_mut().open(inode);
        SimFile(Rc::new(OpenFile { machine: Rc::clone(machine), inode, path: Rc::from(path), mode }))
    }

    /// Reads up to `len` bytes at `at` into the spare part of `buffer` after its first `skip` bytes.
    pub(crate) async fn read(
        &self,
        mut buffer: Buffer,
        skip: usize,
        at: u64,
        len: usize,
    ) -> (io::Result<usize>, Buffer) {
        let file = Rc::clone(&self.0);
        let machine = Rc::clone(&file.machine);
        let reading = async move {
            let machine = &file.machine;
            let begun = machine.begin_operation(Operation::Read, &file.path);
            machine.executor.sleep_until(file.after(machine.seed.nanos(&machine.config.read_time))).await;
            let into = &mut buffer.spare_mut()[skip..skip + len];
            let read = begun.and_then(|()| file.read_now(at, into));
            machine.count(|counters| match &read {
                Ok(read) => {
                    counters.reads += 1;
                    counters.bytes_read += *read as u64;
                }
                Err(_) => counters.errors += 1,
            });
            (read, buffer)
        };
        machine.detached(reading).await
    }

    /// Writes up to all bytes of the slices from `at` on.
    pub(crate) async fn write(&self, slices: &[Slice], at: u64, sync: Sync) -> io::Result<usize> {
        let mut bytes = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        self.write_bytes(bytes, at, sync).await
    }

    /// As [`SimFile::write`], of bytes that need not be whole blocks.
    pub(super) async fn write_bytes(&self, bytes: Vec<u8>, at: u64, sync: Sync) -> io::Result<usize> {
        if self.0.mode == OpenMode::Read {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let file = Rc::clone(&self.0);
        let machine = Rc::clone(&file.machine);
        let writing = async move {
            let written = file.write_now(bytes, at, sync).await;
            file.machine.count(|counters| match &written {
                Ok(written) => {
                    counters.writes += 1;
                    counters.bytes_written += *written as u64;
                }
                Err(_) => counters.errors += 1,
            });
            written
        };
        machine.detached(writing).await
    }

    /// Makes what was written before this call durable.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let file = Rc::clone(&self.0);
        let machine = Rc::clone(&file.machine);
        let syncing = async move {
            let machine = &file.machine;
            let begun = machine.begin_operation(Operation::Sync, &file.path);
            let (before, completed) = {
                let mut disk = machine.disk.borrow_mut();
                (disk.bytes(file.inode)?.next(), disk.completed())
            };
            machine.executor.sleep_until(file.after(machine.seed.nanos(&machine.config.sync_time))).await;
            let fails = machine.seed.happens(machine.faults.borrow().sync_errors);
            let synced = begun.and_then(|()| if fails { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) });
            let mut disk = machine.disk.borrow_mut();
            if synced.is_ok() && !machine.fua {
                disk.flush(&completed);
            }
            let bytes = disk.bytes(file.inode)?;
            match &synced {
                Ok(()) => bytes.sync(before),
                Err(_) => bytes.fail_sync(&machine.seed),
            }
            machine.note(format_args!("sync {} {}", file.path.display(), synced.is_ok()));
            machine.count(|counters| if synced.is_ok() { counters.syncs += 1 } else { counters.errors += 1 });
            synced
        };
        machine.detached(syncing).await
    }

    /// Extends the file to hold `len` bytes at `from`.
    pub(crate) async fn allocate(&self, from: u64, len: u64) -> io::Result<()> {
        let end = from + len;
        let before = self.len()?;
        self.resize(before.max(end)).await
    }

    /// Cuts or extends the file.
    pub(crate) async fn truncate(&self, len: u64) -> io::Result<()> {
        self.resize(len).await
    }

    async fn resize(&self, len: u64) -> io::Result<()> {
        let machine = &self.0.machine;
        if self.0.mode == OpenMode::Read {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        machine.begin_operation(Operation::Resize, &self.0.path)?;
        self.0.make_room(len)?;
        if len != self.len()? {
            machine.disk.borrow_mut().bytes(self.0.inode)?.set_len(len);
        }
        machine.note(format_args!("resize {} to {len}", self.0.path.display()));
        machine.executor.sleep_until(self.0.after(machine.seed.nanos(&machine.config.write_time))).await;
        Ok(())
    }

    /// Whether a durable write to another file makes what is settled in this one durable.
    pub(crate) fn shares_flushes(&self) -> bool {
        !self.0.machine.fua
    }

    /// The bytes from the start whose blocks were written and synced before.
    pub(crate) fn settled_bytes(&self) -> io::Result<u64> {
        Ok(self.0.machine.disk.borrow_mut().bytes(self.0.inode)?.settled_bytes())
    }

    /// The file's length.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.0.machine.disk.borrow_mut().bytes(self.0.inode)?.len())
    }
}

impl OpenFile {
    /// The moment at which an operation ends that usually takes `nanos`.
    fn after(&self, nanos: u64) -> u64 {
        self.machine.executor.now() + self.machine.duration(nanos)
    }

    fn read_now(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let machine = &self.machine;
        let faults = machine.faults.borrow().clone();
        if machine.seed.happens(faults.read_errors) {
            // What is in memory after a failed read is anything.
            into.iter_mut().for_each(|byte| *byte = machine.seed.any() as u8);
            machine.note(format_args!("read {} at {at} fails", self.path.display()));
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let mut read = machine.disk.borrow_mut().bytes(self.inode)?.read(at, into);
        if machine.seed.happens(faults.short_reads) {
            read = shorter(&machine.seed, read);
        }
        if read > 0 && machine.seed.happens(faults.flipped_reads) {
            into[machine.seed.below(read as u64) as usize] ^= 1 << machine.seed.below(8);
        }
        machine.note(format_args!("read {} at {at}: {read} of {}", self.path.display(), into.len()));
        Ok(read)
    }

    async fn write_now(&self, mut bytes: Vec<u8>, at: u64, sync: Sync) -> io::Result<usize> {
        let machine = &self.machine;
        let faults = machine.faults.borrow().clone();
        let len = bytes.len();
        machine.begin_operation(Operation::Write, &self.path)?;
        self.make_room(at + len as u64)?;
        let fails = machine.seed.happens(faults.write_errors);
        if machine.seed.happens(faults.short_writes) {
            bytes.truncate(shorter(&machine.seed, len));
        }
        let written = bytes.len();
        let flip = written > 0 && machine.seed.happens(faults.flipped_writes);
        let durable = sync == Sync::Data;
        let (flight, completed) = {
            let mut disk = machine.disk.borrow_mut();
            let completed = if durable && !machine.fua { disk.completed() } else { Vec::new() };
            (disk.take_off(self.inode, at, bytes, durable), completed)
        };
        let mut nanos = machine.seed.nanos(&machine.config.write_time);
        if durable {
            nanos += machine.seed.nanos(&machine.config.sync_time);
        }
        machine.executor.sleep_until(self.after(nanos)).await;
        let now = machine.unix_time();
        let mut disk = machine.disk.borrow_mut();
        if fails {
            disk.crash_land(flight, &machine.seed, now);
            machine.note(format_args!("write {} at {at} fails", self.path.display()));
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        disk.land(flight, written, now);
        disk.flush(&completed);
        if flip {
            let place = at + machine.seed.below(written as u64);
            disk.bytes(self.inode)?.flip(place, 1 << machine.seed.below(8));
        }
        machine.note(format_args!("write {} at {at}: {written} of {len}, {sync:?}", self.path.display()));
        Ok(written)
    }

    /// An error where the file cannot grow to `len` bytes.
    fn make_room(&self, len: u64) -> io::Result<()> {
        let Some(capacity) = self.machine.faults.borrow().capacity_bytes else { return Ok(()) };
        let mut disk = self.machine.disk.borrow_mut();
        let grows = len.saturating_sub(disk.bytes(self.inode)?.len());
        if grows > 0 && disk.used_bytes() + grows > capacity {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.machine.disk.borrow_mut().close(self.inode);
    }
}

/// A whole number of sectors below `len`.
fn shorter(seed: &super::seed::Seed, len: usize) -> usize {
    let sectors = (len as u64).div_ceil(SHORT_BYTES);
    if sectors == 0 { len } else { ((seed.below(sectors) * SHORT_BYTES) as usize).min(len) }
}
