//! Checks one segment: its batches against each other and their checksums, and its indexes against its batches.

use crate::batch::{BatchHeader, verify_crc};
use crate::error::Result;
use crate::inspect::contents::{PartitionContents, read};
use crate::inspect::segment::SegmentContents;
use crate::inspect::verify::Report;
use crate::log::{LeaderEpochs, OffsetIndex, TimeIndex};
use crate::types::{Epoch, Offset, Position, Timestamp};

/// What goes on from segment to segment of a partition.
pub(super) struct Chain {
    next_offset: Option<Offset>,
    epoch: Epoch,
    epochs: LeaderEpochs,
    has_gaps: bool,
    is_broken: bool,
}

impl Chain {
    pub(super) fn new(contents: &PartitionContents) -> Chain {
        Chain {
            next_offset: None,
            epoch: Epoch::NONE,
            epochs: contents.epochs.clone(),
            has_gaps: contents.has_gaps,
            is_broken: false,
        }
    }

    /// The offset behind the last batch.
    pub(super) fn next_offset(&self) -> Offset {
        self.next_offset.unwrap_or_default()
    }

    /// Whether a segment could not be read to its end, so that what follows from that is not reported too.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }
}

pub(super) fn verify_segment(
    segment: &SegmentContents,
    next_base: Option<Offset>,
    chain: &mut Chain,
    report: &mut Report,
) -> Result<()> {
    if let Some(expected) = chain.next_offset
        && (expected > segment.base || (expected < segment.base && !chain.has_gaps))
        && !chain.is_broken
    {
        let what = format!("begins at offset {}, the segment before it ends at {expected}", segment.base);
        report.find(&segment.path, Some(Position::ZERO), what);
    }
    chain.next_offset = Some(segment.base);
    chain.is_broken = false;
    if let Some(missing) = segment.missing() {
        let what = format!("has {} bytes, its durable end is byte {}", segment.file_bytes, segment.length);
        report.find(&segment.path, Some(missing), what);
        chain.is_broken = true;
        return Ok(());
    }
    let mut about_indexes = Report::default();
    let mut indexes = Indexes::read(segment, next_base, &mut about_indexes)?;
    let mut batches = segment.batches()?;
    while let Some(batch) = batches.next() {
        match batch {
            Ok((position, header, bytes)) => {
                if !verify_crc(&bytes) {
                    if is_end_of_unrecorded(segment) {
                        break;
                    }
                    report.find(&segment.path, Some(position), "a batch does not match its checksum");
                }
                verify_batch(segment, position, &header, chain, report);
                indexes.batch(position, &header, &mut about_indexes);
                report.batches += 1;
                report.records += u64::try_from(header.record_count).unwrap_or(0);
                report.bytes += bytes.len() as u64;
            }
            Err(_) if is_end_of_unrecorded(segment) => break,
            Err(error) => {
                if batches.rest_is_zero()? && !segment.is_recorded {
                    let what = "zeros behind its last batch; a complete segment ends with it";
                    report.find(&segment.path, Some(batches.position()), what);
                } else {
                    report.find_error(&segment.path, error);
                }
                chain.is_broken = true;
                return Ok(());
            }
        }
    }
    indexes.end(&mut about_indexes);
    report.index_entries += about_indexes.index_entries;
    match about_indexes.findings.first() {
        // Nothing reads it: it is written anew when the segment is complete, or removed by recovery.
        Some(stale) if segment.is_recorded => {
            report.note(&stale.file, format!("is from before a cut or a crash: {}", stale.what));
        }
        _ => report.findings.append(&mut about_indexes.findings),
    }
    Ok(())
}

/// The active segment of a stopped Kafka, or of a partition that nothing records: it ends where its batches do.
fn is_end_of_unrecorded(segment: &SegmentContents) -> bool {
    segment.is_active && !segment.is_recorded
}

fn verify_batch(segment: &SegmentContents, at: Position, header: &BatchHeader, chain: &mut Chain, report: &mut Report) {
    let expected = chain.next_offset();
    let has_gaps = chain.has_gaps;
    if header.base_offset < expected || (header.base_offset > expected && !has_gaps) {
        let what = format!("a batch has base offset {}, the one before it ends at {expected}", header.base_offset);
        report.find(&segment.path, Some(at), what);
    }
    let most = header.last_offset_delta.saturating_add(1);
    let counts = if has_gaps { 0..=most } else { most.max(1)..=most };
    if !counts.contains(&header.record_count) {
        let (count, delta) = (header.record_count, header.last_offset_delta);
        let what = format!("a batch has {count} records and a last offset delta of {delta}");
        report.find(&segment.path, Some(at), what);
    }
    if header.leader_epoch < chain.epoch {
        let what = format!("a batch has leader epoch {}, one before it has {}", header.leader_epoch, chain.epoch);
        report.find(&segment.path, Some(at), what);
    } else if header.leader_epoch != chain.epoch && !chain.epochs.entries().is_empty() {
        let known = chain.epochs.epoch_of(header.base_offset);
        // An epoch that began with a batch is in the batch alone until the next checkpoint.
        if known.is_some_and(|known| known > header.leader_epoch) {
            let (epoch, offset) = (header.leader_epoch, header.base_offset);
            let what =
                format!("the batch at offset {offset} has leader epoch {epoch}, the epochs' record says {known:?}");
            report.find(&segment.path, Some(at), what);
        }
    }
    chain.epoch = chain.epoch.max(header.leader_epoch);
    chain.next_offset = Some(header.next_offset().max(expected));
}

