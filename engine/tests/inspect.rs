//! The offline tools: a sound directory has no findings, each kind of damage is named with its file and place, and a dump says what is there.

use std::path::{Path, PathBuf};

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::inspect::{Finding, dump, read_partition, verify};
use corelog_engine::log::LogConfig;
use corelog_engine::shard::{AppendOptions, Store, StoreConfig};
use corelog_engine::{Error, Offset, Timestamp, TopicId, TopicPartition};

const BATCHES: i64 = 400;
const RECORDS: i64 = 5;

fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        shards: 1,
        pin: false,
        journal_bytes: 16 << 20,
        arena_bytes: 16 << 20,
        cache_bytes: 8 << 20,
        checkpoint_interval_ms: 600_000,
        ..StoreConfig::new(dir)
    }
}

fn name() -> TopicPartition {
    TopicPartition::new("numbers", 0)
}

fn value(offset: i64) -> Vec<u8> {
    format!("value-{offset}-").repeat(20).into_bytes()
}

/// A store with some sealed segments of 64 KiB, filled and closed.
fn closed_store(dir: &Path) {
    let store = open_and_fill(dir);
    store.close().expect("closes");
}

fn open_and_fill(dir: &Path) -> Store {
    let store = Store::open(config(dir)).expect("opens");
    let fill = store.call_blocking(store.shard_of(&name()), |shard| {
        Box::pin(async move {
            let topic = LogConfig { segment_bytes: 64 << 10, index_interval_bytes: 2000, ..LogConfig::default() };
            shard.create(&name(), TopicId::random(), topic).await.expect("created");
            let now = shard.io().unix_time();
            let mut next = Offset::ZERO;
            for batch in 0..BATCHES {
                let mut builder = BatchBuilder::new(if batch % 7 == 0 { Codec::Lz4 } else { Codec::None });
                for record in 0..RECORDS {
                    let offset = batch * RECORDS + record;
                    builder.push(Timestamp(now.0 + batch % 10), None, Some(&value(offset)), &[]);
                }
                let appended = shard.append(&name(), &builder.build(Offset::ZERO), AppendOptions::default());
                next = appended.expect("appended").next_offset;
            }
            shard.flushed(&name(), next).await.expect("flushed");
        })
    });
    fill.expect("the shard answers");
    store
}

/// Copies a directory, but for what an open store took away meanwhile.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.expect("a copy")),
            }
        }
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("a file");
}

fn check_contents(dir: &Path) {
    let mut expected = 0;
    for record in read_partition(dir, &name()).expect("readable") {
        let record = record.expect("a record");
        assert_eq!(record.offset, Offset(expected));
        assert_eq!(record.value, Some(value(expected)));
        expected += 1;
    }
    assert_eq!(expected, BATCHES * RECORDS);
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let names =
        std::fs::read_dir(dir.join("numbers-0")).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut names: Vec<_> = names.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    names.sort();
    names
}

#[test]
fn a_closed_store_has_no_findings_and_all_its_records() {
    let dir = tempfile::tempdir().expect("a directory");
    closed_store(dir.path());
    let report = verify(dir.path()).expect("verified");
    assert_eq!(report.findings, []);
    assert_eq!((report.batches, report.records), (BATCHES as u64, (BATCHES * RECORDS) as u64));
    assert!(report.segments > 5 && report.index_entries > 50, "{report:?}");
    check_contents(dir.path());
}

#[test]
fn what_only_the_journal_has_is_found_there() {
    let (dir, copied) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let store = open_and_fill(dir.path());
    // What a power cut would leave, as far as it was written: the store goes on, its last blocks are in memory.
    copy(dir.path(), copied.path());
    let report = verify(copied.path()).expect("verified");
    assert_eq!(report.findings, []);
    check_contents(copied.path());
    match verify(dir.path()) {
        Err(Error::Locked { dir: locked }) => assert_eq!(locked, dir.path()),
        other => panic!("{other:?}"),
    }
    store.close().expect("closes");
    drop(store);
    assert_eq!(verify(dir.path()).expect("verified").findings, []);
}

