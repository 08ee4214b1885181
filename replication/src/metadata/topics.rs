//! Creating and deleting topics.

use std::sync::Arc;

use corelog_engine::{Epoch, TopicId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::configs::{ConfigCheck, Settings};
use super::decision::{Decision, MetadataError, Refusal};
use super::image::ClusterImage;
use super::name;
use super::record::{Config, MetadataRecord, Partition, ResourceType, Topic};
use super::{ConfigMap, METADATA_TOPIC};
use crate::NodeId;

/// The most partitions that one request may create, and that one topic may have (Kafka's
/// `ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// The most partitions of a cluster: a restart begins a new reign of each, which must fit one batch of metadata.
pub const PARTITIONS_MAX: usize = 200_000;

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the default, and where `assignments` says it.
    pub partitions: i32,
    /// How many replicas; -1 for the default, and where `assignments` says it.
    pub replication_factor: i16,
    /// The replicas of each partition by index, where the client chooses them.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// Its settings.
    pub configs: Settings,
}

/// A topic that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each has.
    pub replication_factor: i16,
    /// The settings it was given.
    pub configs: ConfigMap,
}

/// A topic that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: TopicId,
    /// How many partitions it had.
    pub partitions: i32,
}

/// What the broker's settings say about new topics.
pub struct TopicRules<'a> {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// Which settings are good.
    pub check: ConfigCheck<'a>,
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicSelector {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// Creates topics; each gets an answer of its own. `new_id` gives a fresh id, so that the decision itself draws no
/// random numbers.
pub fn decide_create_topics(
    image: &ClusterImage,
    topics: &[NewTopic],
    rules: &TopicRules<'_>,
    mut new_id: impl FnMut() -> TopicId,
) -> Decision<Vec<Result<CreatedTopic, MetadataError>>> {
    let repeated = repeated(topics.iter().map(|topic| topic.name.as_str()));
    // Built once per request: a search through all topics for each new one would be quadratic.
    let mut taken: FxHashMap<String, Arc<str>> =
        image.topic_names().map(|name| (name::collision_key(name).into_owned(), name.clone())).collect();
    let mut records = Vec::new();
    let mut partitions_left = partitions_left(image);
    let reply = topics
        .iter()
        .map(|topic| {
            if repeated.contains(topic.name.as_str()) {
                return Err(MetadataError::new(Refusal::InvalidRequest, "Duplicate topic name."));
            }
            check_name(image, &taken, &topic.name)?;
            let assignments = assign(image, topic, rules, partitions_left)?;
            let configs = check_configs(topic, rules)?;
            let name: Arc<str> = topic.name.as_str().into();
            let id = new_id();
            partitions_left -= assignments.len();
            taken.insert(name::collision_key(&name).into_owned(), name.clone());
            let created = CreatedTopic {
                name: name.clone(),
                id,
                partitions: assignments.len() as i32,
                replication_factor: assignments[0].len() as i16,
                configs,
            };
            records.push(MetadataRecord::Topic(Topic { name, id }));
            records.extend(created.configs.iter().map(|(key, value)| {
                MetadataRecord::Config(Config {
                    resource: ResourceType::Topic,
                    name: created.name.clone(),
                    key: key.clone(),
                    value: Some(value.clone()),
                })
            }));
            records.extend((0..).zip(assignments).map(|(index, replicas)| first_record(image, id, index, replicas)));
            Ok(created)
        })
        .collect();
    Decision { records, reply }
}

/// Deletes topics; each gets an answer of its own with the name and id of what goes.
pub fn decide_delete_topics(
    image: &ClusterImage,
    topics: &[TopicSelector],
) -> Decision<Vec<Result<DeletedTopic, MetadataError>>> {
    let mut going = FxHashSet::default();
    let mut seen = FxHashSet::default();
    let repeated: FxHashSet<&TopicSelector> = topics.iter().filter(|selector| !seen.insert(*selector)).collect();
    let reply = topics
        .iter()
        .map(|selector| {
            if repeated.contains(selector) {
                let what = if matches!(selector, TopicSelector::Name(_)) { "name" } else { "id" };
                return Err(MetadataError::new(Refusal::InvalidRequest, format!("Duplicate topic {what}.")));
            }
            let topic = match selector {
                TopicSelector::Name(name) => image.topic(name).ok_or_else(|| unknown(name))?,
                TopicSelector::Id(id) => image.topic_by_id(*id).ok_or_else(|| {
                    MetadataError::new(Refusal::UnknownTopicId, "This server does not host this topic ID.")
                })?,
            };
            if !going.insert(topic.id) {
                return Err(MetadataError::new(Refusal::InvalidRequest, "The topic is named more than once."));
            }
            Ok(DeletedTopic { name: topic.name.clone(), id: topic.id, partitions: topic.partitions.len() as i32 })
        })
        .collect::<Vec<_>>();
    let records = reply.iter().flatten().map(|topic| MetadataRecord::RemoveTopic(topic.id)).collect();
    Decision { records, reply }
}

/// The refusal for a name that no topic has.
pub(super) fn unknown(name: &str) -> MetadataError {
    let message = format!("This server does not host the topic {name}.");
    MetadataError::new(Refusal::UnknownTopic, message)
}

/// The names that come more than once.
pub(super) fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> FxHashSet<&'a str> {
    let mut seen = FxHashSet::default();
    names.filter(|name| !seen.insert(*name)).collect()
}

