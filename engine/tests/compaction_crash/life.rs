//! One machine through its lives.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{BatchBuilder, Codec, TimestampType, records, scan};
use corelog_engine::inspect::{read_partition, verify};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{Faults, SimConfig, Simulation, Stop, Survival};
use corelog_engine::log::CleanupPolicy;
use corelog_engine::shard::CleanerConfig;
use corelog_engine::{
    AppendOptions, Error, LogConfig, Offset, ReadRequest, ReadUpTo, Shard, StoreConfig, Timestamp, TopicId,
    TopicPartition,
};

use crate::model::{Model, Record, Sent};

const DIR: &str = "/data";
const LIVES: u64 = 6;
const PRODUCERS: i64 = 2;

type Shared = Rc<RefCell<Model>>;

fn name() -> TopicPartition {
    TopicPartition::new("compacted", 0)
}

/// What a seed makes of a store.
#[derive(Clone)]
struct Plan {
    store: StoreConfig,
    log: LogConfig,
    keys: u64,
    clients: u64,
    cuts: bool,
    closes: bool,
}

pub struct Machine {
    sim: Rc<Simulation>,
    plan: Plan,
    model: Shared,
    crashes: u64,
    compactions: Rc<Cell<u64>>,
    swaps: u64,
    seed: Cell<u64>,
}

impl Machine {
    /// Runs the machine of a seed: its crashes, compactions, records gone, and swaps that a start carried on.
    pub fn run(seed: u64) -> [u64; 4] {
        let _named = SeedOnPanic(seed);
        let sim =
            SimConfig { renames_tear: false, arena_bytes: 4 << 20, steps_max: 20_000_000, ..SimConfig::default() };
        let sim = Rc::new(Simulation::new(seed, sim));
        let state = Cell::new(seed ^ 0x51_7cc1_b727_220a);
        let plan = Plan::new(&state);
        let mut machine = Machine {
            sim,
            plan,
            model: Shared::default(),
            crashes: 0,
            compactions: Rc::default(),
            swaps: 0,
            seed: state,
        };
        for _ in 0..LIVES {
            machine.live();
        }
        machine.rest();
        let gone = machine.model.borrow().gone;
        [machine.crashes, machine.compactions.get(), gone, machine.swaps]
    }

