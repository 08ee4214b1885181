//! What the fuzz targets check: that bytes from outside never panic, never allocate more than their bound, and mean the same
//! after they were written again; and that a broker goes on serving whatever it was asked.

mod allocated;
pub mod batch;
pub mod broker;
pub mod request;
