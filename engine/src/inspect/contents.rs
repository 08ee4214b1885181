//! What a data directory holds: exactly the records that recovery would serve, from segments, checkpoints and journals.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::batch::{BatchHeader, OUTPUT_BYTES_MAX, records, verify_crc};
use crate::error::{Error, Result};
use crate::inspect::compacted::{Swap, has_gaps};
use crate::inspect::recovered::Recovered;
use crate::inspect::segment::{SegmentBatches, SegmentContents};
use crate::journal::ring::decode_header;
use crate::journal::{
    Chain, Checkpoint, GROUP_BYTES_MAX, GroupHeader, JournalMark, NotAGroup, PartitionKey, RECOVERED_SHARD, RING_START,
    ScannedGroup, journal_file_name, shard_of_checkpoint, shard_of_journal,
};
use crate::log::leader_epochs::LEADER_EPOCH_FILE;
use crate::log::partition_metadata::{DELETED_METADATA_FILE, PARTITION_METADATA_FILE};
use crate::log::{LeaderEpochs, PartitionMetadata};
use crate::types::{BLOCK_BYTES, Offset, Position, Timestamp, TopicId, TopicPartition};

/// How much of a journal is read at once.
const WINDOW_BYTES: u64 = 4 << 20;

/// The partitions of a data directory and what checkpoints and journals say about them.
#[derive(Debug)]
pub struct DataDirectory {
    dir: PathBuf,
    /// Its partitions by name.
    pub partitions: Vec<TopicPartition>,
    /// Its checkpoints that can be read.
    pub checkpoints: Vec<Checkpoint>,
    /// What is wrong with checkpoints and journals.
    pub damage: Vec<Error>,
    recovered: HashMap<PartitionKey, Recovered>,
    names: HashMap<TopicPartition, PartitionKey>,
}

impl DataDirectory {
    /// Reads checkpoints and journals. What is damaged is put into [`DataDirectory::damage`]; the rest is read all the same.
    pub fn open(dir: &Path) -> Result<DataDirectory> {
        let mut directory = DataDirectory {
            dir: dir.to_path_buf(),
            partitions: Vec::new(),
            checkpoints: Vec::new(),
            damage: Vec::new(),
            recovered: HashMap::new(),
            names: HashMap::new(),
        };
        for (name, is_dir) in list(dir)? {
            if is_dir {
                let path = dir.join(&name);
                let is_deleted =
                    path.join(DELETED_METADATA_FILE).exists() && !path.join(PARTITION_METADATA_FILE).exists();
                directory.partitions.extend(TopicPartition::from_dir_name(&name).filter(|_| !is_deleted));
            } else if let Some(shard) = shard_of_checkpoint(&name) {
                directory.read_checkpoint(&dir.join(name), shard);
            }
        }
        directory.partitions.sort();
        directory.checkpoints.sort_by_key(|checkpoint| (checkpoint.generation, checkpoint.shard));
        directory.recover();
        Ok(directory)
    }

    /// The partition's directory.
    pub fn partition_dir(&self, name: &TopicPartition) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// What the partition holds.
    pub fn partition(&self, name: &TopicPartition) -> Result<PartitionContents> {
        let dir = self.partition_dir(name);
        let metadata_path = dir.join(PARTITION_METADATA_FILE);
        let metadata = match read(&metadata_path)? {
            Some(bytes) => Some(PartitionMetadata::decode(&metadata_path, &bytes)?),
            None => None,
        };
        let key = match metadata {
            Some(metadata) => Some(PartitionKey { topic_id: metadata.topic_id, partition: name.partition }),
            None => self.names.get(name).copied(),
        };
        PartitionContents::read(name, dir, key, key.and_then(|key| self.recovered.get(&key)))
    }

    fn read_checkpoint(&mut self, path: &Path, shard: u32) {
        let decoded = read(path).and_then(|bytes| Checkpoint::decode(path, &bytes.unwrap_or_default()));
        match decoded {
            Ok(checkpoint) if checkpoint.shard == shard => self.checkpoints.push(checkpoint),
            Ok(other) => {
                let what = format!("is the checkpoint of shard {}", other.shard);
                self.damage.push(Error::corrupt(path, Some(Position(24)), what));
            }
            Err(error) => self.damage.push(error),
        }
    }

