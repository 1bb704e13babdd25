//! `Hall`: all rooms of a server with their participants' media and links, without a
//! socket, a thread or a clock: told what came and when, it says what is to be sent.
//! `run` is the loop around it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use sidetone_core::Timestamp;
use tracing::{info, warn};

use crate::protocol::{self, Ask, Code, Join, Left, Request, RoomName, Source, Told};
use crate::rtc::NoCertificate;
use crate::server::budget::{Budget, Rate};
use crate::server::claims::Claims;
use crate::server::config::Config;
use crate::server::log::{self, Damper};
use crate::server::media::{self, Forwarder};
use crate::server::replay::PersonId;
use crate::server::room::{self, Fact, LinkId, Room, Settings};
use crate::server::token::{self, App};

mod admin;
mod demux;
mod network;
mod peer;
mod socket;
mod stage;
mod timing;

pub mod run;
pub mod whip;

pub use admin::{Admin, AdminAsk, Mute};
pub use timing::{Figures, Timing};

use crate::stun::{self, Knocks};
use demux::{Demux, Whose};
use peer::PeerConfig;
use stage::Stage;

/// How long a new link may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest datagram that is looked at.
const MOST_DATAGRAM: usize = 1_500;

/// A room of a hall; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct StageId(u32);

/// A participant's media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PeerId {
    stage: StageId,
    person: PersonId,
}

/// A datagram that came or is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The server's own address.
    pub local: SocketAddr,
    /// The other side's.
    pub remote: SocketAddr,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What is to be said over a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// A message is to be sent.
    Tell(LinkId, Told),
    /// The link is to be closed after what was to be sent; with why, where that is
    /// not by choice.
    Close(LinkId, Option<Code>),
}

/// What happened in a hall, counted since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Participants let in or back in.
    pub joins: u64,
    /// Those who were not, by why.
    pub joins_refused: BTreeMap<Code, u64>,
    /// Participants who are out, by why.
    pub leaves: BTreeMap<Left, u64>,
    /// Participants who came back, by how.
    pub resumes: Resumes,
    /// Refusals, by why.
    pub refused: BTreeMap<Code, u64>,
    /// Links that were let go since they did not read.
    pub stuck: u64,
    /// RTP of streams of sound …
    pub audio: Flow,
    /// … and of pictures.
    pub video: Flow,
    /// Packets that somebody could not be sent: not connected, or another codec.
    pub unsendable: u64,
    /// Datagrams longer than any that are looked at.
    pub oversized: u64,
    /// Datagrams of nobody, and requests that nobody signed.
    pub unknown: u64,
    /// RTP of participants that gave no packet: it was not theirs, or came twice, or was
    /// padding.
    pub fruitless: u64,
    /// Knocks that were answered.
    pub knocks: u64,
    /// Knocks that were one too many.
    pub knocks_refused: u64,
    /// Key frames that publishers were asked for.
    pub key_frames_asked: u64,
    /// Key frames that participants asked for.
    pub key_frames_wanted: u64,
    /// Participants whose media failed, a goodbye being none; among them by a panic.
    pub peers_failed: u64,
    /// Panics, each of which ended one participant's media.
    pub panics: u64,
}

/// RTP of one medium: packets, and bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Packets that came.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Packets that went out.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
}

impl Counts {
    /// The packets that came. \[any\]
    #[must_use]
    pub const fn packets_in(&self) -> u64 {
        self.audio.packets_in + self.video.packets_in
    }

    /// The packets that went out. \[any\]
    #[must_use]
    pub const fn packets_out(&self) -> u64 {
        self.audio.packets_out + self.video.packets_out
    }

    const fn flow(&mut self, is_video: bool) -> &mut Flow {
        if is_video { &mut self.video } else { &mut self.audio }
    }
}

/// How those fared who came back after their connection broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resumes {
    /// They were in their session again.
    pub kept: u64,
    /// Their session was over; they joined anew.
    pub anew: u64,
    /// They were not let in.
    pub refused: u64,
}

/// An application, and the name of a room of its.
type Place = (String, RoomName);

/// What all rooms share.
struct Shared {
    /// What was the beginning on the rooms' clock.
    start: Instant,
    config: PeerConfig,
    demux: Demux,
    datagrams: Vec<Datagram>,
    words: Vec<Word>,
    counts: Counts,
    refusals: Damper<Code>,
    random: Random,
}

