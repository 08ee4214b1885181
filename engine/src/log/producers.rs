//! Who wrote to a log and how far: what makes a producer's retries harmless (KIP-98, KIP-360).
//!
//! For each producer id its epoch, the last five batches, and where its open transaction began. [`Producers::check`] decides of a
//! batch, before it is appended, whether it is the next one, one that is there already, or one that must not be there;
//! [`Producers::note`] takes up what was appended. The rules are those of Kafka's `UnifiedLog.analyzeAndValidateProducerState`.
//!
//! A checkpoint tells of a log as it was a moment before its end. What the last appends changed is kept until it is flushed, so
//! that [`Producers::as_of`] can tell what was known then.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::batch::Origin;
use crate::log::producer::{ProducedBatch, Producer, ProducerError, SequencedBatch, Verdict};
use crate::types::{Offset, Timestamp};

/// How the producer was before an append.
#[derive(Clone, Debug)]
enum Before {
    /// Without the newest batch, and with this one as its oldest.
    Batch(Option<SequencedBatch>),
    /// Otherwise.
    Whole(Box<Producer>),
    /// Unknown.
    Nothing,
}

/// What an append changed.
#[derive(Clone, Debug)]
struct Change {
    /// The offset behind what was appended.
    next_offset: Offset,
    id: i64,
    before: Before,
}

/// A producer, and whether it wrote since [`Producers::expire`] last looked.
#[derive(Clone, Copy, Debug)]
struct Kept {
    producer: Producer,
    wrote: bool,
}

/// Everyone who wrote to a log.
#[derive(Clone, Debug)]
pub struct Producers {
    kept: FxHashMap<i64, Kept>,
    /// What the appends at the log's end changed, oldest first.
    changes: VecDeque<Change>,
    /// From here on every change is known.
    changes_from: Offset,
}

impl Default for Producers {
    fn default() -> Producers {
        Producers::new(Vec::new(), Offset::ZERO)
    }
}

