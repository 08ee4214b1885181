//! A broker registers, which begins an incarnation of it.

use uuid::Uuid;

use super::decision::{Decision, MetadataError, Refusal};
use super::features::{self, METADATA_VERSION_FEATURE};
use super::image::ClusterImage;
use super::record::{Endpoint, MetadataRecord, PartitionChange, RegisterBroker};
use crate::NodeId;

/// What a broker says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its id.
    pub node: NodeId,
    /// The run of its process.
    pub incarnation: Uuid,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// Its rack.
    pub rack: Option<String>,
    /// The ids of its log directories.
    pub directories: Vec<Uuid>,
}

/// Registers a broker and gives its epoch. In an empty log this first finalises the features, as every
/// metadata log of Kafka's begins.
///
/// Every partition the broker leads begins a new reign: what a follower or consumer knows of the reign before may not have
/// survived the restart where a topic is not durable, and the epoch is how they notice (KIP-320).
pub fn decide_register_broker(image: &ClusterImage, broker: &Registration) -> Decision<Result<i64, MetadataError>> {
    let mut records = Vec::new();
    if !image.features().contains_key(METADATA_VERSION_FEATURE) {
        records.extend(features::first_levels());
    }
    if let Some(present) = image.broker(broker.node).filter(|present| present.incarnation == broker.incarnation) {
        return Decision::only(Ok(present.epoch));
    }
    if broker.node.0 < 0 {
        let message = format!("A broker's id is not negative, this one is {}.", broker.node);
        return Decision::only(Err(MetadataError::new(Refusal::InvalidRequest, message)));
    }
    let epoch = image.next_offset().0 + records.len() as i64;
    records.push(MetadataRecord::RegisterBroker(RegisterBroker {
        node: broker.node,
        incarnation: broker.incarnation,
        epoch,
        endpoints: broker.endpoints.clone(),
        features: features::supported(),
        rack: broker.rack.as_deref().map(Into::into),
        fenced: false,
        directories: broker.directories.clone(),
    }));
    for topic in image.topics() {
        let led = (0..).zip(&topic.partitions).filter(|(_, partition)| partition.leader == broker.node);
        records.extend(led.map(|(partition, _)| {
            let leader = Some(broker.node);
            MetadataRecord::PartitionChange(PartitionChange { partition, topic: topic.id, isr: None, leader })
        }));
    }
    Decision { records, reply: Ok(epoch) }
}
