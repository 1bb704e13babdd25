//! `codec.av1_encode`: encodes pictures as AV1, for a live call.
//!
//! Ports: `in` raw video, I420, up to 16384 pixels a side and 35 million in
//! all → `out` AV1 packets: each one temporal unit in the low-overhead format
//! (AV1 specification § 5.2), its temporal delimiter first; key frames are
//! flagged and carry the sequence header. A packet for every picture. When the
//! pictures change their size a new encoder takes over with a key frame; no
//! picture is lost.
//!
//! Parameters: `encoder`, "aom" (default) or "rav1e". `bitrate_kbps`, 20 to
//! 20000 kbit/s, default 500; may change while running. What the network says
//! that it carries lowers the rate, never raises it above this. `speed`, 5 to
//! 11 with aom, 6 to 10 with rav1e, higher is faster; unset means 9 with aom
//! and 10 with rav1e. `keyframe_every_s`, 0 to 600 s,
//! default 0: a key frame at the start and on demand only.
//! `min_keyframe_interval_ms`, 0 to 10000 ms, default 300: demands that come
//! sooner after a key frame wait this long and are met by one. `threads`, 1 to
//! 8, default 1; above 1, packets may differ from run to run. `fps`, 1 to 240
//! frames/s, unset means the input's where known, else 30: what rate control
//! begins with; it then goes by the pictures' time stamps. `min_q` and `max_q`,
//! 0 (best) to 63, unset means 10 and 60: the quantizers that rate control may
//! use (rav1e: times four, unset 0 and 63).
//!
//! Latency: none with aom. rav1e holds back four frames (133 ms at 30
//! frames/s) and declares them.
//!
//! Method: libaom's real-time mode with constant bit rate (see aom.rs), or
//! rav1e's low-latency mode. rav1e cannot change its bit rate while running: it
//! ignores what the network says, and a new `bitrate_kbps` begins a new encoder
//! with a key frame.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> av1 -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.av1 = { kind = "codec.av1_encode", bitrate_kbps = 500 }
//! nodes.file = { kind = "file.ivf_sink", path = "scene.ivf" }
//! ```

use std::time::Duration;

use sidetone_core::{
    Codec, Context, Control, DropReason, Fault, FaultKind, Finish, Flags, Frame, MediaType, Mismatch,
    Negotiated, Node, NodeError, NodeSpec, Offer, ParamSpec, Params, Placement, PortSpec, Size, Through,
    Timestamp,
};

use crate::aom::{self, TICKS};
use crate::rav1e_encoder as rav1e;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "codec.av1_encode",
    summary: "Encodes pictures as AV1, for a live call.",
    sheet: sidetone_core::data_sheet!("av1_encode.rs"),
    inputs: &[PortSpec::new("in", MediaType::i420(None, None), "The pictures.")],
    outputs: &[PortSpec::new("out", MediaType::packets(Codec::Av1), "A temporal unit for each picture.")],
    params: &[
        ParamSpec::choice("encoder", "aom", &["aom", "rav1e"], "Which library encodes."),
        ParamSpec::int("bitrate_kbps", 500, 20, 20_000, "The most that the packets take.")
            .unit("kbit/s")
            .live(),
        ParamSpec::int("speed", 9, 5, 11, "Less work (higher) or better pictures (lower).").optional(),
        ParamSpec::int("keyframe_every_s", 0, 0, 600, "Time between key frames; 0: only on demand.")
            .unit("s"),
        ParamSpec::int(
            "min_keyframe_interval_ms",
            300,
            0,
            10_000,
            "The least time from key frame to demanded key frame.",
        )
        .unit("ms"),
        ParamSpec::int("threads", 1, 1, 8, "How many threads encode."),
        ParamSpec::float("fps", 30.0, 1.0, 240.0, "The rate that rate control begins with.")
            .unit("frames/s")
            .optional(),
        ParamSpec::int("min_q", 10, 0, 63, "The best quantizer that rate control may use.").optional(),
        ParamSpec::int("max_q", 60, 0, 63, "The worst quantizer that rate control may use.").optional(),
    ],
    placement: Placement::Own,
    real_time: false,
    negotiate,
    build: &|setup| Ok(Box::new(Av1Encode::new(setup.params, setup.inputs)?)),
};

/// Why an encoder's library refused.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

/// The most pixels of a picture.
pub(crate) const MAX_PIXELS: u32 = 8_192 * 4_320;

/// A gap in time stamps above this is a pause, not a slow frame rate.
const PAUSE: Duration = Duration::from_secs(1);

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let is_rav1e = offer.params.text("encoder") == "rav1e";
    if let Some(Some(MediaType::Video { size: Some(size), .. })) = offer.inputs.first() {
        check_size(*size, is_rav1e).map_err(|takes| Mismatch {
            port: 0,
            takes: takes.into(),
            help: "put { kind = \"effect.scale\", size = [640, 360] } between them".into(),
        })?;
    }
    let held = if is_rav1e { f64::from(rav1e::DELAY) / fps(offer.params, offer.inputs) } else { 0.0 };
    let out = MediaType::packets(Codec::Av1);
    Ok(Negotiated::new([out]).latency(Duration::from_secs_f64(held)))
}

