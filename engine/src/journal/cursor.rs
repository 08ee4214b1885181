//! Reads little-endian numbers from untrusted bytes; nothing is read, or reserved, beyond what is there.

/// A place in bytes that are being decoded.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! number {
    ($name:ident, $type:ty) => {
        pub(crate) fn $name(&mut self) -> Option<$type> {
            let (number, _) = self.bytes[self.at..].split_first_chunk()?;
            self.at += size_of::<$type>();
            Some(<$type>::from_le_bytes(*number))
        }
    };
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    number!(u8, u8);
    number!(u16, u16);
    number!(u32, u32);
    number!(u64, u64);
    number!(i32, i32);
    number!(i64, i64);
    number!(u128, u128);

    /// A number that is never negative.
    pub(crate) fn natural(&mut self) -> Option<i64> {
        self.i64().filter(|number| *number >= 0)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes[self.at..].get(..length)?;
        self.at += length;
        Some(bytes)
    }

    /// `count` items of `item_bytes` each; memory is reserved only where so many bytes are there.
    pub(crate) fn items<T>(
        &mut self,
        count: u32,
        item_bytes: usize,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = count as usize;
        if count.checked_mul(item_bytes)? > self.remaining() {
            return None;
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_beyond_the_bytes_that_are_left_reserves_nothing() {
        let mut cursor = Cursor::new(&[0; 100]);
        let mut read = 0;
        let items = cursor.items(u32::MAX, 32, |cursor| {
            read += 1;
            cursor.u128()
        });
        assert_eq!((items, read, cursor.at()), (None, 0, 0));
        let items = cursor.items(6, 16, Cursor::u128).expect("96 of 100 bytes");
        assert_eq!((items.len(), cursor.remaining()), (6, 4));
        assert_eq!((cursor.u64(), cursor.bytes(5), cursor.u32()), (None, None, Some(0)));
        assert_eq!(cursor.u8(), None);
    }
}