/// Where unguessable bytes come from.
pub type Random = Box<dyn FnMut() -> [u8; 16] + Send>;

impl Shared {
    /// A text that nobody can guess.
    fn secret(&mut self) -> String {
        (self.random)().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn timestamp(&self, now: Instant) -> Timestamp {
        Timestamp::ZERO + now.saturating_duration_since(self.start)
    }

    fn instant(&self, at: Timestamp) -> Instant {
        // A clock that runs for 584 years has other problems.
        self.start + at.since(Timestamp::ZERO)
    }

    /// Something was refused; in which room, where it was in one.
    fn refused(&mut self, now: Instant, place: Option<&Place>, code: Code) {
        *self.counts.refused.entry(code).or_default() += 1;
        if let Some(untold) = self.refusals.tell(now, code) {
            let untold = (untold > 0).then_some(untold);
            let (app, room) = place.map(|(app, room)| (app.as_str(), room.as_str())).unzip();
            warn!(app, room, code = protocol::word(&code), untold, "refused");
        }
    }

    /// Something happened in a room.
    fn happened(&mut self, place: &Place, fact: &Fact) {
        let Counts { leaves, resumes, .. } = &mut self.counts;
        match fact {
            Fact::Joined { again, .. } => resumes.anew += u64::from(*again),
            Fact::Resumed { .. } => resumes.kept += 1,
            Fact::Left { reason, .. } => *leaves.entry(*reason).or_default() += 1,
            Fact::Published { .. } => {}
        }
        log::fact(place, fact);
    }

    fn refuse(&mut self, link: LinkId, re: Option<u32>, code: Code) {
        self.words.push(Word::Tell(link, room::failed(re, code)));
        self.words.push(Word::Close(link, Some(code)));
    }
}

/// All rooms of a server.
pub struct Hall {
    apps: Vec<App>,
    settings: Settings,
    media: media::Settings,
    /// What became of packets in rooms that are over.
    forwarded: media::Counts,
    /// Rooms and links at once.
    most: (usize, usize),
    /// Messages of a link.
    messages: Rate,
    stages: BTreeMap<StageId, Stage>,
    /// By application and name.
    rooms: BTreeMap<Place, StageId>,
    next_stage: u32,
    /// Rooms in which packets came that are yet to go out; each once or more.
    written: Vec<StageId>,
    links: BTreeMap<LinkId, Link>,
    resources: whip::Resources,
    knocks: Knocks,
    is_draining: bool,
    shared: Shared,
}

/// A connection of somebody.
struct Link {
    opened: Instant,
    /// Whose application and which room, once it is in one.
    place: Option<(Place, StageId)>,
    /// Messages that it may send.
    budget: Budget,
}

impl Hall {
    /// A hall without rooms that takes media at these addresses.
    ///
    /// # Errors
    /// This machine's cryptography makes no certificate.
    pub fn new(
        config: &Config,
        apps: Vec<App>,
        addresses: Vec<SocketAddr>,
        now: Instant,
        random: Random,
    ) -> Result<Self, NoCertificate> {
        Ok(Self {
            apps,
            settings: config.room(&addresses),
            media: config.forwarding(),
            forwarded: media::Counts::default(),
            most: (config.limits.rooms, config.limits.links),
            messages: config.messages(),
            stages: BTreeMap::new(),
            rooms: BTreeMap::new(),
            next_stage: 0,
            written: Vec::new(),
            links: BTreeMap::new(),
            resources: whip::Resources::default(),
            knocks: Knocks::new(now),
            is_draining: false,
            shared: Shared {
                start: now,
                config: PeerConfig::new(addresses)?,
                demux: Demux::default(),
                datagrams: Vec::new(),
                words: Vec::new(),
                counts: Counts::default(),
                refusals: Damper::new(),
                random,
            },
        })
    }

    /// What is to be sent by now.
    pub fn take_datagrams(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.shared.datagrams)
    }

    /// What is to be said by now, in this order.
    pub fn take_words(&mut self) -> Vec<Word> {
        std::mem::take(&mut self.shared.words)
    }

    /// A link is there, over which somebody may join.
    pub fn opened(&mut self, now: Instant, link: LinkId) {
        if self.links.len() >= self.most.1 {
            return self.refuse(now, link, None, Code::TooManyRequests);
        }
        let budget = Budget::new(self.messages, self.shared.timestamp(now));
        self.links.insert(link, Link { opened: now, place: None, budget });
    }

