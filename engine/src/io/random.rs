//! Random numbers from a seed: SplitMix64, small and the same on every machine.

use std::cell::Cell;

/// The next number of the sequence that `state` is in.
pub(super) fn next(state: &Cell<u64>) -> u64 {
    let sum = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    state.set(sum);
    let mut mixed = sum;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
