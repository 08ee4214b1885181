//! The newest offset of each key in the dirty part of a log, as far as memory goes (Kafka's `OffsetMap`).
//!
//! Keys are kept whole rather than as hashes, so that no two can be taken for one. A map that is full ends at a batch: what is behind
//! it is left for the next time, and is as dirty as before.

use std::collections::HashMap;

use crate::batch::{self, BatchError, BatchHeader};
use crate::compaction::OUTPUT_BYTES_MAX;
use crate::types::Offset;

/// What an entry takes beside its key's bytes: the table's slot, the allocation's head, room to grow.
const ENTRY_BYTES: usize = 72;

/// The newest offset of each key.
pub struct KeyMap {
    newest: HashMap<Box<[u8]>, Offset>,
    bytes: usize,
    bytes_max: usize,
    end: Offset,
}

impl KeyMap {
    /// An empty map of a log that is dirty from `start` on, which is full at about `bytes_max` bytes of memory.
    pub fn new(start: Offset, bytes_max: usize) -> KeyMap {
        KeyMap { newest: HashMap::new(), bytes: 0, bytes_max, end: start }
    }

    /// Takes the next batch in; `false` where the map is full, and nothing of it was taken. One batch is always taken.
    ///
    /// Control records have no keys of the log's. Nor do records of transactions count: nobody knows here which were aborted, and an
    /// aborted record must not take the place of an older one.
    pub fn add(&mut self, batch: &[u8]) -> Result<bool, BatchError> {
        let header = BatchHeader::parse(batch)?;
        if self.bytes >= self.bytes_max && self.bytes > 0 {
            return Ok(false);
        }
        if !header.is_control() && !header.is_transactional() {
            for record in batch::records(batch, OUTPUT_BYTES_MAX)?.iter() {
                let record = record?;
                let Some(key) = record.key.filter(|_| record.offset >= self.end) else { continue };
                match self.newest.get_mut(key) {
                    Some(newest) => *newest = record.offset,
                    None => {
                        self.bytes += key.len() + ENTRY_BYTES;
                        self.newest.insert(key.into(), record.offset);
                    }
                }
            }
        }
        self.end = self.end.max(header.next_offset());
        Ok(true)
    }

    /// There is nothing more before this offset.
    pub fn reach(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Everything dirty before this offset is in the map.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Whether a record is older than another of its key.
    pub fn is_superseded(&self, key: &[u8], offset: Offset) -> bool {
        self.newest.get(key).is_some_and(|newest| *newest > offset)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Codec};
    use crate::types::Timestamp;

    fn batch(base: i64, keys: &[&[u8]], transactional: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::Lz4);
        for key in keys {
            builder.push(Timestamp(1), Some(key), Some(b"v"), &[]);
        }
        if transactional { builder.producer(1, 0, 0).transactional() } else { builder }.build(Offset(base))
    }

    #[test]
    fn the_newest_offset_of_a_key_counts_and_a_full_map_ends_at_a_batch() {
        let mut map = KeyMap::new(Offset(0), 2 * (ENTRY_BYTES + 1));
        assert!(map.add(&batch(0, &[b"a", b"b", b"a"], false)).expect("good"));
        assert!(map.is_superseded(b"a", Offset(0)) && !map.is_superseded(b"a", Offset(2)));
        assert!(!map.is_superseded(b"b", Offset(1)) && !map.is_superseded(b"c", Offset(0)));
        assert!(!map.add(&batch(3, &[b"c"], false)).expect("good"), "it is full");
        assert_eq!((map.end(), map.len()), (Offset(3), 2));
    }

    #[test]
    fn what_may_have_been_aborted_takes_nobodys_place() {
        let mut map = KeyMap::new(Offset(0), 1 << 20);
        map.add(&batch(0, &[b"a"], false)).expect("good");
        map.add(&batch(1, &[b"a"], true)).expect("good");
        assert!(!map.is_superseded(b"a", Offset(0)));
        assert_eq!(map.end(), Offset(2));
    }

    #[test]
    fn what_was_compacted_before_is_not_dirty() {
        let mut map = KeyMap::new(Offset(2), 1 << 20);
        map.add(&batch(0, &[b"a", b"b", b"c"], false)).expect("good");
        assert!(!map.is_superseded(b"a", Offset(-1)) && map.is_superseded(b"c", Offset(1)));
    }
}
