//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): participants who come by HTTP, an
//! offer in a request and the answer in the response. Requests and responses without a
//! socket; docs/whip.md tells it for who writes the other side.
//!
//! The hall is the far end of their links itself: what is told over those is let be,
//! but for what answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde::Serialize;

use super::{Hall, Link, StageId, Word, peer};
use crate::protocol::sdp::{self, Ice, Section};
use crate::protocol::{
    Ask, Candidate, Code, Kind, Offer, RoomName, Send, SlotOf, Source, StreamId, Told, UserName,
};
use crate::server::budget::Budget;
use crate::server::claims::Claims;
use crate::server::room::{LinkId, Plays, Way};
use crate::server::token;

/// The codecs that go through the server, as descriptions name them.
const CODECS: [&str; 5] = ["opus", "av1", "vp8", "h264", "vp9"];
/// What bodies are.
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// How many seconds those who are to ask later are to wait.
const LATER_S: &str = "1";

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/whip/ROOM`: to publish; a screen and its sound instead of camera and microphone.
    Whip {
        /// The room.
        room: String,
        /// Which.
        is_screen: bool,
    },
    /// `/whep/ROOM/STREAM`: to play.
    Whep {
        /// The room.
        room: String,
        /// A stream's id, or a user's name: their microphone and camera.
        of: String,
    },
    /// `/resource/ID`: what a request to one of the others made.
    Resource(String),
}

/// A request: its body is text, or why there is none.
pub type Asked = Request<Result<String, Code>>;

/// Participants who came by HTTP, by the names of their resources.
#[derive(Default)]
pub(super) struct Resources {
    open: BTreeMap<String, Resource>,
    links: u64,
}

/// A participant who came by HTTP.
struct Resource {
    link: LinkId,
    stage: StageId,
    user: UserName,
    way: Way,
    /// The offer that holds, and the number of it; its ICE's user name.
    offer: String,
    ufrag: String,
    send: Vec<Send>,
    recv: Vec<SlotOf>,
    g: u32,
}

impl Resources {
    pub(super) fn forget(&mut self, link: LinkId) {
        self.open.retain(|_, resource| resource.link != link);
    }

    /// Links of the hall's own are counted from the other end.
    const fn link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(u64::MAX - self.links)
    }
}

impl Resource {
    /// RFC 9725 § 4.3.1: names the ICE session, so that candidates come to their own.
    fn tag(&self) -> String {
        format!("\"{}\"", self.g)
    }
}

impl Hall {
    /// Answers a request. `wall` is the time since 1970 (UTC), for tokens.
    pub fn whip(
        &mut self,
        now: Instant,
        wall: Duration,
        endpoint: &Endpoint,
        asked: &Asked,
    ) -> Response<String> {
        self.forget_closed(now);
        let answer = match (endpoint, asked.method()) {
            (_, &Method::OPTIONS) => Ok(options(endpoint)),
            (Endpoint::Whip { .. } | Endpoint::Whep { .. }, &Method::POST) => {
                self.post(now, wall, endpoint, asked).inspect_err(|refusal| {
                    *self.shared.counts.joins_refused.entry(refusal.code).or_default() += 1;
                })
            }
            (Endpoint::Resource(id), &Method::PATCH) => self.patch(now, wall, id, asked),
            (Endpoint::Resource(id), &Method::DELETE) => self.delete(now, wall, id, asked),
            _ => Err(Refusal::method(endpoint)),
        };
        let mut response = answer.unwrap_or_else(|refusal| {
            if refusal.is_new {
                self.shared.refused(now, None, refusal.code);
            }
            refusal.response()
        });
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, etag, accept-patch, retry-after"),
        ] {
            response.headers_mut().insert(name, header::HeaderValue::from_static(value));
        }
        response
    }

    /// Links of the hall's own are closed when it says so: nobody is there who would.
    fn forget_closed(&mut self, now: Instant) {
        let closed = self.shared.words.iter().filter_map(|word| match word {
            Word::Close(link, _) => Some(*link),
            Word::Tell(..) => None,
        });
        let of = |link: &LinkId| self.resources.open.values().any(|resource| resource.link == *link);
        for link in closed.filter(of).collect::<Vec<_>>() {
            self.closed(now, link);
        }
    }

    fn post(
        &mut self,
        now: Instant,
        wall: Duration,
        endpoint: &Endpoint,
        asked: &Asked,
    ) -> Result<Response<String>, Refusal> {
        if self.is_draining {
            return Err(Code::ShuttingDown.into());
        }
        let (key, claims) = self.admit(now, wall, asked.headers())?;
        let body = body(asked, SDP)?;
        let sections = sdp::sections(body).map_err(Refusal::sdp)?;
        let ice = Ice::read(body).map_err(Refusal::sdp)?;
        let (ufrag, _) = ice.credentials.ok_or(sdp::WrongSdp::Credentials).map_err(Refusal::sdp)?;
        if !peer::is_offer(body) {
            return Err(Code::BadSdp.into());
        }
        let (room, asking) = match endpoint {
            Endpoint::Whip { room, is_screen } => (room, publish(&claims, &sections, *is_screen)),
            Endpoint::Whep { room, of } => (room, self.play(&key, &claims, &sections, of)),
            Endpoint::Resource(_) => return Err(Code::Internal.into()),
        };
        if key.1.as_str() != room {
            return Err(Code::RoomInvalid.into());
        }
        let asking = asking?;
        let Asking { way, plays, send, recv } = asking;
        if self.links.len() >= self.most.1 {
            return Err(Code::TooManyRequests.into());
        }
        let offer = sdp::one_way(body, way == Way::Whip).map_err(Refusal::sdp)?;
        let stage = self.enter(&key)?;
        let link = self.resources.link();
        let budget = Budget::new(self.messages, self.shared.timestamp(now));
        self.links.insert(link, Link { opened: now, place: Some((key, stage)), budget });
        let user = claims.user.clone();
        let secrets = [self.shared.secret(), self.shared.secret()];
        self.at(now, stage, |stage, at, _| stage.room.join_by_http(at, link, way, plays, claims, secrets));
        let joined = self.replied(link);
        let mut resource = Resource { link, stage, user, way, offer, ufrag, send, recv, g: 0 };
        let answered = joined.and_then(|_| self.offer(now, &mut resource));
        let Ok(answer) = answered else {
            self.at(now, stage, |stage, at, _| stage.room.ask(at, link, 0, Ask::Leave));
            self.closed(now, link);
            self.sweep(stage);
            return answered.map(|_| Response::default()).map_err(Refusal::told);
        };
        self.shared.counts.joins += 1;
        let id = self.shared.secret();
        let response = respond(StatusCode::CREATED)
            .header(header::CONTENT_TYPE, SDP)
            .header(header::LOCATION, format!("/resource/{id}"))
            .header(header::ETAG, resource.tag())
            .header("accept-patch", FRAGMENT);
        self.resources.open.insert(id, resource);
        Ok(end(response, answer))
    }

    /// What a token says of who asks: the application and the room, and what for.
    fn admit(
        &self,
        now: Instant,
        wall: Duration,
        headers: &HeaderMap,
    ) -> Result<((String, RoomName), Claims), Refusal> {
        let Some(token) = token::bearer(headers) else { return Err(Refusal::unauthorised()) };
        let checked = token::check(&self.apps, token, self.shared.timestamp(now), wall)?;
        let room = checked.room.ok_or(Code::RoomInvalid)?;
        if !checked.claims.grants.join {
            return Err(Code::NotPermittedJoin.into());
        }
        Ok(((checked.app, room), checked.claims))
    }

    /// What is to be played, if that can be.
    fn play(
        &self,
        key: &(String, RoomName),
        claims: &Claims,
        sections: &[Section],
        of: &str,
    ) -> Result<Asking, Refusal> {
        let plays = match StreamId::new(of) {
            Ok(id) => Plays::Stream(id),
            Err(_) => Plays::User(UserName::new(of).map_err(|_| Code::StreamUnknown)?),
        };
        if !claims.grants.subscribe {
            return Err(Code::NotPermittedSubscribe.into());
        }
        let media = media(sections, |section| section.receives)?;
        let stage = self.rooms.get(key).and_then(|id| self.stages.get(id));
        let streams: Vec<_> = stage.map(|stage| stage.room.streams(&plays).collect()).unwrap_or_default();
        if streams.is_empty() {
            return Err(Code::StreamUnknown.into());
        }
        // A player that could play but a part would not know.
        let section = |kind| media.iter().find(|(of, _)| *of == kind).map(|(_, section)| section);
        let offered = streams.iter().filter_map(|stream| Some((stream, section(stream.source.kind())?)));
        let mut fits = offered.map(|(stream, section)| section.codecs.contains(&stream.codec)).peekable();
        if fits.peek().is_none() || fits.any(|fits| !fits) {
            return Err(Code::Codec.into());
        }
        let recv = media.iter().map(|(kind, section)| SlotOf { mid: section.mid.clone(), kind: *kind });
        Ok(Asking { way: Way::Whep, plays, send: Vec::new(), recv: recv.collect() })
    }

    /// Has a resource's offer answered, as one more than the last.
    fn offer(&mut self, now: Instant, resource: &mut Resource) -> Result<String, Code> {
        let Resource { link, stage, offer, send, recv, g, .. } = resource;
        // The room has seen its number, whatever comes of it.
        *g += 1;
        let (link, stage, g) = (*link, *stage, *g);
        let ask = Offer { g, sdp: offer.clone(), send: send.clone(), recv: recv.clone() };
        self.at(now, stage, |stage, at, _| stage.room.ask(at, link, g, Ask::Offer(ask)));
        match self.replied(link)? {
            Some(Told::Answer { sdp, .. }) => Ok(sdp),
            _ => Err(Code::Internal),
        }
    }

    /// What was told over a link of the hall's own: what answers, or why there is none.
    fn replied(&mut self, link: LinkId) -> Result<Option<Told>, Code> {
        let (mut reply, mut refused) = (None, None);
        self.shared.words.retain(|word| match word {
            Word::Tell(to, told) if *to == link => {
                match told {
                    Told::Failed { code, .. } | Told::Error { code, .. } => refused = refused.or(Some(*code)),
                    Told::Joined(_) | Told::Answer { .. } | Told::Ok { .. } => reply = Some(told.clone()),
                    _ => {}
                }
                false
            }
            _ => true,
        });
        refused.map_or(Ok(reply), Err)
    }

    fn patch(
        &mut self,
        now: Instant,
        wall: Duration,
        id: &str,
        asked: &Asked,
    ) -> Result<Response<String>, Refusal> {
        let mut claims = self.owner(now, wall, id, asked)?;
        let Some(mut resource) = self.resources.open.remove(id) else {
            return Err(Code::SessionUnknown.into());
        };
        let link = resource.link;
        claims.grants.hidden |= resource.way == Way::Whep;
        // A token that came later holds from now on.
        self.at(now, resource.stage, |stage, at, _| stage.room.renew(at, link, 0, Ok(claims)));
        let renewed = self.replied(link).map_err(Refusal::told);
        let done = renewed.and_then(|_| self.go_on(now, &mut resource, asked));
        // What it was asked may have been its end.
        if self.links.contains_key(&link) {
            self.resources.open.insert(id.into(), resource);
        }
        done
    }

    /// More candidates, or a restart of ICE.
    fn go_on(
        &mut self,
        now: Instant,
        resource: &mut Resource,
        asked: &Asked,
    ) -> Result<Response<String>, Refusal> {
        let (link, stage) = (resource.link, resource.stage);
        let at = self.shared.timestamp(now);
        let is_too_often = self.links.get_mut(&link).is_some_and(|link| !link.budget.take(at, 1));
        if is_too_often {
            return Err(Code::TooManyRequests.into());
        }
        let fragment = Ice::read(body(asked, FRAGMENT)?).map_err(Refusal::sdp)?;
        let matches = asked.headers().get(header::IF_MATCH).and_then(|value| value.to_str().ok());
        let Some(matches) = matches else {
            return Err(Refusal::precondition(StatusCode::PRECONDITION_REQUIRED));
        };
        let tag = resource.tag();
        if matches.trim() != "*" && !matches.split(',').any(|one| one.trim() == tag) {
            return Err(Refusal::precondition(StatusCode::PRECONDITION_FAILED));
        }
        let newer = fragment.credentials.as_ref().filter(|(ufrag, _)| *ufrag != resource.ufrag);
        let Some((ufrag, _)) = newer else {
            let g = resource.g;
            for candidate in fragment.candidates {
                let ask = Ask::Candidate(Candidate { g, candidate });
                self.at(now, stage, |stage, at, _| stage.room.ask(at, link, 0, ask));
            }
            return Ok(end(respond(StatusCode::NO_CONTENT), String::new()));
        };
        let offer = sdp::restarted(&resource.offer, &fragment).map_err(Refusal::sdp)?;
        let before = std::mem::replace(&mut resource.offer, offer);
        let answer = self.offer(now, resource).map_err(|code| {
            // RFC 9725 § 4.3.3: what was goes on.
            resource.offer = before;
            Refusal::told(code)
        })?;
        resource.ufrag.clone_from(ufrag);
        let ice = Ice::read(&answer).map_err(|_| Code::Internal)?;
        let response = respond(StatusCode::OK).header(header::ETAG, resource.tag());
        Ok(end(response.header(header::CONTENT_TYPE, FRAGMENT), ice.fragment()))
    }

    fn delete(
        &mut self,
        now: Instant,
        wall: Duration,
        id: &str,
        asked: &Asked,
    ) -> Result<Response<String>, Refusal> {
        self.owner(now, wall, id, asked)?;
        let Some(Resource { link, stage, .. }) = self.resources.open.remove(id) else {
            return Err(Code::SessionUnknown.into());
        };
        self.at(now, stage, |stage, at, _| stage.room.ask(at, link, 0, Ask::Leave));
        self.closed(now, link);
        Ok(end(respond(StatusCode::OK), String::new()))
    }

    /// What the token of who asks for a resource says, if it is theirs.
    fn owner(&self, now: Instant, wall: Duration, id: &str, asked: &Asked) -> Result<Claims, Refusal> {
        let (key, claims) = self.admit(now, wall, asked.headers())?;
        let resource = self.resources.open.get(id).ok_or(Code::SessionUnknown)?;
        let place = self.links.get(&resource.link).and_then(|link| link.place.as_ref());
        let is_theirs = place.is_some_and(|(known, _)| *known == key) && claims.user == resource.user;
        // To others it is as if there were none.
        if is_theirs { Ok(claims) } else { Err(Code::SessionUnknown.into()) }
    }

    /// How many are there by each way.
    #[must_use]
    pub fn ways(&self) -> BTreeMap<Way, usize> {
        let mut sum = BTreeMap::new();
        for (way, count) in self.stages.values().flat_map(|stage| stage.room.ways()) {
            *sum.entry(way).or_default() += count;
        }
        sum
    }
}

/// What is asked of a room.
struct Asking {
    way: Way,
    plays: Plays,
    send: Vec<Send>,
    recv: Vec<SlotOf>,
}

/// What is to be published, if it may be.
fn publish(claims: &Claims, sections: &[Section], is_screen: bool) -> Result<Asking, Refusal> {
    let mut send = Vec::new();
    for (kind, section) in media(sections, |section| section.sends)? {
        let source = match (kind, is_screen) {
            (Kind::Audio, false) => Source::Microphone,
            (Kind::Video, false) => Source::Camera,
            (Kind::Audio, true) => Source::ScreenAudio,
            (Kind::Video, true) => Source::Screen,
        };
        if !claims.grants.may_publish(source) {
            return Err(Code::NotPermittedPublish.into());
        }
        if !section.codecs.iter().any(|codec| CODECS.contains(&&**codec)) {
            return Err(Code::Codec.into());
        }
        let stream = StreamId::new(&format!("{}/{}", claims.user, source.word()));
        let (mid, layers) = (section.mid.clone(), section.layers.clone());
        send.push(Send { mid, stream: stream.map_err(|_| Code::UserInvalid)?, source, muted: false, layers });
    }
    Ok(Asking { way: Way::Whip, plays: Plays::Nothing, send, recv: Vec::new() })
}

/// The sections of sound and pictures: one of each at most, all of which go the way
/// that is asked for.
fn media(sections: &[Section], goes: impl Fn(&Section) -> bool) -> Result<Vec<(Kind, &Section)>, Refusal> {
    let media: Vec<_> = sections.iter().filter_map(|section| Some((section.kind?, section))).collect();
    // RFC 9725 § 4.4.2: more than that is refused as a whole.
    let is_twice = |kind| media.iter().filter(|(of, _)| *of == kind).count() > 1;
    if is_twice(Kind::Audio) || is_twice(Kind::Video) {
        return Err(Code::TooManyStreams.into());
    }
    if media.is_empty() || !media.iter().all(|(_, section)| goes(section)) {
        return Err(Code::BadSdp.into());
    }
    Ok(media)
}

/// The body of a request, if it is one of `kind`.
fn body<'a>(asked: &'a Asked, kind: &str) -> Result<&'a str, Refusal> {
    let said = asked.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = said.and_then(|said| said.split(';').next()).unwrap_or_default().trim();
    if !said.eq_ignore_ascii_case(kind) {
        return Err(Refusal::kind());
    }
    asked.body().as_deref().map_err(|code| (*code).into())
}

/// What may be asked (CORS; RFC 9725 § 4.2).
fn options(endpoint: &Endpoint) -> Response<String> {
    let methods = allowed(endpoint);
    let response = respond(StatusCode::OK)
        .header(header::ALLOW, methods)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, methods)
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-match");
    let takes = match endpoint {
        Endpoint::Resource(_) => ("accept-patch", FRAGMENT),
        _ => ("accept-post", SDP),
    };
    end(response.header(takes.0, takes.1), String::new())
}

const fn allowed(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Resource(_) => "PATCH, DELETE, OPTIONS",
        _ => "POST, OPTIONS",
    }
}

/// Why a request is not done.
struct Refusal {
    status: StatusCode,
    code: Code,
    /// What it says to people.
    text: String,
    /// One more header.
    header: Option<(header::HeaderName, &'static str)>,
    /// Whether nobody counted it yet.
    is_new: bool,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        let later = Some((header::RETRY_AFTER, LATER_S));
        let (status, header) = match code {
            Code::TokenInvalid | Code::TokenExpired | Code::AppInvalid | Code::RenewedTokenInvalid => {
                (StatusCode::UNAUTHORIZED, Some((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")))
            }
            Code::RoomInvalid
            | Code::UserInvalid
            | Code::Banned
            | Code::NotPermittedJoin
            | Code::NotPermittedPublish
            | Code::NotPermittedSubscribe => (StatusCode::FORBIDDEN, None),
            Code::SessionUnknown => (StatusCode::NOT_FOUND, None),
            Code::TimedOut => (StatusCode::REQUEST_TIMEOUT, None),
            // Nobody publishes it yet.
            Code::StreamUnknown => (StatusCode::CONFLICT, later),
            Code::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Code::Codec | Code::TooManyStreams => (StatusCode::UNPROCESSABLE_ENTITY, None),
            Code::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, later),
            Code::RoomFull | Code::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, later),
            Code::MediaFailed | Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, None),
            _ => (StatusCode::BAD_REQUEST, None),
        };
        Self { status, code, text: code.text().into(), header, is_new: true }
    }
}

impl Refusal {
    /// The room said so, and it was counted.
    fn told(code: Code) -> Self {
        Self { is_new: false, ..code.into() }
    }

    fn sdp(why: sdp::WrongSdp) -> Self {
        Self { text: why.to_string(), ..Code::BadSdp.into() }
    }

    fn bad(status: StatusCode, text: &str) -> Self {
        Self { status, text: text.into(), ..Code::BadMessage.into() }
    }

    fn unauthorised() -> Self {
        let header = Some((header::WWW_AUTHENTICATE, "Bearer"));
        Self { header, text: "send a token: Authorization: Bearer …".into(), ..Code::TokenInvalid.into() }
    }

    fn method(endpoint: &Endpoint) -> Self {
        let header = Some((header::ALLOW, allowed(endpoint)));
        Self { header, ..Self::bad(StatusCode::METHOD_NOT_ALLOWED, "that is not asked of this resource") }
    }

    fn kind() -> Self {
        let text = "the body is application/sdp of a POST, application/trickle-ice-sdpfrag of a PATCH";
        Self::bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
    }

    /// RFC 9725 § 4.3.1.
    fn precondition(status: StatusCode) -> Self {
        Self::bad(status, "send If-Match: with the resource's last ETag, or with * to restart ICE")
    }

    fn response(&self) -> Response<String> {
        #[derive(Serialize)]
        struct Body<'a> {
            code: Code,
            number: u16,
            text: &'a str,
        }
        let body = Body { code: self.code, number: self.code.number(), text: &self.text };
        let mut response = respond(self.status).header(header::CONTENT_TYPE, "application/json");
        if let Some((name, value)) = &self.header {
            response = response.header(name, *value);
        }
        // It has a word, a number and a text alone.
        end(response, serde_json::to_string(&body).unwrap_or_default())
    }
}

fn respond(status: StatusCode) -> axum::http::response::Builder {
    Response::builder().status(status)
}

/// A response whose headers are the words and numbers above.
fn end(response: axum::http::response::Builder, body: String) -> Response<String> {
    response.body(body).unwrap_or_default()
}
