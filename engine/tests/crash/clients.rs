//! Clients of the store in the simulated machine: they do anything at any time, and tell the model what the store said.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{self, BatchBuilder, Codec, Origin};
use corelog_engine::io::Io;
use corelog_engine::log::Verdict;
use corelog_engine::{
    AppendOptions, Epoch, Error, LogConfig, Offset, ReadRequest, ReadUpTo, Shard, Timestamp, TopicId, TopicPartition,
};

use crate::dice::Dice;
use crate::model::{LogModel, Model, Presence, produced};
use crate::plan::{Plan, is_traced};

/// Producers of one partition, which all clients play.
const PRODUCERS: u64 = 4;

/// What a client needs.
#[derive(Clone)]
pub struct Client {
    pub io: Io,
    pub shard: Rc<Shard>,
    pub model: Rc<RefCell<Model>>,
    pub dice: Rc<Dice>,
    pub plan: Rc<Plan>,
    /// Whether the disk may fail: then errors of the store are expected.
    pub lenient: bool,
}

/// Has the model told of every flushed offset that the store shows.
pub fn observe(shard: &Shard, model: &Rc<RefCell<Model>>) {
    let model = model.clone();
    shard.observe(Rc::new(move |shard, name, offsets| {
        let mut model = model.borrow_mut();
        let Some(log) = model.logs.get_mut(name) else { return };
        if log.cut.is_none() {
            // The append that this may be called from has not told the model yet.
            log.promise(offsets.flushed.0.min(log.end()));
        }
        let durable = shard.log_config(name).is_ok_and(|config| config.is_durable());
        shard.set_high_watermark(name, if durable { offsets.flushed } else { offsets.end });
    }));
}

impl Client {
    /// Does things for ever, or `steps` of them.
    pub async fn run(self, steps: Option<u64>) {
        let mut step = 0;
        while steps.is_none_or(|steps| step < steps) {
            step += 1;
            if self.lenient && self.shard.check().is_err() {
                return self.stays_offline().await;
            }
            self.act().await;
            let pause = self.dice.magnitude(1, 2000);
            self.io.sleep(Duration::from_micros(pause)).await;
        }
    }

    /// Holds the store to it that a fault is final: nothing more is taken or acknowledged, though the disk works again.
    async fn stays_offline(&self) {
        let Some((name, id)) = self.any_partition() else { return };
        let Ok(before) = self.shard.offsets(&name) else { return };
        for _ in 0..5 {
            let (sent, _) = self.batch(None);
            let appended = self.shard.append(&name, &sent, AppendOptions::default());
            assert!(matches!(appended, Err(Error::Offline { .. })), "{name} took a batch offline: {appended:?}");
            if before.flushed < before.end {
                let flushed = self.shard.flushed(&name, before.end).await;
                assert!(flushed.is_err(), "{name} was flushed up to {} offline", before.end);
            }
            self.io.sleep(Duration::from_millis(self.dice.below(200))).await;
            let Some(true) = self.with(&name, id, |log| log.presence == Presence::There) else { return };
            let after = self.shard.offsets(&name).expect("it is there");
            assert_eq!((after.flushed, after.end), (before.flushed, before.end), "{name} moved offline");
        }
    }

    async fn act(&self) {
        let Some((name, id)) = self.any_partition() else { return self.create().await };
        let choice = self.dice.below(1000);
        let _told = Told::begin(format_args!("{choice} on {name}"));
        match choice {
            0..600 => self.append(&name, id).await,
            600..760 => self.read(&name, id).await,
            760..800 => self.delete_records(&name, id).await,
            800..830 => self.truncate(&name, id).await,
            830..860 => self.begin_epoch(&name, id),
            860..890 => self.configure(&name, id),
            890..920 => self.retain(&name, id).await,
            920..950 => self.look_up(&name, id).await,
            950..980 => self.create().await,
            _ => self.delete(&name, id).await,
        }
    }

    fn any_partition(&self) -> Option<(TopicPartition, TopicId)> {
        let model = self.model.borrow();
        let there: Vec<_> = model.logs.iter().filter(|(_, log)| log.presence == Presence::There).collect();
        if there.is_empty() {
            return None;
        }
        let (name, log) = there[self.dice.below(there.len() as u64) as usize];
        Some((name.clone(), log.id))
    }

