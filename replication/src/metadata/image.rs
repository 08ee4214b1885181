//! The cluster as it is: topics, partitions, brokers, settings, made by replaying the metadata log and nothing else.
//!
//! Cloning shares topics and strings, so a published image costs its writer one copy of the maps at the next change.

use std::collections::BTreeMap;
use std::sync::Arc;

use corelog_engine::{Epoch, Offset, TopicId};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::record::{
    Config, Endpoint, FeatureLevel, FeatureRange, MetadataRecord, Partition, PartitionChange, ProducerIds,
    RegisterBroker, ResourceType, Topic,
};
use crate::NodeId;

/// A record that contradicts what was replayed before it: the log is damaged, or was written by something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata record at offset {offset}: {what}")]
pub struct ReplayError {
    /// The record's offset.
    pub offset: Offset,
    /// What it contradicts.
    pub what: String,
}

/// The settings of one resource that differ from the defaults.
pub type ConfigMap = BTreeMap<Arc<str>, Arc<str>>;

/// The cluster's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterImage {
    cluster_id: Arc<str>,
    next_offset: Offset,
    topics: FxHashMap<Arc<str>, Arc<TopicImage>>,
    names: FxHashMap<TopicId, Arc<str>>,
    partition_count: usize,
    brokers: BTreeMap<NodeId, Arc<RegisterBroker>>,
    configs: BTreeMap<ResourceType, BTreeMap<Arc<str>, ConfigMap>>,
    features: BTreeMap<Arc<str>, i16>,
    next_producer_id: i64,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: TopicId,
    /// Its partitions by index.
    pub partitions: Vec<PartitionImage>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// All replicas in order of preference.
    pub replicas: Vec<NodeId>,
    /// The in-sync ones.
    pub isr: Vec<NodeId>,
    /// Replicas about to go.
    pub removing: Vec<NodeId>,
    /// Replicas about to come.
    pub adding: Vec<NodeId>,
    /// The leader, or [`NodeId::NONE`].
    pub leader: NodeId,
    /// The leader's reign.
    pub leader_epoch: Epoch,
    /// Counts every change of the partition; changes of the in-sync set are compared with it.
    pub partition_epoch: i32,
    /// The log directory of each replica.
    pub directories: Vec<Uuid>,
}

impl ClusterImage {
    /// The empty cluster.
    pub fn new(cluster_id: impl Into<Arc<str>>) -> ClusterImage {
        ClusterImage {
            cluster_id: cluster_id.into(),
            next_offset: Offset::ZERO,
            topics: FxHashMap::default(),
            names: FxHashMap::default(),
            partition_count: 0,
            brokers: BTreeMap::new(),
            configs: BTreeMap::new(),
            features: BTreeMap::new(),
            next_producer_id: 0,
        }
    }

    /// The cluster's id, of `meta.properties`.
    pub fn cluster_id(&self) -> &Arc<str> {
        &self.cluster_id
    }

    /// The offset of the first metadata record not replayed yet.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// The topic of this id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// A partition by its topic's name.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionImage> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// All topics, ordered by name.
    pub fn topics(&self) -> Vec<&Arc<TopicImage>> {
        let mut topics: Vec<_> = self.topics.values().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// The names of all topics, in no order.
    pub fn topic_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The brokers, ordered by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<RegisterBroker>> {
        self.brokers.values()
    }

    /// A broker.
    pub fn broker(&self, node: NodeId) -> Option<&Arc<RegisterBroker>> {
        self.brokers.get(&node)
    }

    /// The settings of a resource that were set; the rest are the broker's defaults.
    pub fn configs(&self, resource: ResourceType, name: &str) -> Option<&ConfigMap> {
        self.configs.get(&resource)?.get(name)
    }

    /// The resources of a type that have settings of their own.
    pub fn config_resources(&self, resource: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        self.configs.get(&resource).into_iter().flat_map(BTreeMap::keys)
    }

    /// The finalised features with their levels.
    pub fn features(&self) -> &BTreeMap<Arc<str>, i16> {
        &self.features
    }

    /// The first producer id not yet given to a broker.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Changes the state by the record at `offset`. Every record states what is to be, so that one which repeats the
    /// state changes nothing.
    pub fn replay(&mut self, offset: Offset, record: &MetadataRecord) -> Result<(), ReplayError> {
        let wrong = |what: String| ReplayError { offset, what };
        if offset < self.next_offset {
            return Err(wrong(format!("the records before {} were replayed already", self.next_offset)));
        }
        match record {
            MetadataRecord::RegisterBroker(broker) => {
                self.brokers.insert(broker.node, Arc::new(broker.clone()));
            }
            MetadataRecord::Topic(topic) => self.replay_topic(topic).map_err(wrong)?,
            MetadataRecord::Partition(partition) => self.replay_partition(partition).map_err(wrong)?,
            MetadataRecord::PartitionChange(change) => self.replay_change(change).map_err(wrong)?,
            MetadataRecord::Config(config) => self.replay_config(config),
            MetadataRecord::RemoveTopic(id) => self.replay_removal(*id).map_err(wrong)?,
            MetadataRecord::FeatureLevel(FeatureLevel { name, level: 0 }) => {
                self.features.remove(name);
            }
            MetadataRecord::FeatureLevel(FeatureLevel { name, level }) => {
                self.features.insert(name.clone(), *level);
            }
            MetadataRecord::ProducerIds(ids) => self.next_producer_id = self.next_producer_id.max(ids.next),
            MetadataRecord::NoOp => {}
        }
        self.next_offset = offset + 1;
        Ok(())
    }

    /// Notes that `next_offset` is where the log goes on, behind records that change nothing (control batches).
    pub fn skip_to(&mut self, next_offset: Offset) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    /// The state as records that make it from nothing: what a shortened log begins with.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let features = self.features.iter();
        let mut records: Vec<MetadataRecord> = features
            .map(|(name, level)| MetadataRecord::FeatureLevel(FeatureLevel { name: name.clone(), level: *level }))
            .collect();
        records.extend(self.brokers.values().map(|broker| MetadataRecord::RegisterBroker((**broker).clone())));
        for topic in self.topics() {
            records.push(MetadataRecord::Topic(Topic { name: topic.name.clone(), id: topic.id }));
            records.extend((0..).zip(&topic.partitions).map(|(index, partition)| partition.to_record(topic.id, index)));
        }
        for (resource, names) in &self.configs {
            for (name, settings) in names {
                records.extend(settings.iter().map(|(key, value)| {
                    let (name, key, value) = (name.clone(), key.clone(), Some(value.clone()));
                    MetadataRecord::Config(Config { resource: *resource, name, key, value })
                }));
            }
        }
        if self.next_producer_id > 0 {
            let node = self.brokers.keys().next().copied().unwrap_or(NodeId::NONE);
            records.push(MetadataRecord::ProducerIds(ProducerIds { node, epoch: -1, next: self.next_producer_id }));
        }
        records
    }

