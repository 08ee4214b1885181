//! A shard's journal: a file that is written over and over, one commit group at a time, each durable when its write returns.
//!
//! The file is prewritten with zeros before it is used, so that a write changes no metadata of the file system: one
//! `O_DIRECT` write with `RWF_DSYNC` is all that an acknowledgement costs. It starts small and grows in the background.
//!
//! Plan, await, apply: [`Journal::seal`] gives a [`SealedGroup`] that owns its bytes and its place; the caller awaits
//! [`SealedGroup::write`] and gives the outcome to [`Journal::apply`]. At most [`GROUPS_IN_FLIGHT_MAX`] groups are
//! sealed and not applied, and they are applied in the order in which they were sealed, so that nothing is
//! acknowledged behind a group that is not durable. A failed write is final: the journal must not be used again.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::{Buffer, File, Io, OpenMode, Slice, Sync};
use crate::journal::cursor::Cursor;
use crate::journal::entry::Entry;
use crate::journal::group::{GROUP_BYTES_MAX, GROUP_HEADER_BYTES, GroupEncoder, GroupHeader, JournalMark, NotAGroup};
use crate::journal::placement::{Placement, RING_START};
use crate::types::{BLOCK_BYTES, Position};

/// The first bytes of a journal's file.
pub const JOURNAL_MAGIC: [u8; 8] = *b"corelogJ";

/// The version of the file's header block that is written, and the newest that is read.
pub const JOURNAL_VERSION: u16 = 1;

/// How many groups may be on their way to the disk at once.
pub const GROUPS_IN_FLIGHT_MAX: usize = 4;

/// How much of a new journal is prewritten before it is used.
pub const INITIAL_BYTES: u64 = 8 << 20;

/// The smallest journal: room for the groups in flight, one being collected, and a checkpoint's worth behind them.
pub const CAPACITY_BYTES_MIN: u64 = 8 << 20;

/// How much one step of growth prewrites.
const GROWTH_BYTES: u64 = 8 << 20;

/// The size of one write of zeros.
const ZEROS_BYTES: u64 = 1 << 20;

/// The name of a shard's journal in the data directory.
pub fn journal_file_name(shard: u32) -> String {
    format!("corelog-journal-{shard}")
}

/// The shard whose journal has this name; `None` where it is not the name of a journal.
pub fn shard_of_journal(name: &str) -> Option<u32> {
    let shard = name.strip_prefix("corelog-journal-")?.parse().ok()?;
    (journal_file_name(shard) == name).then_some(shard)
}

/// One shard's ring.
pub struct Journal {
    io: Io,
    file: File,
    shard: u32,
    capacity: Position,
    /// The length of the file; beyond the capacity where an earlier opening had a larger one.
    length: Position,
    placement: Placement,
    /// Every group with a smaller sequence was applied.
    flushed_before: u64,
}

impl Journal {
    /// Opens the shard's journal in `dir` for a new generation, or makes it. No group of `generation` or a later one may
    /// ever have been written to it, and the checkpoint with the mark [`JournalMark::first`] of `generation` must be
    /// durable before the first group is written; this itself changes no group that the file holds.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the file has groups of this or a later generation, as it does when its checkpoint was
    /// lost: they would be taken for new ones.
    pub async fn create(io: &Io, dir: &Path, shard: u32, generation: u64, capacity_bytes: u64) -> Result<Journal> {
        let path = dir.join(journal_file_name(shard));
        if capacity_bytes < CAPACITY_BYTES_MIN {
            let reason = format!("{capacity_bytes} is too small, the least is {CAPACITY_BYTES_MIN}");
            return Err(Error::Setting { name: "corelog.journal.bytes".into(), reason });
        }
        let capacity = Position(capacity_bytes).block_start();
        let file = io.open(&path, OpenMode::Create).await?;
        let mut length = file.len().await?.block_start();
        if !takes_over(io, &file, &path, shard, generation).await? {
            let mut header = io.alloc(BLOCK_BYTES as usize);
            header.extend_from_slice(&encode_header(shard));
            file.write_at(&[header.slice(0..BLOCK_BYTES as usize)], Position::ZERO, Sync::Data).await?;
            length = length.max(RING_START);
        }
        if length.0 < INITIAL_BYTES {
            prewrite(io, &file, length, Position(INITIAL_BYTES)).await?;
            io.sync_dir(dir).await?;
            length = Position(INITIAL_BYTES);
        }
        let placement = Placement::new(generation, length.min(capacity));
        Ok(Journal { io: io.clone(), file, shard, capacity, length, placement, flushed_before: 1 })
    }

    /// The file, which [`SealedGroup::write`] writes to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// An empty group, in memory that the disk can write from.
    pub fn begin_group(&self) -> GroupWriter {
        GroupWriter { memory: self.io.alloc(GROUP_BYTES_MAX), encoder: GroupEncoder::default() }
    }

    /// Whether a group of `bytes`, header and entries, can be sealed now. Where not: apply what is in flight, and take
    /// a checkpoint and [release](Journal::release).
    pub fn has_room(&self, bytes: usize) -> bool {
        self.in_flight() < GROUPS_IN_FLIGHT_MAX && self.placement.place(padded(bytes)).is_some()
    }

