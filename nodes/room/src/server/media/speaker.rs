//! `Speaker`: who is speaking, in a discussion's sense: the one whom all listen to,
//! in the pauses too, and not whoever coughs.
//!
//! I. Volfin and I. Cohen, "Dominant speaker identification for multipoint
//! videoconferencing", Computer Speech & Language 27 (2013), by levels instead of
//! sub-bands, as Jitsi's and mediasoup's `ActiveSpeakerObserver` do it; their constants.

use std::time::Duration;

use sidetone_core::Timestamp;

/// How often it is decided.
pub(super) const DECISION: Duration = Duration::from_millis(300);
/// By how much whoever takes over surpasses the speaker, as a logarithm, over the
/// immediate, the medium and the long interval.
const SURPASSES: [f64; 3] = [3.0, 2.0, 0.0];
/// The steps of loudness in a unit of time, the units in a medium interval, the medium
/// intervals in the long one.
const STEPS: u8 = 13;
const UNITS: usize = 5;
const MEDIUMS: usize = 10;
/// Loudness, of 0 to 127, in a step.
const STEP: u8 = 127_u8.div_ceil(STEPS);
/// A unit is loud above this step, and a medium interval above so many loud units.
const LOUD_STEP: u8 = 7;
const LOUD_UNITS: u8 = 4;
/// The rates of the exponential distributions of the three intervals' scores.
const RATES: [f64; 3] = [0.78, 24.0, 47.0];
/// The least score.
const LEAST_SCORE: f64 = 1e-10;
/// A unit of time: what a packet usually holds.
const UNIT: Duration = Duration::from_millis(20);
/// Nothing for so long after what the last packet held is silence.
const IDLE: Duration = Duration::from_millis(40);
/// Units in which the noise of a place is learnt anew: 15 s.
const NOISE_UNITS: u32 = 15_000 / 20;

const HISTORY: usize = UNITS * MEDIUMS;

/// How active a talker is over the immediate, the medium and the long interval.
pub(super) type Scores = [f64; 3];

/// What is remembered of one talker.
#[derive(Debug)]
pub(super) struct Activity {
    /// Loudness of the latest units, of 0 to 127, the newest first.
    units: [u8; HISTORY],
    /// Of the unit that goes on.
    loudness: u8,
    span: Duration,
    /// Up to when units are there, and how much the last packet held.
    heard: Option<Timestamp>,
    held: Duration,
    /// The least loudness but silence, and that of late, in so many units.
    noise: u8,
    next_noise: u8,
    next_units: u32,
}

impl Activity {
    pub(super) const fn new() -> Self {
        Self {
            units: [0; HISTORY],
            loudness: 0,
            span: Duration::ZERO,
            heard: None,
            held: Duration::ZERO,
            noise: 0,
            next_noise: 0,
            next_units: 0,
        }
    }

    /// A packet of `span` says that it is as loud as `level`, in −dBov.
    pub(super) fn hear(&mut self, now: Timestamp, level: u8, span: Duration) {
        self.catch_up(now);
        (self.heard, self.held) = (Some(now), span);
        self.loudness = self.loudness.max(127_u8.saturating_sub(level));
        self.span += span;
        while self.span >= UNIT {
            self.span -= UNIT;
            self.push(self.loudness);
        }
        if self.span.is_zero() {
            self.loudness = 0;
        }
    }

    /// How active it is.
    pub(super) fn scores(&mut self, now: Timestamp) -> Scores {
        self.catch_up(now);
        let audible = self.noise.saturating_add(STEP);
        let step = |&loudness: &u8| if loudness < audible { 0 } else { loudness / STEP };
        let mediums: [u8; MEDIUMS] = std::array::from_fn(|medium| {
            let units = &self.units[medium * UNITS..(medium + 1) * UNITS];
            count(units, |unit| step(unit) > LOUD_STEP)
        });
        let long = count(&mediums, |&loud| loud > LOUD_UNITS);
        #[allow(clippy::cast_possible_truncation)] // 5 and 10
        let of = [STEPS, UNITS as u8, MEDIUMS as u8];
        let values = [step(&self.units[0]).min(STEPS), mediums[0], long];
        std::array::from_fn(|interval| score(values[interval], of[interval], RATES[interval]))
    }

