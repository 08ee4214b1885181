//! Recovery: what the journals say since the last checkpoints, and nothing else.
//!
//! Its time depends on the journals, not on the size of the logs nor the number of segments. Bytes of a segment behind the end
//! that checkpoint and journal record are never believed. A directory written by any number of shards is read whole, so it
//! opens with any other number.
//!
//! A partition whose journal has a hole, or whose segment is shorter than recorded, serves no more and says so; nothing of it is
//! cut off or deleted. A directory that no checkpoint and no journal knows is one of Apache Kafka's: its last segment is read to
//! find its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::batch::{self, BatchHeader};
use crate::compaction::{CLEANED_TO_FILE, CleanedTo};
use crate::error::{Error, Result};
use crate::io::{DirEntry, Io, OpenMode, Sync};
use crate::journal::{
    Checkpoint, GROUPS_IN_FLIGHT_MAX, GroupHeader, IndexPoint, JournalMark, NotAGroup, OwnedEntry, PartitionKey,
    PartitionState, RECOVERED_SHARD, RING_START, read_journal,
};
use crate::log::partition_metadata::{DELETED_METADATA_FILE, PARTITION_METADATA_FILE};
use crate::log::{LeaderEpochs, PartitionMetadata, ProducedBatch, Producers, encode_snapshot, segment_file_name};
use crate::shard::join::{each, workers};
use crate::shard::leftovers::{DELETED_SUFFIX, deleted_dir_name, remove_indexes, remove_leftovers, segments};
use crate::shard::producer_files::{producers_at, snapshot_path, snapshots};
use crate::shard::recycler::RECYCLED_PREFIX;
use crate::shard::segment_scan::scan_file;
use crate::shard::swap::heal;
use crate::types::{BLOCK_BYTES, Epoch, Offset, Position, Timestamp, TopicPartition};

/// Index entries made while replaying are this far apart.
const INTERVAL_BYTES: u64 = 4096;
/// Partitions whose blocks are written at the same time.
const WRITTEN_AT_ONCE: usize = 16;
/// The largest write made while replaying.
const WRITE_BYTES: usize = 1 << 20;

/// What recovery found.
pub(super) struct Recovered {
    /// The generation of the store from now on.
    pub(super) generation: u64,
    /// Every partition in the directory.
    pub(super) partitions: Vec<RecoveredPartition>,
    /// Files that wait to become segments.
    pub(super) recycled: Vec<(PathBuf, u64)>,
    /// Files of shards, which are of no use once each shard has its own.
    pub(super) stale: Vec<PathBuf>,
    /// The checkpoint that says so, and is of no use once they are gone for good.
    pub(super) merged: PathBuf,
    /// Batches that were read from the journals.
    pub(super) replayed: u64,
}

/// One partition as it was found.
pub(super) struct RecoveredPartition {
    /// Its name.
    pub(super) name: TopicPartition,
    /// How far it is.
    pub(super) state: PartitionState,
    /// The bases of the segments before its newest.
    pub(super) sealed: Vec<Offset>,
    /// How far it is compacted; none where it never was.
    pub(super) cleaned_to: Option<Offset>,
    /// Why it serves no more.
    pub(super) failure: Option<Error>,
}

struct Found {
    checkpoints: Vec<(PathBuf, Checkpoint)>,
    journals: BTreeMap<u32, PathBuf>,
    dirs: Vec<TopicPartition>,
    recycled: Vec<(PathBuf, u64)>,
    doomed: Vec<PathBuf>,
}

