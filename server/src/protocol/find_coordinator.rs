//! FindCoordinator (key 10), versions 0-6: which broker coordinates a group or a transaction.
//!
//! v1 kinds of keys, an error in words; v3 flexible; v4 many keys at once (KIP-699); v5 TRANSACTION_ABORTABLE (KIP-890); v6 share groups
//! (KIP-932).

use super::{ErrorCode, Text, api, message};

api! {
    /// FindCoordinator.
    FindCoordinator = 10, versions 0..=6, flexible from 3, FindCoordinatorRequest => FindCoordinatorResponse
}

/// The key is a group's id.
pub const GROUP: i8 = 0;
/// The key is a transactional id.
pub const TRANSACTION: i8 = 1;
/// The key is that of a share group's partition.
pub const SHARE: i8 = 2;

message! {
    /// Whose coordinator is sought.
    pub struct FindCoordinatorRequest {
        /// The key.
        key: Text [..=3],
        /// What the key is.
        key_type: i8 [1..],
        /// The keys.
        coordinator_keys: Vec<Text> [4..],
    }

    /// The coordinators.
    pub struct FindCoordinatorResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What is wrong.
        error_code: ErrorCode [..=3],
        /// What is wrong, in words.
        error_message: Option<Text> [1..=3] = Some(Text::default()),
        /// The broker; -1 for none.
        node_id: i32 [..=3],
        /// Its host.
        host: Text [..=3],
        /// Its port; -1 for none.
        port: i32 [..=3],
        /// A coordinator for each key.
        coordinators: Vec<Coordinator> [4..],
    }

    /// The coordinator of a key.
    pub struct Coordinator {
        /// The key.
        key: Text,
        /// The broker; -1 for none.
        node_id: i32,
        /// Its host.
        host: Text,
        /// Its port; -1 for none.
        port: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
    }
}
