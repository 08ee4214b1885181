//! What the real machine may refuse, and what is said and done then. Each refusal happens in a process of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use corelog_engine::io::{self, Io, IoFacts, OpenMode, RingMode, Sync, UringOptions};
use corelog_engine::{Error, Position, Result};

const CHILD: &str = "CORELOG_TEST_CHILD";
const MIB: usize = 1 << 20;

/// Runs the test `name` in another process, where it does `body`; returns at once in this one.
fn in_its_own_process(name: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let this = std::env::current_exe().expect("a path");
    let output = Command::new(this).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().expect("a process");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

fn small() -> UringOptions {
    UringOptions { arena_bytes: 8 * MIB, ..Default::default() }
}

/// Writes and reads a file; returns the facts afterwards.
fn use_a_world(options: UringOptions, path: PathBuf) -> Result<IoFacts> {
    io::run(options, |io| async move {
        let file = io.open(&path, OpenMode::Create).await.expect("a file");
        let mut buffer = io.alloc(MIB);
        buffer.extend_from_slice(&vec![7; MIB]);
        file.write_at(&[buffer.slice(0..MIB)], Position(0), Sync::Data).await.expect("written");
        let (read, back) = file.read_at(io.alloc(MIB), Position(0), MIB).await;
        assert_eq!((read.expect("read"), &*back), (MIB, &*buffer));
        io.facts()
    })
}

fn warned(facts: &IoFacts, words: &[&str]) -> bool {
    facts.warnings.iter().any(|warning| words.iter().all(|word| warning.contains(word)))
}

/// Answers a system call with an error code: always, or where an argument has one of some bits.
fn forbid(call: libc::c_long, bits: Option<(u32, u32)>, code: i32) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter =
        vec![step(LOAD, 0, 0, 0), step(EQUAL, 1, 0, call as u32), step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW)];
    if let Some((argument, bits)) = bits {
        filter.push(step(LOAD, 0, 0, 16 + 8 * argument));
        filter.push(step(ANY_BIT, 1, 0, bits));
        filter.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    }
    filter.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | code as u32));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is read during the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
    }
}

#[test]
fn a_world_that_gets_all_it_asks_for_has_no_warnings() {
    let dir = tempfile::tempdir().expect("a directory");
    let facts = use_a_world(small(), dir.path().join("data")).expect("a world");
    assert_eq!((facts.ring_mode, facts.arena_bytes), (RingMode::Defer, 8 * MIB as u64));
    assert!(facts.fixed_files > 0);
    let complete = facts.direct && facts.registered_buffers && facts.huge_pages_bytes_granted == facts.arena_bytes;
    assert_eq!(facts.warnings.is_empty(), complete, "{facts:?}");
}

#[test]
fn a_forbidden_io_uring_is_an_error_that_says_what_to_change() {
    in_its_own_process("a_forbidden_io_uring_is_an_error_that_says_what_to_change", || {
        forbid(libc::SYS_io_uring_setup, None, libc::EPERM);
        let error = io::run(small(), |_io| async {}).expect_err("it is forbidden");
        assert!(matches!(error, Error::Unsupported { .. }));
        assert!(error.to_string().contains("io_uring_setup") && error.to_string().contains("seccomp"), "{error}");
    });
}

#[test]
fn too_little_lockable_memory_costs_speed_and_not_service() {
    in_its_own_process("too_little_lockable_memory_costs_speed_and_not_service", || {
        let dir = tempfile::tempdir().expect("a directory");
        let limit = nix::sys::resource::Resource::RLIMIT_MEMLOCK;
        nix::sys::resource::setrlimit(limit, 64 << 10, 64 << 10).expect("a lower limit");
        if nix::unistd::geteuid().is_root() {
            // Who may do everything is not held to the limit.
            // The limit is of all processes of a user: one of its own, whoever runs the same test beside this.
            let nobody = nix::unistd::Uid::from_raw(100_000 + std::process::id());
            nix::unistd::chown(dir.path(), Some(nobody), None).expect("a directory for another");
            nix::unistd::setuid(nobody).expect("another user");
        }
        let facts = use_a_world(small(), dir.path().join("data")).expect("a world");
        assert!(!facts.registered_buffers);
        assert!(warned(&facts, &["RLIMIT_MEMLOCK is 65536", "LimitMEMLOCK", "CAP_IPC_LOCK"]), "{facts:?}");
    });
}

