//! The memory of one shard: a single mapping, huge pages where the kernel grants them, cut into aligned blocks.
//!
//! [`Arena`] is the shard's own side and hands out blocks; [`Shared`] is what the blocks hold on to, so that the mapping
//! outlives the last of them. Blocks come back from any thread through a lock-free queue that is drained while
//! allocating. A block that does not fit is taken from the heap: slower at the disk, never refused.

use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::buddy::{Buddy, CHUNK_BYTES, PAGE_BYTES, order_of};
use super::buffer::{Block, Buffer, HUGE_PAGE_BYTES};

/// How many returned blocks one allocation takes in, so that a flood of them does not stall it.
const RETURNS_PER_ALLOCATION: usize = 32;

/// The part of an arena that its blocks share.
pub(super) struct Shared {
    base: NonNull<u8>,
    bytes: usize,
    /// One per page; a block is headed by that of its first page.
    blocks: Box<[Block]>,
    /// First pages of blocks that nobody holds any more. Has room for every page.
    returned: ArrayQueue<u32>,
}

// SAFETY: the mapping is only reached through blocks, which keep their own rule; the queue is made for sharing.
unsafe impl Send for Shared {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared {}

impl Shared {
    /// Takes a block back from its last holder, together with the reference to the arena that it counted as.
    ///
    /// # Safety
    /// The block was handed out by `Arena::allocate` of this arena and nobody holds it any more.
    pub(super) unsafe fn give_back(arena: *const Shared, start: NonNull<u8>) {
        // SAFETY: `Arena::allocate` turned one `Arc` into a raw pointer for this block; this turns it back.
        let arena = unsafe { Arc::from_raw(arena) };
        let page = (start.as_ptr() as usize - arena.base.as_ptr() as usize) / PAGE_BYTES;
        arena.returned.push(page as u32).expect("the queue has room for every page");
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: `map` made this mapping, and no block of it is held any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A shard's buffers: allocation is the shard's own, return is open to every thread.
pub(super) struct Arena {
    shared: Arc<Shared>,
    buddy: RefCell<Buddy>,
    registered: Cell<bool>,
    heap_buffers: Cell<u64>,
    /// Bytes from the start that are in use; the rest waits for [`Arena::grow`].
    ready_bytes: Cell<usize>,
}

/// The part of an arena that is not in use yet. Its memory is fetched from the kernel off the shard's thread, since that takes
/// the kernel a millisecond for a few MiB.
pub(super) struct Rest {
    shared: Arc<Shared>,
    from: usize,
}

impl Rest {
    /// Has the kernel give the memory now rather than page by page later. A huge page at a time: the process's map is locked
    /// meanwhile, and where memory is short or in pieces the whole takes the kernel most of a second, in which no other
    /// thread could start or map anything.
    pub(super) fn populate(&self) {
        for from in (self.from..self.shared.bytes).step_by(HUGE_PAGE_BYTES) {
            let bytes = HUGE_PAGE_BYTES.min(self.shared.bytes - from);
            // SAFETY: the range is inside the mapping, which `shared` keeps; nobody holds a block in it yet.
            unsafe { populate(self.shared.base.add(from), bytes) };
        }
    }
}

impl Arena {
    /// Maps an arena of at least `bytes`, asks for huge pages, and touches every page if `prefault`.
    pub(super) fn new(bytes: usize, huge_pages: bool, prefault: bool) -> io::Result<Arena> {
        Arena::staged(bytes, huge_pages, prefault, usize::MAX)
    }

    /// [`Arena::new`], of which only the first `ready_bytes` are touched and in use until [`Arena::grow`].
    pub(super) fn staged(bytes: usize, huge_pages: bool, prefault: bool, ready_bytes: usize) -> io::Result<Arena> {
        let bytes = bytes.max(1).next_multiple_of(HUGE_PAGE_BYTES);
        let ready_bytes = ready_bytes.min(bytes);
        let base = map(bytes, huge_pages)?;
        if prefault {
            // SAFETY: the mapping was just made, and nobody else knows of it.
            unsafe { populate(base, ready_bytes) };
        }
        let shared = Arc::new_cyclic(|shared| Shared {
            base,
            bytes,
            blocks: (0..bytes / PAGE_BYTES)
                // SAFETY: the page is inside the mapping.
                .map(|page| Block::in_arena(unsafe { base.add(page * PAGE_BYTES) }, shared.as_ptr()))
                .collect(),
            returned: ArrayQueue::new(bytes / PAGE_BYTES),
        });
        let buddy = RefCell::new(Buddy::partly((bytes / CHUNK_BYTES) as u32, (ready_bytes / CHUNK_BYTES) as u32));
        let ready_bytes = Cell::new(ready_bytes);
        Ok(Arena { shared, buddy, registered: Cell::new(false), heap_buffers: Cell::new(0), ready_bytes })
    }

    /// What is not in use yet, where there is something.
    pub(super) fn rest(&self) -> Option<Rest> {
        let from = self.ready_bytes.get();
        (from < self.bytes()).then(|| Rest { shared: Arc::clone(&self.shared), from })
    }

    /// All of it is in use from now on.
    pub(super) fn grow(&self) {
        let from = self.ready_bytes.replace(self.bytes());
        self.buddy.borrow_mut().add((from / CHUNK_BYTES) as u32..(self.bytes() / CHUNK_BYTES) as u32);
    }

    /// The bytes in use.
    pub(super) fn ready_bytes(&self) -> usize {
        self.ready_bytes.get()
    }

    /// A buffer for at least `len` bytes: from the arena if it has room, else from the heap.
    pub(super) fn allocate(&self, len: usize) -> Buffer {
        self.take_returned(RETURNS_PER_ALLOCATION);
        let Some(order) = order_of(len) else { return self.beside(len) };
        let mut page = self.buddy.borrow_mut().allocate(order);
        if page.is_none() && !self.shared.returned.is_empty() {
            self.take_returned(usize::MAX);
            page = self.buddy.borrow_mut().allocate(order);
        }
        let Some(page) = page else { return self.beside(len) };
        let _counted_by_the_block = Arc::into_raw(Arc::clone(&self.shared));
        // SAFETY: the block counts as a holder of the arena from here on; the buddy allocator gives each page to one
        // block at a time; the mapping began as zeros, so that its bytes are initialized.
        unsafe { Buffer::of_block(&self.shared.blocks[page as usize], PAGE_BYTES << order) }
    }

    fn beside(&self, len: usize) -> Buffer {
        self.heap_buffers.set(self.heap_buffers.get() + 1);
        Buffer::heap(len)
    }

    fn take_returned(&self, count_max: usize) {
        let mut buddy = self.buddy.borrow_mut();
        for _ in 0..count_max {
            let Some(page) = self.shared.returned.pop() else { break };
            let order = order_of(self.shared.blocks[page as usize].capacity()).expect("a block fits a chunk");
            buddy.release(page, order);
        }
    }

    /// The first byte.
    pub(super) fn base(&self) -> *mut u8 {
        self.shared.base.as_ptr()
    }

    /// The bytes of the mapping.
    pub(super) fn bytes(&self) -> usize {
        self.shared.bytes
    }

    /// The bytes not handed out.
    pub(super) fn free_bytes(&self) -> usize {
        self.take_returned(usize::MAX);
        self.buddy.borrow().free_bytes()
    }

    /// How many buffers had to come from the heap so far.
    pub(super) fn heap_buffers(&self) -> u64 {
        self.heap_buffers.get()
    }

    /// Says that the ring knows this memory.
    pub(super) fn set_registered(&self) {
        self.registered.set(true);
    }

    /// The place in the arena of memory at `start` that belongs to `owner`, if that is this arena and the ring knows it.
    pub(super) fn registered_place(&self, owner: *const Shared, start: *const u8) -> Option<usize> {
        let own = self.registered.get() && std::ptr::eq(owner, Arc::as_ptr(&self.shared));
        own.then(|| start as usize - self.base() as usize)
    }
}

/// Maps zeroed memory at a multiple of the huge page's size.
fn map(bytes: usize, huge_pages: bool) -> io::Result<NonNull<u8>> {
    let reserved = bytes + HUGE_PAGE_BYTES;
    // SAFETY: a new private mapping, of which the unaligned ends are given back at once; nothing else knows of it.
    unsafe {
        let start = libc::mmap(
            std::ptr::null_mut(),
            reserved,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast::<u8>();
        let before = start.align_offset(HUGE_PAGE_BYTES);
        let base = start.add(before);
        if before > 0 {
            libc::munmap(start.cast(), before);
        }
        libc::munmap(base.add(bytes).cast(), HUGE_PAGE_BYTES - before);
        if huge_pages {
            libc::madvise(base.cast(), bytes, libc::MADV_HUGEPAGE);
        }
        Ok(NonNull::new(base).expect("a mapping is not at zero"))
    }
}

/// Touches every page, so that the kernel gives it now.
///
/// # Safety
/// `base` and `bytes` are a part of a mapping, and nobody else reaches it.
unsafe fn populate(base: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's.
    unsafe {
        if libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_POPULATE_WRITE) != 0 {
            // Linux before 5.14.
            for page in (0..bytes).step_by(PAGE_BYTES) {
                base.add(page).write_volatile(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_returns_from_another_thread() {
        let arena = Arena::new(2 << 20, false, false).expect("a mapping");
        let mut first = arena.allocate(1 << 20);
        first.extend_from_slice(b"x");
        let slice = first.slice(0..1);
        let _second = arena.allocate(1 << 20);
        drop(first);
        assert_eq!(arena.free_bytes(), 0, "a slice still holds the block");
        std::thread::spawn(move || drop(slice)).join().expect("dropped");
        assert_eq!(arena.free_bytes(), 1 << 20);
        assert!(!arena.allocate(1 << 20).arena().is_null());
        assert_eq!(arena.heap_buffers(), 0);
    }

    #[test]
    fn an_exhausted_arena_falls_back_to_the_heap() {
        let arena = Arena::new(2 << 20, false, false).expect("a mapping");
        let held: Vec<Buffer> = (0..512).map(|_| arena.allocate(4096)).collect();
        assert!(held.iter().all(|buffer| !buffer.arena().is_null()));
        let heap = arena.allocate(4096);
        assert!(heap.arena().is_null() && arena.heap_buffers() == 1);
        drop(held);
        assert!(!arena.allocate(1 << 20).arena().is_null(), "small blocks became large ones again");
    }

    #[test]
    fn the_rest_is_used_once_it_is_there() {
        let arena = Arena::staged(8 << 20, false, true, 2 << 20).expect("a mapping");
        assert_eq!((arena.ready_bytes(), arena.free_bytes()), (2 << 20, 2 << 20));
        let rest = arena.rest().expect("6 MiB are left");
        std::thread::spawn(move || rest.populate()).join().expect("no panic");
        arena.grow();
        assert_eq!((arena.ready_bytes(), arena.free_bytes()), (8 << 20, 8 << 20));
        assert!(arena.rest().is_none());
        let all: Vec<_> = (0..8).map(|_| arena.allocate(1 << 20)).collect();
        assert_eq!((arena.heap_buffers(), arena.free_bytes(), all.len()), (0, 0, 8));
    }

    #[test]
    fn blocks_outlive_the_arena() {
        let arena = Arena::new(2 << 20, true, true).expect("a mapping");
        let mut buffer = arena.allocate(8192);
        drop(arena);
        buffer.extend_from_slice(&[7; 8192]);
        assert!(buffer.slice(0..8192).iter().all(|byte| *byte == 7));
    }
}
