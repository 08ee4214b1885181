//! Produce: appends on the shards of the partitions, and waits as long as `acks` says.
//!
//! The batches of a request are appended when it is first polled, before anything is awaited: that is what keeps the
//! batches of pipelined requests in order.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_engine::batch::{BatchError, BatchHeader, Codec, Origin, RecordError};
use corelog_engine::io::Instant;
use corelog_engine::log::Appended;
use corelog_engine::shard::{AppendOptions, ShardId};
use corelog_engine::{Error, Timestamp, TopicId};
use corelog_replication::metadata::name;
use corelog_replication::partition::{Acknowledged, Acks};

use super::partition::{Led, led, topic, topic_by_id};
use super::{Call, Reply, errors};
use crate::broker::ShardServer;
use crate::join;
use crate::protocol::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use crate::protocol::{ErrorCode, Text};

/// The first version in which zstd may be used (KIP-110).
const ZSTD_VERSION: i16 = 7;
/// The first version with topic ids.
const IDS_VERSION: i16 = 13;
/// The records of one request that a shard names as refused, about 10 MB of answer; producers fail the others of a batch too.
const RECORD_ERRORS_MAX: usize = 100_000;
/// What tools that write to the broker's own topics call themselves (Kafka's `AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT: &str = "__admin_client";

/// A batch on its way to its partition.
struct Append {
    /// Where its answer belongs: the index of the topic and of the partition in the response.
    place: (usize, usize),
    led: Led,
    batch: Bytes,
}

/// What came of a batch: its place and its answer.
type Outcome = ((usize, usize), PartitionProduceResponse);

pub(super) async fn handle(call: Call, request: ProduceRequest) -> Reply<ProduceResponse> {
    let server = &call.server;
    let acks = Acks::from_wire(request.acks);
    let wait = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let (mut response, work) = sort_out(&call, request, acks);
    let outcomes = match work.len() {
        0 => Vec::new(),
        _ => append_on_shards(server, work, acks.unwrap_or(Acks::None), wait).await,
    };
    for ((topic, partition), outcome) in outcomes {
        response.responses[topic].partition_responses[partition] = outcome;
    }
    if acks != Some(Acks::None) {
        return Reply::Answer(response);
    }
    let mut answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    // Nobody waits for an answer; a connection that closes is how the producer learns of the loss.
    if answers.any(|answer| answer.error_code.is_error()) { Reply::Disconnect } else { Reply::Nothing }
}

/// The response with what can be said already, and the batches by shard.
fn sort_out(
    Call { server, version, client_id, .. }: &Call,
    request: ProduceRequest,
    acks: Option<Acks>,
) -> (ProduceResponse, BTreeMap<ShardId, Vec<Append>>) {
    let image = server.broker.image();
    let mut work: BTreeMap<ShardId, Vec<Append>> = BTreeMap::new();
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for (topic_index, data) in request.topic_data.into_iter().enumerate() {
        let found = match *version >= IDS_VERSION {
            true => topic_by_id(&image, data.topic_id),
            false => topic(&image, &data.name, TopicId::ZERO),
        };
        let mut partition_responses = Vec::with_capacity(data.partition_data.len());
        for (index, partition) in data.partition_data.into_iter().enumerate() {
            let valid_acks = acks.ok_or(ErrorCode::INVALID_REQUIRED_ACKS);
            let checked = valid_acks.and(found).and_then(|topic| {
                let led = led(topic, partition.index, server.broker.node, -1)?;
                let batch = partition.records.ok_or(ErrorCode::INVALID_RECORD)?;
                check_version(&batch, *version)?;
                // A record of somebody else's there would be the end of every group.
                if name::is_internal(&topic.name) && *client_id != ADMIN_CLIENT {
                    return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
                }
                Ok(Append { place: (topic_index, index), led, batch })
            });
            partition_responses.push(PartitionProduceResponse {
                index: partition.index,
                error_code: checked.as_ref().err().copied().unwrap_or_default(),
                base_offset: -1,
                ..Default::default()
            });
            if let Ok(append) = checked {
                work.entry(server.broker.store.shard_of(&append.led.name)).or_default().push(append);
            }
        }
        responses.push(TopicProduceResponse { name: data.name, topic_id: data.topic_id, partition_responses });
    }
    (ProduceResponse { responses, ..Default::default() }, work)
}

