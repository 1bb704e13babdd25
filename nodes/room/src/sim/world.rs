//! The simulated world: who there is, and what happens to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sidetone_core::Timestamp;

use super::actor::Actor;
use super::network::{Cut, Item, Way, Wire};
use crate::client::session::{
    Command, ConnectionId, MuteRemote, OfferKind, OfferWanted, Output as Wanted, Session,
};
use crate::events::{RoomEvent, RoomState};
use crate::protocol::{
    Ask, Code, Join, Kind, Left, News, Offer, Play, Request, RoomName, Send, SlotOf, Source, Told, UserName,
    Wish,
};
use crate::server::claims::{Claims, Grants};
use crate::server::replay::PersonId;
use crate::server::room::{LinkId, Order, Output, Room, Settings, failed};

/// What happened how often.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(BTreeMap<&'static str, u64>);

/// What has to happen, over all seeds, for them to be worth running.
const HAPPENINGS: [&str; 13] = [
    "first",
    "resumed",
    "again",
    "roster",
    "timed out",
    "duplicate",
    "kicked",
    "banned",
    "superseded",
    "token expired",
    "not permitted",
    "published",
    "muted",
];

impl Tally {
    fn extend(&mut self, happened: Option<&'static str>) {
        happened.into_iter().for_each(|what| *self.0.entry(what).or_default() += 1);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        HAPPENINGS.iter().map(|what| (*what, self.0.get(what).copied().unwrap_or_default()))
    }
}

/// When messages, and when anything last came from each participant.
pub(super) type Heard = BTreeMap<PersonId, [Timestamp; 2]>;

/// Everything there is.
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) rng: fastrand::Rng,
    pub(super) room: Room,
    pub(super) settings: Settings,
    pub(super) actors: Vec<Actor>,
    pub(super) wires: BTreeMap<LinkId, Wire>,
    queue: BTreeMap<(Timestamp, u64), Happening>,
    /// Numbers drawn so far, for the order of happenings, links, and secrets.
    numbers: u64,
    /// Which room it is: the server was started anew so often.
    pub(super) rooms: u32,
    pub(super) heard: Heard,
    /// What streams the media server has, and what it plays to whom.
    pub(super) streams: BTreeSet<u32>,
    pub(super) plays: BTreeMap<PersonId, BTreeSet<u32>>,
    /// All sessions that began, and whose they are.
    sessions: BTreeMap<String, UserName>,
    pub(super) tally: Tally,
    traced: Option<VecDeque<String>>,
}

enum Happening {
    /// Something that a wire carries comes.
    Comes(LinkId, Way),
    /// A connection broke, as this side sees it.
    Breaks(LinkId, Way),
    Script,
    Begins(usize),
    /// The connection of who sits there breaks.
    Snaps(usize),
    Renews(usize),
    Knocked(usize),
    Offered(usize, OfferWanted),
    Answered(u32, PersonId, u32, Vec<u32>),
    Beat,
}

/// When it begins.
const START: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
/// How long happenings happen; how long it is quiet then; and how long after all left.
const BUSY: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(45);
const AFTER: Duration = Duration::from_secs(95);
/// How often media are looked at, and the world is checked.
const BEAT: Duration = Duration::from_millis(500);
/// What the trace shows: the last so many lines.
const TRACED: usize = 400;

