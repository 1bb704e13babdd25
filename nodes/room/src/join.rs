//! `room.join`: takes part in a call: sends to everyone in a room and gives an
//! output per participant and stream.
//!
//! Ports: `audio_in`, `video_in`, `screen_in`, `screen_audio_in`: RTP packets to
//! publish, each may stay unlinked → for each participant `audio`, `video`, `screen`
//! and `screen_audio`: its RTP packets.
//!
//! Parameters: `url`, required: `mem://ROOM`, a room inside this engine,
//! `udp://LOCAL_IP:PORT?remote=IP:PORT`, plain RTP between two addresses, or
//! `ws://HOST:PORT` and `wss://HOST:PORT`, a room server such as `sidetone serve`;
//! `user`, 1 to 64 characters: the name that others see, for a room server its
//! token's; `token`, what a room server is shown; `auto_publish` and `auto_play`,
//! true or false, default true: whether each input is published with its first
//! packet, and whether others' streams come without being asked for; `ca_file`, a
//! PEM file of the certificates that vouch for a `wss://` server, default those that
//! this machine trusts; `timeout_ms`, 200 to 60,000 ms, default 3,000: over udp, a
//! participant of whom nothing is heard for so long has left (reports come every
//! second, so below 2,000 ms packets must flow); `allow_remote`, true or false,
//! default false: lets udp and ws use addresses other than this machine's own
//! (packets, or messages, are not encrypted).
//!
//! Latency: none over mem; over udp and ws the system's.
//!
//! Events: a participant joined or left and why; began or ceased to send a
//! stream; a key frame was requested; the same user joined again elsewhere,
//! which ends this login; from a room server whatever `RoomEvent` has: joining,
//! reconnecting, volumes, who is speaking, networks and more. A room server's node is
//! told `Command`s: publish, play, mute, renew, leave. A break is mended by itself; a
//! server that does not let in at first is a fault. Packets that come before a template has linked their
//! participant wait for up to 1 s from when it joined, 2,048 a stream, and go
//! as unlinked after that. A newcomer makes every publisher send a key frame.
//! When the graph stops, the room says goodbye and takes what others still send
//! until they have left too, for at most 500 ms.
//!
//! Method: mem hands frames over by lock-free queues. udp is RTP and RTCP on one
//! port (RFC 3550, RFC 5761), codecs told apart by payload type: reports every
//! second carry the user's name (§ 6.5.1), goodbye (§ 6.6) leaves, picture loss
//! indication (RFC 4585 § 6.3.1) asks for a key frame, REMB
//! (draft-alvestrand-rmcat-remb) for a bit rate; the abs-capture-time header
//! extension tells when a packet was captured. ws is docs/protocol.md, with media by
//! WebRTC: ICE, DTLS-SRTP, NACK and transport-wide congestion control, by str0m.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> pack -> room.audio_in"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.pack = { kind = "rtp.pack_opus" }
//! nodes.room = { kind = "room.join", url = "mem://demo", user = "alice" }
//! ```

use std::time::Duration;

use sidetone_core::registry::declared;
use sidetone_core::{
    Codec, Context, Control, Fault, FaultKind, Finish, Format, LeaveReason, MediaType, Medium, Mismatch,
    Node, NodeError, NodeSpec, ParamSpec, Placement, PortSpec, Setup, Through, Timestamp,
};

use crate::client::session::Command;
use crate::login::Login;
use crate::mem::MemTransport;
use crate::peers::{GROUP, OUTPUTS, Peers, SOURCES};
use crate::protocol::{Kind, Source};
use crate::transport::Transport;
use crate::udp::{self, UdpTransport};
use crate::url::Url;
use crate::ws::WsTransport;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "room.join",
    summary: "Takes part in a call: sends to everyone in a room and gives an output per participant.",
    sheet: sidetone_core::data_sheet!("join.rs"),
    // In the order of `Source`, which is each port's place.
    inputs: &[
        PortSpec::new("audio_in", MediaType::rtp(Codec::Opus), "The sound to publish.").optional(),
        PortSpec::new("video_in", MediaType::rtp(Codec::Av1), "The pictures to publish.").optional(),
        PortSpec::new("screen_in", MediaType::rtp(Codec::Av1), "A screen to publish; not over udp.")
            .optional()
            .by_name(),
        PortSpec::new("screen_audio_in", MediaType::rtp(Codec::Opus), "What it lets hear; not over udp.")
            .optional()
            .by_name(),
    ],
    outputs: &[
        PortSpec::new(OUTPUTS[0], MediaType::rtp(Codec::Opus), "A participant's sound.").each(GROUP),
        PortSpec::new(OUTPUTS[1], MediaType::rtp(Codec::Av1), "A participant's pictures.").each(GROUP),
        PortSpec::new(OUTPUTS[2], MediaType::rtp(Codec::Av1), "A participant's screen.")
            .each(GROUP)
            .by_name(),
        PortSpec::new(OUTPUTS[3], MediaType::rtp(Codec::Opus), "What a participant's screen lets hear.")
            .each(GROUP)
            .by_name(),
    ],
    params: &[
        ParamSpec::text(
            "url",
            "",
            "Where the room is: mem://ROOM, udp://LOCAL_IP:PORT?remote=IP:PORT or ws://HOST:PORT.",
        )
        .required(),
        ParamSpec::text("user", "", "The name that others see, 1 to 64 characters; by ws the token's."),
        ParamSpec::text("token", "", "By ws, what says who this is: see `sidetone token`."),
        ParamSpec::bool("auto_publish", true, "By ws, whether each input is published by itself."),
        ParamSpec::bool("auto_play", true, "By ws, whether others' streams come by themselves."),
        ParamSpec::text("ca_file", "", "By wss, a PEM file of whom to trust; the system's when empty."),
        ParamSpec::int(
            "timeout_ms",
            3_000,
            200,
            60_000,
            "Over udp, silence after which a participant has left.",
        )
        .unit("ms"),
        ParamSpec::bool(
            "allow_remote",
            false,
            "Lets udp and ws use addresses other than this machine's own.",
        ),
    ],
    placement: Placement::Own,
    real_time: false,
    negotiate: &|offer| {
        let url = Login::of(offer.params, false)?.url;
        let beyond = offer.inputs.iter().skip(udp::SOURCES.len()).position(Option::is_some);
        if let (Url::Udp { .. }, Some(port)) = (url, beyond) {
            return Err(Mismatch {
                port: port + udp::SOURCES.len(),
                takes: "goes nowhere over udp://, which carries one stream of sound and one of pictures"
                    .into(),
                help: "join a room by mem:// or ws://".into(),
            });
        }
        declared(offer)
    },
    build: &|setup| Ok(Box::new(Join::new(&setup)?)),
};

