//! `PeerConnection`: a participant's end of its media: ICE, DTLS and SRTP, by str0m,
//! without a socket or a clock.
//!
//! It always offers. What it sends are media sections of their own; what it takes comes
//! in slots, into each of which the server puts one stream after another, and whose
//! packets name their stream by the first CSRC.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sidetone_core::{Codec, Timestamp};
use str0m::bwe::{Bitrate, BweKind};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Rtc, RtcError};

use crate::client::session::{OfferKind, OfferWanted, Publish};
use crate::munge::{FIRST_BELOW, Munged, Munger};
use crate::protocol::{self, Kind, Limits, Slot, SlotOf, Source, StreamId};
use crate::rtc::{self, Gone, Identity, NoCertificate};
use crate::statistics::{self, Statistics};

/// ICE asks at least so often, and so soon again where nothing is answered.
const MOST_RTO: Duration = Duration::from_millis(500);
/// How often it asks without an answer before it gives up: for some 20 s, as long as a
/// server keeps a session.
const RETRANSMITS: usize = 40;
/// Packets that the server may ask for again, and for how long.
const RESENDABLE: usize = 1_024;
const RESENDABLE_FOR: Duration = Duration::from_secs(1);
/// Of what is sent at most this part is sent again: where packets are lost for want of
/// bandwidth, more would only displace others.
const RESENT_PART: f32 = 0.2;
/// What is taken to get through until something is known, in bits per second.
const FIRST_ESTIMATE: u64 = 2_000_000;

/// What the connections of a program share.
pub struct PeerConfig(Identity);

impl PeerConfig {
    /// With a certificate of its own. \[control\]
    ///
    /// # Errors
    /// This machine's cryptography makes none.
    pub fn new() -> Result<Self, NoCertificate> {
        Identity::new().map(Self)
    }

    fn rtc(&self, now: Instant) -> Rtc {
        let mut config = rtc::config(&self.0)
            .enable_bwe(Some(Bitrate::bps(FIRST_ESTIMATE)))
            .set_stats_interval(Some(REPORT_EVERY));
        config.set_max_stun_rto(MOST_RTO);
        config.set_max_stun_retransmits(RETRANSMITS);
        config.build(now)
    }
}

/// A packet that is to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Of which size, where the stream is sent in several: its place among the layers.
    pub layer: Option<usize>,
    /// Who sends it, as the packetizer counts: another one's numbers begin anew.
    pub ssrc: u32,
    /// RTP's sequence number.
    pub seq: u16,
    /// RTP's timestamp.
    pub timestamp: u32,
    /// RTP's marker.
    pub marker: bool,
    /// The header extensions: capture time, loudness.
    pub ext: ExtensionValues,
    /// What it carries.
    pub payload: Arc<[u8]>,
}

/// A packet that came.
#[derive(Debug)]
pub struct Incoming {
    /// Of which stream.
    pub no: u32,
    /// Of which codec; none of one that is not ours to play.
    pub codec: Option<Codec>,
    /// Changes with each change of what feeds the media section that it came in: numbers
    /// are one after another as long as this is the same.
    pub feed: u32,
    /// The packet.
    pub packet: RtpPacket,
}

/// What a connection has to say.
#[allow(clippy::large_enum_variant)] // nearly all are packets
#[derive(Debug)]
pub enum News {
    /// It is up.
    Connected,
    /// A packet came.
    Packet(Incoming),
    /// Those who play a stream of ours cannot go on without a key frame of it.
    KeyFrameWanted(StreamId),
    /// So many bits per second get through to the server.
    Estimate(u64),
    /// So many more times packets of another's stream, by its number, were asked for
    /// again, and a key frame of it was.
    Asked {
        /// Which.
        no: u32,
        /// Packets, how often.
        nacks: u64,
        /// A key frame, how often.
        plis: u64,
    },
    /// How what is sent does, and the way: one after another every [`REPORT_EVERY`], and
    /// after what was asked.
    Statistics(Statistics),
}

/// How often it tells how its media do.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);

