//! The types a field of the protocol can have, each with its reading and its writing; and [`message!`], by which a
//! structure is laid out once for every version and both directions.
//!
//! A layout reads like Kafka's own schema files: fields in wire order, the versions that have them (all, if none are
//! named), a tag where the field is tagged, a default where it is not zero or empty:
//!
//! ```text
//! message! {
//!     /// What it is.
//!     pub struct FetchPartition {
//!         /// The partition's index.
//!         partition: i32,
//!         /// The epoch the client knows; -1 for none (KIP-320).
//!         current_leader_epoch: i32 [9..] = -1,
//!         /// The follower's high watermark (KIP-1166).
//!         high_watermark: i64 [18.., tag 1] = i64::MAX,
//!     }
//! }
//! ```
//!
//! A field that the version does not have is read as its default and not written. A tagged field at its default is not
//! written either. Names are those of Kafka's schemas, in snake case.

use bytes::Bytes;
use corelog_engine::TopicId;
use smallvec::SmallVec;
use uuid::Uuid;

use super::error_code::ErrorCode;
use super::reader::{DecodeError, Reader, Reason};
use super::text::Text;
use super::writer::Writer;

/// A type that a field can have.
pub trait Wire: Sized {
    /// Reads it, in the reader's version.
    fn read(reader: &mut Reader) -> Result<Self, DecodeError>;
    /// Writes it, in the writer's version.
    fn write(&self, writer: &mut Writer);
    /// Any value of it that `version` can carry.
    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut super::sample::Sampler) -> Self;
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Wire for $type {
            fn read(reader: &mut Reader) -> Result<$type, DecodeError> {
                Ok(<$type>::from_be_bytes(reader.array()?))
            }
            fn write(&self, writer: &mut Writer) {
                writer.put(&self.to_be_bytes());
            }
            #[cfg(any(test, feature = "samples"))]
            fn sample(sampler: &mut super::sample::Sampler) -> $type {
                sampler.number() as $type
            }
        }
    )*};
}

numbers! { i8 i16 u16 i32 i64 f64 }

impl Wire for bool {
    fn read(reader: &mut Reader) -> Result<bool, DecodeError> {
        match reader.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(reader.fail(Reason::NotBool(other))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        writer.put(&[u8::from(*self)]);
    }
    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut super::sample::Sampler) -> bool {
        sampler.below(2) == 1
    }
}

impl Wire for ErrorCode {
    fn read(reader: &mut Reader) -> Result<ErrorCode, DecodeError> {
        i16::read(reader).map(ErrorCode)
    }
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }
    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut super::sample::Sampler) -> ErrorCode {
        ErrorCode(i16::sample(sampler))
    }
}

impl Wire for Uuid {
    fn read(reader: &mut Reader) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(reader.array()?))
    }
    fn write(&self, writer: &mut Writer) {
        writer.put(self.as_bytes());
    }
    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut super::sample::Sampler) -> Uuid {
        Uuid::from_u64_pair(sampler.number(), sampler.number())
    }
}

impl Wire for TopicId {
    fn read(reader: &mut Reader) -> Result<TopicId, DecodeError> {
        Ok(TopicId(Uuid::from_bytes(reader.array()?)))
    }
    fn write(&self, writer: &mut Writer) {
        writer.put(self.0.as_bytes());
    }
    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut super::sample::Sampler) -> TopicId {
        TopicId(Uuid::from_u64_pair(sampler.number(), sampler.number()))
    }
}

/// Lets a structure be null: a byte says whether it is there (1) or not (-1).
macro_rules! nullable_message {
    ($name:ident) => {
        impl $crate::protocol::Wire for Option<$name> {
            fn read(reader: &mut $crate::protocol::Reader) -> Result<Self, $crate::protocol::DecodeError> {
                let there: i8 = $crate::protocol::Wire::read(reader)?;
                if there < 0 { Ok(None) } else { $crate::protocol::Wire::read(reader).map(Some) }
            }
            fn write(&self, writer: &mut $crate::protocol::Writer) {
                match self {
                    None => $crate::protocol::Wire::write(&-1_i8, writer),
                    Some(message) => {
                        $crate::protocol::Wire::write(&1_i8, writer);
                        $crate::protocol::Wire::write(message, writer);
                    }
                }
            }
            #[cfg(any(test, feature = "samples"))]
            fn sample(sampler: &mut $crate::protocol::sample::Sampler) -> Self {
                (sampler.below(4) > 0).then(|| $crate::protocol::Wire::sample(sampler))
            }
        }
    };
}
pub(crate) use nullable_message;

