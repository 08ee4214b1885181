//! PushTelemetry: what a client sends is checked as Kafka does, and kept nowhere.

use super::Call;
use super::get_telemetry_subscriptions::BYTES_MAX;
use crate::protocol::ErrorCode;
use crate::protocol::push_telemetry::{PushTelemetryRequest, PushTelemetryResponse};
use crate::telemetry::wanted;

pub(super) async fn handle(call: Call, request: PushTelemetryRequest) -> PushTelemetryResponse {
    let instance = request.client_instance_id;
    let error_code = if instance.is_nil() {
        ErrorCode::INVALID_REQUEST
    } else if request.subscription_id
        != wanted(&call.server.broker.image(), &call.peer, &call.client_id, instance).subscription_id
    {
        // The client asks again what is wanted.
        ErrorCode::UNKNOWN_SUBSCRIPTION_ID
    } else if !(0..=4).contains(&request.compression_type) {
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    } else if request.metrics.len() > BYTES_MAX as usize {
        ErrorCode::TELEMETRY_TOO_LARGE
    } else {
        tracing::debug!(client = %call.client_id, bytes = request.metrics.len(), "metrics of a client");
        ErrorCode::NONE
    };
    PushTelemetryResponse { error_code, ..Default::default() }
}
