//! `codec.opus_encode`: makes Opus packets of sound.
//!
//! Ports: `in` raw audio at 8000, 12000, 16000, 24000 or 48000 Hz, mono or
//! stereo, frames of any length → `out` Opus packets.
//!
//! Parameters: `frame_ms`, 2.5, 5, 10, 20, 40 or 60 ms, default 20: how much
//! sound one packet holds. `bitrate_kbps`, 6 to 510 kbit/s, default 32; may
//! change while running. `complexity`, 0 to 10, default 5: more is better sound
//! for more work. `application`, "voip" (default), "audio" or "lowdelay":
//! whether speech, music or delay counts most. `fec`, default true: each packet
//! carries a coarse copy of the one before, in case that is lost; it takes
//! effect at 10 ms a packet or more, and not with "lowdelay". `loss_percent`, 0
//! to 100 %, default 10: the loss to expect, which decides how much is spent on
//! that copy; may change while running. `dtx`, default false: nothing is sent
//! while there is nothing to hear.
//!
//! Latency: the codec's lookahead, 6.5 ms ("lowdelay": 2.5 ms), and the time
//! from a packet's first frame to its last where frames are shorter than
//! packets (10 ms frames are assumed where the graph does not tell).
//!
//! Method: RFC 6716 by libopus. A bitrate asked for from downstream is followed
//! up to `bitrate_kbps`. Packets of 2 bytes or less under DTX are not sent (RFC
//! 7587 § 3.1.3); the next one has the marker and its own time, so that the gap
//! shows. Times of packets are counted in samples; they start afresh where the
//! sound's own leave them by more than a frame and 20 ms. Headers of packets
//! say how loud their sound is, by its root mean square.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> decode -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode", frame_ms = 10, bitrate_kbps = 24 }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "coded.wav" }
//! ```

use sidetone_core::{
    Codec, Context, Control, Fault, FaultKind, Finish, Frame, MediaType, Mismatch, Negotiated, Node,
    NodeError, NodeSpec, Offer, ParamSpec, Params, Placement, PortSpec, Setup, Through,
};

use crate::opus_settings::{FRAME_MS, OpusSettings, RATES, takes};
use crate::opus_stream::OpusStream;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "codec.opus_encode",
    summary: "Makes Opus packets of sound.",
    sheet: sidetone_core::data_sheet!("opus_encode.rs"),
    inputs: &[PortSpec::new("in", MediaType::AUDIO, "The sound.")],
    outputs: &[PortSpec::new("out", MediaType::packets(Codec::Opus), "The packets.")],
    params: &[
        ParamSpec::float("frame_ms", 20.0, 2.5, 60.0, "How much sound one packet holds.").unit("ms"),
        ParamSpec::int("bitrate_kbps", 32, 6, 510, "The most that the packets may take.")
            .unit("kbit/s")
            .live(),
        ParamSpec::int("complexity", 5, 0, 10, "More is better sound for more work."),
        ParamSpec::choice(
            "application",
            "voip",
            &["voip", "audio", "lowdelay"],
            "Whether speech, music or delay counts most.",
        ),
        ParamSpec::bool("fec", true, "Each packet carries a coarse copy of the one before."),
        ParamSpec::int("loss_percent", 10, 0, 100, "The loss to expect.").unit("%").live(),
        ParamSpec::bool("dtx", false, "Send nothing while there is nothing to hear."),
    ],
    // It works for some 0.3 ms every 20 ms: less than a lane of its own costs
    // in wakes.
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| Ok(Box::new(OpusEncode::new(&setup)?)),
};

struct OpusEncode {
    settings: OpusSettings,
    /// The live parameters, and what downstream asked for.
    bitrate: u32,
    asked: u32,
    loss_percent: i32,
    /// What becomes packets, once the sound's rate and channels are known.
    stream: Option<OpusStream>,
    /// Packets put out so far.
    sequence: u64,
}