/// Recovers the store in `dir`; up to `sync_each_max` files are synced one by one.
///
/// # Errors
/// [`Error::Corrupt`] where a checkpoint or a journal is damaged in its middle: nothing is changed then.
pub(super) async fn recover(io: &Io, dir: &Path, sync_each_max: usize) -> Result<Recovered> {
    let found = look_around(io, dir).await?;
    let generation = found.checkpoints.iter().map(|(_, checkpoint)| checkpoint.generation).max().unwrap_or(0) + 1;
    let superseded = found.checkpoints.iter().find(|(_, checkpoint)| checkpoint.shard == RECOVERED_SHARD);
    let superseded = superseded.map_or(0, |(_, checkpoint)| checkpoint.generation);
    let mut replays = Replays { io, dir, partitions: BTreeMap::new(), replayed: 0 };
    // The journal that each partition's newest record belongs to.
    let mut owners: BTreeMap<PartitionKey, (u64, u32)> = BTreeMap::new();
    // An earlier recovery came so far that everything before is in its checkpoint; journals may be gone already.
    let valid = || found.checkpoints.iter().filter(|(_, checkpoint)| checkpoint.generation >= superseded);
    for (_, checkpoint) in valid() {
        for state in &checkpoint.partitions {
            let rank = (state.generation, checkpoint.shard);
            let owner = owners.entry(state.id).or_insert(rank);
            if rank.0 >= owner.0 {
                *owner = rank;
                replays.partitions.insert(state.id, Replay::new(state.clone()));
            }
        }
    }
    let mut names = BTreeMap::new();
    let mut doomed = found.doomed;
    for name in &found.dirs {
        if let Some(key) = partition_key(io, dir, name).await? {
            if let Some(other) = names.insert(key, name.clone()) {
                let what = format!(
                    "it has the topic id of {other}, and a topic has one directory per partition; take one of them away"
                );
                return Err(Error::corrupt(&dir.join(name.to_string()).join(PARTITION_METADATA_FILE), None, what));
            }
        } else {
            doomed.extend(deleted(io, dir, name).await?);
        }
    }
    for (path, checkpoint) in valid() {
        let Some(journal) = found.journals.get(&checkpoint.shard) else {
            if checkpoint.shard != RECOVERED_SHARD {
                let what = "the journal that belongs to it is missing";
                return Err(Error::corrupt(path, None, what));
            }
            continue;
        };
        replays.replay_journal(checkpoint, journal, &owners, &names).await?;
    }
    for (shard, journal) in &found.journals {
        if !found.checkpoints.iter().any(|(_, checkpoint)| checkpoint.shard == *shard) {
            check_unused(io, journal, superseded).await?;
        }
    }
    replays.finish(sync_each_max).await?;
    let mut partitions = Vec::with_capacity(names.len());
    for (key, name) in names {
        let recovered = match replays.partitions.remove(&key) {
            Some(replay) => recovered_partition(io, dir, name, replay).await?,
            None => import(io, dir, name, key, generation).await?,
        };
        partitions.push(recovered);
    }
    for replay in replays.partitions.values() {
        let state = &replay.state;
        tracing::info!(
            topic = state.topic,
            partition = state.id.partition,
            "recorded, but its directory is gone: deleted"
        );
    }
    for path in doomed {
        io.remove_dir_all(&path).await?;
    }
    partitions.sort_by(|one, other| one.name.cmp(&other.name));
    if !found.checkpoints.is_empty() || !partitions.is_empty() {
        let states = partitions.iter().map(|partition| PartitionState {
            generation,
            applied_before: 0,
            ..partition.state.clone()
        });
        let merged = Checkpoint {
            shard: RECOVERED_SHARD,
            generation,
            mark: JournalMark::first(generation),
            partitions: states.collect(),
        };
        merged.store(io, dir).await?;
    }
    let merged = dir.join(crate::journal::checkpoint_file_name(RECOVERED_SHARD));
    let mut stale: Vec<PathBuf> = found.journals.into_values().collect();
    stale.extend(found.checkpoints.into_iter().map(|(path, _)| path));
    stale.retain(|path| *path != merged);
    Ok(Recovered {
        generation: generation + 1,
        partitions,
        recycled: found.recycled,
        stale,
        merged,
        replayed: replays.replayed,
    })
}

/// Fails where a journal without a checkpoint has groups that nothing supersedes: they may be all there is of some records.
async fn check_unused(io: &Io, journal: &Path, superseded: u64) -> Result<()> {
    let file = io.open(journal, OpenMode::Read).await?;
    let first = read_range(io, &file, RING_START, BLOCK_BYTES).await?;
    match GroupHeader::parse(&first) {
        Ok(GroupHeader { generation, .. }) | Err(NotAGroup::Newer { generation, .. }) if generation > superseded => {
            let what = "it has records, but the checkpoint that belongs to it is missing; restore that from a backup";
            Err(Error::corrupt(journal, Some(RING_START), what))
        }
        _ => Ok(()),
    }
}