    /// A link is gone, since what came over it was no message: why.
    pub fn broken(&mut self, now: Instant, link: LinkId, why: Code) {
        let place = self.links.get(&link).and_then(|link| link.place.as_ref()).map(|(place, _)| place);
        self.shared.refused(now, place, why);
        self.closed(now, link);
    }

    /// A link is gone, since it did not take what was to be said over it.
    pub fn stuck(&mut self, now: Instant, link: LinkId) {
        self.shared.counts.stuck += 1;
        self.closed(now, link);
    }

    /// A link is gone.
    pub fn closed(&mut self, now: Instant, link: LinkId) {
        if let Some(Link { place: Some((_, stage)), .. }) = self.links.remove(&link) {
            self.resources.forget(link);
            self.at(now, stage, |stage, _, _| stage.room.lost(link));
        }
    }

    /// A message came over a link. `wall` is the time since 1970 (UTC), for tokens.
    pub fn message(&mut self, now: Instant, wall: Duration, link: LinkId, text: &str) {
        let Some(known) = self.links.get_mut(&link) else { return };
        let place = known.place.as_ref().map(|(_, stage)| *stage);
        if !known.budget.take(self.shared.timestamp(now), 1) {
            return self.refuse(now, link, None, Code::TooManyRequests);
        }
        let request = match read(text) {
            Ok(request) => request,
            Err((re, code)) => {
                // One who is in a room is told, and stays.
                let Some(stage) = place else { return self.refuse(now, link, re, code) };
                self.shared.refused(now, self.stages.get(&stage).map(|stage| &stage.place), code);
                let told = room::error(re.unwrap_or_default(), code);
                if self.stages.get(&stage).is_some_and(|stage| stage.room.has(link)) {
                    self.shared.words.push(Word::Tell(link, told));
                }
                return;
            }
        };
        match (request.ask, place) {
            (Ask::Join(join), None) => self.join(now, wall, link, request.n, &join),
            (_, None) => self.refuse(now, link, Some(request.n), Code::BadMessage),
            (Ask::Renew { token }, Some(stage)) => self.renew(now, wall, link, request.n, &token, stage),
            (ask, Some(stage)) => {
                self.at(now, stage, |stage, at, _| stage.room.ask(at, link, request.n, ask));
            }
        }
    }

    fn join(&mut self, now: Instant, wall: Duration, link: LinkId, re: u32, join: &Join) {
        let Err(code) = self.try_join(now, wall, link, re, join) else {
            self.shared.counts.joins += 1;
            return;
        };
        *self.shared.counts.joins_refused.entry(code).or_default() += 1;
        self.shared.counts.resumes.refused += u64::from(join.resume.is_some());
    }

    /// Lets somebody in, or tells them why not.
    fn try_join(
        &mut self,
        now: Instant,
        wall: Duration,
        link: LinkId,
        re: u32,
        join: &Join,
    ) -> Result<(), Code> {
        let (key, id, claims) = match self.door(now, wall, join) {
            Ok(open) => open,
            Err(code) => {
                self.refuse(now, link, Some(re), code);
                return Err(code);
            }
        };
        let secrets = [self.shared.secret(), self.shared.secret()];
        let said = self.shared.words.len();
        self.at(now, id, |stage, at, _| stage.room.join(at, link, re, claims, join, secrets));
        let refused = self.shared.words[said..].iter().find_map(|word| match word {
            Word::Tell(to, Told::Failed { code, .. }) if *to == link => Some(*code),
            _ => None,
        });
        if let Some(link) = self.links.get_mut(&link).filter(|_| refused.is_none()) {
            link.place = Some((key, id));
        }
        self.sweep(id);
        refused.map_or(Ok(()), Err)
    }

    /// The room that somebody's token is for, and what it allows.
    fn door(&mut self, now: Instant, wall: Duration, join: &Join) -> Result<(Place, StageId, Claims), Code> {
        if self.is_draining {
            return Err(Code::ShuttingDown);
        }
        let checked = token::check(&self.apps, &join.token, self.shared.timestamp(now), wall)?;
        let place = (checked.app, checked.room.ok_or(Code::RoomInvalid)?);
        let id = self.enter(&place)?;
        Ok((place, id, checked.claims))
    }

