//! All batches of one replica: offsets given out in order, segments rolled, and what is flushed, visible and deleted.
//!
//! Nothing here awaits. Appends change memory only; what must reach the disk is handed out as plans that own their bytes, and
//! their outcome is applied later. So an append may run while a flush is under way, and no borrow lives across an await.
//!
//! `start <= flushed <= end` and `start <= high_watermark <= end` hold always, and offsets are given out once.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::rc::Rc;

use rustc_hash::FxHasher;

use crate::batch::{Origin, TimestampType, ValidBatch};
use crate::io::Io;
use crate::journal::IndexPoint;
use crate::log::config::LogConfig;
use crate::log::leader_epochs::LeaderEpochs;
use crate::log::open_segment::{OpenSegment, SegmentState, SegmentWrite};
use crate::log::producer::{ProducedBatch, Producer, ProducerError, Verdict};
use crate::log::producer_snapshot::encode_snapshot;
use crate::log::producers::Producers;
use crate::log::sealed_segment::{SealedSegment, segment_file_name};
use crate::log::segment_file::{PreparedFile, SegmentFile};
use crate::types::{Epoch, Offset, Position, Timestamp};

/// The next segment's file is made ready so many bytes before the roll, or a quarter of a segment.
const PREPARED_BEFORE_BYTES: u64 = 64 << 20;

/// What an append gave out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The offset of the batch's first record.
    pub base_offset: Offset,
    /// The offset behind its last record.
    pub next_offset: Offset,
    /// The time that was written into it, where the topic's timestamps are the log's; of a batch that was there already, its
    /// time, whichever it is.
    pub log_append_time: Option<Timestamp>,
    /// The first readable offset.
    pub start: Offset,
    /// Whether it was there already: its producer sent it again.
    pub is_duplicate: bool,
}

/// How far a log reaches, in every sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOffsets {
    /// The first readable offset.
    pub start: Offset,
    /// The first offset that is not on stable storage here.
    pub flushed: Offset,
    /// The first offset that consumers may not see.
    pub high_watermark: Offset,
    /// The first offset of the earliest open transaction, or the high watermark.
    pub last_stable: Offset,
    /// The first offset that is not given out.
    pub end: Offset,
    /// The leader epoch that appends get.
    pub epoch: Epoch,
}

/// Bytes of one open segment that are to become durable.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// The segment.
    pub segment: Offset,
    /// The first byte.
    pub from: Position,
    /// Behind the last byte.
    pub to: Position,
    /// The offset behind the last batch in it.
    pub next_offset: Offset,
}

/// Where a read begins.
pub enum Place {
    /// In memory: this open segment, at or before the batch sought.
    Memory(Offset, Position),
    /// In the file of the open segment with this base.
    OpenFile(Offset),
    /// In the sealed segment with this base.
    Sealed(Offset),
}

/// One replica's log.
pub struct Log {
    dir: PathBuf,
    config: Rc<LogConfig>,
    start: Offset,
    /// The start that survives a power cut.
    durable_start: Offset,
    flushed: Offset,
    high_watermark: Offset,
    end: Offset,
    epochs: LeaderEpochs,
    epoch: Epoch,
    producers: Producers,
    /// Kafka's snapshots of the producers where segments were rolled that are not complete.
    snapshots: VecDeque<(Offset, Vec<u8>)>,
    sealed: VecDeque<Rc<SealedSegment>>,
    /// Rolled, oldest first, but not yet complete in their files.
    sealing: VecDeque<OpenSegment>,
    active: OpenSegment,
    /// What the next segment will be made of.
    prepared: Option<PreparedFile>,
    /// Bytes appended since the log was opened; and how many of them are flushed, and visible.
    appended_bytes: u64,
    flushed_bytes: u64,
    visible_bytes: u64,
    appended_unix: Timestamp,
    /// What was appended when [`Log::quiet_down`] last looked.
    quiet_appended: u64,
    /// Where a segment ends that was completed although no commit carries all of it, or the end that a checkpoint under way tells of
    /// although no commit does: it must be told before the journal may go on behind it. An extent, which recovery compares
    /// whole, would else begin before what the checkpoint knows.
    untold: Option<Offset>,
}

