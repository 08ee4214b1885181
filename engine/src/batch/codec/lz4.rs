//! LZ4 in its frame format, with independent blocks, which are all that Kafka and its Java clients read.
//!
//! The frame is taken apart here, since the library takes one that is cut short for one that ends; blocks are the
//! library's. Checksums that the frame has are verified.

use std::io::Write;

use lz4_flex::block::{DecompressError, decompress_into};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::{Codec, malformed, too_large};
use crate::batch::error::BatchError;

const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();

// Bits of the descriptor's first byte.
const VERSION_MASK: u8 = 0xc0;
const VERSION_1: u8 = 0x40;
const INDEPENDENT_BLOCKS: u8 = 0x20;
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const RESERVED_OR_DICTIONARY: u8 = 0x03;

/// Set in a block's size where its bytes are not compressed.
const UNCOMPRESSED: u32 = 1 << 31;
/// The densest a block can be: each input byte adds 255 bytes to the length of a match.
const RATIO_MAX: usize = 255;

/// Blocks of 64 KiB, as Kafka's own writer makes them.
pub(super) fn compress(input: &[u8], output: &mut Vec<u8>) {
    let frame = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, output);
    encoder.write_all(input).expect("writing to memory does not fail");
    encoder.try_finish().expect("writing to memory does not fail");
}

pub(super) fn decompress(input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), BatchError> {
    let (frame, mut rest) = Frame::parse(input)?;
    loop {
        let size = take_u32(&mut rest)?;
        if size == 0 {
            break;
        }
        let block = take(&mut rest, (size & !UNCOMPRESSED) as usize)?;
        if frame.block_checksums && take_u32(&mut rest)? != XxHash32::oneshot(0, block) {
            return Err(refused("the checksum of a block does not match"));
        }
        let start = output.len();
        let room = output_bytes_max - start;
        if size & UNCOMPRESSED != 0 {
            if block.len() > frame.block_bytes_max {
                return Err(refused("a block is larger than its frame allows"));
            }
            if block.len() > room {
                return Err(too_large(Codec::Lz4, output_bytes_max));
            }
            output.extend_from_slice(block);
            continue;
        }
        let most = frame.block_bytes_max.min(block.len().saturating_mul(RATIO_MAX));
        output.resize(start + most.min(room), 0);
        match decompress_into(block, &mut output[start..]) {
            Ok(made) => output.truncate(start + made),
            Err(DecompressError::OutputTooSmall { .. }) if most > room => {
                return Err(too_large(Codec::Lz4, output_bytes_max));
            }
            Err(error) => return Err(malformed(Codec::Lz4, error)),
        }
    }
    if frame.content_checksum && take_u32(&mut rest)? != XxHash32::oneshot(0, output) {
        return Err(refused("the checksum of the content does not match"));
    }
    if rest.is_empty() { Ok(()) } else { Err(refused("bytes follow the frame")) }
}

/// What a frame's descriptor says about its blocks.
struct Frame {
    block_checksums: bool,
    content_checksum: bool,
    block_bytes_max: usize,
}

impl Frame {
    /// The descriptor, and the bytes behind it.
    fn parse(input: &[u8]) -> Result<(Frame, &[u8]), BatchError> {
        let mut rest = input;
        if take(&mut rest, MAGIC.len())? != MAGIC {
            return Err(refused("it does not begin with the magic number of a frame"));
        }
        let descriptor = rest;
        let flags = take(&mut rest, 2)?;
        let (flags, block_size) = (flags[0], flags[1]);
        if flags & VERSION_MASK != VERSION_1 || flags & RESERVED_OR_DICTIONARY != 0 {
            return Err(refused("the frame is of a version or with a dictionary that is not supported"));
        }
        if flags & INDEPENDENT_BLOCKS == 0 {
            return Err(refused("frames of dependent blocks are not supported"));
        }
        let block_bytes_max = match block_size {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(refused("the block size of the frame is not known")),
        };
        if flags & CONTENT_SIZE != 0 {
            // Said for the reader's convenience, and so not believed.
            take(&mut rest, 8)?;
        }
        let descriptor = &descriptor[..descriptor.len() - rest.len()];
        let checksum = take(&mut rest, 1)?[0];
        if checksum != (XxHash32::oneshot(0, descriptor) >> 8) as u8 {
            return Err(refused("the checksum of the frame's descriptor does not match"));
        }
        let frame = Frame {
            block_checksums: flags & BLOCK_CHECKSUMS != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
            block_bytes_max,
        };
        Ok((frame, rest))
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], BatchError> {
    let (taken, after) = rest.split_at_checked(count).ok_or_else(|| refused("it ends within the frame"))?;
    *rest = after;
    Ok(taken)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, BatchError> {
    take(rest, 4).map(|bytes| u32::from_le_bytes(*bytes.first_chunk().expect("four were taken")))
}

fn refused(what: &'static str) -> BatchError {
    malformed(Codec::Lz4, what)
}
