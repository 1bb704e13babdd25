//! What came through one link of the mixer and waits for its turn.

use std::collections::VecDeque;

use sidetone_core::{AudioFormat, Frame, Header, LinkId};

/// Frames that one link may have waiting, however short they are.
const FRAMES: usize = 128;

/// What came through one link and waits.
pub(crate) struct MixQueue {
    pub(crate) link: LinkId,
    frames: VecDeque<Frame>,
    /// Samples of the first frame that were used already.
    used: usize,
    /// Samples per channel that wait.
    pub(crate) held: usize,
    /// Whether it is heard: from when a frame out can be filled (or its sound
    /// has waited for one in vain) until there is too little for one.
    heard: bool,
    waited: bool,
    /// The least that was left over by any frame out of late, and how many frames
    /// out that was.
    least_left: usize,
    watched: u64,
}

impl MixQueue {
    pub(crate) fn new() -> Self {
        Self {
            link: LinkId::default(),
            frames: VecDeque::with_capacity(FRAMES),
            used: 0,
            held: 0,
            heard: false,
            waited: false,
            least_left: usize::MAX,
            watched: 0,
        }
    }

    /// Takes a frame in; `out` is the length of a frame out, `backlog` what is
    /// to go out at once. Gives how many old frames that made late.
    pub(crate) fn accept(&mut self, frame: Frame, out: usize, backlog: usize) -> usize {
        self.held += samples(&frame);
        let enough = samples(&frame).max(out).saturating_add(backlog);
        let mut late = 0;
        if self.held > enough.saturating_add(2 * out) {
            // Back to what is needed in one step, since every step is heard.
            while self.held > enough && self.drop_first() {
                late += 1;
            }
        } else if self.frames.len() == FRAMES && self.drop_first() {
            late = 1;
        }
        self.frames.push_back(frame);
        late
    }

    /// After each frame out: what all of the last `window` frames out left over
    /// came in a stall and only makes the sound late; `u64::MAX` begins anew.
    /// Gives how many of its frames go for that, one at a time: each is heard.
    pub(crate) fn drain(&mut self, window: u64) -> usize {
        if window == u64::MAX {
            (self.least_left, self.watched) = (usize::MAX, 0);
        }
        self.least_left = self.least_left.min(self.held);
        self.watched += 1;
        if self.watched < window {
            return 0;
        }
        let spare = self.frames.front().map_or(usize::MAX, |first| samples(first) - self.used);
        let late = usize::from(self.least_left >= spare && self.drop_first());
        (self.least_left, self.watched) = (usize::MAX, 0);
        late
    }

    /// Lets the first frame go; `false` if there is none.
    fn drop_first(&mut self) -> bool {
        let Some(first) = self.frames.pop_front() else { return false };
        self.held -= samples(&first) - self.used;
        self.used = 0;
        true
    }

    /// Adds a frame's length to `sum`, as far as there is that much; makes
    /// `oldest` the header of what came first, if it is older.
    pub(crate) fn add_to(&mut self, sum: &mut Frame, oldest: &mut Option<Header>) {
        let wanted = samples(sum);
        if !self.heard && self.held < wanted && !self.waited {
            self.waited = self.held > 0;
            return;
        }
        self.heard = self.held >= wanted;
        self.waited = false;
        let mut done = 0;
        while done < wanted {
            let Some(first) = self.frames.front_mut() else { return };
            let more = (samples(first) - self.used).min(wanted - done);
            add(first, self.used, sum, done, more);
            let rate = first.audio().map_or(1, |audio| audio.rate);
            let before = AudioFormat { rate, channels: 1, samples: self.used as u32 }.duration();
            let captured = first.header.captured + before;
            self.used += more;
            self.held -= more;
            let is_used_up = self.used == samples(first);
            if done == 0 && oldest.as_ref().is_none_or(|oldest| captured < oldest.captured) {
                // A header that is needed no more moves on; a copy of it costs
                // a copy of its trail.
                let mut header =
                    if is_used_up { std::mem::take(&mut first.header) } else { first.header.clone() };
                header.advance(before);
                *oldest = Some(header);
            }
            if is_used_up {
                self.frames.pop_front();
                self.used = 0;
            }
            done += more;
        }
    }
}

/// Adds `count` samples of one frame to another, channels brought in line.
fn add(from: &Frame, start: usize, to: &mut Frame, at: usize, count: usize) {
    let channels = |frame: &Frame| frame.audio().map_or(0, |audio| usize::from(audio.channels));
    let (inputs, outputs) = (channels(from), channels(to));
    for output in 0..outputs {
        // Mono feeds every output; else every `outputs`-th channel does.
        let first = if inputs == 1 { 0 } else { output };
        let feeding = (first..inputs).step_by(outputs);
        let share = 1.0 / feeding.len().max(1) as f32;
        for input in feeding {
            let samples = &from.channel(input)[start..start + count];
            let sum = &mut to.channel_mut(output)[at..at + count];
            sum.iter_mut().zip(samples).for_each(|(sum, sample)| *sum += sample * share);
        }
    }
}

fn samples(frame: &Frame) -> usize {
    frame.audio().map_or(0, |audio| audio.samples as usize)
}
