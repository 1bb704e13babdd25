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

use crate::opus_settings::RATES;

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
    negotiate: &negotiate,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opus_test_speech::{correlation, encoded, snr, speech};
    use sidetone_core::harness::Harness;
    use sidetone_core::{Params, Value};

    /// 6.5 ms of lookahead at 48 kHz.
    const LATE: usize = 312;

    /// How alike they are where `out` is late by the lookahead, give or take
    /// the 0.1 ms by which SILK's filters differ.
    fn alike(sound: &[f32], out: &[f32]) -> f64 {
        let lags = LATE - 5..=LATE + 5;
        lags.map(|lag| correlation(sound, &out[lag..lag + sound.len()])).fold(-1.0, f64::max)
    }

    fn decoded(node: &mut Harness, packets: Vec<Frame>) -> Vec<f32> {
        packets.into_iter().for_each(|packet| node.push(0, packet));
        node.run();
        assert_eq!(node.fault(), None);
        node.take(0).iter().flat_map(|frame| frame.channel(0).to_vec()).collect()
    }

    fn corrupt(node: &Harness) -> u64 {
        node.ledger().dropped[DropReason::Corrupt as usize].get()
    }

    /// A frame that was lost; `next` is the packet after it, if that is there.
    fn lost(node: &Harness, at: &Frame, next: &[u8]) -> Frame {
        let mut frame = node.packet(Codec::Opus, next);
        frame.header = at.header.clone();
        frame.header.flags = Flags::LOST;
        frame
    }

    #[test]
    fn speech_comes_back_as_it_went_in_at_every_frame_size() {
        let sound = speech(48_000, 2.0, 1);
        for (frame_ms, bitrate_kbps) in [(2.5, 96), (5.0, 64), (10.0, 48), (20.0, 32), (40.0, 32), (60.0, 32)]
        {
            let params: [(&str, Value); 3] =
                [("frame_ms", frame_ms.into()), ("bitrate_kbps", bitrate_kbps.into()), ("fec", false.into())];
            let mut node = Harness::new(&SPEC, &[]);
            let out = decoded(&mut node, encoded(&params, &sound));
            assert!(out.len() >= sound.len() + LATE + 5, "the lookahead is flushed");
            let alike = alike(&sound, &out);
            assert!(alike > 0.97, "{frame_ms} ms: {alike:.4}");
        }
    }

    #[test]
    fn rate_and_channels_are_what_was_asked_for() {
        let sound = speech(48_000, 0.2, 1);
        for rate in RATES {
            for channels in [1, 2] {
                let mut node =
                    Harness::new(&SPEC, &[("rate", i64::from(rate).into()), ("channels", channels.into())]);
                encoded(&[], &sound).into_iter().for_each(|packet| node.push(0, packet));
                node.run();
                for frame in node.take(0) {
                    let expected = AudioFormat { rate, channels: channels as u16, samples: rate / 50 };
                    assert_eq!(frame.audio(), Some(expected));
                    assert_eq!(frame.header.duration, Duration::from_millis(20));
                }
                let params = Params::new(SPEC.params, &[("rate", i64::from(rate).into())]).unwrap();
                let told = negotiate(&Offer { params: &params, inputs: &[] }).unwrap();
                let out = MediaType::Audio { rate: Some(rate), channels: Some(1), samples: None };
                assert_eq!(told.outputs, [out]);
            }
        }
        let refused = Harness::try_new(&SPEC, &[("rate", 44_100.into())], &sidetone_core::Shared::default());
        assert_eq!(refused.err().unwrap().to_string(), format!("rate {RATE}"));
    }

    #[test]
    fn what_the_next_packet_tells_beats_concealment_beats_silence() {
        let sound = speech(48_000, 4.0, 6);
        let packets = encoded(&[("loss_percent", 20.into())], &sound);
        let whole = decoded(&mut Harness::new(&SPEC, &[]), packets.clone());
        // Every tenth packet is lost.
        let is_lost = |index: usize| index % 10 == 5 && index + 1 < packets.len();
        let heard = |with_next: bool| {
            let mut node = Harness::new(&SPEC, &[]);
            let mut stream = Vec::new();
            for (index, packet) in packets.iter().enumerate() {
                stream.push(match is_lost(index) {
                    true if with_next => lost(&node, packet, packets[index + 1].bytes()),
                    true => lost(&node, packet, &[]),
                    false => packet.clone(),
                });
            }
            let out = decoded(&mut node, stream);
            assert_eq!((out.len(), corrupt(&node)), (whole.len(), 0));
            out
        };
        let gaps = |sound: &[f32]| -> Vec<f32> {
            sound
                .chunks(960)
                .enumerate()
                .filter(|(n, _)| is_lost(*n))
                .flat_map(|(_, part)| part.to_vec())
                .collect()
        };
        let (fec, plc) = (snr(&gaps(&whole), &gaps(&heard(true))), snr(&gaps(&whole), &gaps(&heard(false))));
        assert!(fec > plc + 3.0 && plc > 0.0, "FEC {fec:.1} dB, concealment {plc:.1} dB");
    }

    #[test]
    fn silence_under_dtx_is_filled_and_time_goes_on() {
        let mut sound = speech(48_000, 1.0, 3);
        sound.extend([0.0; 48_000]);
        sound.extend(speech(48_000, 1.0, 4));
        let packets = encoded(&[("dtx", true.into())], &sound);
        let mut node = Harness::new(&SPEC, &[]);
        let mut expected = packets[0].header.pts;
        for packet in packets {
            // As the jitter buffer does where nothing was sent.
            while expected < packet.header.pts {
                let mut silence = node.packet(Codec::Opus, &[]);
                silence.header = packet.header.clone();
                silence.header.pts = expected;
                silence.header.flags = Flags::SILENCE;
                node.push(0, silence);
                expected += Duration::from_millis(20);
            }
            expected += packet.header.duration;
            node.push(0, packet);
        }
        node.run();
        let frames = node.take(0);
        for pair in frames.windows(2) {
            assert_eq!(pair[1].header.pts, pair[0].header.pts + pair[0].header.duration);
        }
        let out: Vec<f32> = frames.iter().flat_map(|frame| frame.channel(0).to_vec()).collect();
        let quiet = &out[67_200..91_200];
        assert!(quiet.iter().all(|x| x.abs() < 0.01), "no voice goes on through the silence");
        let alike = alike(&sound[96_000..138_000], &out[96_000..]);
        assert!(alike > 0.95, "the second spurt is where it was: {alike:.3}");
    }

    #[test]
    fn garbage_of_every_length_is_concealed_and_counted_and_does_no_harm() {
        let mut random = fastrand::Rng::with_seed(7);
        for channels in [1, 2] {
            let mut node = Harness::new(&SPEC, &[("channels", channels.into())]);
            for round in 0..4 {
                for length in 0..=1500 {
                    let mut bytes = vec![0; length];
                    random.fill(&mut bytes);
                    let mut frame = node.packet(Codec::Opus, &bytes);
                    frame.header.duration = Duration::from_millis([0, 20, 7, 100_000][round]);
                    if random.u8(..) < 64 {
                        frame.header.flags = Flags::LOST;
                    }
                    node.push(0, frame);
                    node.run();
                    assert_eq!(node.fault(), None, "{length} bytes");
                    let out = node.take(0);
                    let samples = out[0].audio().unwrap().samples;
                    assert!(out.len() == 1 && (1..=5760).contains(&samples), "{length} bytes: {samples}");
                    assert!((0..channels as usize).all(|c| out[0].channel(c).iter().all(|x| x.is_finite())));
                }
            }
            assert!(corrupt(&node) > 1000, "{}", corrupt(&node));
        }
    }

    #[test]
    fn speech_survives_damaged_packets_among_it() {
        let sound = speech(48_000, 2.0, 8);
        let mut node = Harness::new(&SPEC, &[]);
        let mut packets = encoded(&[], &sound);
        // Code 3 with 63 frames of 20 ms: more than 120 ms, RFC 6716 § 3.4 [R5].
        packets[50].bytes_mut()[..2].copy_from_slice(&[0b0000_1011, 63]);
        packets[70].set_len(0);
        let out = decoded(&mut node, packets);
        assert_eq!(corrupt(&node), 2);
        let alike = alike(&sound, &out);
        assert!(alike > 0.9, "{alike:.3}");
    }

    #[test]
    fn a_loss_lasts_as_long_as_its_header_says_in_steps_of_2_5_ms() {
        let mut node = Harness::new(&SPEC, &[]);
        let packet = encoded(&[("frame_ms", 60.into())], &speech(48_000, 0.06, 1)).remove(0);
        decoded(&mut node, vec![packet]);
        for (micros, samples) in [
            (20_000, 960),
            (2_500, 120),
            (1, 120),
            (23_000, 1080),
            (120_000, 5760),
            (9_999_000, 5760),
            (0, 2880),
        ] {
            let mut frame = node.packet(Codec::Opus, &[]);
            frame.header = node.header(Duration::from_micros(micros));
            frame.header.flags = Flags::LOST.with(Flags::DISCONTINUITY);
            node.push(0, frame);
            node.run();
            let out = node.take(0);
            assert_eq!(out[0].audio().unwrap().samples, samples, "{micros} µs");
            assert_eq!(out[0].header.flags, Flags::DISCONTINUITY, "it is sound now");
        }
        assert_eq!(node.ledger().work().count, 8, "every frame is followed");
    }
}
