//! The measurement harness of corelog: what one machine's disk allows, and how much of it the store and the broker reach.
//!
//! - [`measure`]: rounds, ratios, latencies, costs, the machine; knows nothing of what is measured
//! - [`device`]: the disk without us: a raw io_uring loop, fio, tokio-uring
//! - [`client`]: a small pipelined Kafka client, the load generator
//! - [`parts`]: what is measured, one file per part of the report
//! - [`report`]: rows, figures, ratios; the table, the CSV, the SVG and the HTML page
//! - [`case`], [`run`], [`progress`], [`cli`]: samples, the run they belong to, what the user sees and types
//! - [`broker_process`]: the broker as a child

#![deny(unsafe_code)]

pub mod broker_process;
pub mod case;
pub mod cli;
pub mod client;
pub mod device;
pub mod measure;
pub mod parts;
pub mod progress;
pub mod report;
pub mod run;