#[test]
fn a_file_system_without_direct_writes_is_used_through_the_page_cache() {
    in_its_own_process("a_file_system_without_direct_writes_is_used_through_the_page_cache", || {
        forbid(libc::SYS_openat, Some((2, libc::O_DIRECT as u32)), libc::EINVAL);
        let dir = tempfile::tempdir().expect("a directory");
        let facts = use_a_world(small(), dir.path().join("data")).expect("a world");
        assert!(!facts.direct && warned(&facts, &["O_DIRECT", "ext4 or XFS"]), "{facts:?}");
    });
}

#[test]
fn huge_pages_that_are_not_granted_are_missed() {
    in_its_own_process("huge_pages_that_are_not_granted_are_missed", || {
        // SAFETY: changes what pages later mappings of this process get.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) }, 0);
        let dir = tempfile::tempdir().expect("a directory");
        let facts = use_a_world(small(), dir.path().join("data")).expect("a world");
        assert_eq!(facts.huge_pages_bytes_granted, 0);
        assert!(warned(&facts, &["transparent_hugepage"]), "{facts:?}");
    });
}

#[test]
fn a_thread_is_pinned_where_its_core_exists() {
    let pinned =
        std::thread::spawn(|| io::run(UringOptions { core: Some(0), ..small() }, |io| async move { io.facts() }));
    assert_eq!(pinned.join().expect("a thread").expect("a world").core, Some(0));
    let facts = io::run(UringOptions { core: Some(1000), ..small() }, |io| async move { io.facts() }).expect("a world");
    assert!(facts.core.is_none() && warned(&facts, &["core 1000"]), "{facts:?}");
}

#[test]
fn more_files_than_the_ring_has_places_for_can_be_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_path_buf();
    let options = UringOptions { fixed_files: 4, ..small() };
    io::run(options, |io| async move {
        for _ in 0..3 {
            let mut files = Vec::new();
            for index in 0..20 {
                files.push(io.open(&path.join(index.to_string()), OpenMode::Create).await.expect("a file"));
            }
            for (index, file) in files.iter().enumerate() {
                let mut buffer = io.alloc(4096);
                buffer.extend_from_slice(&[index as u8; 4096]);
                file.write_at(&[buffer.slice(0..4096)], Position(0), Sync::None).await.expect("written");
            }
            for (index, file) in files.iter().enumerate() {
                let (read, buffer) = file.read_at(io.alloc(4096), Position(0), 4096).await;
                assert_eq!((read.expect("read"), &*buffer), (4096, &[index as u8; 4096][..]));
            }
        }
    })
    .expect("a world");
}

#[test]
#[should_panic(expected = "its world ends with it")]
fn a_task_that_panics_ends_its_world() {
    let _ = io::run(small(), |io: Io| async move {
        io.spawn(async { panic!("a bug") });
        io.sleep(Duration::from_secs(60)).await;
    });
}

#[test]
fn a_world_that_ends_waits_for_the_disk_and_not_for_its_tasks() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    for _ in 0..20 {
        let path = path.clone();
        io::run(small(), |io| async move {
            let file = io.open(&path, OpenMode::Create).await.expect("a file");
            for block in 0..64u64 {
                let (file, task_io) = (file.clone(), io.clone());
                io.spawn(async move {
                    loop {
                        let mut buffer = task_io.alloc(64 << 10);
                        buffer.extend_zeros(64 << 10);
                        let at = Position(block * (64 << 10));
                        file.write_at(&[buffer.slice(0..64 << 10)], at, Sync::None).await.expect("written");
                    }
                });
            }
            io.sleep(Duration::from_millis(5)).await;
            // All that was under way may have ended meanwhile; each task begins again when its turn comes.
            let patience = io.now() + Duration::from_secs(60);
            while io.counters().in_flight == 0 {
                assert!(io.now() < patience, "nothing is written");
                io.yield_now().await;
            }
        })
        .expect("a world");
    }
}

#[test]
fn a_removed_file_gives_its_room_and_descriptor_back_when_it_is_closed() {
    let open_files = || std::fs::read_dir("/proc/self/fd").expect("a list").count();
    in_its_own_process("a_removed_file_gives_its_room_and_descriptor_back_when_it_is_closed", || {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data");
        io::run(small(), |io| async move {
            let before = open_files();
            for _ in 0..50 {
                let file = io.open(&path, OpenMode::Create).await.expect("a file");
                file.allocate(Position(0), MIB as u64).await.expect("room");
                io.remove_file(&path).await.expect("removed");
            }
            let patience = io.now() + Duration::from_secs(60);
            while open_files() > before && io.now() < patience {
                io.sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(open_files(), before);
        })
        .expect("a world");
    });
}
