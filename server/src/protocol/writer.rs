//! Writes a message as a frame, with records spliced in as they lie in memory.
//!
//! Everything but records goes to one buffer; a piece of records is remembered with its place in it, so that the frame
//! is a list of parts for one vectored write and no record is copied.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

/// Records shorter than this are copied: a part of its own costs more than the copy.
const SPLICE_BYTES_MIN: usize = 256;
/// The buffer's first size, in bytes: most answers fit.
const BUFFER_BYTES: usize = 256;

/// A frame ready to send: its parts, in order, length prefix included.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// The parts; none is empty.
    pub parts: SmallVec<[Bytes; 3]>,
    /// The bytes of all parts.
    pub len: usize,
}

impl Frame {
    /// The whole frame in one piece of memory; copies.
    pub fn to_bytes(&self) -> Bytes {
        match &self.parts[..] {
            [only] => only.clone(),
            parts => parts.concat().into(),
        }
    }
}

/// A frame in the making.
#[derive(Debug)]
pub struct Writer {
    buffer: BytesMut,
    /// Records, each with the place in `buffer` before which it stands.
    splices: SmallVec<[(usize, Bytes); 2]>,
    version: i16,
    flexible: bool,
}

impl Writer {
    /// Begins a frame; its length prefix is filled in at the end.
    pub fn frame() -> Writer {
        let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
        buffer.put_u32(0);
        Writer { buffer, splices: SmallVec::new(), version: 0, flexible: false }
    }

    /// From here on fields are those of `version`, compact and with tagged sections if `flexible` (KIP-482).
    pub fn set_version(&mut self, version: i16, flexible: bool) {
        (self.version, self.flexible) = (version, flexible);
    }

    /// The version by which fields are written.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Whether fields are compact and structures end in a tagged section.
    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Appends bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends a piece of records: not copied, unless it is short.
    pub fn splice(&mut self, records: &Bytes) {
        if records.len() < SPLICE_BYTES_MIN {
            self.put(records);
        } else {
            self.splices.push((self.buffer.len(), records.clone()));
        }
    }

    /// An unsigned number of 7 bits per byte, lowest first.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// The length of a string, `None` for null. Longer than the version can say panics: our strings are short, and those of others came through the same bound.
    pub fn text_len(&mut self, len: Option<usize>) {
        if self.flexible {
            self.compact_len(len);
        } else {
            let len = len.map_or(-1, |len| i16::try_from(len).unwrap_or_else(|_| panic!("a string of {len} bytes")));
            self.buffer.put_i16(len);
        }
    }

    /// The length of an array, of bytes or of records, `None` for null.
    pub fn long_len(&mut self, len: Option<usize>) {
        if self.flexible {
            self.compact_len(len);
        } else {
            let len = len.map_or(-1, |len| i32::try_from(len).unwrap_or_else(|_| panic!("an array of {len}")));
            self.buffer.put_i32(len);
        }
    }

    fn compact_len(&mut self, len: Option<usize>) {
        let len = len.map_or(0, |len| u32::try_from(len + 1).unwrap_or_else(|_| panic!("a length of {len}")));
        self.unsigned_varint(len);
    }

    /// Begins the tagged section at the end of a structure; `count` calls of [`Writer::tagged`] follow, in the order of their tags.
    pub fn tagged_count(&mut self, count: u32) {
        self.unsigned_varint(count);
    }

    /// One tagged field: its tag, its size, and what `write` writes.
    pub fn tagged(&mut self, tag: u32, write: impl FnOnce(&mut Writer)) {
        let buffer = BytesMut::new();
        let mut inner = Writer { buffer, splices: SmallVec::new(), version: self.version, flexible: self.flexible };
        write(&mut inner);
        assert!(inner.splices.is_empty(), "no tagged field holds records");
        self.unsigned_varint(tag);
        self.unsigned_varint(u32::try_from(inner.buffer.len()).expect("tagged fields are small"));
        self.put(&inner.buffer);
    }

    /// The finished frame.
    pub fn finish(self) -> Frame {
        let Writer { mut buffer, splices, .. } = self;
        let len = buffer.len() + splices.iter().map(|(_, records)| records.len()).sum::<usize>();
        let prefix = u32::try_from(len - 4).ok().filter(|len| *len <= i32::MAX as u32);
        buffer[..4].copy_from_slice(&prefix.unwrap_or_else(|| panic!("a frame of {len} bytes")).to_be_bytes());
        let mut rest = buffer.freeze();
        let (mut parts, mut written) = (SmallVec::new(), 0);
        for (place, records) in splices {
            if place > written {
                parts.push(rest.split_to(place - written));
                written = place;
            }
            parts.push(records);
        }
        if !rest.is_empty() {
            parts.push(rest);
        }
        Frame { parts, len }
    }
}