    fn live(&mut self) {
        while below(&self.seed, 100) < 30 {
            self.recover_under_fire();
        }
        match below(&self.seed, 100) {
            0..15 => self.rest(),
            15..25 => {
                // The process dies, the machine goes on.
                self.work();
                self.look();
            }
            _ => {
                self.work();
                self.crash();
            }
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.sim.crash_with(match below(&self.seed, 10) {
            0 => Survival::All,
            1 => Survival::None,
            _ => Survival::Some,
        });
        self.look();
    }

    /// Opens the store and cuts the power before it is open, or soon after.
    fn recover_under_fire(&mut self) {
        let (plan, stop) = (self.plan.clone(), Stop::AfterOperations(1 + below(&self.seed, 150)));
        self.sim.run_until(stop, |io| async move {
            let shard = Shard::open_alone(&io, plan.store.clone()).await.expect("the store opens");
            if shard.contains(&name()) {
                shard.configure(&name(), plan.log).expect("configured");
            }
            io.sleep(Duration::from_millis(20)).await;
        });
        self.crash();
    }

    fn work(&mut self) {
        let operations = [200, 1000, 4000][below(&self.seed, 3) as usize];
        let stop = match below(&self.seed, 2) {
            0 => Stop::AfterOperations(1 + below(&self.seed, operations)),
            _ => Stop::After(Duration::from_micros(1 + below(&self.seed, 300_000))),
        };
        let (plan, model, compactions) = (self.plan.clone(), self.model.clone(), Rc::new(Cell::new(0)));
        let told = compactions.clone();
        let faults = (below(&self.seed, 100) < 20).then(|| Faults {
            read_errors: (1 + below(&self.seed, 20)) as u32 * 1000 * (below(&self.seed, 2) as u32),
            write_errors: (1 + below(&self.seed, 5)) as u32 * 1000,
            sync_errors: (1 + below(&self.seed, 5)) as u32 * 1000,
            ..Faults::default()
        });
        let sim = self.sim.clone();
        self.sim.run_until(stop, move |io| async move {
            let shard = open(&io, &plan, &model).await;
            let is_lenient = faults.is_some();
            sim.set_faults(faults.unwrap_or_default());
            for _ in 0..plan.clients {
                let client = Client {
                    io: io.clone(),
                    shard: shard.clone(),
                    model: model.clone(),
                    plan: plan.clone(),
                    is_lenient,
                };
                io.spawn(client.run(u64::MAX));
            }
            loop {
                io.sleep(Duration::from_millis(1)).await;
                told.set(shard.metrics().compactions.get());
                if shard.check().is_err() {
                    assert!(is_lenient, "the store is offline: {:?}", shard.check());
                    return io.sleep(Duration::from_millis(50)).await;
                }
            }
        });
        self.sim.set_faults(Faults::default());
        self.compactions.set(self.compactions.get() + compactions.get());
    }

    /// Opens, works a little, compacts to the end, and shuts down.
    fn rest(&mut self) {
        let (plan, model, compactions) = (self.plan.clone(), self.model.clone(), self.compactions.clone());
        let steps = below(&self.seed, 60);
        self.sim.run(move |io| async move {
            let shard = open(&io, &plan, &model).await;
            let client = Client {
                io: io.clone(),
                shard: shard.clone(),
                model: model.clone(),
                plan: plan.clone(),
                is_lenient: false,
            };
            client.run(steps).await;
            let end = shard.offsets(&name()).expect("there").end;
            shard.flushed(&name(), end).await.expect("flushed");
            if plan.closes {
                check_compacted(&io, &shard, &plan).await;
            }
            check_served(&shard, &model, &plan).await;
            compactions.set(compactions.get() + shard.metrics().compactions.get());
            assert_eq!(shard.metrics().compactions_failed.get(), 0);
            shard.close().await.expect("closed");
        });
        self.look();
    }

    /// Puts the simulated disk into a real directory and looks at it with the offline tools.
    fn look(&mut self) {
        let dir = tempfile::tempdir().expect("a directory");
        for path in self.sim.files() {
            self.swaps += u64::from(path.to_string_lossy().ends_with(".swap"));
            let target = dir.path().join(path.strip_prefix(DIR).expect("a file of the store"));
            std::fs::create_dir_all(target.parent().expect("a parent")).expect("a directory");
            std::fs::write(target, self.sim.contents(&path).expect("its bytes")).expect("a file");
        }
        let report = match verify(dir.path()) {
            Ok(report) => report,
            Err(error) if !self.model.borrow().created => return drop(error),
            Err(error) => panic!("{error}"),
        };
        if !report.findings.is_empty() {
            panic!("{}: {:#?}", dir.keep().display(), report.findings);
        }
        if !dir.path().join(name().to_string()).join("partition.metadata").exists() {
            assert!(!self.model.borrow().created, "the partition is gone");
            return;
        }
        let found: Vec<(i64, Record)> = read_partition(dir.path(), &name())
            .expect("readable")
            .map(|record| record.expect("a record"))
            .map(|record| {
                let key = record.key.expect("a key");
                (record.offset.0, Record { key, value: record.value, time: record.timestamp.0 })
            })
            .collect();
        // What the store serves may be less than this only by what it compacts meanwhile.
        let model = self.model.borrow();
        found.iter().for_each(|(offset, record)| model.check_record(*offset, record));
        assert!(found.windows(2).all(|two| two[0].0 < two[1].0), "offsets rise");
    }
}

impl Plan {
    fn new(seed: &Cell<u64>) -> Plan {
        fn pick<T: Copy>(seed: &Cell<u64>, of: &[T]) -> T {
            of[below(seed, of.len() as u64) as usize]
        }
        let cleaner = CleanerConfig {
            enabled: true,
            backoff_ms: pick(seed, &[1, 5, 20]),
            dedupe_bytes: pick(seed, &[200, 1000, 1 << 20, 1 << 20]),
            bytes_per_second: pick(seed, &[None, None, Some(10 << 20)]),
        };
        let store = StoreConfig {
            shards: 1,
            pin: false,
            journal_bytes: 8 << 20,
            arena_bytes: 4 << 20,
            cache_bytes: pick(seed, &[16 << 10, 1 << 20]),
            checkpoint_interval_ms: pick(seed, &[1, 5, 20]),
            recycle_bytes: pick(seed, &[0, 1 << 20]),
            retention_check_ms: pick(seed, &[5, 300_000]),
            direct_bytes_min: pick(seed, &[8 << 10, 256 << 10]),
            sync_each_max: pick(seed, &[0, 16]),
            index_cache_bytes: pick(seed, &[100, 64 << 20]),
            cleaner,
            ..StoreConfig::new(DIR)
        };
        let log = LogConfig {
            segment_bytes: pick(seed, &[2 << 10, 6 << 10, 20 << 10, 60 << 10]),
            index_interval_bytes: pick(seed, &[100, 4096]),
            cleanup_policy: pick(
                seed,
                &[CleanupPolicy::Compact, CleanupPolicy::Compact, CleanupPolicy::CompactAndDelete],
            ),
            retention_ms: None,
            min_cleanable_ppm: pick(seed, &[0, 1000, 100_000, 500_000]),
            min_compaction_lag_ms: pick(seed, &[0, 0, 0, 10]),
            delete_retention_ms: pick(seed, &[0, 5, 50, 3_600_000]),
            flush_messages: pick(seed, &[1, 1, 1, u64::MAX]),
            timestamp_type: pick(
                seed,
                &[TimestampType::CreateTime, TimestampType::CreateTime, TimestampType::LogAppendTime],
            ),
            file_delete_delay_ms: pick(seed, &[0, 1, 60_000]),
            ..LogConfig::default()
        };
        let keys = pick(seed, &[2, 10, 60]);
        let closes = log.min_compaction_lag_ms == 0 && cleaner.dedupe_bytes > 1000;
        Plan { store, log, keys, clients: 1 + below(seed, 3), cuts: below(seed, 4) == 0, closes }
    }

