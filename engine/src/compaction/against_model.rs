//! Random logs, compacted again and again, against lists of records.

use std::collections::BTreeMap;

use crate::batch::{BatchBuilder, BatchHeader, Codec, records, verify_crc};
use crate::compaction::{Kept, KeyMap, Rules, keep};
use crate::types::{Offset, Timestamp};

const LOGS: u64 = 300;
const RETENTION_MS: u64 = 50;

/// Key, value, and since when a tombstone may go.
type Known = (u8, Option<u64>, Option<i64>);

/// A sequence of numbers (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[derive(Default)]
struct Log {
    batches: Vec<Vec<u8>>,
    model: BTreeMap<i64, Known>,
    end: i64,
    cleaned_to: i64,
}

impl Log {
    fn append(&mut self, dice: &mut Dice) {
        let mut builder = BatchBuilder::new(Codec::ALL[dice.below(5) as usize]);
        let base = self.end;
        for _ in 0..1 + dice.below(6) {
            let key = dice.below(8) as u8;
            let value = (dice.below(4) > 0).then_some(self.end as u64);
            builder.push(Timestamp(self.end), Some(&[key]), value.map(u64::to_le_bytes).as_ref().map(|v| &v[..]), &[]);
            self.model.insert(self.end, (key, value, None));
            self.end += 1;
        }
        self.batches.push(builder.build(Offset(base)));
    }

    /// Compacts as much as fits a map of some size, as lists do it and as batches do it.
    fn compact(&mut self, dice: &mut Dice, now: i64) {
        let mut map = KeyMap::new(Offset(self.cleaned_to), 1 + dice.below(600) as usize);
        for batch in &self.batches {
            let header = BatchHeader::parse(batch).expect("good");
            if header.next_offset().0 > self.cleaned_to && !map.add(batch).expect("good") {
                break;
            }
        }
        let (from, to) = (self.cleaned_to, map.end().0);
        let newest: BTreeMap<u8, i64> = self.model.range(from..to).map(|(offset, known)| (known.0, *offset)).collect();
        self.model.retain(|offset, (key, value, horizon)| {
            let is_old = newest.get(key).is_some_and(|newest| newest > offset);
            let is_past = value.is_none() && horizon.is_some_and(|horizon| now >= horizon);
            *offset >= to || !(is_old || is_past)
        });
        for (_, known) in self.model.range_mut(..to).filter(|(_, known)| known.1.is_none()) {
            known.2.get_or_insert(now + RETENTION_MS as i64);
        }
        let rules = Rules { map: &map, now: Timestamp(now), delete_retention_ms: RETENTION_MS };
        let mut left = Vec::new();
        for batch in &self.batches {
            let (before, kept) = (BatchHeader::parse(batch).expect("good"), keep(batch, &rules).expect("good"));
            let batch = match kept {
                Kept::Whole => batch.clone(),
                Kept::Some(batch) => batch,
                Kept::Nothing(empty) if dice.below(4) == 0 => empty,
                Kept::Nothing(_) => continue,
            };
            let after = BatchHeader::parse(&batch).expect("good");
            assert_eq!((after.base_offset, after.next_offset()), (before.base_offset, before.next_offset()));
            left.push(batch);
        }
        (self.batches, self.cleaned_to) = (left, to);
    }

    fn check(&self, seed: u64) {
        let mut found = BTreeMap::new();
        for batch in &self.batches {
            assert!(verify_crc(batch));
            let batch = records(batch, 1 << 20).expect("good");
            for record in batch.iter() {
                let record = record.expect("good");
                assert_eq!(record.timestamp.0, record.offset.0, "seed {seed}");
                let value = record.value.map(|value| u64::from_le_bytes(value.try_into().expect("8 bytes")));
                let horizon = batch.header().attributes.has_delete_horizon().then_some(batch.header().base_timestamp.0);
                found.insert(
                    record.offset.0,
                    (record.key.expect("a key")[0], value, horizon.filter(|_| value.is_none())),
                );
            }
        }
        assert_eq!(found, self.model, "seed {seed}");
    }
}

#[test]
fn a_log_that_is_compacted_in_parts_is_the_list_that_is() {
    for seed in 0..LOGS {
        let (mut dice, mut log, mut now) = (Dice(seed), Log::default(), 1_000_000);
        for _ in 0..12 {
            for _ in 0..dice.below(12) {
                log.append(&mut dice);
            }
            now += dice.below(40) as i64;
            log.compact(&mut dice, now);
            log.check(seed);
        }
        let mut newest: BTreeMap<u8, Option<u64>> = BTreeMap::new();
        newest.extend(log.model.values().map(|(key, value, _)| (*key, *value)));
        for _ in 0..log.end + 2 {
            now += 1000;
            log.compact(&mut dice, now);
        }
        log.check(seed);
        let alive: BTreeMap<u8, Option<u64>> = log.model.values().map(|(key, value, _)| (*key, *value)).collect();
        newest.retain(|_, value| value.is_some());
        assert_eq!(alive, newest, "seed {seed}: each key once, and no tombstone");
    }
}
