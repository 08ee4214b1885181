//! Apache Kafka's `DumpLogSegments` reads what we write: every batch, record and index entry.
//!
//! It is run by `golden/dump.sh`, which needs a JDK and Maven, so the test is ignored unless asked for:
//! `cargo test -p corelog-engine --test dump_log_segments -- --ignored`.

use std::path::{Path, PathBuf};
use std::process::Command;

use corelog_engine::batch::{BatchBuilder, BatchHeader, Codec, TimestampType, records, scan};
use corelog_engine::inspect;
use corelog_engine::log::{CleanupPolicy, IndexPoint, LeaderEpochs, OffsetIndex, PartitionMetadata, TimeIndex};
use corelog_engine::{
    AppendOptions, Epoch, LogConfig, Offset, Position, Store, StoreConfig, Timestamp, TopicId, TopicPartition,
};

const BASE: Offset = Offset(1_000);
const START: Timestamp = Timestamp(1_700_000_000_000);
const INDEX_INTERVAL_BYTES: u64 = 512;

/// Batches of every codec and flag.
fn log() -> Vec<u8> {
    let mut log = Vec::new();
    let mut next = BASE;
    let mut append = |builder: BatchBuilder| {
        let batch = builder.leader_epoch(Epoch(6)).build(next);
        next = BatchHeader::parse(&batch).expect("a batch of ours").next_offset();
        log.extend_from_slice(&batch);
    };
    for (round, codec) in Codec::ALL.into_iter().enumerate() {
        let at = |millis: i64| Timestamp(START.0 + 10_000 * round as i64 + millis);
        let mut many = BatchBuilder::new(codec);
        for number in 0..60i64 {
            let (key, value) = (format!("key {number}"), format!("value {number} ").repeat(1 + number as usize % 40));
            many.push(at(number * 7 % 50), Some(key.as_bytes()), Some(value.as_bytes()), &[]);
        }
        append(many);
        let mut odd = BatchBuilder::new(codec);
        odd.push(at(100), None, Some(b"no key"), &[(b"name", Some(b"value")), (b"nothing", None)]);
        odd.push(at(90), Some(b"tombstone"), None, &[]);
        odd.push(Timestamp::NONE, Some(b""), Some(b""), &[(b"", Some(b""))]);
        append(odd);
        let mut large = BatchBuilder::new(codec);
        large.push(at(200), Some(b"large"), Some(&b"0123456789abcdef".repeat(6_000)), &[]);
        append(large);
        let mut stamped = BatchBuilder::new(codec).log_append_time(at(300));
        stamped.push(at(5), Some(b"stamped"), Some(b"value"), &[]);
        append(stamped);
        let mut sequenced = BatchBuilder::new(codec).producer(77, 3, 10 * round as i32);
        sequenced.push(at(400), Some(b"sequenced"), Some(b"1"), &[]).push(at(401), None, Some(b"2"), &[]);
        append(sequenced);
        let mut gaps = BatchBuilder::new(codec).delete_horizon(at(90_000_000)).last_offset_delta(20);
        gaps.push_at(3, at(500), Some(b"gap"), Some(b"1"), &[]).push_at(9, at(501), Some(b"gap"), None, &[]);
        append(gaps);
    }
    let mut transaction = BatchBuilder::new(Codec::None).producer(78, 0, 0).transactional();
    transaction.push(Timestamp(START.0 + 90_000), Some(b"in a transaction"), Some(b"value"), &[]);
    append(transaction);
    let mut marker = BatchBuilder::new(Codec::None).producer(78, 0, -1).transactional().control();
    // A control record: version 0, type 1 (commit); its value: version 0, coordinator epoch 5.
    marker.push(Timestamp(START.0 + 90_001), Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 5]), &[]);
    append(marker);
    append(BatchBuilder::new(Codec::Zstd).producer(79, 0, 4).last_offset_delta(4));
    log
}

