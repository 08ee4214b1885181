//! Apache Kafka's own files and verdicts, made by `golden/make.sh`, against ours.
//!
//! `golden-0` and `stamped-0` are partition directories as a broker leaves them, `segments.json` is what Kafka reads in
//! them, and `verdicts.json` what it says to batches of a producer, good and forged.

use std::path::PathBuf;

use corelog_engine::batch::{
    BatchBuilder, BatchErrorKind, Codec, HEADER_BYTES, Limits, Record, TimestampType, records, scan, validate,
    verify_crc,
};
use corelog_engine::log::{
    LeaderEpochs, OffsetIndex, PartitionMetadata, ProducedBatch, Producers, TimeIndex, decode_snapshot, encode_snapshot,
};
use corelog_engine::{Epoch, Offset, Position, Timestamp};
use serde_json::Value;

const OUTPUT_BYTES_MAX: usize = 1 << 20;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).expect("make.sh writes JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<i64> {
    list(value).iter().map(number).collect()
}

fn hex(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?;
    let digits = |place| u8::from_str_radix(&text[place..place + 2], 16).expect("hex digits");
    Some((0..text.len()).step_by(2).map(digits).collect())
}

/// Each segment of each golden partition: its directory, base offset, what Kafka says of it.
fn segments() -> Vec<(String, i64, Value)> {
    let partitions = json("segments.json");
    let mut segments = Vec::new();
    for partition in list(&partitions["partitions"]) {
        for segment in list(&partition["segments"]) {
            let dir = partition["dir"].as_str().expect("a name").to_owned();
            segments.push((dir, number(&segment["base_offset"]), segment.clone()));
        }
    }
    assert_eq!(segments.len(), 4);
    segments
}

fn file(dir: &str, base: i64, suffix: &str) -> Vec<u8> {
    bytes(&format!("{dir}/{base:020}.{suffix}"))
}

fn assert_record(record: &Record<'_>, expected: &Value) {
    assert_eq!((record.offset.0, record.timestamp.0), (number(&expected[0]), number(&expected[1])));
    assert_eq!(record.key.map(<[u8]>::to_vec), hex(&expected[2]), "key of {}", record.offset);
    let value = record.value.map_or((-1, 0), |value| (value.len() as i64, i64::from(crc32c::crc32c(value))));
    assert_eq!(value, (number(&expected[3]), number(&expected[4])), "value of {}", record.offset);
    let mut headers = Vec::new();
    for header in record.headers.iter() {
        headers.push(Some(header.key.to_vec()));
        headers.push(header.value.map(<[u8]>::to_vec));
    }
    assert_eq!(headers, list(&expected[5]).iter().map(hex).collect::<Vec<_>>(), "headers of {}", record.offset);
}

#[test]
fn every_batch_that_kafka_wrote_reads_as_kafka_reads_it() {
    let mut codecs = [0; 5];
    for (dir, base, segment) in segments() {
        let log = file(&dir, base, "log");
        let found: Vec<_> = scan(&log).map(|found| found.expect("Kafka's batches are good")).collect();
        let expected = list(&segment["batches"]);
        assert_eq!(found.len(), expected.len(), "batches of {dir} {base}");
        for ((position, header), expected) in found.iter().zip(expected) {
            let number = |name: &str| number(&expected[name]);
            assert_eq!((*position as i64, header.size_bytes() as i64), (number("position"), number("bytes")));
            assert_eq!((header.base_offset.0, header.last_offset().0), (number("base_offset"), number("last_offset")));
            assert_eq!((i64::from(header.leader_epoch.0), i64::from(header.crc)), (number("epoch"), number("crc")));
            assert_eq!(header.max_timestamp.0, number("max_timestamp"));
            assert_eq!(
                (header.producer_id, i64::from(header.producer_epoch)),
                (number("producer_id"), number("producer_epoch"))
            );
            assert_eq!(i64::from(header.base_sequence), number("base_sequence"));
            let codec = header.codec().expect("a codec");
            codecs[codec.id() as usize] += 1;
            assert_eq!(codec.name(), expected["codec"]);
            assert_eq!(header.is_transactional(), expected["transactional"]);
            assert_eq!(header.is_control(), expected["control"]);
            let stamped = header.timestamp_type() == TimestampType::LogAppendTime;
            assert_eq!(if stamped { "LogAppendTime" } else { "CreateTime" }, expected["timestamp_type"]);

            let batch = &log[*position..*position + header.size_bytes()];
            assert!(verify_crc(batch));
            let read = records(batch, OUTPUT_BYTES_MAX).expect("Kafka's records are good");
            let read: Vec<_> = read.iter().map(|record| record.expect("Kafka's records are good")).collect();
            assert_eq!(read.len(), list(&expected["records"]).len());
            for (record, expected) in read.iter().zip(list(&expected["records"])) {
                assert_record(record, expected);
            }
        }
        assert_eq!(scan(&log).map(|found| found.expect("good").1.size_bytes()).sum::<usize>(), log.len());
    }
    assert!(codecs.iter().all(|count| *count > 3), "the golden files have every codec: {codecs:?}");
}