#[test]
fn each_kind_of_damage_is_found_where_it_is() {
    let sound = tempfile::tempdir().expect("a directory");
    closed_store(sound.path());
    let found = |file: &str, damage: &dyn Fn(&mut Vec<u8>)| -> Vec<Finding> {
        let dir = tempfile::tempdir().expect("a directory");
        copy(sound.path(), dir.path());
        change(&dir.path().join(file), |bytes| damage(bytes));
        let report = verify(dir.path()).expect("verified");
        let findings = report.findings.into_iter().map(|finding| {
            let file = finding.file.strip_prefix(dir.path()).expect("a file of the directory").to_path_buf();
            Finding { file, ..finding }
        });
        findings.collect()
    };
    let segment = segments(sound.path())[1].strip_prefix(sound.path()).expect("a file").to_string_lossy().into_owned();
    let (index, time_index) = (segment.replace(".log", ".index"), segment.replace(".log", ".timeindex"));
    let one = |findings: Vec<Finding>, file: &str, position: Option<u64>, what: &str| {
        let first = findings.first().unwrap_or_else(|| panic!("no finding of {what:?} in {file}"));
        assert_eq!((first.file.to_string_lossy().as_ref(), first.position), (file, position), "{first}");
        assert!(first.what.contains(what), "{first}");
    };
    one(found(&segment, &|bytes| bytes[300] ^= 1), &segment, Some(0), "checksum");
    one(found(&segment, &|bytes| bytes[7] ^= 1), &segment, Some(0), "base offset");
    one(found(&segment, &|bytes| bytes[16] = 1), &segment, Some(0), "magic");
    one(
        found(&segment, &|bytes| bytes[12..16].copy_from_slice(&[0, 0, 0, 9])),
        &segment,
        Some(u64_of_second_batch(sound.path(), &segment)),
        "epoch",
    );
    one(
        found(&segment, &|bytes| bytes.truncate(bytes.len() - 10)),
        &segment,
        None.or(last_batch(sound.path(), &segment)),
        "batch of",
    );
    one(
        found(&segment, &|bytes| bytes.extend([0; 100])),
        &segment,
        Some(length(sound.path(), &segment)),
        "zeros behind",
    );
    one(found(&index, &|bytes| bytes[15] ^= 1), &index, Some(8), "no batch begins");
    one(found(&index, &|bytes| bytes[3] ^= 1), &index, Some(0), "ends with that offset");
    one(found(&index, &|bytes| bytes.extend([0; 8])), &index, Some(length(sound.path(), &index)), "padding");
    one(
        found(&index, &|bytes| bytes.truncate(bytes.len() - 3)),
        &index,
        Some(length(sound.path(), &index) - 8),
        "last whole",
    );
    one(found(&time_index, &|bytes| bytes[7] ^= 1), &time_index, Some(0), "greatest timestamp");
    one(found("corelog-checkpoint-0", &|bytes| bytes[70] ^= 1), "corelog-checkpoint-0", Some(0), "checksum");
    let renamed = tempfile::tempdir().expect("a directory");
    copy(sound.path(), renamed.path());
    std::fs::remove_file(renamed.path().join(&segment)).expect("removed");
    let report = verify(renamed.path()).expect("verified");
    assert!(report.findings.iter().any(|finding| finding.what.contains("the segment before it ends at")), "{report:?}");
}

fn length(dir: &Path, file: &str) -> u64 {
    std::fs::metadata(dir.join(file)).expect("a file").len()
}

fn batch_places(dir: &Path, file: &str) -> Vec<u64> {
    let bytes = std::fs::read(dir.join(file)).expect("a file");
    corelog_engine::batch::scan(&bytes).map(|batch| batch.expect("a batch").0 as u64).collect()
}

