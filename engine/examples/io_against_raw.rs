//! How much of the device `engine::io` leaves unused: the same writes through it and through a bare io_uring loop.
//!
//! `cargo run --release -p corelog-engine --example io_against_raw -- [DIR] [ROUNDS]` writes and reads a 256 MiB file in
//! DIR, in interleaved rounds, and prints the median rate, the CPU time per operation and the median of the paired ratios.
//! Both sides have O_DIRECT, a registered huge-page buffer, a registered file and `SINGLE_ISSUER | DEFER_TASKRUN`.

use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use corelog_engine::Position;
use corelog_engine::io::{self, Io, OpenMode, Sync, UringOptions};
use io_uring::{IoUring, opcode, types};

const FILE_BYTES: u64 = 256 << 20;
const BLOCK: usize = 4096;
const MIB: usize = 1 << 20;

#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    bytes: usize,
    depth: usize,
    count: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read,
    Write,
    WriteDurable,
}

#[derive(Clone, Copy)]
struct Outcome {
    wall: Duration,
    cpu: Duration,
    enters: u64,
}

const LOADS: [Load; 6] = [
    Load { name: "1 MiB write, QD 2", bytes: MIB, depth: 2, count: 1000, kind: Kind::Write },
    Load { name: "1 MiB durable write, QD 2", bytes: MIB, depth: 2, count: 1000, kind: Kind::WriteDurable },
    Load { name: "1 MiB read, QD 2", bytes: MIB, depth: 2, count: 1000, kind: Kind::Read },
    Load { name: "4 KiB durable write, QD 1", bytes: BLOCK, depth: 1, count: 4000, kind: Kind::WriteDurable },
    Load { name: "4 KiB durable write, QD 32", bytes: BLOCK, depth: 32, count: 16000, kind: Kind::WriteDurable },
    Load { name: "4 KiB write, QD 32", bytes: BLOCK, depth: 32, count: 32000, kind: Kind::Write },
];

fn cpu_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_secs(value.tv_sec() as u64) + Duration::from_micros(value.tv_usec() as u64)
    };
    time(usage.user_time()) + time(usage.system_time())
}

fn position(load: &Load, index: usize) -> u64 {
    let places = FILE_BYTES / load.bytes as u64;
    // Small writes are spread over the file; large ones follow each other.
    let step = if load.bytes < MIB { 7919 } else { 1 };
    (index as u64 * step) % places * load.bytes as u64
}

/// The bare loop.
fn raw(path: &Path, load: &Load) -> Outcome {
    let mut ring: IoUring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(64).expect("a ring");
    let file =
        std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path).expect("the file");
    let bytes = (load.bytes * load.depth).next_multiple_of(2 * MIB);
    // SAFETY: a private mapping of this function's own, aligned by hand; registered while it lives and never unmapped.
    let base = unsafe {
        let start = libc::mmap(
            std::ptr::null_mut(),
            bytes + 2 * MIB,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
        .cast::<u8>();
        let base = start.add(start.align_offset(2 * MIB));
        libc::madvise(base.cast(), bytes, libc::MADV_HUGEPAGE);
        base.write_bytes(1, bytes);
        ring.submitter()
            .register_buffers(&[libc::iovec { iov_base: base.cast(), iov_len: bytes }])
            .expect("registered memory");
        base
    };
    ring.submitter().register_files(&[file.as_raw_fd()]).expect("a registered file");
    let entry = |index: usize, slot: usize| {
        let start = base.wrapping_add(slot * load.bytes);
        let (at, len) = (position(load, index), load.bytes as u32);
        let flags = if load.kind == Kind::WriteDurable { libc::RWF_DSYNC } else { 0 };
        let entry = match load.kind {
            Kind::Read => opcode::ReadFixed::new(types::Fixed(0), start, len, 0).offset(at).build(),
            _ => opcode::WriteFixed::new(types::Fixed(0), start, len, 0).offset(at).rw_flags(flags).build(),
        };
        entry.user_data(slot as u64)
    };
    let (wall, cpu) = (Instant::now(), cpu_time());
    let (mut begun, mut done, mut enters) = (0, 0, 0);
    while begun < load.depth {
        // SAFETY: the memory and the file outlive the loop, which ends when every operation has.
        unsafe { ring.submission().push(&entry(begun, begun)).expect("room") };
        begun += 1;
    }
    while done < load.count {
        ring.submit_and_wait(1).expect("entered");
        enters += 1;
        let slots: Vec<usize> = ring
            .completion()
            .map(|completion| {
                assert_eq!(completion.result(), load.bytes as i32);
                completion.user_data() as usize
            })
            .collect();
        for slot in slots {
            done += 1;
            if begun < load.count {
                // SAFETY: as above.
                unsafe { ring.submission().push(&entry(begun, slot)).expect("room") };
                begun += 1;
            }
        }
    }
    let outcome = Outcome { wall: wall.elapsed(), cpu: cpu_time() - cpu, enters };
    // SAFETY: nothing is in flight; the pages go with the advice, the address range stays.
    unsafe { libc::madvise(base.cast(), bytes, libc::MADV_DONTNEED) };
    outcome
}

