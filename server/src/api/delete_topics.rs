//! DeleteTopics: one decision of the controller for all topics of the request.

use corelog_engine::TopicId;
use corelog_replication::metadata::{TopicSelector, decide_delete_topics};

use super::{Call, errors};
use crate::protocol::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name =
        request.topic_names.into_iter().map(|name| DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO });
    let topics: Vec<DeleteTopicState> = request.topics.into_iter().chain(by_name).collect();
    let selectors: Vec<TopicSelector> = topics
        .iter()
        .map(|topic| match &topic.name {
            Some(name) => TopicSelector::Name(name.to_string()),
            None => TopicSelector::Id(topic.topic_id),
        })
        .collect();
    let refuse_all = |error_code, message: &str| {
        let responses = topics.iter().map(|topic| DeletableTopicResult {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            error_code,
            error_message: Some(Text::from(message)),
        });
        DeleteTopicsResponse { responses: responses.collect(), ..Default::default() }
    };
    if !call.server.broker.settings.broker.delete_topics {
        // Kafka's words, and its older code for clients that do not know the newer one.
        let code = if call.version < 3 { ErrorCode::INVALID_REQUEST } else { ErrorCode::TOPIC_DELETION_DISABLED };
        return refuse_all(code, "Topic deletion is disabled.");
    }
    if topics.iter().any(|topic| topic.name.is_some() && topic.topic_id != TopicId::ZERO) {
        return refuse_all(ErrorCode::INVALID_REQUEST, "You may not specify both topic name and topic id.");
    }
    let outcomes = match call.server.decide(move |image| decide_delete_topics(image, &selectors)).await {
        Ok(outcomes) => outcomes,
        Err(error) => return refuse_all(errors::code(&error), &error.to_string()),
    };
    let responses = topics.into_iter().zip(outcomes).map(|(topic, outcome)| match outcome {
        Ok(deleted) => DeletableTopicResult {
            name: Some(Text::from(&*deleted.name)),
            topic_id: deleted.id,
            error_code: ErrorCode::NONE,
            error_message: None,
        },
        Err(error) => DeletableTopicResult {
            name: topic.name,
            topic_id: topic.topic_id,
            error_code: errors::metadata_code(&error),
            error_message: Some(Text::from(error.message)),
        },
    });
    DeleteTopicsResponse { responses: responses.collect(), ..Default::default() }
}