impl Log {
    /// The log as recovery found it: `state` is its newest segment, `sealed` those before it.
    #[allow(clippy::too_many_arguments, reason = "one value per fact that a checkpoint keeps")]
    pub fn open(
        io: &Io,
        dir: PathBuf,
        config: Rc<LogConfig>,
        start: Offset,
        end: Offset,
        epochs: LeaderEpochs,
        producers: Vec<Producer>,
        sealed: Vec<Offset>,
        state: SegmentState,
    ) -> Log {
        let active_file =
            Rc::new(SegmentFile::new(dir.join(segment_file_name(state.base, "log")), config.segment_bytes));
        let sealed = sealed
            .into_iter()
            .map(|base| {
                let path = dir.join(segment_file_name(base, "log"));
                Rc::new(SealedSegment::found(base, Rc::new(SegmentFile::new(path, config.segment_bytes))))
            })
            .collect();
        let epoch = epochs.latest().map_or(Epoch::NONE, |latest| latest.0);
        assert!(start <= end && state.base <= end, "a log from {start} to {end} with a segment at {}", state.base);
        Log {
            dir,
            start,
            durable_start: start,
            flushed: end,
            high_watermark: end,
            end,
            epochs,
            epoch,
            producers: Producers::new(producers, end),
            snapshots: VecDeque::new(),
            sealed,
            sealing: VecDeque::new(),
            active: OpenSegment::open(io, state, active_file),
            prepared: None,
            config,
            appended_bytes: 0,
            flushed_bytes: 0,
            visible_bytes: 0,
            appended_unix: io.unix_time(),
            quiet_appended: 0,
            untold: None,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &Rc<LogConfig> {
        &self.config
    }

    /// Other settings from now on.
    pub fn configure(&mut self, config: Rc<LogConfig>) {
        self.config = config;
    }

    /// How far it reaches.
    pub fn offsets(&self) -> LogOffsets {
        LogOffsets {
            start: self.start,
            flushed: self.flushed,
            high_watermark: self.high_watermark,
            last_stable: self.high_watermark,
            end: self.end,
            epoch: self.epoch,
        }
    }

    /// Who wrote to it.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Forgets who has not written for `producer.id.expiration.ms`.
    pub fn expire_producers(&mut self, now: Timestamp) {
        let expiration_ms = i64::try_from(self.config.producer_expiration_ms).unwrap_or(i64::MAX);
        self.producers.expire(now, expiration_ms);
    }

    /// The leader epochs.
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// Begins a leader epoch at the log's end; true where that is new and must be made durable.
    pub fn set_epoch(&mut self, epoch: Epoch) -> bool {
        self.epoch = epoch;
        epoch.0 >= 0 && self.epochs.assign(epoch, self.end)
    }

    /// The open segments, oldest first.
    pub fn open_segments(&self) -> impl DoubleEndedIterator<Item = &OpenSegment> {
        self.sealing.iter().chain(std::iter::once(&self.active))
    }

    /// The open segment with this base.
    pub fn open_segment(&self, base: Offset) -> Option<&OpenSegment> {
        self.open_segments().find(|segment| segment.base() == base)
    }

    /// The open segment with this base, to apply something to it.
    pub fn open_segment_mut(&mut self, base: Offset) -> Option<&mut OpenSegment> {
        self.sealing.iter_mut().chain(std::iter::once(&mut self.active)).find(|segment| segment.base() == base)
    }

    /// The segment that appends go to.
    pub fn active(&self) -> &OpenSegment {
        &self.active
    }

    /// The complete segments, oldest first.
    pub fn sealed(&self) -> &VecDeque<Rc<SealedSegment>> {
        &self.sealed
    }

    /// Appends a batch: gives it its offsets and epoch and copies it into the tail. Changes memory only, and nothing where its producer
    /// has sent the batch before.
    pub fn append(
        &mut self,
        io: &Io,
        batch: &ValidBatch<'_>,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Appended, ProducerError> {
        let log_append_time = (self.config.timestamp_type == TimestampType::LogAppendTime).then_some(now);
        let header = batch.header();
        let produced = ProducedBatch::of(header, batch.bytes());
        if let Some(produced) = &produced
            && let Verdict::Duplicate(first) = self.producers.check(produced, origin)?
        {
            return Ok(Appended {
                base_offset: first.base_offset(),
                next_offset: first.last_offset + 1,
                // Told whatever clock the topic goes by, as in Kafka.
                log_append_time: Some(first.timestamp),
                start: self.start,
                is_duplicate: true,
            });
        }
        let timestamp = log_append_time.unwrap_or(header.max_timestamp);
        if self.must_roll(batch.bytes().len() as u64, header.last_offset_delta, timestamp) {
            self.roll(io);
        }
        let base_offset = self.end;
        let interval = self.config.index_interval_bytes;
        self.active.append(io, batch, base_offset, self.epoch, log_append_time, interval);
        self.end = base_offset + (i64::from(header.last_offset_delta) + 1);
        self.appended_bytes += batch.bytes().len() as u64;
        self.appended_unix = now;
        if let Some(produced) = produced {
            let max_timestamp = log_append_time.unwrap_or(produced.max_timestamp);
            self.producers.settle(self.flushed);
            self.producers.note(&ProducedBatch { base_offset, max_timestamp, ..produced }, self.config.is_durable());
        }
        Ok(Appended { base_offset, next_offset: self.end, log_append_time, start: self.start, is_duplicate: false })
    }

    /// Kafka's rules (`LogSegment.shouldRoll`): by size, by the time from the first record to this batch's newest, by a full
    /// index, and where a relative offset would not fit 31 bits.
    fn must_roll(&self, batch_bytes: u64, last_offset_delta: i32, timestamp: Timestamp) -> bool {
        let active = &self.active;
        if active.is_empty() {
            return false;
        }
        let config = &self.config;
        let by_size = active.end().0 + batch_bytes > config.segment_bytes;
        let first = active.timestamps().0;
        let by_time = first != Timestamp::NONE
            && timestamp.0.saturating_sub(first.0) as i128 > i128::from(config.segment_ms - self.jitter_ms());
        let (points, spilled) = active.points();
        let by_index = (points.len() + spilled) as u64 * 8 >= u64::from(config.segment_index_bytes);
        let by_offset = self.end + i64::from(last_offset_delta) - active.base() > i64::from(i32::MAX);
        by_size || by_time || by_index || by_offset
    }

    /// By how much the active segment is rolled before its time (`LogConfig.randomSegmentJitter` of Kafka): drawn from its name, which
    /// spreads as well as chance does and comes out the same after a restart.
    fn jitter_ms(&self) -> u64 {
        let most = self.config.segment_jitter_ms.min(self.config.segment_ms);
        if most == 0 {
            return 0;
        }
        let mut hasher = FxHasher::default();
        (self.dir.file_name(), self.active.base().0).hash(&mut hasher);
        hasher.finish() % most
    }

    /// Begins a new segment at the log's end; the one before is completed by [`Log::sealing`].
    pub fn roll(&mut self, io: &Io) {
        let path = self.dir.join(segment_file_name(self.end, "log"));
        let file = Rc::new(SegmentFile::of(path, self.config.segment_bytes, self.prepared.take()));
        let next = OpenSegment::create(io, self.end, file);
        let rolled = std::mem::replace(&mut self.active, next);
        self.sealing.push_back(rolled);
        self.snapshots.push_back((self.end, encode_snapshot(&self.producers.to_vec())));
    }

    /// Whether a roll by size is near, and the file of the next segment is to be made ready.
    pub fn wants_prepared(&self) -> bool {
        let segment_bytes = self.config.segment_bytes;
        let is_near = self.active.end().0 + (segment_bytes / 4).min(PREPARED_BEFORE_BYTES) >= segment_bytes;
        // The one before may not have its own name yet.
        is_near && self.prepared.is_none() && !self.open_segments().any(|segment| segment.file().is_prepared())
    }

    /// Keeps a file that is ready to become the next segment.
    pub fn keep_prepared(&mut self, prepared: PreparedFile) {
        self.prepared = Some(prepared);
    }

    /// Takes it: the next segment begins without.
    pub fn take_prepared(&mut self) -> Option<PreparedFile> {
        self.prepared.take()
    }

    fn segment_file(&self, base: Offset) -> Rc<SegmentFile> {
        let path = self.dir.join(segment_file_name(base, "log"));
        Rc::new(SegmentFile::new(path, self.config.segment_bytes))
    }

    /// The oldest segment that is rolled but not complete.
    pub fn sealing(&self) -> Option<&OpenSegment> {
        self.sealing.front()
    }

    /// The producers at the end of the oldest segment that is rolled but not complete, as Kafka's snapshot.
    pub fn sealing_snapshot(&self) -> Option<&(Offset, Vec<u8>)> {
        self.snapshots.front()
    }

    /// The oldest rolled segment is complete in its file and on stable storage.
    pub fn apply_sealed(&mut self, base: Offset) -> Rc<SealedSegment> {
        let segment = self.sealing.pop_front().expect("a segment was being sealed");
        assert_eq!(segment.base(), base, "segments are sealed in order");
        self.snapshots.pop_front();
        if segment.durable_issued() < segment.end() {
            self.untold = Some(self.segment_next_offset(base));
        }
        let (_, max_timestamp, _) = segment.timestamps();
        let sealed = Rc::new(SealedSegment::sealed(base, segment.file().clone(), segment.end(), max_timestamp));
        self.sealed.push_back(sealed.clone());
        sealed
    }

    /// The offset behind the last record of an open segment.
    pub fn segment_next_offset(&self, base: Offset) -> Offset {
        self.open_segments().map(OpenSegment::base).find(|other| *other > base).unwrap_or(self.end)
    }

    /// Bytes that no commit carries yet.
    pub fn pending_bytes(&self) -> u64 {
        self.open_segments().map(|segment| segment.end() - segment.durable_issued()).sum()
    }

    /// The oldest bytes that no commit carries yet.
    pub fn pending(&self) -> Option<Pending> {
        let segment = self.open_segments().find(|segment| segment.end() > segment.durable_issued())?;
        Some(Pending {
            segment: segment.base(),
            from: segment.durable_issued(),
            to: segment.end(),
            next_offset: self.segment_next_offset(segment.base()),
        })
    }

    /// How large the pieces of memory for what is appended next may grow.
    pub fn limit_chunks(&mut self, bytes: usize) {
        self.active.limit_chunks(bytes);
    }

    /// Memory that the tails hold, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.open_segments().map(|segment| segment.tail().memory_bytes()).sum()
    }

    /// Bytes that wait for the disk: to be durable, or, in a log that is not, to be written.
    pub fn waiting_bytes(&self) -> u64 {
        let durable = self.config.is_durable();
        let waiting = self.open_segments().map(|segment| match durable {
            true => segment.end() - segment.durable(),
            false => segment.end().block_start().0.saturating_sub(segment.written().0),
        });
        waiting.sum()
    }

    /// Whether as many records are unflushed as `flush.messages` allows.
    pub fn flush_is_due(&self) -> bool {
        self.end - self.flushed >= i64::try_from(self.config.flush_messages).unwrap_or(i64::MAX)
    }

    /// `flush.ms`, where records wait for it.
    pub fn flush_ms(&self) -> Option<u64> {
        if self.config.is_durable() { None } else { self.config.flush_ms }
    }

    /// Whether what is pending becomes durable by a commit. Else a checkpoint does it: the log is not durable, or was not until
    /// just now, and the journal would go on behind bytes, or producers, that nothing tells of.
    pub fn commits(&self) -> bool {
        self.config.is_durable() && self.untold.is_none() && !self.has_unsynced_writes() && self.knows_producers()
    }

    /// Whether it can be told who the producers were at any end from the flushed one on; not while a log that was not durable becomes
    /// so.
    fn knows_producers(&self) -> bool {
        self.producers.reaches_back_to(self.flushed)
    }

    /// A checkpoint tells of everything before `offset`.
    pub fn apply_told(&mut self, offset: Offset) {
        self.untold = self.untold.filter(|untold| *untold > offset);
    }

    /// Whether the oldest open segment is rolled and must be complete before a checkpoint can tell of what is behind it. Where
    /// it is still being committed the checkpoint tells of it as it is, since a commit may have to wait for the checkpoint.
    pub fn must_seal_first(&self) -> bool {
        self.sealing().is_some_and(|oldest| !self.commits() || oldest.durable_issued() == oldest.end())
    }

    /// Whether enough waits for a segment write.
    pub fn worth_writing(&self, bytes: u64) -> bool {
        self.open_segments().any(|segment| segment.unwritten_bytes(self.write_limit(segment)) >= bytes)
    }

    /// Bytes that wait for a segment write.
    pub fn unwritten_bytes(&self) -> u64 {
        self.open_segments().map(|segment| segment.unwritten_bytes(self.write_limit(segment))).sum()
    }

    /// Whether blocks were written, or are being written, that neither journal nor sync covers.
    pub fn has_unsynced_writes(&self) -> bool {
        self.open_segments().any(|segment| segment.write_issued() > segment.durable_issued())
    }

    /// Gives the oldest memory back that the files have; whether there is more of it.
    pub fn evict(&mut self) -> bool {
        for segment in self.sealing.iter_mut().chain(std::iter::once(&mut self.active)) {
            if segment.evict() > 0 {
                return true;
            }
        }
        false
    }

    /// Holds little memory and no open file where nothing was used since this was last called.
    pub fn quiet_down(&mut self, io: &Io) {
        for sealed in &self.sealed {
            if sealed.file.is_open() && !sealed.file.take_used() {
                sealed.file.close();
            }
        }
        if !self.active.file().take_used() && self.quiet_appended == self.appended_bytes {
            self.active.file().close();
            self.active.shrink(io);
        }
        self.quiet_appended = self.appended_bytes;
    }

    /// The file of a segment.
    pub fn segment_file_of(&self, base: Offset) -> Option<Rc<SegmentFile>> {
        match self.open_segment(base) {
            Some(open) => Some(open.file().clone()),
            None => self.sealed_segment(base).map(|sealed| sealed.file.clone()),
        }
    }

    /// How far segment writes may go: a durable log writes to its segment only what a commit carries already.
    pub fn write_limit(&self, segment: &OpenSegment) -> Position {
        if self.config.is_durable() { segment.durable_issued() } else { segment.end() }
    }

    /// The next segment write that is worth making.
    pub fn plan_write(&mut self, bytes_min: u64, bytes_max: u64) -> Option<(Offset, SegmentWrite)> {
        let durable = self.config.is_durable();
        for segment in self.sealing.iter_mut().chain(std::iter::once(&mut self.active)) {
            let limit = if durable { segment.durable_issued() } else { segment.end() };
            if let Some(write) = segment.plan_write(limit, bytes_min, bytes_max) {
                return Some((segment.base(), write));
            }
        }
        None
    }

    /// Everything before `offset` is on stable storage.
    pub fn apply_flushed(&mut self, offset: Offset, bytes: u64) {
        if offset > self.flushed {
            self.flushed = offset;
            self.flushed_bytes = self.flushed_bytes.max(bytes);
        }
    }

    /// Bytes appended since the log was opened: a clock for those who wait for more.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Bytes that became visible since the log was opened.
    pub fn visible_bytes(&self) -> u64 {
        self.visible_bytes
    }

    /// The wall-clock time of the last append, or of opening.
    pub fn appended_unix(&self) -> Timestamp {
        self.appended_unix
    }

    /// Moves the high watermark forward; true where it moved.
    pub fn set_high_watermark(&mut self, offset: Offset) -> bool {
        let offset = offset.min(self.end);
        if offset <= self.high_watermark {
            return false;
        }
        self.high_watermark = offset;
        self.visible_bytes =
            if offset == self.end { self.appended_bytes } else { self.flushed_bytes.max(self.visible_bytes) };
        true
    }

    /// Where the batch that holds `offset` is.
    pub fn place(&self, offset: Offset) -> Place {
        assert!(self.start <= offset && offset < self.end, "{offset} is not in the log");
        let oldest_open = self.open_segments().next().expect("there is an active segment").base();
        if offset < oldest_open {
            let after = self.sealed.partition_point(|segment| segment.base <= offset);
            let sealed = &self.sealed[after.checked_sub(1).unwrap_or_else(|| panic!("no segment holds {offset}"))];
            return Place::Sealed(sealed.base);
        }
        let segment =
            self.open_segments().rev().find(|segment| segment.base() <= offset).expect("an open one holds it");
        let tail = segment.tail();
        if let Some(held) = segment.first_batch_held() {
            let floor = segment.floor(offset).unwrap_or(Position::ZERO);
            if floor >= held {
                return Place::Memory(segment.base(), floor);
            }
            if held < tail.end() && tail.header(held).base_offset <= offset {
                return Place::Memory(segment.base(), held);
            }
        }
        Place::OpenFile(segment.base())
    }

    /// The position behind which an open segment's bytes come from memory, and the first offset there.
    pub fn memory_from(&self, base: Offset) -> Option<(Offset, Position)> {
        let segment = self.open_segment(base)?;
        let held = segment.first_batch_held()?;
        (held < segment.end()).then(|| (segment.tail().header(held).base_offset, held))
    }

    /// The index points in memory of the open segment with this base.
    pub fn open_points(&self, base: Offset) -> Vec<IndexPoint> {
        self.open_segment(base).map(|segment| segment.points().0.to_vec()).unwrap_or_default()
    }

    /// The sealed segment with this base.
    pub fn sealed_segment(&self, base: Offset) -> Option<Rc<SealedSegment>> {
        let place = self.sealed.binary_search_by_key(&base, |segment| segment.base).ok()?;
        Some(self.sealed[place].clone())
    }

    /// Whether all of these are complete segments of the log still.
    pub fn has_sealed<'a>(&self, segments: impl IntoIterator<Item = &'a Rc<SealedSegment>>) -> bool {
        let has = |segment: &Rc<SealedSegment>| {
            let place = self.sealed.binary_search_by_key(&segment.base, |other| other.base);
            place.is_ok_and(|place| Rc::ptr_eq(&self.sealed[place], segment))
        };
        segments.into_iter().all(has)
    }

