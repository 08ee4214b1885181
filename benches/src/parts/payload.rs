//! The batches that the parts send: records of one size, filled with bytes that do not compress.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::{Offset, Timestamp};

use crate::client::produce::ReadyBatch;
use crate::measure::ratio::SplitMix;

/// A batch of records with values of `record_bytes`, as many as make it closest to `batch_bytes` without exceeding it, at
/// least one.
pub fn batch(record_bytes: usize, batch_bytes: usize) -> ReadyBatch {
    let mut random = SplitMix(record_bytes as u64 ^ 0xba7c);
    let mut value = vec![0u8; record_bytes];
    let mut builder = BatchBuilder::new(Codec::None);
    let mut records = 0u32;
    let mut largest = 0;
    loop {
        let before = builder.size_bytes();
        if records > 0 && before + largest > batch_bytes {
            break;
        }
        random.fill(&mut value);
        builder.push(now(), None, Some(&value), &[]);
        largest = largest.max(builder.size_bytes() - before);
        records += 1;
    }
    let bytes = builder.build(Offset::ZERO);
    ReadyBatch { bytes: Arc::new(bytes), records, payload_bytes: u64::from(records) * record_bytes as u64 }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_but_not_too_large() {
        for (record, size) in [(100, 16 << 10), (1024, 256 << 10), (1024, 10)] {
            let batch = batch(record, size);
            assert!(batch.bytes.len() <= size.max(1200), "{} > {size}", batch.bytes.len());
            assert!(batch.bytes.len() + 2 * record > size, "{} for {size}", batch.bytes.len());
            assert_eq!(batch.payload_bytes, u64::from(batch.records) * record as u64);
        }
    }
}
