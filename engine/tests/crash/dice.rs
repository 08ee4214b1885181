//! The choices of a test, all from one seed, apart from those of the simulated machine.

use std::cell::Cell;

/// A sequence of numbers (SplitMix64).
pub struct Dice(Cell<u64>);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(Cell::new(seed ^ 0x6a09_e667_f3bc_c908))
    }

    pub fn any(&self) -> u64 {
        let sum = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(sum);
        let mut mixed = sum;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of `least..=most`.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// A number of `least..=most`, each magnitude as likely as another.
    pub fn magnitude(&self, least: u64, most: u64) -> u64 {
        let (low, high) = (least.max(1).ilog2(), most.max(1).ilog2());
        let bits = self.between(u64::from(low), u64::from(high)) as u32;
        self.between(1 << bits, (2 << bits) - 1).clamp(least, most)
    }

    /// True so many times in a hundred.
    pub fn percent(&self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of several.
    pub fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
