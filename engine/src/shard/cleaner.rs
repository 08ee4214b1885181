//! When logs are compacted: the shard's task that looks for the dirtiest one (Kafka's `LogCleaner` and `LogCleanerManager`).
//!
//! Only complete segments that a stored checkpoint has behind it are compacted: recovery never touches those, so what it does and what
//! compaction does cannot meet. See `docs/format.md`.

use std::rc::Rc;
use std::time::Duration;

use crate::compaction::{CLEANED_TO_FILE, CleanedTo, Dirtiness, SegmentFacts};
use crate::error::{Error, Result};
use crate::log::{LogConfig, SealedSegment};
use crate::shard::clean::{Cleanable, Compacted};
use crate::shard::config::CleanerConfig;
use crate::shard::partition::Partition;
use crate::shard::shard::{Shard, age_ms};
use crate::shard::swap::remove_cleaned;
use crate::types::{BLOCK_BYTES, Offset, Position, Timestamp, TopicPartition};

impl Shard {
    /// The settings of compaction.
    pub fn cleaner(&self) -> CleanerConfig {
        self.cleaner.get()
    }

    /// Other settings of compaction from now on.
    pub fn configure_cleaner(&self, config: CleanerConfig) {
        self.cleaner.set(config);
        self.cleaner_changed.notify_waiters();
    }

    /// Compacts the dirtiest log, again and again, until the shard is closed.
    pub(super) async fn run_cleaner(self: Rc<Self>) {
        loop {
            self.pause_cleaner().await;
            while self.cleaner().enabled {
                if self.check().is_err() {
                    return;
                }
                let Some((partition, _)) = self.dirtiest().await else { break };
                let Err(error) = self.compact(&partition).await else { continue };
                // Where the log is being cut, the next turn is soon enough.
                let is_fault = !matches!(error, Error::Overloaded(_));
                if is_fault && self.check().is_ok() && partition.check().is_ok() {
                    self.metrics.compactions_failed.add(1);
                    tracing::warn!(%error, partition = %partition.name, "the log is not compacted");
                }
                break;
            }
            if self.check().is_err() {
                return;
            }
        }
    }

    /// Sleeps for `log.cleaner.backoff.ms`, or until that is another.
    async fn pause_cleaner(&self) {
        let backoff = Duration::from_millis(self.cleaner().backoff_ms.max(1));
        let mut changed = std::pin::pin!(self.cleaner_changed.notified());
        let mut timer = std::pin::pin!(self.io.sleep(backoff));
        std::future::poll_fn(|context| match changed.as_mut().poll(context) {
            std::task::Poll::Ready(()) => std::task::Poll::Ready(()),
            std::task::Poll::Pending => timer.as_mut().poll(context),
        })
        .await;
    }

    /// The log that is due to be compacted and has the largest share of dirty bytes, with that in millionths.
    async fn dirtiest(self: &Rc<Self>) -> Option<(Rc<Partition>, u64)> {
        let all: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
        let mut dirtiest: Option<(Rc<Partition>, u64)> = None;
        let mut most = 0;
        for partition in all {
            let config = partition.log.borrow().config().clone();
            if !config.is_compacted() || partition.is_uncleanable.get() || self.check_cleaning(&partition).is_err() {
                continue;
            }
            let dirtiness = match self.dirtiness(&partition, &config).await {
                Ok(dirtiness) => dirtiness,
                Err(error) => {
                    tracing::warn!(%error, partition = %partition.name, "how dirty the log is cannot be told");
                    continue;
                }
            };
            most = most.max(dirtiness.ppm());
            let ppm = dirtiness.ppm();
            if dirtiness.is_due(&config, self.io.unix_time())
                && dirtiest.as_ref().is_none_or(|(other, least)| (*least, &other.name) < (ppm, &partition.name))
            {
                dirtiest = Some((partition, ppm));
            }
        }
        self.dirty_ppm_max.set(most);
        dirtiest
    }

    async fn dirtiness(&self, partition: &Rc<Partition>, config: &LogConfig) -> Result<Dirtiness> {
        let _work = partition.work();
        let (segments, cleaned_to) = self.cleanable(partition, config).await?;
        let facts: Vec<SegmentFacts> = segments.iter().map(|one| one.facts).collect();
        let mut dirtiness = Dirtiness::of(&facts, cleaned_to);
        let first = segments.iter().find(|one| one.facts.next > cleaned_to);
        if let Some(first) = first.filter(|_| config.max_compaction_lag_ms < i64::MAX as u64) {
            dirtiness.oldest = Some(self.first_timestamp(&first.segment).await?);
        }
        Ok(dirtiness)
    }

    /// The share of dirty bytes of the dirtiest log when the cleaner last looked, in millionths.
    pub fn dirty_ppm_max(&self) -> u64 {
        self.dirty_ppm_max.get()
    }

    /// Compacts a log now, however little of it is dirty.
    pub async fn apply_compaction(self: &Rc<Self>, name: &TopicPartition) -> Result<Compacted> {
        let partition = self.partition(name)?;
        self.compact(&partition).await
    }

