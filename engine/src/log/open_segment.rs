//! A segment that is still written: its tail, how far it is written and durable, and its sparse index in memory.
//!
//! Positions rise in this order: `durable <= durable_issued`, `written <= write_issued <= block_start(end)` and
//! `durable_issued <= end`. The file receives whole blocks only, each once; the last partial one is written when the segment is sealed.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::batch::{HEADER_BYTES, ValidBatch};
use crate::io::Io;
use crate::journal::IndexPoint;
use crate::log::segment_file::SegmentFile;
use crate::log::tail::{Slices, Tail};
use crate::types::{Epoch, Offset, Position, Timestamp};

/// One write to the segment's file, to be awaited by the caller: the slices own the bytes.
pub struct SegmentWrite {
    /// The block-aligned parts.
    pub slices: Slices,
    /// Where they go.
    pub position: Position,
    /// Where they end.
    pub end: Position,
}

/// The timestamp of the first record, the largest, and the last offset of the batch that has it.
pub type Times = (Timestamp, Timestamp, Offset);

/// A segment that is still written.
pub struct OpenSegment {
    base: Offset,
    file: Rc<SegmentFile>,
    tail: Tail,
    write_issued: Position,
    written: Position,
    writes: VecDeque<(Position, bool)>,
    durable_issued: Position,
    durable: Position,
    times: Times,
    /// Those of what is before `durable_issued`.
    durable_times: Times,
    points: Vec<IndexPoint>,
    /// How many points of this segment are in its points file.
    spilled: usize,
    /// How many of those are not in memory; `points` holds what is behind them.
    dropped: usize,
    bytes_since_point: u64,
}

/// What a checkpoint keeps of an open segment.
pub struct SegmentState {
    /// Its first offset.
    pub base: Offset,
    /// Its durable bytes.
    pub position: Position,
    /// The bytes of the last, not whole block.
    pub partial: Vec<u8>,
    /// Timestamp of the first record.
    pub first_timestamp: Timestamp,
    /// The largest timestamp.
    pub max_timestamp: Timestamp,
    /// The offset that has it.
    pub max_timestamp_offset: Offset,
    /// Index points that are not in the index files.
    pub points: Vec<IndexPoint>,
    /// The number of those that are.
    pub spilled: usize,
}

impl SegmentState {
    /// That of a segment without records.
    pub fn empty(base: Offset) -> SegmentState {
        SegmentState {
            base,
            position: Position::ZERO,
            partial: Vec::new(),
            first_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: base,
            points: Vec::new(),
            spilled: 0,
        }
    }
}

impl OpenSegment {
    /// A new, empty segment.
    pub fn create(io: &Io, base: Offset, file: Rc<SegmentFile>) -> OpenSegment {
        OpenSegment::open(io, SegmentState::empty(base), file)
    }

    /// A segment as recovery found it.
    pub fn open(io: &Io, state: SegmentState, file: Rc<SegmentFile>) -> OpenSegment {
        let blocks = state.position.block_start();
        OpenSegment {
            base: state.base,
            file,
            tail: Tail::new(io, state.position, &state.partial),
            write_issued: blocks,
            written: blocks,
            writes: VecDeque::new(),
            durable_issued: state.position,
            durable: state.position,
            times: (state.first_timestamp, state.max_timestamp, state.max_timestamp_offset),
            durable_times: (state.first_timestamp, state.max_timestamp, state.max_timestamp_offset),
            points: state.points,
            spilled: state.spilled,
            dropped: state.spilled,
            bytes_since_point: u64::MAX,
        }
    }

    /// The offset of its first record.
    pub fn base(&self) -> Offset {
        self.base
    }

    /// Its file.
    pub fn file(&self) -> &Rc<SegmentFile> {
        &self.file
    }

    /// Its bytes in memory.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// How large the pieces of its memory may grow.
    pub fn limit_chunks(&mut self, bytes: usize) {
        self.tail.limit_chunks(bytes);
    }

    /// The bytes appended.
    pub fn end(&self) -> Position {
        self.tail.end()
    }

    /// Everything before it is in the file (perhaps not yet durably): whole blocks.
    pub fn written(&self) -> Position {
        self.written
    }

    /// Everything before it is in the file or on its way.
    pub fn write_issued(&self) -> Position {
        self.write_issued
    }

    /// Everything before it is on stable storage, in the journal or in the file.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Everything before it is on stable storage or on its way.
    pub fn durable_issued(&self) -> Position {
        self.durable_issued
    }

    /// Whether nothing was ever appended.
    pub fn is_empty(&self) -> bool {
        self.end() == Position::ZERO
    }

    /// The timestamps of everything appended.
    pub fn timestamps(&self) -> Times {
        self.times
    }

