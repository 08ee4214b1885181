//! DescribeProducers: who has written to a partition, from the shard that has it.

use std::rc::Rc;

use corelog_engine::TopicId;
use corelog_engine::log::Producer;
use corelog_replication::metadata::name;

use super::partition::{Led, led, topic};
use super::{Call, errors};
use crate::broker::ShardServer;
use crate::protocol::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let server = &call.server;
    let mut topics = Vec::with_capacity(request.topics.len());
    for wanted in request.topics {
        let mut partitions = Vec::with_capacity(wanted.partition_indexes.len());
        for partition_index in wanted.partition_indexes {
            let found = {
                let image = server.broker.image();
                let found = match name::validate(&wanted.name) {
                    Ok(()) => topic(&image, &wanted.name, TopicId::ZERO),
                    Err(_) => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
                };
                found.and_then(|topic| led(topic, partition_index, server.broker.node, -1))
            };
            partitions.push(match found {
                Ok(led) => describe(server, led).await,
                Err(error_code) => refused(partition_index, error_code, None),
            });
        }
        topics.push(TopicResponse { name: wanted.name, partitions });
    }
    DescribeProducersResponse { topics, ..Default::default() }
}

async fn describe(server: &Rc<ShardServer>, led: Led) -> PartitionResponse {
    let partition_index = led.name.partition;
    let shard = server.broker.store.shard_of(&led.name);
    let told = server.on(shard, move |server| async move { server.shard.producers(&led.name) }).await;
    match told.and_then(|told| told) {
        Ok(producers) => PartitionResponse {
            partition_index,
            active_producers: producers.iter().map(state).collect(),
            ..Default::default()
        },
        Err(error) => refused(partition_index, errors::code(&error), Some(Text::from(error.to_string()))),
    }
}

fn state(producer: &Producer) -> ProducerState {
    ProducerState {
        producer_id: producer.id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence(),
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.map_or(-1, |start| start.0),
    }
}

fn refused(partition_index: i32, error_code: ErrorCode, error_message: Option<Text>) -> PartitionResponse {
    PartitionResponse { partition_index, error_code, error_message, ..Default::default() }
}
