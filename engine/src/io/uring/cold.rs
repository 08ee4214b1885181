//! Whole files and names, away from the data path: tokio-uring's files on its own ring.
//!
//! tokio-uring submits when the thread parks, which under load may be seconds away, or when its queue is full. So its
//! queue has one place, and [`at_once`] puts an empty operation behind each real one, which pushes that out.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The places of tokio-uring's submission queue; more than one would break [`at_once`].
pub(super) const QUEUE_ENTRIES: u32 = 1;

/// Drives `operation` so that what it queues is submitted at once. It is polled when it is woken itself, however often whoever waits
/// for it is: each poll costs an empty operation.
pub(super) async fn at_once<F: Future>(operation: F) -> F::Output {
    let mut operation = pin!(operation);
    let own = Arc::new(OwnWaker { woken: AtomicBool::new(true), outer: AtomicWaker::new() });
    let waker = Waker::from(own.clone());
    std::future::poll_fn(|context| {
        own.outer.register(context.waker());
        if !own.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let mut context = Context::from_waker(&waker);
        let polled = operation.as_mut().poll(&mut context);
        if polled.is_pending() {
            // Dropped while in flight: tokio-uring then ignores its completion.
            let _ = pin!(tokio_uring::no_op()).poll(&mut context);
        }
        polled
    })
    .await
}

/// Notes that it was woken, and wakes whoever waits.
struct OwnWaker {
    woken: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for OwnWaker {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.outer.wake();
    }
}

/// All bytes of a file.
pub(super) async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = at_once(tokio_uring::fs::File::open(path)).await?;
    let len = std::fs::metadata(path)?.len() as usize;
    let read = at_once(read_to_end(&file, len)).await;
    at_once(file.close()).await?;
    read
}

async fn read_to_end(file: &tokio_uring::fs::File, len: usize) -> io::Result<Vec<u8>> {
    let mut contents = Vec::with_capacity(len + 1);
    loop {
        if contents.len() == contents.capacity() {
            contents.reserve(64 << 10);
        }
        let at = contents.len();
        let (read, part) = file.read_at(tokio_uring::buf::BoundedBuf::slice(contents, at..), at as u64).await;
        contents = part.into_inner();
        if read? == 0 {
            return Ok(contents);
        }
    }
}

/// Creates or cuts `path` and writes `contents` to stable storage.
pub(super) async fn write_synced(path: &Path, contents: Vec<u8>) -> io::Result<()> {
    let file = at_once(tokio_uring::fs::File::create(path)).await?;
    let (written, _) = at_once(file.write_all_at(contents, 0)).await;
    let synced = match written {
        Ok(()) => at_once(file.sync_all()).await,
        error => error,
    };
    at_once(file.close()).await?;
    synced
}

/// Makes an empty file where there is none.
pub(super) async fn create(path: &Path) -> io::Result<()> {
    let file = at_once(tokio_uring::fs::OpenOptions::new().write(true).create(true).open(path)).await?;
    at_once(file.close()).await
}

/// Writes `contents` at a place of `path`, which is created where it is missing.
pub(super) async fn write_at(path: &Path, at: u64, contents: Vec<u8>) -> io::Result<()> {
    let file = at_once(tokio_uring::fs::OpenOptions::new().write(true).create(true).open(path)).await?;
    let (written, _) = at_once(file.write_all_at(contents, at)).await;
    at_once(file.close()).await?;
    written
}

/// Makes the names in `dir` durable.
pub(super) async fn sync_dir(dir: &Path) -> io::Result<()> {
    let file = at_once(tokio_uring::fs::File::open(dir)).await?;
    let synced = at_once(file.sync_all()).await;
    at_once(file.close()).await?;
    synced
}

/// Has the file system that holds `dir` write everything; on a thread of its own, since io_uring has no such operation.
pub(super) async fn sync_all(dir: &Path) -> io::Result<()> {
    let dir = std::fs::File::open(dir)?;
    let syncing = tokio::task::spawn_blocking(move || nix::unistd::syncfs(&dir));
    let synced = syncing.await.map_err(io::Error::other)?;
    Ok(synced?)
}

/// Gives `from` the name `to`, in place of what had it.
pub(super) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    at_once(tokio_uring::fs::rename(from, to)).await
}

/// Removes a file; the kernel frees its blocks on a worker thread.
pub(super) async fn remove_file(path: &Path) -> io::Result<()> {
    at_once(tokio_uring::fs::remove_file(path)).await
}

/// Removes a directory and all that is in it.
pub(super) async fn remove_dir_all(dir: &Path) -> io::Result<()> {
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.last().cloned() {
        let deeper = waiting.len();
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else {
                remove_file(&entry.path()).await?;
            }
        }
        if waiting.len() == deeper {
            at_once(tokio_uring::fs::remove_dir(&dir)).await?;
            waiting.pop();
        }
    }
    Ok(())
}
