//! `Room`: who is in a room, what they publish and what they play.
//!
//! Told what happened and when, it says what is to be told to whom and what is to be
//! done with media: [`Room::take`]. A participant is in the room from `join` until it
//! leaves, is put out, joins again elsewhere, or nothing came from it for longer than
//! the grace; a connection that breaks in between loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sidetone_core::Timestamp;

use crate::protocol::{
    Ask, Candidate, Code, Join, Joined, Left, Limits, News, Offer, Person, Receive, Removed, Resume, Retry,
    RoomName, SlotOf, StreamId, StreamInfo, Told, UserName, VERSION, Wish,
};
use crate::server::budget::{Budget, Rate};
use crate::server::claims::{Claims, Grants};
use crate::server::replay::{PersonId, Replay};

mod by_http;
mod member;
mod overview;

pub use overview::{Fact, Overview};

pub use member::{Plays, Way};

use member::{Due, Member, Pending};

/// A connection over which a participant and the server talk; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// What a room is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For how long a session outlives a break.
    pub grace: Duration,
    /// How often participants ping; one who misses three in a row is cut off.
    pub ping: Duration,
    /// How many may be in it.
    pub people: usize,
    /// What each may publish and play at once.
    pub limits: Limits,
    /// Offers that each may make.
    pub offers: Rate,
    /// Events that are kept for those who are away.
    pub replay: usize,
    /// Where media are taken, as `IP:PORT`.
    pub udp: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(20),
            ping: Duration::from_secs(2),
            people: 100,
            limits: Limits { streams: 8, audio_slots: 16, video_slots: 16 },
            offers: Rate { most: 20, within: Duration::from_secs(10) },
            replay: 1_024,
            udp: Vec::new(),
        }
    }
}

/// What a room wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A message is to be sent.
    Tell(LinkId, Told),
    /// A connection is to be closed, once what was told is sent.
    Close(LinkId),
    /// Something is to be done with media.
    Media(Order),
    /// Something happened that is counted and logged.
    Fact(Fact),
}

/// What a room wants done with media. Streams go by their numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// An offer is to be answered: [`Room::answered`].
    Offer {
        /// Whose.
        person: PersonId,
        /// Which.
        g: u32,
        /// The offer.
        sdp: String,
        /// Which media sections send which streams.
        send: Vec<(String, u32)>,
        /// Which have room for others' streams.
        recv: Vec<SlotOf>,
    },
    /// A participant can be reached there, too.
    Candidate(PersonId, Candidate),
    /// So did streams come to a participant, as it says, and so long does a ping take.
    Received(PersonId, Vec<Receive>, Option<u32>),
    /// A participant publishes a stream from now on.
    Publish(PersonId, StreamInfo),
    /// A stream is to be played to a participant.
    Play(PersonId, u32, Wish),
    /// A stream is to be played to them no more.
    Stop(PersonId, u32),
    /// A stream is to be held back, or to go on from a key frame.
    Mute(u32, bool),
    /// A stream is over.
    End(u32),
    /// A participant is back: what plays to it is to be told again.
    Refresh(PersonId),
    /// A participant is gone, with all that is theirs.
    Forget(PersonId),
}

/// A room.
pub struct Room {
    name: RoomName,
    settings: Settings,
    people: Vec<Member>,
    replay: Replay,
    next_person: u32,
    next_stream: u32,
    /// Why sessions ended that somebody may yet ask for, and when.
    ended: Vec<(String, Code, Timestamp)>,
    /// Who may not enter, until when.
    banned: Vec<(UserName, Timestamp)>,
    out: Vec<Output>,
}

/// How long it is known why a session ended.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Most sessions of which it is known, and most who are banned.
const MOST_REMEMBERED: usize = 1_024;
/// Most sizes in which a stream is sent at once: WebRTC's own have three.
const MOST_LAYERS: usize = 4;

impl Room {
    /// An empty room.
    #[must_use]
    pub fn new(name: RoomName, settings: Settings) -> Self {
        let replay = Replay::new(settings.replay);
        Self {
            name,
            settings,
            people: Vec::new(),
            replay,
            next_person: 0,
            next_stream: 1,
            ended: Vec::new(),
            banned: Vec::new(),
            out: Vec::new(),
        }
    }

