//! ElectLeaders: there is one replica of every partition, so that none has a better leader than it has.

use corelog_engine::TopicId;
use corelog_replication::metadata::ClusterImage;

use super::Call;
use super::partition::topic;
use crate::protocol::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::protocol::{ErrorCode, Text};

/// Only the preferred replica.
const PREFERRED: i8 = 0;
/// Any replica that lives.
const UNCLEAN: i8 = 1;

pub(super) async fn handle(call: Call, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if !matches!(request.election_type, PREFERRED | UNCLEAN) {
        let error_code = ErrorCode::INVALID_REQUEST;
        let message = Text::from(format!("Unknown election type {}", request.election_type));
        let refused =
            |&partition_id: &i32| PartitionResult { partition_id, error_code, error_message: Some(message.clone()) };
        let topics = request.topic_partitions.into_iter().flatten();
        let results = topics.map(|wanted| ReplicaElectionResult {
            partition_result: wanted.partitions.iter().map(refused).collect(),
            topic: wanted.topic,
        });
        return ElectLeadersResponse { error_code, replica_election_results: results.collect(), ..Default::default() };
    }
    let image = call.server.broker.image();
    // Where all are asked for, those that need none are not told of.
    let topics = request.topic_partitions.into_iter().flatten();
    let results = topics.map(|wanted| ReplicaElectionResult {
        partition_result: wanted.partitions.iter().map(|index| elect(&image, &wanted.topic, *index)).collect(),
        topic: wanted.topic,
    });
    ElectLeadersResponse { replica_election_results: results.collect(), ..Default::default() }
}

fn elect(image: &ClusterImage, name: &str, partition_id: i32) -> PartitionResult {
    let found = topic(image, name, TopicId::ZERO).map(|topic| topic.partitions.get(partition_id as usize));
    let (error_code, message) = match found {
        Ok(Some(_)) => (ErrorCode::ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.".into()),
        Ok(None) => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("No such partition as {name}-{partition_id}")),
        Err(code) => (code, format!("No such topic as {name}")),
    };
    PartitionResult { partition_id, error_code, error_message: Some(Text::from(message)) }
}
