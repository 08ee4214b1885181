//! What only the simulated machine does: the same again from the same seed, power cuts, faults.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::io::sim::{Faults, Injection, Operation, SimConfig, Simulation, Stop, Survival};
use corelog_engine::io::{File, Io, OpenMode, Slice, Sync};
use corelog_engine::{Error, Position};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BLOCK: usize = 4096;

fn small() -> SimConfig {
    SimConfig { arena_bytes: 2 << 20, keep_trace: true, ..Default::default() }
}

fn slice(io: &Io, byte: u8, blocks: usize) -> Slice {
    let mut buffer = io.alloc(blocks * BLOCK);
    buffer.extend_from_slice(&vec![byte; blocks * BLOCK]);
    buffer.slice(0..blocks * BLOCK)
}

async fn write(io: &Io, file: &File, byte: u8, at: u64, blocks: usize, sync: Sync) {
    file.write_at(&[slice(io, byte, blocks)], Position(at), sync).await.expect("a write");
}

/// A file whose name and first block of ones are durable.
async fn durable_file(io: &Io, path: &Path) -> File {
    let file = io.open(path, OpenMode::Create).await.expect("a file");
    write(io, &file, 1, 0, 1, Sync::Data).await;
    io.sync_dir(Path::new("/")).await.expect("a sync");
    file
}

#[test]
fn a_sync_of_everything_covers_what_had_completed_and_no_more() {
    for seed in 0..20 {
        let sim = Simulation::new(seed, small());
        sim.run(|io| async move {
            io.create_dir_all(Path::new("/deep/er")).await.expect("directories");
            let file = io.open(Path::new("/deep/er/data"), OpenMode::Create).await.expect("a file");
            write(&io, &file, 1, 0, 2, Sync::None).await;
            io.append_file(Path::new("/deep/cold.tmp"), 0, vec![7; 100]).await.expect("a file");
            io.rename(Path::new("/deep/cold.tmp"), Path::new("/deep/cold")).await.expect("a rename");
            io.sync_all(Path::new("/deep")).await.expect("a sync");
            write(&io, &file, 2, 0, 1, Sync::None).await;
            io.append_file(Path::new("/deep/late"), 0, vec![7; 100]).await.expect("a file");
        });
        sim.crash_with(Survival::None);
        let names = [PathBuf::from("/deep/cold"), PathBuf::from("/deep/er/data")];
        assert_eq!(sim.files(), names, "seed {seed}");
        sim.run(|io| async move {
            assert_eq!(io.read_file(Path::new("/deep/cold")).await.expect("read"), [7; 100]);
            assert_eq!(io.read_file(Path::new("/deep/er/data")).await.expect("read"), [1; 2 * BLOCK]);
        });
    }
}

fn busy_machine(seed: u64) -> (u64, Vec<String>, Vec<PathBuf>) {
    let faults = Faults { short_reads: 50_000, short_writes: 50_000, slow: 10_000, ..Default::default() };
    let sim = Simulation::new(seed, SimConfig { faults, ..small() });
    for _ in 0..3 {
        sim.run_until(Stop::After(Duration::from_millis(20)), |io| async move {
            for index in 0..8u8 {
                let io2 = io.clone();
                io.spawn(async move {
                    let path = PathBuf::from(format!("/file-{index}"));
                    let file = io2.open(&path, OpenMode::Create).await.expect("a file");
                    loop {
                        let at = io2.random() % 64 * BLOCK as u64;
                        write(&io2, &file, index, at, 2, if index % 2 == 0 { Sync::Data } else { Sync::None }).await;
                        io2.sleep(Duration::from_micros(io2.random() % 300)).await;
                    }
                });
            }
            let listener = io.listen("10.0.0.1:9092".parse().expect("an address"), false).await.expect("a listener");
            let io2 = io.clone();
            io.spawn(async move {
                let mut stream = io2.connect("10.0.0.1:9092".parse().expect("an address")).await.expect("connected");
                while stream.write_all(&[1; 100]).await.is_ok() {
                    io2.sleep(Duration::from_micros(100)).await;
                }
            });
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut bytes = [0; 64];
            while stream.read(&mut bytes).await.expect("a read") > 0 {}
        });
        sim.crash();
    }
    (sim.fingerprint(), sim.trace(), sim.files())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut seen = HashSet::new();
    for seed in 0..5 {
        let (first, second) = (busy_machine(seed), busy_machine(seed));
        assert_eq!(first.1, second.1, "the traces of seed {seed} differ");
        assert_eq!(first, second);
        assert!(first.1.len() > 100);
        seen.insert(first.0);
    }
    assert_eq!(seen.len(), 5, "seeds share runs");
}