#[test]
fn what_the_builder_makes_of_kafkas_records_are_kafkas_bytes() {
    for (dir, base, _) in segments() {
        let log = file(&dir, base, "log");
        for (position, header) in scan(&log).map(|found| found.expect("good")) {
            let batch = &log[position..position + header.size_bytes()];
            let codec = header.codec().expect("a codec");
            let read = records(batch, OUTPUT_BYTES_MAX).expect("good");
            let mut builder = BatchBuilder::new(codec).leader_epoch(header.leader_epoch);
            builder = builder.producer(header.producer_id, header.producer_epoch, header.base_sequence);
            if header.is_transactional() {
                builder = builder.transactional();
            }
            if header.is_control() {
                builder = builder.control();
            }
            if header.timestamp_type() == TimestampType::LogAppendTime {
                // The records' own times are lost to a reader, so such a batch cannot be made again.
                continue;
            }
            for record in &read {
                let record = record.expect("good");
                let headers: Vec<_> = record.headers.iter().map(|header| (header.key, header.value)).collect();
                builder.push(record.timestamp, record.key, record.value, &headers);
            }
            let built = builder.build(header.base_offset);
            if codec == Codec::None {
                assert_eq!(built, batch, "batch {} of {dir}", header.base_offset);
                continue;
            }
            // The libraries compress to other bytes; the rest is the same, and so is what comes out.
            assert_eq!(built[HEADER_BYTES - 40..HEADER_BYTES], batch[HEADER_BYTES - 40..HEADER_BYTES]);
            let again = records(&built, OUTPUT_BYTES_MAX).expect("good");
            assert!(again.iter().eq(read.iter()), "batch {} of {dir}", header.base_offset);
        }
    }
}

#[test]
fn offset_indexes_read_look_up_and_write_as_kafkas() {
    for (dir, base, segment) in segments() {
        let (log, index) = (file(&dir, base, "log"), file(&dir, base, "index"));
        let log_bytes = Position(log.len() as u64);
        let read = OffsetIndex::decode(&path("index"), Offset(base), &index, log_bytes).expect("Kafka's index is good");
        let entries: Vec<_> = read.iter().map(|(offset, position)| vec![offset.0, position.0 as i64]).collect();
        assert_eq!(entries, list(&segment["offset_index"]).iter().map(numbers).collect::<Vec<_>>());
        for floor in list(&segment["offset_floors"]).iter().map(numbers) {
            // Kafka answers with the start of the segment where there is no entry.
            let (offset, position) = read.floor(Offset(floor[0])).unwrap_or((Offset(base), Position::ZERO));
            assert_eq!((offset.0, position.0 as i64), (floor[1], floor[2]), "floor of {} in {dir}", floor[0]);
        }
        assert_eq!(read.encode(), index);
    }
}

#[test]
fn time_indexes_read_look_up_and_write_as_kafkas() {
    for (dir, base, segment) in segments() {
        let (log, index) = (file(&dir, base, "log"), file(&dir, base, "timeindex"));
        let end = scan(&log).map(|found| found.expect("good").1.next_offset()).last().expect("no segment is empty");
        let read = TimeIndex::decode(&path("timeindex"), Offset(base), &index, end).expect("Kafka's index is good");
        let entries: Vec<_> = read.iter().map(|(timestamp, offset)| vec![timestamp.0, offset.0]).collect();
        assert_eq!(entries, list(&segment["time_index"]).iter().map(numbers).collect::<Vec<_>>());
        for floor in list(&segment["time_floors"]).iter().map(numbers) {
            let (timestamp, offset) = read.floor(Timestamp(floor[0])).unwrap_or((Timestamp::NONE, Offset(base)));
            assert_eq!((timestamp.0, offset.0), (floor[1], floor[2]), "floor of {} in {dir}", floor[0]);
        }
        assert_eq!(read.encode(), index);
    }
}

