//! ConsumerGroupDescribe: what the coordinators of the groups say of them.

use super::Call;
use super::describe_groups::GROUP_OPERATIONS;
use crate::protocol::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
};
use crate::protocol::metadata::OPERATIONS_NOT_ASKED;
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: ConsumerGroupDescribeRequest) -> ConsumerGroupDescribeResponse {
    let operations = if request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for id in request.group_ids {
        let group = id.clone();
        let refused = |error_code, message: Option<String>| DescribedGroup {
            error_code,
            error_message: message.map(Text::from),
            group_id: id.clone(),
            ..Default::default()
        };
        if id.is_empty() {
            groups.push(refused(ErrorCode::INVALID_GROUP_ID, None));
            continue;
        }
        let described =
            call.server.on_coordinator(&id, move |coordinator, world, _| coordinator.describe_consumer(world, &group));
        groups.push(match described.await {
            Ok(Ok(described)) => DescribedGroup { authorized_operations: operations, ..described },
            Ok(Err(why)) => refused(ErrorCode::GROUP_ID_NOT_FOUND, Some(why)),
            Err(code) => refused(code, None),
        });
    }
    ConsumerGroupDescribeResponse { groups, ..Default::default() }
}
