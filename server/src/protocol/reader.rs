//! Reads a message out of a frame that may lie.
//!
//! Every length is checked against the bytes that are left before anything is made of it, and what a frame makes the
//! process allocate is charged to a budget that grows with the frame: at most [`DECODED_BYTES_PER_BYTE`] times its
//! length (and [`DECODED_BYTES_FREE`] more), in at most [`ELEMENTS_MAX`] array elements. Strings and records are slices
//! of the frame and cost nothing.

use std::fmt;

use bytes::Bytes;

use super::text::Text;

/// Array elements in one frame, all arrays together. Kafka 4.4 allows as many in each array.
pub const ELEMENTS_MAX: usize = 1_000_000;
/// Fields in one tagged section, known or not; as Kafka 4.4.
pub const TAGGED_FIELDS_MAX: u32 = 10_000;
/// Bytes of arrays that one byte of a frame may become. The names of topics are the worst honest case: three bytes
/// that become a [`Text`] and an id.
pub const DECODED_BYTES_PER_BYTE: usize = 16;
/// Bytes of arrays that any frame may become, however short it is.
pub const DECODED_BYTES_FREE: usize = 64 << 10;

/// Why a message cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(Box<Place>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    position: usize,
    fields: Vec<&'static str>,
    reason: Reason,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Reason {
    #[error("{wanted} bytes are wanted and {left} are left")]
    Truncated { wanted: usize, left: usize },
    #[error("{left} bytes are left over")]
    LeftOver { left: usize },
    #[error("a length of {0}")]
    Length(i64),
    #[error("null, which this field cannot be")]
    Null,
    #[error("a variable-length number of more than 32 bits")]
    Varint,
    #[error("an array of {count} elements in {left} bytes")]
    ArrayTooLong { count: usize, left: usize },
    #[error("more than {ELEMENTS_MAX} array elements, or arrays that are too large for a frame of this length")]
    TooMuch,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("tag {0}, which does not ascend")]
    TagOrder(u32),
    #[error("{0} tagged fields, more than {TAGGED_FIELDS_MAX}")]
    TagCount(u32),
    #[error("tag {tag} fills {used} bytes of its {size}")]
    TagSize { tag: u32, used: usize, size: usize },
    #[error("{0}, which is not a truth value")]
    NotBool(u8),
}

impl DecodeError {
    /// What is wrong.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The byte of the frame, counted after its length prefix, at which reading stopped.
    pub fn position(&self) -> usize {
        self.0.position
    }

    #[cold]
    fn inside(mut self, field: &'static str) -> DecodeError {
        self.0.fields.push(field);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { position, fields, reason } = &*self.0;
        for (depth, field) in fields.iter().rev().enumerate() {
            write!(f, "{}{field}", if depth > 0 { "." } else { "" })?;
        }
        write!(f, "{}at byte {position}: {reason}", if fields.is_empty() { "" } else { " " })
    }
}

impl std::error::Error for DecodeError {}

/// A place in a frame, and the version by which to read on.
#[derive(Debug)]
pub struct Reader {
    frame: Bytes,
    position: usize,
    version: i16,
    flexible: bool,
    elements_left: usize,
    decoded_bytes_left: usize,
}

impl Reader {
    /// Reads `frame` (without its length prefix) from its first byte.
    pub fn new(frame: Bytes) -> Reader {
        let decoded_bytes_left = DECODED_BYTES_FREE + frame.len().saturating_mul(DECODED_BYTES_PER_BYTE);
        Reader { frame, position: 0, version: 0, flexible: false, elements_left: ELEMENTS_MAX, decoded_bytes_left }
    }

    /// From here on fields are those of `version`, compact and with tagged sections if `flexible` (KIP-482).
    pub fn set_version(&mut self, version: i16, flexible: bool) {
        (self.version, self.flexible) = (version, flexible);
    }

    /// The version by which fields are read.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Whether fields are compact and structures end in a tagged section.
    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Bytes not yet read.
    pub fn left(&self) -> usize {
        self.frame.len() - self.position
    }

