//! When an encoder's pictures come, and which of them become key frames.

use std::time::Duration;

use sidetone_core::Timestamp;

use crate::aom::TICKS;

/// A gap in time stamps above this is a pause, not a slow frame rate.
const PAUSE: Duration = Duration::from_secs(1);

/// Turns the pictures' time stamps, whatever they do, into growing ticks.
pub(crate) struct Timeline {
    /// A frame at the nominal rate.
    pub(crate) frame: i64,
    /// How far pictures have been apart of late, on average. libaom takes a picture for
    /// as long as it is from the end of the one before, if that differs by a tenth from
    /// how long that one was said to last; else it goes on with its own average. So what
    /// is said must be right for pictures of which some were left out.
    pub(crate) apart: i64,
    before: Option<Timestamp>,
    at: i64,
}

impl Timeline {
    pub(crate) fn new(fps: f64) -> Self {
        let frame = (f64::from(TICKS) / fps).round() as i64;
        Self { frame, apart: frame, before: None, at: 0 }
    }

    /// The tick of a picture stamped `pts`.
    pub(crate) fn next(&mut self, pts: Timestamp) -> i64 {
        if let Some(before) = self.before {
            let gap = pts.since(before);
            // Time that stands still, goes back or pauses is taken for a frame,
            // so that rate control neither starves nor bursts.
            let ticks = if gap.is_zero() || gap > PAUSE {
                self.frame
            } else {
                let ticks = (gap.as_secs_f64() * f64::from(TICKS)).round();
                (ticks as i64).max(self.frame / 4)
            };
            self.apart += (ticks - self.apart) / 8;
            self.at += ticks;
        }
        self.before = Some(pts);
        self.at
    }
}

/// Decides which pictures become key frames; times in ticks.
pub(crate) struct Keys {
    wanted: bool,
    /// The least time from a key frame to one on demand, and what it is after the last.
    least: i64,
    hold: i64,
    /// The time from key frame to key frame; 0: no end.
    every: i64,
    last: Option<i64>,
}

impl Keys {
    /// The first picture is one; `least` and `every` as the fields.
    pub(crate) fn new(least: i64, every: i64) -> Self {
        Self { wanted: true, least, hold: least, every, last: None }
    }

    /// Says that somebody needs one.
    pub(crate) fn demand(&mut self) {
        self.wanted = true;
    }

    /// Says that a new encoder begins, which begins with one.
    pub(crate) fn begin(&mut self) {
        self.last = None;
    }

    /// Whether the picture at `at` shall be one.
    pub(crate) fn due(&self, at: i64) -> bool {
        let Some(last) = self.last else { return true };
        let since = at - last;
        (self.wanted && since >= self.hold) || (self.every > 0 && since >= self.every)
    }

    /// Notes what the picture at `at` became, and how long its bits take at the bit rate.
    /// A demand that came too soon stays open: the key frame before it may be the one
    /// that was lost. Those on demand take a quarter of the bit rate at most: where it is
    /// for want of bandwidth that they are lost, more of them would not get through.
    pub(crate) fn made(&mut self, key: bool, at: i64, takes: i64) {
        if key {
            self.wanted = false;
            self.last = Some(at);
            self.hold = self.least.max(4 * takes);
        }
    }
}
