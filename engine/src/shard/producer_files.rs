//! What a partition's files tell of its producers: Kafka's snapshots, and the batches behind them.
//!
//! Neither recovery nor appends need them, since checkpoint and journal have the producers. They serve Kafka's tools and brokers, and
//! here a log that is cut or taken in from a Kafka broker.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::batch::HEADER_BYTES;
use crate::error::Result;
use crate::io::{File, Io, OpenMode};
use crate::log::producer_snapshot::SNAPSHOT_SUFFIX;
use crate::log::{ProducedBatch, Producer, Producers, decode_snapshot, segment_base_of, segment_file_name};
use crate::shard::partition::Partition;
use crate::shard::read_stream::{READ_BYTES, ReadStream};
use crate::shard::shard::Shard;
use crate::types::{Offset, Position, TopicPartition};

/// The path of the snapshot at an offset.
pub(super) fn snapshot_path(dir: &Path, offset: Offset) -> PathBuf {
    dir.join(segment_file_name(offset, SNAPSHOT_SUFFIX))
}

/// The offset of the snapshot with this file name.
pub(super) fn snapshot_offset(name: &str) -> Option<Offset> {
    let (stem, suffix) = name.split_once('.')?;
    segment_base_of(&format!("{stem}.log")).filter(|_| suffix == SNAPSHOT_SUFFIX)
}

/// The offsets of the snapshots in a partition's directory, rising.
pub(super) async fn snapshots(io: &Io, dir: &Path) -> Result<Vec<Offset>> {
    let names = io.list_dir(dir).await?;
    let mut offsets: Vec<Offset> = names.iter().filter_map(|entry| snapshot_offset(&entry.name)).collect();
    offsets.sort_unstable();
    Ok(offsets)
}

/// Removes the snapshots behind `end`, where the log was cut.
pub(super) async fn remove_snapshots_behind(io: &Io, dir: &Path, end: Offset) -> Result<()> {
    for offset in snapshots(io, dir).await?.into_iter().filter(|offset| *offset > end) {
        io.remove_file(&snapshot_path(dir, offset)).await?;
    }
    Ok(())
}

/// The producers of a log that ends at `end`: those of the newest sound snapshot, and what the batches between did. The log's segments
/// have these bases, the last one its batches up to `to`; a log without a snapshot is read from its first segment on.
pub(super) async fn producers_at(
    io: &Io,
    dir: &Path,
    segments: &[Offset],
    to: Position,
    end: Offset,
) -> Result<Vec<Producer>> {
    let mut producers = Producers::default();
    let mut from = Offset::ZERO;
    // One from before the first segment does not tell of the batches that were deleted since: better nothing is known of their producers.
    let first = segments.first().copied().unwrap_or_default();
    for offset in snapshots(io, dir).await?.into_iter().rev().filter(|offset| (first..=end).contains(offset)) {
        let path = snapshot_path(dir, offset);
        match decode_snapshot(&path, &io.read_file(&path).await?) {
            Ok(found) => {
                (producers, from) = (Producers::new(found, offset), offset);
                break;
            }
            // As Kafka does it: an older one, and more batches, will do.
            Err(error) => tracing::warn!(%error, "the snapshot is passed over"),
        }
    }
    for (place, base) in segments.iter().enumerate() {
        let next = segments.get(place + 1);
        if next.is_some_and(|next| *next <= from) || *base >= end {
            continue;
        }
        let path = dir.join(segment_file_name(*base, "log"));
        let Some(bytes) = io.file_len(&path).await? else { continue };
        let to = if next.is_none() { to } else { Position(bytes) };
        let file = io.open(&path, OpenMode::Read).await?;
        note_batches(io, *base, &file, to, from..end, &mut producers).await?;
    }
    Ok(producers.to_vec())
}

/// Takes up the batches of one segment that lie in `offsets`, up to the first that cannot be read.
async fn note_batches(
    io: &Io,
    base: Offset,
    file: &File,
    to: Position,
    offsets: std::ops::Range<Offset>,
    producers: &mut Producers,
) -> Result<()> {
    let mut stream = ReadStream::new(base, Position::ZERO);
    stream.sequential = 1;
    let mut at = Position::ZERO;
    while at < to {
        stream.read_up_to(io, file, (at + READ_BYTES as u64).min(to), to);
        stream.wait(at + HEADER_BYTES as u64).await?;
        let Ok(Some(header)) = stream.header(file, at) else { break };
        let end = at + header.size_bytes() as u64;
        if end > to || header.next_offset() > offsets.end {
            break;
        }
        if header.base_offset >= offsets.start {
            let batch = if header.is_control() { whole(io, file, &mut stream, at, end, to).await? } else { Vec::new() };
            producers.extend(ProducedBatch::of(&header, &batch));
        }
        at = end;
        stream.advance(at, header.next_offset());
    }
    Ok(())
}

/// The bytes of a batch; nothing where they are not all there.
async fn whole(
    io: &Io,
    file: &File,
    stream: &mut ReadStream,
    at: Position,
    end: Position,
    to: Position,
) -> Result<Vec<u8>> {
    stream.read_up_to(io, file, end, to);
    stream.wait(end).await?;
    if stream.held_end() < end {
        return Ok(Vec::new());
    }
    Ok(stream.slices(at, end).iter().flat_map(|slice| slice.to_vec()).collect())
}

impl Shard {
    /// Those who are known to have written to a partition.
    pub fn producers(&self, name: &TopicPartition) -> Result<Vec<Producer>> {
        let partition = self.partition(name)?;
        partition.check()?;
        let producers = partition.log.borrow().producers().to_vec();
        Ok(producers)
    }

    /// Forgets, at intervals, who has not written for long, until the shard is closed.
    pub(super) async fn run_producer_expiry(self: Rc<Self>) {
        loop {
            self.io.sleep(Duration::from_millis(self.config.producer_expiry_check_ms)).await;
            if self.closing.get() || self.failed().is_err() {
                return;
            }
            let all: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
            let now = self.io.unix_time();
            for partition in all {
                partition.log.borrow_mut().expire_producers(now);
            }
        }
    }

    /// The producers of a partition as they were when its log, whose bytes are all in its files, ended at `end`.
    pub(super) async fn producers_before(&self, partition: &Partition, end: Offset) -> Result<Vec<Producer>> {
        let (segments, to) = {
            let log = partition.log.borrow();
            let active = log.active();
            let sealed = log.sealed().iter().map(|segment| segment.base);
            let segments: Vec<Offset> = sealed.chain([active.base()]).filter(|base| *base <= end).collect();
            (segments, active.end())
        };
        let is_active = segments.last() == Some(&partition.log.borrow().active().base());
        // Of a sealed one the whole file counts, and what is behind `end` is passed over.
        let to = match segments.last() {
            Some(last) if !is_active => {
                let path = partition.dir.join(segment_file_name(*last, "log"));
                Position(self.io.file_len(&path).await?.unwrap_or(0))
            }
            _ => to,
        };
        let told = producers_at(&self.io, &partition.dir, &segments, to, end).await?;
        let producers = partition.log.borrow().producers().cut(end, told);
        Ok(producers)
    }
}
