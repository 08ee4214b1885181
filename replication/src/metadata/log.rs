//! The metadata log: partition 0 of `__cluster_metadata`, a durable log of the engine like any other.
//!
//! In a quorum of one its flushed end is the commit point: [`MetadataLog::append`] returns when the batch is on stable
//! storage, and moves the high watermark there. A consensus engine takes this place; decisions and replay stay.
//!
//! The log is bounded: once it has grown by a number of bytes, the image is written to it as records, and then its
//! start is moved to the first of them. Every record states what is to be, so the image may be replayed on top of itself,
//! and a crash between the two steps costs only the space.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use corelog_engine::batch::{BatchHeader, Origin, scan};
use corelog_engine::log::{CleanupPolicy, LogConfig};
use corelog_engine::shard::{AppendOptions, ReadRequest, ReadUpTo, Shard};
use corelog_engine::{Epoch, Error, Offset, Result, TopicPartition};

use super::batch::{self, BATCH_BYTES_MAX};
use super::image::ClusterImage;
use super::record::MetadataRecord;
use super::{METADATA_TOPIC, METADATA_TOPIC_ID};

/// Bytes read at once when the log is replayed.
const READ_BYTES: usize = 4 << 20;
/// Batches of the image are about so large: small beside the journal, large beside a record.
const IMAGE_BATCH_BYTES: usize = 256 << 10;
/// Dead segments are freed whole, so they are small; two of the largest batches fit.
const SEGMENT_BYTES: u64 = 2 * BATCH_BYTES_MAX as u64;

/// The metadata log. Its methods run on the shard that has it.
#[derive(Debug)]
pub struct MetadataLog {
    name: TopicPartition,
    bytes_max: u64,
    /// The reign of this controller: each opening of the log begins one.
    epoch: AtomicI32,
    /// Bytes since the image was written last, or since the log's start.
    grown: AtomicU64,
}

impl MetadataLog {
    /// The log, which is begun anew when it has grown by `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> MetadataLog {
        MetadataLog {
            name: TopicPartition::new(METADATA_TOPIC, 0),
            bytes_max,
            epoch: AtomicI32::new(0),
            grown: AtomicU64::new(0),
        }
    }

    /// The partition.
    pub fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// Opens the log, which is created where it is missing, and replays it into the empty `image`; `each` is told every
    /// record.
    ///
    /// # Errors
    /// Damage, and records of a newer program, with the file's directory and the offset.
    pub async fn open(
        &self,
        shard: &Rc<Shard>,
        image: &mut ClusterImage,
        mut each: impl FnMut(MetadataRecord),
    ) -> Result<()> {
        if shard.contains(&self.name) {
            shard.configure(&self.name, config())?;
        } else {
            shard.create(&self.name, METADATA_TOPIC_ID, config()).await?;
        }
        let log = shard.offsets(&self.name)?;
        shard.set_high_watermark(&self.name, log.end);
        let epoch = Epoch(log.epoch.0.max(0) + 1);
        shard.set_epoch(&self.name, epoch)?;
        self.epoch.store(epoch.0, Relaxed);
        let (mut from, mut bytes) = (log.start, 0);
        image.skip_to(from);
        while from < log.end {
            let request = ReadRequest { from, bytes_max: READ_BYTES, at_least_one: true, up_to: ReadUpTo::End };
            let read = shard.read(&self.name, request).await?;
            let batches = read.to_vec();
            self.replay(image, &batches, &mut each)?;
            assert!(read.next_offset > from, "reading {} stands still at {from}", self.name);
            from = read.next_offset;
            bytes += batches.len() as u64;
        }
        self.grown.store(bytes, Relaxed);
        Ok(())
    }

    /// Appends the batch of one decision; the offset of its first record, once it is on stable storage.
    pub async fn append(&self, shard: &Rc<Shard>, batch: &[u8]) -> Result<Offset> {
        shard.room().await;
        let options = AppendOptions { epoch: Epoch(self.epoch.load(Relaxed)), origin: Origin::Coordinator };
        let appended = shard.append(&self.name, batch, options)?;
        shard.flushed(&self.name, appended.next_offset).await?;
        shard.set_high_watermark(&self.name, appended.next_offset);
        self.grown.fetch_add(batch.len() as u64, Relaxed);
        Ok(appended.base_offset)
    }

    /// Whether the log has grown so long that it is time to [`MetadataLog::begin_anew`].
    pub fn is_long(&self) -> bool {
        self.grown.load(Relaxed) >= self.bytes_max
    }

    /// Writes the image, which has to be that of the whole log, and drops what was before it; the first offset that is
    /// not in the image. Nothing else may be appended meanwhile.
    pub async fn begin_anew(&self, shard: &Rc<Shard>, image: &ClusterImage) -> Result<Offset> {
        let log = shard.offsets(&self.name)?;
        assert_eq!(log.end, image.next_offset(), "the image is that of the whole log");
        let batches = batch::encode_image(image, shard.io().unix_time(), IMAGE_BATCH_BYTES);
        // Counted from here on, whatever becomes of it: a disk that is full is not tried again at once.
        self.grown.store(0, Relaxed);
        let mut start = None;
        for batch in &batches {
            let base = self.append(shard, batch).await?;
            start.get_or_insert(base);
        }
        if let Some(start) = start {
            shard.delete_records(&self.name, start).await?;
            self.grown.store(0, Relaxed);
        }
        Ok(shard.offsets(&self.name)?.end)
    }

    fn replay(&self, image: &mut ClusterImage, batches: &[u8], each: &mut impl FnMut(MetadataRecord)) -> Result<()> {
        let damaged = |what: String| Error::corrupt(&PathBuf::from(self.name.to_string()), None, what);
        for found in scan(batches) {
            let (position, header): (usize, BatchHeader) = found.map_err(|error| damaged(error.to_string()))?;
            let batch = &batches[position..position + header.size_bytes()];
            batch::replay(image, batch, &mut *each).map_err(|fault| damaged(fault.to_string()))?;
        }
        Ok(())
    }
}

fn config() -> LogConfig {
    LogConfig {
        cleanup_policy: CleanupPolicy::Keep,
        max_batch_bytes: BATCH_BYTES_MAX as u32,
        segment_bytes: SEGMENT_BYTES,
        flush_messages: 1,
        ..LogConfig::default()
    }
}
