//! `Forwarder`: all media of one room, from publishers' packets to subscribers' slots.
//!
//! [`Forwarder::packet`] is the path of every packet; it allocates nothing unless
//! something changes by that packet. All methods: \[any\], from one thread at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use sidetone_core::Timestamp;

use crate::protocol::{
    Code, Kind, PlayState, Slot as SlotTold, SlotOf, Source, StreamInfo, Told, UserName, Volume, Wish,
};
use crate::server::budget::{Budget, Rate};
use crate::server::media::allocate::{Allocation, LEAST_LIMIT, Want, budget, limit};
use crate::server::media::loudest::{Candidate, Loudest};
use crate::server::media::slot::{Fate, Slot, assign};
use crate::server::media::speaker::{DECISION, Speaker};
use crate::server::media::stream::{Incoming, Stream};
use crate::server::replay::PersonId;
use crate::server::room::Order;

/// How often levels, rates and estimates are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often publishers are told what is wanted of their streams.
const LIMITS: Duration = Duration::from_millis(500);
/// Nor are they told of changes below this, in hundredths.
const LIMIT_STEP: u32 = 5;
/// Longest payload that fits into a packet with all that str0m puts around it, in
/// bytes: its buffers hold 2,000, and a path 1,500.
const MOST_PAYLOAD: usize = 1_400;
/// What a stream of sound is taken to need, in bits per second: twice what Sidetone's
/// own take.
const AUDIO_BPS: u64 = 64_000;

/// How a room's media are forwarded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many streams of sound a participant hears at once who has not room for all.
    pub loudest: usize,
    /// How often everyone is told how loud everyone is.
    pub volumes: Duration,
    /// Bytes of payload that a publisher may send, all streams together.
    pub ingress: Rate,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loudest: 3,
            volumes: Duration::from_millis(500),
            ingress: Rate { most: 2_500_000, within: Duration::from_secs(1) },
        }
    }
}

/// What the forwarder needs to know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its sender.
    pub ssrc: u32,
    /// Its sequence number, counted on past its wrap.
    pub seq: u64,
    /// Its timestamp.
    pub timestamp: u32,
    /// Its marker bit.
    pub marker: bool,
    /// Whether it is the first of a key frame; never of sound.
    pub is_key: bool,
    /// How loud it is (RFC 6464), 0 to 127 in −dBov, where it says so.
    pub level: Option<u8>,
    /// Bytes of payload; 0 of one that is padding alone.
    pub len: usize,
}

/// A packet that is to be written to a subscriber, with the payload that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// To whom.
    pub person: PersonId,
    /// Into which of their slots: the place in what [`Forwarder::slots`] was given.
    pub slot: usize,
    /// Its sequence number, counted on past its wrap; the first is below 32,768.
    pub seq: u64,
    /// Its timestamp.
    pub timestamp: u32,
    /// Its marker bit.
    pub marker: bool,
    /// Its first contributing source: the stream's number.
    pub csrc: u32,
}

/// What a forwarder wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A participant is to be told.
    Tell(PersonId, Told),
    /// Everyone is to be told.
    TellAll(Told),
    /// A publisher is to be asked for a key frame of a stream, or of one of its layers.
    KeyFrame {
        /// Who publishes it.
        owner: PersonId,
        /// The stream's number.
        no: u32,
        /// The layer, where it has any.
        rid: Option<String>,
    },
    /// What a subscriber's connection should carry, so that the estimate can grow to it.
    Bitrates {
        /// Whose.
        person: PersonId,
        /// Bits per second of the least size of all that it plays.
        least: u64,
        /// … and of the greatest that it wishes for.
        most: u64,
    },
}

/// What became of packets, since the beginning. What came is `forwarded`, `muted`,
/// `unknown`, `too_long` and `flood` together; the others count it for each subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Were there for whoever plays them.
    pub forwarded: u64,
    /// Were of a stream that is held back.
    pub muted: u64,
    /// Were of no stream or layer that is known.
    pub unknown: u64,
    /// Were too long.
    pub too_long: u64,
    /// Were more than their publisher may send.
    pub flood: u64,
    /// Went to a subscriber.
    pub written: u64,
    /// Came too late for one, or twice.
    pub late: u64,
    /// Were of no use to one without the key frame before them.
    pub broken: u64,
}

