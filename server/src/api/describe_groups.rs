//! DescribeGroups: what the coordinators of the groups say of them.

use super::Call;
use crate::protocol::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use crate::protocol::metadata::OPERATIONS_NOT_ASKED;
use crate::protocol::{ErrorCode, Text};

/// The first version in which an unknown group is an error.
const NOT_FOUND_VERSION: i16 = 6;
/// Everything that may be done to a group, as bits by `AclOperation`: there is no authorizer.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(super) async fn handle(call: Call, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let operations = if request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let mut groups = Vec::with_capacity(request.groups.len());
    for id in request.groups {
        let group = id.clone();
        let described = call.server.on_coordinator(&id, move |coordinator, _, _| coordinator.describe(&group));
        groups.push(match described.await {
            Ok(Some(described)) => DescribedGroup { authorized_operations: operations, ..described },
            Ok(None) => unknown(&call, id, operations),
            Err(error_code) => DescribedGroup { error_code, group_id: id, ..Default::default() },
        });
    }
    DescribeGroupsResponse { groups, ..Default::default() }
}

/// Before v6 a group that is not there is a dead one.
fn unknown(call: &Call, id: Text, operations: i32) -> DescribedGroup {
    let dead = DescribedGroup {
        group_state: Text::from_static("Dead"),
        group_id: id.clone(),
        authorized_operations: operations,
        ..Default::default()
    };
    if call.version < NOT_FOUND_VERSION {
        return dead;
    }
    let message = Text::from(format!("Group {id} not found."));
    DescribedGroup { error_code: ErrorCode::GROUP_ID_NOT_FOUND, error_message: Some(message), ..dead }
}
