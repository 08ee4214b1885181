//! A file on the disk ring: one operation per call, on registered memory and a registered file where there are any.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;

use io_uring::{opcode, squeue, types};
use smallvec::SmallVec;

use super::covered;
use super::ring::Held;
use super::{FIRST_BUFFER_BYTES, FIXED_BUFFER_BYTES, World};
use crate::io::buffer::{Buffer, Slice};
use crate::io::file::{OpenMode, Sync};

/// Builds an entry for the registered file where there is one, else for the descriptor.
macro_rules! entry {
    ($file:expr, $fd:ident => $entry:expr) => {
        match $file.0.place {
            Some(place) => {
                let $fd = types::Fixed(place);
                $entry.build()
            }
            None => {
                let $fd = types::Fd($file.fd().as_raw_fd());
                $entry.build()
            }
        }
    };
}

/// The index of the registered piece of the arena that a place in it belongs to.
fn piece(place: usize) -> u16 {
    match place.checked_sub(FIRST_BUFFER_BYTES) {
        Some(behind) => 1 + (behind / FIXED_BUFFER_BYTES) as u16,
        None => 0,
    }
}

/// An open file; closed when nobody, no operation in flight either, holds it.
pub(super) struct OpenFile {
    world: Rc<World>,
    /// There until the file is dropped.
    fd: Option<OwnedFd>,
    /// Its place in the ring's table of files.
    place: Option<u32>,
}

/// A file of the real machine.
#[derive(Clone)]
pub(crate) struct UringFile(Rc<OpenFile>);

