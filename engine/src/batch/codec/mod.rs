//! The codecs of record batches (KIP-110 and before): what turns the records of a batch into fewer bytes and back.
//!
//! Every decompression takes a bound on its output and stops there, and reserves no more than what has truly come out
//! (snappy, which says its length first: than what its input can make).

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use crate::batch::error::BatchError;

/// A compression codec, by its id in the attributes of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Codec {
    /// As they are.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in the framing of snappy-java; raw snappy is read as well.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878 (KIP-110).
    Zstd,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with this id.
    pub fn from_id(id: i16) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// Its id in the attributes.
    pub fn id(self) -> i16 {
        self as i16
    }

    /// Its name in Kafka's settings (`compression.type`).
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = String;

    /// The inverse of [`Codec::name`].
    fn from_str(name: &str) -> Result<Codec, String> {
        Codec::ALL
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| format!("{name:?} is not a codec: none, gzip, snappy, lz4, zstd are"))
    }
}

/// Appends `input`, compressed at Kafka's default level, to `output`.
pub fn compress(codec: Codec, input: &[u8], output: &mut Vec<u8>) {
    compress_at(codec, None, input, output);
}

/// Appends `input`, compressed at a level of the codec's, or Kafka's default, to `output`. A level beyond the codec's is its
/// nearest; snappy has no levels, and of lz4 the library has one.
pub fn compress_at(codec: Codec, level: Option<i32>, input: &[u8], output: &mut Vec<u8>) {
    match codec {
        Codec::None => output.extend_from_slice(input),
        Codec::Gzip => gzip::compress(level, input, output),
        Codec::Snappy => snappy::compress(input, output),
        Codec::Lz4 => lz4::compress(input, output),
        Codec::Zstd => zstd::compress(level, input, output),
    }
}

/// Replaces `output` by `input` decompressed, or fails where that has more than `output_bytes_max` bytes or `input` is
/// not, from its first to its last byte, of the codec's format. No input is no output.
pub fn decompress(codec: Codec, input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), BatchError> {
    output.clear();
    if input.is_empty() {
        return Ok(());
    }
    match codec {
        Codec::None if input.len() > output_bytes_max => Err(too_large(codec, output_bytes_max)),
        Codec::None => {
            output.extend_from_slice(input);
            Ok(())
        }
        Codec::Gzip => gzip::decompress(input, output, output_bytes_max),
        Codec::Snappy => snappy::decompress(input, output, output_bytes_max),
        Codec::Lz4 => lz4::decompress(input, output, output_bytes_max),
        Codec::Zstd => zstd::decompress(input, output, output_bytes_max),
    }
}

fn too_large(codec: Codec, limit: usize) -> BatchError {
    BatchError::DecompressedTooLarge { codec, limit }
}

fn malformed(codec: Codec, what: impl fmt::Display) -> BatchError {
    BatchError::Decompress { codec, what: what.to_string() }
}

