//! `Histogram`: durations counted in log-linear buckets, by one writer, read by
//! anyone, without locks or allocation.
//!
//! Each power of two of nanoseconds is cut into 64 equal buckets, so a reading
//! is within 0.8 % of the true value; from 0 to 2^37 ns (137 s), above which
//! everything counts in the last bucket. Sum, count and greatest are exact.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::timestamp::duration_nanos;

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
const TOP: u32 = 37;
const BUCKETS: usize = (TOP - SUB_BITS + 1) as usize * SUB;

/// Counted durations.
pub struct Histogram {
    buckets: Box<[AtomicU32]>,
    count: AtomicU64,
    sum: AtomicU64,
    max: AtomicU64,
}

/// What a histogram shows, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Durations counted.
    pub count: u64,
    /// Their mean, exact.
    pub mean: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 95 % are at most this.
    pub p95: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// The greatest, exact.
    pub max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts one duration. Only one thread may record at a time; a second
    /// writer would lose counts, nothing worse. \[real-time\]
    pub fn record(&self, duration: Duration) {
        let nanos = duration_nanos(duration);
        add32(&self.buckets[bucket(nanos)], 1);
        add64(&self.count, 1);
        add64(&self.sum, nanos);
        if nanos > self.max.load(Ordering::Relaxed) {
            self.max.store(nanos, Ordering::Relaxed);
        }
    }

    /// Adds all that `other` counted. \[control\]
    pub fn merge(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            add32(mine, theirs.load(Ordering::Relaxed));
        }
        add64(&self.count, other.count.load(Ordering::Relaxed));
        add64(&self.sum, other.sum.load(Ordering::Relaxed));
        self.max.fetch_max(other.max.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What was counted since `before`, an earlier copy; the greatest is that of
    /// all. \[control\]
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let recent = Self::default();
        for (slot, (now, then)) in recent.buckets.iter().zip(self.buckets.iter().zip(&before.buckets)) {
            let count = now.load(Ordering::Relaxed).saturating_sub(then.load(Ordering::Relaxed));
            slot.store(count, Ordering::Relaxed);
        }
        recent.count.store(
            less(self.count.load(Ordering::Relaxed), before.count.load(Ordering::Relaxed)),
            Ordering::Relaxed,
        );
        recent.sum.store(
            less(self.sum.load(Ordering::Relaxed), before.sum.load(Ordering::Relaxed)),
            Ordering::Relaxed,
        );
        recent.max.store(self.max.load(Ordering::Relaxed), Ordering::Relaxed);
        recent
    }

    /// The value that a share `q` (0 to 1) of the durations do not exceed;
    /// zero if there are none. \[any\]
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        let count = self.count.load(Ordering::Relaxed);
        if count == 0 {
            return Duration::ZERO;
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank = ((count as f64 * q).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += u64::from(bucket.load(Ordering::Relaxed));
            if seen >= rank {
                return Duration::from_nanos(middle(index).min(self.max.load(Ordering::Relaxed)));
            }
        }
        Duration::from_nanos(self.max.load(Ordering::Relaxed))
    }

    /// Mean, quantiles and greatest. \[any\]
    #[must_use]
    pub fn summary(&self) -> Summary {
        let count = self.count.load(Ordering::Relaxed);
        let sum = Duration::from_nanos(self.sum.load(Ordering::Relaxed));
        #[allow(clippy::cast_precision_loss)]
        let mean = if count == 0 { 0.0 } else { millis(sum) / count as f64 };
        Summary {
            count,
            mean,
            p50: millis(self.quantile(0.50)),
            p95: millis(self.quantile(0.95)),
            p99: millis(self.quantile(0.99)),
            max: millis(Duration::from_nanos(self.max.load(Ordering::Relaxed))),
        }
    }
}

/// A duration in milliseconds. \[any\]
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

// A single writer needs no read-modify-write: a load and a store are cheaper.
fn add32(cell: &AtomicU32, more: u32) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

fn add64(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[allow(clippy::cast_possible_truncation)] // a shift by `octave` leaves SUB_BITS + 1 bits
fn bucket(nanos: u64) -> usize {
    if nanos < SUB as u64 {
        return nanos as usize;
    }
    let octave = nanos.ilog2() - SUB_BITS;
    let index = (octave as usize) * SUB + (nanos >> octave) as usize;
    index.min(BUCKETS - 1)
}

fn middle(index: usize) -> u64 {
    if index < 2 * SUB {
        return index as u64;
    }
    let octave = index / SUB - 1;
    let low = ((index - octave * SUB) as u64) << octave;
    low + (1 << octave) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_within_a_hundredth() {
        for nanos in [1u64, 63, 64, 127, 128, 1_000, 999_999, 5_000_000, 33_333_333, 2_000_000_000] {
            let near = middle(bucket(nanos));
            assert!(near.abs_diff(nanos) * 100 <= nanos, "{nanos} reads {near}");
        }
    }

    #[test]
    fn quantiles_of_a_known_spread() {
        let histogram = Histogram::default();
        for n in 1..=1_000u64 {
            histogram.record(Duration::from_micros(n));
        }
        let summary = histogram.summary();
        assert!((summary.p50 - 0.5).abs() < 0.01, "{summary:?}");
        assert!((summary.p99 - 0.99).abs() < 0.01, "{summary:?}");
        assert!((summary.mean - 0.5005).abs() < 1e-9 && (summary.max - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_absurd_counts_in_the_last_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.summary().count, 1);
        assert_eq!(Histogram::default().summary(), Summary::default());
    }
}
