//! DescribeTopicPartitions: topics of the cluster image by name, so many partitions at a time.

use std::collections::BTreeSet;

use corelog_replication::NodeId;
use corelog_replication::metadata::{ClusterImage, PartitionImage, name};

use super::Call;
use super::metadata::TOPIC_OPERATIONS;
use crate::protocol::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic, TopicRequest,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    if request.cursor.as_ref().is_some_and(|cursor| cursor.partition_index < 0) {
        let refused = |topic: TopicRequest| DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::INVALID_REQUEST,
            name: Some(topic.name),
            ..Default::default()
        };
        let topics = request.topics.into_iter().map(refused).collect();
        return DescribeTopicPartitionsResponse { topics, ..Default::default() };
    }
    let partitions_max = call.server.broker.settings.broker.described_partitions_max;
    let image = call.server.broker.image();
    let asked: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    let names: Vec<&str> = match asked.is_empty() {
        true => image.topics().into_iter().map(|topic| &*topic.name).collect(),
        false => asked.into_iter().collect(),
    };
    let (from, first) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => ("", 0),
    };
    let mut left = request.response_partition_limit.clamp(1, partitions_max) as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for wanted in names.into_iter().filter(|name| *name >= from) {
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: wanted.into(), partition_index: 0 });
            break;
        }
        let (topic, end, count) = describe(&image, wanted, if wanted == from { first } else { 0 }, left);
        left -= topic.partitions.len();
        response.topics.push(topic);
        if end < count {
            response.next_cursor = Some(Cursor { topic_name: wanted.into(), partition_index: end as i32 });
            break;
        }
    }
    response
}

/// A topic with at most `limit` partitions from `first` on, the index of the first one left out, and how many there are.
fn describe(
    image: &ClusterImage,
    wanted: &str,
    first: usize,
    limit: usize,
) -> (DescribeTopicPartitionsResponseTopic, usize, usize) {
    let Some(topic) = image.topic(wanted) else {
        let error_code = match name::validate(wanted) {
            Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        };
        let unknown = DescribeTopicPartitionsResponseTopic {
            error_code,
            name: Some(wanted.into()),
            is_internal: name::is_internal(wanted),
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..Default::default()
        };
        return (unknown, 0, 0);
    };
    let partitions: Vec<_> = topic.partitions.iter().enumerate().skip(first).take(limit).map(partition).collect();
    let end = first + partitions.len();
    let described = DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(Text::from(&*topic.name)),
        topic_id: topic.id,
        is_internal: name::is_internal(&topic.name),
        partitions,
        topic_authorized_operations: TOPIC_OPERATIONS,
    };
    (described, end, topic.partitions.len())
}

fn partition((index, partition): (usize, &PartitionImage)) -> DescribeTopicPartitionsResponsePartition {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    DescribeTopicPartitionsResponsePartition {
        error_code: if partition.leader.0 < 0 { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE },
        partition_index: index as i32,
        leader_id: partition.leader.0,
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: nodes(&partition.replicas),
        isr_nodes: nodes(&partition.isr),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: Vec::new(),
    }
}
