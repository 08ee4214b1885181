//! DeleteGroups: turns of the groups' coordinators.

use super::Call;
use crate::protocol::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

pub(super) async fn handle(call: Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for id in request.groups_names {
        let group = id.clone();
        let deleted =
            call.server.on_coordinator(&id, move |coordinator, _, effects| coordinator.delete(effects, &group));
        let error_code = deleted.await.unwrap_or_else(|code| code);
        results.push(DeletableGroupResult { group_id: id, error_code });
    }
    DeleteGroupsResponse { results, ..Default::default() }
}
