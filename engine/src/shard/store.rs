//! The store: its directory, its shards, each on a thread of its own, and the way to them from outside.

use std::fs::File as LockFile;
use std::hash::Hasher;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::io::{self, Io, UringOptions};
use crate::journal::Journal;
use crate::log::{LeaderEpochs, Log, LogConfig, SegmentState};
use crate::shard::config::StoreConfig;
use crate::shard::partition::Partition;
use crate::shard::recovery::{Recovered, RecoveredPartition, recover};
use crate::shard::recycler::Recycler;
use crate::shard::shard::{Shard, ShardId};
use crate::types::{Offset, TopicId, TopicPartition};

/// Calls that may wait for one shard.
const MAILBOX_CALLS_MAX: usize = 4096;
/// How long after its start a shard begins to prewrite its journal, so that what starts has the disk to itself.
const GROWTH_DELAY: Duration = Duration::from_millis(150);

type Call = Box<dyn FnOnce(Rc<Shard>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A store, from any thread; clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    config: StoreConfig,
    mailboxes: Vec<tokio::sync::mpsc::Sender<Call>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    found: Vec<(TopicPartition, TopicId)>,
    replayed: u64,
    _lock: LockFile,
}

impl Store {
    /// Opens the store in `config.dir`, creating it where it is missing: locks it, recovers it and starts its shards. Blocks.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NewerFormat`], [`Error::Unsupported`] (io_uring forbidden), [`Error::Corrupt`], faults of the disk.
    pub fn open(config: StoreConfig) -> Result<Store> {
        if config.shards == 0 || config.shards > 1024 {
            let reason = format!("{} is not between 1 and 1024", config.shards);
            return Err(Error::Setting { name: "corelog.cores".into(), reason });
        }
        let made = unsynced(&config.dir, |dir| dir.exists());
        std::fs::create_dir_all(&config.dir).map_err(|error| {
            let above = config.dir.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
            let what = format!("data directory {} cannot be created: {error}", config.dir.display());
            forbidden(above, what, &error).unwrap_or_else(|| Error::io("create", &config.dir, None, error))
        })?;
        let lock = lock(&config.dir)?;
        let recovered = {
            let options = UringOptions { arena_bytes: 16 << 20, ..ring_options(&config, None) };
            let (dir, sync_each_max) = (config.dir.clone(), config.sync_each_max);
            let recovery = std::thread::Builder::new().name("corelog-recovery".into()).spawn(move || {
                io::run(options, move |io| async move {
                    sync_names(&io, &made).await?;
                    recover(&io, &dir, sync_each_max).await
                })?
            });
            let recovery =
                recovery.map_err(|error| Error::io("spawn a thread for", &lock_path(&config.dir), None, error))?;
            recovery.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
        };
        let Recovered { generation, partitions, recycled, stale, merged, replayed } = recovered;
        let found = partitions.iter().map(|partition| (partition.name.clone(), partition.state.id.topic_id)).collect();
        let mut shares: Vec<Vec<RecoveredPartition>> = (0..config.shards).map(|_| Vec::new()).collect();
        for partition in partitions {
            shares[shard_of(&partition.name, config.shards).0].push(partition);
        }
        let mut mailboxes = Vec::new();
        let mut threads = Vec::new();
        let mut readies = Vec::new();
        let mut recycled = Some(recycled);
        for (number, share) in shares.into_iter().enumerate() {
            let (sender, receiver) = tokio::sync::mpsc::channel(MAILBOX_CALLS_MAX);
            let (ready_sender, ready) = std::sync::mpsc::channel();
            let (config, dir) = (config.clone(), config.dir.clone());
            let recycled = recycled.take().unwrap_or_default();
            let thread = std::thread::Builder::new().name(format!("corelog-{number}")).spawn(move || {
                let options = ring_options(&config, config.pin.then_some(number));
                let failed = ready_sender.clone();
                let outcome = io::run(options, move |io| async move {
                    let opened = Shard::open(&io, config, number, generation, share, recycled).await;
                    match opened {
                        Ok(shard) => {
                            let _ = ready_sender.send(Ok(()));
                            serve(shard, receiver).await;
                        }
                        Err(error) => {
                            let _ = ready_sender.send(Err(error));
                        }
                    }
                });
                if let Err(error) = outcome {
                    let _ = failed.send(Err(error));
                }
            });
            threads.push(thread.map_err(|error| Error::io("spawn a thread for", &lock_path(&dir), None, error))?);
            mailboxes.push(sender);
            readies.push(ready);
        }
        for ready in readies {
            ready.recv().map_err(|_| Error::Closed)??;
        }
        remove_stale(&config, &stale, &merged)?;
        let inner = Inner { config, mailboxes, threads: Mutex::new(threads), found, replayed, _lock: lock };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Its settings.
    pub fn config(&self) -> &StoreConfig {
        &self.inner.config
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.inner.mailboxes.len()
    }

    /// The shard that has a partition: a stable hash of its name.
    pub fn shard_of(&self, name: &TopicPartition) -> ShardId {
        shard_of(name, self.shards())
    }

    /// The partitions that were found when the store was opened.
    pub fn partitions(&self) -> &[(TopicPartition, TopicId)] {
        &self.inner.found
    }

    /// Batches that recovery read from the journals.
    pub fn replayed(&self) -> u64 {
        self.inner.replayed
    }

    /// Runs `call` on a shard's thread and gives its outcome back; waits where many calls wait already.
    ///
    /// # Errors
    /// [`Error::Closed`] where the shard has stopped.
    pub async fn call<T, F>(&self, shard: ShardId, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Shard>) -> Pin<Box<dyn Future<Output = T>>> + Send + 'static,
    {
        let (boxed, outcome) = posted(call);
        self.inner.mailboxes[shard.0].send(boxed).await.map_err(|_| Error::Closed)?;
        outcome.await.map_err(|_| Error::Closed)
    }

    /// [`Store::call`] that is posted before this returns, for calls whose order matters: [`Store::call`] may post one
    /// made later first, since it is a future that somebody has to poll.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too many calls wait; [`Error::Closed`].
    pub fn call_in_order<T, F>(&self, shard: ShardId, call: F) -> Result<impl Future<Output = Result<T>> + use<T, F>>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Shard>) -> Pin<Box<dyn Future<Output = T>>> + Send + 'static,
    {
        use tokio::sync::mpsc::error::TrySendError;
        let (boxed, outcome) = posted(call);
        self.inner.mailboxes[shard.0].try_send(boxed).map_err(|refused| match refused {
            TrySendError::Full(_) => Error::Overloaded(format!("{MAILBOX_CALLS_MAX} calls wait for shard {}", shard.0)),
            TrySendError::Closed(_) => Error::Closed,
        })?;
        Ok(async move { outcome.await.map_err(|_| Error::Closed) })
    }

