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
//! sound's own leave them by more than a frame and 20 ms.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> decode -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode", frame_ms = 10, bitrate_kbps = 24 }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "coded.wav" }
//! ```

use std::time::Duration;

use opus::{Application, Bitrate, Channels, Encoder};
use sidetone_core::{
    AudioFormat, Codec, Context, Control, Fault, FaultKind, Finish, Flags, Frame, Header, MediaType,
    Mismatch, Negotiated, Node, NodeError, NodeSpec, Offer, ParamSpec, Params, Placement, PortSpec, Setup,
    Through, Timestamp,
};

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
    negotiate,
    build: &|setup| Ok(Box::new(OpusEncode::new(&setup)?)),
};

/// Bytes of the longest packet: three frames of 1275 bytes and their lengths,
/// RFC 6716 § 3.2.5.
const MOST_BYTES: usize = 3 * 1275 + 7;

/// The rates that Opus codes, RFC 6716 § 2.
pub(crate) const RATES: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];

const WRONG_RATE: &str = "codec.opus_encode takes 8000, 12000, 16000, 24000 or 48000 Hz; \
     put { kind = \"audio.resample\", rate = 48000 } before it";
const WRONG_CHANNELS: &str = "codec.opus_encode takes mono or stereo; \
     put { kind = \"audio.mix\", channels = 2 } before it";

struct OpusEncode {
    settings: Settings,
    /// The live parameters, and what downstream asked for.
    bitrate: u32,
    asked: u32,
    loss_percent: i32,
    /// The codec, once the sound's rate and channels are known.
    stream: Option<Stream>,
    /// Room for one packet's samples, interleaved, and for its bytes.
    samples: Vec<f32>,
    bytes: Vec<u8>,
    /// Packets put out so far.
    sequence: u64,
}

/// The parameters that stay.
#[derive(Clone, Copy)]
struct Settings {
    /// A packet's length in units of 2.5 ms.
    frame_units: u32,
    complexity: i32,
    application: Application,
    fec: bool,
    dtx: bool,
}

/// One rate, one number of channels.
struct Stream {
    encoder: Encoder,
    rate: u32,
    channels: usize,
    /// Samples per channel in a packet, and how many of them are there.
    wanted: usize,
    held: usize,
    /// Samples of lookahead that a flush must push out.
    lookahead: usize,
    /// The header of the packet being filled; `None` while that is empty.
    header: Option<Header>,
    /// Where the timeline began, and the samples in packets since.
    anchor: Option<Timestamp>,
    counted: u64,
    /// Whether the next packet begins a talk spurt.
    spurt: bool,
}