fn check_size(size: Size, is_rav1e: bool) -> Result<(), &'static str> {
    let (least, most) = (size.width.min(size.height), size.width.max(size.height));
    if least < 1 || most > Size::MAX_SIDE || size.width * size.height > MAX_PIXELS {
        return Err("takes at most 16384 pixels a side and 8192x4320 in all");
    }
    if is_rav1e && least < rav1e::MIN_SIDE {
        return Err("takes at least 16x16 pixels with encoder = \"rav1e\"");
    }
    Ok(())
}

fn fps(params: &Params, inputs: &[Option<MediaType>]) -> f64 {
    let input = match inputs.first() {
        Some(Some(MediaType::Video { fps: Some(fps), .. })) => Some(fps.per_second()),
        _ => None,
    };
    params.get("fps").map(sidetone_core::Value::as_float).or(input).unwrap_or(30.0).clamp(1.0, 240.0)
}

struct Av1Encode {
    is_rav1e: bool,
    speed: u8,
    threads: u8,
    fps: f64,
    min_q: Option<u8>,
    max_q: Option<u8>,
    /// What the graph allows, and what the network last said that it carries.
    ceiling_kbps: u32,
    network_kbps: u32,
    /// The encoder at work and the size of picture it is for.
    encoder: Option<(Encoder, Size)>,
    timeline: Timeline,
    keys: Keys,
}

enum Encoder {
    Aom(aom::Encoder),
    Rav1e(rav1e::Encoder),
}

impl Av1Encode {
    fn new(params: &Params, inputs: &[Option<MediaType>]) -> Result<Self, NodeError> {
        let is_rav1e = params.text("encoder") == "rav1e";
        let set = |name| params.get(name).map(|_| params.int(name) as u8);
        let (speed, speeds) = if is_rav1e { (10, 6..=10) } else { (9, 5..=11) };
        let speed = set("speed").unwrap_or(speed);
        if !speeds.contains(&speed) {
            let why =
                format!("must be from {} to {} with this encoder, not {speed}", speeds.start(), speeds.end());
            return Err(NodeError::Param { name: "speed", why });
        }
        let (min_q, max_q) = (set("min_q"), set("max_q"));
        if min_q.unwrap_or(0) > max_q.unwrap_or(60) || min_q.unwrap_or(10) > max_q.unwrap_or(63) {
            let why = "must not be above max_q (unset: min_q 10, max_q 60)".into();
            return Err(NodeError::Param { name: "min_q", why });
        }
        let fps = fps(params, inputs);
        Ok(Self {
            is_rav1e,
            speed,
            threads: params.int("threads") as u8,
            fps,
            min_q,
            max_q,
            ceiling_kbps: params.int("bitrate_kbps") as u32,
            network_kbps: u32::MAX,
            encoder: None,
            timeline: Timeline::new(fps),
            keys: Keys {
                wanted: true,
                least: params.int("min_keyframe_interval_ms") * i64::from(TICKS) / 1_000,
                every: params.int("keyframe_every_s") * i64::from(TICKS),
                last: None,
            },
        })
    }

    /// What the packets may take now; 20 kbit/s is the least that makes sense.
    fn bitrate_kbps(&self) -> u32 {
        self.network_kbps.max(20).min(self.ceiling_kbps)
    }

    fn encoder(&self, size: Size) -> Result<Encoder, Fault> {
        let made = if self.is_rav1e {
            rav1e::Encoder::new(&rav1e::Settings {
                size,
                bitrate_kbps: self.ceiling_kbps,
                speed: self.speed,
                threads: self.threads.into(),
                fps: self.fps,
                min_q: self.min_q.unwrap_or(0) * 4,
                max_q: self.max_q.map_or(255, |q| q * 4),
            })
            .map(Encoder::Rav1e)
        } else {
            aom::Encoder::new(&aom::Settings {
                size,
                bitrate_kbps: self.bitrate_kbps(),
                speed: self.speed,
                threads: self.threads.into(),
                min_q: self.min_q.unwrap_or(10).into(),
                max_q: self.max_q.unwrap_or(60).into(),
            })
            .map(Encoder::Aom)
        };
        made.map_err(failed)
    }