    /// The room of an application that has this name, which is made where there is none.
    #[allow(clippy::cast_possible_truncation)] // half of it is as random
    fn enter(&mut self, place: &Place) -> Result<StageId, Code> {
        if let Some(id) = self.rooms.get(place) {
            return Ok(*id);
        }
        if self.rooms.len() >= self.most.0 {
            return Err(Code::TooManyRequests);
        }
        let id = StageId(self.next_stage);
        self.next_stage += 1;
        let room = Room::new(place.1.clone(), self.settings.clone());
        let seed = u128::from_be_bytes((self.shared.random)()) as u64;
        let forwarder = Forwarder::new(self.media.clone(), seed);
        self.stages.insert(id, Stage::new(id, place.clone(), room, forwarder));
        self.rooms.insert(place.clone(), id);
        Ok(id)
    }

    fn renew(&mut self, now: Instant, wall: Duration, link: LinkId, re: u32, token: &str, stage: StageId) {
        let Some(Link { place: Some((key, _)), .. }) = self.links.get(&link) else { return };
        let claims = token::check(&self.apps, token, self.shared.timestamp(now), wall).and_then(|checked| {
            let is_ours = checked.app == key.0 && checked.room.as_ref() == Some(&key.1);
            if is_ours { Ok(checked.claims) } else { Err(Code::RenewedTokenInvalid) }
        });
        self.at(now, stage, |stage, at, _| stage.room.renew(at, link, re, claims));
    }

    /// A datagram came; [`Hall::flush`] sends it on.
    pub fn datagram(&mut self, now: Instant, came: &Datagram) {
        if came.bytes.len() > MOST_DATAGRAM {
            self.shared.counts.oversized += 1;
            return;
        }
        let peer = match self.shared.demux.whose(came.remote, &came.bytes) {
            Whose::Theirs(peer) => peer,
            Whose::Signed(peer) => {
                let (shared, stage) = (&mut self.shared, self.stages.get_mut(&peer.stage));
                if !stage.is_some_and(|stage| stage.has_signed(now, shared, peer.person, came)) {
                    self.shared.counts.unknown += 1;
                    return;
                }
                self.shared.demux.learn(peer, came.remote);
                peer
            }
            Whose::Knock => return self.knock(now, came),
            Whose::Nobody => {
                self.shared.counts.unknown += 1;
                return;
            }
        };
        if let Some(stage) = self.stages.get_mut(&peer.stage) {
            stage.receive(now, &mut self.shared, peer.person, came);
            if self.written.last() != Some(&peer.stage) {
                self.written.push(peer.stage);
            }
        }
    }

