//! What the kernel says of this process, under the names that every Prometheus client library uses.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;

use super::exposition::{Family, Kind, Samples};

static CPU: Family =
    Family { name: "process_cpu_seconds_total", kind: Kind::Counter, help: "Processor time, user and system." };
static RESIDENT: Family =
    Family { name: "process_resident_memory_bytes", kind: Kind::Gauge, help: "Memory that is resident." };
static OPEN: Family = Family { name: "process_open_fds", kind: Kind::Gauge, help: "Open descriptors." };
static OPEN_MAX: Family =
    Family { name: "process_max_fds", kind: Kind::Gauge, help: "Descriptors that may be open at most." };
static BUILD: Family =
    Family { name: "corelog_build_info", kind: Kind::Gauge, help: "1, with the version of this program." };

/// Every family of this file.
#[cfg(test)]
pub(super) static FAMILIES: &[&Family] = &[&BUILD, &CPU, &RESIDENT, &OPEN, &OPEN_MAX];

/// Adds what is known; what the kernel does not tell is left out.
pub(super) fn gather(samples: &mut Samples) {
    samples.add(&BUILD, &[("version", &env!("CARGO_PKG_VERSION"))], 1);
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        samples.add(&CPU, &[], us as f64 / 1e6);
    }
    let resident = fs::read_to_string("/proc/self/statm").ok();
    let pages = resident.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    if let (Some(pages), Some(page)) = (pages, page) {
        samples.add(&RESIDENT, &[], pages * page as u64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        samples.add(&OPEN, &[], open.count());
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        samples.add(&OPEN_MAX, &[], soft);
    }
}
