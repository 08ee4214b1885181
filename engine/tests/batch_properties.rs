//! Batches of any content, whole and damaged, against a naive reading of the format.
//!
//! The naive model decodes a record field by field from an iterator of bytes, as the format's description reads. What
//! `validate` accepts must be what the model accepts, whichever of its fast paths the records go through.

use corelog_engine::batch::{
    BatchBuilder, BatchError, BatchHeader, Codec, HEADER_BYTES, Limits, Records, codec, records, scan, validate,
    verify_crc,
};
use corelog_engine::{Epoch, Offset, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const NOW: i64 = 1_750_000_000_000;
const OUTPUT_BYTES_MAX: usize = 16 << 20;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const LENGTH_AT: usize = 8;

type Header = (Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

fn timestamps() -> impl Strategy<Value = i64> {
    prop_oneof![5 => NOW - 200..NOW + 200, 2 => NOW - 10_000_000..NOW, 1 => Just(-1), 1 => 0..NOW]
}

/// Records of every size, alone and in runs of the same size, with numbers on both sides of a byte more.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let size = prop_oneof![4 => 0usize..10, 3 => 55usize..70, 2 => 100usize..140, 1 => 8_180usize..8_200];
    let key = option::weighted(0.7, prop_oneof![4 => vec(any::<u8>(), 0..12), 1 => vec(any::<u8>(), 60..70)]);
    let headers = prop_oneof![
        6 => Just(Vec::new()),
        1 => vec((vec(any::<u8>(), 0..5), option::of(vec(any::<u8>(), 0..70))), 1..4),
    ];
    let value = option::weighted(0.9, size.prop_map(|size| vec![b'v'; size]));
    let repeats = prop_oneof![3 => 1usize..3, 2 => 3usize..90];
    let run = (timestamps(), key, value, headers, repeats, 0i64..30).prop_map(
        |(timestamp, key, value, headers, repeats, step)| {
            let entry = move |number| Entry {
                timestamp: if timestamp < 0 { timestamp } else { timestamp + step * number },
                key: key.clone(),
                value: value.clone(),
                headers: headers.clone(),
            };
            (0..repeats as i64).map(entry).collect::<Vec<_>>()
        },
    );
    vec(run, 1..6).prop_map(|runs| runs.concat())
}

fn codecs() -> impl Strategy<Value = Codec> {
    select(&Codec::ALL[..])
}

fn build(codec: Codec, entries: &[Entry]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for entry in entries {
        let headers: Vec<_> = entry.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        builder.push(Timestamp(entry.timestamp), entry.key.as_deref(), entry.value.as_deref(), &headers);
    }
    builder.build(Offset(0))
}

fn read(records: &Records<'_>) -> Result<Vec<Entry>, BatchError> {
    let entry = |record: Result<corelog_engine::batch::Record<'_>, BatchError>| {
        let record = record?;
        let headers = record.headers.iter();
        Ok(Entry {
            timestamp: record.timestamp.0,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect(),
        })
    };
    records.iter().map(entry).collect()
}

fn limits() -> Limits {
    Limits { max_batch_bytes: 1 << 30, ..Limits::new(Timestamp(NOW)) }
}

/// Makes length and checksum fit what is in the batch, as a client that lies would.
fn seal(batch: &mut [u8]) {
    let length = (batch.len() - 12) as i32;
    batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// The naive reading.
mod model {
    pub(super) struct Bytes<'a>(pub(super) std::slice::Iter<'a, u8>);

    impl Bytes<'_> {
        fn varlong(&mut self) -> Option<i64> {
            let mut raw = 0u128;
            for place in 0..10 {
                let byte = *self.0.next()?;
                raw |= u128::from(byte & 0x7f) << (7 * place);
                if byte < 0x80 {
                    let raw = u64::try_from(raw).ok()?;
                    let half = (raw / 2) as i64;
                    return Some(if raw % 2 == 0 { half } else { -half - 1 });
                }
            }
            None
        }

        fn varint(&mut self) -> Option<i32> {
            let before = self.0.len();
            let value = i32::try_from(self.varlong()?).ok()?;
            (before - self.0.len() <= 5).then_some(value)
        }

        fn skip(&mut self, count: i32) -> Option<()> {
            (0..count).try_for_each(|_| self.0.next().map(|_| ()))
        }

        fn nullable(&mut self) -> Option<()> {
            match self.varint()? {
                -1 => Some(()),
                length if length >= 0 => self.skip(length),
                _ => None,
            }
        }

        /// Its timestamp delta, where it is the record at `index`.
        fn record(&mut self, index: i32) -> Option<i64> {
            let length = usize::try_from(self.varint()?).ok()?;
            let left = self.0.len().checked_sub(length)?;
            self.skip(1)?;
            let timestamp_delta = self.varlong()?;
            let offset_delta = self.varint()?;
            self.nullable()?;
            self.nullable()?;
            let headers = self.varint()?;
            for _ in 0..headers {
                let length = self.varint()?;
                self.skip(if length < 0 { i32::MAX } else { length })?;
                self.nullable()?;
            }
            (headers >= 0 && self.0.len() == left && offset_delta == index).then_some(timestamp_delta)
        }
    }

    /// The greatest timestamp and the first record that has it, where the payload is `count` records and no more.
    pub(super) fn walk(payload: &[u8], count: i32, base: i64) -> Option<(i64, i32)> {
        let mut bytes = Bytes(payload.iter());
        let mut greatest = (i64::MIN, 0);
        for index in 0..count {
            let timestamp = base.wrapping_add(bytes.record(index)?);
            if timestamp > greatest.0 {
                greatest = (timestamp, index);
            }
        }
        (bytes.0.len() == 0).then_some(greatest)
    }
}