/// The indexes of a segment, compared with its batches as they come.
struct Indexes<'a> {
    segment: &'a SegmentContents,
    offsets: Vec<(Offset, Position)>,
    /// Entries whose position was reached, and whose offset was.
    positions_seen: usize,
    offsets_seen: usize,
    times: Vec<(Timestamp, Offset)>,
    times_seen: usize,
    max_timestamp: Timestamp,
}

impl<'a> Indexes<'a> {
    /// Reads the index files that are there. What they have beyond an active segment's end is left from before a crash.
    fn read(segment: &'a SegmentContents, next_base: Option<Offset>, report: &mut Report) -> Result<Indexes<'a>> {
        let (index_path, time_path) = (segment.path.with_extension("index"), segment.path.with_extension("timeindex"));
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        let length = if segment.is_active { Position(u64::MAX) } else { segment.length };
        if let Some(bytes) = read(&index_path)? {
            match OffsetIndex::decode(&index_path, segment.base, whole(&bytes, 8, segment), length) {
                Ok(index) => offsets = index.iter().filter(|entry| entry.1 < segment.length).collect(),
                Err(error) => report.find_error(&index_path, error),
            }
        }
        let end = if segment.is_active { Offset(i64::MAX) } else { next_base.unwrap_or(Offset(i64::MAX)) };
        if let Some(bytes) = read(&time_path)? {
            match TimeIndex::decode(&time_path, segment.base, whole(&bytes, 12, segment), end) {
                Ok(index) => times = index.iter().collect(),
                Err(error) => report.find_error(&time_path, error),
            }
        }
        report.index_entries += (offsets.len() + times.len()) as u64;
        let max_timestamp = Timestamp::NONE;
        Ok(Indexes { segment, offsets, positions_seen: 0, offsets_seen: 0, times, times_seen: 0, max_timestamp })
    }

    fn batch(&mut self, at: Position, header: &BatchHeader, report: &mut Report) {
        let index = |place: usize| (self.segment.path.with_extension("index"), Position(place as u64 * 8));
        while let Some((_, position)) = self.offsets.get(self.positions_seen).filter(|entry| entry.1 <= at) {
            if *position < at {
                let (path, place) = index(self.positions_seen);
                report.find(&path, Some(place), format!("points at {position}, where no batch begins"));
            }
            self.positions_seen += 1;
        }
        let last = header.last_offset();
        while let Some((offset, position)) = self.offsets.get(self.offsets_seen).filter(|entry| entry.0 <= last) {
            // Kafka before 4.0 made one entry for many batches: the position of the first, the last offset of the last.
            if *offset != last || self.offsets_seen >= self.positions_seen {
                let (path, place) = index(self.offsets_seen);
                let what =
                    format!("says {offset} for the batch at {position}; no batch from there on ends with that offset");
                report.find(&path, Some(place), what);
            }
            self.offsets_seen += 1;
        }
        // Of a batch whose records compaction took no index has the times.
        if header.record_count > 0 {
            self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        }
        while let Some((timestamp, offset)) = self.times.get(self.times_seen).filter(|entry| entry.1 <= last) {
            if *timestamp != self.max_timestamp {
                let path = self.segment.path.with_extension("timeindex");
                let max = self.max_timestamp;
                let what =
                    format!("says {timestamp} for offset {offset}, the greatest timestamp up to its batch is {max}");
                report.find(&path, Some(Position(self.times_seen as u64 * 12)), what);
            }
            self.times_seen += 1;
        }
    }

    fn end(&mut self, report: &mut Report) {
        if self.segment.is_active {
            return;
        }
        if let Some((offset, position)) = self.offsets.get(self.offsets_seen.min(self.positions_seen)) {
            let path = self.segment.path.with_extension("index");
            let place = Position(self.offsets_seen.min(self.positions_seen) as u64 * 8);
            report.find(&path, Some(place), format!("has offset {offset} at {position}, which no batch reaches"));
        }
        if let Some((timestamp, _)) = self.times.last()
            && *timestamp != self.max_timestamp
            && self.times_seen == self.times.len()
        {
            let path = self.segment.path.with_extension("timeindex");
            let what =
                format!("ends with {timestamp}, the greatest timestamp of the segment is {}", self.max_timestamp);
            report.find(&path, Some(Position((self.times.len() as u64 - 1) * 12)), what);
        }
    }
}

/// Kafka preallocates the indexes of an active segment, and after a crash their rest is zeros: there the entries up to
/// the zeros count.
fn whole<'b>(bytes: &'b [u8], entry_bytes: usize, segment: &SegmentContents) -> &'b [u8] {
    if !segment.is_active {
        return bytes;
    }
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..used.next_multiple_of(entry_bytes).min(bytes.len() - bytes.len() % entry_bytes)]
}
