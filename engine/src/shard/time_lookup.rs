//! Offsets by time, as Kafka's ListOffsets wants them.

use std::rc::Rc;

use crate::batch::{self, BatchHeader};
use crate::error::Result;
use crate::log::{Log, SealedSegment};
use crate::shard::partition::Partition;
use crate::shard::reader::{ReadRequest, ReadUpTo};
use crate::shard::shard::Shard;
use crate::types::{Epoch, Offset, Timestamp, TopicPartition};

/// The bytes read at once while looking for a batch.
const LOOK_BYTES: usize = 256 << 10;
/// The most that one batch may decompress to while its records are looked at.
const OUTPUT_BYTES_MAX: usize = 256 << 20;

/// A record found by its time.
pub type TimedOffset = (Offset, Timestamp, Epoch);

impl Shard {
    /// The first record, by offset, whose timestamp is at least `timestamp` (`UnifiedLog.fetchOffsetByTimestamp`).
    pub async fn offset_for_timestamp(
        self: &Rc<Self>,
        name: &TopicPartition,
        timestamp: Timestamp,
    ) -> Result<Option<TimedOffset>> {
        let partition = self.partition(name)?;
        let _work = partition.work();
        let mut base = Offset::ZERO;
        let mut upheavals = partition.upheavals();
        loop {
            if partition.upheavals() != upheavals {
                // A segment that is still to be looked at may have become part of one that was.
                (base, upheavals) = (Offset::ZERO, partition.upheavals());
            }
            // A segment may have been completed, or deleted, while another one was looked at.
            let (found, sealed) = {
                let log = partition.log.borrow();
                let Some(found) = log.segment_from(base) else { return Ok(None) };
                (found, log.sealed_segment(found))
            };
            let from = match sealed {
                Some(sealed) => match self.sealed_from(&sealed, timestamp).await {
                    // Deleted meanwhile.
                    Err(_) if partition.log.borrow().sealed_segment(found).is_none() => None,
                    from => from?,
                },
                None => match self.open_from(&partition, found, timestamp).await? {
                    Some(from) => from,
                    None => {
                        base = found;
                        continue;
                    }
                },
            };
            base = found + 1;
            if let Some(from) = from
                && let Some(found) = self.first_from(&partition, from, timestamp).await?
            {
                return Ok(Some(found));
            }
        }
    }

    /// Where to begin to look in a complete segment; `None` where all of it is older.
    async fn sealed_from(&self, segment: &Rc<SealedSegment>, timestamp: Timestamp) -> Result<Option<Offset>> {
        if self.sealed_max_timestamp(segment).await? < timestamp {
            return Ok(None);
        }
        let index = self.sealed_index(segment).await?;
        let before = index.times.floor(Timestamp(timestamp.0.saturating_sub(1)));
        Ok(Some(before.map_or(segment.base, |(_, offset)| offset)))
    }

    /// Where to begin to look in an open segment, where it is older as in [`Shard::sealed_from`]; `None` where it is no more open.
    async fn open_from(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
        timestamp: Timestamp,
    ) -> Result<Option<Option<Offset>>> {
        let newest = |log: &Log| log.open_segment(base).map(|segment| segment.timestamps().1);
        match newest(&partition.log.borrow()) {
            Some(newest) if newest < timestamp => return Ok(Some(None)),
            Some(_) => {}
            None => return Ok(None),
        }
        self.load_points(partition, base).await?;
        let log = partition.log.borrow();
        Ok(log.open_segment(base).map(|segment| {
            let points = segment.points().0;
            let after = points.partition_point(|point| point.max_timestamp < timestamp);
            Some(after.checked_sub(1).map_or(base, |place| points[place].offset))
        }))
    }

    /// The first record that has the largest timestamp (KIP-734).
    pub async fn max_timestamp(self: &Rc<Self>, name: &TopicPartition) -> Result<Option<TimedOffset>> {
        let partition = self.partition(name)?;
        let _work = partition.work();
        let segments = self.newest_of_segments(&partition).await?;
        let start = partition.offsets().start;
        let first = segments.iter().rposition(|(base, _)| *base <= start).unwrap_or(0);
        let behind = segments[first + 1..].iter().map(|(_, newest)| *newest).max().unwrap_or(Timestamp::NONE);
        let (base, mut newest) = segments[first];
        if base < start && newest > behind {
            // The record that has it may lie before the log's start.
            if let Some(found) = self.offset_for_timestamp(name, newest).await? {
                return Ok(Some(found));
            }
            let end = segments.get(first + 1).map_or(Offset(i64::MAX), |next| next.0);
            newest = self.newest_between(&partition, start, end).await?;
        }
        match newest.max(behind) {
            Timestamp::NONE => Ok(None),
            newest => match self.offset_for_timestamp(name, newest).await? {
                Some(found) => Ok(Some(found)),
                // Compaction left a batch without its records, but with their timestamp.
                None => match self.newest_between(&partition, start, Offset(i64::MAX)).await? {
                    Timestamp::NONE => Ok(None),
                    newest => self.offset_for_timestamp(name, newest).await,
                },
            },
        }
    }