impl UringFile {
    /// Opens `path`, past the page cache where its file system allows.
    pub(super) fn open(world: &Rc<World>, path: &Path, mode: OpenMode) -> io::Result<UringFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create(mode == OpenMode::Create);
        let direct = world.options.direct;
        let opened = options.custom_flags(if direct { libc::O_DIRECT } else { 0 }).open(path);
        let file = match opened {
            Err(error) if direct && error.raw_os_error() == Some(libc::EINVAL) => {
                world.warn_not_direct(path);
                options.custom_flags(0).open(path)?
            }
            opened => opened?,
        };
        let fd = OwnedFd::from(file);
        let place = world.register_file(fd.as_raw_fd());
        Ok(UringFile(Rc::new(OpenFile { world: Rc::clone(world), fd: Some(fd), place })))
    }

    /// Reads up to `len` bytes at `at` into the spare part of `buffer` after its first `skip` bytes; the caller advances.
    pub(crate) async fn read(
        &self,
        mut buffer: Buffer,
        skip: usize,
        at: u64,
        len: usize,
    ) -> (io::Result<usize>, Buffer) {
        let owner = buffer.arena();
        let spare = &mut buffer.spare_mut()[skip..skip + len];
        let (start, len) = (spare.as_mut_ptr(), len as u32);
        let world = &self.0.world;
        let entry = match world.arena.registered_place(owner, start) {
            Some(place) => entry!(self, fd => opcode::ReadFixed::new(fd, start, len, piece(place)).offset(at)),
            None => entry!(self, fd => opcode::Read::new(fd, start, len).offset(at)),
        };
        // SAFETY: `Held` owns the buffer, whose spare part is at this address wherever the `Buffer` is moved and is seen
        // by nobody else.
        let operation = unsafe { world.ring.push(entry, Held::Read(Rc::clone(&self.0), buffer)) };
        let (result, Held::Read(_, buffer)) = operation.await else { unreachable!("a read holds its buffer") };
        let result = checked(result);
        world.count(&result, |counters, bytes| {
            counters.reads += 1;
            counters.bytes_read += bytes;
        });
        (result, buffer)
    }

    /// Writes the slices one behind the other from `at` on; returns how many bytes were written.
    pub(crate) async fn write(&self, slices: &[Slice], at: u64, sync: Sync) -> io::Result<usize> {
        let world = &self.0.world;
        let flags = match sync {
            Sync::None => 0,
            Sync::Data => libc::RWF_DSYNC,
        };
        let operation = match slices {
            [slice] => {
                let entry = self.write_entry(slice, at, flags);
                // SAFETY: `Held` owns the slice, whose bytes stay where they are and do not change.
                unsafe { world.ring.push(entry, Held::Write(Rc::clone(&self.0), slice.clone())) }
            }
            slices => {
                let slices = SmallVec::from(slices);
                let mut places = world.iovecs.borrow_mut().pop().unwrap_or_default();
                places.extend(slices.iter().map(|slice: &Slice| libc::iovec {
                    iov_base: slice.as_ptr().cast_mut().cast(),
                    iov_len: slice.len(),
                }));
                let entry = self.write_many_entry(&slices, &places, at, flags);
                // SAFETY: `Held` owns the slices, whose bytes stay where they are and do not change, and the list, whose
                // memory is on the heap and stays where it is.
                unsafe { world.ring.push(entry, Held::WriteMany { file: Rc::clone(&self.0), slices, places }) }
            }
        };
        let (result, held) = operation.await;
        if let Held::WriteMany { mut places, .. } = held {
            places.clear();
            world.iovecs.borrow_mut().push(places);
        }
        let result = checked(result);
        world.count(&result, |counters, bytes| {
            counters.writes += 1;
            counters.bytes_written += bytes;
        });
        result
    }

    fn write_entry(&self, slice: &Slice, at: u64, flags: i32) -> squeue::Entry {
        let (start, len) = (slice.as_ptr(), slice.len() as u32);
        match self.0.world.arena.registered_place(slice.arena(), start) {
            Some(place) => {
                entry!(self, fd => opcode::WriteFixed::new(fd, start, len, piece(place)).offset(at).rw_flags(flags))
            }
            None => entry!(self, fd => opcode::Write::new(fd, start, len).offset(at).rw_flags(flags)),
        }
    }

    fn write_many_entry(&self, slices: &[Slice], places: &[libc::iovec], at: u64, flags: i32) -> squeue::Entry {
        let (list, count) = (places.as_ptr(), places.len() as u32);
        let world = &self.0.world;
        let mut pieces =
            slices.iter().map(|slice| world.arena.registered_place(slice.arena(), slice.as_ptr()).map(piece));
        let first = pieces.next().flatten();
        match first.filter(|first| world.known.write_many_fixed && pieces.all(|piece| piece == Some(*first))) {
            Some(piece) => {
                entry!(self, fd => opcode::WritevFixed::new(fd, list, count, piece).offset(at).rw_flags(flags))
            }
            None => entry!(self, fd => opcode::Writev::new(fd, list, count).offset(at).rw_flags(flags)),
        }
    }

    /// Makes what was written durable (fdatasync).
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let entry = entry!(self, fd => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC));
        let result = self.simple(entry).await;
        self.0.world.count(&result, |counters, _| counters.syncs += 1);
        result.map(drop)
    }

    /// Reserves room and extends the file to it (fallocate, mode 0).
    pub(crate) async fn allocate(&self, from: u64, len: u64) -> io::Result<()> {
        let entry = entry!(self, fd => opcode::Fallocate::new(fd, len).offset(from));
        self.simple(entry).await.map(drop)
    }

    /// Cuts or extends the file to `len`.
    pub(crate) async fn truncate(&self, len: u64) -> io::Result<()> {
        if !self.0.world.known.truncate {
            return Ok(nix::unistd::ftruncate(self.fd(), len as i64)?);
        }
        let entry = entry!(self, fd => opcode::Ftruncate::new(fd, len));
        self.simple(entry).await.map(drop)
    }

    /// Whether a durable write to `by` flushes the device that this file is on too.
    pub(crate) fn shares_flushes(&self, by: &UringFile) -> bool {
        covered::shares_flushes(self.fd().as_fd(), by.fd().as_fd())
    }

    /// The bytes from the start that are in written blocks; the mapping of those that a sync covered is durable.
    pub(crate) fn written_bytes(&self) -> io::Result<u64> {
        covered::written_bytes(self.fd().as_fd())
    }

    /// The file's length.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(nix::sys::stat::fstat(self.fd())?.st_size as u64)
    }

    fn fd(&self) -> &OwnedFd {
        self.0.fd.as_ref().expect("the file is open")
    }

    async fn simple(&self, entry: squeue::Entry) -> io::Result<usize> {
        // SAFETY: the entry points to no memory, and `Held` keeps the file open.
        let operation = unsafe { self.0.world.ring.push(entry, Held::File(Rc::clone(&self.0))) };
        checked(operation.await.0)
    }
}

impl Drop for OpenFile {
    /// The last close of a file that has no name frees its blocks, which takes milliseconds: the kernel does that on a
    /// worker thread.
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.world.unregister_file(place);
        }
        let Some(fd) = self.fd.take() else { return };
        let removed = nix::sys::stat::fstat(&fd).is_ok_and(|stat| stat.st_nlink == 0);
        if removed && !self.world.ring.is_finished() {
            let entry = opcode::Close::new(types::Fd(fd.into_raw_fd())).build().flags(squeue::Flags::ASYNC);
            // SAFETY: the entry points to no memory, and the descriptor is the operation's own from here on.
            drop(unsafe { self.world.ring.push(entry, Held::Nothing) });
        }
    }
}

fn checked(result: i32) -> io::Result<usize> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result as usize) }
}
