//! The records of a partition in a Produce, on their way to the log and to readers.
//!
//! A batch is tried as it is; with its length and checksum made to fit, as a client that lies would; and with its payload
//! compressed by the codec that it claims, so that what is mutated are records and not always compressed bytes.

use corelog_engine::batch::{
    BatchBuilder, BatchError, BatchHeader, Codec, Compression, HEADER_BYTES, Limits, Records, TimestampType,
    ValidBatch, codec, recompress, records, scan, validate, verify_crc,
};
use corelog_engine::{Epoch, Offset, Timestamp};

use crate::allocated::allocated_by;

const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const ATTRIBUTES_AT: usize = 21;
/// In the low byte of the attributes.
const LOG_APPEND_TIME: u8 = 8;
/// The broker's clock: a time after that of the captured batches, so that they are accepted.
const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// `max.message.bytes`: small, so that a bomb is a small one.
const BATCH_BYTES_MAX: usize = 16 << 10;
/// Decompressors keep state of their own, and give out in steps.
const DECOMPRESSION_EXTRA_BYTES: usize = 1 << 20;

/// Appends and reads `bytes` as the broker would. Panics where that breaks a promise.
pub fn check(bytes: &[u8]) {
    let mut end = 0;
    for (position, header) in scan(bytes).map_while(Result::ok) {
        assert_eq!(position, end, "batch follows batch");
        end += header.size_bytes();
        assert!(end <= bytes.len());
    }
    check_one(bytes);
    if bytes.len() < HEADER_BYTES || bytes.len() > BATCH_BYTES_MAX {
        return;
    }
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    check_one(&sealed);
    if let Ok(codec @ (Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd)) =
        BatchHeader::parse(&sealed).and_then(|header| header.codec())
    {
        let mut packed = sealed[..HEADER_BYTES].to_vec();
        codec::compress(codec, &sealed[HEADER_BYTES..], &mut packed);
        seal(&mut packed);
        check_one(&packed);
    }
}