impl OpusEncode {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let settings = Settings::new(setup.params)
            .ok_or_else(|| NodeError::Param { name: "frame_ms", why: FRAME_MS.into() })?;
        let bitrate = bits(setup.params.int("bitrate_kbps"));
        if bitrate < settings.least_bitrate() {
            let why = format!(
                "must be at least {} for so short a frame_ms",
                settings.least_bitrate().div_ceil(1000)
            );
            return Err(NodeError::Param { name: "bitrate_kbps", why });
        }
        let mut node = Self {
            settings,
            bitrate,
            asked: u32::MAX,
            loss_percent: percent(setup.params.int("loss_percent")),
            stream: None,
            samples: vec![0.0; settings.samples(48_000) * 2],
            bytes: vec![0; MOST_BYTES],
            sequence: 0,
        };
        // Made ahead where the graph tells what comes.
        if let Some(Some(MediaType::Audio { rate: Some(rate), channels: Some(channels), .. })) =
            setup.inputs.first()
            && takes(*rate, *channels).is_ok()
        {
            let stream = node.open(*rate, *channels).map_err(|_| {
                NodeError::Unavailable(format!("libopus refused {rate} Hz, {channels} channels"))
            })?;
            node.stream = Some(stream);
        }
        Ok(node)
    }

    fn open(&self, rate: u32, channels: u16) -> Result<Stream, opus::Error> {
        let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
        let mut encoder = Encoder::new(rate, layout, self.settings.application)?;
        encoder.set_complexity(self.settings.complexity)?;
        encoder.set_inband_fec(self.settings.fec)?;
        encoder.set_dtx(self.settings.dtx)?;
        let lookahead = usize::try_from(encoder.get_lookahead()?).unwrap_or(0);
        let mut stream = Stream {
            encoder,
            rate,
            channels: usize::from(channels),
            wanted: self.settings.samples(rate),
            held: 0,
            lookahead,
            header: None,
            anchor: None,
            counted: 0,
            spurt: true,
        };
        self.tune(&mut stream)?;
        Ok(stream)
    }

    /// Hands the live settings to the codec.
    fn tune(&self, stream: &mut Stream) -> Result<(), opus::Error> {
        let bitrate = self.bitrate.min(self.asked).max(self.settings.least_bitrate());
        stream.encoder.set_bitrate(Bitrate::Bits(i32::try_from(bitrate).unwrap_or(i32::MAX)))?;
        stream.encoder.set_packet_loss_perc(self.loss_percent)
    }

    fn take(&mut self, frame: Frame, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(audio) = frame.audio() else {
            return Err(Fault::new(FaultKind::WrongFormat, "codec.opus_encode takes raw audio"));
        };
        takes(audio.rate, audio.channels).map_err(|why| Fault::new(FaultKind::WrongFormat, why))?;
        let fits = self
            .stream
            .as_ref()
            .is_some_and(|s| s.rate == audio.rate && s.channels == usize::from(audio.channels));
        if !fits {
            self.flush(cx)?;
            self.stream = Some(self.open(audio.rate, audio.channels).map_err(refused)?);
        }
        if self.stream.as_ref().is_some_and(|stream| stream.leaves(&frame, &audio)) {
            self.pad(cx)?;
            if let Some(stream) = &mut self.stream {
                stream.anchor = Some(frame.header.pts);
                stream.counted = 0;
                stream.spurt = true;
            }
        }
        self.fill(frame, &audio, cx)
    }

    /// Cuts one frame into packets.
    fn fill(&mut self, mut frame: Frame, audio: &AudioFormat, cx: &mut Context<'_>) -> Result<(), Fault> {
        let mut taken = 0;
        let there = audio.samples as usize;
        while taken < there {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            let more = (stream.wanted - stream.held).min(there - taken);
            if stream.header.is_none() {
                let is_last = taken + more == there;
                let mut header =
                    if is_last { std::mem::take(&mut frame.header) } else { frame.header.clone() };
                header.captured = header.captured.after_units(taken as u64, audio.rate);
                stream.header = Some(header);
            }
            for channel in 0..stream.channels {
                let from = &frame.channel(channel)[taken..taken + more];
                let to = self.samples[stream.held * stream.channels + channel..].iter_mut();
                to.step_by(stream.channels).zip(from).for_each(|(to, from)| *to = *from);
            }
            stream.held += more;
            taken += more;
            if stream.held == stream.wanted {
                self.encode(cx)?;
            }
        }
        Ok(())
    }

    /// Makes a packet of the samples held, of which there are enough.
    fn encode(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let samples = &self.samples[..stream.wanted * stream.channels];
        let len = stream.encoder.encode_float(samples, &mut self.bytes).map_err(refused)?;
        let mut header = stream.header.take().unwrap_or_default();
        header.pts = stream.at(0).unwrap_or(header.pts);
        stream.held = 0;
        stream.counted += stream.wanted as u64;
        if self.settings.dtx && len <= 2 {
            stream.spurt = true;
            return Ok(());
        }
        header.duration = self.settings.duration();
        header.sequence = self.sequence;
        header.flags = if stream.spurt { Flags::KEY.with(Flags::MARKER) } else { Flags::KEY };
        stream.spurt = false;
        self.sequence += 1;
        let packet = cx.packet(0, Codec::Opus, &self.bytes[..len], header);
        cx.push(0, packet);
        Ok(())
    }

    /// Fills a packet that was begun with silence and makes it.
    fn pad(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.held > 0) else { return Ok(()) };
        self.samples[stream.held * stream.channels..].fill(0.0);
        self.encode(cx)
    }

    /// Puts out all that went in: the packet that was begun, and one of silence
    /// more where the lookahead still holds sound after that.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(stream) = &self.stream else { return Ok(()) };
        if stream.anchor.is_none() {
            return Ok(());
        }
        let tail = stream.held + stream.lookahead;
        for _ in 0..tail.div_ceil(stream.wanted) {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            if stream.header.is_none() {
                // Nothing was captured for it, so nobody follows it.
                stream.header = Some(Header::new(stream.at(0).unwrap_or_default(), Duration::ZERO));
            }
            self.samples[stream.held * stream.channels..].fill(0.0);
            self.encode(cx)?;
        }
        Ok(())
    }
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
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let tuned = self.tune(&mut stream);
        self.stream = Some(stream);
        tuned.map_err(refused)
    }
}

