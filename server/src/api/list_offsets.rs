//! ListOffsets: looks up an offset by time or by the name of a place, on the shards of the partitions.

use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_engine::shard::ShardId;
use corelog_engine::{Offset, Timestamp};
use rustc_hash::FxHashSet;

use super::partition::{Led, led, topic};
use super::{Call, errors};
use crate::broker::ShardServer;
use crate::join;
use crate::protocol::ErrorCode;
use crate::protocol::list_offsets::{
    EARLIEST, EARLIEST_LOCAL, EARLIEST_PENDING_UPLOAD, LATEST, LATEST_TIERED, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse, MAX_TIMESTAMP,
};

/// An offset to look up.
struct LookUp {
    /// Where its answer belongs: the index of the topic and of the partition in the response.
    place: (usize, usize),
    led: Led,
    timestamp: i64,
    committed_only: bool,
    version: i16,
}

/// What was found: its place and its answer.
type Outcome = ((usize, usize), ListOffsetsPartitionResponse);

pub(super) async fn handle(call: Call, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let server = &call.server;
    let (mut response, work) = sort_out(server, request, call.version);
    let parts = work
        .into_iter()
        .map(|(shard, look_ups)| -> join::LocalFuture<_> { Box::pin(look_up_on(server.clone(), shard, look_ups)) });
    for ((topic, partition), outcome) in join::all(parts.collect()).await.into_iter().flatten() {
        response.topics[topic].partitions[partition] = outcome;
    }
    response
}

fn sort_out(
    server: &ShardServer,
    request: ListOffsetsRequest,
    version: i16,
) -> (ListOffsetsResponse, BTreeMap<ShardId, Vec<LookUp>>) {
    let image = server.broker.image();
    let committed_only = request.isolation_level == 1;
    let mut work: BTreeMap<ShardId, Vec<LookUp>> = BTreeMap::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for (topic_index, wanted) in request.topics.into_iter().enumerate() {
        let found = topic(&image, &wanted.name, corelog_engine::TopicId::ZERO);
        let (mut seen, mut repeated) = (FxHashSet::default(), FxHashSet::default());
        for partition in &wanted.partitions {
            if !seen.insert(partition.partition_index) {
                repeated.insert(partition.partition_index);
            }
        }
        let mut partitions = Vec::with_capacity(seen.len());
        // What is asked for twice is refused once.
        for partition in wanted.partitions.into_iter().filter(|partition| seen.remove(&partition.partition_index)) {
            let index = partitions.len();
            let checked = found.and_then(|topic| {
                if repeated.contains(&partition.partition_index) {
                    return Err(ErrorCode::INVALID_REQUEST);
                }
                if !is_place_or_time(partition.timestamp, version) {
                    return Err(ErrorCode::UNSUPPORTED_VERSION);
                }
                let led = led(topic, partition.partition_index, server.broker.node, partition.current_leader_epoch)?;
                Ok(LookUp { place: (topic_index, index), led, timestamp: partition.timestamp, committed_only, version })
            });
            partitions.push(ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                error_code: checked.as_ref().err().copied().unwrap_or_default(),
                ..Default::default()
            });
            if let Ok(look_up) = checked {
                work.entry(server.broker.store.shard_of(&look_up.led.name)).or_default().push(look_up);
            }
        }
        topics.push(ListOffsetsTopicResponse { name: wanted.name, partitions });
    }
    (ListOffsetsResponse { topics, ..Default::default() }, work)
}

/// Whether the version knows this time or place (`KafkaApis.isListOffsetsTimestampUnsupported`).
fn is_place_or_time(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        EARLIEST_PENDING_UPLOAD => version >= 11,
        _ => false,
    }
}

async fn look_up_on(server: Rc<ShardServer>, shard: ShardId, look_ups: Vec<LookUp>) -> Vec<Outcome> {
    let places: Vec<_> = look_ups.iter().map(|look_up| (look_up.place, look_up.led.name.partition)).collect();
    let found = server.on(shard, |server| async move {
        let mut outcomes = Vec::with_capacity(look_ups.len());
        for look_up in look_ups {
            let partition_index = look_up.led.name.partition;
            let outcome = match find(&server, &look_up).await {
                Ok((offset, timestamp, leader_epoch)) => ListOffsetsPartitionResponse {
                    partition_index,
                    error_code: ErrorCode::NONE,
                    timestamp,
                    offset,
                    leader_epoch,
                },
                Err(error_code) => ListOffsetsPartitionResponse { partition_index, error_code, ..Default::default() },
            };
            outcomes.push((look_up.place, outcome));
        }
        outcomes
    });
    found.await.unwrap_or_else(|error| {
        let failed = |partition_index| ListOffsetsPartitionResponse {
            partition_index,
            error_code: errors::code(&error),
            ..Default::default()
        };
        places.into_iter().map(|(place, index)| (place, failed(index))).collect()
    })
}

/// Offset, time and epoch of what is looked for; -1 in each where there is none.
async fn find(server: &Rc<ShardServer>, look_up: &LookUp) -> Result<(i64, i64, i32), ErrorCode> {
    const NONE: (i64, i64, i32) = (-1, -1, -1);
    let LookUp { led, timestamp, .. } = look_up;
    let fault = |error| errors::code(&error);
    if !led.is_current(&server.broker.image()) {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let offsets = server.shard.offsets(&led.name).map_err(fault)?;
    let visible_end = if look_up.committed_only { offsets.last_stable } else { offsets.high_watermark };
    let is_by_time = matches!(*timestamp, LATEST | MAX_TIMESTAMP | 0..);
    if is_by_time && !server.leaders.knows_the_high_watermark(&led.name) {
        // An earlier leader may have shown more (KIP-207); the older code for clients before v5.
        return Err(if look_up.version >= 5 {
            ErrorCode::OFFSET_NOT_AVAILABLE
        } else {
            ErrorCode::LEADER_NOT_AVAILABLE
        });
    }
    let found: Option<(Offset, Timestamp, _)> = match *timestamp {
        LATEST => return Ok((visible_end.0, -1, offsets.epoch.0)),
        EARLIEST | EARLIEST_LOCAL => {
            let epoch = server.shard.epoch_of(&led.name, offsets.start).map_err(fault)?;
            return Ok((offsets.start.0, -1, epoch.0));
        }
        MAX_TIMESTAMP => server.shard.max_timestamp(&led.name).await.map_err(fault)?,
        // There is no tiered storage.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => None,
        time => server.shard.offset_for_timestamp(&led.name, Timestamp(time)).await.map_err(fault)?,
    };
    let found = found.filter(|(offset, ..)| *offset < visible_end);
    Ok(found.map_or(NONE, |(offset, time, epoch)| (offset.0, time.0, epoch.0)))
}
