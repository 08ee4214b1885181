//! Stores a batch with the codec that its topic wants (`compression.type`), whatever its producer chose.
//!
//! Only the records' bytes and what follows from them change: the codec's bits, the length and the checksum. Offsets, times,
//! producer and sequence stay, so that to its readers and to duplicate detection it is the same batch.

use crate::batch::codec::{self, Codec};
use crate::batch::error::BatchError;
use crate::batch::header::{Attributes, BatchHeader, HEADER_BYTES, LENGTH_OVERHEAD, at, put};
use crate::batch::validate::{Limits, validate};
use crate::checksum::crc32c;
use crate::types::{Epoch, Offset};

/// A codec and how hard it tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// The codec's own level (KIP-390); `None` for its default. Snappy has none, and lz4 has one only.
    pub level: Option<i32>,
}

/// The batch with its records compressed as `wanted`, if they are not compressed with that codec already. All of it is checked
/// before, as [`validate`] does: bytes that are not as they were sent are not given a new checksum.
///
/// # Errors
/// As [`validate`].
pub fn recompress(batch: &[u8], wanted: Compression, limits: &Limits) -> Result<Option<Vec<u8>>, BatchError> {
    if BatchHeader::parse(batch)?.codec()? == wanted.codec {
        return Ok(None);
    }
    let valid = validate(batch, &Limits { check_compressed: true, ..limits.clone() })?;
    let header = *valid.header();
    let mut stored = valid.stored_header(Offset(header.base_offset.0), Epoch(header.leader_epoch.0), None);
    let mut records = Vec::new();
    codec::decompress(
        header.codec()?,
        &batch[HEADER_BYTES..],
        &mut records,
        limits.output_bytes_max().max(batch.len()),
    )?;

    let attributes = (header.attributes.0 & !Attributes::CODEC_MASK) | wanted.codec.id();
    put(&mut stored, at::ATTRIBUTES, attributes.to_be_bytes());
    let mut out = Vec::with_capacity(HEADER_BYTES + records.len());
    out.extend_from_slice(&stored);
    codec::compress_at(wanted.codec, wanted.level, &records, &mut out);
    let length = i32::try_from(out.len() - LENGTH_OVERHEAD)
        .map_err(|_| BatchError::TooLarge { bytes: out.len(), limit: limits.max_batch_bytes })?;
    put(&mut out, at::LENGTH, length.to_be_bytes());
    let crc = crc32c(&out[at::ATTRIBUTES..]);
    put(&mut out, at::CRC, crc.to_be_bytes());
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, records};
    use crate::types::Timestamp;

    fn batch(codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec).producer(7, 3, 11).transactional();
        for index in 0..50 {
            let value = format!("the same again and again {index}");
            builder.push(Timestamp(1_000 + index), Some(b"key"), Some(value.as_bytes()), &[(b"h", None)]);
        }
        builder.build(Offset(0))
    }

    fn limits() -> Limits {
        Limits::new(Timestamp(1_000))
    }

    #[test]
    fn every_codec_becomes_every_other_and_the_records_stay_as_they_were() {
        for from in Codec::ALL {
            let batch = batch(from);
            for to in Codec::ALL {
                let wanted = Compression { codec: to, level: None };
                let Some(made) = recompress(&batch, wanted, &limits()).expect("good") else {
                    assert_eq!(from, to);
                    continue;
                };
                let valid = validate(&made, &limits()).expect("good");
                let (old, new) = (BatchHeader::parse(&batch).expect("a batch"), *valid.header());
                assert_eq!(new.codec(), Ok(to));
                assert_eq!((new.producer_id, new.producer_epoch, new.base_sequence), (7, 3, 11));
                assert!(new.is_transactional() && new.max_timestamp == old.max_timestamp);
                let (before, after) = (records(&batch, 1 << 20).expect("good"), records(&made, 1 << 20).expect("good"));
                let (before, after): (Vec<_>, Vec<_>) =
                    (before.iter().flatten().collect(), after.iter().flatten().collect());
                assert_eq!(format!("{before:?}"), format!("{after:?}"));
            }
        }
    }

    #[test]
    fn a_level_is_taken_and_the_next_batch_without_one_is_as_before() {
        let batch = batch(Codec::None);
        for codec in [Codec::Gzip, Codec::Zstd] {
            let size = |level| {
                recompress(&batch, Compression { codec, level }, &limits()).expect("good").expect("another codec").len()
            };
            let default = size(None);
            assert!(size(Some(9)) <= size(Some(1)), "{codec}");
            assert_eq!(size(None), default, "{codec}");
        }
    }

    #[test]
    fn what_is_damaged_gets_no_new_checksum() {
        let wanted = Compression { codec: Codec::Zstd, level: None };
        let mut damaged = batch(Codec::Gzip);
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(matches!(recompress(&damaged, wanted, &limits()), Err(BatchError::Crc { .. })));
        // A good checksum over records that cannot be read.
        let mut lying = batch(Codec::Gzip);
        lying[HEADER_BYTES] ^= 1;
        let crc = crc32c(&lying[at::ATTRIBUTES..]);
        put(&mut lying, at::CRC, crc.to_be_bytes());
        assert!(matches!(recompress(&lying, wanted, &limits()), Err(BatchError::Decompress { .. })));
        assert!(recompress(&[0; 10], wanted, &limits()).is_err());
    }
}
