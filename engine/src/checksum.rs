//! CRC-32C by the fastest means that the processor has.
//!
//! The `crc32c` crate is what is always there: small, 18-27 GB/s. Where the processor has AVX-512, what is long enough goes to
//! `crc-fast`: 41-60 GB/s, and of bytes that no cache holds 36 us per MiB instead of 82 (Zen 5; `docs/decisions/missed-aims.md`).

/// What is shorter is not worth a question.
#[cfg(target_arch = "x86_64")]
const WIDE_BYTES_MIN: usize = 512;

/// CRC-32C (Castagnoli), as in the header of a batch.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_append(0, bytes)
}

/// The CRC-32C of what has `crc` and `bytes` behind it.
#[inline]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= WIDE_BYTES_MIN && has_wide_multiply() {
        return wide(crc, bytes);
    }
    crc32c::crc32c_append(crc, bytes)
}

/// Whether the processor multiplies 512 bits without carries, which is what `crc-fast` asks for too.
#[cfg(target_arch = "x86_64")]
#[inline]
fn has_wide_multiply() -> bool {
    std::arch::is_x86_feature_detected!("avx512vl") && std::arch::is_x86_feature_detected!("vpclmulqdq")
}

#[cfg(target_arch = "x86_64")]
fn wide(crc: u32, bytes: &[u8]) -> u32 {
    use crc_fast::{CrcAlgorithm, Digest};
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_crc_32c_comes_out() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn every_length_and_place_gives_what_the_portable_one_gives() {
        let bytes: Vec<u8> = (0..5000u32).map(|number| (number * 31 % 251) as u8).collect();
        for start in 0..17 {
            for end in (start..700).chain([1024, 4096, 4999, 5000]) {
                let piece = &bytes[start..end];
                assert_eq!(super::crc32c(piece), crc32c::crc32c(piece), "{start}..{end}");
                let appended = crc32c::crc32c_append(0x1234_5678, piece);
                assert_eq!(super::crc32c_append(0x1234_5678, piece), appended, "{start}..{end} behind others");
            }
        }
    }

    #[test]
    fn parts_give_what_the_whole_gives() {
        let bytes: Vec<u8> = (0..3000u32).map(|number| (number * 17 % 253) as u8).collect();
        let whole = super::crc32c(&bytes);
        for cut in [0, 1, 61, 511, 512, 513, 1500, 2400, 2999, 3000] {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(super::crc32c_append(super::crc32c(head), tail), whole, "cut at {cut}");
        }
    }
}
