//! Metadata: the cluster image, as an answer. Topics that are not there are created first, where the client and
//! `auto.create.topics.enable` allow it.

use std::collections::BTreeSet;

use corelog_engine::TopicId;
use corelog_replication::metadata::name;
use corelog_replication::metadata::{ClusterImage, NewTopic, TopicImage};
use rustc_hash::FxHashSet;

use super::Call;
use super::create_topics::create;
use crate::protocol::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic, OPERATIONS_NOT_ASKED,
};
use crate::protocol::{ErrorCode, Text};

/// Everything that may be done to a cluster, as bits by `AclOperation`: there is no authorizer.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Everything that may be done to a topic.
pub(super) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

pub(super) async fn handle(call: Call, mut request: MetadataRequest) -> MetadataResponse {
    let broker = call.server.broker.clone();
    // Java's clients ask by id beside an empty name.
    for topic in request.topics.iter_mut().flatten().filter(|topic| topic.topic_id != TopicId::ZERO) {
        topic.name = topic.name.take().filter(|name| !name.is_empty());
    }
    if let Some(error_code) = contradiction(&request, call.version) {
        let topics = request.topics.iter().flatten().map(|topic| MetadataResponseTopic {
            error_code,
            name: Some(topic.name.clone().unwrap_or_default()),
            topic_id: topic.topic_id,
            ..Default::default()
        });
        return MetadataResponse { topics: topics.collect(), ..cluster(&call, &request, error_code) };
    }
    // What is asked for twice is told once.
    let mut asked = FxHashSet::default();
    request
        .topics
        .iter_mut()
        .for_each(|topics| topics.retain(|topic| asked.insert((topic.name.clone(), topic.topic_id))));
    // Version 0 has no null: an empty list asks for all.
    let wanted = request.topics.as_ref().filter(|topics| call.version > 0 || !topics.is_empty());
    if request.allow_auto_topic_creation
        && let Some(topics) = wanted
    {
        create_missing(&call, topics).await;
    }
    let image = broker.image();
    let operations = if request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let topics = match wanted {
        None => image.topics().into_iter().map(|topic| describe(topic, operations)).collect(),
        Some(topics) => topics.iter().map(|topic| look_up(&image, topic, operations, call.version)).collect(),
    };
    MetadataResponse { topics, ..cluster(&call, &request, ErrorCode::NONE) }
}

/// Topic ids are for v12 and up, and a topic has one of the two.
fn contradiction(request: &MetadataRequest, version: i16) -> Option<ErrorCode> {
    let topics = request.topics.iter().flatten();
    let mut wrong = topics.map(|topic| match &topic.name {
        None => topic.topic_id == TopicId::ZERO || version < 12,
        Some(_) => topic.topic_id != TopicId::ZERO,
    });
    wrong.any(|wrong| wrong).then_some(ErrorCode::INVALID_REQUEST)
}

async fn create_missing(call: &Call, topics: &[MetadataRequestTopic]) {
    let broker = &call.server.broker;
    if !broker.settings.broker.auto_create_topics {
        return;
    }
    let missing: BTreeSet<String> = {
        let image = broker.image();
        let names = topics.iter().filter_map(|topic| topic.name.as_deref());
        let missing = names.filter(|topic| image.topic(topic).is_none() && name::validate(topic).is_ok());
        missing.filter(|topic| !name::is_internal(topic)).map(str::to_owned).collect()
    };
    if missing.is_empty() {
        return;
    }
    let new = missing.into_iter().map(|name| NewTopic {
        name,
        partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    });
    for outcome in create(call, new.collect(), false).await {
        match outcome {
            Ok(topic) => tracing::info!(topic = %topic.name, "topic created, since a client asked for it"),
            Err((_, message)) => tracing::debug!(message, "topic not created"),
        }
    }
}

fn look_up(
    image: &ClusterImage,
    wanted: &MetadataRequestTopic,
    operations: i32,
    version: i16,
) -> MetadataResponseTopic {
    let unknown = |error_code| MetadataResponseTopic {
        error_code,
        // Null only where the version knows it.
        name: wanted.name.clone().or((version < 12).then(Text::default)),
        topic_id: wanted.topic_id,
        ..Default::default()
    };
    match &wanted.name {
        Some(topic) => match image.topic(topic) {
            Some(topic) => describe(topic, operations),
            None if name::validate(topic).is_err() => unknown(ErrorCode::INVALID_TOPIC_EXCEPTION),
            None => unknown(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        },
        None => match image.topic_by_id(wanted.topic_id) {
            Some(topic) => describe(topic, operations),
            None => unknown(ErrorCode::UNKNOWN_TOPIC_ID),
        },
    }
}

fn describe(topic: &TopicImage, topic_authorized_operations: i32) -> MetadataResponseTopic {
    let nodes = |nodes: &[corelog_replication::NodeId]| nodes.iter().map(|node| node.0).collect();
    let partitions = (0..).zip(&topic.partitions).map(|(partition_index, partition)| MetadataResponsePartition {
        error_code: if partition.leader.0 < 0 { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE },
        partition_index,
        leader_id: partition.leader.0,
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: nodes(&partition.replicas),
        isr_nodes: nodes(&partition.isr),
        offline_replicas: Vec::new(),
    });
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(Text::from(&*topic.name)),
        topic_id: topic.id,
        is_internal: name::is_internal(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations,
    }
}

/// What is said of the cluster, whatever the topics.
fn cluster(call: &Call, request: &MetadataRequest, error_code: ErrorCode) -> MetadataResponse {
    let broker = &call.server.broker;
    let image = broker.image();
    let brokers = image.brokers().filter_map(|registered| {
        let endpoint = registered.endpoint(&call.listener)?;
        Some(MetadataResponseBroker {
            node_id: registered.node.0,
            host: Text::from(&*endpoint.host),
            port: endpoint.port.into(),
            rack: registered.rack.as_deref().map(Text::from),
        })
    });
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(Text::from(&**image.cluster_id())),
        controller_id: broker.node.0,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        },
        error_code,
        ..Default::default()
    }
}
