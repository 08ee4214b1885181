//! One segment as recovery would see it: the bytes of its file, and over them those that only journal and checkpoint have.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::batch::{BatchError, BatchHeader};
use crate::error::{Error, Result};
use crate::types::{Offset, Position};

/// How much is read at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// A segment's bytes and where they end.
#[derive(Clone, Debug)]
pub struct SegmentContents {
    /// The offset of its name.
    pub base: Offset,
    /// Its `.log` file, which may be missing while all its bytes are in the journal.
    pub path: PathBuf,
    /// The length of the file.
    pub file_bytes: u64,
    /// Where the segment ends.
    pub length: Position,
    /// Whether journal or checkpoint say where it ends; else it is what the file holds.
    pub is_recorded: bool,
    /// Whether it is the last one, which is still written to.
    pub is_active: bool,
    /// Bytes by their place; a later one wins.
    pub(super) overlays: Vec<(Position, Bytes)>,
}

impl SegmentContents {
    /// A segment that is what its file holds.
    pub fn of_file(path: &Path, base: Offset) -> Result<SegmentContents> {
        let file_bytes = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::io("stat", path, None, error)),
        };
        let (path, length) = (path.to_path_buf(), Position(file_bytes));
        let overlays = Vec::new();
        Ok(SegmentContents { base, path, file_bytes, length, is_recorded: false, is_active: false, overlays })
    }

    /// The batches from the start to the end, one after the other. Their checksums are not looked at.
    pub fn batches(&self) -> Result<SegmentBatches> {
        let file = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open", &self.path, None, error)),
        };
        let window = (Position::ZERO, Bytes::new());
        Ok(SegmentBatches { segment: self.clone(), file, at: Position::ZERO, window, ended: false })
    }

    /// The first byte that neither the file nor journal and checkpoint have.
    pub fn missing(&self) -> Option<Position> {
        let mut covered = Position(self.file_bytes);
        let mut parts: Vec<_> = self.overlays.iter().map(|(at, bytes)| (*at, *at + bytes.len() as u64)).collect();
        parts.sort_unstable();
        for (start, end) in parts {
            if start <= covered {
                covered = covered.max(end);
            }
        }
        (covered < self.length).then_some(covered)
    }

    /// The bytes `from..to`.
    pub(super) fn range(&self, from: Position, to: Position) -> Result<Bytes> {
        let file = File::open(&self.path).map_err(|error| Error::io("open", &self.path, None, error))?;
        self.read(&Some(file), from, to - from)
    }

    fn read(&self, file: &Option<File>, at: Position, length: u64) -> Result<Bytes> {
        let mut bytes = vec![0; length as usize];
        let in_file = length.min(self.file_bytes.saturating_sub(at.0)) as usize;
        if let Some(file) = file {
            let read = file.read_exact_at(&mut bytes[..in_file], at.0);
            read.map_err(|error| Error::io("read", &self.path, Some(at), error))?;
        }
        for (start, overlay) in &self.overlays {
            let from = start.0.max(at.0);
            let to = (start.0 + overlay.len() as u64).min(at.0 + length);
            if from < to {
                let part = &overlay[(from - start.0) as usize..(to - start.0) as usize];
                bytes[(from - at.0) as usize..(to - at.0) as usize].copy_from_slice(part);
            }
        }
        Ok(Bytes::from(bytes))
    }
}

/// The batches of a segment; ends behind the first place that cannot be a batch, with an error.
pub struct SegmentBatches {
    segment: SegmentContents,
    file: Option<File>,
    at: Position,
    window: (Position, Bytes),
    ended: bool,
}

impl SegmentBatches {
    /// The batches from `position` on, where one begins.
    pub(super) fn from(mut self, position: Position) -> SegmentBatches {
        self.at = position;
        self
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        self.at
    }

    /// Whether all bytes from the next batch's place on are zero, as a preallocated file's are.
    pub fn rest_is_zero(&mut self) -> Result<bool> {
        let mut at = self.at;
        while at < self.segment.length {
            let bytes = self.segment.read(&self.file, at, (self.segment.length - at).min(WINDOW_BYTES))?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    fn read_next(&mut self) -> Result<(BatchHeader, Bytes)> {
        let rest = self.segment.length - self.at;
        let head = self.bytes(crate::batch::HEADER_BYTES as u64)?;
        let damaged = |error: BatchError| Error::corrupt(&self.segment.path, Some(self.at), error.to_string());
        let header = BatchHeader::parse(&head).map_err(damaged)?;
        let size = header.size_bytes() as u64;
        if size > rest {
            let what = format!("a batch of {size} bytes, and {rest} are left of the segment");
            return Err(Error::corrupt(&self.segment.path, Some(self.at), what));
        }
        let bytes = self.bytes(size)?.slice(..size as usize);
        Ok((header, bytes))
    }

    /// At least `length` bytes from the current place on, or what the segment has.
    fn bytes(&mut self, length: u64) -> Result<Bytes> {
        let rest = self.segment.length - self.at;
        let (start, bytes) = &self.window;
        if *start + (bytes.len() as u64) < self.at + length.min(rest) {
            let length = length.max(WINDOW_BYTES).min(rest);
            self.window = (self.at, self.segment.read(&self.file, self.at, length)?);
        }
        let (start, bytes) = &self.window;
        Ok(bytes.slice((self.at - *start) as usize..))
    }
}

impl Iterator for SegmentBatches {
    type Item = Result<(Position, BatchHeader, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.at >= self.segment.length {
            return None;
        }
        Some(match self.read_next() {
            Ok((header, bytes)) => {
                let at = self.at;
                self.at += bytes.len() as u64;
                Ok((at, header, bytes))
            }
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        })
    }
}
