//! `DelayEstimate`: how long packets take beyond the quickest, and how long to
//! wait for them therefore.
//!
//! The delay of a packet is its arrival less its media time; its absolute value
//! means nothing, since the two clocks share no origin. The base is the least
//! delay of the last 20 s, so that it follows clocks that drift apart. The
//! target is a quantile of the delays above the base, from a histogram that
//! forgets: with every packet old counts shrink by the factor 0.9993, faster in
//! the beginning, so that the first packets do not stick. Quantile, factor and
//! beginning are those of libwebrtc's NetEQ (`modules/audio_coding/neteq`,
//! `delay_manager.cc` and `histogram.cc`), the buckets are finer than its 20 ms.
//!
//! A histogram of that length remembers one long stall for minutes. So the
//! target is at most the greatest delay of the last 10 s, where these had packets
//! enough to show the quantile: a delay that all of them kept below is not what
//! the share asked for needs.

use std::time::Duration;

use sidetone_core::Timestamp;
use sidetone_core::timestamp::duration_nanos;

/// Nanoseconds.
pub(crate) type Nanos = i64;

/// What the graph asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DelayRange {
    /// The share of packets to wait for.
    pub(crate) quantile: f64,
    /// Never wait less.
    pub(crate) min: Duration,
    /// Never wait longer.
    pub(crate) max: Duration,
}

const BUCKET: Nanos = 500_000;
const BUCKETS: usize = 4_001; // up to 2 s
const NEGLIGIBLE: Nanos = 250_000;
const FORGET: f64 = 0.9993;
/// When weights have grown by this, all are scaled back.
const RESCALE: f64 = 1e9;
const WINDOW_SECONDS: u64 = 20;
/// How far back the greatest delay is looked for.
const RECENT_SECONDS: u64 = 10;
/// So many packets beyond the quantile are to be expected there, for it to tell.
const ENOUGH: f64 = 5.0;
/// A packet this far from the base belongs to another timeline.
const JUMP: Nanos = 5_000_000_000;

/// The delays of one stream.
pub(crate) struct DelayEstimate {
    range: DelayRange,
    counts: Box<[f64]>,
    /// The highest bucket that counts anything.
    top: usize,
    total: f64,
    /// What the next packet counts. Growing it forgets without touching the
    /// counts.
    weight: f64,
    packets: f64,
    target: Nanos,
    /// The greatest delay of late, above the base.
    greatest: Nanos,
    /// What came in each of the last seconds.
    seconds: [Second; WINDOW_SECONDS as usize],
    base: Option<Nanos>,
}

/// The delays of one second's packets.
#[derive(Clone, Copy)]
struct Second {
    at: u64,
    least: Nanos,
    greatest: Nanos,
    packets: u32,
}

impl Second {
    const NONE: Self = Self { at: 0, least: Nanos::MAX, greatest: Nanos::MIN, packets: 0 };

    /// Whether it is one of the `window` seconds up to `now`.
    const fn is_of(&self, window: u64, now: u64) -> bool {
        self.packets > 0 && now.saturating_sub(self.at) < window
    }
}

impl DelayEstimate {
    pub(crate) fn new(range: DelayRange) -> Self {
        Self {
            range,
            counts: vec![0.0; BUCKETS].into(),
            top: 0,
            total: 0.0,
            weight: 1.0,
            packets: 0.0,
            target: 0,
            greatest: 0,
            seconds: [Second::NONE; WINDOW_SECONDS as usize],
            base: None,
        }
    }

    pub(crate) fn set_range(&mut self, range: DelayRange) {
        self.range = range;
    }

    /// Forgets everything.
    pub(crate) fn reset(&mut self) {
        self.counts.fill(0.0);
        self.top = 0;
        (self.total, self.weight, self.packets) = (0.0, 1.0, 0.0);
        (self.target, self.greatest) = (0, 0);
        self.seconds = [Second::NONE; WINDOW_SECONDS as usize];
        self.base = None;
    }

