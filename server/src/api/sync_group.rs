//! SyncGroup: a turn of the group's coordinator, which may answer when the leader has assigned.

use super::Call;
use crate::groups::Answer;
use crate::protocol::ErrorCode;
use crate::protocol::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// The first version that must say for what the member takes the group.
const PROTOCOL_VERSION: i16 = 5;

pub(super) async fn handle(call: Call, request: SyncGroupRequest) -> SyncGroupResponse {
    let synced = sync(&call, request).await;
    synced.unwrap_or_else(|error_code| SyncGroupResponse { error_code, ..Default::default() })
}

async fn sync(call: &Call, request: SyncGroupRequest) -> Result<SyncGroupResponse, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    if call.version >= PROTOCOL_VERSION && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    let group = request.group_id.clone();
    let answer = call.server.wait_for_coordinator(&group, move |coordinator, world, effects, ticket| {
        coordinator.sync(world, effects, &request, ticket).map(Answer::Sync)
    });
    match answer.await? {
        Answer::Sync(response) => Ok(response),
        other => unreachable!("a SyncGroup is answered with {other:?}"),
    }
}
