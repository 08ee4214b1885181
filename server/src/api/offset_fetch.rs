//! OffsetFetch: what the coordinators of the groups know of their offsets.

use corelog_engine::TopicId;
use corelog_replication::metadata::ClusterImage;

use super::Call;
use crate::groups::{Committed, OffsetsOfGroup};
use crate::protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::protocol::{ErrorCode, Text};

/// The first version that asks for many groups at once.
const MANY_VERSION: i16 = 8;
/// The first version with topic ids.
const IDS_VERSION: i16 = 10;
/// The first version with an error for the whole request.
const TOP_LEVEL_ERROR_VERSION: i16 = 2;

pub(super) async fn handle(call: Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if call.version >= MANY_VERSION {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            groups.push(fetch(&call, group).await);
        }
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter();
        topics.map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            topic_id: TopicId::ZERO,
            partition_indexes: topic.partition_indexes,
        })
    });
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: topics.map(Iterator::collect),
        ..Default::default()
    };
    let wanted = group.topics.clone();
    let fetched = fetch(&call, group).await;
    let topics = match (fetched.error_code.is_error() && call.version < TOP_LEVEL_ERROR_VERSION, wanted) {
        (true, Some(wanted)) => wanted.into_iter().map(|topic| all(topic, TopicId::ZERO, fetched.error_code)).collect(),
        _ => fetched.topics,
    };
    OffsetFetchResponse {
        topics: topics.into_iter().map(older).collect(),
        error_code: fetched.error_code,
        ..Default::default()
    }
}

fn older(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    });
    OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
}

async fn fetch(call: &Call, request: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let OffsetFetchRequestGroup { group_id, member_id, member_epoch, topics } = request;
    let group = group_id.clone();
    let by_id = call.version >= IDS_VERSION;
    let fetched = call.server.on_coordinator(&group_id, move |coordinator, world, _| {
        let offsets = coordinator.fetch(&group, member_id.as_ref(), member_epoch)?;
        let none = OffsetsOfGroup::new();
        let offsets = offsets.unwrap_or(&none);
        Ok(match topics {
            Some(topics) => topics.into_iter().map(|topic| some(world.image, offsets, topic, by_id)).collect(),
            None => everything(world.image, offsets, by_id),
        })
    });
    match fetched.await.and_then(|fetched| fetched) {
        Ok(topics) => OffsetFetchResponseGroup { group_id, topics, error_code: ErrorCode::NONE },
        Err(error_code) => OffsetFetchResponseGroup { group_id, topics: Vec::new(), error_code },
    }
}

/// The offsets of a topic's partitions that are asked for.
fn some(
    image: &ClusterImage,
    offsets: &OffsetsOfGroup,
    topic: OffsetFetchRequestTopics,
    by_id: bool,
) -> OffsetFetchResponseTopics {
    let found = if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(&topic.name) };
    if by_id && found.is_none() {
        let id = topic.topic_id;
        return all(topic, id, ErrorCode::UNKNOWN_TOPIC_ID);
    }
    let name = found.map_or_else(|| topic.name.clone(), |topic| Text::from(&*topic.name));
    let of_topic = offsets.get(&name);
    let partitions = topic.partition_indexes.iter().map(|&index| {
        let committed = of_topic.and_then(|partitions| partitions.get(&index));
        told(index, committed.filter(|committed| is_of_now(image, &name, committed)))
    });
    OffsetFetchResponseTopics { partitions: partitions.collect(), name: topic.name, topic_id: topic.topic_id }
}

/// All offsets of a group.
fn everything(image: &ClusterImage, offsets: &OffsetsOfGroup, by_id: bool) -> Vec<OffsetFetchResponseTopics> {
    let topics = offsets.iter().filter_map(|(name, partitions)| {
        let id = image.topic(name).map_or(TopicId::ZERO, |topic| topic.id);
        // A topic that is not there has no id to be told by.
        if by_id && id == TopicId::ZERO {
            return None;
        }
        let partitions: Vec<_> = partitions
            .iter()
            .filter(|(_, committed)| is_of_now(image, name, committed))
            .map(|(&index, committed)| told(index, Some(committed)))
            .collect();
        (!partitions.is_empty()).then(|| OffsetFetchResponseTopics { name: name.clone(), topic_id: id, partitions })
    });
    topics.collect()
}

/// Whether an offset was committed for the topic of now, not for one of the same name that is gone.
fn is_of_now(image: &ClusterImage, name: &str, committed: &Committed) -> bool {
    committed.topic_id == TopicId::ZERO || image.topic(name).is_none_or(|topic| topic.id == committed.topic_id)
}

fn told(partition_index: i32, committed: Option<&Committed>) -> OffsetFetchResponsePartitions {
    match committed {
        Some(committed) => OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            metadata: Some(committed.metadata.clone()),
            error_code: ErrorCode::NONE,
        },
        None => OffsetFetchResponsePartitions { partition_index, committed_offset: -1, ..Default::default() },
    }
}

/// The same error for all partitions.
fn all(topic: OffsetFetchRequestTopics, topic_id: TopicId, error_code: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.iter();
    let partitions = partitions.map(|&index| OffsetFetchResponsePartitions { error_code, ..told(index, None) });
    OffsetFetchResponseTopics { partitions: partitions.collect(), name: topic.name, topic_id }
}
