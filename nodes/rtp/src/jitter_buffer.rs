//! `rtp.jitter_buffer`: gives RTP packets their order and rhythm back.
//!
//! Ports: `in` RTP with Opus or AV1 → `out` the same in order. Sound goes out a
//! frame every frame's length, beginning with the first packet: at each place
//! the packet, or a frame flagged as lost (the following packet's bytes in it if
//! they are there, for in-band FEC), or one flagged as silence where the sender
//! sent nothing. Pictures go out whole; after a loss none do until a key frame,
//! which is asked for upstream and flagged as a discontinuity.
//!
//! Parameters: `quantile`, 0.5 to 0.999, default 0.97, the share of packets that
//! come in time for their turn; `min_ms`, 0 to 2000 ms, default 0, and `max_ms`,
//! 0 to 2000 ms, default 500, bound the delay that this needs; `wait_ms`, 0 to
//! 1000 ms, default 20, how long beyond its turn a picture waits for a missing
//! packet that may be out of order. All may change while running.
//!
//! Latency: `min_ms` at least. On a link without jitter 1 ms for sound, which
//! absorbs the scheduling of machines, and nothing for pictures.
//!
//! Method: a packet's delay is its arrival less its media time. Its turn comes
//! at its media time, plus the least delay of the last 20 s, plus the `quantile`
//! of delays above that, from a histogram that forgets as libwebrtc's NetEQ does
//! (`delay_manager.cc`), but is at most the greatest of the last 10 s, so that one
//! stall is not waited for long after it. Sequence numbers and restarts follow RFC 3550 appendix
//! A.1. When the delay must grow, sound is held up by one concealed frame at a
//! time (by less than half a frame, it just goes out so much later); when it may
//! fall by a frame, one is left out, in silence if there is some within 2 s, and
//! then one every 500 ms for as long as it may (every 100 ms while it is too long
//! by 100 ms or more, as after a stall); frames left out count as overflow. What
//! is less than a frame goes at a two-hundredth of the time that passes, frames
//! going out so much sooner, down to what the latest packet of the last 10 s
//! needed. Until the first frame goes out, the quickest packet that came decides
//! when, so that a sender's slow beginning does not stay. After three late
//! packets in a row the clock is set back to the fourth. After a second without
//! packets nothing goes out until they return; `pts` then has moved on as time
//! did. Key frames are asked for at most every 300 ms; pictures that cannot be
//! decoded count as corrupt. Concealed frames have no part in the ledger.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> pack -> jitter -> unpack -> decode -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.pack = { kind = "rtp.pack_opus" }
//! nodes.jitter = { kind = "rtp.jitter_buffer", max_ms = 200 }
//! nodes.unpack = { kind = "rtp.unpack_opus" }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "tone.wav" }
//! ```

use std::time::Duration;

use sidetone_core::{
    Codec, Context, Control, DropReason, EventKind, Fault, FaultKind, Finish, Format, Frame, Header,
    MediaType, Mismatch, Negotiated, Node, NodeSpec, Offer, ParamSpec, Placement, PortSpec, Setup, Through,
    Timestamp,
};

use crate::audio_jitter::{AudioJitter, SLACK};
use crate::delay_estimate::DelayRange;
use crate::video_jitter::VideoJitter;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "rtp.jitter_buffer",
    summary: "Gives RTP packets their order and rhythm back.",
    sheet: sidetone_core::data_sheet!("jitter_buffer.rs"),
    inputs: &[PortSpec::new("in", MediaType::RTP, "The packets as they come.")],
    outputs: &[PortSpec::new("out", MediaType::RTP, "The packets in order and in time.")],
    params: &[
        ParamSpec::float("quantile", 0.97, 0.5, 0.999, "The share of packets that come in time.").live(),
        ParamSpec::int("min_ms", 0, 0, 2_000, "The least delay.").unit("ms").live(),
        ParamSpec::int("max_ms", 500, 0, 2_000, "The greatest delay.").unit("ms").live(),
        ParamSpec::int("wait_ms", 20, 0, 1_000, "How long a picture waits for a missing packet.")
            .unit("ms")
            .live(),
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| Ok(Box::new(JitterBuffer::new(&setup))),
};

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let min = Duration::from_millis(u64::try_from(offer.params.int("min_ms")).unwrap_or(0));
    let input = offer.inputs.first().copied().flatten().unwrap_or(MediaType::RTP);
    // Where the codec is not known, what both have.
    let least = match input {
        MediaType::Rtp { codec: Some(Codec::Opus) } => min.max(SLACK),
        _ => min,
    };
    Ok(Negotiated::new([input]).latency(least))
}

