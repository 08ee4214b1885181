//! The few numbers of `/proc` and `/sys` that measuring needs, read by hand: no allocation-heavy parsing between samples.
//!
//! Every reader returns zeros or `None` where the file is missing (containers hide some), never an error.

use std::fs;
use std::path::{Path, PathBuf};

/// CPU seconds of the whole machine since boot, all cores together.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineCpu {
    /// user + nice + system: what somebody ran.
    pub busy: f64,
    /// Interrupts and soft interrupts.
    pub interrupts: f64,
    /// What the hypervisor gave to others while we wanted to run.
    pub steal: f64,
}

/// Reads `/proc/stat`.
pub fn machine_cpu() -> MachineCpu {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = text.lines().next() else { return MachineCpu::default() };
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let at = |place: usize| ticks.get(place).copied().unwrap_or(0.0) / ticks_per_second();
    MachineCpu { busy: at(0) + at(1) + at(2), interrupts: at(5) + at(6), steal: at(7) }
}

/// CPU seconds, user and system, of another process and its threads; `None` when it is gone.
pub fn process_cpu(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / ticks_per_second())
}

/// CPU seconds of all kernel threads: the work that the kernel does for writes behind our back (`dio/`, `kblockd`).
pub fn kernel_threads_cpu() -> f64 {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let Ok(entries) = fs::read_dir("/proc") else { return 0.0 };
    let mut seconds = 0.0;
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some(end) = text.rfind(')') else { continue };
        let fields: Vec<&str> = text[end + 1..].split_whitespace().collect();
        let number = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        if number(6) & PF_KTHREAD != 0 {
            seconds += (number(11) + number(12)) as f64 / ticks_per_second();
        }
    }
    seconds
}

/// CPU seconds, user and system, of this process and its io_uring workers, to the microsecond.
pub fn own_cpu() -> f64 {
    rusage_seconds(nix::sys::resource::UsageWho::RUSAGE_SELF)
}

/// CPU seconds of the calling thread.
pub fn thread_cpu() -> f64 {
    rusage_seconds(nix::sys::resource::UsageWho::RUSAGE_THREAD)
}

/// CPU seconds of the children that have ended and were waited for.
pub fn ended_children_cpu() -> f64 {
    rusage_seconds(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)
}

fn rusage_seconds(who: nix::sys::resource::UsageWho) -> f64 {
    let usage = nix::sys::resource::getrusage(who).expect("getrusage of ourselves");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Bytes that a process had sent to and fetched from block devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessIo {
    /// `read_bytes` of `/proc/PID/io`.
    pub read_bytes: u64,
    /// `write_bytes` of it: direct writes, and pages it dirtied.
    pub write_bytes: u64,
}

/// Reads `/proc/PID/io`; `None` as the pid means this process.
pub fn process_io(pid: Option<u32>) -> ProcessIo {
    let path = pid.map_or("/proc/self/io".to_owned(), |pid| format!("/proc/{pid}/io"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
    };
    ProcessIo { read_bytes: field("read_bytes:"), write_bytes: field("write_bytes:") }
}

/// What a process holds of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// The same, pages that others have too counted in part (`smaps_rollup`); 0 where that may not be read.
    pub proportional_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Reads what a process holds now.
pub fn holding(pid: u32) -> Holding {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    Holding {
        resident_bytes: resident_bytes(pid),
        proportional_bytes: kib_field(&format!("/proc/{pid}/smaps_rollup"), "Pss:"),
        descriptors,
    }
}

/// Resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    kib_field(&format!("/proc/{pid}/status"), "VmRSS:")
}

fn kib_field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let field = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok());
    field.map_or(0, |kib: u64| kib << 10)
}

/// Memory of the machine's TCP sockets in bytes: what is on its way between both ends.
pub fn tcp_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let mut fields = line.split_whitespace().skip_while(|field| *field != "mem").skip(1);
    fields.next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Bytes that went to the block device, whoever wrote them; `None` where it is not in `/proc/diskstats`.
pub fn device_written_bytes(device: &str) -> Option<u64> {
    const SECTOR_BYTES: u64 = 512;
    let text = fs::read_to_string("/proc/diskstats").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(2);
        if fields.next()? != device {
            return None;
        }
        fields.nth(6)?.parse::<u64>().ok().map(|sectors| sectors * SECTOR_BYTES)
    })
}

/// A file of `/sys` or `/proc` in one trimmed line, if it can be read.
pub fn line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The mount that holds `path`: (device, mount point, file system type, options).
pub fn mount_of(path: &Path) -> Option<(String, PathBuf, String, String)> {
    let path = path.canonicalize().ok()?;
    let text = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let point = PathBuf::from(fields.get(1)?.replace("\\040", " "));
        path.starts_with(&point).then(|| (fields[0].to_owned(), point, fields[2].to_owned(), fields[3].to_owned()))
    });
    mounts.max_by_key(|mount| mount.1.as_os_str().len())
}

fn ticks_per_second() -> f64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_cpu_is_seen_by_every_reader() {
        let before = (own_cpu(), thread_cpu(), machine_cpu().busy);
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 50 {
            std::hint::black_box(0);
        }
        assert!(own_cpu() > before.0);
        assert!(thread_cpu() > before.1);
        assert!(machine_cpu().busy >= before.2);
        assert!(process_cpu(std::process::id()).expect("we are alive") > 0.0);
        assert_eq!(process_cpu(u32::MAX), None);
    }

    #[test]
    fn what_we_hold_is_seen() {
        let held = holding(std::process::id());
        assert!(held.resident_bytes > 1 << 20 && held.descriptors > 2, "{held:?}");
        assert!(held.proportional_bytes <= 2 * held.resident_bytes, "{held:?}");
    }

    #[test]
    fn the_root_mount_holds_every_path() {
        let (_, point, kind, _) = mount_of(Path::new("/")).expect("there is a root");
        assert_eq!(point, Path::new("/"));
        assert!(!kind.is_empty());
    }
}
