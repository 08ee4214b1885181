//! PushTelemetry (key 72), version 0: a client sends its metrics (KIP-714).

use bytes::Bytes;
use uuid::Uuid;

use super::{ErrorCode, api, message};

api! {
    /// PushTelemetry.
    PushTelemetry = 72, versions 0..=0, flexible from 0, PushTelemetryRequest => PushTelemetryResponse
}

message! {
    /// A client's metrics.
    pub struct PushTelemetryRequest {
        /// The client.
        client_instance_id: Uuid,
        /// What it was told to send.
        subscription_id: i32,
        /// Whether the client ends.
        terminating: bool,
        /// The codec.
        compression_type: i8,
        /// The metrics, as OpenTelemetry has them.
        metrics: Bytes,
    }

    /// What became of them.
    pub struct PushTelemetryResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong.
        error_code: ErrorCode,
    }
}
