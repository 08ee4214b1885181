//! GetTelemetrySubscriptions: what the subscriptions that match the client want of it.

use uuid::Uuid;

use super::Call;
use crate::protocol::get_telemetry_subscriptions::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};
use crate::telemetry::{Wanted, wanted};

/// The most bytes of metrics at once (`telemetry.max.bytes`).
pub(super) const BYTES_MAX: i32 = 1_048_576;
/// Codecs by Kafka's id, the preferred first: zstd, lz4, gzip, snappy.
const CODECS: [i8; 4] = [4, 3, 1, 2];

pub(super) async fn handle(call: Call, request: GetTelemetrySubscriptionsRequest) -> GetTelemetrySubscriptionsResponse {
    let client_instance_id =
        if request.client_instance_id.is_nil() { Uuid::new_v4() } else { request.client_instance_id };
    let image = call.server.broker.image();
    let Wanted { subscription_id, interval_ms, metrics } =
        wanted(&image, &call.peer, &call.client_id, client_instance_id);
    GetTelemetrySubscriptionsResponse {
        client_instance_id,
        subscription_id,
        accepted_compression_types: CODECS.into(),
        push_interval_ms: interval_ms,
        telemetry_max_bytes: BYTES_MAX,
        delta_temporality: true,
        requested_metrics: metrics,
        ..Default::default()
    }
}
