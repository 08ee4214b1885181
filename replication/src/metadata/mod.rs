//! The cluster's metadata as a log: decide, append, replay.
//!
//! A decision looks at the [`ClusterImage`] and a request and gives records and a reply; a runner appends the
//! records to the log, waits until they are safe, replays them and only then lets the reply go. The image changes
//! nowhere else, so what a restart rebuilds is what was live.
//!
//! * [`record`], `wire`: the records, in Apache Kafka's own formats.
//! * [`image`]: the state, and what each record does to it. [`batch`]: decisions as
//!   record batches. [`log`]: the log that has them, on a shard of the engine.
//! * [`topics`], [`partitions`], [`configs`], [`brokers`], [`features`], [`producer_ids`]: the decisions. [`name`]: what a topic
//!   may be called.
//! * [`meta_properties`]: who a data directory belongs to.

use corelog_engine::TopicId;
use uuid::Uuid;

pub mod batch;
pub mod brokers;
pub mod configs;
pub mod decision;
pub mod features;
pub mod image;
pub mod log;
pub mod meta_properties;
pub mod name;
pub mod partitions;
pub mod producer_ids;
pub mod record;
pub mod topics;
mod wire;

pub use batch::BatchFault;
pub use brokers::{Registration, decide_register_broker};
pub use configs::{
    AlterConfig, AlterOperation, ConfigCheck, ConfigResource, ConfigRules, Settings, decide_alter_configs,
    decide_incremental_alter_configs,
};
pub use decision::{Decision, MetadataError, Refusal};
pub use features::{FeatureUpdate, UpgradeType, decide_update_features};
pub use image::{ClusterImage, ConfigMap, PartitionImage, ReplayError, TopicImage};
pub use log::MetadataLog;
pub use meta_properties::MetaProperties;
pub use partitions::{NewPartitions, decide_create_partitions};
pub use producer_ids::{PRODUCER_IDS_PER_BLOCK, decide_producer_ids};
pub use record::{MetadataRecord, ResourceType};
pub use topics::{
    CreatedTopic, DeletedTopic, NewTopic, TopicRules, TopicSelector, decide_create_topics, decide_delete_topics,
};
pub use wire::RecordError;

/// The topic that holds the metadata log; its only partition is 0.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
/// Its id, the same in every cluster (`org.apache.kafka.common.Uuid.METADATA_TOPIC_ID`).
pub const METADATA_TOPIC_ID: TopicId = TopicId(Uuid::from_u128(1));
