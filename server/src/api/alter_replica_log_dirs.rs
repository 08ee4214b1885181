//! AlterReplicaLogDirs: there is one directory, where every replica is already.

use corelog_engine::TopicId;

use super::Call;
use super::describe_log_dirs::absolute;
use super::partition::{led, topic};
use crate::protocol::ErrorCode;
use crate::protocol::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};

pub(super) async fn handle(call: Call, request: AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
    let broker = &call.server.broker;
    let image = broker.image();
    let own = absolute(&broker.settings.engine.dir);
    let moves =
        request.dirs.into_iter().flat_map(|dir| dir.topics.into_iter().map(move |topic| (dir.path.clone(), topic)));
    let results = moves.map(|(path, wanted)| {
        let partitions = wanted.partitions.iter().map(|&partition_index| {
            let moved = match path == *own {
                true => topic(&image, &wanted.name, TopicId::ZERO)
                    .and_then(|topic| led(topic, partition_index, broker.node, -1).map(|_| ())),
                false => Err(ErrorCode::LOG_DIR_NOT_FOUND),
            };
            AlterReplicaLogDirPartitionResult { partition_index, error_code: moved.err().unwrap_or_default() }
        });
        AlterReplicaLogDirTopicResult { partitions: partitions.collect(), topic_name: wanted.name }
    });
    AlterReplicaLogDirsResponse { results: results.collect(), ..Default::default() }
}