/// A new partition: its first replica leads, and all are in sync since all are empty.
pub(super) fn first_record(
    image: &ClusterImage,
    topic: TopicId,
    partition: i32,
    replicas: Vec<NodeId>,
) -> MetadataRecord {
    let directory =
        |node: &NodeId| image.broker(*node).and_then(|broker| broker.directories.first().copied()).unwrap_or_default();
    MetadataRecord::Partition(Partition {
        partition,
        topic,
        isr: replicas.clone(),
        removing: Vec::new(),
        adding: Vec::new(),
        leader: replicas[0],
        leader_epoch: Epoch(0),
        partition_epoch: 0,
        directories: replicas.iter().map(directory).collect(),
        replicas,
    })
}

/// Replicas for `count` partitions from index `first` on: brokers in turn, the first replica moving on by one per
/// partition so that leaders are spread. `shift` spreads the topics among each other.
pub(super) fn place(
    image: &ClusterImage,
    shift: usize,
    first: usize,
    count: usize,
    replicas: usize,
) -> Result<Vec<Vec<NodeId>>, MetadataError> {
    let nodes: Vec<NodeId> = image.brokers().filter(|broker| !broker.fenced).map(|broker| broker.node).collect();
    if replicas > nodes.len() {
        return Err(MetadataError::new(
            Refusal::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {replicas} time(s): The target replication factor of {replicas} cannot \
                 be reached because only {} broker(s) are registered.",
                nodes.len()
            ),
        ));
    }
    let place = |partition| (0..replicas).map(|replica| nodes[(shift + partition + replica) % nodes.len()]).collect();
    Ok((first..first + count).map(place).collect())
}

