//! The parts of the report, one file each; each is a sub-command too.

pub mod broker;
pub mod device;
pub mod payload;
