//! Builds a batch: what coordinators, compaction, tests and load generators write.
//!
//! The bytes are those of Kafka's own `MemoryRecordsBuilder` for the same records, up to the compressed bytes, which
//! are as each codec's library makes them.

use crate::batch::codec::{self, Codec};
use crate::batch::header::{self, Attributes, BatchHeader, HEADER_BYTES, LENGTH_OVERHEAD, MAGIC, at};
use crate::batch::varint;
use crate::checksum::crc32c;
use crate::types::{Epoch, Offset, Timestamp};

/// Collects records and makes a batch of them.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    codec: Codec,
    attributes: i16,
    leader_epoch: Epoch,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    delete_horizon: Option<Timestamp>,
    log_append_time: Option<Timestamp>,
    last_offset_delta: Option<i32>,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    record_count: i32,
    next_offset_delta: i32,
    payload: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch of records compressed with `codec`.
    pub fn new(codec: Codec) -> BatchBuilder {
        BatchBuilder {
            codec,
            attributes: 0,
            leader_epoch: Epoch::NONE,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            delete_horizon: None,
            log_append_time: None,
            last_offset_delta: None,
            base_timestamp: None,
            max_timestamp: Timestamp::NONE,
            record_count: 0,
            next_offset_delta: 0,
            payload: Vec::new(),
        }
    }

    /// Of an idempotent producer.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Part of a transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes |= Attributes::TRANSACTIONAL;
        self
    }

    /// Of control records.
    pub fn control(mut self) -> BatchBuilder {
        self.attributes |= Attributes::CONTROL;
        self
    }

    /// Appended by the leader of this epoch.
    pub fn leader_epoch(mut self, epoch: Epoch) -> BatchBuilder {
        self.leader_epoch = epoch;
        self
    }

    /// With the time of the append in place of the records' own.
    pub fn log_append_time(mut self, at: Timestamp) -> BatchBuilder {
        self.log_append_time = Some(at);
        self
    }

    /// With the time from which compaction may remove tombstones (KIP-534).
    pub fn delete_horizon(mut self, at: Timestamp) -> BatchBuilder {
        self.delete_horizon = Some(at);
        self
    }

    /// With a last offset that need not be that of the last record: compaction keeps a batch's range.
    pub fn last_offset_delta(mut self, delta: i32) -> BatchBuilder {
        self.last_offset_delta = Some(delta);
        self
    }

    /// Adds a record after the last one.
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut BatchBuilder {
        self.push_at(self.next_offset_delta, timestamp, key, value, headers)
    }

    /// Adds a record at an offset of its own, counted from the base offset: compaction leaves gaps.
    ///
    /// # Panics
    /// Where the offset is not after that of the record before.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut BatchBuilder {
        assert!(
            offset_delta >= self.next_offset_delta,
            "offset delta {offset_delta} after {}",
            self.next_offset_delta - 1
        );
        let base = *self.base_timestamp.get_or_insert(self.delete_horizon.unwrap_or(timestamp));
        // Wraps where the two are further apart than 64 bits can say; a reader's addition wraps back.
        let timestamp_delta = timestamp.0.wrapping_sub(base.0);
        let size = 1
            + varint::size(timestamp_delta)
            + varint::size(i64::from(offset_delta))
            + nullable_size(key)
            + nullable_size(value)
            + varint::size(headers.len() as i64)
            + headers.iter().map(|(name, value)| nullable_size(Some(name)) + nullable_size(*value)).sum::<usize>();
        self.payload.reserve(size + varint::VARINT_BYTES_MAX);
        varint::write(&mut self.payload, size as i64);
        self.payload.push(0);
        varint::write(&mut self.payload, timestamp_delta);
        varint::write(&mut self.payload, i64::from(offset_delta));
        write_nullable(&mut self.payload, key);
        write_nullable(&mut self.payload, value);
        varint::write(&mut self.payload, headers.len() as i64);
        for (name, value) in headers {
            write_nullable(&mut self.payload, Some(name));
            write_nullable(&mut self.payload, *value);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.record_count += 1;
        self.next_offset_delta = offset_delta + 1;
        self
    }

    /// How many records were added.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// The size of the batch so far, before compression.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// The batch, with its first offset. Without records it is the empty batch that compaction leaves.
    ///
    /// # Panics
    /// Where it has 2 GiB or more, which no length field can say.
    pub fn build(self, base_offset: Offset) -> Vec<u8> {
        let mut attributes = self.attributes;
        if self.record_count > 0 {
            attributes |= self.codec.id();
        }
        if self.log_append_time.is_some() {
            attributes |= Attributes::LOG_APPEND_TIME;
        }
        if self.delete_horizon.is_some() {
            attributes |= Attributes::DELETE_HORIZON;
        }
        let max_timestamp = self.log_append_time.unwrap_or(self.max_timestamp);
        let head = BatchHeader {
            base_offset,
            length: 0,
            leader_epoch: self.leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes(attributes),
            last_offset_delta: self.last_offset_delta.unwrap_or(self.next_offset_delta - 1),
            base_timestamp: self.base_timestamp.or(self.delete_horizon).unwrap_or(Timestamp::NONE),
            max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.record_count,
        };
        let mut batch = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        batch.extend_from_slice(&head.encode());
        if self.record_count > 0 {
            codec::compress(self.codec, &self.payload, &mut batch);
        }
        let length = i32::try_from(batch.len() - LENGTH_OVERHEAD).expect("a batch has less than 2 GiB");
        header::put(&mut batch, at::LENGTH, length.to_be_bytes());
        let crc = crc32c(&batch[at::ATTRIBUTES..]);
        header::put(&mut batch, at::CRC, crc.to_be_bytes());
        batch
    }
}