/// Checks replicas that a client chose for one partition.
pub fn check_replicas(image: &ClusterImage, partition: i32, replicas: &[NodeId]) -> Result<(), MetadataError> {
    let wrong = |message| Err(MetadataError::new(Refusal::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return wrong(format!("The manual partition assignment of partition {partition} has no replicas."));
    }
    for (index, node) in replicas.iter().enumerate() {
        if replicas[..index].contains(node) {
            return wrong(format!("The manual partition assignment includes the broker {node} more than once."));
        }
        if image.broker(*node).is_none_or(|broker| broker.fenced) {
            return wrong(format!(
                "The manual partition assignment includes broker {node}, but no such broker is registered."
            ));
        }
    }
    Ok(())
}

fn check_name(image: &ClusterImage, taken: &FxHashMap<String, Arc<str>>, name: &str) -> Result<(), MetadataError> {
    name::validate(name).map_err(|message| MetadataError::new(Refusal::InvalidTopic, message))?;
    if name == METADATA_TOPIC {
        let message = format!("Creation of internal topic {name} is prohibited.");
        return Err(MetadataError::new(Refusal::InvalidRequest, message));
    }
    if image.topic(name).is_some() {
        return Err(MetadataError::new(Refusal::TopicExists, format!("Topic '{name}' already exists.")));
    }
    if let Some(other) = taken.get(&*name::collision_key(name)) {
        let message = format!("Topic '{name}' collides with existing topic: {other}");
        return Err(MetadataError::new(Refusal::InvalidTopic, message));
    }
    Ok(())
}

/// The replicas of each partition of a new topic; at least one partition with at least one replica.
fn assign(
    image: &ClusterImage,
    topic: &NewTopic,
    rules: &TopicRules<'_>,
    partitions_left: usize,
) -> Result<Vec<Vec<NodeId>>, MetadataError> {
    if !topic.assignments.is_empty() {
        return chosen(image, topic, partitions_left);
    }
    let partitions = if topic.partitions == -1 { rules.partitions } else { topic.partitions };
    let partitions = usize::try_from(partitions).ok().filter(|&count| count > 0).ok_or_else(|| {
        let message = "Number of partitions was set to an invalid non-positive value.";
        MetadataError::new(Refusal::InvalidPartitions, message)
    })?;
    check_count(partitions, partitions_left)?;
    let replicas = if topic.replication_factor == -1 { rules.replication_factor } else { topic.replication_factor };
    let replicas = usize::try_from(replicas).ok().filter(|&count| count > 0).ok_or_else(|| {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        MetadataError::new(Refusal::InvalidReplicationFactor, message)
    })?;
    place(image, image.topic_count(), 0, partitions, replicas)
}

/// How many partitions one request may create.
pub(super) fn partitions_left(image: &ClusterImage) -> usize {
    PARTITIONS_MAX.saturating_sub(image.partition_count()).min(PARTITIONS_PER_REQUEST_MAX)
}

/// Refuses more partitions than one request may create.
pub(super) fn check_count(partitions: usize, left: usize) -> Result<(), MetadataError> {
    if partitions > left {
        let message = format!(
            "Excessively large number of partitions: {partitions} where {left} are left; one request may create \
             {PARTITIONS_PER_REQUEST_MAX}, the cluster may have {PARTITIONS_MAX}."
        );
        return Err(MetadataError::new(Refusal::PolicyViolation, message));
    }
    Ok(())
}

/// The replicas that the client chose, if they are good.
fn chosen(image: &ClusterImage, topic: &NewTopic, partitions_left: usize) -> Result<Vec<Vec<NodeId>>, MetadataError> {
    for (what, unset) in
        [("numPartitions", topic.partitions == -1), ("replicationFactor", topic.replication_factor == -1)]
    {
        if !unset {
            let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            return Err(MetadataError::new(Refusal::InvalidRequest, message));
        }
    }
    check_count(topic.assignments.len(), partitions_left)?;
    let mut assignments = topic.assignments.clone();
    assignments.sort_by_key(|(partition, _)| *partition);
    for (index, (partition, replicas)) in assignments.iter().enumerate() {
        if *partition != index as i32 {
            let message = "partitions should be a consecutive 0-based integer sequence";
            return Err(MetadataError::new(Refusal::InvalidReplicaAssignment, message));
        }
        check_replicas(image, *partition, replicas)?;
        if replicas.len() != assignments[0].1.len() {
            let message = format!(
                "The manual partition assignment of partition {partition} has {} replicas, that of partition 0 has {}.",
                replicas.len(),
                assignments[0].1.len()
            );
            return Err(MetadataError::new(Refusal::InvalidReplicaAssignment, message));
        }
    }
    Ok(assignments.into_iter().map(|(_, replicas)| replicas).collect())
}

fn check_configs(topic: &NewTopic, rules: &TopicRules<'_>) -> Result<ConfigMap, MetadataError> {
    let repeated = repeated(topic.configs.iter().map(|(key, _)| key.as_str()));
    if let Some(key) = repeated.iter().min() {
        return Err(MetadataError::new(Refusal::InvalidConfig, format!("Setting {key} is given more than once.")));
    }
    if let Some((key, _)) = topic.configs.iter().find(|(_, value)| value.is_none()) {
        let message = format!("Null value not supported for topic configs: {key}");
        return Err(MetadataError::new(Refusal::InvalidConfig, message));
    }
    let given = topic.configs.iter().filter_map(|(key, value)| Some((key.as_str().into(), value.as_deref()?.into())));
    let configs: ConfigMap = given.collect();
    (rules.check)(ResourceType::Topic, &topic.name, &configs)?;
    Ok(configs)
}
