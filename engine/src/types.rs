//! The numbers of a log: offsets, positions, epochs, timestamps, and the names of partitions.
//!
//! Two numbers of different meaning never share a type, so that a byte place cannot be passed where a record's
//! index is wanted. All ranges in the engine are half-open.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::sync::Arc;

use uuid::Uuid;

/// The block of the disk: segments, journals and buffers are written in whole multiples of it, in bytes.
pub const BLOCK_BYTES: u64 = 4096;

/// The logical index of a record in its partition, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    /// The first offset of a log that nothing was ever deleted from.
    pub const ZERO: Offset = Offset(0);

    /// The number of offsets from `earlier` to `self`; panics where `earlier` is the later one.
    pub fn since(self, earlier: Offset) -> u64 {
        u64::try_from(self.0 - earlier.0).unwrap_or_else(|_| panic!("offset {self} is before {earlier}"))
    }
}

impl Add<i64> for Offset {
    type Output = Offset;
    fn add(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }
}

impl Sub<Offset> for Offset {
    type Output = i64;
    fn sub(self, other: Offset) -> i64 {
        self.0 - other.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({})", self.0)
    }
}

/// The place of a byte in a file, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The start of a file.
    pub const ZERO: Position = Position(0);

    /// The start of the 4 KiB block that holds this byte.
    pub fn block_start(self) -> Position {
        Position(self.0 & !(BLOCK_BYTES - 1))
    }

    /// This place, or the start of the next 4 KiB block where it is not at the start of one.
    pub fn block_end(self) -> Position {
        Position(self.0.next_multiple_of(BLOCK_BYTES))
    }
}

impl Add<u64> for Position {
    type Output = Position;
    fn add(self, bytes: u64) -> Position {
        Position(self.0 + bytes)
    }
}

impl AddAssign<u64> for Position {
    fn add_assign(&mut self, bytes: u64) {
        self.0 += bytes;
    }
}

impl Sub<Position> for Position {
    type Output = u64;
    fn sub(self, other: Position) -> u64 {
        self.0.checked_sub(other.0).unwrap_or_else(|| panic!("position {self} is before {other}"))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({})", self.0)
    }
}

/// A leader epoch: the reign of one leader over a partition (KIP-101); -1 where none is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(pub i32);

impl Epoch {
    /// No epoch is known.
    pub const NONE: Epoch = Epoch(-1);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since 1970-01-01 UTC, as in a record batch; -1 where there is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// No timestamp.
    pub const NONE: Timestamp = Timestamp(-1);
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id that tells a topic from another of the same name (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// No topic: what requests that name their topics carry.
    pub const ZERO: TopicId = TopicId(Uuid::nil());

    /// A new random id.
    pub fn random() -> TopicId {
        TopicId(Uuid::new_v4())
    }
}

impl fmt::Display for TopicId {
    /// Kafka prints ids as unpadded URL-safe base 64 of the 16 bytes (`org.apache.kafka.common.Uuid`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bits = self.0.as_u128();
        let mut text = [0u8; 22];
        for (place, out) in text.iter_mut().enumerate() {
            let shift = 122 - 6 * place as i32;
            let six = if shift >= 0 { bits >> shift } else { bits << -shift };
            *out = ALPHABET[(six & 63) as usize];
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

impl std::str::FromStr for TopicId {
    type Err = String;

    /// The inverse of `Display`.
    fn from_str(text: &str) -> Result<TopicId, String> {
        if text.len() != 22 {
            return Err(format!("a topic id has 22 characters, {text:?} has {}", text.len()));
        }
        let mut bits = 0u128;
        for (place, byte) in text.bytes().enumerate() {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                other => return Err(format!("{:?} is not a character of a topic id", other as char)),
            };
            let six = u128::from(six);
            bits |= if place < 21 { six << (122 - 6 * place) } else { six >> 4 };
        }
        Ok(TopicId(Uuid::from_u128(bits)))
    }
}

/// A partition by name; its directory is `<topic>-<partition>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index in its topic, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    /// Reads `<topic>-<partition>`, the name of a partition's directory; `None` where it is not of that form.
    pub fn from_dir_name(name: &str) -> Option<TopicPartition> {
        let (topic, partition) = name.rsplit_once('-')?;
        if topic.is_empty() || !partition.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(TopicPartition::new(topic, partition.parse().ok()?))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_reads_back_from_its_text() {
        for bits in [0u128, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let id = TopicId(Uuid::from_u128(bits));
            assert_eq!(id.to_string().parse::<TopicId>(), Ok(id));
        }
        // `org.apache.kafka.common.Uuid.ONE_UUID` (0, 1) prints so.
        assert_eq!(TopicId(Uuid::from_u128(1)).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert!("short".parse::<TopicId>().is_err());
    }

    #[test]
    fn a_directory_name_is_split_at_its_last_dash() {
        let name = TopicPartition::from_dir_name("my-topic-12").expect("a partition");
        assert_eq!((&*name.topic, name.partition), ("my-topic", 12));
        assert_eq!(name.to_string(), "my-topic-12");
        for other in ["plain", "-3", "a-", "a-x", "a-3-delete", "a--", "a-+1"] {
            assert_eq!(TopicPartition::from_dir_name(other), None, "{other}");
        }
    }

    #[test]
    fn positions_round_to_blocks() {
        assert_eq!(Position(4095).block_start(), Position(0));
        assert_eq!(Position(4096).block_start(), Position(4096));
        assert_eq!(Position(4097).block_end(), Position(8192));
        assert_eq!(Position(8192).block_end(), Position(8192));
    }
}
