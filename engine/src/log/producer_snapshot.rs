//! The producers of a log in Kafka's file `<offset>.snapshot`: as they were when the log ended at that offset.
//!
//! Version 1 of `ProducerStateManager.PID_SNAPSHOT_MAP_SCHEMA`, big-endian: version i16, CRC-32C u32 of all that follows it, the
//! number of producers i32, and for each its id i64, epoch i16, last sequence i32, last offset i64, offset delta of its last batch
//! i32, last timestamp i64, coordinator epoch i32, first offset of its open transaction i64 or -1. Of the last five batches it
//! tells the last one.

use std::path::Path;

use crate::error::{Error, Result};
use crate::log::producer::{Producer, SequencedBatch};
use crate::types::{Offset, Position, Timestamp};

/// The suffix of the file.
pub const SNAPSHOT_SUFFIX: &str = "snapshot";

const VERSION: u16 = 1;
/// Version and checksum.
const CHECKED_FROM: usize = 6;
const HEAD_BYTES: usize = 10;
const PRODUCER_BYTES: usize = 46;

/// The bytes of the file.
pub fn encode_snapshot(producers: &[Producer]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + producers.len() * PRODUCER_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&u32::try_from(producers.len()).expect("fewer than fit into memory").to_be_bytes());
    for producer in producers {
        let last = producer.last_batch();
        bytes.extend_from_slice(&producer.id.to_be_bytes());
        bytes.extend_from_slice(&producer.epoch.to_be_bytes());
        bytes.extend_from_slice(&producer.last_sequence().to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset.0).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        bytes.extend_from_slice(&producer.last_timestamp.0.to_be_bytes());
        bytes.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&producer.transaction_start.map_or(-1, |start| start.0).to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[CHECKED_FROM..]);
    bytes[2..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads the file; what Kafka would call a corrupt snapshot is [`Error::Corrupt`], after which an older one will do.
pub fn decode_snapshot(path: &Path, bytes: &[u8]) -> Result<Vec<Producer>> {
    let damaged = |place: usize, what: String| Error::corrupt(path, Some(Position(place as u64)), what);
    let Some((head, mut rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(damaged(bytes.len(), "ends before the number of its producers".into()));
    };
    let version = u16::from_be_bytes([head[0], head[1]]);
    if version > VERSION {
        return Err(Error::NewerFormat { path: path.to_path_buf(), found: version, supported: VERSION });
    }
    let crc = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    let count = u32::from_be_bytes([head[6], head[7], head[8], head[9]]) as usize;
    if version != VERSION || crc != crc32c::crc32c(&bytes[CHECKED_FROM..]) {
        return Err(damaged(0, "its checksum does not agree".into()));
    }
    if rest.len() % PRODUCER_BYTES != 0 || rest.len() / PRODUCER_BYTES != count {
        return Err(damaged(HEAD_BYTES, format!("{} bytes cannot be {count} producers", rest.len())));
    }
    let mut producers = Vec::with_capacity(count);
    while let Some((entry, others)) = rest.split_first_chunk::<PRODUCER_BYTES>() {
        producers.push(decode_producer(entry));
        rest = others;
    }
    Ok(producers)
}

fn decode_producer(mut entry: &[u8]) -> Producer {
    let mut producer = Producer::new(i64::from_be_bytes(take(&mut entry)));
    producer.epoch = i16::from_be_bytes(take(&mut entry));
    let last_sequence = i32::from_be_bytes(take(&mut entry));
    let last_offset = Offset(i64::from_be_bytes(take(&mut entry)));
    let offset_delta = i32::from_be_bytes(take(&mut entry));
    producer.last_timestamp = Timestamp(i64::from_be_bytes(take(&mut entry)));
    producer.coordinator_epoch = i32::from_be_bytes(take(&mut entry));
    let start = i64::from_be_bytes(take(&mut entry));
    producer.transaction_start = (start >= 0).then_some(Offset(start));
    if last_offset.0 >= 0 {
        producer.push(SequencedBatch { last_sequence, offset_delta, last_offset, timestamp: producer.last_timestamp });
    }
    producer
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (field, rest) = bytes.split_first_chunk::<N>().expect("the fields fill the entry");
    *bytes = rest;
    *field
}
