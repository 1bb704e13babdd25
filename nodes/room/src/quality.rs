//! The rule by which a network's quality is told, for one direction at a time.
//!
//! Over each window of 2 s, from the packets that were lost, the round trip and the
//! jitter:
//!
//! ```text
//! delay = round trip / 2 + 2 × jitter                     in ms
//! hit   = delay / 40            where delay ≤ 160
//!         (delay − 120) / 10    above: delay is heard in a talk from there on
//! score = 100 − hit − weight × loss in %                  from 0 to 100
//! ```
//!
//! with a weight of 4 for sound, which Opus repairs, and 10 for pictures. Of the
//! difference to the score before, 0.4 is taken on where it rises and 0.7 where it
//! falls. From 90 it is excellent, from 75 good, from 55 poor, from 35 bad, and below
//! very bad; it is down where nothing came for 6 s. After the shape of LiveKit's scorer
//! (pkg/sfu/connectionquality), which draws on ITU-T G.107.

use std::time::Duration;

use sidetone_core::Timestamp;

use crate::protocol::{Kind, Quality};

/// How long a window is.
pub const WINDOW: Duration = Duration::from_secs(2);
/// Nothing has to come for so long that a direction is down.
pub const DOWN: Duration = Duration::from_secs(6);
/// A window in which fewer packets were to come tells nothing.
pub const FEWEST: u32 = 10;

/// What was measured in a direction over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// What was sent, mostly: with pictures among it, `Video`.
    pub kind: Kind,
    /// Packets that were to come.
    pub expected: u32,
    /// Of them those that did not, after all repair.
    pub lost: u32,
    /// The round trip, in milliseconds.
    pub rtt_ms: f64,
    /// Jitter (RFC 3550 § 6.4.1), in milliseconds.
    pub jitter_ms: f64,
}

/// The score of a window, 0 to 100; none where it tells nothing: too few packets were to
/// come, or the figures are no numbers. \[any\]
#[must_use]
pub fn score(window: &Window) -> Option<f64> {
    if window.expected < FEWEST {
        return None;
    }
    let weight = match window.kind {
        Kind::Audio => 4.0,
        Kind::Video => 10.0,
    };
    let loss = 100.0 * f64::from(window.lost.min(window.expected)) / f64::from(window.expected);
    let delay = window.rtt_ms / 2.0 + 2.0 * window.jitter_ms;
    let hit = if delay <= 160.0 { delay / 40.0 } else { (delay - 120.0) / 10.0 };
    let score = 100.0 - hit - weight * loss;
    (!score.is_nan()).then(|| score.clamp(0.0, 100.0))
}

/// What a score is called. \[any\]
#[must_use]
pub fn quality(score: f64) -> Quality {
    let levels =
        [(90.0, Quality::Excellent), (75.0, Quality::Good), (55.0, Quality::Poor), (35.0, Quality::Bad)];
    levels.into_iter().find(|(least, _)| score >= *least).map_or(Quality::VeryBad, |(_, name)| name)
}

/// A direction's quality, window by window.
#[derive(Clone, Copy, Debug)]
pub struct Follower {
    score: Option<f64>,
    heard: Timestamp,
}

impl Follower {
    /// Of a direction that begins at `now`. \[any\]
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { score: None, heard: now }
    }

    /// Something came that way: a packet, a report, a message. \[any\]
    pub fn heard(&mut self, now: Timestamp) {
        self.heard = self.heard.max(now);
    }

    /// A window is over. \[any\]
    pub fn window(&mut self, window: &Window) {
        let Some(new) = score(window) else { return };
        self.score = Some(match self.score {
            None => new,
            Some(old) => old + (new - old) * if new > old { 0.4 } else { 0.7 },
        });
    }

    /// How it does at `now`. \[any\]
    #[must_use]
    pub fn quality(&self, now: Timestamp) -> Quality {
        if now.since(self.heard) >= DOWN {
            return Quality::Down;
        }
        self.score.map_or(Quality::Unknown, quality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_score_follows_the_rule() {
        let window = |kind, lost, rtt_ms, jitter_ms| Window { kind, expected: 200, lost, rtt_ms, jitter_ms };
        let table = [
            (window(Kind::Audio, 0, 0.0, 0.0), 100.0, Quality::Excellent),
            (window(Kind::Audio, 0, 80.0, 10.0), 98.5, Quality::Excellent),
            (window(Kind::Audio, 0, 280.0, 10.0), 96.0, Quality::Excellent),
            (window(Kind::Audio, 0, 400.0, 10.0), 90.0, Quality::Excellent),
            (window(Kind::Audio, 0, 600.0, 10.0), 80.0, Quality::Good),
            (window(Kind::Audio, 8, 80.0, 10.0), 82.5, Quality::Good),
            (window(Kind::Video, 2, 80.0, 10.0), 88.5, Quality::Good),
            (window(Kind::Video, 8, 80.0, 10.0), 58.5, Quality::Poor),
            (window(Kind::Audio, 30, 80.0, 10.0), 38.5, Quality::Bad),
            (window(Kind::Video, 20, 80.0, 10.0), 0.0, Quality::VeryBad),
            (window(Kind::Audio, 0, 2_000.0, 10.0), 10.0, Quality::VeryBad),
            (window(Kind::Audio, 200, 9_000.0, 900.0), 0.0, Quality::VeryBad),
            (window(Kind::Audio, 900, 0.0, 0.0), 0.0, Quality::VeryBad),
        ];
        for (window, expected, name) in table {
            let score = score(&window).expect("a score");
            assert!((score - expected).abs() < 1e-9, "{window:?}: {score}");
            assert_eq!(quality(score), name, "{window:?}");
        }
        let few = Window { expected: FEWEST - 1, ..window(Kind::Audio, 9, 0.0, 0.0) };
        assert_eq!(score(&few), None);
        assert_eq!(score(&window(Kind::Audio, 0, f64::NAN, 0.0)), None);
        for (score, name) in [(90.0, Quality::Excellent), (89.9, Quality::Good), (34.9, Quality::VeryBad)] {
            assert_eq!(quality(score), name);
        }
    }

    #[test]
    fn quality_falls_faster_than_it_rises_and_silence_is_down() {
        let start = Timestamp::from_nanos(1_000_000_000);
        let mut follower = Follower::new(start);
        assert_eq!(follower.quality(start), Quality::Unknown);
        let good = Window { kind: Kind::Audio, expected: 100, lost: 0, rtt_ms: 0.0, jitter_ms: 0.0 };
        let lossy = Window { lost: 25, ..good };
        follower.window(&good);
        assert_eq!(follower.quality(start), Quality::Excellent);
        follower.window(&lossy);
        assert_eq!(follower.quality(start), Quality::VeryBad, "100 − 0.7 × 100");
        let rises: Vec<_> = (0..4)
            .map(|_| {
                follower.window(&good);
                follower.quality(start)
            })
            .collect();
        assert_eq!(rises, [Quality::Poor, Quality::Poor, Quality::Good, Quality::Excellent]);
        assert_eq!(follower.quality(start + DOWN), Quality::Down);
        follower.heard(start + DOWN);
        assert_eq!(follower.quality(start + DOWN), Quality::Excellent);
    }
}
