//! Fetch: reads on the shards of the partitions, and waits where there is too little (`DelayedFetch` of Kafka).
//!
//! The shards are read at the same time, each in the order of the request; the first partition with records gives a whole
//! batch even over every limit, so that a reader always gets on (KIP-74). What a session (KIP-227) knows and need not be told
//! is `crate::fetch_sessions`' to say.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_engine::io::{Instant, Slice};
use corelog_engine::shard::{ReadRequest, ReadUpTo, ShardId};
use corelog_engine::{Epoch, Error, Offset, TopicId};
use tokio::sync::oneshot;

use super::partition::{Led, led, topic, topic_by_id};
use super::{Call, errors};
use crate::broker::ShardServer;
use crate::join::{self, LocalFuture};
use crate::protocol::fetch::{
    AbortedTransaction, EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::protocol::{ErrorCode, Records};

/// The first version with topic ids.
const IDS_VERSION: i16 = 13;
/// The longest that a fetch waits, whatever the client asks for: a connection must not be held for ever.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A partition to read.
#[derive(Clone)]
struct Wanted {
    /// Where its answer belongs: the index of the topic and of the partition in the response.
    place: (usize, usize),
    led: Led,
    from: Offset,
    bytes_max: usize,
    last_fetched_epoch: i32,
    up_to: ReadUpTo,
}

/// What was read of a partition, before it becomes part of the response.
struct ReadOut {
    place: (usize, usize),
    data: PartitionData,
    bytes: usize,
    /// Whether a limit, not the end, stopped it.
    is_cut_short: bool,
}

pub(super) async fn handle(call: Call, mut request: FetchRequest) -> FetchResponse {
    let server = &call.server;
    let plan = match server.sessions.begin(&mut request, call.version, server.io.now()) {
        Ok(plan) => plan,
        Err(error_code) => return FetchResponse { error_code, ..Default::default() },
    };
    let (topics, opened) = plan.carry_out(call.version);
    request.topics = topics;
    let response = read_or_wait(server, &request, call.version >= IDS_VERSION).await;
    server.sessions.end(opened, response, server.io.now(), || server.io.random())
}

/// Reads until there is enough or the deadline has come.
async fn read_or_wait(server: &Rc<ShardServer>, request: &FetchRequest, by_id: bool) -> FetchResponse {
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64).min(WAIT_MAX);
    let deadline = server.io.now() + wait;
    let bytes_min = request.min_bytes.max(0) as usize;
    loop {
        let (mut response, work) = sort_out(server, request, by_id);
        let refused =
            response.responses.iter().flat_map(|topic| &topic.partitions).any(|data| data.error_code.is_error());
        let bytes_max = (request.max_bytes.max(0) as usize).min(server.broker.settings.broker.fetch_bytes_max);
        // Many who ask for much and read nothing must not use up the memory.
        let room = Room::reserve(server, bytes_max.min(wanted_bytes(&work)));
        let bytes_max = room.bytes;
        let read = read_on_shards(server, &work, bytes_max).await;
        let bytes: usize = read.iter().map(|read| read.bytes).sum();
        let is_urgent = read
            .iter()
            .any(|read| read.is_cut_short || read.data.error_code.is_error() || read.data.diverging_epoch.epoch >= 0);
        let is_enough = bytes >= bytes_min || refused || is_urgent || work.is_empty();
        if is_enough || server.is_closing() || server.io.now() >= deadline {
            for read in read {
                let (topic, partition) = read.place;
                response.responses[topic].partitions[partition] = read.data;
            }
            return response;
        }
        drop(room);
        let seen: Vec<Offset> = read.iter().map(|read| Offset(read.data.high_watermark)).collect();
        wait_on_shards(server, work, &seen, bytes_min - bytes, deadline).await;
    }
}

