//! ListGroups: the groups of all coordinators of this broker.

use super::Call;
use crate::protocol::list_groups::{ListGroupsRequest, ListGroupsResponse};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: ListGroupsRequest) -> ListGroupsResponse {
    let states: Vec<Text> = request.states_filter.iter().map(Text::detached).collect();
    let types: Vec<Text> = request.types_filter.iter().map(Text::detached).collect();
    let listed = call.server.on_all_coordinators(move |coordinator, _, _| coordinator.list(&states, &types)).await;
    let mut response = ListGroupsResponse::default();
    for groups in listed {
        match groups {
            Ok(groups) => response.groups.extend(groups),
            // One that is going is somebody else's by now; one that is loading makes the list incomplete.
            Err(ErrorCode::NOT_COORDINATOR) => {}
            Err(code) => response.error_code = code,
        }
    }
    response
}