/// The same through `engine::io`: `depth` tasks, each with one operation at a time.
async fn ours(io: &Io, path: &Path, load: Load) -> Outcome {
    let file = io.open(path, OpenMode::Write).await.expect("the file");
    let next = Rc::new(Cell::new(0));
    let running = Rc::new(Cell::new(load.depth));
    let enters = io.counters().enters;
    let (wall, cpu) = (Instant::now(), cpu_time());
    let ended = Rc::new(tokio::sync::Notify::new());
    for _ in 0..load.depth {
        let (io, file, next, running, ended) =
            (io.clone(), file.clone(), Rc::clone(&next), Rc::clone(&running), Rc::clone(&ended));
        let task_io = io.clone();
        task_io.spawn(async move {
            let mut buffer = io.alloc(load.bytes);
            buffer.extend_zeros(load.bytes);
            let slices = [buffer.slice(0..load.bytes)];
            let mut room = io.alloc(load.bytes);
            while next.get() < load.count {
                let at = Position(position(&load, next.replace(next.get() + 1)));
                if load.kind == Kind::Read {
                    room.clear();
                    let (read, back) = file.read_at(room, at, load.bytes).await;
                    assert_eq!(read.expect("read"), load.bytes);
                    room = back;
                } else {
                    let sync = if load.kind == Kind::WriteDurable { Sync::Data } else { Sync::None };
                    file.write_at(&slices, at, sync).await.expect("written");
                }
            }
            running.set(running.get() - 1);
            if running.get() == 0 {
                ended.notify_one();
            }
        });
    }
    ended.notified().await;
    Outcome { wall: wall.elapsed(), cpu: cpu_time() - cpu, enters: io.counters().enters - enters }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let rounds: usize = arguments.next().map_or(9, |count| count.parse().expect("a number of rounds"));
    let path = dir.join("io_against_raw.data");
    let options = UringOptions { arena_bytes: 128 * MIB, ..Default::default() };
    io::run(options, |io| async move {
        println!("{:?}", io.facts());
        let file = io.open(&path, OpenMode::Create).await.expect("a file");
        let mut buffer = io.alloc(MIB);
        buffer.extend_zeros(MIB);
        for at in (0..FILE_BYTES).step_by(MIB) {
            file.write_at(&[buffer.slice(0..MIB)], Position(at), Sync::None).await.expect("written");
        }
        file.sync().await.expect("synced");
        println!(
            "{:28} {:>10} {:>10} {:>7}  {:>20}  {:>17}",
            "", "raw/s", "ours/s", "ratio", "CPU us/op raw ours", "enters/op"
        );
        for load in LOADS {
            let sides: RefCell<Vec<(Outcome, Outcome)>> = RefCell::default();
            for round in 0..rounds {
                let pair = if round % 2 == 0 {
                    let theirs = raw(&path, &load);
                    (theirs, ours(&io, &path, load).await)
                } else {
                    let own = ours(&io, &path, load).await;
                    (raw(&path, &load), own)
                };
                sides.borrow_mut().push(pair);
            }
            let sides = sides.into_inner();
            let of = |value: fn(&(Outcome, Outcome)) -> f64| median(&mut sides.iter().map(value).collect::<Vec<_>>());
            let count = load.count as f64;
            println!(
                "{:28} {:>10.0} {:>10.0} {:>7.3}  {:>9.2} {:>10.2}  {:>8.2} {:>8.2}",
                load.name,
                count / of(|(raw, _)| raw.wall.as_secs_f64()),
                count / of(|(_, ours)| ours.wall.as_secs_f64()),
                of(|(raw, ours)| raw.wall.as_secs_f64() / ours.wall.as_secs_f64()),
                of(|(raw, _)| raw.cpu.as_secs_f64()) * 1e6 / count,
                of(|(_, ours)| ours.cpu.as_secs_f64()) * 1e6 / count,
                of(|(raw, _)| raw.enters as f64) / count,
                of(|(_, ours)| ours.enters as f64) / count,
            );
        }
        drop(file);
        io.remove_file(&path).await.expect("removed");
    })
    .expect("an io_uring");
}
