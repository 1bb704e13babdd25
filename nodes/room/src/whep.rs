//! `room.whep`: plays sound and pictures from a WHEP server.
//!
//! Ports: none → `audio`, `video`: RTP packets of what is played; each may stay
//! unlinked.
//!
//! Parameters: `url`, required: `http://HOST:PORT/PATH` or `https://…`, such as
//! `http://127.0.0.1:7880/whep/demo/alice` of `sidetone serve`; `token`, empty by
//! default: goes with every request to that server as a bearer token; `ca_file`, a PEM file
//! of the certificates that vouch for an `https://` server, default those that this
//! machine trusts; `allow_remote`, true or false, default false: lets it speak to other
//! machines by http (media are encrypted, the token is not).
//!
//! Latency: the system's.
//!
//! Events: a key frame that a decoder asks for is asked of the server. Where nobody
//! publishes yet, or a connection is lost, it is tried anew, after 0.3 s at first and
//! 7 s at most. A server that refuses for good (a token that does not hold, no codec in
//! common) is a fault. Opus and AV1 are played; packets of other codecs are let be.
//!
//! Method: draft-ietf-wish-whep: an offer by POST, media by ICE, DTLS and SRTP, DELETE in
//! the end. The abs-capture-time header extension tells when a packet was captured. A
//! thread of its own speaks to the server.
//!
//! ```toml
//! sidetone = 1
//! links = ["play.audio -> jitter -> unpack -> decode -> save"]
//! nodes.play = { kind = "room.whep", url = "http://127.0.0.1:7880/whep/demo/alice" }
//! nodes.jitter = { kind = "rtp.jitter_buffer" }
//! nodes.unpack = { kind = "rtp.unpack_opus" }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.save = { kind = "file.wav_sink", path = "out/played.wav" }
//! ```

use sidetone_core::registry::declared;
use sidetone_core::{
    Codec, Context, Control, DropReason, Fault, Finish, MediaType, Node, NodeError, NodeSpec, ParamSpec,
    Placement, PortSpec, Setup, Through,
};

use crate::outward::http::server;
use crate::outward::wire::{Came, Wire};
use crate::packets;
use crate::whip::REFUSED;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "room.whep",
    summary: "Plays sound and pictures from a WHEP server.",
    sheet: sidetone_core::data_sheet!("whep.rs"),
    inputs: &[],
    outputs: &[
        PortSpec::new("audio", MediaType::rtp(Codec::Opus), "The sound.").optional(),
        PortSpec::new("video", MediaType::rtp(Codec::Av1), "The pictures.").optional(),
    ],
    params: &[
        ParamSpec::text("url", "", "What to play: http://HOST:PORT/PATH or https://HOST/PATH.").required(),
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
    build: &|setup| Ok(Box::new(Whep::new(&setup)?)),
};

struct Whep {
    wire: Wire,
    packets: [u64; 2],
}

impl Whep {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        Ok(Self { wire: Wire::open(setup, Vec::new())?, packets: [0; 2] })
    }
}

impl Node for Whep {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        (0..self.wire.lost().0).for_each(|_| cx.dropped(DropReason::Overflow));
        while let Some(came) = self.wire.take() {
            let (mut frame, kind, header) = match came {
                Came::Packet(frame, kind, header) => (frame, kind, header),
                Came::Refused => return Err(REFUSED),
                Came::KeyFrameWanted | Came::Estimate(_) => continue,
            };
            let port = kind as usize;
            packets::enter(cx, &mut frame, &header, &mut self.packets[port]);
            if cx.is_linked(port, None) {
                cx.push(port, frame);
            } else {
                cx.dropped(DropReason::Unlinked);
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Context<'_>) -> Result<Finish, Fault> {
        Ok(Finish::Done)
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        _: &mut Context<'_>,
    ) -> Result<(), Fault> {
        if let (Control::KeyFrame, Some(Through { port: 1, .. })) = (control, from) {
            self.wire.ask_key_frame();
        }
        Ok(())
    }
}
