//! What the figures were measured on: without this, a number is not a number.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{cost, proc};

/// The machine, its disk and its limits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The host's name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Kernel build, with its preemption model.
    pub kernel_version: String,
    /// The CPU's name.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Hypervisor flag of the CPU: the figures are of a virtual machine.
    pub virtual_machine: bool,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Transparent huge pages: the setting of the kernel.
    pub transparent_huge_pages: String,
    /// Bytes of the harness's buffers that are on huge pages, and their size.
    pub huge_pages_granted_bytes: u64,
    /// The size of those buffers.
    pub huge_pages_asked_bytes: u64,
    /// Bytes of memory this process may lock; `None` is no limit (or CAP_IPC_LOCK, which lifts it).
    pub memlock_bytes: Option<u64>,
    /// Whether CAP_IPC_LOCK lifts the limit.
    pub memlock_lifted: bool,
    /// The disk under the data directory.
    pub disk: Disk,
    /// The file system of the data directory.
    pub file_system: String,
    /// Its mount options.
    pub mount_options: String,
    /// Free bytes on it at the start.
    pub free_bytes: u64,
}

/// The block device under the data directory, from `/sys/block`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Disk {
    /// The device's name, "vda"; empty where there is none (tmpfs, overlay).
    pub device: String,
    /// The model, where it says one.
    pub model: String,
    /// The I/O scheduler in use.
    pub scheduler: String,
    /// "write back" or "write through".
    pub write_cache: String,
    /// Whether a write can force its way to stable storage alone (FUA), without a flush.
    pub fua: bool,
    /// Bytes of a logical block.
    pub logical_block_bytes: u64,
    /// Bytes of a physical block.
    pub physical_block_bytes: u64,
    /// Whether the kernel takes it for a rotating disk.
    pub rotational: bool,
    /// The longest scatter list of a request.
    pub segments_max: u64,
    /// The size in bytes.
    pub size_bytes: u64,
}

impl Machine {
    /// Looks at the machine and at the disk under `data_dir`, which must exist.
    pub fn look(data_dir: &Path) -> Machine {
        let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu_field = |name: &str| {
            let line = cpu_info.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let mount = proc::mount_of(data_dir);
        let (source, _, file_system, mount_options) = mount.unwrap_or_default();
        let (memlock_bytes, memlock_lifted) = memlock();
        Machine {
            host: proc::line("/proc/sys/kernel/hostname").unwrap_or_default(),
            kernel: proc::line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            kernel_version: proc::line("/proc/sys/kernel/version").unwrap_or_default(),
            cpu: cpu_field("model name"),
            cpus: cost::cores(),
            virtual_machine: cpu_field("flags").split_whitespace().any(|flag| flag == "hypervisor"),
            memory_bytes: memory_bytes(),
            transparent_huge_pages: chosen(proc::line("/sys/kernel/mm/transparent_hugepage/enabled")),
            huge_pages_granted_bytes: 0,
            huge_pages_asked_bytes: 0,
            memlock_bytes,
            memlock_lifted,
            disk: Disk::look(&source, data_dir),
            file_system,
            mount_options,
            free_bytes: nix::sys::statvfs::statvfs(data_dir)
                .map_or(0, |stat| stat.blocks_available() * stat.fragment_size()),
        }
    }
}

impl Disk {
    fn look(source: &str, data_dir: &Path) -> Disk {
        let Some(device) = block_device(source, data_dir) else { return Disk::default() };
        let queue = |name: &str| proc::line(format!("/sys/block/{device}/queue/{name}")).unwrap_or_default();
        let number = |name: &str| queue(name).parse::<u64>().unwrap_or(0);
        Disk {
            model: proc::line(format!("/sys/block/{device}/device/model")).unwrap_or_default(),
            scheduler: chosen(Some(queue("scheduler"))),
            write_cache: queue("write_cache"),
            fua: number("fua") == 1,
            logical_block_bytes: number("logical_block_size"),
            physical_block_bytes: number("physical_block_size"),
            rotational: number("rotational") == 1,
            segments_max: number("max_segments"),
            size_bytes: proc::line(format!("/sys/block/{device}/size")).and_then(|n| n.parse().ok()).unwrap_or(0) * 512,
            device,
        }
    }
}

/// The name under `/sys/block` of the disk that holds `data_dir`: found by device number, a partition by its parent.
fn block_device(source: &str, data_dir: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let device = data_dir.metadata().ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let by_number = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok();
    let path = by_number.or_else(|| {
        let name = Path::new(source).file_name()?;
        std::fs::canonicalize(Path::new("/sys/class/block").join(name)).ok()
    })?;
    let whole = if path.join("partition").exists() { path.parent()?.to_path_buf() } else { path };
    Some(whole.file_name()?.to_str()?.to_owned())
}

/// The bracketed word of a `/sys` choice: "none [mq-deadline]" is "mq-deadline".
fn chosen(line: Option<String>) -> String {
    let line = line.unwrap_or_default();
    let word = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word.to_owned());
    word.unwrap_or(line)
}

fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0u64) * 1024
}

fn memlock() -> (Option<u64>, bool) {
    const CAP_IPC_LOCK: u64 = 14;
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK).unwrap_or((0, 0));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let lifted = effective.is_some_and(|capabilities| capabilities >> CAP_IPC_LOCK & 1 == 1);
    ((soft != libc::RLIM_INFINITY).then_some(soft), lifted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_the_word_in_brackets() {
        assert_eq!(chosen(Some("none [mq-deadline] kyber".into())), "mq-deadline");
        assert_eq!(chosen(Some("none".into())), "none");
        assert_eq!(chosen(None), "");
    }

    #[test]
    fn a_machine_has_a_kernel_and_a_cpu() {
        let machine = Machine::look(Path::new("/"));
        assert!(!machine.kernel.is_empty() && machine.cpus > 0 && machine.memory_bytes > 0, "{machine:?}");
    }
}
