//! The consumer protocol (KIP-848): members say what they want by heartbeats, the broker assigns, and each member is brought
//! to its part step by step, so that no partition has two owners.
//!
//! * `group` what a group is, made by replay alone; `describe` what operators are told of it.
//! * `heartbeat` what a member asks; `epochs` how the group follows; `reconcile` how a member follows; `assignor` who gets what.
//! * `regex` subscriptions by expression; `classic_member`, `migration` members and groups between the two protocols.

mod assignor;
mod classic_member;
mod describe;
mod epochs;
mod group;
mod heartbeat;
mod migration;
mod reconcile;
mod regex;

pub(super) use group::ConsumerGroup;
pub(crate) use regex::compile as compile_expression;
