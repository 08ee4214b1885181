//! A full disk on the simulated machine: appends are refused for the moment, reads go on, nothing acknowledged is lost, and when
//! there is space again appends go on.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::batch::{self, BatchBuilder, Codec};
use corelog_engine::io::Io;
use corelog_engine::io::sim::{Faults, SimConfig, Simulation};
use corelog_engine::log::LogConfig;
use corelog_engine::shard::{AppendOptions, ReadRequest, ReadUpTo, Shard, StoreConfig};
use corelog_engine::{Error, Offset, TopicId, TopicPartition};

const FILLER: &str = "/data/filler";

fn config() -> StoreConfig {
    StoreConfig {
        journal_bytes: 8 << 20,
        arena_bytes: 4 << 20,
        cache_bytes: 1 << 20,
        checkpoint_interval_ms: 500,
        backlog_bytes_max: 1 << 20,
        ..StoreConfig::new("/data")
    }
}

fn batch(io: &Io, number: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    let mut value = number.to_string().into_bytes();
    value.resize(6000, b'x');
    builder.push(io.unix_time(), None, Some(&value), &[]);
    builder.build(Offset::ZERO)
}

/// Appends and waits until it is safe, or refused: which comes soon. The outer result is that of the append itself.
async fn append(
    io: &Io,
    shard: &Rc<Shard>,
    name: &TopicPartition,
    number: i64,
) -> Result<Result<Offset, Error>, Error> {
    let next = shard.append(name, &batch(io, number), AppendOptions::default())?.next_offset;
    tokio::select! {
        flushed = shard.flushed(name, next) => Ok(flushed.map(|()| next)),
        () = io.sleep(Duration::from_secs(1)) => panic!("{next} waits for space and nobody is told"),
    }
}

/// Others use the disk too: not a block is left.
async fn take_the_rest(io: &Io) {
    let mut at = 0;
    for piece in [64 << 10, 4096, 1] {
        while io.append_file(Path::new("/data/rest"), at, vec![1; piece]).await.is_ok() {
            at += piece as u64;
        }
    }
}

/// The numbers in the log, which has to be without a gap.
async fn numbers(shard: &Rc<Shard>, name: &TopicPartition) -> Vec<i64> {
    let (mut from, mut numbers) = (Offset::ZERO, Vec::new());
    loop {
        let request = ReadRequest { from, bytes_max: 1 << 20, at_least_one: true, up_to: ReadUpTo::HighWatermark };
        let read = shard.read(name, request).await.expect("reads go on");
        if read.bytes == 0 {
            return numbers;
        }
        let bytes = read.to_vec();
        for found in batch::scan(&bytes) {
            let (position, header) = found.expect("a batch");
            assert_eq!(header.base_offset.0, numbers.len() as i64);
            for record in
                batch::records(&bytes[position..position + header.size_bytes()], 1 << 20).expect("records").iter()
            {
                let value =
                    String::from_utf8(record.expect("a record").value.expect("a value").to_vec()).expect("text");
                numbers.push(value.trim_end_matches('x').parse().expect("a number"));
            }
        }
        from = read.next_offset;
    }
}