    /// That everything was read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.fail(Reason::LeftOver { left })),
        }
    }

    /// An error at this place.
    #[cold]
    pub fn fail(&self, reason: Reason) -> DecodeError {
        DecodeError(Box::new(Place { position: self.position, fields: Vec::new(), reason }))
    }

    /// Reads one field; an error says that it was in this one.
    pub fn field<T: super::Wire>(&mut self, name: &'static str) -> Result<T, DecodeError> {
        T::read(self).map_err(|error| error.inside(name))
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(bytes) = self.frame[self.position..].first_chunk::<N>() else {
            return Err(self.fail(Reason::Truncated { wanted: N, left: self.left() }));
        };
        self.position += N;
        Ok(*bytes)
    }

    /// The next `len` bytes, as a slice of the frame.
    pub fn bytes(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.left() {
            return Err(self.fail(Reason::Truncated { wanted: len, left: self.left() }));
        }
        let bytes = self.frame.slice(self.position..self.position + len);
        self.position += len;
        Ok(bytes)
    }

    /// The next `len` bytes, as a string.
    pub fn text(&mut self, len: usize) -> Result<Text, DecodeError> {
        let bytes = self.bytes(len)?;
        Text::from_utf8(bytes).map_err(|_| self.fail(Reason::NotUtf8))
    }

    /// An unsigned number of 7 bits per byte, lowest first.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fail(Reason::Varint))
    }

    /// The length of a string: `None` is null.
    pub fn text_len(&mut self) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            self.compact_len()
        } else {
            self.signed_len(|reader| Ok(i16::from_be_bytes(reader.array()?).into()))
        }
    }

    /// The length of an array, of bytes or of records: `None` is null.
    pub fn long_len(&mut self) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            self.compact_len()
        } else {
            self.signed_len(|reader| Ok(i32::from_be_bytes(reader.array()?)))
        }
    }

    fn compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.unsigned_varint()? as usize).checked_sub(1))
    }

    fn signed_len(
        &mut self,
        read: impl FnOnce(&mut Reader) -> Result<i32, DecodeError>,
    ) -> Result<Option<usize>, DecodeError> {
        match read(self)? {
            -1 => Ok(None),
            len => Ok(Some(usize::try_from(len).map_err(|_| self.fail(Reason::Length(len.into())))?)),
        }
    }

    /// Room for `count` elements, if the frame can hold so many and may become so much.
    pub fn elements<T>(&mut self, count: usize) -> Result<Vec<T>, DecodeError> {
        // An element of any type fills at least a byte.
        if count > self.left() {
            return Err(self.fail(Reason::ArrayTooLong { count, left: self.left() }));
        }
        let bytes = count.saturating_mul(size_of::<T>());
        if count > self.elements_left || bytes > self.decoded_bytes_left {
            return Err(self.fail(Reason::TooMuch));
        }
        self.elements_left -= count;
        self.decoded_bytes_left -= bytes;
        Ok(Vec::with_capacity(count))
    }

    /// Reads the tagged section at the end of a structure, where this version has one. `known` reads the field with the
    /// tag it is given and says whether it knew it; the others are passed over, as KIP-482 wants it.
    pub fn tagged(
        &mut self,
        mut known: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.unsigned_varint()?;
        if count > TAGGED_FIELDS_MAX {
            return Err(self.fail(Reason::TagCount(count)));
        }
        let mut next_tag = 0;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            if tag < next_tag {
                return Err(self.fail(Reason::TagOrder(tag)));
            }
            next_tag = tag.saturating_add(1);
            let size = self.unsigned_varint()? as usize;
            if size > self.left() {
                return Err(self.fail(Reason::Truncated { wanted: size, left: self.left() }));
            }
            let start = self.position;
            if known(self, tag)? {
                let used = self.position - start;
                if used != size {
                    return Err(self.fail(Reason::TagSize { tag, used, size }));
                }
            } else {
                self.position = start + size;
            }
        }
        Ok(())
    }
}
