//! Offsets by time, as Kafka's ListOffsets wants them.

use std::rc::Rc;

use crate::batch::{self, BatchHeader};
use crate::error::Result;
use crate::log::SealedSegment;
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
        let sealed: Vec<Rc<SealedSegment>> = partition.log.borrow().sealed().iter().cloned().collect();
        for segment in sealed {
            if self.sealed_max_timestamp(&segment).await? < timestamp {
                continue;
            }
            let index = self.sealed_index(&segment).await?;
            let from = index.times.floor(Timestamp(timestamp.0 - 1)).map_or(segment.base, |(_, offset)| offset);
            if let Some(found) = self.first_from(&partition, from, timestamp).await? {
                return Ok(Some(found));
            }
        }
        let open: Vec<(Offset, Timestamp)> = {
            let log = partition.log.borrow();
            log.open_segments().map(|segment| (segment.base(), segment.timestamps().1)).collect()
        };
        for (base, max_timestamp) in open {
            if max_timestamp < timestamp {
                continue;
            }
            self.load_points(&partition, base).await?;
            let from = {
                let log = partition.log.borrow();
                let Some(segment) = log.open_segment(base) else { continue };
                let points = segment.points().0;
                let after = points.partition_point(|point| point.max_timestamp < timestamp);
                after.checked_sub(1).map_or(base, |place| points[place].offset)
            };
            if let Some(found) = self.first_from(&partition, from, timestamp).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record that has the largest timestamp (KIP-734).
    pub async fn max_timestamp(self: &Rc<Self>, name: &TopicPartition) -> Result<Option<TimedOffset>> {
        let partition = self.partition(name)?;
        let sealed: Vec<Rc<SealedSegment>> = partition.log.borrow().sealed().iter().cloned().collect();
        let mut max = Timestamp::NONE;
        for segment in sealed {
            max = max.max(self.sealed_max_timestamp(&segment).await?);
        }
        for segment in partition.log.borrow().open_segments() {
            max = max.max(segment.timestamps().1);
        }
        if max == Timestamp::NONE {
            return Ok(None);
        }
        self.offset_for_timestamp(name, max).await
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
    if header.timestamp_type() == batch::TimestampType::LogAppendTime {
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
