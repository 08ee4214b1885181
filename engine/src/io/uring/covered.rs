//! Which bytes of a file any flush of its device makes durable, so that writing them needs no sync of its own.
//!
//! Where a device has a volatile cache and no FUA, the kernel makes a write with `RWF_DSYNC` durable by writing it and then
//! flushing the device (`generic_write_sync`, which ends in `blkdev_issue_flush` on ext4 and XFS), and a flush covers every
//! write to the device that had completed before, whatever file it was of (`Documentation/block/writeback_cache_control.rst`).
//! It does not cover what the file system still has to write about those blocks: so they must be mapped, written, shared with no
//! other file and overwritten in place, which is asked of the file system here. Anything unknown counts as not covered.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, fstatfs};

/// Extents asked for with one call, and calls for one file at most: what lies behind is not covered.
const EXTENTS_AT_ONCE: usize = 128;
const CALLS_MAX: usize = 32;

/// What an extent may say of itself and be overwritten in place: that it is the last, or that it was made up of several blocks.
const EXTENT_FLAGS_PLAIN: u32 = 0x1 | 0x1000;
/// `FS_IOC_FIEMAP`.
const FIEMAP: u64 = nix::request_code_readwrite!(b'f', 11, 32);
/// `FS_IOC_FSGETXATTR`.
const GET_XATTR: u64 = nix::request_code_read!(b'X', 31, 28);
/// `FS_XFLAG_REALTIME`: the file's blocks are on another device.
const XFLAG_REALTIME: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    reserved_too: [u32; 3],
}

#[repr(C)]
struct ExtentMap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS_AT_ONCE],
}

/// Whether both files are on one device whose flushes cover all of it, and both are written past the page cache.
pub(super) fn shares_flushes(file: BorrowedFd<'_>, by: BorrowedFd<'_>) -> bool {
    let device = |fd| fstat(fd).ok().map(|stat| stat.st_dev);
    let Some(first) = device(file) else { return false };
    device(by) == Some(first)
        && [file, by].into_iter().all(|fd| overwrites_in_place(fd) && is_direct(fd))
        && flushes_for_durability(first)
}

/// Whether a durable write to the device with this number is a write and a flush.
fn flushes_for_durability(device: u64) -> bool {
    let number = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let read = |name: &str| {
        // A partition's queue is that of its disk.
        let places = ["queue", "../queue"].map(|queue| format!("/sys/dev/block/{number}/{queue}/{name}"));
        places.iter().find_map(|place| std::fs::read_to_string(place).ok())
    };
    read("write_cache").is_some_and(|cache| cache.trim() == "write back")
        && read("fua").is_some_and(|fua| fua.trim() == "0")
}

/// Whether the file system writes over written blocks where they are: ext4 and its forebears, and XFS but for its realtime device.
fn overwrites_in_place(fd: BorrowedFd<'_>) -> bool {
    match fstatfs(fd).map(|facts| facts.filesystem_type()) {
        Ok(EXT4_SUPER_MAGIC) => true,
        Ok(XFS_SUPER_MAGIC) => {
            let mut attributes = [0u32; 7];
            // SAFETY: the kernel writes at most the 28 bytes that the request names.
            let asked = unsafe { libc::ioctl(fd.as_raw_fd(), GET_XATTR as _, attributes.as_mut_ptr()) };
            asked == 0 && attributes[0] & XFLAG_REALTIME == 0
        }
        _ => false,
    }
}

/// Whether writes go past the page cache. A file system may take `O_DIRECT` and use the cache all the same, as ext4 does with
/// `data=journal`: then it says that no alignment will do.
fn is_direct(fd: BorrowedFd<'_>) -> bool {
    let flags = fcntl(fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    if !flags.is_ok_and(|flags| flags.contains(OFlag::O_DIRECT)) {
        return false;
    }
    // SAFETY: a structure of numbers; the kernel fills it in, or fails. The empty path means the descriptor itself.
    let facts = unsafe {
        let mut facts: libc::statx = std::mem::zeroed();
        let empty = c"".as_ptr();
        let asked = libc::statx(fd.as_raw_fd(), empty, libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &mut facts);
        if asked == 0 { Some(facts) } else { None }
    };
    facts.is_some_and(|facts| facts.stx_mask & libc::STATX_DIOALIGN != 0 && facts.stx_dio_offset_align > 0)
}

/// The bytes from the file's start that lie in written blocks of its own, without a gap.
pub(super) fn written_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let len = fstat(fd)?.st_size as u64;
    let mut map = ExtentMap {
        start: 0,
        length: 0,
        flags: 0,
        mapped: 0,
        count: EXTENTS_AT_ONCE as u32,
        reserved: 0,
        extents: [Extent::default(); EXTENTS_AT_ONCE],
    };
    let mut written = 0;
    for _ in 0..CALLS_MAX {
        if written >= len {
            break;
        }
        (map.start, map.length, map.flags, map.mapped) = (written, len - written, 0, 0);
        // SAFETY: the kernel writes the head and at most `count` extents behind it, which are there.
        if unsafe { libc::ioctl(fd.as_raw_fd(), FIEMAP as _, &raw mut map) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let before = written;
        for extent in &map.extents[..(map.mapped as usize).min(EXTENTS_AT_ONCE)] {
            if extent.logical > written || extent.flags & !EXTENT_FLAGS_PLAIN != 0 {
                return Ok(written.min(len));
            }
            written = written.max(extent.logical + extent.length);
        }
        if written == before {
            break;
        }
    }
    Ok(written.min(len))
}
