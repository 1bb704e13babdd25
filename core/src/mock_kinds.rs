//! Kinds for the checker's tests: those of the nodes' crates by name, ports
//! and parameters, without the nodes.

use std::time::Duration;

use crate::family::Family;
use crate::fault::NodeError;
use crate::media_type::{Codec, FrameRate, MediaType, Size};
use crate::param::{ParamDefault, ParamKind, ParamSpec};
use crate::port::PortSpec;
use crate::registry::{
    Foreign, Mismatch, Negotiate, Negotiated, NodeSpec, Offer, Placement, Registry, declared, same,
};

const fn kind(
    kind: &'static str,
    inputs: &'static [PortSpec],
    outputs: &'static [PortSpec],
    params: &'static [ParamSpec],
    negotiate: &'static Negotiate,
) -> NodeSpec {
    NodeSpec {
        kind,
        summary: "",
        sheet: "",
        inputs,
        outputs,
        params,
        placement: Placement::Shared,
        real_time: true,
        negotiate,
        build: &|_| Err(NodeError::Unavailable("mock kinds have no nodes".into())),
    }
}

/// As the default registry, for what the checker asks of it.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new(KINDS);
    registry.add_family(&HOST);
    registry
}

/// Effects that were found on some machine.
const HOST: Family = Family {
    kind: "host.mock",
    summary: "runs effects of others",
    sheet: "",
    chosen_by: "effect",
    find: &|name| EFFECTS.iter().find(|effect| effect.kind.strip_prefix("host.mock/") == Some(name)),
    all: &|| EFFECTS.iter().collect(),
};

const EFFECT: ParamSpec = ParamSpec::text("effect", "", "Which effect.").required();

const EFFECTS: &[NodeSpec] = &[
    kind(
        "host.mock/cartoon",
        &[PortSpec::new("in", I420, "")],
        &[PortSpec::new("out", I420, "")],
        &[EFFECT, ParamSpec::float("triplevel", 0.5, 0.0, 1.0, "How black edges are.").live()],
        &same,
    ),
    kind(
        "host.mock/mixture",
        &[PortSpec::new("a", I420, ""), PortSpec::new("b", I420, "")],
        &[PortSpec::new("out", I420, "")],
        &[EFFECT, ParamSpec::int("share", 50, 0, 100, "How much of the first.").unit("%")],
        &same,
    ),
];

const I420: MediaType = MediaType::i420(None, None);
const OPUS: MediaType = MediaType::packets(Codec::Opus);
const AV1: MediaType = MediaType::packets(Codec::Av1);

const PACE: ParamSpec = ParamSpec::choice("pace", "clock", &["clock", "flat_out"], "When frames come.");
const LOOP: ParamSpec = ParamSpec::bool("loop", false, "Whether the file begins again at its end.");
const DURATION: ParamSpec = ParamSpec::float("duration_s", 0.0, 0.0, 1e6, "How long it goes on.").unit("s");
const RATE: ParamSpec = ParamSpec::int("rate", 48_000, 8_000, 192_000, "Samples per second.").unit("Hz");
const CHANNELS: ParamSpec = ParamSpec::int("channels", 1, 1, 8, "Channels, all alike.");
const FRAME: ParamSpec = ParamSpec::float("frame_ms", 10.0, 2.5, 60.0, "Length of a frame.").unit("ms");
const SSRC: ParamSpec = ParamSpec::int("ssrc", 0, 0, 0xffff_ffff, "The synchronisation source.").optional();
const PAYLOAD: ParamSpec = ParamSpec::int("payload_type", 111, 0, 127, "The RTP payload type.");

