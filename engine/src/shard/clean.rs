//! Compacts one log: finds the newest offset of each key in its dirty part, and writes what is kept of each group of segments to a new
//! file, which [`swap`](crate::shard::swap) puts in their place.
//!
//! Reads and writes are the cleaner's own, batch by batch, each verified. A batch that does not verify ends it, and nothing is swapped
//! whose bytes were not all read. The shard goes on with its other work between any two batches.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::batch::{BatchError, BatchHeader, HEADER_BYTES, verify_crc};
use crate::compaction::{Kept, KeyMap, Rules, SegmentFacts, groups, is_last_of_producer, keep};
use crate::error::{Error, Result};
use crate::io::{File, Io, OpenMode, Sync};
use crate::log::{Producer, SealedSegment, segment_file_name};
use crate::shard::partition::Partition;
use crate::shard::read_stream::{READ_BYTES, ReadStream};
use crate::shard::segment_scan::Scanned;
use crate::shard::shard::Shard;
use crate::types::{BLOCK_BYTES, Offset, Position};

/// The bytes of one write.
const WRITE_BYTES: usize = 1 << 20;
/// So much is read and judged before others get their turn.
const TURN_BYTES: u64 = 256 << 10;
/// The longest that a throttled cleaner sleeps before it looks whether it is still wanted.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// A complete segment that may be compacted.
#[derive(Clone)]
pub(super) struct Cleanable {
    /// The segment.
    pub(super) segment: Rc<SealedSegment>,
    /// What compaction has to know of it.
    pub(super) facts: SegmentFacts,
}

/// What is kept of a group of segments, complete and synced under a name of its own.
pub(super) struct CleanedFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its size, index points, timestamps and end.
    pub(super) scanned: Scanned,
}

/// What one compaction of a log did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compacted {
    /// Everything before this offset is compacted.
    pub cleaned_to: Offset,
    /// Bytes of the segments that it replaced.
    pub bytes_before: u64,
    /// Bytes of what replaced them.
    pub bytes_after: u64,
}

impl Shard {
    /// Compacts `segments`, which lie before every open one, oldest first; what is before `cleaned_to` was compacted already.
    pub(super) async fn clean(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        segments: &[Cleanable],
        cleaned_to: Offset,
    ) -> Result<Compacted> {
        let _work = partition.work();
        let (config, producers) = {
            let log = partition.log.borrow();
            let last = |producer: &Producer| Some((producer.id, producer.last_batch()?.last_offset));
            (log.config().clone(), log.producers().to_vec().iter().filter_map(last).collect::<Vec<_>>())
        };
        let map = self.map_dirty(partition, segments, cleaned_to).await?;
        let rules = Rules { map: &map, now: self.io.unix_time(), delete_retention_ms: config.delete_retention_ms };
        let reached: Vec<&Cleanable> = segments.iter().take_while(|one| one.facts.base < map.end()).collect();
        let facts: Vec<SegmentFacts> = reached.iter().map(|one| one.facts).collect();
        // From here on readers are to know that offsets may be missing, whatever becomes of the power.
        self.note_cleaned_to(partition, cleaned_to).await?;
        let mut compacted = Compacted { cleaned_to: map.end(), ..Compacted::default() };
        for group in groups(&facts, &config) {
            let group: Vec<Cleanable> = reached[group].iter().map(|one| (*one).clone()).collect();
            let before: u64 = group.iter().map(|one| one.facts.bytes).sum();
            let cleaned = self.clean_group(partition, &group, &rules, &producers).await?;
            compacted.bytes_before += before;
            compacted.bytes_after += match cleaned {
                Some(cleaned) => {
                    let after = cleaned.scanned.end.0;
                    self.swap(partition, &group, cleaned).await?;
                    after
                }
                None => before,
            };
        }
        self.note_cleaned_to(partition, map.end()).await?;
        Ok(compacted)
    }

    /// An error where a compaction of the partition is to end: it is gone, is being cut, or the shard closes.
    pub(super) fn check_cleaning(&self, partition: &Partition) -> Result<()> {
        self.check()?;
        partition.check()?;
        partition.check_not_cut()
    }

