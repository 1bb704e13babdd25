//! `Session`: a participant's side of a room, from the first attempt to connect until
//! it left for good.
//!
//! Told what happened and when, it says what is to be done: [`Session::take`]. It
//! connects, joins, and keeps at it: after a break it resumes where the server still
//! knows it, and else joins again and has its streams published and its wishes kept as
//! before.
//!
//! ```text
//! Idle ─join→ Opening ─opened→ Joining ─joined, resumed→ In ─leave→ Leaving → Over
//!               ↑                 │                      │
//!               └───── Waiting ←──┴── closed, silent ────┘     Waiting ends by time,
//!                                                              or when a knock is answered
//! ```
//!
//! Nothing here reads a clock or draws a number that is not seeded.

use std::collections::BTreeMap;
use std::time::Duration;

use sidetone_core::Timestamp;

use crate::client::backoff::Backoff;
use crate::client::roster::Roster;
use crate::events::{Entry, RoomEvent, RoomState};
use crate::protocol::{
    Ask, Client, Code, Join, Joined, Kind, Limits, News, Person, Play, Receive, Request, Resume, Retry, Slot,
    StreamId, Told, UserName, VERSION, Wish,
};

mod command;
mod media;
mod requests;

pub use command::{Command, MuteRemote};
pub use media::{Media, OfferKind, OfferWanted, Publish};
use media::{Offering, Publication};

/// An attempt to connect, and the connection that it became; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// How a participant takes part.
#[derive(Clone)]
pub struct Options {
    /// What says that it may.
    pub token: String,
    /// Whether all streams are played without being asked for.
    pub auto_play: bool,
    /// The program that it is.
    pub client: Client,
    /// For how long a connection is tried for before it failed; none is for ever.
    pub retry_for: Option<Duration>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A connection is to be opened: [`Session::opened`] or [`Session::closed`] tell.
    Open(ConnectionId),
    /// A connection is to be given up, opened or not; nothing more is told of it.
    Close(ConnectionId),
    /// A message is to be sent.
    Send(ConnectionId, Request),
    /// The server is to be knocked at, at these `IP:PORT`: [`Session::knock_answered`].
    Knock(Vec<String>),
    /// An offer is wanted of the media: [`Session::offered`].
    Offer(OfferWanted),
    /// The answer to offer `g`.
    Answer {
        /// Which offer.
        g: u32,
        /// The answer.
        sdp: String,
    },
    /// What feeds the room for others' streams from now on.
    Slots {
        /// For which offer.
        g: u32,
        /// Of each media section that is fed.
        slots: Vec<Slot>,
    },
    /// A stream of its own is to be held back, or to go on from a key frame.
    Mute(StreamId, bool),
    /// The program is to be told.
    Event(RoomEvent),
}

/// A participant's side of a room.
pub struct Session {
    options: Options,
    /// The token that the last `join` showed.
    shown: String,
    rng: fastrand::Rng,
    backoff: Backoff,
    link: Link,
    /// Connections so far.
    connections: u32,
    /// Requests so far.
    requests: u32,
    /// How long the last ping took to be answered.
    rtt_ms: Option<u32>,
    /// What the server told that last let it in.
    server: Option<Server>,
    /// The session that it has there.
    resume: Option<Resume>,
    broken: Option<Break>,
    /// Whether a knock ended the last delay, or knocking is not to end this one.
    knocked: bool,
    next_knock: Timestamp,
    /// Requests that are not answered and are made again after a break.
    asked: BTreeMap<u32, Ask>,
    roster: Roster,
    active: Option<UserName>,
    joined_at: Timestamp,
    /// When it joined for the first time.
    call_since: Option<Timestamp>,
    /// What is to be played how, or (none) not at all, whatever is played by itself.
    wishes: BTreeMap<StreamId, Option<Wish>>,
    /// Of whose streams (none: everyone's), of which kind, whether they are kept from
    /// being played.
    hushed: BTreeMap<(Kind, Option<UserName>), bool>,
    publications: BTreeMap<StreamId, Publication>,
    media: Media,
    /// The offer that is made or not answered yet, and what the next one has to do.
    offering: Option<Offering>,
    wanted: Option<OfferKind>,
    /// Offers so far.
    offers: u32,
    /// New streams are offered one by one: with all of them an offer was refused.
    one_by_one: bool,
    /// When media must have come up.
    media_due: Option<Timestamp>,
    unfit: u64,
    out: Vec<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Idle,
    Waiting {
        until: Timestamp,
    },
    Opening {
        id: ConnectionId,
        since: Timestamp,
    },
    Joining {
        id: ConnectionId,
        since: Timestamp,
    },
    /// `ping` is when to ping next; by `deadline` something has to come.
    In {
        id: ConnectionId,
        heard: Timestamp,
        ping: Timestamp,
        deadline: Timestamp,
    },
    /// Nothing is tried: another token is waited for.
    NoToken,
    Leaving {
        id: ConnectionId,
        until: Timestamp,
    },
    Over,
}

