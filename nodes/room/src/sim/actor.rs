//! A participant of the simulator: its session, its program, and what that program saw.

use std::collections::{BTreeMap, BTreeSet};

use sidetone_core::Timestamp;

use super::network::Ways;
use crate::client::session::{Command, ConnectionId, MuteRemote, Options, Publish, Session};
use crate::events::{PublishState, RoomEvent, RoomState};
use crate::protocol::{Client, Kind, Mute, Source, StreamId, UserName, Wish};
use crate::server::replay::PersonId;
use crate::server::room::LinkId;

/// A participant.
pub(super) struct Actor {
    pub(super) user: UserName,
    pub(super) session: Option<Session>,
    /// Its connection.
    pub(super) open: Option<(ConnectionId, LinkId)>,
    pub(super) ways: Ways,
    /// One-way delay of messages, in milliseconds, least and most.
    pub(super) delay_ms: (u64, u64),
    /// What its token allows: see `World::token`.
    pub(super) grants: char,
    /// Whether its program renews the token when warned; else when it must.
    pub(super) is_careful: bool,
    pub(super) seen: Seen,
    pub(super) asked: Asked,
    /// What its program was last told that its session is, and the last event there.
    pub(super) own: String,
    pub(super) seq: u64,
    pub(super) media: FakeMedia,
}

/// What a program saw, by its events alone.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) state: Option<RoomState>,
    pub(super) users: BTreeSet<UserName>,
    pub(super) streams: BTreeMap<StreamId, bool>,
}

/// What a program asked for, less what was refused.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) published: BTreeMap<StreamId, PublishState>,
    pub(super) wishes: BTreeMap<StreamId, Option<Wish>>,
    /// How all others are played.
    by_itself: Option<Wish>,
    /// Of which kind nothing is to be played: of anybody, and of each for whom that was
    /// said otherwise since.
    hushed: BTreeMap<Kind, (bool, BTreeMap<String, bool>)>,
}

impl Asked {
    pub(super) fn mute_remote(&mut self, mute: &MuteRemote) {
        let (everyone, each) = self.hushed.entry(mute.kind).or_default();
        match &mute.user {
            Some(user) => {
                each.insert(user.to_string(), mute.muted);
            }
            None => (*everyone, *each) = (mute.muted, BTreeMap::new()),
        }
    }

    /// How a stream is to be played.
    pub(super) fn wish(&self, stream: &StreamId, source: Source) -> Option<Wish> {
        let is_hushed = self
            .hushed
            .get(&source.kind())
            .is_some_and(|(everyone, each)| each.get(stream.user()).copied().unwrap_or(*everyone));
        if is_hushed { None } else { self.wishes.get(stream).copied().unwrap_or(self.by_itself) }
    }
}

/// Media without media.
#[derive(Default)]
pub(super) struct FakeMedia {
    /// Whose they are on the server, once an offer is answered.
    pub(super) person: Option<PersonId>,
    pub(super) is_up: bool,
    /// When something last came.
    pub(super) came: Timestamp,
}

impl Actor {
    pub(super) fn new(user: UserName, delay_ms: (u64, u64), is_careful: bool) -> Self {
        Self {
            user,
            session: None,
            open: None,
            ways: Ways::default(),
            delay_ms,
            grants: 'f',
            is_careful,
            seen: Seen::default(),
            asked: Asked::default(),
            own: String::new(),
            seq: 0,
            media: FakeMedia::default(),
        }
    }

    /// A program that begins.
    pub(super) fn begin(&mut self, token: String, auto_play: bool, rng: fastrand::Rng) {
        let client = Client { name: "sim".into(), version: "1".into() };
        let options = Options { token, auto_play, client, retry_for: None };
        self.session = Some(Session::new(options, rng));
        (self.seen, self.asked, self.media, self.own, self.seq) = Default::default();
        self.asked.by_itself = auto_play.then_some(Wish::High);
    }

    /// Whether its program runs: it has begun and is neither out nor about to leave.
    pub(super) fn runs(&self) -> bool {
        let is_out = matches!(self.seen.state, Some(RoomState::Left { .. } | RoomState::Failed { .. }));
        self.session.is_some() && !is_out
    }

    pub(super) fn stream(&self, source: Source) -> StreamId {
        StreamId::new(&format!("{}/{}", self.user, source.word())).expect("an id")
    }

    /// The program tries to publish, end, mute or unmute a stream.
    pub(super) fn toggle(&mut self, source: Source, rng: &mut fastrand::Rng) -> Command {
        let stream = self.stream(source);
        if !self.asked.published.contains_key(&stream) {
            let muted = rng.bool();
            return Command::Publish(Publish { stream, source, muted, layers: Vec::new() });
        }
        match rng.u8(..5) {
            0 => Command::Unpublish(stream),
            muted => Command::Mute(Mute { stream, muted: muted % 2 == 1 }),
        }
    }

    /// The program sees an event; what is wrong with it.
    pub(super) fn see(&mut self, event: &RoomEvent) -> Result<(), String> {
        let Seen { state, users, streams } = &mut self.seen;
        let of = |stream: &StreamId, users: &BTreeSet<UserName>| {
            users.iter().any(|user| user.as_str() == stream.user())
        };
        let fits = match event {
            RoomEvent::State(new) => {
                let was_out = matches!(state, Some(RoomState::Left { .. } | RoomState::Failed { .. }));
                *state = Some(*new);
                !was_out
            }
            RoomEvent::UserJoined { user } => users.insert(user.clone()),
            RoomEvent::UserLeft { user, .. } => {
                users.remove(user) && !streams.keys().any(|stream| stream.user() == user.as_str())
            }
            RoomEvent::StreamAdded { stream } => {
                of(&stream.id, users) && streams.insert(stream.id.clone(), stream.muted).is_none()
            }
            RoomEvent::StreamRemoved { stream, .. } => streams.remove(stream).is_some(),
            RoomEvent::StreamMuted { stream, muted } => {
                let is_own = stream.user() == self.user.as_str();
                is_own || streams.get_mut(stream).map(|known| *known = *muted).is_some()
            }
            RoomEvent::Published { stream, state, .. } => {
                match state {
                    PublishState::Ended | PublishState::Failed => self.asked.published.remove(stream),
                    _ => self.asked.published.insert(stream.clone(), *state),
                };
                true
            }
            _ => true,
        };
        if fits { Ok(()) } else { Err(format!("{} was told what does not fit: {event}", self.user)) }
    }
}
