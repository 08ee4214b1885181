//! OffsetDelete: a turn of the group's coordinator, for the partitions that exist.

use super::Call;
use crate::protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let group = request.group_id.clone();
    if group.is_empty() {
        return OffsetDeleteResponse { error_code: ErrorCode::INVALID_GROUP_ID, ..Default::default() };
    }
    let mut offsets = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    {
        let image = call.server.broker.image();
        for topic in request.topics {
            let partitions = topic.partitions.iter().map(|partition| {
                let exists = image.partition(&topic.name, partition.partition_index).is_some();
                if exists {
                    offsets.push((topic.name.clone(), partition.partition_index));
                }
                OffsetDeleteResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: if exists { ErrorCode::NONE } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION },
                }
            });
            topics.push(OffsetDeleteResponseTopic { partitions: partitions.collect(), name: Text::clone(&topic.name) });
        }
    }
    let deleted = call.server.on_coordinator(&request.group_id, move |coordinator, _, effects| {
        coordinator.delete_offsets(effects, &group, &offsets)
    });
    let codes = match deleted.await.and_then(|codes| codes) {
        Ok(codes) => codes,
        Err(error_code) => return OffsetDeleteResponse { error_code, ..Default::default() },
    };
    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    let accepted = partitions.filter(|partition| !partition.error_code.is_error());
    for (partition, code) in accepted.zip(codes) {
        partition.error_code = code;
    }
    OffsetDeleteResponse { topics, ..Default::default() }
}