/// Makes length, magic and checksum fit what is there.
fn seal(batch: &mut [u8]) {
    batch[MAGIC_AT] = 2;
    let length = (batch.len() - LENGTH_AT - 4) as i32;
    batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

fn limits() -> Limits {
    Limits { max_batch_bytes: BATCH_BYTES_MAX, ..Limits::new(NOW) }
}

/// One record, as readers see it, without its offset.
#[derive(Debug, PartialEq)]
struct Entry {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn entries(records: &Records<'_>) -> Result<Vec<Entry>, BatchError> {
    let entry = |record: Result<corelog_engine::batch::Record<'_>, BatchError>| {
        let record = record?;
        Ok(Entry {
            timestamp: record.timestamp.0,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
        })
    };
    records.iter().map(entry).collect()
}

fn check_one(bytes: &[u8]) {
    let limits = limits();
    // Scratch memory that a thread keeps and state of the codecs beside, no more than the output's bound, which may have
    // been doubled once on the way.
    let bound = 4 * limits.output_bytes_max() + DECOMPRESSION_EXTRA_BYTES;
    let (valid, allocated) = allocated_by(|| validate(bytes, &limits));
    assert!(allocated <= bound, "{allocated} bytes for {}", bytes.len());
    let (read, allocated) = allocated_by(|| records(bytes, limits.output_bytes_max()));
    assert!(allocated <= bound, "{allocated} bytes for {}", bytes.len());
    let keyed = validate(bytes, &Limits { keyed: true, ..limits.clone() });
    let unwalked = validate(bytes, &Limits { check_compressed: false, ..limits.clone() });
    let Ok(valid) = valid else {
        assert!(!valid.expect_err("refused").to_string().is_empty());
        assert!(keyed.is_err(), "accepted where more is asked");
        // What is damaged is not read past its end, nor without one.
        if let Ok(read) = read {
            assert!(read.iter().count() <= limits.output_bytes_max());
        }
        return;
    };
    let uncompressed = valid.header().codec() == Ok(Codec::None);
    if uncompressed {
        assert!(unwalked.is_ok(), "refused where less is asked");
    }
    let read = read.expect("a valid batch is read");
    let entries = entries(&read).expect("a valid batch is read to its end");
    check_header(&valid, &entries);
    assert_eq!(keyed.is_ok(), entries.iter().all(|entry| entry.key.is_some()));
    assert_eq!(valid.header().timestamp_type(), TimestampType::CreateTime);
    if read.header().timestamp_type() == TimestampType::LogAppendTime {
        // Its producer claims that the times are the broker's. That is dropped, and each record has its own time again.
        let mut plain = bytes.to_vec();
        plain[ATTRIBUTES_AT + 1] &= !LOG_APPEND_TIME;
        seal(&mut plain);
        let read = records(&plain, limits.output_bytes_max()).expect("the same records");
        let own = self::entries(&read).expect("the same records");
        check_stored(&valid, &own, Offset(0), None);
        return check_stored(&valid, &own, Offset(0), Some(NOW));
    }

    for (base, log_append_time) in [(0, None), (i64::from(u32::MAX), Some(NOW))] {
        check_stored(&valid, &entries, Offset(base), log_append_time);
    }
    check_rebuilt(&entries);
    check_recompressed(&valid, &entries, &limits);
}

fn check_header(valid: &ValidBatch<'_>, entries: &[Entry]) {
    let header = valid.header();
    assert_eq!(entries.len(), header.record_count as usize);
    let greatest = entries.iter().map(|entry| entry.timestamp).max().expect("a batch has a record");
    assert_eq!(header.max_timestamp.0, greatest.max(-1));
    let first = entries.iter().position(|entry| entry.timestamp == greatest).expect("it is there");
    assert_eq!(valid.max_timestamp_offset_delta(), first as i32);
}

/// As it lies in the log it has its checksum, its offsets and the same records.
fn check_stored(valid: &ValidBatch<'_>, entries: &[Entry], base: Offset, log_append_time: Option<Timestamp>) {
    let mut stored = vec![0; valid.bytes().len()];
    valid.write_to(&mut stored, base, Epoch(3), log_append_time);
    assert!(verify_crc(&stored));
    assert_eq!(valid.stored_header(base, Epoch(3), log_append_time), stored[..HEADER_BYTES]);
    let read = records(&stored, limits().output_bytes_max()).expect("stored as it was");
    assert_eq!(read.header().next_offset(), Offset(base.0 + entries.len() as i64));
    for (index, (record, entry)) in read.iter().zip(entries).enumerate() {
        let record = record.expect("stored as it was");
        assert_eq!(record.offset, Offset(base.0 + index as i64));
        assert_eq!(record.timestamp.0, log_append_time.map_or(entry.timestamp, |time| time.0));
        assert_eq!((record.key, record.value), (entry.key.as_deref(), entry.value.as_deref()));
    }
}

/// Built anew from its records, it has the same records.
fn check_rebuilt(expected: &[Entry]) {
    let mut builder = BatchBuilder::new(Codec::None);
    for entry in expected {
        let headers: Vec<_> = entry.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        builder.push(Timestamp(entry.timestamp), entry.key.as_deref(), entry.value.as_deref(), &headers);
    }
    let built = builder.build(Offset(0));
    let limits = Limits { max_batch_bytes: usize::MAX, ..limits() };
    validate(&built, &limits).expect("a batch of ours");
    let read = records(&built, usize::MAX).expect("a batch of ours");
    assert_eq!(entries(&read).expect("a batch of ours"), expected);
}

/// With the codec that its topic wants it is the same batch to its readers.
fn check_recompressed(valid: &ValidBatch<'_>, expected: &[Entry], limits: &Limits) {
    // Any of them, but the same for the same batch.
    let codec = Codec::ALL[valid.header().crc as usize % Codec::ALL.len()];
    let made = recompress(valid.bytes(), Compression { codec, level: None }, limits).expect("a valid batch");
    let Some(made) = made else {
        return assert_eq!(valid.header().codec(), Ok(codec));
    };
    // What was compressed may be larger than a batch may be; then it is refused when it is appended.
    let limits = Limits { max_batch_bytes: usize::MAX, ..limits.clone() };
    let again = validate(&made, &limits).expect("a batch of ours");
    let (before, after) = (valid.header(), again.header());
    assert_eq!(after.codec(), Ok(codec));
    let facts = |header: &BatchHeader| {
        let (producer, sequence) = ((header.producer_id, header.producer_epoch), header.base_sequence);
        (header.base_offset, header.last_offset_delta, header.max_timestamp, producer, sequence, header.record_count)
    };
    assert_eq!(facts(after), facts(before));
    let read = records(&made, limits.output_bytes_max()).expect("a batch of ours");
    assert_eq!(entries(&read).expect("a batch of ours"), expected);
}
