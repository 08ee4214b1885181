//! GetTelemetrySubscriptions: what the subscriptions that match the client want of it.

use uuid::Uuid;

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::get_telemetry_subscriptions::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};
use crate::telemetry::{Wanted, wanted};

/// Codecs by Kafka's id, the preferred first: zstd, lz4, gzip, snappy.
const CODECS: [i8; 4] = [4, 3, 1, 2];

pub(super) async fn handle(call: Call, request: GetTelemetrySubscriptionsRequest) -> GetTelemetrySubscriptionsResponse {
    let client_instance_id =
        if request.client_instance_id.is_nil() { Uuid::new_v4() } else { request.client_instance_id };
    let broker = &call.server.broker;
    let wanted = wanted(&broker.image(), &call.peer, &call.client_id, client_instance_id);
    let error_code = broker.telemetry.get(client_instance_id, &wanted, call.server.io.now());
    if error_code != ErrorCode::NONE {
        return GetTelemetrySubscriptionsResponse { error_code, ..Default::default() };
    }
    let Wanted { subscription_id, interval_ms, metrics } = wanted;
    GetTelemetrySubscriptionsResponse {
        client_instance_id,
        subscription_id,
        accepted_compression_types: CODECS.into(),
        push_interval_ms: interval_ms,
        telemetry_max_bytes: broker.settings.broker.telemetry_bytes_max,
        delta_temporality: true,
        requested_metrics: metrics,
        ..Default::default()
    }
}
