//! Huge-page memory for direct I/O: 2 MiB-aligned, `MADV_HUGEPAGE`, touched before use.
//!
//! A 1 MiB buffer on scattered 4 KiB pages is 256 segments of a request, on a huge page it is one.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use anyhow::{Result, bail};

/// The size of a huge page on x86-64 and on arm64 with 4 KiB pages.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Memory for buffers; every chunk handed out is at least 4 KiB-aligned.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    bytes: usize,
    mapping: (*mut libc::c_void, usize),
}

// SAFETY: the arena is plain memory that it owns alone; nothing in it is tied to a thread.
unsafe impl Send for Arena {}

impl Arena {
    /// Maps at least `bytes`, on huge pages if asked and granted, filled with bytes that do not compress.
    pub fn new(bytes: usize, huge_pages: bool) -> Result<Arena> {
        let bytes = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        let mapped = bytes + HUGE_PAGE_BYTES;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping at an address the kernel chooses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            bail!("cannot map {mapped} bytes for buffers: {}", std::io::Error::last_os_error());
        }
        let aligned = (start as usize).next_multiple_of(HUGE_PAGE_BYTES);
        let advice = if huge_pages { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
        // SAFETY: the range lies inside the mapping above; the advice does not change its contents.
        unsafe { libc::madvise(aligned as *mut libc::c_void, bytes, advice) };
        let base = NonNull::new(aligned as *mut u8).expect("a mapping is not at zero");
        let mut arena = Arena { base, bytes, mapping: (start, mapped) };
        crate::measure::ratio::SplitMix(42).fill(arena.all_mut());
        Ok(arena)
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no memory (never).
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The address of byte `position`.
    pub fn at(&self, position: usize) -> *mut u8 {
        assert!(position < self.bytes, "byte {position} is outside an arena of {}", self.bytes);
        // SAFETY: inside the mapping, as asserted.
        unsafe { self.base.as_ptr().add(position) }
    }

    /// How many of its bytes are on huge pages, as the kernel says in `/proc/self/smaps`.
    pub fn huge_page_bytes(&self) -> u64 {
        let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") else { return 0 };
        let first = self.base.as_ptr() as usize;
        let mut inside = false;
        let mut kib = 0;
        for line in smaps.lines() {
            let range = line.split_whitespace().next().and_then(|word| word.split_once('-'));
            let range = range.and_then(|(from, to)| {
                Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
            });
            if let Some((from, to)) = range {
                inside = from < first + self.bytes && to > first;
            } else if let Some(rest) = line.strip_prefix("AnonHugePages:").filter(|_| inside) {
                kib += rest.trim().trim_end_matches(" kB").parse().unwrap_or(0u64);
            }
        }
        (kib * 1024).min(self.bytes as u64)
    }

    fn all_mut(&mut self) -> &mut [u8] {
        // SAFETY: the whole mapping is ours, readable and writable, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` and nothing refers to it any more.
        unsafe { libc::munmap(self.mapping.0, self.mapping.1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_is_aligned_and_never_smaller_than_asked() {
        let arena = Arena::new(3 << 20, true).expect("memory");
        assert_eq!(arena.len(), 4 << 20);
        assert_eq!(arena.at(0) as usize % HUGE_PAGE_BYTES, 0);
        assert!(arena.huge_page_bytes() <= arena.len() as u64);
        assert_eq!(Arena::new(2 << 20, false).expect("memory").huge_page_bytes(), 0);
    }
}
