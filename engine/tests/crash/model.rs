//! What the store must hold: every partition as plain lists, changed when the store says that it did something.

use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_engine::batch::{BatchHeader, HEADER_BYTES, verify_crc};
use corelog_engine::log::{ProducedBatch, Producer, Producers};
use corelog_engine::{Appended, LogConfig, Offset, Timestamp, TopicId, TopicPartition};

/// A batch as it was appended.
pub struct Batch {
    pub base: i64,
    pub next: i64,
    pub epoch: i32,
    /// As the producer sent it.
    pub sent: Rc<[u8]>,
    /// The timestamp of each record, as a reader sees it.
    pub times: Vec<i64>,
    pub log_append_time: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Being created: it may be there after a crash.
    Creating,
    There,
    /// Being deleted: it may be gone after a crash.
    Deleting,
}

/// One partition.
pub struct LogModel {
    pub id: TopicId,
    pub config: LogConfig,
    pub presence: Presence,
    /// Contiguous, from at or before the log's start to its end.
    pub batches: Vec<Batch>,
    /// All batches of producers that are in the log or were before its start.
    pub produced: Vec<ProducedBatch>,
    /// What they make of the producers.
    pub producers: Producers,
    /// Whether more may have happened than the store can know: it was cut, or records went before they were flushed.
    pub forgot: bool,
    /// Promised to survive a power cut.
    pub flushed: i64,
    /// Promised not to come back.
    pub start: i64,
    /// How far the start may have moved.
    pub start_max: i64,
    /// A truncation that is under way.
    pub cut: Option<i64>,
    /// How often it was truncated.
    pub cuts: u64,
    pub epoch: i32,
    /// Whether it had settings by which old records are deleted.
    pub expires: bool,
}

impl LogModel {
    pub fn new(id: TopicId, config: LogConfig) -> LogModel {
        let presence = Presence::Creating;
        let (batches, flushed, start, start_max) = (Vec::new(), 0, 0, 0);
        let mut log = LogModel {
            id,
            config: config.clone(),
            presence,
            batches,
            produced: Vec::new(),
            producers: Producers::default(),
            forgot: false,
            flushed,
            start,
            start_max,
            cut: None,
            cuts: 0,
            epoch: -1,
            expires: false,
        };
        log.configured(config);
        log
    }

    pub fn configured(&mut self, config: LogConfig) {
        self.expires |= config.retention_ms.is_some() || config.retention_bytes.is_some();
        self.config = config;
    }

