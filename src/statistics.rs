//! Medians, spreads, and how sure a ratio of two medians is.

use serde::Serialize;

/// Resamples from which an interval is read.
pub(crate) const RESAMPLES: usize = 10_000;
/// The level of the interval, in percent.
pub(crate) const LEVEL: f64 = 95.0;
/// Pairs below which no interval of a median reaches that level: all of five
/// lie on one side of the true median once in sixteen times.
pub(crate) const FEWEST_PAIRS: usize = 6;
/// What resamples are drawn with, so that the same runs give the same interval.
const SEED: u64 = 0x51de_70e5;

/// Where the values of some repeats lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    /// A quarter are at most this.
    pub(crate) q1: f64,
    /// Three quarters are at most this.
    pub(crate) q3: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of `values`; `None` if there are none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            min: *sorted.first()?,
            q1: quantile(&sorted, 0.25)?,
            q3: quantile(&sorted, 0.75)?,
            max: *sorted.last()?,
        })
    }
}

/// The median; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    Spread::of(values).map(|spread| spread.median)
}

/// How two medians compare.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The first median over the second.
    pub(crate) ratio: f64,
    /// The ends of its interval.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Whether there were pairs enough for the interval to mean what it says.
    pub(crate) trusted: bool,
}

impl Ratio {
    /// Of pairs of repeats that ran one after the other; `None` where the second
    /// median is zero or there are no pairs.
    ///
    /// The interval is the percentile bootstrap (Efron and Tibshirani, "An
    /// Introduction to the Bootstrap", 1993, § 13.3): pairs are drawn with
    /// repetition, as many as there are, and the ratio of the medians is taken of
    /// each draw. Pairs stay together, so that what slowed both does not count.
    pub(crate) fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let ratio_of = |pairs: &[(f64, f64)]| {
            let (a, b): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            let ratio = median(&a)? / median(&b)?;
            ratio.is_finite().then_some(ratio)
        };
        let ratio = ratio_of(pairs)?;
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut draw = pairs.to_vec();
        let mut ratios: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| {
                draw.iter_mut().for_each(|pair| *pair = pairs[random.usize(..pairs.len())]);
                ratio_of(&draw)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let tail = (1.0 - LEVEL / 100.0) / 2.0;
        Some(Self {
            ratio,
            low: quantile(&ratios, tail)?,
            high: quantile(&ratios, 1.0 - tail)?,
            trusted: pairs.len() >= FEWEST_PAIRS,
        })
    }

    /// Whether the interval leaves out 1, and may be trusted to.
    pub(crate) fn shows_a_difference(&self) -> bool {
        self.trusted && (self.high < 1.0 || self.low > 1.0)
    }
}

/// The value that a share `q` of `sorted` does not exceed, between its
/// neighbours where it falls between two.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let at = q * sorted.len().checked_sub(1)? as f64;
    let below = sorted[at.floor() as usize];
    let above = sorted[at.ceil() as usize];
    Some(below + (above - below) * at.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quartiles_lie_between_their_neighbours() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, q1: 1.75, q3: 3.25, max: 4.0 });
    }

    #[test]
    fn the_interval_holds_a_known_ratio_and_is_narrow_where_pairs_agree() {
        // B is always twice A, however the machine drifts.
        let drifting: Vec<_> = (0..9).map(|n| (10.0 + f64::from(n), 20.0 + 2.0 * f64::from(n))).collect();
        let ratio = Ratio::of(&drifting).unwrap();
        assert_eq!((ratio.ratio, ratio.low, ratio.high), (0.5, 0.5, 0.5));
        assert!(ratio.shows_a_difference());
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut noisy = || 1.0 + (0..4).map(|_| random.f64() - 0.5).sum::<f64>() / 10.0;
        let covers = |_: &u32| {
            let pairs: Vec<_> = (0..15).map(|_| (3.0 * noisy(), 2.0 * noisy())).collect();
            let ratio = Ratio::of(&pairs).unwrap();
            (ratio.low..=ratio.high).contains(&1.5)
        };
        let covered = (0..100).filter(covers).count();
        assert!((88..=100).contains(&covered), "{covered} of 100 intervals hold the true ratio");
    }

    #[test]
    fn few_pairs_show_nothing_and_a_median_of_zero_has_no_ratio() {
        let few = Ratio::of(&[(1.0, 2.0); 5]).unwrap();
        assert!(few.ratio == 0.5 && !few.trusted && !few.shows_a_difference());
        assert!(Ratio::of(&[(1.0, 2.0); 6]).unwrap().shows_a_difference());
        assert_eq!(Ratio::of(&[(1.0, 0.0); 6]), None);
        assert_eq!(Ratio::of(&[]), None);
    }

    #[test]
    fn noise_alone_is_no_difference() {
        let mut random = fastrand::Rng::with_seed(6);
        let pairs: Vec<_> = (0..10).map(|_| (1.0 + random.f64(), 1.0 + random.f64())).collect();
        assert!(!Ratio::of(&pairs).unwrap().shows_a_difference());
    }
}
