//! A broker registers, which begins an incarnation of it.

use uuid::Uuid;

use super::decision::{Decision, MetadataError, Refusal};
use super::image::ClusterImage;
use super::record::{Endpoint, FeatureLevel, FeatureRange, MetadataRecord, PartitionChange, RegisterBroker};
use crate::NodeId;

/// `metadata.version` 4.1-IV1: the records of this module are those of Kafka 4.1.
pub const METADATA_VERSION: i16 = 27;
/// The lowest `metadata.version` that a 4.x broker accepts, 3.3-IV3.
pub const METADATA_VERSION_MIN: i16 = 7;
/// The feature by which the formats of the metadata log are known.
pub const METADATA_VERSION_FEATURE: &str = "metadata.version";

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

/// Registers a broker and gives its epoch. In an empty log this first finalises [`METADATA_VERSION_FEATURE`], as every
/// metadata log of Kafka's begins.
///
/// Every partition the broker leads begins a new reign: what a follower or consumer knows of the reign before may not have
/// survived the restart where a topic is not durable, and the epoch is how they notice (KIP-320).
pub fn decide_register_broker(image: &ClusterImage, broker: &Registration) -> Decision<Result<i64, MetadataError>> {
    let mut records = Vec::new();
    if !image.features().contains_key(METADATA_VERSION_FEATURE) {
        let (name, level) = (METADATA_VERSION_FEATURE.into(), METADATA_VERSION);
        records.push(MetadataRecord::FeatureLevel(FeatureLevel { name, level }));
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
        features: vec![FeatureRange {
            name: METADATA_VERSION_FEATURE.into(),
            min: METADATA_VERSION_MIN,
            max: METADATA_VERSION,
        }],
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