/// The indexes that an appender of these batches would keep, by Kafka's rule: an entry before the first batch that
/// begins more than the interval behind the last entry, and the greatest timestamp at the end.
fn indexes(log: &[u8]) -> (OffsetIndex, TimeIndex) {
    let (mut offsets, mut times) = (OffsetIndex::new(BASE), TimeIndex::new(BASE));
    let mut max = (Timestamp::NONE, BASE);
    let mut since = 0;
    for (position, header) in scan(log).map(|found| found.expect("batches of ours")) {
        if header.max_timestamp > max.0 {
            max = (header.max_timestamp, header.last_offset());
        }
        if since > INDEX_INTERVAL_BYTES {
            let point = IndexPoint {
                offset: header.last_offset(),
                position: Position(position as u64),
                max_timestamp: max.0,
                max_timestamp_offset: max.1,
            };
            offsets.push(point);
            times.push(point);
            since = 0;
        }
        since += header.size_bytes() as u64;
    }
    times.push_max(max.0, max.1);
    (offsets, times)
}

/// What `DumpLogSegments` prints of a batch.
fn batch_line(position: usize, header: &BatchHeader) -> String {
    let stamp = match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let last_sequence = match header.base_sequence {
        -1 => -1,
        first => first + header.last_offset_delta,
    };
    let horizon = match header.attributes.has_delete_horizon() {
        true => format!("OptionalLong[{}]", header.base_timestamp),
        false => "OptionalLong.empty".to_owned(),
    };
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {last_sequence} producerId: {} \
         producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {horizon} \
         position: {position} {stamp}: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: true",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.base_sequence,
        header.producer_id,
        header.producer_epoch,
        header.leader_epoch,
        header.is_transactional(),
        header.is_control(),
        header.max_timestamp,
        header.size_bytes(),
        header.magic,
        header.codec().expect("a codec of ours"),
        header.crc,
    )
}

/// What it prints of the records of a batch, but for those of control batches, whose parts it names.
fn record_lines(batch: &[u8]) -> Vec<String> {
    let records = records(batch, 1 << 20).expect("a batch of ours");
    let header = *records.header();
    let stamp = match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("our records are text");
    let mut lines = Vec::new();
    for record in &records {
        let record = record.expect("a record of ours");
        let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        let sequence = match header.base_sequence {
            -1 => -1,
            first => first + (record.offset - header.base_offset) as i32,
        };
        let names: Vec<_> = record.headers.iter().map(|header| text(header.key)).collect();
        let mut line = format!(
            "| offset: {} {stamp}: {} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [{}]",
            record.offset,
            record.timestamp,
            size(record.key),
            size(record.value),
            names.join(","),
        );
        if header.is_control() {
            line += " endTxnMarker: COMMIT coordinatorEpoch: 5";
        } else {
            line += &record.key.map(|key| format!(" key: {}", text(key))).unwrap_or_default();
            line += &record.value.map(|value| format!(" payload: {}", text(value))).unwrap_or_default();
        }
        lines.push(line);
    }
    lines
}

fn write_partition(dir: &Path, log: &[u8], offsets: &OffsetIndex, times: &TimeIndex) {
    let mut epochs = LeaderEpochs::new();
    epochs.assign(Epoch(6), BASE);
    let file = |suffix: &str| dir.join(format!("{:020}.{suffix}", BASE.0));
    let files = [
        (file("log"), log.to_vec()),
        (file("index"), offsets.encode()),
        (file("timeindex"), times.encode()),
        (dir.join("leader-epoch-checkpoint"), epochs.encode()),
        (dir.join("partition.metadata"), PartitionMetadata { topic_id: TopicId::random() }.encode()),
    ];
    for (path, bytes) in files {
        std::fs::write(path, bytes).expect("a temporary directory");
    }
}

fn dump(dir: &Path) -> (bool, Vec<String>) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dump.sh");
    let output = Command::new(&script).arg(dir).output().expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() != Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text.lines().map(str::to_owned).collect())
}

