//! The index points of an open segment on disk, `<base offset>.points`: so that a checkpoint need not carry them again.
//!
//! Each record of 32 bytes has a checksum of its own that binds the segment, so that the file is written without a sync: what a
//! power cut leaves of it is either right or seen to be missing, and then the segment is scanned. See `docs/format.md`.

use crate::checksum::{crc32c, crc32c_append};
use crate::journal::IndexPoint;
use crate::types::{Offset, Position, Timestamp};

/// The bytes of one point.
pub const POINT_RECORD_BYTES: usize = 32;

/// The records of `points`, all of the segment at `base`.
pub fn encode_points(base: Offset, points: &[IndexPoint]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(points.len() * POINT_RECORD_BYTES);
    for point in points {
        let start = bytes.len();
        bytes.extend_from_slice(&relative(base, point.offset).to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(point.position.0).expect("a segment is below 4 GiB").to_le_bytes());
        bytes.extend_from_slice(&point.max_timestamp.0.to_le_bytes());
        bytes.extend_from_slice(&(point.max_timestamp_offset - base).to_le_bytes());
        let crc = crc(base, &bytes[start..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
    }
    bytes
}

/// The points of the segment at `base`, up to the first record that does not verify or does not rise.
pub fn decode_points(base: Offset, bytes: &[u8]) -> Vec<IndexPoint> {
    let mut points: Vec<IndexPoint> = Vec::new();
    for record in bytes.as_chunks::<POINT_RECORD_BYTES>().0 {
        let field = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| i64::from_le_bytes(record[at..at + 8].try_into().expect("8 bytes"));
        if field(24) != crc(base, &record[..24]) {
            break;
        }
        let point = IndexPoint {
            offset: base + i64::from(field(0)),
            position: Position(u64::from(field(4))),
            max_timestamp: Timestamp(long(8)),
            max_timestamp_offset: base + long(16),
        };
        if points.last().is_some_and(|last| point.position <= last.position || point.offset <= last.offset) {
            break;
        }
        points.push(point);
    }
    points
}

fn relative(base: Offset, offset: Offset) -> u32 {
    u32::try_from(offset - base).expect("a segment has fewer than 2^31 offsets")
}

fn crc(base: Offset, bytes: &[u8]) -> u32 {
    crc32c_append(crc32c(&base.0.to_le_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<IndexPoint> {
        (1..100)
            .map(|n| IndexPoint {
                offset: Offset(1000 + n * 7),
                position: Position(n as u64 * 5000),
                max_timestamp: Timestamp(n * 3),
                max_timestamp_offset: Offset(1000 + n * 7),
            })
            .collect()
    }

    #[test]
    fn points_read_back() {
        let bytes = encode_points(Offset(1000), &points());
        assert_eq!(bytes.len(), 99 * POINT_RECORD_BYTES);
        assert_eq!(decode_points(Offset(1000), &bytes), points());
    }

    #[test]
    fn a_damaged_or_foreign_record_ends_the_points_before_it() {
        let bytes = encode_points(Offset(1000), &points());
        assert!(decode_points(Offset(0), &bytes).is_empty(), "the points of another segment");
        for flipped in [0, 31 * 32 + 5, 98 * 32 + 27] {
            let mut damaged = bytes.clone();
            damaged[flipped] ^= 1;
            assert_eq!(decode_points(Offset(1000), &damaged), points()[..flipped / 32]);
        }
    }
}