async fn look_around(io: &Io, dir: &Path) -> Result<Found> {
    let mut found = Found {
        checkpoints: Vec::new(),
        journals: BTreeMap::new(),
        dirs: Vec::new(),
        recycled: Vec::new(),
        doomed: Vec::new(),
    };
    for entry in io.list_dir(dir).await? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            if entry.name.ends_with(DELETED_SUFFIX) {
                found.doomed.push(path);
            } else if let Some(name) = TopicPartition::from_dir_name(&entry.name) {
                found.dirs.push(name);
            }
        } else if let Some(shard) = crate::journal::shard_of_checkpoint(&entry.name) {
            if let Some(checkpoint) = Checkpoint::load(io, dir, shard).await? {
                found.checkpoints.push((path, checkpoint));
            }
        } else if let Some(shard) = crate::journal::shard_of_journal(&entry.name) {
            found.journals.insert(shard, path);
        } else if entry.name.starts_with(RECYCLED_PREFIX) {
            found.recycled.push((path, entry.len));
        }
    }
    found.checkpoints.sort_by_key(|(_, checkpoint)| (checkpoint.generation, checkpoint.shard));
    Ok(found)
}

async fn partition_key(io: &Io, dir: &Path, name: &TopicPartition) -> Result<Option<PartitionKey>> {
    let path = dir.join(name.to_string()).join(PARTITION_METADATA_FILE);
    if io.file_len(&path).await?.is_none() {
        // Created, but not yet to its end: nobody was told of it. Or nobody's partition: left alone.
        return Ok(None);
    }
    let metadata = PartitionMetadata::decode(&path, &io.read_file(&path).await?)?;
    Ok(Some(PartitionKey { topic_id: metadata.topic_id, partition: name.partition }))
}

/// Takes its name from the directory of a partition that was deleted, where it is one; what it is called now. Else a power cut while
/// its files are removed could leave some of them for the next partition of the name.
async fn deleted(io: &Io, dir: &Path, name: &TopicPartition) -> Result<Option<PathBuf>> {
    let named = dir.join(name.to_string());
    let path = named.join(DELETED_METADATA_FILE);
    if io.file_len(&path).await?.is_none() {
        return Ok(None);
    }
    let PartitionMetadata { topic_id } = PartitionMetadata::decode(&path, &io.read_file(&path).await?)?;
    let gone = dir.join(deleted_dir_name(name, topic_id));
    io.rename(&named, &gone).await?;
    io.sync_dir(dir).await?;
    Ok(Some(gone))
}

/// The partitions while the journals are replayed.
struct Replays<'a> {
    io: &'a Io,
    dir: &'a Path,
    partitions: BTreeMap<PartitionKey, Replay>,
    replayed: u64,
}

/// One partition while its entries are replayed.
struct Replay {
    state: PartitionState,
    producers: Producers,
    /// Bytes of the newest segment from `write_from` on, a block boundary, to the state's position: not in the file yet.
    bytes: Vec<u8>,
    write_from: Position,
    bytes_since_point: u64,
    changed: bool,
    /// An extent in flight did not get to its segment: nobody was told of it, nor of anything behind it.
    rejected: bool,
    failure: Option<Error>,
}

impl Replay {
    fn new(state: PartitionState) -> Replay {
        let write_from = state.position.block_start();
        let bytes = state.partial.clone();
        let producers = Producers::new(state.producers.clone(), state.next_offset);
        Replay {
            state,
            producers,
            bytes,
            write_from,
            bytes_since_point: u64::MAX,
            changed: false,
            rejected: false,
            failure: None,
        }
    }

    fn unknown(name: &TopicPartition, id: PartitionKey, segment: Offset, generation: u64) -> Replay {
        let mut replay = Replay::new(PartitionState {
            topic: name.topic.to_string(),
            id,
            generation,
            start: segment,
            segment,
            position: Position::ZERO,
            next_offset: segment,
            segment_created: Timestamp::NONE,
            first_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: segment,
            partial: Vec::new(),
            epochs: Vec::new(),
            index_points: Vec::new(),
            index_spilled: 0,
            applied_before: 0,
            producers: Vec::new(),
            damage: None,
        });
        replay.bytes_since_point = 0;
        replay
    }

    fn name(&self) -> TopicPartition {
        TopicPartition::new(self.state.topic.as_str(), self.state.id.partition)
    }

