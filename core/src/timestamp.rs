//! `Timestamp`: an instant on the engine's clock, in nanoseconds.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// An instant in nanoseconds. \[any\]
///
/// Under the real clock it counts from the Unix epoch (so that it can be sent
/// to another machine as an NTP time) but advances monotonically; under the
/// virtual clock it starts at a fixed instant. Range: 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch.
    pub const ZERO: Self = Self(0);
    /// Later than any instant that occurs.
    pub const NEVER: Self = Self(u64::MAX);

    /// From nanoseconds since the epoch. \[any\]
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch. \[any\]
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Time elapsed since `earlier`; zero if `earlier` is later. \[any\]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant at which `count` units at `rate` per second have passed
    /// since `self`, without accumulated rounding. \[any\]
    #[must_use]
    pub fn after_units(self, count: u64, rate: u32) -> Self {
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(rate.max(1));
        Self(self.0.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(duration_nanos(rhs)))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(duration_nanos(rhs)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// A duration as whole nanoseconds, saturating at 584 years. \[any\]
#[must_use]
pub fn duration_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_do_not_drift_over_a_day() {
        let frames = 30 * 86_400;
        assert_eq!(Timestamp::ZERO.after_units(frames, 30), Timestamp::ZERO + Duration::from_secs(86_400));
    }

    #[test]
    fn subtraction_stops_at_the_epoch() {
        assert_eq!(Timestamp::ZERO - Duration::from_secs(1), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.since(Timestamp::NEVER), Duration::ZERO);
    }
}