/// How long packets of others are waited for once we have said goodbye.
const LINGER: Duration = Duration::from_millis(500);

const fn medium_of(source: Source) -> Medium {
    match source.kind() {
        Kind::Audio => Medium::Audio,
        Kind::Video => Medium::Video,
    }
}

struct Join {
    transport: Box<dyn Transport>,
    peers: Peers,
    /// Which sources are being published.
    publishes: [bool; SOURCES],
    /// Until when we stay, once we have said goodbye.
    until: Option<Timestamp>,
}

impl Join {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let login = Login::of(setup.params, true)?;
        let transport: Box<dyn Transport> = match &login.url {
            Url::Mem { room } => Box::new(MemTransport::enter(setup, room, &login.user)),
            Url::Udp { local, remote } => Box::new(UdpTransport::open(setup, *local, *remote, &login.user)?),
            Url::Server(server) => Box::new(WsTransport::open(setup, server, &login)?),
        };
        Ok(Self { transport, peers: Peers::default(), publishes: [false; SOURCES], until: None })
    }

    /// Takes from the room and sends to it; asks to be called when more is due.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.transport.poll(cx, &mut self.peers)?;
        for source in Source::ALL {
            self.publish(cx, source)?;
        }
        self.peers.pump(cx);
        let next = self.peers.next_call(cx.now()).into_iter().chain(self.transport.next_call()).min();
        if let Some(next) = next {
            cx.wake_at(next);
        }
        Ok(())
    }

    fn publish(&mut self, cx: &mut Context<'_>, source: Source) -> Result<(), Fault> {
        let (place, medium) = (source as usize, medium_of(source));
        while let Some(frame) = cx.pop(place) {
            if !matches!(frame.format(), Format::Rtp { codec, .. } if codec.medium() == medium) {
                return Err(Fault::new(
                    FaultKind::WrongFormat,
                    match medium {
                        Medium::Audio => {
                            "room.join's audio inputs take RTP of sound: link it from rtp.pack_opus"
                        }
                        Medium::Video => {
                            "room.join's other inputs take RTP of pictures: link it from rtp.pack_av1"
                        }
                    },
                ));
            }
            self.publishes[place] = true;
            self.transport.publish(cx, source, frame);
        }
        if self.publishes[place] && cx.has_ended(place) {
            self.publishes[place] = false;
            self.transport.cease(source, cx.now());
        }
        Ok(())
    }
}

impl Node for Join {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.turn(cx)
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.turn(cx)?;
        let until = match self.until {
            Some(until) => until,
            None => {
                self.transport.say_goodbye(cx.now());
                *self.until.insert(cx.now() + LINGER)
            }
        };
        if (self.transport.is_alone() && self.peers.is_empty()) || cx.now() >= until {
            self.peers.vanish_all(cx, LeaveReason::Closed);
            self.transport.leave();
            return Ok(Finish::Done);
        }
        let next = self.peers.next_call(cx.now()).into_iter().chain(self.transport.next_call());
        cx.wake_at(next.fold(until, Timestamp::min));
        Ok(Finish::Later)
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        _: &mut Context<'_>,
    ) -> Result<(), Fault> {
        if let Control::Own(own) = control
            && let Some(command) = own.get::<Command>()
        {
            self.transport.command(command.clone());
            return Ok(());
        }
        // What a participant's decoder asks for is for that participant to do.
        let Some(Through { port, key: Some(key) }) = from else { return Ok(()) };
        if let (Some(source), Control::KeyFrame | Control::Bitrate { .. }) = (Source::ALL.get(port), control)
        {
            self.transport.ask(key, *source, control);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
