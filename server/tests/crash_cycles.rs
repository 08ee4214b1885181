//! Kill -9 under load, again and again on one data directory: what was acknowledged is there at its offset, once and in
//! order, and nothing is there that was never sent.
//!
//! * `CORELOG_CRASH_CYCLES`: how many times it is killed (12).
//! * `CORELOG_CRASH_SEED`: the seed of sizes, partitions and times, printed by every run.
//! * `CORELOG_BINARY`: another `corelog` than the one of this build, as `crash_cycles.sh` has it.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corelog_engine::batch::{self, BatchBuilder, Codec};
use corelog_engine::{Offset, Timestamp};
use corelog_server::protocol::fetch::Fetch;
use corelog_server::protocol::produce::{PartitionProduceData, Produce, ProduceRequest, TopicProduceData};
use corelog_server::protocol::{ErrorCode, decode_response, encode_request};
use support::{BY_NAME, Client, fetch_request, now, only};

/// Connections that produce at once.
const WRITERS: u64 = 4;
/// Requests under way on each.
const WINDOW: usize = 8;
/// Partitions of each topic.
const PARTITIONS: usize = 3;
/// A directory is read from its beginning and given up after so many cycles, or when it has so many records' bytes.
const CYCLES_PER_DIR: u64 = 25;
const BYTES_PER_DIR: u64 = 512 << 20;
/// How far behind the end a cycle reads what earlier ones have already read.
const READ_AGAIN: usize = 200;

/// A generator of its own, so that a seed says the same everywhere (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }
}

/// Who sent a record and its number, which no other record of its partition has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Id {
    writer: u64,
    number: u64,
}

/// What is known of a partition.
#[derive(Default)]
struct Partition {
    /// The number of the next record that is sent.
    next: AtomicU64,
    /// What a read after a restart found, by offset: from then on it has to stay.
    found: Vec<Id>,
    /// What was acknowledged since: the base offset, and the batch's first id and count.
    acknowledged: BTreeMap<i64, (Id, u64)>,
}

/// One acknowledged batch.
struct Acknowledged {
    topic: usize,
    partition: usize,
    base_offset: i64,
    first: Id,
    count: u64,
}

/// A broker process; it does not outlive this.
struct Process {
    child: Child,
}

