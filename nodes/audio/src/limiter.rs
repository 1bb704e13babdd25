//! A peak limiter without lookahead.

use sidetone_core::Frame;

/// Turns sound down by its highest peak of late, where that exceeds full scale.
pub(crate) struct Limiter {
    /// By how much the highest peak of late exceeds full scale.
    excess: f32,
    /// What is left of its excess a sample later.
    release: f32,
}

impl Limiter {
    pub(crate) fn new(rate: u32) -> Self {
        Self { excess: 0.0, release: (-1.0 / (0.06 * rate as f32)).exp() }
    }

    /// Brings a frame within full scale, all channels alike.
    pub(crate) fn apply(&mut self, frame: &mut Frame) {
        let channels = frame.audio().map_or(0, |audio| usize::from(audio.channels));
        for channel in 0..channels {
            // Broken samples would stay in the peak for good.
            for sample in frame.channel_mut(channel).iter_mut().filter(|sample| !sample.is_finite()) {
                *sample = 0.0;
            }
        }
        let within = |channel| frame.channel(channel).iter().all(|sample| sample.abs() <= 1.0);
        if self.excess == 0.0 && (0..channels).all(within) {
            return;
        }
        let samples = frame.audio().map_or(0, |audio| audio.samples as usize);
        for at in 0..samples {
            let highest = (0..channels).map(|channel| frame.channel(channel)[at].abs()).fold(0.0, f32::max);
            // A millionth (−120 dB) is taken for none, or it would never end.
            let rest = if self.excess > 1e-6 { self.excess * self.release } else { 0.0 };
            self.excess = rest.max(highest - 1.0);
            for channel in 0..channels {
                let sample = &mut frame.channel_mut(channel)[at];
                // Rounding may leave the last bit above.
                *sample = (*sample / (1.0 + self.excess)).clamp(-1.0, 1.0);
            }
        }
    }
}
