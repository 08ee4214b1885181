//! The baseline backend: the same sequential work through tokio-uring's file API, so that a reader sees what the raw ring buys.
//!
//! It gets what that API offers: registered huge-page buffers, `O_DIRECT`, one task per operation in flight. It has no
//! registered files and no per-write flags, so a durable write is one to a file opened with `O_DSYNC`.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio_uring::buf::fixed::FixedBufRegistry;
use tokio_uring::buf::{IoBuf, IoBufMut};

use super::{Arena, Operation, Work};
use crate::case::Sample;

/// Does the work through tokio-uring on a thread of its own and measures it; costs are the caller's to add.
pub fn run(path: &Path, work: Work) -> Result<Sample> {
    let path = path.to_path_buf();
    let body = move || tokio_uring::start(async move { work_on(&path, work).await });
    let thread = std::thread::Builder::new().name("tokio-uring".into()).spawn(body).context("cannot start a thread")?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn work_on(path: &Path, work: Work) -> Result<Sample> {
    let arena = Rc::new(Arena::new(work.block_bytes * work.depth, true)?);
    let registry = FixedBufRegistry::new((0..work.depth).map(|slot| Part {
        arena: arena.clone(),
        from: slot * work.block_bytes,
        bytes: work.block_bytes,
    }));
    registry.register().context("cannot register buffers with tokio-uring")?;
    let sync = if work.operation == Operation::DurableWrite { libc::O_DSYNC } else { 0 };
    let options = std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT | sync).open(path);
    let file = Rc::new(tokio_uring::fs::File::from_std(options.context("cannot open the file of tokio-uring")?));
    let next = Rc::new(RefCell::new(Next { issued_bytes: 0, place: 0 }));
    let sample = Rc::new(RefCell::new(Sample::default()));
    let start = Instant::now();
    let tasks: Vec<_> = (0..work.depth)
        .map(|slot| {
            let (file, next, sample) = (file.clone(), next.clone(), sample.clone());
            let mut buffer = registry.check_out(slot).expect("every slot has one buffer");
            tokio_uring::spawn(async move {
                // A borrow in the condition of the loop would live through its awaits.
                let take = || next.borrow_mut().take(start, work);
                while let Some(place) = take() {
                    let began = Instant::now();
                    let (result, back) = if work.operation == Operation::Read {
                        file.read_fixed_at(buffer, place).await
                    } else {
                        file.write_fixed_at(buffer, place).await
                    };
                    buffer = back;
                    let bytes = result.with_context(|| format!("tokio-uring cannot {}", work.operation.verb()))?;
                    if bytes != work.block_bytes {
                        bail!("a short {} of tokio-uring", work.operation.verb());
                    }
                    let mut sample = sample.borrow_mut();
                    sample.latency.record(began.elapsed());
                    sample.operations += 1;
                    sample.bytes += bytes as u64;
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await.context("a task of tokio-uring panicked")??;
    }
    let mut sample = sample.borrow().clone();
    sample.seconds = start.elapsed().as_secs_f64();
    Ok(sample)
}

/// Where the next operation goes.
#[derive(Debug)]
struct Next {
    issued_bytes: u64,
    place: u64,
}

impl Next {
    fn take(&mut self, start: Instant, work: Work) -> Option<u64> {
        if self.issued_bytes >= work.bytes_max || start.elapsed() >= work.time_max {
            return None;
        }
        if self.place + work.block_bytes as u64 > work.file_bytes {
            self.place = 0;
        }
        let place = self.place;
        self.place += work.block_bytes as u64;
        self.issued_bytes += work.block_bytes as u64;
        Some(place)
    }
}

/// One buffer of an arena.
#[derive(Debug)]
struct Part {
    arena: Rc<Arena>,
    from: usize,
    bytes: usize,
}

// SAFETY: the address is fixed for the life of the arena, which the buffer keeps alive; all of it was filled when the
// arena was made.
unsafe impl IoBuf for Part {
    fn stable_ptr(&self) -> *const u8 {
        self.arena.at(self.from)
    }

    fn bytes_init(&self) -> usize {
        self.bytes
    }

    fn bytes_total(&self) -> usize {
        self.bytes
    }
}

// SAFETY: as above; parts do not overlap, so each is the only writer of its memory.
unsafe impl IoBufMut for Part {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.arena.at(self.from)
    }

    unsafe fn set_init(&mut self, _bytes: usize) {}
}
