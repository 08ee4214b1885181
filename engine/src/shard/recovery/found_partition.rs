//! A partition's directory, after the journals were replayed or where none knows it.

use std::path::Path;

use crate::compaction::{CLEANED_TO_FILE, CleanedTo};
use crate::error::{Error, Result};
use crate::io::{DirEntry, Io, OpenMode};
use crate::journal::{PartitionKey, PartitionState};
use crate::log::{LeaderEpochs, segment_file_name};
use crate::shard::leftovers::{remove_leftovers, segments};
use crate::shard::producer_files::{producers_at, snapshots};
use crate::shard::recovery::replay::Replay;
use crate::shard::recovery::{RecoveredPartition, read_range};
use crate::shard::segment_scan::scan_file;
use crate::shard::swap::heal;
use crate::types::{Offset, Position, Timestamp, TopicPartition};

pub(super) async fn recovered_partition(
    io: &Io,
    dir: &Path,
    name: TopicPartition,
    replay: Replay,
) -> Result<RecoveredPartition> {
    let (mut failure, mut state) = (replay.failure, replay.state);
    state.producers = replay.producers.to_vec();
    let partition_dir = dir.join(name.to_string());
    let path = partition_dir.join(segment_file_name(state.segment, "log"));
    if let Some(damage) = &state.damage {
        failure.get_or_insert(Error::corrupt(&path, Some(state.position), damage.clone()));
    }
    if failure.is_none() && state.start >= state.next_offset && state.start > state.segment {
        // Everything was deleted, perhaps also what was never flushed: the log goes on behind it, without the old segment, which
        // may be gone already.
        state = begin_at(state);
    }
    state.epochs.retain(|(_, start)| *start <= state.next_offset);
    let path = partition_dir.join(segment_file_name(state.segment, "log"));
    let blocks = state.position.block_start();
    if blocks > Position::ZERO {
        let bytes = io.file_len(&path).await?.unwrap_or(0);
        if bytes < blocks.0 {
            let what = format!(
                "it has {bytes} bytes, but {blocks} were written and synced; restore it from a replica or a backup"
            );
            failure.get_or_insert(Error::corrupt(&path, Some(Position(bytes)), what));
        }
    }
    let names = io.list_dir(&partition_dir).await?;
    let names = match &failure {
        Some(_) => names,
        None => match heal(io, &partition_dir, names).await {
            Err(error @ Error::Corrupt { .. }) => {
                failure = Some(error);
                io.list_dir(&partition_dir).await?
            }
            healed => healed?,
        },
    };
    let (sealed, _) = segments(&names, state.start, state.segment);
    let cleaned_to = cleaned_to(io, &partition_dir, &names, &name).await?;
    if state.start < state.segment && sealed.first().is_none_or(|first| *first > state.start) {
        let what = format!("no segment holds the log's start at offset {}", state.start);
        failure.get_or_insert(Error::corrupt(&partition_dir, None, what));
    }
    match &failure {
        Some(error) => {
            tracing::error!(%error, partition = %name, "the partition serves no more");
            // Recorded, or a later start would take what is left for all there was.
            state.damage = Some(match error {
                Error::Corrupt { what, .. } => what.clone(),
                other => other.to_string(),
            });
        }
        None => {
            remove_leftovers(io, &partition_dir, &names, state.start, state.segment, state.next_offset).await?;
        }
    }
    Ok(RecoveredPartition { name, state, sealed, cleaned_to, failure })
}

/// The state of a log that has nothing before its start.
fn begin_at(state: PartitionState) -> PartitionState {
    PartitionState {
        segment: state.start,
        position: Position::ZERO,
        next_offset: state.start,
        first_timestamp: Timestamp::NONE,
        max_timestamp: Timestamp::NONE,
        max_timestamp_offset: state.start,
        partial: Vec::new(),
        index_points: Vec::new(),
        index_spilled: 0,
        ..state
    }
}