    /// Tombstones that were appended at or after this time are all there.
    fn stones_before(&self, now: i64) -> i64 {
        now.saturating_sub(i64::try_from(self.log.delete_retention_ms).expect("small")).saturating_add(1)
    }
}

async fn open(io: &Io, plan: &Plan, model: &Shared) -> Rc<Shard> {
    let shard = Shard::open_alone(io, plan.store.clone()).await.expect("the store opens");
    if !shard.contains(&name()) {
        assert!(!model.borrow().created, "the partition is gone");
        shard.create(&name(), TopicId::random(), plan.log.clone()).await.expect("created");
    }
    model.borrow_mut().created = true;
    shard.configure(&name(), plan.log.clone()).expect("configured");
    io.sync_dir(Path::new("/")).await.expect("a durable directory");
    check_served(&shard, model, plan).await;
    check_producers(&shard, model);
    shard
}

/// Reads all that is there, `from` on.
async fn read_all(shard: &Rc<Shard>, from: Offset, bytes_max: usize) -> Result<Vec<(i64, Record)>, Error> {
    let (mut from, mut found) = (from, Vec::new());
    loop {
        let request = ReadRequest { from, bytes_max, at_least_one: true, up_to: ReadUpTo::End };
        let read = shard.read(&name(), request).await?;
        if read.bytes == 0 {
            return Ok(found);
        }
        assert!(read.next_offset > from, "reading stands still at {from}");
        let bytes = read.to_vec();
        for batch in scan(&bytes) {
            let (position, header) = batch.expect("a batch");
            let batch = records(&bytes[position..position + header.size_bytes()], 1 << 20).expect("records");
            for record in batch.iter() {
                let record = record.expect("a record");
                if record.offset >= from {
                    let key = record.key.expect("a key").to_vec();
                    let value = record.value.map(<[u8]>::to_vec);
                    found.push((record.offset.0, Record { key, value, time: record.timestamp.0 }));
                }
            }
        }
        from = read.next_offset;
    }
}

/// Everything that is served, against the model. The cleaner may be at work meanwhile, and so reads see it at different times: what one
/// read does not have of a key, it must have a newer record of.
async fn check_served(shard: &Rc<Shard>, model: &Shared, plan: &Plan) {
    shard.configure_cleaner(CleanerConfig { enabled: false, ..plan.store.cleaner });
    // One that is under way ends before this one begins.
    let held = LogConfig { cleanup_policy: CleanupPolicy::Delete, retention_ms: None, ..plan.log.clone() };
    shard.configure(&name(), held).expect("configured");
    shard.apply_compaction(&name()).await.expect("nothing to do");
    let offsets = shard.offsets(&name()).expect("there");
    let found = read_all(shard, offsets.start, 3000).await.expect("readable");
    let stones = plan.stones_before(shard.io().unix_time().0);
    model.borrow_mut().settle("the store", offsets.start.0, offsets.end.0, &found, stones);
    check_times(shard).await;
    shard.configure(&name(), plan.log.clone()).expect("configured");
    shard.configure_cleaner(plan.store.cleaner);
}

/// A producer that sends its last batch again is told that it is there.
fn check_producers(shard: &Rc<Shard>, model: &Shared) {
    let model = model.borrow();
    for sent in model.sent.values().filter(|sent| sent.next <= model.flushed) {
        let again = shard.append(&name(), &sent.bytes, AppendOptions::default()).expect("known");
        assert!(again.is_duplicate && again.base_offset.0 == sent.base, "{again:?} where {} was", sent.base);
    }
}

/// Compacts all that can be: then each key is there once before the first segment that could not be.
async fn check_compacted(io: &Io, shard: &Rc<Shard>, plan: &Plan) {
    io.sleep(Duration::from_millis(200)).await;
    let compacted = shard.apply_compaction(&name()).await.expect("compacted");
    let all = read_all(shard, shard.offsets(&name()).expect("there").start, 1 << 20).await.expect("readable");
    let mut keys: Vec<&[u8]> =
        all.iter().filter(|(offset, _)| *offset < compacted.cleaned_to.0).map(|(_, record)| &record.key[..]).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "a key is there twice before {} of {} keys", compacted.cleaned_to, plan.keys);
}

