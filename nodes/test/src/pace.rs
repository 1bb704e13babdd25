//! `Pace`: when each frame of a source is due, counted from its first call so
//! that it never drifts.

use std::time::Duration;

use sidetone_core::{Context, FrameRate, Header, ParamSpec, Params, Timestamp};

/// The parameter every source here has.
pub(crate) const PACE: ParamSpec = ParamSpec::choice(
    "pace",
    "clock",
    &["clock", "flat_out"],
    "Whether frames come when a live source would give them, or as fast as they are taken.",
);

/// The other one.
pub(crate) const DURATION: ParamSpec =
    ParamSpec::float("duration_s", 0.0, 0.0, 1e6, "How long it goes on; 0 is without end.").unit("s");

/// How long a source's frames are, and so when each begins.
#[derive(Clone, Copy)]
pub(crate) enum Beat {
    /// Sound, so many samples a frame.
    Sound { samples: u32, rate: u32 },
    /// Pictures.
    Pictures(FrameRate),
}

impl Beat {
    /// When frame `index` is captured, after the start.
    fn captured(self, index: u64) -> Duration {
        let nanos = match self {
            Self::Sound { samples, rate } => {
                Timestamp::ZERO.after_units(index.saturating_mul(u64::from(samples)), rate).nanos()
            }
            Self::Pictures(rate) => rate.offset_nanos(index),
        };
        Duration::from_nanos(nanos)
    }

    /// When a live source would hand frame `index` out: a picture at once,
    /// sound when its last sample has been captured.
    fn given(self, index: u64) -> Duration {
        match self {
            Self::Sound { .. } => self.captured(index.saturating_add(1)),
            Self::Pictures(_) => self.captured(index),
        }
    }
}

/// When each frame of a source is due.
pub(crate) struct Pace {
    beat: Beat,
    flat_out: bool,
    start: Option<Timestamp>,
    next: u64,
    /// The first frame that does not come any more.
    end: u64,
}

impl Pace {
    /// The pace that `params` ask for: `pace` and `duration_s`, rounded up to
    /// whole frames.
    pub(crate) fn new(beat: Beat, params: &Params) -> Self {
        let end = match params.float("duration_s") {
            0.0 => u64::MAX,
            seconds => {
                let nanos = seconds * 1e9;
                let one = beat.captured(1_000_000).as_nanos() as f64 / 1e6;
                // A hair less, so that 1 s of 10 ms frames is 100 and not 101.
                ((nanos / one - 1e-6).ceil() as u64).max(1)
            }
        };
        Self { beat, flat_out: params.text("pace") == "flat_out", start: None, next: 0, end }
    }

    /// The same, but at most `frames` frames; 0 is without end.
    pub(crate) fn at_most(mut self, frames: u64) -> Self {
        if frames > 0 {
            self.end = self.end.min(frames);
        }
        self
    }

    /// The number and header of the frame that is due now, if one is; asks to
    /// be called for the one after it, or ends the node after the last.
    pub(crate) fn due(&mut self, cx: &mut Context<'_>) -> Option<(u64, Header)> {
        let now = cx.now();
        let start = *self.start.get_or_insert(now);
        if !self.flat_out && now < start + self.beat.given(self.next) {
            cx.wake_at(start + self.beat.given(self.next));
            return None;
        }
        let index = self.next;
        let at = self.beat.captured(index);
        let pts = start + at;
        // Flat out, nothing was waited for: the frame is as old as this call.
        let captured = if self.flat_out { now } else { pts };
        let mut header = cx.born(captured, self.beat.captured(index + 1) - at);
        header.pts = pts;
        self.next += 1;
        if self.next >= self.end {
            cx.end();
        } else {
            cx.wake_at(if self.flat_out { now } else { start + self.beat.given(self.next) });
        }
        Some((index, header))
    }
}