    /// Silence up to `now`, if nothing came.
    fn catch_up(&mut self, now: Timestamp) {
        let Some(heard) = self.heard.filter(|heard| now.since(*heard) > self.held + IDLE) else { return };
        let missed = now.since(heard).as_nanos() / UNIT.as_nanos();
        for _ in 0..missed.min(HISTORY as u128) {
            self.push(0);
        }
        (self.heard, self.held) = (Some(now), Duration::ZERO);
        (self.span, self.loudness) = (Duration::ZERO, 0);
    }

    fn push(&mut self, loudness: u8) {
        self.units.copy_within(..HISTORY - 1, 1);
        self.units[0] = loudness;
        if loudness == 0 {
            return;
        }
        if self.noise == 0 || loudness < self.noise {
            (self.noise, self.next_noise, self.next_units) = (loudness, 0, 0);
            return;
        }
        self.next_noise = if self.next_noise == 0 { loudness } else { self.next_noise.min(loudness) };
        self.next_units += 1;
        if self.next_units >= NOISE_UNITS {
            let mean = (u16::from(self.noise) * u16::from(self.next_noise)).isqrt();
            self.noise = u8::try_from(mean).unwrap_or(127);
            (self.next_noise, self.next_units) = (0, 0);
        }
    }
}

fn count<T>(values: &[T], is: impl Fn(&T) -> bool) -> u8 {
    u8::try_from(values.iter().filter(|value| is(value)).count()).unwrap_or(u8::MAX)
}

/// How likely it is speech that `value` of `of` parts are active: by the binomial
/// distribution at p = ½ for speech, against the exponential one of rate `rate` for
/// silence (section 3.2 of the paper).
fn score(value: u8, of: u8, rate: f64) -> f64 {
    let chosen = (0..value).fold(1.0, |chosen, n| chosen * f64::from(of - n) / f64::from(n + 1));
    let speech = chosen.ln() + f64::from(of) * 0.5_f64.ln();
    let silence = rate.ln() - rate * f64::from(value);
    (speech - silence).max(LEAST_SCORE)
}

/// Who is speaking.
#[derive(Debug, Default)]
pub(super) struct Speaker {
    /// The number of the stream, if somebody has spoken.
    pub(super) now: Option<u32>,
}