struct Server {
    user: UserName,
    grace: Duration,
    ping: Duration,
    udp: Vec<String>,
    limits: Limits,
}

/// A time without the room, or without media.
#[derive(Clone, Copy)]
struct Break {
    since: Timestamp,
    said: Said,
}

/// What the program was told of a break.
#[derive(Clone, Copy, PartialEq)]
enum Said {
    Nothing,
    Reconnecting,
    Disconnected,
}

/// How long a connection may take to open, and a server to let in.
const PATIENCE: Duration = Duration::from_secs(5);
/// Three pings without an answer end a connection.
const PINGS: u32 = 3;
/// How long a server has to answer a ping where media fell silent.
const HINTED: Duration = Duration::from_secs(1);
/// How long a break is not told of while media, or messages, still come.
const QUIET: Duration = Duration::from_secs(3);
/// How often to knock, and how old an attempt is that an answer ends: what it sent
/// first was lost, and is sent again after seconds only (RFC 6298 § 2).
const KNOCKS: Duration = Duration::from_millis(200);
const STALE: Duration = Duration::from_millis(500);
/// How long the server has to close the connection of who leaves.
const FAREWELL: Duration = Duration::from_millis(500);

impl Session {
    /// Of a participant that has not begun yet. \[any\]
    #[must_use]
    pub fn new(options: Options, rng: fastrand::Rng) -> Self {
        Self {
            options,
            shown: String::new(),
            rng,
            backoff: Backoff::default(),
            link: Link::Idle,
            connections: 0,
            requests: 0,
            rtt_ms: None,
            server: None,
            resume: None,
            broken: None,
            knocked: false,
            next_knock: Timestamp::ZERO,
            asked: BTreeMap::new(),
            roster: Roster::default(),
            active: None,
            joined_at: Timestamp::ZERO,
            call_since: None,
            wishes: BTreeMap::new(),
            hushed: BTreeMap::new(),
            publications: BTreeMap::new(),
            media: Media::Off,
            offering: None,
            wanted: None,
            offers: 0,
            one_by_one: false,
            media_due: None,
            unfit: 0,
            out: Vec::new(),
        }
    }

    /// What is to be done by now, in this order. \[any\]
    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// Who else is in the room. \[any\]
    #[must_use]
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// What the server allows, and where it takes media, as `IP:PORT`, once it has let it
    /// in. \[any\]
    #[must_use]
    pub fn server(&self) -> Option<(Limits, &[String])> {
        self.server.as_ref().map(|server| (server.limits, &*server.udp))
    }

    /// Whether it is in the room and reaches it. \[any\]
    #[must_use]
    pub const fn is_in(&self) -> bool {
        matches!(self.link, Link::In { .. })
    }

