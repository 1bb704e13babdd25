//! What a session publishes, and its offers.
//!
//! An offer says all that is sent from then on, so publishing and ending streams is
//! making another offer, one at a time. Whatever an offer that was lost with its
//! connection had to do, the next one does.

use std::time::Duration;

use sidetone_core::Timestamp;

use super::{Link, Output, Session};
use crate::events::{PublishState, RoomEvent};
use crate::protocol::{Ask, Code, Layer, Mute, Offer, Source, StreamId, StreamInfo};

/// A stream that a program publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its id: the user's name, a slash, and what tells it from the user's others.
    pub stream: StreamId,
    /// What it is of.
    pub source: Source,
    /// Whether it is held back for now.
    pub muted: bool,
    /// Sizes in which it is sent at once, the least first; none for one.
    pub layers: Vec<Layer>,
}

/// What an offer has to do; each does what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OfferKind {
    /// To say what is sent from now on.
    More,
    /// To find a way through the network again (an ICE restart), too.
    Restart,
    /// To begin anew: nothing of the connection before is of use.
    Anew,
}

/// An offer that the media are to make.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferWanted {
    /// Which of the session.
    pub g: u32,
    /// What it has to do.
    pub kind: OfferKind,
    /// All streams that are sent from then on.
    pub send: Vec<Publish>,
}

/// Where media stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// None have come since joining.
    Off,
    /// They come.
    Up,
    /// They came, and fell silent.
    Silent,
}

/// A stream that is published, or to be.
pub(super) struct Publication {
    source: Source,
    layers: Vec<Layer>,
    pub(super) muted: bool,
    /// Whether an offer with it was answered.
    is_published: bool,
}

/// An offer that is made, or not answered yet.
pub(super) struct Offering {
    g: u32,
    kind: OfferKind,
    /// The number of its request, once it is sent.
    n: Option<u32>,
    streams: Vec<StreamId>,
    /// Those that were not published yet.
    new: Vec<StreamId>,
}

/// How long media have to come up once an offer is answered.
const SLOW: Duration = Duration::from_secs(10);

impl Session {
    /// The media made the offer that was wanted of them. \[any\]
    pub fn offered(&mut self, now: Timestamp, offer: Offer) {
        if let Some(mut offering) = self.offering.take() {
            if let Link::In { id, .. } = self.link
                && offering.g == offer.g
                && offering.n.is_none()
            {
                offering.n = Some(self.send(id, Ask::Offer(offer)));
            }
            self.offering = Some(offering);
        }
        self.settle(now);
    }

    /// Media come. \[any\]
    pub fn media_up(&mut self, now: Timestamp) {
        self.media = Media::Up;
        self.media_due = None;
        self.settle(now);
    }

    /// Nothing has come of the media for longer than there should be: something within
    /// 1.5 s. \[any\]
    pub fn media_silent(&mut self, now: Timestamp) {
        if self.media == Media::Up {
            self.media = Media::Silent;
            if let Link::In { id, .. } = self.link {
                // Whether the server can be reached at all shows soon.
                self.ping(now, id, now + super::HINTED);
                self.want(OfferKind::Restart);
            }
        }
        self.settle(now);
    }

    /// What the server was offered does not do any more: there is to be room for other
    /// streams. \[any\]
    pub fn reoffer(&mut self, now: Timestamp) {
        self.want(OfferKind::More);
        self.settle(now);
    }

    /// The media are of no more use: they begin anew in a while. \[any\]
    pub fn media_gone(&mut self, now: Timestamp) {
        if self.media == Media::Up {
            self.media = Media::Silent;
        }
        self.offering = None;
        self.media_due = Some(now + SLOW);
        self.settle(now);
    }

    pub(super) fn settle_media(&mut self, now: Timestamp) {
        if !self.is_in() {
            return;
        }
        if self.media_due.is_some_and(|due| due <= now) {
            self.media_due = None;
            self.event(RoomEvent::MediaFailed { code: Code::MediaFailed });
            self.want(OfferKind::Anew);
        }
        if self.offering.is_none()
            && let Some(kind) = self.wanted.take()
        {
            self.offer(kind);
        }
    }

    pub(super) fn want(&mut self, kind: OfferKind) {
        self.wanted = self.wanted.max(Some(kind));
    }

    fn offer(&mut self, kind: OfferKind) {
        if kind == OfferKind::Anew && self.media == Media::Up {
            self.media = Media::Silent;
        }
        self.offers += 1;
        let (mut streams, mut new, mut send) = (Vec::new(), Vec::new(), Vec::new());
        for (stream, publication) in &self.publications {
            let Publication { source, layers, muted, is_published, .. } = publication;
            if !is_published {
                if self.one_by_one && !new.is_empty() {
                    continue;
                }
                new.push(stream.clone());
            }
            streams.push(stream.clone());
            let (source, muted, layers) = (*source, *muted, layers.clone());
            send.push(Publish { stream: stream.clone(), source, muted, layers });
        }
        let g = self.offers;
        self.offering = Some(Offering { g, kind, n: None, streams, new });
        self.out.push(Output::Offer(OfferWanted { g, kind, send }));
    }

