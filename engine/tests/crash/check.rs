//! Checks a quiet store against the model: every offset by every way to it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch;
use corelog_engine::io::sim::Simulation;
use corelog_engine::log::decode_snapshot;
use corelog_engine::{
    Epoch, Error, LogConfig, LogOffsets, Offset, ReadRequest, ReadUpTo, Shard, Timestamp, TopicPartition,
};

use crate::clients::compare;
use crate::dice::Dice;
use crate::model::{LogModel, Model, Presence};
use crate::plan::DIR;

/// What the store may have lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing that was appended.
    Nothing,
    /// What was not promised.
    Unpromised,
}

/// Checks a store that was just opened, takes the model to where the store is, and gives the partitions their settings.
#[allow(clippy::await_holding_refcell_ref, reason = "clients come later, and the power may go while it is checked")]
pub async fn check_reopened(shard: &Rc<Shard>, model: &Rc<RefCell<Model>>, loss: Loss, dice: &Dice) {
    let mut there: Vec<_> = shard.partitions();
    there.sort_by(|one, other| one.0.cmp(&other.0));
    let mut model = model.borrow_mut();
    for (name, id) in &there {
        let log = model.logs.get(name).unwrap_or_else(|| panic!("{name} was deleted and is back"));
        assert_eq!(log.id, *id, "{name} is one that was deleted");
    }
    model.logs.retain(|name, log| {
        let is_there = there.iter().any(|(other, _)| other == name);
        assert!(is_there || log.presence != Presence::There, "{name} is gone");
        is_there
    });
    for (name, log) in &mut model.logs {
        let offsets = shard.offsets(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        check_ends(name, log, offsets, loss);
        // What was deleted before it was flushed may have gone without a trace.
        let all_deleted = offsets.start == offsets.end;
        log.forgot |= log.cut.is_some();
        log.settle(offsets.start.0, offsets.end.0);
        let producers = shard.producers(name).expect("it is there");
        let remembered = |log: &LogModel, end: i64| log.producers_at(end) == producers;
        let ends: Vec<i64> = log.produced.iter().map(|batch| batch.next_offset().0).chain([0]).collect();
        let earlier = ends.into_iter().rev().filter(|_| all_deleted && !log.forgot);
        match earlier.into_iter().find(|end| remembered(log, *end)) {
            Some(end) if !remembered(log, offsets.end.0) => log.produced.retain(|batch| batch.next_offset().0 <= end),
            _ => {}
        }
        log.take_producers(name, offsets.end.0, producers);
        log.epoch = offsets.epoch.0;
        shard.set_high_watermark(name, offsets.end);
        check_log(shard, name, log, dice).await;
        shard.configure(name, log.config.clone()).expect("it is there");
    }
}

/// Checks a store in which nothing is going on and everything is visible.
#[allow(clippy::await_holding_refcell_ref, reason = "no client is left")]
pub async fn check_live(shard: &Rc<Shard>, model: &Rc<RefCell<Model>>, dice: &Dice) {
    shard.observe(Rc::new(|_, _, _| {}));
    // Nothing is deleted while it is looked at: neither by what begins now nor by what is under way.
    for (name, log) in &model.borrow().logs {
        assert_eq!(log.presence, Presence::There);
        let config = LogConfig { flush_messages: log.config.flush_messages, ..LogConfig::default() };
        shard.configure(name, config).expect("there");
    }
    shard.io().sleep(Duration::from_millis(200)).await;
    for (name, log) in &mut model.borrow_mut().logs {
        let offsets = shard.offsets(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(offsets.end.0, log.end(), "{name}");
        assert!(offsets.start.0 >= log.start, "{name} begins at {}, before {}", offsets.start, log.start);
        log.start = offsets.start.0;
        assert_eq!(shard.producers(name).expect("it is there"), log.producers.to_vec(), "{name}");
        shard.set_high_watermark(name, offsets.end);
        check_log(shard, name, log, dice).await;
    }
}

fn check_ends(name: &TopicPartition, log: &LogModel, offsets: LogOffsets, loss: Loss) {
    let LogOffsets { start, flushed, end, high_watermark, .. } = offsets;
    assert!(
        start <= flushed && flushed <= end && start <= high_watermark && high_watermark <= end,
        "{name}: {offsets:?}"
    );
    assert!(start.0 >= log.start, "{name}: records before {} were deleted, the log begins at {start}", log.start);
    assert!(start.0 <= log.start_max || log.expires, "{name}: nobody deleted records up to {start}");
    let least = if loss == Loss::Nothing { log.end() } else { log.end_least() };
    assert!(end.0 >= least, "{name}: acknowledged records are missing: the log ends at {end}, not at {least}");
    assert!(end.0 <= log.end(), "{name}: the log ends at {end}, {} was given out", log.end());
    let whole = end == start || log.batches.iter().any(|batch| batch.next == end.0);
    assert!(whole, "{name}: {end} is inside a batch");
}

/// Reads everything from everywhere, and looks everything up.
async fn check_log(shard: &Rc<Shard>, name: &TopicPartition, log: &LogModel, dice: &Dice) {
    let (start, end) = (log.start, log.end());
    let bytes_max = dice.magnitude(1, 4 << 20) as usize;
    let mut from = start;
    while from < end {
        from = read_one(shard, name, log, from, bytes_max).await;
    }
    let step = ((end - start) / 60).max(1);
    let mut at = start;
    while at < end {
        read_one(shard, name, log, at, 1).await;
        at += 1 + dice.below(step as u64 * 2) as i64;
    }
    for outside in [start - 1, end + 1] {
        let request = ReadRequest { from: Offset(outside), bytes_max: 1, at_least_one: true, up_to: ReadUpTo::End };
        let read = shard.read(name, request).await;
        assert!(matches!(read, Err(Error::OffsetOutOfRange { .. })), "{name} was read at {outside}: {read:?}");
    }
    check_times(shard, name, log, dice).await;
    check_epochs(shard, name, log);
}

async fn read_one(shard: &Rc<Shard>, name: &TopicPartition, log: &LogModel, from: i64, bytes_max: usize) -> i64 {
    let request = ReadRequest { from: Offset(from), bytes_max, at_least_one: true, up_to: ReadUpTo::HighWatermark };
    let read = shard.read(name, request).await.unwrap_or_else(|error| panic!("{name} at {from}: {error}"));
    assert!(read.bytes > 0, "{name}: nothing was read at {from} of {}..{}", log.start, log.end());
    compare(name, log, &read.to_vec(), from, read.next_offset.0);
    read.next_offset.0
}

async fn check_times(shard: &Rc<Shard>, name: &TopicPartition, log: &LogModel, dice: &Dice) {
    let (start, end) = (log.start, log.end());
    let live = || {
        log.batches
            .iter()
            .flat_map(|batch| {
                batch.times.iter().enumerate().map(move |(place, time)| (batch.base + place as i64, *time))
            })
            .filter(|(offset, _)| *offset >= start)
    };
    let mut times = vec![0, i64::MAX - 1];
    let count = live().count() as u64;
    for _ in 0..12.min(count) {
        let at = live().nth(dice.below(count) as usize).expect("there are so many").1;
        times.extend([at, at + 1]);
    }
    for time in times {
        let found = shard.offset_for_timestamp(name, Timestamp(time)).await;
        let found =
            found.unwrap_or_else(|error| panic!("{name} at time {time}: {error}")).map(|found| (found.0.0, found.1.0));
        assert_eq!(found, log.first_at(time, start, end), "{name} at time {time}");
    }
    // The store may count records of the first segment that lie before the log's start.
    let max = live().map(|(_, time)| time).max();
    let found = shard.max_timestamp(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected = max.and_then(|max| log.first_at(max, start, end));
    assert_eq!(found.map(|found| (found.0.0, found.1.0)), expected, "the greatest timestamp of {name}");
}

fn check_epochs(shard: &Rc<Shard>, name: &TopicPartition, log: &LogModel) {
    let mut epochs: Vec<i32> = log
        .batches
        .iter()
        .filter(|batch| batch.next > log.start)
        .map(|batch| batch.epoch)
        .filter(|epoch| *epoch >= 0)
        .collect();
    epochs.dedup();
    for epoch in epochs {
        let after = log.batches.iter().find(|batch| batch.epoch > epoch).map_or(log.end(), |batch| batch.base);
        let found = shard.end_offset_for_epoch(name, Epoch(epoch)).expect("it is there");
        assert_eq!(found, (Epoch(epoch), Offset(after)), "the end of epoch {epoch} of {name}");
    }
}

/// Checks the files of a store that was closed: segments of exactly their length, in order, with indexes that Kafka would take.
pub fn check_files(sim: &Simulation, model: &Model) {
    for (name, log) in &model.logs {
        let dir = Path::new(DIR).join(name.to_string());
        let mut segments: Vec<PathBuf> = sim.files().into_iter().filter(|path| path.parent() == Some(&dir)).collect();
        segments.retain(|path| path.extension().is_some_and(|suffix| suffix == "log"));
        let mut next: Option<i64> = None;
        for path in &segments {
            let stem = path.file_stem().expect("a name").to_str().expect("digits");
            let base: i64 = stem.parse().expect("a base offset");
            let bytes = sim.contents(path).expect("it was listed");
            assert!(next.is_none_or(|next| next == base) || base <= log.start, "{}: a gap before it", path.display());
            let mut batches = Vec::new();
            let mut at = 0;
            for found in batch::scan(&bytes) {
                let (position, header) = found.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                at = position + header.size_bytes();
                if header.base_offset.0 >= log.start {
                    let expected = log.batch_of(header.base_offset.0);
                    let expected = expected.unwrap_or_else(|| {
                        panic!(
                            "{} at {position} has {header:?}, the log is {}..{}",
                            path.display(),
                            log.start,
                            log.end()
                        )
                    });
                    assert!(expected.is_stored_as(&bytes[position..at]), "{} at {position}", path.display());
                }
                batches.push((header.last_offset().0, position, header.max_timestamp.0));
                next = Some(header.next_offset().0);
            }
            assert_eq!(at, bytes.len(), "{} has more than its batches", path.display());
            // One before the log's start may be about to be removed.
            if at > 0 && next > Some(log.start) {
                check_index(sim, path, base, &batches);
            }
        }
        if log.end() > log.start {
            assert_eq!(next, Some(log.end()), "{name}: the files end elsewhere");
        }
        check_snapshots(sim, &dir, log);
    }
}

/// Kafka's snapshots tell of the producers as they were at each one's offset; there is one at the end.
fn check_snapshots(sim: &Simulation, dir: &Path, log: &LogModel) {
    let mut at_end = log.end() == 0 || log.end() == log.start;
    for path in sim.files().into_iter().filter(|path| path.parent() == Some(dir)) {
        if path.extension().is_none_or(|suffix| suffix != "snapshot") {
            continue;
        }
        let stem = path.file_stem().expect("a name").to_str().expect("digits");
        let offset: i64 = stem.parse().expect("an offset");
        let bytes = sim.contents(&path).expect("it was listed");
        assert!(offset <= log.end(), "{}: behind the end, {}", path.display(), log.end());
        let found = decode_snapshot(&path, &bytes).unwrap_or_else(|error| panic!("{error}"));
        let found: Vec<_> =
            found.iter().map(|producer| (producer.id, producer.epoch, producer.last_batch().copied())).collect();
        let expected = log.producers_at(offset);
        let expected = expected.iter().map(|producer| (producer.id, producer.epoch, producer.last_batch().copied()));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{}", path.display());
        at_end |= offset == log.end();
    }
    assert!(at_end, "{}: no snapshot at {}", dir.display(), log.end());
}

fn check_index(sim: &Simulation, path: &Path, base: i64, batches: &[(i64, usize, i64)]) {
    let read = |suffix: &str| {
        sim.contents(&path.with_extension(suffix)).unwrap_or_else(|| panic!("{}: no {suffix}", path.display()))
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0i64, |number, byte| number << 8 | i64::from(*byte));
    for entry in read("index").chunks(8) {
        let (offset, position) = (base + number(&entry[..4]), number(&entry[4..]) as usize);
        let batch = batches.iter().find(|batch| batch.1 == position);
        assert_eq!(batch.map(|batch| batch.0), Some(offset), "{}: an index entry", path.display());
    }
    let times = read("timeindex");
    for entry in times.chunks(12) {
        let (time, offset) = (number(&entry[..8]), base + number(&entry[8..]));
        let greatest = batches.iter().take_while(|batch| batch.0 <= offset).map(|batch| batch.2).max();
        assert_eq!(greatest, Some(time), "{}: a time index entry for {offset}", path.display());
    }
    let greatest = batches.iter().map(|batch| batch.2).max().expect("there are batches");
    let last = times.chunks(12).next_back().map(|entry| number(&entry[..8]));
    assert!(
        greatest < 0 || last == Some(greatest),
        "{}: the time index ends with {last:?}, not {greatest}",
        path.display()
    );
}
