//! The newest bytes of an open segment, in memory: what is not yet in the file, and behind it what still is cached.
//!
//! Bytes are copied in once, written to the disk from here and served to readers from here. A tail is a row of chunks
//! without gaps; each begins at a block boundary and all but the last are full. Chunks start at 4 KiB and double with the traffic, so
//! that a quiet partition holds little, to 1 MiB, or less where many partitions grow at once ([`Tail::limit_chunks`]).

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::io::{Buffer, Io, Slice};
use crate::types::{BLOCK_BYTES, Offset, Position};

/// The first chunk of a tail, in bytes.
const CHUNK_BYTES_MIN: usize = BLOCK_BYTES as usize;
/// The largest chunk, in bytes: also the largest single write.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// What chunks may always grow to, in bytes.
pub const CHUNK_BYTES_ENOUGH: usize = 64 << 10;

/// Parts of the tail, contiguous in the segment.
pub type Slices = SmallVec<[Slice; 4]>;

struct Chunk {
    base: Position,
    buffer: Buffer,
}

impl Chunk {
    fn end(&self) -> Position {
        self.base + self.buffer.len() as u64
    }

    fn limit(&self) -> Position {
        self.base + self.buffer.capacity() as u64
    }
}

/// The in-memory end of an open segment.
pub struct Tail {
    chunks: VecDeque<Chunk>,
    end: Position,
    memory_bytes: usize,
    chunk_bytes_max: usize,
}

impl Tail {
    /// A tail whose next byte goes to `end`; `partial` holds the bytes of the block that `end` is in.
    pub fn new(io: &Io, end: Position, partial: &[u8]) -> Tail {
        let base = end.block_start();
        assert_eq!(end - base, partial.len() as u64, "the partial block ends where the tail does");
        let mut tail = Tail { chunks: VecDeque::new(), end: base, memory_bytes: 0, chunk_bytes_max: CHUNK_BYTES_MAX };
        if !partial.is_empty() {
            tail.extend(io, partial);
        }
        tail
    }

    /// Chunks grow to so many bytes from now on, a power of two; one that a single append fills may be larger. The last chunk of a tail is
    /// never evicted, and may be nearly empty.
    pub fn limit_chunks(&mut self, bytes: usize) {
        self.chunk_bytes_max = bytes;
    }

    /// The first position held in memory.
    pub fn start(&self) -> Position {
        self.chunks.front().map_or(self.end, |chunk| chunk.base)
    }

    /// The position of the next byte.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Memory held, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// A contiguous place for exactly `len` bytes, where the current chunk has it; to be followed by [`Tail::filled`].
    pub fn contiguous_spare(&mut self, io: &Io, len: usize) -> Option<&mut [u8]> {
        if self.chunks.back().is_none_or(|chunk| chunk.end() == chunk.limit()) {
            self.push_chunk(io, len);
        }
        let chunk = self.chunks.back_mut().expect("a chunk was pushed");
        let spare = chunk.buffer.spare_mut();
        (spare.len() >= len).then(|| &mut spare[..len])
    }

    /// The bytes of the place last given are written.
    pub fn filled(&mut self, len: usize) {
        self.chunks.back_mut().expect("there is a chunk").buffer.advance(len);
        self.end += len as u64;
    }