/// A type whose null the protocol can say: wherever `Self` may stand, so may `Option<Self>`.
pub trait Nullable: Sized {
    /// Reads it, or null.
    fn read_nullable(reader: &mut Reader) -> Result<Option<Self>, DecodeError>;
    /// Writes it, or null.
    fn write_nullable(value: Option<&Self>, writer: &mut Writer);
    /// Any value of it.
    #[cfg(any(test, feature = "samples"))]
    fn sample_some(sampler: &mut super::sample::Sampler) -> Self;
}

macro_rules! nullable {
    ($([$($generics:tt)*] $type:ty)*) => {$(
        impl $($generics)* Wire for $type {
            fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
                <$type>::read_nullable(reader)?.ok_or_else(|| reader.fail(Reason::Null))
            }
            fn write(&self, writer: &mut Writer) {
                <$type>::write_nullable(Some(self), writer);
            }
            #[cfg(any(test, feature = "samples"))]
            fn sample(sampler: &mut super::sample::Sampler) -> Self {
                <$type>::sample_some(sampler)
            }
        }

        impl $($generics)* Wire for Option<$type> {
            fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
                <$type>::read_nullable(reader)
            }
            fn write(&self, writer: &mut Writer) {
                <$type>::write_nullable(self.as_ref(), writer);
            }
            #[cfg(any(test, feature = "samples"))]
            fn sample(sampler: &mut super::sample::Sampler) -> Self {
                (sampler.below(4) > 0).then(|| <$type>::sample_some(sampler))
            }
        }
    )*};
}

nullable! { [] Text [] Bytes [] Records [<T: Wire>] Vec<T> }

impl Nullable for Text {
    fn read_nullable(reader: &mut Reader) -> Result<Option<Text>, DecodeError> {
        match reader.text_len()? {
            Some(len) => Ok(Some(reader.text(len)?)),
            None => Ok(None),
        }
    }
    fn write_nullable(value: Option<&Text>, writer: &mut Writer) {
        writer.text_len(value.map(|text| text.as_bytes().len()));
        writer.put(value.map_or(&[], Text::as_bytes));
    }
    #[cfg(any(test, feature = "samples"))]
    fn sample_some(sampler: &mut super::sample::Sampler) -> Text {
        sampler.text()
    }
}

impl Nullable for Bytes {
    fn read_nullable(reader: &mut Reader) -> Result<Option<Bytes>, DecodeError> {
        match reader.long_len()? {
            Some(len) => Ok(Some(reader.bytes(len)?)),
            None => Ok(None),
        }
    }
    fn write_nullable(value: Option<&Bytes>, writer: &mut Writer) {
        writer.long_len(value.map(Bytes::len));
        if let Some(bytes) = value {
            writer.splice(bytes);
        }
    }
    #[cfg(any(test, feature = "samples"))]
    fn sample_some(sampler: &mut super::sample::Sampler) -> Bytes {
        sampler.bytes()
    }
}

/// Record batches, in the pieces in which the log holds them. Read, they are one piece of the frame.
#[derive(Clone, Debug, Default)]
pub struct Records(pub SmallVec<[Bytes; 1]>);

impl Records {
    /// The bytes of all pieces.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there is not a byte.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// All in one piece of memory; copies if they are in several.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0[..] {
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records(SmallVec::from_iter([bytes]))
    }
}

/// Where the bytes are cut does not matter.
impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Nullable for Records {
    fn read_nullable(reader: &mut Reader) -> Result<Option<Records>, DecodeError> {
        Ok(Bytes::read_nullable(reader)?.map(Records::from))
    }
    fn write_nullable(value: Option<&Records>, writer: &mut Writer) {
        writer.long_len(value.map(Records::len));
        for piece in value.iter().flat_map(|records| &records.0) {
            writer.splice(piece);
        }
    }
    #[cfg(any(test, feature = "samples"))]
    fn sample_some(sampler: &mut super::sample::Sampler) -> Records {
        Records((0..sampler.below(3)).map(|_| sampler.bytes()).collect())
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(reader: &mut Reader) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = reader.long_len()? else { return Ok(None) };
        let mut elements = reader.elements(count)?;
        for _ in 0..count {
            elements.push(T::read(reader)?);
        }
        Ok(Some(elements))
    }
    fn write_nullable(value: Option<&Vec<T>>, writer: &mut Writer) {
        writer.long_len(value.map(Vec::len));
        for element in value.into_iter().flatten() {
            element.write(writer);
        }
    }
    #[cfg(any(test, feature = "samples"))]
    fn sample_some(sampler: &mut super::sample::Sampler) -> Vec<T> {
        (0..sampler.below(4)).map(|_| T::sample(sampler)).collect()
    }
}

/// Whether a field is at its default. A function, so that the default gets the field's type.
pub(crate) fn is<T: PartialEq>(value: &T, default: T) -> bool {
    *value == default
}

