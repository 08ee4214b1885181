//! DeleteTopics: one decision of the controller for all topics of the request.

use corelog_engine::TopicId;
use corelog_replication::metadata::{MetadataError, Refusal, TopicSelector, decide_delete_topics};
use rustc_hash::FxHashSet;

use super::{Call, errors};
use crate::protocol::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name =
        request.topic_names.into_iter().map(|name| DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO });
    let topics: Vec<DeleteTopicState> = request.topics.into_iter().chain(by_name).collect();
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
    let selectors: Vec<TopicSelector> = topics.iter().filter_map(|topic| selector(topic).ok()).collect();
    let outcomes = match call.server.decide(move |image| decide_delete_topics(image, &selectors)).await {
        Ok(outcomes) => outcomes,
        Err(error) => return refuse_all(errors::code(&error), &error.to_string()),
    };
    let mut outcomes = outcomes.into_iter();
    let outcomes: Vec<_> = topics
        .iter()
        .map(|topic| selector(topic).and_then(|_| outcomes.next().expect("an answer for each that was asked for")))
        .collect();
    // What comes twice was refused, and is answered once.
    let mut told = FxHashSet::default();
    let outcomes = topics.into_iter().zip(outcomes);
    let outcomes = outcomes.filter(|(topic, _)| told.insert((topic.name.clone(), topic.topic_id)));
    let responses = outcomes.map(|(topic, outcome)| match outcome {
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

/// What is to be deleted: a topic has a name or an id.
fn selector(topic: &DeleteTopicState) -> Result<TopicSelector, MetadataError> {
    let contradicts = |message| Err(MetadataError::new(Refusal::InvalidRequest, message));
    match (&topic.name, topic.topic_id) {
        (Some(_), id) if id != TopicId::ZERO => contradicts("You may not specify both topic name and topic id."),
        (None, TopicId::ZERO) => contradicts("Neither topic name nor id were specified."),
        (Some(name), _) => Ok(TopicSelector::Name(name.to_string())),
        (None, id) => Ok(TopicSelector::Id(id)),
    }
}