/// Look-ups by time give the first record that is there.
async fn check_times(shard: &Rc<Shard>) {
    let all = read_all(shard, shard.offsets(&name()).expect("there").start, 1 << 20).await.expect("readable");
    let newest = all.iter().map(|(_, record)| record.time).max();
    for place in [0, all.len() / 3, all.len() / 2] {
        let Some((_, record)) = all.get(place) else { continue };
        let first = all.iter().find(|(_, other)| other.time >= record.time).map(|(offset, _)| *offset);
        let found = shard.offset_for_timestamp(&name(), Timestamp(record.time)).await.expect("looked up");
        assert_eq!(found.map(|found| found.0.0), first, "the first record from {} on", record.time);
    }
    let found = shard.max_timestamp(&name()).await.expect("looked up");
    assert_eq!(found.map(|found| found.1.0), newest, "the newest record");
}

struct Client {
    io: Io,
    shard: Rc<Shard>,
    model: Shared,
    plan: Plan,
    is_lenient: bool,
}

impl Client {
    async fn run(self, steps: u64) {
        for _ in 0..steps {
            if self.is_lenient && self.shard.check().is_err() {
                return self.io.sleep(Duration::from_secs(3600)).await;
            }
            match self.io.random() % 100 {
                0..50 => self.append().await,
                50..62 => self.flush().await,
                62..72 => self.io.sleep(Duration::from_millis(self.io.random() % 15)).await,
                72..90 => self.read().await,
                90..94 => drop(self.told(self.shard.apply_compaction(&name()).await)),
                94..97 if self.plan.log.cleanup_policy == CleanupPolicy::CompactAndDelete => self.drop_records().await,
                97..98 if self.plan.cuts => self.truncate().await,
                _ => self.io.yield_now().await,
            }
        }
    }