    fn encode(&mut self, mut picture: Frame, size: Size, cx: &mut Context<'_>) -> Result<(), Fault> {
        let encoder = match self.encoder.take() {
            Some((encoder, made_for)) if made_for == size => encoder,
            old => {
                self.encoder = old;
                self.retire(cx)?;
                self.encoder(size)?
            }
        };
        let (encoder, _) = self.encoder.insert((encoder, size));
        let at = self.timeline.next(picture.header.pts);
        // Of the pictures around a due time the nearest one is taken.
        let key = self.keys.due(at + self.timeline.frame / 2);
        match encoder {
            Encoder::Aom(encoder) => {
                let packet = encoder.encode(&picture, at, self.timeline.frame as u32, key).map_err(failed)?;
                let Some(packet) = packet else {
                    cx.dropped(DropReason::Overflow);
                    return Ok(());
                };
                self.keys.made(packet.key, at);
                let mut header = picture.header;
                header.flags = flags(header.flags, packet.key);
                let out = cx.packet(0, Codec::Av1, packet.data, header);
                cx.push(0, out);
                Ok(())
            }
            Encoder::Rav1e(encoder) => {
                encoder.send(&mut picture, key).map_err(failed)?;
                self.keys.made(key, at);
                put_out(encoder, cx)
            }
        }
    }

    /// Ends the encoder at work, if any; what it held goes out.
    fn retire(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if let Some((Encoder::Rav1e(mut encoder), _)) = self.encoder.take() {
            encoder.flush();
            put_out(&mut encoder, cx)?;
        }
        self.keys.wanted = true;
        self.keys.last = None;
        Ok(())
    }
}

impl Node for Av1Encode {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(picture) = cx.pop(0) else { return Ok(()) };
        let Some(video) = picture.video() else {
            return Err(Fault::new(FaultKind::WrongFormat, "codec.av1_encode takes raw video"));
        };
        check_size(video.size, self.is_rav1e).map_err(|_| {
            Fault::new(
                FaultKind::WrongFormat,
                "the picture's size is none that AV1 or the encoder takes; put effect.scale before it",
            )
        })?;
        self.encode(picture, video.size, cx)
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.retire(cx).map(|()| Finish::Done)
    }

    fn control(
        &mut self,
        control: &Control,
        _from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match control {
            Control::KeyFrame => self.keys.wanted = true,
            Control::Bitrate { bps } => self.network_kbps = bps / 1_000,
            Control::Set { param: "bitrate_kbps", value } => {
                let kbps = value.as_float() as u32;
                if self.is_rav1e && kbps != self.ceiling_kbps {
                    self.retire(cx)?;
                }
                self.ceiling_kbps = kbps;
            }
            Control::Set { .. } => {}
        }
        let kbps = self.bitrate_kbps();
        match &mut self.encoder {
            Some((Encoder::Aom(encoder), _)) => encoder.set_bitrate(kbps).map_err(failed),
            _ => Ok(()),
        }
    }
}

/// Puts out the packets that are ready.
fn put_out(encoder: &mut rav1e::Encoder, cx: &mut Context<'_>) -> Result<(), Fault> {
    while let Some(packet) = encoder.receive().map_err(failed)? {
        let mut header = packet.header;
        header.flags = flags(header.flags, packet.key);
        let out = cx.packet(0, Codec::Av1, &packet.data, header);
        cx.push(0, out);
    }
    Ok(())
}

fn flags(flags: Flags, key: bool) -> Flags {
    if key { flags.with(Flags::KEY) } else { flags.without(Flags::KEY) }
}

fn failed(refused: Refused) -> Fault {
    Fault::new(FaultKind::Library, refused.0)
}

/// Turns the pictures' time stamps, whatever they do, into growing ticks.
struct Timeline {
    /// A frame at the nominal rate.
    frame: i64,
    before: Option<Timestamp>,
    at: i64,
}

impl Timeline {
    fn new(fps: f64) -> Self {
        Self { frame: (f64::from(TICKS) / fps).round() as i64, before: None, at: 0 }
    }

    fn next(&mut self, pts: Timestamp) -> i64 {
        if let Some(before) = self.before {
            let gap = pts.since(before);
            // Time that stands still, goes back or pauses is taken for a frame,
            // so that rate control neither starves nor bursts.
            self.at += if gap.is_zero() || gap > PAUSE {
                self.frame
            } else {
                let ticks = (gap.as_secs_f64() * f64::from(TICKS)).round();
                (ticks as i64).max(self.frame / 4)
            };
        }
        self.before = Some(pts);
        self.at
    }
}

/// Decides which pictures become key frames; times in ticks.
struct Keys {
    wanted: bool,
    /// The least time from a key frame to one on demand.
    least: i64,
    /// The time from key frame to key frame; 0: no end.
    every: i64,
    last: Option<i64>,
}

impl Keys {
    fn due(&self, at: i64) -> bool {
        let Some(last) = self.last else { return true };
        let since = at - last;
        (self.wanted && since >= self.least) || (self.every > 0 && since >= self.every)
    }

    /// Notes what the picture at `at` became. A demand that came too soon stays
    /// open: the key frame before it may be the one that was lost.
    fn made(&mut self, key: bool, at: i64) {
        if key {
            self.wanted = false;
            self.last = Some(at);
        }
    }
}
