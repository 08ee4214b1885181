//! OffsetForLeaderEpoch: where epochs end, on the shards of the partitions.

use std::rc::Rc;

use corelog_engine::{Epoch, TopicId};

use super::partition::{Led, led, topic};
use super::{Call, errors};
use crate::broker::ShardServer;
use crate::join;
use crate::protocol::ErrorCode;
use crate::protocol::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

pub(super) async fn handle(call: Call, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let server = &call.server;
    let mut topics = Vec::with_capacity(request.topics.len());
    for wanted in request.topics {
        let mut partitions: Vec<join::LocalFuture<_>> = Vec::with_capacity(wanted.partitions.len());
        for partition in wanted.partitions {
            let found = {
                let image = server.broker.image();
                topic(&image, &wanted.topic, TopicId::ZERO).and_then(|topic| {
                    led(topic, partition.partition, server.broker.node, partition.current_leader_epoch)
                })
            };
            let server = server.clone();
            partitions.push(Box::pin(async move {
                let found = match found {
                    Ok(led) => look_up(&server, led, Epoch(partition.leader_epoch)).await,
                    Err(code) => Err(code),
                };
                let partition = partition.partition;
                found.unwrap_or_else(|error_code| EpochEndOffset { error_code, partition, ..Default::default() })
            }));
        }
        topics.push(OffsetForLeaderTopicResult { topic: wanted.topic, partitions: join::all(partitions).await });
    }
    OffsetForLeaderEpochResponse { topics, ..Default::default() }
}

async fn look_up(server: &Rc<ShardServer>, led: Led, epoch: Epoch) -> Result<EpochEndOffset, ErrorCode> {
    let shard = server.broker.store.shard_of(&led.name);
    let found = server.on(shard, move |server| async move {
        if !led.is_current(&server.broker.image()) {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let found = server.shard.end_offset_for_epoch(&led.name, epoch);
        let (epoch, end) = found.map_err(|error| errors::code(&error))?;
        let partition = led.name.partition;
        Ok(EpochEndOffset { error_code: ErrorCode::NONE, partition, leader_epoch: epoch.0, end_offset: end.0 })
    });
    found.await.unwrap_or_else(|error| Err(errors::code(&error)))
}