    /// What came of something; a fault is none where the disk has them, nor is what is refused for the moment.
    fn told<T>(&self, outcome: Result<T, Error>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(Error::Overloaded(_) | Error::OffsetOutOfRange { .. }) => None,
            Err(_) if self.is_lenient => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn append(&self) {
        let random = |below: u64| self.io.random() % below;
        let codec = Codec::ALL[random(5) as usize];
        let mut model = self.model.borrow_mut();
        let mut builder = BatchBuilder::new(codec);
        let now = self.io.unix_time();
        let mut batch = Vec::new();
        for _ in 0..1 + random(6) {
            let (key, number) = (random(self.plan.keys).to_le_bytes().to_vec(), model.next_number);
            model.next_number += 1;
            let size = [0, 10, 100, 900][random(4) as usize];
            let value = (random(5) > 0).then(|| number.to_le_bytes().repeat(size / 8 + 1));
            let time = now.0 - random(20) as i64;
            builder.push(Timestamp(time), Some(&key), value.as_deref(), &[(b"h", Some(b"x"))]);
            batch.push(Record { key, value, time });
        }
        let producer = random(PRODUCERS as u64 + 1) as i64;
        if producer < PRODUCERS {
            let sequence = match model.sent.get(&producer) {
                Some(sent) => {
                    let header = corelog_engine::batch::BatchHeader::parse(&sent.bytes).expect("ours");
                    header.base_sequence + header.record_count
                }
                None => 0,
            };
            // A new epoch where the last batch is not known any more.
            let epoch = if sequence == 0 {
                i16::try_from(model.next_number % 30_000).expect("small")
            } else {
                epoch_of(&model, producer)
            };
            builder = builder.producer(producer, epoch, sequence);
        }
        let bytes = builder.build(Offset::ZERO);
        match self.shard.append(&name(), &bytes, AppendOptions::default()) {
            Ok(appended) => {
                assert!(!appended.is_duplicate);
                if let Some(time) = appended.log_append_time {
                    batch.iter_mut().for_each(|record| record.time = time.0);
                }
                let next = appended.next_offset.0;
                model.appended(appended.base_offset.0, batch);
                if producer < PRODUCERS {
                    model.sent.insert(producer, Sent { bytes, base: appended.base_offset.0, next });
                }
            }
            // An older epoch than one that was cut off or lost.
            Err(Error::Producer(_)) => {}
            Err(error) => drop(self.told(Err::<(), _>(error))),
        }
    }

    async fn flush(&self) {
        let end = self.model.borrow().end;
        let cuts = self.model.borrow().cuts;
        let flushed = self.told(self.shard.flushed(&name(), Offset(end)).await).is_some();
        let mut model = self.model.borrow_mut();
        if flushed && model.cuts == cuts && model.cut.is_none() {
            model.flushed = model.flushed.max(end);
        }
    }

    /// Reads from anywhere: what comes is what was appended, from there on, and of each key there is no older record than one that
    /// was promised.
    async fn read(&self) {
        let Ok(offsets) = self.shard.offsets(&name()) else { return };
        let from = offsets.start + (self.io.random() % (offsets.end - offsets.start + 1) as u64) as i64;
        let bytes_max = [1, 500, 5000, 1 << 20][self.io.random() as usize % 4];
        let Some(found) = self.told(read_all(&self.shard, from, bytes_max).await) else { return };
        let model = self.model.borrow();
        assert!(found.windows(2).all(|two| two[0].0 < two[1].0), "offsets rise");
        if !self.plan.cuts {
            found.iter().for_each(|(offset, record)| model.check_record(*offset, record));
        }
    }

    async fn drop_records(&self) {
        let Ok(offsets) = self.shard.offsets(&name()) else { return };
        let to = offsets.start.0 + (self.io.random() % (offsets.high_watermark - offsets.start + 1) as u64) as i64 / 2;
        {
            let mut model = self.model.borrow_mut();
            model.start_max = model.start_max.max(to);
        }
        if self.told(self.shard.delete_records(&name(), Offset(to)).await).is_some() {
            let mut model = self.model.borrow_mut();
            model.start = model.start.max(to);
        }
    }

    async fn truncate(&self) {
        let Ok(offsets) = self.shard.offsets(&name()) else { return };
        let to = offsets.end.0 - (self.io.random() % 40) as i64;
        if to < offsets.start.0 || self.model.borrow().cut.is_some() {
            return;
        }
        // It goes to the start of a batch.
        self.model.borrow_mut().cutting((to - 6).max(0));
        match self.shard.truncate(&name(), Offset(to)).await {
            Ok(end) => self.model.borrow_mut().truncated(end.0),
            Err(error) => {
                self.told(Err::<(), _>(error));
                // The disk may have failed behind the cut; where the store serves no more, only the next start can tell.
                let mut model = self.model.borrow_mut();
                match self.shard.offsets(&name()) {
                    Ok(offsets) if offsets.end.0 < model.end => model.truncated(offsets.end.0),
                    Ok(_) => model.cut = None,
                    Err(_) => {}
                }
            }
        }
    }
}

fn epoch_of(model: &Model, producer: i64) -> i16 {
    let sent = &model.sent[&producer];
    corelog_engine::batch::BatchHeader::parse(&sent.bytes).expect("ours").producer_epoch
}

/// A number below `bound`, from a sequence (SplitMix64).
fn below(seed: &Cell<u64>, bound: u64) -> u64 {
    let sum = seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    seed.set(sum);
    let mut mixed = sum;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % bound
}

struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("CORELOG_SEED={}", self.0);
        }
    }
}