/// The response with what can be said already, and the partitions to read by shard, in the order of the request.
fn sort_out(server: &ShardServer, request: &FetchRequest, by_id: bool) -> (FetchResponse, Vec<(ShardId, Vec<Wanted>)>) {
    let image = server.broker.image();
    let committed_only = request.isolation_level == 1;
    let is_follower = request.replica_id >= 0 || request.replica_state.replica_id >= 0;
    let mut work: Vec<(ShardId, Vec<Wanted>)> = Vec::new();
    let mut responses = Vec::with_capacity(request.topics.len());
    for (topic_index, wanted) in request.topics.iter().enumerate() {
        let found =
            if by_id { topic_by_id(&image, wanted.topic_id) } else { topic(&image, &wanted.topic, TopicId::ZERO) };
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for (index, partition) in wanted.partitions.iter().enumerate() {
            let checked = found
                .and_then(|topic| led(topic, partition.partition, server.broker.node, partition.current_leader_epoch));
            // No other broker has a replica.
            let checked =
                checked.and_then(|led| if is_follower { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) } else { Ok(led) });
            let code = checked.as_ref().err().copied().unwrap_or_default();
            // As Kafka has it: an empty list where the partition is not known, none where it is.
            let is_unknown = matches!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID);
            let aborted_transactions = is_unknown.then(Vec::new);
            partitions.push(PartitionData { aborted_transactions, ..failed(partition.partition, code) });
            let Ok(led) = checked else { continue };
            let shard = server.broker.store.shard_of(&led.name);
            let wanted = Wanted {
                place: (topic_index, index),
                led,
                from: Offset(partition.fetch_offset),
                bytes_max: partition.partition_max_bytes.max(0) as usize,
                last_fetched_epoch: partition.last_fetched_epoch,
                up_to: if committed_only { ReadUpTo::LastStable } else { ReadUpTo::HighWatermark },
            };
            match work.iter_mut().find(|(of, _)| *of == shard) {
                Some((_, group)) => group.push(wanted),
                None => work.push((shard, vec![wanted])),
            }
        }
        responses.push(FetchableTopicResponse { topic: wanted.topic.clone(), topic_id: wanted.topic_id, partitions });
    }
    (FetchResponse { responses, ..Default::default() }, work)
}

/// Reads all shards at the same time. Each gets its share of the bytes, and what is too much in all is left for the next
/// fetch, which is the price of not waiting for one shard after the other.
async fn read_on_shards(server: &Rc<ShardServer>, work: &[(ShardId, Vec<Wanted>)], bytes_max: usize) -> Vec<ReadOut> {
    if let [(shard, group)] = work
        && *shard == server.shard.id()
    {
        return read_here(server, group, bytes_max).await;
    }
    let wanted_bytes = wanted_bytes(work);
    let parts = work.iter().map(|(shard, group)| -> LocalFuture<Vec<ReadOut>> {
        let share = match work.len() {
            1 => bytes_max,
            _ if wanted_bytes <= bytes_max => wanted_of(group),
            _ => (bytes_max as u128 * wanted_of(group) as u128 / wanted_bytes as u128) as usize,
        };
        Box::pin(read_on(server.clone(), *shard, group.clone(), share))
    });
    let mut out: Vec<ReadOut> = join::all(parts.collect()).await.into_iter().flatten().collect();
    if work.len() > 1 {
        let limits = work.iter().flat_map(|(_, group)| group.iter().map(|wanted| wanted.bytes_max));
        cut_to(out.iter_mut().zip(limits).collect(), bytes_max);
    }
    out
}

fn wanted_of(group: &[Wanted]) -> usize {
    group.iter().fold(0, |sum, wanted| sum.saturating_add(wanted.bytes_max))
}

fn wanted_bytes(work: &[(ShardId, Vec<Wanted>)]) -> usize {
    work.iter().fold(0, |sum, (_, group)| sum.saturating_add(wanted_of(group)))
}

/// Memory of the shard's connections for records that are being read, given back when it is dropped.
struct Room {
    server: Rc<ShardServer>,
    bytes: usize,
}

