//! Aligned memory for the disk: one writer that only appends, and shared views of what is already written.
//!
//! A [`Buffer`] owns a 4 KiB-aligned block and writes beyond `len` alone; a [`Slice`] sees bytes before it. So bytes
//! that anyone can see never change, and a slice may be read on any thread, or by the disk, while the buffer grows. The
//! block goes back to its arena, or to the heap, with its last holder, on whichever thread that is.
//!
//! The bytes of the spare part are initialized but mean nothing: a block that is used again holds what was last in it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use super::arena::Shared;
use super::buddy::PAGE_BYTES;

/// The bytes of a huge page; larger blocks from the heap are aligned to it.
pub(super) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// One block of memory and the number of those who hold it.
pub(super) struct Block {
    references: AtomicU32,
    /// Changed only while nobody holds the block.
    capacity: AtomicUsize,
    start: NonNull<u8>,
    /// Null where the block came from the heap.
    arena: *const Shared,
}

// SAFETY: the counts are atomic, `start` and `arena` never change, and the memory behind them is only reached through
// `Buffer` (unique) and `Slice` (read only), which keep the rule of the module's first paragraph.
unsafe impl Send for Block {}
// SAFETY: as for `Send`.
unsafe impl Sync for Block {}

impl Block {
    /// The block at `start` of an arena, held by nobody.
    pub(super) fn in_arena(start: NonNull<u8>, arena: *const Shared) -> Block {
        Block { references: AtomicU32::new(0), capacity: AtomicUsize::new(0), start, arena }
    }

    /// The bytes of the block when it was last handed out.
    pub(super) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }
}

/// A counted reference to a block.
struct Hold(NonNull<Block>);

// SAFETY: `Block` is `Send` and `Sync` and its count is atomic, as with `Arc`.
unsafe impl Send for Hold {}
// SAFETY: as for `Send`.
unsafe impl Sync for Hold {}

impl Hold {
    fn block(&self) -> &Block {
        // SAFETY: a block lives as long as a reference to it is counted, and this is one.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Hold {
        let before = self.block().references.fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "{before} slices of one buffer");
        Hold(self.0)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.block().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let block = self.block();
        if block.arena.is_null() {
            let layout = heap_layout(block.capacity());
            // SAFETY: this was the last reference; `heap` made the memory with this layout and the block with `Box`.
            unsafe {
                dealloc(block.start.as_ptr(), layout);
                drop(Box::from_raw(self.0.as_ptr()));
            }
        } else {
            // SAFETY: this was the last reference, and each block handed out counts as one holder of its arena, which
            // `give_back` takes over.
            unsafe { Shared::give_back(block.arena, block.start) };
        }
    }
}

fn heap_layout(capacity: usize) -> Layout {
    let align = if capacity >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { PAGE_BYTES };
    Layout::from_size_align(capacity, align).expect("a buffer's size is a multiple of its alignment")
}

/// A block of aligned memory with one writer, which appends.
pub struct Buffer {
    hold: Hold,
    len: usize,
}

