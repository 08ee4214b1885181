//! From what a request says of a partition to the partition itself.

use std::sync::Arc;

use corelog_engine::{Epoch, TopicId, TopicPartition};
use corelog_replication::NodeId;
use corelog_replication::metadata::{ClusterImage, PartitionImage, TopicImage};

use crate::protocol::ErrorCode;

/// A partition that this broker leads.
#[derive(Clone, Debug)]
pub(super) struct Led {
    /// Its name.
    pub(super) name: TopicPartition,
    /// Its topic.
    pub(super) topic_id: TopicId,
    /// The reign.
    pub(super) epoch: Epoch,
}

/// The topic that a request names, or of which it has the id.
pub(super) fn topic<'a>(image: &'a ClusterImage, name: &str, id: TopicId) -> Result<&'a Arc<TopicImage>, ErrorCode> {
    if id == TopicId::ZERO {
        image.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    } else {
        image.topic_by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    }
}

/// The topic that a request of a version with ids means; the id that stands for none is no topic's.
pub(super) fn topic_by_id(image: &ClusterImage, id: TopicId) -> Result<&Arc<TopicImage>, ErrorCode> {
    image.topic_by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
}

/// A partition of a topic, if `node` leads it in the epoch that the client knows (-1 for any).
pub(super) fn led(topic: &TopicImage, index: i32, node: NodeId, known_epoch: i32) -> Result<Led, ErrorCode> {
    let partition = usize::try_from(index).ok().and_then(|index| topic.partitions.get(index));
    let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    check_epoch(partition, known_epoch)?;
    if partition.leader != node {
        return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    let name = TopicPartition::new(topic.name.clone(), index);
    Ok(Led { name, topic_id: topic.id, epoch: partition.leader_epoch })
}

/// Kafka's `Partition.checkCurrentLeaderEpoch` (KIP-320).
fn check_epoch(partition: &PartitionImage, known: i32) -> Result<(), ErrorCode> {
    match known {
        -1 => Ok(()),
        known if known < partition.leader_epoch.0 => Err(ErrorCode::FENCED_LEADER_EPOCH),
        known if known > partition.leader_epoch.0 => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
        _ => Ok(()),
    }
}

impl Led {
    /// Whether it is still what it was, in the image of now: after a message to another shard, the topic may be gone or
    /// may be another one of the same name.
    pub(super) fn is_current(&self, image: &ClusterImage) -> bool {
        image.topic(&self.name.topic).is_some_and(|topic| topic.id == self.topic_id)
    }
}
