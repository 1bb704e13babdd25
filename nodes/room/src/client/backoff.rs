//! `Backoff`: how long to wait between attempts to connect.

use std::time::Duration;

/// The bound of the delay before the second attempt.
const FIRST: Duration = Duration::from_millis(300);
/// The greatest bound of a delay.
const MOST: Duration = Duration::from_secs(7);

/// How long to wait: the first attempt is made at once; before each that follows, a time
/// from none to a bound that doubles from 0.3 s to 7 s ("full jitter"), so that those
/// who lost a server together do not return to it together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// How long to wait before the next attempt. \[any\]
    pub fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let delay = match self.attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => bound(doublings).mul_f64(rng.f64()),
        };
        self.attempts = self.attempts.saturating_add(1);
        delay
    }

    /// An attempt has succeeded: the next one is a first one. \[any\]
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// The bound of the delay after so many doublings.
fn bound(doublings: u32) -> Duration {
    FIRST.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_from_300_ms_to_7_s_and_delays_fill_them() {
        let bounds: Vec<_> = (0..7).map(|doublings| bound(doublings).as_millis()).collect();
        assert_eq!(bounds, [300, 600, 1_200, 2_400, 4_800, 7_000, 7_000]);
        assert_eq!(bound(31), MOST);
        assert_eq!(bound(u32::MAX), MOST);
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut least, mut most) = ([MOST; 8], [Duration::ZERO; 8]);
        for _ in 0..500 {
            let mut backoff = Backoff::default();
            for place in 0..8 {
                let delay = backoff.next(&mut rng);
                least[place] = least[place].min(delay);
                most[place] = most[place].max(delay);
            }
        }
        assert_eq!(most[0], Duration::ZERO, "the first attempt is made at once");
        for (place, bound) in bounds.iter().enumerate() {
            let (least, most) = (least[place + 1].as_millis(), most[place + 1].as_millis());
            assert!(
                least < bound / 20 && most <= *bound && most > bound / 20 * 19,
                "{place}: {least} {most}"
            );
        }
    }

    #[test]
    fn an_attempt_after_one_that_succeeded_is_made_at_once() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next(&mut rng);
        }
        backoff.reset();
        assert_eq!(backoff.next(&mut rng), Duration::ZERO);
    }
}
