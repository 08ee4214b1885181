//! A store inside the harness: one shard, a directory of its own, and the append loops that run on the shard's thread, as
//! a server's handlers do.

use std::cell::RefCell;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use corelog_engine::batch::Origin;
use corelog_engine::io::IoFacts;
use corelog_engine::{
    AppendOptions, Epoch, Error, LogConfig, Offset, Shard, ShardId, Store, StoreConfig, TopicId, TopicPartition,
};

use crate::case::Sample;
use crate::client::produce::ReadyBatch;

/// How the harness appends.
pub const AS_A_CLIENT: AppendOptions = AppendOptions { epoch: Epoch::NONE, origin: Origin::Client };

/// A loop gives way to the shard's other work after so many bytes, as a server does between requests.
const BYTES_PER_TURN: u64 = 1 << 20;

/// Partitions that are created beside each other.
const CREATIONS_AT_ONCE: usize = 16;

/// How long the disk may be silent while bytes wait for it: longer is a fault of the store.
const STALL_MAX: Duration = Duration::from_secs(10);

/// How long a store may take to settle; where memory is short, its arena stays smaller.
const SETTLE_WAIT: Duration = Duration::from_secs(10);

/// An open store of one shard.
#[derive(Clone)]
pub struct Embedded {
    store: Store,
}

/// Appends to some partitions of a shard, until an amount or a time is reached.
#[derive(Clone, Debug)]
pub struct AppendLoad {
    /// The partitions, taken in turn.
    pub names: Vec<TopicPartition>,
    /// What is appended.
    pub batch: ReadyBatch,
    /// Appends that wait to be durable at once; 0 appends without waiting, bounded by the store's backlog.
    pub in_flight: usize,
    /// The end: after so many bytes …
    pub bytes_max: u64,
    /// … or this time.
    pub time_max: Duration,
}

impl Embedded {
    /// Opens or makes a store of one shard in `dir`, with these changes to the defaults.
    pub fn open(dir: &Path, change: impl FnOnce(&mut StoreConfig)) -> Result<Embedded> {
        let mut config = StoreConfig { shards: 1, ..StoreConfig::new(dir) };
        change(&mut config);
        Ok(Embedded { store: Store::open(config).context("cannot open the store")? })
    }