    async fn compact(self: &Rc<Self>, partition: &Rc<Partition>) -> Result<Compacted> {
        // One at a time: the memory for keys is for one.
        let _turn = self.cleaning.lock().await;
        self.check_cleaning(partition)?;
        let config = partition.log.borrow().config().clone();
        let _work = partition.work();
        let (segments, cleaned_to) = self.cleanable(partition, &config).await?;
        if !config.is_compacted() || segments.last().is_none_or(|last| last.facts.next <= cleaned_to) {
            return Ok(Compacted { cleaned_to, ..Compacted::default() });
        }
        let begun = self.io.now();
        let compacted = match self.clean(partition, &segments, cleaned_to).await {
            Ok(compacted) => compacted,
            Err(error) => {
                self.give_up(partition, &error).await;
                return Err(error);
            }
        };
        self.metrics.compactions.add(1);
        self.metrics.compaction_bytes_before.add(compacted.bytes_before);
        self.metrics.compaction_bytes_after.add(compacted.bytes_after);
        tracing::info!(
            partition = %partition.name,
            to = %compacted.cleaned_to,
            before = compacted.bytes_before,
            after = compacted.bytes_after,
            ms = (self.io.now() - begun).as_millis() as u64,
            "the log was compacted"
        );
        Ok(compacted)
    }

    /// A compaction ended with an error: nothing of it is left but what is in place already.
    async fn give_up(&self, partition: &Partition, error: &Error) {
        match error {
            // The rule for every file of the directory.
            Error::Io { operation, .. } if operation.starts_with("sync") || operation.starts_with("write") => {
                return self.fail(error.clone());
            }
            // What the damage hides may be the newest record of a key: nothing more goes until the next start, or for ever.
            Error::Corrupt { .. } | Error::Io { .. } => partition.is_uncleanable.set(true),
            _ => {}
        }
        if self.failed().is_ok()
            && let Err(error) = remove_cleaned(&self.io, &partition.dir).await
        {
            tracing::warn!(%error, "what a compaction left stays until the next start");
        }
    }

    /// The segments that may be compacted, oldest first, and where the dirty part begins.
    ///
    /// They are complete, visible, behind a checkpoint, and, from the dirty part's start on, older than `min.compaction.lag.ms`.
    async fn cleanable(&self, partition: &Rc<Partition>, config: &LogConfig) -> Result<(Vec<Cleanable>, Offset)> {
        let (live, cleaned_to) = {
            let log = partition.log.borrow();
            let offsets = log.offsets();
            let end = partition.checkpointed_segment.get().unwrap_or(Offset::ZERO).min(offsets.last_stable);
            let mut live: Vec<(Rc<SealedSegment>, Offset)> = Vec::new();
            for segment in log.sealed() {
                let next = log.segment_after(segment.base).expect("the active segment is behind every sealed one");
                if next > offsets.start && next <= end {
                    live.push((segment.clone(), next));
                }
            }
            // A hint that is beyond the log, or before it, is of another life of it.
            let hint = partition.cleaned_to.get().filter(|to| (offsets.start..=offsets.end).contains(to));
            (live, hint.unwrap_or(offsets.start))
        };
        let now = self.io.unix_time();
        let mut segments = Vec::with_capacity(live.len());
        for (segment, next) in live {
            if config.min_compaction_lag_ms > 0 && next > cleaned_to {
                let newest = match self.sealed_max_timestamp(&segment).await {
                    // Retention took it meanwhile, and what is before it.
                    Err(_) if !partition.log.borrow().has_sealed([&segment]) => continue,
                    newest => newest?,
                };
                if i128::from(age_ms(now, newest)) < i128::from(config.min_compaction_lag_ms) {
                    break;
                }
            }
            let bytes = match self.sealed_size(&segment).await {
                Err(_) if !partition.log.borrow().has_sealed([&segment]) => continue,
                bytes => bytes?.0,
            };
            let facts = SegmentFacts { base: segment.base, next, bytes };
            segments.push(Cleanable { segment, facts });
        }
        Ok((segments, cleaned_to))
    }

    /// The timestamp of a segment's first batch.
    async fn first_timestamp(&self, segment: &SealedSegment) -> Result<Timestamp> {
        let file = segment.file.readable(&self.io).await?;
        let (read, buffer) =
            file.read_at(self.io.alloc(BLOCK_BYTES as usize), Position::ZERO, BLOCK_BYTES as usize).await;
        let header = crate::batch::BatchHeader::parse(&buffer[..read?]);
        let header = header.map_err(|error| Error::corrupt(file.path(), Some(Position::ZERO), error.to_string()))?;
        Ok(if header.record_count == 0 { header.max_timestamp } else { header.first_timestamp() })
    }

    /// Remembers how far a log is compacted, for good.
    pub(super) async fn note_cleaned_to(&self, partition: &Partition, to: Offset) -> Result<()> {
        if partition.cleaned_to.get() != Some(to) {
            let path = partition.dir.join(CLEANED_TO_FILE);
            self.io.replace_file(&path, CleanedTo(to).encode(&partition.name)).await?;
            partition.cleaned_to.set(Some(to));
        }
        Ok(())
    }
}
