//! The entries of the journals, in their order, onto the partitions that checkpoints told of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::batch;
use crate::error::Result;
use crate::io::{Io, OpenMode, Sync};
use crate::journal::{Checkpoint, GROUPS_IN_FLIGHT_MAX, OwnedEntry, PartitionKey, read_journal};
use crate::log::{ProducedBatch, encode_snapshot, segment_file_name};
use crate::shard::join::{each, workers};
use crate::shard::leftovers::remove_indexes;
use crate::shard::producer_files::snapshot_path;
use crate::shard::recovery::replay::{Replay, note_epoch};
use crate::shard::recovery::{WRITE_BYTES, read_range};
use crate::types::{BLOCK_BYTES, Offset, Position, Timestamp, TopicPartition};

/// Partitions whose blocks are written at the same time.
const WRITTEN_AT_ONCE: usize = 16;

/// The partitions while the journals are replayed.
pub(super) struct Replays<'a> {
    io: &'a Io,
    dir: &'a Path,
    pub(super) partitions: BTreeMap<PartitionKey, Replay>,
    pub(super) replayed: u64,
}

impl<'a> Replays<'a> {
    pub(super) fn new(io: &'a Io, dir: &'a Path) -> Replays<'a> {
        Replays { io, dir, partitions: BTreeMap::new(), replayed: 0 }
    }

    pub(super) async fn replay_journal(
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
    pub(super) async fn finish(&mut self, sync_each_max: usize) -> Result<()> {
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
