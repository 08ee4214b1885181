//! How a figure comes about: rounds, ratios, latencies, costs, and the machine they were taken on.
//!
//! - [`ratio`]: medians with their range, paired ratios, a bootstrap range of the median
//! - [`latency`]: histograms with three digits, and their percentiles
//! - [`schedule`]: the intended send times of an open loop
//! - [`cost`]: CPU, bytes on the disk and other people's CPU over a stretch of time
//! - [`quiet`]: waits for a quiet machine before a sample
//! - [`machine`]: what the figures were measured on
//!
//! Nothing here knows what is measured.

pub mod cost;
pub mod latency;
pub mod machine;
pub mod proc;
pub mod quiet;
pub mod ratio;
pub mod schedule;

pub use cost::{Cost, Meter};
pub use latency::{Latency, Percentiles};
pub use machine::Machine;
pub use quiet::QuietGate;
pub use ratio::Spread;
pub use schedule::Schedule;
