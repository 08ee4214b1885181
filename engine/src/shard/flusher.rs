//! Group commit: every pending append of every partition of a core becomes durable with one write.
//!
//! While one group is being written, the next one collects; a second one may be under way beside it when much waits. Groups are
//! acknowledged in their order. Little pending goes into the journal's group itself; a partition with much pending writes its
//! whole blocks straight to its segment beside the group, which then holds an entry that names them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::io::{Instant, Slice, Sync};
use crate::journal::{Entry, GROUP_BYTES_MAX, GROUPS_IN_FLIGHT_MAX, GroupWriter, SealedGroup, Written};
use crate::log::producer::keep_last;
use crate::log::{IndexPoint, OpenSegment, Pending, ProducedBatch, SegmentWrite};
use crate::shard::group_sync::GroupSync;
use crate::shard::join::{join_all, join2};
use crate::shard::partition::{Partition, Work};
use crate::shard::shard::{NotedEntry, Shard};
use crate::types::{Offset, Position};

/// A group of so many bytes takes no more partitions: the rest goes into a second one beside it, so that the disk is busy while the
/// acknowledged ones append again.
const GROUP_BYTES_ENOUGH: usize = GROUP_BYTES_MAX / 2;
/// A direct write of so many bytes takes no more batches: those that follow are written beside it, and those in it are
/// acknowledged earlier.
const DIRECT_BYTES_ENOUGH: u64 = 768 << 10;
/// Bytes of one group's heads beyond the data, for a partition.
const ENTRY_ROOM_BYTES: usize = 256;
/// What is not written directly always fits a group of its own, whatever the setting says.
const DIRECT_BYTES_MIN_MAX: u64 = GROUP_BYTES_MAX as u64 / 2;
/// Index points that fit a group beside the rest of a direct write.
const POINTS_MAX: usize = (GROUP_BYTES_MAX / 2) / 32;

/// How long after a commit the next one is expected.
const COMMITS_LATELY: Duration = Duration::from_millis(10);

/// The state of group commit.
#[derive(Default)]
pub(super) struct Flusher {
    /// Partitions with something pending, oldest first.
    queue: RefCell<VecDeque<Rc<Partition>>>,
    /// Changes that are not batches.
    noted: RefCell<VecDeque<NotedEntry>>,
    wake: tokio::sync::Notify,
    in_flight: Cell<usize>,
    /// When a group last began or ended.
    active_at: Cell<Option<Instant>>,
    /// Groups under way, oldest first, with their outcome once it is known.
    groups: RefCell<VecDeque<InFlight>>,
    /// Woken when a checkpoint freed journal.
    pub(super) released: tokio::sync::Notify,
    /// Woken when a group was applied.
    pub(super) applied: tokio::sync::Notify,
    /// Woken to have a checkpoint made now.
    pub(super) checkpoint: tokio::sync::Notify,
    /// Whether someone waits for a checkpoint to have records flushed that do not go through the journal.
    pub(super) flush_wanted: Cell<bool>,
    /// How groups are made durable.
    sync: GroupSync,
    /// The sequence behind the last group that was applied.
    pub(super) applied_before: Cell<u64>,
    /// The sequence behind the last group that was sealed.
    pub(super) sealed_before: Cell<u64>,
}

struct InFlight {
    sequence: u64,
    members: SmallVec<[Member; 4]>,
    outcome: Option<Result<Written>>,
    closed: Instant,
}

struct Member {
    partition: Rc<Partition>,
    segment: Offset,
    to: Position,
    next_offset: Offset,
    appended_bytes: u64,
    direct_end: Option<Position>,
}

struct Direct {
    partition: Rc<Partition>,
    _work: Work,
    segment: Offset,
    write: SegmentWrite,
    /// Whether the group's flush makes it durable too, if it is written before.
    covered: bool,
}

struct Group {
    sealed: SealedGroup,
    sequence: u64,
    directs: Vec<Direct>,
}

impl Shard {
    /// Has the partition's pending bytes committed with the next group.
    pub(super) fn queue_commit(&self, partition: &Rc<Partition>) {
        if !partition.queued.replace(true) {
            self.flusher.queue.borrow_mut().push_back(partition.clone());
        }
        self.flusher.wake.notify_one();
    }

    /// Has a change that is no batch written with the next group; the sequence of that group.
    pub(super) fn note_entry(&self, entry: NotedEntry) -> u64 {
        self.flusher.noted.borrow_mut().push_back(entry);
        self.flusher.wake.notify_one();
        self.journal.borrow().head().sequence
    }

