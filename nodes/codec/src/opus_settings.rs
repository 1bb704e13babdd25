//! What the parameters of `codec.opus_encode` make of Opus, and its delays.

use std::time::Duration;

use opus::Application;
use sidetone_core::{AudioFormat, Params};

/// The rates that Opus codes, RFC 6716 § 2.
pub(crate) const RATES: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];

const WRONG_RATE: &str = "codec.opus_encode takes 8000, 12000, 16000, 24000 or 48000 Hz; \
     put { kind = \"audio.resample\", rate = 48000 } before it";
const WRONG_CHANNELS: &str = "codec.opus_encode takes mono or stereo; \
     put { kind = \"audio.mix\", channels = 2 } before it";

/// The parameters that stay as they are.
#[derive(Clone, Copy)]
pub(crate) struct OpusSettings {
    /// A packet's length in units of 2.5 ms.
    frame_units: u32,
    pub(crate) complexity: i32,
    pub(crate) application: Application,
    pub(crate) fec: bool,
    pub(crate) dtx: bool,
}

/// What a `frame_ms` must be.
pub(crate) const FRAME_MS: &str = "must be 2.5, 5, 10, 20, 40 or 60";

impl OpusSettings {
    /// `None` where `frame_ms` is none that Opus has.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        let units = params.float("frame_ms") / 2.5;
        let frame_units = [1, 2, 4, 8, 16, 24].into_iter().find(|known| f64::from(*known) == units)?;
        let application = match params.text("application") {
            "audio" => Application::Audio,
            "lowdelay" => Application::LowDelay,
            _ => Application::Voip,
        };
        let complexity = i32::try_from(params.int("complexity")).unwrap_or(5);
        Some(Self { frame_units, complexity, application, fec: params.bool("fec"), dtx: params.bool("dtx") })
    }

    /// How long a packet lasts.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_micros(2_500 * u64::from(self.frame_units))
    }

    /// Samples per channel of a packet.
    pub(crate) fn samples(self, rate: u32) -> usize {
        (rate / 400 * self.frame_units) as usize
    }

    /// Below three bytes a packet libopus codes no sound at all.
    pub(crate) fn least_bitrate(self) -> u32 {
        (3 * 8 * 400 / self.frame_units).max(6_000)
    }

    /// RFC 6716 § 2.1.7 and libopus's OPUS_GET_LOOKAHEAD: 2.5 ms of overlap,
    /// and 4 ms to bring the two layers in line.
    pub(crate) fn lookahead(self) -> Duration {
        match self.application {
            Application::LowDelay => Duration::from_micros(2_500),
            _ => Duration::from_micros(6_500),
        }
    }

    /// The longest time from taking a packet's first sample to its last, where
    /// frames of `samples` come: a packet may begin at any multiple of both
    /// lengths' common divisor within a frame.
    pub(crate) fn assembly(self, rate: u32, samples: u32) -> Duration {
        let (packet, frame) = (rate / 400 * self.frame_units, samples.max(1));
        let frames = (frame - gcd(packet, frame) + packet - 1) / frame;
        AudioFormat { rate, channels: 1, samples: frames * frame }.duration()
    }
}

/// Whether Opus codes such sound, or what to do.
pub(crate) fn takes(rate: u32, channels: u16) -> Result<(), &'static str> {
    if !RATES.contains(&rate) {
        return Err(WRONG_RATE);
    }
    if !matches!(channels, 1 | 2) {
        return Err(WRONG_CHANNELS);
    }
    Ok(())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