/// What a batch may not be in this version, or on this broker; whether it is a batch at all is for the log to say.
fn check_version(batch: &Bytes, version: i16) -> Result<(), ErrorCode> {
    let Ok(header) = BatchHeader::parse(batch) else { return Ok(()) };
    if version < ZSTD_VERSION && header.codec() == Ok(Codec::Zstd) {
        return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
    }
    // Nobody could end the transaction: there is no coordinator yet.
    if header.is_transactional() {
        return Err(ErrorCode::INVALID_TXN_STATE);
    }
    Ok(())
}

async fn append_on_shards(
    server: &Rc<ShardServer>,
    mut work: BTreeMap<ShardId, Vec<Append>>,
    acks: Acks,
    wait: Duration,
) -> Vec<Outcome> {
    if work.len() == 1 {
        let (shard, appends) = work.pop_first().expect("one");
        return append_on(server.clone(), shard, appends, acks, wait).await;
    }
    let parts = work.into_iter().map(|(shard, appends)| -> join::LocalFuture<_> {
        Box::pin(append_on(server.clone(), shard, appends, acks, wait))
    });
    join::all(parts.collect()).await.into_iter().flatten().collect()
}

async fn append_on(
    server: Rc<ShardServer>,
    shard: ShardId,
    appends: Vec<Append>,
    acks: Acks,
    wait: Duration,
) -> Vec<Outcome> {
    let places: Vec<_> = appends.iter().map(|append| (append.place, append.led.name.partition)).collect();
    match server.in_order_on(shard, move |server| append_here(server, appends, acks, wait)).await {
        Ok(outcomes) => outcomes,
        Err(error) => places.into_iter().map(|(place, index)| (place, failed(index, &error))).collect(),
    }
}

/// Appends to partitions of this shard, then waits.
async fn append_here(server: Rc<ShardServer>, appends: Vec<Append>, acks: Acks, wait: Duration) -> Vec<Outcome> {
    let deadline = server.io.now() + wait;
    let mut outcomes = Vec::with_capacity(appends.len());
    let mut waiting = Vec::with_capacity(appends.len());
    let mut record_errors = 0;
    for Append { place, led, batch } in appends {
        let index = led.name.partition;
        let appended = append(&server, &led, &batch, acks);
        server.counters.topic(&led.name.topic, |topic| match &appended {
            Ok(appended) => {
                topic.produced_batches.add(1);
                topic.produced_records.add(appended.next_offset.since(appended.base_offset));
                topic.produced_bytes.add(batch.len() as u64);
            }
            Err(_) => topic.produce_errors.add(1),
        });
        match appended {
            Ok(appended) => {
                outcomes.push((place, succeeded(index, &appended)));
                waiting.push((led, appended));
            }
            Err(mut answer) => {
                answer.record_errors.truncate(RECORD_ERRORS_MAX - record_errors);
                answer.record_errors.shrink_to_fit();
                record_errors += answer.record_errors.len();
                outcomes.push((place, answer));
            }
        }
    }
    if acks == Acks::None {
        return outcomes;
    }
    let mut waiting = waiting.into_iter();
    for (_, answer) in outcomes.iter_mut().filter(|(_, answer)| !answer.error_code.is_error()) {
        let (led, appended) = waiting.next().expect("one for each that was appended");
        if let Err(code) = acknowledged(&server, &led, &appended, acks, deadline).await {
            *answer = PartitionProduceResponse {
                index: answer.index,
                error_code: code,
                base_offset: -1,
                ..Default::default()
            };
        }
    }
    outcomes
}