/// A participant's media.
pub struct PeerConnection {
    config: Arc<PeerConfig>,
    rtc: Rtc,
    /// Where it is reached.
    address: SocketAddr,
    sends: BTreeMap<StreamId, Sending>,
    /// Of each media section that sends, in each size: they go on whatever it sends.
    numbers: HashMap<(Mid, usize), Numbers>,
    slots: Vec<(Mid, Kind)>,
    /// Media sections that sent, and may again.
    idle: Vec<(Mid, Kind)>,
    /// The offer that is not answered yet.
    pending: Option<Pending>,
    /// Which stream feeds a slot.
    fed: HashMap<Mid, u32>,
    /// Which stream's packets came last in a slot, and as the how many-th feed of all.
    feeds: HashMap<Mid, (u32, u32)>,
    feed: u32,
    /// What was asked for in a slot so far: packets again, and key frames.
    asked: HashMap<Mid, (u64, u64)>,
    events: Vec<Event>,
}

/// A stream that is sent.
#[derive(Clone)]
struct Sending {
    mid: Mid,
    source: Source,
    rids: Vec<Rid>,
}

/// The numbers of what a media section sends, in one size.
#[derive(Default)]
struct Numbers {
    munger: Option<Munger>,
    ssrc: u32,
    /// The newest number, counted on past its wrap.
    newest: u64,
}

struct Pending {
    g: u32,
    offer: SdpPendingOffer,
    sends: BTreeMap<StreamId, Sending>,
    slots: Vec<(Mid, Kind)>,
    idle: Vec<(Mid, Kind)>,
}

impl PeerConnection {
    /// One that is reached at `address` and has offered nothing yet. \[any\]
    ///
    /// # Errors
    /// str0m does not do.
    pub fn new(config: Arc<PeerConfig>, address: SocketAddr, now: Instant) -> Result<Self, Gone> {
        let mut rtc = config.rtc(now);
        add_address(&mut rtc, address)?;
        Ok(Self {
            config,
            rtc,
            address,
            sends: BTreeMap::new(),
            numbers: HashMap::new(),
            slots: Vec::new(),
            idle: Vec::new(),
            pending: None,
            fed: HashMap::new(),
            feeds: HashMap::new(),
            feed: 0,
            asked: HashMap::new(),
            events: Vec::new(),
        })
    }

    /// It is reached at another address from now on; to be told by the next offer,
    /// which restarts ICE. \[any\]
    ///
    /// # Errors
    /// It is gone.
    pub fn moved(&mut self, address: SocketAddr) -> Result<(), Gone> {
        let old = std::mem::replace(&mut self.address, address);
        rtc::guarded(&mut self.rtc, |rtc| {
            if let Ok(old) = Candidate::host(old, Protocol::Udp) {
                rtc.direct_api().invalidate_candidate(&old);
            }
            Ok(())
        })?;
        add_address(&mut self.rtc, address)
    }