#[test]
fn leader_epochs_and_topic_ids_read_and_write_as_kafkas() {
    for partition in list(&json("segments.json")["partitions"]) {
        let dir = partition["dir"].as_str().expect("a name");
        let checkpoint = bytes(&format!("{dir}/leader-epoch-checkpoint"));
        let epochs = LeaderEpochs::decode(&path("leader-epoch-checkpoint"), &checkpoint).expect("Kafka's is good");
        let entries: Vec<_> = epochs.entries().iter().map(|(epoch, start)| vec![i64::from(epoch.0), start.0]).collect();
        assert_eq!(entries, list(&partition["epochs"]).iter().map(numbers).collect::<Vec<_>>());
        assert_eq!(epochs.encode(), checkpoint);
        let end = Offset(number(&partition["end_offset"]));
        for expected in list(&partition["epoch_ends"]).iter().map(numbers) {
            let (epoch, offset) = epochs.end_offset(Epoch(expected[0] as i32), end);
            assert_eq!((i64::from(epoch.0), offset.0), (expected[1], expected[2]), "end of epoch {}", expected[0]);
        }
        let metadata = bytes(&format!("{dir}/partition.metadata"));
        let read = PartitionMetadata::decode(&path("partition.metadata"), &metadata).expect("Kafka's is good");
        assert_eq!(read.topic_id.to_string(), partition["topic_id"].as_str().expect("an id"));
        assert_eq!(read.encode(), metadata);
    }
}

/// A replay of Kafka's batches, transactions among them, gives at each snapshot's offset what Kafka wrote there.
#[test]
fn producers_read_and_write_as_kafkas_and_a_replay_of_its_log_gives_them() {
    let mut compared = 0;
    for dir in ["golden-0", "stamped-0"] {
        let mut producers = Producers::default();
        for (_, base, _) in segments().into_iter().filter(|(other, ..)| other == dir) {
            let log = file(dir, base, "log");
            for (position, header) in scan(&log).map(|found| found.expect("good")) {
                if let Some(batch) = ProducedBatch::of(&header, &log[position..position + header.size_bytes()]) {
                    producers.note(&batch, false);
                }
                let snapshot = format!("{dir}/{:020}.snapshot", header.next_offset().0);
                if path(&snapshot).exists() {
                    let theirs = bytes(&snapshot);
                    let mut read = decode_snapshot(&path(&snapshot), &theirs).expect("Kafka's snapshot is good");
                    assert_eq!(encode_snapshot(&read), theirs);
                    // Kafka writes them in the order of a hash map.
                    read.sort_unstable_by_key(|producer| producer.id);
                    assert_eq!(encode_snapshot(&producers.to_vec()), encode_snapshot(&read), "{snapshot}");
                    compared += read.len();
                }
            }
        }
    }
    assert!(compared > 5, "{compared} producers");
}

#[test]
fn a_damaged_snapshot_is_told_apart_at_every_byte() {
    let whole = bytes("golden-0/00000000000000000537.snapshot");
    let path = path("snapshot");
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        assert!(decode_snapshot(&path, &bytes).is_err(), "byte {place}");
        assert!(decode_snapshot(&path, &whole[..place]).is_err(), "cut to {place}");
    }
}

fn limits(now: i64, settings: &Value) -> Limits {
    let mut limits = Limits::new(Timestamp(now));
    for (name, value) in settings.as_object().expect("settings") {
        let value = value.as_str().expect("text");
        let number = || value.parse::<i64>().expect("a number");
        match name.as_str() {
            "message.timestamp.type" => limits.timestamp_type = TimestampType::LogAppendTime,
            "cleanup.policy" => limits.keyed = true,
            "max.message.bytes" => limits.max_batch_bytes = number() as usize,
            "message.timestamp.before.max.ms" => limits.before_max_ms = number(),
            "message.timestamp.after.max.ms" => limits.after_max_ms = number(),
            other => panic!("setting {other}"),
        }
    }
    limits
}