impl Buffer {
    /// A buffer on the heap for at least `len` bytes.
    pub(super) fn heap(len: usize) -> Buffer {
        let capacity = match len {
            0..=PAGE_BYTES => PAGE_BYTES,
            _ if len < HUGE_PAGE_BYTES => len.next_power_of_two(),
            _ => len.next_multiple_of(HUGE_PAGE_BYTES),
        };
        let layout = heap_layout(capacity);
        // SAFETY: the layout is not empty; the advice changes nothing but the page size; every byte is initialized
        // before anyone sees it.
        let start = unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            if capacity >= HUGE_PAGE_BYTES {
                libc::madvise(start.as_ptr().cast(), capacity, libc::MADV_HUGEPAGE);
            }
            start.write_bytes(0, capacity);
            start
        };
        let block = Block {
            references: AtomicU32::new(1),
            capacity: AtomicUsize::new(capacity),
            start,
            arena: std::ptr::null(),
        };
        Buffer { hold: Hold(NonNull::from(Box::leak(Box::new(block)))), len: 0 }
    }

    /// The writer of a block that nobody holds.
    ///
    /// # Safety
    /// `block` belongs to an arena that stays alive until [`Shared::give_back`], nobody holds it, and its first
    /// `capacity` bytes are initialized and part of no other block that is held.
    pub(super) unsafe fn of_block(block: &Block, capacity: usize) -> Buffer {
        let before = block.references.swap(1, Ordering::Relaxed);
        assert_eq!(before, 0, "a block was handed out while it was held");
        block.capacity.store(capacity, Ordering::Relaxed);
        Buffer { hold: Hold(NonNull::from(block)), len: 0 }
    }

    /// The bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.hold.block().capacity()
    }

    /// The bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len
    }

    /// The part not written yet. Its bytes mean nothing: they may be an earlier user's.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes from `len` to `capacity` are initialized; slices only see bytes before `len`, and `self` is
        // borrowed uniquely.
        unsafe {
            let start = self.hold.block().start.as_ptr().add(self.len);
            std::slice::from_raw_parts_mut(start, self.remaining())
        }
    }

    /// Counts the first `bytes` of the spare part as written.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining(), "{bytes} bytes do not fit, {} are left", self.remaining());
        self.len += bytes;
    }

    /// Appends `bytes`, which must fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.remaining(), "{} bytes do not fit, {} are left", bytes.len(), self.remaining());
        self.spare_mut()[..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends `count` zeros, which must fit.
    pub fn extend_zeros(&mut self, count: usize) {
        assert!(count <= self.remaining(), "{count} bytes do not fit, {} are left", self.remaining());
        self.spare_mut()[..count].fill(0);
        self.len += count;
    }

    /// A shared view of a part of what is written.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} is not within {} bytes", self.len);
        // SAFETY: the range is inside the block.
        let start = unsafe { self.hold.block().start.add(range.start) };
        Slice { hold: self.hold.clone(), start, len: range.end - range.start }
    }

    /// What is written, to be changed in place; panics while slices of the buffer are alive.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        self.assert_unshared();
        // SAFETY: the bytes are initialized, and nobody else holds the block nor can begin to while `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.hold.block().start.as_ptr(), self.len) }
    }

    /// Forgets what was written after the first `len` bytes; panics while slices of the buffer are alive.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.assert_unshared();
            self.len = len;
        }
    }

    /// Forgets what was written; panics while slices of the buffer are alive.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Whether slices of the buffer are alive.
    pub fn is_shared(&self) -> bool {
        self.hold.block().references.load(Ordering::Acquire) != 1
    }

    fn assert_unshared(&self) {
        assert!(!self.is_shared(), "slices of the buffer are alive, its bytes cannot change");
    }

    /// The arena that the memory is from; null where it is the heap's.
    pub(super) fn arena(&self) -> *const Shared {
        self.hold.block().arena
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialized and only change through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.hold.block().start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.len, self.capacity())
    }
}

/// A shared view of bytes that never change. Clones are cheap; the memory returns with the last holder, on any thread.
#[derive(Clone)]
pub struct Slice {
    hold: Hold,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes do not change while the slice holds its block, and the hold's count is atomic.
unsafe impl Send for Slice {}
// SAFETY: as for `Send`.
unsafe impl Sync for Slice {}

impl Slice {
    /// A part of this slice.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} is not within {} bytes", self.len);
        // SAFETY: the range is inside the slice, and so inside the block.
        let start = unsafe { self.start.add(range.start) };
        Slice { hold: self.hold.clone(), start, len: range.end - range.start }
    }