    /// Returns when the group with this sequence, and all before, are on stable storage.
    pub(super) async fn group_applied(&self, sequence: u64) -> Result<()> {
        loop {
            self.failed()?;
            let applied = self.flusher.applied.notified();
            if self.flusher.applied_before.get() > sequence {
                return Ok(());
            }
            applied.await;
        }
    }

    pub(super) fn failed(&self) -> Result<()> {
        match &*self.failure.borrow() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Has group commit look again.
    pub(super) fn flusher_wake(&self) {
        self.flusher.wake.notify_one();
    }

    /// Whether groups are under way, or were a moment ago: producers do not pause between two appends.
    pub(super) fn commits_lately(&self) -> bool {
        let flusher = &self.flusher;
        let lately = |at: Instant| self.io.now().since(at) < COMMITS_LATELY;
        flusher.in_flight.get() > 0 || flusher.active_at.get().is_some_and(lately)
    }

    /// Whether everything queued is durable.
    pub(super) fn is_flushed(&self) -> bool {
        let flusher = &self.flusher;
        flusher.queue.borrow().is_empty() && flusher.noted.borrow().is_empty() && flusher.in_flight.get() == 0
    }

    /// Runs group commit until the shard is closed.
    pub(super) async fn run_flusher(self: Rc<Self>) {
        let journal = self.journal.borrow().file().clone();
        match journal.covered_by(&journal).await {
            Ok(Position::ZERO) => {}
            Ok(_) => self.flusher.sync.give_choice(),
            Err(error) => return self.fail(error),
        }
        loop {
            self.flusher.wake.notified().await;
            // Whoever is ready to append does so before the group is closed.
            self.io.yield_now().await;
            if self.is_closed() || self.failed().is_err() {
                return;
            }
            while self.may_begin_group() {
                if !self.journal_has_room().await {
                    return;
                }
                let Some(group) = self.plan_group() else { break };
                let shard = self.clone();
                self.io.spawn(async move { shard.run_group(group).await });
            }
        }
    }

    /// Begins the groups of a large append at once: many MiB may be about to be appended by tasks that are ready, and the disk
    /// would be idle meanwhile.
    pub(super) fn begin_large_groups(self: &Rc<Self>) {
        while self.may_begin_group() && self.journal.borrow().has_room(GROUP_BYTES_MAX) {
            let Some(group) = self.plan_group() else { return };
            let shard = self.clone();
            self.io.spawn_begun(async move { shard.run_group(group).await });
        }
    }

    fn may_begin_group(&self) -> bool {
        let in_flight = self.flusher.in_flight.get();
        let waiting = !self.flusher.queue.borrow().is_empty() || !self.flusher.noted.borrow().is_empty();
        waiting
            && (in_flight == 0
                || (in_flight < GROUPS_IN_FLIGHT_MAX && self.queued_bytes() >= self.config.direct_bytes_min))
    }

    fn queued_bytes(&self) -> u64 {
        let queue = self.flusher.queue.borrow();
        // A few partitions tell: this only decides whether a second group is worth it.
        queue.iter().take(64).map(|partition| partition.log.borrow().pending_bytes()).sum()
    }

    /// Waits for a checkpoint where the journal is full; `false` where the shard failed.
    async fn journal_has_room(&self) -> bool {
        let mut full_since = None;
        loop {
            if self.failed().is_err() {
                return false;
            }
            let released = self.flusher.released.notified();
            let room = self.journal.borrow().has_room(GROUP_BYTES_MAX);
            if self.journal_wants_checkpoint() {
                self.flusher.checkpoint.notify_one();
            }
            if room {
                if let Some(since) = full_since {
                    self.metrics.journal_full_seconds.observe(self.io.now() - since);
                }
                return true;
            }
            full_since.get_or_insert_with(|| self.io.now());
            released.await;
        }
    }

    /// Whether it is time to free journal.
    pub(super) fn journal_wants_checkpoint(&self) -> bool {
        let journal = self.journal.borrow();
        journal.used_bytes() * 2 > journal.ready_bytes() || journal.is_full()
    }

    /// Whether appends may soon have to wait for room in the journal, so that what frees it must not hold back.
    pub(super) fn journal_fills(&self) -> bool {
        let journal = self.journal.borrow();
        journal.used_bytes() * 8 > journal.ready_bytes() * 5 || journal.is_full()
    }

    fn plan_group(self: &Rc<Self>) -> Option<Group> {
        let mut writer = self.journal.borrow_mut().begin_group();
        let mut members = SmallVec::new();
        let mut directs = Vec::new();
        self.plan_noted(&mut writer);
        let batch = self.flusher.queue.borrow().len();
        for _ in 0..batch {
            if writer.filled_bytes() >= GROUP_BYTES_ENOUGH {
                break;
            }
            let Some(partition) = self.flusher.queue.borrow_mut().pop_front() else { break };
            partition.queued.set(false);
            if partition.check().is_err() {
                continue;
            }
            if !self.plan_partition(&partition, &mut writer, &mut members, &mut directs) {
                partition.queued.set(true);
                self.flusher.queue.borrow_mut().push_front(partition);
                break;
            }
        }
        if writer.is_empty() {
            return None;
        }
        let sealed = self.journal.borrow_mut().seal(writer);
        let sequence = sealed.sequence();
        self.flusher.sealed_before.set(sequence + 1);
        self.flusher.in_flight.set(self.flusher.in_flight.get() + 1);
        self.flusher.groups.borrow_mut().push_back(InFlight {
            sequence,
            members,
            outcome: None,
            closed: self.io.now(),
        });
        Some(Group { sealed, sequence, directs })
    }

    fn plan_noted(&self, writer: &mut GroupWriter) {
        let mut noted = self.flusher.noted.borrow_mut();
        while let Some(entry) = noted.front() {
            let pushed = match *entry {
                NotedEntry::EpochStart { key, epoch, start } => {
                    writer.push(Entry::EpochStart { id: key, epoch, start })
                }
                NotedEntry::Start { key, start } => writer.push(Entry::Start { id: key, start }),
            };
            if !pushed {
                return;
            }
            noted.pop_front();
        }
    }

    /// Puts what is pending of a partition into the group; `false` where it does not fit any more.
    fn plan_partition(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        writer: &mut GroupWriter,
        members: &mut SmallVec<[Member; 4]>,
        directs: &mut Vec<Direct>,
    ) -> bool {
        let mut log = partition.log.borrow_mut();
        if !log.commits() {
            // Its bytes go to the segment without a sync: a checkpoint makes them durable, not the journal.
            self.flusher.flush_wanted.set(true);
            self.flusher.checkpoint.notify_one();
            return true;
        }
        while let Some(pending) = log.pending() {
            let appended_bytes = log.appended_bytes();
            let segment = log.open_segment_mut(pending.segment).expect("it has pending bytes");
            let pending = capped(segment, pending);
            let bytes = pending.to - pending.from;
            let direct_bytes_min = self.config.direct_bytes_min.min(DIRECT_BYTES_MIN_MAX);
            let large = bytes >= direct_bytes_min && segment.unwritten_bytes(pending.to) >= direct_bytes_min / 2;
            let pending = if large { limited(segment, pending) } else { pending };
            let bytes = pending.to - pending.from;
            let direct_end = if large {
                let produced = produced(segment, &pending);
                if writer.room_bytes() < direct_room(segment, &pending, produced.len()) {
                    return false;
                }
                let write = plan_direct(partition, segment, &pending, &produced, writer);
                let end = write.end;
                self.metrics.direct_bytes.add(write.end - write.position);
                let covered = segment.file().is_covered(end);
                self.metrics.covered_bytes.add(if covered { write.end - write.position } else { 0 });
                let (partition, _work) = (partition.clone(), partition.work());
                directs.push(Direct { partition, _work, segment: pending.segment, write, covered });
                Some(end)
            } else {
                if writer.room_bytes() < bytes as usize + ENTRY_ROOM_BYTES {
                    return false;
                }
                push_data(partition, segment, &pending, pending.from, writer);
                self.metrics.journal_bytes.add(bytes);
                None
            };
            segment.issue_durable(pending.to);
            // A checkpoint that was taken before tells of less.
            partition.changed.set(true);
            partition.commits.set(partition.commits.get() + 1);
            members.push(Member {
                partition: partition.clone(),
                segment: pending.segment,
                to: pending.to,
                next_offset: pending.next_offset,
                appended_bytes,
                direct_end,
            });
            if direct_end.is_some() && log.pending().is_some() {
                // The rest goes into the next group, which is written beside this one.
                return false;
            }
        }
        true
    }

    async fn run_group(self: Rc<Self>, group: Group) {
        let began = self.io.now();
        let alone = group.directs.is_empty();
        let covered = group.directs.iter().any(|direct| direct.covered);
        let directs = join_all(group.directs.into_iter().map(|direct| self.clone().run_direct(direct)));
        let file = self.journal.borrow().file().clone();
        let outcome = if covered || self.flusher.sync.is_apart(began) {
            let written = self.when_space(None, async || group.sealed.write_unsynced(&file).await);
            match both(join2(written, directs).await) {
                // One flush for all of them.
                Ok(unsynced) => unsynced.sync(&file).await,
                Err(error) => Err(error),
            }
        } else {
            let written = self.when_space(None, async || group.sealed.write(&file).await);
            let outcome = both(join2(written, directs).await);
            if alone {
                let now = self.io.now();
                self.flusher.sync.took(now, now - began);
            }
            outcome
        };
        let mut groups = self.flusher.groups.borrow_mut();
        let place = groups.iter().position(|other| other.sequence == group.sequence).expect("it is under way");
        groups[place].outcome = Some(outcome);
        drop(groups);
        self.apply_groups();
    }

    async fn run_direct(self: Rc<Self>, direct: Direct) -> Result<()> {
        let Some(file) = direct.partition.log.borrow().open_segment(direct.segment).map(|open| open.file().clone())
        else {
            return Err(Error::Closed);
        };
        let sync = if direct.covered { Sync::None } else { Sync::Data };
        let written = self.write_grown(&direct.partition, &file, &direct.write, sync, true).await;
        self.grow_ahead(&direct.partition, direct.segment, direct.write.end);
        let journal = self.journal.borrow().file().clone();
        let written = match written {
            Ok(()) => file.learn_covered(&journal).await,
            error => error,
        };
        // Nobody waits for a deleted partition any more, but others wait for the group.
        if direct.partition.is_deleted() { Ok(()) } else { written }
    }

    /// Applies the groups that are done, oldest first; one that is done before an older one waits for it.
    fn apply_groups(self: &Rc<Self>) {
        loop {
            let group = {
                let mut groups = self.flusher.groups.borrow_mut();
                match groups.front() {
                    Some(front) if front.outcome.is_some() => groups.pop_front().expect("it is there"),
                    _ => break,
                }
            };
            self.flusher.in_flight.set(self.flusher.in_flight.get() - 1);
            self.flusher.active_at.set(Some(self.io.now()));
            match group.outcome.expect("checked above") {
                // Behind a group that failed nothing is acknowledged.
                Ok(_) if self.failed().is_err() => {}
                Ok(written) => {
                    self.journal.borrow_mut().apply(written);
                    self.flusher.applied_before.set(group.sequence + 1);
                    self.metrics.groups.add(1);
                    self.metrics.group_seconds.observe(self.io.now() - group.closed);
                    for member in &group.members {
                        self.apply_member(member);
                    }
                }
                Err(error) => self.fail(error),
            }
            self.flusher.applied.notify_waiters();
        }
        self.flusher.wake.notify_one();
    }

    fn apply_member(self: &Rc<Self>, member: &Member) {
        let partition = &member.partition;
        partition.commits.set(partition.commits.get() - 1);
        let mut log = partition.log.borrow_mut();
        if let Some(segment) = log.open_segment_mut(member.segment) {
            if let Some(end) = member.direct_end {
                segment.apply_write(end);
            }
            segment.apply_durable(member.to);
        }
        log.apply_flushed(member.next_offset, member.appended_bytes);
        self.recount(partition, &log);
        let worth_writing = log.worth_writing(self.write_pace(0).bytes);
        drop(log);
        if member.direct_end.is_some() {
            self.offer_eviction(partition);
        }
        partition.progress.notify_waiters();
        self.moved(partition);
        if worth_writing {
            self.write_behind(partition);
        }
    }
}

/// The pending bytes up to where their index points fit a group: with an index entry for every batch they may be too many.
fn capped(segment: &OpenSegment, pending: Pending) -> Pending {
    let points = segment.points_from(pending.from);
    match points.get(POINTS_MAX) {
        Some(point) if point.position < pending.to => {
            let next_offset = segment.tail().header(point.position).base_offset;
            Pending { to: point.position, next_offset, ..pending }
        }
        _ => pending,
    }
}

/// What came of a group, where that of its direct writes is good too.
fn both<T>((written, directs): (Result<T>, Vec<Result<()>>)) -> Result<T> {
    directs.into_iter().fold(written, |outcome, direct| outcome.and_then(|written| direct.map(|()| written)))
}

/// The first batches of what is pending, enough for one large write.
fn limited(segment: &OpenSegment, pending: Pending) -> Pending {
    if pending.to - pending.from <= DIRECT_BYTES_ENOUGH {
        return pending;
    }
    let mut to = pending.from;
    let mut next_offset = pending.next_offset;
    while to < pending.to && to - pending.from < DIRECT_BYTES_ENOUGH {
        let header = segment.tail().header(to);
        to += header.size_bytes() as u64;
        next_offset = header.next_offset();
    }
    Pending { to, next_offset, ..pending }
}

/// Room that the entries of a direct write take.
fn direct_room(segment: &OpenSegment, pending: &Pending, produced: usize) -> usize {
    let points = segment.points_from(pending.from).partition_point(|point| point.position < pending.to) + 1;
    points * 32 + produced * 40 + (pending.to - pending.to.block_start()) as usize + 2 * ENTRY_ROOM_BYTES
}

/// Plans the write of whole blocks straight to the segment, with its entry and that of the unaligned rest.
fn plan_direct(
    partition: &Partition,
    segment: &mut OpenSegment,
    pending: &Pending,
    produced: &[ProducedBatch],
    writer: &mut GroupWriter,
) -> SegmentWrite {
    let points = extent_points(segment, pending);
    let write = segment.plan_write(pending.to, 1, u64::MAX).expect("whole blocks are pending");
    let entry = Entry::Extent {
        id: partition.key,
        segment: pending.segment,
        position: write.position,
        length: write.end - write.position,
        next_offset: pending.next_offset,
        chain_crc: chain_crc(segment, pending.from, pending.to),
        points: &points,
        produced,
    };
    assert!(writer.push(entry), "room was made sure of");
    if write.end < pending.to {
        push_data(partition, segment, pending, write.end, writer);
    }
    write
}

fn push_data(
    partition: &Partition,
    segment: &OpenSegment,
    pending: &Pending,
    from: Position,
    writer: &mut GroupWriter,
) {
    let slices = segment.tail().slices(from, pending.to);
    let parts: SmallVec<[&[u8]; 8]> = slices.iter().map(|slice: &Slice| &**slice).collect();
    let entry = Entry::Data {
        id: partition.key,
        segment: pending.segment,
        position: from,
        next_offset: pending.next_offset,
        bytes: &parts,
    };
    assert!(writer.push(entry), "room was made sure of");
}

/// What recovery needs to know of the index when the bytes themselves are not read: the points, and behind them one that is no
/// batch's, at the end of the bytes, with the timestamps of the segment up to there.
fn extent_points(segment: &OpenSegment, pending: &Pending) -> Vec<IndexPoint> {
    let (_, max_timestamp, max_timestamp_offset) = segment.timestamps_before(pending.to);
    let mut points = segment.points_from(pending.from).to_vec();
    points.retain(|point| point.position < pending.to);
    points.push(IndexPoint { offset: pending.next_offset, position: pending.to, max_timestamp, max_timestamp_offset });
    points
}

/// What recovery needs to know of the producers, whose batches it does not read: without those that later ones of the same producer
/// push out of what is remembered of it.
fn produced(segment: &OpenSegment, pending: &Pending) -> Vec<ProducedBatch> {
    let mut batches = Vec::new();
    let mut at = pending.from;
    while at < pending.to {
        let header = segment.tail().header(at);
        let end = at + header.size_bytes() as u64;
        if header.is_control() {
            batches.extend(ProducedBatch::of(&header, &segment.tail().copy(at, end)));
        } else {
            batches.extend(ProducedBatch::of(&header, &[]));
        }
        at = end;
    }
    keep_last(&mut batches);
    batches
}

/// CRC-32C over the checksum fields of the batches in `from..to`: recovery compares it with what the segment holds.
fn chain_crc(segment: &OpenSegment, from: Position, to: Position) -> u32 {
    let mut crc = 0;
    let mut at = from;
    while at < to {
        let header = segment.tail().header(at);
        crc = crc32c::crc32c_append(crc, &header.crc.to_be_bytes());
        at += header.size_bytes() as u64;
    }
    crc
}