    /// Each partition's latest record in a checkpoint, and what the journal beside that checkpoint says behind it.
    fn recover(&mut self) {
        // A recovery that came to its end has everything from before it in its own checkpoint.
        let superseded = self.checkpoints.iter().find(|checkpoint| checkpoint.shard == RECOVERED_SHARD);
        let superseded = superseded.map_or(0, |checkpoint| checkpoint.generation);
        let valid = || self.checkpoints.iter().filter(|checkpoint| checkpoint.generation >= superseded);
        let mut owners = HashMap::new();
        for checkpoint in valid() {
            for state in &checkpoint.partitions {
                let rank = (state.generation, checkpoint.shard);
                let owner = owners.entry(state.id).or_insert(rank);
                if rank.0 >= owner.0 {
                    *owner = rank;
                    self.recovered.insert(state.id, Recovered::from_state(state));
                    self.names.insert(TopicPartition::new(state.topic.as_str(), state.id.partition), state.id);
                }
            }
        }
        let mut dirs = HashMap::new();
        for name in &self.partitions {
            let path = self.partition_dir(name).join(PARTITION_METADATA_FILE);
            let metadata =
                read(&path).and_then(|bytes| bytes.map(|bytes| PartitionMetadata::decode(&path, &bytes)).transpose());
            if let Ok(Some(PartitionMetadata { topic_id })) = metadata {
                let key = PartitionKey { topic_id, partition: name.partition };
                if let Some(other) = dirs.insert(key, self.partition_dir(name)) {
                    let what = format!("has the topic id of {}", other.display());
                    self.damage.push(Error::corrupt(&path, None, what));
                }
            }
        }
        for checkpoint in valid() {
            let rank = (checkpoint.generation, checkpoint.shard);
            let mine = |id: &PartitionKey| owners.get(id).is_none_or(|owner| *owner == rank);
            let mut groups = Vec::new();
            let path = self.dir.join(journal_file_name(checkpoint.shard));
            if checkpoint.shard != RECOVERED_SHARD && !path.exists() {
                self.damage.push(Error::corrupt(&path, None, "is missing, and its checkpoint is there"));
            }
            let outcome = read_groups(&path, checkpoint.mark, |group| groups.push(group));
            self.damage.extend(outcome.err());
            let flushed_before = groups.iter().map(|group| group.header.flushed_before).max().unwrap_or(0);
            for group in &groups {
                let certain = group.header.sequence < flushed_before;
                for (place, entry) in group.entries.iter().enumerate() {
                    let id = entry.id();
                    if let Some(dir) = dirs.get(&id)
                        && mine(&id)
                    {
                        let recovered = self.recovered.entry(id).or_insert_with(|| Recovered::unknown(entry));
                        if group.header.sequence >= recovered.applied_before {
                            recovered.apply(dir, entry, group.entries.get(place + 1), certain);
                        }
                    }
                }
            }
        }
        for (name, _) in list(&self.dir).unwrap_or_default() {
            if let Some(shard) = shard_of_journal(&name)
                && !self.checkpoints.iter().any(|checkpoint| checkpoint.shard == shard)
            {
                let path = self.dir.join(name);
                if newest_generation(&path) > superseded {
                    self.damage.push(Error::corrupt(&path, None, "has groups, and no checkpoint that could be read"));
                }
            }
        }
        self.recovered.values_mut().for_each(Recovered::settle);
    }
}

/// The generation of the newest lap of a journal, whose first group is at the start of the ring; 0 where nothing was ever written.
fn newest_generation(path: &Path) -> u64 {
    let mut block = vec![0; BLOCK_BYTES as usize];
    match File::open(path).and_then(|file| file.read_exact_at(&mut block, RING_START.0)) {
        Ok(()) => match GroupHeader::parse(&block) {
            Ok(GroupHeader { generation, .. }) | Err(NotAGroup::Newer { generation, .. }) => generation,
            Err(_) => 0,
        },
        Err(_) => 0,
    }
}

/// One partition: its segments with what only journal and checkpoint have, and its ends.
#[derive(Clone, Debug)]
pub struct PartitionContents {
    /// Its name.
    pub name: TopicPartition,
    /// Its directory.
    pub dir: PathBuf,
    /// Its topic's id, where it is known.
    pub topic_id: Option<TopicId>,
    /// The first readable offset.
    pub start: Offset,
    /// The end, where checkpoint or journal record it.
    pub end: Option<Offset>,
    /// The segments in order.
    pub segments: Vec<SegmentContents>,
    /// Files of segments behind the durable end, which nothing is believed of, and of those before the log's start, which may be
    /// removed in any order.
    pub ignored: Vec<PathBuf>,
    /// Whether offsets may be missing, as compaction leaves it.
    pub has_gaps: bool,
    /// The leader epochs.
    pub epochs: LeaderEpochs,
    /// What does not fit together between checkpoint and journal.
    pub problems: Vec<String>,
}

