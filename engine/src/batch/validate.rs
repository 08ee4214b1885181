//! The gate of the log: bytes become a [`ValidBatch`] here or are refused with the reason.
//!
//! The rules are those of Kafka's `LogValidator` and `UnifiedLog.analyzeAndValidateRecords`, and a little stricter where
//! Kafka would store what no client can have meant (offset deltas that are not 0, 1, 2 …). A wrong maximum timestamp is
//! put right, and so is a timestamp type that is the broker's, as Kafka does. Nothing is allocated for an uncompressed batch.

use std::cell::RefCell;
use std::fmt;

use crate::batch::codec::{self, Codec};
use crate::batch::error::BatchError;
use crate::batch::header::{Attributes, BatchHeader, HEADER_BYTES, TimestampType, at, put};
use crate::batch::rejected::{Greatest, examine, examine_claim, time_fault};
use crate::batch::walk::walk;
use crate::checksum::{crc32c, crc32c_append};
use crate::types::{Epoch, Offset, Timestamp};

/// `max.message.bytes` where it is not set.
pub const MAX_BATCH_BYTES_DEFAULT: usize = 1024 * 1024 + 12;
/// `message.timestamp.before.max.ms` where it is not set: any age.
pub const TIMESTAMP_BEFORE_MAX_MS_DEFAULT: i64 = i64::MAX;
/// `message.timestamp.after.max.ms` where it is not set: an hour.
pub const TIMESTAMP_AFTER_MAX_MS_DEFAULT: i64 = 3_600_000;
/// A batch may decompress to this many times `max.message.bytes`. Kafka has no bound; honest logs compress 3 to 20 times.
pub const COMPRESSION_RATIO_MAX: usize = 100;
/// No batch may decompress to more, whatever `max.message.bytes` is.
pub const OUTPUT_BYTES_MAX: usize = 256 << 20;
/// Scratch memory for decompression that has grown beyond this is not kept.
const SCRATCH_KEPT_BYTES: usize = 4 << 20;

/// Who wrote a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A producer: every rule holds.
    Client,
    /// A coordinator of this cluster, which may write control records.
    Coordinator,
}

/// What a topic accepts.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `max.message.bytes`: the whole batch.
    pub max_batch_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// The broker's clock.
    pub now: Timestamp,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
    /// Whether compressed records are decompressed and walked too.
    pub check_compressed: bool,
    /// Whether every record needs a key: the topic is compacted.
    pub keyed: bool,
    /// Who wrote the batch.
    pub origin: Origin,
}

impl Limits {
    /// Kafka's defaults for a client's batch at the time `now`.
    pub fn new(now: Timestamp) -> Limits {
        Limits {
            max_batch_bytes: MAX_BATCH_BYTES_DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            now,
            before_max_ms: TIMESTAMP_BEFORE_MAX_MS_DEFAULT,
            after_max_ms: TIMESTAMP_AFTER_MAX_MS_DEFAULT,
            check_compressed: true,
            keyed: false,
            origin: Origin::Client,
        }
    }

    /// What a compressed batch may decompress to.
    pub fn output_bytes_max(&self) -> usize {
        self.max_batch_bytes.saturating_mul(COMPRESSION_RATIO_MAX).min(OUTPUT_BYTES_MAX)
    }

    /// The first and the last timestamp that are accepted.
    pub(super) fn timestamps(&self) -> (i64, i64) {
        (self.now.0.saturating_sub(self.before_max_ms), self.now.0.saturating_add(self.after_max_ms))
    }
}

/// A batch that obeys every rule: proof that [`validate`] has seen it.
#[derive(Clone)]
pub struct ValidBatch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
    max_timestamp_offset_delta: i32,
    header_stale: bool,
}

/// Accepts `bytes` as exactly one batch that may be appended, or says why not.
pub fn validate<'a>(bytes: &'a [u8], limits: &Limits) -> Result<ValidBatch<'a>, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    let size = header.size_bytes();
    if size != bytes.len() {
        return Err(wrong_size(size, bytes.len()));
    }
    check_header(&header, limits)?;
    let computed = crc32c(&bytes[at::ATTRIBUTES..]);
    if computed != header.crc {
        return Err(BatchError::Crc { stored: header.crc, computed });
    }
    let mut batch =
        ValidBatch { header, bytes, max_timestamp_offset_delta: header.last_offset_delta, header_stale: false };
    let payload = &bytes[HEADER_BYTES..];
    match header.codec()? {
        Codec::None => batch.check_records(payload, limits)?,
        codec if limits.check_compressed => {
            with_decompressed(codec, payload, limits.output_bytes_max(), |payload| {
                batch.check_records(payload, limits)
            })?;
        }
        _ => {
            examine_claim(&header, limits)?;
            batch.keep_max_timestamp(header.last_offset_delta);
        }
    }
    batch.clear_broker_time();
    Ok(batch)
}