impl OpusEncode {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let settings = OpusSettings::new(setup.params)
            .ok_or_else(|| NodeError::Param { name: "frame_ms", why: FRAME_MS.into() })?;
        let bitrate = bitrate(setup.params, settings)?;
        let loss_percent = percent(setup.params.int("loss_percent"));
        let mut node = Self { settings, bitrate, asked: u32::MAX, loss_percent, stream: None, sequence: 0 };
        // Made ahead where the graph tells what comes.
        if let Some(Some(MediaType::Audio { rate: Some(rate), channels: Some(channels), .. })) =
            setup.inputs.first()
            && takes(*rate, *channels).is_ok()
        {
            let refused = |why| NodeError::Unavailable(format!("libopus made no encoder: {why}"));
            node.open(*rate, *channels).map_err(refused)?;
        }
        Ok(node)
    }

    fn open(&mut self, rate: u32, channels: u16) -> Result<(), opus::Error> {
        self.stream = Some(OpusStream::new(self.settings, rate, channels)?);
        self.tune()
    }

    /// Hands the live settings to the codec.
    fn tune(&mut self) -> Result<(), opus::Error> {
        let bitrate = self.bitrate.min(self.asked);
        self.stream.as_mut().map_or(Ok(()), |stream| stream.tune(bitrate, self.loss_percent))
    }

    /// Cuts one frame into packets.
    fn take(&mut self, mut frame: Frame, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(audio) = frame.audio() else {
            return Err(Fault::new(FaultKind::WrongFormat, "codec.opus_encode takes raw audio"));
        };
        takes(audio.rate, audio.channels).map_err(|why| Fault::new(FaultKind::WrongFormat, why))?;
        if !self.stream.as_ref().is_some_and(|stream| stream.fits(&audio)) {
            self.flush(cx)?;
            self.open(audio.rate, audio.channels).map_err(refused)?;
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if stream.is_left_by(&frame, &audio) {
            if stream.is_begun() {
                put_out(stream, &mut self.sequence, cx)?;
            }
            stream.begin(frame.header.pts);
        }
        let mut taken = 0;
        while taken < audio.samples as usize {
            taken += stream.hold(&mut frame, taken);
            if stream.is_full() {
                put_out(stream, &mut self.sequence, cx)?;
            }
        }
        Ok(())
    }

    /// Puts out all that went in.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        for _ in 0..stream.rest() {
            put_out(stream, &mut self.sequence, cx)?;
        }
        Ok(())
    }
}

/// Makes a packet and puts it out, unless nothing need be sent.
fn put_out(stream: &mut OpusStream, sequence: &mut u64, cx: &mut Context<'_>) -> Result<(), Fault> {
    if let Some((mut header, bytes)) = stream.encode().map_err(refused)? {
        header.sequence = *sequence;
        *sequence += 1;
        let packet = cx.packet(0, Codec::Opus, bytes, header);
        cx.push(0, packet);
    }
    Ok(())
}

impl Node for OpusEncode {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            self.take(frame, cx)?;
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.flush(cx)?;
        Ok(Finish::Done)
    }

    fn control(&mut self, control: &Control, _: Option<Through>, _: &mut Context<'_>) -> Result<(), Fault> {
        match control {
            Control::Set { param: "bitrate_kbps", value } => self.bitrate = bits(value.as_float() as i64),
            Control::Set { param: "loss_percent", value } => {
                self.loss_percent = percent(value.as_float() as i64);
            }
            Control::Bitrate { bps } => self.asked = *bps,
            // Every packet is one to start at already.
            _ => return Ok(()),
        }
        self.tune().map_err(refused)
    }
}

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let mismatch = |takes: &str, help: &str| Mismatch { port: 0, takes: takes.into(), help: help.into() };
    let settings = OpusSettings::new(offer.params)
        .ok_or_else(|| mismatch("needs a frame_ms that Opus has", &format!("frame_ms {FRAME_MS}")))?;
    bitrate(offer.params, settings)?;
    let (rate, channels, samples) = match offer.inputs.first() {
        Some(Some(MediaType::Audio { rate, channels, samples })) => (*rate, *channels, *samples),
        _ => (None, None, None),
    };
    if rate.is_some_and(|rate| !RATES.contains(&rate)) {
        return Err(mismatch(
            "takes 8000, 12000, 16000, 24000 or 48000 Hz",
            "put { kind = \"audio.resample\", rate = 48000 } between them",
        ));
    }
    let known = rate.unwrap_or(48_000);
    if channels.is_some_and(|channels| !matches!(channels, 1 | 2)) {
        let help = format!("put {{ kind = \"audio.mix\", rate = {known}, channels = 2 }} between them");
        return Err(mismatch("takes mono or stereo", &help));
    }
    let assembly = settings.assembly(known, samples.unwrap_or(known / 100));
    Ok(Negotiated::new([MediaType::packets(Codec::Opus)]).latency(settings.lookahead() + assembly))
}

