//! `Stage`: a room with its participants' media: does what the room and its forwarder
//! want done, and takes packets from the ones to the others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sidetone_core::Timestamp;
use str0m::IceCreds;
use str0m::format::{self, Codec};
use str0m::rtp::RtpWrite;
use tracing::{debug, error, warn};

use crate::protocol::{Code, Kind, QualityOf, Receive, SlotOf, Told, UserName};
use crate::quality::WINDOW;
use crate::reception::Interval;
use crate::rtc::{self, Gone};
use crate::server::media::{self, Forwarder, Packet, Write};
use crate::server::replay::PersonId;
use crate::server::room::{LinkId, Order, Output, Room};

use super::network::Network;
use super::peer::{Answer, Came, News, Peer};
use super::{Datagram, PeerId, Place, Shared, StageId, Word};

/// How often a room is told that media come.
const HEARD_EVERY: Duration = Duration::from_millis(500);

/// A room with its participants' media.
pub(super) struct Stage {
    id: StageId,
    /// Whose room it is, and its name.
    pub(super) place: Place,
    pub(super) room: Room,
    pub(super) forwarder: Forwarder,
    peers: BTreeMap<PersonId, Peer>,
    /// Those whose peers are to be settled at the next flush; each once.
    touched: Vec<PersonId>,
    /// When the first of the peers is to be settled again.
    peers_due: Option<Instant>,
    /// When something else is to be done next, as of the last flush.
    rest_due: Option<Instant>,
    /// Each one's latest offer that was answered.
    offers: BTreeMap<PersonId, u32>,
    /// Somebody's media failed, and the room has yet to say so.
    has_lost: bool,
    networks: BTreeMap<PersonId, Network>,
    /// When the networks' present window began.
    windowed: Timestamp,
    news: Vec<News>,
    writes: Vec<Write>,
}

