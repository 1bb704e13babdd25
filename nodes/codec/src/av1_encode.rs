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
//! that it carries lowers the rate, never raises it above this, and is handed on
//! to what stands before (`effect.adapt`). `speed`, 5 to 11 with aom, 6 to 10 with
//! rav1e, higher is faster; unset means 9 with aom and 10 with rav1e.
//! `keyframe_every_s`, 0 to 600 s, default 0: a key frame at the start and on
//! demand only. `min_keyframe_interval_ms`, 0 to 10000 ms, default 300: demands
//! that come sooner after a key frame wait until then and are met by one; with aom
//! they wait until its bits are a quarter of those there are by then, too, so that
//! most are left to the pictures between. `threads`, 1 to 8, default 1. `fps`, 1 to
//! 240 frames/s,
//! unset means the input's where known, else 30: what rate control begins with;
//! with aom it then goes by the pictures' time stamps. `min_q` and `max_q`, 0
//! (best) to 63, unset means 10 and 60: the quantizers that rate control may
//! use (rav1e: times four, unset 0 and 63). `degrade`, 0 to 3, default 0: each
//! level makes aom faster by one (up to 11) and takes a fifth off its bit rate, so
//! that it works less and what it sends waits less; rav1e ignores it; may change
//! while running.
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

use sidetone_core::param::DEGRADE;
use sidetone_core::{
    Codec, Context, Control, DropReason, Fault, FaultKind, Finish, Flags, Frame, MediaType, Mismatch,
    Negotiated, Node, NodeError, NodeSpec, Offer, ParamSpec, Params, Placement, PortSpec, Size, Through,
};

use crate::aom::{self, TICKS};
use crate::av1_settings::{Refused, Settings, check_size, fps, quantizers, speed};
use crate::av1_timing::{Keys, Timeline};
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
        ParamSpec::int("min_keyframe_interval_ms", 300, 0, 10_000, "Time from key frame to demanded one.")
            .unit("ms"),
        ParamSpec::int("threads", 1, 1, 8, "How many threads encode."),
        ParamSpec::float("fps", 30.0, 1.0, 240.0, "The rate that rate control begins with.")
            .unit("frames/s")
            .optional(),
        ParamSpec::int("min_q", 10, 0, 63, "The best quantizer that rate control may use.").optional(),
        ParamSpec::int("max_q", 60, 0, 63, "The worst quantizer that rate control may use.").optional(),
        DEGRADE,
    ],
    placement: Placement::Own,
    real_time: false,
    negotiate: &negotiate,
    build: &|setup| Ok(Box::new(Av1Encode::new(setup.params, setup.inputs)?)),
};

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let is_rav1e = offer.params.text("encoder") == "rav1e";
    speed(offer.params)?;
    quantizers(offer.params)?;
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

/// libaom's greatest speed.
const FASTEST: u8 = 11;

struct Av1Encode {
    is_rav1e: bool,
    /// Of the encoder at work; `size` is that of the last picture.
    settings: Settings,
    /// What the graph allows, and what the network last said that it carries.
    ceiling_kbps: u32,
    network_kbps: u32,
    /// The speed that the graph asks for, and how much less than usual to do.
    speed: u8,
    degrade: u8,
    encoder: Option<Encoder>,
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
        let speed = speed(params)?;
        let (min_q, max_q) = quantizers(params)?;
        let fps = fps(params, inputs);
        let ceiling_kbps = params.int("bitrate_kbps") as u32;
        let threads = params.int("threads") as u8;
        let size = Size::new(0, 0);
        let mut node = Self {
            is_rav1e,
            settings: Settings { size, bitrate_kbps: ceiling_kbps, speed, threads, fps, min_q, max_q },
            ceiling_kbps,
            network_kbps: u32::MAX,
            speed,
            degrade: params.int(DEGRADE.name) as u8,
            encoder: None,
            timeline: Timeline::new(fps),
            keys: Keys::new(
                params.int("min_keyframe_interval_ms") * i64::from(TICKS) / 1_000,
                params.int("keyframe_every_s") * i64::from(TICKS),
            ),
        };
        node.settle();
        Ok(node)
    }

    /// Works out the settings from what the graph, the network and budgets want.
    fn settle(&mut self) {
        if self.is_rav1e {
            self.settings.bitrate_kbps = self.ceiling_kbps;
            return;
        }
        // 20 kbit/s is the least that makes sense.
        let carried = self.network_kbps.max(20).min(self.ceiling_kbps);
        let degrade = self.degrade.min(3);
        self.settings.bitrate_kbps = (carried * (5 - u32::from(degrade)) / 5).max(20);
        self.settings.speed = (self.speed + degrade).min(FASTEST);
    }

    fn encode(&mut self, mut picture: Frame, size: Size, cx: &mut Context<'_>) -> Result<(), Fault> {
        if self.settings.size != size {
            self.retire(cx)?;
            self.settings.size = size;
            // What stands before may be new, and not know it.
            if self.network_kbps < u32::MAX {
                cx.request(0, &Control::Bitrate { bps: self.network_kbps.saturating_mul(1_000) });
            }
        }
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None if self.is_rav1e => Encoder::Rav1e(rav1e::Encoder::new(&self.settings).map_err(failed)?),
            None => Encoder::Aom(aom::Encoder::new(&self.settings).map_err(failed)?),
        };
        let encoder = self.encoder.insert(encoder);
        let at = self.timeline.next(picture.header.pts);
        // Of the pictures around a due time the nearest one is taken.
        let key = self.keys.due(at + self.timeline.frame / 2);
        match encoder {
            Encoder::Aom(encoder) => {
                let packet = encoder.encode(&picture, at, self.timeline.apart as u32, key).map_err(failed)?;
                let Some(packet) = packet else {
                    cx.dropped(DropReason::Overflow);
                    return Ok(());
                };
                let takes = packet.data.len() as i64 * 8 * i64::from(TICKS)
                    / (i64::from(self.settings.bitrate_kbps) * 1_000);
                self.keys.made(packet.key, at, takes);
                let mut header = picture.into_header();
                header.flags = flags(header.flags, packet.key);
                let out = cx.packet(0, Codec::Av1, packet.data, header);
                cx.push(0, out);
                Ok(())
            }
            Encoder::Rav1e(encoder) => {
                encoder.send(&mut picture, key).map_err(failed)?;
                self.keys.made(key, at, 0);
                put_out(encoder, cx)
            }
        }
    }

    /// Ends the encoder at work, if any; what it held goes out.
    fn retire(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if let Some(Encoder::Rav1e(mut encoder)) = self.encoder.take() {
            encoder.flush();
            put_out(&mut encoder, cx)?;
        }
        self.keys.begin();
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
            Control::KeyFrame => self.keys.demand(),
            Control::Bitrate { bps } => {
                self.network_kbps = bps / 1_000;
                cx.forward(control);
            }
            Control::Set { param: "bitrate_kbps", value } => {
                let kbps = value.as_float() as u32;
                if self.is_rav1e && kbps != self.ceiling_kbps {
                    self.retire(cx)?;
                }
                self.ceiling_kbps = kbps;
            }
            Control::Set { param: "degrade", value } => self.degrade = value.as_float() as u8,
            Control::Set { .. } | Control::Own(_) => {}
        }
        let speed = self.settings.speed;
        self.settle();
        match &mut self.encoder {
            Some(Encoder::Aom(encoder)) => {
                if self.settings.speed != speed {
                    encoder.set_speed(self.settings.speed).map_err(failed)?;
                }
                encoder.set_bitrate(self.settings.bitrate_kbps).map_err(failed)
            }
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