/// What `bitrate_kbps` says, in bits a second, where packets have room at that.
fn bitrate(params: &Params, settings: OpusSettings) -> Result<u32, NodeError> {
    let bitrate = bits(params.int("bitrate_kbps"));
    if bitrate >= settings.least_bitrate() {
        return Ok(bitrate);
    }
    let least = settings.least_bitrate().div_ceil(1000);
    let why = format!("must be at least {least} for so short a frame_ms");
    Err(NodeError::Param { name: "bitrate_kbps", why })
}

fn refused(_: opus::Error) -> Fault {
    Fault::new(FaultKind::Library, "libopus refused to encode")
}

fn bits(kbps: i64) -> u32 {
    u32::try_from(kbps.clamp(6, 510)).unwrap_or(32) * 1000
}

fn percent(value: i64) -> i32 {
    i32::try_from(value.clamp(0, 100)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opus::{Channels, Encoder};

    use super::*;
    use crate::opus_test_speech::{encoded, speech};
    use sidetone_core::harness::Harness;
    use sidetone_core::{AudioFormat, Flags, Timestamp, Value};

    const FRAMES_MS: [f64; 6] = [2.5, 5.0, 10.0, 20.0, 40.0, 60.0];

    fn bits_a_second(packets: &[Frame]) -> f64 {
        let bytes: usize = packets.iter().map(|packet| packet.bytes().len()).sum();
        let seconds: f64 = packets.iter().map(|packet| packet.header.duration.as_secs_f64()).sum();
        bytes as f64 * 8.0 / seconds
    }

    #[test]
    fn every_frame_size_rate_and_application_gives_packets_of_that_length() {
        for rate in RATES {
            for frame_ms in FRAMES_MS {
                for application in ["voip", "audio", "lowdelay"] {
                    let params: [(&str, Value); 2] =
                        [("frame_ms", frame_ms.into()), ("application", application.into())];
                    let mut node = Harness::new(&SPEC, &params);
                    let sound = speech(rate, 0.3, 1);
                    let begin = node.now();
                    // Frames that fit no packet.
                    for part in sound.chunks(rate as usize / 100 - 7) {
                        node.push(0, node.audio(rate, &[part, part]));
                        node.skip(AudioFormat { rate, channels: 1, samples: part.len() as u32 }.duration());
                        node.run();
                    }
                    node.end(0);
                    node.run();
                    assert_eq!(node.fault(), None);
                    let packets = node.take(0);
                    let length = Duration::from_secs_f64(frame_ms / 1000.0);
                    let lookahead = if application == "lowdelay" { 2.5 } else { 6.5 };
                    assert_eq!(packets.len(), ((300.0 + lookahead) / frame_ms).ceil() as usize);
                    for (index, packet) in packets.iter().enumerate() {
                        let header = &packet.header;
                        let samples = opus::packet::get_nb_samples(packet.bytes(), 48_000).unwrap();
                        assert_eq!(samples as f64, frame_ms * 48.0);
                        assert_eq!((header.duration, header.sequence), (length, index as u64));
                        assert_eq!(header.pts, begin + length * index as u32);
                        assert_eq!(header.flags.has(Flags::MARKER), index == 0);
                        assert!(header.flags.has(Flags::KEY));
                    }
                }
            }
        }
    }

    #[test]
    fn packets_say_how_loud_their_sound_is() {
        let mut node = Harness::new(&SPEC, &[]);
        for amplitude in [1.0, 0.1, 0.0] {
            let sine: Vec<f32> =
                (0..960).map(|n| amplitude * (n as f32 * std::f32::consts::TAU / 48.0).sin()).collect();
            node.push(0, node.audio(48_000, &[&sine]));
            node.advance(Duration::from_millis(20));
        }
        let loudness: Vec<_> = node.take(0).iter().map(|packet| packet.header.loudness).collect();
        assert_eq!(loudness, [Some(3), Some(23), Some(127)], "a sine is 3 dB below a square");
    }

    #[test]
    fn the_table_of_lookaheads_is_the_codecs_own() {
        for application in ["voip", "audio", "lowdelay"] {
            let params = Params::new(SPEC.params, &[("application", application.into())]).unwrap();
            let settings = OpusSettings::new(&params).unwrap();
            for rate in RATES {
                for channels in [Channels::Mono, Channels::Stereo] {
                    let mut encoder = Encoder::new(rate, channels, settings.application).unwrap();
                    let own = Timestamp::ZERO.after_units(encoder.get_lookahead().unwrap() as u64, rate);
                    assert_eq!(Timestamp::ZERO + settings.lookahead(), own, "{application} {rate}");
                }
            }
        }
    }

    #[test]
    fn the_latency_is_lookahead_and_what_a_packet_waits_beyond_a_frame() {
        let cases = [
            (20.0, Some(480), 16.5),
            (10.0, Some(480), 6.5),
            (2.5, Some(480), 6.5),
            (20.0, Some(960), 6.5),
            (60.0, Some(480), 56.5),
            (20.0, Some(441), 9.1875 * 2.0 + 9.1875 + 6.5),
            (20.0, None, 16.5),
        ];
        for (frame_ms, samples, expected) in cases {
            let params = Params::new(SPEC.params, &[("frame_ms", frame_ms.into())]).unwrap();
            let input = MediaType::Audio { rate: Some(48_000), channels: Some(1), samples };
            let told = negotiate(&Offer { params: &params, inputs: &[Some(input)] }).unwrap();
            let micros = told.latency.as_secs_f64() * 1e3;
            assert!((micros - expected).abs() < 0.001, "{frame_ms} of {samples:?}: {micros} ms");
        }
    }

    #[test]
    fn the_bitrate_follows_the_path_but_stays_below_what_is_set() {
        let sound = speech(48_000, 1.0, 2);
        let mut node = Harness::new(&SPEC, &[("bitrate_kbps", 48.into())]);
        let mut second = |control: Option<Control>| {
            if let Some(control) = control {
                node.control(control, Some(Through { port: 0, key: None }));
            }
            for part in sound.chunks(480) {
                node.push(0, node.audio(48_000, &[part]));
                node.skip(Duration::from_millis(10));
                node.run();
            }
            assert!(node.upstream().is_empty(), "it is for this node alone");
            bits_a_second(&node.take(0))
        };
        let full = second(None);
        let asked = second(Some(Control::Bitrate { bps: 16_000 }));
        let starved = second(Some(Control::Bitrate { bps: 100 }));
        let generous = second(Some(Control::Bitrate { bps: 400_000 }));
        let lowered = second(Some(Control::Set { param: "bitrate_kbps", value: 24.into() }));
        // It varies with the sound, half of which is pauses; never above.
        assert!((20_000.0..48_000.0).contains(&full), "{full}");
        assert!(asked < 0.6 * full && asked < 16_000.0, "{asked} of {full}");
        assert!((4_000.0..7_000.0).contains(&starved), "{starved}");
        assert!(generous > 0.7 * full && generous < 48_000.0, "{generous} of {full}");
        assert!(lowered < 0.7 * generous && lowered < 24_000.0, "{lowered} of {generous}");
    }

    #[test]
    fn silence_under_dtx_is_not_sent_and_the_gap_shows_in_the_times() {
        let mut sound = speech(48_000, 1.0, 3);
        sound.extend([0.0; 96_000]);
        sound.extend(speech(48_000, 1.0, 4));
        let all = encoded(&[], &sound);
        let packets = encoded(&[("dtx", true.into())], &sound);
        assert_eq!(all.len(), 201, "without it each is sent");
        assert!(packets.len() < 140, "{} packets", packets.len());
        assert!(packets.iter().all(|packet| packet.bytes().len() > 2));
        let mut spurts = 0;
        for (index, pair) in packets.windows(2).enumerate() {
            assert_eq!(pair[1].header.sequence, index as u64 + 1, "nothing is taken for lost");
            let apart = pair[1].header.pts.since(pair[0].header.pts);
            assert_eq!(apart.as_nanos() % 20_000_000, 0);
            assert_eq!(pair[1].header.flags.has(Flags::MARKER), apart > Duration::from_millis(20));
            assert_eq!(pair[1].header.pts, pair[1].header.captured, "10 ms frames that align");
            spurts += usize::from(apart > Duration::from_millis(20));
        }
        assert!(spurts >= 1);
    }

    #[test]
    fn a_packet_has_the_time_of_its_first_sample_and_a_gap_starts_afresh() {
        let mut node = Harness::new(&SPEC, &[("frame_ms", 10.into())]);
        let begin = node.now();
        let mut frame = node.audio(48_000, &[&[0.1; 720]]);
        frame.header = node.header(Duration::from_millis(15));
        node.push(0, frame);
        node.skip(Duration::from_millis(15));
        node.push(0, node.audio(48_000, &[&[0.1; 720]]));
        // A second is missing.
        node.skip(Duration::from_secs(1));
        node.push(0, node.audio(48_000, &[&[0.1; 720]]));
        node.push(0, node.audio(48_000, &[&[0.1; 240]]));
        node.run();
        let packets = node.take(0);
        let millis = |at: Timestamp| at.since(begin).as_millis();
        let times: Vec<_> =
            packets.iter().map(|p| (millis(p.header.captured), p.header.flags.has(Flags::MARKER))).collect();
        assert_eq!(times, [(0, true), (10, false), (20, false), (1015, true), (1025, false)]);
        assert!(packets.iter().all(|packet| packet.header.pts == packet.header.captured));
        assert_eq!(node.ledger().work().count, 2, "both packets of the first frame");
    }

    #[test]
    fn what_opus_cannot_take_is_refused_with_what_to_do() {
        for (rate, channels, help) in [(44_100, 1, "audio.resample"), (48_000, 3, "audio.mix")] {
            let params = Params::new(SPEC.params, &[]).unwrap();
            let input = MediaType::Audio { rate: Some(rate), channels: Some(channels), samples: None };
            let refused = negotiate(&Offer { params: &params, inputs: &[Some(input)] }).unwrap_err();
            assert!(refused.help.contains(help), "{}", refused.help);
            let mut node = Harness::new(&SPEC, &[]);
            let silence = vec![[0.0f32; 100].as_slice(); usize::from(channels)];
            node.push(0, node.audio(rate, &silence));
            node.run();
            let fault = node.fault().unwrap();
            assert!(fault.kind == FaultKind::WrongFormat && fault.why.contains(help), "{fault}");
        }
    }

    #[test]
    fn settings_that_opus_cannot_meet_are_named() {
        let made = |given: &[(&str, Value)]| {
            Harness::try_new(&SPEC, given, &sidetone_core::Shared::default()).err().map(|why| why.to_string())
        };
        assert_eq!(made(&[("frame_ms", 7.5.into())]).unwrap(), "frame_ms must be 2.5, 5, 10, 20, 40 or 60");
        let why = made(&[("frame_ms", 2.5.into()), ("bitrate_kbps", 9.into())]).unwrap();
        assert_eq!(why, "bitrate_kbps must be at least 10 for so short a frame_ms");
        assert_eq!(made(&[("frame_ms", 2.5.into()), ("bitrate_kbps", 10.into())]), None);
        // The checker says so before anything is made.
        let checked = |kbps: i64| {
            let params = [("frame_ms", 2.5.into()), ("bitrate_kbps", kbps.into())];
            let params = Params::new(SPEC.params, &params).unwrap();
            negotiate(&Offer { params: &params, inputs: &[None] }).err().map(|mismatch| mismatch.help)
        };
        assert_eq!((checked(9), checked(10)), (Some(why), None));
    }

    #[test]
    fn a_change_of_rate_or_channels_goes_on_without_loss() {
        let mut node = Harness::new(&SPEC, &[]);
        for (rate, channels) in [(48_000, 1), (16_000, 2), (8_000, 1)] {
            let sound = speech(rate, 0.1, 5);
            node.push(0, node.audio(rate, &vec![sound.as_slice(); channels]));
            node.skip(Duration::from_millis(100));
        }
        node.end(0);
        node.run();
        assert_eq!(node.fault(), None);
        // 100 ms and the lookahead take six packets each.
        assert_eq!(node.take(0).len(), 18);
    }
}
