//! `Stage`: a room with its participants' media: does what the room wants done with
//! them, and takes their packets to those who play them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sidetone_core::Timestamp;
use str0m::IceCreds;
use str0m::rtp::RtpWrite;

use crate::protocol::{Code, Slot, SlotOf, Told};
use crate::server::replay::PersonId;
use crate::server::room::{LinkId, Order, Output, Room};

use super::forward::{Copy, Forward};
use super::peer::{Answer, Came, Gone, News, Peer};
use super::{PeerId, Shared, StageId, Word};

/// A publisher is asked for a key frame of a stream at most once in so long.
const KEY_FRAMES_APART: Duration = Duration::from_millis(500);
/// The longest payload that is forwarded: with headers it fits into every path.
const MOST_PAYLOAD: usize = 1_400;
/// How often a room is told that media come.
const HEARD_EVERY: Duration = Duration::from_millis(500);

/// A room with its participants' media.
pub(super) struct Stage {
    id: StageId,
    pub(super) room: Room,
    peers: BTreeMap<PersonId, Peer>,
    forward: Forward,
    streams: BTreeMap<u32, Published>,
    /// What each was told last of what is played where, and of which offer.
    slots: BTreeMap<PersonId, (u32, Vec<Slot>)>,
    /// When to ask for key frames next.
    key_frames_due: Option<Instant>,
    /// Somebody's media failed, and the room has yet to say so.
    has_lost: bool,
    news: Vec<News>,
    copies: Vec<Copy>,
}

/// A stream that somebody publishes.
struct Published {
    person: PersonId,
    /// When a key frame was last asked for.
    asked: Option<Instant>,
}

