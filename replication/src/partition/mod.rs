//! One partition as its leader sees it. Pure: events in, effects out.
//!
//! * [`leader`]: leader epoch, follower progress, high watermark.
//! * [`isr`]: the in-sync replicas and how many of them the topic asks for.
//! * [`acks`]: what a producer waits for, and when it is refused.

pub mod acks;
pub mod isr;
pub mod leader;

pub use acks::{AckError, Acknowledged, Acks};
pub use isr::Isr;
pub use leader::{Assignment, Effects, Leader, LocalLog};
