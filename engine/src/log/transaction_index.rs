//! Which transactions were aborted, in Kafka's file `<base offset>.txnindex` beside the segment that has the markers.
//!
//! `org.apache.kafka.storage.internals.log.AbortedTxn`, 34 bytes each, big-endian, in the order of the markers: version i16 (0),
//! producer i64, the offsets of the first record and of the marker i64 each, and the last stable offset as it was then i64.

use std::path::Path;

use crate::error::{Error, Result};
use crate::types::{Offset, Position};

/// The suffix of the file.
pub const TRANSACTION_INDEX_SUFFIX: &str = "txnindex";
/// The bytes of an entry.
pub const ABORTED_BYTES: usize = 34;

const VERSION: u16 = 0;

/// A transaction that was aborted: its records are not to be shown to readers of committed ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: Offset,
    /// The marker that ended it.
    pub last_offset: Offset,
    /// The last stable offset when it had ended: no transaction that ended later begins before.
    pub last_stable: Offset,
}

/// Reads the file.
///
/// # Errors
/// [`Error::Corrupt`] where it is not whole entries, or one ends before it begins; [`Error::NewerFormat`].
pub fn decode_transaction_index(path: &Path, bytes: &[u8]) -> Result<Vec<AbortedTransaction>> {
    let (entries, rest) = bytes.as_chunks::<ABORTED_BYTES>();
    let damaged = |entry: usize, what| Error::corrupt(path, Some(Position((entry * ABORTED_BYTES) as u64)), what);
    if !rest.is_empty() {
        return Err(damaged(entries.len(), format!("{} bytes are no aborted transaction", rest.len())));
    }
    let mut aborted = Vec::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        let version = u16::from_be_bytes([entry[0], entry[1]]);
        if version > VERSION {
            return Err(Error::NewerFormat { path: path.to_path_buf(), found: version, supported: VERSION });
        }
        let number = |at: usize| i64::from_be_bytes(*entry[at..].first_chunk().expect("it is inside the entry"));
        let transaction = AbortedTransaction {
            producer_id: number(2),
            first_offset: Offset(number(10)),
            last_offset: Offset(number(18)),
            last_stable: Offset(number(26)),
        };
        let AbortedTransaction { first_offset, last_offset, .. } = transaction;
        if first_offset > last_offset || first_offset < Offset::ZERO {
            return Err(damaged(place, format!("an aborted transaction from {first_offset} to {last_offset}")));
        }
        aborted.push(transaction);
    }
    Ok(aborted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u16, numbers: [i64; 4]) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        bytes
    }

    #[test]
    fn whole_entries_are_read_and_nothing_else() {
        let path = Path::new("x.txnindex");
        let read = |bytes: &[u8]| decode_transaction_index(path, bytes);
        assert_eq!(read(&[]).expect("nothing"), []);
        let two = [entry(0, [7, 1, 5, 2]), entry(0, [8, 2, 9, 10])].concat();
        let found: Vec<_> = read(&two)
            .expect("good")
            .iter()
            .map(|one| (one.producer_id, one.first_offset.0, one.last_offset.0))
            .collect();
        assert_eq!(found, [(7, 1, 5), (8, 2, 9)]);
        assert!(matches!(read(&two[..40]), Err(Error::Corrupt { position: Some(Position(34)), .. })));
        assert!(matches!(read(&entry(0, [7, 6, 5, 2])), Err(Error::Corrupt { .. })));
        assert!(matches!(read(&entry(1, [7, 1, 5, 2])), Err(Error::NewerFormat { .. })));
    }
}
