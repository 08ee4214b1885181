//! Reads a journal from a checkpoint's mark on; what is believed, and what is damage, is decided by the chain of groups.

use std::path::Path;

use bytes::Bytes;

use crate::error::Result;
use crate::io::{File, Io, OpenMode};
use crate::journal::chain::{Chain, ScannedGroup};
use crate::journal::group::{GROUP_BYTES_MAX, JournalMark};
use crate::journal::ring::decode_header;
use crate::types::Position;

/// How much is read at once.
const WINDOW_BYTES: u64 = 4 << 20;

/// What a journal holds from a mark on.
#[derive(Debug)]
pub struct JournalScan {
    /// The groups in order.
    pub groups: Vec<ScannedGroup>,
    /// Where the next group would have gone.
    pub end: JournalMark,
}

/// Reads all groups from `mark` on. For a large journal [`JournalReader`] holds less at once.
pub async fn read_journal(io: &Io, path: &Path, mark: JournalMark) -> Result<JournalScan> {
    let mut reader = JournalReader::open(io, path, mark).await?;
    let mut groups = Vec::new();
    while let Some(group) = reader.next().await? {
        groups.push(group);
    }
    Ok(JournalScan { groups, end: reader.end() })
}

/// Reads a journal group by group.
pub struct JournalReader {
    io: Io,
    /// `None` where there is no file, which is a journal that was never written to.
    file: Option<File>,
    /// The whole blocks of the file.
    length: Position,
    chain: Chain,
    window: (Position, Bytes),
}

impl JournalReader {
    /// Begins at `mark`. A missing file is an empty journal where the mark is the first of its generation, and
    /// [`Error::Corrupt`](crate::Error::Corrupt) otherwise.
    pub async fn open(io: &Io, path: &Path, mark: JournalMark) -> Result<JournalReader> {
        let length = io.file_len(path).await?;
        let chain = Chain::new(path, mark, length)?;
        let file = if length.is_some() { Some(io.open(path, OpenMode::Read).await?) } else { None };
        let length = Position(length.unwrap_or(0)).block_start();
        let window = (Position::ZERO, Bytes::new());
        let mut reader = JournalReader { io: io.clone(), file, length, chain, window };
        // A damaged header block costs nothing, since every group says who it is; a newer one must be respected.
        decode_header(path, &reader.bytes_at(Position::ZERO).await?)?;
        Ok(reader)
    }

    /// The next group, or `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<ScannedGroup>> {
        for place in self.chain.places() {
            let bytes = self.bytes_at(place).await?;
            if let Some(group) = self.chain.take(place, &bytes)? {
                return Ok(Some(group));
            }
        }
        for (mut place, end) in self.chain.look_ahead(self.length) {
            while place < end {
                let bytes = self.bytes_at(place).await?;
                self.chain.check_not_lost(place, &bytes)?;
                // Past what was read, and past a block that came short.
                place = (place + bytes.len().max(1) as u64).block_end();
            }
        }
        Ok(None)
    }

    /// Where the next group is expected; behind the last one, once [`JournalReader::next`] gave `None`.
    pub fn end(&self) -> JournalMark {
        self.chain.next()
    }

    /// The bytes from `place` on, at least a whole group of the greatest size where the file has it.
    async fn bytes_at(&mut self, place: Position) -> Result<Bytes> {
        let Some(file) = &self.file else { return Ok(Bytes::new()) };
        if place >= self.length {
            return Ok(Bytes::new());
        }
        let wanted = self.length.min(place + GROUP_BYTES_MAX as u64);
        let (start, bytes) = &self.window;
        if place < *start || *start + (bytes.len() as u64) < wanted {
            let length = (self.length - place).min(WINDOW_BYTES) as usize;
            let (read, buffer) = file.read_at(self.io.alloc(length), place, length).await;
            read?;
            let filled = buffer.len();
            self.window = (place, Bytes::from(buffer.slice(0..filled)));
        }
        let (start, bytes) = &self.window;
        Ok(bytes.slice(((place - *start) as usize).min(bytes.len())..))
    }
}