    /// Puts one complete segment in the place of `count` from the one at `base` on, which it begins with and all of which it covers.
    pub fn replace_sealed(&mut self, base: Offset, count: usize, segment: Rc<SealedSegment>) {
        let place = self.sealed.binary_search_by_key(&base, |other| other.base).expect("it is a segment of the log");
        assert_eq!(segment.base, base, "a compacted segment begins where the first of those it is made of does");
        self.sealed.drain(place + 1..place + count);
        self.sealed[place] = segment;
    }

    /// The first segment whose base is not before `base`.
    pub fn segment_from(&self, base: Offset) -> Option<Offset> {
        let sealed = self.sealed.partition_point(|segment| segment.base < base);
        match self.sealed.get(sealed) {
            Some(sealed) => Some(sealed.base),
            None => self.open_segments().map(OpenSegment::base).find(|open| *open >= base),
        }
    }

    /// The first offset of the segment behind the one with this base.
    pub fn segment_after(&self, base: Offset) -> Option<Offset> {
        let sealed = self.sealed.iter().map(|segment| segment.base);
        sealed.chain(self.open_segments().map(OpenSegment::base)).find(|other| *other > base)
    }

    /// Moves the log's start forward; true where it moved. When that is durable, [`Log::apply_start`] is told.
    pub fn set_start(&mut self, start: Offset) -> bool {
        let start = start.min(self.end);
        if start <= self.start {
            return false;
        }
        self.start = start;
        self.epochs.truncate_start(start);
        self.high_watermark = self.high_watermark.max(start);
        self.flushed = self.flushed.max(start);
        true
    }

