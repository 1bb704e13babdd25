//! `Peer`: the server's end of one participant's media: ICE, DTLS and SRTP, by str0m,
//! without a socket or a clock.
//!
//! Whatever happens in str0m happens to one peer alone: a panic ends that peer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use str0m::bwe::{Bitrate, BweKind};
use str0m::change::SdpOffer;
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, Media, MediaKind, Mid, Pt, Rid};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::{RtpPacket, RtpWrite, Ssrc};
use str0m::stats::MediaEgressStats;
use str0m::{Candidate, Event, IceCreds, Input, Rtc, RtcError};

use crate::protocol::{Code, Kind, SlotOf};
use crate::quality::WINDOW;
use crate::reception::{Interval, Reception};
use crate::rtc::{self, Gone, Identity, NoCertificate};

use super::Datagram;

/// Media sections of one offer.
const MOST_SECTIONS: usize = 64;
/// Candidates in one offer, and those that are told later.
const MOST_CANDIDATES: usize = 256;
const MOST_LATER: usize = 32;
/// SSRCs of one peer, RTX among them not; who sends more is none that we speak to.
const MOST_SOURCES: usize = 64;
/// How long media have to come up once an offer is answered.
const SLOW: Duration = Duration::from_secs(10);
/// Packets that a receiver may ask for again, and for how long.
const RESENDABLE: usize = 1_024;
const RESENDABLE_FOR: Duration = Duration::from_secs(1);
/// Of what is sent at most this part is sent again, before all such requests are let be:
/// where packets are lost for want of bandwidth, more would only displace others.
const RESENT_PART: f32 = 0.2;

/// What is taken to get through to a participant until something is known.
const FIRST_ESTIMATE: Bitrate = Bitrate::kbps(2_000);

/// What all peers of a server share.
pub(super) struct PeerConfig {
    identity: Identity,
    /// Where media are taken.
    addresses: Vec<SocketAddr>,
}

/// A packet that came: of which stream, in which of its sizes, of which codec.
pub(super) struct Came {
    pub(super) stream: u32,
    pub(super) rid: Option<Rid>,
    pub(super) codec: Codec,
    pub(super) packet: RtpPacket,
}

/// What a peer has to say.
#[allow(clippy::large_enum_variant)] // nearly all are packets
pub(super) enum News {
    Came(Came),
    /// An RTP datagram gave no packet.
    Fruitless,
    /// What is played in this slot cannot go on without a key frame.
    KeyFrameWanted(usize),
    /// So many bits per second get through to the participant.
    Estimate(u64),
    /// So did what was sent in a slot come, by RTCP.
    Reported(Kind, Interval),
}

/// The server's end of one participant's media.
pub(super) struct Peer {
    rtc: Rtc,
    /// Whether it finds out how much gets through.
    estimates: bool,
    /// When it is to be settled again.
    pub(super) due: Instant,
    /// When something last came.
    pub(super) heard: Instant,
    /// When its media must have come up, where they have not.
    up_by: Option<Instant>,
    /// Whether an RTP datagram came of which nothing was seen yet.
    is_owing: bool,
    /// Something was done with it since it was last settled.
    pub(super) is_touched: bool,
    /// Among that, a packet was written.
    is_written: bool,
    /// Which media section is which stream.
    streams: HashMap<Mid, u32>,
    /// The media sections that are room for others' streams.
    slots: Vec<SlotTx>,
    /// Of which stream the packets of a source are, and in which size.
    sources: HashMap<Ssrc, Source>,
    /// Packets sent in each slot, and lost of them, as its reports said last.
    reports: HashMap<Mid, (u64, u64)>,
    /// Media sections to send in that were made ready.
    ready: Vec<Mid>,
    /// Candidates that were told since the offer.
    later: usize,
    events: Vec<Event>,
}

/// Where the packets of an SSRC are from.
struct Source {
    /// Of which stream they are, in which of its sizes, of which codec.
    of: Option<(u32, Option<Rid>, Codec)>,
    reception: Reception,
}

/// Room for others' streams.
struct SlotTx {
    mid: Mid,
    /// Its own sender's.
    ssrc: Ssrc,
    /// What it takes, and under which payload type.
    codecs: Vec<(Codec, Pt)>,
}

/// The answer to an offer.
pub(super) struct Answer {
    pub(super) sdp: String,
    /// The codecs of the streams, by their numbers.
    pub(super) streams: Vec<(u32, String)>,
    /// The codecs that the participant takes.
    pub(super) takes: Vec<String>,
}

impl PeerConfig {
    /// # Errors
    /// This machine's cryptography makes no certificate.
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Result<Self, NoCertificate> {
        Ok(Self { identity: Identity::new()?, addresses })
    }