fn kafka_name(kind: BatchErrorKind) -> &'static str {
    match kind {
        BatchErrorKind::Corrupt => "CORRUPT_MESSAGE",
        BatchErrorKind::TooLarge => "MESSAGE_TOO_LARGE",
        BatchErrorKind::InvalidTimestamp => "INVALID_TIMESTAMP",
        BatchErrorKind::InvalidRecord | BatchErrorKind::UnsupportedMagic => "INVALID_RECORD",
        BatchErrorKind::UnsupportedCodec => "UNSUPPORTED_COMPRESSION_TYPE",
    }
}

/// Where we answer otherwise than Kafka, on purpose: the start of the case's name, and our answer. All are refusals of
/// what no client sends on purpose, and what Kafka would store, so that readers see other offsets or lengths than were
/// meant. A fault of a client is never UNKNOWN_SERVER_ERROR here, which the list need not say.
const DIFFERENCES: &[(&str, &str)] = &[
    // Kafka trusts the deltas of uncompressed records, and the offsets in the log then contradict the batch's.
    ("none: a gap between offsets, last offset delta to match", "INVALID_RECORD"),
    ("record: offset delta", "INVALID_RECORD"),
    // Kafka drops the bytes behind the batch.
    ("a batch and a bit", "INVALID_RECORD"),
    ("a batch and a whole header", "INVALID_RECORD"),
    // Kafka takes what follows the stated length for a second batch, and that one is corrupt.
    ("length 49", "INVALID_RECORD"),
    ("length 50", "INVALID_RECORD"),
    // Kafka clears the flag where the topic has CreateTime, and refuses it where it has LogAppendTime.
    ("log append time set by the client", "INVALID_TIMESTAMP"),
    // Kafka takes any negative length for -1, and does not compare a compressed record's length with its parts.
    ("record: key of length -2", "INVALID_RECORD"),
    ("record: value of length -2", "INVALID_RECORD"),
    ("record: header value of length -2", "INVALID_RECORD"),
    ("record: length one more than there is, lz4", "INVALID_RECORD"),
    ("record: length one less than there is, lz4", "INVALID_RECORD"),
    ("record: length 2^31-1, lz4", "INVALID_RECORD"),
];

#[test]
fn kafka_accepts_and_refuses_what_we_do() {
    let verdicts = json("verdicts.json");
    let epoch = Epoch(number(&verdicts["epoch"]) as i32);
    let mut differences = Vec::new();
    for case in list(&verdicts["cases"]) {
        let name = case["name"].as_str().expect("a name");
        let batch = hex(&case["batch"]).expect("bytes");
        let limits = limits(number(&verdicts["now"]), &case["settings"]);
        let theirs = case["error"].as_str().expect("an error's name");
        let ours = validate(&batch, &limits);
        let answer = ours.as_ref().map_or_else(|error| kafka_name(error.kind()), |_| "NONE");
        if answer != theirs {
            differences.push((name, theirs, answer));
            continue;
        }
        match ours {
            Err(error) => {
                let index = case.get("record_index").map(number);
                let named = error.rejected_records().first().map(|record| i64::from(record.index));
                assert!(index.is_none() || named == index, "{name}: {error}");
            }
            Ok(valid) => {
                let base = Offset(number(&case["base_offset"]));
                let append_time = (limits.timestamp_type == TimestampType::LogAppendTime).then_some(limits.now);
                let mut stored = vec![0; batch.len()];
                valid.write_to(&mut stored, base, epoch, append_time);
                let mut expected = batch.clone();
                if case["stored"] == "as sent" {
                    expected[..8].copy_from_slice(&base.0.to_be_bytes());
                    expected[12..16].copy_from_slice(&epoch.0.to_be_bytes());
                } else {
                    expected = hex(&case["stored"]).expect("bytes");
                }
                assert_eq!(stored, expected, "{name}");
            }
        }
    }
    differences.retain(|(name, theirs, answer)| {
        let listed = DIFFERENCES.iter().any(|(start, ours)| name.starts_with(start) && ours == answer);
        let never = *theirs == "UNKNOWN_SERVER_ERROR" && *answer != "NONE";
        !never && !listed
    });
    assert!(differences.is_empty(), "case, Kafka's answer, ours: {differences:#?}");
}