    fn begin_segment(&mut self, segment: Offset) {
        let state = &mut self.state;
        state.segment = segment;
        state.position = Position::ZERO;
        state.first_timestamp = Timestamp::NONE;
        state.max_timestamp = Timestamp::NONE;
        state.max_timestamp_offset = segment;
        state.index_points = Vec::new();
        state.index_spilled = 0;
        self.bytes = Vec::new();
        self.write_from = Position::ZERO;
        self.bytes_since_point = 0;
    }

    /// Keeps the index, timestamps and epochs for a batch at the state's position.
    fn note(&mut self, header: &BatchHeader, position: Position) {
        let state = &mut self.state;
        if state.first_timestamp == Timestamp::NONE {
            state.first_timestamp = header.first_timestamp();
        }
        if header.max_timestamp > state.max_timestamp {
            state.max_timestamp = header.max_timestamp;
            state.max_timestamp_offset = header.last_offset();
        }
        if position != Position::ZERO && self.bytes_since_point > INTERVAL_BYTES {
            state.index_points.push(IndexPoint {
                offset: header.last_offset(),
                position,
                max_timestamp: state.max_timestamp,
                max_timestamp_offset: state.max_timestamp_offset,
            });
            self.bytes_since_point = 0;
        }
        if position == Position::ZERO {
            self.bytes_since_point = 0;
        }
        self.bytes_since_point = self.bytes_since_point.saturating_add(header.size_bytes() as u64);
        note_epoch(&mut state.epochs, header.leader_epoch, header.base_offset);
        state.next_offset = header.next_offset();
    }

    fn hole(&mut self, dir: &Path, position: Position, what: &str) {
        let path = dir.join(self.name().to_string()).join(segment_file_name(self.state.segment, "log"));
        let what = format!(
            "{what}: the records from offset {} on are missing from the journal; restore them from a replica or a backup",
            self.state.next_offset
        );
        let error = Error::corrupt(&path, Some(position), what);
        tracing::error!(%error, "the partition serves no more");
        self.failure.get_or_insert(error);
    }
}

/// Notes a later epoch than the last one; those that would begin at or behind it had no records ([`LeaderEpochs::assign`]).
fn note_epoch(epochs: &mut Vec<(Epoch, Offset)>, epoch: Epoch, start: Offset) {
    if epoch.0 < 0 || epochs.last().is_some_and(|last| last.0 >= epoch) {
        return;
    }
    let kept = epochs.partition_point(|entry| entry.1 < start);
    epochs.truncate(kept);
    epochs.push((epoch, start));
}

