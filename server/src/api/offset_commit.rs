//! OffsetCommit: a turn of the group's coordinator, for the partitions that exist.

use corelog_replication::metadata::ClusterImage;

use super::{Call, partition};
use crate::groups::{Commit, Committer};
use crate::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut commits = Vec::new();
    let mut topics = {
        let image = call.server.broker.image();
        let topics = request.topics.into_iter().map(|topic| sort_out(&image, topic, &mut commits));
        topics.collect::<Vec<_>>()
    };
    let by = Committer {
        group: request.group_id.clone(),
        member: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
        version: call.version,
        retention_ms: Some(request.retention_time_ms).filter(|ms| *ms >= 0),
    };
    let count = commits.len();
    let committed = call.server.on_coordinator(&request.group_id, move |coordinator, world, effects| {
        coordinator.commit(world, effects, &by, &commits)
    });
    let codes = committed.await.and_then(|codes| codes).unwrap_or_else(|code| vec![code; count]);
    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    let accepted = partitions.filter(|partition| !partition.error_code.is_error());
    for (partition, code) in accepted.zip(codes) {
        partition.error_code = code;
    }
    OffsetCommitResponse { topics, ..Default::default() }
}

/// The answer for a topic as far as it is known, and what there is to commit of it.
fn sort_out(
    image: &ClusterImage,
    topic: OffsetCommitRequestTopic,
    commits: &mut Vec<Commit>,
) -> OffsetCommitResponseTopic {
    let found = partition::topic(image, &topic.name, topic.topic_id);
    let partitions = topic.partitions.into_iter().map(|wanted| {
        let known = found.and_then(|topic| {
            let index = usize::try_from(wanted.partition_index).ok();
            let exists = index.is_some_and(|index| index < topic.partitions.len());
            exists.then_some(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        });
        if let Ok(topic) = known {
            commits.push(Commit {
                topic: Text::from(&*topic.name),
                topic_id: topic.id,
                partition: wanted.partition_index,
                offset: wanted.committed_offset,
                leader_epoch: wanted.committed_leader_epoch,
                metadata: wanted.committed_metadata,
            });
        }
        OffsetCommitResponsePartition {
            partition_index: wanted.partition_index,
            error_code: known.err().unwrap_or_default(),
        }
    });
    OffsetCommitResponseTopic { partitions: partitions.collect(), name: topic.name, topic_id: topic.topic_id }
}