#[test]
#[ignore = "runs Apache Kafka: needs a JDK and Maven"]
fn kafka_reads_every_batch_record_and_index_entry_of_ours() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("ours-0");
    std::fs::create_dir(&dir).expect("a directory");
    let log = log();
    let (offsets, times) = indexes(&log);
    assert!(offsets.len() > 5 && times.len() > 5);
    write_partition(&dir, &log, &offsets, &times);

    let (good, printed) = dump(&dir);
    assert!(good, "{printed:#?}");
    let mut expected = Vec::new();
    for (position, header) in scan(&log).map(|found| found.expect("batches of ours")) {
        expected.push(batch_line(position, &header));
        expected.extend(record_lines(&log[position..position + header.size_bytes()]));
    }
    let batches: Vec<_> =
        printed.iter().filter(|line| line.starts_with("baseOffset") || line.starts_with('|')).collect();
    for (printed, expected) in batches.iter().zip(&expected) {
        assert_eq!(*printed, expected);
    }
    assert_eq!(batches.len(), expected.len());

    let entry = |line: &&String| line.starts_with("offset: ") || line.starts_with("timestamp: ");
    let entries: Vec<_> = printed.iter().filter(entry).collect();
    let mut expected: Vec<_> =
        offsets.iter().map(|(offset, position)| format!("offset: {offset} position: {position}")).collect();
    expected.extend(times.iter().map(|(timestamp, offset)| format!("timestamp: {timestamp} offset: {offset}")));
    assert_eq!(entries, expected.iter().collect::<Vec<_>>());
    assert_eq!(printed.iter().filter(|line| line.ends_with("passed sanity check.")).count(), 2);
}

#[test]
#[ignore = "runs Apache Kafka: needs a JDK and Maven"]
fn kafkas_reader_finds_the_fault_that_was_put_in() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("ours-0");
    std::fs::create_dir(&dir).expect("a directory");
    let mut log = log();
    let (offsets, times) = indexes(&log);
    // The first batch's first value.
    log[90] ^= 1;
    write_partition(&dir, &log, &offsets, &times);
    let (good, printed) = dump(&dir);
    assert!(!good && printed.iter().any(|line| line.ends_with("isvalid: false")));
}

/// Fills a partition through a store, in segments of a few batches, with a restart in between; with `compacts` it is compacted then.
fn fill_through_a_store(dir: &Path, name: &TopicPartition, compacts: bool) {
    let cleanup_policy = if compacts { CleanupPolicy::Compact } else { CleanupPolicy::Delete };
    for round in 0..2i64 {
        let (journal_bytes, arena_bytes) = (16 << 20, 8 << 20);
        let defaults = StoreConfig { checkpoint_interval_ms: 20, ..StoreConfig::new(dir) };
        let config = StoreConfig { shards: 1, pin: false, journal_bytes, arena_bytes, ..defaults };
        let store = Store::open(config).expect("opens");
        let topic = name.clone();
        let filled = store.call_blocking(store.shard_of(name), move |shard| {
            Box::pin(async move {
                // Settings are not the store's to keep: they are given again after the restart.
                let defaults = LogConfig { cleanup_policy, ..LogConfig::default() };
                let config = LogConfig { segment_bytes: 64 << 10, index_interval_bytes: 1024, ..defaults };
                match round {
                    0 => shard.create(&topic, TopicId::random(), config).await.expect("created"),
                    _ => shard.configure(&topic, config).expect("configured"),
                }
                let mut end = Offset::ZERO;
                for number in 0..100i64 {
                    let codec = Codec::ALL[number as usize % Codec::ALL.len()];
                    let mut builder = BatchBuilder::new(codec).producer(7, 0, (round * 100 + number) as i32 * 20);
                    for record in 0..20i64 {
                        let (key, at) = (format!("key {record}"), START.0 + number * 50 - record);
                        let value = format!("value {record} of {number} ").repeat(10 + 40 * (number as usize % 3));
                        builder.push(Timestamp(at), Some(key.as_bytes()), Some(value.as_bytes()), &[]);
                    }
                    let options = AppendOptions { epoch: Epoch(round as i32), ..AppendOptions::default() };
                    end = shard.append(&topic, &builder.build(Offset::ZERO), options).expect("appended").next_offset;
                    if number % 7 == 0 {
                        shard.flushed(&topic, end).await.expect("flushed");
                    }
                }
                shard.flushed(&topic, end).await.expect("flushed");
                if compacts {
                    // What is compacted has to be behind a checkpoint, which leaves nothing for a restart to read.
                    while shard.journal_bytes().0 > 0 {
                        shard.io().sleep(std::time::Duration::from_millis(20)).await;
                    }
                    let compacted = shard.apply_compaction(&topic).await.expect("compacted");
                    assert!(compacted.bytes_after < compacted.bytes_before / 4, "{compacted:?}");
                }
            })
        });
        filled.expect("the shard answers");
        store.close().expect("closes");
    }
}