    fn rtc(&self, creds: IceCreds, estimates: bool, now: Instant) -> Rtc {
        rtc::config(&self.identity)
            .set_stats_interval(Some(WINDOW))
            .set_local_ice_credentials(creds)
            .set_ice_lite(true)
            .enable_bwe(estimates.then_some(FIRST_ESTIMATE))
            .enable_vp8(true)
            .enable_h264(true)
            .enable_vp9(true)
            .build(now)
    }
}

impl Peer {
    /// A peer of nobody yet, which goes by the user name of `creds`, and which finds out
    /// how much gets through, or does not: sound is never thinned, and asking costs.
    pub(super) fn new(
        config: &PeerConfig,
        creds: IceCreds,
        estimates: bool,
        now: Instant,
    ) -> Result<Self, Gone> {
        let rtc = catch_unwind(AssertUnwindSafe(|| {
            let mut rtc = config.rtc(creds, estimates, now);
            for address in &config.addresses {
                // Those it does not take it cannot be reached at.
                let host = Candidate::host(*address, Protocol::Udp);
                let _ = host.map(|candidate| rtc.add_local_candidate(candidate).is_some());
            }
            rtc
        }));
        Ok(Self {
            rtc: rtc.map_err(|_| Gone::Panicked)?,
            estimates,
            due: now,
            heard: now,
            up_by: None,
            is_owing: false,
            is_touched: false,
            is_written: false,
            streams: HashMap::new(),
            slots: Vec::new(),
            sources: HashMap::new(),
            reports: HashMap::new(),
            ready: Vec::new(),
            later: 0,
            events: Vec::new(),
        })
    }

    /// The name that requests for this peer have: changes with each restart of ICE.
    pub(super) fn name(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Answers an offer: which media sections send which streams, and which are room
    /// for others'. To be settled after.
    ///
    /// # Errors
    /// Of the outer: the peer is gone; of the inner: the offer is none.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        sdp: &str,
        send: &[(String, u32)],
        recv: &[SlotOf],
    ) -> Result<Result<Answer, Code>, Gone> {
        let count = |start| sdp.lines().filter(|line| line.starts_with(start)).count();
        if count("m=") > MOST_SECTIONS || count("a=candidate") > MOST_CANDIDATES {
            return Ok(Err(Code::BadSdp));
        }
        let answer = self.guarded(|rtc| {
            let Ok(offer) = SdpOffer::from_sdp_string(sdp) else { return Ok(None) };
            Ok(rtc.sdp_api().accept_offer(offer).ok().map(|answer| answer.to_sdp_string()))
        })?;
        let Some(answer) = answer else { return Ok(Err(Code::BadSdp)) };
        let mut streams = Vec::new();
        let mut sections = HashMap::new();
        for (mid, stream) in send {
            let mid = Mid::from(&**mid);
            if self.section(mid).is_none_or(|(_, direction)| !direction.is_receiving()) {
                return Ok(Err(Code::BadSdp));
            }
            let Some((codec, _)) = self.codecs(mid).next() else { return Ok(Err(Code::Codec)) };
            streams.push((*stream, name(codec)));
            sections.insert(mid, *stream);
        }
        let mut takes: Vec<String> = Vec::new();
        let mut slots = Vec::new();
        for SlotOf { mid, kind } in recv {
            let mid = Mid::from(&**mid);
            if self.section(mid) != Some((*kind, Direction::SendOnly)) {
                return Ok(Err(Code::BadSdp));
            }
            let codecs: Vec<_> = self.codecs(mid).collect();
            takes.extend(codecs.iter().map(|(codec, _)| name(*codec)));
            let Some(ssrc) = self.make_ready(mid, *kind)? else { return Ok(Err(Code::BadSdp)) };
            slots.push(SlotTx { mid, ssrc, codecs });
        }
        takes.sort_unstable();
        takes.dedup();
        (self.streams, self.slots, self.later) = (sections, slots, 0);
        self.sources.clear();
        self.up_by = (!self.rtc.is_connected()).then_some(now + SLOW);
        Ok(Ok(Answer { sdp: answer, streams, takes }))
    }

    fn section(&self, mid: Mid) -> Option<(Kind, Direction)> {
        let media = self.rtc.media(mid)?;
        let kind = match media.kind() {
            MediaKind::Audio => Kind::Audio,
            MediaKind::Video => Kind::Video,
        };
        Some((kind, media.direction()))
    }

