//! How loud a stream is, from what its packets say of themselves (RFC 6464).

use std::time::Duration;

use sidetone_core::Timestamp;
use sidetone_core::loudness::{audio_level, decibels, volume};

/// The level of silence, in −dBov (RFC 6464 § 3).
pub(super) const SILENCE: u8 = 127;
/// What is as loud as this, in −dBov, or louder, is somebody's voice. This and the
/// next three as in LiveKit's `audiolevel.go` and its default configuration.
pub(super) const VOICE: u8 = 35;
/// Levels are judged so long at a time,
const WINDOW: Duration = Duration::from_millis(400);
/// of which this much must be voice.
const LEAST_VOICE: Duration = Duration::from_millis(160);
/// The mean moves by 2 ∕ (N + 1), for N = 2 windows.
const SMOOTH: f64 = 2.0 / 3.0;

/// Follows the loudness of one stream.
#[derive(Debug)]
pub(super) struct LevelFollower {
    /// As an amplitude: 1 is 0 dBov, 0 is nobody's voice.
    smooth: f64,
    /// Of the present window.
    loudest: u8,
    voice: Duration,
    observed: Duration,
    heard: Timestamp,
}

impl LevelFollower {
    pub(super) const fn new() -> Self {
        let none = Duration::ZERO;
        Self { smooth: 0.0, loudest: SILENCE, voice: none, observed: none, heard: Timestamp::ZERO }
    }

    /// A packet of `span` says that it is as loud as `level`, in −dBov. Whether a voice
    /// begins with it.
    pub(super) fn hear(&mut self, now: Timestamp, level: u8, span: Duration) -> bool {
        let was_silent = self.amplitude(now) == 0.0 && self.voice.is_zero();
        self.heard = now;
        self.observed += span;
        let is_voice = level <= VOICE;
        if is_voice {
            self.voice += span;
            self.loudest = self.loudest.min(level);
        }
        if self.observed >= WINDOW {
            let mut smooth = 0.0;
            if self.voice >= LEAST_VOICE {
                // As much quieter as less than the window was voice.
                let share = self.voice.as_secs_f64() / WINDOW.as_secs_f64();
                let amplitude = 10_f64.powf(-f64::from(self.loudest) / 20.0) * share;
                smooth = self.smooth + (amplitude - self.smooth) * SMOOTH;
            }
            *self = Self { smooth, heard: now, ..Self::new() };
        }
        was_silent && is_voice
    }

    /// How loud it is: 0 is nobody's voice.
    pub(super) fn amplitude(&self, now: Timestamp) -> f64 {
        // What was heard is stale after two windows.
        if now.since(self.heard) < WINDOW * 2 { self.smooth } else { 0.0 }
    }

    /// The same as a volume.
    pub(super) fn volume(&self, now: Timestamp) -> u8 {
        let level = audio_level(decibels(self.amplitude(now).powi(2)));
        volume(-f64::from(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Duration = Duration::from_millis(20);

    fn after(levels: &[(u8, usize)]) -> (LevelFollower, Timestamp) {
        let mut follower = LevelFollower::new();
        let mut now = Timestamp::from_nanos(9_000_000_000);
        for (level, packets) in levels {
            for _ in 0..*packets {
                now += PACKET;
                follower.hear(now, *level, PACKET);
            }
        }
        (follower, now)
    }

    #[test]
    fn a_volume_is_a_step_per_six_tenths_of_a_decibel() {
        let table = [(0, 100), (1, 98), (2, 97), (3, 95), (30, 50), (54, 10), (59, 2), (60, 0), (127, 0)];
        for (level, expected) in table {
            assert_eq!(volume(-f64::from(level)), expected, "{level} dB below full scale");
        }
    }

    #[test]
    fn a_level_needs_enough_voice_and_goes_at_once_when_that_ends() {
        // So many packets of these levels, and the volume after them.
        type Row<'a> = (&'a [(u8, usize)], u8, &'a str);
        #[rustfmt::skip]
        let table: [Row<'_>; 7] = [
            (&[(10, 19)], 0, "the first window is not over"),
            (&[(10, 20)], 77, "a window of voice, two thirds of the way from silence"),
            (&[(10, 400)], 83, "a voice for long: what it is"),
            (&[(36, 400)], 0, "too low for a voice"),
            (&[(127, 13), (10, 7)], 0, "too little of it"),
            (&[(127, 12), (10, 8)], 65, "just enough of it"),
            (&[(10, 400), (127, 20)], 0, "it ended"),
        ];
        for (levels, expected, why) in table {
            let (follower, now) = after(levels);
            assert_eq!(follower.volume(now), expected, "{why}");
        }
    }

    #[test]
    fn what_sends_nothing_is_silent() {
        let (follower, now) = after(&[(10, 40)]);
        assert!(follower.volume(now + Duration::from_millis(799)) > 0);
        assert_eq!(follower.volume(now + Duration::from_millis(800)), 0);
    }

    #[test]
    fn a_voice_begins_once() {
        let (mut follower, now) = after(&[(127, 3)]);
        assert!(!follower.hear(now, 60, PACKET), "no voice");
        assert!(follower.hear(now, 20, PACKET));
        assert!(!follower.hear(now, 20, PACKET), "it has begun");
    }
}