    /// Whether a group may find no place before a [release](Journal::release) or growth, however little is used: the free part may lie
    /// where the ring does not come before it has gone round, once it has grown.
    pub fn is_full(&self) -> bool {
        self.placement.place(padded(GROUP_BYTES_MAX)).is_none()
    }

    /// Gives the group its sequence and place, and makes its bytes final. Panics where [`Journal::has_room`] was not asked.
    pub fn seal(&mut self, group: GroupWriter) -> SealedGroup {
        assert!(self.in_flight() < GROUPS_IN_FLIGHT_MAX, "{} groups are in flight", self.in_flight());
        let GroupWriter { mut memory, encoder } = group;
        let filled = encoder.filled();
        let Some(mark) = self.placement.take(padded(filled)) else {
            panic!("no room for a group of {filled} bytes: {:?}", self.placement);
        };
        let header = GroupHeader {
            shard: self.shard,
            generation: mark.generation,
            sequence: mark.sequence,
            place: mark.position,
            flushed_before: self.flushed_before,
            length: 0,
            count: 0,
            entries_crc: 0,
        };
        let bytes = encoder.finish(memory.spare_mut(), header);
        memory.advance(bytes);
        SealedGroup { bytes: memory.slice(0..bytes), mark }
    }

    /// Takes note that a group is durable. Groups are applied in the order in which they were sealed.
    pub fn apply(&mut self, written: Written) {
        let Written { mark, .. } = written;
        assert_eq!(mark.generation, self.placement.head().generation, "a group of another journal");
        assert_eq!(mark.sequence, self.flushed_before, "groups are applied in order");
        self.flushed_before += 1;
    }

    /// Frees what is before the mark; the checkpoint that has it must be durable.
    pub fn release(&mut self, up_to: JournalMark) {
        assert!(up_to.sequence <= self.flushed_before, "{up_to:?} is beyond what is durable, {}", self.flushed_before);
        self.placement.release(up_to);
    }

    /// Where the next group goes: what a checkpoint notes that covers everything sealed so far.
    pub fn head(&self) -> JournalMark {
        self.placement.head()
    }

    /// Groups that are sealed and not applied.
    pub fn in_flight(&self) -> usize {
        (self.placement.head().sequence - self.flushed_before) as usize
    }

    /// Bytes that recovery would read.
    pub fn used_bytes(&self) -> u64 {
        self.placement.used_bytes()
    }

    /// Bytes that groups can use, as far as the file was prewritten.
    pub fn ready_bytes(&self) -> u64 {
        self.placement.end() - RING_START
    }

    /// Bytes that groups can use once the file has its size.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity - RING_START
    }

    /// The next step of growth, or the cut of a file that is larger than it should be; `None` where it has its size. One
    /// step at a time, and not before the first checkpoint of this generation is durable.
    pub fn plan_growth(&self) -> Option<Growth> {
        let from = self.length;
        let to = self.capacity.min(from + GROWTH_BYTES);
        (from != to).then(|| Growth { io: self.io.clone(), file: self.file.clone(), from, to })
    }

    /// Makes use of what was prewritten.
    pub fn apply_growth(&mut self, grown: Grown) {
        self.length = grown.to;
        self.placement.grow(grown.to);
    }
}

/// A group that collects entries.
pub struct GroupWriter {
    memory: Buffer,
    encoder: GroupEncoder,
}

impl GroupWriter {
    /// Adds the entry; false, and nothing added, where it does not fit. What does not fit an empty group fits none.
    pub fn push(&mut self, entry: Entry<'_>) -> bool {
        self.encoder.push(self.memory.spare_mut(), &entry)
    }

    /// What is left for entries; an entry takes [`Entry::encoded_bytes`].
    pub fn room_bytes(&self) -> usize {
        GROUP_BYTES_MAX - self.encoder.filled()
    }

    /// Bytes of header and entries so far: what [`Journal::has_room`] is asked about.
    pub fn filled_bytes(&self) -> usize {
        self.encoder.filled()
    }

    /// Whether no entry was added.
    pub fn is_empty(&self) -> bool {
        self.encoder.count() == 0
    }
}

/// A group that knows its place and waits to be written.
#[must_use = "a sealed group has taken its place and must be written"]
pub struct SealedGroup {
    bytes: Slice,
    mark: JournalMark,
}

impl SealedGroup {
    /// Writes the group and returns when it is on stable storage.
    pub async fn write(&self, file: &File) -> Result<Written> {
        let bytes = self.bytes.len() as u64;
        file.write_at(std::slice::from_ref(&self.bytes), self.mark.position, Sync::Data).await?;
        Ok(Written { mark: self.mark, bytes })
    }

    /// Writes the group, which is on stable storage only after [`Unsynced::sync`].
    pub async fn write_unsynced(&self, file: &File) -> Result<Unsynced> {
        let bytes = self.bytes.len() as u64;
        file.write_at(std::slice::from_ref(&self.bytes), self.mark.position, Sync::None).await?;
        Ok(Unsynced { written: Written { mark: self.mark, bytes } })
    }