    /// The timestamps of the batches before `position`, where one begins: what is behind it may be lost, and must not be
    /// spoken of. `position` is the end, or in what is not on its way to stable storage.
    pub fn timestamps_before(&self, position: Position) -> Times {
        if position == self.end() {
            return self.times;
        }
        let (mut times, mut at) = (self.durable_times, self.durable_issued);
        assert!(at <= position, "the timestamps before {position} are not known, only those before {at}");
        while at < position {
            let header = self.tail.header(at);
            note_times(&mut times, header.first_timestamp(), header.max_timestamp, header.last_offset());
            at += header.size_bytes() as u64;
        }
        times
    }

    /// The index points in memory, and how many before them are only in the points file.
    pub fn points(&self) -> (&[IndexPoint], usize) {
        (&self.points, self.dropped)
    }

    /// The index points that are in no file, and how many are.
    pub fn unspilled(&self) -> (&[IndexPoint], usize) {
        (&self.points[self.spilled - self.dropped..], self.spilled)
    }

    /// Copies a batch in, with its offset and epoch.
    pub fn append(
        &mut self,
        io: &Io,
        batch: &ValidBatch<'_>,
        base_offset: Offset,
        epoch: Epoch,
        log_append_time: Option<Timestamp>,
        index_interval_bytes: u32,
    ) {
        let len = batch.bytes().len();
        let position = self.end();
        match self.tail.contiguous_spare(io, len) {
            Some(place) => {
                batch.write_to(place, base_offset, epoch, log_append_time);
                self.tail.filled(len);
            }
            None => {
                let header = batch.stored_header(base_offset, epoch, log_append_time);
                self.tail.extend(io, &header);
                self.tail.extend(io, &batch.bytes()[HEADER_BYTES..]);
            }
        }
        let header = batch.header();
        let max_timestamp = log_append_time.unwrap_or(header.max_timestamp);
        let last_offset = base_offset + i64::from(header.last_offset_delta);
        let first_timestamp = log_append_time.unwrap_or(header.base_timestamp);
        self.note(position, len as u64, last_offset, first_timestamp, max_timestamp, index_interval_bytes);
    }

    /// Copies batches in as they are: recovery and followers, whose offsets are already given.
    pub fn append_raw(&mut self, io: &Io, bytes: &[u8]) {
        self.tail.extend(io, bytes);
    }

    /// Keeps the index and timestamps for a batch of `len` bytes at `position`. Kafka's rule (`LogSegment.append`): an entry
    /// is added before a batch when more than the interval was appended since the last one, and names that batch.
    pub fn note(
        &mut self,
        position: Position,
        len: u64,
        last_offset: Offset,
        first_timestamp: Timestamp,
        max_timestamp: Timestamp,
        index_interval_bytes: u32,
    ) {
        note_times(&mut self.times, first_timestamp, max_timestamp, last_offset);
        if position == Position::ZERO {
            self.bytes_since_point = 0;
        } else if self.bytes_since_point > u64::from(index_interval_bytes) {
            self.points.push(IndexPoint {
                offset: last_offset,
                position,
                max_timestamp: self.times.1,
                max_timestamp_offset: self.times.2,
            });
            self.bytes_since_point = 0;
        }
        self.bytes_since_point = self.bytes_since_point.saturating_add(len);
    }

    /// The bytes of whole blocks before `limit` that no write carries yet.
    pub fn unwritten_bytes(&self, limit: Position) -> u64 {
        limit.block_start().0.saturating_sub(self.write_issued.0)
    }

    /// What to write next: whole blocks before `limit`, at most `bytes_max`, and `None` where fewer than `bytes_min` wait. The
    /// outcome goes to [`OpenSegment::apply_write`].
    pub fn plan_write(&mut self, limit: Position, bytes_min: u64, bytes_max: u64) -> Option<SegmentWrite> {
        let waiting = self.unwritten_bytes(limit);
        if waiting == 0 || waiting < bytes_min {
            return None;
        }
        let position = self.write_issued;
        let limit = position + waiting.min(bytes_max);
        // A write that may wait ends where a chunk does, if it reaches that far: one registered buffer each.
        let chunk_end = if bytes_min > 1 { self.tail.chunk_end_before(position, limit) } else { None };
        let end = chunk_end.unwrap_or(limit);
        self.write_issued = end;
        self.writes.push_back((end, false));
        Some(SegmentWrite { slices: self.tail.slices(position, end), position, end })
    }

    /// The write up to `end` is in the file.
    pub fn apply_write(&mut self, end: Position) {
        let write = self.writes.iter_mut().find(|write| write.0 == end).expect("the write was planned");
        write.1 = true;
        while let Some((end, true)) = self.writes.front().copied() {
            self.written = end;
            self.writes.pop_front();
        }
    }

