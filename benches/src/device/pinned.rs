//! Runs a piece of work on one core, as the store's shard runs on one.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Runs `body` with the calling thread kept on `core`, where the system allows it.
pub fn pinned<T>(core: usize, body: impl FnOnce() -> T) -> T {
    let this_thread = Pid::from_raw(0);
    let before = sched_getaffinity(this_thread).ok();
    let mut one = CpuSet::new();
    if one.set(core).is_ok() {
        let _ = sched_setaffinity(this_thread, &one);
    }
    let outcome = body();
    if let Some(before) = before {
        let _ = sched_setaffinity(this_thread, &before);
    }
    outcome
}