/// Lays out structures of the protocol; see the head of this file.
macro_rules! message {
    ($(
        $(#[$about:meta])*
        pub struct $name:ident {$(
            $(#[$about_field:meta])*
            $field:ident: $type:ty $([$versions:expr $(, tag $tag:literal)?])? $(= $default:expr)?
        ),* $(,)?}
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$about_field])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: message!(@default $($default)?),)* }
            }
        }

        impl $crate::protocol::Wire for $name {
            fn read(reader: &mut $crate::protocol::Reader) -> Result<$name, $crate::protocol::DecodeError> {
                #[allow(unused_mut)]
                let mut message = $name {
                    $($field: message!(@read reader, $field, [$($default)?], [$($versions $(, tag $tag)?)?]),)*
                };
                reader.tagged(|_reader, _tag| {
                    $(message!(@read_tag _reader, _tag, message.$field, $field, [$($versions $(, tag $tag)?)?]);)*
                    Ok(false)
                })?;
                Ok(message)
            }

            fn write(&self, writer: &mut $crate::protocol::Writer) {
                $(message!(@write writer, self.$field, [$($versions $(, tag $tag)?)?]);)*
                if writer.is_flexible() {
                    #[allow(unused_mut)]
                    let mut tags = 0;
                    $(message!(@count_tag writer, tags, self.$field, [$($default)?], [$($versions $(, tag $tag)?)?]);)*
                    writer.tagged_count(tags);
                    $(message!(@write_tag writer, self.$field, [$($default)?], [$($versions $(, tag $tag)?)?]);)*
                }
            }

            #[cfg(any(test, feature = "samples"))]
            fn sample(sampler: &mut $crate::protocol::sample::Sampler) -> $name {
                $name {
                    $($field: message!(@sample sampler, [$($default)?], [$($versions $(, tag $tag)?)?]),)*
                }
            }
        }
    )*};

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };

    (@has $versions:expr, $version:expr) => { std::ops::RangeBounds::contains(&$versions, &$version) };

    (@read $reader:ident, $field:ident, [$($default:expr)?], []) => { $reader.field(stringify!($field))? };
    (@read $reader:ident, $field:ident, [$($default:expr)?], [$versions:expr]) => {
        if message!(@has $versions, $reader.version()) {
            $reader.field(stringify!($field))?
        } else {
            message!(@default $($default)?)
        }
    };
    (@read $reader:ident, $field:ident, [$($default:expr)?], [$versions:expr, tag $tag:literal]) => { message!(@default $($default)?) };

    (@read_tag $reader:ident, $seen:ident, $place:expr, $field:ident, []) => {};
    (@read_tag $reader:ident, $seen:ident, $place:expr, $field:ident, [$versions:expr]) => {};
    (@read_tag $reader:ident, $seen:ident, $place:expr, $field:ident, [$versions:expr, tag $tag:literal]) => {
        if $seen == $tag && message!(@has $versions, $reader.version()) {
            $place = $reader.field(stringify!($field))?;
            return Ok(true);
        }
    };

    (@write $writer:ident, $value:expr, []) => { $crate::protocol::Wire::write(&$value, $writer) };
    (@write $writer:ident, $value:expr, [$versions:expr]) => {
        if message!(@has $versions, $writer.version()) {
            $crate::protocol::Wire::write(&$value, $writer);
        }
    };
    (@write $writer:ident, $value:expr, [$versions:expr, tag $tag:literal]) => {};

    (@count_tag $writer:ident, $tags:ident, $value:expr, [$($default:expr)?], []) => {};
    (@count_tag $writer:ident, $tags:ident, $value:expr, [$($default:expr)?], [$versions:expr]) => {};
    (@count_tag $writer:ident, $tags:ident, $value:expr, [$($default:expr)?], [$versions:expr, tag $tag:literal]) => {
        if message!(@has $versions, $writer.version()) && !$crate::protocol::wire::is(&$value, message!(@default $($default)?)) {
            $tags += 1;
        }
    };

    (@write_tag $writer:ident, $value:expr, [$($default:expr)?], []) => {};
    (@write_tag $writer:ident, $value:expr, [$($default:expr)?], [$versions:expr]) => {};
    (@write_tag $writer:ident, $value:expr, [$($default:expr)?], [$versions:expr, tag $tag:literal]) => {
        if message!(@has $versions, $writer.version()) && !$crate::protocol::wire::is(&$value, message!(@default $($default)?)) {
            $writer.tagged($tag, |writer| $crate::protocol::Wire::write(&$value, writer));
        }
    };

    (@sample $sampler:ident, [$($default:expr)?], []) => { $crate::protocol::Wire::sample($sampler) };
    (@sample $sampler:ident, [$($default:expr)?], [$versions:expr $(, tag $tag:literal)?]) => {
        if message!(@has $versions, $sampler.version()) {
            $crate::protocol::Wire::sample($sampler)
        } else {
            message!(@default $($default)?)
        }
    };
}
pub(crate) use message;
