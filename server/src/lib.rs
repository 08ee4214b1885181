//! The broker: the Apache Kafka protocol over the corelog store.

#![forbid(unsafe_code)]

pub mod config;
pub mod protocol;
