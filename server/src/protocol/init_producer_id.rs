//! InitProducerId (key 22), versions 0-5: an id for an idempotent or transactional producer.
//!
//! v2 flexible; v3 the id and epoch that the producer has (KIP-360); v4 PRODUCER_FENCED instead of INVALID_PRODUCER_EPOCH (KIP-588); v5 may
//! be answered with TRANSACTION_ABORTABLE (KIP-890). v6 (KIP-939) is not stable in Kafka, and not
//! served.

use super::{ErrorCode, Text, api, message};

api! {
    /// InitProducerId.
    InitProducerId = 22, versions 0..=5, flexible from 2, InitProducerIdRequest => InitProducerIdResponse
}

message! {
    /// Who wants an id.
    pub struct InitProducerIdRequest {
        /// The name under which its transactions go on after a restart; null for a producer that is idempotent only.
        transactional_id: Option<Text>,
        /// How long a transaction may take, in milliseconds.
        transaction_timeout_ms: i32,
        /// The id that it has; -1 for none.
        producer_id: i64 [3..] = -1,
        /// The epoch that it has; -1 for none.
        producer_epoch: i16 [3..] = -1,
        /// Whether transactions are prepared before they end.
        enable_2_pc: bool [6..],
        /// Whether a prepared transaction stays.
        keep_prepared_txn: bool [6..],
    }

    /// The id.
    pub struct InitProducerIdResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// The id; -1 for none.
        producer_id: i64 = -1,
        /// Its epoch.
        producer_epoch: i16,
        /// The id of the prepared transaction; -1 for none.
        ongoing_txn_producer_id: i64 [6..] = -1,
        /// Its epoch; -1 for none.
        ongoing_txn_producer_epoch: i16 [6..] = -1,
    }
}