const KINDS: &[NodeSpec] = &[
    kind(
        "audio.gain",
        &[PortSpec::new("in", MediaType::AUDIO, "")],
        &[PortSpec::new("out", MediaType::AUDIO, "")],
        &[ParamSpec::float("gain_db", 0.0, -60.0, 20.0, "How much louder (above 0) or softer.").unit("dB")],
        &same,
    ),
    kind(
        "audio.level",
        &[PortSpec::new("in", MediaType::AUDIO, "")],
        &[PortSpec::new("out", MediaType::AUDIO, "")],
        &[ParamSpec::int("interval_ms", 200, 10, 10_000, "How much sound one event stands for.").unit("ms")],
        &same,
    ),
    kind(
        "audio.mix",
        &[PortSpec::new("in", MediaType::AUDIO, "").many()],
        &[PortSpec::new("out", MediaType::AUDIO, "")],
        &[RATE, ParamSpec::int("channels", 1, 1, 2, "Channels that go out."), FRAME],
        &mix,
    ),
    kind(
        "audio.resample",
        &[PortSpec::new("in", MediaType::AUDIO, "")],
        &[PortSpec::new("out", MediaType::AUDIO, "")],
        &[RATE, ParamSpec::choice("quality", "good", &["fast", "good"], "How steep the filter is.")],
        &|offer| {
            let rate = u32::try_from(offer.params.int("rate")).ok();
            Ok(Negotiated::new([MediaType::Audio { rate, channels: None, samples: None }]))
        },
    ),
    kind(
        "codec.av1_decode",
        &[PortSpec::new("in", AV1, "")],
        &[PortSpec::new("out", I420, "")],
        &[],
        &declared,
    ),
    kind(
        "codec.av1_encode",
        &[PortSpec::new("in", I420, "")],
        &[PortSpec::new("out", AV1, "")],
        &[
            ParamSpec::choice("encoder", "aom", &["aom", "rav1e"], "Which library encodes."),
            ParamSpec::int("bitrate_kbps", 500, 20, 20_000, "The most that the packets take.").unit("kbit/s"),
            ParamSpec::int("speed", 9, 5, 11, "Less work or better pictures.").optional(),
            ParamSpec::int("keyframe_every_s", 0, 0, 600, "Time between key frames.").unit("s"),
            ParamSpec::int("min_keyframe_interval_ms", 300, 0, 10_000, "The least time.").unit("ms"),
            ParamSpec::int("threads", 1, 1, 8, "How many threads encode."),
            ParamSpec::float("fps", 30.0, 1.0, 240.0, "The rate that rate control begins with.").optional(),
            ParamSpec::int("min_q", 10, 0, 63, "The best quantizer.").optional(),
            ParamSpec::int("max_q", 60, 0, 63, "The worst quantizer.").optional(),
        ],
        &|offer| {
            let held = if offer.params.text("encoder") == "rav1e" { 133 } else { 0 };
            Ok(Negotiated::default().latency(Duration::from_millis(held)))
        },
    ),
    kind(
        "codec.opus_decode",
        &[PortSpec::new("in", OPUS, "")],
        &[PortSpec::new("out", MediaType::AUDIO, "")],
        &[
            ParamSpec::int("rate", 48_000, 8_000, 48_000, "Samples per second.").unit("Hz"),
            ParamSpec::int("channels", 1, 1, 2, "Channels."),
        ],
        &sound,
    ),
    kind(
        "codec.opus_encode",
        &[PortSpec::new("in", MediaType::AUDIO, "")],
        &[PortSpec::new("out", OPUS, "")],
        &[
            ParamSpec::float("frame_ms", 20.0, 2.5, 60.0, "How much sound one packet holds.").unit("ms"),
            ParamSpec::int("bitrate_kbps", 32, 6, 510, "The most that the packets may take.").unit("kbit/s"),
            ParamSpec::int("complexity", 5, 0, 10, "More is better sound for more work."),
            ParamSpec::choice("application", "voip", &["voip", "audio", "lowdelay"], "What counts most."),
            ParamSpec::bool("fec", true, "Each packet carries a coarse copy of the one before."),
            ParamSpec::int("loss_percent", 10, 0, 100, "The loss to expect.").unit("%"),
            ParamSpec::bool("dtx", false, "Send nothing while there is nothing to hear."),
        ],
        &opus_encode,
    ),
    kind(
        "effect.mirror",
        &[PortSpec::new("in", I420, "")],
        &[PortSpec::new("out", I420, "")],
        &[
            ParamSpec::choice("axis", "horizontal", &["horizontal", "vertical", "both"], "Which sides."),
            ParamSpec::bool("enabled", true, "Whether pictures are flipped."),
        ],
        &same,
    ),
    kind(
        "effect.scale",
        &[PortSpec::new("in", I420, "")],
        &[PortSpec::new("out", I420, "")],
        &[
            ParamSpec::size("size", Size::new(640, 360), "The size to come out.").unit("pixels").required(),
            ParamSpec::choice("fit", "letterbox", &["letterbox", "crop", "stretch"], "What to do."),
        ],
        &|offer| Ok(Negotiated::new([MediaType::i420(Some(offer.params.size("size")), None)])),
    ),
    kind(
        "effect.smooth_skin",
        &[PortSpec::new("in", I420, "")],
        &[PortSpec::new("out", I420, "")],
        &[
            ParamSpec::float("smooth", 0.5, 0.0, 1.0, "How much fine texture is taken from skin."),
            ParamSpec::float("whiten", 0.2, 0.0, 1.0, "How much lighter and paler skin gets."),
            ParamSpec::float("rosy", 0.1, 0.0, 1.0, "How much redder skin gets."),
            ParamSpec::float("sharpen", 0.0, 0.0, 1.0, "How much crisper the rest gets."),
            ParamSpec::bool("parallel", false, "Whether large pictures use several cores."),
        ],
        &same,
    ),
    kind(
        "effect.tile",
        &[PortSpec::new("in", I420, "").many()],
        &[PortSpec::new("out", I420, "")],
        &[
            ParamSpec::size("size", Size::new(1280, 720), "The size to come out.").unit("pixels"),
            ParamSpec::int("fps", 30, 1, 120, "Pictures a second to come out.").unit("fps"),
        ],
        &|offer| {
            let fps = FrameRate::new(u32::try_from(offer.params.int("fps")).unwrap_or(1), 1);
            let output = MediaType::i420(Some(offer.params.size("size")), Some(fps));
            Ok(Negotiated::new([output]).latency(Duration::from_nanos(fps.offset_nanos(1))))
        },
    ),
    kind(
        "file.contact_sheet_sink",
        &[PortSpec::new("in", I420, "").many()],
        &[],
        &[ParamSpec::path("path", "The PNG; its folders are made.")],
        &declared,
    ),
    kind(
        "file.ivf_sink",
        &[PortSpec::new("in", AV1, "")],
        &[],
        &[ParamSpec::path("path", "The IVF file; its folders are made.")],
        &declared,
    ),
    kind(
        "file.ivf_source",
        &[],
        &[PortSpec::new("out", AV1, "")],
        &[ParamSpec::path("path", "The IVF file."), PACE, LOOP],
        &declared,
    ),
    kind(
        "file.wav_sink",
        &[PortSpec::new("in", MediaType::AUDIO, "")],
        &[],
        &[
            ParamSpec::path("path", "The WAV file; its folders are made."),
            ParamSpec::int("bits", 16, 16, 32, "Bits of a sample: 16, 24, or 32 for float."),
            ParamSpec::choice("timeline", "frames", &["frames", "clock"], "Whether silence stands for time."),
        ],
        &declared,
    ),
    kind(
        "file.wav_source",
        &[],
        &[PortSpec::new("out", MediaType::AUDIO, "")],
        &[ParamSpec::path("path", "The WAV file."), FRAME, PACE, LOOP],
        &|_| Ok(Negotiated::default().latency(Duration::from_millis(10))),
    ),
    kind(
        "file.y4m_sink",
        &[PortSpec::new("in", I420, "")],
        &[],
        &[
            ParamSpec::path("path", "The Y4M file; its folders are made."),
            ParamSpec::float("fps", 30.0, 1.0, 240.0, "The rate that the header names.").optional(),
        ],
        &declared,
    ),
    kind(
        "file.y4m_source",
        &[],
        &[PortSpec::new("out", I420, "")],
        &[ParamSpec::path("path", "The Y4M file."), PACE, LOOP],
        &declared,
    ),
    kind(
        "net.impair",
        &[PortSpec::new("in", MediaType::RTP, "")],
        &[PortSpec::new("out", MediaType::RTP, "")],
        &[
            ParamSpec::choice(
                "preset",
                "none",
                &["none", "clean", "home", "mobile", "bad", "satellite"],
                "A set of figures; parameters that are given replace its own.",
            ),
            ParamSpec::float("delay_ms", 0.0, 0.0, 10_000.0, "Mean one-way delay.").unit("ms"),
            ParamSpec::float("loss_percent", 0.0, 0.0, 100.0, "Packets lost.").unit("%"),
        ],
        &|offer| Ok(same(offer)?.latency(millis(offer.params.float("delay_ms")))),
    ),
    kind(
        "plugin.tint",
        &[PortSpec::new("in", I420, "")],
        &[PortSpec::new("out", I420, "")],
        &[
            ParamSpec::choice("isolate", "none", &["none", "process"], "Where it runs."),
            ParamSpec::float("deadline_ms", 0.0, 0.0, 1_000.0, "What a call may take.").unit("ms").optional(),
        ],
        &|offer| {
            let place =
                if offer.params.text("isolate") == "process" { Foreign::Apart } else { Foreign::InProcess };
            let answer = same(offer)?.foreign(place);
            let given = offer.params.get("deadline_ms").map(|_| offer.params.float("deadline_ms"));
            Ok(given.map_or(answer.clone(), |given| answer.deadline(millis(given))))
        },
    ),
    kind(
        "room.join",
        &[
            PortSpec::new("audio_in", MediaType::rtp(Codec::Opus), "").optional(),
            PortSpec::new("video_in", MediaType::rtp(Codec::Av1), "").optional(),
        ],
        &[
            PortSpec::new("audio", MediaType::rtp(Codec::Opus), "").each("participant"),
            PortSpec::new("video", MediaType::rtp(Codec::Av1), "").each("participant"),
        ],
        &[
            ParamSpec::text("url", "", "Where the room is: mem://ROOM or udp://IP:PORT.").required(),
            ParamSpec::text("user", "", "The name that others see, 1 to 64 characters.").required(),
            ParamSpec::int("timeout_ms", 3_000, 200, 60_000, "After which a participant has left.")
                .unit("ms"),
            ParamSpec::bool("allow_remote", false, "Lets udp use addresses of other machines."),
        ],
        &declared,
    ),
    kind(
        "rtp.jitter_buffer",
        &[PortSpec::new("in", MediaType::RTP, "")],
        &[PortSpec::new("out", MediaType::RTP, "")],
        &[
            ParamSpec::float("quantile", 0.97, 0.5, 0.999, "The share of packets that come in time."),
            ParamSpec::int("min_ms", 0, 0, 2_000, "The least delay.").unit("ms"),
            ParamSpec::int("max_ms", 500, 0, 2_000, "The greatest delay.").unit("ms"),
            ParamSpec::int("wait_ms", 20, 0, 1_000, "How long a picture waits.").unit("ms"),
        ],
        &|offer| Ok(same(offer)?.latency(millis(offer.params.int("min_ms") as f64))),
    ),
    kind(
        "rtp.pack_av1",
        &[PortSpec::new("in", AV1, "")],
        &[PortSpec::new("out", MediaType::rtp(Codec::Av1), "")],
        &[
            ParamSpec::int("mtu", 1_200, 64, 65_000, "The most bytes of a packet.").unit("bytes"),
            SSRC,
            PAYLOAD,
        ],
        &declared,
    ),
    kind(
        "rtp.pack_opus",
        &[PortSpec::new("in", OPUS, "")],
        &[PortSpec::new("out", MediaType::rtp(Codec::Opus), "")],
        &[SSRC, PAYLOAD],
        &declared,
    ),
    kind(
        "rtp.unpack_av1",
        &[PortSpec::new("in", MediaType::rtp(Codec::Av1), "")],
        &[PortSpec::new("out", AV1, "")],
        &[],
        &declared,
    ),
    kind(
        "rtp.unpack_opus",
        &[PortSpec::new("in", MediaType::rtp(Codec::Opus), "")],
        &[PortSpec::new("out", OPUS, "")],
        &[],
        &declared,
    ),
    kind(
        "test.clicks",
        &[],
        &[PortSpec::new("out", MediaType::AUDIO, "")],
        &[
            ParamSpec::float("every_ms", 500.0, 20.0, 60_000.0, "From one click to the next.").unit("ms"),
            ParamSpec::float("level_db", -6.0, -60.0, 0.0, "Their peak.").unit("dB"),
            RATE,
            CHANNELS,
            FRAME,
            PACE,
            DURATION,
        ],
        &tone,
    ),
    kind(
        "test.scene",
        &[],
        &[PortSpec::new("out", I420, "")],
        &[
            ParamSpec::size("size", Size::new(640, 360), "Width and height."),
            ParamSpec::float("fps", 30.0, 1.0, 120.0, "Frames per second."),
            ParamSpec::choice("figure", "alice", &["alice", "bob", "carol", "dave"], "Who is seen."),
            ParamSpec::bool("counter", true, "Whether the frame's number stands in the corner."),
            PACE,
            DURATION,
            ParamSpec::int("frames", 0, 0, 1_000_000_000, "How many frames it gives."),
        ],
        &|offer| {
            let fps = FrameRate::new(offer.params.float("fps").round() as u32, 1);
            Ok(Negotiated::new([MediaType::i420(Some(offer.params.size("size")), Some(fps))]))
        },
    ),
    kind(
        "test.tone",
        &[],
        &[PortSpec::new("out", MediaType::AUDIO, "")],
        &[
            ParamSpec::float("frequency_hz", 440.0, 20.0, 20_000.0, "Its frequency.").unit("Hz"),
            ParamSpec::float("level_db", -20.0, -90.0, 0.0, "Its peak, below full scale.").unit("dB"),
            ParamSpec::float("am_hz", 0.0, 0.0, 20.0, "How often a second it swells.").unit("Hz"),
            RATE,
            CHANNELS,
            FRAME,
            PACE,
            DURATION,
        ],
        &tone,
    ),
];

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1_000.0)
}

