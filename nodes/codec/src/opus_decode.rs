//! `codec.opus_decode`: makes sound of Opus packets, and stands in for lost
//! ones.
//!
//! Ports: `in` Opus packets → `out` raw audio, one frame for each packet, as
//! long as the packet says.
//!
//! Parameters: `rate`, 8000, 12000, 16000, 24000 or 48000 Hz, default 48000;
//! `channels`, 1 or 2, default 1: what comes out, whatever the packets hold.
//!
//! Latency: none beside the encoder's.
//!
//! Method: RFC 6716 by libopus. A lost frame that carries the packet after it
//! is decoded from that packet's copy (in-band FEC, RFC 6716 § 2.1.7), or
//! concealed where there is none; one without is concealed, as is a frame of
//! silence under DTX, as long as its header says (at most 120 ms). A damaged
//! packet is counted as corrupt and concealed.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> decode -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.decode = { kind = "codec.opus_decode", channels = 2 }
//! nodes.file = { kind = "file.wav_sink", path = "decoded.wav" }
//! ```

use std::time::Duration;

use opus::{Channels, Decoder};
use sidetone_core::timestamp::duration_nanos;
use sidetone_core::{
    AudioFormat, Codec, Context, DropReason, Fault, FaultKind, Flags, Format, Frame, MediaType, Mismatch,
    Negotiated, Node, NodeError, NodeSpec, Offer, ParamSpec, Placement, PortSpec,
};

use crate::opus_encode::RATES;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "codec.opus_decode",
    summary: "Makes sound of Opus packets, and stands in for lost ones.",
    sheet: sidetone_core::data_sheet!("opus_decode.rs"),
    inputs: &[PortSpec::new("in", MediaType::packets(Codec::Opus), "The packets.")],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "The sound.")],
    params: &[
        ParamSpec::int("rate", 48_000, 8_000, 48_000, "Samples per second.").unit("Hz"),
        ParamSpec::int("channels", 1, 1, 2, "Channels."),
    ],
    // It works for some 0.05 ms every 20 ms: less than a lane of its own costs
    // in wakes.
    placement: Placement::Shared,
    real_time: true,
    negotiate,
    build: &|setup| {
        let rate = known_rate(setup.params.int("rate"))
            .ok_or_else(|| NodeError::Param { name: "rate", why: RATE.into() })?;
        Ok(Box::new(OpusDecode::new(rate, setup.params.int("channels"))?))
    },
};

const RATE: &str = "must be 8000, 12000, 16000, 24000 or 48000";

struct OpusDecode {
    decoder: Decoder,
    rate: u32,
    channels: u16,
    /// Room for the longest packet's samples, interleaved.
    samples: Vec<f32>,
    /// Samples per channel of the last packet that was whole.
    last: usize,
}

impl OpusDecode {
    fn new(rate: u32, channels: i64) -> Result<Self, NodeError> {
        let (channels, layout) = if channels == 1 { (1, Channels::Mono) } else { (2, Channels::Stereo) };
        let decoder = Decoder::new(rate, layout)
            .map_err(|why| NodeError::Unavailable(format!("libopus made no decoder: {why}")))?;
        Ok(Self {
            decoder,
            rate,
            channels,
            samples: vec![0.0; longest(rate) * usize::from(channels)],
            last: (rate / 50) as usize,
        })
    }

    /// Decodes one frame into `samples`; gives the samples per channel.
    fn decode(&mut self, frame: &Frame, cx: &mut Context<'_>) -> Result<usize, Fault> {
        let (payload, flags) = (frame.bytes(), frame.header.flags);
        if flags.has(Flags::LOST) {
            let missing = self.missing(frame.header.duration);
            return self.recover(payload, missing);
        }
        if flags.has(Flags::SILENCE) && payload.is_empty() {
            let missing = self.missing(frame.header.duration);
            return self.conceal(missing);
        }
        // An empty packet would be taken for a loss; RFC 6716 § 3.4 [R1] wants
        // a byte at least. The length is read from the packet's first bytes.
        let known = if payload.is_empty() { None } else { self.decoder.get_nb_samples(payload).ok() };
        let room = known.filter(|samples| (1..=longest(self.rate)).contains(samples));
        let decoded = room.and_then(|_| self.decoder.decode_float(payload, &mut self.samples, false).ok());
        match decoded {
            Some(samples) => {
                self.last = samples;
                Ok(samples)
            }
            None => {
                cx.dropped(DropReason::Corrupt);
                let missing = self.missing(frame.header.duration);
                self.conceal(missing)
            }
        }
    }

    /// Decodes the copy of a lost frame that the next packet carries; libopus
    /// conceals what that does not cover.
    fn recover(&mut self, next: &[u8], missing: usize) -> Result<usize, Fault> {
        if next.is_empty() {
            return self.conceal(missing);
        }
        let room = missing * usize::from(self.channels);
        match self.decoder.decode_float(next, &mut self.samples[..room], true) {
            Ok(samples) => Ok(samples),
            // The damage is counted when that packet's own turn comes.
            Err(_) => self.conceal(missing),
        }
    }

    fn conceal(&mut self, missing: usize) -> Result<usize, Fault> {
        let room = missing * usize::from(self.channels);
        self.decoder
            .decode_float(&[], &mut self.samples[..room], false)
            .map_err(|_| Fault::new(FaultKind::Library, "libopus refused to conceal a loss"))
    }

    /// Samples per channel that stand for `duration`, a multiple of 2.5 ms as
    /// libopus needs, at most 120 ms; for an unknown duration those of the last
    /// packet.
    fn missing(&self, duration: Duration) -> usize {
        if duration.is_zero() {
            return self.last;
        }
        let unit = self.rate as usize / 400;
        let units = (duration_nanos(duration) + 1_250_000) / 2_500_000;
        usize::try_from(units).unwrap_or(48).clamp(1, 48) * unit
    }
}

impl Node for OpusDecode {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut packet) = cx.pop(0) {
            if !matches!(packet.format(), Format::Packet { codec: Codec::Opus, .. }) {
                return Err(Fault::new(FaultKind::WrongFormat, "codec.opus_decode takes Opus packets"));
            }
            let samples = self.decode(&packet, cx)?;
            let audio = AudioFormat {
                rate: self.rate,
                channels: self.channels,
                samples: u32::try_from(samples).unwrap_or(0),
            };
            let mut header = std::mem::take(&mut packet.header);
            header.duration = audio.duration();
            // What comes out is whole sound, whatever became of the packet.
            header.flags = header.flags.without(Flags::LOST.with(Flags::SILENCE).with(Flags::KEY));
            let mut sound = cx.audio(0, audio, header);
            let channels = usize::from(self.channels);
            for channel in 0..channels {
                let from = self.samples[channel..].iter().step_by(channels);
                sound.channel_mut(channel).iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
            cx.push(0, sound);
        }
        Ok(())
    }
}

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let Some(rate) = known_rate(offer.params.int("rate")) else {
        let takes = "needs a rate that Opus has".into();
        return Err(Mismatch { port: 0, takes, help: format!("rate {RATE}") });
    };
    let channels = u16::try_from(offer.params.int("channels")).ok();
    Ok(Negotiated::new([MediaType::Audio { rate: Some(rate), channels, samples: None }]))
}

fn known_rate(rate: i64) -> Option<u32> {
    RATES.into_iter().find(|known| i64::from(*known) == rate)
}

/// Samples per channel of the longest packet, 120 ms (RFC 6716 § 3.2.5).
const fn longest(rate: u32) -> usize {
    rate as usize / 25 * 3
}