    /// Counts what arrived at `arrival` with media time `media`. \[real-time\]
    pub(crate) fn observe(&mut self, arrival: Timestamp, media: Nanos) {
        let delay = nanos(arrival).saturating_sub(media);
        if self.base.is_some_and(|base| delay.saturating_sub(base).saturating_abs() > JUMP) {
            self.reset();
        }
        let second = arrival.nanos() / 1_000_000_000;
        #[allow(clippy::cast_possible_truncation)] // below 20
        let place = &mut self.seconds[(second % WINDOW_SECONDS) as usize];
        if place.at != second {
            *place = Second { at: second, ..Second::NONE };
        }
        place.least = place.least.min(delay);
        place.greatest = place.greatest.max(delay);
        place.packets += 1;
        let known = self.seconds.iter().filter(|known| known.is_of(WINDOW_SECONDS, second));
        let base = known.map(|known| known.least).min().unwrap_or(delay);
        self.base = Some(base);
        self.count(delay - base);
        let recent = self.seconds.iter().filter(|known| known.is_of(RECENT_SECONDS, second));
        let (packets, greatest) = recent.fold((0, Nanos::MIN), |(packets, greatest), known| {
            (packets + known.packets, greatest.max(known.greatest))
        });
        self.greatest = greatest - base;
        if f64::from(packets) * (1.0 - self.range.quantile) >= ENOUGH {
            self.target = self.target.min(bucket(self.greatest) * BUCKET);
        }
    }

    fn count(&mut self, excess: Nanos) {
        let bucket = usize::try_from(bucket(excess)).unwrap_or(0).min(BUCKETS - 1);
        self.counts[bucket] += self.weight;
        self.top = self.top.max(bucket);
        self.total += self.weight;
        self.packets += 1.0;
        self.weight /= FORGET.min(self.packets / (self.packets + 2.0));
        if self.weight > RESCALE {
            self.counts.iter_mut().for_each(|count| *count /= RESCALE);
            self.total /= RESCALE;
            self.weight /= RESCALE;
        }
        let mut above = self.total * (1.0 - self.range.quantile);
        let found = self.counts[..=self.top].iter().rposition(|count| {
            above -= count;
            above < 0.0
        });
        self.target = found.unwrap_or(0) as Nanos * BUCKET;
    }

    /// The least delay of late.
    fn base(&self) -> Nanos {
        self.base.unwrap_or(0)
    }

    /// How far `at` is from media time `media`, above the base.
    pub(crate) fn above_base(&self, at: Timestamp, media: Nanos) -> Nanos {
        nanos(at).saturating_sub(media).saturating_sub(self.base())
    }

    /// How long to wait beyond the base.
    pub(crate) fn target(&self) -> Nanos {
        let min = duration_nanos(self.range.min).cast_signed();
        self.target.clamp(min, self.max().max(min))
    }

    /// The greatest delay of late, above the base.
    pub(crate) const fn greatest(&self) -> Nanos {
        self.greatest
    }

    /// The longest wait allowed.
    pub(crate) fn max(&self) -> Nanos {
        duration_nanos(self.range.max).cast_signed()
    }

    /// When what has media time `media` is to go out.
    pub(crate) fn due(&self, media: Nanos) -> Timestamp {
        let at = media.saturating_add(self.base()).saturating_add(self.target());
        Timestamp::from_nanos(u64::try_from(at).unwrap_or(0))
    }
}

/// The number of the bucket for what is `excess` above the base. A bucket holds
/// what is at most its target, so that the target covers it; what is all but as
/// quick as the quickest is not worth waiting for.
const fn bucket(excess: Nanos) -> Nanos {
    if excess <= NEGLIGIBLE { 0 } else { (excess + BUCKET - 1) / BUCKET }
}

