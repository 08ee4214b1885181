//! What a seed makes of a store: its settings, its partitions' settings, and how large its batches are.

use std::time::Duration;

use corelog_engine::batch::TimestampType;
use corelog_engine::io::sim::{Faults, SimConfig};
use corelog_engine::{LogConfig, StoreConfig};

use crate::dice::Dice;

/// How much the clients of a machine write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// Small batches only.
    Small,
    /// Some that go straight to their segment.
    Mixed,
    /// Enough to fill and wrap the journal.
    Heavy,
}

/// What a seed makes of a machine.
pub struct Plan {
    pub sim: SimConfig,
    pub store: StoreConfig,
    pub weight: Weight,
    pub clients: u64,
    pub partitions: u64,
    /// Whether the test decides the high watermarks, as a server does.
    pub observed: bool,
}

pub const DIR: &str = "/data";

/// Whether what happens is to be told.
pub fn is_traced() -> bool {
    std::env::var_os("CORELOG_TRACE").is_some()
}

impl Plan {
    pub fn new(dice: &Dice) -> Plan {
        let weight = match dice.below(100) {
            0..60 => Weight::Small,
            60..90 => Weight::Mixed,
            _ => Weight::Heavy,
        };
        let micros = |least: u64, most: u64| Duration::from_micros(least)..Duration::from_micros(most);
        let sim = SimConfig {
            // Renames are atomic on the journaling file systems that the store is for.
            renames_tear: false,
            arena_bytes: dice.pick(&[1, 4, 16]) << 20,
            sync_time: dice
                .pick(&[micros(30, 1000), micros(200, 3000), micros(1, 50)].map(|time| (time.start, time.end)))
                .into_range(),
            steps_max: 20_000_000,
            keep_trace: is_traced(),
            ..SimConfig::default()
        };
        let store = StoreConfig {
            shards: 1,
            pin: false,
            journal_bytes: dice.pick(&[8, 8, 12, 32]) << 20,
            cache_bytes: dice.pick(&[64 << 10, 1 << 20, 8 << 20]),
            checkpoint_interval_ms: dice.pick(&[1, 5, 20, 100, 1000]),
            recycle_bytes: dice.pick(&[0, 1 << 20, 64 << 20]),
            retention_check_ms: dice.pick(&[5, 50, 300_000]),
            direct_bytes_min: dice.pick(&[16 << 10, 64 << 10, 256 << 10]),
            writes_in_flight_max: dice.pick(&[1, 2, 8]),
            backlog_bytes_max: dice.pick(&[1 << 20, 8 << 20, 64 << 20]),
            sync_each_max: dice.pick(&[0, 16]),
            index_cache_bytes: dice.pick(&[1 << 10, 64 << 20]),
            ..StoreConfig::new(DIR)
        };
        let (clients, partitions) = (dice.between(1, 6), dice.between(1, 6));
        Plan { sim, store, weight, clients, partitions, observed: dice.percent(50) }
    }

    /// How the disk fails in one life: mostly seldom, so that much goes well before.
    pub fn faults(&self, dice: &Dice) -> Faults {
        let chance = |percent| if dice.percent(percent) { dice.magnitude(1000, 100_000) as u32 } else { 0 };
        Faults {
            read_errors: chance(20),
            write_errors: chance(60),
            sync_errors: chance(60),
            short_reads: chance(30),
            short_writes: chance(30),
            slow: chance(30),
            slow_time: Duration::from_millis(5),
            ..Faults::default()
        }
    }

    /// The settings of one partition.
    pub fn log_config(&self, dice: &Dice) -> LogConfig {
        let largest = if self.weight == Weight::Small { 256 << 10 } else { 4 << 20 };
        LogConfig {
            segment_bytes: dice.magnitude(4 << 10, largest),
            index_interval_bytes: dice.pick(&[0, 100, 1000, 4096, 4096, 1 << 20]),
            segment_index_bytes: dice.pick(&[80, 10 << 20]),
            segment_ms: dice.pick(&[20, 7 * 24 * 3600 * 1000]),
            retention_ms: dice.pick(&[None, None, Some(40_000)]),
            retention_bytes: dice.pick(&[None, None, Some(100_000)]),
            flush_messages: dice.pick(&[1, 1, 1, 1, 100, u64::MAX, u64::MAX]),
            flush_ms: dice.pick(&[None, Some(3)]),
            max_batch_bytes: 4 << 20,
            timestamp_type: dice.pick(&[
                TimestampType::CreateTime,
                TimestampType::CreateTime,
                TimestampType::LogAppendTime,
            ]),
            file_delete_delay_ms: dice.pick(&[0, 1, 60_000]),
            ..LogConfig::default()
        }
    }

    /// The number of records of a batch and the bytes of each value.
    pub fn batch(&self, dice: &Dice) -> (u64, u64) {
        let size = dice.below(100);
        match (self.weight, size) {
            (_, 0..50) => (dice.between(1, 5), dice.magnitude(1, 100)),
            (Weight::Small, _) | (_, 50..75) => (dice.between(1, 20), dice.magnitude(100, 2000)),
            (_, 75..92) => (dice.between(1, 4), dice.magnitude(5 << 10, 60 << 10)),
            (_, 92..97) => (1, dice.between(200 << 10, 600 << 10)),
            _ => (dice.between(1, 3), dice.between(300 << 10, 1200 << 10)),
        }
    }

    /// How many batches a client appends before it waits.
    pub fn burst(&self, dice: &Dice) -> u64 {
        match self.weight {
            Weight::Small => dice.magnitude(1, 16),
            Weight::Mixed => dice.magnitude(1, 32),
            Weight::Heavy => dice.magnitude(4, 64),
        }
    }
}

trait IntoRange {
    fn into_range(self) -> std::ops::Range<Duration>;
}

impl IntoRange for (Duration, Duration) {
    fn into_range(self) -> std::ops::Range<Duration> {
        self.0..self.1
    }
}