    /// This slice and `next` as one, where `next` begins in memory where this one ends; else `None`.
    pub fn joined(&self, next: &Slice) -> Option<Slice> {
        // SAFETY: one past the slice's last byte is inside the block or one past it.
        let end = unsafe { self.start.add(self.len) };
        (self.hold.0 == next.hold.0 && end == next.start).then(|| Slice { len: self.len + next.len, ..self.clone() })
    }

    /// The arena that the memory is from; null where it is the heap's.
    pub(super) fn arena(&self) -> *const Shared {
        self.hold.block().arena
    }
}

impl Deref for Slice {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes were written before the slice was made and do not change while it holds the block.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Slice> for bytes::Bytes {
    /// The same bytes, not copied.
    fn from(slice: Slice) -> bytes::Bytes {
        bytes::Bytes::from_owner(slice)
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slice_sees_does_not_change_while_the_buffer_grows() {
        let mut buffer = Buffer::heap(4096);
        buffer.extend_from_slice(b"first");
        let first = buffer.slice(0..5);
        buffer.extend_from_slice(b"second");
        let second = buffer.slice(5..11);
        assert_eq!((&*first, &*second), (&b"first"[..], &b"second"[..]));
        assert_eq!(&*first.joined(&second).expect("they are neighbours"), b"firstsecond");
        assert!(second.joined(&first).is_none());
        drop(buffer);
        assert_eq!(&*second.slice(1..3), b"ec");
    }

    #[test]
    #[should_panic(expected = "slices of the buffer are alive")]
    fn a_shared_buffer_cannot_be_cleared() {
        let mut buffer = Buffer::heap(4096);
        buffer.extend_from_slice(b"seen");
        let _seen = buffer.slice(0..4);
        buffer.clear();
    }

    #[test]
    #[should_panic(expected = "slices of the buffer are alive")]
    fn a_shared_buffer_cannot_be_changed_in_place() {
        let mut buffer = Buffer::heap(4096);
        buffer.extend_from_slice(b"seen");
        let _seen = buffer.slice(0..1);
        buffer.filled_mut()[3] = 0;
    }

    #[test]
    fn a_buffer_whose_slices_are_gone_can_be_changed() {
        let mut buffer = Buffer::heap(4096);
        buffer.extend_from_slice(b"seen");
        drop(buffer.slice(0..4));
        buffer.filled_mut()[0] = b'b';
        assert_eq!(&*buffer, b"been");
        buffer.clear();
        assert!(buffer.is_empty());
    }

    #[test]
    fn heap_buffers_are_aligned_and_round_up() {
        for (len, capacity) in [(0, 4096), (5000, 8192), (1 << 20, 1 << 20), ((2 << 20) + 1, 4 << 20)] {
            let mut buffer = Buffer::heap(len);
            assert_eq!(buffer.capacity(), capacity);
            assert_eq!(buffer.spare_mut().as_ptr() as usize % 4096, 0);
            assert_eq!(buffer.spare_mut().len(), capacity);
        }
    }

    #[test]
    fn slices_can_be_read_and_dropped_on_other_threads() {
        let mut buffer = Buffer::heap(1 << 16);
        let mut threads = Vec::new();
        for round in 0..64u8 {
            buffer.extend_from_slice(&[round; 1024]);
            let slice = buffer.slice(usize::from(round) * 1024..usize::from(round) * 1024 + 1024);
            threads.push(std::thread::spawn(move || assert!(slice.iter().all(|byte| *byte == round))));
        }
        for thread in threads {
            thread.join().expect("every slice saw its own bytes");
        }
        buffer.clear();
    }

    #[test]
    fn a_slice_becomes_bytes_without_a_copy() {
        let mut buffer = Buffer::heap(4096);
        buffer.extend_from_slice(b"bytes");
        let slice = buffer.slice(0..5);
        let at = slice.as_ptr();
        let bytes = bytes::Bytes::from(slice);
        assert_eq!((&bytes[..], bytes.as_ptr()), (&b"bytes"[..], at));
    }
}
