//! An append allocates no memory per batch once its partition is warm, and a commit group only a few times.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::{
    AppendOptions, LogConfig, Offset, ShardId, Store, StoreConfig, Timestamp, TopicId, TopicPartition,
};

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

/// Batches of one commit group.
const BATCHES: u64 = 32;
/// Allocations that a whole group may make: its task, its write, what it acknowledges.
const PER_GROUP_MAX: u64 = 16;

/// The n-th batch of an idempotent producer, or one of no producer.
fn batch(producer: Option<i64>, number: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some(id) = producer {
        builder = builder.producer(id, 0, number * 40);
    }
    for record in 0..40 {
        builder.push(Timestamp(1_700_000_000_000 + record), None, Some(&[7; 100]), &[]);
    }
    builder.build(Offset::ZERO)
}

#[test]
fn an_append_allocates_nothing_and_a_group_little() {
    check(None);
}

#[test]
fn an_append_of_an_idempotent_producer_allocates_nothing_either() {
    check(Some(7));
}

fn check(producer: Option<i64>) {
    let dir = tempfile::tempdir().expect("a directory");
    const ARENA_BYTES: usize = 64 << 20;
    let base = StoreConfig { arena_bytes: ARENA_BYTES, cache_bytes: 32 << 20, ..StoreConfig::new(dir.path()) };
    let config = StoreConfig { shards: 1, pin: false, checkpoint_interval_ms: 60_000, ..base };
    let store = Store::open(config).expect("opens");
    let (appends, whole) = store
        .call_blocking(ShardId(0), move |shard| {
            Box::pin(async move {
                // Most of the arena comes after the start; until then buffers are from the heap.
                while shard.io().facts().arena_bytes < ARENA_BYTES as u64 {
                    shard.io().sleep(std::time::Duration::from_millis(5)).await;
                }
                let name = TopicPartition::new("steady", 0);
                shard.create(&name, TopicId::random(), LogConfig::default()).await.expect("created");
                let (mut appends, mut whole) = (0, 0);
                for group in 0..120 {
                    let batches = (0..BATCHES as i32).map(|place| batch(producer, group * BATCHES as i32 + place));
                    let batches: Vec<_> = batches.collect();
                    let before = ALLOCATIONS.get();
                    let mut end = Offset::ZERO;
                    for batch in &batches {
                        end = shard.append(&name, batch, AppendOptions::default()).expect("appended").next_offset;
                    }
                    let appended = ALLOCATIONS.get();
                    shard.flushed(&name, end).await.expect("flushed");
                    if group >= 100 {
                        appends += appended - before;
                        whole += ALLOCATIONS.get() - before;
                    }
                }
                (appends, whole)
            })
        })
        .expect("the shard answers");
    store.close().expect("closes");
    // The list of index points grows by doubling: once in the 640 batches at the most.
    assert!(appends <= 2, "{appends} allocations in {} appends", 20 * BATCHES);
    assert!(whole <= 20 * PER_GROUP_MAX, "{whole} allocations in 20 groups");
}
