//! A steady stream of disk operations allocates no memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use corelog_engine::Position;
use corelog_engine::io::{self, OpenMode, Sync, UringOptions};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator; the count is a plain number of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_steady_stream_of_operations_allocates_nothing() {
    const BYTES: usize = 64 << 10;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    let options = UringOptions { arena_bytes: 8 << 20, ..Default::default() };
    io::run(options, |io| async move {
        let file = io.open(&path, OpenMode::Create).await.expect("a file");
        let mut before = 0;
        for round in 0..200u64 {
            if round == 100 {
                before = ALLOCATIONS.get();
            }
            let mut buffer = io.alloc(BYTES);
            buffer.extend_zeros(BYTES);
            let at = Position(round % 8 * BYTES as u64);
            file.write_at(&[buffer.slice(0..BYTES)], at, Sync::Data).await.expect("written");
            let apart = [buffer.slice(0..4096), buffer.slice(8192..12288), buffer.slice(4096..8192)];
            file.write_at(&apart, at, Sync::None).await.expect("written");
            let (read, _) = file.read_at(io.alloc(BYTES), at, BYTES).await;
            assert_eq!(read.expect("read"), BYTES);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "allocations in 300 operations");
    })
    .expect("an io_uring");
}
