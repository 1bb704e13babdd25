//! `Pattern`: sizes and instants of what a publisher sends: as they were recorded
//! (`recorded.rs`), or made up by rule. What the payloads are does not matter, since a
//! server looks no further than at their heads.
//!
//! The rule: sound is a packet every 20 ms; pictures are 30 a second, with a key frame of
//! [`KEY_SIZE`] times what others have once in [`KEY_EVERY`] and when one is asked for, and
//! no packet longer than [`MOST_PAYLOAD`]. Sizes stray by a quarter to each side.

use std::time::Duration;

use crate::protocol::Kind;

use super::recorded::{Play, Recording};
use super::stamp;

/// Pictures from one key frame to the next: 10 s.
const KEY_EVERY: u64 = 300;
/// How much longer a key frame is than other pictures. 400 kbit/s of our own encoder at
/// 640x360 begin at 7 to 10.
const KEY_SIZE: f64 = 8.0;
/// The longest payload, in bytes, as our own packer has it.
const MOST_PAYLOAD: usize = 1_150;

/// What a publisher sends of a medium.
#[derive(Clone, Debug)]
pub enum Media {
    /// So many bits per second of payload, made up by rule.
    Made(u64),
    /// What was recorded, over and over.
    Recorded(Recording),
}

/// A frame, but for the sizes of its payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) is_key: bool,
    /// From it to the next …
    pub(super) interval: Duration,
    /// … and the same in ticks of the stream's RTP clock.
    pub(super) ticks: u32,
}

/// What a publisher sends of a stream.
pub(super) enum Pattern {
    Made(Made),
    Recorded(Play),
}

/// What is made up.
pub(super) struct Made {
    kind: Kind,
    /// Mean bytes of what is not a key frame.
    mean: f64,
    until_key: u64,
    rng: fastrand::Rng,
}

/// From one frame to the next.
pub(super) const fn interval_of(kind: Kind) -> Duration {
    match kind {
        Kind::Audio => Duration::from_millis(20),
        Kind::Video => Duration::from_nanos(33_333_333),
    }
}

/// The same in ticks of the stream's RTP clock.
pub(super) const fn ticks_of(kind: Kind) -> u32 {
    match kind {
        Kind::Audio => 960,
        Kind::Video => 3_000,
    }
}

impl Pattern {
    /// Streams of different seeds are not alike.
    pub(super) fn new(kind: Kind, media: Media, seed: u64) -> Self {
        match media {
            Media::Made(bps) => Self::Made(Made::new(kind, bps, seed)),
            Media::Recorded(recording) => Self::Recorded(Play::new(recording, seed)),
        }
    }

    /// The next picture is to be a key frame.
    pub(super) fn want_key_frame(&mut self) {
        match self {
            Self::Made(made) => made.until_key = 0,
            Self::Recorded(play) => play.want_key_frame(),
        }
    }

    /// The next frame, and the sizes of its payloads, in `sizes`.
    pub(super) fn next(&mut self, sizes: &mut Vec<usize>) -> Step {
        match self {
            Self::Made(made) => made.next(sizes),
            Self::Recorded(play) => play.next(sizes),
        }
    }
}

impl Made {
    /// Of so many bits per second, without headers.
    fn new(kind: Kind, bps: u64, seed: u64) -> Self {
        #[allow(clippy::cast_precision_loss)] // far from that many bits
        let mean = bps as f64 / 8.0 * interval_of(kind).as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        let mean = match kind {
            Kind::Audio => mean,
            Kind::Video => mean * KEY_EVERY as f64 / (KEY_EVERY as f64 - 1.0 + KEY_SIZE),
        };
        Self { kind, mean, until_key: 0, rng: fastrand::Rng::with_seed(seed) }
    }

    fn next(&mut self, sizes: &mut Vec<usize>) -> Step {
        sizes.clear();
        let is_key = self.kind == Kind::Video && self.until_key == 0;
        self.until_key = if is_key { KEY_EVERY - 1 } else { self.until_key.saturating_sub(1) };
        let times = if is_key { KEY_SIZE } else { 1.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some thousand bytes
        let whole = (self.mean * times * (0.75 + self.rng.f64() / 2.0)) as usize;
        let whole = whole.max(stamp::LEAST);
        // Spread evenly, as our packer does it: the last has what is left.
        let part = whole.div_ceil(whole.div_ceil(MOST_PAYLOAD));
        sizes.extend((0..whole).step_by(part).map(|from| (whole - from).min(part)));
        Step { is_key, interval: interval_of(self.kind), ticks: ticks_of(self.kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_the_bitrate_that_was_asked_for_and_no_long_payload() {
        for (kind, bps, seconds, most) in
            [(Kind::Audio, 32_000, 50, 100), (Kind::Video, 500_000, 30, MOST_PAYLOAD)]
        {
            let mut pattern = Pattern::new(kind, Media::Made(bps), 1);
            let (mut bytes, mut keys, mut sizes) = (0, 0, Vec::new());
            let frames = seconds * 1_000_000_000 / interval_of(kind).as_nanos();
            for _ in 0..frames {
                keys += usize::from(pattern.next(&mut sizes).is_key);
                assert!(sizes.iter().all(|size| (stamp::LEAST..=most).contains(size)), "{sizes:?}");
                bytes += sizes.iter().sum::<usize>();
            }
            let wanted = usize::try_from(bps).expect("few") / 8 * usize::try_from(seconds).expect("few");
            assert!(bytes.abs_diff(wanted) < wanted / 20, "{kind:?}: {bytes} bytes for {wanted}");
            assert_eq!(keys, if kind == Kind::Video { 3 } else { 0 });
        }
    }

    #[test]
    fn a_key_frame_comes_when_it_is_asked_for() {
        let mut pattern = Pattern::new(Kind::Video, Media::Made(500_000), 1);
        let mut sizes = Vec::new();
        assert!(pattern.next(&mut sizes).is_key);
        assert!(!pattern.next(&mut sizes).is_key);
        pattern.want_key_frame();
        assert!(pattern.next(&mut sizes).is_key);
        assert!(!pattern.next(&mut sizes).is_key);
    }
}