    /// [`Store::call`] for a thread that is not a shard's and has no runtime.
    pub fn call_blocking<T, F>(&self, shard: ShardId, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Shard>) -> Pin<Box<dyn Future<Output = T>>> + Send + 'static,
    {
        self.post_blocking(shard, call)?.recv().map_err(|_| Error::Closed)
    }

    /// Posts a call from such a thread; where its outcome will be.
    fn post_blocking<T, F>(&self, shard: ShardId, call: F) -> Result<std::sync::mpsc::Receiver<T>>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Shard>) -> Pin<Box<dyn Future<Output = T>>> + Send + 'static,
    {
        let (sender, receiver) = std::sync::mpsc::channel();
        let boxed: Call = Box::new(move |shard| {
            let future = call(shard);
            Box::pin(async move {
                let _ = sender.send(future.await);
            })
        });
        self.inner.mailboxes[shard.0].blocking_send(boxed).map_err(|_| Error::Closed)?;
        Ok(receiver)
    }

    /// Shuts the store down: everything is flushed, written, indexed and recorded. Blocks until the shards have ended. Not to be
    /// called on a shard's thread.
    ///
    /// # Errors
    /// The first fault; what was acknowledged is on stable storage all the same.
    pub fn close(&self) -> Result<()> {
        let mut outcome = Ok(());
        let close = |shard| self.post_blocking(ShardId(shard), |shard| Box::pin(async move { shard.close().await }));
        // All at the same time: what one syncs the others need not.
        let closing: Vec<_> = (0..self.shards()).map(close).collect();
        for closed in closing {
            match closed.and_then(|closed| closed.recv().map_err(|_| Error::Closed)) {
                Ok(closed) => outcome = outcome.and(closed),
                Err(Error::Closed) => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        let threads = std::mem::take(&mut *self.inner.threads.lock().expect("no panic while it was held"));
        for thread in threads {
            if thread.join().is_err() {
                outcome = outcome.and(Err(Error::Closed));
            }
        }
        outcome
    }
}

impl Shard {
    /// Opens a shard over what recovery found for it, records a first checkpoint of its own, and starts its tasks.
    async fn open(
        io: &Io,
        config: StoreConfig,
        number: usize,
        generation: u64,
        share: Vec<RecoveredPartition>,
        recycled: Vec<(std::path::PathBuf, u64)>,
    ) -> Result<Rc<Shard>> {
        let dir = config.dir.clone();
        let journal = Journal::create(io, &dir, number as u32, generation, config.journal_bytes).await?;
        let recycler = Recycler::new(dir, generation, number, config.recycle_bytes / config.shards as u64, recycled);
        let shard = Rc::new(Shard::new(ShardId(number), io.clone(), Rc::new(config), generation, journal, recycler));
        for recovered in share {
            shard.adopt(recovered);
        }
        shard.first_checkpoint().await?;
        shard.start();
        Ok(shard)
    }

    /// A store of one shard inside a world that runs already: for simulations, and for programs that have a runtime of their own.
    pub async fn open_alone(io: &Io, config: StoreConfig) -> Result<Rc<Shard>> {
        let mut present = Vec::new();
        for dir in config.dir.ancestors() {
            if io.modified(dir).await.is_ok() {
                present.push(dir.to_path_buf());
            }
        }
        let made = unsynced(&config.dir, |dir| present.iter().any(|present| present == dir));
        io.create_dir_all(&config.dir).await?;
        sync_names(io, &made).await?;
        let recovered = recover(io, &config.dir, config.sync_each_max).await?;
        let config = StoreConfig { shards: 1, ..config };
        let shard = Shard::open(io, config, 0, recovered.generation, recovered.partitions, recovered.recycled).await?;
        let own = [crate::journal::checkpoint_file_name(0), crate::journal::journal_file_name(0)];
        for path in recovered.stale.iter().filter(|path| !own.iter().any(|name| path.ends_with(name))) {
            if io.file_len(path).await?.is_some() {
                io.remove_file(path).await?;
            }
        }
        if io.file_len(&recovered.merged).await?.is_some() {
            io.sync_dir(&shard.config.dir).await?;
            io.remove_file(&recovered.merged).await?;
        }
        Ok(shard)
    }

    fn adopt(&self, recovered: RecoveredPartition) {
        let RecoveredPartition { name, state, sealed, cleaned_to, failure } = recovered;
        let damaged = failure.map(|error| (error, state.clone()));
        let epochs = LeaderEpochs::from_entries(state.epochs).unwrap_or_default();
        let dir = self.partition_dir(&name);
        let key = state.id;
        let segment = SegmentState {
            base: state.segment,
            position: state.position,
            partial: state.partial,
            first_timestamp: state.first_timestamp,
            max_timestamp: state.max_timestamp,
            max_timestamp_offset: state.max_timestamp_offset.max(Offset::ZERO),
            points: state.index_points,
            spilled: state.index_spilled as usize,
        };
        let config = Rc::new(LogConfig::default());
        let log = Log::open(
            &self.io,
            dir.clone(),
            config,
            state.start,
            state.next_offset,
            epochs,
            state.producers,
            sealed,
            segment,
        );
        let partition = Rc::new(Partition::new(name.clone(), key, dir, log));
        partition.changed.set(true);
        partition.cleaned_to.set(cleaned_to);
        if let Some((error, state)) = damaged {
            partition.keep_damaged(state);
            partition.fail(error);
        }
        self.recount(&partition, &partition.log.borrow());
        self.partitions.borrow_mut().insert(name, partition);
    }

    fn start(self: &Rc<Self>) {
        self.io.spawn(self.clone().run_flusher());
        self.io.spawn(self.clone().run_checkpointer());
        self.io.spawn(self.clone().run_retention());
        self.io.spawn(self.clone().run_cleaner());
        self.io.spawn(self.clone().run_producer_expiry());
        self.io.spawn(self.clone().run_journal_growth());
    }

    /// Prewrites the journal to its full size in the background, so that opening a store does not wait for it.
    async fn run_journal_growth(self: Rc<Self>) {
        self.io.sleep(GROWTH_DELAY).await;
        loop {
            let growth = self.journal.borrow().plan_growth();
            let Some(growth) = growth else { return };
            match growth.run().await {
                Ok(grown) => self.journal.borrow_mut().apply_growth(grown),
                Err(Error::DiskFull { .. }) => {
                    tracing::warn!("the journal stays small: the disk is full");
                    self.io.sleep(Duration::from_secs(5)).await;
                }
                Err(error) => return self.fail(error),
            }
            if self.closing.get() {
                return;
            }
            self.io.yield_now().await;
        }
    }
}

/// A call as the mailbox takes it, and where its outcome will be.
fn posted<T, F>(call: F) -> (Call, tokio::sync::oneshot::Receiver<T>)
where
    T: Send + 'static,
    F: FnOnce(Rc<Shard>) -> Pin<Box<dyn Future<Output = T>>> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let boxed: Call = Box::new(move |shard| {
        let future = call(shard);
        Box::pin(async move {
            let _ = sender.send(future.await);
        })
    });
    (boxed, receiver)
}