impl Process {
    fn spawn(dir: &Path) -> Process {
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("a file");
        let child = corelog()
            .args(["--data-dir", data(dir).to_str().expect("text"), "--listen", "127.0.0.1:0", "--cores", "2"])
            .args(["-o", "corelog.pin=false"])
            .args(["-o", "corelog.arena.bytes=16777216", "-o", "corelog.cache.bytes=8388608"])
            .args(["-o", "corelog.journal.bytes=8388608", "-o", "corelog.checkpoint.interval.ms=50"])
            .args(["-o", "log.segment.bytes=1048576"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it starts");
        Process { child }
    }

    /// Waits until it is ready; where it listens.
    fn ready(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        let addr = line.strip_prefix("corelog ready on ").unwrap_or_else(|| panic!("not ready: {line:?}"));
        addr.trim_end().parse().expect("an address")
    }

    fn kill(&mut self) {
        assert!(self.child.try_wait().expect("its state").is_none(), "it ended by itself");
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn corelog() -> Command {
    Command::new(std::env::var_os("CORELOG_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_corelog").into()))
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn name(topic: usize) -> String {
    format!("topic-{topic}")
}

/// A record's value: its id in words, and bytes up to a size.
fn value(topic: usize, partition: usize, id: Id, size: usize) -> Vec<u8> {
    let mut value = format!("{topic} {partition} {} {} ", id.writer, id.number).into_bytes();
    value.resize(value.len().max(size), b'a' + (id.number % 26) as u8);
    value
}

fn parse(value: &[u8]) -> (usize, usize, Id) {
    let mut words = value.split(|byte| *byte == b' ');
    let mut word = || -> u64 {
        let word = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        word.unwrap_or_else(|| panic!("not a record of ours: {:?}", String::from_utf8_lossy(value)))
    };
    let (topic, partition) = (word() as usize, word() as usize);
    (topic, partition, Id { writer: word(), number: word() })
}

/// A batch of some size: most are small, some go straight to the segment. Its bytes and its count.
fn some_batch(dice: &mut Dice, topic: usize, partition: usize, writer: u64, next: &AtomicU64) -> (Vec<u8>, Id, u64) {
    let (count, size) = match dice.between(0, 31) {
        0 => (1, dice.between(270 << 10, 900 << 10)),
        1 => (dice.between(20, 60), 12 << 10),
        2..=6 => (dice.between(1, 100), dice.between(100, 1000)),
        _ => (dice.between(1, 12), dice.between(20, 400)),
    };
    let first = Id { writer, number: next.fetch_add(count, Ordering::Relaxed) };
    let mut builder = BatchBuilder::new(Codec::None);
    for number in first.number..first.number + count {
        let value = value(topic, partition, Id { writer, number }, size as usize);
        builder.push(Timestamp(now()), None, Some(&value), &[]);
    }
    (builder.build(Offset::ZERO), first, count)
}

/// Produces with `acks=-1`, many requests under way, until the connection breaks; what was acknowledged, and the bytes sent.
fn produce(addr: SocketAddr, mut dice: Dice, writer: u64, topics: &[Vec<Partition>]) -> (Vec<Acknowledged>, u64) {
    let mut client = Client::connect(addr);
    let (mut acknowledged, mut bytes, mut correlation_id) = (Vec::new(), 0, 0);
    let mut under_way: VecDeque<Vec<Acknowledged>> = VecDeque::new();
    let mut open = true;
    loop {
        while open && under_way.len() < WINDOW {
            let topic = dice.between(0, topics.len() as u64 - 1) as usize;
            let mut request = TopicProduceData {
                name: name(topic).as_str().into(),
                partition_data: Vec::new(),
                ..Default::default()
            };
            let mut batches = Vec::new();
            for (partition, known) in topics[topic].iter().enumerate() {
                if !batches.is_empty() && dice.one_in(2) || batches.is_empty() && dice.one_in(3) {
                    continue;
                }
                let (batch, first, count) = some_batch(&mut dice, topic, partition, writer, &known.next);
                bytes += batch.len() as u64;
                let data = PartitionProduceData { index: partition as i32, records: Some(batch.into()) };
                request.partition_data.push(data);
                batches.push(Acknowledged { topic, partition, base_offset: -1, first, count });
            }
            if batches.is_empty() {
                continue;
            }
            correlation_id += 1;
            let request =
                ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![request], ..Default::default() };
            let frame = encode_request::<Produce>(correlation_id, "crash", BY_NAME, &request);
            // Part of it may have gone out: whether it was appended is open, as with every request without an answer.
            open = client.stream.write_all(&frame.to_bytes()).is_ok();
            under_way.push_back(batches);
        }
        // What was answered before the end can still be read after it.
        let Ok(frame) = client.receive_frame() else { return (acknowledged, bytes) };
        let (answered, response) = decode_response::<Produce>(frame, BY_NAME).expect("a good answer");
        let batches = under_way.pop_front().expect("an answer to a request");
        assert_eq!(answered, correlation_id - under_way.len() as i32, "answers in the requests' order");
        let answers = &response.responses[0].partition_responses;
        assert_eq!(answers.len(), batches.len());
        for (mut batch, answer) in batches.into_iter().zip(answers) {
            assert_eq!((answer.error_code, answer.index), (ErrorCode::NONE, batch.partition as i32), "{answer:?}");
            batch.base_offset = answer.base_offset;
            acknowledged.push(batch);
        }
    }
}

/// Reads a partition from an offset to its end and holds it against what is known; how many records are new.
fn read(client: &mut Client, topic: usize, index: usize, partition: &mut Partition, from: usize) -> usize {
    let place = format!("{} partition {index}", name(topic));
    let before = partition.found.len();
    let next = *partition.next.get_mut();
    let mut offset = from as i64;
    loop {
        let mut request = fetch_request(&name(topic), index as i32, offset);
        request.topics[0].partitions[0].partition_max_bytes = 8 << 20;
        let data = only(client.call::<Fetch>(12, &request));
        assert_eq!((data.error_code, data.log_start_offset), (ErrorCode::NONE, 0), "{place} at {offset}");
        let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        if bytes.is_empty() {
            assert_eq!(offset, data.high_watermark, "{place} ends before its high watermark");
            break;
        }
        for found in batch::scan(&bytes) {
            let (position, header) = found.expect("whole batches");
            let batch = &bytes[position..position + header.size_bytes()];
            assert!(batch::verify_crc(batch), "{place}: the checksum of the batch at {:?}", header.base_offset);
            for record in batch::records(batch, 64 << 20).expect("records").iter() {
                let record = record.expect("a record");
                if record.offset.0 < offset {
                    continue;
                }
                assert_eq!(record.offset.0, offset, "{place}: offsets are dense and in order");
                let (of_topic, of_partition, id) = parse(record.value.expect("a value"));
                assert_eq!((of_topic, of_partition), (topic, index), "{place}: {id:?} at {offset} is another's");
                assert!(id.number < next, "{place}: {id:?} at {offset} was never sent");
                match partition.found.get(offset as usize) {
                    Some(known) => assert_eq!(*known, id, "{place}: what was at {offset} is another record now"),
                    None => partition.found.push(id),
                }
                offset += 1;
            }
        }
    }
    assert!(offset as usize >= before, "{place}: {before} records were there, now {offset}");
    for (base_offset, (first, count)) in std::mem::take(&mut partition.acknowledged) {
        for (offset, number) in (base_offset..).zip(first.number..first.number + count) {
            let acknowledged = Id { number, ..first };
            let found = partition.found.get(offset as usize);
            assert_eq!(found, Some(&acknowledged), "{place}: {acknowledged:?} was acknowledged at {offset}");
        }
    }
    // A writer's numbers grow in the order in which it sent them, so this also finds what is there twice.
    let mut last = [None; WRITERS as usize];
    for (offset, id) in partition.found.iter().enumerate() {
        let last = &mut last[id.writer as usize];
        assert!(*last < Some(id.number), "{place}: {id:?} at {offset} is behind {last:?} of the same writer");
        *last = Some(id.number);
    }
    partition.found.len() - before
}

fn read_all(addr: SocketAddr, topics: &mut [Vec<Partition>], whole: bool) -> usize {
    let mut client = Client::connect(addr);
    let mut new = 0;
    for (topic, partitions) in topics.iter_mut().enumerate() {
        for (index, partition) in partitions.iter_mut().enumerate() {
            let from = if whole { 0 } else { partition.found.len().saturating_sub(READ_AGAIN) };
            new += read(&mut client, topic, index, partition, from);
        }
    }
    new
}

fn verify(dir: &Path) {
    let output = corelog().arg("verify").arg(data(dir)).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "corelog verify: {said}{}", String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(dir.join("log")).expect("the broker's log");
    let bad: Vec<_> = log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
    assert!(bad.is_empty(), "the broker said: {bad:#?}");
}

/// Keeps the directory of a failed run, and says how to have the run again.
struct Run {
    seed: u64,
    cycle: u64,
    dir: tempfile::TempDir,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            let Run { seed, cycle, dir } = self;
            eprintln!("failed in cycle {cycle}; CORELOG_CRASH_SEED={seed}; see {}", dir.path().display());
        }
    }
}

#[test]
fn no_acknowledged_record_is_lost_by_a_kill() {
    let cycles = number_from("CORELOG_CRASH_CYCLES").unwrap_or(12);
    let seed = number_from("CORELOG_CRASH_SEED").unwrap_or_else(|| now() as u64);
    println!("{cycles} cycles, CORELOG_CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    let start = Instant::now();
    let (mut acknowledged_total, mut found_total, mut bytes_total, mut early_kills) = (0, 0, 0, 0);
    let mut cycle = 0;
    while cycle < cycles {
        let mut run = Run { seed, cycle, dir: tempfile::tempdir().expect("a directory") };
        let mut topics: Vec<Vec<Partition>> = Vec::new();
        let (mut bytes_of_dir, last) = (0, cycles.min(cycle + CYCLES_PER_DIR));
        while cycle < last && bytes_of_dir < BYTES_PER_DIR {
            run.cycle = cycle;
            let dir = run.dir.path();
            let mut process = Process::spawn(dir);
            let addr = process.ready();
            let found = read_all(addr, &mut topics, false);
            if topics.is_empty() || dice.one_in(6) {
                Client::connect(addr).create(&name(topics.len()), PARTITIONS as i32, &[]);
                topics.push((0..PARTITIONS).map(|_| Partition::default()).collect());
            }
            let delay = dice.between(20, 300);
            let writers = (0..WRITERS).map(|writer| (writer, Dice(dice.next()))).collect::<Vec<_>>();
            let sent = std::thread::scope(|scope| {
                let topics = &topics;
                let threads: Vec<_> = writers
                    .into_iter()
                    .map(|(writer, dice)| scope.spawn(move || produce(addr, dice, writer, topics)))
                    .collect();
                std::thread::sleep(Duration::from_millis(delay));
                process.kill();
                threads.into_iter().map(|thread| thread.join().expect("a writer")).collect::<Vec<_>>()
            });
            let (mut batches, mut records, mut bytes) = (0, 0, 0);
            for (acknowledged, sent_bytes) in sent {
                bytes += sent_bytes;
                batches += acknowledged.len();
                for Acknowledged { topic, partition, base_offset, first, count } in acknowledged {
                    records += count;
                    let twice = topics[topic][partition].acknowledged.insert(base_offset, (first, count));
                    assert!(twice.is_none(), "{} {partition}: offset {base_offset} was given twice", name(topic));
                }
            }
            println!(
                "cycle {cycle}: {found} found, killed after {delay} ms, {bytes} bytes sent, {batches} batches of {records} records acknowledged"
            );
            found_total += found;
            acknowledged_total += records;
            bytes_total += bytes;
            bytes_of_dir += bytes;
            verify(dir);
            // Now and then it is killed again while it recovers.
            if dice.one_in(4) {
                let mut process = Process::spawn(dir);
                std::thread::sleep(Duration::from_millis(dice.between(1, 60)));
                process.kill();
                early_kills += 1;
                if data(dir).exists() {
                    verify(dir);
                }
            }
            cycle += 1;
        }
        let mut process = Process::spawn(run.dir.path());
        let addr = process.ready();
        found_total += read_all(addr, &mut topics, true);
        process.kill();
        verify(run.dir.path());
    }
    println!(
        "{cycles} kills under load and {early_kills} while starting: {acknowledged_total} records acknowledged, {found_total} found, {bytes_total} bytes sent, in {:.1} s",
        start.elapsed().as_secs_f64()
    );
}