fn check_against_model(batch: &[u8]) -> Result<(), TestCaseError> {
    let header = BatchHeader::parse(batch).expect("the header was not touched");
    let mut limits = limits();
    // Timestamps are not the model's matter.
    (limits.before_max_ms, limits.after_max_ms) = (i64::MAX, i64::MAX);
    limits.timestamp_type = corelog_engine::batch::TimestampType::LogAppendTime;
    let valid = validate(batch, &limits);
    let expected = model::walk(&batch[HEADER_BYTES..], header.record_count, header.base_timestamp.0);
    match (&valid, expected) {
        (Ok(valid), Some((timestamp, index))) => {
            prop_assert_eq!(valid.header().max_timestamp.0, timestamp.max(-1));
            prop_assert_eq!(valid.max_timestamp_offset_delta(), index);
        }
        (Err(_), None) => {}
        (valid, expected) => prop_assert!(false, "{valid:?}, but the model says {expected:?}"),
    }
    // The reader of records agrees, but for offsets, which it takes as they are.
    let read = records(batch, OUTPUT_BYTES_MAX).expect("an uncompressed batch");
    prop_assert!(valid.is_err() || read.iter().all(|record| record.is_ok()));
    Ok(())
}

/// One change to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Insert(Index, u8),
    Remove(Index),
    Append(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![any::<u8>(), select(&[0u8, 1, 2, 3, 0x7f, 0x80, 0x81, 0xfe, 0xff][..])];
    prop_oneof![
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<Index>().prop_map(Damage::Remove),
        vec(byte(), 1..20).prop_map(Damage::Append),
    ]
}

impl Damage {
    /// Changes `bytes` from `from` on.
    fn apply(&self, bytes: &mut Vec<u8>, from: usize) {
        if bytes.len() == from {
            return;
        }
        let place = |at: &Index| from + at.index(bytes.len() - from);
        match self {
            Damage::Flip(at, bit) => {
                let at = place(at);
                bytes[at] ^= bit;
            }
            Damage::Set(at, byte) => {
                let at = place(at);
                bytes[at] = *byte;
            }
            Damage::Cut(at) => bytes.truncate(place(at)),
            Damage::Insert(at, byte) => bytes.insert(place(at), *byte),
            Damage::Remove(at) => {
                bytes.remove(place(at));
            }
            Damage::Append(more) => bytes.extend_from_slice(more),
        }
    }
}