    /// The codecs of a media section that both sides have, the other side's best first.
    fn codecs(&self, mid: Mid) -> impl Iterator<Item = (Codec, Pt)> {
        let pts = self.rtc.media(mid).map(Media::remote_pts).unwrap_or_default();
        let params = self.rtc.codec_config().params();
        let of = |pt| params.iter().find(|params| params.pt() == pt).map(|params| params.spec().codec);
        pts.iter().filter_map(move |pt| of(*pt).map(|codec| (codec, *pt)))
    }

    /// Makes a media section ready to be sent in: its sender, if it has one.
    fn make_ready(&mut self, mid: Mid, kind: Kind) -> Result<Option<Ssrc>, Gone> {
        let is_new = !self.ready.contains(&mid);
        if is_new {
            self.ready.push(mid);
        }
        self.guarded(|rtc| {
            let mut api = rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(mid, None) else { return Ok(None) };
            if is_new {
                // Packets go on when they come: the publisher paced them.
                stream.set_unpaced(true);
                if kind == Kind::Video {
                    stream.set_rtx_cache(RESENDABLE, RESENDABLE_FOR, Some(RESENT_PART));
                }
            }
            Ok(Some(stream.ssrc()))
        })
    }

    /// Whether it was told of as many addresses as it looks at: they are hints, since
    /// from where it is asked it learns by itself.
    pub(super) const fn knows_enough(&self) -> bool {
        self.later >= MOST_LATER
    }

    /// The participant can be reached at one more address.
    pub(super) fn candidate(&mut self, candidate: &str) -> Result<(), Gone> {
        self.later += 1;
        self.guarded(|rtc| {
            if let Ok(candidate) = Candidate::from_sdp_string(candidate) {
                rtc.add_remote_candidate(candidate);
            }
            Ok(())
        })
    }

    /// Whether a request that names this peer is signed as its own.
    pub(super) fn has_signed(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<bool, Gone> {
        let Ok(receive) = Receive::new(Protocol::Udp, from, local, bytes) else { return Ok(false) };
        self.guarded(|rtc| Ok(rtc.accepts(&Input::Receive(now, receive))))
    }

    /// Something came for it. To be settled after.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Gone> {
        let Ok(receive) = Receive::new(Protocol::Udp, from, local, bytes) else { return Ok(()) };
        self.is_owing = rtc::is_rtp(bytes);
        // That is a look at the time, too.
        self.is_written = false;
        self.guarded(|rtc| rtc.handle_input(Input::Receive(now, receive)))
    }

