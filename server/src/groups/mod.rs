//! Groups: who reads which partitions, and how far they are.
//!
//! A group belongs to a partition of `__consumer_offsets` by its id, and so to that partition's shard. What is asked of it
//! is decided there without I/O ([`Coordinator`]); the records that come of it are appended to the partition, and the answer
//! leaves once they, and all that the state shows, are as safe as the partition keeps them. Replaying the partition makes
//! the state again.
//!
//! * `coordinator`, `commit` what is asked; `classic` the groups whose members assign,
//!   `consumer` those for which the broker does; `group` what groups have in common.
//! * `record`, `offsets` what is kept; `consumer_protocol` what consumers tell each other.
//! * `turn`, `timers`, `settings` what a decision is given; `hosted` carries it out; `place` finds the partition.

mod classic;
mod commit;
mod consumer;
mod consumer_protocol;
mod coordinator;
mod group;
mod hosted;
mod offsets;
mod place;
#[cfg(test)]
mod random_histories;
mod record;
#[cfg(test)]
mod rules;
pub mod settings;
mod timers;
mod turn;

pub(crate) use commit::{Commit, Committer};
pub(crate) use consumer::compile_expression;
pub(crate) use hosted::Groups;
pub(crate) use offsets::{Committed, OffsetsOfGroup};
pub(crate) use place::OFFSETS_TOPIC;
pub(crate) use turn::{Answer, Client};
