//! GetTelemetrySubscriptions: nothing is wanted of clients, as at a broker that has no receiver of metrics.

use uuid::Uuid;

use super::Call;
use crate::protocol::get_telemetry_subscriptions::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};

/// How often a client asks again, `ClientMetricsConfigs.INTERVAL_MS_DEFAULT`.
const PUSH_INTERVAL_MS: i32 = 300_000;
/// The most bytes of metrics at once (`telemetry.max.bytes`).
pub(super) const BYTES_MAX: i32 = 1_048_576;
/// Codecs by Kafka's id, the preferred first: zstd, lz4, gzip, snappy.
const CODECS: [i8; 4] = [4, 3, 1, 2];

pub(super) async fn handle(_: Call, request: GetTelemetrySubscriptionsRequest) -> GetTelemetrySubscriptionsResponse {
    let client_instance_id =
        if request.client_instance_id.is_nil() { Uuid::new_v4() } else { request.client_instance_id };
    GetTelemetrySubscriptionsResponse {
        client_instance_id,
        subscription_id: subscription_id(client_instance_id),
        accepted_compression_types: CODECS.into(),
        push_interval_ms: PUSH_INTERVAL_MS,
        telemetry_max_bytes: BYTES_MAX,
        delta_temporality: true,
        ..Default::default()
    }
}

/// Stands for the empty set of metrics of this client; it does not change.
pub(super) fn subscription_id(client: Uuid) -> i32 {
    let (high, low) = client.as_u64_pair();
    let mixed = high ^ low;
    (mixed ^ (mixed >> 32)) as i32
}
