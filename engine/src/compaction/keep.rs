//! What is kept of one batch (Kafka's `Cleaner.shouldRetainRecord`, `MemoryRecords.filterTo`; tombstones by KIP-534).

use crate::batch::{self, BatchBuilder, BatchError, BatchHeader, TimestampType, emptied};
use crate::compaction::{KeyMap, OUTPUT_BYTES_MAX};
use crate::types::{Offset, Timestamp};

/// By what a record is judged.
pub struct Rules<'a> {
    /// The newest offset of each key.
    pub map: &'a KeyMap,
    /// The time.
    pub now: Timestamp,
    /// `delete.retention.ms`: how long a tombstone stays after the compaction that first saw it.
    pub delete_retention_ms: u64,
}

/// What is kept of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kept {
    /// All of it, as it is.
    Whole,
    /// This in its place: some of its records, or the mark of when its tombstones may go.
    Some(Vec<u8>),
    /// No record; this is the batch that stands for it where its range has to stay.
    Nothing(Vec<u8>),
}

/// What is kept of `batch`, one whole batch whose checksum was verified.
///
/// A record stays where the map does not know a newer one of its key, and what is behind the map's end stays as it is. A tombstone goes
/// once its batch's delete horizon is past; the first compaction that sees it sets that. A record without a key goes. Control records
/// stay, and so do tombstones of transactions, of which nobody knows here whether they were committed.
///
/// # Errors
/// Where its records cannot be read.
pub fn keep(batch: &[u8], rules: &Rules<'_>) -> Result<Kept, BatchError> {
    let header = BatchHeader::parse(batch)?;
    if header.base_offset >= rules.map.end() || header.is_control() {
        return Ok(Kept::Whole);
    }
    let horizon = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
    let is_past = !header.is_transactional() && horizon.is_some_and(|horizon| rules.now >= horizon);
    let records = batch::records(batch, OUTPUT_BYTES_MAX)?;
    let (mut kept, mut has_tombstones) = (Vec::new(), false);
    for record in records.iter() {
        let record = record?;
        let stays = match record.key {
            None => false,
            Some(key) => !rules.map.is_superseded(key, record.offset) && (record.value.is_some() || !is_past),
        };
        if record.offset >= rules.map.end() || stays {
            has_tombstones |= record.value.is_none();
            kept.push(record);
        }
    }
    if kept.is_empty() {
        return Ok(Kept::Nothing(emptied(&header)));
    }
    let is_new = has_tombstones && horizon.is_none() && !header.is_transactional() && {
        // Where the map ends inside the batch, older records of some keys are still there when this is done.
        header.next_offset() <= rules.map.end()
    };
    if kept.len() as i64 == i64::from(header.record_count) && !is_new {
        return Ok(Kept::Whole);
    }
    let retention_ms = i64::try_from(rules.delete_retention_ms).unwrap_or(i64::MAX);
    let horizon = if is_new { Some(Timestamp(rules.now.0.saturating_add(retention_ms))) } else { horizon };
    let mut builder = like(&header, horizon)?;
    for record in &kept {
        let delta = i32::try_from(record.offset - header.base_offset).expect("a record's delta has 32 bits");
        let headers: Vec<_> = record.headers.iter().map(|header| (header.key, header.value)).collect();
        builder.push_at(delta, record.timestamp, record.key, record.value, &headers);
    }
    Ok(Kept::Some(builder.build(header.base_offset)))
}

/// A batch with everything of another one but its records.
fn like(header: &BatchHeader, horizon: Option<Timestamp>) -> Result<BatchBuilder, BatchError> {
    let mut builder = BatchBuilder::new(header.codec()?)
        .leader_epoch(header.leader_epoch)
        .producer(header.producer_id, header.producer_epoch, header.base_sequence)
        .last_offset_delta(header.last_offset_delta);
    if header.is_transactional() {
        builder = builder.transactional();
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        builder = builder.log_append_time(header.max_timestamp);
    }
    Ok(match horizon {
        Some(horizon) => builder.delete_horizon(horizon),
        None => builder,
    })
}