    fn with<T>(&self, name: &TopicPartition, id: TopicId, change: impl FnOnce(&mut LogModel) -> T) -> Option<T> {
        self.model.borrow_mut().log(name, id).map(change)
    }

    /// Panics where the error is not one that the store may answer with just now.
    fn expect<T>(&self, what: &str, outcome: Result<T, Error>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(Error::UnknownPartition(_) | Error::Overloaded(_) | Error::OffsetOutOfRange { .. }) => None,
            Err(error) if self.lenient => {
                assert!(!matches!(error, Error::Corrupt { .. }), "{what}: {error}");
                None
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }

    pub async fn create(&self) {
        let name = TopicPartition::new("topic", self.dice.below(self.plan.partitions) as i32);
        if self.model.borrow().logs.contains_key(&name) {
            return;
        }
        let id = TopicId(uuid::Uuid::from_u128(u128::from(self.io.random()) << 32 | u128::from(self.io.random())));
        let config = self.plan.log_config(&self.dice);
        self.model.borrow_mut().logs.insert(name.clone(), LogModel::new(id, config.clone()));
        match self.shard.create(&name, id, config).await {
            Ok(()) => drop(self.with(&name, id, |log| log.presence = Presence::There)),
            Err(error) => drop(self.expect::<()>("create", Err(error))),
        }
    }

    async fn delete(&self, name: &TopicPartition, id: TopicId) {
        self.with(name, id, |log| log.presence = Presence::Deleting);
        let deleted = self.shard.delete(name).await;
        if self.expect("delete", deleted).is_some() {
            self.model.borrow_mut().logs.remove(name);
        }
    }

    /// A batch to send to a log, and the timestamps of its records: of no producer, or of one that goes on, comes back with what it
    /// sent before, leaves something out, or has been somebody else meanwhile.
    fn next_batch(&self, log: &LogModel) -> (Rc<[u8]>, Vec<i64>) {
        if self.dice.percent(50) {
            return self.batch(None);
        }
        let id = self.dice.below(PRODUCERS) as i64;
        let Some(producer) = log.producers.get(id).copied() else {
            let first = self.dice.pick(&[0, 0, 7, i32::MAX - 1]);
            return self.batch(Some((id, 0, first)));
        };
        let next = producer.last_sequence().wrapping_add(1) & i32::MAX;
        match self.dice.below(100) {
            0..75 => self.batch(Some((id, producer.epoch, next))),
            75..88 => {
                let again = self.dice.below(producer.batches().len() as u64) as usize;
                let base = producer.batches()[again].base_offset();
                match log.batches.iter().find(|batch| batch.base == base.0) {
                    Some(batch) => (batch.sent.clone(), batch.times.clone()),
                    None => self.batch(None),
                }
            }
            88..92 => self.batch(Some((id, producer.epoch, next.saturating_add(3)))),
            92..96 => self.batch(Some((id, producer.epoch + 1, self.dice.pick(&[0, 0, 5])))),
            _ => self.batch(Some((id, producer.epoch - 1, next))),
        }
    }

    /// A batch, of this producer, epoch and first sequence, and the timestamps of its records.
    fn batch(&self, producer: Option<(i64, i16, i32)>) -> (Rc<[u8]>, Vec<i64>) {
        let (records, value_bytes) = self.plan.batch(&self.dice);
        let now = self.io.unix_time().0;
        let mut builder = BatchBuilder::new(self.dice.pick(&[Codec::None, Codec::None, Codec::Lz4]));
        if let Some((id, epoch, sequence)) = producer {
            builder = builder.producer(id, epoch.max(0), sequence);
        }
        let mut times = Vec::new();
        let mut value = vec![0; value_bytes as usize];
        for _ in 0..records {
            let time = match self.dice.below(20) {
                0 => now - self.dice.below(100_000) as i64,
                1 => now + self.dice.below(1000) as i64,
                _ => now,
            };
            let salt = self.dice.any();
            let mut word = salt;
            for bytes in value.chunks_mut(8) {
                word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(salt | 1);
                bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
            }
            builder.push(Timestamp(time), None, Some(&value), &[]);
            times.push(time);
        }
        (builder.build(Offset::ZERO).into(), times)
    }

    pub async fn append(&self, name: &TopicPartition, id: TopicId) {
        let mut next = None;
        for _ in 0..self.plan.burst(&self.dice) {
            let options = AppendOptions { epoch: Epoch::NONE, ..AppendOptions::default() };
            // The partition may have been deleted and made anew while this client was waiting.
            if self.with(name, id, |log| log.presence) != Some(Presence::There) {
                return;
            }
            let (sent, times) = self.with(name, id, |log| self.next_batch(log)).expect("just seen");
            let produced = produced(&sent);
            let verdict = produced.map(|batch| self.with(name, id, |log| log.producers.check(&batch, Origin::Client)));
            let verdict = verdict.flatten().unwrap_or(Ok(Verdict::Append));
            match self.shard.append(name, &sent, options) {
                Ok(appended) if appended.is_duplicate => {
                    let Ok(Verdict::Duplicate(first)) = verdict else { panic!("{name}: {appended:?} is {verdict:?}") };
                    assert_eq!(appended.base_offset, first.base_offset(), "{name}");
                    assert_eq!(appended.next_offset - appended.base_offset, times.len() as i64, "{name}");
                    next = next.max(Some(appended.next_offset));
                }
                Ok(appended) => {
                    assert_eq!(verdict, Ok(Verdict::Append), "{name} took {produced:?}");
                    self.with(name, id, |log| log.appended(&appended, sent, times));
                    next = Some(appended.next_offset);
                }
                Err(Error::Producer(error)) => assert_eq!(verdict, Err(error), "{name} refused {produced:?}"),
                Err(Error::Overloaded(_) | Error::DiskFull { .. }) => {
                    self.shard.room().await;
                    self.io.sleep(Duration::from_micros(100)).await;
                }
                Err(error) => {
                    self.expect::<()>("append", Err(error));
                    return;
                }
            }
            if self.dice.percent(10) {
                self.io.yield_now().await;
            }
        }
        if let Some(next) = next
            && self.dice.percent(70)
        {
            self.wait_flushed(name, id, next).await;
        }
    }

    /// Waits until what was appended is flushed, and holds the store to it.
    pub async fn wait_flushed(&self, name: &TopicPartition, id: TopicId, next: Offset) {
        let cuts = self.with(name, id, |log| log.cuts);
        let flushed = self.shard.flushed(name, next).await;
        if self.expect("flush", flushed).is_some() && self.with(name, id, |log| log.cuts) == cuts {
            self.with(name, id, |log| {
                if log.cut.is_none() {
                    log.promise(next.0)
                }
            });
        }
    }

    async fn read(&self, name: &TopicPartition, id: TopicId) {
        let Ok(before) = self.shard.offsets(name) else { return };
        let Some(cuts) = self.with(name, id, |log| log.cuts) else { return };
        let up_to = self.dice.pick(&[ReadUpTo::HighWatermark, ReadUpTo::End]);
        let visible = if up_to == ReadUpTo::End { before.end } else { before.high_watermark };
        let mut from = Offset(before.start.0 + self.dice.below((visible - before.start) as u64 + 1) as i64);
        let bytes_max = self.dice.magnitude(1, 2 << 20) as usize;
        for _ in 0..self.dice.magnitude(1, 8) {
            let request = ReadRequest { from, bytes_max, at_least_one: true, up_to };
            let read = self.shard.read(name, request).await;
            let Some(read) = self.expect("read", read) else { return };
            let mut model = self.model.borrow_mut();
            let Some(log) = model.log(name, id).filter(|log| log.cuts == cuts && log.cut.is_none()) else { return };
            if from < visible && from.0 >= log.start {
                assert!(read.bytes > 0, "{name}: nothing was read from {from}, {visible} is visible");
            }
            compare(name, log, &read.to_vec(), from.0, read.next_offset.0);
            from = read.next_offset;
        }
    }

    async fn delete_records(&self, name: &TopicPartition, id: TopicId) {
        let Ok(offsets) = self.shard.offsets(name) else { return };
        let range = (offsets.high_watermark - offsets.start) as u64;
        let before = Offset(offsets.start.0 + self.dice.below(range + 1) as i64);
        if self.with(name, id, |log| log.start_max = log.start_max.max(before.0)).is_none() {
            return;
        }
        let deleted = self.shard.delete_records(name, before).await;
        if let Some(start) = self.expect("delete records", deleted) {
            self.with(name, id, |log| log.start = log.start.max(start.0));
        }
    }

    async fn retain(&self, name: &TopicPartition, id: TopicId) {
        let retained = self.shard.apply_retention(name).await;
        if let Some(start) = self.expect("retention", retained) {
            self.with(name, id, |log| {
                log.start = log.start.max(start.0);
                log.start_max = log.start_max.max(log.start);
            });
        }
    }

    async fn truncate(&self, name: &TopicPartition, id: TopicId) {
        let Ok(offsets) = self.shard.offsets(name) else { return };
        let end = Offset(offsets.start.0 + self.dice.below((offsets.end - offsets.start) as u64 + 1) as i64);
        let begun = self.with(name, id, |log| {
            let free = log.cut.is_none();
            if free {
                log.cut = Some(end.0);
            }
            free
        });
        if begun != Some(true) {
            return;
        }
        let truncated = self.shard.truncate(name, end).await;
        let truncated = self.expect("truncate", truncated);
        let producers = self.shard.producers(name);
        self.with(name, id, |log| match truncated {
            Some(end) => {
                log.truncated(end.0);
                if let Ok(producers) = producers {
                    log.take_producers(name, end.0, producers);
                }
            }
            // It may be done in part: what a crash leaves will tell.
            None if self.shard.check().is_err() => {}
            None => log.cut = None,
        });
        // What was decided about the epoch is decided again by whoever cut the log.
        let epoch = self.shard.offsets(name).map(|offsets| offsets.epoch.0);
        self.with(name, id, |log| log.epoch = epoch.unwrap_or(log.epoch));
    }

    fn begin_epoch(&self, name: &TopicPartition, id: TopicId) {
        let Some(epoch) =
            self.with(name, id, |log| if log.cut.is_none() { Some(log.epoch + 1) } else { None }).flatten()
        else {
            return;
        };
        if self.expect("begin an epoch", self.shard.set_epoch(name, Epoch(epoch))).is_some() {
            self.with(name, id, |log| log.epoch = epoch);
        }
    }

    fn configure(&self, name: &TopicPartition, id: TopicId) {
        let config: LogConfig = self.plan.log_config(&self.dice);
        if self.expect("configure", self.shard.configure(name, config.clone())).is_some() {
            self.with(name, id, |log| log.configured(config));
        }
    }

    /// Looks a time up while others append: what is found must be in the log.
    async fn look_up(&self, name: &TopicPartition, id: TopicId) {
        let time = self.io.unix_time().0 - self.dice.below(2000) as i64;
        let cuts = self.with(name, id, |log| log.cuts);
        let found = self.shard.offset_for_timestamp(name, Timestamp(time)).await;
        let Some(Some((offset, at, _))) = self.expect("look a time up", found) else { return };
        if self.with(name, id, |log| log.cuts) != cuts {
            return;
        }
        self.with(name, id, |log| {
            if log.cut.is_none() && offset.0 >= log.start {
                let batch = log.batch_of(offset.0).expect("the offset was given out");
                assert_eq!(batch.times[(offset.0 - batch.base) as usize], at.0, "{name} at {offset}");
                assert!(at.0 >= time);
            }
        });
    }
}

/// Says when something begins and ends, where that is asked for.
struct Told(Option<String>);

impl Told {
    fn begin(what: std::fmt::Arguments) -> Told {
        let what = is_traced().then(|| what.to_string());
        what.iter().for_each(|what| eprintln!("begins: {what}"));
        Told(what)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.iter().for_each(|what| eprintln!("ends: {what}"));
    }
}

/// Compares what was read from `from` on with what was appended there.
pub fn compare(name: &TopicPartition, log: &LogModel, bytes: &[u8], from: i64, next: i64) {
    let mut at = from;
    let mut ends = 0;
    for found in batch::scan(bytes) {
        let (position, header) = found.unwrap_or_else(|error| panic!("{name}: {error} was read at {at}"));
        let stored = &bytes[position..position + header.size_bytes()];
        ends = position + header.size_bytes();
        let expected = log.batch_of(at).unwrap_or_else(|| panic!("{name}: {at} was read, the end is {}", log.end()));
        assert!(
            expected.is_stored_as(stored),
            "{name}: what is read at {at} is {header:?}, appended were {} bytes at {} in epoch {}",
            expected.sent.len(),
            expected.base,
            expected.epoch
        );
        at = expected.next;
    }
    assert_eq!(ends, bytes.len(), "{name}: part of a batch was read at {at}");
    assert_eq!(at, next, "{name}: the read says that it goes on elsewhere");
}