    /// The start that survives a power cut.
    pub fn durable_start(&self) -> Offset {
        self.durable_start
    }

    /// The start survives a power cut: the segments before it can be taken by [`Log::take_dead`].
    pub fn apply_start(&mut self, start: Offset) {
        self.durable_start = self.durable_start.max(start);
    }

    /// Takes the complete segments that lie before the log's start for good.
    pub fn take_dead(&mut self) -> Vec<Rc<SealedSegment>> {
        let mut dead = Vec::new();
        while let Some(first) = self.sealed.front() {
            let next = self.segment_after(first.base).expect("the active segment is behind every sealed one");
            if next > self.durable_start {
                break;
            }
            dead.push(self.sealed.pop_front().expect("there is a first"));
        }
        dead
    }

    /// Cuts the log at `end`: `state` is the segment that becomes active, cut likewise, or a new one where nothing is left. The
    /// files of the given paths are to be removed. Nothing of the log may be in flight.
    pub fn truncate(&mut self, io: &Io, end: Offset, state: SegmentState, producers: Vec<Producer>) -> Vec<PathBuf> {
        assert!(end >= self.start && end <= self.end && state.base <= end);
        assert!(self.sealing.is_empty() && !self.active.is_writing() && self.pending_bytes() == 0, "it is in flight");
        let sealed = self.sealed.iter().map(|segment| (segment.base, segment.file.clone()));
        let mut files: Vec<_> = sealed.chain([(self.active.base(), self.active.file().clone())]).collect();
        let place = files.iter().position(|(base, _)| *base == state.base);
        // Where the new active segment is a new one, nothing before it is left either.
        let is_new = place.is_none();
        let file = match place {
            Some(place) => files.remove(place).1,
            None => self.segment_file(state.base),
        };
        self.sealed.retain(|segment| segment.base < state.base && !is_new);
        let removed = files.into_iter().filter(|(base, _)| *base > state.base || is_new);
        let removed = removed.map(|(_, file)| file.path().to_path_buf()).collect();
        self.active = OpenSegment::open(io, state, file);
        self.end = end;
        self.flushed = self.flushed.min(end);
        self.high_watermark = self.high_watermark.min(end);
        self.epochs.truncate_end(end);
        self.producers = Producers::new(producers, end);
        // What is appended next is of the epoch that the log is in, wherever that began before.
        if self.epoch.0 >= 0 {
            self.epochs.assign(self.epoch, end);
        }
        removed
    }

