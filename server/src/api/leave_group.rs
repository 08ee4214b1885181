//! LeaveGroup: a turn of the group's coordinator.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::leave_group::{LeaveGroupRequest, LeaveGroupResponse};

pub(super) async fn handle(call: Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let group = request.group_id.clone();
    if group.is_empty() {
        return LeaveGroupResponse { error_code: ErrorCode::INVALID_GROUP_ID, ..Default::default() };
    }
    let version = call.version;
    let left = call.server.on_coordinator(&group, move |coordinator, world, effects| {
        coordinator.leave(world, effects, version, &request)
    });
    left.await.unwrap_or_else(|error_code| LeaveGroupResponse { error_code, ..Default::default() })
}
