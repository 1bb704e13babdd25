//! One way from a rate to another, over rubato.

use std::time::Duration;

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Indexing, Resampler, Resizable, SincInterpolationParameters, SincInterpolationType,
    WindowFunction, calculate_cutoff,
};
use sidetone_core::{AudioFormat, Context, Fault, FaultKind, Frame, Header};

/// Silence put before the sound, in samples that come in: rounding may ask for
/// the first sample of the next frame, and these stand in for it.
const AHEAD: usize = 2;

/// How steep the filter is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Quality {
    /// The filter's length in samples of the lower rate, a multiple of 8.
    taps: u32,
    /// Filters between two samples, and how to interpolate between those.
    between: u32,
    interpolation: SincInterpolationType,
}

pub(crate) const FAST: Quality =
    Quality { taps: 64, between: 256, interpolation: SincInterpolationType::Linear };
pub(crate) const GOOD: Quality =
    Quality { taps: 128, between: 256, interpolation: SincInterpolationType::Quadratic };

/// One way from a rate and number of channels to another rate.
pub(crate) struct RateConverter {
    from: u32,
    to: u32,
    channels: usize,
    resampler: Async<f32>,
    /// Samples that wait for the filter, channel after channel, each with room
    /// for `room`, of which `held` are there.
    waiting: Vec<f32>,
    room: usize,
    held: usize,
    /// The samples of one piece, channel after channel.
    made: Vec<f32>,
    made_room: usize,
    /// Samples per channel that came in and went out since the start.
    came: u64,
    went: u64,
    /// How much later the sound goes out, in samples that come in.
    delay: usize,
    /// What the flush goes on from.
    next: Header,
}

pub(crate) const REFUSED: Fault = Fault::new(FaultKind::Library, "rubato refused to resample");

impl RateConverter {
    /// `None` where there is nothing to do, or rubato cannot.
    pub(crate) fn new(from: u32, to: u32, channels: u16, quality: Quality) -> Option<Self> {
        if from == to {
            return None;
        }
        let window = WindowFunction::BlackmanHarris2;
        let falls = (f64::from(from) / f64::from(to)).max(1.0);
        let filter = SincInterpolationParameters::new(filter_len(from, to, quality) as usize, window)
            // That of the filter before it is stretched; a longer one's own
            // would be too near the lower rate's limit.
            .f_cutoff(calculate_cutoff(quality.taps as usize, window))
            .oversampling_factor(((f64::from(quality.between) / falls) as usize).max(32))
            .interpolation(quality.interpolation);
        let piece = piece(from);
        let made_room = piece * to as usize / from as usize + 2;
        let ratio = f64::from(to) / f64::from(from);
        let channels = usize::from(channels);
        let resampler = Async::new_sinc(ratio, 1.0, &filter, made_room, channels, FixedAsync::Output).ok()?;
        let room = AHEAD + 2 * piece;
        Some(Self {
            from,
            to,
            channels,
            resampler,
            waiting: vec![0.0; room * channels],
            room,
            held: AHEAD,
            made: vec![0.0; made_room * channels],
            made_room,
            came: 0,
            went: 0,
            delay: delay(from, to, quality) as usize,
            next: Header::default(),
        })
    }

    pub(crate) fn fits(&self, audio: AudioFormat) -> bool {
        self.from == audio.rate && self.channels == usize::from(audio.channels)
    }