    /// Copies `bytes` in, over as many chunks as it takes.
    pub fn extend(&mut self, io: &Io, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.chunks.back().is_none_or(|chunk| chunk.end() == chunk.limit()) {
                self.push_chunk(io, bytes.len());
            }
            let chunk = self.chunks.back_mut().expect("a chunk was pushed");
            let take = chunk.buffer.spare_mut().len().min(bytes.len());
            chunk.buffer.extend_from_slice(&bytes[..take]);
            self.end += take as u64;
            bytes = &bytes[take..];
        }
    }

    fn push_chunk(&mut self, io: &Io, wanted: usize) {
        let last = self.chunks.back().map_or(CHUNK_BYTES_MIN / 2, |chunk| chunk.buffer.capacity());
        let capacity = wanted.next_power_of_two().clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let capacity = capacity.max((last * 2).min(self.chunk_bytes_max));
        let buffer = io.alloc(capacity);
        assert!(self.end.0.is_multiple_of(BLOCK_BYTES), "a chunk begins at a block, not at {}", self.end);
        self.memory_bytes += buffer.capacity();
        self.chunks.push_back(Chunk { base: self.end, buffer });
    }

    /// The last end of a full chunk in `from..=limit`, behind `from`.
    pub fn chunk_end_before(&self, from: Position, limit: Position) -> Option<Position> {
        let full = self.chunks.iter().rev().filter(|chunk| chunk.end() == chunk.limit());
        full.map(Chunk::end).find(|end| *end <= limit).filter(|end| *end > from)
    }

    /// The parts of `from..to`, which must be held.
    pub fn slices(&self, from: Position, to: Position) -> Slices {
        assert!(self.start() <= from && from <= to && to <= self.end, "{from}..{to} is not held");
        let mut slices = Slices::new();
        let mut at = from;
        let mut chunk = self.chunk_of(from);
        while at < to {
            let held = &self.chunks[chunk];
            let part_end = held.end().min(to);
            slices.push(held.buffer.slice((at - held.base) as usize..(part_end - held.base) as usize));
            at = part_end;
            chunk += 1;
        }
        slices
    }

    /// Calls `each` with the parts of `from..to`, in order.
    pub fn for_parts(&self, from: Position, to: Position, mut each: impl FnMut(&[u8])) {
        assert!(self.start() <= from && from <= to && to <= self.end, "{from}..{to} is not held");
        let mut at = from;
        let mut chunk = self.chunk_of(from);
        while at < to {
            let held = &self.chunks[chunk];
            let part_end = held.end().min(to);
            each(&held.buffer[(at - held.base) as usize..(part_end - held.base) as usize]);
            at = part_end;
            chunk += 1;
        }
    }

    /// A copy of `from..to`.
    pub fn copy(&self, from: Position, to: Position) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((to - from) as usize);
        self.for_parts(from, to, |part| bytes.extend_from_slice(part));
        bytes
    }

    /// The header of the batch that begins at `position`, which must be held.
    pub fn header(&self, position: Position) -> BatchHeader {
        let held = &self.chunks[self.chunk_of(position)];
        let inside = (position - held.base) as usize;
        let bytes = &held.buffer[inside..];
        let parsed = if bytes.len() >= HEADER_BYTES {
            BatchHeader::parse(&bytes[..HEADER_BYTES])
        } else {
            let mut header = [0u8; HEADER_BYTES];
            let mut at = 0;
            self.for_parts(position, position + HEADER_BYTES as u64, |part| {
                header[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            });
            BatchHeader::parse(&header)
        };
        parsed.unwrap_or_else(|error| panic!("what was appended at {position} is no batch: {error}"))
    }

    /// Walks batch by batch from `position`, the start of one, to the batch that holds `offset` or, where there is none, to
    /// the first one behind it or `end`.
    pub fn find(&self, mut position: Position, offset: Offset) -> Position {
        while position < self.end {
            let header = self.header(position);
            if header.last_offset() >= offset {
                break;
            }
            position += header.size_bytes() as u64;
        }
        position
    }

    fn chunk_of(&self, position: Position) -> usize {
        self.chunks.partition_point(|chunk| chunk.base <= position).saturating_sub(1)
    }

    /// The end of the first chunk, where it is not also the last: what the next [`Tail::evict_first`] would make the start.
    pub fn first_chunk_end(&self) -> Option<Position> {
        (self.chunks.len() > 1).then(|| self.chunks[0].end())
    }

    /// Gives the first chunk's memory back (readers keep what they hold); the freed bytes.
    pub fn evict_first(&mut self) -> usize {
        assert!(self.chunks.len() > 1, "the last chunk is never evicted");
        let freed = self.chunks.pop_front().expect("there are two").buffer.capacity();
        self.memory_bytes -= freed;
        freed
    }

    /// Keeps the bytes from `from`, a block boundary, in as little memory as holds them.
    pub fn shrink(&mut self, io: &Io, from: Position) {
        assert!(from == from.block_start() && from <= self.end);
        let kept = self.copy(from, self.end);
        if self.memory_bytes() <= kept.len().next_multiple_of(CHUNK_BYTES_MIN) {
            return;
        }
        self.chunks.clear();
        self.chunks.shrink_to_fit();
        self.memory_bytes = 0;
        self.end = from;
        if !kept.is_empty() {
            let buffer = io.alloc(kept.len().next_multiple_of(CHUNK_BYTES_MIN));
            self.memory_bytes = buffer.capacity();
            self.chunks.push_back(Chunk { base: from, buffer });
            self.extend(io, &kept);
        }
    }

    /// Cuts everything from `to` on; `partial` are the bytes of the block that `to` is in.
    pub fn truncate(&mut self, io: &Io, to: Position, partial: &[u8]) {
        *self = Tail::new(io, to, partial);
    }
}