/// Takes in a partition that no checkpoint and no journal knows: one of a stopped Kafka broker, or a new one without records.
pub(super) async fn import(
    io: &Io,
    dir: &Path,
    name: TopicPartition,
    id: PartitionKey,
    generation: u64,
) -> Result<RecoveredPartition> {
    let partition_dir = dir.join(name.to_string());
    let names = heal(io, &partition_dir, io.list_dir(&partition_dir).await?).await?;
    let (mut sealed, _) = segments(&names, Offset::ZERO, Offset(i64::MAX));
    let newest = sealed.pop().unwrap_or(Offset::ZERO);
    let mut replay = Replay::unknown(&name, id, newest, generation);
    let path = partition_dir.join(segment_file_name(newest, "log"));
    if let Some(bytes) = io.file_len(&path).await?.filter(|bytes| *bytes > 0) {
        let file = io.open(&path, OpenMode::Read).await?;
        let scanned = scan_file(io, newest, &file, Position::ZERO, Position(bytes), true).await?;
        if scanned.cut {
            tracing::warn!(path = %path.display(), position = %scanned.end, "the rest of the segment is no batch: not taken in");
        }
        let block = scanned.end.block_start();
        replay.state.partial = read_range(io, &file, block, scanned.end - block).await?;
        replay.state.position = scanned.end;
        replay.state.next_offset = scanned.next_offset;
        replay.state.first_timestamp = scanned.first_timestamp;
        replay.state.max_timestamp = scanned.max_timestamp;
        replay.state.max_timestamp_offset = scanned.max_timestamp_offset;
        replay.state.index_points = scanned.points;
        replay.state.epochs = scanned.epochs;
    }
    let segments: Vec<Offset> = match snapshots(io, &partition_dir).await?.is_empty() {
        true => vec![newest],
        false => sealed.iter().copied().chain([newest]).collect(),
    };
    let (to, end) = (replay.state.position, replay.state.next_offset);
    replay.state.producers = producers_at(io, &partition_dir, &segments, to, end).await?;
    replay.state.start = log_start(io, dir, &name).await?.or(sealed.first().copied()).unwrap_or(newest);
    let epochs = partition_dir.join("leader-epoch-checkpoint");
    if io.file_len(&epochs).await?.is_some() {
        replay.state.epochs = LeaderEpochs::decode(&epochs, &io.read_file(&epochs).await?)?.entries().to_vec();
    }
    let mut cleaned_to = cleaned_to(io, &partition_dir, &names, &name).await?;
    if cleaned_to.is_none()
        && let Some(told) = kafkas_cleaned_to(io, dir, &name).await?
    {
        // Where Kafka compacted it offsets are missing, for as long as the partition lives.
        io.replace_file(&partition_dir.join(CLEANED_TO_FILE), CleanedTo(told).encode(&name)).await?;
        cleaned_to = Some(told);
    }
    Ok(RecoveredPartition { name, state: replay.state, sealed, cleaned_to, failure: None })
}

/// How far a partition whose directory has these names is compacted, by the file that says so. One that cannot be read says as much
/// as its being there does.
async fn cleaned_to(io: &Io, dir: &Path, names: &[DirEntry], name: &TopicPartition) -> Result<Option<Offset>> {
    if !names.iter().any(|entry| entry.name == CLEANED_TO_FILE) {
        return Ok(None);
    }
    let text = io.read_file(&dir.join(CLEANED_TO_FILE)).await?;
    Ok(Some(CleanedTo::decode(name, &text).map_or(Offset::ZERO, |cleaned| cleaned.0)))
}

/// How far Kafka compacted a partition, by its `cleaner-offset-checkpoint`.
async fn kafkas_cleaned_to(io: &Io, dir: &Path, name: &TopicPartition) -> Result<Option<Offset>> {
    let path = dir.join(CLEANED_TO_FILE);
    if io.file_len(&path).await?.is_none() {
        return Ok(None);
    }
    Ok(CleanedTo::decode(name, &io.read_file(&path).await?).map(|cleaned| cleaned.0))
}

/// The log's start by Kafka's `log-start-offset-checkpoint` ("0\n<count>\n<topic> <partition> <offset>\n…").
async fn log_start(io: &Io, dir: &Path, name: &TopicPartition) -> Result<Option<Offset>> {
    let path = dir.join("log-start-offset-checkpoint");
    if io.file_len(&path).await?.is_none() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&io.read_file(&path).await?).into_owned();
    Ok(text.lines().skip(2).find_map(|line| {
        let mut words = line.split_whitespace();
        let same = words.next()? == &*name.topic && words.next()?.parse::<i32>().ok()? == name.partition;
        same.then(|| words.next()?.parse().ok().map(Offset))?
    }))
}
