//! Where a partition ends by checkpoint and journal: the rule of recovery, followed a second time and independently.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::batch::verify_crc;
use crate::inspect::segment::SegmentContents;
use crate::journal::{OwnedEntry, PartitionState};
use crate::log::LeaderEpochs;
use crate::types::{Offset, Position};

/// What checkpoint and journal say about one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Recovered {
    /// The first readable offset.
    pub(super) start: Offset,
    /// The active segment.
    pub(super) segment: Offset,
    /// Its durable bytes.
    pub(super) position: Position,
    /// The first offset behind them.
    pub(super) next_offset: Offset,
    /// Groups of the checkpoint's generation before this one are in the state already.
    pub(super) applied_before: u64,
    /// The leader epochs.
    pub(super) epochs: LeaderEpochs,
    /// Where segments end that were rolled since the checkpoint.
    pub(super) rolled: BTreeMap<Offset, Position>,
    /// Bytes by segment and place; a later one wins.
    pub(super) overlays: BTreeMap<Offset, Vec<(Position, Bytes)>>,
    /// An extent was not whole: nobody was told of it, nor of anything behind it.
    rejected: bool,
    /// What does not fit together.
    pub(super) problems: Vec<String>,
}

impl Recovered {
    /// The state in a checkpoint.
    pub(super) fn from_state(state: &PartitionState) -> Recovered {
        let mut recovered = Recovered {
            start: state.start,
            segment: state.segment,
            position: state.position,
            next_offset: state.next_offset,
            applied_before: state.applied_before,
            ..Recovered::default()
        };
        match LeaderEpochs::from_entries(state.epochs.clone()) {
            Some(epochs) => recovered.epochs = epochs,
            None => recovered.problems.push("its leader epochs in the checkpoint do not rise".into()),
        }
        if let Some(damage) = &state.damage {
            recovered.problems.push(format!("is recorded as damaged and serves no more: {damage}"));
        }
        if !state.partial.is_empty() {
            let at = state.position.block_start();
            recovered.overlays.entry(state.segment).or_default().push((at, Bytes::from(state.partial.clone())));
        }
        recovered
    }

    /// A partition that no checkpoint has yet and `entry` is the first about.
    pub(super) fn unknown(entry: &OwnedEntry) -> Recovered {
        let segment = match entry {
            OwnedEntry::Data { segment, .. } | OwnedEntry::Extent { segment, .. } => *segment,
            OwnedEntry::Start { .. } | OwnedEntry::EpochStart { .. } => Offset::ZERO,
        };
        Recovered { start: segment, segment, next_offset: segment, ..Recovered::default() }
    }

    /// Applies an entry of the journal. An extent in a group that may have been in flight counts where the segment in
    /// `dir` has it, with the data of `next` behind it.
    pub(super) fn apply(&mut self, dir: &Path, entry: &OwnedEntry, next: Option<&OwnedEntry>, certain: bool) {
        match entry {
            _ if self.rejected => {}
            OwnedEntry::Data { segment, position, next_offset, bytes, .. } => {
                if self.extend(*segment, *position, bytes.len() as u64, *next_offset) {
                    self.overlays.entry(*segment).or_default().push((*position, bytes.clone()));
                }
            }
            OwnedEntry::Extent { segment, position, length, next_offset, .. } => {
                if *next_offset > self.next_offset && !certain && !self.is_whole(dir, entry, next) {
                    self.rejected = true;
                } else if self.extend(*segment, *position, *length, *next_offset) {
                    self.uncover(*segment, *position, *position + *length);
                }
            }
            OwnedEntry::Start { start, .. } => self.start = self.start.max(*start),
            OwnedEntry::EpochStart { epoch, start, .. } => {
                self.epochs.assign(*epoch, *start);
            }
        }
    }

    /// Everything was applied. Where all of it lies before the log's start, the log goes on there, without the old segments, which
    /// may be gone already.
    pub(super) fn settle(&mut self) {
        if self.problems.is_empty() && self.start >= self.next_offset && self.start > self.segment {
            let (start, epochs) = (self.start, std::mem::take(&mut self.epochs));
            *self = Recovered { start, segment: start, next_offset: start, epochs, ..Recovered::default() };
        }
    }

    /// Whether a segment whose next one begins at `end` is part of the log.
    pub(super) fn has_segment(&self, base: Offset, end: Option<Offset>) -> bool {
        base <= self.segment && (base == self.segment || end.is_none_or(|end| end > self.start))
    }

