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
            Ok(Ok(described)) => DescribedGroup { authorized_operations: operations, ..described },
            Ok(Err(why)) => unknown(&call, id, why, operations),
            Err(error_code) => DescribedGroup { error_code, group_id: id, ..Default::default() },
        });
    }
    DescribeGroupsResponse { groups, ..Default::default() }
}

/// Before v6 a group that is not there, or that is a consumer group, is a dead one.
fn unknown(call: &Call, id: Text, why: String, operations: i32) -> DescribedGroup {
    let dead = DescribedGroup {
        group_state: Text::from_static("Dead"),
        group_id: id,
        authorized_operations: operations,
        ..Default::default()
    };
    if call.version < NOT_FOUND_VERSION {
        return dead;
    }
    DescribedGroup { error_code: ErrorCode::GROUP_ID_NOT_FOUND, error_message: Some(Text::from(why)), ..dead }
}
