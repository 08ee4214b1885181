//! InitProducerId: an id that no producer had before.

use super::{Call, errors};
use crate::protocol::ErrorCode;
use crate::protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

pub(super) async fn handle(call: Call, request: InitProducerIdRequest) -> InitProducerIdResponse {
    match init(&call, &request).await {
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
        Err(error_code) => InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() },
    }
}

async fn init(call: &Call, request: &InitProducerIdRequest) -> Result<i64, ErrorCode> {
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if let Some(id) = &request.transactional_id {
        // There is no transaction coordinator. COORDINATOR_NOT_AVAILABLE would have clients try again and again.
        return Err(if id.is_empty() { ErrorCode::INVALID_REQUEST } else { ErrorCode::UNSUPPORTED_VERSION });
    }
    // As Kafka does it: a producer without transactions that asks for another epoch gets another id.
    call.server.next_producer_id().await.map_err(|error| errors::code(&error))
}
