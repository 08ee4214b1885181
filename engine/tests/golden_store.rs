//! Apache Kafka's partition directories under our store: what a broker left opens and answers as it did there, and what we
//! write of the same batches are Kafka's files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corelog_engine::batch::{BatchBuilder, Codec, Origin, scan};
use corelog_engine::shard::TimedOffset;
use corelog_engine::{
    AppendOptions, Epoch, LogConfig, Offset, ReadRequest, ReadUpTo, Store, StoreConfig, Timestamp, TopicId,
    TopicPartition,
};
use serde_json::Value;

/// What `golden/make.sh` set.
const INDEX_INTERVAL_BYTES: u32 = 1024;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn partitions() -> Vec<Value> {
    let json: Value = serde_json::from_slice(&bytes(&golden("segments.json"))).expect("make.sh writes JSON");
    json["partitions"].as_array().expect("partitions").clone()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(number).collect()
}

fn name_of(partition: &Value) -> TopicPartition {
    TopicPartition::from_dir_name(partition["dir"].as_str().expect("a name")).expect("a partition's directory")
}

fn config(dir: &Path) -> StoreConfig {
    let (journal_bytes, arena_bytes) = (16 << 20, 8 << 20);
    StoreConfig { shards: 1, pin: false, journal_bytes, arena_bytes, cache_bytes: 4 << 20, ..StoreConfig::new(dir) }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

/// The segments of a partition directory, one after the other.
fn whole_log(dir: &Path) -> Vec<u8> {
    let mut logs = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.insert(path.clone(), bytes(&path));
        }
    }
    logs.into_values().flatten().collect()
}

/// What a store says of a partition.
struct Answers {
    start: Offset,
    end: Offset,
    bytes: Vec<u8>,
    times: Vec<Option<TimedOffset>>,
    epoch_ends: Vec<(Epoch, Offset)>,
}

fn ask(store: &Store, name: &TopicPartition, times: Vec<i64>, epochs: Vec<i64>) -> Answers {
    let topic = name.clone();
    let answers = store.call_blocking(store.shard_of(name), move |shard| {
        Box::pin(async move {
            let offsets = shard.offsets(&topic).expect("it is there");
            let mut bytes = Vec::new();
            let mut from = offsets.start;
            while from < offsets.end {
                let request = ReadRequest { from, bytes_max: 30_000, at_least_one: true, up_to: ReadUpTo::End };
                let read = shard.read(&topic, request).await.expect("readable");
                bytes.extend_from_slice(&read.to_vec());
                from = read.next_offset;
            }
            let mut found = Vec::new();
            for time in times {
                found.push(match time {
                    -3 => shard.max_timestamp(&topic).await.expect("answered"),
                    time => shard.offset_for_timestamp(&topic, Timestamp(time)).await.expect("answered"),
                });
            }
            let end_of = |epoch| shard.end_offset_for_epoch(&topic, Epoch(epoch as i32)).expect("answered");
            let epoch_ends = epochs.into_iter().map(end_of).collect();
            Answers { start: offsets.start, end: offsets.end, bytes, times: found, epoch_ends }
        })
    });
    answers.expect("the shard answers")
}

fn check_answers(store: &Store, partition: &Value) {
    // The start, the end and what comes after -3 are the server's to answer.
    let times: Vec<_> = partition["offsets_for_times"].as_array().expect("a list").iter().map(numbers).collect();
    let times: Vec<_> = times.into_iter().filter(|asked| asked[0] >= 0 || asked[0] == -3).collect();
    let ends: Vec<_> = partition["epoch_ends"].as_array().expect("a list").iter().map(numbers).collect();
    let name = name_of(partition);
    let (asked, epochs) = (times.iter().map(|time| time[0]).collect(), ends.iter().map(|end| end[0]).collect());
    let answers = ask(store, &name, asked, epochs);

    assert_eq!((answers.start, answers.end), (Offset::ZERO, Offset(number(&partition["end_offset"]))));
    assert!(answers.bytes == whole_log(&golden(&name.to_string())), "the bytes of {name}");
    for (expected, answer) in times.iter().zip(answers.times) {
        let answer = answer.map(|found| vec![found.0.0, found.1.0, i64::from(found.2.0)]);
        assert_eq!(answer.unwrap_or_default(), expected[1..], "time {} in {name}", expected[0]);
    }
    for (expected, (epoch, offset)) in ends.iter().zip(answers.epoch_ends) {
        assert_eq!((i64::from(epoch.0), offset.0), (expected[1], expected[2]), "epoch {} of {name}", expected[0]);
    }
}

#[test]
fn what_a_kafka_broker_left_opens_and_answers_as_there() {
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    for partition in partitions() {
        let name = partition["dir"].as_str().expect("a name").to_owned();
        copy_dir(&golden(&name), &dir.path().join(&name));
    }
    // Again after a restart, when a checkpoint knows them.
    for _ in 0..2 {
        let store = Store::open(config(dir.path())).expect("opens");
        for partition in partitions() {
            let id: TopicId = partition["topic_id"].as_str().expect("an id").parse().expect("an id");
            assert!(store.partitions().contains(&(name_of(&partition), id)), "{:?}", store.partitions());
            check_answers(&store, &partition);
        }
        store.close().expect("closes");
        for partition in partitions() {
            let name = name_of(&partition).to_string();
            assert!(
                whole_log(&dir.path().join(&name)) == whole_log(&golden(&name)),
                "the files of {name} are as before"
            );
        }
    }
}