    /// Sends on what came since it was last done.
    pub fn flush(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.written) {
            if let Some(stage) = self.stages.get_mut(&id) {
                stage.flush(now, &mut self.shared);
            }
        }
    }

    fn knock(&mut self, now: Instant, came: &Datagram) {
        let Datagram { local, remote, bytes } = came;
        let Some(bytes) = stun::answer(bytes, *remote) else {
            self.shared.counts.unknown += 1;
            return;
        };
        if !self.knocks.may(now, remote.ip()) {
            self.shared.counts.knocks_refused += 1;
            return;
        }
        self.shared.counts.knocks += 1;
        self.shared.datagrams.push(Datagram { local: *local, remote: *remote, bytes });
    }

    /// When there is something to do next.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let silent = self.links.values().filter(|link| link.place.is_none());
        let links = silent.map(|link| link.opened + PATIENCE).min();
        self.stages.values().filter_map(Stage::due).chain(links).min()
    }

    /// Does what is due by `now`.
    pub fn tick(&mut self, now: Instant) {
        self.flush(now);
        let late = |(link, known): (&LinkId, &Link)| {
            (known.place.is_none() && known.opened + PATIENCE <= now).then_some(*link)
        };
        for link in self.links.iter().filter_map(late).collect::<Vec<_>>() {
            self.refuse(now, link, None, Code::TimedOut);
        }
        let is_due = |stage: &Stage| stage.due().is_some_and(|due| due <= now);
        let due = self.stages.iter().filter(|(_, stage)| is_due(stage));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(stage) = self.stages.get_mut(&id) {
                stage.tick(now, &mut self.shared);
            }
            self.sweep(id);
        }
    }

    /// The server is to end within `within`: nobody is let in any more, and everyone
    /// is told.
    pub fn drain(&mut self, now: Instant, within: Duration) {
        self.is_draining = true;
        info!(within_s = within.as_secs(), rooms = self.rooms.len(), links = self.links.len(), "draining");
        for id in self.stages.keys().copied().collect::<Vec<_>>() {
            let told = Told::Closing { in_s: within.as_secs() };
            self.at(now, id, |stage, _, _| stage.room.tell_all(&told));
        }
    }

    /// Puts everyone out: the server ends.
    pub fn close(&mut self, now: Instant) {
        self.is_draining = true;
        info!(rooms = self.rooms.len(), links = self.links.len(), "closing");
        for id in self.stages.keys().copied().collect::<Vec<_>>() {
            self.at(now, id, |stage, at, _| stage.room.close(at, Code::ShuttingDown));
        }
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            if self.links.get(&link).is_some_and(|link| link.place.is_none()) {
                self.refuse(now, link, None, Code::ShuttingDown);
            }
        }
    }

    /// Whether no link is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether the server is to end.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// What became of packets so far, in all rooms.
    #[must_use]
    pub fn forwarded(&self) -> media::Counts {
        self.stages.values().map(|stage| stage.forwarder.counts()).fold(self.forwarded, sum)
    }

    /// How many streams there are, by what they are of and their codec.
    #[must_use]
    pub fn streams(&self) -> BTreeMap<(Source, &str), u64> {
        let mut streams = BTreeMap::new();
        for stream in self.stages.values().flat_map(|stage| stage.room.contents().1) {
            *streams.entry((stream.source, &*stream.codec)).or_default() += 1;
        }
        streams
    }

    /// Rooms, links and participants with media that are there.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.stages.len(), self.links.len(), self.stages.values().map(Stage::peers).sum())
    }

    /// Does something in a room, and what follows from it.
    fn at(&mut self, now: Instant, id: StageId, does: impl FnOnce(&mut Stage, Timestamp, &mut Shared)) {
        let at = self.shared.timestamp(now);
        if let Some(stage) = self.stages.get_mut(&id) {
            let said = self.shared.words.len();
            does(stage, at, &mut self.shared);
            stage.apply(now, &mut self.shared);
            stage.flush(now, &mut self.shared);
            let code = |word: &Word| match word {
                Word::Tell(_, Told::Failed { code, .. } | Told::Error { code, .. }) => Some(*code),
                _ => None,
            };
            for code in self.shared.words[said..].iter().filter_map(code).collect::<Vec<_>>() {
                self.shared.refused(now, Some(&stage.place), code);
            }
        }
    }

    /// Forgets a room in which nobody is.
    fn sweep(&mut self, id: StageId) {
        if self.stages.get(&id).is_some_and(|stage| stage.room.is_over())
            && let Some(stage) = self.stages.remove(&id)
        {
            self.rooms.retain(|_, known| *known != id);
            self.forwarded = sum(self.forwarded, stage.forwarder.counts());
        }
    }

    fn refuse(&mut self, now: Instant, link: LinkId, re: Option<u32>, code: Code) {
        self.closed(now, link);
        self.shared.refused(now, None, code);
        self.shared.refuse(link, re, code);
    }
}

fn sum(a: media::Counts, b: media::Counts) -> media::Counts {
    media::Counts {
        forwarded: a.forwarded + b.forwarded,
        muted: a.muted + b.muted,
        unknown: a.unknown + b.unknown,
        too_long: a.too_long + b.too_long,
        written: a.written + b.written,
        flood: a.flood + b.flood,
        late: a.late + b.late,
        broken: a.broken + b.broken,
    }
}

/// Reads a message.
///
/// # Errors
/// What it is instead, and its number if it has one.
fn read(text: &str) -> Result<Request, (Option<u32>, Code)> {
    if text.len() > protocol::MOST_BYTES {
        return Err((None, Code::TooLarge));
    }
    serde_json::from_str(text).map_err(|why| {
        #[derive(Deserialize)]
        struct Head {
            n: u32,
            t: String,
        }
        let Ok(Head { n, t }) = serde_json::from_str(text) else { return (None, Code::BadMessage) };
        let is_unknown = why.to_string().starts_with(&format!("unknown variant `{t}`"));
        (Some(n), if is_unknown { Code::UnknownMessage } else { Code::BadMessage })
    })
}

#[cfg(test)]
mod tests;
