//! GetTelemetrySubscriptions (key 71), version 0: which metrics a client is to send (KIP-714).

use uuid::Uuid;

use super::{ErrorCode, Text, api, message};

api! {
    /// GetTelemetrySubscriptions.
    GetTelemetrySubscriptions = 71, versions 0..=0, flexible from 0, GetTelemetrySubscriptionsRequest => GetTelemetrySubscriptionsResponse
}

message! {
    /// A client asks what to send.
    pub struct GetTelemetrySubscriptionsRequest {
        /// The client; zero the first time.
        client_instance_id: Uuid,
    }

    /// What it is to send.
    pub struct GetTelemetrySubscriptionsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// The client's id.
        client_instance_id: Uuid,
        /// Stands for the metrics wanted.
        subscription_id: i32,
        /// Codecs that are understood, the preferred first.
        accepted_compression_types: Vec<i8>,
        /// How often to send, in milliseconds.
        push_interval_ms: i32,
        /// The most bytes to send at once.
        telemetry_max_bytes: i32,
        /// Whether counters are sent as differences.
        delta_temporality: bool,
        /// The beginnings of the names of the metrics wanted.
        requested_metrics: Vec<Text>,
    }
}
