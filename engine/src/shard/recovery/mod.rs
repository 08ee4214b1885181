//! Recovery: what the journals say since the last checkpoints, and nothing else.
//!
//! Its time depends on the journals, not on the size of the logs nor the number of segments. Bytes of a segment behind the end
//! that checkpoint and journal record are never believed. A directory written by any number of shards is read whole, so it
//! opens with any other number.
//!
//! A partition whose journal has a hole, or whose segment is shorter than recorded, serves no more and says so; nothing of it is
//! cut off or deleted. A directory that no checkpoint and no journal knows is one of Apache Kafka's: its last segment is read to
//! find its end.

mod found_partition;
mod replay;
mod replays;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::{Io, OpenMode};
use crate::journal::{
    Checkpoint, GroupHeader, JournalMark, NotAGroup, PartitionKey, PartitionState, RECOVERED_SHARD, RING_START,
};
use crate::log::PartitionMetadata;
use crate::log::partition_metadata::{DELETED_METADATA_FILE, PARTITION_METADATA_FILE};
use crate::shard::leftovers::{DELETED_SUFFIX, deleted_dir_name};
use crate::shard::recovery::found_partition::{import, recovered_partition};
use crate::shard::recovery::replay::Replay;
use crate::shard::recovery::replays::Replays;
use crate::shard::recycler::RECYCLED_PREFIX;
use crate::types::{BLOCK_BYTES, Offset, Position, TopicPartition};

/// The most bytes of one read or write.
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
    let mut replays = Replays::new(io, dir);
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