    /// The batches of a segment.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where retention took it meanwhile.
    async fn batches(&self, partition: &Partition, one: &Cleanable) -> Result<Batches> {
        let opened = Batches::open(&self.io, one).await;
        match partition.log.borrow().has_sealed([&one.segment]) {
            true => opened,
            false => Err(Error::Overloaded(format!("a segment of {} went while it was compacted", partition.name))),
        }
    }

    /// The newest offset of each key from `from` on, in as many segments as there is memory for.
    async fn map_dirty(&self, partition: &Rc<Partition>, segments: &[Cleanable], from: Offset) -> Result<KeyMap> {
        let cleaner = self.cleaner();
        let mut map = KeyMap::new(from, cleaner.dedupe_bytes);
        for one in segments.iter().filter(|one| one.facts.next > from) {
            let mut batches = self.batches(partition, one).await?;
            while let Some((header, bytes)) = batches.next().await? {
                if header.next_offset() > from && !map.add(&bytes).map_err(|error| batches.unreadable(error))? {
                    return Ok(map);
                }
                self.give_way(partition, batches.take_turn()).await?;
            }
            // Others' compaction may have left it without its last offsets.
            map.reach(one.facts.next);
        }
        Ok(map)
    }

    /// Writes what is kept of a group of segments; `None` where that is all of one segment as it is.
    async fn clean_group(
        &self,
        partition: &Rc<Partition>,
        group: &[Cleanable],
        rules: &Rules<'_>,
        producers: &[(i64, Offset)],
    ) -> Result<Option<CleanedFile>> {
        let base = group[0].facts.base;
        let end = group[group.len() - 1].facts.next;
        let mut output = Output::create(&self.io, &partition.dir, base).await?;
        let mut is_changed = group.len() > 1;
        // The last batch has to stay, or the segment would not reach to the next one.
        let mut gone: Option<(BatchHeader, Vec<u8>)> = None;
        for one in group {
            let mut batches = self.batches(partition, one).await?;
            while let Some((header, bytes)) = batches.next().await? {
                let kept = keep(&bytes, rules).map_err(|error| batches.unreadable(error))?;
                let replaced = match kept {
                    Kept::Whole => {
                        output.push(&header, &bytes).await?;
                        None
                    }
                    Kept::Some(bytes) => Some(bytes),
                    Kept::Nothing(empty) if is_last_of_producer(&header, producers) => Some(empty),
                    Kept::Nothing(empty) => {
                        gone = Some((header, empty));
                        is_changed |= header.next_offset() != end || header.record_count > 0;
                        self.give_way(partition, batches.take_turn()).await?;
                        continue;
                    }
                };
                if let Some(replaced) = replaced {
                    let header = BatchHeader::parse(&replaced).expect("it was just made");
                    is_changed |= replaced != bytes;
                    output.push(&header, &replaced).await?;
                }
                gone = None;
                self.give_way(partition, batches.take_turn()).await?;
            }
        }
        if let Some((_, empty)) = gone {
            let header = BatchHeader::parse(&empty).expect("it was just made");
            output.push(&header, &empty).await?;
        }
        // Kafka leaves segments without a batch, which say nothing of where they end.
        if !is_changed || output.scanned.end == Position::ZERO {
            output.discard().await?;
            return Ok(None);
        }
        self.give_way(partition, output.scanned.end.0).await?;
        Ok(Some(output.finish().await?))
    }

    /// Lets others run, or sleeps where that is asked for, after so many bytes; 0 for none.
    async fn give_way(&self, partition: &Partition, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.check_cleaning(partition)?;
        let Some(bytes_per_second) = self.cleaner().bytes_per_second else {
            self.io.yield_now().await;
            return Ok(());
        };
        let mut left = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
        while left > Duration::ZERO {
            let step = left.min(SLEEP_MAX);
            self.io.sleep(step).await;
            self.check_cleaning(partition)?;
            left -= step;
        }
        Ok(())
    }
}

/// The batches of a complete segment, one after the other, each verified.
struct Batches {
    io: Io,
    file: File,
    to: Position,
    next_offset: Offset,
    end_offset: Offset,
    stream: ReadStream,
    since_turn: u64,
}

impl Batches {
    async fn open(io: &Io, one: &Cleanable) -> Result<Batches> {
        let file = one.segment.file.readable(io).await?;
        let mut stream = ReadStream::new(one.facts.base, Position::ZERO);
        stream.sequential = 1;
        let (to, next_offset, end_offset) = (Position(one.facts.bytes), one.facts.base, one.facts.next);
        Ok(Batches { io: io.clone(), file, to, next_offset, end_offset, stream, since_turn: 0 })
    }

