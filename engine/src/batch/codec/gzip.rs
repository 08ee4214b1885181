//! gzip: one or more members, one after the other.

use std::io::Write;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Codec, read_bounded};
use crate::batch::error::BatchError;

/// `compression.gzip.level` where it is not set is the library's own, as in Kafka.
pub(super) fn compress(level: Option<i32>, input: &[u8], output: &mut Vec<u8>) {
    let level = level.map_or_else(Compression::default, |level| Compression::new(level.clamp(1, 9) as u32));
    let mut encoder = GzEncoder::new(output, level);
    encoder.write_all(input).and_then(|()| encoder.try_finish()).expect("writing to memory does not fail");
}

pub(super) fn decompress(input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), BatchError> {
    read_bounded(Codec::Gzip, MultiGzDecoder::new(input), output, output_bytes_max)
}
