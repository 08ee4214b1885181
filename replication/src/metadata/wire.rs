//! The primitive types of Kafka's flexible messages (KIP-482), as metadata records use them.
//!
//! A reader checks every length against the bytes that are left before it takes or reserves anything.

use uuid::Uuid;

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end within a field.
    #[error("the record ends within {0}")]
    Short(&'static str),
    /// Bytes are left when all fields are read.
    #[error("{0} bytes follow the record")]
    Trailing(usize),
    /// A value outside its type.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// A frame, kind or version of record that this program does not know.
    #[error(
        "record {api_key} version {version} (frame {frame}) is not known here; a newer program wrote it, or Apache Kafka, of which partitions can be taken over but not this log"
    )]
    Unknown {
        /// The frame's version.
        frame: u32,
        /// The kind of record.
        api_key: u32,
        /// Its version.
        version: u32,
    },
}

/// Appends primitive types to a buffer.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn uuid(&mut self, value: Uuid) {
        self.bytes.extend(value.as_bytes());
    }

    pub(super) fn string(&mut self, value: &str) {
        self.length(value.len());
        self.bytes.extend(value.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.uvarint(0),
        }
    }

    pub(super) fn array<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Writer, &T)) {
        self.length(items.len());
        for item in items {
            each(self, item);
        }
    }

    /// The tagged fields of a message, in order of their tags.
    pub(super) fn tagged(&mut self, fields: &[(u32, Vec<u8>)]) {
        self.uvarint(fields.len() as u32);
        for (tag, value) in fields {
            self.uvarint(*tag);
            self.uvarint(u32::try_from(value.len()).expect("a field is shorter than 4 GiB"));
            self.bytes.extend(value);
        }
    }

    /// Lengths of strings and arrays are written one higher, 0 being null.
    fn length(&mut self, length: usize) {
        self.uvarint(u32::try_from(length + 1).expect("a length is below 2^32"));
    }
}

/// The bytes that one closure writes: the value of a tagged field.
pub(super) fn value(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.bytes
}

/// Takes primitive types from the front of a slice.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub(super) fn end(self) -> Result<(), RecordError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(RecordError::Trailing(self.bytes.len())) }
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], RecordError> {
        let (head, tail) = self.bytes.split_at_checked(count).ok_or(RecordError::Short(what))?;
        self.bytes = tail;
        Ok(head)
    }

    fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], RecordError> {
        Ok(self.take(N, what)?.try_into().expect("N bytes were taken"))
    }

    pub(super) fn uvarint(&mut self, what: &'static str) -> Result<u32, RecordError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| RecordError::Malformed(what));
            }
        }
        Err(RecordError::Malformed(what))
    }

    pub(super) fn bool(&mut self, what: &'static str) -> Result<bool, RecordError> {
        Ok(self.fixed::<1>(what)?[0] != 0)
    }

    pub(super) fn i8(&mut self, what: &'static str) -> Result<i8, RecordError> {
        self.fixed(what).map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self, what: &'static str) -> Result<i16, RecordError> {
        self.fixed(what).map(i16::from_be_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, RecordError> {
        self.fixed(what).map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, RecordError> {
        self.fixed(what).map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self, what: &'static str) -> Result<i64, RecordError> {
        self.fixed(what).map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self, what: &'static str) -> Result<Uuid, RecordError> {
        self.fixed(what).map(Uuid::from_bytes)
    }

    pub(super) fn nullable_string(&mut self, what: &'static str) -> Result<Option<&'a str>, RecordError> {
        let Some(length) = self.length(what)? else { return Ok(None) };
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| RecordError::Malformed(what))
    }

    pub(super) fn string(&mut self, what: &'static str) -> Result<&'a str, RecordError> {
        self.nullable_string(what)?.ok_or(RecordError::Malformed(what))
    }

    /// A null array reads as an empty one. No item of ours is smaller than a byte, so the bytes left bound the count.
    pub(super) fn array<T>(
        &mut self,
        what: &'static str,
        mut each: impl FnMut(&mut Reader<'a>) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let count = self.length(what)?.unwrap_or(0);
        if count > self.bytes.len() {
            return Err(RecordError::Short(what));
        }
        (0..count).map(|_| each(self)).collect()
    }

    /// Reads the tagged fields; `each` gets the ones it may know and leaves what it does not.
    pub(super) fn tagged(
        &mut self,
        mut each: impl FnMut(u32, &mut Reader<'a>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        const WHAT: &str = "tagged fields";
        for _ in 0..self.uvarint(WHAT)? {
            let tag = self.uvarint(WHAT)?;
            let length = self.uvarint(WHAT)? as usize;
            each(tag, &mut Reader::new(self.take(length, WHAT)?))?;
        }
        Ok(())
    }

    pub(super) fn no_tagged(&mut self) -> Result<(), RecordError> {
        self.tagged(|_, _| Ok(()))
    }

    fn length(&mut self, what: &'static str) -> Result<Option<usize>, RecordError> {
        Ok(self.uvarint(what)?.checked_sub(1).map(|length| length as usize))
    }
}
