//! The raw io_uring loop: the limit that the store is measured against.
//!
//! One thread, one ring (`SINGLE_ISSUER | DEFER_TASKRUN`), one registered file, registered huge-page buffers, `O_DIRECT`,
//! `RWF_DSYNC` for durable writes. It sleeps in the kernel for completions and never spins. Nothing else happens
//! between two operations, so what the store loses against it is what the store's own work costs.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use io_uring::{IoUring, opcode, types};

use super::{Arena, Operation, Work};
use crate::case::Sample;

/// The most operations in flight.
pub const DEPTH_MAX: usize = 128;

/// The largest operation.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// A ring with registered memory.
pub struct RawLoop {
    pub(super) ring: IoUring,
    pub(super) arena: Arena,
    registered: bool,
}

impl std::fmt::Debug for RawLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawLoop").field("arena", &self.arena).field("registered", &self.registered).finish()
    }
}

impl RawLoop {
    /// A ring on the calling thread, which must be the one that runs it, with `arena_bytes` of buffers. Without
    /// `registered` neither memory nor files are registered.
    pub fn new(arena_bytes: usize, huge_pages: bool, registered: bool) -> Result<RawLoop> {
        let entries = DEPTH_MAX as u32;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(entries)
            .or_else(|_| IoUring::new(entries))
            .context(
                "cannot make an io_uring (kernel.io_uring_disabled, or a container's seccomp profile, may forbid it)",
            )?;
        let arena = Arena::new(arena_bytes, huge_pages)?;
        let raw = RawLoop { ring, arena, registered };
        if registered {
            let whole = [libc::iovec { iov_base: raw.arena.at(0).cast(), iov_len: raw.arena.len() }];
            // SAFETY: the arena lives in `raw` beside the ring, whose drop order (ring first) unregisters before unmapping.
            let registered = unsafe { raw.ring.submitter().register_buffers(&whole) };
            if let Err(error) = registered {
                bail!(
                    "cannot register {} bytes of buffers: {error}; raise RLIMIT_MEMLOCK (ulimit -l) or grant CAP_IPC_LOCK",
                    raw.arena.len()
                );
            }
            raw.ring.submitter().register_files_sparse(1).context("cannot register a file")?;
        }
        Ok(raw)
    }

    /// The memory behind it.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Does the work on `file` and measures it; costs are the caller's to add.
    pub fn run(&mut self, file: &File, work: Work) -> Result<Sample> {
        ensure!(work.depth <= DEPTH_MAX && work.depth > 0, "at most {DEPTH_MAX} operations in flight");
        ensure!(work.block_bytes * work.depth <= self.arena.len(), "the arena is too small for {work:?}");
        ensure!(work.file_bytes >= work.block_bytes as u64, "the file is too small for {work:?}");
        if self.registered {
            let update = self.ring.submitter().register_files_update(0, &[file.as_raw_fd()]);
            update.context("cannot register a file")?;
        }
        let mut place = 0u64;
        let mut started_at = [Instant::now(); DEPTH_MAX];
        let mut sample = Sample::default();
        let (mut issued_bytes, mut in_flight) = (0u64, 0usize);
        let mut free: Vec<usize> = (0..work.depth).rev().collect();
        let start = Instant::now();
        loop {
            let now = Instant::now();
            let more = now - start < work.time_max;
            while more && issued_bytes < work.bytes_max {
                let Some(slot) = free.pop() else { break };
                if place + work.block_bytes as u64 > work.file_bytes {
                    place = 0;
                }
                self.push(file, work, slot, place)?;
                place += work.block_bytes as u64;
                started_at[slot] = now;
                issued_bytes += work.block_bytes as u64;
                in_flight += 1;
            }
            if in_flight == 0 {
                break;
            }
            match self.ring.submit_and_wait(1) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                other => other.context("io_uring_enter failed")?,
            };
            let now = Instant::now();
            for completion in self.ring.completion() {
                let slot = completion.user_data() as usize;
                if completion.result() < 0 {
                    let error = std::io::Error::from_raw_os_error(-completion.result());
                    bail!("{} of {} bytes failed: {error}", work.operation.verb(), work.block_bytes);
                }
                ensure!(completion.result() as usize == work.block_bytes, "a short {}", work.operation.verb());
                sample.latency.record(now - started_at[slot]);
                sample.operations += 1;
                sample.bytes += work.block_bytes as u64;
                in_flight -= 1;
                free.push(slot);
            }
        }
        sample.seconds = start.elapsed().as_secs_f64();
        Ok(sample)
    }

    fn push(&mut self, file: &File, work: Work, slot: usize, place: u64) -> Result<()> {
        let memory = self.arena.at(slot * work.block_bytes);
        let length = work.block_bytes as u32;
        let fd = types::Fd(file.as_raw_fd());
        let sync = if work.operation == Operation::DurableWrite { libc::RWF_DSYNC } else { 0 };
        macro_rules! entry {
            ($operation:ident $(, $buffer:expr)?) => {
                if self.registered {
                    opcode::$operation::new(types::Fixed(0), memory, length $(, $buffer)?)
                } else {
                    opcode::$operation::new(fd, memory, length $(, $buffer)?)
                }
            };
        }
        let entry = match (work.operation, self.registered) {
            (Operation::Read, true) => entry!(ReadFixed, 0).offset(place).build(),
            (Operation::Read, false) => entry!(Read).offset(place).build(),
            (_, true) => entry!(WriteFixed, 0).offset(place).rw_flags(sync).build(),
            (_, false) => entry!(Write).offset(place).rw_flags(sync).build(),
        };
        // SAFETY: `memory` is the slot's own part of the arena, which outlives the operation: `run` returns only when
        // nothing is in flight, or with an error that ends the run while `self` still owns ring and arena.
        unsafe { self.ring.submission().push(&entry.user_data(slot as u64)) }.context("the submission queue is full")
    }
}
