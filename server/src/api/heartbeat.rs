//! Heartbeat: a turn of the group's coordinator.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub(super) async fn handle(call: Call, request: HeartbeatRequest) -> HeartbeatResponse {
    let group = request.group_id.clone();
    if group.is_empty() {
        return HeartbeatResponse { error_code: ErrorCode::INVALID_GROUP_ID, ..Default::default() };
    }
    let beaten = call
        .server
        .on_coordinator(&group, move |coordinator, world, effects| coordinator.heartbeat(world, effects, &request));
    let error_code = match beaten.await {
        Ok(code) => code,
        // As Kafka does: the member goes on, and the coordinator knows of it when it is loaded.
        Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => ErrorCode::NONE,
        Err(code) => code,
    };
    HeartbeatResponse { error_code, ..Default::default() }
}