fn append(server: &Rc<ShardServer>, led: &Led, batch: &[u8], acks: Acks) -> Result<Appended, PartitionProduceResponse> {
    let index = led.name.partition;
    let refused = |error_code| PartitionProduceResponse { index, error_code, base_offset: -1, ..Default::default() };
    if !led.is_current(&server.broker.image()) {
        return Err(refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    }
    server.leaders.admit(&led.name, acks).map_err(|error| refused(errors::ack_code(&error)))?;
    let options = AppendOptions { epoch: led.epoch, origin: Origin::Client };
    server.shard.append(&led.name, batch, options).map_err(|error| {
        let offsets = server.shard.offsets(&led.name).ok().filter(|_| is_of_a_record(&error));
        PartitionProduceResponse {
            log_start_offset: offsets.map_or(-1, |offsets| offsets.start.0),
            ..failed(index, &error)
        }
    })
}

/// Whether the batch is one, and what is in it is refused: then Kafka tells where the log starts.
fn is_of_a_record(error: &Error) -> bool {
    use BatchError::*;
    match error {
        Error::Producer(_) => true,
        Error::Batch(error) => !matches!(
            error,
            Short(_) | Truncated { .. } | Trailing(_) | Length(_) | Magic(_) | Crc { .. } | TooLarge { .. }
        ),
        _ => false,
    }
}

/// Waits until a batch is as safe as `acks` wants it.
async fn acknowledged(
    server: &Rc<ShardServer>,
    led: &Led,
    appended: &Appended,
    acks: Acks,
    deadline: Instant,
) -> Result<(), ErrorCode> {
    let name = &led.name;
    let reached = match acks {
        Acks::None => return Ok(()),
        // Acknowledged means on stable storage, unless the topic says otherwise (`flush.messages`).
        Acks::Leader if !server.shard.log_config(name).is_ok_and(|config| config.is_durable()) => return Ok(()),
        Acks::Leader => within(server, deadline, server.shard.flushed(name, appended.next_offset)).await,
        Acks::All => within(server, deadline, server.shard.high_watermark_reached(name, appended.next_offset)).await,
    };
    match reached {
        Some(Ok(())) if acks == Acks::All => match server.leaders.acknowledged(name, appended.next_offset) {
            Acknowledged::Refused(error) => Err(errors::ack_code(&error)),
            Acknowledged::Yes | Acknowledged::NotYet => Ok(()),
        },
        Some(Ok(())) => Ok(()),
        // Cut off again by a later leader.
        Some(Err(Error::OffsetOutOfRange { .. })) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Some(Err(error)) => Err(errors::code(&error)),
        None => Err(ErrorCode::REQUEST_TIMED_OUT),
    }
}

/// The outcome of `work`, if it comes before the deadline.
async fn within<T>(server: &ShardServer, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = server.io.sleep_until(deadline) => None,
    }
}

fn succeeded(index: i32, appended: &Appended) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        base_offset: appended.base_offset.0,
        log_append_time_ms: appended.log_append_time.unwrap_or(Timestamp::NONE).0,
        log_start_offset: appended.start.0,
        ..Default::default()
    }
}

fn failed(index: i32, error: &Error) -> PartitionProduceResponse {
    let records = match error {
        Error::Batch(error) => error.rejected_records(),
        _ => &[],
    };
    PartitionProduceResponse {
        index,
        error_code: errors::code(error),
        base_offset: -1,
        record_errors: records.iter().map(record_error).collect(),
        error_message: Some(Text::from(error.to_string())),
        ..Default::default()
    }
}

fn record_error(RecordError { index, fault }: &RecordError) -> BatchIndexAndErrorMessage {
    let message = Text::from(format!("the record {fault}"));
    BatchIndexAndErrorMessage { batch_index: *index, batch_index_error_message: Some(message) }
}
