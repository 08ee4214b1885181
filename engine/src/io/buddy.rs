//! Which pages of the arena are free: a buddy allocator over 4 KiB pages in 1 MiB chunks.
//!
//! Blocks are powers of two from one page to a chunk. A block that comes back merges with its free twin at once, so a
//! store that held thousands of small tails has its 1 MiB blocks again when they are gone. Allocation and release take
//! at most eight steps. One owner, no locks: blocks dropped on other threads come back through the arena's queue.

/// The bytes of the smallest block.
pub(super) const PAGE_BYTES: usize = 4096;
/// The bytes of the largest block.
pub(super) const CHUNK_BYTES: usize = PAGE_BYTES << ORDER_MAX;
const ORDER_MAX: usize = 8;
const ORDERS: usize = ORDER_MAX + 1;
const PAGES_PER_CHUNK: u32 = 1 << ORDER_MAX;
const NONE: u32 = u32::MAX;
/// A page that does not begin a free block.
const NOT_FREE: u8 = u8::MAX;

/// The free blocks of one arena.
pub(super) struct Buddy {
    /// The first free block of each order.
    heads: [u32; ORDERS],
    /// Bit `o` is set where `heads[o]` is not `NONE`.
    orders: u32,
    nodes: Box<[Node]>,
    free_pages: u32,
}

#[derive(Clone)]
struct Node {
    previous: u32,
    next: u32,
    /// The order of the free block that begins here.
    free: u8,
}

/// The order of the smallest block that holds `bytes`, or `None` where a chunk is too small.
pub(super) fn order_of(bytes: usize) -> Option<u8> {
    let pages = bytes.div_ceil(PAGE_BYTES).max(1).next_power_of_two();
    let order = pages.trailing_zeros();
    (order as usize <= ORDER_MAX).then_some(order as u8)
}

impl Buddy {
    /// All of `chunks` 1 MiB chunks, free.
    #[cfg(test)]
    fn new(chunks: u32) -> Buddy {
        Buddy::partly(chunks, chunks)
    }

    /// Of `chunks` 1 MiB chunks the first `ready` are free, the others are for [`Buddy::add`].
    pub(super) fn partly(chunks: u32, ready: u32) -> Buddy {
        let pages = chunks.checked_mul(PAGES_PER_CHUNK).expect("an arena is smaller than 16 TiB");
        let mut buddy = Buddy {
            heads: [NONE; ORDERS],
            orders: 0,
            nodes: vec![Node { previous: NONE, next: NONE, free: NOT_FREE }; pages as usize].into_boxed_slice(),
            free_pages: 0,
        };
        buddy.add(0..ready);
        buddy
    }

    /// These chunks can be used from now on.
    pub(super) fn add(&mut self, chunks: std::ops::Range<u32>) {
        for chunk in chunks.rev() {
            self.link(chunk * PAGES_PER_CHUNK, ORDER_MAX as u8);
            self.free_pages += PAGES_PER_CHUNK;
        }
    }

    /// The first page of a block of 2^`order` pages, or `None` where none is free.
    pub(super) fn allocate(&mut self, order: u8) -> Option<u32> {
        let fitting = self.orders & (u32::MAX << order);
        if fitting == 0 {
            return None;
        }
        let mut have = fitting.trailing_zeros() as u8;
        let page = self.heads[have as usize];
        self.unlink(page, have);
        while have > order {
            have -= 1;
            self.link(page + (1 << have), have);
        }
        self.free_pages -= 1 << order;
        Some(page)
    }

    /// Takes back what `allocate(order)` gave.
    pub(super) fn release(&mut self, page: u32, order: u8) {
        assert_eq!(self.nodes[page as usize].free, NOT_FREE, "page {page} was released twice");
        self.free_pages += 1 << order;
        let (mut page, mut order) = (page, order);
        while (order as usize) < ORDER_MAX {
            let twin = page ^ (1 << order);
            if self.nodes[twin as usize].free != order {
                break;
            }
            self.unlink(twin, order);
            page = page.min(twin);
            order += 1;
        }
        self.link(page, order);
    }

    /// The bytes that are free, in blocks of any size.
    pub(super) fn free_bytes(&self) -> usize {
        self.free_pages as usize * PAGE_BYTES
    }

    fn link(&mut self, page: u32, order: u8) {
        let head = self.heads[order as usize];
        self.nodes[page as usize] = Node { previous: NONE, next: head, free: order };
        if head != NONE {
            self.nodes[head as usize].previous = page;
        }
        self.heads[order as usize] = page;
        self.orders |= 1 << order;
    }

    fn unlink(&mut self, page: u32, order: u8) {
        let Node { previous, next, .. } = self.nodes[page as usize];
        if previous == NONE {
            self.heads[order as usize] = next;
            if next == NONE {
                self.orders &= !(1 << order);
            }
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        self.nodes[page as usize].free = NOT_FREE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_up_to_their_class() {
        assert_eq!(order_of(0), Some(0));
        assert_eq!(order_of(4096), Some(0));
        assert_eq!(order_of(4097), Some(1));
        assert_eq!(order_of(CHUNK_BYTES), Some(8));
        assert_eq!(order_of(CHUNK_BYTES + 1), None);
    }

    #[test]
    fn small_blocks_become_a_chunk_again() {
        let mut buddy = Buddy::new(2);
        let small: Vec<u32> = std::iter::from_fn(|| buddy.allocate(0)).collect();
        assert_eq!(small.len(), 512);
        assert_eq!(buddy.free_bytes(), 0);
        for page in small.iter().step_by(2).chain(small.iter().skip(1).step_by(2)) {
            buddy.release(*page, 0);
        }
        assert!(buddy.allocate(8).is_some() && buddy.allocate(8).is_some() && buddy.allocate(0).is_none());
    }

    #[test]
    fn blocks_never_overlap() {
        let mut buddy = Buddy::new(4);
        let mut owner = vec![None; 1024];
        let mut held: Vec<(u32, u8)> = Vec::new();
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        for step in 0..20_000u32 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let order = ((random >> 33) % 9) as u8;
            if (random >> 60) < 9 {
                if let Some(page) = buddy.allocate(order) {
                    for place in page..page + (1 << order) {
                        assert_eq!(owner[place as usize].replace(step), None, "page {place} is in two blocks");
                    }
                    held.push((page, order));
                }
            } else if !held.is_empty() {
                let (page, order) = held.swap_remove((random >> 20) as usize % held.len());
                owner[page as usize..(page + (1 << order)) as usize].fill(None);
                buddy.release(page, order);
            }
            let used: usize = held.iter().map(|(_, order)| PAGE_BYTES << order).sum();
            assert_eq!(buddy.free_bytes() + used, 4 * CHUNK_BYTES);
        }
    }
}
