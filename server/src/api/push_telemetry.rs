//! PushTelemetry: no client is asked for metrics; what one sends all the same is checked as Kafka does, and left.

use super::Call;
use super::get_telemetry_subscriptions::{BYTES_MAX, subscription_id};
use crate::protocol::ErrorCode;
use crate::protocol::push_telemetry::{PushTelemetryRequest, PushTelemetryResponse};

pub(super) async fn handle(_: Call, request: PushTelemetryRequest) -> PushTelemetryResponse {
    let error_code = if request.client_instance_id.is_nil() {
        ErrorCode::INVALID_REQUEST
    } else if request.subscription_id != subscription_id(request.client_instance_id) {
        ErrorCode::UNKNOWN_SUBSCRIPTION_ID
    } else if !(0..=4).contains(&request.compression_type) {
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    } else if request.metrics.len() > BYTES_MAX as usize {
        ErrorCode::TELEMETRY_TOO_LARGE
    } else {
        ErrorCode::NONE
    };
    PushTelemetryResponse { error_code, ..Default::default() }
}