    /// Whether the segment's file has the bytes of an extent: what was known of its first block, then sound batches
    /// without a gap up to its end, with its chain of checksums.
    fn is_whole(&self, dir: &Path, extent: &OwnedEntry, next: Option<&OwnedEntry>) -> bool {
        let OwnedEntry::Extent { id, segment, position, length, next_offset, chain_crc, .. } = extent else {
            panic!("{extent:?} is no extent");
        };
        let Ok(mut file) = SegmentContents::of_file(&dir.join(format!("{:020}.log", segment.0)), *segment) else {
            return false;
        };
        let end = *position + *length;
        let from = if *segment == self.segment { self.position } else { Position::ZERO };
        if file.length < end || *position > from || (*segment != self.segment && *segment != self.next_offset) {
            return false;
        }
        file.length = end;
        let known =
            SegmentContents { overlays: self.overlays.get(segment).cloned().unwrap_or_default(), ..file.clone() };
        let same = match (file.range(*position, from), known.range(*position, from)) {
            (Ok(in_file), Ok(known)) => in_file == known,
            _ => false,
        };
        if let Some(OwnedEntry::Data { id: other, segment: base, position: at, bytes, .. }) = next
            && (other, base, *at) == (id, segment, end)
        {
            file.overlays.push((end, bytes.clone()));
            file.length = end + bytes.len() as u64;
        }
        let (mut offset, mut crc) = (self.next_offset, 0);
        let Ok(batches) = file.batches() else { return false };
        for batch in batches.from(from) {
            match batch {
                Ok((_, header, bytes)) if header.base_offset == offset && verify_crc(&bytes) => {
                    crc = crc32c::crc32c_append(crc, &header.crc.to_be_bytes());
                    offset = header.next_offset();
                }
                _ => return false,
            }
        }
        same && offset == *next_offset && crc == *chain_crc
    }

    /// Moves the end over new bytes; false where they belong to a segment that was complete before.
    fn extend(&mut self, segment: Offset, position: Position, length: u64, next_offset: Offset) -> bool {
        if segment < self.segment {
            return false;
        }
        if segment > self.segment {
            if position != Position::ZERO || segment != self.next_offset {
                let end = self.next_offset;
                let what =
                    format!("the journal begins segment {segment} at byte {position}, the log ends at offset {end}");
                self.problems.push(what);
            }
            if self.position != Position::ZERO {
                self.rolled.insert(self.segment, self.position);
            }
            (self.segment, self.position) = (segment, Position::ZERO);
        }
        if position > self.position {
            let end = self.position;
            self.problems
                .push(format!("the journal goes on at byte {position} of segment {segment}, which ends at {end}"));
        }
        if position + length >= self.position {
            self.position = position + length;
            self.next_offset = self.next_offset.max(next_offset);
        }
        true
    }

    /// Drops what is known of the bytes `from..to` of a segment: they are in its file, or gone.
    fn uncover(&mut self, segment: Offset, from: Position, to: Position) {
        let Some(overlays) = self.overlays.get_mut(&segment) else { return };
        for (at, bytes) in std::mem::take(overlays) {
            let end = at + bytes.len() as u64;
            if at < from {
                overlays.push((at, bytes.slice(..(from.min(end) - at) as usize)));
            }
            if end > to {
                let kept = to.max(at);
                overlays.push((kept, bytes.slice((kept - at) as usize..)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PartitionKey;

    fn data(segment: i64, position: u64, bytes: &'static [u8], next: i64) -> OwnedEntry {
        OwnedEntry::Data {
            id: PartitionKey { topic_id: crate::TopicId::ZERO, partition: 0 },
            segment: Offset(segment),
            position: Position(position),
            next_offset: Offset(next),
            bytes: Bytes::from_static(bytes),
        }
    }

    #[test]
    fn an_extent_is_in_the_file_and_a_gap_is_a_problem() {
        let id = PartitionKey { topic_id: crate::TopicId::ZERO, partition: 0 };
        let (dir, mut recovered) = (Path::new("nowhere"), Recovered::default());
        recovered.apply(dir, &data(0, 0, b"abcdef", 6), None, true);
        let extent = |position, length| OwnedEntry::Extent {
            id,
            segment: Offset(0),
            position: Position(position),
            length,
            next_offset: Offset(20),
            chain_crc: 0,
            points: Vec::new(),
            produced: Vec::new(),
        };
        recovered.apply(dir, &extent(2, 100), None, true);
        assert_eq!(recovered.overlays[&Offset(0)][..], [(Position(0), Bytes::from("ab"))]);
        assert_eq!(recovered.position, Position(102));
        recovered.apply(dir, &extent(103, 1), None, true);
        assert_eq!(recovered.problems.len(), 1);
        let before = recovered.position;
        recovered.apply(
            dir,
            &OwnedEntry::Extent {
                id,
                segment: Offset(0),
                position: before,
                length: 5,
                next_offset: Offset(99),
                chain_crc: 0,
                points: Vec::new(),
                produced: Vec::new(),
            },
            None,
            false,
        );
        assert_eq!(recovered.position, before, "an extent that may have been in flight, and no file");
    }
}