async fn serve(shard: Rc<Shard>, mut receiver: tokio::sync::mpsc::Receiver<Call>) {
    let closed = Rc::new(tokio::sync::Notify::new());
    loop {
        let call = {
            let mut stop = std::pin::pin!(closed.notified());
            let mut next = std::pin::pin!(receiver.recv());
            std::future::poll_fn(|context| {
                if stop.as_mut().poll(context).is_ready() {
                    return std::task::Poll::Ready(None);
                }
                next.as_mut().poll(context)
            })
            .await
        };
        let Some(call) = call else { return };
        let future = call(shard.clone());
        let (shard, closed) = (shard.clone(), closed.clone());
        shard.io.clone().spawn(async move {
            future.await;
            if shard.is_closed() {
                closed.notify_one();
            }
        });
    }
}

/// FNV-1a of the directory's name: the same in every run and on every machine.
fn shard_of(name: &TopicPartition, shards: usize) -> ShardId {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.topic.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write_u64(hash);
    // Neighbouring partitions of a topic go to different shards.
    ShardId(((hash >> 32) as usize + name.partition as usize) % shards)
}

fn ring_options(config: &StoreConfig, core: Option<usize>) -> UringOptions {
    UringOptions { core, arena_bytes: config.arena_bytes, direct: config.direct, ..UringOptions::default() }
}

