//! Settings, under Kafka's names and with Kafka's defaults, from a `server.properties` file and the command line.
//!
//! * [`key`]: what a row of the settings table says; `topic_keys`, `broker_keys`, `inert_keys`: the rows; [`table`]: all of
//!   them by name, and the nearest name to a wrong one.
//! * [`source`]: where values come from. [`settings`]: the typed settings of a process.
//! * [`resource`]: settings that change while the broker runs. [`topic`]: the settings of one topic, resolved against the broker's. [`listener`]: addresses.
//!   `connection_limits`: how many connections there may be.
//! * [`mod@reference`]: the table as it stands in `docs/operations.md`.

mod broker_keys;
mod connection_limits;
mod inert_keys;
pub mod key;
pub mod listener;
pub mod reference;
pub mod resource;
mod resource_keys;
pub mod settings;
pub mod source;
pub mod table;
pub mod topic;
mod topic_keys;

pub(crate) use connection_limits::of_listener;
pub use connection_limits::{ConnectionLimits, ListenerLimits, RATE_MAX};
pub use key::{Effect, Key, Kind, Update};
pub use listener::{Advertised, Listener};
pub use settings::{BrokerSettings, EngineSettings, Settings};
pub use source::{ConfigError, Given, Origin};
pub use topic::{CleanupPolicies, TopicConfig, TopicDefaults};
