//! Medians with their range, and ratios that are taken pair by pair.
//!
//! A ratio of two systems is the median of the ratios *within* each round, never the ratio of two medians: on a
//! shared machine both sides of a round see about the same disk and the same neighbours.

use serde::{Deserialize, Serialize};

/// The number of resamples behind a bootstrap range.
const RESAMPLES: usize = 2000;

/// What several rounds of one figure say: the middle, the extremes, and where the middle would fall if the rounds
/// were drawn again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median of the rounds.
    pub median: f64,
    /// The smallest round.
    pub min: f64,
    /// The largest round.
    pub max: f64,
    /// How many rounds there were.
    pub rounds: usize,
    /// The lower end of the 90 % bootstrap range of the median.
    pub low: f64,
    /// The upper end of it.
    pub high: f64,
}

impl Spread {
    /// The spread of these rounds; `None` without any. Rounds that are not finite are left out.
    pub fn of(rounds: &[f64]) -> Option<Spread> {
        let mut sorted: Vec<f64> = rounds.iter().copied().filter(|value| value.is_finite()).collect();
        if sorted.is_empty() {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let (low, high) = bootstrap_range(&sorted);
        Some(Spread {
            median: median_of_sorted(&sorted),
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            rounds: sorted.len(),
            low,
            high,
        })
    }

    /// The spread of `numerators[round] / denominators[round]`. Rounds that only one side has are left out.
    pub fn of_paired_ratios(numerators: &[f64], denominators: &[f64]) -> Option<Spread> {
        let ratios: Vec<f64> = numerators.iter().zip(denominators).map(|(over, under)| over / under).collect();
        Spread::of(&ratios)
    }
}

/// The median of these values; NaN without any.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() { f64::NAN } else { median_of_sorted(&sorted) }
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The 5th and the 95th percentile of the medians of resampled rounds. The same rounds always give the same range.
fn bootstrap_range(sorted: &[f64]) -> (f64, f64) {
    let mut random = SplitMix(0x5eed ^ sorted.len() as u64);
    let mut sample = vec![0.0; sorted.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            sample.fill_with(|| sorted[(random.next() % sorted.len() as u64) as usize]);
            sample.sort_by(f64::total_cmp);
            median_of_sorted(&sample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    (medians[RESAMPLES * 5 / 100], medians[RESAMPLES * 95 / 100 - 1])
}

/// Vigna's splitmix64: small, seeded, good enough to draw rounds and to fill payloads.
#[derive(Clone, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next 64 random bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Fills `bytes` with random ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let bits = self.next().to_le_bytes();
            chunk.copy_from_slice(&bits[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_extremes() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, f64::NAN]).expect("three rounds");
        assert_eq!((spread.median, spread.min, spread.max, spread.rounds), (2.0, 1.0, 3.0, 3));
        assert!(spread.low >= 1.0 && spread.high <= 3.0 && spread.low <= spread.high);
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[4.0, 2.0]).expect("two rounds").median, 3.0);
    }

    #[test]
    fn a_paired_ratio_is_not_a_ratio_of_medians() {
        let ours = [10.0, 100.0, 50.0];
        let device = [10.0, 200.0, 50.0];
        assert_eq!(Spread::of_paired_ratios(&ours, &device).expect("three rounds").median, 1.0);
    }

    #[test]
    fn the_same_rounds_give_the_same_bootstrap_range() {
        let rounds: Vec<f64> = (0..20).map(f64::from).collect();
        let spread = Spread::of(&rounds).expect("twenty rounds");
        assert_eq!(Some(spread), Spread::of(&rounds));
        assert!(spread.low > spread.min && spread.high < spread.max, "{spread:?}");
    }
}
