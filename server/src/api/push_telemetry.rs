//! PushTelemetry: what a client sends is checked as Kafka does, and kept nowhere.

use uuid::Uuid;

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::push_telemetry::{PushTelemetryRequest, PushTelemetryResponse};
use crate::telemetry::instances::Push;
use crate::telemetry::wanted;

/// Ids that no client has (`Uuid.RESERVED` of Kafka).
const RESERVED: [Uuid; 2] = [Uuid::nil(), Uuid::from_u128(1)];

pub(super) async fn handle(call: Call, request: PushTelemetryRequest) -> PushTelemetryResponse {
    let (broker, instance) = (&call.server.broker, request.client_instance_id);
    if RESERVED.contains(&instance) {
        return PushTelemetryResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() };
    }
    let wanted = wanted(&broker.image(), &call.peer, &call.client_id, instance);
    let push = Push {
        subscription_id: request.subscription_id,
        is_terminating: request.terminating,
        compression_type: request.compression_type,
        bytes: request.metrics.len(),
    };
    let bytes_max = broker.settings.broker.telemetry_bytes_max as usize;
    let error_code = broker.telemetry.push(instance, &wanted, push, bytes_max, call.server.io.now());
    tracing::debug!(client = %call.client_id, bytes = push.bytes, ?error_code, "metrics of a client");
    PushTelemetryResponse { error_code, ..Default::default() }
}