    /// What a checkpoint keeps of the newest segment: up to what is on its way to stable storage for a log that commits, else up to
    /// the end. With the offset behind it.
    pub fn checkpoint_state(&self) -> (SegmentState, Offset, u64) {
        match self.open_segments().find(|segment| segment.durable_issued() < segment.end()) {
            Some(segment) if self.commits() => {
                let position = segment.durable_issued();
                let next = self.issued_offset(segment, position);
                (segment.state(position), next, 0)
            }
            _ => (self.active.state(self.active.end()), self.end, self.appended_bytes),
        }
    }

    /// The place in the active segment before which a checkpoint tells of everything; for a log with no rolled segment to complete.
    pub fn checkpoint_position(&self) -> Position {
        if self.commits() { self.active.durable_issued() } else { self.active.end() }
    }

    /// A checkpoint is going to tell of everything before `offset`: of more than what is committed, where the log does not commit, and
    /// then nothing is until [`Log::apply_told`].
    pub fn begin_telling(&mut self, offset: Offset) {
        if !self.commits() {
            self.untold = Some(offset);
        }
    }

    /// The offset behind the batches of `segment` that end at `position`, a batch boundary in memory or its start.
    fn issued_offset(&self, segment: &OpenSegment, position: Position) -> Offset {
        if position == segment.end() {
            return self.segment_next_offset(segment.base());
        }
        segment.tail().header(position).base_offset
    }
}