impl PartitionContents {
    fn read(
        name: &TopicPartition,
        dir: PathBuf,
        key: Option<PartitionKey>,
        recovered: Option<&Recovered>,
    ) -> Result<PartitionContents> {
        let mut bases: Vec<Offset> = list(&dir)?.iter().filter_map(|(name, _)| segment_base(name)).collect();
        let (swaps, damaged) = Swap::all(&dir)?;
        bases.retain(|base| !swaps.iter().any(|swap| swap.covers(*base)));
        bases.extend(swaps.iter().map(|swap| swap.base));
        bases.extend(recovered.iter().flat_map(|recovered| recovered.rolled.keys().chain([&recovered.segment])));
        bases.sort_unstable();
        bases.dedup();
        let mut contents = PartitionContents {
            name: name.clone(),
            topic_id: key.map(|key| key.topic_id),
            start: match recovered {
                Some(recovered) => recovered.start,
                None => kafkas_log_start(&dir, name)?.or(bases.first().copied()).unwrap_or_default(),
            },
            end: recovered.map(|recovered| recovered.next_offset),
            segments: Vec::new(),
            ignored: Vec::new(),
            has_gaps: has_gaps(&dir, name)?,
            epochs: LeaderEpochs::new(),
            problems: recovered.map(|recovered| recovered.problems.clone()).unwrap_or_default(),
            dir,
        };
        contents.problems.extend(damaged);
        for (place, base) in bases.iter().copied().enumerate() {
            let swap = swaps.iter().find(|swap| swap.base == base);
            let path = swap.map_or_else(|| contents.dir.join(format!("{:020}.log", base.0)), |swap| swap.path.clone());
            let end = bases.get(place + 1).copied();
            match recovered {
                Some(recovered) if !recovered.has_segment(base, end) => contents.ignored.push(path),
                Some(recovered) => contents.segments.push(with_recovered(&path, base, recovered)?),
                None => contents.segments.push(SegmentContents::of_file(&path, base)?),
            }
        }
        if let Some(last) = contents.segments.last_mut() {
            last.is_active = true;
        }
        contents.epochs = match recovered {
            Some(recovered) if !recovered.epochs.entries().is_empty() => {
                let mut epochs = recovered.epochs.clone();
                epochs.truncate_end(recovered.next_offset + 1);
                epochs
            }
            _ => {
                let path = contents.dir.join(LEADER_EPOCH_FILE);
                read(&path)?.map_or_else(|| Ok(LeaderEpochs::new()), |bytes| LeaderEpochs::decode(&path, &bytes))?
            }
        };
        Ok(contents)
    }

    /// The batches that recovery would serve, from the one that holds the log's start on, each checked against its
    /// checksum; the first error is the last item.
    pub fn batches(&self) -> impl Iterator<Item = Result<(BatchHeader, Bytes)>> + use<> {
        let start = self.start;
        let batches = self.segments.clone().into_iter().flat_map(Checked::new);
        let mut failed = false;
        let batches = batches.take_while(move |batch| !std::mem::replace(&mut failed, batch.is_err()));
        batches.filter(move |batch| batch.as_ref().map_or(true, |(header, _)| header.next_offset() > start))
    }
}

/// The batches of a segment, checked. The end of a file whose end nothing records is where its batches end, as in the
/// active segment of a stopped Kafka; everywhere else what is no batch is damage.
struct Checked {
    path: PathBuf,
    lenient: bool,
    batches: Result<SegmentBatches>,
    ended: bool,
}

impl Checked {
    fn new(segment: SegmentContents) -> Checked {
        let lenient = segment.is_active && !segment.is_recorded;
        Checked { path: segment.path.clone(), lenient, batches: segment.batches(), ended: false }
    }

    fn checked_next(&mut self) -> Option<Result<(BatchHeader, Bytes)>> {
        match self.batches.as_mut().map_err(|error| error.clone()).map(Iterator::next).transpose()? {
            Ok(Ok((_, header, bytes))) if verify_crc(&bytes) => Some(Ok((header, bytes))),
            Ok(Ok(_) | Err(Error::Corrupt { .. })) if self.lenient => None,
            Ok(Ok((position, ..))) => {
                let what = "a batch does not match its checksum";
                Some(Err(Error::corrupt(&self.path, Some(position), what)))
            }
            Ok(Err(error)) | Err(error) => Some(Err(error)),
        }
    }
}