impl Stage {
    pub(super) fn new(id: StageId, place: Place, room: Room, forwarder: Forwarder) -> Self {
        Self {
            id,
            place,
            room,
            forwarder,
            peers: BTreeMap::new(),
            touched: Vec::new(),
            peers_due: None,
            rest_due: None,
            offers: BTreeMap::new(),
            has_lost: false,
            networks: BTreeMap::new(),
            windowed: Timestamp::ZERO,
            news: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// Does what the room and the forwarder want done by now.
    pub(super) fn apply(&mut self, now: Instant, shared: &mut Shared) {
        // Why a link is closed is told over it before.
        let mut failed: Option<(LinkId, Code)> = None;
        loop {
            let (outputs, wishes) = (self.room.take(), self.forwarder.take());
            if outputs.is_empty() && wishes.is_empty() {
                break;
            }
            for wish in wishes {
                self.grant(now, shared, wish);
            }
            for output in outputs {
                match output {
                    Output::Tell(link, told) => {
                        if let Told::Failed { code, .. } = told {
                            failed = Some((link, code));
                        }
                        shared.words.push(Word::Tell(link, told));
                    }
                    Output::Close(link) => {
                        let code = failed.filter(|(told, _)| *told == link).map(|(_, code)| code);
                        shared.words.push(Word::Close(link, code));
                    }
                    Output::Fact(fact) => shared.happened(&self.place, &fact),
                    Output::Media(order) => {
                        self.forwarder.order(shared.timestamp(now), &order);
                        self.order(now, shared, order);
                    }
                }
            }
        }
        self.has_lost = false;
    }

    /// Does what the room wants done with peers.
    fn order(&mut self, now: Instant, shared: &mut Shared, order: Order) {
        match order {
            Order::Offer { person, g, sdp, send, recv } => {
                self.offer(now, shared, person, g, &sdp, &send, &recv);
            }
            Order::Candidate(person, _) if self.peers.get(&person).is_some_and(Peer::knows_enough) => {
                shared.refused(now, Some(&self.place), Code::TooManyRequests);
            }
            Order::Candidate(person, candidate) => {
                self.touch(now, shared, person, |peer| peer.candidate(&candidate.candidate));
            }
            Order::Received(person, streams, rtt_ms) => {
                let Some(network) = self.networks.get_mut(&person) else { return };
                network.heard(shared.timestamp(now));
                rtt_ms.into_iter().for_each(|ms| network.round_trip(ms));
                for Receive { no, expected, lost, jitter_ms } in streams {
                    if let Some(kind) = self.forwarder.kind(no) {
                        network.told(kind, Interval { expected, lost, jitter_ms });
                    }
                }
            }
            Order::Forget(person) => {
                self.offers.remove(&person);
                self.networks.remove(&person);
                if let Some(mut peer) = self.peers.remove(&person) {
                    shared.demux.forget(PeerId { stage: self.id, person });
                    // A last word; it is gone whatever comes of that.
                    let _ =
                        peer.close().and_then(|()| peer.settle(now, &mut shared.datagrams, &mut self.news));
                    self.news.clear();
                }
            }
            // The rest is the forwarder's alone.
            _ => {}
        }
    }

    /// Does what the forwarder wants done.
    fn grant(&mut self, now: Instant, shared: &mut Shared, wish: media::Output) {
        match wish {
            media::Output::Tell(person, told) => self.room.tell(person, told),
            media::Output::TellAll(told) => self.room.tell_all(&told),
            media::Output::KeyFrame { owner, no, rid } => {
                shared.counts.key_frames_asked += 1;
                self.touch(now, shared, owner, |peer| peer.ask_key_frame(no, rid.as_deref()));
            }
            media::Output::Bitrates { person, least, most } => {
                self.touch(now, shared, person, |peer| peer.bitrates(least, most));
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // all that an offer consists of
    fn offer(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        person: PersonId,
        g: u32,
        sdp: &str,
        send: &[(String, u32)],
        recv: &[SlotOf],
    ) {
        let try_with = |mut peer: Peer| Ok((peer.answer(now, sdp, send, recv)?, peer));
        let fresh = |shared: &mut Shared| {
            let creds = IceCreds { ufrag: shared.secret(), pass: shared.secret() };
            let has_pictures = recv.iter().any(|slot| slot.kind == Kind::Video);
            try_with(Peer::new(&shared.config, creds, has_pictures, now)?)
        };
        let old = self.peers.remove(&person);
        let mut is_fresh = old.is_none();
        let mut answered = old.map_or_else(|| fresh(shared), try_with);
        // What does not go on with what there was may begin anew: the participant's end
        // is lost to it.
        if !is_fresh
            && let Ok((Err(Code::BadSdp), _)) = answered
            && let Ok(anew @ (Ok(_), _)) = fresh(shared)
        {
            shared.demux.forget(PeerId { stage: self.id, person });
            (is_fresh, answered) = (true, Ok(anew));
        }
        let (answer, mut peer) = match answered {
            Ok(answered) => answered,
            Err(gone) => {
                self.gone(now, shared, person, &gone);
                return self.room.answered(person, g, Err(Code::MediaFailed));
            }
        };
        let Answer { sdp, streams, takes } = match answer {
            Ok(answer) => answer,
            Err(code) => {
                // One that has media already goes on with them.
                if !is_fresh {
                    self.peers.insert(person, peer);
                }
                return self.room.answered(person, g, Err(code));
            }
        };
        shared.demux.name(PeerId { stage: self.id, person }, &peer.name());
        self.peers.insert(person, peer);
        self.offers.insert(person, g);
        let at = shared.timestamp(now);
        self.networks.entry(person).or_insert_with(|| Network::new(at));
        if is_fresh {
            self.forwarder.anew(at, person);
        }
        self.room.answered(person, g, Ok((sdp, streams)));
        let takes: Vec<&str> = takes.iter().map(String::as_str).collect();
        self.forwarder.slots(at, person, g, recv, &takes);
        self.settle(now, shared, person);
    }

    /// Whether a request that names a participant's peer is signed as its own.
    pub(super) fn has_signed(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        person: PersonId,
        came: &Datagram,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&person) else { return false };
        match peer.has_signed(now, came.local, came.remote, &came.bytes) {
            Ok(has) => has,
            Err(gone) => {
                self.gone(now, shared, person, &gone);
                self.flush(now, shared);
                false
            }
        }
    }

    /// A datagram came from a participant.
    pub(super) fn receive(&mut self, now: Instant, shared: &mut Shared, person: PersonId, came: &Datagram) {
        let Some(peer) = self.peers.get_mut(&person) else { return };
        if now.saturating_duration_since(peer.heard) >= HEARD_EVERY {
            peer.heard = now;
            let at = shared.timestamp(now);
            self.room.heard(at, person);
            self.networks.entry(person).and_modify(|network| network.heard(at));
        }
        match peer.receive(now, came.local, came.remote, &came.bytes) {
            // A report can wait for what else is to be done.
            Ok(()) if rtc::is_rtcp(&came.bytes) => self.touched.extend(peer.touch().then_some(person)),
            Ok(()) => self.settle(now, shared, person),
            Err(gone) => self.gone(now, shared, person, &gone),
        }
    }

    /// Does something with a participant's peer, if there is one, and settles it.
    fn touch(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        person: PersonId,
        does: impl FnOnce(&mut Peer) -> Result<(), Gone>,
    ) {
        // One thing after another.
        if self.peers.get(&person).is_some_and(|peer| peer.is_touched) {
            self.settle(now, shared, person);
        }
        let Some(peer) = self.peers.get_mut(&person) else { return };
        match does(peer) {
            Ok(()) => self.settle(now, shared, person),
            Err(gone) => self.gone(now, shared, person, &gone),
        }
    }

    /// Settles a peer, which may write to others.
    fn settle(&mut self, now: Instant, shared: &mut Shared, person: PersonId) {
        let Some(peer) = self.peers.get_mut(&person) else { return };
        let at = shared.timestamp(now);
        let mut news = std::mem::take(&mut self.news);
        let settled = peer.settle(now, &mut shared.datagrams, &mut news);
        self.peers_due = self.peers_due.into_iter().chain([peer.due]).min();
        for item in news.drain(..) {
            match item {
                News::Came(came) => self.forward(now, shared, came),
                News::Fruitless => shared.counts.fruitless += 1,
                News::KeyFrameWanted(slot) => {
                    shared.counts.key_frames_wanted += 1;
                    self.forwarder.key_frame_wanted(at, person, slot);
                }
                News::Reported(kind, interval) => {
                    self.networks.entry(person).and_modify(|network| network.reported(kind, interval));
                }
                News::Estimate(bps) => self.forwarder.estimate(at, person, bps),
            }
        }
        self.news = news;
        if let Err(gone) = settled {
            self.gone(now, shared, person, &gone);
        }
    }

    /// Settles the peers that are yet to be: packets that came together go out together.
    pub(super) fn flush(&mut self, now: Instant, shared: &mut Shared) {
        while let Some(person) = self.touched.pop() {
            // Whoever did something else since then was settled already.
            if self.peers.get(&person).is_some_and(|peer| peer.is_touched) {
                self.settle(now, shared, person);
            }
        }
        if self.has_lost || self.forwarder.has_output() {
            self.apply(now, shared);
        }
        let window = (!self.networks.is_empty()).then(|| self.windowed + WINDOW);
        let rest = [self.room.next_tick(), self.forwarder.next_tick(), window];
        self.rest_due = rest.into_iter().flatten().min().map(|at| shared.instant(at));
    }

    /// Takes a packet to all who play its stream.
    fn forward(&mut self, now: Instant, shared: &mut Shared, came: Came) {
        let Came { stream, rid, codec, packet } = came;
        let (is_video, bytes) = (codec.is_video(), packet.payload.len() as u64);
        let flow = shared.counts.flow(is_video);
        flow.packets_in += 1;
        flow.bytes_in += bytes;
        let Some(layer) = rid.map_or(Some(0), |rid| self.forwarder.layer(stream, &rid)) else { return };
        let mut ext = packet.header.ext_vals.clone();
        // Those are of one hop.
        (ext.mid, ext.rid, ext.rid_repair, ext.transport_cc, ext.abs_send_time) =
            (None, None, None, None, None);
        let about = Packet {
            ssrc: *packet.header.ssrc,
            seq: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            is_key: begins_key_frame(codec, &packet.payload),
            level: ext.audio_level.map(|level| level.unsigned_abs().min(127)),
            len: packet.payload.len(),
        };
        let mut writes = std::mem::take(&mut self.writes);
        self.forwarder.packet(shared.timestamp(now), stream, layer, &about, &mut writes);
        for Write { person, slot, seq, timestamp, marker, csrc } in writes.drain(..) {
            let Some(peer) = self.peers.get_mut(&person) else { continue };
            let sent = peer.send(slot, codec, |pt| {
                RtpWrite::new(pt, seq.into(), timestamp, now, packet.payload.clone())
                    .marker(marker)
                    .ext_vals(ext.clone())
                    .nackable(codec.is_video())
                    .csrc(&[csrc])
            });
            match sent {
                Ok(true) => {
                    let flow = shared.counts.flow(is_video);
                    flow.packets_out += 1;
                    flow.bytes_out += bytes;
                    self.touched.extend(peer.touch().then_some(person));
                }
                Ok(false) => shared.counts.unsendable += 1,
                Err(gone) => self.gone(now, shared, person, &gone),
            }
        }
        self.writes = writes;
    }

    /// A participant's media are over; the participant may offer anew.
    fn gone(&mut self, now: Instant, shared: &mut Shared, person: PersonId, why: &Gone) {
        shared.counts.peers_failed += u64::from(!matches!(why, Gone::Closed));
        shared.counts.panics += u64::from(matches!(why, Gone::Panicked));
        self.has_lost = true;
        let (app, room) = &self.place;
        let user = self.room.user(person).map(UserName::as_str);
        match why {
            // The participant says over its link what it leaves for, or comes back.
            Gone::Closed => debug!(app, %room, user, "a participant closed its media"),
            Gone::Panicked => error!(app, %room, user, "a participant's media panicked"),
            _ => warn!(app, %room, user, %why, "a participant's media failed"),
        }
        self.peers.remove(&person);
        shared.demux.forget(PeerId { stage: self.id, person });
        self.forwarder.anew(shared.timestamp(now), person);
        if let Some(g) = self.offers.remove(&person) {
            self.room.media_ended(shared.timestamp(now), person, g);
        }
    }

    /// When there is something to do next. What came since the last flush is to be flushed
    /// before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.rest_due.into_iter().chain(self.peers_due).min()
    }

    /// Does what is due by `now`.
    pub(super) fn tick(&mut self, now: Instant, shared: &mut Shared) {
        if self.peers_due.is_some_and(|due| due <= now) {
            let due = self.peers.iter().filter(|(_, peer)| peer.due <= now).map(|(person, _)| *person);
            for person in due.collect::<Vec<_>>() {
                self.settle(now, shared, person);
            }
            self.peers_due = self.peers.values().map(|peer| peer.due).min();
        }
        if self.rest_due.is_some_and(|due| due <= now) {
            let at = shared.timestamp(now);
            self.room.tick(at);
            self.forwarder.tick(at);
            if at.since(self.windowed) >= WINDOW {
                self.windowed = at;
                self.tell_quality(at);
            }
            self.apply(now, shared);
        }
        self.flush(now, shared);
    }

    /// Tells everyone how well the networks did in the window that is over.
    fn tell_quality(&mut self, now: Timestamp) {
        let mut list = Vec::new();
        for (person, network) in &mut self.networks {
            if let Some(peer) = self.peers.get_mut(person) {
                peer.receptions().for_each(|(kind, interval)| network.came(kind, interval));
            }
            let (up, down) = network.window(now);
            let user = self.room.user(*person).cloned();
            list.extend(user.map(|user| QualityOf { user, up, down }));
        }
        if !list.is_empty() {
            self.room.tell_all(&Told::Quality { list });
        }
    }

    /// How many have media.
    pub(super) fn peers(&self) -> usize {
        self.peers.len()
    }
}

/// Whether a packet is the first of a key frame; of codecs that are not looked into
/// each is taken for one, and none of sound is.
fn begins_key_frame(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Av1 => format::detect_av1_keyframe(payload),
        Codec::Vp8 => format::detect_vp8_keyframe(payload),
        Codec::Vp9 => format::detect_vp9_keyframe(payload),
        Codec::H264 => format::detect_h264_keyframe(payload),
        _ => codec.is_video(),
    }
}
