//! A reader of a file: large aligned reads, several ahead of where it is, once it has shown that it goes on.
//!
//! The buffers are the reader's own, so cold readers cannot push the newest bytes out of memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::error::{Error, Result};
use crate::io::{File, Io, Slice};
use crate::types::{BLOCK_BYTES, Offset, Position};

/// The bytes of one read.
pub const READ_BYTES: usize = 1 << 20;
/// Streams kept for one partition.
const STREAMS_MAX: usize = 8;

/// How fast a sequential reader goes ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// The bytes of one read.
    pub read_bytes: usize,
    /// Reads under way or waiting ahead of the reader.
    pub ahead: usize,
}

impl Pace {
    /// The device is the reader's.
    pub const FULL: Pace = Pace { read_bytes: READ_BYTES, ahead: 3 };
    /// Appends wait for the device: each read of the reader's that is under way is ahead of their write.
    pub const BESIDE_COMMITS: Pace = Pace { read_bytes: 256 << 10, ahead: 1 };
}
/// One read, under way or done.
struct Window {
    position: Position,
    len: usize,
    outcome: Rc<RefCell<Option<Result<Slice>>>>,
    done: Rc<tokio::sync::Notify>,
}

/// A place in a segment's file and the bytes around it.
pub struct ReadStream {
    /// The segment.
    pub segment: Offset,
    /// The first offset of the batch at `position`, where it is known.
    pub next_offset: Option<Offset>,
    /// Where the reader is.
    pub position: Position,
    windows: VecDeque<Window>,
    /// How fast it goes ahead.
    pub pace: Pace,
    /// How often the reader went on where it had stopped.
    pub sequential: u32,
    used: bool,
}

impl ReadStream {
    /// A stream that begins at `position` of the segment.
    pub fn new(segment: Offset, position: Position) -> ReadStream {
        ReadStream {
            segment,
            next_offset: None,
            position,
            windows: VecDeque::new(),
            pace: Pace::FULL,
            sequential: 0,
            used: true,
        }
    }

    /// Whether the read of the place where it is was begun before it was asked for.
    pub fn is_ahead(&self) -> bool {
        self.windows.front().is_some_and(|window| window.position <= self.position)
    }

    fn issued(&self) -> Position {
        self.windows.back().map_or(self.position.block_start(), |window| window.position + window.len as u64)
    }

    fn issue(&mut self, io: &Io, file: &File, len: usize) {
        let position = self.issued();
        let window = Window { position, len, outcome: Rc::default(), done: Rc::new(tokio::sync::Notify::new()) };
        let (outcome, done, file, buffer) = (window.outcome.clone(), window.done.clone(), file.clone(), io.alloc(len));
        io.spawn(async move {
            let (read, buffer) = file.read_at(buffer, position, len).await;
            *outcome.borrow_mut() = Some(read.map(|_| buffer.slice(0..buffer.len())));
            done.notify_one();
        });
        self.windows.push_back(window);
    }

    /// Reads so that everything up to `end` is here or under way; `limit` is where the file ends. A reader that goes on gets
    /// more than it asked for.
    pub fn read_up_to(&mut self, io: &Io, file: &File, end: Position, limit: Position) {
        let pace = self.pace;
        let end = end.min(limit);
        let sequential = self.sequential > 0;
        while self.issued() < end {
            let wanted = ((end - self.issued()) as usize).next_multiple_of(BLOCK_BYTES as usize);
            let len = if sequential { pace.read_bytes } else { wanted.min(pace.read_bytes) };
            self.issue(io, file, len.min(rest(self.issued(), limit)));
        }
        if sequential {
            let mut ahead = self.windows.iter().filter(|window| window.position >= end).count();
            while ahead < pace.ahead && self.issued() < limit {
                self.issue(io, file, pace.read_bytes.min(rest(self.issued(), limit)));
                ahead += 1;
            }
        }
    }

    /// Returns when everything that is here or under way up to `end` is here; where the file turned out shorter, what it has.
    pub async fn wait(&mut self, end: Position) -> Result<()> {
        for window in &self.windows {
            if window.position >= end {
                break;
            }
            loop {
                match &*window.outcome.borrow() {
                    Some(Ok(_)) => break,
                    Some(Err(error)) => return Err(error.clone()),
                    None => {}
                }
                window.done.notified().await;
            }
        }
        Ok(())
    }

