//! What stands between the store and the server: who leads a partition, how far it is safe, and what the cluster looks like.
//!
//! * [`partition`]: the leader's state machine: leader epoch, in-sync replicas, high watermark, acknowledgement rules.
//! * [`metadata`]: the cluster's metadata as a log of Apache Kafka's own metadata records: decide, append, replay.
//! * [`properties`]: Java's properties syntax, in which Kafka keeps its settings and `meta.properties`.
//!
//! The state machines are pure: an event goes in, effects come out, and nothing in them does I/O, reads a clock or
//! awaits. On one node every partition has one replica and the metadata quorum has one voter; followers and a consensus
//! engine are further events to the same machines.

#![forbid(unsafe_code)]

pub mod metadata;
pub mod node;
pub mod partition;
pub mod properties;

pub use node::NodeId;
