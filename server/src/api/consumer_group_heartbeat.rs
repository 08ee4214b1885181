//! ConsumerGroupHeartbeat: a turn of the group's coordinator.

use super::Call;
use crate::protocol::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

pub(super) async fn handle(call: Call, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.clone();
    let client = call.client();
    let beaten = call.server.on_coordinator(&group, move |coordinator, world, effects| {
        coordinator.consumer_heartbeat(world, effects, &client, &request)
    });
    beaten.await.unwrap_or_else(|error_code| ConsumerGroupHeartbeatResponse { error_code, ..Default::default() })
}
