//! Zstandard. Contexts are kept per thread, since making one costs more than a small batch.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::{Codec, malformed, too_large};
use crate::batch::error::BatchError;

/// `compression.zstd.level` where it is not set, as in Kafka.
const LEVEL: i32 = 3;
/// The largest window that is accepted, as a power of two: what level 22 makes, and what Kafka's own reader accepts.
/// Its memory is touched only as far as the output goes, which is bounded.
const WINDOW_LOG_MAX: u32 = 27;
/// A context that has grown beyond this is not kept.
const CONTEXT_BYTES_MAX: usize = 4 << 20;
/// The first step in which the output grows.
const OUTPUT_STEP_BYTES: usize = 128 * 1024;

thread_local! {
    static COMPRESS: RefCell<CCtx<'static>> = RefCell::new(new_compressor());
    static DECOMPRESS: RefCell<DCtx<'static>> = RefCell::new(new_decompressor());
}

fn new_compressor() -> CCtx<'static> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(LEVEL)).expect("the level is one of zstd's");
    context
}

fn new_decompressor() -> DCtx<'static> {
    let mut context = DCtx::create();
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).expect("the window is one of zstd's");
    context
}

pub(super) fn compress(level: Option<i32>, input: &[u8], output: &mut Vec<u8>) {
    let set_level = |context: &mut CCtx<'static>, level: i32| {
        let level = level.clamp(zstd::zstd_safe::min_c_level(), zstd::zstd_safe::max_c_level());
        context.set_parameter(CParameter::CompressionLevel(level)).expect("the level is one of zstd's");
    };
    COMPRESS.with_borrow_mut(|context| {
        if let Some(level) = level {
            set_level(context, level);
        }
        let start = output.len();
        output.reserve(zstd::zstd_safe::compress_bound(input.len()));
        let mut out = OutBuffer::around_pos(output, start);
        let mut input = InBuffer::around(input);
        let left = context
            .compress_stream2(&mut out, &mut input, zstd::zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end)
            .unwrap_or_else(|code| panic!("zstd: {}", get_error_name(code)));
        assert_eq!(left, 0, "zstd's own bound on its output was not enough");
        if level.is_some() {
            // High levels take tens of megabytes, which are not kept either.
            if context.sizeof() > CONTEXT_BYTES_MAX { *context = new_compressor() } else { set_level(context, LEVEL) }
        }
    });
}

pub(super) fn decompress(input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), BatchError> {
    DECOMPRESS.with_borrow_mut(|context| {
        let result = decompress_with(context, input, output, output_bytes_max);
        if context.sizeof() > CONTEXT_BYTES_MAX {
            *context = new_decompressor();
        } else if result.is_err() {
            context.reset(ResetDirective::SessionOnly).expect("the session of a context can always be reset");
        }
        result
    })
}

fn decompress_with(
    context: &mut DCtx<'static>,
    input: &[u8],
    output: &mut Vec<u8>,
    output_bytes_max: usize,
) -> Result<(), BatchError> {
    let mut input = InBuffer::around(input);
    loop {
        if output.len() == output.capacity() {
            if output.len() > output_bytes_max {
                return Err(too_large(Codec::Zstd, output_bytes_max));
            }
            let step = output.len().max(OUTPUT_STEP_BYTES).min(output_bytes_max - output.len() + 1);
            output.reserve_exact(step);
        }
        let start = output.len();
        let mut out = OutBuffer::around_pos(output, start);
        let hint = context
            .decompress_stream(&mut out, &mut input)
            .map_err(|code| malformed(Codec::Zstd, get_error_name(code)))?;
        let full = out.pos() == out.capacity();
        if output.len() > output_bytes_max {
            return Err(too_large(Codec::Zstd, output_bytes_max));
        }
        // 0 is the end of a frame; others may follow it.
        if input.pos() == input.src.len() && !full {
            return if hint == 0 { Ok(()) } else { Err(malformed(Codec::Zstd, "it ends within a frame")) };
        }
        if input.pos() == input.src.len() && hint == 0 {
            return Ok(());
        }
    }
}
