//! Sound of one rate and number of channels on its way into Opus packets: the
//! codec, the packet being filled, and the packets' timeline.

use std::time::Duration;

use opus::{Bitrate, Channels, Encoder};
use sidetone_core::loudness::{audio_level, decibels};
use sidetone_core::{AudioFormat, Flags, Frame, Header, Timestamp};

use crate::opus_settings::OpusSettings;

/// Bytes of the longest packet: three frames of 1275 bytes and their lengths,
/// RFC 6716 § 3.2.5.
const MOST_BYTES: usize = 3 * 1275 + 7;

/// The codec, the packet being filled, and the packets' timeline.
pub(crate) struct OpusStream {
    encoder: Encoder,
    settings: OpusSettings,
    rate: u32,
    channels: usize,
    /// Samples per channel in a packet, and how many of them are there.
    wanted: usize,
    held: usize,
    /// Room for one packet's samples, interleaved, and for its bytes.
    samples: Vec<f32>,
    bytes: Vec<u8>,
    /// Samples per channel that the codec holds back.
    lookahead: usize,
    /// The header of the packet being filled; `None` while that is empty.
    header: Option<Header>,
    /// Where the timeline began, and the samples in packets since.
    anchor: Option<Timestamp>,
    counted: u64,
    /// Whether the next packet begins a talk spurt.
    spurt: bool,
}

impl OpusStream {
    /// A codec for this rate and number of channels, 1 or 2.
    pub(crate) fn new(settings: OpusSettings, rate: u32, channels: u16) -> Result<Self, opus::Error> {
        let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
        let mut encoder = Encoder::new(rate, layout, settings.application)?;
        encoder.set_complexity(settings.complexity)?;
        encoder.set_inband_fec(settings.fec)?;
        encoder.set_dtx(settings.dtx)?;
        let lookahead = usize::try_from(encoder.get_lookahead()?).unwrap_or(0);
        let wanted = settings.samples(rate);
        let channels = usize::from(channels);
        Ok(Self {
            encoder,
            settings,
            rate,
            channels,
            wanted,
            held: 0,
            samples: vec![0.0; wanted * channels],
            bytes: vec![0; MOST_BYTES],
            lookahead,
            header: None,
            anchor: None,
            counted: 0,
            spurt: true,
        })
    }

    /// Hands the live settings to the codec.
    pub(crate) fn tune(&mut self, bitrate: u32, loss_percent: i32) -> Result<(), opus::Error> {
        let bitrate = bitrate.max(self.settings.least_bitrate());
        self.encoder.set_bitrate(Bitrate::Bits(i32::try_from(bitrate).unwrap_or(i32::MAX)))?;
        self.encoder.set_packet_loss_perc(loss_percent)
    }

    /// Whether it is for such sound.
    pub(crate) fn fits(&self, audio: &AudioFormat) -> bool {
        self.rate == audio.rate && self.channels == usize::from(audio.channels)
    }

    /// Whether a frame does not go on where the timeline stands.
    pub(crate) fn is_left_by(&self, frame: &Frame, audio: &AudioFormat) -> bool {
        let Some(expected) = self.at(self.held) else { return true };
        let slack = audio.duration() + Duration::from_millis(20);
        let pts = frame.header.pts;
        frame.header.flags.has(Flags::DISCONTINUITY)
            || pts.since(expected) > slack
            || expected.since(pts) > slack
    }

    /// Begins the timeline afresh; what is held must have been made a packet.
    pub(crate) fn begin(&mut self, at: Timestamp) {
        self.anchor = Some(at);
        self.counted = 0;
        self.spurt = true;
    }

    /// Takes samples of `frame` from `start` on, as many as the packet lacks;
    /// gives how many.
    pub(crate) fn hold(&mut self, frame: &mut Frame, start: usize) -> usize {
        let there = frame.audio().map_or(0, |audio| audio.samples as usize);
        let more = (self.wanted - self.held).min(there - start);
        if self.header.is_none() {
            // A header that is needed no more moves on; a copy costs a copy of
            // its trail.
            let is_last = start + more == there;
            let mut header = if is_last { std::mem::take(&mut frame.header) } else { frame.header.clone() };
            let before = AudioFormat { rate: self.rate, channels: 1, samples: start as u32 };
            header.advance(before.duration());
            self.header = Some(header);
        }
        for channel in 0..self.channels {
            let from = &frame.channel(channel)[start..start + more];
            let to = self.samples[self.held * self.channels + channel..].iter_mut();
            to.step_by(self.channels).zip(from).for_each(|(to, from)| *to = *from);
        }
        self.held += more;
        more
    }

    /// Whether a packet's samples are there.
    pub(crate) fn is_full(&self) -> bool {
        self.held == self.wanted
    }

    /// Whether a packet has been begun.
    pub(crate) fn is_begun(&self) -> bool {
        self.held > 0
    }

    /// Packets that bring out all that went in: the one that was begun, and
    /// one of silence more where the lookahead still holds sound after that.
    pub(crate) fn rest(&self) -> usize {
        if self.anchor.is_none() { 0 } else { (self.held + self.lookahead).div_ceil(self.wanted) }
    }

    /// Makes a packet of the samples held, and of silence where there are too
    /// few. `None` where nothing need be sent.
    pub(crate) fn encode(&mut self) -> Result<Option<(Header, &[u8])>, opus::Error> {
        self.samples[self.held * self.channels..].fill(0.0);
        let len = self.encoder.encode_float(&self.samples, &mut self.bytes)?;
        let pts = self.at(0).unwrap_or_default();
        // One made of silence alone was not captured, so nobody follows it.
        let mut header = self.header.take().unwrap_or_else(|| Header::new(pts, Duration::ZERO));
        let squares: f64 = self.samples.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
        header.loudness = Some(audio_level(decibels(squares / self.samples.len() as f64)));
        self.held = 0;
        self.counted += self.wanted as u64;
        if self.settings.dtx && len <= 2 {
            self.spurt = true;
            return Ok(None);
        }
        header.pts = pts;
        header.duration = self.settings.duration();
        header.flags = if self.spurt { Flags::KEY.with(Flags::MARKER) } else { Flags::KEY };
        self.spurt = false;
        Ok(Some((header, &self.bytes[..len])))
    }

    /// The time `samples` after the last packet, once the timeline has begun.
    fn at(&self, samples: usize) -> Option<Timestamp> {
        self.anchor.map(|anchor| anchor.after_units(self.counted + samples as u64, self.rate))
    }
}