    /// The next batch; an error where there is none although the segment goes on.
    async fn next(&mut self) -> Result<Option<(BatchHeader, Vec<u8>)>> {
        let at = self.stream.position;
        if at >= self.to {
            return Ok(None);
        }
        self.stream.read_up_to(&self.io, &self.file, (at + READ_BYTES as u64).min(self.to), self.to);
        self.stream.wait(at + HEADER_BYTES as u64).await?;
        let damaged = |what: &str| Err(Error::corrupt(self.file.path(), Some(at), what));
        let Some(header) = self.stream.header(&self.file, at)? else { return damaged("the segment ends in a header") };
        let end = at + header.size_bytes() as u64;
        if end > self.to || header.last_offset_delta < 0 {
            return damaged("a batch reaches beyond the end of the segment");
        }
        if header.base_offset < self.next_offset || header.next_offset() > self.end_offset {
            return damaged("the offsets of a batch are not those of its place");
        }
        self.stream.read_up_to(&self.io, &self.file, end, self.to);
        self.stream.wait(end).await?;
        if self.stream.held_end() < end {
            return damaged("the file ends before the segment does");
        }
        let bytes: Vec<u8> = self.stream.slices(at, end).iter().flat_map(|slice| slice.iter().copied()).collect();
        if !verify_crc(&bytes) {
            return damaged("a batch does not match its checksum");
        }
        self.next_offset = header.next_offset();
        self.stream.advance(end, self.next_offset);
        self.since_turn += end - at;
        Ok(Some((header, bytes)))
    }

    /// The bytes read since others had their turn, once they are many; else 0.
    fn take_turn(&mut self) -> u64 {
        let is_end = self.stream.position >= self.to;
        if is_end || self.since_turn >= TURN_BYTES { std::mem::take(&mut self.since_turn) } else { 0 }
    }

    /// What is wrong with the batch that was read last.
    fn unreadable(&self, error: BatchError) -> Error {
        let what = format!("the records before offset {} cannot be read: {error}", self.next_offset);
        Error::corrupt(self.file.path(), None, what)
    }
}

/// The file that a group is written to.
struct Output {
    io: Io,
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
    position: Position,
    scanned: Scanned,
    since_point: u64,
}

impl Output {
    async fn create(io: &Io, dir: &std::path::Path, base: Offset) -> Result<Output> {
        let path = dir.join(segment_file_name(base, "log.cleaned"));
        // Of an attempt that came to nothing.
        if io.file_len(&path).await?.is_some() {
            io.remove_file(&path).await?;
        }
        let file = io.open(&path, OpenMode::Create).await?;
        let (pending, position, scanned) = (Vec::new(), Position::ZERO, Scanned::new(base));
        Ok(Output { io: io.clone(), path, file, pending, position, scanned, since_point: 0 })
    }

    async fn push(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<()> {
        self.scanned.note(header, &mut self.since_point);
        self.pending.extend_from_slice(batch);
        while self.pending.len() >= WRITE_BYTES {
            self.write(WRITE_BYTES).await?;
        }
        Ok(())
    }

    /// Writes the first `bytes` that wait, padded to a whole block.
    async fn write(&mut self, bytes: usize) -> Result<()> {
        let padded = bytes.next_multiple_of(BLOCK_BYTES as usize);
        let mut buffer = self.io.alloc(padded);
        buffer.extend_from_slice(&self.pending[..bytes]);
        buffer.extend_zeros(padded - bytes);
        self.file.write_at(&[buffer.slice(0..padded)], self.position, Sync::None).await?;
        self.position += padded as u64;
        self.pending.drain(..bytes);
        Ok(())
    }

    /// Writes the rest, cuts the file to its length and syncs it.
    async fn finish(mut self) -> Result<CleanedFile> {
        if !self.pending.is_empty() {
            self.write(self.pending.len()).await?;
        }
        self.file.truncate(self.scanned.end).await?;
        self.file.sync().await?;
        Ok(CleanedFile { path: self.path, scanned: self.scanned })
    }

    async fn discard(self) -> Result<()> {
        self.io.remove_file(&self.path).await
    }
}