    /// Whether writes are under way.
    pub fn is_writing(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Marks everything up to `to` as on its way to stable storage.
    pub fn issue_durable(&mut self, to: Position) {
        assert!(to >= self.durable_issued && to <= self.end());
        self.durable_times = self.timestamps_before(to);
        self.durable_issued = to;
    }

    /// Everything up to `to`, which was issued, is on stable storage.
    pub fn apply_durable(&mut self, to: Position) {
        assert!(to <= self.durable_issued, "{to} is durable, but only {} was issued", self.durable_issued);
        self.durable = self.durable.max(to);
    }

    /// A checkpoint has everything up to `to`, where `times` are the timestamps.
    pub fn apply_checkpoint(&mut self, to: Position, times: Times) {
        assert!(to <= self.end(), "a checkpoint has {to}, the end is {}", self.end());
        if to > self.durable_issued {
            (self.durable_issued, self.durable_times) = (to, times);
        }
        self.durable = self.durable.max(to);
    }

    /// Index points at or behind `position`: what a large durable write adds to the index.
    pub fn points_from(&self, position: Position) -> &[IndexPoint] {
        let first = self.points.partition_point(|point| point.position < position);
        &self.points[first..]
    }

    /// The first `spilled` points are in the points file now.
    pub fn points_spilled(&mut self, spilled: usize) {
        assert!(spilled >= self.spilled && spilled <= self.dropped + self.points.len());
        self.spilled = spilled;
    }

    /// The points file is gone: Kafka's index files have everything.
    pub fn points_gone(&mut self) {
        self.spilled = self.dropped;
    }

    /// How many points are only in the points file.
    pub fn dropped_points(&self) -> usize {
        self.dropped
    }

    /// The points that were only in the file are in memory again; nothing where that has changed meanwhile.
    pub fn points_loaded(&mut self, dropped: usize, mut points: Vec<IndexPoint>) {
        if self.dropped != dropped {
            return;
        }
        let first = self.points.first().map(|point| point.position);
        points.retain(|point| first.is_none_or(|first| point.position < first));
        self.dropped = 0;
        // Points made anew may be others than those that were spilled: all are spilled again.
        if points.len() != dropped {
            self.spilled = 0;
        }
        points.append(&mut self.points);
        self.points = points;
    }

    /// The first index point whose batch begins at or behind `position`.
    pub fn batch_start_from(&self, position: Position) -> Option<&IndexPoint> {
        self.points_from(position).first()
    }

    /// The place of a batch that begins at or before the one that holds `offset`, from the points in memory.
    pub fn floor(&self, offset: Offset) -> Option<Position> {
        let after = self.points.partition_point(|point| point.offset <= offset);
        after.checked_sub(1).map(|place| self.points[place].position)
    }

    /// Where the first batch that is held whole in memory begins: `None` where none is known.
    pub fn first_batch_held(&self) -> Option<Position> {
        let start = self.tail.start();
        if start == Position::ZERO {
            return Some(Position::ZERO);
        }
        self.batch_start_from(start).map(|point| point.position)
    }

    /// Gives the oldest chunk of the tail back, if the file has it and every batch that begins in it; the freed bytes.
    pub fn evict(&mut self) -> usize {
        let Some(chunk_end) = self.tail.first_chunk_end() else { return 0 };
        let covered = self.batch_start_from(chunk_end).is_some_and(|point| point.position <= self.written);
        if chunk_end > self.written || !covered {
            return 0;
        }
        self.tail.evict_first()
    }

    /// Holds no more memory than the last block needs, for a segment that went quiet.
    pub fn shrink(&mut self, io: &Io) {
        if self.written == self.end().block_start() && self.writes.is_empty() {
            self.tail.shrink(io, self.written);
        }
        let in_file = self.spilled - self.dropped;
        if in_file > 0 {
            self.points.drain(..in_file);
            self.dropped = self.spilled;
        }
        self.points.shrink_to_fit();
        self.writes.shrink_to_fit();
    }

    /// What a checkpoint keeps, up to `position`.
    pub fn state(&self, position: Position) -> SegmentState {
        let (first_timestamp, max_timestamp, max_timestamp_offset) = self.timestamps_before(position);
        // Points in the file may be of batches that the checkpoint does not tell of: they do not count.
        let spilled = self.points[..self.spilled - self.dropped].partition_point(|point| point.position < position);
        SegmentState {
            base: self.base,
            position,
            partial: self.tail.copy(position.block_start(), position),
            first_timestamp,
            max_timestamp,
            max_timestamp_offset,
            points: self.unspilled().0.iter().filter(|point| point.position < position).copied().collect(),
            spilled: self.dropped + spilled,
        }
    }
}

fn note_times(times: &mut Times, first: Timestamp, max: Timestamp, last_offset: Offset) {
    if times.0 == Timestamp::NONE {
        times.0 = first;
    }
    if max > times.1 {
        (times.1, times.2) = (max, last_offset);
    }
}
