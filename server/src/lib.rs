//! The broker: the Apache Kafka protocol over the corelog store.
//!
//! * [`serve`] starts a broker in this process; the binary and tests do no more.
//! * [`protocol`] frames and messages; `net` sockets; `api` a handler per API.
//! * `broker` what all of it shares; `controller` and `leaders` carry out what `corelog_replication` decides.
//! * `groups` the coordinators of groups; `telemetry` what clients are asked for; `loggers` the levels of the logs.
//! * [`config`] the settings; [`command_line`] what the binary `corelog` does with its arguments.

#![forbid(unsafe_code)]

mod api;
mod broker;
pub mod command_line;
pub mod config;
mod controller;
mod described;
mod fetch_sessions;
mod groups;
mod join;
mod leaders;
mod loggers;
mod metrics;
mod net;
mod producer_ids;
pub mod protocol;
mod serve;
mod telemetry;
mod topic_settings;

pub use serve::{Running, serve};