impl Producers {
    /// The producers of a log that ends at `end`.
    pub fn new(producers: Vec<Producer>, end: Offset) -> Producers {
        let kept = producers.into_iter().map(|producer| (producer.id, Kept { producer, wrote: false }));
        Producers { kept: kept.collect(), changes: VecDeque::new(), changes_from: end }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// One of them.
    pub fn get(&self, id: i64) -> Option<&Producer> {
        self.kept.get(&id).map(|kept| &kept.producer)
    }

    /// All of them, by id.
    pub fn to_vec(&self) -> Vec<Producer> {
        let mut producers: Vec<Producer> = self.kept.values().map(|kept| kept.producer).collect();
        producers.sort_unstable_by_key(|producer| producer.id);
        producers
    }

    /// Decides of a batch that is to be appended.
    pub fn check(&self, sent: &ProducedBatch, origin: Origin) -> Result<Verdict, ProducerError> {
        let Some(Kept { producer, .. }) = self.kept.get(&sent.id).filter(|_| sent.marker.is_none()) else {
            return Ok(Verdict::Append);
        };
        if origin == Origin::Client
            && let Some(batch) = producer.find(sent)
        {
            return Ok(Verdict::Duplicate(batch));
        }
        producer.check(sent, origin).map(|()| Verdict::Append)
    }

    /// Takes up a batch that is in the log now. What it changed is remembered, where `undoable`, until [`Producers::settle`] is
    /// told that it need not be.
    pub fn note(&mut self, batch: &ProducedBatch, undoable: bool) {
        let mut is_new = false;
        let kept = self.kept.entry(batch.id).or_insert_with(|| {
            is_new = true;
            Kept { producer: Producer::new(batch.id), wrote: true }
        });
        kept.wrote = true;
        let producer = &mut kept.producer;
        let only_adds = batch.marker.is_none()
            && producer.epoch == batch.epoch
            && (!batch.is_transactional || producer.transaction_start.is_some())
            && producer.last_batch().is_some_and(|last| last.timestamp == producer.last_timestamp);
        let mut before = match (is_new, only_adds) {
            (true, _) => Before::Nothing,
            (false, false) if undoable => Before::Whole(Box::new(*producer)),
            (false, _) => Before::Batch(None),
        };
        producer.begin_epoch(batch.epoch);
        producer.last_timestamp = batch.max_timestamp;
        match batch.marker {
            Some(coordinator_epoch) => {
                producer.coordinator_epoch = coordinator_epoch;
                producer.transaction_start = None;
            }
            None => {
                let oldest = producer.push(SequencedBatch {
                    last_sequence: batch.last_sequence(),
                    offset_delta: batch.last_offset_delta,
                    last_offset: batch.base_offset + i64::from(batch.last_offset_delta),
                    timestamp: batch.max_timestamp,
                });
                if let Before::Batch(gone) = &mut before {
                    *gone = oldest;
                }
                if batch.is_transactional {
                    producer.transaction_start.get_or_insert(batch.base_offset);
                }
            }
        }
        if undoable {
            self.changes.push_back(Change { next_offset: batch.next_offset(), id: batch.id, before });
        } else {
            self.changes.clear();
            self.changes_from = batch.next_offset();
        }
    }

    /// Takes up batches that need not be undone.
    pub fn extend(&mut self, batches: impl IntoIterator<Item = ProducedBatch>) {
        batches.into_iter().for_each(|batch| self.note(&batch, false));
    }

    /// What was changed before `offset` need not be told any more.
    pub fn settle(&mut self, offset: Offset) {
        while self.changes.front().is_some_and(|change| change.next_offset <= offset) {
            self.changes.pop_front();
        }
        self.changes_from = self.changes_from.max(offset);
    }

    /// Whether [`Producers::as_of`] can tell of `offset`.
    pub fn reaches_back_to(&self, offset: Offset) -> bool {
        offset >= self.changes_from
    }

    /// Everyone as they were when the log ended at `offset`, by id. It was not settled beyond that.
    pub fn as_of(&self, offset: Offset) -> Vec<Producer> {
        assert!(
            self.reaches_back_to(offset),
            "changes before {} are forgotten, {offset} is asked for",
            self.changes_from
        );
        let mut producers = self.to_vec();
        let mut gone = false;
        for change in self.changes.iter().rev().take_while(|change| change.next_offset > offset) {
            // One that expired meanwhile is not told of.
            let Ok(place) = producers.binary_search_by_key(&change.id, |producer| producer.id) else { continue };
            let producer = &mut producers[place];
            match &change.before {
                // It expired and came back since.
                Before::Batch(_) if producer.batches().is_empty() => {}
                Before::Batch(oldest) => {
                    producer.pop(*oldest);
                    producer.last_timestamp = producer.last_batch().expect("it followed another batch").timestamp;
                }
                Before::Whole(before) => *producer = **before,
                Before::Nothing => {
                    *producer = Producer::new(change.id);
                    gone = true;
                }
            }
        }
        if gone {
            producers.retain(|producer| *producer != Producer::new(producer.id));
        }
        producers
    }

    /// Everyone as they were when the log ended at `end`, where `told` is what its files tell of them. More may be known here of those
    /// that wrote before: a snapshot has one batch of each, and it may be gone, with the segments that told of them.
    pub fn cut(&self, end: Offset, told: Vec<Producer>) -> Vec<Producer> {
        let mut producers: FxHashMap<i64, Producer> =
            told.into_iter().map(|producer| (producer.id, producer)).collect();
        for Kept { producer: known, .. } in self.kept.values() {
            let mut known = *known;
            while known.last_batch().is_some_and(|batch| batch.last_offset >= end) {
                known.pop(None);
            }
            let Some(last) = known.last_batch().copied() else { continue };
            if known.batches().len() < self.kept[&known.id].producer.batches().len() {
                known.last_timestamp = last.timestamp;
            }
            known.transaction_start = known.transaction_start.filter(|start| *start < end);
            let same = |told: &Producer| {
                told.epoch == known.epoch && told.last_batch().map(|batch| batch.last_offset) == Some(last.last_offset)
            };
            match producers.get_mut(&known.id) {
                Some(told) if same(told) && known.batches().len() > told.batches().len() => {
                    told.remember_batches_of(&known);
                }
                Some(_) => {}
                None => drop(producers.insert(known.id, known)),
            }
        }
        let mut producers: Vec<Producer> = producers.into_values().collect();
        producers.sort_unstable_by_key(|producer| producer.id);
        producers
    }

    /// Forgets those who wrote nothing since this was last called, have no transaction open, and whose last timestamp is
    /// `expiration_ms` old (`producer.id.expiration.ms`); how many. Kafka goes by the timestamp alone, and so forgets who is
    /// writing old records.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        let before = self.kept.len();
        self.kept.retain(|_, kept| {
            let producer = &kept.producer;
            let wrote = std::mem::replace(&mut kept.wrote, false);
            let is_old = now.0.saturating_sub(producer.last_timestamp.0) >= expiration_ms;
            wrote || producer.transaction_start.is_some() || !is_old
        });
        before - self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{BatchBuilder, BatchHeader, Codec};
    use crate::log::producer::keep_last;

    fn batch(id: i64, epoch: i16, sequence: i32, records: i32) -> ProducedBatch {
        ProducedBatch {
            id,
            epoch,
            base_sequence: sequence,
            last_offset_delta: records - 1,
            base_offset: Offset::ZERO,
            max_timestamp: Timestamp(1_000),
            is_transactional: false,
            marker: None,
        }
    }

    /// A log's end, and its producers.
    #[derive(Default)]
    struct Log {
        end: i64,
        producers: Producers,
    }

    impl Log {
        fn append(&mut self, batch: &ProducedBatch) -> Result<i64, ProducerError> {
            match self.producers.check(batch, Origin::Client)? {
                Verdict::Duplicate(batch) => Ok(batch.base_offset().0),
                Verdict::Append => {
                    let base = self.end;
                    self.producers.note(&ProducedBatch { base_offset: Offset(base), ..*batch }, true);
                    self.end += i64::from(batch.last_offset_delta) + 1;
                    Ok(base)
                }
            }
        }

        fn sends(&mut self, epoch: i16, sequence: i32, records: i32) -> Result<i64, ProducerError> {
            self.append(&batch(7, epoch, sequence, records))
        }
    }

    fn is_out_of_order(outcome: Result<i64, ProducerError>) -> bool {
        matches!(outcome, Err(ProducerError::OutOfOrderSequence { .. }))
    }

    #[test]
    fn the_last_five_batches_are_known_again_and_older_ones_are_out_of_order() {
        let mut log = Log::default();
        for number in 0..7 {
            assert_eq!(log.sends(0, number * 10, 10), Ok(i64::from(number) * 10));
        }
        for number in 2..7 {
            assert_eq!(log.sends(0, number * 10, 10), Ok(i64::from(number) * 10), "sent again");
        }
        assert!(is_out_of_order(log.sends(0, 10, 10)), "the sixth from the end");
        assert!(is_out_of_order(log.sends(0, 60, 9)), "the same first sequence with another last");
        assert!(is_out_of_order(log.sends(0, 80, 1)), "a batch is missing");
        assert_eq!((log.sends(0, 70, 1), log.end), (Ok(70), 71));
    }

    #[test]
    fn sequences_wrap_around_inside_a_batch_and_between_two() {
        let mut log = Log::default();
        assert_eq!(log.sends(0, i32::MAX - 1, 2), Ok(0));
        assert!(is_out_of_order(log.sends(0, 1, 1)));
        assert_eq!(log.sends(0, 0, 1), Ok(2), "0 follows on the greatest");
        let mut log = Log::default();
        assert_eq!(log.sends(0, i32::MAX - 1, 4), Ok(0));
        assert_eq!(log.producers.get(7).expect("it wrote").last_sequence(), 1);
        assert_eq!(log.sends(0, i32::MAX - 1, 4), Ok(0), "sent again");
        assert_eq!(log.sends(0, 2, 1), Ok(4));
    }

    #[test]
    fn an_unknown_producer_may_begin_anywhere_and_a_new_epoch_at_zero() {
        let mut log = Log::default();
        assert_eq!(log.sends(3, 500, 1), Ok(0));
        assert_eq!(log.sends(2, 501, 1), Err(ProducerError::InvalidEpoch { id: 7, epoch: 2, current: 3 }));
        assert!(is_out_of_order(log.sends(4, 501, 1)));
        assert_eq!(log.sends(4, 0, 1), Ok(1));
        assert_eq!(log.sends(3, 500, 1), Err(ProducerError::InvalidEpoch { id: 7, epoch: 3, current: 4 }));
        assert_eq!(log.sends(4, 0, 1), Ok(1), "sent again");
    }

    #[test]
    fn a_batch_outside_of_an_open_transaction_is_refused_until_its_marker() {
        let mut log = Log::default();
        let open = ProducedBatch { is_transactional: true, ..batch(7, 0, 0, 1) };
        assert_eq!(log.append(&open), Ok(0));
        assert_eq!(log.sends(0, 1, 1), Err(ProducerError::InvalidTransactionState { id: 7 }));
        let mut marker = BatchBuilder::new(Codec::None).producer(7, 0, -1).transactional().control();
        marker.push(Timestamp(9), Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 5]), &[]);
        let marker = marker.build(Offset(1));
        let header = BatchHeader::parse(&marker).expect("a batch");
        log.producers.note(&ProducedBatch::of(&header, &marker).expect("a marker"), true);
        let producer = *log.producers.get(7).expect("it wrote");
        assert_eq!((producer.coordinator_epoch, producer.transaction_start), (5, None));
        assert_eq!(producer.last_timestamp, Timestamp(9));
        assert_eq!(log.sends(0, 1, 1), Ok(1));
    }

    #[test]
    fn a_batch_without_a_producer_is_nobodys_and_a_coordinator_needs_no_sequence() {
        let mut plain = BatchBuilder::new(Codec::None);
        plain.push(Timestamp(9), None, Some(b"value"), &[]);
        let plain = plain.build(Offset::ZERO);
        assert_eq!(ProducedBatch::of(&BatchHeader::parse(&plain).expect("a batch"), &plain), None);
        let mut log = Log::default();
        assert_eq!(log.sends(1, 0, 1), Ok(0));
        let check = |epoch, sequence| log.producers.check(&batch(7, epoch, sequence, 1), Origin::Coordinator);
        assert_eq!(check(1, 17), Ok(Verdict::Append));
        assert!(matches!(check(0, 17), Err(ProducerError::InvalidEpoch { .. })));
    }

    #[test]
    fn who_wrote_nothing_for_long_is_forgotten_but_not_who_writes_old_records() {
        let mut log = Log::default();
        assert_eq!(log.sends(0, 0, 1), Ok(0));
        let open = ProducedBatch { is_transactional: true, ..batch(8, 0, 0, 1) };
        assert_eq!(log.append(&open), Ok(1));
        let now = Timestamp(1_000_000);
        assert_eq!(log.producers.expire(now, 100), 0, "it wrote since the last look");
        assert_eq!(log.producers.expire(now, 10_000_000), 0);
        assert_eq!(log.producers.expire(now, 100), 1);
        assert!(log.producers.get(7).is_none() && log.producers.get(8).is_some());
        assert_eq!(log.producers.as_of(Offset(0)).len(), 0);
        assert_eq!(log.sends(0, 1, 1), Ok(2), "any sequence of one that is not known");
        assert_eq!(log.producers.as_of(Offset(1)).len(), 0);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Send { id: i64, epoch: i16, skip: i32, records: i32, is_transactional: bool },
        Marker { id: i64 },
        Settle(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let send = (0..3i64, prop_oneof![9 => Just(0i16), 1 => Just(1)], 0..8i32, 1..4i32, prop::bool::weighted(0.2));
        prop_oneof![
            12 => send.prop_map(|(id, epoch, skip, records, is_transactional)| {
                Step::Send { id, epoch, skip: if skip < 6 { 0 } else { skip - 7 }, records, is_transactional }
            }),
            1 => (0..3i64).prop_map(|id| Step::Marker { id }),
            1 => any::<u8>().prop_map(Step::Settle),
        ]
    }

    proptest! {
        /// What is told of an earlier end is what was known then, and a replay of what was appended gives the same.
        #[test]
        fn what_was_known_at_any_end_can_be_told_and_comes_back_by_replay(steps in prop::collection::vec(step(), 1..80)) {
            let mut log = Log::default();
            let mut known = vec![(0, Vec::new())];
            let mut settled = 0;
            let mut replayed = Producers::default();
            let mut appended = Vec::new();
            for step in steps {
                match step {
                    Step::Send { id, epoch, skip, records, is_transactional } => {
                        let producer = log.producers.get(id).copied().unwrap_or_else(|| Producer::new(id));
                        let epoch = producer.epoch.max(0) + epoch;
                        let next = if epoch == producer.epoch { producer.last_sequence() + 1 + skip } else { skip.max(0) };
                        let sent = batch(id, epoch, next.max(0), records);
                        let sent = ProducedBatch { max_timestamp: Timestamp(log.end), is_transactional, ..sent };
                        let before = log.end;
                        let _ = log.append(&sent);
                        if log.end > before {
                            appended.push(ProducedBatch { base_offset: Offset(before), ..sent });
                            replayed.note(appended.last().expect("just pushed"), false);
                        }
                    }
                    Step::Marker { id } => {
                        let marker = ProducedBatch {
                            base_offset: Offset(log.end),
                            max_timestamp: Timestamp(log.end),
                            marker: Some(3),
                            ..batch(id, log.producers.get(id).map_or(0, |producer| producer.epoch), -1, 1)
                        };
                        log.producers.note(&marker, true);
                        replayed.note(&marker, false);
                        appended.push(marker);
                        log.end += 1;
                    }
                    Step::Settle(share) => {
                        settled += (log.end - settled) * i64::from(share) / 255;
                        log.producers.settle(Offset(settled));
                    }
                }
                prop_assert_eq!(replayed.to_vec(), log.producers.to_vec());
                let mut last = appended.clone();
                keep_last(&mut last);
                let mut from_last = Producers::default();
                last.iter().for_each(|batch| from_last.note(batch, false));
                prop_assert_eq!(from_last.to_vec(), log.producers.to_vec());
                known.push((log.end, log.producers.to_vec()));
                for (end, then) in known.iter().filter(|(end, _)| *end >= settled) {
                    prop_assert_eq!(&log.producers.as_of(Offset(*end)), then, "as of {}", end);
                }
            }
        }
    }
}
