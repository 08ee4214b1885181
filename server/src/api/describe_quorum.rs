//! DescribeQuorum: the metadata log has one voter, this broker.

use std::rc::Rc;

use corelog_engine::TopicPartition;
use corelog_engine::log::LogOffsets;
use corelog_replication::metadata::METADATA_TOPIC;

use super::{Call, errors};
use crate::broker::ShardServer;
use crate::protocol::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let server = &call.server;
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut is_told = false;
    for wanted in request.topics {
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for partition in wanted.partitions {
            let is_metadata = wanted.topic_name == METADATA_TOPIC && partition.partition_index == 0;
            is_told |= is_metadata;
            let described = match is_metadata {
                true => describe(server).await,
                false => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            };
            let partition_index = partition.partition_index;
            partitions.push(described.unwrap_or_else(|error_code| PartitionData {
                partition_index,
                error_code,
                error_message: None,
                ..Default::default()
            }));
        }
        topics.push(TopicData { topic_name: wanted.topic_name, partitions });
    }
    let nodes = if is_told { nodes(server) } else { Vec::new() };
    DescribeQuorumResponse { error_code: ErrorCode::NONE, error_message: None, topics, nodes }
}

async fn describe(server: &Rc<ShardServer>) -> Result<PartitionData, ErrorCode> {
    let log = TopicPartition::new(METADATA_TOPIC, 0);
    let shard = server.broker.store.shard_of(&log);
    let offsets = server.on(shard, move |server| async move { server.shard.offsets(&log) }).await;
    let offsets: LogOffsets = offsets.and_then(|found| found).map_err(|error| errors::code(&error))?;
    let broker = &server.broker;
    let image = broker.image();
    let directory = image.broker(broker.node).and_then(|broker| broker.directories.first().copied());
    let voter = ReplicaState {
        replica_id: broker.node.0,
        replica_directory_id: directory.unwrap_or_default(),
        log_end_offset: offsets.end.0,
        last_fetch_timestamp: -1,
        last_caught_up_timestamp: server.io.unix_time().0,
    };
    Ok(PartitionData {
        partition_index: 0,
        error_code: ErrorCode::NONE,
        error_message: None,
        leader_id: broker.node.0,
        leader_epoch: offsets.epoch.0,
        high_watermark: offsets.high_watermark.0,
        current_voters: vec![voter],
        observers: Vec::new(),
    })
}

fn nodes(server: &ShardServer) -> Vec<Node> {
    let broker = &server.broker;
    let image = broker.image();
    let Some(registered) = image.broker(broker.node) else { return Vec::new() };
    let listeners = registered.endpoints.iter().map(|endpoint| Listener {
        name: Text::from(&*endpoint.listener),
        host: Text::from(&*endpoint.host),
        port: endpoint.port,
    });
    vec![Node { node_id: broker.node.0, listeners: listeners.collect() }]
}