impl Speaker {
    /// Decides by the scores of all who may speak: the speaker stays until somebody
    /// surpasses them over all three intervals.
    pub(super) fn decide(&mut self, talkers: &[(u32, Scores)]) {
        let present = talkers.iter().find(|(no, _)| Some(*no) == self.now);
        self.now = present.map(|(no, _)| *no);
        let to_beat = present.map_or([LEAST_SCORE; 3], |(_, scores)| *scores);
        let above = |scores: &Scores, interval: usize| (scores[interval] / to_beat[interval]).ln();
        let rivals = talkers.iter().filter(|(no, scores)| {
            Some(*no) != self.now && (0..3).all(|interval| above(scores, interval) > SURPASSES[interval])
        });
        if let Some((no, _)) = rivals.max_by(|(_, one), (_, other)| one[1].total_cmp(&other[1])) {
            self.now = Some(*no);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Talkers 1, 2, … in a discussion.
    struct Talk {
        now: Timestamp,
        speaker: Speaker,
        activities: Vec<Activity>,
        rng: fastrand::Rng,
    }

    impl Talk {
        fn new(talkers: usize) -> Self {
            let activities = (0..talkers).map(|_| Activity::new()).collect();
            let now = Timestamp::from_nanos(3_000_000_000);
            Self { now, speaker: Speaker::default(), activities, rng: fastrand::Rng::with_seed(5) }
        }

        /// For so long these speak, and the others' places make noise; who is speaking
        /// at its end, and after how many milliseconds it last became so.
        fn go_on(&mut self, ms: u64, speaking: &[u32]) -> (Option<u32>, u64) {
            let mut since = 0;
            for at in (20..=ms).step_by(20) {
                self.now += UNIT;
                for (activity, no) in self.activities.iter_mut().zip(1..) {
                    let level =
                        if speaking.contains(&no) { self.rng.u8(12..32) } else { self.rng.u8(64..72) };
                    activity.hear(self.now, level, UNIT);
                }
                if self.now.nanos() % 300_000_000 < 20_000_000 {
                    let now = self.now;
                    let talkers: Vec<_> =
                        (1..).zip(self.activities.iter_mut().map(|activity| activity.scores(now))).collect();
                    let before = self.speaker.now;
                    self.speaker.decide(&talkers);
                    if self.speaker.now != before {
                        since = at;
                    }
                }
            }
            (self.speaker.now, since)
        }
    }

    #[test]
    fn the_speaker_is_who_speaks_and_stays_it_in_pauses() {
        let mut talk = Talk::new(3);
        assert_eq!(talk.go_on(3_000, &[]), (None, 0), "nobody has spoken");
        let (who, after) = talk.go_on(3_000, &[2]);
        assert_eq!(who, Some(2));
        assert!(after <= 600, "after {after} ms");
        assert_eq!(talk.go_on(5_000, &[]), (Some(2), 0), "a pause");
        let (who, after) = talk.go_on(3_000, &[3]);
        assert_eq!(who, Some(3));
        assert!(after <= 1_500, "after {after} ms");
    }

    #[test]
    fn a_cough_does_not_make_a_speaker_and_an_interruption_does_not_unmake_one() {
        let mut talk = Talk::new(2);
        talk.go_on(1_000, &[]);
        talk.go_on(3_000, &[1]);
        assert_eq!(talk.go_on(60, &[1, 2]).0, Some(1));
        assert_eq!(talk.go_on(2_000, &[1]).0, Some(1), "a cough");
        assert_eq!(talk.go_on(300, &[1, 2]).0, Some(1));
        assert_eq!(talk.go_on(2_000, &[1]).0, Some(1), "an interruption");
        talk.go_on(3_000, &[2]);
        assert_eq!(talk.speaker.now, Some(2), "a change of speakers");
    }

    #[test]
    fn who_sends_nothing_is_silent_and_who_is_gone_does_not_speak() {
        let mut activity = Activity::new();
        let now = Timestamp::from_nanos(1_000_000_000);
        activity.hear(now, 60, UNIT * 50);
        activity.hear(now, 10, UNIT * 50);
        assert!(activity.scores(now).iter().all(|score| *score > LEAST_SCORE), "a second of voice");
        assert_eq!(activity.scores(now + Duration::from_secs(5)), [LEAST_SCORE; 3]);
        let mut speaker = Speaker { now: Some(7) };
        speaker.decide(&[(8, [LEAST_SCORE; 3])]);
        assert_eq!(speaker.now, None);
    }

    #[test]
    fn packets_of_any_length_make_units_of_time() {
        let at = |ms: u64| Timestamp::from_nanos(1_000_000_000) + Duration::from_millis(ms);
        let of = |ms: u64| {
            let mut activity = Activity::new();
            for n in 0..600 / ms {
                activity.hear(at(n * ms), if n * ms < 300 { 70 } else { 20 }, Duration::from_millis(ms));
            }
            activity.units
        };
        assert_eq!(of(10)[..30], of(20)[..30]);
        assert_eq!(of(60)[..30], of(20)[..30]);
    }

    #[test]
    fn scores_are_those_of_the_distributions() {
        // ln C(n, v) + n ln ½ − ln λ + λ v, by hand.
        let table =
            [(0, 13, 0.78, LEAST_SCORE), (10, 13, 0.78, 4.693), (5, 5, 24.0, 113.356), (1, 10, 47.0, 38.521)];
        for (value, of, rate, expected) in table {
            let found = score(value, of, rate);
            assert!((found - expected).abs() < 1e-3, "{value} of {of}: {found}");
        }
    }
}
