//! Kafka's variable-length numbers: zigzag, seven bits per byte, least significant first
//! (`org.apache.kafka.common.utils.ByteUtils`).
//!
//! A number that does not fit its type is refused, where Kafka drops the bits that are too many; no writer makes one.

/// The most bytes of an i32.
pub(crate) const VARINT_BYTES_MAX: usize = 5;
/// The most bytes of an i64.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;

/// A reader of records: a place in bytes that only moves forward and never past their end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// The bytes not yet read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next i64.
    pub(crate) fn varlong(&mut self) -> Option<i64> {
        let (raw, bytes) = unsigned(self.rest)?;
        self.rest = &self.rest[bytes..];
        Some(unzigzag(raw))
    }

    /// The next i32.
    pub(crate) fn varint(&mut self) -> Option<i32> {
        let (raw, bytes) = unsigned(self.rest)?;
        if bytes > VARINT_BYTES_MAX {
            return None;
        }
        self.rest = &self.rest[bytes..];
        i32::try_from(unzigzag(raw)).ok()
    }
}

/// The number at the start of `bytes` before zigzag, and its size; `None` where it does not end or does not fit 64 bits.
#[inline]
pub(crate) fn unsigned(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(VARLONG_BYTES_MAX).enumerate() {
        if place == VARLONG_BYTES_MAX - 1 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

/// The signed number of a zigzag one.
#[inline(always)]
pub(crate) fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// Appends a number; an i32 is written so as well, since small numbers have the same bytes in both.
pub(crate) fn write(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// How many bytes [`write`] appends.
pub(crate) fn size(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_as_written() {
        let mut values = vec![0, -1, 1, i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX)];
        values.extend((0..63).flat_map(|bit| [1 << bit, -(1 << bit), (1 << bit) - 1]));
        for value in values {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            assert_eq!(bytes.len(), size(value), "{value}");
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varlong(), Some(value));
            assert!(reader.rest().is_empty());
            assert_eq!(Reader::new(&bytes).varint(), i32::try_from(value).ok(), "{value}");
            assert_eq!(Reader::new(&bytes[..bytes.len() - 1]).varlong(), None);
        }
    }

    #[test]
    fn numbers_that_do_not_end_or_do_not_fit_are_refused() {
        assert_eq!(Reader::new(&[0xff; 11]).varlong(), None);
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varlong(), None);
        assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]).varint(), None);
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).varint(), None);
        assert_eq!(Reader::new(&[]).varint(), None);
    }
}