impl World {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let replay = if rng.u8(..3) == 0 { 4 } else { 1_024 };
        let settings = Settings { replay, udp: vec!["192.0.2.1:7882".into()], ..Settings::default() };
        let users = rng.usize(2..=6);
        let seats = users + rng.usize(..=2);
        let actor = |seat: usize| {
            let user = ["alice", "bob", "carol", "dave", "eve", "frank"][seat % users];
            let least = rng.u64(1..100);
            let delay_ms = (least, least + rng.u64(1..100));
            Actor::new(UserName::new(user).expect("a name"), delay_ms, rng.u8(..4) != 0)
        };
        let actors = (0..seats).map(actor).collect();
        Self {
            now: START,
            rng,
            room: Room::new(RoomName::new("sim").expect("a name"), settings.clone()),
            settings,
            actors,
            wires: BTreeMap::new(),
            queue: BTreeMap::new(),
            numbers: 0,
            rooms: 0,
            heard: BTreeMap::new(),
            streams: BTreeSet::new(),
            plays: BTreeMap::new(),
            sessions: BTreeMap::new(),
            tally: Tally::default(),
            traced: trace.then(VecDeque::new),
        }
    }

    /// Lets all happen that happens, and checks it.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for seat in 0..self.actors.len() {
            let at = START + self.millis(0, 5_000);
            self.plan(at, Happening::Begins(seat));
        }
        for _ in 0..80 {
            let at = START + self.millis(500, 60_000);
            self.plan(at, Happening::Script);
        }
        self.plan(START + BEAT, Happening::Beat);
        self.pass(START + BUSY)?;
        self.note(|| "all is quiet from here on".into());
        for seat in 0..self.actors.len() {
            self.actors[seat].ways.cut(Cut::Both, self.now);
            self.command(seat, |world| Command::Renew(world.token(seat, Duration::from_secs(3_600))))?;
        }
        self.pass(START + BUSY + QUIET)?;
        self.check_quiet()?;
        for seat in 0..self.actors.len() {
            self.command(seat, |_| Command::Leave)?;
        }
        self.pass(START + BUSY + QUIET + AFTER)?;
        self.check_empty()
    }

    /// What happened last.
    pub(super) fn trace(&self) -> String {
        let lines: Vec<_> = self.traced.iter().flatten().map(String::as_str).collect();
        lines.join("\n")
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(traced) = &mut self.traced {
            if traced.len() == TRACED {
                traced.pop_front();
            }
            let ms = self.now.since(START).as_millis();
            traced.push_back(format!("{:>3}.{:03} {}", ms / 1_000, ms % 1_000, line()));
        }
    }

    /// Time goes on until `end`.
    fn pass(&mut self, end: Timestamp) -> Result<(), String> {
        for _ in 0..1_000_000 {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let sessions = self.actors.iter().filter_map(|actor| actor.session.as_ref()?.next_tick());
            let due = sessions.chain(queued).chain(self.room.next_tick()).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(due);
            // What comes counts before what is due at the same instant.
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let happening = entry.remove();
                self.happen(happening)?;
            }
            self.tick()?;
        }
        Err("time does not go on".into())
    }

    fn tick(&mut self) -> Result<(), String> {
        if self.room.next_tick().is_some_and(|due| due <= self.now) {
            let (before, heard) = (self.room.census(), self.heard.clone());
            self.room.tick(self.now);
            self.server_does()?;
            self.check_tick(&before, &heard)?;
        }
        for seat in 0..self.actors.len() {
            let due = self.actors[seat].session.as_ref().and_then(Session::next_tick);
            if due.is_some_and(|due| due <= self.now) {
                self.act(seat, |now, session| session.tick(now))?;
                let next = self.actors[seat].session.as_ref().and_then(Session::next_tick);
                if next.is_some_and(|next| next <= self.now) {
                    return Err(format!("{} leaves undone what is due", self.actors[seat].user));
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Comes(link, way) => return self.comes(link, way),
            Happening::Breaks(link, way) => return self.breaks(link, way),
            Happening::Script => return self.script(),
            Happening::Begins(seat) => return self.begin(seat),
            Happening::Snaps(seat) => {
                if let Some((_, link)) = self.actors[seat].open {
                    self.note(|| format!("the connection of seat {seat} breaks"));
                    self.break_wire(link);
                }
            }
            Happening::Renews(seat) => {
                let is_short = self.now < START + BUSY && self.rng.bool();
                let span = if is_short { self.rng.u64(15..60) } else { 3_600 };
                return self
                    .command(seat, |world| Command::Renew(world.token(seat, Duration::from_secs(span))));
            }
            Happening::Knocked(seat) => return self.act(seat, |now, session| session.knock_answered(now)),
            Happening::Offered(seat, wanted) => {
                let send = |publish: crate::client::session::Publish| Send {
                    mid: publish.stream.to_string(),
                    stream: publish.stream,
                    source: publish.source,
                    muted: publish.muted,
                    layers: publish.layers,
                };
                let send = wanted.send.into_iter().map(send).collect();
                let recv = vec![SlotOf { mid: "r".into(), kind: Kind::Audio }];
                let offer = Offer { g: wanted.g, sdp: "offer".into(), send, recv };
                return self.act(seat, |now, session| session.offered(now, offer));
            }
            Happening::Answered(room, person, g, streams) => {
                if room == self.rooms {
                    let codecs = streams.into_iter().map(|no| (no, "av1".to_owned())).collect();
                    self.room.answered(person, g, Ok(("answer".into(), codecs)));
                    return self.server_does();
                }
            }
            Happening::Beat => {
                self.beat()?;
                self.check_now()?;
                self.plan(self.now + BEAT, Happening::Beat);
            }
        }
        Ok(())
    }

    /// Something happens that somebody wants, or nobody.
    fn script(&mut self) -> Result<(), String> {
        let seat = self.rng.usize(..self.actors.len());
        let runs = self.actors[seat].runs();
        let source = Source::ALL[self.rng.usize(..4)];
        match self.rng.u8(..100) {
            0..30 if !runs => return self.begin(seat),
            0..3 => return self.command(seat, |_| Command::Leave),
            5..36 if runs => {
                return self.command(seat, |world| {
                    let World { actors, rng, .. } = world;
                    actors[seat].toggle(source, rng)
                });
            }
            36..46 if runs => {
                let other = self.rng.usize(..self.actors.len());
                let stream = self.actors[other].stream(source);
                let wish = match self.rng.u8(..3) {
                    0 => None,
                    1 => Some(Wish::Low),
                    _ => Some(Wish::High),
                };
                self.actors[seat].asked.wishes.insert(stream.clone(), wish);
                return self.command(seat, |_| match wish {
                    None => Command::Stop(stream),
                    Some(quality) => Command::Play(Play { stream, quality }),
                });
            }
            46..49 if runs => {
                let other = self.rng.bool().then(|| self.rng.usize(..self.actors.len()));
                let user = other.map(|other| self.actors[other].user.clone());
                let mute = MuteRemote { user, kind: source.kind(), muted: self.rng.bool() };
                self.actors[seat].asked.mute_remote(&mute);
                return self.command(seat, |_| Command::MuteRemote(mute));
            }
            49..51 => {
                let ban = self.rng.bool().then_some(Duration::from_secs(10));
                let user = self.actors[seat].user.clone();
                self.note(|| format!("{user} is put out, {ban:?}"));
                self.room.kick(self.now, &user, ban);
            }
            51..54 => {
                let (stream, muted) = (self.actors[seat].stream(source), self.rng.bool());
                self.note(|| format!("an administrator sets {stream} to {muted}"));
                // There may be no such stream.
                let _ = self.room.mute_by_admin(&stream, muted);
            }
            54..60 => {
                if runs && self.rng.bool() {
                    // What is being published meanwhile may not be any more.
                    let command = self.actors[seat].toggle(source, &mut self.rng);
                    self.command(seat, |_| command)?;
                }
                self.actors[seat].grants = ['f', 'f', 'm', 'n', 'h'][self.rng.usize(..5)];
                return self.happen(Happening::Renews(seat));
            }
            60..92 => {
                let span = match self.rng.u8(..3) {
                    0 => self.millis(1_000, 5_000),
                    1 => self.millis(5_000, 20_000),
                    _ => self.millis(20_000, 60_000),
                };
                let cut = Cut::ALL[self.rng.usize(..Cut::ALL.len())];
                self.note(|| format!("the network of seat {seat} is cut, {cut:?}, for {span:?}"));
                self.actors[seat].ways.cut(cut, self.now + span);
            }
            92..97 => {
                for _ in 0..self.rng.u8(1..10) {
                    let at = self.now + self.millis(0, 5_000);
                    self.plan(at, Happening::Snaps(seat));
                }
            }
            97 if self.rng.bool() => {
                self.note(|| "the room is closed".into());
                self.room.close(self.now, Code::RoomClosed);
            }
            98 => {
                self.note(|| "the server shuts down, and is there again at once".into());
                self.room.close(self.now, Code::ShuttingDown);
            }
            99 => {
                self.note(|| "the server dies, and is there again at once".into());
                let room = Room::new(RoomName::new("sim").expect("a name"), self.settings.clone());
                self.room = room;
                self.rooms += 1;
                (self.heard, self.streams, self.plays) = Default::default();
                for link in self.wires.keys().copied().collect::<Vec<_>>() {
                    self.break_wire(link);
                    self.wires.entry(link).and_modify(|wire| wire.server_open = false);
                }
            }
            _ => {}
        }
        self.server_does()
    }

    fn begin(&mut self, seat: usize) -> Result<(), String> {
        if self.actors[seat].runs() {
            return Ok(());
        }
        let span = Duration::from_secs(if self.rng.u8(..3) == 0 { self.rng.u64(15..90) } else { 3_600 });
        let (token, auto_play, rng) = (self.token(seat, span), self.rng.u8(..4) > 0, self.rng.fork());
        self.actors[seat].begin(token, auto_play, rng);
        self.note(|| format!("seat {seat} begins"));
        self.act(seat, |now, session| session.join(now))
    }

    // -----------------------------------------------------------------------
    // Participants

    fn command(&mut self, seat: usize, command: impl FnOnce(&mut Self) -> Command) -> Result<(), String> {
        if !self.actors[seat].runs() {
            return Ok(());
        }
        let command = command(self);
        self.note(|| format!("seat {seat} wants to {command}"));
        self.act(seat, |now, session| session.command(now, command))
    }

    /// A participant's session is told something, and what it wants is done.
    fn act(&mut self, seat: usize, tell: impl FnOnce(Timestamp, &mut Session)) -> Result<(), String> {
        let Some(session) = &mut self.actors[seat].session else { return Ok(()) };
        tell(self.now, session);
        for wanted in session.take() {
            match wanted {
                Wanted::Open(id) => self.open(seat, id)?,
                Wanted::Close(id) => self.close(seat, id)?,
                Wanted::Send(id, request) => {
                    let Some((_, link)) = self.actors[seat].open.filter(|(open, _)| *open == id) else {
                        return Err(format!("seat {seat} sends over a connection that is closed"));
                    };
                    let text = serde_json::to_string(&request).expect("JSON");
                    self.carry(link, Way::Up, Item::Text(text));
                }
                Wanted::Knock(_) => {
                    if self.actors[seat].ways.carries_knocks(self.now) && self.rng.u8(..10) != 0 {
                        let at = self.now + self.delay(seat) + self.delay(seat);
                        self.plan(at, Happening::Knocked(seat));
                    }
                }
                Wanted::Offer(wanted) => {
                    let media = &mut self.actors[seat].media;
                    if wanted.kind == OfferKind::Anew {
                        (media.person, media.is_up) = (None, false);
                    }
                    self.plan(self.now + Duration::from_millis(5), Happening::Offered(seat, wanted));
                }
                Wanted::Answer { .. } => {
                    let person = self.actors[seat].open.and_then(|(_, link)| self.person(link));
                    self.actors[seat].media.person = person;
                }
                Wanted::Slots { .. } | Wanted::Mute(..) => {}
                Wanted::Event(event) => self.see(seat, &event)?,
            }
        }
        Ok(())
    }

    fn see(&mut self, seat: usize, event: &RoomEvent) -> Result<(), String> {
        self.note(|| format!("seat {seat} sees: {event}"));
        self.actors[seat].see(event)?;
        match event {
            RoomEvent::TokenExpiring { .. } if self.actors[seat].is_careful => {
                self.plan(self.now + Duration::from_millis(100), Happening::Renews(seat));
            }
            RoomEvent::TokenWanted { .. } => {
                let at = self.now + self.millis(500, 3_000);
                self.plan(at, Happening::Renews(seat));
            }
            RoomEvent::Published { code: Some(Code::NotPermittedPublish), .. } => {
                self.tally.extend(Some("not permitted"));
            }
            RoomEvent::State(RoomState::Left { .. } | RoomState::Failed { .. }) => {
                self.actors[seat].media = super::actor::FakeMedia::default();
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, seat: usize, id: ConnectionId) -> Result<(), String> {
        if self.actors[seat].open.is_some() {
            return Err(format!("seat {seat} opens a connection beside another"));
        }
        let link = LinkId(self.number());
        self.actors[seat].open = Some((id, link));
        self.wires.insert(link, Wire::new(seat, id));
        self.carry(link, Way::Up, Item::Hello);
        Ok(())
    }

    fn close(&mut self, seat: usize, id: ConnectionId) -> Result<(), String> {
        let Some((_, link)) = self.actors[seat].open.take_if(|(open, _)| *open == id) else {
            return Err(format!("seat {seat} closes a connection that is not open"));
        };
        self.carry(link, Way::Up, Item::Fin);
        self.wires.entry(link).and_modify(|wire| wire.client_open = false);
        Ok(())
    }

    /// Media come and go.
    fn beat(&mut self) -> Result<(), String> {
        for seat in 0..self.actors.len() {
            let Actor { ways, media, .. } = &mut self.actors[seat];
            let Some(person) = media.person.filter(|person| self.heard.contains_key(person)) else {
                continue;
            };
            let (up, down) = (ways.carries_media(self.now, Way::Up), ways.carries_media(self.now, Way::Down));
            let is_up = media.is_up;
            if up && down {
                (media.is_up, media.came) = (true, self.now);
            } else if is_up && self.now.since(media.came) >= Duration::from_millis(1_500) {
                media.is_up = false;
            }
            let is_up_now = media.is_up;
            if up && is_up_now {
                self.room.heard(self.now, person);
                self.heard.entry(person).and_modify(|[_, media]| *media = self.now);
            }
            if is_up != is_up_now {
                self.act(seat, |now, session| match is_up_now {
                    true => session.media_up(now),
                    false => session.media_silent(now),
                })?;
            }
        }
        Ok(())
    }

    // -----------------------------------------------------------------------
    // The network

    fn carry(&mut self, link: LinkId, way: Way, item: Item) {
        let Some(wire) = self.wires.get(&link) else { return };
        let delay = self.delay(wire.actor);
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let due = wire.send(self.now, way, item, delay);
        self.plan(due, Happening::Comes(link, way));
    }

    fn comes(&mut self, link: LinkId, way: Way) -> Result<(), String> {
        let Some(wire) = self.wires.get_mut(&link) else { return Ok(()) };
        let seat = wire.actor;
        let held = self.actors[seat].ways.held(way);
        if held > self.now {
            // It is sent again until it comes.
            let at = held.min(self.now + Duration::from_secs(1)) + self.millis(0, 200);
            self.plan(at, Happening::Comes(link, way));
            return Ok(());
        }
        let (id, item) = (wire.id, wire.receive(way));
        let is_open = match way {
            Way::Up => wire.server_open,
            Way::Down => wire.client_open,
        };
        match (way, item) {
            (_, None) => {}
            (Way::Up, Some(Item::Hello)) => {
                wire.server_open = true;
                self.carry(link, Way::Down, Item::Hello);
            }
            (Way::Up, Some(Item::Text(text))) if is_open => self.server_hears(link, &text)?,
            (Way::Up, Some(Item::Fin)) if is_open => {
                wire.server_open = false;
                self.room.lost(link);
                self.server_does()?;
            }
            (Way::Down, Some(Item::Hello)) if is_open => {
                self.act(seat, |now, session| session.opened(now, id))?;
            }
            (Way::Down, Some(Item::Text(text))) if is_open => self.client_hears(seat, id, &text)?,
            (Way::Down, Some(Item::Fin)) if is_open => self.breaks(link, Way::Down)?,
            _ => {}
        }
        if self.wires.get(&link).is_some_and(Wire::is_over) {
            self.wires.remove(&link);
        }
        Ok(())
    }

    /// A connection breaks at once, with all that is on its way; each side learns it a
    /// little later, if it can.
    fn break_wire(&mut self, link: LinkId) {
        if let Some(wire) = self.wires.get_mut(&link) {
            wire.break_off();
            for way in [Way::Up, Way::Down] {
                let at = self.now + self.millis(0, 500);
                self.plan(at, Happening::Breaks(link, way));
            }
        }
    }

    /// Who receives what goes `way` learns that a connection is over.
    fn breaks(&mut self, link: LinkId, way: Way) -> Result<(), String> {
        let Some(wire) = self.wires.get_mut(&link) else { return Ok(()) };
        let (seat, id) = (wire.actor, wire.id);
        match way {
            Way::Up if std::mem::take(&mut wire.server_open) => {
                self.room.lost(link);
                self.server_does()?;
            }
            Way::Down if std::mem::take(&mut wire.client_open) => {
                self.actors[seat].open = None;
                self.act(seat, |now, session| session.closed(now, id))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn client_hears(&mut self, seat: usize, id: ConnectionId, text: &str) -> Result<(), String> {
        let told: Told = serde_json::from_str(text).map_err(|why| format!("{why}: {text}"))?;
        if !matches!(told, Told::Pong { .. }) {
            self.note(|| format!("seat {seat} is told {text}"));
        }
        let Actor { own, seq: last, .. } = &mut self.actors[seat];
        match &told {
            Told::Joined(joined) => (*last, *own) = (joined.seq, joined.session.clone()),
            Told::Roster { seq, .. } if seq < last => return Err("a list of who was there before".into()),
            Told::Roster { seq, .. } => *last = *seq,
            Told::Event { seq, .. } if seq <= last => return Err(format!("event {seq} comes after {last}")),
            Told::Event { seq, .. } => *last = *seq,
            _ => {}
        }
        self.act(seat, |now, session| session.message(now, id, told))
    }

    // -----------------------------------------------------------------------
    // The server

    fn server_hears(&mut self, link: LinkId, text: &str) -> Result<(), String> {
        let Request { n, ask } = serde_json::from_str(text).map_err(|why| format!("{why}: {text}"))?;
        if !matches!(ask, Ask::Ping { .. }) {
            self.note(|| format!("the server is told at {link:?}: {text}"));
        }
        let now = self.now;
        match ask {
            Ask::Join(join) => return self.server_lets_in(link, n, &join),
            Ask::Renew { token } => {
                self.room.renew(now, link, n, claims(&token, now));
            }
            ask => self.room.ask(now, link, n, ask),
        }
        if let Some(person) = self.person(link) {
            self.heard.insert(person, [now; 2]);
        }
        self.server_does()
    }

    fn server_lets_in(&mut self, link: LinkId, n: u32, join: &Join) -> Result<(), String> {
        let now = self.now;
        match claims(&join.token, now) {
            Ok(claims) => {
                let user = claims.user.clone();
                let known = join.resume.as_ref().map(|resume| resume.session.clone());
                let census = self.room.census();
                let is_here = census.iter().any(|sight| Some(&sight.session) == known.as_ref());
                let wire = self.wires.get(&link).filter(|wire| wire.client_open);
                let own = wire.map(|wire| &self.actors[wire.actor].own);
                if !is_here && census.iter().any(|sight| Some(&sight.session) == own) {
                    return Err(format!("{user} gives up a session that the room still has"));
                }
                let number = self.number();
                let secrets = [format!("session {number}"), format!("secret {number}")];
                self.room.join(now, link, n, claims, join, secrets);
                if let Some(person) = self.person(link) {
                    self.heard.insert(person, [now; 2]);
                    let session = known.filter(|_| is_here).unwrap_or_else(|| format!("session {number}"));
                    let whose = self.sessions.entry(session).or_insert_with(|| user.clone());
                    if *whose != user {
                        return Err(format!("{user} has the session of {whose}"));
                    }
                } else if is_here && self.wires.get(&link).is_some_and(|wire| wire.client_open) {
                    let banned = "the session of somebody who is in the room is not let back";
                    return Err(format!("{banned}: {user}"));
                }
            }
            Err(code) => {
                self.server_tells(link, &failed(Some(n), code));
                self.server_closes(link);
            }
        }
        self.server_does()
    }

    /// What the room wants is done.
    pub(super) fn server_does(&mut self) -> Result<(), String> {
        for output in self.room.take() {
            match output {
                Output::Tell(link, told) => self.server_tells(link, &told),
                Output::Close(link) => self.server_closes(link),
                Output::Media(order) => self.media_do(order)?,
                Output::Fact(_) => {}
            }
        }
        Ok(())
    }

    fn server_tells(&mut self, link: LinkId, told: &Told) {
        self.tally.extend(happening(told));
        let Some(wire) = self.wires.get_mut(&link).filter(|wire| wire.server_open) else { return };
        wire.joined |= matches!(told, Told::Joined(_) | Told::Resumed { .. });
        let text = serde_json::to_string(told).expect("JSON");
        self.carry(link, Way::Down, Item::Text(text));
    }

    fn server_closes(&mut self, link: LinkId) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        if std::mem::take(&mut wire.server_open) {
            self.carry(link, Way::Down, Item::Fin);
        }
    }

    /// What the media server does.
    fn media_do(&mut self, order: Order) -> Result<(), String> {
        match order {
            Order::Offer { person, g, send, .. } => {
                let streams = send.iter().map(|(_, no)| *no).collect();
                let at = self.now + self.millis(1, 50);
                self.plan(at, Happening::Answered(self.rooms, person, g, streams));
            }
            Order::Publish(_, stream) => {
                self.streams.insert(stream.no);
            }
            Order::Play(person, no, _) => {
                if !self.streams.contains(&no) {
                    return Err(format!("the media are to play stream {no}, of which they know nothing"));
                }
                self.plays.entry(person).or_default().insert(no);
            }
            Order::Stop(person, no) => {
                self.plays.entry(person).or_default().remove(&no);
            }
            Order::End(no) => {
                self.streams.remove(&no);
                self.plays.values_mut().for_each(|plays| {
                    plays.remove(&no);
                });
            }
            Order::Forget(person) => {
                self.plays.remove(&person);
                self.heard.remove(&person);
            }
            Order::Candidate(..) | Order::Received(..) | Order::Mute(..) | Order::Refresh(_) => {}
        }
        Ok(())
    }

    // -----------------------------------------------------------------------
    // Small things

    /// A token for who sits there: the name, until when it holds, and what it allows: all
    /// (`f`), a microphone alone (`m`), not to play (`n`), to be hidden (`h`).
    fn token(&mut self, seat: usize, span: Duration) -> String {
        let Actor { user, grants, .. } = &self.actors[seat];
        format!("{user}|{}|{grants}", (self.now + span).nanos())
    }

    pub(super) fn person(&self, link: LinkId) -> Option<PersonId> {
        let census = self.room.census();
        census.iter().find(|sight| sight.link == Some(link)).map(|sight| sight.id)
    }

    fn plan(&mut self, at: Timestamp, happening: Happening) {
        let number = self.number();
        self.queue.insert((at, number), happening);
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.u64(least..most))
    }

    fn delay(&mut self, seat: usize) -> Duration {
        let (least, most) = self.actors[seat].delay_ms;
        self.millis(least, most)
    }
}

/// What a token says, if it still holds.
fn claims(token: &str, now: Timestamp) -> Result<Claims, Code> {
    let claims = read(token).ok_or(Code::TokenInvalid)?;
    if claims.until <= now { Err(Code::TokenExpired) } else { Ok(claims) }
}

fn read(token: &str) -> Option<Claims> {
    let mut parts = token.split('|');
    let user = UserName::new(parts.next()?).ok()?;
    let until = Timestamp::from_nanos(parts.next()?.parse().ok()?);
    let kind = parts.next()?;
    let publish = if kind == "m" { vec![Source::Microphone] } else { Source::ALL.to_vec() };
    let (subscribe, hidden) = (kind != "n", kind == "h");
    Some(Claims { user, until, grants: Grants { join: true, publish, subscribe, hidden, admin: false } })
}

/// What of the tally a message shows.
fn happening(told: &Told) -> Option<&'static str> {
    let what = match told {
        Told::Joined(joined) if joined.again => "again",
        Told::Joined(_) => "first",
        Told::Resumed { .. } => "resumed",
        Told::Roster { .. } => "roster",
        Told::Failed { code: Code::DuplicateIdentity, .. } => "duplicate",
        Told::Failed { code: Code::Kicked, .. } => "kicked",
        Told::Failed { code: Code::Banned, .. } => "banned",
        Told::Failed { code: Code::SessionUnknown, .. } => "superseded",
        Told::Failed { code: Code::TokenExpired, .. } => "token expired",
        Told::Event { e: News::UserLeft { reason: Left::TimedOut, .. }, .. } => "timed out",
        Told::Event { e: News::StreamAdded { .. }, .. } => "published",
        Told::Event { e: News::StreamMuted { .. }, .. } => "muted",
        _ => return None,
    };
    Some(what)
}
