//! What a stretch of time cost: CPU of ours, of the processes we started, of the kernel's threads and of strangers, and bytes on the disk.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::proc;

/// Above this share of the machine's CPU, strangers are said to have disturbed a sample.
pub const FOREIGN_SHARE_MAX: f64 = 0.08;

/// A running measurement of costs.
#[derive(Clone, Debug)]
pub struct Meter {
    started: Instant,
    own_cpu: f64,
    children: Vec<(u32, f64)>,
    ended_cpu: f64,
    kernel_cpu: f64,
    machine: proc::MachineCpu,
    io: proc::ProcessIo,
    device: Option<String>,
    device_bytes: u64,
}

/// The costs between the start of a [`Meter`] and its end.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Wall time in seconds.
    pub seconds: f64,
    /// CPU seconds of this process, io_uring workers included.
    pub own_cpu_seconds: f64,
    /// CPU seconds of the processes named at the start, and of children that ended since.
    pub children_cpu_seconds: f64,
    /// CPU seconds of kernel threads.
    pub kernel_cpu_seconds: f64,
    /// CPU of strangers as a share of all cores, 0 to 1.
    pub foreign_share: f64,
    /// CPU stolen by the hypervisor as a share of all cores, 0 to 1.
    pub steal_share: f64,
    /// Bytes that this process and the named ones wrote to block devices.
    pub written_bytes: u64,
    /// Bytes that reached the data directory's block device, whoever wrote them.
    pub device_written_bytes: u64,
}

impl Meter {
    /// Starts measuring. `children` are processes whose cost is ours too, `device` the block device of the data.
    pub fn start(children: &[u32], device: Option<&str>) -> Meter {
        Meter {
            own_cpu: proc::own_cpu(),
            children: children.iter().map(|pid| (*pid, proc::process_cpu(*pid).unwrap_or(0.0))).collect(),
            ended_cpu: proc::ended_children_cpu(),
            kernel_cpu: proc::kernel_threads_cpu(),
            io: io_of(children),
            device: device.map(str::to_owned),
            device_bytes: device.and_then(proc::device_written_bytes).unwrap_or(0),
            machine: proc::machine_cpu(),
            started: Instant::now(),
        }
    }

    /// The costs since the start.
    pub fn stop(&self) -> Cost {
        let seconds = self.started.elapsed().as_secs_f64();
        let machine = proc::machine_cpu();
        let own_cpu_seconds = proc::own_cpu() - self.own_cpu;
        let children_cpu_seconds =
            self.children.iter().filter_map(|(pid, before)| Some(proc::process_cpu(*pid)? - before)).sum::<f64>()
                + (proc::ended_children_cpu() - self.ended_cpu);
        let kernel_cpu_seconds = (proc::kernel_threads_cpu() - self.kernel_cpu).max(0.0);
        let pids: Vec<u32> = self.children.iter().map(|child| child.0).collect();
        let device_bytes = self.device.as_deref().and_then(proc::device_written_bytes).unwrap_or(0);
        let all_cores = seconds.max(1e-6) * cores() as f64;
        let busy = machine.busy - self.machine.busy;
        let foreign = busy - own_cpu_seconds - children_cpu_seconds - kernel_cpu_seconds;
        Cost {
            seconds,
            own_cpu_seconds,
            children_cpu_seconds,
            kernel_cpu_seconds,
            foreign_share: (foreign / all_cores).clamp(0.0, 1.0),
            steal_share: ((machine.steal - self.machine.steal) / all_cores).clamp(0.0, 1.0),
            written_bytes: io_of(&pids).write_bytes.saturating_sub(self.io.write_bytes),
            device_written_bytes: device_bytes.saturating_sub(self.device_bytes),
        }
    }

    /// How long it has been measuring.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Cost {
    /// Whether strangers or the hypervisor took more CPU than [`FOREIGN_SHARE_MAX`]. `/proc/stat` ticks are 10 ms, so two
    /// ticks are forgiven in short samples.
    pub fn disturbed(&self) -> bool {
        let forgiven = 0.02 / (self.seconds.max(1e-6) * cores() as f64);
        self.foreign_share + self.steal_share > FOREIGN_SHARE_MAX + forgiven
    }
}

/// The number of CPUs this process may run on.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn io_of(children: &[u32]) -> proc::ProcessIo {
    let all = std::iter::once(None).chain(children.iter().copied().map(Some)).map(proc::process_io);
    all.fold(proc::ProcessIo::default(), |sum, one| proc::ProcessIo {
        read_bytes: sum.read_bytes + one.read_bytes,
        write_bytes: sum.write_bytes + one.write_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_work_is_not_foreign() {
        let meter = Meter::start(&[], None);
        while meter.elapsed() < Duration::from_millis(100) {
            std::hint::black_box(0);
        }
        let cost = meter.stop();
        assert!(cost.own_cpu_seconds > 0.02, "{cost:?}");
        assert!(cost.foreign_share < 1.0 && cost.seconds >= 0.1, "{cost:?}");
    }
}
