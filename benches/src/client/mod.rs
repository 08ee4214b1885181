//! The load generator: a small Kafka client of its own, so that the generator costs little beside the broker it measures.
//!
//! - [`wire`]: numbers and strings of the protocol, the few messages that are needed by hand, at versions that every
//!   broker since Kafka 2.3 speaks and that have no tagged fields
//! - [`connection`]: one socket, request and answer; frames for the loops
//! - [`topics`]: metadata, creation and deletion of topics, offsets
//! - [`produce`], [`fetch`]: the loops: ready-made frames, many connections on one thread, `ppoll` and nothing else
//! - [`crowd`]: thousands of connections, each a task that waits most of the time
//!
//! A frame to send is made once; sending patches its correlation id. There is no idempotence, so the same batch may be
//! sent again and again. It shares no code with the server: an error in one would not hide in the other.

pub mod connection;
pub mod crowd;
pub mod fetch;
pub mod produce;
pub mod topics;
pub mod wire;

pub use connection::Connection;
pub use crowd::{Crowd, CrowdLoad, Doing};
pub use fetch::{FetchLoad, Fetched};
pub use produce::{Pace, ProduceLoad, Produced};
pub use topics::Topic;
