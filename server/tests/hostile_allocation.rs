//! A frame makes the process allocate no more than a small factor of its own length, whatever it claims.
//!
//! Measured by an allocator that counts, in a process of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use corelog_server::protocol::{
    Api, DECODED_BYTES_FREE, DECODED_BYTES_PER_BYTE, Reader, create_topics::CreateTopics, decode_body,
    delete_topics::DeleteTopics, fetch::Fetch, list_offsets::ListOffsets, metadata::Metadata, produce::Produce,
};

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the count is a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + layout.size()));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocated_by<A: Api>(body: Vec<u8>, version: i16) -> usize {
    let frame = Bytes::from(body);
    let before = ALLOCATED.get();
    let mut reader = Reader::new(frame);
    reader.set_version(version, A::FACTS.is_flexible(version));
    let _ = decode_body::<A>(&mut reader);
    ALLOCATED.get() - before
}

fn check<A: Api>() {
    for version in A::FACTS.version_min..=A::FACTS.version_max {
        for len in [0, 1, 4, 16, 64, 1000, 100_000, 3_000_000] {
            for fill in [0x00, 0x01, 0x02, 0x7f, 0x80, 0xff] {
                // As it is, and with every count of elements that a frame of the length could hold, at several places.
                for place in [0, 2, 4, 6, 8, 10, 14, 17, 18, 22, 26] {
                    for count in [len as u32, len as u32 / 2, len as u32 / 8, 0x7fff_ffff] {
                        let mut body = vec![fill; len];
                        if let Some(claim) = body.get_mut(place..place + 4) {
                            claim.copy_from_slice(&count.to_be_bytes());
                        }
                        let allocated = allocated_by::<A>(body, version);
                        // Errors and the shared frame take a little of their own.
                        let bound = DECODED_BYTES_FREE + len * DECODED_BYTES_PER_BYTE + 1024;
                        assert!(
                            allocated <= bound,
                            "{} v{version}: {allocated} bytes for {len} of {fill:#x}, {count} at {place}",
                            A::FACTS.name
                        );
                        if len < 64 && fill > 0 {
                            break;
                        }
                    }
                    if len > 100_000 && place > 4 {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn a_frame_allocates_a_small_factor_of_its_length() {
    check::<Metadata>();
    check::<DeleteTopics>();
    check::<CreateTopics>();
    check::<Produce>();
    check::<Fetch>();
    check::<ListOffsets>();
}
