//! AlterPartitionReassignments: with one broker every partition is where it can be, and there is nothing to give up.

use corelog_engine::TopicId;
use corelog_replication::NodeId;
use corelog_replication::metadata::topics::check_replicas;
use corelog_replication::metadata::{ClusterImage, PartitionImage};

use super::Call;
use super::errors::metadata_code;
use super::partition::topic;
use crate::protocol::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(
    call: Call,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let image = call.server.broker.image();
    let keep_count = !request.allow_replication_factor_change;
    let responses = request.topics.into_iter().map(|wanted| {
        let partitions = wanted.partitions.into_iter().map(|partition| {
            let partition_index = partition.partition_index;
            let (error_code, error_message) = match reassign(&image, &wanted.name, partition, keep_count) {
                Ok(()) => (ErrorCode::NONE, None),
                Err((code, message)) => (code, Some(Text::from(message))),
            };
            ReassignablePartitionResponse { partition_index, error_code, error_message }
        });
        ReassignableTopicResponse { partitions: partitions.collect(), name: wanted.name }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: responses.collect(),
        error_message: None,
        ..Default::default()
    }
}

fn reassign(
    image: &ClusterImage,
    name: &str,
    wanted: ReassignablePartition,
    keep_count: bool,
) -> Result<(), (ErrorCode, String)> {
    let index = wanted.partition_index;
    let topic =
        topic(image, name, TopicId::ZERO).map_err(|code| (code, format!("Unable to find a topic named {name}.")))?;
    let partition: &PartitionImage = usize::try_from(index)
        .ok()
        .and_then(|index| topic.partitions.get(index))
        .ok_or_else(|| (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("Unable to find partition {name}:{index}.")))?;
    let Some(replicas) = wanted.replicas else {
        return Err((ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress.".into()));
    };
    let replicas: Vec<NodeId> = replicas.into_iter().map(NodeId).collect();
    check_replicas(image, index, &replicas).map_err(|error| (metadata_code(&error), error.message))?;
    if keep_count && replicas.len() != partition.replicas.len() {
        let message =
            format!("The replication factor is changed from {} to {}", partition.replicas.len(), replicas.len());
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, message));
    }
    assert_eq!(replicas, partition.replicas, "there is one broker");
    Ok(())
}
