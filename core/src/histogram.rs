//! `Histogram`: durations counted in log-linear buckets, by one writer, read by
//! anyone, without locks or allocation.
//!
//! Each power of two of nanoseconds is cut into 32 equal buckets, so a reading
//! is within 1.6 % of the true value; from 0 to 2^37 ns (137 s), above which
//! everything counts in the last bucket. Sum, count and greatest are exact.
//!
//! A stage's durations lie within a few powers of two, and a graph may have
//! thousands of stages, so the buckets of a power of two are a block that is
//! taken from a shared store when the first such duration is counted. Where the
//! store has none left, that power of two is one bucket.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytemuck::zeroed_slice_box;
use serde::{Deserialize, Serialize};

use crate::timestamp::duration_nanos;

const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
const TOP: u32 = 37;
const OCTAVES: usize = (TOP - SUB_BITS + 1) as usize;
/// Blocks made at a time: 32 KB of zeros, which the system lends page by page as
/// they are written to.
const CHUNK: usize = 256;
/// Chunks at most.
const CHUNKS: usize = 256;
/// Marks what a power of two counts itself, having found no block; it is not the
/// number of one.
const COARSE: u32 = 1 << 31;

/// The blocks that the histograms of one engine share.
///
/// A block is free, or one histogram's. Free blocks are a stack: `free` holds
/// the first one's number plus one, and a count of changes above it so that a
/// number which went and came back is noticed; a free block's first bucket holds
/// the next one's number plus one, its others 0. Blocks beyond `fresh` were
/// never taken. Lanes take; the control side makes chunks and gives back.
pub(crate) struct Blocks {
    chunks: Box<[OnceLock<Box<[AtomicU32]>>]>,
    /// How many its histograms were promised together.
    promised: AtomicUsize,
    fresh: AtomicU32,
    free: AtomicU64,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            promised: AtomicUsize::new(0),
            fresh: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }
}

impl Blocks {
    /// A store of `blocks` and no more. \[control\]
    pub(crate) fn of(blocks: usize) -> Arc<Self> {
        let store = Self { chunks: [OnceLock::new()].into(), ..Self::default() };
        store.chunks[0].get_or_init(|| zeroed_slice_box(blocks.min(CHUNK) * SUB));
        Arc::new(store)
    }

    /// Has `blocks` more, as far as the store can hold them. \[control\]
    pub(crate) fn promise(&self, blocks: usize) {
        let promised = self.promised.fetch_add(blocks, Ordering::Relaxed) + blocks;
        for chunk in &self.chunks[..promised.div_ceil(CHUNK).min(self.chunks.len())] {
            chunk.get_or_init(|| zeroed_slice_box(CHUNK * SUB));
        }
    }

    /// Takes a promise back. \[control\]
    pub(crate) fn release(&self, blocks: usize) {
        self.promised.fetch_sub(blocks, Ordering::Relaxed);
    }

    fn block(&self, number: u32) -> Option<&[AtomicU32]> {
        let number = number as usize;
        let chunk = self.chunks.get(number / CHUNK)?.get()?;
        chunk.get(number % CHUNK * SUB..)?.get(..SUB)
    }

    /// A block of zeros, if there is one. \[real-time\]
    fn take(&self) -> Option<u32> {
        let mut free = self.free.load(Ordering::Acquire);
        while let Some(number) = (free as u32).checked_sub(1) {
            let first = &self.block(number)?[0];
            let next = (free >> 32).wrapping_add(1) << 32 | u64::from(first.load(Ordering::Relaxed));
            match self.free.compare_exchange_weak(free, next, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    first.store(0, Ordering::Relaxed);
                    return Some(number);
                }
                Err(now) => free = now,
            }
        }
        let mut number = self.fresh.load(Ordering::Relaxed);
        loop {
            self.block(number)?;
            let next = number + 1;
            match self.fresh.compare_exchange_weak(number, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(number),
                Err(now) => number = now,
            }
        }
    }

    /// Gives a block back. \[control\]
    fn give(&self, number: u32) {
        let Some(block) = self.block(number) else { return };
        block.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            block[0].store(free as u32, Ordering::Relaxed);
            let next = (free >> 32).wrapping_add(1) << 32 | u64::from(number + 1);
            match self.free.compare_exchange_weak(free, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }
}

/// Counted durations.
pub struct Histogram {
    count: AtomicU64,
    sum: AtomicU64,
    max: AtomicU64,
    /// By power of two: 0, its block's number plus one, or, where there was none,
    /// how many it counted and `COARSE`.
    octaves: [AtomicU32; OCTAVES],
    blocks: Arc<Blocks>,
}

/// What a histogram shows, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// One with a store of its own. \[control\]
    fn default() -> Self {
        Self::sharing(&Blocks::of(OCTAVES))
    }
}

impl Drop for Histogram {
    fn drop(&mut self) {
        for octave in &self.octaves {
            if let Found::Block(number) = Found::of(octave) {
                self.blocks.give(number);
            }
        }
    }
}