impl Replays<'_> {
    async fn replay_journal(
        &mut self,
        checkpoint: &Checkpoint,
        journal: &Path,
        owners: &BTreeMap<PartitionKey, (u64, u32)>,
        names: &BTreeMap<PartitionKey, TopicPartition>,
    ) -> Result<()> {
        let scan = read_journal(self.io, journal, checkpoint.mark).await?;
        let flushed_before = scan.groups.iter().map(|group| group.header.flushed_before).max().unwrap_or(0);
        for group in &scan.groups {
            let certain = group.header.sequence < flushed_before;
            assert!(
                certain || scan.end.sequence - group.header.sequence <= GROUPS_IN_FLIGHT_MAX as u64,
                "only the last groups can have been in flight"
            );
            for (place, entry) in group.entries.iter().enumerate() {
                let id = entry.id();
                if owners.get(&id).is_some_and(|owner| *owner != (checkpoint.generation, checkpoint.shard)) {
                    continue;
                }
                let Some(name) = names.get(&id) else { continue };
                let generation = checkpoint.generation;
                let replay = self
                    .partitions
                    .entry(id)
                    .or_insert_with(|| Replay::unknown(name, id, first_segment(entry), generation));
                let applied = group.header.sequence < replay.state.applied_before;
                if replay.failure.is_some() || replay.rejected || applied {
                    continue;
                }
                match entry {
                    OwnedEntry::Data { segment, position, next_offset, bytes, .. } => {
                        self.replay_data(id, *segment, *position, *next_offset, bytes).await?;
                    }
                    OwnedEntry::Extent { .. } => {
                        self.replay_extent(id, entry, group.entries.get(place + 1), certain).await?;
                    }
                    OwnedEntry::Start { start, .. } => {
                        replay.state.start = replay.state.start.max(*start);
                        replay.changed = true;
                    }
                    OwnedEntry::EpochStart { epoch, start, .. } => {
                        note_epoch(&mut replay.state.epochs, *epoch, *start);
                        replay.changed = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes `segment` the newest one; `false` where the entry is older than the state or leaves a hole.
    async fn reach_segment(&mut self, id: PartitionKey, segment: Offset, position: Position) -> Result<bool> {
        let replay = self.partitions.get_mut(&id).expect("it is being replayed");
        if segment < replay.state.segment {
            return Ok(false);
        }
        if segment > replay.state.segment {
            if replay.state.next_offset != segment || position != Position::ZERO {
                replay.hole(self.dir, position, &format!("a segment begins at offset {segment}"));
                return Ok(false);
            }
            self.complete_segment(id).await?;
            self.partitions.get_mut(&id).expect("it is being replayed").begin_segment(segment);
        }
        Ok(true)
    }

    async fn replay_data(
        &mut self,
        id: PartitionKey,
        segment: Offset,
        position: Position,
        next_offset: Offset,
        bytes: &[u8],
    ) -> Result<()> {
        if !self.reach_segment(id, segment, position).await? {
            return Ok(());
        }
        let replay = self.partitions.get_mut(&id).expect("it is being replayed");
        let at = replay.state.position;
        if position + bytes.len() as u64 <= at {
            return Ok(());
        }
        if position > at {
            replay.hole(self.dir, at, &format!("the journal goes on at byte {position}"));
            return Ok(());
        }
        let new = &bytes[(at - position) as usize..];
        if next_offset > replay.state.next_offset {
            let mut batch_at = at;
            for found in batch::scan(new) {
                let (place, header) = found?;
                replay.note(&header, batch_at);
                let batch = &new[place..place + header.size_bytes()];
                replay.producers.extend(ProducedBatch::of(&header, batch));
                batch_at += header.size_bytes() as u64;
                self.replayed += 1;
            }
        }
        replay.bytes.extend_from_slice(new);
        replay.state.position = at + new.len() as u64;
        replay.changed = true;
        if replay.bytes.len() >= 8 * WRITE_BYTES {
            self.write_blocks(id).await?;
        }
        Ok(())
    }

    /// Takes up bytes that went straight to the segment, if they got there whole; else nobody was told of them, nor of what the
    /// journal has of the partition behind them.
    async fn replay_extent(
        &mut self,
        id: PartitionKey,
        entry: &OwnedEntry,
        next: Option<&OwnedEntry>,
        certain: bool,
    ) -> Result<()> {
        let OwnedEntry::Extent { segment, position, length, next_offset, chain_crc, points, produced, .. } = entry
        else {
            panic!("{entry:?} is no extent");
        };
        let (segment, position) = (*segment, *position);
        let replay = self.partitions.get_mut(&id).expect("it is being replayed");
        if *next_offset <= replay.state.next_offset {
            return Ok(());
        }
        if !certain && !self.extent_is_whole(id, segment, position, *length, *next_offset, *chain_crc, next).await? {
            self.partitions.get_mut(&id).expect("it is being replayed").rejected = true;
            return Ok(());
        }
        if !self.reach_segment(id, segment, Position::ZERO).await? {
            return Ok(());
        }
        let replay = self.partitions.get_mut(&id).expect("it is being replayed");
        let at = replay.state.position;
        if position > at || position.block_start() != position {
            replay.hole(self.dir, at, &format!("the journal goes on at byte {position}"));
            return Ok(());
        }
        // Blocks before `write_from` are in the file already, and are written by the extent once more, as they are.
        replay.bytes.truncate(position.0.saturating_sub(replay.write_from.0) as usize);
        replay.state.position = position.max(replay.write_from);
        self.write_blocks(id).await?;
        let replay = self.partitions.get_mut(&id).expect("it is being replayed");
        let end = position + *length;
        replay.state.position = end;
        replay.write_from = end;
        replay.bytes.clear();
        replay.bytes_since_point = u64::MAX;
        for point in points {
            if point.max_timestamp > replay.state.max_timestamp {
                replay.state.max_timestamp = point.max_timestamp;
                replay.state.max_timestamp_offset = point.max_timestamp_offset;
            }
            if replay.state.first_timestamp == Timestamp::NONE {
                replay.state.first_timestamp = point.max_timestamp;
            }
            // The last one is no batch's: it tells the timestamps of the whole segment.
            let is_batch = point.offset < *next_offset;
            if is_batch && replay.state.index_points.last().is_none_or(|last| last.position < point.position) {
                replay.state.index_points.push(*point);
            }
        }
        let known = replay.state.next_offset;
        replay.producers.extend(produced.iter().copied().filter(|batch| batch.base_offset >= known));
        replay.state.next_offset = *next_offset;
        replay.changed = true;
        Ok(())
    }

    /// Whether an extent that may have been in flight is in the segment: its bytes before the state's end are those of the
    /// journal, its batches verify, go on without a gap, and are the ones that the entry names.
    #[allow(clippy::too_many_arguments, reason = "the fields of one entry")]
    async fn extent_is_whole(
        &mut self,
        id: PartitionKey,
        segment: Offset,
        position: Position,
        length: u64,
        next_offset: Offset,
        chain_crc: u32,
        next: Option<&OwnedEntry>,
    ) -> Result<bool> {
        let replay = &self.partitions[&id];
        let path = self.dir.join(replay.name().to_string()).join(segment_file_name(segment, "log"));
        if self.io.file_len(&path).await?.is_none_or(|bytes| bytes < position.0 + length) {
            return Ok(false);
        }
        let file = self.io.open(&path, OpenMode::Read).await?;
        let mut bytes = read_range(self.io, &file, position, length).await?;
        if bytes.len() as u64 != length {
            return Ok(false);
        }
        if let Some(OwnedEntry::Data { id: other, segment: same, position: at, bytes: rest, .. }) = next
            && (*other, *same, *at) == (id, segment, position + length)
        {
            bytes.extend_from_slice(rest);
        }
        let (at, expected) = match segment == replay.state.segment {
            true => (replay.state.position, replay.state.next_offset),
            false => (Position::ZERO, segment),
        };
        if position > at || at.0 > position.0 + bytes.len() as u64 || expected != replay.state.next_offset {
            return Ok(false);
        }
        let known = (at - position) as usize;
        if segment == replay.state.segment {
            // What is before `write_from` was in the file, durably, before the extent wrote the same over it.
            let from = position.max(replay.write_from);
            let (kept, there) = ((from - replay.write_from) as usize, (from - position) as usize);
            if replay.bytes[kept..] != bytes[there..known] {
                return Ok(false);
            }
        }
        let (mut crc, mut offset) = (0, expected);
        for found in batch::scan(&bytes[known..]) {
            let Ok((place, header)) = found else { return Ok(false) };
            let place = known + place;
            if header.base_offset != offset || !batch::verify_crc(&bytes[place..place + header.size_bytes()]) {
                return Ok(false);
            }
            crc = crc32c::crc32c_append(crc, &header.crc.to_be_bytes());
            offset = header.next_offset();
        }
        if offset != next_offset || crc != chain_crc {
            return Ok(false);
        }
        // The process may have died before the write that it waited for was durable.
        file.sync().await?;
        Ok(true)
    }

    /// Writes the whole blocks that are only in memory, and syncs them.
    async fn write_blocks(&mut self, id: PartitionKey) -> Result<()> {
        let replay = self.partitions.get_mut(&id).expect("it is being replayed");
        match write_unsynced(self.io, self.dir, replay).await? {
            Some(path) => sync_written(self.io, &path).await,
            None => Ok(()),
        }
    }

    /// Completes the newest segment, since the journal goes on with another: its last block, its exact length, synced. Its indexes
    /// are made when they are first needed.
    async fn complete_segment(&mut self, id: PartitionKey) -> Result<()> {
        self.write_blocks(id).await?;
        let replay = &self.partitions[&id];
        let state = &replay.state;
        let dir = self.dir.join(replay.name().to_string());
        let path = dir.join(segment_file_name(state.segment, "log"));
        let file = self.io.open(&path, OpenMode::Create).await?;
        // What a clean shutdown or an earlier roll left is not of what was appended since.
        remove_indexes(self.io, &path).await?;
        self.io.sync_dir(&dir).await?;
        if !replay.bytes.is_empty() {
            let mut block = self.io.alloc(BLOCK_BYTES as usize);
            block.extend_from_slice(&replay.bytes);
            block.extend_from_slice(&vec![0; BLOCK_BYTES as usize - replay.bytes.len()]);
            file.write_at(&[block.slice(0..BLOCK_BYTES as usize)], replay.write_from, Sync::None).await?;
        }
        file.truncate(state.position).await?;
        file.sync().await?;
        // What is before may be deleted while the log is used, and then a cut needs it.
        let snapshot = encode_snapshot(&replay.producers.to_vec());
        self.io.replace_file(&snapshot_path(&dir, state.next_offset), snapshot).await
    }

    /// Writes what is left in memory, of several partitions at once, and syncs it all together where that is much.
    async fn finish(&mut self, sync_each_max: usize) -> Result<()> {
        let (io, dir) = (self.io, self.dir);
        let waiting = RefCell::new(std::mem::take(&mut self.partitions).into_iter());
        let (done, written) = (RefCell::new(BTreeMap::new()), RefCell::new(Vec::new()));
        workers(WRITTEN_AT_ONCE, async || {
            loop {
                let next = waiting.borrow_mut().next();
                let Some((id, mut replay)) = next else { return Ok(()) };
                let exists = replay.changed && io.file_len(&dir.join(replay.name().to_string())).await?.is_some();
                if exists {
                    let path = write_unsynced(io, dir, &mut replay).await?;
                    written.borrow_mut().extend(path);
                    replay.state.partial = std::mem::take(&mut replay.bytes);
                }
                done.borrow_mut().insert(id, replay);
            }
        })
        .await?;
        self.partitions = done.into_inner();
        let written = written.into_inner();
        let Some(last) = written.last() else { return Ok(()) };
        if written.len() > sync_each_max {
            io.sync_all(dir).await?;
            return sync_written(io, last).await;
        }
        each(&written, async |path| sync_written(io, path).await).await
    }
}

/// Writes the whole blocks of a partition that are only in memory; the file, which waits to be synced.
async fn write_unsynced(io: &Io, dir: &Path, replay: &mut Replay) -> Result<Option<PathBuf>> {
    let whole = replay.state.position.block_start().0.saturating_sub(replay.write_from.0) as usize;
    if whole == 0 {
        return Ok(None);
    }
    let path = dir.join(replay.name().to_string()).join(segment_file_name(replay.state.segment, "log"));
    let file = io.open(&path, OpenMode::Create).await?;
    let end = replay.write_from + whole as u64;
    let allocated = file.len().await?;
    if allocated < end {
        file.allocate(allocated, end - allocated).await?;
    }
    for (place, part) in replay.bytes[..whole].chunks(WRITE_BYTES).enumerate() {
        let mut buffer = io.alloc(part.len());
        buffer.extend_from_slice(part);
        let position = replay.write_from + (place * WRITE_BYTES) as u64;
        file.write_at(&[buffer.slice(0..part.len())], position, Sync::None).await?;
    }
    replay.bytes.drain(..whole);
    replay.write_from = end;
    Ok(Some(path))
}

/// Syncs a segment's file and its name: whoever made the file may have died before its name was durable, and the next checkpoint
/// counts on it.
async fn sync_written(io: &Io, path: &Path) -> Result<()> {
    io.sync_dir(path.parent().expect("a segment is in a partition's directory")).await?;
    io.open(path, OpenMode::Write).await?.sync().await
}

fn first_segment(entry: &OwnedEntry) -> Offset {
    match entry {
        OwnedEntry::Data { segment, .. } | OwnedEntry::Extent { segment, .. } => *segment,
        OwnedEntry::Start { .. } | OwnedEntry::EpochStart { .. } => Offset::ZERO,
    }
}

/// Reads `length` bytes at a block boundary; fewer where the file ends.
async fn read_range(io: &Io, file: &crate::io::File, position: Position, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let wanted = (length - bytes.len() as u64).min(WRITE_BYTES as u64).next_multiple_of(BLOCK_BYTES) as usize;
        let (read, buffer) = file.read_at(io.alloc(wanted), position + bytes.len() as u64, wanted).await;
        let read = read?;
        bytes.extend_from_slice(&buffer[..read]);
        if read < wanted {
            break;
        }
    }
    bytes.truncate(length as usize);
    Ok(bytes)
}

async fn recovered_partition(io: &Io, dir: &Path, name: TopicPartition, replay: Replay) -> Result<RecoveredPartition> {
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
async fn import(
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
