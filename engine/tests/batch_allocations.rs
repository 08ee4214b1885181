//! The append path of a batch allocates nothing once it has warmed up: no memory is asked for per batch or record.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use corelog_engine::batch::{BatchBuilder, Codec, Limits, scan, validate};
use corelog_engine::{Epoch, Offset, Timestamp};

const NOW: Timestamp = Timestamp(1_750_000_000_000);

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts what each thread asks the system's allocator for.
struct Counting;

// SAFETY: every call is the system allocator's with the same arguments; the counter is a plain cell of the thread that
// needs no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from the system allocator above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the memory came from the system allocator above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(mut work: impl FnMut()) -> u64 {
    // The first rounds fill what the thread keeps: scratch memory, contexts of codecs.
    work();
    work();
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        work();
    }
    ALLOCATIONS.get() - before
}

fn batch(codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for number in 0..160i64 {
        let value = vec![b'v'; 100 + number as usize % 3];
        let headers: &[(&[u8], Option<&[u8]>)] = if number % 10 == 0 { &[(b"name", Some(b"value"))] } else { &[] };
        builder.push(Timestamp(NOW.0 + number), Some(b"key"), Some(&value), headers);
    }
    builder.build(Offset(0))
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 100);
}

#[test]
fn accepting_and_placing_a_batch_allocates_nothing() {
    for codec in [Codec::None, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = batch(codec);
        let mut tail = vec![0; batch.len()];
        for log_append_time in [None, Some(NOW)] {
            let count = allocations(|| {
                let valid = validate(&batch, &Limits::new(NOW)).expect("a good batch");
                valid.write_to(&mut tail, Offset(7), Epoch(1), log_append_time);
            });
            assert_eq!(count, 0, "{codec}, log append time {log_append_time:?}");
        }
    }
}

#[test]
fn refusing_a_batch_allocates_nothing() {
    let mut batch = batch(Codec::None);
    *batch.last_mut().expect("it is not empty") ^= 1;
    assert_eq!(allocations(|| assert!(validate(&batch, &Limits::new(NOW)).is_err())), 0);
}

#[test]
fn walking_from_batch_to_batch_allocates_nothing() {
    let batches = batch(Codec::Zstd).repeat(20);
    assert_eq!(allocations(|| assert_eq!(scan(&batches).count(), 20)), 0);
}
