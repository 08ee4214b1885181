//! What was appended, and what of it has to be there.

use std::collections::{BTreeMap, BTreeSet};

/// A record as it was appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub time: i64,
}

/// The batch that a producer sent last.
#[derive(Clone, Debug)]
pub struct Sent {
    pub bytes: Vec<u8>,
    pub base: i64,
    pub next: i64,
}

/// One log.
#[derive(Default)]
pub struct Model {
    /// Whether the partition exists for certain.
    pub created: bool,
    pub records: BTreeMap<i64, Record>,
    /// Everything before this was acknowledged.
    pub flushed: i64,
    pub end: i64,
    /// Promised not to come back; and how far the start may have moved.
    pub start: i64,
    pub start_max: i64,
    /// Records of which a newer one of their key was in the log once, and was cut off.
    pub free: BTreeSet<i64>,
    /// Where a cut that is under way may have ended the log.
    pub cut: Option<i64>,
    /// How often a cut was begun.
    pub cuts: u64,
    pub sent: BTreeMap<i64, Sent>,
    pub next_number: u64,
    pub gone: u64,
}

impl Model {
    pub fn appended(&mut self, base: i64, records: Vec<Record>) {
        assert_eq!(base, self.end, "an offset was given out twice, or left out");
        for record in records {
            self.records.insert(self.end, record);
            self.end += 1;
        }
    }

    /// The log is about to be cut at `to` or a little behind: what is cut may have taken the place of older records already,
    /// of those too that are behind `to` and stay.
    pub fn cutting(&mut self, to: i64) {
        let newest: BTreeMap<&Vec<u8>, i64> = self.records.range(to..).map(|(at, record)| (&record.key, *at)).collect();
        let freed =
            self.records.iter().filter(|(at, record)| newest.get(&record.key).is_some_and(|newest| *at < newest));
        self.free.extend(freed.map(|(at, _)| *at));
        self.flushed = self.flushed.min(to);
        self.cuts += 1;
        self.cut = Some(self.cut.map_or(to, |cut| cut.min(to)));
    }

    pub fn truncated(&mut self, to: i64) {
        self.records.retain(|offset, _| *offset < to);
        self.sent.retain(|_, sent| sent.next <= to);
        (self.end, self.flushed, self.cut) = (to, self.flushed.min(to), None);
    }

    /// A record that was read is one that was appended there.
    pub fn check_record(&self, offset: i64, found: &Record) {
        let appended = self.records.get(&offset);
        assert_eq!(Some(found), appended, "the record at offset {offset}");
    }

    /// Compares all that is left of the log, from `start` to `end`, and goes on with that. Before `tombstones_before` nothing was
    /// appended whose tombstone may be gone already.
    pub fn settle(&mut self, by: &str, start: i64, end: i64, found: &[(i64, Record)], stones_before: i64) {
        assert!(
            end >= self.flushed.min(self.cut.unwrap_or(i64::MAX)),
            "{by}: {} were acknowledged, the end is {end}",
            self.flushed
        );
        assert!(end <= self.end, "{by}: the end is {end}, {} were appended", self.end);
        assert!(
            (self.start..=self.start_max).contains(&start),
            "{by}: the start is {start}, not in {}..={}",
            self.start,
            self.start_max
        );
        assert!(found.windows(2).all(|two| two[0].0 < two[1].0), "{by}: offsets rise");
        assert!(found.iter().all(|(offset, _)| (start..end).contains(offset)), "{by}: a record outside the log");
        found.iter().for_each(|(offset, record)| self.check_record(*offset, record));
        if end < self.end {
            self.records.retain(|offset, _| *offset < end);
            self.sent.retain(|_, sent| sent.next <= end);
        }
        let there: BTreeSet<i64> = found.iter().map(|(offset, _)| *offset).collect();
        let mut newest: BTreeMap<&[u8], (i64, &Record)> = BTreeMap::new();
        for (offset, record) in self.records.range(start..end) {
            newest.insert(&record.key, (*offset, record));
        }
        for (key, (offset, record)) in &newest {
            if there.contains(offset) || self.free.contains(offset) {
                continue;
            }
            let what = format!("{by}: the newest record of key {key:?}, at offset {offset}");
            assert!(record.value.is_none(), "{what}, is gone");
            assert!(record.time < stones_before, "{what}, is a tombstone and gone before its time");
            let older = found.iter().find(|(_, other)| other.key == record.key);
            assert!(older.is_none(), "{what}, is gone, and what it deleted is back: {older:?}");
        }
        let before = self.records.range(start..end).count();
        self.gone += (before - found.len()) as u64;
        // Nothing of it comes back.
        self.records.retain(|offset, _| there.contains(offset));
        self.free.retain(|offset| there.contains(offset));
        (self.start, self.start_max, self.end, self.flushed, self.cut) = (start, start, end, end, None);
    }
}
