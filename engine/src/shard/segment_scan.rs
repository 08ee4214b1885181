//! Reads a segment batch by batch, to make its indexes anew or to find where it ends.

use crate::batch::BatchHeader;
use crate::checksum::crc32c_append;
use crate::error::Result;
use crate::io::{File, Io};
use crate::journal::IndexPoint;
use crate::shard::read_stream::{READ_BYTES, ReadStream};
use crate::shard::shard::Shard;
use crate::types::{Epoch, Offset, Position, Timestamp};

/// Kafka's default of `index.interval.bytes`, which an index made anew gets.
const INTERVAL_BYTES: u64 = 4096;

/// What a scan found.
pub(super) struct Scanned {
    /// Index points by Kafka's rule.
    pub(super) points: Vec<IndexPoint>,
    /// The timestamp of the first batch.
    pub(super) first_timestamp: Timestamp,
    /// The largest timestamp.
    pub(super) max_timestamp: Timestamp,
    /// The last offset of the batch that has it.
    pub(super) max_timestamp_offset: Offset,
    /// Where the last sound batch ends.
    pub(super) end: Position,
    /// The offset behind it.
    pub(super) next_offset: Offset,
    /// Leader epochs as they begin.
    pub(super) epochs: Vec<(Epoch, Offset)>,
    /// CRC-32C over the checksum fields of the batches.
    pub(super) chain_crc: u32,
    /// Whether what follows the last sound batch is no batch, rather than the end.
    pub(super) cut: bool,
}

impl Scanned {
    pub(super) fn new(base: Offset) -> Scanned {
        Scanned {
            points: Vec::new(),
            first_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: base,
            end: Position::ZERO,
            next_offset: base,
            epochs: Vec::new(),
            chain_crc: 0,
            cut: false,
        }
    }

    /// Takes the next batch in, at the end so far.
    pub(super) fn note(&mut self, header: &BatchHeader, since_point: &mut u64) {
        // What compaction left of a batch without records has the times of records that are gone: as with Kafka no index has them.
        if header.record_count > 0 {
            if self.first_timestamp == Timestamp::NONE {
                self.first_timestamp = header.first_timestamp();
            }
            if header.max_timestamp > self.max_timestamp {
                self.max_timestamp = header.max_timestamp;
                self.max_timestamp_offset = header.last_offset();
            }
        }
        if self.end != Position::ZERO && *since_point > INTERVAL_BYTES {
            self.points.push(IndexPoint {
                offset: header.last_offset(),
                position: self.end,
                max_timestamp: self.max_timestamp,
                max_timestamp_offset: self.max_timestamp_offset,
            });
            *since_point = 0;
        }
        *since_point += header.size_bytes() as u64;
        if self.epochs.last().is_none_or(|last| last.0 != header.leader_epoch) && header.leader_epoch.0 >= 0 {
            self.epochs.push((header.leader_epoch, header.base_offset));
        }
        self.chain_crc = crc32c_append(self.chain_crc, &header.crc.to_be_bytes());
        self.end += header.size_bytes() as u64;
        self.next_offset = header.next_offset();
    }
}

impl Shard {
    /// Reads the batches of a segment from `from` to `to`, both batch boundaries.
    pub(super) async fn scan_points(&self, base: Offset, file: &File, from: Position, to: Position) -> Result<Scanned> {
        scan_file(&self.io, base, file, from, to, false).await
    }
}

/// Reads batches from `from`, a batch boundary, to `to` at the most, and stops before the first one that is not whole or does not
/// verify (`checked`), or whose offsets do not rise.
pub(super) async fn scan_file(
    io: &Io,
    base: Offset,
    file: &File,
    from: Position,
    to: Position,
    checked: bool,
) -> Result<Scanned> {
    let mut scanned = Scanned::new(base);
    scanned.end = from;
    let mut since_point = if from == Position::ZERO { 0 } else { u64::MAX / 2 };
    let mut stream = ReadStream::new(base, from);
    stream.sequential = 1;
    while scanned.end < to {
        let wanted = (scanned.end + READ_BYTES as u64).min(to);
        stream.read_up_to(io, file, wanted, to);
        stream.wait(scanned.end + crate::batch::HEADER_BYTES as u64).await?;
        let Ok(Some(header)) = stream.header(file, scanned.end) else {
            scanned.cut = true;
            break;
        };
        let end = scanned.end + header.size_bytes() as u64;
        if end > to || header.base_offset < scanned.next_offset || header.last_offset_delta < 0 {
            scanned.cut = true;
            break;
        }
        if stream.held_end() < end {
            stream.read_up_to(io, file, end, to);
            stream.wait(end).await?;
            if stream.held_end() < end {
                scanned.cut = true;
                break;
            }
        }
        if checked {
            let parts = stream.slices(scanned.end + 21, end);
            if parts.iter().fold(0, |crc, part| crc32c_append(crc, part)) != header.crc {
                scanned.cut = true;
                break;
            }
        }
        scanned.note(&header, &mut since_point);
        stream.advance(scanned.end, scanned.next_offset);
    }
    Ok(scanned)
}
