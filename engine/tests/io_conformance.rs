//! What every world must do alike: the same cases on the real machine and on the simulated one.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::io::sim::{Faults, SimConfig, Simulation};
use corelog_engine::io::{self, Io, OpenMode, RingMode, Slice, Sync, UringOptions};
use corelog_engine::{Error, Position};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BLOCK: usize = 4096;
const MIB: usize = 1 << 20;

type Case = fn(Io, PathBuf) -> Pin<Box<dyn Future<Output = ()>>>;

fn on_the_real_machine(case: Case, options: UringOptions) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = UringOptions { arena_bytes: 8 * MIB, ..options };
    let path = dir.path().to_path_buf();
    io::run(options, |io| case(io, path)).expect("an io_uring");
}

/// With several seeds, and with reads and writes that often fall short or take long.
fn on_the_simulated_machine(case: Case) {
    let faults = Faults {
        short_reads: 200_000,
        short_writes: 200_000,
        slow: 50_000,
        slow_time: Duration::from_millis(3),
        ..Default::default()
    };
    for seed in 0..10 {
        let config = SimConfig { arena_bytes: 8 * MIB, faults: faults.clone(), ..Default::default() };
        Simulation::new(seed, config).run(|io| async move {
            let dir = PathBuf::from("/data");
            io.create_dir_all(&dir).await.expect("a directory");
            case(io, dir).await;
        });
    }
}

