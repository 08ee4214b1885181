//! Tools for a data directory that no process uses: what recovery would serve, what is in a file, and whether all of it holds together.
//!
//! They read with plain buffered files, change nothing, and share with the store only the decoders of its formats and the rule
//! by which journal groups are believed, so that a fault in the store's own I/O cannot hide itself here.

mod compacted;
pub mod contents;
pub mod dump;
mod recovered;
mod segment;
pub mod verify;
mod verify_segment;

pub use contents::{DataDirectory, OwnedRecord, PartitionContents, read_partition};
pub use dump::dump;
pub use segment::{SegmentBatches, SegmentContents};
pub use verify::{Finding, Report, verify};