    pub(super) fn answered(&mut self, now: Timestamp, g: u32, sdp: String) {
        let Some(offering) = self.offering.take_if(|offering| offering.g == g) else { return };
        self.out.push(Output::Answer { g, sdp });
        for stream in offering.streams {
            let Some(publication) = self.publications.get_mut(&stream) else { continue };
            let muted = publication.muted;
            if !std::mem::replace(&mut publication.is_published, true) {
                self.published(stream.clone(), PublishState::Published, None);
                // The server may know it of an offer before, whose answer was lost or that
                // was made before it was ended and published again: as it was then.
                self.ask(Ask::Mute(Mute { stream, muted }));
            }
        }
        if self.publications.values().all(|publication| publication.is_published) {
            self.one_by_one = false;
        } else {
            self.want(OfferKind::More);
        }
        self.media_due = (self.media != Media::Up).then_some(now + SLOW);
    }

    /// An offer was refused, if request `re` was one: what was new in it is why, or else
    /// there are no media.
    pub(super) fn offer_refused(&mut self, now: Timestamp, re: u32, code: Code) {
        let Some(offering) = self.offering.take_if(|offering| offering.n == Some(re)) else { return };
        let Offering { kind, streams, new, .. } = offering;
        match &*new {
            [] => {
                // What ended meanwhile may have been why.
                if streams.iter().all(|stream| self.publications.contains_key(stream)) {
                    self.event(RoomEvent::MediaFailed { code });
                    self.media_due = Some(now + SLOW);
                    return;
                }
            }
            [stream] => {
                if self.publications.remove(stream).is_some() {
                    self.published(stream.clone(), PublishState::Failed, Some(code));
                }
            }
            _ => self.one_by_one = true,
        }
        self.want(kind);
    }

    /// The server gave up on the media of offer `g`.
    pub(super) fn media_failed(&mut self, g: u32) {
        if g == self.offers {
            self.event(RoomEvent::MediaFailed { code: Code::MediaFailed });
            self.want(OfferKind::Anew);
        }
    }

    /// The connection is no more: what its offer had to do is to be done by the next.
    pub(super) fn forget_offer(&mut self) {
        if let Some(offering) = self.offering.take() {
            self.want(offering.kind);
        }
    }

    /// The server knows nothing of the media, nor of what is published.
    pub(super) fn publish_anew(&mut self) {
        self.media = Media::Off;
        (self.offering, self.media_due, self.one_by_one) = (None, None, false);
        self.want(OfferKind::Anew);
        let mut again = Vec::new();
        for (stream, publication) in &mut self.publications {
            if std::mem::take(&mut publication.is_published) {
                again.push(stream.clone());
            }
        }
        for stream in again {
            self.published(stream, PublishState::Publishing, None);
        }
    }

    pub(super) fn publish(&mut self, publish: Publish) {
        let Publish { stream, source, muted, layers } = publish;
        if self.publications.contains_key(&stream) {
            return self.published(stream, PublishState::Failed, Some(Code::StreamExists));
        }
        let publication = Publication { source, layers, muted, is_published: false };
        self.publications.insert(stream.clone(), publication);
        self.published(stream, PublishState::Publishing, None);
        self.want(OfferKind::More);
    }

    pub(super) fn unpublish(&mut self, stream: &StreamId) {
        if self.publications.remove(stream).is_none() {
            return self.published(stream.clone(), PublishState::Failed, Some(Code::StreamUnknown));
        }
        self.published(stream.clone(), PublishState::Ended, None);
        self.want(OfferKind::More);
    }

    pub(super) fn mute(&mut self, mute: Mute) {
        let Mute { stream, muted } = mute.clone();
        let Some(publication) = self.publications.get_mut(&stream) else {
            return self.published(stream, PublishState::Failed, Some(Code::StreamUnknown));
        };
        publication.muted = muted;
        // What is not published yet is offered muted, or told when the answer comes.
        let is_published = publication.is_published;
        self.out.push(Output::Mute(stream, muted));
        if is_published {
            self.ask(Ask::Mute(mute));
        }
    }

    /// These streams of its own are published, as the server says.
    pub(super) fn published_by_server(&mut self, streams: Vec<StreamInfo>) {
        let known: Vec<_> = self.published_now().map(|(stream, muted)| (stream.clone(), muted)).collect();
        for (stream, was_muted) in known {
            match streams.iter().find(|info| info.id == stream) {
                None => self.ended_by_server(stream),
                Some(info) if info.muted != was_muted => self.muted_by_server(stream, info.muted),
                Some(_) => {}
            }
        }
    }

    /// A stream of its own is muted, or no more: by an administrator, or as the program
    /// asked and the server says once more.
    pub(super) fn muted_by_server(&mut self, stream: StreamId, muted: bool) {
        if let Some(publication) = self.publications.get_mut(&stream) {
            publication.muted = muted;
            self.out.push(Output::Mute(stream.clone(), muted));
            self.event(RoomEvent::StreamMuted { stream, muted });
        }
    }

    /// A stream of its own was ended: the token does not allow it any more.
    pub(super) fn ended_by_server(&mut self, stream: StreamId) {
        if self.publications.remove(&stream).is_some() {
            self.published(stream, PublishState::Failed, Some(Code::NotPermittedPublish));
            self.want(OfferKind::More);
        }
    }

    /// What is published, and whether it is muted. \[any\]
    pub fn published_now(&self) -> impl Iterator<Item = (&StreamId, bool)> {
        let published = self.publications.iter().filter(|(_, publication)| publication.is_published);
        published.map(|(stream, publication)| (stream, publication.muted))
    }

    fn published(&mut self, stream: StreamId, state: PublishState, code: Option<Code>) {
        self.event(RoomEvent::Published { stream, state, code });
    }
}