proptest! {
    #[test]
    fn what_is_built_is_valid_and_reads_back(codec in codecs(), entries in entries(), base in 0..i64::MAX / 2) {
        let batch = build(codec, &entries);
        let valid = validate(&batch, &limits()).expect("a batch of ours");
        let greatest = entries.iter().map(|entry| entry.timestamp).max().expect("one entry at least");
        prop_assert_eq!(valid.header().max_timestamp.0, greatest);
        let first = entries.iter().position(|entry| entry.timestamp == greatest).expect("it is there");
        prop_assert_eq!(valid.max_timestamp_offset_delta(), first as i32);

        let mut placed = vec![0; batch.len()];
        valid.write_to(&mut placed, Offset(base), Epoch(3), None);
        prop_assert!(verify_crc(&placed));
        let records = records(&placed, OUTPUT_BYTES_MAX).expect("a batch of ours");
        prop_assert_eq!(read(&records).expect("records of ours"), entries);
        let offsets = records.iter().map(|record| record.expect("good").offset.0);
        prop_assert!(offsets.eq(base..base + i64::from(valid.header().record_count)));
    }

    #[test]
    fn damaged_records_are_accepted_only_where_the_model_accepts_them(
        entries in entries(),
        damage in vec(damage(), 0..3),
    ) {
        let mut batch = build(Codec::None, &entries);
        for damage in &damage {
            damage.apply(&mut batch, HEADER_BYTES);
        }
        seal(&mut batch);
        check_against_model(&batch)?;
    }

    #[test]
    fn counts_that_lie_are_accepted_only_where_the_model_accepts_them(
        entries in entries(),
        count in prop_oneof![1..400i32, Just(i32::MAX)],
    ) {
        let mut batch = build(Codec::None, &entries);
        batch[57..61].copy_from_slice(&count.to_be_bytes());
        batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        seal(&mut batch);
        check_against_model(&batch)?;
    }

    #[test]
    fn any_damage_ends_in_an_answer(codec in codecs(), entries in entries(), damage in vec(damage(), 1..4), sealed: bool) {
        let mut batch = build(codec, &entries);
        for damage in &damage {
            damage.apply(&mut batch, 0);
        }
        if sealed && batch.len() > HEADER_BYTES {
            seal(&mut batch);
        }
        let read = records(&batch, OUTPUT_BYTES_MAX).map(|records| records.iter().map(|record| record.is_ok()).collect::<Vec<_>>());
        if let Ok(valid) = validate(&batch, &limits()) {
            prop_assert!(read.expect("a valid batch reads").iter().all(|good| *good));
            let mut placed = vec![0; batch.len()];
            valid.write_to(&mut placed, Offset(5), Epoch(3), Some(Timestamp(NOW)));
            prop_assert!(verify_crc(&placed));
        }
        for (position, header) in scan(&batch).flatten() {
            prop_assert!(position + header.size_bytes() <= batch.len());
        }
    }

    #[test]
    fn any_bytes_behind_a_header_end_in_an_answer(head in vec(any::<u8>(), HEADER_BYTES), payload in vec(any::<u8>(), 0..200)) {
        let mut batch = [head, payload].concat();
        batch[16] = 2;
        seal(&mut batch);
        let _ = validate(&batch, &limits());
        if let Ok(records) = records(&batch, OUTPUT_BYTES_MAX) {
            prop_assert!(records.iter().count() <= batch.len() + 1);
        }
    }

    #[test]
    fn damaged_compressed_bytes_stay_in_their_bound(
        codec in select(&[Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd][..]),
        content in vec(any::<u8>(), 0..3000),
        repeats in 1usize..40,
        damage in vec(damage(), 0..4),
        bound in 0usize..100_000,
    ) {
        let content = content.repeat(repeats);
        let mut packed = Vec::new();
        codec::compress(codec, &content, &mut packed);
        for damage in &damage {
            damage.apply(&mut packed, 0);
        }
        let mut output = Vec::new();
        let result = codec::decompress(codec, &packed, &mut output, bound);
        if result.is_ok() {
            prop_assert!(output.len() <= bound);
        }
        if damage.is_empty() {
            prop_assert_eq!(result.is_ok(), content.len() <= bound);
        }
        // Decompressors that give out in steps may hold the step that went too far.
        prop_assert!(output.capacity() <= 2 * bound + 256 * 1024, "{} bytes for a bound of {bound}", output.capacity());
    }

    #[test]
    fn a_scan_finds_every_whole_batch_and_nothing_else(batches in vec((codecs(), entries()), 1..5), cut: Index) {
        let batches: Vec<_> = batches.iter().map(|(codec, entries)| build(*codec, entries)).collect();
        let bytes = batches.concat();
        let cut = cut.index(bytes.len() + 1);
        let mut end = 0;
        let ends: Vec<_> = batches.iter().map(|batch| { end += batch.len(); end }).filter(|end| *end <= cut).collect();
        let mut scan = scan(&bytes[..cut]);
        let found: Vec<_> = scan.by_ref().map(|found| found.map(|(position, header)| position + header.size_bytes())).collect();
        prop_assert_eq!(found, ends.iter().map(|end| Ok(*end)).collect::<Vec<_>>());
        prop_assert_eq!(scan.position(), ends.last().copied().unwrap_or(0));
    }
}

/// Every single change of a byte in a batch whose records go through the path for records of one shape.
#[test]
fn every_byte_of_a_run_of_like_records_counts() {
    let entry = |number: i64| Entry {
        timestamp: NOW + number,
        key: Some(b"key".to_vec()),
        value: Some(vec![b'v'; 5]),
        headers: Vec::new(),
    };
    let batch = build(Codec::None, &(0..70).map(entry).collect::<Vec<_>>());
    for place in HEADER_BYTES..batch.len() {
        for bit in 0..8 {
            let mut damaged = batch.clone();
            damaged[place] ^= 1 << bit;
            seal(&mut damaged);
            check_against_model(&damaged).expect("the model agrees");
        }
    }
}

/// The 65th offset delta has two bytes. A record of the size of those before it, with the first of them in its place, is
/// what counting in one byte would expect.
#[test]
fn a_run_ends_where_the_offset_delta_needs_another_byte() {
    let entry = Entry { timestamp: NOW, key: None, value: Some(vec![b'v'; 5]), headers: Vec::new() };
    let good = build(Codec::None, &vec![entry.clone(); 65]);
    check_against_model(&good).expect("the model agrees");
    let mut forged = build(Codec::None, &vec![entry; 64]);
    let last = forged[forged.len() - 12..].to_vec();
    assert_eq!(last[..5], [22, 0, 0, 126, 1], "length, attributes, timestamp and offset delta, no key");
    forged.extend_from_slice(&last);
    let place = forged.len() - 9;
    forged[place] = 128;
    forged[57..61].copy_from_slice(&65i32.to_be_bytes());
    forged[23..27].copy_from_slice(&64i32.to_be_bytes());
    seal(&mut forged);
    check_against_model(&forged).expect("the model agrees");
    assert!(matches!(validate(&forged, &limits()), Err(BatchError::Record { index: 64, .. })));
}
