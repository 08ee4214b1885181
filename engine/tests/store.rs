//! The store on the real machine: what is appended is read back, survives a restart, and keeps its order.

use std::rc::Rc;

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::log::LogConfig;
use corelog_engine::shard::{AppendOptions, ReadRequest, ReadUpTo, Shard, ShardId, Store, StoreConfig};
use corelog_engine::{Offset, Result, Timestamp, TopicId, TopicPartition};

fn small(dir: &std::path::Path, shards: usize) -> StoreConfig {
    StoreConfig {
        shards,
        pin: false,
        journal_bytes: 32 << 20,
        arena_bytes: 16 << 20,
        cache_bytes: 8 << 20,
        checkpoint_interval_ms: 100,
        ..StoreConfig::new(dir)
    }
}

fn batch(first: i64, records: i64, value_bytes: usize) -> Vec<u8> {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let mut builder = BatchBuilder::new(Codec::None);
    for number in first..first + records {
        let mut value = format!("value-{number}-").into_bytes();
        value.resize(value_bytes.max(value.len()), b'x');
        builder.push(Timestamp(now), Some(format!("key-{number}").as_bytes()), Some(&value), &[]);
    }
    builder.build(Offset::ZERO)
}

async fn read_all(shard: &Rc<Shard>, name: &TopicPartition) -> Result<Vec<(i64, String)>> {
    let mut from = shard.offsets(name)?.start;
    let mut all = Vec::new();
    loop {
        let request = ReadRequest { from, bytes_max: 1 << 20, at_least_one: true, up_to: ReadUpTo::HighWatermark };
        let read = shard.read(name, request).await?;
        if read.bytes == 0 {
            return Ok(all);
        }
        let bytes = read.to_vec();
        for found in corelog_engine::batch::scan(&bytes) {
            let (position, header) = found?;
            let batch = &bytes[position..position + header.size_bytes()];
            for record in corelog_engine::batch::records(batch, 1 << 24)?.iter() {
                let record = record?;
                all.push((record.offset.0, String::from_utf8(record.key.expect("a key").to_vec()).expect("text")));
            }
        }
        from = read.next_offset;
    }
}

fn check(all: &[(i64, String)], count: i64) {
    assert_eq!(all.len() as i64, count);
    for (place, (offset, key)) in all.iter().enumerate() {
        assert_eq!((*offset, key.as_str()), (place as i64, format!("key-{place}").as_str()));
    }
}

/// Appends `batches` of `records` from offset `first` on and waits until all are flushed.
fn fill(store: &Store, name: &TopicPartition, first: i64, batches: i64, records: i64, value_bytes: usize) {
    let topic = name.clone();
    store
        .call_blocking(store.shard_of(name), move |shard| {
            Box::pin(async move {
                let mut next = Offset(first);
                for number in 0..batches {
                    let bytes = batch(first + number * records, records, value_bytes);
                    shard.room().await;
                    let appended = shard.append(&topic, &bytes, AppendOptions::default()).expect("appended");
                    assert_eq!(appended.base_offset, next);
                    next = appended.next_offset;
                }
                shard.flushed(&topic, next).await.expect("flushed");
            })
        })
        .expect("the shard answers");
}

fn read_back(store: &Store, name: &TopicPartition) -> Vec<(i64, String)> {
    let topic = name.clone();
    let shard = store.shard_of(name);
    store
        .call_blocking(shard, move |shard| Box::pin(async move { read_all(&shard, &topic).await }))
        .expect("answers")
        .expect("read")
}

fn create(store: &Store, name: &TopicPartition, config: LogConfig) {
    let topic = name.clone();
    store
        .call_blocking(store.shard_of(name), move |shard| {
            Box::pin(async move { shard.create(&topic, TopicId::random(), config).await })
        })
        .expect("answers")
        .expect("created");
}

#[test]
fn what_was_appended_is_read_back_across_rolls_and_restarts() {
    for flush_messages in [1, u64::MAX] {
        for (records, value_bytes) in [(1, 10), (100, 100), (300, 2000)] {
            let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
            let name = TopicPartition::new("numbers", 0);
            let config = LogConfig { segment_bytes: 3 << 20, flush_messages, ..LogConfig::default() };
            let batches = (24 << 20) / (records * (value_bytes as i64 + 20)).max(12_000);
            let store = Store::open(small(dir.path(), 1)).expect("opens");
            create(&store, &name, config.clone());
            fill(&store, &name, 0, batches, records, value_bytes);
            check(&read_back(&store, &name), batches * records);
            store.close().expect("closes");
            drop(store);
            let store = Store::open(small(dir.path(), 2)).expect("opens again");
            check(&read_back(&store, &name), batches * records);
            fill(&store, &name, batches * records, batches, records, value_bytes);
            check(&read_back(&store, &name), 2 * batches * records);
            store.close().expect("closes");
        }
    }
}

