//! The bytes of a simulated file: what reads see, what a power cut leaves, and what lies between.
//!
//! A disk keeps whole 512-byte sectors. Writes that were not synced may each survive a power cut or not, whole or in
//! part, whatever came after them; their order only matters where two hit the same sector. The length survives apart from
//! the bytes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::seed::Seed;

/// The smallest piece that a disk writes whole.
pub(super) const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;
const ALL_SECTORS: u8 = 0xff;

type Page = [u8; PAGE_BYTES];

/// Some pages of a file and its length; pages that are missing are zeros.
#[derive(Clone, Default)]
pub(super) struct Contents {
    pages: BTreeMap<u64, Rc<Page>>,
    len: u64,
}

/// A page of a write and which of its sectors the write touched.
type Touched = (u64, Rc<Page>, u8);

enum Change {
    Write { pages: Vec<Touched>, end: u64 },
    Length(u64),
}

/// What of the changes that were not synced survives a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Survival {
    /// Everything that completed.
    All,
    /// Nothing.
    None,
    /// What the seed picks: everything, nothing, what came first with the last of it torn, or any part of anything.
    Some,
}

/// A file's bytes as written and as durable.
#[derive(Default)]
pub(super) struct FileBytes {
    written: Contents,
    durable: Contents,
    /// Completed, not durable yet; in order, numbered.
    pending: Vec<(u64, Change)>,
    next: u64,
}

impl Contents {
    fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let read = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX).min(into.len());
        for (page, in_page, in_bytes) in pages_of(at, read) {
            match self.pages.get(&page) {
                Some(bytes) => into[in_bytes].copy_from_slice(&bytes[in_page]),
                None => into[in_bytes].fill(0),
            }
        }
        read
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Vec<Touched> {
        let mut touched = Vec::new();
        for (page, in_page, in_bytes) in pages_of(at, bytes.len()) {
            let mut sectors = 0;
            for sector in in_page.start / SECTOR_BYTES..in_page.end.div_ceil(SECTOR_BYTES) {
                sectors |= 1 << sector;
            }
            let slot = self.pages.entry(page).or_insert_with(|| Rc::new([0; PAGE_BYTES]));
            Rc::make_mut(slot)[in_page].copy_from_slice(&bytes[in_bytes]);
            touched.push((page, Rc::clone(slot), sectors));
        }
        self.len = self.len.max(at + bytes.len() as u64);
        touched
    }

    fn put(&mut self, (page, bytes, sectors): &Touched) {
        if *sectors == ALL_SECTORS {
            self.pages.insert(*page, Rc::clone(bytes));
        } else if *sectors != 0 {
            let slot = Rc::make_mut(self.pages.entry(*page).or_insert_with(|| Rc::new([0; PAGE_BYTES])));
            for sector in (0..8).filter(|sector| sectors & (1 << sector) != 0) {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                slot[range.clone()].copy_from_slice(&bytes[range]);
            }
        }
    }

    /// Nothing is left after `len`, also not to be seen again when the file grows.
    fn cut(&mut self, len: u64) {
        let _beyond = self.pages.split_off(&len.div_ceil(PAGE_BYTES as u64));
        let inside = (len % PAGE_BYTES as u64) as usize;
        if inside > 0
            && let Some(page) = self.pages.get_mut(&(len / PAGE_BYTES as u64))
        {
            Rc::make_mut(page)[inside..].fill(0);
        }
    }

    fn set_len(&mut self, len: u64) {
        self.cut(len);
        self.len = len;
    }
}

/// The pages that `len` bytes at `at` lie in: page, range in the page, range in the bytes.
fn pages_of(at: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = at + done as u64;
        let start = (place % PAGE_BYTES as u64) as usize;
        let count = (len - done).min(PAGE_BYTES - start);
        done += count;
        (count > 0).then(|| (place / PAGE_BYTES as u64, start..start + count, done - count..done))
    })
}

impl FileBytes {
    /// Reads what was written; fewer bytes at the end.
    pub(super) fn read(&self, at: u64, into: &mut [u8]) -> usize {
        self.written.read(at, into)
    }

