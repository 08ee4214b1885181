//! Durable commits of many partitions, the ways that need no journal of ours: the reference that group commit is measured
//! against.
//!
//! Every partition has one commit in flight at a time and begins the next when it is done, each file is prewritten and only
//! overwritten. The shared journal is the ideal that a store's group commit can approach: one write for everyone.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use io_uring::{opcode, squeue, types};

use super::RawLoop;
use crate::case::Sample;

/// How a commit becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A file per partition, each commit one write with `RWF_DSYNC`.
    FilePerPartitionDsync,
    /// A file per partition, each commit a write and, linked behind it, an `fdatasync`.
    FilePerPartitionSync,
    /// One file for all: a round of all partitions' commits is one write with `RWF_DSYNC`.
    SharedJournal,
}

/// A load of commits.
#[derive(Clone, Copy, Debug)]
pub struct Commits {
    /// Partitions, each with one commit in flight.
    pub partitions: usize,
    /// Bytes of a commit, a multiple of 4096.
    pub commit_bytes: usize,
    /// How it becomes durable.
    pub way: Way,
    /// Bytes of each file that are used; the place wraps at its end.
    pub file_bytes: u64,
    /// How long.
    pub time: Duration,
}

/// Marks the completion of a write whose commit is done only with the sync behind it.
const NOT_YET: u64 = 1 << 32;

impl RawLoop {
    /// Commits on `files`, one per partition, or the first alone for a shared journal. The sample's operations are commits.
    pub fn commit(&mut self, files: &[File], commits: Commits) -> Result<Sample> {
        let shared = commits.way == Way::SharedJournal;
        let lanes = if shared { 1 } else { commits.partitions };
        let write_bytes = if shared { commits.partitions * commits.commit_bytes } else { commits.commit_bytes };
        let per_write = (write_bytes / commits.commit_bytes) as u64;
        ensure!(files.len() >= lanes, "{lanes} partitions need as many files");
        ensure!(lanes * write_bytes <= self.arena().len(), "the arena is too small for {commits:?}");
        let mut places = vec![0u64; lanes];
        let mut began = vec![Instant::now(); lanes];
        let mut sample = Sample::default();
        let mut in_flight = 0;
        let start = Instant::now();
        for (lane, file) in files.iter().enumerate().take(lanes) {
            self.push_commit(file, commits.way, lane, write_bytes, 0)?;
            in_flight += 1;
        }
        let mut done = Vec::new();
        while in_flight > 0 {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                other => other.context("io_uring_enter failed")?,
            };
            let now = Instant::now();
            for completion in self.ring.completion() {
                if completion.result() < 0 {
                    bail!("a commit failed: {}", std::io::Error::from_raw_os_error(-completion.result()));
                }
                if completion.user_data() & NOT_YET == 0 {
                    done.push(completion.user_data() as usize);
                }
            }
            for lane in done.drain(..) {
                sample.latency.record_many(now - began[lane], per_write);
                sample.operations += per_write;
                sample.bytes += write_bytes as u64;
                in_flight -= 1;
                if now - start < commits.time {
                    places[lane] += write_bytes as u64;
                    if places[lane] + write_bytes as u64 > commits.file_bytes {
                        places[lane] = 0;
                    }
                    began[lane] = now;
                    self.push_commit(&files[lane], commits.way, lane, write_bytes, places[lane])?;
                    in_flight += 1;
                }
            }
        }
        sample.seconds = start.elapsed().as_secs_f64();
        Ok(sample)
    }

    fn push_commit(&mut self, file: &File, way: Way, lane: usize, bytes: usize, place: u64) -> Result<()> {
        let fd = types::Fd(file.as_raw_fd());
        let synced = way == Way::FilePerPartitionSync;
        let flags = if synced { 0 } else { libc::RWF_DSYNC };
        let memory = self.arena.at(lane * bytes);
        let write = opcode::WriteFixed::new(fd, memory, bytes as u32, 0).offset(place).rw_flags(flags).build();
        let write = write.user_data(lane as u64 | if synced { NOT_YET } else { 0 });
        let write = if synced { write.flags(squeue::Flags::IO_LINK) } else { write };
        // SAFETY: the lane's part of the arena belongs to this commit until it is done, and `commit` returns only when nothing is
        // in flight, or with an error that ends the run while `self` still owns ring and arena.
        unsafe { self.ring.submission().push(&write) }.context("the submission queue is full")?;
        if synced {
            let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build().user_data(lane as u64);
            // SAFETY: a sync touches no memory.
            unsafe { self.ring.submission().push(&sync) }.context("the submission queue is full")?;
        }
        Ok(())
    }
}