    /// What is to be done by now, in this order.
    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// Whether nobody is in it and nothing of it need be kept.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.people.is_empty() && self.ended.is_empty() && self.banned.is_empty()
    }

    /// Somebody with a token for this room wants in, or back in. `secrets` are two
    /// texts that nobody can guess.
    pub fn join(
        &mut self,
        now: Timestamp,
        link: LinkId,
        re: u32,
        claims: Claims,
        join: &Join,
        secrets: [String; 2],
    ) {
        self.come(Asked { now, link, re, way: Way::Link }, claims, join, secrets);
    }

    fn come(&mut self, asked: Asked, claims: Claims, join: &Join, secrets: [String; 2]) {
        let [session, secret] = secrets;
        let entry = match self.entry(asked.way, claims, join) {
            Ok(entry) => entry,
            Err(code) => return self.refuse(asked.link, Some(asked.re), code),
        };
        match entry {
            Entry::Back { at, shown, claims } => {
                self.people[at].change_secret(shown, secret.clone());
                let after = join.resume.as_ref().map_or(0, |resume| resume.after);
                self.let_back(asked, at, secret, claims, after);
            }
            Entry::Anew(claims) => self.let_in(asked, claims, join, session, secret),
        }
    }

    /// Whether somebody may come in, and how.
    fn entry(&self, way: Way, claims: Claims, join: &Join) -> Result<Entry, Code> {
        if join.v != VERSION {
            return Err(Code::Version);
        }
        if !claims.grants.join {
            return Err(Code::NotPermittedJoin);
        }
        if self.banned.iter().any(|(user, _)| *user == claims.user) {
            return Err(Code::Banned);
        }
        if let Some(Resume { session, secret, .. }) = &join.resume {
            if let Some((at, member)) =
                self.people.iter().enumerate().find(|(_, member)| member.session == *session)
            {
                let shown = member.secrets.iter().position(|known| known == secret);
                let shown = shown.filter(|_| member.user == claims.user).ok_or(Code::SessionUnknown)?;
                return Ok(Entry::Back { at, shown, claims });
            }
            // Two programs of one user would throw each other out for ever.
            if let Some((_, code, _)) = self.ended.iter().find(|(ended, ..)| ended == session)
                && code.retry() == Retry::Never
            {
                return Err(*code);
            }
        }
        // Those whose place it takes make room.
        let others = self.people.iter().filter(|member| !member.yields_to(way, &claims.user)).count();
        if others >= self.settings.people { Err(Code::RoomFull) } else { Ok(Entry::Anew(claims)) }
    }

    fn let_in(&mut self, asked: Asked, claims: Claims, join: &Join, session: String, secret: String) {
        let Asked { now, link, re, way } = asked;
        if let Some(at) = self.people.iter().position(|member| member.yields_to(way, &claims.user)) {
            self.remove(now, at, Left::Replaced, Some(Code::DuplicateIdentity));
        }
        let id = PersonId(self.next_person);
        self.next_person += 1;
        let Claims { user, until, grants } = claims;
        let (grace, ping) = (self.settings.grace, self.settings.ping);
        self.out.push(Output::Tell(
            link,
            Told::Joined(Box::new(Joined {
                re,
                v: VERSION,
                session: session.clone(),
                secret: secret.clone(),
                again: join.resume.is_some(),
                room: self.name.clone(),
                user: user.clone(),
                seq: self.replay.seq(),
                people: self.roster(id),
                grace_ms: millis(grace),
                ping_ms: millis(ping),
                udp: self.settings.udp.clone(),
                limits: self.settings.limits,
            })),
        ));
        if !grants.hidden {
            self.happened(News::UserJoined { user: user.clone() }, Some(id));
        }
        let again = join.resume.is_some();
        self.out.push(Output::Fact(Fact::Joined { user: user.clone(), again, hidden: grants.hidden }));
        let member = Member {
            id,
            user,
            way,
            grants,
            until,
            session,
            secrets: vec![secret],
            link: Some(link),
            spoke: now,
            heard: now,
            pending: None,
            g: 0,
            offers: Budget::new(self.settings.offers, now),
            streams: Vec::new(),
            by_itself: if join.auto_play { Plays::Everything } else { Plays::Nothing },
            plays: BTreeMap::new(),
            stopped: BTreeSet::new(),
            warned: 0,
        };
        self.people.push(member);
        for no in self.numbers() {
            self.play_by_itself(id, no);
        }
    }

    fn let_back(&mut self, asked: Asked, at: usize, secret: String, claims: Claims, after: u64) {
        let Asked { now, link, re, .. } = asked;
        let member = &mut self.people[at];
        let id = member.id;
        self.out.push(Output::Fact(Fact::Resumed { user: member.user.clone() }));
        let before = member.link.replace(link);
        (member.spoke, member.heard) = (now, now);
        (member.until, member.warned) = (claims.until, 0);
        if let Some(before) = before {
            self.refuse(before, None, Code::SessionUnknown);
        }
        self.out.push(Output::Tell(link, Told::Resumed { re, secret, media_kept: true }));
        match self.replay.since(after, id) {
            Some(missed) => {
                let missed = missed.map(|(seq, e)| Output::Tell(link, Told::Event { seq, e: e.clone() }));
                self.out.extend(missed);
            }
            None => {
                let Member { user, streams, .. } = &self.people[at];
                let own = Person { user: user.clone(), streams: streams.clone() };
                let people = self.roster(id).into_iter().chain([own]).collect();
                self.out.push(Output::Tell(link, Told::Roster { seq: self.replay.seq(), people }));
            }
        }
        self.out.push(Output::Media(Order::Refresh(id)));
        self.allow(id, claims.grants);
    }

    /// Whether `link` is a participant's here.
    #[must_use]
    pub fn has(&self, link: LinkId) -> bool {
        self.at(link).is_some()
    }

    /// A participant asks something over its link.
    pub fn ask(&mut self, now: Timestamp, link: LinkId, re: u32, ask: Ask) {
        let Some(at) = self.at(link) else { return };
        let member = &mut self.people[at];
        member.spoke(now);
        let id = member.id;
        let done = match ask {
            // It is in already; a token is checked before it comes here.
            Ask::Join(_) | Ask::Renew { .. } => Err(Code::BadMessage),
            Ask::Offer(offer) => match self.offer(now, at, re, offer) {
                Ok(()) => return,
                Err(code) => Err(code),
            },
            Ask::Candidate(candidate) => {
                self.out.push(Output::Media(Order::Candidate(id, candidate)));
                return;
            }
            Ask::Unpublish { stream } => self.unpublish(at, &stream, Removed::Unpublished),
            Ask::Play(play) => self.play(at, &play.stream, Some(play.quality)),
            Ask::Stop { stream } => self.play(at, &stream, None),
            Ask::Mute(mute) => self.mute(at, &mute.stream, mute.muted, Some(id)),
            Ask::Received { streams, rtt_ms } => {
                return self.out.push(Output::Media(Order::Received(id, streams, rtt_ms)));
            }
            Ask::Ack { .. } => return,
            Ask::Ping { at } => return self.out.push(Output::Tell(link, Told::Pong { re, at })),
            Ask::Leave => return self.remove(now, at, Left::Left, None),
        };
        self.out.push(Output::Tell(
            link,
            match done {
                Ok(()) => Told::Ok { re, expires_s: None },
                Err(code) => error(re, code),
            },
        ));
    }

    /// A participant has another token, or one that does not hold.
    pub fn renew(&mut self, now: Timestamp, link: LinkId, re: u32, claims: Result<Claims, Code>) {
        let Some(at) = self.at(link) else { return };
        let member = &mut self.people[at];
        member.spoke(now);
        let claims = claims.and_then(|claims| {
            let fits = claims.user == member.user && claims.grants.join;
            if fits { Ok(claims) } else { Err(Code::RenewedTokenInvalid) }
        });
        match claims {
            Err(code) => self.out.push(Output::Tell(link, error(re, code))),
            Ok(Claims { until, grants, .. }) => {
                (member.until, member.warned) = (until, 0);
                let id = member.id;
                let expires_s = Some(until.since(now).as_secs());
                self.out.push(Output::Tell(link, Told::Ok { re, expires_s }));
                self.allow(id, grants);
            }
        }
    }

    /// A participant may do this and no more: what it does beyond that ends.
    fn allow(&mut self, id: PersonId, grants: Grants) {
        let Some(at) = self.place(id) else { return };
        let before = std::mem::replace(&mut self.people[at].grants, grants.clone());
        let may = |stream: &StreamInfo| grants.may_publish(stream.source);
        let lost = self.people[at].streams.iter().filter(|stream| !may(stream));
        for stream in lost.map(|stream| stream.id.clone()).collect::<Vec<_>>() {
            // It is there: it was just looked up.
            let _ = self.unpublish(at, &stream, Removed::NotPermitted);
        }
        // What is to be published, but not answered yet, is refused as it would be now.
        let member = &mut self.people[at];
        let refused =
            member.pending.take_if(|pending| !pending.streams.iter().all(|(_, stream)| may(stream)));
        let refused = refused.and_then(|Pending { re, .. }| member.link.map(|link| (link, re)));
        self.out.extend(refused.map(|(link, re)| Output::Tell(link, error(re, Code::NotPermittedPublish))));
        let user = self.people[at].user.clone();
        match (before.hidden, grants.hidden) {
            (false, true) => self.happened(News::UserLeft { user, reason: Left::Hidden }, Some(id)),
            (true, false) => self.happened(News::UserJoined { user }, Some(id)),
            _ => {}
        }
        if before.subscribe != grants.subscribe {
            for no in self.numbers() {
                if grants.subscribe {
                    self.play_by_itself(id, no);
                } else if self.people[at].plays.remove(&no).is_some() {
                    self.out.push(Output::Media(Order::Stop(id, no)));
                }
            }
        }
    }

    fn offer(&mut self, now: Timestamp, at: usize, re: u32, offer: Offer) -> Result<(), Code> {
        let limits = self.settings.limits;
        let member = &mut self.people[at];
        if !member.offers.take(now, 1) {
            return Err(Code::TooManyRequests);
        }
        let member = &self.people[at];
        if offer.g <= member.g || !offer.has_names_that_fit() {
            return Err(Code::BadMessage);
        }
        let Offer { g, sdp, send, recv } = offer;
        let slots = |kind| recv.iter().filter(|slot| slot.kind == kind).count();
        let fits = send.len() <= limits.streams as usize
            && slots(crate::protocol::Kind::Audio) <= limits.audio_slots as usize
            && slots(crate::protocol::Kind::Video) <= limits.video_slots as usize
            && send.iter().all(|send| send.layers.len() <= MOST_LAYERS);
        if !fits {
            return Err(Code::TooManyStreams);
        }
        let mut streams: Vec<(String, StreamInfo)> = Vec::new();
        for send in send {
            if !member.grants.may_publish(send.source) {
                return Err(Code::NotPermittedPublish);
            }
            // An id begins with its user's name, so it cannot be another's.
            if send.stream.user() != member.user.as_str() {
                return Err(Code::NotPermittedPublish);
            }
            if streams.iter().any(|(mid, other)| *mid == send.mid || other.id == send.stream) {
                return Err(Code::StreamExists);
            }
            let known = member.streams.iter().find(|stream| stream.id == send.stream);
            if known.is_some_and(|known| known.source != send.source) {
                return Err(Code::StreamExists);
            }
            let stream = match known {
                Some(known) => known.clone(),
                None => {
                    let no = self.next_stream;
                    self.next_stream += 1;
                    StreamInfo {
                        id: send.stream,
                        no,
                        source: send.source,
                        codec: String::new(),
                        muted: send.muted,
                        layers: send.layers,
                    }
                }
            };
            streams.push((send.mid, stream));
        }
        let order = Order::Offer {
            person: member.id,
            g,
            sdp,
            send: streams.iter().map(|(mid, stream)| (mid.clone(), stream.no)).collect(),
            recv,
        };
        self.out.push(Output::Media(order));
        let member = &mut self.people[at];
        member.g = g;
        member.pending = Some(Pending { re, g, streams });
        Ok(())
    }

    /// What became of an offer: the answer, and the codec of each stream by its
    /// number, or why there is none. Late answers, to offers that another followed,
    /// are let be.
    pub fn answered(&mut self, person: PersonId, g: u32, answer: Result<(String, Vec<(u32, String)>), Code>) {
        let Some(at) = self.place(person) else { return };
        let member = &mut self.people[at];
        let Some(Pending { re, streams, .. }) = member.pending.take_if(|pending| pending.g == g) else {
            return;
        };
        let link = member.link;
        let told = match &answer {
            Ok((sdp, _)) => Told::Answer { re, g, sdp: sdp.clone() },
            Err(code) => error(re, *code),
        };
        self.out.extend(link.map(|link| Output::Tell(link, told)));
        let Ok((_, codecs)) = answer else { return };
        let over = |stream: &&StreamInfo| !streams.iter().any(|(_, sent)| sent.no == stream.no);
        let over: Vec<_> =
            self.people[at].streams.iter().filter(over).map(|stream| stream.id.clone()).collect();
        for stream in over {
            // It is there: it was just looked up.
            let _ = self.unpublish(at, &stream, Removed::Unpublished);
        }
        for (_, mut stream) in streams {
            if self.people[at].streams.iter().any(|known| known.no == stream.no) {
                continue;
            }
            let codec = codecs.iter().find(|(no, _)| *no == stream.no);
            stream.codec = codec.map(|(_, codec)| codec.clone()).unwrap_or_default();
            let no = stream.no;
            self.out.push(Output::Media(Order::Publish(person, stream.clone())));
            if stream.muted {
                self.out.push(Output::Media(Order::Mute(no, true)));
            }
            self.people[at].streams.push(stream.clone());
            let user = self.people[at].user.clone();
            self.out.push(Output::Fact(Fact::Published { user, stream: stream.clone() }));
            self.happened(News::StreamAdded { stream }, Some(person));
            for id in self.people.iter().map(|member| member.id).collect::<Vec<_>>() {
                self.play_by_itself(id, no);
            }
        }
    }

    /// Has a participant play stream `no` who plays all, or such.
    fn play_by_itself(&mut self, id: PersonId, no: u32) {
        let Some(at) = self.place(id) else { return };
        let known = self.people.iter().flat_map(|member| &member.streams).find(|stream| stream.no == no);
        let wants = known.is_some_and(|stream| self.people[at].by_itself.has(stream));
        let member = &mut self.people[at];
        let is_own = member.streams.iter().any(|stream| stream.no == no);
        if is_own || !wants || !member.grants.subscribe || member.stopped.contains(&no) {
            return;
        }
        let wish = *member.plays.entry(no).or_default();
        self.out.push(Output::Media(Order::Play(id, no, wish)));
    }

    fn play(&mut self, at: usize, stream: &StreamId, wish: Option<Wish>) -> Result<(), Code> {
        let member = &self.people[at];
        if !member.grants.subscribe {
            return Err(Code::NotPermittedSubscribe);
        }
        let id = member.id;
        let others = self.people.iter().filter(|other| other.id != id).flat_map(|other| &other.streams);
        let no = others.into_iter().find(|known| known.id == *stream).ok_or(Code::StreamUnknown)?.no;
        let member = &mut self.people[at];
        match wish {
            Some(wish) => {
                member.stopped.remove(&no);
                member.plays.insert(no, wish);
                self.out.push(Output::Media(Order::Play(id, no, wish)));
            }
            None => {
                member.stopped.insert(no);
                if member.plays.remove(&no).is_some() {
                    self.out.push(Output::Media(Order::Stop(id, no)));
                }
            }
        }
        Ok(())
    }

    fn mute(&mut self, at: usize, stream: &StreamId, muted: bool, by: Option<PersonId>) -> Result<(), Code> {
        let streams = &mut self.people[at].streams;
        let known = streams.iter_mut().find(|known| known.id == *stream).ok_or(Code::StreamUnknown)?;
        if known.muted == muted {
            return Ok(());
        }
        known.muted = muted;
        let order = Order::Mute(known.no, muted);
        self.out.push(Output::Media(order));
        self.happened(News::StreamMuted { stream: stream.clone(), muted }, by);
        Ok(())
    }

    fn unpublish(&mut self, at: usize, stream: &StreamId, reason: Removed) -> Result<(), Code> {
        let member = &mut self.people[at];
        // An offer that is not answered yet is not to bring it back.
        if let Some(Pending { streams, .. }) = &mut member.pending {
            streams.retain(|(_, pending)| pending.id != *stream);
        }
        let place = member.streams.iter().position(|known| known.id == *stream);
        let StreamInfo { id: stream, no, .. } = member.streams.remove(place.ok_or(Code::StreamUnknown)?);
        // The user knows but of what the server did by itself.
        let but = (reason != Removed::NotPermitted).then_some(member.id);
        for member in &mut self.people {
            member.plays.remove(&no);
            member.stopped.remove(&no);
        }
        self.out.push(Output::Media(Order::End(no)));
        self.happened(News::StreamRemoved { stream, reason }, but);
        Ok(())
    }

    /// A connection broke: its participant is away.
    pub fn lost(&mut self, link: LinkId) {
        if let Some(at) = self.at(link) {
            self.people[at].link = None;
        }
    }

    /// Something came from a participant by another way: its media.
    pub fn heard(&mut self, now: Timestamp, person: PersonId) {
        if let Some(at) = self.place(person) {
            self.people[at].heard = now;
        }
    }

    /// Puts a user out, by an administrator; with `ban`, for so long. Whether they
    /// were there.
    pub fn kick(&mut self, now: Timestamp, user: &UserName, ban: Option<Duration>) -> bool {
        if let Some(ban) = ban {
            self.banned.retain(|(banned, _)| banned != user);
            if self.banned.len() == MOST_REMEMBERED {
                self.banned.remove(0);
            }
            self.banned.push((user.clone(), now + ban));
        }
        let code = if ban.is_some() { Code::Banned } else { Code::Kicked };
        let before = self.people.len();
        while let Some(at) = self.people.iter().position(|member| member.user == *user) {
            self.remove(now, at, Left::Kicked, Some(code));
        }
        self.people.len() < before
    }

    /// Holds a stream back, or lets it go on, by an administrator.
    ///
    /// # Errors
    /// There is no such stream.
    pub fn mute_by_admin(&mut self, stream: &StreamId, muted: bool) -> Result<(), Code> {
        let publishes = |member: &Member| member.streams.iter().any(|known| known.id == *stream);
        let owner = self.people.iter().position(publishes);
        self.mute(owner.ok_or(Code::StreamUnknown)?, stream, muted, None)
    }

    /// Puts everyone out, since the room closes or the server shuts down.
    pub fn close(&mut self, now: Timestamp, code: Code) {
        while !self.people.is_empty() {
            self.remove(now, 0, Left::Kicked, Some(code));
        }
    }

    /// Who a participant is, unless nobody may know.
    #[must_use]
    pub fn user(&self, person: PersonId) -> Option<&UserName> {
        let member = &self.people[self.place(person)?];
        (!member.grants.hidden).then_some(&member.user)
    }

    /// Tells everyone something that is no event.
    pub fn tell_all(&mut self, told: &Told) {
        let links = self.people.iter().filter_map(|member| member.link);
        self.out.extend(links.map(|link| Output::Tell(link, told.clone())));
    }

    /// Tells one participant something that is no event, if it is not away.
    pub fn tell(&mut self, person: PersonId, told: Told) {
        let link = self.place(person).and_then(|at| self.people[at].link);
        self.out.extend(link.map(|link| Output::Tell(link, told)));
    }

    /// Does what is due by `now`.
    pub fn tick(&mut self, now: Timestamp) {
        self.ended.retain(|(.., at)| now < *at + REMEMBERED);
        self.banned.retain(|(_, until)| now < *until);
        for at in (0..self.people.len()).rev() {
            while let Some(due) =
                self.people.get(at).map(|member| member.due(&self.settings)).filter(|(when, _)| *when <= now)
            {
                match due.1 {
                    // Whoever was cut off learns it when it knocks.
                    Due::Cut => {
                        let link = self.people[at].link.take();
                        self.out.extend(link.map(Output::Close));
                    }
                    Due::Gone => self.remove(now, at, Left::TimedOut, None),
                    Due::Expired => self.remove(now, at, Left::Kicked, Some(Code::TokenExpired)),
                    Due::Warning => {
                        let member = &mut self.people[at];
                        member.warned += 1;
                        let told = Told::Expiring { in_s: member.until.since(now).as_secs() };
                        self.out.extend(member.link.map(|link| Output::Tell(link, told)));
                    }
                }
            }
        }
    }

    /// When to tick next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        let people = self.people.iter().map(|member| member.due(&self.settings).0);
        let ended = self.ended.iter().map(|(.., at)| *at + REMEMBERED);
        people.chain(ended).chain(self.banned.iter().map(|(_, until)| *until)).min()
    }

    /// Takes somebody out; whose session that was is told `code`, if that is given.
    fn remove(&mut self, now: Timestamp, at: usize, reason: Left, code: Option<Code>) {
        while let Some(stream) = self.people[at].streams.first() {
            let stream = stream.id.clone();
            // It is there: it was just looked up.
            let _ = self.unpublish(at, &stream, Removed::PublisherLeft);
        }
        let Member { id, user, grants, session, link, .. } = self.people.remove(at);
        match (link, code) {
            (Some(link), Some(code)) => self.refuse(link, None, code),
            (Some(link), None) => self.out.push(Output::Close(link)),
            (None, _) => {}
        }
        if self.ended.len() == MOST_REMEMBERED {
            self.ended.remove(0);
        }
        self.ended.push((session, code.unwrap_or(Code::TimedOut), now));
        self.out.push(Output::Media(Order::Forget(id)));
        self.out.push(Output::Fact(Fact::Left { user: user.clone(), reason, code }));
        if !grants.hidden {
            self.happened(News::UserLeft { user, reason }, Some(id));
        }
    }

    fn refuse(&mut self, link: LinkId, re: Option<u32>, code: Code) {
        self.out.push(Output::Tell(link, failed(re, code)));
        self.out.push(Output::Close(link));
    }

    /// Everyone but `who` is told of an event that `who` (if it is somebody) did.
    fn happened(&mut self, news: News, who: Option<PersonId>) {
        let told = |(seq, e)| Told::Event { seq, e };
        let told = told((self.replay.push(news.clone(), who), news));
        let others = self.people.iter().filter(|member| Some(member.id) != who);
        let links = others.filter_map(|member| member.link);
        self.out.extend(links.map(|link| Output::Tell(link, told.clone())));
    }

    /// Everyone whom `who` may see.
    fn roster(&self, who: PersonId) -> Vec<Person> {
        let seen = self.people.iter().filter(|member| member.id != who && !member.grants.hidden);
        seen.map(|member| Person { user: member.user.clone(), streams: member.streams.clone() }).collect()
    }

    fn numbers(&self) -> Vec<u32> {
        self.people.iter().flat_map(|member| &member.streams).map(|stream| stream.no).collect()
    }

    fn at(&self, link: LinkId) -> Option<usize> {
        self.people.iter().position(|member| member.link == Some(link))
    }

    fn place(&self, id: PersonId) -> Option<usize> {
        self.people.iter().position(|member| member.id == id)
    }
}

/// When, over which link and in which way somebody asked, and the number of it.
#[derive(Clone, Copy)]
struct Asked {
    now: Timestamp,
    link: LinkId,
    re: u32,
    way: Way,
}

/// How somebody comes in.
enum Entry {
    /// As one who was here: the places among the people, and among the secrets there.
    Back {
        at: usize,
        shown: usize,
        claims: Claims,
    },
    Anew(Claims),
}

/// A refusal of all that somebody may ask. \[any\]
#[must_use]
pub fn failed(re: Option<u32>, code: Code) -> Told {
    Told::Failed { re, code, number: code.number(), text: code.text().into(), retry: code.retry() }
}

pub(crate) fn error(re: u32, code: Code) -> Told {
    Told::Error { re, code, number: code.number(), text: code.text().into() }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod census;
#[cfg(test)]
mod tests;
