//! The classic protocol: members join, one of them assigns, all get their part (KIP-62, 134, 345, 394, 429, 559, 800, 814).
//!
//! * `group` what a group is; `record` how it is kept and read back.
//! * `join`, `sync`, `leave` what members ask for; `rebalance` how a generation comes about.

mod group;
mod join;
mod leave;
mod rebalance;
mod record;
mod sync;

pub(super) use group::{ClassicGroup, ClassicState, Member};