/// What a jitter buffer has decided.
pub(crate) enum Step {
    /// This goes out.
    Put(Frame),
    /// A frame without payload goes out.
    Hollow(Header),
    /// A frame was let go.
    Dropped(DropReason),
    /// No picture can be decoded until a key frame comes.
    AskForKeyFrame,
}

struct JitterBuffer {
    range: DelayRange,
    wait: Duration,
    audio: Option<AudioJitter>,
    video: Option<VideoJitter>,
}

impl JitterBuffer {
    fn new(setup: &Setup<'_>) -> Self {
        let millis = |name| Duration::from_millis(u64::try_from(setup.params.int(name)).unwrap_or(0));
        let range = DelayRange {
            quantile: setup.params.float("quantile"),
            min: millis("min_ms"),
            max: millis("max_ms"),
        };
        let mut buffer = Self { range, wait: millis("wait_ms"), audio: None, video: None };
        // Known codecs are prepared for here; the storage of others is made
        // with their first packet.
        if let Some(Some(MediaType::Rtp { codec })) = setup.inputs.first() {
            match codec {
                Some(Codec::Opus) => buffer.audio = Some(AudioJitter::new(range)),
                Some(Codec::Av1) => buffer.video = Some(VideoJitter::new(range, buffer.wait)),
                None => {}
            }
        }
        buffer
    }

    fn take(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            let now = cx.now();
            let refused = match *frame.format() {
                Format::Rtp { codec: Codec::Opus, .. } => {
                    self.audio.get_or_insert_with(|| AudioJitter::new(self.range)).insert(now, frame)
                }
                Format::Rtp { codec: Codec::Av1, .. } => self
                    .video
                    .get_or_insert_with(|| VideoJitter::new(self.range, self.wait))
                    .insert(now, frame),
                _ => return Err(Fault::new(FaultKind::WrongFormat, "rtp.jitter_buffer takes RTP packets")),
            };
            if let Some(reason) = refused {
                cx.dropped(reason);
            }
        }
        Ok(())
    }

    fn put_out(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        while let Some(step) = self.audio.as_mut().and_then(|audio| audio.poll(now)) {
            perform(step, Codec::Opus, cx);
        }
        while let Some(step) = self.video.as_mut().and_then(|video| video.poll(now)) {
            perform(step, Codec::Av1, cx);
        }
        let audio = self.audio.as_ref().and_then(AudioJitter::wake_at);
        let video = self.video.as_ref().and_then(VideoJitter::wake_at);
        if let Some(at) = [audio, video].into_iter().flatten().min() {
            cx.wake_at(at);
        }
    }

    fn set(&mut self, param: &str, value: f64) {
        let millis = Duration::from_secs_f64((value / 1e3).clamp(0.0, 2.0));
        match param {
            "quantile" => self.range.quantile = value,
            "min_ms" => self.range.min = millis,
            "max_ms" => self.range.max = millis,
            "wait_ms" => self.wait = millis,
            _ => {}
        }
        if let Some(audio) = &mut self.audio {
            audio.set_range(self.range);
        }
        if let Some(video) = &mut self.video {
            video.set_range(self.range, self.wait);
        }
    }

    fn may_ask(&mut self, now: Timestamp) -> bool {
        self.video.as_mut().is_none_or(|video| video.may_ask(now))
    }
}

fn perform(step: Step, codec: Codec, cx: &mut Context<'_>) {
    match step {
        Step::Put(frame) => cx.push(0, frame),
        Step::Hollow(header) => {
            let frame = cx.rtp(0, codec, 0, header);
            cx.push(0, frame);
        }
        Step::Dropped(reason) => cx.dropped(reason),
        Step::AskForKeyFrame => {
            cx.request(0, &Control::KeyFrame);
            cx.emit(EventKind::KeyFrameRequested);
        }
    }
}

impl Node for JitterBuffer {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.take(cx)?;
        self.put_out(cx);
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.take(cx)?;
        if let Some(audio) = &mut self.audio {
            audio.end();
        }
        if let Some(video) = &mut self.video {
            video.end();
        }
        self.put_out(cx);
        let is_empty = self.audio.as_ref().is_none_or(AudioJitter::is_empty)
            && self.video.as_ref().is_none_or(VideoJitter::is_empty);
        Ok(if is_empty { Finish::Done } else { Finish::Later })
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match control {
            Control::Set { param, value } => self.set(param, value.as_float()),
            // Many decoders may ask at once, and this node too.
            Control::KeyFrame if from.is_some() && !self.may_ask(cx.now()) => {}
            _ if from.is_some() => cx.forward(control),
            _ => {}
        }
        Ok(())
    }
}