    /// The offset behind the last record.
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next).max(self.start)
    }

    pub fn appended(&mut self, appended: &Appended, sent: Rc<[u8]>, times: Vec<i64>) {
        let (base, next) = (appended.base_offset.0, appended.next_offset.0);
        assert_eq!(base, self.end(), "an offset was given out twice, or left out");
        assert_eq!(next - base, times.len() as i64);
        let log_append_time = appended.log_append_time.map(|time| time.0);
        let times = log_append_time.map_or(times.clone(), |time| vec![time; times.len()]);
        if let Some(mut batch) = produced(&sent) {
            batch.base_offset = appended.base_offset;
            batch.max_timestamp = log_append_time.map_or(batch.max_timestamp, Timestamp);
            self.producers.extend([batch]);
            self.produced.push(batch);
        }
        self.batches.push(Batch { base, next, epoch: self.epoch, sent, times, log_append_time });
    }

    /// Everyone who wrote before `end`.
    pub fn producers_at(&self, end: i64) -> Vec<Producer> {
        let mut producers = Producers::default();
        producers.extend(self.produced.iter().copied().filter(|batch| batch.next_offset().0 <= end));
        producers.to_vec()
    }

    /// Holds `found` to what was appended before `end`, and goes on from there: after a cut the store knows fewer batches of a producer.
    pub fn take_producers(&mut self, name: &TopicPartition, end: i64, found: Vec<Producer>) {
        let mut expected = self.producers_at(end);
        if self.forgot {
            // After a cut the files tell of the producers, and those that wrote only what is deleted may be in none.
            let left = |batch: &&ProducedBatch| batch.base_offset.0 >= self.start && batch.next_offset().0 <= end;
            let wrote = |id| self.produced.iter().filter(left).any(|batch| batch.id == id);
            expected.retain(|producer| wrote(producer.id) || found.iter().any(|other| other.id == producer.id));
            let ids = |producers: &[Producer]| producers.iter().map(|producer| producer.id).collect::<Vec<_>>();
            assert_eq!(ids(&found), ids(&expected), "{name}");
            self.produced.retain(|batch| found.iter().any(|producer| producer.id == batch.id));
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    expected.batches().ends_with(found.batches()) && found.last_batch().is_some(),
                    "{name}: {found:?} is remembered, {expected:?} was appended"
                );
                assert_eq!((found.epoch, found.last_timestamp), (expected.epoch, expected.last_timestamp), "{name}");
            }
        } else {
            assert_eq!(found, expected, "{name} at {end}");
        }
        self.producers = Producers::new(found, Offset(end));
    }

    /// The store says that everything before `offset` is on stable storage.
    pub fn promise(&mut self, offset: i64) {
        assert!(offset <= self.end(), "{offset} is flushed, the end is {}", self.end());
        self.flushed = self.flushed.max(offset);
    }

    pub fn truncated(&mut self, end: i64) {
        while self.batches.last().is_some_and(|last| last.next > end) {
            self.batches.pop();
        }
        assert_eq!(self.end(), end, "a truncation leaves whole batches");
        self.produced.retain(|batch| batch.next_offset().0 <= end);
        self.forgot = true;
        self.flushed = self.flushed.min(end);
        self.cut = None;
        self.cuts += 1;
    }

    /// The earliest end that a crash may leave.
    pub fn end_least(&self) -> i64 {
        match self.cut {
            Some(cut) => {
                let whole = self.batches.iter().rev().find(|batch| batch.next <= cut).map_or(0, |batch| batch.next);
                self.flushed.min(whole)
            }
            None => self.flushed,
        }
    }

    /// The batch that holds `offset`.
    pub fn batch_of(&self, offset: i64) -> Option<&Batch> {
        let after = self.batches.partition_point(|batch| batch.next <= offset);
        self.batches.get(after).filter(|batch| batch.base <= offset)
    }

    /// Takes the log as a crash left it, which was checked.
    pub fn settle(&mut self, start: i64, end: i64) {
        while self.batches.last().is_some_and(|last| last.next > end) {
            self.batches.pop();
        }
        self.batches.retain(|batch| batch.next > start);
        self.produced.retain(|batch| batch.next_offset().0 <= end);
        (self.start, self.start_max, self.flushed, self.cut) = (start, start, end, None);
        self.presence = Presence::There;
        self.expires = false;
        self.configured(self.config.clone());
    }

    /// The first record at or behind the start with a timestamp of at least `time`.
    pub fn first_at(&self, time: i64, start: i64, end: i64) -> Option<(i64, i64)> {
        let records = self.batches.iter().flat_map(|batch| {
            batch.times.iter().enumerate().map(move |(place, time)| (batch.base + place as i64, *time))
        });
        records.into_iter().find(|(offset, at)| *offset >= start && *offset < end && *at >= time)
    }
}

impl Batch {
    /// Whether `stored` is this batch with its offset and epoch.
    pub fn is_stored_as(&self, stored: &[u8]) -> bool {
        let Ok(header) = BatchHeader::parse(stored) else { return false };
        let placed = header.base_offset == Offset(self.base) && header.leader_epoch.0 == self.epoch;
        if !placed || stored.len() != self.sent.len() {
            return false;
        }
        match self.log_append_time {
            None => stored[8..12] == self.sent[8..12] && stored[16..] == self.sent[16..],
            Some(time) => {
                header.max_timestamp.0 == time
                    && verify_crc(stored)
                    && stored[HEADER_BYTES..] == self.sent[HEADER_BYTES..]
            }
        }
    }
}

/// What a batch that is sent says of its producer.
pub fn produced(sent: &[u8]) -> Option<ProducedBatch> {
    ProducedBatch::of(&BatchHeader::parse(sent).expect("a batch of ours"), sent)
}

/// All partitions.
#[derive(Default)]
pub struct Model {
    pub logs: BTreeMap<TopicPartition, LogModel>,
}

impl Model {
    /// The log of this name, if it is still the one with this id.
    pub fn log(&mut self, name: &TopicPartition, id: TopicId) -> Option<&mut LogModel> {
        self.logs.get_mut(name).filter(|log| log.id == id)
    }
}