    /// Adds the bytes that follow the file's from memory, which has them from `from` on; everything of the file up to there must
    /// be here or under way, or lie before the reader.
    pub fn attach(&mut self, from: Position, memory: &[Slice]) {
        let begin = self.issued();
        assert!(begin >= from, "memory begins at {from}, behind the file's last read, which ends at {begin}");
        let mut position = from;
        for slice in memory {
            let skipped = begin.0.saturating_sub(position.0).min(slice.len() as u64);
            if skipped < slice.len() as u64 {
                let slice = slice.slice(skipped as usize..slice.len());
                let (position, len) = (position + skipped, slice.len());
                let outcome = Rc::new(RefCell::new(Some(Ok(slice))));
                self.windows.push_back(Window { position, len, outcome, done: Rc::default() });
            }
            position += slice.len() as u64;
        }
    }

    /// Takes the bytes from memory out again: the file will have them.
    pub fn detach(&mut self, from: Position) {
        while self.windows.back().is_some_and(|window| window.position >= from) {
            self.windows.pop_back();
        }
    }

    /// Where the bytes that are here end.
    pub fn held_end(&self) -> Position {
        let mut end = self.position.block_start();
        for window in &self.windows {
            match &*window.outcome.borrow() {
                Some(Ok(slice)) => end = window.position + slice.len() as u64,
                _ => break,
            }
        }
        end
    }

    /// The parts of `from..to`, which must be here.
    pub fn slices(&self, from: Position, to: Position) -> SmallVec<[Slice; 4]> {
        let mut slices = SmallVec::new();
        let mut at = from;
        for window in &self.windows {
            if at >= to {
                break;
            }
            let outcome = window.outcome.borrow();
            let Some(Ok(slice)) = &*outcome else { break };
            let window_end = window.position + slice.len() as u64;
            if window_end <= at {
                continue;
            }
            let part_end = window_end.min(to);
            slices.push(slice.slice((at - window.position) as usize..(part_end - window.position) as usize));
            at = part_end;
        }
        assert!(at >= to, "{from}..{to} is not here");
        slices
    }

    /// The header of the batch at `position`; `None` where it is not all here.
    pub fn header(&self, file: &File, position: Position) -> Result<Option<BatchHeader>> {
        let end = position + HEADER_BYTES as u64;
        if end > self.held_end() {
            return Ok(None);
        }
        let mut header = [0u8; HEADER_BYTES];
        let mut at = 0;
        for part in self.slices(position, end) {
            header[at..at + part.len()].copy_from_slice(&part);
            at += part.len();
        }
        match BatchHeader::parse(&header) {
            Ok(header) => Ok(Some(header)),
            Err(error) => Err(Error::corrupt(file.path(), Some(position), error.to_string())),
        }
    }

    /// Goes on at `position`: what is before it is given back.
    pub fn advance(&mut self, position: Position, next_offset: Offset) {
        self.position = position;
        self.next_offset = Some(next_offset);
        self.used = true;
        while let Some(front) = self.windows.front()
            && front.position + front.len as u64 <= position
        {
            self.windows.pop_front();
        }
    }
}

fn rest(from: Position, limit: Position) -> usize {
    ((limit - from) as usize).next_multiple_of(BLOCK_BYTES as usize)
}

/// The streams of one partition's readers.
#[derive(Default)]
pub struct ReadStreams {
    streams: Vec<ReadStream>,
}

impl ReadStreams {
    /// The stream that stopped before `offset` in this segment.
    pub fn take(&mut self, segment: Offset, offset: Offset) -> Option<ReadStream> {
        let place =
            self.streams.iter().position(|stream| stream.segment == segment && stream.next_offset == Some(offset))?;
        let mut stream = self.streams.remove(place);
        stream.sequential += 1;
        Some(stream)
    }

    /// Keeps a stream for its reader's next call.
    pub fn keep(&mut self, stream: ReadStream) {
        if self.streams.len() == STREAMS_MAX {
            self.streams.remove(0);
        }
        self.streams.push(stream);
    }

    /// Drops the streams that were not used since this was last called.
    pub fn quiet_down(&mut self) {
        self.streams.retain_mut(|stream| std::mem::take(&mut stream.used));
        if self.streams.is_empty() {
            self.streams.shrink_to_fit();
        }
    }
}
