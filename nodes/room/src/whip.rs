//! `room.whip`: publishes sound and pictures at a WHIP server.
//!
//! Ports: `audio_in`, `video_in`: RTP packets to publish; each may stay unlinked, not
//! both → none.
//!
//! Parameters: `url`, required: `http://HOST:PORT/PATH` or `https://…`, such as
//! `http://127.0.0.1:7880/whip/demo` of `sidetone serve`; `token`, empty by default:
//! goes with every request to that server as a bearer token; `ca_file`, a PEM file of the
//! certificates that vouch for an `https://` server, default those that this machine
//! trusts; `allow_remote`, true or false, default false: lets it speak to other machines
//! by http (media are encrypted, the token is not).
//!
//! Latency: the system's.
//!
//! Events: a key frame that those who play ask for goes upstream, and so does the bit
//! rate that gets through. What cannot be sent, since there is no connection yet or no
//! more, is dropped as unlinked; a connection that is lost is made anew, after 0.3 s at
//! first and 7 s at most. A server that refuses for good (a token that does not hold,
//! no codec in common) is a fault.
//!
//! Method: RFC 9725: an offer by POST, media by ICE, DTLS and SRTP, DELETE in the end.
//! A thread of its own speaks to the server.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> pack -> out.audio_in"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.pack = { kind = "rtp.pack_opus" }
//! nodes.out = { kind = "room.whip", url = "http://127.0.0.1:7880/whip/demo" }
//! ```

use sidetone_core::registry::declared;
use sidetone_core::{
    Codec, Context, Control, DropReason, Fault, FaultKind, Finish, MediaType, Node, NodeError, NodeSpec,
    ParamSpec, Placement, PortSpec, Setup,
};

use crate::outward::http::server;
use crate::outward::wire::{Came, Wire};
use crate::packets;
use crate::protocol::Source;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "room.whip",
    summary: "Publishes sound and pictures at a WHIP server.",
    sheet: sidetone_core::data_sheet!("whip.rs"),
    inputs: &[
        PortSpec::new("audio_in", MediaType::rtp(Codec::Opus), "The sound to publish.").optional(),
        PortSpec::new("video_in", MediaType::rtp(Codec::Av1), "The pictures to publish.").optional(),
    ],
    outputs: &[],
    params: &[
        ParamSpec::text("url", "", "Where to publish: http://HOST:PORT/PATH or https://HOST/PATH.")
            .required(),
        ParamSpec::text("token", "", "The bearer token; none where empty."),
        ParamSpec::text("ca_file", "", "By https, a PEM file of whom to trust; the system's when empty."),
        ParamSpec::bool("allow_remote", false, "Lets it speak to other machines by http."),
    ],
    placement: Placement::Own,
    real_time: false,
    negotiate: &|offer| {
        server(offer.params)?;
        declared(offer)
    },
    build: &|setup| Ok(Box::new(Whip::new(&setup)?)),
};

/// What each input sends.
const SOURCES: [Source; 2] = [Source::Microphone, Source::Camera];
/// What sound is taken to need of what gets through, in bits per second.
const SOUND: u64 = 64_000;

/// The server refused for good.
pub(crate) const REFUSED: Fault =
    Fault::new(FaultKind::Io, "the server refuses: look at the url and the token, and at its log");

struct Whip {
    wire: Wire,
    /// What was last told upstream, in bits per second.
    told: u32,
}

impl Whip {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let linked = SOURCES.into_iter().zip(setup.inputs).filter(|(_, input)| input.is_some());
        let sends = linked.map(|(source, _)| source).collect();
        Ok(Self { wire: Wire::open(setup, sends)?, told: 0 })
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        for (port, source) in SOURCES.into_iter().enumerate() {
            while let Some(frame) = cx.pop(port) {
                let sent = packets::outgoing(frame.bytes()).map(|packet| self.wire.send(source, packet));
                match sent {
                    Some(true) => {}
                    Some(false) => cx.dropped(DropReason::Overflow),
                    None => cx.dropped(DropReason::Corrupt),
                }
            }
        }
        (0..self.wire.lost().1).for_each(|_| cx.dropped(DropReason::Unlinked));
        while let Some(came) = self.wire.take() {
            match came {
                Came::KeyFrameWanted => cx.request(1, &Control::KeyFrame),
                Came::Estimate(bps) => {
                    let bps = u32::try_from(bps.saturating_sub(SOUND)).unwrap_or(u32::MAX);
                    // Changes of less than a twentieth are none.
                    if bps.abs_diff(self.told) > self.told / 20 {
                        self.told = bps;
                        cx.request(1, &Control::Bitrate { bps });
                    }
                }
                Came::Refused => return Err(REFUSED),
                Came::Packet(..) => cx.dropped(DropReason::Unlinked),
            }
        }
        Ok(())
    }
}

impl Node for Whip {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.turn(cx)
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.turn(cx)?;
        Ok(Finish::Done)
    }
}
