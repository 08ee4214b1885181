//! What this machine offers: the best ring it lets us make, the operations that ring knows, and what to change where
//! something is missing.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use crate::error::{Error, Result};
use crate::io::facts::RingMode;

/// The operations without which there is no disk: all are in Linux 5.6.
const NEEDED: [(u8, &str); 7] = [
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Writev::CODE, "WRITEV"),
    (opcode::ReadFixed::CODE, "READ_FIXED"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
];

/// What the ring knows beyond what is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// `WRITEV_FIXED` (Linux 6.15).
    pub(super) write_many_fixed: bool,
    /// `FTRUNCATE` (Linux 6.9).
    pub(super) truncate: bool,
}

/// Makes the best ring that the kernel allows, of `best` and what comes after it.
pub(super) fn create_ring(entries: u32, best: RingMode) -> Result<(IoUring, RingMode)> {
    let modes = [RingMode::Defer, RingMode::Coop, RingMode::Plain];
    for mode in modes.into_iter().skip_while(|mode| *mode != best) {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp();
        match mode {
            RingMode::Defer => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            RingMode::Coop => {
                builder.setup_coop_taskrun().setup_taskrun_flag();
            }
            RingMode::Plain | RingMode::Simulated => {}
        }
        match builder.build(entries) {
            Ok(ring) => return Ok((ring, mode)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && mode != RingMode::Plain => {}
            Err(error) => return Err(explain(&error)),
        }
    }
    panic!("{best:?} is not a mode of a ring")
}

/// Which operations the ring knows; an error where one that is needed is missing.
pub(super) fn known(ring: &IoUring) -> Result<Known> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| explain(&error))?;
    if let Some((_, name)) = NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(Error::Unsupported {
            what: format!("this kernel's io_uring lacks the operation {name}"),
            remedy: "run Linux 5.19 or later (6.1 or later for the fast modes)".into(),
        });
    }
    Ok(Known {
        write_many_fixed: probe.is_supported(opcode::WritevFixed::CODE),
        truncate: probe.is_supported(opcode::Ftruncate::CODE),
    })
}

/// Why no ring could be made, and what to change.
pub(super) fn explain(error: &io::Error) -> Error {
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let (what, remedy) = explain_with(error, setting.trim());
    Error::Unsupported { what, remedy }
}

fn explain_with(error: &io::Error, disabled: &str) -> (String, String) {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if disabled == "2" => (
            "io_uring is switched off on this machine (kernel.io_uring_disabled = 2)".into(),
            "set it to 0: sysctl -w kernel.io_uring_disabled=0".into(),
        ),
        Some(libc::EPERM | libc::EACCES) if disabled == "1" => (
            "io_uring is reserved to some users on this machine (kernel.io_uring_disabled = 1)".into(),
            "set it to 0 (sysctl -w kernel.io_uring_disabled=0), or run as a member of the group in \
             kernel.io_uring_group, or with CAP_SYS_ADMIN"
                .into(),
        ),
        Some(libc::EPERM | libc::EACCES) => (
            format!("io_uring is forbidden to this process ({error}), most likely by its container's seccomp profile"),
            "allow the system calls io_uring_setup, io_uring_enter and io_uring_register in that profile (Docker: \
             --security-opt seccomp=<profile>; Kubernetes: securityContext.seccompProfile)"
                .into(),
        ),
        Some(libc::ENOSYS) => (
            "this kernel has no io_uring".into(),
            "run Linux 5.19 or later, with CONFIG_IO_URING; a seccomp profile that answers ENOSYS must allow \
             io_uring_setup, io_uring_enter and io_uring_register"
                .into(),
        ),
        Some(libc::ENOMEM) => (
            "the kernel has no lockable memory left for an io_uring".into(),
            "raise the limit: ulimit -l unlimited, LimitMEMLOCK=infinity in the systemd unit, or CAP_IPC_LOCK".into(),
        ),
        Some(libc::EMFILE | libc::ENFILE) => (
            "no file descriptor is left for an io_uring".into(),
            "raise the limit: ulimit -n, or LimitNOFILE in the systemd unit".into(),
        ),
        _ => (
            format!("no io_uring could be set up: {error}"),
            "run Linux 5.19 or later; the kernel's log may say more".into(),
        ),
    }
}

/// The bytes that this process may lock in memory; `None` where there is no limit.
pub(super) fn lockable_bytes() -> Option<u64> {
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != libc::RLIM_INFINITY).then_some(soft)
}

/// The bytes of the mapping at `base` that lie on huge pages, from `/proc/self/smaps`.
pub(super) fn huge_page_bytes(base: usize, bytes: usize) -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    huge_page_bytes_in(&smaps, base, bytes)
}

fn huge_page_bytes_in(smaps: &str, base: usize, bytes: usize) -> u64 {
    let mut inside = false;
    let mut kib = 0;
    for line in smaps.lines() {
        if let Some((start, end)) = line.split_whitespace().next().and_then(address_range) {
            inside = start < base + bytes && base < end;
        } else if inside && let Some(size) = line.strip_prefix("AnonHugePages:") {
            kib += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        }
    }
    (kib * 1024).min(bytes as u64)
}

fn address_range(text: &str) -> Option<(usize, usize)> {
    let (start, end) = text.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_io_uring_says_what_to_change() {
        let forbidden = io::Error::from_raw_os_error(libc::EPERM);
        assert!(explain_with(&forbidden, "2").1.contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(explain_with(&forbidden, "1").1.contains("kernel.io_uring_group"));
        assert!(explain_with(&forbidden, "0").1.contains("seccomp"));
        let too_little = io::Error::from_raw_os_error(libc::ENOMEM);
        assert!(explain_with(&too_little, "0").1.contains("LimitMEMLOCK"));
    }

    #[test]
    fn huge_pages_are_counted_within_the_mapping_alone() {
        let smaps = "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \nSize: 4096 kB\nAnonHugePages:      4096 kB\n\
                     7f0000800000-7f0000a00000 rw-p 00000000 00:00 0 \nAnonHugePages:      2048 kB\nVmFlags: rd wr\n";
        assert_eq!(huge_page_bytes_in(smaps, 0x7f00_0000_0000, 4 << 20), 4 << 20);
        assert_eq!(huge_page_bytes_in(smaps, 0x7f00_0080_0000, 2 << 20), 2 << 20);
        assert_eq!(huge_page_bytes_in(smaps, 0x7f00_0100_0000, 2 << 20), 0);
    }
}
