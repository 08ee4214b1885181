//! JoinGroup: a turn of the group's coordinator, which may answer when the others have joined too.

use super::Call;
use crate::groups::Answer;
use crate::protocol::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::protocol::{ErrorCode, Text};

/// The first version in which there may be no protocol.
const NULL_PROTOCOL_VERSION: i16 = 7;

pub(super) async fn handle(call: Call, request: JoinGroupRequest) -> JoinGroupResponse {
    let (member_id, version) = (request.member_id.clone(), call.version);
    let mut response = join(&call, request).await.unwrap_or_else(|error_code| JoinGroupResponse {
        error_code,
        member_id,
        ..Default::default()
    });
    if version >= NULL_PROTOCOL_VERSION && response.error_code.is_error() {
        response.protocol_name = None;
    } else if version < NULL_PROTOCOL_VERSION {
        response.protocol_name.get_or_insert_with(Text::default);
    }
    response
}

async fn join(call: &Call, request: JoinGroupRequest) -> Result<JoinGroupResponse, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let client = call.client();
    let group = request.group_id.clone();
    let answer = call.server.wait_for_coordinator(&group, move |coordinator, world, effects, ticket| {
        coordinator.join(world, effects, &client, &request, ticket).map(Answer::Join)
    });
    match answer.await? {
        Answer::Join(response) => Ok(response),
        other => unreachable!("a JoinGroup is answered with {other:?}"),
    }
}