/// Each batch that `inspect::dump` finds in the segments of `dir`, as far as Kafka's line says the same.
fn batches_we_find(dir: &Path) -> Vec<String> {
    let mut segments: Vec<_> =
        std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("one").path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    let mut lines = Vec::new();
    for segment in segments {
        let mut json = Vec::new();
        inspect::dump(&segment, true, &mut json).expect("our own segment");
        for line in String::from_utf8(json).expect("text").lines() {
            let fields: serde_json::Value = serde_json::from_str(line).expect("one JSON object per line");
            if fields["type"] != "batch" {
                continue;
            }
            assert_eq!(fields["checksum"], "right");
            let crc = u32::from_str_radix(fields["crc"].as_str().expect("hex"), 16).expect("hex");
            lines.push(format!(
                "baseOffset: {} lastOffset: {} count: {} baseSequence: {} producerId: {} producerEpoch: {} partitionLeaderEpoch: \
                 {} position: {} CreateTime: {} size: {} compresscodec: {} crc: {crc} isvalid: true",
                fields["base_offset"],
                fields["last_offset"],
                fields["records"],
                fields["base_sequence"],
                fields["producer_id"],
                fields["producer_epoch"],
                fields["leader_epoch"],
                fields["position"],
                fields["max_timestamp"],
                fields["bytes"],
                fields["codec"].as_str().expect("a name"),
            ));
        }
    }
    lines
}

/// A line of Kafka's without what [`batches_we_find`] does not say.
fn shortened(line: &str) -> String {
    let left_out = ["lastSequence:", "isTransactional:", "isControl:", "deleteHorizonMs:", "magic:"];
    let words: Vec<_> = line.split(' ').collect();
    let pairs = words.chunks(2).filter(|pair| !left_out.contains(&pair[0]));
    pairs.map(|pair| pair.join(" ")).collect::<Vec<_>>().join(" ")
}

#[test]
#[ignore = "runs Apache Kafka: needs a JDK and Maven"]
fn kafka_reads_what_the_store_leaves_and_finds_what_our_own_dump_finds() {
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    let name = TopicPartition::new("ours", 0);
    fill_through_a_store(dir.path(), &name, false);
    let partition = dir.path().join(name.to_string());
    let (good, printed) = dump(&partition);
    assert!(good, "{printed:#?}");
    let theirs: Vec<_> =
        printed.iter().filter(|line| line.starts_with("baseOffset")).map(|line| shortened(line)).collect();
    assert_eq!(theirs, batches_we_find(&partition));
    assert_eq!(theirs.len(), 200);
    let records = printed.iter().filter(|line| line.starts_with("| offset: ")).count();
    assert_eq!(records, 4_000);
    // A snapshot at the end of every segment, and where the log ended at the restart.
    let snapshots: Vec<_> = printed.iter().filter(|line| line.starts_with("producerId: 7 producerEpoch: 0")).collect();
    let segments = printed.iter().filter(|line| line.starts_with("Log starting offset")).count();
    assert_eq!(snapshots.len(), segments + 1, "{snapshots:#?}");
    assert!(snapshots.iter().any(|line| line.contains("lastSequence: 3999 lastOffset: 3999")), "{snapshots:#?}");
}

#[test]
#[ignore = "runs Apache Kafka: needs a JDK and Maven"]
fn kafka_reads_what_compaction_leaves_and_finds_what_our_own_dump_finds() {
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    let name = TopicPartition::new("ours", 0);
    fill_through_a_store(dir.path(), &name, true);
    let partition = dir.path().join(name.to_string());
    let (good, printed) = dump(&partition);
    assert!(good, "{printed:#?}");
    let theirs: Vec<_> =
        printed.iter().filter(|line| line.starts_with("baseOffset")).map(|line| shortened(line)).collect();
    assert_eq!(theirs, batches_we_find(&partition));
    assert!(theirs.iter().any(|line| line.contains("count: 0")), "no batch stands for one whose records are gone");
    let records = printed.iter().filter(|line| line.starts_with("| offset: ")).count();
    assert!((20..3_000).contains(&records), "{records} of 4000 records of 20 keys are left");
}
