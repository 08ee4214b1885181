//! The parts of the report, one file each; each is a sub-command too.

pub mod append;
pub mod broker;
pub mod commits;
pub mod crowd;
pub mod device;
pub mod embedded;
pub mod flat;
pub mod many_partitions;
pub mod payload;
pub mod read;
pub mod recovery;