/// Reads to the end of `input`, which grows `output` only by what it gives; one byte past the bound is a failure.
fn read_bounded(
    codec: Codec,
    input: impl Read,
    output: &mut Vec<u8>,
    output_bytes_max: usize,
) -> Result<(), BatchError> {
    let bound = output_bytes_max as u64 + 1;
    let read = input.take(bound).read_to_end(output).map_err(|error| malformed(codec, error))?;
    if read as u64 == bound { Err(too_large(codec, output_bytes_max)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT_BYTES_MAX: usize = 8 << 20;

    fn samples() -> Vec<Vec<u8>> {
        let text = b"all animals are equal, but some animals are more equal than others; ".repeat(4000);
        let mut state = 1u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        });
        vec![b"x".to_vec(), vec![0; 1 << 20], text, noise.take(100_000).collect()]
    }

    fn compressed(codec: Codec, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        compress(codec, input, &mut output);
        output
    }

    #[test]
    fn every_codec_gives_back_what_it_was_given() {
        for codec in Codec::ALL {
            for input in samples() {
                let mut output = vec![1, 2, 3];
                decompress(codec, &compressed(codec, &input), &mut output, input.len()).expect("our own bytes");
                assert!(output == input, "{codec} with {} bytes", input.len());
            }
        }
    }

    #[test]
    fn output_beyond_the_bound_is_refused_and_not_reserved() {
        for codec in Codec::ALL {
            for input in samples() {
                let packed = compressed(codec, &input);
                let mut output = Vec::new();
                let refused = decompress(codec, &packed, &mut output, input.len() - 1);
                assert_eq!(refused, Err(too_large(codec, input.len() - 1)), "{codec}");
                assert!(output.capacity() <= 2 * input.len() + 128 * 1024, "{codec} reserved {}", output.capacity());
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let zeros = vec![0; 16 << 20];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let packed = compressed(codec, &zeros);
            let mut output = Vec::new();
            assert_eq!(decompress(codec, &packed, &mut output, 1 << 20), Err(too_large(codec, 1 << 20)));
            assert!(output.capacity() <= 4 << 20, "{codec} reserved {}", output.capacity());
        }
    }

    #[test]
    fn cut_or_lengthened_input_is_refused() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let packed = compressed(codec, &b"some words, and some words again".repeat(2000));
            let mut output = Vec::new();
            for cut in 1..packed.len() {
                let result = decompress(codec, &packed[..cut], &mut output, OUTPUT_BYTES_MAX);
                // Snappy's framing has no end mark: a stream that is cut between chunks is a shorter stream.
                assert!(result.is_err() || codec == Codec::Snappy, "{codec} cut at {cut} of {}", packed.len());
            }
            let longer = [&packed[..], b"more"].concat();
            assert!(decompress(codec, &longer, &mut output, OUTPUT_BYTES_MAX).is_err(), "{codec} with a tail");
        }
    }

    #[test]
    fn streams_put_one_after_the_other_are_read_as_one() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
            let packed = [compressed(codec, b"one and "), compressed(codec, b"two")].concat();
            let mut output = Vec::new();
            decompress(codec, &packed, &mut output, OUTPUT_BYTES_MAX).expect("two streams");
            assert_eq!(output, b"one and two", "{codec}");
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        for input in samples() {
            let packed = snap::raw::Encoder::new().compress_vec(&input).expect("it fits");
            let mut output = Vec::new();
            decompress(Codec::Snappy, &packed, &mut output, input.len()).expect("raw snappy");
            assert!(output == input);
        }
    }

    #[test]
    fn snappy_that_lies_about_its_length_is_refused_before_memory_is_reserved() {
        // 4 MiB claimed by six bytes.
        let raw = [0x80, 0x80, 0x80, 0x02, 0x00, 0x00];
        let mut output = Vec::new();
        assert!(matches!(
            decompress(Codec::Snappy, &raw, &mut output, OUTPUT_BYTES_MAX),
            Err(BatchError::Decompress { .. })
        ));
        // A chunk of 2 GiB, and one of -1: the shape of CVE-2023-34455.
        for size in [0x7fff_ffffu32, 0xffff_ffff] {
            let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &size.to_be_bytes(), b"abc"].concat();
            assert!(decompress(Codec::Snappy, &framed, &mut output, OUTPUT_BYTES_MAX).is_err());
        }
        assert_eq!(output.capacity(), 0);
    }

    #[test]
    fn a_zstd_window_beyond_the_limit_is_refused() {
        // A frame header with a window of 2^31 (exponent 21) or 2^28 (18), then an empty last block.
        for exponent in [18u8, 21] {
            let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3, 0x01, 0x00, 0x00];
            let mut output = Vec::new();
            let refused = decompress(Codec::Zstd, &frame, &mut output, OUTPUT_BYTES_MAX);
            assert!(matches!(refused, Err(BatchError::Decompress { .. })), "{refused:?}");
        }
    }

    #[test]
    fn codecs_are_known_by_id_and_name() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_id(codec.id()), Some(codec));
            assert_eq!(codec.name().parse(), Ok(codec));
        }
        assert_eq!((Codec::Zstd.id(), Codec::from_id(5), Codec::from_id(-1)), (4, None, None));
        assert!("brotli".parse::<Codec>().is_err());
    }
}