    fn replay_topic(&mut self, topic: &Topic) -> Result<(), String> {
        match self.topics.get(&topic.name) {
            Some(existing) if existing.id == topic.id => return Ok(()),
            Some(existing) => return Err(format!("topic {} exists with id {}", topic.name, existing.id)),
            None => {}
        }
        if let Some(name) = self.names.get(&topic.id) {
            return Err(format!("topic id {} belongs to {name}", topic.id));
        }
        let image = TopicImage { name: topic.name.clone(), id: topic.id, partitions: Vec::new() };
        self.names.insert(topic.id, topic.name.clone());
        self.topics.insert(topic.name.clone(), Arc::new(image));
        Ok(())
    }

    fn replay_partition(&mut self, record: &Partition) -> Result<(), String> {
        let topic = self.topic_mut(record.topic)?;
        let image = PartitionImage {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing: record.removing.clone(),
            adding: record.adding.clone(),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            directories: record.directories.clone(),
        };
        match usize::try_from(record.partition) {
            Ok(index) if index < topic.partitions.len() => topic.partitions[index] = image,
            Ok(index) if index == topic.partitions.len() => {
                topic.partitions.push(image);
                self.partition_count += 1;
            }
            _ => return Err(format!("{} has no partition before {}", topic.name, record.partition)),
        }
        Ok(())
    }

    fn replay_change(&mut self, change: &PartitionChange) -> Result<(), String> {
        let topic = self.topic_mut(change.topic)?;
        let name = topic.name.clone();
        let index = usize::try_from(change.partition).ok();
        let partition = index
            .and_then(|index| topic.partitions.get_mut(index))
            .ok_or_else(|| format!("{name} has no partition {}", change.partition))?;
        if let Some(isr) = &change.isr {
            partition.isr = isr.clone();
        }
        if let Some(leader) = change.leader {
            partition.leader = leader;
            partition.leader_epoch = Epoch(partition.leader_epoch.0 + 1);
        }
        partition.partition_epoch += 1;
        Ok(())
    }

    fn replay_config(&mut self, config: &Config) {
        let names = self.configs.entry(config.resource).or_default();
        let settings = names.entry(config.name.clone()).or_default();
        match &config.value {
            Some(value) => settings.insert(config.key.clone(), value.clone()),
            None => settings.remove(&config.key),
        };
        if settings.is_empty() {
            names.remove(&config.name);
        }
        self.configs.retain(|_, names| !names.is_empty());
    }

    fn replay_removal(&mut self, id: TopicId) -> Result<(), String> {
        let name = self.names.remove(&id).ok_or_else(|| format!("no topic has id {id}"))?;
        let topic = self.topics.remove(&name).expect("a name has its topic");
        self.partition_count -= topic.partitions.len();
        if let Some(names) = self.configs.get_mut(&ResourceType::Topic) {
            names.remove(&name);
        }
        self.configs.retain(|_, names| !names.is_empty());
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, String> {
        let name = self.names.get(&id).ok_or_else(|| format!("no topic has id {id}"))?;
        Ok(Arc::make_mut(self.topics.get_mut(name).expect("a name has its topic")))
    }
}

impl PartitionImage {
    fn to_record(&self, topic: TopicId, partition: i32) -> MetadataRecord {
        MetadataRecord::Partition(Partition {
            partition,
            topic,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing: self.removing.clone(),
            adding: self.adding.clone(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
        })
    }
}

impl RegisterBroker {
    /// The address under a listener's name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| &*endpoint.listener == listener)
    }

    /// The levels of a feature that it can run.
    pub fn feature(&self, name: &str) -> Option<&FeatureRange> {
        self.features.iter().find(|feature| &*feature.name == name)
    }
}