/// Each case becomes a test in each world.
macro_rules! cases {
    ($($(#[$attribute:meta])* async fn $name:ident($io:ident: Io, $dir:ident: PathBuf) $body:block)*) => {
        mod cases {
            use super::*;
            $(pub(super) fn $name($io: Io, $dir: PathBuf) -> Pin<Box<dyn Future<Output = ()>>> {
                Box::pin(async move $body)
            })*
        }
        mod uring {
            use super::*;
            $($(#[$attribute])* #[test] fn $name() { on_the_real_machine(cases::$name, UringOptions::default()); })*
        }
        /// As where the kernel is older, memory may not be locked and the file system has no O_DIRECT.
        mod uring_poor {
            use super::*;
            $($(#[$attribute])* #[test] fn $name() {
                for ring_mode in [RingMode::Coop, RingMode::Plain] {
                    let options = UringOptions {
                        ring_mode, ring_entries: 8, huge_pages: false, registered: false, direct: false, ..Default::default()
                    };
                    on_the_real_machine(cases::$name, options);
                }
            })*
        }
        mod sim {
            $($(#[$attribute])* #[test] fn $name() { super::on_the_simulated_machine(super::cases::$name); })*
        }
    };
}

/// `len` bytes that differ from block to block and from tag to tag.
fn pattern(tag: u8, len: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..BLOCK).map(|at| tag ^ at as u8).collect();
    let mut bytes = vec![0; len];
    for (index, chunk) in bytes.chunks_mut(BLOCK).enumerate() {
        chunk.copy_from_slice(&block[..chunk.len()]);
        chunk[0] ^= (index as u8).wrapping_mul(31);
    }
    bytes
}

fn slice(io: &Io, bytes: &[u8]) -> Slice {
    let mut buffer = io.alloc(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.slice(0..bytes.len())
}

async fn read(file: &io::File, io: &Io, at: usize, len: usize) -> Vec<u8> {
    let (read, buffer) = file.read_at(io.alloc(len), Position(at as u64), len).await;
    assert_eq!(read.expect("a read"), buffer.len());
    buffer.to_vec()
}

cases! {
    async fn what_is_written_reads_back(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        for (tag, sync) in [(1, Sync::None), (2, Sync::Data)] {
            let bytes = pattern(tag, MIB);
            file.write_at(&[slice(&io, &bytes)], Position(0), sync).await.expect("a write");
            assert_eq!(read(&file, &io, 0, MIB).await, bytes);
            assert_eq!(read(&file, &io, 3 * BLOCK, 5 * BLOCK).await, bytes[3 * BLOCK..8 * BLOCK]);
        }
        file.sync().await.expect("a sync");
        assert_eq!(file.len().await.expect("a length"), Position(MIB as u64));
    }

    async fn slices_are_written_one_behind_the_other(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        let bytes = pattern(7, 300 * BLOCK);
        let slices: Vec<Slice> = bytes.chunks(BLOCK).map(|block| slice(&io, block)).collect();
        file.write_at(&slices, Position(BLOCK as u64), Sync::Data).await.expect("a write");
        assert_eq!(read(&file, &io, BLOCK, 300 * BLOCK).await, bytes);
        assert_eq!(read(&file, &io, 0, BLOCK).await, vec![0; BLOCK]);
    }

    async fn a_read_past_the_end_is_short(io: Io, dir: PathBuf) {
        let path = dir.join("data");
        io.append_file(&path, 0, pattern(3, 3 * BLOCK + 100)).await.expect("a write");
        let file = io.open(&path, OpenMode::Read).await.expect("a file");
        assert_eq!(read(&file, &io, 0, 16 * BLOCK).await, pattern(3, 3 * BLOCK + 100));
        assert_eq!(read(&file, &io, 3 * BLOCK, BLOCK).await, pattern(3, 3 * BLOCK + 100)[3 * BLOCK..]);
        assert!(read(&file, &io, 4 * BLOCK, BLOCK).await.is_empty());
        assert!(read(&file, &io, 64 * BLOCK, BLOCK).await.is_empty());
    }

    async fn a_read_appends_to_what_the_buffer_holds(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        let bytes = pattern(9, 4 * BLOCK);
        file.write_at(&[slice(&io, &bytes)], Position(0), Sync::None).await.expect("a write");
        let (first, buffer) = file.read_at(io.alloc(4 * BLOCK), Position(0), BLOCK).await;
        let seen = buffer.slice(0..BLOCK);
        let (second, buffer) = file.read_at(buffer, Position(BLOCK as u64), 3 * BLOCK).await;
        assert_eq!((first.expect("a read"), second.expect("a read")), (BLOCK, 3 * BLOCK));
        assert_eq!(&*buffer, &bytes[..]);
        assert_eq!(&*seen, &bytes[..BLOCK]);
    }

    async fn room_that_was_reserved_reads_as_zeros(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        file.write_at(&[slice(&io, &pattern(1, BLOCK))], Position(0), Sync::None).await.expect("a write");
        file.allocate(Position(0), MIB as u64).await.expect("room");
        assert_eq!(file.len().await.expect("a length"), Position(MIB as u64));
        let bytes = read(&file, &io, 0, MIB).await;
        assert_eq!(bytes[..BLOCK], pattern(1, BLOCK));
        assert!(bytes[BLOCK..].iter().all(|byte| *byte == 0));
    }

    async fn what_was_cut_off_does_not_come_back(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        file.write_at(&[slice(&io, &pattern(5, 8 * BLOCK))], Position(0), Sync::Data).await.expect("a write");
        file.truncate(Position(BLOCK as u64 + 10)).await.expect("a cut");
        assert_eq!(file.len().await.expect("a length"), Position(BLOCK as u64 + 10));
        file.truncate(Position(4 * BLOCK as u64)).await.expect("an extension");
        let bytes = read(&file, &io, 0, 8 * BLOCK).await;
        assert_eq!(bytes.len(), 4 * BLOCK);
        assert_eq!(bytes[..BLOCK + 10], pattern(5, BLOCK + 10));
        assert!(bytes[BLOCK + 10..].iter().all(|byte| *byte == 0));
    }

    async fn many_operations_are_in_flight_at_once(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        let done = Rc::new(Cell::new(0));
        for index in 0..1000usize {
            let (file, io2, done) = (file.clone(), io.clone(), Rc::clone(&done));
            io.spawn(async move {
                let bytes = pattern(index as u8, BLOCK);
                file.write_at(&[slice(&io2, &bytes)], Position((index * BLOCK) as u64), Sync::None).await.expect("a write");
                assert_eq!(read(&file, &io2, index * BLOCK, BLOCK).await, bytes);
                done.set(done.get() + 1);
            });
        }
        while done.get() < 1000 {
            io.sleep(Duration::from_millis(1)).await;
        }
    }

    async fn an_operation_runs_beside_a_task_that_never_rests(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        let stop = Rc::new(Cell::new(false));
        let (io2, stop2) = (io.clone(), Rc::clone(&stop));
        io.spawn(async move {
            while !stop2.get() {
                io2.yield_now().await;
            }
        });
        let mut took = Vec::new();
        for index in 0..20 {
            let (bytes, before) = (pattern(index, BLOCK), io.now());
            file.write_at(&[slice(&io, &bytes)], Position(0), Sync::None).await.expect("a write");
            io.replace_file(&dir.join("cold"), bytes).await.expect("a cold write");
            took.push(io.now() - before);
        }
        stop.set(true);
        // Each would be held up for seconds; a machine that has much else to do takes half of one, and may stand still in some.
        took.sort();
        assert!(took[10] < Duration::from_secs(2), "writes and cold files took {took:?}");
    }

    async fn an_abandoned_operation_keeps_its_memory(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        file.write_at(&[slice(&io, &pattern(1, MIB))], Position(0), Sync::None).await.expect("a write");
        for _ in 0..50 {
            let mut reading = Box::pin(file.read_at(io.alloc(MIB), Position(0), MIB));
            std::future::poll_fn(|context| {
                assert!(reading.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            io.yield_now().await;
            drop(reading);
            let mut other = io.alloc(MIB);
            other.extend_from_slice(&pattern(2, MIB));
            io.yield_now().await;
            io.sleep(Duration::from_millis(1)).await;
            assert!(*other == pattern(2, MIB), "the disk wrote into memory that was given to someone else");
        }
    }

    async fn a_small_file_is_replaced_whole(io: Io, dir: PathBuf) {
        let path = dir.join("checkpoint");
        for len in [0usize, 10, 100_000, 5] {
            io.replace_file(&path, pattern(4, len)).await.expect("replaced");
            assert_eq!(io.read_file(&path).await.expect("read"), pattern(4, len));
        }
        let names: Vec<String> = io.list_dir(&dir).await.expect("a list").into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["checkpoint"]);
    }

    async fn bytes_are_put_at_a_place_of_a_small_file(io: Io, dir: PathBuf) {
        let path = dir.join("index");
        io.append_file(&path, 0, pattern(1, 100)).await.expect("a write");
        io.append_file(&path, 100, pattern(2, 50)).await.expect("a write");
        io.append_file(&path, 120, pattern(3, 10)).await.expect("a write");
        let mut expected = pattern(1, 100);
        expected.extend(pattern(2, 50));
        expected[120..130].copy_from_slice(&pattern(3, 10));
        assert_eq!(io.read_file(&path).await.expect("read"), expected);
        assert_eq!(io.file_len(&path).await.expect("a length"), Some(150));
    }

    async fn names_come_and_go(io: Io, dir: PathBuf) {
        let deep = dir.join("topic-0").join("below");
        io.create_dir_all(&deep).await.expect("directories");
        io.create_dir_all(&deep).await.expect("they may exist");
        io.append_file(&deep.join("b"), 0, vec![1; 10]).await.expect("a file");
        io.append_file(&deep.join("a"), 0, vec![2; 20]).await.expect("a file");
        io.sync_dir(&deep).await.expect("a sync");
        let list = io.list_dir(&deep).await.expect("a list");
        assert_eq!(list.iter().map(|entry| (entry.name.as_str(), entry.len)).collect::<Vec<_>>(), [("a", 20), ("b", 10)]);
        io.rename(&deep.join("a"), &deep.join("b")).await.expect("a rename over another");
        assert_eq!(io.read_file(&deep.join("b")).await.expect("read"), [2; 20]);
        assert_eq!(io.file_len(&deep.join("a")).await.expect("a length"), None);
        io.rename(&dir.join("topic-0"), &dir.join("topic-1")).await.expect("a directory is renamed");
        let list = io.list_dir(&dir).await.expect("a list");
        assert_eq!(list.iter().map(|entry| (entry.name.as_str(), entry.is_dir)).collect::<Vec<_>>(), [("topic-1", true)]);
        io.remove_file(&dir.join("topic-1/below/b")).await.expect("removed");
        io.append_file(&dir.join("topic-1/c"), 0, vec![3; 5]).await.expect("a file");
        io.remove_dir_all(&dir.join("topic-1")).await.expect("removed");
        assert!(io.list_dir(&dir).await.expect("a list").is_empty());
        assert!(io.modified(&dir).await.expect("a time").0 > 1_600_000_000_000);
    }

    async fn all_of_a_file_system_is_synced_at_once(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        file.write_at(&[slice(&io, &pattern(1, BLOCK))], Position(0), Sync::None).await.expect("a write");
        io.append_file(&dir.join("cold"), 0, vec![1; 10]).await.expect("a file");
        io.sync_all(&dir).await.expect("a sync");
        assert_eq!(read(&file, &io, 0, BLOCK).await, pattern(1, BLOCK));
        let error = io.sync_all(&dir.join("missing")).await.expect_err("there is no such directory");
        assert!(matches!(error, Error::Io { operation: "sync the file system of", .. }), "{error}");
    }

    async fn an_open_file_outlives_its_name(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("old"), OpenMode::Create).await.expect("a file");
        file.write_at(&[slice(&io, &pattern(1, BLOCK))], Position(0), Sync::None).await.expect("a write");
        io.rename(&dir.join("old"), &dir.join("new")).await.expect("a rename");
        file.write_at(&[slice(&io, &pattern(2, BLOCK))], Position(BLOCK as u64), Sync::None).await.expect("a write");
        let other = io.open(&dir.join("new"), OpenMode::Write).await.expect("a file");
        assert_eq!(read(&other, &io, BLOCK, BLOCK).await, pattern(2, BLOCK));
        io.remove_file(&dir.join("new")).await.expect("removed");
        assert_eq!(read(&file, &io, 0, BLOCK).await, pattern(1, BLOCK));
    }

    async fn a_missing_file_is_an_error_that_names_it(io: Io, dir: PathBuf) {
        let path = dir.join("missing");
        for mode in [OpenMode::Read, OpenMode::Write] {
            let error = io.open(&path, mode).await.expect_err("there is no such file");
            assert!(matches!(&error, Error::Io { operation: "open", path: named, .. } if *named == path), "{error}");
        }
        assert!(io.read_file(&path).await.is_err());
        assert!(io.remove_file(&path).await.is_err());
        assert!(io.rename(&path, &dir.join("other")).await.is_err());
        assert!(io.list_dir(&path).await.is_err());
        assert!(io.sync_dir(&path).await.is_err());
        assert_eq!(io.file_len(&path).await.expect("no error"), None);
    }

    async fn a_file_opened_to_be_read_cannot_be_written(io: Io, dir: PathBuf) {
        io.append_file(&dir.join("data"), 0, pattern(1, BLOCK)).await.expect("a file");
        let file = io.open(&dir.join("data"), OpenMode::Read).await.expect("a file");
        let error = file.write_at(&[slice(&io, &pattern(2, BLOCK))], Position(0), Sync::None).await;
        assert!(matches!(error, Err(Error::Io { operation: "write", position: Some(Position(0)), .. })));
        assert_eq!(read(&file, &io, 0, BLOCK).await, pattern(1, BLOCK));
    }

    async fn only_bytes_written_before_are_covered_by_others_syncs(io: Io, dir: PathBuf) {
        let by = io.open(&dir.join("journal"), OpenMode::Create).await.expect("a file");
        by.write_at(&[slice(&io, &pattern(1, BLOCK))], Position(0), Sync::Data).await.expect("a write");
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        assert_eq!(file.covered_by(&by).await.expect("an answer"), Position(0), "nothing is there yet");
        file.allocate(Position(0), 16 * BLOCK as u64).await.expect("room");
        assert_eq!(file.covered_by(&by).await.expect("an answer"), Position(0), "room is not bytes");
        file.write_at(&[slice(&io, &pattern(2, 4 * BLOCK))], Position(0), Sync::None).await.expect("a write");
        let covered = file.covered_by(&by).await.expect("an answer");
        // Where a durable write does not flush the device, nothing is.
        assert!(covered == Position(0) || covered == Position(4 * BLOCK as u64), "{covered}");
        file.truncate(Position(2 * BLOCK as u64)).await.expect("cut");
        let left = file.covered_by(&by).await.expect("an answer");
        assert_eq!(left, covered.min(Position(2 * BLOCK as u64)));
    }

    async fn buffers_are_aligned_and_of_the_next_size(io: Io, _dir: PathBuf) {
        for (len, capacity) in [(1, BLOCK), (BLOCK, BLOCK), (5000, 2 * BLOCK), (MIB, MIB), (3 * MIB, 4 * MIB)] {
            let mut buffer = io.alloc(len);
            assert_eq!((buffer.capacity(), buffer.len()), (capacity, 0));
            assert_eq!(buffer.spare_mut().as_ptr() as usize % BLOCK, 0);
        }
        let held: Vec<_> = (0..20).map(|_| io.alloc(MIB)).collect();
        assert!(io.counters().heap_buffers >= 12, "more than the arena has come from the heap");
        drop(held);
    }

    async fn memory_beyond_the_arena_reads_and_writes_too(io: Io, dir: PathBuf) {
        let file = io.open(&dir.join("data"), OpenMode::Create).await.expect("a file");
        let bytes = pattern(6, 3 * MIB);
        file.write_at(&[slice(&io, &bytes)], Position(0), Sync::Data).await.expect("a write");
        assert_eq!(read(&file, &io, 0, 3 * MIB).await, bytes);
    }

    async fn time_passes_while_sleeping(io: Io, _dir: PathBuf) {
        let before = (io.now(), io.unix_time());
        io.sleep(Duration::from_millis(20)).await;
        let slept = io.now() - before.0;
        assert!(slept >= Duration::from_millis(20), "{slept:?}");
        assert!(io.unix_time().0 >= before.1.0 + 19);
        io.sleep_until(before.0).await;
        io.sleep_until(io.now() + Duration::from_millis(5)).await;
        assert!(io.now() - before.0 >= Duration::from_millis(25));
    }

    async fn sleepers_wake_in_the_order_of_their_moments(io: Io, _dir: PathBuf) {
        // Once more where a machine with much else to do did not have all asleep before the first is to wake.
        for attempt in 0.. {
            let (begin, asleep, woken) = (io.now(), Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
            for millis in [60u64, 20, 40] {
                let (io2, asleep, woken) = (io.clone(), Rc::clone(&asleep), Rc::clone(&woken));
                io.spawn(async move {
                    asleep.set(asleep.get() + 1);
                    io2.sleep_until(begin + Duration::from_millis(millis)).await;
                    woken.borrow_mut().push(millis);
                });
            }
            while asleep.get() < 3 {
                io.yield_now().await;
            }
            let in_time = io.now() < begin + Duration::from_millis(20);
            while woken.borrow().len() < 3 {
                io.sleep(Duration::from_millis(5)).await;
            }
            if in_time {
                assert_eq!(*woken.borrow(), [20, 40, 60]);
                break;
            }
            assert!(attempt < 100, "three tasks are never asleep within 20 ms");
        }
    }

    async fn random_numbers_differ(io: Io, _dir: PathBuf) {
        let numbers: std::collections::HashSet<u64> = (0..1000).map(|_| io.random()).collect();
        assert_eq!(numbers.len(), 1000);
    }

    async fn what_is_sent_arrives(io: Io, _dir: PathBuf) {
        let listener = io.listen("127.0.0.1:0".parse().expect("an address"), false).await.expect("a listener");
        let addr = listener.local_addr().expect("an address");
        assert_ne!(addr.port(), 0);
        io.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut bytes = vec![0; 1 << 16];
                loop {
                    let read = stream.read(&mut bytes).await.expect("a read");
                    if read == 0 {
                        break;
                    }
                    stream.write_all(&bytes[..read]).await.expect("a write");
                }
                stream.shutdown().await.expect("an end");
            }
        });
        for len in [1, 1000, 300_000] {
            let stream = io.connect(addr).await.expect("a connection");
            assert_eq!(stream.peer_addr().expect("an address"), addr);
            let (mut receive, mut send) = tokio::io::split(stream);
            let bytes = pattern(1, len);
            let sent = bytes.clone();
            io.spawn(async move {
                send.write_all(&sent).await.expect("a write");
                send.shutdown().await.expect("an end");
            });
            let mut echoed = Vec::new();
            receive.read_to_end(&mut echoed).await.expect("a read");
            assert!(echoed == bytes, "{len} bytes came back otherwise");
        }
    }

    async fn nobody_listening_is_an_error(io: Io, _dir: PathBuf) {
        let listener = io.listen("127.0.0.1:0".parse().expect("an address"), true).await.expect("a listener");
        let addr = listener.local_addr().expect("an address");
        drop(listener);
        assert!(io.connect(addr).await.is_err());
    }
}
