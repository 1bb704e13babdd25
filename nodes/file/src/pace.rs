//! `Pace`: when a source puts out what it reads.

use std::time::Duration;

use sidetone_core::{Context, Header, NodeError, ParamSpec, Setup, Timestamp};

pub(crate) const PACE: ParamSpec = ParamSpec::choice(
    "pace",
    "clock",
    &["clock", "flat_out"],
    "Whether frames come out by the clock, at the media's own rate, or as fast as links take them.",
);
pub(crate) const LOOP: ParamSpec =
    ParamSpec::bool("loop", false, "Whether the file begins again at its end.");

/// When a source puts out what it reads.
pub(crate) struct Pace {
    flat_out: bool,
    start: Option<Timestamp>,
}

impl Pace {
    /// As the parameters `pace` and `loop` say.
    pub(crate) fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let flat_out = setup.params.text("pace") == "flat_out";
        if flat_out && setup.virtual_time && setup.params.bool("loop") {
            let why = "cannot be true with pace = \"flat_out\" in virtual time, which would never pass; \
                       use pace = \"clock\"";
            return Err(NodeError::Param { name: "loop", why: why.into() });
        }
        Ok(Self { flat_out, start: None })
    }

    /// When the source was called first: time zero of its media.
    pub(crate) fn start(&mut self, cx: &Context<'_>) -> Timestamp {
        *self.start.get_or_insert(cx.now())
    }

    /// Whether what is due at `due` must wait; then a call is asked for.
    pub(crate) fn must_wait(&self, due: Timestamp, cx: &mut Context<'_>) -> bool {
        let early = !self.flat_out && due > cx.now();
        if early {
            cx.wake_at(due);
        }
        early
    }

    /// The header of a frame that begins at `at` on the media's timeline.
    /// Flat out, media time runs away from the clock: the frame is then
    /// captured when it is read.
    pub(crate) fn born(&self, at: Timestamp, duration: Duration, cx: &mut Context<'_>) -> Header {
        if !self.flat_out {
            return cx.born(at, duration);
        }
        let mut header = cx.born(cx.now(), duration);
        header.pts = at;
        header
    }

    /// Asks to be called for what is due at `due`.
    pub(crate) fn wake(&self, due: Timestamp, cx: &mut Context<'_>) {
        cx.wake_at(if self.flat_out { cx.now() } else { due });
    }
}