impl Stream {
    /// The time `samples` after the last packet, once the timeline has begun.
    fn at(&self, samples: usize) -> Option<Timestamp> {
        self.anchor.map(|anchor| anchor.after_units(self.counted + samples as u64, self.rate))
    }

    /// Whether a frame does not go on where the timeline stands.
    fn leaves(&self, frame: &Frame, audio: &AudioFormat) -> bool {
        let Some(expected) = self.at(self.held) else { return true };
        let slack = audio.duration() + Duration::from_millis(20);
        let pts = frame.header.pts;
        frame.header.flags.has(Flags::DISCONTINUITY)
            || pts.since(expected) > slack
            || expected.since(pts) > slack
    }
}

impl Settings {
    /// `None` where `frame_ms` is none that Opus has.
    fn new(params: &Params) -> Option<Self> {
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

    fn duration(self) -> Duration {
        Duration::from_micros(2_500 * u64::from(self.frame_units))
    }

    /// Samples per channel of a packet.
    fn samples(self, rate: u32) -> usize {
        (rate / 400 * self.frame_units) as usize
    }

    /// Below three bytes a packet libopus codes no sound at all.
    fn least_bitrate(self) -> u32 {
        (3 * 8 * 400 / self.frame_units).max(6_000)
    }

    /// RFC 6716 § 2.1.7 and libopus's OPUS_GET_LOOKAHEAD: 2.5 ms of overlap,
    /// and 4 ms to bring the two layers in line.
    fn lookahead(self) -> Duration {
        match self.application {
            Application::LowDelay => Duration::from_micros(2_500),
            _ => Duration::from_micros(6_500),
        }
    }

    /// The longest time from taking a packet's first sample to its last, where
    /// frames of `samples` come: a packet may begin at any multiple of both
    /// lengths' common divisor within a frame.
    fn assembly(self, rate: u32, samples: u32) -> Duration {
        let (packet, frame) = (rate / 400 * self.frame_units, samples.max(1));
        let frames = (frame - gcd(packet, frame) + packet - 1) / frame;
        AudioFormat { rate, channels: 1, samples: frames * frame }.duration()
    }
}

const FRAME_MS: &str = "must be 2.5, 5, 10, 20, 40 or 60";

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let mismatch = |takes: &str, help: &str| Mismatch { port: 0, takes: takes.into(), help: help.into() };
    let settings = Settings::new(offer.params).ok_or_else(|| {
        mismatch("needs a frame_ms that Opus has", "frame_ms must be 2.5, 5, 10, 20, 40 or 60")
    })?;
    let Some(Some(MediaType::Audio { rate, channels, samples })) = offer.inputs.first() else {
        return Ok(Negotiated::default());
    };
    if rate.is_some_and(|rate| !RATES.contains(&rate)) {
        return Err(mismatch(
            "takes 8000, 12000, 16000, 24000 or 48000 Hz",
            "put { kind = \"audio.resample\", rate = 48000 } between them",
        ));
    }
    if channels.is_some_and(|channels| !matches!(channels, 1 | 2)) {
        return Err(mismatch(
            "takes mono or stereo",
            "put { kind = \"audio.mix\", channels = 2 } between them",
        ));
    }
    let rate = rate.unwrap_or(48_000);
    let assembly = settings.assembly(rate, samples.unwrap_or(rate / 100));
    Ok(Negotiated::new([MediaType::packets(Codec::Opus)]).latency(settings.lookahead() + assembly))
}

fn takes(rate: u32, channels: u16) -> Result<(), &'static str> {
    if !RATES.contains(&rate) {
        return Err(WRONG_RATE);
    }
    if !matches!(channels, 1 | 2) {
        return Err(WRONG_CHANNELS);
    }
    Ok(())
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

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