    /// The length as written.
    pub(super) fn len(&self) -> u64 {
        self.written.len
    }

    /// The number that the next change will have.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// A write that completed; it is durable where `durable`.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8], durable: bool) {
        let pages = self.written.write(at, bytes);
        let end = at + bytes.len() as u64;
        if !durable {
            self.push(Change::Write { pages, end });
            return;
        }
        // Writing the length that the data needs writes the inode, and so the length changes before it.
        self.settle_lengths();
        for touched in &pages {
            self.durable.put(touched);
        }
        self.durable.len = self.durable.len.max(end);
        self.forget_sectors(&pages);
    }

    /// A new length.
    pub(super) fn set_len(&mut self, len: u64) {
        self.forget_beyond(len);
        self.written.set_len(len);
        self.push(Change::Length(len));
    }

    /// Makes the changes numbered below `before` durable.
    pub(super) fn sync(&mut self, before: u64) {
        let later = self.pending.partition_point(|(number, _)| *number < before);
        for (_, change) in self.pending.drain(..later) {
            apply(&mut self.durable, &change);
        }
    }

    /// Whether anything completed is not durable.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a page's bytes are all that a write to it must bring to the disk: the file system knows it as written, durably.
    fn is_settled(&self, page: u64) -> bool {
        let end = (page + 1) * PAGE_BYTES as u64;
        let cut = self.pending.iter().any(|(_, change)| matches!(change, Change::Length(len) if *len < end));
        self.durable.pages.contains_key(&page) && self.durable.len >= end && !cut
    }

    /// The bytes from the start that are in settled pages.
    pub(super) fn settled_bytes(&self) -> u64 {
        let settled = (0u64..).take_while(|page| self.is_settled(*page)).count();
        settled as u64 * PAGE_BYTES as u64
    }

    /// The device was flushed: the writes numbered below `before` are durable where their pages are settled.
    pub(super) fn flush(&mut self, before: u64) {
        let mut pending = std::mem::take(&mut self.pending);
        let later = pending.partition_point(|(number, _)| *number < before);
        // Settled before the flush: as the cuts that are pending say.
        let cut = pending.iter().filter_map(|(_, change)| match change {
            Change::Length(len) => Some(*len),
            Change::Write { .. } => None,
        });
        let limit = cut.min().unwrap_or(u64::MAX).min(self.durable.len);
        for (_, change) in &mut pending[..later] {
            let Change::Write { pages, .. } = change else { continue };
            for touched in pages {
                let settled = (touched.0 + 1) * PAGE_BYTES as u64 <= limit;
                if settled && self.durable.pages.contains_key(&touched.0) {
                    self.durable.put(touched);
                    touched.2 = 0;
                }
            }
        }
        self.pending = pending;
    }

    /// What a sync that fails does: each change becomes durable or is forgotten, and none is tried again.
    pub(super) fn fail_sync(&mut self, seed: &Seed) {
        for (_, change) in self.pending.drain(..) {
            if seed.one_in(2) {
                apply(&mut self.durable, &change);
            }
        }
    }

    /// Changes bytes behind everyone's back, as a decaying disk does.
    pub(super) fn rot(&mut self, at: u64, bytes: &[u8]) {
        let len = self.written.len;
        let end = len.min(at + bytes.len() as u64);
        let bytes = &bytes[..end.saturating_sub(at) as usize];
        let pages = self.written.write(at, bytes);
        for touched in &pages {
            self.durable.put(touched);
        }
        self.forget_sectors(&pages);
    }

    /// Flips bits of one byte, as a decaying disk does.
    pub(super) fn flip(&mut self, at: u64, bits: u8) {
        let mut byte = [0];
        if self.written.read(at, &mut byte) == 1 {
            self.rot(at, &[byte[0] ^ bits]);
        }
    }

    /// A write that fails: some of its sectors are there now, and may survive or not.
    pub(super) fn fail_write(&mut self, seed: &Seed, at: u64, bytes: &[u8]) {
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if seed.one_in(2) {
                self.write(at + (index * SECTOR_BYTES) as u64, sector, false);
            }
        }
    }

    /// A power cut: what is left becomes what is there. `in_flight` are the writes that had not completed.
    pub(super) fn cut_power(&mut self, seed: &Seed, survival: Survival, in_flight: Vec<(u64, Vec<u8>)>) {
        let mut changes: Vec<Change> = self.pending.drain(..).map(|(_, change)| change).collect();
        let completed = changes.len();
        for (at, bytes) in in_flight {
            let pages = self.written.write(at, &bytes);
            changes.push(Change::Write { pages, end: at + bytes.len() as u64 });
        }
        let mut left = std::mem::take(&mut self.durable);
        let fates = fates(seed, survival, completed, changes.len());
        for (change, fate) in changes.iter_mut().zip(fates) {
            survive(seed, &mut left, change, fate);
        }
        let len = left.len;
        left.cut(len);
        self.written = left.clone();
        self.durable = left;
    }

    fn push(&mut self, change: Change) {
        self.pending.push((self.next, change));
        self.next += 1;
    }

    /// Makes the pending lengths durable.
    fn settle_lengths(&mut self) {
        let durable = &mut self.durable;
        self.pending.retain(|(_, change)| match change {
            Change::Length(len) => {
                durable.set_len(*len);
                false
            }
            Change::Write { .. } => true,
        });
    }

    /// Takes sectors that are durable now out of the older writes that are not.
    fn forget_sectors(&mut self, pages: &[Touched]) {
        for (_, change) in &mut self.pending {
            let Change::Write { pages: older, .. } = change else { continue };
            for (page, _, sectors) in older {
                if let Ok(at) = pages.binary_search_by_key(page, |(page, ..)| *page) {
                    *sectors &= !pages[at].2;
                }
            }
        }
    }

    /// Takes what lies after `len` out of the writes that are not durable.
    fn forget_beyond(&mut self, len: u64) {
        for (_, change) in &mut self.pending {
            let Change::Write { pages, .. } = change else { continue };
            for (page, bytes, sectors) in pages {
                let start = *page * PAGE_BYTES as u64;
                if start >= len {
                    *sectors = 0;
                } else if start + PAGE_BYTES as u64 > len {
                    Rc::make_mut(bytes)[(len - start) as usize..].fill(0);
                }
            }
        }
    }
}

