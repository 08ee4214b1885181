//! CreateTopics: one decision of the controller for all topics of the request.

use corelog_engine::TopicId;
use corelog_replication::NodeId;
use corelog_replication::metadata::{ConfigMap, CreatedTopic, Decision, NewTopic, TopicRules, decide_create_topics};
use rustc_hash::FxHashSet;

use super::{Call, errors};
use crate::config::resource::Dynamic;
use crate::described;
use crate::protocol::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let names: Vec<Text> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let topics = request.topics.into_iter().map(new_topic).collect();
    let outcomes = create(&call, topics, request.validate_only).await;
    // A name that comes twice was refused, and is answered once.
    let mut told = FxHashSet::default();
    let outcomes = names.into_iter().zip(outcomes).filter(|(name, _)| told.insert(name.clone()));
    let topics = outcomes.map(|(name, outcome)| match outcome {
        Ok(created) => CreatableTopicResult {
            name,
            topic_id: if request.validate_only { TopicId::ZERO } else { created.id },
            num_partitions: created.partitions,
            replication_factor: created.replication_factor,
            configs: Some(configs(&call, &created.configs)),
            ..Default::default()
        },
        Err((error_code, message)) => {
            CreatableTopicResult { name, error_code, error_message: Some(Text::from(message)), ..Default::default() }
        }
    });
    CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
}

/// Creates topics, or only says what would become of them.
pub(super) async fn create(
    call: &Call,
    topics: Vec<NewTopic>,
    validate_only: bool,
) -> Vec<Result<CreatedTopic, (ErrorCode, String)>> {
    let broker = call.server.broker.clone();
    let count = topics.len();
    let decided = call.server.decide(move |image| {
        let settings = &broker.settings;
        let rules = TopicRules {
            partitions: settings.broker.partitions,
            replication_factor: settings.broker.replication_factor,
            check: &|resource, name, configs| settings.check_resource(image, resource, name, configs),
        };
        let Decision { records, reply } = decide_create_topics(image, &topics, &rules, TopicId::random);
        if validate_only { Decision::only(reply) } else { Decision { records, reply } }
    });
    match decided.await {
        Ok(outcomes) => {
            let refused = |error| (errors::metadata_code(&error), error.message);
            outcomes.into_iter().map(|outcome| outcome.map_err(refused)).collect()
        }
        Err(error) => (0..count).map(|_| Err((errors::code(&error), error.to_string()))).collect(),
    }
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.into_iter();
    NewTopic {
        name: topic.name.to_string(),
        // -1 is the broker's default in every version, as in Kafka: KIP-464 has it from v4 on, but only Kafka's own
        // client holds itself to that. kafkajs asks so in v3.
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments
            .map(|one| (one.partition_index, one.broker_ids.into_iter().map(NodeId).collect()))
            .collect(),
        configs: topic
            .configs
            .into_iter()
            .map(|config| (config.name.to_string(), config.value.map(|value| value.to_string())))
            .collect(),
    }
}

/// All settings of the new topic, with where each comes from (KIP-525).
fn configs(call: &Call, overrides: &ConfigMap) -> Vec<CreatableTopicConfigs> {
    let broker = &call.server.broker;
    let image = broker.image();
    let described = described::topic(&broker.settings, Dynamic::of(&image, broker.node), overrides).into_iter();
    described
        .map(|setting| CreatableTopicConfigs {
            is_sensitive: setting.is_sensitive(),
            name: Text::from(setting.name),
            read_only: setting.read_only,
            config_source: setting.source as i8,
            value: setting.value.map(Text::from),
        })
        .collect()
}