/// An instant, signed.
fn nanos(at: Timestamp) -> Nanos {
    Nanos::try_from(at.nanos()).unwrap_or(Nanos::MAX)
}

/// A media time of `units` at `rate` per second, as nanoseconds.
pub(crate) fn media_nanos(units: i64, rate: u32) -> Nanos {
    let nanos = i128::from(units) * 1_000_000_000 / i128::from(rate);
    Nanos::try_from(nanos).unwrap_or(if nanos < 0 { Nanos::MIN / 2 } else { Nanos::MAX / 2 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    const MS: Nanos = 1_000_000;

    fn estimate(quantile: f64) -> DelayEstimate {
        DelayEstimate::new(DelayRange { quantile, min: Duration::ZERO, max: Duration::from_millis(500) })
    }

    /// A packet every 20 ms, each `delay(n)` late on clocks 7 s apart.
    fn feed(
        estimate: &mut DelayEstimate,
        packets: std::ops::Range<i64>,
        mut delay: impl FnMut(i64) -> Nanos,
    ) {
        for n in packets {
            let arrival = 9_000 * MS + n * 20 * MS + delay(n);
            estimate.observe(Timestamp::from_nanos(arrival.cast_unsigned()), n * 20 * MS + 2_000 * MS);
        }
    }

    #[test]
    fn equal_delays_cost_nothing() {
        let mut estimate = estimate(0.97);
        feed(&mut estimate, 0..500, |_| 40 * MS);
        assert_eq!((estimate.target(), estimate.base()), (0, 7_040 * MS));
    }

    #[test]
    fn the_target_is_the_quantile_asked_for() {
        for (quantile, expected) in [(0.5, 15.0), (0.9, 27.0), (0.97, 29.1)] {
            let mut rng = Rng::with_seed(12);
            let mut estimate = estimate(quantile);
            feed(&mut estimate, 0..4_000, |_| rng.i64(0..30 * MS));
            let target = estimate.target() as f64 / 1e6;
            assert!((target - expected).abs() < 1.5, "{quantile}: {target} ms");
        }
    }

    #[test]
    fn old_delays_are_forgotten_and_the_base_follows_drift() {
        let mut estimate = estimate(0.97);
        feed(&mut estimate, 0..1_000, |n| if n % 2 == 0 { 100 * MS } else { 0 });
        assert_eq!(estimate.target(), 100 * MS);
        feed(&mut estimate, 1_000..6_000, |_| 0);
        assert_eq!(estimate.target(), 0);
        // 100 parts in a million over 200 s: 20 ms of drift costs 2.
        feed(&mut estimate, 6_000..16_000, |n| (n - 6_000) * 2_000);
        assert!(estimate.target() <= 2 * MS + BUCKET, "{}", estimate.target());
        assert!(estimate.base() > 7_017 * MS);
    }

    #[test]
    fn one_long_stall_is_forgotten_after_ten_seconds() {
        let mut estimate = estimate(0.97);
        let mut rng = Rng::with_seed(5);
        let mut calm = |_| rng.i64(0..10 * MS);
        feed(&mut estimate, 0..250, &mut calm);
        // Half a second in which nothing came, and then all of it; twice.
        for start in [250, 300] {
            feed(&mut estimate, start..start + 25, |n| (start + 25 - n) * 20 * MS);
            feed(&mut estimate, start + 25..start + 50, &mut calm);
        }
        assert!(estimate.target() > 300 * MS, "{}", estimate.target());
        feed(&mut estimate, 350..350 + 550, &mut calm);
        assert!(estimate.target() <= 10 * MS, "{}", estimate.target());
    }

    #[test]
    fn another_timeline_starts_afresh() {
        let mut estimate = estimate(0.97);
        feed(&mut estimate, 0..100, |n| n % 2 * 80 * MS);
        feed(&mut estimate, 100..101, |_| 3_600_000 * MS);
        assert_eq!((estimate.target(), estimate.base()), (0, 3_607_000 * MS));
    }
}