/// Aborted transactions among the records from one offset to another: producers and first offsets.
fn aborted(store: &Store, name: &TopicPartition, from: i64, to: i64) -> Vec<(i64, i64)> {
    let topic = name.clone();
    let found = store.call_blocking(store.shard_of(name), move |shard| {
        Box::pin(async move { shard.aborted_transactions(&topic, Offset(from), Offset(to)).await.expect("answered") })
    });
    found.expect("the shard answers").into_iter().map(|(id, first)| (id, first.0)).collect()
}

#[test]
fn what_kafka_aborted_is_known_and_what_it_left_open_counts_as_aborted() {
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    let partition = partitions().remove(0);
    let name = name_of(&partition);
    copy_dir(&golden(&name.to_string()), &dir.path().join(name.to_string()));
    let segments = partition["segments"].as_array().expect("segments").iter();
    let known: Vec<Vec<i64>> =
        segments.flat_map(|segment| segment["aborted"].as_array().expect("a list").iter().map(numbers)).collect();
    assert_eq!(known.len(), 2, "the fixture has some");
    let end = number(&partition["end_offset"]);
    let open = (3_000, end + 1);
    let store = Store::open(config(dir.path())).expect("opens");
    let topic = name.clone();
    let appended = store.call_blocking(store.shard_of(&name), move |shard| {
        Box::pin(async move {
            let options = AppendOptions { epoch: Epoch(-1), origin: Origin::Client };
            for builder in
                [BatchBuilder::new(Codec::None), BatchBuilder::new(Codec::None).producer(3_000, 0, 0).transactional()]
            {
                let mut builder = builder;
                builder.push(Timestamp(1_000), None, Some(b"x"), &[]);
                shard.append(&topic, &builder.build(Offset::ZERO), options).expect("good");
            }
        })
    });
    appended.expect("the shard answers");
    for from in (0..end + 2).step_by(3) {
        for to in [from + 1, from + 3, from + 10, end + 1, end + 2] {
            let among = known.iter().filter(|one| one[2] >= from && one[1] < to).map(|one| (one[0], one[1]));
            let expected: Vec<_> = among.chain((to > open.1).then_some(open)).collect();
            assert_eq!(aborted(&store, &name, from, to), expected, "from {from} to {to}");
        }
    }
    store.close().expect("closes");
    drop(store);
    // The same after a restart; and what is cut off is not told of again when its offsets are others'.
    let store = Store::open(config(dir.path())).expect("opens");
    assert_eq!(aborted(&store, &name, 0, end + 2).len(), 3);
    let (topic, cut) = (name.clone(), known[1][2]);
    let end = store.call_blocking(store.shard_of(&name), move |shard| {
        Box::pin(async move { shard.truncate(&topic, Offset(cut)).await.expect("cut") })
    });
    assert!(end.expect("the shard answers").0 <= cut);
    let left = vec![(known[0][0], known[0][1]), (known[1][0], known[1][1])];
    // The first has its marker, the second has lost it and is open again.
    assert_eq!(aborted(&store, &name, 0, i64::MAX), left);
    store.close().expect("closes");
    drop(store);
    let index = dir.path().join(name.to_string()).join("00000000000000000292.txnindex");
    assert_eq!(std::fs::metadata(&index).expect("it is there").len(), 0, "{}", index.display());

    // Whoever cannot know what was aborted shows nothing.
    std::fs::write(&index, [0; 35]).expect("written");
    let store = Store::open(config(dir.path())).expect("opens");
    let topic = name.clone();
    let refused = store.call_blocking(store.shard_of(&name), move |shard| {
        Box::pin(async move { shard.aborted_transactions(&topic, Offset(0), Offset(1)).await.expect_err("damaged") })
    });
    let refused = refused.expect("the shard answers");
    assert!(refused.to_string().contains("00000000000000000292.txnindex"), "{refused}");
    store.close().expect("closes");
    drop(store);
}

#[test]
fn the_batches_of_a_kafka_segment_become_the_same_files_here() {
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    let name = TopicPartition::new("golden", 0);
    let theirs = golden("golden-0");
    let log = bytes(&theirs.join("00000000000000000000.log"));
    let id: TopicId = partitions()[0]["topic_id"].as_str().expect("an id").parse().expect("an id");

    let store = Store::open(config(dir.path())).expect("opens");
    let (topic, sent) = (name.clone(), log.clone());
    let appended = store.call_blocking(store.shard_of(&name), move |shard| {
        Box::pin(async move {
            let settings = LogConfig { index_interval_bytes: INDEX_INTERVAL_BYTES, ..LogConfig::default() };
            shard.create(&topic, id, settings).await.expect("created");
            shard.set_epoch(&topic, Epoch(0)).expect("an epoch");
            for (position, header) in scan(&sent).map(|found| found.expect("good")) {
                // As the producer sent it: no place in the log yet.
                let mut batch = sent[position..position + header.size_bytes()].to_vec();
                batch[..8].fill(0);
                batch[12..16].fill(0xff);
                let options = AppendOptions { epoch: Epoch(0), origin: Origin::Client };
                let appended = shard.append(&topic, &batch, options).expect("appended");
                assert_eq!(appended.base_offset, header.base_offset);
            }
        })
    });
    appended.expect("the shard answers");
    store.close().expect("closes");

    for file in ["00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex"] {
        assert!(bytes(&dir.path().join("golden-0").join(file)) == bytes(&theirs.join(file)), "{file}");
    }
    assert_eq!(bytes(&dir.path().join("golden-0/partition.metadata")), bytes(&theirs.join("partition.metadata")));
    assert_eq!(bytes(&dir.path().join("golden-0/leader-epoch-checkpoint")), b"0\n1\n0 0\n");
}
