//! `Reference`: sound as it was, and the stretch of what came of it that is
//! compared with it next.

use sidetone_core::Timestamp;

/// What a stretch's ratio is kept between.
pub(crate) const RANGE_DB: (f64, f64) = (-10.0, 35.0);
/// The least mean square of a reference that counts: −60 dBFS.
const LEAST: f64 = 1e-6;

/// Sample positions count from time zero at this rate.
pub(crate) struct Reference {
    pub(crate) rate: u32,
    most_lag: usize,
    /// The reference: sample `position` stands at `position` modulo its length.
    samples: Vec<f32>,
    /// From where to where the reference has come.
    pub(crate) first: Option<i64>,
    until: i64,
    /// The stretch that is coming in, and where it begins.
    pub(crate) stretch: Vec<f32>,
    pub(crate) begins: i64,
    /// Where the sound that came ends.
    pub(crate) heard: Option<i64>,
    /// Samples of one stretch.
    pub(crate) length: usize,
}

impl Reference {
    pub(crate) fn new(rate: u32, hold: usize, most_lag: usize) -> Self {
        let length = (rate as usize / 10).max(1);
        Self {
            rate,
            most_lag,
            // A stretch and the greatest lag must be there together.
            samples: vec![0.0; hold.max(2 * length + most_lag)],
            first: None,
            until: 0,
            stretch: Vec::with_capacity(length),
            begins: 0,
            heard: None,
            length,
        }
    }

    /// `at`, or `expected` if it is within a millisecond of it: capture times of
    /// devices and networks are not exact to a sample.
    pub(crate) fn near(&self, at: i64, expected: Option<i64>) -> i64 {
        expected.filter(|expected| at.abs_diff(*expected) <= u64::from(self.rate / 1000)).unwrap_or(at)
    }

    /// Keeps what the reference was from sample `at` on; silence where it had a
    /// gap before.
    pub(crate) fn keep(&mut self, at: i64, samples: impl Iterator<Item = f32>) {
        let at = self.near(at, Some(self.until).filter(|_| self.first.is_some()));
        self.first.get_or_insert(at);
        // Of a gap longer than all that is kept, its end.
        let from = self.until.max(at - self.samples.len() as i64);
        (from..at).for_each(|gap| self.put(gap, 0.0));
        for (here, sample) in (at..).zip(samples) {
            self.put(here, sample);
            self.until = self.until.max(here + 1);
        }
    }

    fn put(&mut self, at: i64, sample: f32) {
        let place = self.place(at);
        self.samples[place] = sample;
    }

    fn place(&self, at: i64) -> usize {
        at.rem_euclid(self.samples.len() as i64) as usize
    }

    /// The stretch's lag (as known, or as found) and ratio; `None` where the
    /// reference is gone, has not come or is silent, or the stretch is too short
    /// to say anything.
    pub(crate) fn compare(&self, known: Option<usize>) -> Option<(usize, f64)> {
        let most_lag = known.unwrap_or(self.most_lag);
        let oldest = self.until - self.samples.len() as i64;
        let from = self.begins - most_lag as i64;
        let ends = self.begins + self.stretch.len() as i64;
        let is_there = from >= oldest.max(self.first?) && ends <= self.until;
        if !is_there
            || self.stretch.len() * 10 < self.length
            || (known.is_none() && self.stretch.len() < self.length)
        {
            return None;
        }
        let lag = known.unwrap_or_else(|| self.best_lag());
        let (mut signal, mut noise) = (0.0f64, 0.0f64);
        for (sample, was) in self.stretch.iter().zip(self.reference_from(self.begins - lag as i64)) {
            let off = f64::from(sample - was);
            signal += f64::from(*was) * f64::from(*was);
            noise += off * off;
        }
        if signal < LEAST * self.stretch.len() as f64 {
            return None;
        }
        // A broken sample is as bad as can be.
        let ratio = if noise.is_finite() { signal / noise.max(1e-12) } else { 0.0 };
        Some((lag, (10.0 * ratio.log10()).clamp(RANGE_DB.0, RANGE_DB.1)))
    }

    /// The reference from sample `at` on; it stands in at most two pieces.
    fn reference_from(&self, at: i64) -> impl Iterator<Item = &f32> {
        let (before, after) = self.samples.split_at(self.place(at));
        after.iter().chain(before)
    }

    /// The lag at which the stretch is most like its reference.
    fn best_lag(&self) -> usize {
        let mut best = (0, f64::MIN);
        for lag in 0..=self.most_lag {
            let (mut dot, mut energy) = (0.0f32, 0.0f32);
            for (sample, was) in self.stretch.iter().zip(self.reference_from(self.begins - lag as i64)) {
                dot += sample * was;
                energy += was * was;
            }
            let likeness = f64::from(dot) / f64::from(energy).sqrt().max(1e-9);
            if likeness > best.1 {
                best = (lag, likeness);
            }
        }
        best.0
    }
}

/// The sample that begins at `at`, counted from time zero.
pub(crate) fn position(at: Timestamp, rate: u32) -> i64 {
    let samples = (u128::from(at.nanos()) * u128::from(rate) + 500_000_000) / 1_000_000_000;
    i64::try_from(samples).unwrap_or(i64::MAX)
}
