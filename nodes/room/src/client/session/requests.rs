//! What a session asks of the server, so that nothing it asked is lost with a connection.

use sidetone_core::Timestamp;

use super::{ConnectionId, Link, MuteRemote, Output, Session};
use crate::events::RoomEvent;
use crate::protocol::{Ask, Code, Mute, Play, PlayState, Request, StreamId, StreamInfo, UserName, Wish};

impl Session {
    pub(super) fn wish(&mut self, stream: StreamId, wish: Option<Wish>) {
        self.wishes.insert(stream.clone(), wish);
        let known = self.roster.streams().find(|known| known.id == stream).cloned();
        known.iter().for_each(|stream| self.repeat_wish(stream));
    }

    pub(super) fn mute_remote(&mut self, MuteRemote { user, kind, muted }: MuteRemote) {
        let is_meant = |stream: &&StreamInfo| {
            stream.source.kind() == kind && user.as_ref().is_none_or(|user| user.as_str() == stream.id.user())
        };
        let streams: Vec<_> = self.roster.streams().filter(is_meant).cloned().collect();
        if user.is_none() {
            self.hushed.retain(|(other, _), _| *other != kind);
        }
        self.hushed.insert((kind, user), muted);
        for stream in streams {
            // What was stopped for this is to be played as any other: by itself, if that
            // is how streams are played.
            if !muted && self.options.auto_play {
                self.wishes.entry(stream.id.clone()).or_insert(Some(Wish::default()));
            }
            self.repeat_wish(&stream);
        }
    }

    fn is_hushed(&self, stream: &StreamInfo) -> bool {
        let of = |user| self.hushed.get(&(stream.source.kind(), user)).copied();
        let user = UserName::new(stream.id.user()).ok();
        user.and_then(|user| of(Some(user))).or_else(|| of(None)).unwrap_or(false)
    }

    /// Tells the server how a stream is to be played, if it is not as all are.
    pub(super) fn repeat_wish(&mut self, stream: &StreamInfo) {
        let wish = if self.is_hushed(stream) { Some(&None) } else { self.wishes.get(&stream.id) };
        let stream = stream.id.clone();
        match wish {
            None => {}
            Some(Some(quality)) => self.ask(Ask::Play(Play { stream, quality: *quality })),
            Some(None) => self.ask(Ask::Stop { stream }),
        }
    }

    /// The same of all streams that are there: the server may have forgotten it, or not
    /// have been allowed to do it.
    pub(super) fn repeat_wishes(&mut self) {
        let streams: Vec<_> = self.roster.streams().cloned().collect();
        streams.iter().for_each(|stream| self.repeat_wish(stream));
    }

    /// Asks something now, or after the break: what was asked of the same before and is
    /// not answered is not asked again then.
    pub(super) fn ask(&mut self, ask: Ask) {
        let about = subject(&ask);
        self.asked.retain(|_, other| subject(other) != about);
        if let Link::In { id, .. } = self.link {
            let n = self.send(id, ask.clone());
            self.asked.insert(n, ask);
        } else if self.resume.is_some() {
            self.requests += 1;
            self.asked.insert(self.requests, ask);
        }
    }

    pub(super) fn send(&mut self, id: ConnectionId, ask: Ask) -> u32 {
        self.requests += 1;
        self.out.push(Output::Send(id, Request { n: self.requests, ask }));
        self.requests
    }

    /// What was asked was done.
    pub(super) fn done(&mut self, re: u32, expires_s: Option<u64>) {
        match self.asked.remove(&re) {
            // Whatever an administrator did before the server did this is over.
            Some(Ask::Mute(Mute { stream, muted })) => {
                if let Some(publication) = self.publications.get_mut(&stream)
                    && publication.muted != muted
                {
                    publication.muted = muted;
                    self.out.push(Output::Mute(stream, muted));
                }
            }
            Some(Ask::Stop { stream }) => {
                self.event(RoomEvent::Playing { stream, state: PlayState::Stopped, code: None });
            }
            Some(Ask::Renew { .. }) => {
                self.event(RoomEvent::TokenRenewed { expires_s: expires_s.unwrap_or_default() });
                self.repeat_wishes();
            }
            _ => {}
        }
    }

    /// What was asked was not done.
    pub(super) fn not_done(&mut self, now: Timestamp, re: u32, code: Code) {
        match self.asked.remove(&re) {
            Some(Ask::Play(Play { stream, .. }) | Ask::Stop { stream }) if code != Code::StreamUnknown => {
                self.event(RoomEvent::Playing { stream, state: PlayState::Failed, code: Some(code) });
            }
            Some(Ask::Renew { .. }) => self.event(RoomEvent::TokenWanted { code }),
            // A stream that is over is neither played nor muted any more.
            Some(_) => {}
            None => self.offer_refused(now, re, code),
        }
    }
}

/// What a request is about: of two about the same the later one counts.
fn subject(ask: &Ask) -> (u8, Option<&StreamId>) {
    match ask {
        Ask::Play(Play { stream, .. }) | Ask::Stop { stream } => (0, Some(stream)),
        Ask::Mute(Mute { stream, .. }) => (1, Some(stream)),
        _ => (2, None),
    }
}