fn u64_of_second_batch(dir: &Path, file: &str) -> u64 {
    batch_places(dir, file)[1]
}

fn last_batch(dir: &Path, file: &str) -> Option<u64> {
    batch_places(dir, file).last().copied()
}

#[test]
fn a_directory_of_a_stopped_kafka_is_sound_and_readable() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let dir = tempfile::tempdir().expect("a directory");
    for partition in ["golden-0", "stamped-0"] {
        copy(&golden.join(partition), &dir.path().join(partition));
    }
    let report = verify(dir.path()).expect("verified");
    assert_eq!(report.findings, []);
    assert!(report.batches > 10 && report.index_entries > 3, "{report:?}");
    let offsets: Vec<i64> = read_partition(dir.path(), &TopicPartition::new("golden", 0))
        .expect("readable")
        .map(|record| record.expect("a record").offset.0)
        .collect();
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]) && offsets.last() >= Some(&500), "{offsets:?}");
    let text = dumped(dir.path(), false);
    assert!(text.contains("segment: ") && text.contains("producer: ") && text.contains("leader epoch: "), "{text}");
}

fn dumped(path: &Path, json: bool) -> String {
    let mut out = Vec::new();
    dump(path, json, &mut out).expect("dumped");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_dump_says_what_is_there_in_words_and_in_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let copied = tempfile::tempdir().expect("a directory");
    let store = open_and_fill(dir.path());
    copy(dir.path(), copied.path());
    store.close().expect("closes");
    for path in [dir.path(), copied.path()] {
        let words = dumped(path, false);
        for kind in ["checkpoint: ", "journal: ", "partition: name numbers-0", "segment: ", "partition metadata: "] {
            assert!(words.contains(kind), "no {kind} in {words}");
        }
        for line in dumped(path, true).lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a JSON object");
            assert!(line["type"].is_string(), "{line}");
        }
    }
    assert!(dumped(dir.path(), false).contains("\nindex: file "), "a closed store has its indexes");
    let journal = dumped(&copied.path().join("corelog-journal-0"), true);
    assert!(journal.contains("\"kind\":\"data\"") && journal.contains("\"type\":\"group\""), "{journal}");
    let segment = dumped(&segments(dir.path())[0], true);
    let batches = segment.lines().filter(|line| line.contains("\"type\":\"batch\"")).count();
    assert!(
        batches > 10 && segment.contains("\"checksum\":\"right\"") && segment.contains("\"codec\":\"lz4\""),
        "{segment}"
    );
    change(&segments(dir.path())[0], |bytes| bytes[16] = 9);
    assert!(dumped(&segments(dir.path())[0], false).contains("then"), "what cannot be a batch is said");
    change(&dir.path().join("corelog-checkpoint-0"), |bytes| bytes[20] ^= 1);
    assert!(dumped(dir.path(), false).contains("damage: "));
    assert!(dump(&dir.path().join("nowhere"), false, &mut Vec::new()).is_err());
}

#[test]
fn a_partition_that_serves_no_more_is_not_cut_to_what_is_left_at_a_later_start() {
    let dir = tempfile::tempdir().expect("a directory");
    closed_store(dir.path());
    let active = segments(dir.path()).pop().expect("a segment");
    change(&active, |bytes| bytes.truncate(4096));
    for start in 0..3 {
        let report = verify(dir.path()).expect("verified");
        assert!(report.findings.iter().any(|finding| active.starts_with(&finding.file)), "start {start}: {report:?}");
        let store = Store::open(config(dir.path())).expect("opens");
        let offsets = store.call_blocking(store.shard_of(&name()), |shard| {
            Box::pin(async move { shard.offsets(&name()).map_err(|error| error.to_string()) })
        });
        let offsets = offsets.expect("the shard answers");
        assert!(offsets.as_ref().is_err_and(|error| error.contains("restore it")), "start {start}: {offsets:?}");
        store.close().expect("closes");
        drop(store);
    }
}