impl Room {
    fn reserve(server: &Rc<ShardServer>, wanted: usize) -> Room {
        Room { server: server.clone(), bytes: server.memory.reserve(wanted) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.server.memory.release(self.bytes);
    }
}

async fn read_on(server: Rc<ShardServer>, shard: ShardId, group: Vec<Wanted>, bytes_max: usize) -> Vec<ReadOut> {
    let places: Vec<_> = group.iter().map(|wanted| (wanted.place, wanted.led.name.partition)).collect();
    let read = server.on(shard, move |server| async move { read_here(&server, &group, bytes_max).await });
    read.await.unwrap_or_else(|error| {
        let failed = |(place, index)| ReadOut {
            place,
            data: failed(index, errors::code(&error)),
            bytes: 0,
            is_cut_short: false,
        };
        places.into_iter().map(failed).collect()
    })
}

/// Leaves records out where all shards together gave too much, with the limit of each partition: each gave a first batch over
/// every limit, and only one may.
fn cut_to(mut out: Vec<(&mut ReadOut, usize)>, bytes_max: usize) {
    out.retain(|(read, _)| read.bytes > 0);
    out.sort_unstable_by_key(|(read, _)| read.place);
    let mut left = bytes_max;
    for (index, (read, limit)) in out.into_iter().enumerate() {
        if index > 0 && read.bytes > left.min(limit) {
            read.data.records = Some(Records::default());
            if let Some(aborted) = &mut read.data.aborted_transactions {
                aborted.clear();
            }
            read.bytes = 0;
            // There is more at once.
            read.is_cut_short = true;
            continue;
        }
        left = left.saturating_sub(read.bytes);
    }
}

/// Reads partitions of this shard.
async fn read_here(server: &Rc<ShardServer>, group: &[Wanted], bytes_max: usize) -> Vec<ReadOut> {
    let mut out = Vec::with_capacity(group.len());
    let (mut left, mut is_first) = (bytes_max, true);
    for wanted in group {
        let read = match read(server, wanted, left, is_first).await {
            Ok(read) => {
                server.counters.topic(&wanted.led.name.topic, |topic| topic.fetched_bytes.add(read.bytes as u64));
                read
            }
            Err(error) => {
                server.counters.topic(&wanted.led.name.topic, |topic| topic.fetch_errors.add(1));
                if matches!(error, Error::Corrupt { .. }) {
                    tracing::error!(partition = %wanted.led.name, %error, "a fetch cannot be served");
                }
                ReadOut {
                    place: wanted.place,
                    data: failed(wanted.led.name.partition, errors::code(&error)),
                    bytes: 0,
                    is_cut_short: false,
                }
            }
        };
        left = left.saturating_sub(read.bytes);
        is_first &= read.bytes == 0;
        out.push(read);
    }
    out
}

async fn read(server: &Rc<ShardServer>, wanted: &Wanted, bytes_left: usize, is_first: bool) -> Result<ReadOut, Error> {
    let Wanted { place, led, from, .. } = wanted;
    let index = led.name.partition;
    if !led.is_current(&server.broker.image()) {
        let data = failed(index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        return Ok(ReadOut { place: *place, data, bytes: 0, is_cut_short: false });
    }
    if let Some(diverging_epoch) = diverging(server, wanted)? {
        let data = PartitionData { diverging_epoch, ..failed(index, ErrorCode::NONE) };
        return Ok(ReadOut { place: *place, data, bytes: 0, is_cut_short: false });
    }
    let request = ReadRequest {
        from: *from,
        bytes_max: wanted.bytes_max.min(bytes_left),
        at_least_one: is_first,
        up_to: wanted.up_to,
    };
    let read = server.shard.read(&led.name, request).await?;
    let visible_end = match wanted.up_to {
        ReadUpTo::LastStable => read.offsets.last_stable,
        _ => read.offsets.high_watermark,
    };
    let aborted_transactions = match wanted.up_to {
        ReadUpTo::LastStable if read.bytes > 0 => Some(aborted(server, wanted, read.next_offset).await?),
        ReadUpTo::LastStable => Some(Vec::new()),
        _ => None,
    };
    let data = PartitionData {
        partition_index: index,
        error_code: ErrorCode::NONE,
        high_watermark: read.offsets.high_watermark.0,
        last_stable_offset: read.offsets.last_stable.0,
        log_start_offset: read.offsets.start.0,
        aborted_transactions,
        records: Some(Records(read.slices.into_iter().map(Slice::into).collect::<Vec<Bytes>>().into())),
        ..Default::default()
    };
    let is_cut_short = read.bytes > 0 && read.next_offset < visible_end;
    Ok(ReadOut { place: *place, data, bytes: read.bytes, is_cut_short })
}

/// The aborted transactions among the records that were read.
async fn aborted(server: &Rc<ShardServer>, wanted: &Wanted, to: Offset) -> Result<Vec<AbortedTransaction>, Error> {
    let found = server.shard.aborted_transactions(&wanted.led.name, wanted.from, to).await?;
    let told =
        |(producer_id, first_offset): (i64, Offset)| AbortedTransaction { producer_id, first_offset: first_offset.0 };
    Ok(found.into_iter().map(told).collect())
}

/// Where the client's log and ours part ways, if they do (KIP-595); not if the client does not ask.
fn diverging(server: &Rc<ShardServer>, wanted: &Wanted) -> Result<Option<EpochEndOffset>, Error> {
    if wanted.last_fetched_epoch < 0 {
        return Ok(None);
    }
    let name = &wanted.led.name;
    let offsets = server.shard.offsets(name)?;
    if wanted.from < offsets.start {
        // Before its epoch is looked at (KAFKA-12996).
        return Err(Error::OffsetOutOfRange { requested: wanted.from, start: offsets.start, end: offsets.end });
    }
    let (epoch, end) = server.shard.end_offset_for_epoch(name, Epoch(wanted.last_fetched_epoch))?;
    if epoch.0 < 0 {
        return Err(Error::OffsetOutOfRange { requested: wanted.from, start: offsets.start, end: offsets.end });
    }
    let diverges = epoch.0 < wanted.last_fetched_epoch || end < wanted.from;
    Ok(diverges.then_some(EpochEndOffset { epoch: epoch.0, end_offset: end.0 }))
}

/// Returns when more may be there than was read, the deadline is over, or the broker shuts down. `seen` are the high
/// watermarks up to which each partition was read, in the order of `work`.
async fn wait_on_shards(
    server: &Rc<ShardServer>,
    work: Vec<(ShardId, Vec<Wanted>)>,
    seen: &[Offset],
    bytes_missing: usize,
    deadline: Instant,
) {
    let partitions = work.iter().map(|(_, group)| group.len()).sum::<usize>();
    // When all together have got what is missing, one of them has got its share.
    let share = (bytes_missing / partitions.max(1)).max(1) as u64;
    let mut seen = seen.iter();
    let mut shards: Vec<LocalFuture<()>> = Vec::new();
    // Dropped when this returns, which ends the waits on the other shards.
    let mut holding = Vec::new();
    for (shard, group) in work {
        let group: Vec<(Led, Offset)> =
            group.into_iter().map(|wanted| wanted.led).zip(seen.by_ref().copied()).collect();
        if shard == server.shard.id() {
            shards.push(Box::pin(wait_here(server.clone(), group, share)));
            continue;
        }
        let (hold, released) = oneshot::channel::<()>();
        holding.push(hold);
        let server = server.clone();
        shards.push(Box::pin(async move {
            let waited = server.on(shard, move |server| async move {
                tokio::select! {
                    () = wait_here(server, group, share) => {}
                    _ = released => {}
                }
            });
            let _ = waited.await;
        }));
    }
    tokio::select! {
        () = join::any(shards) => {}
        () = server.io.sleep_until(deadline) => {}
        () = server.shutdown.notified() => {}
    }
}

/// Returns when one of the partitions has got `share` more bytes, or is gone.
async fn wait_here(server: Rc<ShardServer>, group: Vec<(Led, Offset)>, share: u64) {
    let waits = group.into_iter().map(|(led, seen)| -> LocalFuture<()> {
        let shard = server.shard.clone();
        Box::pin(async move {
            // An error ends the wait too: the next read tells it.
            let _ = shard.readable(&led.name, seen, share).await;
        })
    });
    join::any(waits.collect()).await
}

fn failed(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index,
        error_code,
        high_watermark: -1,
        records: Some(Records::default()),
        ..Default::default()
    }
}