    /// Takes `count` samples of `frame`, or of silence, and puts out a frame of
    /// what is due by then.
    pub(crate) fn convert(
        &mut self,
        frame: Option<&Frame>,
        count: usize,
        mut header: Header,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let samples = self.due(count) as usize;
        let audio = AudioFormat {
            rate: self.to,
            channels: self.channels as u16,
            samples: u32::try_from(samples).map_err(|_| REFUSED)?,
        };
        let lasts = AudioFormat { rate: self.from, channels: 1, samples: count as u32 }.duration();
        self.next = Header::new(header.captured + lasts, Duration::ZERO);
        self.next.pts = header.pts + lasts;
        self.next.sequence = header.sequence + 1;
        header.duration = audio.duration();
        let mut out = (samples > 0).then(|| cx.audio(0, audio, header));
        let (mut taken, mut put) = (0, 0);
        while taken < count {
            let more = piece(self.from).min(count - taken);
            self.hold(frame, taken, more);
            taken += more;
            let made = self.make()?;
            if let Some(out) = &mut out {
                for channel in 0..self.channels {
                    let from = &self.made[channel * self.made_room..][..made];
                    out.channel_mut(channel)[put..put + made].copy_from_slice(from);
                }
            }
            put += made;
        }
        if let Some(out) = out {
            cx.push(0, out);
        }
        Ok(())
    }

    /// Puts out what the filter still holds.
    pub(crate) fn flush(mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if self.came == 0 {
            return Ok(());
        }
        let header = std::mem::take(&mut self.next);
        self.convert(None, self.delay, header, cx)
    }

    /// Samples that may go out once `more` have come in.
    fn due(&self, more: usize) -> u64 {
        (self.came + more as u64) * u64::from(self.to) / u64::from(self.from) - self.went
    }

    /// Appends samples `start..start + count` of `frame`, or silence.
    fn hold(&mut self, frame: Option<&Frame>, start: usize, count: usize) {
        for channel in 0..self.channels {
            let to = &mut self.waiting[channel * self.room + self.held..][..count];
            match frame {
                Some(frame) => to.copy_from_slice(&frame.channel(channel)[start..start + count]),
                None => to.fill(0.0),
            }
        }
        self.held += count;
        self.came += count as u64;
    }

    /// Filters what is due into `made`; gives how much that is.
    fn make(&mut self) -> Result<usize, Fault> {
        let due = self.due(0) as usize;
        if due == 0 {
            return Ok(0);
        }
        self.resampler.set_chunk_size(due).map_err(|_| REFUSED)?;
        let needed = self.resampler.input_frames_next().min(self.held);
        let input = SequentialSlice::new(&self.waiting, self.channels, self.room).map_err(|_| REFUSED)?;
        let mut output =
            SequentialSlice::new_mut(&mut self.made, self.channels, self.made_room).map_err(|_| REFUSED)?;
        let indexing = Indexing::new().partial_len(needed);
        self.resampler.process_into_buffer(&input, &mut output, Some(&indexing)).map_err(|_| REFUSED)?;
        for channel in 0..self.channels {
            let start = channel * self.room;
            self.waiting.copy_within(start + needed..start + self.held, start);
        }
        self.held -= needed;
        self.went += due as u64;
        Ok(due)
    }
}

/// Samples that are filtered at once: 20 ms.
fn piece(rate: u32) -> usize {
    rate as usize / 50
}

/// The filter's length in samples that come in.
fn filter_len(from: u32, to: u32, quality: Quality) -> u32 {
    let taps = if from > to { (quality.taps * from).div_ceil(to) } else { quality.taps };
    taps.next_multiple_of(8)
}

/// How much later the sound goes out, in samples that come in.
pub(crate) fn delay(from: u32, to: u32, quality: Quality) -> u32 {
    filter_len(from, to, quality) / 2 + AHEAD as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_delay_is_rubatos_own() {
        let rates = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000];
        for (from, to) in rates.into_iter().flat_map(|from| rates.map(|to| (from, to))) {
            for quality in [FAST, GOOD] {
                let Some(converter) = RateConverter::new(from, to, 1, quality) else { continue };
                let ahead = (AHEAD as f64 * f64::from(to) / f64::from(from)) as usize;
                let declared = u64::from(delay(from, to, quality)) * u64::from(to) / u64::from(from);
                let own = converter.resampler.output_delay() + ahead;
                assert!(own.abs_diff(declared as usize) <= 1, "{from} to {to}: {own}, not {declared}");
            }
        }
    }
}
