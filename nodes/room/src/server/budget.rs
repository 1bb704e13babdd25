//! `Budget`: how much somebody may do at once, and how soon again.

use std::time::Duration;

use sidetone_core::Timestamp;
use sidetone_core::timestamp::duration_nanos;

/// So much at once, and as much again within a time: in no stretch of that length is it
/// more than twice as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much.
    pub most: u32,
    /// Within which time.
    pub within: Duration,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    rate: Rate,
    /// In parts of a unit, of which there are as many as nanoseconds in `within`.
    left: u64,
    since: Timestamp,
}

impl Budget {
    /// One of which nothing was taken. \[any\]
    #[must_use]
    pub fn new(rate: Rate, now: Timestamp) -> Self {
        let left = u64::from(rate.most).saturating_mul(duration_nanos(rate.within));
        Self { rate, left, since: now }
    }

    /// Takes so much, if as much is left. Whether it was. \[any\]
    pub fn take(&mut self, now: Timestamp, amount: u32) -> bool {
        let Rate { most, within } = self.rate;
        let unit = duration_nanos(within);
        let earned = duration_nanos(now.since(self.since)).saturating_mul(most.into());
        self.left = self.left.saturating_add(earned).min(u64::from(most).saturating_mul(unit));
        self.since = self.since.max(now);
        let left = self.left.checked_sub(u64::from(amount).saturating_mul(unit));
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_may_be_done_at_once_and_is_earned_again_evenly() {
        let at = |ms| Timestamp::from_nanos(7) + Duration::from_millis(ms);
        let mut budget = Budget::new(Rate { most: 20, within: Duration::from_secs(10) }, at(0));
        assert!(!budget.take(at(0), 21), "more than there ever is");
        assert!(budget.take(at(0), 19) && budget.take(at(0), 1) && !budget.take(at(0), 1));
        assert!(!budget.take(at(499), 1) && budget.take(at(500), 1) && !budget.take(at(999), 1));
        assert!(budget.take(at(1_000), 1), "parts of one are kept");
        assert!(!budget.take(at(0), 1), "time does not go back");
        assert_eq!((0..100).filter(|_| budget.take(at(1_000_000), 1)).count(), 20, "no more is saved up");
        let mut fast = Budget::new(Rate { most: u32::MAX, within: Duration::from_secs(3_600) }, at(0));
        assert!(fast.take(at(u64::MAX >> 24), u32::MAX), "nothing overflows");
    }
}
