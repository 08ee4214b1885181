//! The journal on a disk: what was acknowledged is found again, what was not is not believed, and damage is told from a crash.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use corelog_engine::io::sim::{Faults, SimConfig, Simulation};
use corelog_engine::io::{self, Io, OpenMode, Sync};
use corelog_engine::journal::{
    Checkpoint, Entry, GROUPS_IN_FLIGHT_MAX, Journal, JournalMark, OwnedEntry, PartitionKey, RING_START, ScannedGroup,
    Written, journal_file_name, read_journal,
};
use corelog_engine::{Error, Offset, Position, TopicId};

const MIB: u64 = 1 << 20;
const CAPACITY: u64 = 8 * MIB;

type Case = fn(Io, PathBuf) -> Pin<Box<dyn Future<Output = ()>>>;

fn on_the_real_machine(case: Case) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = io::UringOptions { arena_bytes: 8 * MIB as usize, ..Default::default() };
    let path = dir.path().to_path_buf();
    io::run(options, |io| case(io, path)).expect("an io_uring");
}

fn on_the_simulated_machine(case: Case) {
    let faults = Faults {
        short_reads: 100_000,
        short_writes: 100_000,
        slow: 50_000,
        slow_time: Duration::from_millis(3),
        ..Default::default()
    };
    for seed in 0..3 {
        let config = SimConfig { arena_bytes: 8 * MIB as usize, faults: faults.clone(), ..Default::default() };
        Simulation::new(seed, config).run(|io| async move {
            let dir = PathBuf::from("/data");
            io.create_dir_all(&dir).await.expect("a directory");
            case(io, dir).await;
        });
    }
}