#[test]
fn a_full_disk_refuses_appends_for_the_moment_and_nothing_else() {
    for durable in [true, false] {
        for seed in 0..6 {
            let capacity_bytes = Some((18 << 20) + seed * 100_000);
            let faults = Faults { capacity_bytes, ..Default::default() };
            let sim = Simulation::new(seed, SimConfig { faults, ..SimConfig::default() });
            sim.run(|io| async move {
                io.create_dir_all(Path::new("/data")).await.expect("a directory");
                io.append_file(Path::new(FILLER), 0, vec![1; 2 << 20]).await.expect("a file");
                let shard = Shard::open_alone(&io, config()).await.expect("a store");
                let name = TopicPartition::new("t", 0);
                let log = LogConfig {
                    flush_messages: if durable { 1 } else { u64::MAX },
                    segment_bytes: if seed % 2 == 0 { 1 << 20 } else { 64 << 20 },
                    index_interval_bytes: 64,
                    ..LogConfig::default()
                };
                shard.create(&name, TopicId::random(), log).await.expect("a partition");

                let (mut next, mut acknowledged, mut refused) = (0, Offset::ZERO, 0);
                while refused < 50 {
                    assert!(next < 5000, "seed {seed}: the disk does not fill");
                    match append(&io, &shard, &name, next).await {
                        Ok(safe) => {
                            acknowledged = safe.unwrap_or(acknowledged);
                            next += 1;
                        }
                        Err(Error::DiskFull { .. } | Error::Overloaded(_)) => {
                            if refused == 0 {
                                take_the_rest(&io).await;
                            }
                            refused += 1;
                            io.sleep(Duration::from_millis(300)).await;
                        }
                        Err(other) => panic!("seed {seed}, durable {durable}: {other}"),
                    }
                }
                let there = numbers(&shard, &name).await;
                assert!(there.len() as i64 >= acknowledged.0, "seed {seed}: {} of {acknowledged}", there.len());

                io.remove_file(Path::new(FILLER)).await.expect("removed");
                io.sleep(Duration::from_secs(2)).await;
                for _ in 0..20 {
                    let safe = append(&io, &shard, &name, next)
                        .await
                        .unwrap_or_else(|error| panic!("seed {seed}, durable {durable}: {error}"));
                    assert!(safe.is_ok(), "seed {seed}, durable {durable}: there is space, and it is refused");
                    next += 1;
                }
                assert_eq!(numbers(&shard, &name).await, (0..next).collect::<Vec<_>>(), "seed {seed}");
                shard.close().await.expect("a clean end");
            });
        }
    }
}

#[test]
fn files_that_wait_to_be_used_again_are_given_up_when_the_disk_is_full() {
    const CAPACITY_BYTES: u64 = 24 << 20;
    for durable in [true, false] {
        let faults = Faults { capacity_bytes: Some(CAPACITY_BYTES), ..Default::default() };
        let sim = Simulation::new(7, SimConfig { faults, ..SimConfig::default() });
        sim.run(|io| async move {
            io.create_dir_all(Path::new("/data")).await.expect("a directory");
            let shard = Shard::open_alone(&io, config()).await.expect("a store");
            let log = |segment_bytes| LogConfig {
                flush_messages: if durable { 1 } else { u64::MAX },
                file_delete_delay_ms: 0,
                segment_bytes,
                ..LogConfig::default()
            };
            let (old, new) = (TopicPartition::new("old", 0), TopicPartition::new("new", 0));
            shard.create(&old, TopicId::random(), log(1 << 20)).await.expect("a partition");
            let mut end = Offset::ZERO;
            // 8 segments, and nearly a ninth: its successor is made ready once it has its own name.
            for number in 0..1540 {
                end = append(&io, &shard, &old, number).await.expect("there is room").expect("there is room");
                if number > 1537 {
                    io.sleep(Duration::from_secs(1)).await;
                }
            }
            let is_ready =
                |entries: Vec<corelog_engine::io::DirEntry>| entries.iter().any(|entry| entry.name == "corelog-next");
            assert!(is_ready(io.list_dir(Path::new("/data/old-0")).await.expect("a list")));
            shard.delete_records(&old, Offset(end.0 - 100)).await.expect("deleted");
            io.sleep(Duration::from_secs(1)).await;
            let waiting = |entries: Vec<corelog_engine::io::DirEntry>| {
                entries.iter().filter(|entry| entry.name.starts_with("corelog-recycled-")).count()
            };
            assert!(waiting(io.list_dir(Path::new("/data")).await.expect("a list")) >= 7);

            // They are too small for a segment of this topic, and in its way.
            shard.create(&new, TopicId::random(), log(64 << 20)).await.expect("a partition");
            let mut next = 0;
            while append(&io, &shard, &new, next).await.is_ok_and(|safe| safe.is_ok()) {
                next += 1;
            }
            let bytes = next as u64 * 6000;
            assert!(bytes > CAPACITY_BYTES - (8 << 20) - (3 << 20), "full behind {bytes} bytes");
            assert_eq!(waiting(io.list_dir(Path::new("/data")).await.expect("a list")), 0);
            assert!(!is_ready(io.list_dir(Path::new("/data/old-0")).await.expect("a list")));
            assert_eq!(numbers(&shard, &new).await.len() as i64, shard.offsets(&new).expect("there").high_watermark.0);
        });
    }
}