/// Whether the CRC-32C of the batch that fills `batch` is the one in its header.
pub fn verify_crc(batch: &[u8]) -> bool {
    BatchHeader::parse(batch)
        .is_ok_and(|header| header.size_bytes() == batch.len() && crc32c(&batch[at::ATTRIBUTES..]) == header.crc)
}

#[cold]
fn wrong_size(claimed: usize, actual: usize) -> BatchError {
    if claimed > actual { BatchError::Truncated { claimed, actual } } else { BatchError::Trailing(actual - claimed) }
}

/// The rules that the header alone decides; cheap, so before the checksum.
fn check_header(header: &BatchHeader, limits: &Limits) -> Result<(), BatchError> {
    if header.size_bytes() > limits.max_batch_bytes {
        return Err(BatchError::TooLarge { bytes: header.size_bytes(), limit: limits.max_batch_bytes });
    }
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        return Err(BatchError::Count { count: header.record_count, last_offset_delta: header.last_offset_delta });
    }
    if limits.origin == Origin::Client {
        if header.base_offset != Offset::ZERO {
            return Err(BatchError::BaseOffset(header.base_offset.0));
        }
        if header.is_control() {
            return Err(BatchError::Control);
        }
        if header.has_producer() && header.base_sequence < 0 {
            return Err(BatchError::Sequence { producer_id: header.producer_id, base_sequence: header.base_sequence });
        }
    }
    Ok(())
}

impl fmt::Debug for ValidBatch<'_> {
    /// The header; what producers sent does not belong into a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidBatch").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<'a> ValidBatch<'a> {
    /// The header, as it was sent, but with the true maximum timestamp where the records were walked.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The batch as it was sent.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The first record that has the maximum timestamp, counted from the base offset; the last record where a
    /// compressed batch was not walked.
    pub fn max_timestamp_offset_delta(&self) -> i32 {
        self.max_timestamp_offset_delta
    }

    /// Writes the batch to `out`, which has its size, with its place in the log patched in. The checksum does not cover
    /// those fields. With `log_append_time`, that becomes the time of every record and the checksum is made anew.
    ///
    /// # Panics
    /// Where `out` has another size.
    pub fn write_to(&self, out: &mut [u8], base_offset: Offset, epoch: Epoch, log_append_time: Option<Timestamp>) {
        assert_eq!(out.len(), self.bytes.len(), "room for a batch of another size");
        out.copy_from_slice(self.bytes);
        put(out, at::BASE_OFFSET, base_offset.0.to_be_bytes());
        put(out, at::LEADER_EPOCH, epoch.0.to_be_bytes());
        if log_append_time.is_some() || self.header_stale {
            self.restamp(out, log_append_time);
        }
    }

    /// The header as [`ValidBatch::write_to`] stores it: for a batch whose bytes go to several places.
    pub fn stored_header(
        &self,
        base_offset: Offset,
        epoch: Epoch,
        log_append_time: Option<Timestamp>,
    ) -> [u8; HEADER_BYTES] {
        let mut header: [u8; HEADER_BYTES] = self.bytes[..HEADER_BYTES].try_into().expect("a batch has a header");
        put(&mut header, at::BASE_OFFSET, base_offset.0.to_be_bytes());
        put(&mut header, at::LEADER_EPOCH, epoch.0.to_be_bytes());
        if log_append_time.is_some() || self.header_stale {
            self.put_time(&mut header, log_append_time);
            let crc = crc32c(&header[at::ATTRIBUTES..]);
            let crc = crc32c_append(crc, &self.bytes[HEADER_BYTES..]);
            put(&mut header, at::CRC, crc.to_be_bytes());
        }
        header
    }

    #[cold]
    fn restamp(&self, out: &mut [u8], log_append_time: Option<Timestamp>) {
        self.put_time(out, log_append_time);
        let crc = crc32c(&out[at::ATTRIBUTES..]);
        put(out, at::CRC, crc.to_be_bytes());
    }

    fn put_time(&self, header: &mut [u8], log_append_time: Option<Timestamp>) {
        put(header, at::MAX_TIMESTAMP, log_append_time.unwrap_or(self.header.max_timestamp).0.to_be_bytes());
        let broker_time = if log_append_time.is_some() { Attributes::LOG_APPEND_TIME } else { 0 };
        put(header, at::ATTRIBUTES, (self.header.attributes.0 | broker_time).to_be_bytes());
    }

    fn check_records(&mut self, payload: &[u8], limits: &Limits) -> Result<(), BatchError> {
        let walked = walk(payload, self.header.record_count)?;
        let keyed = walked.keyed || !limits.keyed;
        if self.header.timestamp_type() == TimestampType::LogAppendTime {
            // Every record has the time of the batch then, whatever it says itself.
            if !keyed || time_fault(&self.header, self.header.max_timestamp, limits).is_some() {
                examine(&self.header, payload, limits)?;
            }
            self.keep_max_timestamp(0);
            return Ok(());
        }
        let base = self.header.base_timestamp.0;
        let (earliest, latest) = limits.timestamps();
        let greatest =
            match (base.checked_add(walked.timestamp_delta_min), base.checked_add(walked.timestamp_delta_max)) {
                (Some(least), Some(greatest)) if keyed && least >= earliest && greatest <= latest => {
                    Greatest { timestamp: greatest, index: walked.timestamp_max_index }
                }
                _ => examine(&self.header, payload, limits)?,
            };
        self.set_max_timestamp(greatest);
        Ok(())
    }

    /// The maximum that the header claims is that of the record at `index`.
    fn keep_max_timestamp(&mut self, index: i32) {
        self.set_max_timestamp(Greatest { timestamp: self.header.max_timestamp.0, index });
    }

    /// Kafka puts a wrong maximum right; records without a time (-1) do not count.
    fn set_max_timestamp(&mut self, greatest: Greatest) {
        self.max_timestamp_offset_delta = greatest.index;
        let max_timestamp = Timestamp(greatest.timestamp.max(Timestamp::NONE.0));
        if self.header.max_timestamp != max_timestamp {
            self.header.max_timestamp = max_timestamp;
            self.header_stale = true;
        }
    }

    /// A producer's claim that the times are the broker's is dropped, as Kafka does.
    fn clear_broker_time(&mut self) {
        if self.header.timestamp_type() == TimestampType::LogAppendTime {
            self.header.attributes.0 &= !Attributes::LOG_APPEND_TIME;
            self.header_stale = true;
        }
    }
}

