//! Generated values for the tests of the codec: any value that a version can carry, from a seed.

use bytes::Bytes;

use super::text::Text;

/// A source of values, all from one seed.
pub struct Sampler {
    state: u64,
    version: i16,
}

impl Sampler {
    /// The same values for the same seed, as `version` can carry them.
    pub fn new(seed: u64, version: i16) -> Sampler {
        Sampler { state: seed, version }
    }

    /// The version whose values these are.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Small, -1, the ends of the types, or anything.
    pub fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(10),
            1 => u64::MAX,
            2 => i32::MAX as u64,
            3 => 1 << 63,
            _ => self.next(),
        }
    }

    /// Empty, short, of several bytes a character, or long.
    pub fn text(&mut self) -> Text {
        let texts = ["", "a", "topic-1", "größe", "日本語", "a.longer_name-with.127"];
        match self.below(8) {
            // Longer than a one-byte compact length.
            7 => Text::from("x".repeat(100 + self.below(200) as usize)),
            place => Text::from(texts[place as usize % texts.len()]),
        }
    }

    /// Of lengths at which their encoding changes.
    pub fn bytes(&mut self) -> Bytes {
        let len = [0, 1, 61, 126, 127, 128, 255, 256, 300, 20_000][self.below(10) as usize];
        (0..len).map(|_| self.next() as u8).collect()
    }
}
