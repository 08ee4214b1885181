//! Where the leader is: what an answer says beside NOT_LEADER_OR_FOLLOWER, so that the client need not ask (KIP-951).

use super::{Text, message};

message! {
    /// The leader of a partition, as far as this broker knows.
    pub struct LeaderIdAndEpoch {
        /// The broker; -1 if unknown.
        leader_id: i32 = -1,
        /// Its epoch; -1 if unknown.
        leader_epoch: i32 = -1,
    }

    /// How to reach a broker.
    pub struct NodeEndpoint {
        /// The broker.
        node_id: i32,
        /// Its host.
        host: Text,
        /// Its port.
        port: i32,
        /// Its rack.
        rack: Option<Text>,
    }
}