/// Decompresses into memory that the thread keeps, so that a steady stream of batches allocates nothing here.
fn with_decompressed<T>(
    codec: Codec,
    payload: &[u8],
    output_bytes_max: usize,
    look: impl FnOnce(&[u8]) -> Result<T, BatchError>,
) -> Result<T, BatchError> {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let result = codec::decompress(codec, payload, scratch, output_bytes_max).and_then(|()| look(scratch));
        if scratch.capacity() > SCRATCH_KEPT_BYTES {
            *scratch = Vec::new();
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, BatchErrorKind, RecordFault, records};

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn builder(codec: Codec) -> BatchBuilder {
        let mut builder = BatchBuilder::new(codec);
        for number in 0..5i64 {
            builder.push(Timestamp(NOW.0 + number % 3), Some(b"key"), Some(&[7; 100]), &[]);
        }
        builder
    }

    /// A batch with some of its bytes changed and its checksum made good again.
    fn forged(mut batch: Vec<u8>, place: usize, bytes: &[u8]) -> Vec<u8> {
        batch[place..place + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c(&batch[at::ATTRIBUTES..]);
        put(&mut batch, at::CRC, crc.to_be_bytes());
        batch
    }

    fn refusal(bytes: &[u8], limits: &Limits) -> BatchError {
        validate(bytes, limits).expect_err("it must be refused")
    }

    /// The records that are named.
    fn rejected(bytes: &[u8], limits: &Limits) -> Vec<(i32, RecordFault)> {
        refusal(bytes, limits).rejected_records().iter().map(|error| (error.index, error.fault)).collect()
    }

    #[test]
    fn a_claim_that_the_times_are_the_brokers_is_dropped_or_refused() {
        for codec in Codec::ALL {
            for check_compressed in [true, false] {
                let limits = Limits { check_compressed, before_max_ms: 1000, ..Limits::new(NOW) };
                let sent = builder(codec).build(Offset(0));
                let attributes = u16::from_be_bytes([sent[at::ATTRIBUTES], sent[at::ATTRIBUTES + 1]]);
                let claimed = (attributes | Attributes::LOG_APPEND_TIME as u16).to_be_bytes();
                let claiming = forged(sent.clone(), at::ATTRIBUTES, &claimed);
                let valid = validate(&claiming, &limits).expect("Kafka takes it");
                assert_eq!(valid.header().timestamp_type(), TimestampType::CreateTime);
                // Stored as if it had not been claimed.
                let mut stored = vec![0; sent.len()];
                valid.write_to(&mut stored, Offset(0), Epoch(0), None);
                let header = valid.stored_header(Offset(0), Epoch(0), None);
                assert!(verify_crc(&stored) && stored[..HEADER_BYTES] == header);
                assert_eq!(stored[at::ATTRIBUTES..], sent[at::ATTRIBUTES..]);
                // Every record has the greatest time then.
                let old = forged(claiming.clone(), at::MAX_TIMESTAMP, &(NOW.0 - 1001).to_be_bytes());
                let named = rejected(&old, &limits);
                assert!(matches!(named[..], [(0, RecordFault::Timestamp { .. }), _, _, _, _]), "{named:?}");
                let none = forged(claiming.clone(), at::MAX_TIMESTAMP, &(-1i64).to_be_bytes());
                let all: Vec<_> = (0..5).map(|index| (index, RecordFault::TimestampType)).collect();
                assert_eq!(rejected(&none, &limits), all);
                let limits = Limits { timestamp_type: TimestampType::LogAppendTime, ..limits };
                assert_eq!(rejected(&claiming, &limits), all);
            }
        }
    }

    #[test]
    fn a_good_batch_of_every_codec_is_accepted_and_placed() {
        for codec in Codec::ALL {
            let sent = builder(codec).build(Offset(0));
            let valid = validate(&sent, &Limits::new(NOW)).expect("good");
            assert_eq!((valid.header().max_timestamp, valid.max_timestamp_offset_delta()), (Timestamp(NOW.0 + 2), 2));
            let mut stored = vec![0; sent.len()];
            valid.write_to(&mut stored, Offset(1_000), Epoch(9), None);
            assert!(verify_crc(&stored));
            assert_eq!(stored[at::MAGIC..], sent[at::MAGIC..]);
            let header = BatchHeader::parse(&stored).expect("a batch");
            assert_eq!(
                (header.base_offset, header.leader_epoch, header.crc),
                (Offset(1_000), Epoch(9), valid.header().crc)
            );
        }
    }

    #[test]
    fn log_append_time_replaces_every_timestamp() {
        for codec in Codec::ALL {
            let sent = builder(codec).build(Offset(0));
            let limits = Limits { timestamp_type: TimestampType::LogAppendTime, ..Limits::new(Timestamp(0)) };
            let valid = validate(&sent, &limits).expect("no timestamp is wrong where they do not count");
            let mut stored = vec![0; sent.len()];
            valid.write_to(&mut stored, Offset(5), Epoch(0), Some(Timestamp(77)));
            assert!(verify_crc(&stored));
            let records = records(&stored, 1 << 20).expect("a batch");
            assert_eq!(records.header().timestamp_type(), TimestampType::LogAppendTime);
            assert!(records.iter().all(|record| record.expect("good").timestamp == Timestamp(77)));
        }
    }

    #[test]
    fn a_wrong_maximum_timestamp_is_put_right() {
        let sent = forged(builder(Codec::None).build(Offset(0)), at::MAX_TIMESTAMP, &12i64.to_be_bytes());
        let valid = validate(&sent, &Limits::new(NOW)).expect("good but for the maximum");
        assert_eq!(valid.header().max_timestamp, Timestamp(NOW.0 + 2));
        let mut stored = vec![0; sent.len()];
        valid.write_to(&mut stored, Offset(5), Epoch(0), None);
        assert!(verify_crc(&stored));
        assert_eq!(BatchHeader::parse(&stored).expect("a batch").max_timestamp, Timestamp(NOW.0 + 2));
    }

    #[test]
    fn a_maximum_timestamp_that_is_believed_is_no_less_than_none() {
        for (codec, attributes) in [(Codec::None, Attributes::LOG_APPEND_TIME), (Codec::Lz4, 0)] {
            let sent = builder(codec).build(Offset(0));
            let attributes = BatchHeader::parse(&sent).expect("a batch").attributes.0 | attributes;
            let sent = forged(sent, at::ATTRIBUTES, &attributes.to_be_bytes());
            let sent = forged(sent, at::MAX_TIMESTAMP, &(-77i64).to_be_bytes());
            let limits = Limits { check_compressed: false, ..Limits::new(NOW) };
            let valid = validate(&sent, &limits).expect("any time is accepted");
            let mut stored = vec![0; sent.len()];
            valid.write_to(&mut stored, Offset(5), Epoch(0), None);
            assert!(verify_crc(&stored));
            assert_eq!(BatchHeader::parse(&stored).expect("a batch").max_timestamp, Timestamp::NONE);
        }
    }

    #[test]
    fn bytes_that_are_not_exactly_one_batch_are_refused() {
        let batch = builder(Codec::None).build(Offset(0));
        let limits = Limits::new(NOW);
        assert_eq!(refusal(&[], &limits), BatchError::Short(0));
        assert_eq!(refusal(&batch[..60], &limits), BatchError::Short(60));
        let cut = batch.len() - 1;
        assert_eq!(refusal(&batch[..cut], &limits), BatchError::Truncated { claimed: batch.len(), actual: cut });
        assert_eq!(refusal(&[&batch[..], &batch[..]].concat(), &limits), BatchError::Trailing(batch.len()));
    }

    #[test]
    fn a_flipped_bit_is_a_bad_checksum() {
        let batch = builder(Codec::None).build(Offset(0));
        for place in HEADER_BYTES..batch.len() {
            let mut damaged = batch.clone();
            damaged[place] ^= 0x10;
            assert_eq!(refusal(&damaged, &Limits::new(NOW)).kind(), BatchErrorKind::Corrupt);
        }
    }

    #[test]
    fn header_rules_are_those_of_kafka() {
        let batch = || builder(Codec::None).build(Offset(0));
        let limits = Limits::new(NOW);
        let cases: Vec<(Vec<u8>, BatchError)> = vec![
            (builder(Codec::None).build(Offset(3)), BatchError::BaseOffset(3)),
            (builder(Codec::None).control().build(Offset(0)), BatchError::Control),
            (
                builder(Codec::None).producer(5, 0, -1).build(Offset(0)),
                BatchError::Sequence { producer_id: 5, base_sequence: -1 },
            ),
            (BatchBuilder::new(Codec::None).build(Offset(0)), BatchError::Count { count: 0, last_offset_delta: -1 }),
            (
                forged(batch(), at::LAST_OFFSET_DELTA, &5i32.to_be_bytes()),
                BatchError::Count { count: 5, last_offset_delta: 5 },
            ),
            (
                forged(batch(), at::RECORD_COUNT, &(-5i32).to_be_bytes()),
                BatchError::Count { count: -5, last_offset_delta: 4 },
            ),
            (forged(batch(), at::ATTRIBUTES, &6i16.to_be_bytes()), BatchError::UnknownCodec(6)),
            (forged(batch(), at::MAGIC, &[1]), BatchError::Magic(1)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(refusal(&bytes, &limits), expected);
        }
        let tight = Limits { max_batch_bytes: batch().len() - 1, ..limits.clone() };
        assert_eq!(refusal(&batch(), &tight).kind(), BatchErrorKind::TooLarge);
        let coordinator = Limits { origin: Origin::Coordinator, ..limits };
        validate(&builder(Codec::None).control().build(Offset(0)), &coordinator).expect("coordinators write markers");
    }

    #[test]
    fn counts_that_lie_are_refused_whatever_the_codec() {
        for codec in Codec::ALL {
            for count in [1i32, 4, 6, i32::MAX] {
                let lie = forged(builder(codec).build(Offset(0)), at::RECORD_COUNT, &count.to_be_bytes());
                let lie = forged(lie, at::LAST_OFFSET_DELTA, &(count - 1).to_be_bytes());
                assert_eq!(refusal(&lie, &Limits::new(NOW)).kind(), BatchErrorKind::InvalidRecord, "{codec} {count}");
            }
        }
    }

    #[test]
    fn offset_deltas_other_than_0_1_2_are_refused() {
        let mut builder = BatchBuilder::new(Codec::None).last_offset_delta(1);
        builder.push(NOW, None, None, &[]).push_at(2, NOW, None, None, &[]);
        let batch = builder.build(Offset(0));
        assert_eq!(refusal(&batch, &Limits::new(NOW)), BatchError::OffsetDelta { index: 1, offset_delta: 2 });
    }

    #[test]
    fn a_compacted_topic_needs_keys() {
        for codec in Codec::ALL {
            let mut builder = builder(codec);
            builder.push(NOW, None, Some(b"value"), &[]);
            let batch = builder.build(Offset(0));
            let limits = Limits { keyed: true, ..Limits::new(NOW) };
            assert_eq!(rejected(&batch, &limits), [(5, RecordFault::NoKey)]);
            assert_eq!(refusal(&batch, &limits).kind(), BatchErrorKind::InvalidRecord);
            validate(&batch, &Limits::new(NOW)).expect("good elsewhere");
        }
    }

    #[test]
    fn timestamps_outside_the_topics_bounds_are_refused_but_none_is_always_good() {
        let batch = |timestamps: &[i64]| {
            let mut builder = BatchBuilder::new(Codec::None);
            for timestamp in timestamps {
                builder.push(Timestamp(*timestamp), None, Some(b"value"), &[]);
            }
            builder.build(Offset(0))
        };
        let limits = Limits { before_max_ms: 1_000, after_max_ms: 100, ..Limits::new(NOW) };
        for good in [[NOW.0 - 1_000, NOW.0 + 100], [-1, NOW.0], [-1, -1]] {
            validate(&batch(&good), &limits).expect("in bounds");
        }
        for bad in [NOW.0 - 1_001, NOW.0 + 101, 0, i64::MAX] {
            let refused = rejected(&batch(&[bad, -1, NOW.0, bad]), &limits);
            let fault = RecordFault::Timestamp {
                timestamp: Timestamp(bad),
                earliest: Timestamp(NOW.0 - 1_000),
                latest: Timestamp(NOW.0 + 100),
            };
            assert_eq!(refused, [(0, fault), (3, fault)]);
            let late = Limits { timestamp_type: TimestampType::LogAppendTime, ..limits.clone() };
            validate(&batch(&[-1, NOW.0, bad]), &late).expect("the broker's time counts");
        }
        let refused = refusal(&batch(&[i64::MIN]), &Limits::new(NOW));
        assert_eq!(refused.kind(), BatchErrorKind::InvalidTimestamp);
    }

    #[test]
    fn every_record_that_is_refused_is_named_and_a_bad_time_says_what_for() {
        let limits = Limits { keyed: true, ..Limits::new(NOW) };
        let late = Timestamp(NOW.0 + 2 * TIMESTAMP_AFTER_MAX_MS_DEFAULT);
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(codec);
            for (time, key) in [(NOW, None), (NOW, Some(&b"k"[..])), (late, None), (late, Some(b"k")), (NOW, None)] {
                builder.push(time, key, Some(b"value"), &[]);
            }
            let batch = builder.build(Offset(0));
            let named = rejected(&batch, &limits);
            assert_eq!(named.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2, 3, 4], "{codec}");
            let keyless = named.iter().filter(|(_, fault)| *fault == RecordFault::NoKey).count();
            assert_eq!((keyless, refusal(&batch, &limits).kind()), (3, BatchErrorKind::InvalidTimestamp), "{codec}");
            // A record that cannot be read is worse than any that is read.
            let cut = forged(batch, at::RECORD_COUNT, &6i32.to_be_bytes());
            let cut = forged(cut, at::LAST_OFFSET_DELTA, &5i32.to_be_bytes());
            assert!(matches!(refusal(&cut, &limits), BatchError::Record { index: 5, .. }), "{codec}");
        }
    }

    #[test]
    fn of_records_that_decompress_to_many_times_their_size_only_some_are_named() {
        for (codec, count) in [(Codec::None, 10_000), (Codec::Zstd, 10_000)] {
            let mut builder = BatchBuilder::new(codec);
            for _ in 0..count {
                builder.push(NOW, None, None, &[]);
            }
            let batch = builder.build(Offset(0));
            let refused = refusal(&batch, &Limits { keyed: true, ..Limits::new(NOW) });
            let expected = if codec == Codec::None { count } else { batch.len() / 7 };
            assert_eq!(refused.rejected_records().len(), expected, "{codec}");
            assert!(refused.to_string().contains("10000 records"), "{refused}");
        }
    }

    #[test]
    fn compressed_records_are_not_looked_at_unless_asked() {
        let broken = forged(builder(Codec::Zstd).build(Offset(0)), HEADER_BYTES, &[0; 4]);
        let limits = Limits::new(NOW);
        assert!(matches!(refusal(&broken, &limits), BatchError::Decompress { codec: Codec::Zstd, .. }));
        validate(&broken, &Limits { check_compressed: false, ..limits }).expect("only its envelope is checked");
    }
}
