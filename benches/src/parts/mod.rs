//! The parts of the report, one file each; each is a sub-command too.

pub mod device;
