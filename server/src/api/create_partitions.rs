//! CreatePartitions: one decision of the controller for all topics of the request.

use corelog_replication::NodeId;
use corelog_replication::metadata::{Decision, NewPartitions, decide_create_partitions};
use rustc_hash::FxHashSet;

use super::{Call, errors};
use crate::protocol::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let names: Vec<Text> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let topics: Vec<NewPartitions> = request.topics.into_iter().map(new_partitions).collect();
    let validate_only = request.validate_only;
    let decided = call.server.decide(move |image| {
        let Decision { records, reply } = decide_create_partitions(image, &topics);
        if validate_only { Decision::only(reply) } else { Decision { records, reply } }
    });
    let outcomes = match decided.await {
        Ok(outcomes) => {
            let refused = |outcome: Result<(), _>| match outcome {
                Ok(()) => (ErrorCode::NONE, None),
                Err(error) => (errors::metadata_code(&error), Some(Text::from(error.message))),
            };
            outcomes.into_iter().map(refused).collect()
        }
        Err(error) => vec![(errors::code(&error), Some(Text::from(error.to_string()))); names.len()],
    };
    // A name that comes twice was refused, and is answered once.
    let mut told = FxHashSet::default();
    let results = names.into_iter().zip(outcomes).filter(|(name, _)| told.insert(name.clone()));
    let results = results.map(|(name, (error_code, error_message))| CreatePartitionsTopicResult {
        name,
        error_code,
        error_message,
    });
    CreatePartitionsResponse { results: results.collect(), ..Default::default() }
}

fn new_partitions(topic: CreatePartitionsTopic) -> NewPartitions {
    let nodes = |brokers: Vec<i32>| brokers.into_iter().map(NodeId).collect();
    NewPartitions {
        topic: topic.name.to_string(),
        count: topic.count,
        assignments: topic
            .assignments
            .map(|assignments| assignments.into_iter().map(|assigned| nodes(assigned.broker_ids)).collect()),
    }
}