    /// Makes an offer with room for so many streams of others. An offer before that was
    /// not answered is void. To be settled after. \[any\]
    ///
    /// # Errors
    /// It is gone.
    pub fn offer(
        &mut self,
        now: Instant,
        wanted: &OfferWanted,
        room: Limits,
    ) -> Result<protocol::Offer, Gone> {
        self.pending = None;
        if wanted.kind == OfferKind::Anew {
            self.rtc = self.config.rtc(now);
            add_address(&mut self.rtc, self.address)?;
            self.sends.clear();
            self.numbers.clear();
            self.slots.clear();
            self.idle.clear();
            self.fed.clear();
            self.feeds.clear();
            self.asked.clear();
        }
        let (mut sends, mut slots, mut idle) = (self.sends.clone(), self.slots.clone(), self.idle.clone());
        let made = rtc::guarded(&mut self.rtc, |rtc| {
            let mut changes = rtc.sdp_api();
            sends.retain(|stream, sending| {
                let stays = wanted
                    .send
                    .iter()
                    .any(|publish| publish.stream == *stream && publish.source == sending.source);
                if !stays {
                    changes.set_direction(sending.mid, Direction::Inactive);
                    if sending.rids.is_empty() {
                        idle.push((sending.mid, sending.source.kind()));
                    }
                }
                stays
            });
            for Publish { stream, source, layers, .. } in &wanted.send {
                if sends.contains_key(stream) {
                    continue;
                }
                let kind = source.kind();
                let free = idle.iter().position(|(_, idle)| *idle == kind && layers.is_empty());
                let mid = if let Some(place) = free {
                    let (mid, _) = idle.swap_remove(place);
                    changes.set_direction(mid, Direction::SendOnly);
                    mid
                } else {
                    let mut simulcast = Simulcast::new();
                    layers.iter().for_each(|layer| simulcast.add_send_layer(SimulcastLayer::new(&layer.rid)));
                    let simulcast = Some(simulcast).filter(|_| !layers.is_empty());
                    changes.add_media(media_kind(kind), Direction::SendOnly, None, None, simulcast)
                };
                let rids = layers.iter().map(|layer| Rid::from(&*layer.rid)).collect();
                sends.insert(stream.clone(), Sending { mid, source: *source, rids });
            }
            for (kind, count) in [(Kind::Audio, room.audio_slots), (Kind::Video, room.video_slots)] {
                let there = slots.iter().filter(|(_, slot)| *slot == kind).count();
                for _ in there..usize::try_from(count).unwrap_or(usize::MAX).min(MOST_SLOTS) {
                    let mid = changes.add_media(media_kind(kind), Direction::RecvOnly, None, None, None);
                    slots.push((mid, kind));
                }
            }
            if wanted.kind == OfferKind::Restart || !changes.has_changes() {
                // What changed nothing is offered all the same: the server may not know.
                changes.ice_restart(true);
            }
            Ok(changes.apply())
        })?;
        let (offer, pending) = made.ok_or(Gone::Restless)?;
        let send = wanted.send.iter().filter_map(|publish| {
            let Publish { stream, source, muted, layers } = publish.clone();
            let mid = sends.get(&stream)?.mid.to_string();
            Some(protocol::Send { mid, stream, source, muted, layers })
        });
        let recv = slots.iter().map(|(mid, kind)| SlotOf { mid: mid.to_string(), kind: *kind });
        let made = protocol::Offer {
            g: wanted.g,
            sdp: offer.to_sdp_string(),
            send: send.collect(),
            recv: recv.collect(),
        };
        self.pending = Some(Pending { g: wanted.g, offer: pending, sends, slots, idle });
        Ok(made)
    }

    /// The server answered offer `g`. To be settled after. \[any\]
    ///
    /// # Errors
    /// It is gone, or the answer is none.
    pub fn answered(&mut self, g: u32, sdp: &str) -> Result<(), Gone> {
        let Some(pending) = self.pending.take_if(|pending| pending.g == g) else { return Ok(()) };
        let Pending { offer, sends, slots, idle, .. } = pending;
        rtc::guarded(&mut self.rtc, |rtc| {
            let answer = SdpAnswer::from_sdp_string(sdp)?;
            rtc.sdp_api().accept_answer(offer, answer)?;
            let mut api = rtc.direct_api();
            for Sending { mid, source, rids, .. } in sends.values() {
                if source.kind() == Kind::Video {
                    let rids = rids.iter().map(|rid| Some(*rid)).chain(rids.is_empty().then_some(None));
                    for rid in rids {
                        if let Some(stream) = api.stream_tx_by_mid(*mid, rid) {
                            stream.set_rtx_cache(RESENDABLE, RESENDABLE_FOR, Some(RESENT_PART));
                        }
                    }
                }
            }
            Ok(())
        })?;
        (self.sends, self.slots, self.idle) = (sends, slots, idle);
        Ok(())
    }

    /// What feeds the slots from now on. \[any\]
    pub fn fed(&mut self, slots: &[Slot]) {
        self.fed = slots.iter().map(|slot| (Mid::from(&*slot.mid), slot.no)).collect();
    }