/// More partitions than are synced one by one.
#[test]
fn many_partitions_are_checkpointed_closed_and_opened_together() {
    const PARTITIONS: i32 = 50;
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    let names: Vec<TopicPartition> = (0..PARTITIONS).map(|number| TopicPartition::new("many", number)).collect();
    let config = StoreConfig { checkpoint_interval_ms: 30, ..small(dir.path(), 2) };
    for life in 0..3 {
        let store = Store::open(config.clone()).expect("opens");
        for name in &names {
            if life == 0 {
                create(&store, name, LogConfig::default());
            }
            check(&read_back(&store, name), life * 30);
            fill(&store, name, life * 30, 3, 10, 1500);
        }
        names.iter().for_each(|name| check(&read_back(&store, name), life * 30 + 30));
        store.close().expect("closes");
        for name in &names {
            let files: Vec<String> = std::fs::read_dir(dir.path().join(name.to_string()))
                .expect("its directory")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
                .collect();
            let ends = |end: &str| files.iter().filter(|file| file.ends_with(end)).count();
            assert_eq!([".log", ".index", ".timeindex", ".tmp", ".points"].map(ends), [1, 1, 1, 0, 0], "{files:?}");
            assert!(files.contains(&format!("{:020}.snapshot", life * 30 + 30)), "{files:?}");
        }
    }
}

#[test]
fn the_next_segment_is_made_ready_before_the_log_rolls() {
    const BATCH: usize = 100_000;
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    let name = TopicPartition::new("numbers", 0);
    let partition = dir.path().join(name.to_string());
    let (next, second) = (partition.join("corelog-next"), partition.join(format!("{:020}.log", 10)));
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !is_so() {
            assert!(began.elapsed().as_secs() < 60, "{what}: not after a minute");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    let prepared = |store: &Store| {
        let count =
            store.call_blocking(ShardId(0), |shard| Box::pin(async move { shard.metrics().segments_prepared.get() }));
        count.expect("answers")
    };
    for flush_messages in [1, u64::MAX] {
        let store = Store::open(small(dir.path(), 1)).expect("opens");
        create(&store, &name, LogConfig { segment_bytes: 1 << 20, flush_messages, ..LogConfig::default() });
        fill(&store, &name, 0, 7, 1, BATCH);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!next.exists(), "the roll is still far");
        fill(&store, &name, 7, 1, 1, BATCH);
        until("a file is ready", &|| prepared(&store) == 1);
        assert!(next.exists());
        fill(&store, &name, 8, 4, 1, BATCH);
        until("it is the second segment, whole", &|| {
            std::fs::metadata(&second).is_ok_and(|file| file.len() == 1 << 20)
        });
        assert!(!next.exists());
        check(&read_back(&store, &name), 12);
        fill(&store, &name, 12, 7, 1, BATCH);
        until("and one is ready behind it", &|| prepared(&store) == 2);
        store.close().expect("closes");
        drop(store);
        assert!(!next.exists(), "a clean shutdown leaves none");

        std::fs::write(&next, "what a crash left").expect("written");
        let store = Store::open(small(dir.path(), 1)).expect("opens");
        assert!(!next.exists(), "nor does a recovery");
        fill(&store, &name, 19, 14, 1, BATCH);
        check(&read_back(&store, &name), 33);
        let deleted = name.clone();
        let delete = store.call_blocking(ShardId(0), |shard| Box::pin(async move { shard.delete(&deleted).await }));
        delete.expect("answers").expect("deleted");
        store.close().expect("closes");
        drop(store);
    }
}