/// The directories whose names may not survive a power cut: the data directory, which an earlier start may have made and died, and
/// those above it that do not exist yet.
fn unsynced(dir: &Path, exists: impl Fn(&Path) -> bool) -> Vec<std::path::PathBuf> {
    let mut named = dir.ancestors().filter(|dir| dir.file_name().is_some());
    let own = named.next().map(Path::to_path_buf);
    own.into_iter().chain(named.take_while(|dir| !exists(dir)).map(Path::to_path_buf)).collect()
}

/// Makes directories survive a power cut: without it a fresh store, and all that it acknowledged, may be gone with its name.
async fn sync_names(io: &Io, dirs: &[std::path::PathBuf]) -> Result<()> {
    for dir in dirs.iter().rev() {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match io.sync_dir(parent).await {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                tracing::warn!(dir = %dir.display(), "whether its name survives a power cut is up to its parent, which cannot be read");
            }
            synced => synced?,
        }
    }
    Ok(())
}

fn lock_path(dir: &Path) -> std::path::PathBuf {
    dir.join(".lock")
}

/// Takes the directory's lock, the one that Kafka's brokers take too (a POSIX lock on `.lock`), for as long as the file is open.
fn lock(dir: &Path) -> Result<LockFile> {
    let path = lock_path(dir);
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path).map_err(|error| {
        let what = format!("data directory {} is not writable: {error}", dir.display());
        forbidden(dir, what, &error).unwrap_or_else(|| Error::io("open", &path, None, error))
    })?;
    let request =
        libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    match nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETLK(&request)) {
        Ok(_) => {}
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => {
            return Err(Error::Locked { dir: dir.to_path_buf() });
        }
        Err(error) => return Err(Error::io("lock", &path, None, error.into())),
    }
    // A POSIX lock does not exclude this process itself; a second store in it is told by an open-file lock.
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Locked { dir: dir.to_path_buf() }),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::io("lock", &path, None, error)),
    }
}

/// What to do where this user may not write in `dir`; `None` where that is not the reason.
fn forbidden(dir: &Path, what: String, error: &std::io::Error) -> Option<Error> {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let remedy = format!("give this user the right to write in {}, or choose another directory", dir.display());
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem).then_some(Error::Unsupported { what, remedy })
}

/// Removes the files of earlier shards, and, when they are gone for good, the checkpoint that says that they are of no use.
fn remove_stale(config: &StoreConfig, stale: &[std::path::PathBuf], merged: &Path) -> Result<()> {
    let own = |path: &Path| {
        (0..config.shards as u32).any(|shard| {
            path.ends_with(crate::journal::checkpoint_file_name(shard))
                || path.ends_with(crate::journal::journal_file_name(shard))
        })
    };
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, None, error)),
        _ => Ok(()),
    };
    stale.iter().filter(|path| !own(path)).try_for_each(|path| remove(path))?;
    let synced = std::fs::File::open(&config.dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| Error::io("sync directory", &config.dir, None, error))?;
    remove(merged)
}