    /// Sends a packet of a stream of ours, if it can be now. To be settled after. Whether
    /// it goes out. \[any\]
    ///
    /// # Errors
    /// It is gone.
    pub fn send(
        &mut self,
        at: Timestamp,
        now: Instant,
        stream: &StreamId,
        out: Outgoing,
    ) -> Result<bool, Gone> {
        let Some(sending) = self.sends.get(stream) else { return Ok(false) };
        let (mid, kind) = (sending.mid, sending.source.kind());
        let rid = out.layer.and_then(|layer| sending.rids.get(layer).copied());
        if rid.is_none() && out.layer.is_some() {
            return Ok(false);
        }
        let numbers = self.numbers.entry((mid, out.layer.unwrap_or(0))).or_default();
        rtc::guarded(&mut self.rtc, |rtc| {
            // Before, it would wait without a bound; where nothing may be sent the
            // connection would fail at its next step.
            let media = rtc.media(mid).filter(|media| media.direction().is_sending());
            let Some(media) = media.filter(|_| rtc.is_connected()) else { return Ok(false) };
            let Some(pt) = media.remote_pts().first().copied() else { return Ok(false) };
            let Some(name) = numbers.name(at, kind, &out) else { return Ok(false) };
            let mut api = rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(mid, rid) else { return Ok(false) };
            let write = RtpWrite::new(pt, name.seq.into(), name.timestamp, now, out.payload);
            stream.write_rtp(write.marker(out.marker).ext_vals(out.ext).nackable(kind == Kind::Video));
            Ok(true)
        })
    }

    /// Asks the server for a key frame of what comes in a media section. To be settled
    /// after. \[any\]
    ///
    /// # Errors
    /// It is gone.
    pub fn ask_key_frame(&mut self, no: u32) -> Result<(), Gone> {
        let Some((mid, _)) = self.fed.iter().find(|(_, fed)| **fed == no) else { return Ok(()) };
        let mid = *mid;
        rtc::guarded(&mut self.rtc, |rtc| {
            if let Some(stream) = rtc.direct_api().stream_rx_by_mid(mid, None) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
            Ok(())
        })
    }

    /// What all that is sent takes at best, in bits per second: so much is looked for.
    /// To be settled after. \[any\]
    ///
    /// # Errors
    /// It is gone.
    pub fn wants(&mut self, bps: u64) -> Result<(), Gone> {
        rtc::guarded(&mut self.rtc, |rtc| {
            rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::bps(bps));
            Ok(())
        })
    }

    /// Room for others' streams, as last offered. \[any\]
    #[must_use]
    pub fn room(&self) -> Limits {
        let slots = self.pending.as_ref().map_or(&self.slots, |pending| &pending.slots);
        let of = |kind| slots.iter().filter(|(_, slot)| *slot == kind).count();
        let fits = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Limits { streams: 0, audio_slots: fits(of(Kind::Audio)), video_slots: fits(of(Kind::Video)) }
    }

    /// Whether it is up. \[any\]
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.rtc.is_connected()
    }

    /// A datagram came. To be settled after. Whether it is the server's. \[any\]
    ///
    /// # Errors
    /// It is gone.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Result<bool, Gone> {
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.address, bytes) else { return Ok(false) };
        let input = Input::Receive(now, receive);
        rtc::guarded(&mut self.rtc, |rtc| {
            if !rtc.accepts(&input) {
                return Ok(false);
            }
            rtc.handle_input(input)?;
            Ok(true)
        })
    }

    /// Does all that is due by `now`: what is to be sent, and news. When it is to be
    /// settled again. \[any\]
    ///
    /// # Errors
    /// It is gone.
    pub fn settle(
        &mut self,
        now: Instant,
        send: impl FnMut(Transmit),
        news: &mut Vec<News>,
    ) -> Result<Instant, Gone> {
        let mut events = std::mem::take(&mut self.events);
        let due = rtc::settle(&mut self.rtc, now, true, send, &mut events);
        for event in events.drain(..) {
            match event {
                Event::Connected => news.push(News::Connected),
                Event::RtpPacket(packet) => news.extend(self.came(packet)?.map(News::Packet)),
                Event::KeyframeRequest(request) => {
                    let stream = self.sends.iter().find(|(_, sending)| sending.mid == request.mid);
                    news.extend(stream.map(|(stream, _)| News::KeyFrameWanted(stream.clone())));
                }
                Event::EgressBitrateEstimate(
                    BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. },
                ) => news.push(News::Estimate(estimate.as_u64())),
                Event::MediaIngressStats(of) => {
                    let before = self.asked.insert(of.mid, (of.nacks, of.plis)).unwrap_or_default();
                    let (nacks, plis) = (of.nacks.saturating_sub(before.0), of.plis.saturating_sub(before.1));
                    news.extend(self.fed.get(&of.mid).map(|no| News::Asked { no: *no, nacks, plis }));
                }
                Event::MediaEgressStats(of) => {
                    if let Some((stream, sending)) =
                        self.sends.iter().find(|(_, sending)| sending.mid == of.mid)
                    {
                        let kind = sending.source.kind();
                        let told = statistics::outbound(
                            statistics::timestamp(),
                            kind,
                            clock_rate(kind),
                            stream,
                            &of,
                        );
                        news.extend(told.map(News::Statistics));
                    }
                }
                Event::PeerStats(of) => {
                    let told = statistics::candidate_pair(statistics::timestamp(), &of);
                    news.extend(told.map(News::Statistics));
                }
                _ => {}
            }
        }
        self.events = events;
        due
    }

    /// Says goodbye. To be settled after. \[any\]
    ///
    /// # Errors
    /// It is gone.
    pub fn close(&mut self) -> Result<(), Gone> {
        rtc::guarded(&mut self.rtc, Rtc::close)
    }

    /// Of which stream a packet is; none of one that names none in a slot that is not
    /// fed.
    fn came(&mut self, packet: RtpPacket) -> Result<Option<Incoming>, Gone> {
        let ssrc = packet.header.ssrc;
        let mid = rtc::guarded(&mut self.rtc, |rtc| {
            Ok(rtc.direct_api().stream_rx(&ssrc).map(|stream| stream.mid()))
        })?;
        let Some(mid) = mid else { return Ok(None) };
        let named = packet.header.csrc[..packet.header.csrc_count].first().copied();
        let Some(no) = named.or_else(|| self.fed.get(&mid).copied()) else { return Ok(None) };
        let params = self.rtc.codec_config().params().iter();
        let params = params.filter(|params| params.pt() == packet.header.payload_type);
        let codec = params.map(|params| params.spec().codec).next().and_then(ours);
        let feed = match self.feeds.get(&mid) {
            Some((fed, feed)) if *fed == no => *feed,
            _ => {
                self.feed = self.feed.wrapping_add(1);
                self.feeds.insert(mid, (no, self.feed));
                self.feed
            }
        };
        Ok(Some(Incoming { no, codec, feed, packet }))
    }
}