#[test]
fn what_was_durable_survives_every_power_cut() {
    for seed in 0..200 {
        let sim = Simulation::new(seed, small());
        let acknowledged = Rc::new(Cell::new(0u8));
        let told = Rc::clone(&acknowledged);
        let operations = 3 + seed % 40;
        sim.run_until(Stop::AfterOperations(operations), |io| async move {
            let file = durable_file(&io, Path::new("/log")).await;
            told.set(1);
            for block in 1..=50u8 {
                write(&io, &file, block + 1, u64::from(block) * BLOCK as u64, 1, Sync::Data).await;
                told.set(block + 1);
            }
        });
        sim.crash();
        let left = sim.contents(Path::new("/log")).unwrap_or_default();
        for block in 0..acknowledged.get() {
            let bytes = &left[usize::from(block) * BLOCK..][..BLOCK];
            assert!(bytes.iter().all(|byte| *byte == block + 1), "seed {seed}: block {block} was acknowledged");
        }
    }
}

#[test]
fn a_write_in_flight_may_leave_any_of_its_sectors() {
    let mut seen = HashSet::new();
    for seed in 0..300 {
        let sim = Simulation::new(seed, small());
        sim.run(|io| async move { drop(durable_file(&io, Path::new("/log")).await) });
        sim.run_until(Stop::AfterOperations(2), |io| async move {
            let file = io.open(Path::new("/log"), OpenMode::Write).await.expect("a file");
            write(&io, &file, 2, 0, 1, Sync::Data).await;
        });
        sim.crash();
        let left = sim.contents(Path::new("/log")).expect("the file is durable");
        assert_eq!(left.len(), BLOCK);
        let sectors: Vec<u8> = left.chunks(512).map(|sector| sector[0]).collect();
        assert!(left.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert!(sectors.iter().all(|byte| [1, 2].contains(byte)));
        seen.insert(sectors);
    }
    assert!(seen.contains(&vec![1; 8]) && seen.contains(&vec![2; 8]) && seen.len() > 40, "{} outcomes", seen.len());
}

#[test]
fn without_a_power_cut_what_was_begun_is_completed() {
    let sim = Simulation::new(1, small());
    sim.run(|io| async move { drop(durable_file(&io, Path::new("/log")).await) });
    sim.run_until(Stop::AfterOperations(2), |io| async move {
        let file = io.open(Path::new("/log"), OpenMode::Write).await.expect("a file");
        write(&io, &file, 2, 0, 2, Sync::None).await;
    });
    sim.run(|io| async move {
        assert_eq!(io.read_file(Path::new("/log")).await.expect("a read"), vec![2; 2 * BLOCK]);
    });
}

#[test]
fn what_was_not_synced_may_be_lost_and_what_was_synced_may_not() {
    let outcomes: HashSet<(bool, bool)> = (0..100)
        .map(|seed| {
            let sim = Simulation::new(seed, small());
            sim.run(|io| async move {
                let file = durable_file(&io, Path::new("/log")).await;
                write(&io, &file, 2, BLOCK as u64, 1, Sync::None).await;
                file.sync().await.expect("a sync");
                write(&io, &file, 3, 2 * BLOCK as u64, 1, Sync::None).await;
                write(&io, &file, 4, 3 * BLOCK as u64, 1, Sync::None).await;
            });
            sim.crash();
            let left = sim.contents(Path::new("/log")).expect("the file is durable");
            assert!(
                left[..BLOCK].iter().all(|byte| *byte == 1) && left[BLOCK..2 * BLOCK].iter().all(|byte| *byte == 2)
            );
            (left.get(2 * BLOCK) == Some(&3), left.get(3 * BLOCK) == Some(&4))
        })
        .collect();
    assert_eq!(outcomes.len(), 4, "writes are kept, lost and reordered: {outcomes:?}");
}

#[test]
fn a_name_is_durable_only_after_its_directory_was_synced() {
    let outcomes: HashSet<bool> = (0..50)
        .map(|seed| {
            let sim = Simulation::new(seed, small());
            sim.run(|io| async move {
                let file = io.open(Path::new("/log"), OpenMode::Create).await.expect("a file");
                write(&io, &file, 1, 0, 1, Sync::Data).await;
                file.sync().await.expect("a sync");
            });
            sim.crash();
            sim.contents(Path::new("/log")).is_some()
        })
        .collect();
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one_and_the_new_one_once_that_was_said() {
    let mut seen = HashSet::new();
    for seed in 0..400 {
        let sim = Simulation::new(seed, small());
        let path = Path::new("/checkpoint");
        sim.run(|io| async move { io.replace_file(path, vec![1; 6000]).await.expect("replaced") });
        let said = Rc::new(Cell::new(false));
        let say = Rc::clone(&said);
        sim.run_until(Stop::AfterOperations(1 + seed % 8), |io| async move {
            io.replace_file(path, vec![2; 9000]).await.expect("replaced");
            say.set(true);
            io.sleep(Duration::from_secs(1)).await;
            io.append_file(Path::new("/other"), 0, vec![0]).await.expect("one more operation");
        });
        sim.crash();
        let left = sim.contents(path).expect("the old name was durable");
        assert!(left == vec![1; 6000] || left == vec![2; 9000], "seed {seed}");
        assert!(!said.get() || left == vec![2; 9000], "seed {seed}");
        seen.insert((said.get(), left[0]));
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn a_file_is_replaced_again_and_again_through_power_cuts() {
    for seed in 0..300 {
        let sim = Simulation::new(seed, small());
        let path = Path::new("/checkpoint");
        sim.run(|io| async move { io.replace_file(path, vec![0; 100]).await.expect("replaced") });
        let mut said = 0;
        for round in 0..6u8 {
            let last = Rc::new(Cell::new(said));
            let say = Rc::clone(&last);
            sim.run_until(Stop::AfterOperations(1 + (seed * 7 + u64::from(round) * 5) % 20), |io| async move {
                for step in 1..=3 {
                    let tag = round * 3 + step;
                    io.replace_file(path, vec![tag; 100 * usize::from(tag)]).await.expect("replaced");
                    say.set(tag);
                }
            });
            sim.crash();
            let left = sim.contents(path).expect("it was durable");
            let tag = left[0];
            assert!(
                tag >= last.get() && left == vec![tag; if tag == 0 { 100 } else { 100 * usize::from(tag) }],
                "seed {seed}: {}",
                last.get()
            );
            said = tag;
        }
    }
}

#[test]
fn a_durable_write_covers_what_was_written_over_elsewhere_unless_it_goes_past_the_cache() {
    for fua in [false, true] {
        let sim = Simulation::new(5, SimConfig { fua: Some(fua), ..small() });
        sim.run(|io| async move {
            let other = durable_file(&io, Path::new("/other")).await;
            let file = durable_file(&io, Path::new("/log")).await;
            assert_eq!(file.covered_by(&other).await.expect("an answer"), Position(if fua { 0 } else { BLOCK as u64 }));
            file.allocate(Position(BLOCK as u64), 3 * BLOCK as u64).await.expect("room");
            file.sync().await.expect("a sync");
            // The first block was written before, the second was only made room for.
            write(&io, &file, 2, 0, 2, Sync::None).await;
            write(&io, &other, 2, 0, 1, Sync::Data).await;
        });
        sim.crash_with(Survival::None);
        let left = sim.contents(Path::new("/log")).expect("it was durable");
        assert_eq!((left[0], left[BLOCK], left.len()), (if fua { 1 } else { 2 }, 0, 4 * BLOCK));
    }
}

#[test]
fn a_durable_write_does_not_cover_what_had_not_completed_or_lies_behind_a_cut() {
    let sim = Simulation::new(5, SimConfig { fua: Some(false), ..small() });
    sim.run(|io| async move {
        let other = durable_file(&io, Path::new("/other")).await;
        let file = durable_file(&io, Path::new("/log")).await;
        write(&io, &file, 1, 0, 4, Sync::Data).await;
        let beside = (io.clone(), other.clone());
        io.spawn(async move { write(&beside.0, &beside.1, 2, 0, 1, Sync::Data).await });
        io.yield_now().await;
        // Begun after the other, whose flush may come before it.
        write(&io, &file, 2, 0, 1, Sync::None).await;
        file.truncate(Position(2 * BLOCK as u64)).await.expect("cut");
        file.truncate(Position(4 * BLOCK as u64)).await.expect("extended");
        write(&io, &file, 3, 2 * BLOCK as u64, 1, Sync::None).await;
        write(&io, &file, 3, BLOCK as u64, 1, Sync::None).await;
        io.sleep(Duration::from_millis(10)).await;
        write(&io, &other, 3, 0, 1, Sync::Data).await;
    });
    sim.crash_with(Survival::None);
    let left = sim.contents(Path::new("/log")).expect("it was durable");
    let tags: Vec<u8> = left.chunks(BLOCK).map(|block| block[0]).collect();
    assert_eq!(tags, [2, 3, 1, 1], "the cut is not durable, and what was written behind it has no place yet");
}

#[test]
fn a_rename_may_come_apart_unless_the_file_system_keeps_a_journal() {
    let outcomes = |renames_tear: bool| -> HashSet<(bool, bool)> {
        (0..200)
            .map(|seed| {
                let sim = Simulation::new(seed, SimConfig { renames_tear, ..small() });
                sim.run(|io| async move {
                    drop(durable_file(&io, Path::new("/old")).await);
                    io.rename(Path::new("/old"), Path::new("/new")).await.expect("a rename");
                });
                sim.crash();
                (sim.contents(Path::new("/old")).is_some(), sim.contents(Path::new("/new")).is_some())
            })
            .collect()
    };
    assert_eq!(outcomes(true).len(), 4);
    assert_eq!(outcomes(false), HashSet::from([(true, false), (false, true)]));
}

#[test]
fn a_removed_file_may_come_back_until_the_removal_is_synced() {
    let back = |sync: bool| {
        (0..50)
            .filter(|seed| {
                let sim = Simulation::new(*seed, small());
                sim.run(|io| async move {
                    drop(durable_file(&io, Path::new("/log")).await);
                    io.remove_file(Path::new("/log")).await.expect("removed");
                    if sync {
                        io.sync_dir(Path::new("/")).await.expect("a sync");
                    }
                });
                sim.crash();
                sim.contents(Path::new("/log")).is_some_and(|left| left == vec![1; BLOCK])
            })
            .count()
    };
    assert!((1..50).contains(&back(false)));
    assert_eq!(back(true), 0);
}

#[test]
fn everything_or_nothing_survives_where_that_is_asked_for() {
    for (survival, blocks) in [(Survival::All, 2), (Survival::None, 1)] {
        let sim = Simulation::new(3, small());
        sim.run(|io| async move {
            let file = durable_file(&io, Path::new("/log")).await;
            write(&io, &file, 2, BLOCK as u64, 1, Sync::None).await;
        });
        sim.crash_with(survival);
        assert_eq!(sim.contents(Path::new("/log")).map(|left| left.len()), Some(blocks * BLOCK));
    }
}

#[test]
fn faults_come_as_often_as_they_are_wanted() {
    let faults = Faults { read_errors: 100_000, write_errors: 100_000, flipped_reads: 100_000, ..Default::default() };
    let sim = Simulation::new(9, SimConfig { faults, ..small() });
    let (failed_writes, failed_reads, flipped) = sim.run(|io| async move {
        let file = io.open(Path::new("/log"), OpenMode::Create).await.expect("a file");
        let (mut failed_writes, mut failed_reads, mut flipped) = (0, 0, 0);
        for _ in 0..500 {
            match file.write_at(&[slice(&io, 7, 1)], Position(0), Sync::Data).await {
                Ok(()) => {}
                Err(Error::Io { operation: "write", position: Some(Position(0)), .. }) => failed_writes += 1,
                Err(other) => panic!("{other}"),
            }
            let (read, buffer) = file.read_at(io.alloc(BLOCK), Position(0), BLOCK).await;
            match read {
                Ok(BLOCK) => flipped += buffer.iter().filter(|byte| **byte != 7).count(),
                Ok(_) => {}
                Err(Error::Io { operation: "read", .. }) => failed_reads += 1,
                Err(other) => panic!("{other}"),
            }
        }
        (failed_writes, failed_reads, flipped)
    });
    for (what, count) in [("failed writes", failed_writes), ("failed reads", failed_reads), ("flipped bits", flipped)] {
        assert!((20..100).contains(&count), "{count} {what} of 500");
    }
}

#[test]
fn a_full_disk_says_so_and_has_room_again() {
    let faults = Faults { capacity_bytes: Some(10 * BLOCK as u64), ..Default::default() };
    let sim = Simulation::new(1, SimConfig { faults, ..small() });
    sim.run(|io| async move {
        let file = io.open(Path::new("/log"), OpenMode::Create).await.expect("a file");
        write(&io, &file, 1, 0, 8, Sync::Data).await;
        let full = file.write_at(&[slice(&io, 2, 4)], Position(8 * BLOCK as u64), Sync::Data).await;
        assert!(matches!(full, Err(Error::DiskFull { .. })));
        assert!(matches!(file.allocate(Position(0), 100 * BLOCK as u64).await, Err(Error::DiskFull { .. })));
        file.truncate(Position(0)).await.expect("a cut");
        write(&io, &file, 1, 0, 10, Sync::Data).await;
    });
}

#[test]
fn a_chosen_operation_fails() {
    let sim = Simulation::new(1, small());
    let injection = Injection { operation: Operation::Sync, path: "log".into(), skip: 1, count: 1, code: libc::EIO };
    sim.inject(injection);
    sim.run(|io| async move {
        let file = io.open(Path::new("/log"), OpenMode::Create).await.expect("a file");
        let other = io.open(Path::new("/other"), OpenMode::Create).await.expect("a file");
        file.sync().await.expect("the first is skipped");
        other.sync().await.expect("another file");
        assert!(matches!(file.sync().await, Err(Error::Io { operation: "sync", .. })));
        file.sync().await.expect("only one fails");
    });
}

#[test]
fn what_a_failed_sync_left_behind_is_not_tried_again() {
    let lost = (0..50)
        .filter(|seed| {
            let sim = Simulation::new(*seed, small());
            sim.run(|io| async move { drop(durable_file(&io, Path::new("/log")).await) });
            sim.inject(Injection {
                operation: Operation::Sync,
                path: "log".into(),
                skip: 0,
                count: 1,
                code: libc::EIO,
            });
            sim.run(|io| async move {
                let file = io.open(Path::new("/log"), OpenMode::Write).await.expect("a file");
                write(&io, &file, 2, 0, 1, Sync::None).await;
                assert!(file.sync().await.is_err());
                file.sync().await.expect("it says that all is well");
            });
            sim.crash();
            sim.contents(Path::new("/log")).expect("durable")[0] == 1
        })
        .count();
    assert!((1..50).contains(&lost), "{lost} of 50");
}

#[test]
fn a_disk_that_decays_shows_it() {
    let sim = Simulation::new(1, small());
    let path = Path::new("/log");
    sim.run(|io| async move { drop(durable_file(&io, Path::new("/log")).await) });
    sim.flip_bit(path, Position(100), 3);
    sim.damage(path, Position(200), &[9; 10]);
    sim.crash();
    let left = sim.contents(path).expect("durable");
    let wrong: Vec<usize> = (0..BLOCK).filter(|at| left[*at] != 1).collect();
    assert_eq!(wrong, std::iter::once(100).chain(200..210).collect::<Vec<_>>());
    assert_eq!(left[100], 1 ^ 8);
}

#[test]
fn an_abandoned_write_is_still_done() {
    let sim = Simulation::new(1, small());
    sim.run(|io| async move {
        let file = durable_file(&io, Path::new("/log")).await;
        {
            let bytes = [slice(&io, 2, 1)];
            let mut writing = Box::pin(file.write_at(&bytes, Position(0), Sync::Data));
            std::future::poll_fn(|context| {
                assert!(writing.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        io.sleep(Duration::from_millis(10)).await;
        assert_eq!(io.read_file(Path::new("/log")).await.expect("a read"), vec![2; BLOCK]);
    });
}

#[test]
fn connections_are_cut() {
    let faults = Faults { cut_connections: 10_000, ..Default::default() };
    let cut = Rc::new(RefCell::new(0));
    for seed in 0..20 {
        let sim = Simulation::new(seed, SimConfig { faults: faults.clone(), ..small() });
        let count = Rc::clone(&cut);
        sim.run(|io| async move {
            let addr = "10.0.0.1:1".parse().expect("an address");
            let listener = io.listen(addr, false).await.expect("a listener");
            io.spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                while stream.write_all(&[0; 1000]).await.is_ok() {}
            });
            let mut stream = io.connect(addr).await.expect("connected");
            let mut bytes = [0; 500];
            while let Ok(read) = stream.read(&mut bytes).await {
                assert!(read > 0, "the writer never ends on its own");
            }
            *count.borrow_mut() += 1;
        });
    }
    assert_eq!(*cut.borrow(), 20);
}

#[test]
#[should_panic(expected = "waits for something that will not come")]
fn a_run_that_hangs_is_found_out() {
    Simulation::new(1, small()).run(|_io| std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "did not end within 10000 steps")]
fn a_run_that_turns_in_circles_is_found_out() {
    Simulation::new(1, SimConfig { steps_max: 10_000, ..small() }).run(|io| async move {
        loop {
            io.yield_now().await;
        }
    });
}
