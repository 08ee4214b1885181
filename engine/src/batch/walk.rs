//! Goes over the records of a batch as fast as they can be checked, without building any.
//!
//! The common record (lengths below 8 KiB, no headers) is checked from a few loads, with branches that a batch of like
//! records makes predictable, and a run of records of one size by its [`Shape`]. Everything else goes through
//! [`RawRecord::read`], which is also where every error message comes from: the fast paths decide only "good" or "look
//! closer".

use std::ops::Range;

use crate::batch::error::BatchError;
use crate::batch::records::RawRecord;
use crate::batch::shape::Shape;
use crate::batch::varint::{Reader, unzigzag};

/// The bytes from a record's start to behind its key's length, where every number in them has at most two bytes.
const PREFIX_BYTES: usize = 16;
/// How many records of one size in a row are taken for the start of a run.
const STREAK: u32 = 2;
/// A run of fewer was not worth looking for: the next is looked for later.
const RUN_WORTHWHILE: i32 = 8;

/// What a walk has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// The least timestamp delta.
    pub(crate) timestamp_delta_min: i64,
    /// The greatest timestamp delta.
    pub(crate) timestamp_delta_max: i64,
    /// The first record that has it.
    pub(crate) timestamp_max_index: i32,
    /// Whether every record has a key.
    pub(crate) keyed: bool,
}

/// Checks that `payload` is exactly `count` records, with offset deltas 0, 1, 2 …. `count` is positive.
pub(crate) fn walk(payload: &[u8], count: i32) -> Result<Walked, BatchError> {
    assert!(count > 0, "{count} records to walk");
    let mut walked =
        Walked { timestamp_delta_min: i64::MAX, timestamp_delta_max: i64::MIN, timestamp_max_index: 0, keyed: true };
    let (mut position, mut index) = (0, 0);
    let (mut size, mut streak, mut streak_wanted) = (0, 0, STREAK);
    while index < count {
        let step = match fast_step(payload, position, index) {
            Some(step) => step,
            None => careful_step(payload, position, index)?,
        };
        // Those of a run have a key if the one before them has.
        walked.keyed &= step.keyed;
        walked.see(step.timestamp_delta, index);
        streak = if step.end - position == size { streak + 1 } else { 1 };
        size = step.end - position;
        position = step.end;
        index += 1;
        if streak >= streak_wanted {
            let run = run(payload, position, size, index..count, &mut walked);
            position += run as usize * size;
            index += run;
            streak = 0;
            if run < RUN_WORTHWHILE {
                streak_wanted = streak_wanted.saturating_mul(2);
            }
        }
    }
    if position < payload.len() {
        return Err(BatchError::RecordsTrailing(payload.len() - position));
    }
    Ok(walked)
}

impl Walked {
    /// Takes the next record's timestamp delta in.
    #[inline(always)]
    pub(crate) fn see(&mut self, timestamp_delta: i64, index: i32) {
        self.timestamp_delta_min = self.timestamp_delta_min.min(timestamp_delta);
        if timestamp_delta > self.timestamp_delta_max {
            self.timestamp_delta_max = timestamp_delta;
            self.timestamp_max_index = index;
        }
    }
}

/// How many records from `position` on are of the shape of the one before it, which has `size` bytes.
fn run(payload: &[u8], position: usize, size: usize, indexes: Range<i32>, walked: &mut Walked) -> i32 {
    match Shape::of(&payload[position - size..position], indexes.start - 1) {
        Some(shape) => shape.run(&payload[position..], indexes, walked),
        None => 0,
    }
}

struct Step {
    end: usize,
    timestamp_delta: i64,
    keyed: bool,
}

/// The record at `position` where it is a common one and good; `None` says nothing.
#[inline(always)]
fn fast_step(payload: &[u8], position: usize, index: i32) -> Option<Step> {
    let prefix: &[u8; PREFIX_BYTES] = payload.get(position..)?.first_chunk()?;
    let (length, mut at) = short(prefix, 0)?;
    if length & 1 != 0 {
        return None;
    }
    let end = position + at + (length >> 1) as usize;
    at += 1;
    let (timestamp_delta, after) = short(prefix, at)?;
    let (offset_delta, after) = short(prefix, after)?;
    if offset_delta != (index as u32) << 1 {
        return None;
    }
    let (key, at) = short(prefix, after)?;
    let value_at = position + at + length_of(key)?;
    let (value, size) = short_at(payload, value_at)?;
    // No headers: their count is a zero, and the record's last byte.
    let headers_at = value_at + size + length_of(value)?;
    if headers_at + 1 != end || *payload.get(headers_at)? != 0 {
        return None;
    }
    Some(Step { end, timestamp_delta: unzigzag(u64::from(timestamp_delta)), keyed: key != 1 })
}

/// A raw number of one or two bytes and the place behind it. Nothing here starts behind place 9, so the mask, which
/// spares the bounds check, changes nothing.
#[inline(always)]
fn short(prefix: &[u8; PREFIX_BYTES], at: usize) -> Option<(u32, usize)> {
    let first = u32::from(prefix[at % PREFIX_BYTES]);
    if first < 0x80 {
        return Some((first, at + 1));
    }
    let second = u32::from(prefix[(at + 1) % PREFIX_BYTES]);
    if second < 0x80 { Some((first & 0x7f | second << 7, at + 2)) } else { None }
}

/// A raw number of one or two bytes and its size.
#[inline(always)]
fn short_at(payload: &[u8], position: usize) -> Option<(u32, usize)> {
    let bytes: &[u8; 2] = payload.get(position..)?.first_chunk()?;
    let (first, second) = (u32::from(bytes[0]), u32::from(bytes[1]));
    if first < 0x80 {
        Some((first, 1))
    } else if second < 0x80 {
        Some((first & 0x7f | second << 7, 2))
    } else {
        None
    }
}

/// The bytes behind a raw length: none for -1, which is 1 in zigzag; no other negative is accepted.
#[inline(always)]
fn length_of(raw: u32) -> Option<usize> {
    if raw & 1 == 0 {
        Some((raw >> 1) as usize)
    } else if raw == 1 {
        Some(0)
    } else {
        None
    }
}

#[cold]
#[inline(never)]
fn careful_step(payload: &[u8], position: usize, index: i32) -> Result<Step, BatchError> {
    let mut reader = Reader::new(&payload[position..]);
    let record = RawRecord::read(&mut reader).map_err(|what| BatchError::Record { index, what })?;
    if record.offset_delta != index {
        return Err(BatchError::OffsetDelta { index, offset_delta: record.offset_delta });
    }
    let end = payload.len() - reader.rest().len();
    Ok(Step { end, timestamp_delta: record.timestamp_delta, keyed: record.key.is_some() })
}