    /// Whether it left, or failed for good. \[any\]
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.link, Link::Over)
    }

    /// How long the call has been going on, breaks included, in milliseconds. \[any\]
    #[must_use]
    pub fn call_ms(&self, now: Timestamp) -> u64 {
        self.call_since.map_or(0, |since| millis(now.since(since)))
    }

    /// Messages so far that did not fit what was known: of a server that keeps to the
    /// protocol none does. \[any\]
    #[must_use]
    pub const fn unfit(&self) -> u64 {
        self.unfit
    }

    /// Begins. \[any\]
    pub fn join(&mut self, now: Timestamp) {
        if self.link == Link::Idle {
            self.broken = Some(Break { since: now, said: Said::Nothing });
            self.connect(now);
        }
        self.settle(now);
    }

    /// A connection is open. \[any\]
    pub fn opened(&mut self, now: Timestamp, id: ConnectionId) {
        if matches!(self.link, Link::Opening { id: mine, .. } if mine == id) {
            self.link = Link::Joining { id, since: now };
            self.shown.clone_from(&self.options.token);
            let join = Join {
                v: VERSION,
                token: self.options.token.clone(),
                auto_play: self.options.auto_play,
                client: self.options.client.clone(),
                resume: self.resume.clone(),
            };
            self.send(id, Ask::Join(join));
        }
        self.settle(now);
    }

    /// A connection was closed by the other side, broke, or could not be opened. \[any\]
    pub fn closed(&mut self, now: Timestamp, id: ConnectionId) {
        if self.connection() == Some(id) {
            let is_leaving = matches!(self.link, Link::Leaving { .. });
            self.part();
            if is_leaving {
                self.end(now, None);
            } else {
                self.retry(now);
            }
        }
        self.settle(now);
    }

    /// The server told something over a connection. \[any\]
    pub fn message(&mut self, now: Timestamp, id: ConnectionId, told: Told) {
        if self.connection() == Some(id) {
            match &mut self.link {
                Link::Joining { .. } => self.let_in(now, id, told),
                Link::In { heard, deadline, .. } => {
                    (*heard, *deadline) = (now, Timestamp::NEVER);
                    self.told(now, told);
                }
                _ => {}
            }
        }
        self.settle(now);
    }

    /// The server answered a knock: it can be reached. \[any\]
    pub fn knock_answered(&mut self, now: Timestamp) {
        match self.link {
            Link::Waiting { .. } if !self.knocked => {
                self.knocked = true;
                self.connect(now);
            }
            Link::Opening { since, .. } if !self.knocked && since + STALE <= now => {
                self.knocked = true;
                self.hang_up();
                self.connect(now);
            }
            _ => {}
        }
        self.settle(now);
    }

    /// The program asks for something. \[any\]
    pub fn command(&mut self, now: Timestamp, command: Command) {
        match command {
            _ if self.is_over() => {}
            Command::Publish(publish) => self.publish(publish),
            Command::Unpublish(stream) => self.unpublish(&stream),
            Command::Mute(mute) => self.mute(mute),
            Command::Play(Play { stream, quality }) => self.wish(stream, Some(quality)),
            Command::Stop(stream) => self.wish(stream, None),
            Command::MuteRemote(mute) => self.mute_remote(mute),
            Command::Renew(token) => {
                self.options.token.clone_from(&token);
                match self.link {
                    Link::NoToken => self.connect(now),
                    Link::In { .. } => self.ask(Ask::Renew { token }),
                    _ => {}
                }
            }
            Command::Leave => match self.link {
                Link::In { id, .. } => {
                    self.send(id, Ask::Leave);
                    self.link = Link::Leaving { id, until: now + FAREWELL };
                }
                Link::Leaving { .. } => {}
                _ => self.end(now, None),
            },
        }
        self.settle(now);
    }

    /// How well others' streams came, for the server to tell everyone. \[any\]
    pub fn received(&mut self, streams: Vec<Receive>) {
        if let Link::In { id, .. } = self.link {
            self.send(id, Ask::Received { streams, rtt_ms: self.rtt_ms });
        }
    }

    /// A frame of stream `no` came. \[any\]
    pub fn frame(&mut self, now: Timestamp, no: u32) {
        if let Some(stream) = self.roster.first_frame(no) {
            let since_join_ms = millis(now.since(self.joined_at));
            self.event(RoomEvent::FirstFrame { stream, since_join_ms });
        }
    }

    /// Does what is due by `now`. \[any\]
    pub fn tick(&mut self, now: Timestamp) {
        self.settle(now);
    }

    /// When to tick next. \[any\]
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        let link = match self.link {
            Link::Idle | Link::Over => return None,
            Link::NoToken => None,
            Link::Leaving { until, .. } => return Some(until),
            Link::Waiting { until } => Some(until),
            Link::Opening { since, .. } | Link::Joining { since, .. } => Some(since + PATIENCE),
            Link::In { heard, ping, deadline, .. } => Some(ping.min(deadline).min(heard + self.silence())),
        };
        let knock = self.addresses().map(|_| self.next_knock);
        let media = self.media_due.filter(|_| self.is_in());
        let broken = self.broken.and_then(|broken| match broken.said {
            _ if self.server.is_none() => None,
            Said::Nothing => Some(broken.since + QUIET),
            Said::Reconnecting if !self.is_in() => Some(broken.since + self.grace()),
            _ => None,
        });
        [link, knock, media, broken, self.exhausted()].into_iter().flatten().min()
    }

    /// Does what is due, and what follows from what was told.
    fn settle(&mut self, now: Timestamp) {
        match self.link {
            Link::Waiting { until } if until <= now => {
                self.knocked = false;
                self.connect(now);
            }
            Link::Opening { since, .. } | Link::Joining { since, .. } if since + PATIENCE <= now => {
                self.give_up(now);
            }
            Link::In { heard, deadline, .. } if deadline.min(heard + self.silence()) <= now => {
                self.give_up(now);
            }
            Link::In { id, ping, .. } if ping <= now => self.ping(now, id, Timestamp::NEVER),
            Link::Leaving { until, .. } if until <= now => self.end(now, None),
            _ => {}
        }
        if self.exhausted().is_some_and(|when| when <= now) {
            self.end(now, Some(Code::RetriesExhausted));
        }
        if self.next_knock <= now
            && let Some(addresses) = self.addresses()
        {
            self.out.push(Output::Knock(addresses.to_vec()));
            self.next_knock = now + KNOCKS;
        }
        self.settle_media(now);
        self.tell_of_break(now);
    }

    /// Tells the program of breaks, and of their ends.
    fn tell_of_break(&mut self, now: Timestamp) {
        if matches!(self.link, Link::Idle | Link::Leaving { .. } | Link::Over) {
            return;
        }
        let is_in = self.is_in();
        if is_in && self.media != Media::Silent {
            if let Some(broken) = self.broken.take()
                && broken.said != Said::Nothing
            {
                let took_ms = millis(now.since(broken.since));
                self.event(RoomEvent::State(RoomState::Joined { entry: Entry::Resumed, took_ms }));
            }
            return;
        }
        let mut broken = self.broken.unwrap_or(Break { since: now, said: Said::Nothing });
        if self.server.is_some() {
            let is_quiet = now < broken.since + QUIET && (is_in || self.media == Media::Up);
            if broken.said == Said::Nothing && !is_quiet {
                broken.said = Said::Reconnecting;
                self.event(RoomEvent::State(RoomState::Reconnecting));
            }
            if broken.said == Said::Reconnecting && !is_in && broken.since + self.grace() <= now {
                broken.said = Said::Disconnected;
                self.event(RoomEvent::State(RoomState::Disconnected));
            }
        }
        self.broken = Some(broken);
    }

    // -----------------------------------------------------------------------
    // Connections

    fn connect(&mut self, now: Timestamp) {
        self.connections += 1;
        let id = ConnectionId(self.connections);
        self.link = Link::Opening { id, since: now };
        self.out.push(Output::Open(id));
    }

    /// Gives the connection up, and tries for the next one.
    fn give_up(&mut self, now: Timestamp) {
        self.hang_up();
        self.retry(now);
    }

    fn hang_up(&mut self) {
        self.out.extend(self.connection().map(Output::Close));
        self.part();
    }

    /// There is no connection any more.
    fn part(&mut self) {
        if self.is_in() {
            self.forget_offer();
            self.media_due = None;
            self.knocked = false;
            self.next_knock = Timestamp::ZERO;
        }
        self.link = Link::NoToken;
    }

    fn retry(&mut self, now: Timestamp) {
        let delay = self.backoff.next(&mut self.rng);
        if delay.is_zero() {
            self.connect(now);
        } else {
            self.link = Link::Waiting { until: now + delay };
        }
    }

    /// The server does not let it in, or no longer.
    fn refused(&mut self, now: Timestamp, code: Code, retry: Retry) {
        match (self.is_in(), retry) {
            // Another connection took the session over: one of its own, where a message
            // that was held back came late. It goes on.
            (true, Retry::Anew) => {}
            // What the server knew of it is forgotten there, media too.
            (true, _) => (self.resume, self.media) = (None, Media::Off),
            (false, Retry::Anew) => self.resume = None,
            (false, _) => {}
        }
        self.hang_up();
        // Knocks show that the server is there, but not that it would let in.
        self.knocked = true;
        match retry {
            Retry::Never => self.end(now, Some(code)),
            Retry::Token => self.event(RoomEvent::TokenWanted { code }),
            Retry::Later => {
                self.event(RoomEvent::State(RoomState::Refused { code }));
                self.retry(now);
            }
            Retry::Anew => self.retry(now),
        }
    }

    /// It is out for good, by choice where there is no reason.
    fn end(&mut self, now: Timestamp, why: Option<Code>) {
        self.hang_up();
        self.link = Link::Over;
        let call_ms = self.call_ms(now);
        self.event(RoomEvent::State(match why {
            None => RoomState::Left { call_ms },
            Some(code) => RoomState::Failed { code, call_ms },
        }));
    }

    fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Opening { id, .. }
            | Link::Joining { id, .. }
            | Link::In { id, .. }
            | Link::Leaving { id, .. } => Some(id),
            Link::Idle | Link::Waiting { .. } | Link::NoToken | Link::Over => None,
        }
    }

    /// Where to knock, if that may be of use.
    fn addresses(&self) -> Option<&[String]> {
        let may = matches!(self.link, Link::Waiting { .. } | Link::Opening { .. }) && !self.knocked;
        let addresses = self.server.as_ref().map(|server| &*server.udp);
        addresses.filter(|addresses| may && !addresses.is_empty())
    }

    /// When it was tried for as long as it may be.
    fn exhausted(&self) -> Option<Timestamp> {
        let is_trying =
            matches!(self.link, Link::Waiting { .. } | Link::Opening { .. } | Link::Joining { .. });
        let since = self.broken.filter(|_| is_trying)?.since;
        self.options.retry_for.map(|span| since + span)
    }

    fn grace(&self) -> Duration {
        self.server.as_ref().map_or(Duration::ZERO, |server| server.grace)
    }

    fn silence(&self) -> Duration {
        self.server.as_ref().map_or(PATIENCE, |server| server.ping * PINGS)
    }

    fn ping(&mut self, now: Timestamp, id: ConnectionId, by: Timestamp) {
        let every = self.server.as_ref().map_or(PATIENCE, |server| server.ping);
        if let Link::In { ping, deadline, .. } = &mut self.link {
            (*ping, *deadline) = (now + every, by.min(*deadline));
        }
        self.send(id, Ask::Ping { at: now.nanos() / 1_000_000 });
    }

    // -----------------------------------------------------------------------
    // Messages

    /// The server answers `join`.
    fn let_in(&mut self, now: Timestamp, id: ConnectionId, told: Told) {
        match told {
            Told::Joined(joined) => self.joined(now, id, *joined),
            Told::Resumed { secret, media_kept, .. } => {
                let Some(resume) = &mut self.resume else { return self.unfit += 1 };
                resume.secret = secret;
                let asked = std::mem::take(&mut self.asked).into_values();
                self.enter(now, id);
                self.want(if media_kept { OfferKind::Restart } else { OfferKind::Anew });
                self.repeat_wishes();
                // All else that may be lost: the token was shown at joining.
                for ask in asked.filter(|ask| matches!(ask, Ask::Mute(_))) {
                    self.ask(ask);
                }
            }
            Told::Failed { code, retry, .. } => self.refused(now, code, retry),
            _ => self.unfit += 1,
        }
    }

    fn enter(&mut self, now: Timestamp, id: ConnectionId) {
        let ping = self.server.as_ref().map_or(PATIENCE, |server| server.ping);
        self.link = Link::In { id, heard: now, ping: now + ping, deadline: Timestamp::NEVER };
        if self.shown != self.options.token {
            self.ask(Ask::Renew { token: self.options.token.clone() });
        }
    }

    fn joined(&mut self, now: Timestamp, id: ConnectionId, joined: Joined) {
        let entry = if self.server.is_some() { Entry::Again } else { Entry::First };
        let Joined { user, session, secret, seq, people, grace_ms, ping_ms, udp, limits, .. } = joined;
        // A server that wants pings without a pause is not to have them.
        let (grace, ping) = (u64::from(grace_ms), u64::from(ping_ms.max(100)));
        let (grace, ping) = (Duration::from_millis(grace), Duration::from_millis(ping));
        self.server = Some(Server { user, grace, ping, udp, limits });
        self.resume = Some(Resume { session, secret, after: seq });
        self.asked.clear();
        self.enter(now, id);
        self.joined_at = now;
        self.call_since.get_or_insert(now);
        let took_ms = self.broken.take().map_or(0, |broken| millis(now.since(broken.since)));
        self.event(RoomEvent::State(RoomState::Joined { entry, took_ms }));
        let users = people.iter().map(|person| person.user.clone()).collect();
        self.event(RoomEvent::Users { users });
        self.roster.forget_frames();
        self.replace(people);
        self.repeat_wishes();
        self.publish_anew();
    }

    /// The server tells something to who is in.
    fn told(&mut self, now: Timestamp, told: Told) {
        match told {
            Told::Joined(_) | Told::Resumed { .. } => self.unfit += 1,
            Told::Failed { code, retry, .. } => self.refused(now, code, retry),
            Told::Answer { g, sdp, .. } => self.answered(now, g, sdp),
            Told::Ok { re, expires_s } => self.done(re, expires_s),
            Told::Error { re, code, .. } => self.not_done(now, re, code),
            Told::Event { seq, e } => self.happened(seq, e),
            Told::Roster { seq, mut people } => {
                self.resume.iter_mut().for_each(|resume| resume.after = seq);
                let user = self.server.as_ref().map(|server| &server.user);
                if let Some(place) = people.iter().position(|person| Some(&person.user) == user) {
                    self.published_by_server(people.swap_remove(place).streams);
                }
                self.replace(people);
                self.repeat_wishes();
            }
            Told::Slots { g, slots } => self.out.push(Output::Slots { g, slots }),
            Told::Volumes { list, active } => {
                if active != self.active {
                    self.active.clone_from(&active);
                    self.event(RoomEvent::ActiveSpeaker { user: active });
                }
                self.event(RoomEvent::Volumes { list });
            }
            Told::Quality { list } => self.event(RoomEvent::Quality { list }),
            Told::Limit { stream, bps, layers } => self.event(RoomEvent::Limit { stream, bps, layers }),
            Told::Playing { stream, state, code } => self.event(RoomEvent::Playing { stream, state, code }),
            Told::Expiring { in_s } => self.event(RoomEvent::TokenExpiring { in_s }),
            Told::Closing { in_s } => self.event(RoomEvent::Closing { in_s }),
            Told::MediaFailed { g } => self.media_failed(g),
            Told::Pong { at, .. } => {
                self.backoff.reset();
                self.rtt_ms = u32::try_from((now.nanos() / 1_000_000).saturating_sub(at)).ok();
            }
        }
    }

    fn happened(&mut self, seq: u64, news: News) {
        match &mut self.resume {
            Some(resume) if seq > resume.after => resume.after = seq,
            _ => return self.unfit += 1,
        }
        let user = self.server.as_ref().map(|server| server.user.as_str());
        match news {
            News::StreamMuted { stream, muted } if Some(stream.user()) == user => {
                self.muted_by_server(stream, muted);
            }
            News::StreamRemoved { stream, .. } if Some(stream.user()) == user => self.ended_by_server(stream),
            news => self.happened_to_others(news),
        }
    }

    fn happened_to_others(&mut self, news: News) {
        match self.roster.happened(news) {
            Some(event) => {
                self.event(event.clone());
                if let RoomEvent::StreamAdded { stream } = event {
                    self.repeat_wish(&stream);
                }
            }
            None => self.unfit += 1,
        }
    }

    /// These are there and nobody else.
    fn replace(&mut self, people: Vec<Person>) {
        let events = self.roster.replace(people);
        self.out.extend(events.into_iter().map(Output::Event));
    }

    fn event(&mut self, event: RoomEvent) {
        self.out.push(Output::Event(event));
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