impl Stage {
    pub(super) fn new(id: StageId, room: Room) -> Self {
        Self {
            id,
            room,
            peers: BTreeMap::new(),
            forward: Forward::default(),
            streams: BTreeMap::new(),
            slots: BTreeMap::new(),
            key_frames_due: None,
            has_lost: false,
            news: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Does what the room wants done by now.
    pub(super) fn apply(&mut self, now: Instant, shared: &mut Shared) {
        // Why a link is closed is told over it before.
        let mut failed: Option<(LinkId, Code)> = None;
        loop {
            let outputs = self.room.take();
            if outputs.is_empty() && !self.tell_slots() {
                break;
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
                    Output::Media(order) => self.order(now, shared, order),
                }
            }
        }
        self.ask_key_frames(now, shared);
    }

    fn order(&mut self, now: Instant, shared: &mut Shared, order: Order) {
        match order {
            Order::Offer { person, g, sdp, send, recv } => {
                self.offer(now, shared, person, g, &sdp, &send, recv)
            }
            Order::Candidate(person, candidate) => {
                let told = self.peers.get_mut(&person).map(|peer| peer.candidate(&candidate.candidate));
                match told {
                    Some(Err(gone)) => self.gone(shared, person, &gone),
                    Some(Ok(())) => self.settle(now, shared, vec![person]),
                    None => {}
                }
            }
            // One layer is all there is so far, whatever is wished for.
            Order::Play(person, stream, _wish) => self.forward.play(person, stream),
            Order::Stop(person, stream) => self.forward.stop(person, stream),
            Order::Mute(stream, muted) => self.forward.mute(stream, muted),
            Order::End(stream) => {
                self.streams.remove(&stream);
                self.forward.end(stream);
            }
            Order::Refresh(person) => {
                if let Some((_, told)) = self.slots.get_mut(&person) {
                    told.clear();
                }
            }
            Order::Forget(person) => {
                self.forward.forget(person);
                self.slots.remove(&person);
                if let Some(mut peer) = self.peers.remove(&person) {
                    shared.demux.forget(PeerId { stage: self.id, person });
                    // A last word; it is gone whatever comes of that.
                    let _ =
                        peer.close().and_then(|()| peer.settle(now, &mut shared.datagrams, &mut self.news));
                    self.news.clear();
                }
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
        recv: Vec<SlotOf>,
    ) {
        let peer = self.peers.remove(&person);
        let is_fresh = peer.is_none();
        let peer = peer.map_or_else(
            || {
                let creds = IceCreds { ufrag: shared.secret(), pass: shared.secret() };
                Peer::new(&shared.config, creds, now)
            },
            Ok,
        );
        let answered = peer.and_then(|mut peer| Ok((peer.answer(sdp, send, &recv)?, peer)));
        let (answer, mut peer) = match answered {
            Ok(answered) => answered,
            Err(gone) => {
                self.gone(shared, person, &gone);
                return self.room.answered(person, g, Err(Code::MediaFailed));
            }
        };
        let Answer { sdp, streams } = match answer {
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
        if is_fresh {
            // It counts packets anew, its own and those to it.
            self.forward.clear(person);
            streams.iter().for_each(|(stream, ..)| self.forward.begin_anew(*stream));
        }
        for (stream, kind, _) in &streams {
            self.forward.begin(*stream, *kind);
            self.streams.entry(*stream).or_insert(Published { person, asked: None });
        }
        self.forward.room(person, recv);
        self.slots.insert(person, (g, Vec::new()));
        let codecs = streams.into_iter().map(|(stream, _, codec)| (stream, codec)).collect();
        self.room.answered(person, g, Ok((sdp, codecs)));
        self.settle(now, shared, vec![person]);
    }

    /// Tells everyone for whom it changed what is played where. Whether somebody was.
    fn tell_slots(&mut self) -> bool {
        let mut is_told = false;
        for (person, (g, told)) in &mut self.slots {
            let slots = self.forward.slots(*person);
            if *told != slots {
                told.clone_from(&slots);
                self.room.tell(*person, Told::Slots { g: *g, slots });
                is_told = true;
            }
        }
        is_told
    }

    /// Whether a request that names a participant's peer is signed as its own.
    pub(super) fn has_signed(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        person: PersonId,
        came: &super::Datagram,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&person) else { return false };
        match peer.has_signed(now, came.local, came.remote, &came.bytes) {
            Ok(has) => has,
            Err(gone) => {
                self.gone(shared, person, &gone);
                false
            }
        }
    }

    /// A datagram came from a participant.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        at: Timestamp,
        shared: &mut Shared,
        person: PersonId,
        came: &super::Datagram,
    ) {
        let Some(peer) = self.peers.get_mut(&person) else { return };
        if now.saturating_duration_since(peer.heard) >= HEARD_EVERY {
            peer.heard = now;
            self.room.heard(at, person);
        }
        match peer.receive(now, came.local, came.remote, &came.bytes) {
            Ok(()) => self.settle(now, shared, vec![person]),
            Err(gone) => self.gone(shared, person, &gone),
        }
        if std::mem::take(&mut self.has_lost) {
            self.apply(now, shared);
        }
    }

    /// Settles these peers and those to whom that leads.
    fn settle(&mut self, now: Instant, shared: &mut Shared, mut open: Vec<PersonId>) {
        while let Some(person) = open.pop() {
            let Some(peer) = self.peers.get_mut(&person) else { continue };
            let mut news = std::mem::take(&mut self.news);
            let settled = peer.settle(now, &mut shared.datagrams, &mut news);
            for item in news.drain(..) {
                match item {
                    News::Came(came) => self.forward(now, shared, came, &mut open),
                    News::KeyFrameWanted(mid) => {
                        if let Some(stream) = self.forward.stream_in(person, mid) {
                            self.ask_key_frame(now, shared, stream, &mut open);
                        }
                    }
                }
            }
            self.news = news;
            if let Err(gone) = settled {
                self.gone(shared, person, &gone);
            }
        }
    }

    /// Takes a packet to all who play its stream.
    fn forward(&mut self, now: Instant, shared: &mut Shared, came: Came, open: &mut Vec<PersonId>) {
        let Came { stream, codec, packet } = came;
        shared.counts.packets_in += 1;
        if packet.payload.len() > MOST_PAYLOAD {
            shared.counts.oversized += 1;
            return;
        }
        let mut ext = packet.header.ext_vals.clone();
        // Those are of one hop.
        (ext.mid, ext.rid, ext.rid_repair, ext.transport_cc, ext.abs_send_time) =
            (None, None, None, None, None);
        let mut copies = std::mem::take(&mut self.copies);
        let number = (*packet.seq_no, packet.header.timestamp, packet.header.marker);
        self.forward.packet(stream, number, codec, &packet.payload, &mut copies);
        for Copy { person, mid, seq, timestamp, marker } in copies.drain(..) {
            let Some(peer) = self.peers.get_mut(&person) else { continue };
            let sent = peer.send(mid, codec, |pt| {
                RtpWrite::new(pt, seq.into(), timestamp, now, packet.payload.clone())
                    .marker(marker)
                    .ext_vals(ext.clone())
                    .nackable(codec.is_video())
                    .csrc(&[stream])
            });
            match sent {
                Ok(true) => {
                    shared.counts.packets_out += 1;
                    if !open.contains(&person) {
                        open.push(person);
                    }
                }
                Ok(false) => shared.counts.unsendable += 1,
                Err(gone) => self.gone(shared, person, &gone),
            }
        }
        self.copies = copies;
    }

    fn ask_key_frame(&mut self, now: Instant, shared: &mut Shared, stream: u32, open: &mut Vec<PersonId>) {
        let Some(Published { person, asked }) = self.streams.get_mut(&stream) else { return };
        if asked.is_some_and(|asked| now.saturating_duration_since(asked) < KEY_FRAMES_APART) {
            return;
        }
        *asked = Some(now);
        let person = *person;
        shared.counts.key_frames_asked += 1;
        let Some(peer) = self.peers.get_mut(&person) else { return };
        match peer.ask_key_frame(stream) {
            Ok(()) => open.push(person),
            Err(gone) => self.gone(shared, person, &gone),
        }
    }

    /// Asks for the key frames that are waited for, as often as may be.
    fn ask_key_frames(&mut self, now: Instant, shared: &mut Shared) {
        let mut awaited: Vec<u32> = self.forward.awaited().collect();
        awaited.sort_unstable();
        awaited.dedup();
        self.key_frames_due = (!awaited.is_empty()).then(|| now + KEY_FRAMES_APART);
        let mut open = Vec::new();
        for stream in awaited {
            self.ask_key_frame(now, shared, stream, &mut open);
        }
        self.settle(now, shared, open);
    }

    /// A participant's media failed; the participant may offer anew.
    fn gone(&mut self, shared: &mut Shared, person: PersonId, why: &Gone) {
        shared.counts.peers_failed += 1;
        shared.counts.panics += u64::from(matches!(why, Gone::Panicked));
        self.has_lost = true;
        self.peers.remove(&person);
        shared.demux.forget(PeerId { stage: self.id, person });
        self.forward.clear(person);
        if let Some((g, _)) = self.slots.remove(&person) {
            self.room.tell(person, Told::MediaFailed { g });
        }
    }

    /// When there is something to do next; `at` says when a time of the room's is.
    pub(super) fn due(&self, at: impl Fn(Timestamp) -> Instant) -> Option<Instant> {
        let peers = self.peers.values().map(|peer| peer.due).min();
        let room = self.room.next_tick().map(at);
        [peers, room, self.key_frames_due].into_iter().flatten().min()
    }

    /// Does what is due by `now`, which is `at` on the room's clock.
    pub(super) fn tick(&mut self, now: Instant, at: Timestamp, shared: &mut Shared) {
        let due = self.peers.iter().filter(|(_, peer)| peer.due <= now).map(|(person, _)| *person).collect();
        self.settle(now, shared, due);
        self.room.tick(at);
        self.apply(now, shared);
    }

    /// How many have media.
    pub(super) fn peers(&self) -> usize {
        self.peers.len()
    }
}
