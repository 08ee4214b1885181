//! Snappy: written in the framing of snappy-java (which Kafka's clients call xerial), read in that or raw.
//!
//! The framing is 8 bytes of magic and two version numbers of 4, then chunks, each with its compressed size before it
//! (`SnappyOutputStream`). librdkafka and others send one raw block.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Codec, malformed, too_large};
use crate::batch::error::BatchError;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// Version 1, readable by version 1.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const FRAME_HEADER_BYTES: usize = MAGIC.len() + VERSIONS.len();
/// What snappy-java compresses at a time.
const CHUNK_BYTES: usize = 32 * 1024;
/// The densest element copies 64 bytes for 3, so a chunk that claims more than this many times its size lies.
const RATIO_MAX: usize = 22;

pub(super) fn compress(input: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&VERSIONS);
    let mut encoder = Encoder::new();
    for chunk in input.chunks(CHUNK_BYTES) {
        let size_at = output.len();
        output.resize(size_at + 4 + max_compress_len(chunk.len()), 0);
        let size = encoder.compress(chunk, &mut output[size_at + 4..]).expect("the room is the most it can need");
        output[size_at..size_at + 4].copy_from_slice(&(size as u32).to_be_bytes());
        output.truncate(size_at + 4 + size);
    }
}

pub(super) fn decompress(input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), BatchError> {
    if !input.starts_with(&MAGIC) {
        return decompress_chunk(input, output, output_bytes_max);
    }
    let mut rest = frame_header(input)?;
    while !rest.is_empty() {
        // Streams may have been put one after the other: the magic is no possible size.
        if rest.starts_with(&MAGIC) {
            rest = frame_header(rest)?;
            continue;
        }
        let (size, after) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let size = u32::from_be_bytes(*size) as usize;
        let (chunk, after) = after.split_at_checked(size).ok_or_else(truncated)?;
        decompress_chunk(chunk, output, output_bytes_max)?;
        rest = after;
    }
    Ok(())
}

fn frame_header(input: &[u8]) -> Result<&[u8], BatchError> {
    let (header, rest) = input.split_at_checked(FRAME_HEADER_BYTES).ok_or_else(truncated)?;
    let compatible = u32::from_be_bytes(*header[12..].first_chunk().expect("the header has 16 bytes"));
    if compatible > 1 {
        return Err(malformed(Codec::Snappy, format_args!("framing version {compatible} is not known")));
    }
    Ok(rest)
}

fn decompress_chunk(chunk: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), BatchError> {
    let size = decompress_len(chunk).map_err(|error| malformed(Codec::Snappy, error))?;
    let start = output.len();
    if size > output_bytes_max - start {
        return Err(too_large(Codec::Snappy, output_bytes_max));
    }
    if size > chunk.len() * RATIO_MAX {
        return Err(malformed(Codec::Snappy, format_args!("{} bytes claim to be {size}", chunk.len())));
    }
    output.resize(start + size, 0);
    Decoder::new().decompress(chunk, &mut output[start..]).map_err(|error| malformed(Codec::Snappy, error))?;
    Ok(())
}

fn truncated() -> BatchError {
    malformed(Codec::Snappy, "it ends within a chunk")
}
