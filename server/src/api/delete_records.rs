//! DeleteRecords: moves the start of logs, durably, on the shards of the partitions.

use std::rc::Rc;

use corelog_engine::Offset;
use corelog_engine::log::CleanupPolicy;
use corelog_replication::metadata::name;

use super::partition::{Led, led, topic};
use super::{Call, errors};
use crate::broker::ShardServer;
use crate::join;
use crate::protocol::ErrorCode;
use crate::protocol::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub(super) async fn handle(call: Call, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for wanted in request.topics {
        let mut partitions: Vec<join::LocalFuture<_>> = Vec::with_capacity(wanted.partitions.len());
        for partition in wanted.partitions {
            let index = partition.partition_index;
            let found = find(&call.server, &wanted.name, index);
            let server = call.server.clone();
            partitions.push(Box::pin(async move {
                let deleted = match found {
                    Ok(led) => delete(&server, led, partition.offset).await,
                    Err(code) => Err(code),
                };
                let (low_watermark, error_code) =
                    deleted.map_or_else(|code| (-1, code), |start| (start, ErrorCode::NONE));
                DeleteRecordsPartitionResult { partition_index: index, low_watermark, error_code }
            }));
        }
        topics.push(DeleteRecordsTopicResult { name: wanted.name, partitions: join::all(partitions).await });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

fn find(server: &ShardServer, topic_name: &str, index: i32) -> Result<Led, ErrorCode> {
    let image = server.broker.image();
    let found = topic(&image, topic_name, corelog_engine::TopicId::ZERO)?;
    if name::is_internal(topic_name) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    led(found, index, server.broker.node, -1)
}

async fn delete(server: &Rc<ShardServer>, led: Led, before: i64) -> Result<i64, ErrorCode> {
    let shard = server.broker.store.shard_of(&led.name);
    let deleted = server.on(shard, move |server| async move {
        if !led.is_current(&server.broker.image()) {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let fault = |error| errors::code(&error);
        let config = server.shard.log_config(&led.name).map_err(fault)?;
        if config.cleanup_policy == CleanupPolicy::Compact {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let offsets = server.shard.offsets(&led.name).map_err(fault)?;
        let before = if before == HIGH_WATERMARK { offsets.high_watermark } else { Offset(before) };
        if before.0 >= 0 && before <= offsets.start {
            return Ok(offsets.start.0);
        }
        server.shard.delete_records(&led.name, before).await.map(|start| start.0).map_err(fault)
    });
    deleted.await.unwrap_or_else(|error| Err(errors::code(&error)))
}