/// The batch that stands for one whose records are all gone: its range, producer, epoch and greatest timestamp, as Kafka's
/// `DefaultRecordBatch.writeEmptyHeader` has them.
pub fn emptied(header: &BatchHeader) -> Vec<u8> {
    let kept = Attributes::LOG_APPEND_TIME | Attributes::TRANSACTIONAL | Attributes::CONTROL;
    let empty = BatchHeader {
        length: (HEADER_BYTES - LENGTH_OVERHEAD) as i32,
        attributes: Attributes(header.attributes.0 & kept),
        base_timestamp: Timestamp::NONE,
        record_count: 0,
        ..*header
    };
    let mut batch = empty.encode().to_vec();
    let crc = crc32c(&batch[at::ATTRIBUTES..]);
    header::put(&mut batch, at::CRC, crc.to_be_bytes());
    batch
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::size(bytes.len() as i64) + bytes.len())
}

fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write(out, -1),
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{RecordHeader, records, scan, verify_crc};

    #[test]
    fn what_is_built_reads_back() {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(codec).producer(7, 1, 30).transactional().leader_epoch(Epoch(4));
            builder.push(Timestamp(1_000), Some(b"k"), Some(b"v"), &[(b"h", Some(b"1")), (b"", None)]);
            builder.push(Timestamp(900), None, None, &[]);
            let batch = builder.build(Offset(100));
            assert!(verify_crc(&batch));
            let records = records(&batch, 1 << 20).expect("a batch of ours");
            let header = records.header();
            assert_eq!((header.base_offset, header.next_offset(), header.record_count), (Offset(100), Offset(102), 2));
            assert_eq!((header.base_timestamp, header.max_timestamp), (Timestamp(1_000), Timestamp(1_000)));
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 1, 30));
            assert!(header.is_transactional() && !header.is_control() && header.codec() == Ok(codec));
            let read: Vec<_> = records.iter().map(|record| record.expect("a record of ours")).collect();
            assert_eq!((read[0].offset, read[0].timestamp), (Offset(100), Timestamp(1_000)));
            assert_eq!((read[0].key, read[0].value), (Some(&b"k"[..]), Some(&b"v"[..])));
            let headers: Vec<_> = read[0].headers.iter().collect();
            assert_eq!(headers[0], RecordHeader { key: b"h", value: Some(b"1") });
            assert_eq!(headers[1], RecordHeader { key: b"", value: None });
            assert_eq!((read[1].offset, read[1].timestamp), (Offset(101), Timestamp(900)));
            assert_eq!((read[1].key, read[1].value, read[1].headers.len()), (None, None, 0));
            assert_eq!(read.len(), 2);
        }
    }

    #[test]
    fn gaps_and_empty_batches_keep_their_range() {
        let mut builder = BatchBuilder::new(Codec::Lz4).last_offset_delta(9).delete_horizon(Timestamp(5_000));
        builder.push_at(3, Timestamp(1_000), Some(b"k"), None, &[]);
        let batch = [builder.build(Offset(10)), BatchBuilder::new(Codec::Zstd).last_offset_delta(4).build(Offset(20))];
        let (gap, empty) = (records(&batch[0], 1024).expect("gap"), records(&batch[1], 0).expect("empty"));
        let record = gap.iter().next().expect("one").expect("good");
        assert_eq!(
            (record.offset, record.timestamp, gap.header().next_offset()),
            (Offset(13), Timestamp(1_000), Offset(20))
        );
        assert_eq!((empty.iter().count(), empty.header().next_offset(), batch[1].len()), (0, Offset(25), HEADER_BYTES));
        let both = batch.concat();
        let found: Vec<_> = scan(&both).map(|found| found.expect("batches").0).collect();
        assert_eq!(found, [0, batch[0].len()]);
    }
}
