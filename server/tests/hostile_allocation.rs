//! A frame makes the process allocate no more than a small factor of its own length, whatever it claims.
//!
//! Measured by an allocator that counts, in a process of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use corelog_server::for_each_api;
use corelog_server::protocol::sample::Sampler;
use corelog_server::protocol::{
    self, Api, DECODED_BYTES_FREE, DECODED_BYTES_PER_BYTE, Reader, Wire, Writer, decode_body,
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

/// What reading `body` as a request allocates, in bytes, and whether it is one.
fn allocated_by<A: Api>(body: &[u8], version: i16) -> (usize, bool) {
    let frame = Bytes::copy_from_slice(body);
    let before = ALLOCATED.get();
    let mut reader = Reader::new(frame);
    reader.set_version(version, A::FACTS.is_flexible(version));
    let is_good = decode_body::<A>(&mut reader).is_ok();
    (ALLOCATED.get() - before, is_good)
}

fn check<A: Api>(body: &[u8], version: i16, what: &dyn Fn() -> String) -> bool {
    let (allocated, is_good) = allocated_by::<A>(body, version);
    // Of any frame, and of a short one no more than room for as many elements as it has bytes; errors and the shared
    // frame take a little of their own.
    let bound = (DECODED_BYTES_FREE + body.len() * DECODED_BYTES_PER_BYTE).min(body.len() * ELEMENT_BYTES_MAX) + 1024;
    assert!(allocated <= bound, "{} v{version}: {allocated} bytes for {} bytes: {}", A::FACTS.name, body.len(), what());
    is_good
}

/// No array of a request has larger elements.
const ELEMENT_BYTES_MAX: usize = 512;

/// A request that the version can carry, of at most a few hundred bytes where the seed allows it.
fn sample<A: Api>(version: i16, seed: u64) -> Vec<u8> {
    let mut writer = Writer::frame();
    writer.set_version(version, A::FACTS.is_flexible(version));
    A::Request::sample(&mut Sampler::new(seed, version)).write(&mut writer);
    writer.finish().to_bytes()[4..].to_vec()
}

/// Two sample requests that are short enough to lie at each of their bytes: the shortest and the longest of the first few.
fn samples<A: Api>(version: i16) -> Vec<Vec<u8>> {
    const LEN_MAX: usize = 400;
    let mut samples: Vec<Vec<u8>> = Vec::new();
    for seed in 0..200 {
        let sample = sample::<A>(version, seed);
        if sample.len() <= LEN_MAX && !samples.contains(&sample) {
            samples.push(sample);
        }
        if samples.len() == 4 {
            break;
        }
    }
    samples.sort_by_key(Vec::len);
    samples.drain(1..samples.len().max(2) - 1);
    samples
}

/// Lengths that lie, as a version writes them: of an array, or (the first two bytes of four) of a string.
fn lies(is_flexible: bool, left: usize) -> Vec<Vec<u8>> {
    let counts = [left, left / 2, left / 8, left + 1, 1_000_000, 1_000_001, 0x7fff_ffff, 0x7fff, 0xffff_fffe];
    let varint = |mut count: u64| {
        let mut bytes = Vec::new();
        while count >= 0x80 {
            bytes.push(count as u8 | 0x80);
            count >>= 7;
        }
        bytes.push(count as u8);
        bytes
    };
    let told = |count: &usize| {
        if is_flexible { varint(*count as u64 + 1) } else { (*count as u32).to_be_bytes().to_vec() }
    };
    counts.iter().map(told).collect()
}

fn attack<A: Api>() {
    for version in A::FACTS.version_min..=A::FACTS.version_max {
        let is_flexible = A::FACTS.is_flexible(version);
        let samples = samples::<A>(version);
        assert!(!samples.is_empty(), "{} v{version}", A::FACTS.name);
        for body in &samples {
            assert!(check::<A>(body, version, &|| "as it should be".into()), "{} v{version}", A::FACTS.name);
            for place in 0..body.len() {
                check::<A>(&body[..place], version, &|| format!("cut off {body:?}"));
                // With bytes behind it to fill what is claimed: few, so that all of them are looked at often.
                for behind in [0, 1_000] {
                    for fill in [0, 1] {
                        for lie in lies(is_flexible, body.len() + behind - place) {
                            // In place of what is there, so that the rest is read as what it is not; and of one byte.
                            for replaced in [lie.len(), 1] {
                                let mut lying = body[..place].to_vec();
                                lying.extend_from_slice(&lie);
                                lying.extend_from_slice(body.get(place + replaced..).unwrap_or_default());
                                lying.resize(lying.len() + behind, fill);
                                check::<A>(&lying, version, &|| format!("{lie:?} at {place} of {body:?}, {fill}"));
                                if !is_flexible {
                                    break;
                                }
                            }
                        }
                        if behind == 0 {
                            break;
                        }
                    }
                }
            }
        }
        // Long frames, whose first arrays claim as much as they can hold: in the last version more than they may.
        let len: usize = if version == A::FACTS.version_max { 3_000_000 } else { 100_000 };
        let body = samples.first().expect("there is one");
        for place in 0..body.len().min(24) {
            for count in [len, len / 3, len / 10] {
                let mut lying = body[..place].to_vec();
                lying.extend(lies(is_flexible, count).swap_remove(0));
                lying.resize(len, 0);
                check::<A>(&lying, version, &|| format!("{count} at {place} of {body:?}"));
            }
        }
    }
}

macro_rules! attack_all {
    ($($module:ident $api:ident),* $(,)?) => {
        mod a_frame_allocates_a_small_factor_of_its_length_in {
            $(#[test]
            fn $module() {
                super::attack::<super::protocol::$module::$api>();
            })*
        }
    };
}
for_each_api!(attack_all);