/// Where what falls into a power of two is counted.
enum Found {
    Nothing,
    Block(u32),
    /// There was no block; so many were counted.
    Coarse(u32),
}

impl Found {
    fn of(octave: &AtomicU32) -> Self {
        match octave.load(Ordering::Relaxed) {
            0 => Self::Nothing,
            known if known & COARSE != 0 => Self::Coarse(known & !COARSE),
            known => Self::Block(known - 1),
        }
    }
}

impl Histogram {
    /// One that takes its blocks from `blocks`. \[control\]
    pub(crate) fn sharing(blocks: &Arc<Blocks>) -> Self {
        Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            octaves: [const { AtomicU32::new(0) }; OCTAVES],
            blocks: Arc::clone(blocks),
        }
    }

    /// The store that its blocks are from. \[control\]
    pub(crate) const fn blocks(&self) -> &Arc<Blocks> {
        &self.blocks
    }

    /// Counts one duration. Only one thread may record at a time; a second
    /// writer would lose counts, nothing worse. \[real-time\]
    pub fn record(&self, duration: Duration) {
        self.record_nanos(duration_nanos(duration));
    }

    /// Counts one duration in nanoseconds, as [`Histogram::record`]. \[real-time\]
    pub(crate) fn record_nanos(&self, nanos: u64) {
        add32(self.bucket(nanos), 1);
        add64(&self.count, 1);
        add64(&self.sum, nanos);
        if nanos > self.max.load(Ordering::Relaxed) {
            self.max.store(nanos, Ordering::Relaxed);
        }
    }

    /// Where a duration is counted.
    fn bucket(&self, nanos: u64) -> &AtomicU32 {
        let (octave, sub) = place(nanos);
        let octave = &self.octaves[octave];
        let mut known = octave.load(Ordering::Relaxed);
        if known == 0 {
            known = self.blocks.take().map_or(COARSE, |block| block + 1);
            octave.store(known, Ordering::Relaxed);
        }
        // Nothing has the number that `COARSE` would be.
        self.blocks.block(known - 1).map_or(octave, |block| &block[sub])
    }

    /// Every bucket that counted something: its middle in nanoseconds, and how
    /// many, from the least up.
    fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..OCTAVES)
            .flat_map(|octave| {
                let (number, coarse) = match Found::of(&self.octaves[octave]) {
                    Found::Nothing => (None, 0),
                    Found::Block(number) => (Some(number), 0),
                    Found::Coarse(count) => (None, count),
                };
                let block = number.and_then(|number| self.blocks.block(number)).unwrap_or(&[]);
                let fine = block.iter().enumerate();
                let fine =
                    fine.map(move |(sub, bucket)| (middle(octave, sub), bucket.load(Ordering::Relaxed)));
                // What found no block lies somewhere in its power of two.
                fine.chain([(middle(octave, SUB / 2), coarse)])
            })
            .filter(|(_, count)| *count > 0)
            .map(|(nanos, count)| (nanos, u64::from(count)))
    }

    /// Adds all that `other` counted. \[control\]
    pub fn merge(&self, other: &Self) {
        for (nanos, count) in other.counts() {
            add32(self.bucket(nanos), u32::try_from(count).unwrap_or(u32::MAX));
        }
        add64(&self.count, other.count());
        add64(&self.sum, other.sum());
        self.max.fetch_max(other.max.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What was counted since `before`, an earlier copy; the greatest is that of
    /// all. \[control\]
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let recent = Self::default();
        recent.merge(self);
        for (nanos, count) in before.counts() {
            let bucket = recent.bucket(nanos);
            let now = u64::from(bucket.load(Ordering::Relaxed)).saturating_sub(count);
            bucket.store(u32::try_from(now).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
        recent.count.store(self.count().saturating_sub(before.count()), Ordering::Relaxed);
        recent.sum.store(self.sum().saturating_sub(before.sum()), Ordering::Relaxed);
        recent
    }

    /// How many durations were counted. \[any\]
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// All durations together, in nanoseconds. \[any\]
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// The value that a share `q` (0 to 1) of the durations do not exceed;
    /// zero if there are none. \[any\]
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        self.quantile_of(q, self.count())
    }

    /// The same of `total` durations, of which those that were not counted were
    /// zero.
    fn quantile_of(&self, q: f64, total: u64) -> Duration {
        if total == 0 {
            return Duration::ZERO;
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total);
        let max = self.max.load(Ordering::Relaxed);
        let mut seen = total.saturating_sub(self.count());
        if seen >= rank {
            return Duration::ZERO;
        }
        for (nanos, count) in self.counts() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(nanos.min(max));
            }
        }
        Duration::from_nanos(max)
    }

    /// Mean, quantiles and greatest. \[any\]
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary_of(self.count())
    }

    /// The same of `total` durations, of which those that were not counted were
    /// zero. \[any\]
    #[must_use]
    pub fn summary_of(&self, total: u64) -> Summary {
        // The writer may be between its count and its owner's.
        let total = total.max(self.count());
        #[allow(clippy::cast_precision_loss)]
        let mean = if total == 0 { 0.0 } else { millis(Duration::from_nanos(self.sum())) / total as f64 };
        Summary {
            count: total,
            mean,
            p50: millis(self.quantile_of(0.50, total)),
            p95: millis(self.quantile_of(0.95, total)),
            p99: millis(self.quantile_of(0.99, total)),
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

/// The power of two (0 for all below `SUB`) and the bucket inside it.
#[allow(clippy::cast_possible_truncation)] // a shift leaves SUB_BITS + 1 bits
fn place(nanos: u64) -> (usize, usize) {
    if nanos < SUB as u64 {
        return (0, nanos as usize);
    }
    let shift = nanos.ilog2() - SUB_BITS;
    if shift as usize + 1 >= OCTAVES {
        return (OCTAVES - 1, SUB - 1);
    }
    (shift as usize + 1, (nanos >> shift) as usize - SUB)
}

fn middle(octave: usize, sub: usize) -> u64 {
    let Some(shift) = octave.checked_sub(1) else { return sub as u64 };
    (((SUB + sub) as u64) << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_within_a_sixtieth() {
        for nanos in [1u64, 63, 64, 127, 128, 1_000, 999_999, 5_000_000, 33_333_333, 2_000_000_000] {
            let (octave, sub) = place(nanos);
            let near = middle(octave, sub);
            assert!(near.abs_diff(nanos) * 60 <= nanos, "{nanos} reads {near}");
        }
    }

    #[test]
    fn quantiles_of_a_known_spread() {
        let histogram = Histogram::default();
        for n in 1..=1_000u64 {
            histogram.record(Duration::from_micros(n));
        }
        let summary = histogram.summary();
        assert!((summary.p50 - 0.5).abs() < 0.5 / 60.0, "{summary:?}");
        assert!((summary.p99 - 0.99).abs() < 0.99 / 60.0, "{summary:?}");
        assert!((summary.mean - 0.5005).abs() < 1e-9 && (summary.max - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_absurd_counts_in_the_last_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.summary().count, 1);
        assert_eq!(Histogram::default().summary(), Summary::default());
    }

    #[test]
    fn durations_that_were_not_counted_were_zero() {
        let histogram = Histogram::default();
        (0..10).for_each(|_| histogram.record(Duration::from_millis(8)));
        let summary = histogram.summary_of(100);
        assert_eq!((summary.count, summary.p50, summary.max), (100, 0.0, 8.0));
        assert!((summary.mean - 0.8).abs() < 1e-9 && (summary.p95 - 8.0).abs() < 0.2, "{summary:?}");
    }

    #[test]
    fn without_blocks_a_power_of_two_is_one_bucket_and_nothing_is_lost() {
        let blocks = Blocks::of(1);
        let (a, b) = (Histogram::sharing(&blocks), Histogram::sharing(&blocks));
        assert!(blocks.take().is_some() && blocks.take().is_none());
        a.record(Duration::from_millis(3));
        assert!((2.0..4.3).contains(&a.summary().p50), "{:?}", a.summary());
        assert_eq!((a.summary().count, b.summary().count), (1, 0));
    }

    #[test]
    fn blocks_of_what_is_gone_serve_again() {
        let blocks = Blocks::of(64);
        for round in 0..100u64 {
            let histogram = Histogram::sharing(&blocks);
            for bit in 0..34 {
                histogram.record(Duration::from_nanos((1 << bit) + round));
            }
            assert_eq!(histogram.counts().map(|(_, count)| count).sum::<u64>(), 34);
            let coarse = |octave| matches!(Found::of(octave), Found::Coarse(_));
            assert!(!histogram.octaves.iter().any(coarse), "round {round}");
        }
    }

    #[test]
    fn every_promise_is_kept_and_what_is_taken_back_is_promised_again() {
        let blocks = Blocks::default();
        (0..CHUNK / 4 + 1).for_each(|_| blocks.promise(8));
        assert!((0..2 * CHUNK).all(|_| blocks.take().is_some()));
        for _ in 0..1_000 {
            blocks.release(8);
            blocks.promise(8);
        }
        assert_eq!(blocks.chunks.iter().filter(|chunk| chunk.get().is_some()).count(), 3);
    }

    #[test]
    fn what_came_since_is_all_less_what_was() {
        let (all, before) = (Histogram::default(), Histogram::default());
        all.record(Duration::from_millis(1));
        before.merge(&all);
        all.record(Duration::from_millis(50));
        let recent = all.since(&before).summary();
        assert_eq!(recent.count, 1);
        assert!((recent.p50 - 50.0).abs() < 1.0 && (recent.mean - 50.0).abs() < 1e-6, "{recent:?}");
    }
}