/// All media of one room.
#[derive(Debug)]
pub struct Forwarder {
    settings: Settings,
    rng: fastrand::Rng,
    streams: BTreeMap<u32, Stream>,
    people: BTreeMap<PersonId, Subscriber>,
    /// What publishers may yet send.
    ingress: BTreeMap<PersonId, Budget>,
    speaker: Speaker,
    counts: Counts,
    /// When these were last done.
    ticked: Timestamp,
    decided: Timestamp,
    limited: Timestamp,
    volumes: Timestamp,
    /// What was last told.
    volumes_told: Option<Told>,
    out: Vec<Output>,
}

/// What a participant plays, and where.
#[derive(Debug, Default)]
struct Subscriber {
    /// The offer that its slots are of; 0 before the first.
    g: u32,
    slots: Vec<Slot>,
    /// Codecs that it takes.
    codecs: Vec<String>,
    plays: BTreeMap<u32, Playing>,
    loudest: Loudest,
    /// Bits per second.
    estimate: Option<u64>,
    allocation: Allocation,
    /// What it was last told.
    slots_told: Option<Vec<SlotTold>>,
    bitrates: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Playing {
    wish: Wish,
    told: Option<PlayState>,
}

impl Forwarder {
    /// Of a room in which nobody is. `seed` is where outgoing numbers begin.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            rng: fastrand::Rng::with_seed(seed),
            streams: BTreeMap::new(),
            people: BTreeMap::new(),
            ingress: BTreeMap::new(),
            speaker: Speaker::default(),
            counts: Counts::default(),
            ticked: Timestamp::ZERO,
            decided: Timestamp::ZERO,
            limited: Timestamp::ZERO,
            volumes: Timestamp::ZERO,
            volumes_told: None,
            out: Vec::new(),
        }
    }

    /// What is to be done by now, in this order.
    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// Whether [`Forwarder::take`] has anything.
    #[must_use]
    pub const fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// What became of packets.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether stream `no` is sound or pictures.
    #[must_use]
    pub fn kind(&self, no: u32) -> Option<Kind> {
        self.streams.get(&no).map(Stream::kind)
    }

    /// The layer of stream `no` that is called `rid`, as [`Forwarder::packet`] wants it.
    #[must_use]
    pub fn layer(&self, no: u32, rid: &str) -> Option<usize> {
        self.streams.get(&no)?.info.layers.iter().position(|layer| layer.rid == rid)
    }

    /// A packet came of a layer (0 where there are none) of stream `no`. What is to be
    /// written is put after what `writes` has.
    pub fn packet(
        &mut self,
        now: Timestamp,
        no: u32,
        layer: usize,
        packet: &Packet,
        writes: &mut Vec<Write>,
    ) {
        let Some(stream) = self.streams.get_mut(&no) else { return self.counts.unknown += 1 };
        let Some(incoming) = stream.layers.get_mut(layer) else { return self.counts.unknown += 1 };
        if packet.len > MOST_PAYLOAD {
            return self.counts.too_long += 1;
        }
        let budget = self.ingress.entry(stream.owner);
        let budget = budget.or_insert_with(|| Budget::new(self.settings.ingress, now));
        if !budget.take(now, packet.len as u32) {
            return self.counts.flood += 1;
        }
        let begins = !incoming.is_live(now);
        // Of a key frame that begins late the rest went by.
        let is_key = incoming.count(now, packet) && packet.is_key;
        let packet = &Packet { is_key, ..*packet };
        if stream.info.muted {
            return self.counts.muted += 1;
        }
        self.counts.forwarded += 1;
        if is_key {
            incoming.key_frames.done();
        }
        let is_unheard = begins && incoming.key_frames.unheard();
        if stream.kind() == Kind::Audio && packet.len > 0 && stream.hear(now, packet) {
            self.voice_begins(now, no);
        }
        let Some(stream) = self.streams.get_mut(&no) else { return };
        let (mut has_begun, mut is_broken) = (false, false);
        for &(person, slot) in &stream.feeds {
            let Some(place) = self.people.get_mut(&person).and_then(|other| other.slots.get_mut(slot)) else {
                continue;
            };
            match place.forward(now, layer, packet) {
                Fate::Goes { name, marker, begins } => {
                    has_begun |= begins;
                    self.counts.written += 1;
                    let (seq, timestamp) = (name.seq, name.timestamp);
                    writes.push(Write { person, slot, seq, timestamp, marker, csrc: no });
                }
                Fate::Held => {}
                Fate::Late => self.counts.late += 1,
                Fate::Broken => {
                    self.counts.broken += 1;
                    is_broken = true;
                }
            }
        }
        if is_broken || is_unheard {
            self.want_key_frame(now, no, layer);
        }
        if has_begun {
            self.tell_plays(no);
        }
    }

    /// What the room orders. Offers, candidates and what was received are others' to see to; what becomes
    /// of an offer is told by [`Forwarder::slots`].
    pub fn order(&mut self, now: Timestamp, order: &Order) {
        match *order {
            Order::Offer { .. } | Order::Candidate(..) | Order::Received(..) => {}
            Order::Publish(owner, ref info) => {
                self.streams.insert(info.no, Stream::new(owner, info.clone()));
            }
            Order::Play(person, no, wish) => {
                let plays = &mut self.people.entry(person).or_default().plays;
                plays.entry(no).or_insert(Playing { wish, told: None }).wish = wish;
                self.arrange(now, person);
                self.allocate(now, person, true);
            }
            Order::Stop(person, no) => {
                if let Some(subscriber) = self.people.get_mut(&person) {
                    subscriber.plays.remove(&no);
                    self.arrange(now, person);
                }
            }
            Order::Mute(no, muted) => self.mute(now, no, muted),
            Order::End(no) => self.end(now, no),
            Order::Refresh(person) => {
                if let Some(subscriber) = self.people.get_mut(&person) {
                    subscriber.slots_told = None;
                    subscriber.plays.values_mut().for_each(|playing| playing.told = None);
                }
                let own = self.streams.values_mut().filter(|stream| stream.owner == person);
                own.for_each(|stream| stream.limit = None);
                self.volumes_told = None;
                self.tell(person);
            }
            Order::Forget(person) => {
                self.people.remove(&person);
                self.ingress.remove(&person);
                for no in self.numbers_of(person) {
                    self.end(now, no);
                }
                self.streams.values_mut().for_each(|stream| stream.feeds.retain(|(who, _)| *who != person));
            }
        }
    }

    /// A participant's offer `g` was answered: it has room for others' streams in
    /// `recv`, and takes these codecs, in SDP's words and lower case. Slots of the same
    /// `mid` and kind go on where they are.
    pub fn slots(&mut self, now: Timestamp, person: PersonId, g: u32, recv: &[SlotOf], codecs: &[&str]) {
        let subscriber = self.people.entry(person).or_default();
        let mut before = std::mem::take(&mut subscriber.slots);
        for SlotOf { mid, kind } in recv {
            let known = before.iter().position(|slot| slot.mid == *mid && slot.kind == *kind);
            let slot = match known {
                Some(at) => before.swap_remove(at),
                None => Slot::new(mid.clone(), *kind, &mut self.rng),
            };
            subscriber.slots.push(slot);
        }
        subscriber.g = g;
        subscriber.codecs = codecs.iter().map(|&codec| codec.into()).collect();
        subscriber.slots_told = None;
        self.volumes_told = None;
        self.arrange(now, person);
    }

    /// A participant's connection was made anew, with other keys and senders: its slots
    /// are gone, and what it publishes begins with a key frame.
    pub fn anew(&mut self, now: Timestamp, person: PersonId) {
        if let Some(subscriber) = self.people.get_mut(&person) {
            // Nothing is told of slots until the next offer.
            subscriber.slots.clear();
            (subscriber.g, subscriber.estimate) = (0, None);
            self.arrange(now, person);
        }
        for no in self.numbers_of(person) {
            self.break_off(now, no);
        }
    }

    /// A subscriber cannot go on in a slot without a key frame.
    pub fn key_frame_wanted(&mut self, now: Timestamp, person: PersonId, slot: usize) {
        let slot = self.people.get(&person).and_then(|subscriber| subscriber.slots.get(slot));
        let Some(feed) = slot.and_then(|slot| slot.feed.as_ref()) else { return };
        if let Some(layer) = feed.choice.current.or(feed.choice.target) {
            self.want_key_frame(now, feed.no, layer);
        }
    }

    /// A subscriber's connection carries this many bits per second.
    pub fn estimate(&mut self, now: Timestamp, person: PersonId, bps: u64) {
        if let Some(subscriber) = self.people.get_mut(&person) {
            subscriber.estimate = Some(bps);
            self.allocate(now, person, false);
        }
    }

    /// Does what is due by `now`.
    pub fn tick(&mut self, now: Timestamp) {
        let is_due = |last: &mut Timestamp, every: Duration| {
            let is_due = now.since(*last) >= every;
            if is_due {
                *last = now;
            }
            is_due
        };
        if is_due(&mut self.ticked, TICK) {
            if is_due(&mut self.decided, DECISION) {
                self.decide(now);
            }
            let people: Vec<_> = self.people.keys().copied().collect();
            for person in people {
                if self.choose_loudest(now, person) {
                    self.arrange(now, person);
                } else {
                    self.allocate(now, person, false);
                }
            }
            if is_due(&mut self.limited, LIMITS) {
                self.tell_limits(now);
            }
            if is_due(&mut self.volumes, self.settings.volumes) {
                self.tell_volumes(now);
            }
        }
        for (no, stream) in &mut self.streams {
            for layer in 0..stream.layers.len() {
                if stream.feeds.is_empty() {
                    stream.layers[layer].key_frames.done();
                }
                ask_key_frame(&mut self.out, now, *no, stream, layer);
            }
        }
    }

    /// When to tick next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        let layers = self.streams.values().flat_map(|stream| &stream.layers);
        let due = layers.filter_map(|layer| layer.key_frames.due());
        let tick = (!self.streams.is_empty()).then(|| self.ticked + TICK);
        due.chain(tick).min()
    }

    fn numbers_of(&self, owner: PersonId) -> Vec<u32> {
        self.streams.iter().filter(|(_, stream)| stream.owner == owner).map(|(no, _)| *no).collect()
    }

    fn players_of(&self, no: u32) -> Vec<PersonId> {
        let players = self.people.iter().filter(|(_, other)| other.plays.contains_key(&no));
        players.map(|(person, _)| *person).collect()
    }

    fn end(&mut self, now: Timestamp, no: u32) {
        self.streams.remove(&no);
        for person in self.players_of(no) {
            if let Some(subscriber) = self.people.get_mut(&person) {
                subscriber.plays.remove(&no);
            }
            self.arrange(now, person);
        }
    }

    fn mute(&mut self, now: Timestamp, no: u32, muted: bool) {
        let Some(stream) = self.streams.get_mut(&no) else { return };
        stream.info.muted = muted;
        stream.fall_silent();
        self.break_off(now, no);
    }

    /// What comes of a stream is no continuation of what came before.
    fn break_off(&mut self, now: Timestamp, no: u32) {
        let Some(stream) = self.streams.get(&no) else { return };
        for (person, slot) in stream.feeds.clone() {
            let slot = self.people.get_mut(&person).and_then(|other| other.slots.get_mut(slot));
            if let Some(feed) = slot.and_then(|slot| slot.feed.as_mut()) {
                feed.choice.break_off();
            }
            self.await_key_frames(now, person);
            self.tell(person);
        }
    }

    /// Somebody needs a key frame of a layer: it is asked for at once, if it may be.
    fn want_key_frame(&mut self, now: Timestamp, no: u32, layer: usize) {
        let Some(stream) = self.streams.get_mut(&no) else { return };
        let is_wanted = stream.kind() == Kind::Video && !stream.info.muted;
        if let Some(incoming) = stream.layers.get_mut(layer).filter(|_| is_wanted) {
            incoming.key_frames.want(now);
            ask_key_frame(&mut self.out, now, no, stream, layer);
        }
    }

    /// The streams that a participant is to have in slots of a kind, the first first.
    fn wanted(&self, subscriber: &Subscriber, kind: Kind) -> Vec<u32> {
        let of_kind = |no: &u32| {
            self.streams.get(no).is_some_and(|stream| stream.kind() == kind && subscriber.takes(&stream.info))
        };
        let mut wanted: Vec<u32> = subscriber.plays.keys().copied().filter(of_kind).collect();
        // Screens before faces, and else in the order in which they came.
        wanted.sort_by_key(|no| self.streams[no].info.source != Source::Screen);
        wanted
    }

    /// How many streams of sound a participant hears, and of which, where it has not room
    /// for all.
    fn crowd(&self, subscriber: &Subscriber) -> Option<(usize, Vec<u32>)> {
        let places = subscriber.slots.iter().filter(|slot| slot.kind == Kind::Audio).count();
        let wanted = self.wanted(subscriber, Kind::Audio);
        (wanted.len() > places).then(|| (places.min(self.settings.loudest), wanted))
    }

    /// Chooses whom a participant hears, where those are not all. Whether that changed.
    fn choose_loudest(&mut self, now: Timestamp, person: PersonId) -> bool {
        let Some(subscriber) = self.people.get(&person) else { return false };
        let Some((room, wanted)) = self.crowd(subscriber) else { return false };
        let streams = wanted.iter().map(|no| &self.streams[no]).filter(|stream| !stream.info.muted);
        let candidate =
            |stream: &Stream| Candidate { no: stream.info.no, amplitude: stream.level.amplitude(now) };
        let candidates: Vec<_> = streams.map(candidate).collect();
        self.people.get_mut(&person).is_some_and(|other| other.loudest.choose(now, room, &candidates))
    }

    /// Somebody begins to speak: who has room for them hears them at once.
    fn voice_begins(&mut self, now: Timestamp, no: u32) {
        for person in self.players_of(no) {
            let Some((room, wanted)) = self.people.get(&person).and_then(|other| self.crowd(other)) else {
                continue;
            };
            let Some(subscriber) = self.people.get_mut(&person).filter(|_| wanted.contains(&no)) else {
                continue;
            };
            if subscriber.loudest.begin(now, no, room) {
                self.arrange(now, person);
            }
        }
    }

    /// Puts what a participant plays into its slots, and says so.
    fn arrange(&mut self, now: Timestamp, person: PersonId) {
        self.choose_loudest(now, person);
        let mut has_other_pictures = false;
        for kind in [Kind::Audio, Kind::Video] {
            let Some(subscriber) = self.people.get(&person) else { return };
            let wanted = match self.crowd(subscriber).filter(|_| kind == Kind::Audio) {
                Some(_) => subscriber.loudest.numbers().collect(),
                None => self.wanted(subscriber, kind),
            };
            let Some(subscriber) = self.people.get_mut(&person) else { return };
            let slots: Vec<usize> =
                (0..subscriber.slots.len()).filter(|&at| subscriber.slots[at].kind == kind).collect();
            let mut places: Vec<_> = slots.iter().map(|&at| subscriber.slots[at].no()).collect();
            assign(&mut places, &wanted);
            for (at, no) in slots.into_iter().zip(places) {
                if subscriber.slots[at].no() != no {
                    subscriber.slots[at].bind(no);
                    has_other_pictures |= kind == Kind::Video;
                }
            }
        }
        self.feed(person);
        self.allocate(now, person, has_other_pictures);
        self.tell_bitrates(person);
        self.tell(person);
    }

    /// Has streams know which of a participant's slots they feed.
    fn feed(&mut self, person: PersonId) {
        let Some(subscriber) = self.people.get(&person) else { return };
        for (no, stream) in &mut self.streams {
            stream.feeds.retain(|(who, _)| *who != person);
            let slot = subscriber.slots.iter().position(|slot| slot.no() == Some(*no));
            stream.feeds.extend(slot.map(|slot| (person, slot)));
        }
    }

    /// Fits the pictures that a participant plays into its connection.
    fn allocate(&mut self, now: Timestamp, person: PersonId, afresh: bool) {
        let Some(subscriber) = self.people.get_mut(&person) else { return };
        let speaking = self.speaker.now.and_then(|no| self.streams.get(&no)).map(|stream| stream.owner);
        let (mut audio, mut wants, mut fed) = (0, Vec::new(), Vec::new());
        for (at, slot) in subscriber.slots.iter().enumerate() {
            let Some(feed) = &slot.feed else { continue };
            let Some(stream) = self.streams.get(&feed.no) else { continue };
            if slot.kind == Kind::Audio {
                audio += stream.layers[0].rate(now);
                continue;
            }
            let wish = subscriber.plays.get(&feed.no).map_or(Wish::High, |playing| playing.wish);
            let priority = match stream.info.source {
                Source::Screen => 0,
                _ if speaking == Some(stream.owner) => 1,
                _ => 2,
            };
            let most = most(wish, stream.layers.len());
            wants.push(Want { priority, most, layers: stream.costs(now), now: feed.choice.target });
            fed.push(at);
        }
        let left = subscriber.estimate.map(|estimate| budget(estimate, audio));
        if let Some(layers) = subscriber.allocation.follow(now, left, &wants, afresh) {
            for (&at, layer) in fed.iter().zip(layers) {
                if let Some(feed) = &mut subscriber.slots[at].feed {
                    feed.choice.aim(layer);
                }
            }
            self.await_key_frames(now, person);
            self.tell(person);
        }
    }

    /// Tells what a participant's connection should carry, where that changed.
    fn tell_bitrates(&mut self, person: PersonId) {
        let Some(subscriber) = self.people.get_mut(&person) else { return };
        let streams = subscriber.slots.iter().filter_map(|slot| self.streams.get(&slot.no()?));
        let of = |stream: &Stream| match (stream.kind(), stream.layers.as_slice()) {
            (Kind::Audio, _) => (AUDIO_BPS, AUDIO_BPS),
            (Kind::Video, [one]) => (LEAST_LIMIT, one.most()),
            (Kind::Video, layers) => (layers[0].most(), layers.iter().map(Incoming::most).max().unwrap_or(0)),
        };
        let (least, most) = streams.map(of).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        if subscriber.bitrates.replace((least, most)) != Some((least, most)) {
            self.out.push(Output::Bitrates { person, least, most });
        }
    }

    /// Wants the key frames that a participant's slots wait for.
    fn await_key_frames(&mut self, now: Timestamp, person: PersonId) {
        let Some(subscriber) = self.people.get(&person) else { return };
        let awaited: Vec<_> = subscriber.slots.iter().flat_map(|slot| self.awaited(now, slot)).collect();
        for (no, layer) in awaited {
            self.want_key_frame(now, no, layer);
        }
    }

    /// The layers whose key frames a slot waits for: the one that it is to have, and if
    /// it has none yet, the least that comes.
    fn awaited(&self, now: Timestamp, slot: &Slot) -> Vec<(u32, usize)> {
        let Some(feed) = &slot.feed else { return Vec::new() };
        let (Some(stream), Some(target)) = (self.streams.get(&feed.no), feed.choice.awaited()) else {
            return Vec::new();
        };
        let to_begin = (0..target).find(|&layer| stream.layers[layer].is_live(now));
        let to_begin = to_begin.filter(|_| feed.choice.current.is_none());
        to_begin.into_iter().chain([target]).map(|layer| (feed.no, layer)).collect()
    }

    fn decide(&mut self, now: Timestamp) {
        let is_talker = |stream: &&mut Stream| stream.info.source == Source::Microphone && !stream.info.muted;
        let talkers = self.streams.values_mut().filter(is_talker);
        let talkers: Vec<_> = talkers.map(|stream| (stream.info.no, stream.activity.scores(now))).collect();
        self.speaker.decide(&talkers);
    }

    /// Tells those who play stream `no` where it stands, if that changed.
    fn tell_plays(&mut self, no: u32) {
        for person in self.players_of(no) {
            self.tell(person);
        }
    }

    /// Tells a participant what plays to it, where that changed.
    fn tell(&mut self, person: PersonId) {
        let Some(subscriber) = self.people.get_mut(&person).filter(|subscriber| subscriber.g > 0) else {
            return;
        };
        let fed = subscriber.slots.iter().filter_map(|slot| Some((slot, slot.no()?)));
        let slots: Vec<_> = fed.map(|(slot, no)| SlotTold { mid: slot.mid.clone(), no }).collect();
        if subscriber.slots_told.as_ref() != Some(&slots) {
            subscriber.slots_told = Some(slots.clone());
            self.out.push(Output::Tell(person, Told::Slots { g: subscriber.g, slots }));
        }
        let states = subscriber.plays.keys().filter_map(|no| {
            let stream = self.streams.get(no)?;
            // Where it stood before it was held back is where it stands.
            let is_news = !stream.info.muted || subscriber.plays[no].told.is_none();
            is_news.then(|| (*no, subscriber.state(&stream.info), stream.info.id.clone()))
        });
        for (no, state, stream) in states.collect::<Vec<_>>() {
            let Some(playing) = subscriber.plays.get_mut(&no) else { continue };
            if playing.told.replace(state) != Some(state) {
                let code = (state == PlayState::Failed).then_some(Code::Codec);
                self.out.push(Output::Tell(person, Told::Playing { stream, state, code }));
            }
        }
    }

    /// Tells publishers what is wanted of their streams of pictures, where that changed.
    fn tell_limits(&mut self, now: Timestamp) {
        let numbers: Vec<u32> = self.streams.keys().copied().collect();
        for no in numbers {
            let Some(stream) = self.streams.get_mut(&no).filter(|stream| stream.kind() == Kind::Video) else {
                continue;
            };
            let mut played = vec![false; stream.layers.len()];
            let mut shares = Vec::new();
            for (person, slot) in &stream.feeds {
                let Some(subscriber) = self.people.get(person) else { continue };
                let Some(feed) = &subscriber.slots[*slot].feed else { continue };
                let choice = feed.choice;
                choice.current.into_iter().chain(choice.target).for_each(|layer| played[layer] = true);
                // What is paused counts, too: it is to fit again.
                let pictures =
                    subscriber.slots.iter().filter(|slot| slot.kind == Kind::Video && slot.feed.is_some());
                shares.extend(subscriber.estimate.map(|bps| bps / pictures.count().max(1) as u64));
            }
            if stream.info.muted {
                continue;
            }
            stream.mark_played(now, &played);
            let layers = stream.to_be_sent();
            let bps = if layers.is_empty() { limit(shares) } else { sum_of(&stream.info, &layers) };
            let Some(bps) = bps else { continue };
            let is_news = stream.limit.as_ref().is_none_or(|(before, names)| {
                *names != layers || before.abs_diff(bps) > before / 100 * LIMIT_STEP
            });
            if is_news {
                stream.limit = Some((bps, layers.clone()));
                let told = Told::Limit { stream: stream.info.id.clone(), bps, layers };
                self.out.push(Output::Tell(stream.owner, told));
            }
        }
    }

    fn tell_volumes(&mut self, now: Timestamp) {
        let talkers = self.streams.values().filter(|stream| stream.info.source == Source::Microphone);
        let mut list: Vec<Volume> = Vec::new();
        for stream in talkers {
            let level = stream.level.volume(now);
            let Ok(user) = UserName::new(stream.info.id.user()) else { continue };
            match list.iter_mut().find(|volume| volume.user == user) {
                Some(volume) => volume.level = volume.level.max(level),
                None => list.push(Volume { user, level }),
            }
        }
        list.retain(|volume| volume.level > 0);
        let active = self.speaker.now.and_then(|no| self.streams.get(&no));
        let active = active.and_then(|stream| UserName::new(stream.info.id.user()).ok());
        let told = Told::Volumes { list, active };
        let nothing = Told::Volumes { list: Vec::new(), active: None };
        if *self.volumes_told.as_ref().unwrap_or(&nothing) != told {
            self.volumes_told = Some(told.clone());
            self.out.push(Output::TellAll(told));
        }
    }
}