fn apply(to: &mut Contents, change: &Change) {
    match change {
        Change::Length(len) => to.set_len(*len),
        Change::Write { pages, end } => {
            pages.iter().for_each(|touched| to.put(touched));
            to.len = to.len.max(*end);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Kept,
    Lost,
    Torn,
}

/// What becomes of each change; those after the first `completed` were in flight.
pub(super) fn fates(seed: &Seed, survival: Survival, completed: usize, count: usize) -> Vec<Fate> {
    let any = |seed: &Seed| [Fate::Kept, Fate::Lost, Fate::Torn][seed.below(3) as usize];
    let pattern = match survival {
        Survival::All => 0,
        Survival::None => 1,
        Survival::Some => seed.below(4),
    };
    let kept = seed.below(completed as u64 + 1) as usize;
    (0..count)
        .map(|index| match pattern {
            _ if survival == Survival::None => Fate::Lost,
            _ if index >= completed => any(seed),
            0 => Fate::Kept,
            1 => Fate::Lost,
            2 if index < kept => Fate::Kept,
            2 if index == kept => Fate::Torn,
            2 => Fate::Lost,
            _ => any(seed),
        })
        .collect()
}

fn survive(seed: &Seed, left: &mut Contents, change: &mut Change, fate: Fate) {
    match (change, fate) {
        (change, Fate::Kept) => apply(left, change),
        (Change::Length(_), Fate::Lost) => {}
        (Change::Length(len), Fate::Torn) => {
            if seed.one_in(2) {
                left.set_len(*len);
            }
        }
        (Change::Write { end, .. }, Fate::Lost) => {
            // The inode may be written although the data was not: then the file ends in zeros.
            if *end > left.len && seed.one_in(8) {
                left.len = *end;
            }
        }
        (Change::Write { pages, end }, Fate::Torn) => {
            let first = seed.below(pages.len() as u64 + 1) as usize;
            let in_order = seed.one_in(2);
            for (index, (_, _, sectors)) in pages.iter_mut().enumerate() {
                let some = if in_order { (1 << seed.below(8)) - 1 } else { seed.any() as u8 };
                *sectors &= match index.cmp(&first) {
                    std::cmp::Ordering::Less if in_order => ALL_SECTORS,
                    std::cmp::Ordering::Greater if in_order => 0,
                    _ => some,
                };
            }
            pages.iter().for_each(|touched| left.put(touched));
            if *end > left.len && seed.one_in(2) {
                left.len = *end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(file: &FileBytes) -> Vec<u8> {
        let mut bytes = vec![0; file.len() as usize];
        file.read(0, &mut bytes);
        bytes
    }

    #[test]
    fn a_durable_write_survives_whatever_happens_around_it() {
        for seed in 0..200 {
            let seed = Seed::new(seed);
            let mut file = FileBytes::default();
            file.write(0, &[1; 8192], false);
            file.write(4096, &[2; 4096], true);
            file.write(0, &[3; 4096], false);
            file.cut_power(&seed, Survival::Some, vec![(0, vec![4; 4096])]);
            let left = bytes_of(&file);
            assert_eq!(left.len(), 8192);
            assert!(left[4096..].iter().all(|byte| *byte == 2));
            for sector in left[..4096].chunks(SECTOR_BYTES) {
                assert!(sector.iter().all(|byte| *byte == sector[0]) && [0, 1, 3, 4].contains(&sector[0]));
            }
        }
    }

    #[test]
    fn a_durable_write_after_a_cut_is_not_cut_by_it_later() {
        for seed in 0..50 {
            let mut file = FileBytes::default();
            file.write(0, &[1; 16384], true);
            file.set_len(100);
            file.write(4096, &[2; 4096], true);
            file.cut_power(&Seed::new(seed), Survival::Some, Vec::new());
            let left = bytes_of(&file);
            assert_eq!(left.len(), 8192);
            assert!(left[..100].iter().all(|byte| *byte == 1) && left[100..4096].iter().all(|byte| *byte == 0));
            assert!(left[4096..].iter().all(|byte| *byte == 2));
        }
    }

    #[test]
    fn everything_or_nothing_survives_where_that_is_asked_for() {
        for survival in [Survival::All, Survival::None] {
            let mut file = FileBytes::default();
            file.write(0, &[1; 5000], true);
            file.write(4096, &[2; 4096], false);
            file.set_len(8000);
            file.set_len(9000);
            let written = bytes_of(&file);
            file.cut_power(&Seed::new(1), survival, Vec::new());
            let left = bytes_of(&file);
            assert_eq!(left, if survival == Survival::All { written } else { vec![1; 5000] });
        }
    }

    #[test]
    fn a_sync_covers_what_completed_before_it_began() {
        let mut file = FileBytes::default();
        file.write(0, &[1; 4096], false);
        let before = file.next();
        file.write(4096, &[2; 4096], false);
        file.sync(before);
        file.cut_power(&Seed::new(1), Survival::None, Vec::new());
        assert_eq!(bytes_of(&file), vec![1; 4096]);
    }

    #[test]
    fn a_torn_write_keeps_whole_sectors() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..100 {
            let mut file = FileBytes::default();
            file.write(0, &[1; 4096], true);
            file.cut_power(&Seed::new(seed), Survival::Some, vec![(0, vec![2; 4096])]);
            let left = bytes_of(&file);
            let sectors: Vec<u8> = left.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
            assert!(left.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            seen.insert(sectors);
        }
        assert!(seen.len() > 20, "only {} ways to tear a block were seen", seen.len());
    }
}