    /// It is to be settled. Whether that is news.
    pub(super) const fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.is_touched, true)
    }

    /// Does all that is due by `now`; what is to be sent and told comes in `out` and
    /// `news`.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        out: &mut Vec<Datagram>,
        news: &mut Vec<News>,
    ) -> Result<(), Gone> {
        let mut events = std::mem::take(&mut self.events);
        self.is_touched = false;
        if std::mem::take(&mut self.is_written) {
            // What was written waits for a look at the time.
            self.guarded(|rtc| rtc.handle_input(Input::Timeout(now)))?;
        }
        let send = |send: Transmit| {
            out.push(Datagram { local: send.source, remote: send.destination, bytes: send.contents.into() });
        };
        self.due = rtc::settle(&mut self.rtc, now, self.estimates, send, &mut events)?;
        if self.up_by.is_some() && self.rtc.is_connected() {
            self.up_by = None;
        }
        if let Some(by) = self.up_by {
            if by <= now {
                return Err(Gone::Slow);
            }
            self.due = self.due.min(by);
        }
        for event in events.drain(..) {
            match event {
                Event::RtpPacket(packet) => {
                    self.is_owing = false;
                    news.extend(self.came(now, packet)?.map(News::Came));
                }
                Event::KeyframeRequest(request) => {
                    let slot = self.slots.iter().position(|slot| slot.mid == request.mid);
                    news.extend(slot.map(News::KeyFrameWanted));
                }
                Event::MediaEgressStats(stats) => news.extend(self.reported(&stats)),
                Event::EgressBitrateEstimate(kind) => news.extend(estimate(&kind).map(News::Estimate)),
                _ => {}
            }
        }
        self.events = events;
        news.extend(std::mem::take(&mut self.is_owing).then_some(News::Fruitless));
        Ok(())
    }

    /// Of which stream a packet is; of none in a section that the offer did not name.
    fn came(&mut self, now: Instant, packet: RtpPacket) -> Result<Option<Came>, Gone> {
        let ssrc = packet.header.ssrc;
        let (seq, timestamp) = (*packet.seq_no, packet.header.timestamp);
        let known = self.sources.len();
        let source = match self.sources.get_mut(&ssrc) {
            Some(Source { of, reception }) => {
                let rate = packet.time.frequency().get();
                reception.packet(now, seq, timestamp, packet.payload.len(), rate);
                *of
            }
            None if known == MOST_SOURCES => return Err(Gone::Flood(MOST_SOURCES)),
            None => {
                let from = self.guarded(|rtc| {
                    Ok(rtc.direct_api().stream_rx(&ssrc).map(|stream| (stream.mid(), stream.rid())))
                })?;
                let params = self.rtc.codec_config().params();
                let codec = params.iter().find(|params| params.pt() == packet.header.payload_type);
                let of = from.zip(codec).and_then(|((mid, rid), params)| {
                    Some((*self.streams.get(&mid)?, rid, params.spec().codec))
                });
                let reception = Reception::new(now, seq, timestamp, packet.payload.len());
                self.sources.insert(ssrc, Source { of, reception });
                of
            }
        };
        Ok(source.map(|(stream, rid, codec)| Came { stream, rid, codec, packet }))
    }

    /// How well what the participant sends came, since this was last asked.
    pub(super) fn receptions(&mut self) -> impl Iterator<Item = (Kind, Interval)> {
        self.sources.values_mut().filter_map(|Source { of, reception }| {
            let (.., codec) = of.as_ref()?;
            Some((if codec.is_video() { Kind::Video } else { Kind::Audio }, reception.look()))
        })
    }

    /// What a report says of a slot, since the one before.
    fn reported(&mut self, stats: &MediaEgressStats) -> Option<News> {
        let remote = stats.remote.as_ref()?;
        let (kind, _) = self.section(stats.mid)?;
        let now = (stats.packets, remote.packets_lost);
        let before = self.reports.insert(stats.mid, now)?;
        let since = |now: u64, before| u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        let ticks = if kind == Kind::Video { 90.0 } else { 48.0 };
        let (expected, lost) = (since(now.0, before.0), since(now.1, before.1));
        Some(News::Reported(kind, Interval { expected, lost, jitter_ms: f64::from(remote.jitter) / ticks }))
    }

    /// Sends in a slot, if it can be played there; `make` makes the packet,
    /// with the payload type that it is given. To be settled after. Whether it goes out.
    pub(super) fn send(
        &mut self,
        slot: usize,
        codec: Codec,
        make: impl FnOnce(Pt) -> RtpWrite,
    ) -> Result<bool, Gone> {
        let Some(SlotTx { ssrc, codecs, .. }) = self.slots.get(slot) else { return Ok(false) };
        let fits = codecs.iter().find(|(known, _)| *known == codec);
        let Some(&(_, pt)) = fits else { return Ok(false) };
        let ssrc = *ssrc;
        self.is_written = true;
        self.guarded(|rtc| {
            // Before, it would wait without a bound.
            if !rtc.is_connected() {
                return Ok(false);
            }
            let mut api = rtc.direct_api();
            let Some(stream) = api.stream_tx(&ssrc) else { return Ok(false) };
            stream.write_rtp(make(pt));
            Ok(true)
        })
    }

    /// Asks the participant for a key frame of a stream of theirs, or of one of its
    /// sizes. To be settled after.
    pub(super) fn ask_key_frame(&mut self, stream: u32, rid: Option<&str>) -> Result<(), Gone> {
        let Some(mid) = self.streams.iter().find(|(_, known)| **known == stream).map(|(mid, _)| *mid) else {
            return Ok(());
        };
        self.guarded(|rtc| {
            if let Some(stream) = rtc.direct_api().stream_rx_by_mid(mid, rid.map(Rid::from)) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
            Ok(())
        })
    }

    /// What is to get through to the participant, in bits per second: what all that is
    /// played takes at least, and at best. To be settled after.
    pub(super) fn bitrates(&mut self, least: u64, most: u64) -> Result<(), Gone> {
        self.guarded(|rtc| {
            rtc.bwe().set_bitrate(least.into(), most.into());
            Ok(())
        })
    }

    /// Says goodbye. To be settled after, until it is gone.
    pub(super) fn close(&mut self) -> Result<(), Gone> {
        self.guarded(Rtc::close)
    }

    fn guarded<T>(&mut self, touch: impl FnOnce(&mut Rtc) -> Result<T, RtcError>) -> Result<T, Gone> {
        rtc::guarded(&mut self.rtc, touch)
    }
}

/// Whether a text is an offer, as far as that is known without a peer.
pub(super) fn is_offer(sdp: &str) -> bool {
    catch_unwind(|| SdpOffer::from_sdp_string(sdp).is_ok()).unwrap_or(false)
}

/// A codec's name, as the protocol has it.
fn name(codec: Codec) -> String {
    codec.to_string().to_ascii_lowercase()
}

fn estimate(kind: &BweKind) -> Option<u64> {
    match kind {
        BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. } => Some(estimate.as_u64()),
        _ => None,
    }
}