impl Subscriber {
    fn takes(&self, stream: &StreamInfo) -> bool {
        self.codecs.contains(&stream.codec)
    }

    /// Where a stream stands that it plays.
    fn state(&self, stream: &StreamInfo) -> PlayState {
        if !self.takes(stream) {
            return PlayState::Failed;
        }
        let kind = stream.source.kind();
        let Some(feed) =
            self.slots.iter().filter_map(|slot| slot.feed.as_ref()).find(|feed| feed.no == stream.no)
        else {
            // One that is not among the loudest is heard as soon as it is.
            let has_any = kind == Kind::Audio && self.slots.iter().any(|slot| slot.kind == kind);
            return if has_any { PlayState::Playing } else { PlayState::NoSlot };
        };
        match (feed.choice.current, feed.choice.target) {
            (_, None) => PlayState::Paused,
            (None, Some(_)) if kind == Kind::Video => PlayState::Waiting,
            _ => PlayState::Playing,
        }
    }
}

/// The greatest layer, of so many, that is wished for.
fn most(wish: Wish, layers: usize) -> usize {
    match wish {
        Wish::Low => 0,
        Wish::Mid => layers / 2,
        Wish::High => layers.saturating_sub(1),
    }
}

/// Bits per second of these layers, as announced.
fn sum_of(stream: &StreamInfo, rids: &[String]) -> Option<u32> {
    let layers = stream.layers.iter().filter(|layer| rids.contains(&layer.rid));
    Some(layers.fold(0, |sum, layer| layer.max_bps.saturating_add(sum)))
}

fn ask_key_frame(out: &mut Vec<Output>, now: Timestamp, no: u32, stream: &mut Stream, layer: usize) {
    if stream.layers[layer].key_frames.ask(now) {
        let rid = stream.rid(layer).map(str::to_owned);
        out.push(Output::KeyFrame { owner: stream.owner, no, rid });
    }
}

#[cfg(test)]
mod tests;