/// Each case becomes a test in each world.
macro_rules! cases {
    ($(async fn $name:ident($io:ident: Io, $dir:ident: PathBuf) $body:block)*) => {
        mod cases {
            use super::*;
            $(pub(super) fn $name($io: Io, $dir: PathBuf) -> Pin<Box<dyn Future<Output = ()>>> {
                Box::pin(async move $body)
            })*
        }
        mod uring {
            $(#[test] fn $name() { super::on_the_real_machine(super::cases::$name); })*
        }
        mod sim {
            $(#[test] fn $name() { super::on_the_simulated_machine(super::cases::$name); })*
        }
    };
}

fn id() -> PartitionKey {
    PartitionKey { topic_id: TopicId(uuid::Uuid::from_u128(5)), partition: 1 }
}

/// The bytes of entry `number`, `len` of them.
fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = (number ^ 0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(len.div_ceil(8));
    bytes.truncate(len);
    bytes
}

async fn create(io: &Io, dir: &Path, generation: u64) -> Journal {
    Journal::create(io, dir, 0, generation, CAPACITY).await.expect("a journal")
}

fn seal(journal: &mut Journal, number: u64, len: usize) -> corelog_engine::journal::SealedGroup {
    let mut group = journal.begin_group();
    let bytes = payload(number, len);
    let (first, second) = bytes.split_at(len / 3);
    let entry = Entry::Data {
        id: id(),
        segment: Offset(0),
        position: Position(number),
        next_offset: Offset(number as i64 + 1),
        bytes: &[first, second],
    };
    assert!(group.push(entry) && journal.has_room(group.filled_bytes()), "no room for {number}");
    journal.seal(group)
}

async fn write(journal: &mut Journal, number: u64, len: usize) -> JournalMark {
    let sealed = seal(journal, number, len);
    let mark = sealed.mark();
    let written: Written = sealed.write(journal.file()).await.expect("a write");
    journal.apply(written);
    mark
}

/// The numbers of the entries in the groups; asserts that each has its own bytes.
fn numbers(groups: &[ScannedGroup]) -> Vec<u64> {
    let number = |group: &ScannedGroup| match &group.entries[..] {
        [OwnedEntry::Data { position, bytes, .. }] => {
            assert!(**bytes == payload(position.0, bytes.len()), "entry {position} has other bytes");
            position.0
        }
        other => panic!("{other:?}"),
    };
    groups.iter().map(number).collect()
}

async fn found(io: &Io, dir: &Path, mark: JournalMark) -> Vec<u64> {
    numbers(&read_journal(io, &dir.join(journal_file_name(0)), mark).await.expect("a sound journal").groups)
}

/// Changes bytes of the journal's file behind its back.
async fn change(io: &Io, dir: &Path, at: u64, change: impl FnOnce(&mut [u8])) {
    let file = io.open(&dir.join(journal_file_name(0)), OpenMode::Write).await.expect("the journal");
    let block = Position(at).block_start();
    let (read, buffer) = file.read_at(io.alloc(4096), block, 4096).await;
    read.expect("a block");
    let mut changed = io.alloc(4096);
    changed.extend_from_slice(&buffer);
    change(&mut changed.filled_mut()[(at - block.0) as usize..]);
    file.write_at(&[changed.slice(0..4096)], block, Sync::Data).await.expect("a block");
}

async fn flip(io: &Io, dir: &Path, at: u64) {
    change(io, dir, at, |bytes| bytes[0] ^= 0x10).await;
}

cases! {
    async fn groups_come_back_in_order_over_many_laps(io: Io, dir: PathBuf) {
        let mut journal = create(&io, &dir, 1).await;
        let mut mark = journal.head();
        let (mut first, mut laps) = (0, 0);
        for number in 0..120u64 {
            let len = [100, 300_000, 5_000, 900_000, 4096 - 64 - 56, 70_000][number as usize % 6];
            if !journal.has_room(64 + 56 + len) {
                assert_eq!(found(&io, &dir, mark).await, (first..number).collect::<Vec<_>>());
                mark = journal.head();
                journal.release(mark);
                first = number;
            }
            let placed = write(&mut journal, number, len).await;
            laps += u64::from(placed.position == RING_START);
        }
        assert!(laps > 3, "{laps} laps");
        assert_eq!(found(&io, &dir, mark).await, (first..120).collect::<Vec<_>>());
        let end = read_journal(&io, &dir.join(journal_file_name(0)), mark).await.expect("sound").end;
        assert_eq!(end, journal.head());
    }

    async fn a_torn_last_group_ends_the_journal_before_it(io: Io, dir: PathBuf) {
        let mut journal = create(&io, &dir, 1).await;
        write(&mut journal, 0, 10_000).await;
        let last = write(&mut journal, 1, 10_000).await;
        for torn in [0, 512, 4096, 9728] {
            let mut sector = [0; 512];
            change(&io, &dir, last.position.0 + torn, |bytes| {
                sector.copy_from_slice(&bytes[..512]);
                bytes[..512].fill(0);
            })
            .await;
            assert_eq!(found(&io, &dir, JournalMark::first(1)).await, [0], "torn at {torn}");
            change(&io, &dir, last.position.0 + torn, |bytes| bytes[..512].copy_from_slice(&sector)).await;
        }
        assert_eq!(found(&io, &dir, JournalMark::first(1)).await, [0, 1]);
    }

    async fn a_flipped_bit_before_a_later_group_is_damage_with_its_place(io: Io, dir: PathBuf) {
        let mut journal = create(&io, &dir, 1).await;
        let mut marks = Vec::new();
        for number in 0..7 {
            marks.push(write(&mut journal, number, 700_000).await);
        }
        let mark = marks[4];
        journal.release(mark);
        for number in 7..14 {
            if !journal.has_room(700_120) {
                break;
            }
            marks.push(write(&mut journal, number, 700_000).await);
        }
        let wrapped = marks.iter().rposition(|mark| mark.position == RING_START).expect("a second lap");
        assert!(wrapped > 7 && wrapped + 2 < marks.len(), "the first of the lap is {wrapped} of {}", marks.len());
        for (number, damaged) in marks[..marks.len() - 1].iter().enumerate().skip(4) {
            for at in [3, 20, 300_000] {
                flip(&io, &dir, damaged.position.0 + at).await;
                let error = read_journal(&io, &dir.join(journal_file_name(0)), mark).await.expect_err("damage");
                match error {
                    Error::Corrupt { path, position, .. } => {
                        assert_eq!(path, dir.join(journal_file_name(0)));
                        assert_eq!(position, Some(damaged.position), "group {number}");
                    }
                    other => panic!("{other}"),
                }
                flip(&io, &dir, damaged.position.0 + at).await;
            }
        }
        assert_eq!(found(&io, &dir, mark).await.len(), marks.len() - 4);
    }

    async fn with_two_in_flight_a_lost_first_group_takes_the_second_with_it(io: Io, dir: PathBuf) {
        let mut journal = create(&io, &dir, 1).await;
        write(&mut journal, 0, 100).await;
        let first = seal(&mut journal, 1, 9000);
        let second = seal(&mut journal, 2, 9000);
        let others: Vec<_> = (3..=GROUPS_IN_FLIGHT_MAX as u64).map(|number| seal(&mut journal, number + 10, 9000)).collect();
        assert!(!journal.has_room(100), "{GROUPS_IN_FLIGHT_MAX} are in flight");
        let first_at = first.mark();
        let second = second.write(journal.file()).await.expect("a write");
        assert_eq!(found(&io, &dir, JournalMark::first(1)).await, [0], "the first is not there, the second is not believed");
        let first = first.write(journal.file()).await.expect("a write");
        journal.apply(first);
        journal.apply(second);
        assert_eq!(found(&io, &dir, JournalMark::first(1)).await, [0, 1, 2]);
        for other in others {
            let other = other.write(journal.file()).await.expect("a write");
            journal.apply(other);
        }
        // Once a group was sealed behind them, the first of the two is missed.
        write(&mut journal, 3, 100).await;
        flip(&io, &dir, first_at.position.0 + 5000).await;
        let error = read_journal(&io, &dir.join(journal_file_name(0)), JournalMark::first(1)).await.expect_err("damage");
        assert!(matches!(error, Error::Corrupt { position, .. } if position == Some(first_at.position)), "{error}");
    }

    async fn groups_of_an_earlier_generation_are_not_believed(io: Io, dir: PathBuf) {
        let mut journal = create(&io, &dir, 1).await;
        for number in 0..5 {
            write(&mut journal, number, 5000).await;
        }
        drop(journal);
        let mut journal = create(&io, &dir, 2).await;
        assert_eq!(found(&io, &dir, JournalMark::first(2)).await, [0u64; 0]);
        assert_eq!(found(&io, &dir, JournalMark::first(1)).await, [0, 1, 2, 3, 4], "taking the file over changes nothing in it");
        write(&mut journal, 10, 5000).await;
        assert_eq!(found(&io, &dir, JournalMark::first(2)).await, [10], "group 2 of generation 1 is right behind");
    }

    async fn a_generation_that_was_used_is_refused(io: Io, dir: PathBuf) {
        let mut journal = create(&io, &dir, 5).await;
        write(&mut journal, 0, 5000).await;
        for generation in [4, 5] {
            match Journal::create(&io, &dir, 0, generation, CAPACITY).await {
                Err(Error::Corrupt { position, what, .. }) => {
                    assert_eq!(position, Some(RING_START));
                    assert!(what.contains("a checkpoint is missing"), "{what}");
                }
                other => panic!("{:?}", other.map(|_| ())),
            }
        }
        create(&io, &dir, 6).await;
    }

    async fn a_missing_or_cut_file_is_empty_only_at_the_first_mark(io: Io, dir: PathBuf) {
        let path = dir.join(journal_file_name(0));
        assert_eq!(found(&io, &dir, JournalMark::first(3)).await, [0u64; 0]);
        let later = JournalMark { generation: 3, sequence: 9, position: Position(40960) };
        assert!(matches!(read_journal(&io, &path, later).await, Err(Error::Corrupt { .. })));
        io.append_file(&path, 0, vec![0; 8192]).await.expect("a file");
        assert_eq!(found(&io, &dir, JournalMark::first(3)).await, [0u64; 0]);
        assert!(matches!(read_journal(&io, &path, later).await, Err(Error::Corrupt { .. })));
    }

    async fn a_newer_journal_is_refused_by_name(io: Io, dir: PathBuf) {
        let mut journal = create(&io, &dir, 1).await;
        let at = write(&mut journal, 0, 100).await.position.0;
        change(&io, &dir, at, |header| {
            header[8] = 7;
            let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..64]);
            header[12..16].copy_from_slice(&crc.to_le_bytes());
        })
        .await;
        let path = dir.join(journal_file_name(0));
        let newer = read_journal(&io, &path, JournalMark::first(1)).await.expect_err("newer");
        assert!(matches!(newer, Error::NewerFormat { found: 7, .. }), "{newer}");
        assert_eq!(found(&io, &dir, JournalMark::first(2)).await, [0u64; 0], "a stale newer group is no newer journal");
    }

    async fn a_journal_grows_while_it_is_used(io: Io, dir: PathBuf) {
        let mut journal = Journal::create(&io, &dir, 0, 1, 20 * MIB).await.expect("a journal");
        assert!(journal.ready_bytes() < 8 * MIB);
        write(&mut journal, 0, 500_000).await;
        let mut number = 1;
        while let Some(growth) = journal.plan_growth() {
            write(&mut journal, number, 500_000).await;
            number += 1;
            let grown = growth.run().await.expect("growth");
            journal.apply_growth(grown);
        }
        assert_eq!(journal.ready_bytes(), journal.capacity_bytes());
        while journal.has_room(500_120) {
            write(&mut journal, number, 500_000).await;
            number += 1;
        }
        assert!(journal.used_bytes() > 19 * MIB && number > 35, "{} bytes in {number} groups", journal.used_bytes());
        assert_eq!(found(&io, &dir, JournalMark::first(1)).await, (0..number).collect::<Vec<_>>());
        drop(journal);
        let journal = Journal::create(&io, &dir, 0, 2, 20 * MIB).await.expect("a journal");
        assert_eq!(journal.ready_bytes(), journal.capacity_bytes(), "what was prewritten stays so");
        let mut smaller = Journal::create(&io, &dir, 0, 3, 10 * MIB).await.expect("a journal");
        assert_eq!(found(&io, &dir, JournalMark::first(1)).await.len(), number as usize, "nothing was cut off yet");
        let cut = smaller.plan_growth().expect("a cut").run().await.expect("a cut");
        smaller.apply_growth(cut);
        assert!(smaller.plan_growth().is_none());
        let length = io.file_len(&dir.join(journal_file_name(0))).await.expect("a length");
        assert_eq!(length, Some(10 * MIB));
        assert_eq!(smaller.ready_bytes(), smaller.capacity_bytes());
    }

    async fn a_checkpoint_is_replaced_as_a_whole(io: Io, dir: PathBuf) {
        assert_eq!(Checkpoint::load(&io, &dir, 4).await.expect("none yet"), None);
        for generation in [1, 2] {
            let mark = JournalMark::first(generation);
            let checkpoint = Checkpoint { shard: 4, generation, mark, partitions: Vec::new() };
            checkpoint.store(&io, &dir).await.expect("a checkpoint");
            assert_eq!(Checkpoint::load(&io, &dir, 4).await.expect("a checkpoint"), Some(checkpoint));
        }
        io.rename(&dir.join("corelog-checkpoint-4"), &dir.join("corelog-checkpoint-5")).await.expect("a rename");
        assert!(matches!(Checkpoint::load(&io, &dir, 5).await, Err(Error::Corrupt { .. })), "another shard's");
    }
}

#[test]
fn a_journal_too_small_for_its_groups_is_refused_by_its_setting() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_path_buf();
    let options = io::UringOptions { arena_bytes: 4 * MIB as usize, ..Default::default() };
    let refused = io::run(options, |io| async move { Journal::create(&io, &path, 0, 1, 4096).await.map(|_| ()) });
    assert!(matches!(refused.expect("a ring"), Err(Error::Setting { name, .. }) if name == "corelog.journal.bytes"));
}