    /// The base and the largest timestamp of each segment.
    async fn newest_of_segments(&self, partition: &Partition) -> Result<Vec<(Offset, Timestamp)>> {
        // The open ones first: one that is completed meanwhile is seen twice rather than not at all.
        let mut segments: Vec<_> = {
            let log = partition.log.borrow();
            log.open_segments().map(|segment| (segment.base(), segment.timestamps().1)).collect()
        };
        let sealed: Vec<Rc<SealedSegment>> = partition.log.borrow().sealed().iter().cloned().collect();
        for segment in sealed {
            segments.push((segment.base, self.sealed_max_timestamp(&segment).await?));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// The largest timestamp of the batches that begin in `from..to`, by reading them.
    async fn newest_between(self: &Rc<Self>, partition: &Rc<Partition>, from: Offset, to: Offset) -> Result<Timestamp> {
        let (mut from, mut newest) = (from, Timestamp::NONE);
        while from < to.min(partition.offsets().end) {
            let request = ReadRequest { from, bytes_max: LOOK_BYTES, at_least_one: true, up_to: ReadUpTo::End };
            let read = self.read_from(partition, request).await?;
            if read.bytes == 0 {
                break;
            }
            let bytes = read.to_vec();
            for found in batch::scan(&bytes) {
                let (position, header) = found?;
                if header.record_count == 0 {
                    continue;
                }
                if header.base_offset >= from || header.timestamp_type() == batch::TimestampType::LogAppendTime {
                    newest = newest.max(header.max_timestamp);
                    continue;
                }
                // The batch that holds the log's start: what is before it does not count.
                for record in batch::records(&bytes[position..], OUTPUT_BYTES_MAX)?.iter() {
                    let record = record?;
                    if record.offset >= from {
                        newest = newest.max(record.timestamp);
                    }
                }
            }
            from = read.next_offset;
        }
        Ok(newest)
    }

    /// The largest timestamp of a sealed segment: the last entry of its time index.
    pub(super) async fn sealed_max_timestamp(&self, segment: &Rc<SealedSegment>) -> Result<Timestamp> {
        if let Some(max) = segment.max_timestamp() {
            return Ok(max);
        }
        let index = self.sealed_index(segment).await?;
        let max = index.times.last().map_or(Timestamp::NONE, |(timestamp, _)| timestamp);
        segment.set_max_timestamp(max);
        Ok(max)
    }

    async fn first_from(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        from: Offset,
        timestamp: Timestamp,
    ) -> Result<Option<TimedOffset>> {
        let mut from = from.max(partition.offsets().start);
        while from < partition.offsets().end {
            let request = ReadRequest { from, bytes_max: LOOK_BYTES, at_least_one: true, up_to: ReadUpTo::End };
            let read = self.read_from(partition, request).await?;
            if read.bytes == 0 {
                break;
            }
            let bytes = read.to_vec();
            for found in batch::scan(&bytes) {
                let (position, header) = found?;
                if header.max_timestamp < timestamp {
                    continue;
                }
                let batch = &bytes[position..position + header.size_bytes()];
                if let Some(found) = first_in(batch, &header, from, timestamp)? {
                    return Ok(Some(found));
                }
            }
            from = read.next_offset;
        }
        Ok(None)
    }
}

fn first_in(bytes: &[u8], header: &BatchHeader, from: Offset, timestamp: Timestamp) -> Result<Option<TimedOffset>> {
    let is_whole = header.record_count - 1 == header.last_offset_delta;
    if header.timestamp_type() == batch::TimestampType::LogAppendTime && is_whole {
        return Ok(Some((header.base_offset.max(from), header.max_timestamp, header.leader_epoch)));
    }
    let records = batch::records(bytes, OUTPUT_BYTES_MAX)?;
    for record in records.iter() {
        let record = record?;
        if record.timestamp >= timestamp && record.offset >= from {
            return Ok(Some((record.offset, record.timestamp, header.leader_epoch)));
        }
    }
    Ok(None)
}
