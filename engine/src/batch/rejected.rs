//! The records because of which a batch is refused: all of them, as Kafka's `LogValidator` names them to the producer (KIP-467).
//!
//! The look at each record happens only where something in the batch is wrong, or may be; appends do not come here.

use std::fmt;

use crate::batch::error::BatchError;
use crate::batch::header::{BatchHeader, TimestampType};
use crate::batch::records::RawRecord;
use crate::batch::validate::Limits;
use crate::batch::varint::Reader;
use crate::types::Timestamp;

/// The bytes of the smallest record: seven numbers of one byte each.
const RECORD_BYTES_MIN: usize = 7;

/// The records because of which a batch is refused.
///
/// Of a compressed batch at most as many are named as an uncompressed one of its size can hold: what decompresses well
/// must not become an answer of many times its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecords {
    named: Vec<RecordError>,
    total: i32,
    any_time: bool,
}

/// A record because of which a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Its place in the batch, from 0.
    pub index: i32,
    /// What is wrong with it.
    pub fault: RecordFault,
}

/// What is wrong with a record that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RecordFault {
    /// A compacted topic keeps the newest record of each key, so each needs one.
    #[error("has no key, but the topic is compacted")]
    NoKey,
    /// Its timestamp is too far from the broker's clock.
    #[error("has timestamp {timestamp}, accepted are {earliest} to {latest}")]
    Timestamp {
        /// Its timestamp.
        timestamp: Timestamp,
        /// The first accepted.
        earliest: Timestamp,
        /// The last accepted.
        latest: Timestamp,
    },
    /// LogAppendTime is the broker's to set.
    #[error("has the timestamp type LogAppendTime, which producers must not set")]
    TimestampType,
}

impl RejectedRecords {
    /// Each that is named, in order; at least one.
    pub fn named(&self) -> &[RecordError] {
        &self.named
    }

    /// Whether one has a time that is not accepted: then that is what the whole batch is refused for.
    pub fn any_time(&self) -> bool {
        self.any_time
    }

    fn add(&mut self, header: &BatchHeader, index: i32, fault: RecordFault) {
        self.total += 1;
        self.any_time |= fault != RecordFault::NoKey;
        if self.named.len() < named_max(header) {
            self.named.push(RecordError { index, fault });
        }
    }
}

impl fmt::Display for RejectedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordError { index, fault } = &self.named[0];
        write!(f, "record {index} of the batch {fault}")?;
        if self.total > 1 { write!(f, "; {} records are refused in all", self.total) } else { Ok(()) }
    }
}

/// The greatest timestamp of a batch and the first record that has it.
pub(super) struct Greatest {
    pub(super) timestamp: i64,
    pub(super) index: i32,
}

/// Looks at each record of a batch whose bytes are `payload` once decompressed. Additions wrap, as they do in Kafka and its
/// clients.
///
/// # Errors
/// With the first record that cannot be read, else with all that are refused.
#[cold]
pub(super) fn examine(header: &BatchHeader, payload: &[u8], limits: &Limits) -> Result<Greatest, BatchError> {
    let broker_time = header.timestamp_type() == TimestampType::LogAppendTime;
    let mut greatest = Greatest { timestamp: i64::MIN, index: 0 };
    let mut rejected = RejectedRecords { named: Vec::new(), total: 0, any_time: false };
    let mut reader = Reader::new(payload);
    for index in 0..header.record_count {
        let record = RawRecord::read(&mut reader).map_err(|what| BatchError::Record { index, what })?;
        // Every record has the time of the batch then, whatever it says itself.
        let timestamp = match broker_time {
            true => header.max_timestamp.0,
            false => header.base_timestamp.0.wrapping_add(record.timestamp_delta),
        };
        let fault = match limits.keyed && record.key.is_none() {
            true => Some(RecordFault::NoKey),
            false => time_fault(header, Timestamp(timestamp), limits),
        };
        if let Some(fault) = fault {
            rejected.add(header, index, fault);
        }
        if timestamp > greatest.timestamp {
            greatest = Greatest { timestamp, index };
        }
    }
    if rejected.total > 0 { Err(BatchError::Rejected(rejected)) } else { Ok(greatest) }
}

/// Of a batch that is not walked, what its header claims must be acceptable: of all records where they have one time, else
/// of the last.
pub(super) fn examine_claim(header: &BatchHeader, limits: &Limits) -> Result<(), BatchError> {
    let Some(fault) = time_fault(header, header.max_timestamp, limits) else { return Ok(()) };
    let all_alike = header.timestamp_type() == TimestampType::LogAppendTime;
    let first = if all_alike { 0 } else { header.last_offset_delta };
    let mut rejected = RejectedRecords { named: Vec::new(), total: 0, any_time: false };
    for index in (first..header.record_count).take(named_max(header)) {
        rejected.add(header, index, fault);
    }
    rejected.total = header.record_count - first;
    Err(BatchError::Rejected(rejected))
}

/// What is wrong with a record's time. Where times are the producers', a record without one (-1) is good.
pub(super) fn time_fault(header: &BatchHeader, timestamp: Timestamp, limits: &Limits) -> Option<RecordFault> {
    if limits.timestamp_type == TimestampType::CreateTime && timestamp != Timestamp::NONE {
        let (earliest, latest) = limits.timestamps();
        let (earliest, latest) = (Timestamp(earliest), Timestamp(latest));
        let accepted = (earliest..=latest).contains(&timestamp);
        return (!accepted).then_some(RecordFault::Timestamp { timestamp, earliest, latest });
    }
    (header.timestamp_type() == TimestampType::LogAppendTime).then_some(RecordFault::TimestampType)
}

/// How many records of a batch are named.
fn named_max(header: &BatchHeader) -> usize {
    header.size_bytes() / RECORD_BYTES_MIN
}