    /// Runs `body` on the shard's thread and waits for it.
    pub fn call<T, F>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Shard>) -> Pin<Box<dyn Future<Output = Result<T, Error>>>> + Send + 'static,
    {
        let outcome = self.store.call_blocking(ShardId(0), body).context("the shard is gone")?;
        outcome.context("the store failed")
    }

    /// Makes partitions 0 to `count` of a topic.
    pub fn create(&self, topic: &str, count: i32, config: LogConfig) -> Result<Vec<TopicPartition>> {
        let names: Vec<TopicPartition> = (0..count).map(|partition| TopicPartition::new(topic, partition)).collect();
        let created = names.clone();
        self.call(move |shard| {
            Box::pin(async move {
                let topic_id = TopicId::random();
                let lanes = created.len().min(CREATIONS_AT_ONCE);
                let (sender, mut finished) = tokio::sync::mpsc::channel(lanes.max(1));
                for lane in 0..lanes {
                    let mine: Vec<TopicPartition> = created.iter().skip(lane).step_by(lanes).cloned().collect();
                    let (lane_shard, config, sender) = (shard.clone(), config.clone(), sender.clone());
                    shard.io().spawn(async move {
                        let mut outcome = Ok(());
                        for name in &mine {
                            if outcome.is_ok() {
                                outcome = lane_shard.create(name, topic_id, config.clone()).await;
                            }
                        }
                        let _ = sender.send(outcome).await;
                    });
                }
                for _ in 0..lanes {
                    finished.recv().await.expect("every lane reports")?;
                }
                Ok(())
            })
        })?;
        Ok(names)
    }

    /// Runs an append load on the shard's thread.
    pub fn append(&self, load: AppendLoad) -> Result<Sample> {
        self.call(move |shard| Box::pin(async move { load.run(shard).await }))
    }

    /// Drops all records of the partitions, so that their sealed segments become files for new ones, and waits for that.
    pub fn recycle(&self, names: &[TopicPartition]) -> Result<()> {
        let names = names.to_vec();
        self.call(move |shard| {
            Box::pin(async move {
                for name in &names {
                    let end = shard.offsets(name)?.end;
                    shard.flushed(name, end).await?;
                    shard.high_watermark_reached(name, end).await?;
                    shard.delete_records(name, end).await?;
                }
                Ok(())
            })
        })?;
        // Dead files are renamed by a task of the shard after a delay of zero.
        std::thread::sleep(Duration::from_millis(60));
        Ok(())
    }

    /// Waits until the store has what it fetches behind its start: all its memory, without which appends take theirs from the
    /// heap, and a journal of its full size, whose bytes are no one's payload.
    pub fn settle(&self) -> Result<()> {
        let config = self.store.config();
        let path = config.dir.join("corelog-journal-0");
        let began = Instant::now();
        while began.elapsed() < SETTLE_WAIT {
            let journal_bytes = std::fs::metadata(&path).map_or(0, |facts| facts.len());
            if journal_bytes >= config.journal_bytes && self.facts()?.arena_bytes >= config.arena_bytes as u64 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Closes the store and opens it again with the same settings. Partitions are then known to a checkpoint, as those of a
    /// store that has run for a while are: only such ones get recycled files.
    pub fn reopen(self, configs: &[(Vec<TopicPartition>, LogConfig)]) -> Result<Embedded> {
        let config = self.store.config().clone();
        self.close()?;
        let embedded = Embedded { store: Store::open(config).context("cannot open the store again")? };
        embedded.settle()?;
        let configs = configs.to_vec();
        embedded.call(move |shard| {
            Box::pin(async move {
                for (names, config) in &configs {
                    for name in names {
                        shard.configure(name, config.clone())?;
                    }
                }
                Ok(())
            })
        })?;
        Ok(embedded)
    }

    /// What the shard's machinery got from the kernel.
    pub fn facts(&self) -> Result<IoFacts> {
        self.call(|shard| Box::pin(async move { Ok(shard.io().facts()) }))
    }

    /// Shuts the store down cleanly.
    pub fn close(self) -> Result<()> {
        self.store.close().context("the store did not close")
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("dir", &self.store.config().dir).finish()
    }
}

impl AppendLoad {
    /// Runs the load on the shard's thread.
    pub async fn run(self, shard: Rc<Shard>) -> Result<Sample, Error> {
        if self.in_flight == 0 { self.run_unsynced(shard).await } else { self.run_durable(shard).await }
    }

    /// Appends without waiting for each; ends when the disk has all but the last, partial write.
    async fn run_unsynced(self, shard: Rc<Shard>) -> Result<Sample, Error> {
        let mut sample = Sample::default();
        let written_before = shard.io().counters().bytes_written;
        let batch_bytes = self.batch.bytes.len() as u64;
        let start = Instant::now();
        let mut turn_bytes = 0;
        let mut began = start;
        while sample.bytes < self.bytes_max && began - start < self.time_max {
            let name = &self.names[sample.operations as usize % self.names.len()];
            match shard.append(name, &self.batch.bytes, AS_A_CLIENT) {
                Ok(_) => {}
                Err(Error::Overloaded(_)) => {
                    shard.room().await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            sample.operations += 1;
            sample.bytes += batch_bytes;
            turn_bytes += batch_bytes;
            if turn_bytes >= BYTES_PER_TURN {
                turn_bytes = 0;
                shard.io().yield_now().await;
            }
            let now = Instant::now();
            sample.latency.record(now - began);
            began = now;
        }
        // A partition's last bytes wait in memory until they are worth a write.
        let goal = sample.bytes.saturating_sub((self.names.len() as u64) << 20);
        let mut seen = (0, Instant::now());
        loop {
            shard.check()?;
            let written = shard.io().counters().bytes_written - written_before;
            if written >= goal {
                break;
            }
            if written > seen.0 {
                seen = (written, Instant::now());
            }
            let stalled = seen.1.elapsed() > STALL_MAX;
            assert!(!stalled, "the store wrote {written} of {goal} bytes and then nothing for {STALL_MAX:?}");
            shard.io().sleep(Duration::from_micros(100)).await;
        }
        sample.seconds = start.elapsed().as_secs_f64();
        sample.records = sample.operations * u64::from(self.batch.records);
        Ok(sample)
    }

    /// Appends from several tasks, each waiting until its append is on stable storage before it makes the next.
    async fn run_durable(self, shard: Rc<Shard>) -> Result<Sample, Error> {
        let lanes = self.in_flight;
        let (sender, mut finished) = tokio::sync::mpsc::channel(lanes);
        let sample = Rc::new(RefCell::new(Sample::default()));
        let load = Rc::new(self);
        let start = Instant::now();
        for lane in 0..lanes {
            let (lane_shard, load, sample, sender) = (shard.clone(), load.clone(), sample.clone(), sender.clone());
            shard.io().spawn(async move {
                let outcome = load.lane(&lane_shard, lane, &sample, start).await;
                let _ = sender.send(outcome).await;
            });
        }
        for _ in 0..lanes {
            finished.recv().await.expect("every lane reports")?;
        }
        let mut sample = sample.take();
        sample.seconds = start.elapsed().as_secs_f64();
        sample.records = sample.operations * u64::from(load.batch.records);
        Ok(sample)
    }

    async fn lane(
        &self,
        shard: &Rc<Shard>,
        lane: usize,
        sample: &RefCell<Sample>,
        start: Instant,
    ) -> Result<(), Error> {
        let mut turn = lane;
        let mut issued = 0;
        let share = self.bytes_max / self.in_flight as u64;
        loop {
            let began = Instant::now();
            if issued >= share || began - start >= self.time_max {
                return Ok(());
            }
            let name = &self.names[turn % self.names.len()];
            turn += self.in_flight;
            append_durably(shard, name, &self.batch.bytes).await?;
            issued += self.batch.bytes.len() as u64;
            let mut sample = sample.borrow_mut();
            sample.latency.record(began.elapsed());
            sample.operations += 1;
            sample.bytes += self.batch.bytes.len() as u64;
        }
    }
}

/// Appends a batch and returns its next offset once it is on stable storage.
pub async fn append_durably(shard: &Rc<Shard>, name: &TopicPartition, batch: &[u8]) -> Result<Offset, Error> {
    let appended = loop {
        match shard.append(name, batch, AS_A_CLIENT) {
            Err(Error::Overloaded(_)) => shard.room().await,
            other => break other?,
        }
    };
    shard.flushed(name, appended.next_offset).await?;
    Ok(appended.next_offset)
}

/// The settings of a log that the harness appends to: dead files go at once, everything is kept until then.
pub fn log_config(durable: bool, segment_bytes: u64) -> LogConfig {
    LogConfig {
        segment_bytes,
        retention_ms: None,
        flush_messages: if durable { 1 } else { u64::MAX },
        file_delete_delay_ms: 0,
        max_batch_bytes: 2 << 20,
        ..LogConfig::default()
    }
}
