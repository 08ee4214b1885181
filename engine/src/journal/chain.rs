//! Which group comes next in a journal, and whether one that is missing was ever durable. No I/O.
//!
//! A group is believed where its checksums hold and it is of the generation and sequence that is expected, at the place
//! it names: behind the group before it, or at the start of the ring. The first place without such a group ends the
//! journal, unless a later group says that the missing one was durable: every header carries the sequence before which
//! all groups were on stable storage when it was sealed. Then bytes were lost that had been acknowledged, and that is
//! [`Error::Corrupt`] instead of less being served. (That rule includes that with two groups in flight, group `n + 2` is
//! not sealed before `n` is durable.) Damage of the very last group alone looks like a crash.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::journal::entry::OwnedEntry;
use crate::journal::group::{GROUP_VERSION, GroupHeader, JournalMark, NotAGroup, parse_group};
use crate::journal::placement::RING_START;
use crate::journal::ring::shard_of_journal;
use crate::types::{BLOCK_BYTES, Position};

/// How far behind a missing group later ones are looked for: damage up to this length less two groups is recognized.
pub const LOOK_AHEAD_BYTES: u64 = 8 << 20;

/// A group that was believed.
#[derive(Debug)]
pub struct ScannedGroup {
    /// What it says about itself.
    pub header: GroupHeader,
    /// Its entries in order; their data shares the memory that the journal was read into.
    pub entries: Vec<OwnedEntry>,
}

/// Follows the groups of one journal from a mark on.
pub(crate) struct Chain {
    path: PathBuf,
    /// The shard of the file's name, where it has one.
    shard: Option<u32>,
    next: JournalMark,
}

impl Chain {
    /// Begins at `mark` of the journal at `path`, which has `length` bytes, or does not exist. A missing file is an
    /// empty journal where the mark is the first of its generation; else it is damage, as one that is too short is.
    pub(crate) fn new(path: &Path, mark: JournalMark, length: Option<u64>) -> Result<Chain> {
        if mark != JournalMark::first(mark.generation) {
            let Some(length) = length else {
                let what = format!("is missing; the checkpoint expects its groups from {} on", mark.sequence);
                return Err(Error::corrupt(path, None, what));
            };
            if mark.position.0 > length {
                let what = format!("has {length} bytes, the checkpoint expects its groups from {} on", mark.position);
                return Err(Error::corrupt(path, Some(Position(length)), what));
            }
        }
        let shard = path.file_name().and_then(|name| shard_of_journal(&name.to_string_lossy()));
        Ok(Chain { path: path.to_path_buf(), shard, next: mark })
    }

    /// Where the next group is expected.
    pub(crate) fn next(&self) -> JournalMark {
        self.next
    }

    /// The places where the next group may be.
    pub(crate) fn places(&self) -> impl Iterator<Item = Position> + use<> {
        let at = self.next.position;
        [Some(at), (at != RING_START).then_some(RING_START)].into_iter().flatten()
    }

    /// Takes the next group, if it begins `bytes`, which are those at `place`.
    pub(crate) fn take(&mut self, place: Position, bytes: &Bytes) -> Result<Option<ScannedGroup>> {
        match parse_group(bytes) {
            Ok((header, entries)) if self.is_ours(&header, place) && header.sequence == self.next.sequence => {
                let entries = entries.collect::<std::result::Result<Vec<_>, usize>>().map_err(|at| {
                    let what = "an entry of a group that verifies cannot be read";
                    Error::corrupt(&self.path, Some(place + at as u64), what)
                })?;
                let sequence = self.next.sequence + 1;
                self.next = JournalMark { sequence, position: place + header.padded_bytes(), ..self.next };
                Ok(Some(ScannedGroup { header, entries }))
            }
            Err(NotAGroup::Newer { version, generation, sequence, place: said })
                if (generation, sequence, said) == (self.next.generation, self.next.sequence, place) =>
            {
                Err(Error::NewerFormat { path: self.path.clone(), found: version, supported: GROUP_VERSION })
            }
            _ => Ok(None),
        }
    }

    /// The parts of the file to [check](Chain::check_not_lost) where the next group is in neither of its places.
    pub(crate) fn look_ahead(&self, length: Position) -> [(Position, Position); 2] {
        let from = self.next.position;
        [(from, length.min(from + LOOK_AHEAD_BYTES)), (RING_START, from.min(RING_START + LOOK_AHEAD_BYTES).min(length))]
    }

    /// Fails where `bytes`, those at `place`, hold the header of a group that was sealed after the next one was durable.
    pub(crate) fn check_not_lost(&self, place: Position, bytes: &[u8]) -> Result<()> {
        for (block, bytes) in bytes.chunks_exact(BLOCK_BYTES as usize).enumerate() {
            let Ok(header) = GroupHeader::parse(bytes) else { continue };
            // The header alone is proof: it is within one sector, and its own group need not be durable.
            let at = place + block as u64 * BLOCK_BYTES;
            if self.is_ours(&header, at) && header.flushed_before > self.next.sequence {
                return Err(self.lost(header));
            }
        }
        Ok(())
    }

    fn is_ours(&self, header: &GroupHeader, place: Position) -> bool {
        header.generation == self.next.generation
            && header.place == place
            && self.shard.is_none_or(|shard| shard == header.shard)
    }

    /// The next group was at its expected place if a later one is behind that, or is the first of a lap; else it was
    /// the first of a lap itself.
    fn lost(&self, later: GroupHeader) -> Error {
        let expected = self.next.position;
        let place = if later.place > expected || later.place == RING_START { expected } else { RING_START };
        let what = format!(
            "group {} of generation {} was durable and does not verify; group {} at byte {} was written after it",
            self.next.sequence, self.next.generation, later.sequence, later.place
        );
        Error::corrupt(&self.path, Some(place), what)
    }
}