/// Whether a batch is the last one of an active producer: it stays, without records if need be, so that a log that is read from its
/// start gives the same producers.
pub(crate) fn is_last_of_producer(header: &BatchHeader, last_offsets: &[(i64, Offset)]) -> bool {
    header.has_producer() && last_offsets.contains(&(header.producer_id, header.last_offset()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Codec, records, verify_crc};
    use crate::types::Epoch;

    const DAY_MS: u64 = 86_400_000;

    fn rules(map: &KeyMap, now: i64) -> Rules<'_> {
        Rules { map, now: Timestamp(now), delete_retention_ms: DAY_MS }
    }

    fn map_of(batches: &[&[u8]]) -> KeyMap {
        let mut map = KeyMap::new(Offset(0), 1 << 20);
        batches.iter().for_each(|batch| assert!(map.add(batch).expect("good")));
        map
    }

    /// Keys and values of one letter; `-` for none.
    fn batch(codec: Codec, base: i64, records: &str) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec).producer(5, 2, 40).leader_epoch(Epoch(3));
        for (place, record) in records.split(' ').enumerate() {
            let part = |at: usize| Some(&record.as_bytes()[at..=at]).filter(|part| part != b"-");
            builder.push(Timestamp(1000 + place as i64), part(0), part(1), &[(b"h", Some(b"1"))]);
        }
        builder.build(Offset(base))
    }

    fn offsets_of(batch: &[u8]) -> Vec<i64> {
        let read = records(batch, 1 << 20).expect("good");
        read.iter().map(|record| record.expect("good").offset.0).collect()
    }

    #[test]
    fn the_newest_of_each_key_stays_with_its_offset_time_and_headers_in_every_codec() {
        for codec in Codec::ALL {
            let (old, new) = (batch(codec, 0, "a1 b1 a2 c1"), batch(codec, 4, "b2"));
            let map = map_of(&[&old, &new]);
            let Kept::Some(kept) = keep(&old, &rules(&map, 0)).expect("good") else { panic!("some are kept") };
            assert!(verify_crc(&kept));
            assert_eq!(offsets_of(&kept), [2, 3]);
            let (header, before) = (BatchHeader::parse(&kept).expect("good"), BatchHeader::parse(&old).expect("good"));
            assert_eq!((header.base_offset, header.next_offset()), (before.base_offset, before.next_offset()));
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (5, 2, 40));
            assert_eq!((header.codec(), header.leader_epoch), (Ok(codec), Epoch(3)));
            assert_eq!(header.max_timestamp, Timestamp(1003));
            let read = records(&kept, 1 << 20).expect("good");
            let first = read.iter().next().expect("one").expect("good");
            assert_eq!((first.timestamp, first.value), (Timestamp(1002), Some(&b"2"[..])));
            assert_eq!(first.headers.iter().next().expect("one").key, b"h");
            assert_eq!(keep(&new, &rules(&map, 0)), Ok(Kept::Whole));
        }
    }

    #[test]
    fn what_has_nothing_left_keeps_its_range_and_its_producer() {
        let (old, new) = (batch(Codec::Zstd, 0, "a1 a2"), batch(Codec::None, 2, "a3"));
        let map = map_of(&[&old, &new]);
        let Kept::Nothing(empty) = keep(&old, &rules(&map, 0)).expect("good") else { panic!("nothing is kept") };
        let header = BatchHeader::parse(&empty).expect("good");
        assert!(verify_crc(&empty));
        assert_eq!((empty.len(), header.record_count, header.next_offset()), (61, 0, Offset(2)));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (5, 2, 40));
        assert_eq!((header.max_timestamp, header.leader_epoch), (Timestamp(1001), Epoch(3)));
        assert!(is_last_of_producer(&header, &[(5, Offset(1))]) && !is_last_of_producer(&header, &[(5, Offset(2))]));
        assert_eq!(keep(&empty, &rules(&map, 0)), Ok(Kept::Nothing(empty.clone())), "and again");
    }

    #[test]
    fn a_tombstone_is_stamped_first_and_goes_when_its_time_has_come() {
        let stone = batch(Codec::Gzip, 0, "a- b1");
        let map = map_of(&[&stone]);
        let Kept::Some(stamped) = keep(&stone, &rules(&map, 50)).expect("good") else { panic!("it is stamped") };
        let header = BatchHeader::parse(&stamped).expect("good");
        assert!(header.attributes.has_delete_horizon());
        assert_eq!(header.base_timestamp, Timestamp(50 + DAY_MS as i64));
        let times: Vec<_> =
            records(&stamped, 1 << 20).expect("good").iter().map(|r| r.expect("good").timestamp).collect();
        assert_eq!(times, [Timestamp(1000), Timestamp(1001)]);
        let before = 49 + DAY_MS as i64;
        assert_eq!(keep(&stamped, &rules(&map, before)), Ok(Kept::Whole));
        let Kept::Some(left) = keep(&stamped, &rules(&map, before + 1)).expect("good") else { panic!("it goes") };
        assert_eq!(offsets_of(&left), [1]);
    }

    #[test]
    fn what_the_map_does_not_reach_stays_and_its_tombstones_are_not_stamped() {
        let (first, second) = (batch(Codec::None, 0, "a1"), batch(Codec::None, 1, "a- a2 --"));
        let map = map_of(&[&first]);
        assert_eq!(keep(&second, &rules(&map, 0)), Ok(Kept::Whole));
    }

    #[test]
    fn records_without_a_key_go_and_control_records_stay() {
        let keyless = batch(Codec::None, 0, "-1 a1");
        let map = map_of(&[&keyless]);
        let Kept::Some(left) = keep(&keyless, &rules(&map, 0)).expect("good") else { panic!("one is left") };
        assert_eq!(offsets_of(&left), [1]);
        let mut builder = BatchBuilder::new(Codec::None).producer(1, 0, -1).transactional().control();
        builder.push(Timestamp(0), Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[]);
        let (one, other) = (builder.clone().build(Offset(0)), builder.build(Offset(1)));
        let map = map_of(&[&one, &other]);
        assert_eq!(keep(&one, &rules(&map, i64::MAX)), Ok(Kept::Whole));
    }
}