impl Iterator for Checked {
    type Item = Result<(BatchHeader, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.checked_next();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A partition's entry in Kafka's `log-start-offset-checkpoint`: "0", the number of entries, `<topic> <partition> <offset>`.
fn kafkas_log_start(dir: &Path, name: &TopicPartition) -> Result<Option<Offset>> {
    let Some(bytes) = read(&dir.with_file_name("log-start-offset-checkpoint"))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(text.lines().skip(2).find_map(|line| {
        let (partition, offset) = line.rsplit_once(' ')?;
        (partition.replace(' ', "-") == name.to_string()).then(|| offset.parse().ok().map(Offset))?
    }))
}

fn with_recovered(path: &Path, base: Offset, recovered: &Recovered) -> Result<SegmentContents> {
    let mut segment = SegmentContents::of_file(path, base)?;
    let end = if base == recovered.segment { Some(&recovered.position) } else { recovered.rolled.get(&base) };
    if let Some(end) = end {
        (segment.length, segment.is_recorded) = (*end, true);
        segment.overlays = recovered.overlays.get(&base).cloned().unwrap_or_default();
    }
    Ok(segment)
}

/// A record out of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// The records of `name` in the data directory `dir` that recovery would serve, from its log's start to its durable
/// end; the first error is the last item. Fails where checkpoints or journals are damaged.
pub fn read_partition(dir: &Path, name: &TopicPartition) -> Result<impl Iterator<Item = Result<OwnedRecord>> + use<>> {
    let directory = DataDirectory::open(dir)?;
    if let Some(damage) = directory.damage.first() {
        return Err(damage.clone());
    }
    let contents = directory.partition(name)?;
    if let Some(problem) = contents.problems.first() {
        return Err(Error::corrupt(&contents.dir, None, problem.clone()));
    }
    let (path, start) = (contents.dir.clone(), contents.start);
    let records =
        contents.batches().flat_map(move |batch| match batch.and_then(|(_, bytes)| records_of_batch(&path, &bytes)) {
            Ok(records) => records.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
    Ok(records.filter(move |record| record.as_ref().map_or(true, |record| record.offset >= start)))
}

fn records_of_batch(path: &Path, bytes: &[u8]) -> Result<Vec<OwnedRecord>> {
    let damaged = |error: crate::batch::BatchError| Error::corrupt(path, None, error.to_string());
    let records = records(bytes, OUTPUT_BYTES_MAX).map_err(damaged)?;
    let owned = records.iter().map(|record| {
        let record = record.map_err(damaged)?;
        Ok(OwnedRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
        })
    });
    owned.collect()
}

/// Gives each believed group of a journal from `mark` on to `each`; the place behind the last.
pub(super) fn read_groups(path: &Path, mark: JournalMark, mut each: impl FnMut(ScannedGroup)) -> Result<JournalMark> {
    let failed = |operation| move |error| Error::io(operation, path, None, error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Chain::new(path, mark, None)?.next()),
        Err(error) => return Err(Error::io("open", path, None, error)),
    };
    let length = file.metadata().map_err(failed("stat"))?.len();
    let mut chain = Chain::new(path, mark, Some(length))?;
    let length = Position(length).block_start();
    let mut window = (Position::ZERO, Bytes::new());
    let mut bytes_at = |place: Position| -> Result<Bytes> {
        if place >= length {
            return Ok(Bytes::new());
        }
        let wanted = length.min(place + GROUP_BYTES_MAX as u64);
        if place < window.0 || window.0 + (window.1.len() as u64) < wanted {
            let mut bytes = vec![0; (length - place).min(WINDOW_BYTES) as usize];
            let read = file.read_exact_at(&mut bytes, place.0);
            read.map_err(|error| Error::io("read", path, Some(place), error))?;
            window = (place, Bytes::from(bytes));
        }
        Ok(window.1.slice((place - window.0) as usize..))
    };
    decode_header(path, &bytes_at(Position::ZERO)?)?;
    'groups: loop {
        for place in chain.places() {
            if let Some(group) = chain.take(place, &bytes_at(place)?)? {
                each(group);
                continue 'groups;
            }
        }
        break;
    }
    for (mut place, end) in chain.look_ahead(length) {
        while place < end {
            let bytes = bytes_at(place)?;
            chain.check_not_lost(place, &bytes)?;
            place += (bytes.len() as u64).max(BLOCK_BYTES);
        }
    }
    Ok(chain.next())
}

/// The whole file; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, None, error)),
    }
}

/// The names in a directory, sorted, and whether each is a directory itself.
pub(super) fn list(dir: &Path) -> Result<Vec<(String, bool)>> {
    let failed = |error| Error::io("list", dir, None, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        names.push((entry.file_name().to_string_lossy().into_owned(), entry.file_type().map_err(failed)?.is_dir()));
    }
    names.sort();
    Ok(names)
}

/// The base offset of a segment's file name; `None` where it is not a `.log` with 20 digits.
pub(super) fn segment_base(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().map(Offset))?
}