/// Media sections of each kind that are room for others' streams, at most: an offer may
/// have no more than 64 in all.
pub const MOST_SLOTS: usize = 24;

impl Numbers {
    /// What a packet is to be called; none that comes too late.
    fn name(&mut self, at: Timestamp, kind: Kind, out: &Outgoing) -> Option<crate::munge::Name> {
        let rate = clock_rate(kind);
        let is_same = self.munger.is_some() && self.ssrc == out.ssrc;
        let munger = self.munger.get_or_insert_with(|| Munger::new(rate, first(out.seq), out.timestamp));
        if is_same {
            // RFC 3550, appendix A.1: the nearest to the newest that ends in these bits.
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
            let ahead = out.seq.wrapping_sub(self.newest as u16) as i16;
            let seq = self.newest.checked_add_signed(i64::from(ahead))?;
            self.newest = self.newest.max(seq);
            match munger.munge(at, seq, out.timestamp) {
                Munged::As(name) => return Some(name),
                Munged::Late => return None,
                Munged::Anew => {}
            }
        }
        // One that counts anew, or the first: room is left for some that come late.
        (self.ssrc, self.newest) = (out.ssrc, (1 << 16) + u64::from(out.seq));
        Some(munger.switch(at, self.newest, out.timestamp))
    }
}

/// With what number a stream begins: where the packetizer's does for a beginning, that.
fn first(seq: u16) -> u16 {
    (seq % FIRST_BELOW).max(1)
}

fn add_address(rtc: &mut Rtc, address: SocketAddr) -> Result<(), Gone> {
    rtc::guarded(rtc, |rtc| {
        let candidate = Candidate::host(address, Protocol::Udp).map_err(RtcError::from)?;
        rtc.add_local_candidate(candidate);
        Ok(())
    })
}

/// Ticks per second of what we send.
const fn clock_rate(kind: Kind) -> u32 {
    match kind {
        Kind::Audio => Codec::Opus.clock_rate(),
        Kind::Video => Codec::Av1.clock_rate(),
    }
}

const fn media_kind(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    }
}

const fn ours(codec: format::Codec) -> Option<Codec> {
    match codec {
        format::Codec::Opus => Some(Codec::Opus),
        format::Codec::Av1 => Some(Codec::Av1),
        _ => None,
    }
}
