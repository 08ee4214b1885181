//! The memory of the tails: counted, bounded, and given back from the oldest bytes on.

use std::rc::Rc;

use crate::log::{CHUNK_BYTES_ENOUGH, CHUNK_BYTES_MAX, Log};
use crate::shard::partition::Partition;
use crate::shard::shard::Shard;

impl Shard {
    /// Counts anew what a partition holds in memory and what of it waits for the disk, after its log changed.
    pub(super) fn recount(&self, partition: &Partition, log: &Log) {
        let (held, waiting) = match partition.is_deleted() {
            true => (0, 0),
            false => (log.memory_bytes(), log.waiting_bytes()),
        };
        let (held_before, waiting_before) = partition.counted.replace((held, waiting));
        self.held_bytes.set(self.held_bytes.get() + held - held_before);
        let grows = |held: usize| usize::from(held >= CHUNK_BYTES_ENOUGH);
        self.growing.set(self.growing.get() + grows(held) - grows(held_before));
        self.backlog_bytes.set(self.backlog_bytes.get() + waiting - waiting_before);
        if waiting < waiting_before && self.has_room() {
            self.backlog_shrunk.notify_waiters();
        }
    }

    /// How large the pieces of a tail's memory may grow, in bytes: all that grow now have half of the cache together.
    pub(super) fn chunk_bytes_max(&self) -> usize {
        let share = self.config.cache_bytes / 2 / self.growing.get().max(1);
        (share + 1).next_power_of_two().div_ceil(2).clamp(CHUNK_BYTES_ENOUGH, CHUNK_BYTES_MAX)
    }

    /// Gives back the memory of the oldest bytes that the segments have, while more is held than the bound.
    pub(super) fn evict(&self) {
        while self.held_bytes.get() > self.config.cache_bytes {
            let Some(partition) = self.evictable.borrow_mut().pop_front() else { return };
            partition.evictable.set(false);
            if partition.check().is_err() {
                continue;
            }
            let mut log = partition.log.borrow_mut();
            let more = log.evict();
            self.recount(&partition, &log);
            drop(log);
            if more {
                self.offer_eviction(&partition);
            }
        }
    }

    pub(super) fn offer_eviction(&self, partition: &Rc<Partition>) {
        if !partition.evictable.replace(true) {
            self.evictable.borrow_mut().push_back(partition.clone());
        }
    }
}