    /// The group's own sequence and place.
    pub fn mark(&self) -> JournalMark {
        self.mark
    }

    /// The group's sequence.
    pub fn sequence(&self) -> u64 {
        self.mark.sequence
    }

    /// What is written, with header and padding.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A group that was written and waits to be synced.
#[must_use = "a group counts as durable once it was synced and applied"]
pub struct Unsynced {
    written: Written,
}

impl Unsynced {
    /// Returns when the group is on stable storage, with everything that had been written to blocks that a sync of the journal
    /// covers ([`File::covered_by`]).
    pub async fn sync(self, file: &File) -> Result<Written> {
        file.sync().await?;
        Ok(self.written)
    }
}

/// The proof that a group is on stable storage.
#[derive(Debug)]
#[must_use = "a group counts as durable once it is applied"]
pub struct Written {
    mark: JournalMark,
    bytes: u64,
}

impl Written {
    /// The group's sequence and place.
    pub fn mark(&self) -> JournalMark {
        self.mark
    }

    /// What was written, with header and padding.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A step of growth that waits to be run.
pub struct Growth {
    io: Io,
    file: File,
    from: Position,
    to: Position,
}

impl Growth {
    /// Prewrites the step, or cuts the file.
    pub async fn run(self) -> Result<Grown> {
        if self.to < self.from {
            self.file.truncate(self.to).await?;
        } else {
            prewrite(&self.io, &self.file, self.from, self.to).await?;
        }
        Ok(Grown { to: self.to })
    }
}

/// The proof that a step of growth was prewritten.
pub struct Grown {
    to: Position,
}

fn padded(bytes: usize) -> u64 {
    assert!((GROUP_HEADER_BYTES..=GROUP_BYTES_MAX).contains(&bytes), "a group of {bytes} bytes");
    (bytes as u64).next_multiple_of(BLOCK_BYTES)
}

async fn prewrite(io: &Io, file: &File, from: Position, to: Position) -> Result<()> {
    let mut zeros = io.alloc(ZEROS_BYTES as usize);
    zeros.spare_mut()[..ZEROS_BYTES as usize].fill(0);
    zeros.advance(ZEROS_BYTES as usize);
    let mut at = from;
    while at < to {
        let bytes = ZEROS_BYTES.min(to - at);
        file.write_at(&[zeros.slice(0..bytes as usize)], at, Sync::None).await?;
        at += bytes;
    }
    file.sync().await
}

fn encode_header(shard: u32) -> Vec<u8> {
    let mut out = vec![0; BLOCK_BYTES as usize];
    out[0..8].copy_from_slice(&JOURNAL_MAGIC);
    out[8..10].copy_from_slice(&JOURNAL_VERSION.to_le_bytes());
    out[16..20].copy_from_slice(&shard.to_le_bytes());
    let crc = header_crc(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

fn header_crc(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[16..BLOCK_BYTES as usize])
}

/// Reads the header block: the shard, or `None` where it is not one that was written whole.
pub fn decode_header(path: &Path, block: &[u8]) -> Result<Option<u32>> {
    if block.len() < BLOCK_BYTES as usize || block[..8] != JOURNAL_MAGIC {
        return Ok(None);
    }
    let mut cursor = Cursor::new(&block[8..]);
    let fields = |cursor: &mut Cursor<'_>| Some((cursor.u16()?, cursor.u16()?, cursor.u32()?, cursor.u32()?));
    let (version, _, crc, shard) = fields(&mut cursor).expect("a block is there");
    if crc != header_crc(block) {
        return Ok(None);
    }
    if version > JOURNAL_VERSION {
        let path = PathBuf::from(path);
        return Err(Error::NewerFormat { path, found: version, supported: JOURNAL_VERSION });
    }
    Ok(Some(shard))
}

/// Whether the file has its header block. Fails where it has groups that are not older than `generation`: the first
/// group of a generation, and of a lap, is at the start of the ring, so one of the last generation is there.
async fn takes_over(io: &Io, file: &File, path: &Path, shard: u32, generation: u64) -> Result<bool> {
    let buffer = io.alloc(2 * BLOCK_BYTES as usize);
    let (read, buffer) = file.read_at(buffer, Position::ZERO, 2 * BLOCK_BYTES as usize).await;
    let blocks = buffer.split_at_checked(BLOCK_BYTES as usize);
    if read? == 0 {
        return Ok(false);
    }
    let (head, first) = blocks.unwrap_or((&buffer, &[]));
    let has_header = decode_header(path, head)? == Some(shard);
    let last = match GroupHeader::parse(first) {
        Ok(header) => header.generation,
        Err(NotAGroup::Newer { generation, .. }) => generation,
        Err(_) => return Ok(has_header),
    };
    if last >= generation {
        let what = format!(
            "it has groups of generation {last}, and generation {generation} would begin: a checkpoint is missing; restore \
             the checkpoint files, or move this file away to give up what only it has"
        );
        return Err(Error::corrupt(path, Some(RING_START), what));
    }
    Ok(has_header)
}