fn tone(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let rate = u32::try_from(offer.params.int("rate")).unwrap_or(48_000);
    let samples = (f64::from(rate) * offer.params.float("frame_ms") / 1_000.0).round() as u32;
    let channels = u16::try_from(offer.params.int("channels")).ok();
    Ok(Negotiated::new([MediaType::Audio { rate: Some(rate), channels, samples: Some(samples) }]))
}

fn sound(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let rate = u32::try_from(offer.params.int("rate")).ok();
    let channels = u16::try_from(offer.params.int("channels")).ok();
    Ok(Negotiated::new([MediaType::Audio { rate, channels, samples: None }]))
}

fn mix(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let rate = u32::try_from(offer.params.int("rate")).unwrap_or(48_000);
    if let Some(Some(MediaType::Audio { rate: Some(given), .. })) = offer.inputs.first()
        && *given != rate
    {
        return Err(Mismatch {
            port: 0,
            takes: format!("takes {rate} Hz"),
            help: format!("put {{ kind = \"audio.resample\", rate = {rate} }} between them"),
        });
    }
    Ok(tone(offer)?.latency(millis(offer.params.float("frame_ms"))))
}

fn opus_encode(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let mismatch = |takes: &str, help: &str| Mismatch { port: 0, takes: takes.into(), help: help.into() };
    let frame_ms = offer.params.float("frame_ms");
    if ![2.5, 5.0, 10.0, 20.0, 40.0, 60.0].contains(&frame_ms) {
        return Err(mismatch("needs a frame_ms that Opus has", "frame_ms must be 2.5, 5, 10, 20, 40 or 60"));
    }
    if let Some(Some(MediaType::Audio { rate: Some(rate), .. })) = offer.inputs.first()
        && ![8_000, 12_000, 16_000, 24_000, 48_000].contains(rate)
    {
        let help = "put { kind = \"audio.resample\", rate = 48000 } between them";
        return Err(mismatch("takes 8000, 12000, 16000, 24000 or 48000 Hz", help));
    }
    Ok(Negotiated::default().latency(millis(6.5 + (frame_ms - 10.0).max(0.0))))
}

#[test]
fn every_mock_kind_can_be_asked_with_its_defaults() {
    for spec in registry().iter() {
        let required = spec.params.iter().filter(|param| param.default == ParamDefault::Required);
        let given: Vec<_> = required
            .map(|param| match param.kind {
                ParamKind::Size => (param.name, Size::new(64, 64).into()),
                _ => (param.name, "x".into()),
            })
            .collect();
        let params = crate::Params::new(spec.params, &given).unwrap();
        let inputs: Vec<_> = spec.inputs.iter().map(|port| Some(port.media)).collect();
        let answer = spec.negotiated(&Offer { params: &params, inputs: &inputs }).unwrap();
        assert_eq!(answer.outputs.len(), spec.outputs.len(), "{}", spec.kind);
    }
}