#[test]
fn many_partitions_that_grow_at_once_share_the_cache() {
    const PARTITIONS: i32 = 64;
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    let store = Store::open(StoreConfig { checkpoint_interval_ms: 300, ..small(dir.path(), 1) }).expect("opens");
    let names: Vec<TopicPartition> = (0..PARTITIONS).map(|number| TopicPartition::new("many", number)).collect();
    names.iter().for_each(|name| create(&store, name, LogConfig::default()));
    for round in 0..10 {
        // Each has 1.3 MB by the end, and the chunk that comes next would hold 1 MiB.
        names.iter().for_each(|name| fill(&store, name, round * 8, 8, 1, 16_000));
    }
    // Checkpoints write what is still only in the journal; none of the partitions may be quiet meanwhile, and be made small.
    let began = std::time::Instant::now();
    let mut count = 80;
    loop {
        names.iter().for_each(|name| fill(&store, name, count, 1, 1, 10));
        count += 1;
        let held = store.call_blocking(ShardId(0), |shard| Box::pin(async move { shard.memory_bytes().0 }));
        let held = held.expect("answers");
        let is_little = held <= (8 << 20) + PARTITIONS as u64 * (64 << 10);
        if is_little && began.elapsed().as_millis() >= 1000 {
            break;
        }
        // The checkpoints of a machine that stands still for a while come later.
        assert!(began.elapsed().as_secs() < 60, "{held} bytes are held");
    }
    names.iter().for_each(|name| check(&read_back(&store, name), count));
    store.close().expect("closes");
}

#[test]
fn a_second_store_in_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(small(dir.path(), 1)).expect("opens");
    let second = Store::open(small(dir.path(), 1)).err().expect("is refused").to_string();
    assert!(second.contains("in use by another process"), "{second}");
    store.close().expect("closes");
    drop(store);
    Store::open(small(dir.path(), 1)).expect("opens").close().expect("closes");
}

#[test]
fn a_store_that_cannot_be_closed_cleanly_ends_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, name) = (Store::open(small(dir.path(), 2)).expect("opens"), TopicPartition::new("gone", 0));
    create(&store, &name, LogConfig::default());
    fill(&store, &name, 0, 1, 3, 20);
    // Its index cannot be written any more.
    std::fs::remove_dir_all(dir.path().join(name.to_string())).expect("removed");
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(store.close()));
    let outcome = ended.recv_timeout(std::time::Duration::from_secs(60)).expect("it ends");
    let told = outcome.expect_err("it cannot be closed cleanly").to_string();
    assert!(told.contains("gone-0"), "{told}");
}

#[test]
fn a_deleted_partition_gives_its_memory_back() {
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).expect("a directory");
    let config = StoreConfig { arena_bytes: 32 << 20, cache_bytes: 16 << 20, ..small(dir.path(), 1) };
    let store = Store::open(config).expect("opens");
    let name = TopicPartition::new("short-lived", 0);
    // Most of the arena comes after the start; until then buffers are from the heap.
    let whole = store.call_blocking(ShardId(0), |shard| {
        Box::pin(async move {
            while shard.io().facts().arena_bytes < 32 << 20 {
                shard.io().sleep(std::time::Duration::from_millis(5)).await;
            }
        })
    });
    whole.expect("the shard answers");
    for _ in 0..4 {
        create(&store, &name, LogConfig { flush_messages: u64::MAX, ..LogConfig::default() });
        // More than the cache, so that the oldest is given up too.
        fill(&store, &name, 0, 400, 1, 60_000);
        let name = name.clone();
        let (free, heap) = store
            .call_blocking(ShardId(0), move |shard| {
                Box::pin(async move {
                    shard.delete(&name).await.expect("deleted");
                    // What is under way still holds some.
                    for _ in 0..2000 {
                        if shard.io().counters().arena_free_bytes >= 30 << 20 {
                            break;
                        }
                        shard.io().sleep(std::time::Duration::from_millis(10)).await;
                    }
                    let counters = shard.io().counters();
                    (counters.arena_free_bytes, counters.heap_buffers)
                })
            })
            .expect("the shard answers");
        assert!(free >= 30 << 20, "{free} of {} bytes are free", 32 << 20);
        assert_eq!(heap, 0, "buffers had to come from the heap");
    }
    store.close().expect("closes");
}

#[test]
fn thousands_of_partitions_are_created_and_found_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(small(dir.path(), 2)).expect("opens");
    for number in 0..500 {
        let name = TopicPartition::new("many", number);
        create(&store, &name, LogConfig::default());
        fill(&store, &name, 0, 1, 3, 20);
    }
    store.close().expect("closes");
    drop(store);
    let store = Store::open(small(dir.path(), 1)).expect("opens");
    assert_eq!(store.partitions().len(), 500);
    for number in 0..500 {
        check(&read_back(&store, &TopicPartition::new("many", number)), 3);
    }
    let _ = ShardId(0);
    store.close().expect("closes");
}
