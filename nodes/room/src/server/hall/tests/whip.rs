//! WHIP and WHEP in virtual time: encoders and players of str0m's, whose datagrams are
//! carried by hand.

use axum::http::{Method, Request, Response, StatusCode};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::super::whip::Endpoint;
use super::*;
use crate::protocol::Removed;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// A request, as far as it is not what all are.
struct Ask<'a> {
    method: Method,
    place: Endpoint,
    token: Option<String>,
    kind: &'a str,
    matches: Option<&'a str>,
    body: Result<String, Code>,
}

fn whip() -> Endpoint {
    Endpoint::Whip { room: "demo".into(), is_screen: false }
}

fn whep(of: &str) -> Endpoint {
    Endpoint::Whep { room: "demo".into(), of: of.into() }
}

fn post<'a>(place: Endpoint, user: &str, body: String) -> Ask<'a> {
    let token = Some(pass(user, |_| ()));
    Ask { method: Method::POST, place, token, kind: SDP, matches: None, body: Ok(body) }
}

fn patch<'a>(id: &str, user: &str, matches: Option<&'a str>, body: &str) -> Ask<'a> {
    let place = Endpoint::Resource(id.into());
    Ask { method: Method::PATCH, kind: FRAGMENT, matches, ..post(place, user, body.into()) }
}

fn delete<'a>(id: &str, user: &str) -> Ask<'a> {
    Ask { method: Method::DELETE, ..post(Endpoint::Resource(id.into()), user, String::new()) }
}

/// A token for all that there is, but for what `but` changes.
fn pass(user: &str, but: impl FnOnce(&mut Grants)) -> String {
    let mut grants =
        Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, ..Grants::default() };
    but(&mut grants);
    let room = Some(RoomName::new("demo").expect("a name"));
    ours().mint(
        &Pass { user: UserName::new(user).expect("a name"), room, grants },
        WALL,
        Duration::from_secs(60),
    )
}

impl World {
    fn whip(&mut self, ask: Ask<'_>) -> Response<String> {
        let Ask { method, place, token, kind, matches, body } = ask;
        let mut request = Request::builder().method(method).header("content-type", kind);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(matches) = matches {
            request = request.header("if-match", matches);
        }
        let response = self.hall.whip(self.now, WALL, &place, &request.body(body).expect("a request"));
        self.hear();
        response
    }

    /// What was said; as the loop around a hall does, it takes links for closed that
    /// are to be.
    fn hear(&mut self) {
        for word in self.hall.take_words() {
            if let Word::Close(link, _) = word {
                self.hall.closed(self.now, link);
            }
            self.words.push(word);
        }
    }

    /// What happened, as link 1 was told.
    fn news(&mut self) -> Vec<News> {
        self.hear();
        let (told, _) = self.told(1);
        told.into_iter()
            .filter_map(|told| if let Told::Event { e, .. } = told { Some(e) } else { None })
            .collect()
    }

    /// Carries datagrams for so long.
    fn carry(&mut self, fars: &mut [&mut Far], span: Duration) {
        let until = self.now + span;
        loop {
            for far in &mut *fars {
                for sent in far.settle(self.now) {
                    self.hall.datagram(self.now, &sent);
                }
            }
            self.hall.tick(self.now);
            self.hear();
            let sent = self.hall.take_datagrams();
            let is_quiet = sent.is_empty();
            for Datagram { local, remote, bytes } in sent {
                if let Some(far) = fars.iter_mut().find(|far| far.address == remote) {
                    let receive = Receive::new(Protocol::Udp, local, remote, &bytes).expect("a datagram");
                    far.rtc.handle_input(Input::Receive(self.now, receive)).expect("it goes on");
                    let sent = far.settle(self.now);
                    sent.iter().for_each(|sent| self.hall.datagram(self.now, sent));
                }
            }
            if is_quiet {
                let due = fars.iter().map(|far| far.due).chain(self.hall.due()).min();
                match due.filter(|due| *due < until) {
                    Some(due) => self.now = due.max(self.now + Duration::from_micros(100)),
                    None => break,
                }
            }
        }
        self.now = until;
    }
}

/// An encoder or a player.
struct Far {
    rtc: Rtc,
    address: SocketAddr,
    due: Instant,
    mids: Vec<Mid>,
    offer: SdpOffer,
    pending: Option<SdpPendingOffer>,
    answer: String,
    is_connected: bool,
    packets: Vec<RtpPacket>,
    key_frames_wanted: usize,
}

impl Far {
    /// One that sends, or receives, sound and VP8.
    fn new(now: Instant, port: u16, direction: Direction) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let mut changes = rtc.sdp_api();
        let mids = [MediaKind::Audio, MediaKind::Video]
            .map(|kind| changes.add_media(kind, direction, Some("s".into()), None, None));
        let (offer, pending) = changes.apply().expect("an offer");
        let (mids, pending, packets) = (mids.to_vec(), Some(pending), Vec::new());
        Self {
            rtc,
            address,
            due: now,
            mids,
            offer,
            pending,
            answer: String::new(),
            is_connected: false,
            packets,
            key_frames_wanted: 0,
        }
    }

    fn offer(&self) -> String {
        self.offer.to_sdp_string()
    }

    /// Takes the answer, and gives the name of what was made, and its tag.
    fn take(&mut self, response: &Response<String>) -> (String, String) {
        assert_eq!(response.status(), StatusCode::CREATED, "{}", response.body());
        self.accept(response.body());
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        (header("location").strip_prefix("/resource/").expect("a resource").into(), header("etag"))
    }

    fn accept(&mut self, answer: &str) {
        self.answer = answer.into();
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        let pending = self.pending.take().expect("an offer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("an answer that fits");
    }

    fn settle(&mut self, now: Instant) -> Vec<Datagram> {
        let mut sent = Vec::new();
        loop {
            match self.rtc.poll_output().expect("it goes on") {
                Output::Timeout(due) if due > now => {
                    self.due = due;
                    return sent;
                }
                Output::Timeout(_) => self.rtc.handle_input(Input::Timeout(now)).expect("it goes on"),
                Output::Transmit(send) => sent.push(Datagram {
                    local: send.destination,
                    remote: self.address,
                    bytes: send.contents.to_vec(),
                }),
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::RtpPacket(packet)) => self.packets.push(packet),
                Output::Event(Event::KeyframeRequest(_)) => self.key_frames_wanted += 1,
                Output::Event(_) => {}
            }
        }
    }

    /// Sends a packet of sound, or of a picture, which is a key frame.
    fn send(&mut self, now: Instant, seq: u64, section: usize) {
        let (codec, payload) = match section {
            0 => (str0m::format::Codec::Opus, vec![0xf8, 0xff, 0xfe]),
            _ => (str0m::format::Codec::Vp8, vec![0x10, 0, 0, 0, 0x9d, 1, 0x2a]),
        };
        let params = self.rtc.codec_config().params();
        let pt = params.iter().find(|params| params.spec().codec == codec).expect("it has it").pt();
        let time = u32::try_from(seq).expect("few") * 960;
        let write = RtpWrite::new(pt, seq.into(), time, now, payload).marker(section == 1);
        let mid = self.mids[section];
        self.rtc.direct_api().stream_tx_by_mid(mid, None).expect("it sends").write_rtp(write);
    }
}

fn world() -> World {
    World::at("", vec![SocketAddr::from(([127, 0, 0, 1], 7_880))])
}

/// Alice publishes by WHIP; the name and the tag of her resource.
fn encoder(world: &mut World) -> (Far, String, String) {
    let mut alice = Far::new(world.now, 4_000, Direction::SendOnly);
    let response = world.whip(post(whip(), "alice", alice.offer()));
    let (id, tag) = alice.take(&response);
    world.carry(&mut [&mut alice], Duration::from_secs(2));
    assert!(alice.is_connected);
    (alice, id, tag)
}

#[test]
fn what_an_encoder_publishes_by_whip_a_player_gets_by_whep() {
    let mut world = world();
    world.join(1, &ours(), "bob", "demo");
    world.told(1);
    let (mut alice, id, _) = encoder(&mut world);
    let news = world.news();
    let News::UserJoined { user } = &news[0] else { panic!("{news:?}") };
    assert_eq!(user.as_str(), "alice");
    let streams = news[1..].iter().map(|news| match news {
        News::StreamAdded { stream } => (stream.id.as_str(), &*stream.codec),
        other => panic!("{other:?}"),
    });
    assert_eq!(streams.collect::<Vec<_>>(), [("alice/microphone", "opus"), ("alice/camera", "vp8")]);
    // The token is bob's, who is there already: players are nobody's.
    let mut player = Far::new(world.now, 4_001, Direction::RecvOnly);
    let (playing, _) = player.take(&world.whip(post(whep("alice"), "bob", player.offer())));
    world.carry(&mut [&mut alice, &mut player], Duration::from_secs(2));
    assert!(player.is_connected && alice.key_frames_wanted > 0);
    for seq in 1..=50 {
        alice.send(world.now, seq, 0);
        alice.send(world.now, seq, 1);
        world.carry(&mut [&mut alice, &mut player], Duration::from_millis(20));
    }
    world.carry(&mut [&mut alice, &mut player], Duration::from_millis(200));
    assert_eq!(player.packets.len(), 100, "{:?} {:?}", world.hall.counts(), world.hall.forwarded());
    assert_eq!(world.hall.ways().into_values().collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(world.news(), [], "nobody sees a player");
    // Both end, and nothing is left.
    assert_eq!(world.whip(delete(&id, "alice")).status(), StatusCode::OK);
    let news = world.news();
    let removed = |news: &News| matches!(news, News::StreamRemoved { reason: Removed::PublisherLeft, .. });
    assert_eq!(news.iter().filter(|news| removed(news)).count(), 2);
    let left = |news: &News| matches!(news, News::UserLeft { reason: Left::Left, .. });
    assert!(left(&news[2]), "{news:?}");
    assert_eq!(world.whip(delete(&playing, "bob")).status(), StatusCode::OK);
    assert_eq!(world.hall.sizes(), (1, 1, 0));
    for id in [id, playing] {
        assert_eq!(world.whip(delete(&id, "bob")).status(), StatusCode::NOT_FOUND, "once");
    }
}

#[test]
fn a_player_stays_when_the_encoder_goes_and_sees_it_again_when_it_is_back() {
    let mut world = world();
    let (mut alice, id, _) = encoder(&mut world);
    let mut player = Far::new(world.now, 4_001, Direction::RecvOnly);
    player.take(&world.whip(post(whep("alice/microphone"), "carol", player.offer())));
    world.carry(&mut [&mut alice, &mut player], Duration::from_secs(2));
    world.whip(delete(&id, "alice"));
    world.carry(&mut [&mut player], Duration::from_secs(60));
    let mut again = Far::new(world.now, 4_002, Direction::SendOnly);
    again.take(&world.whip(post(whip(), "alice", again.offer())));
    world.carry(&mut [&mut again, &mut player], Duration::from_secs(2));
    for seq in 1..=10 {
        again.send(world.now, seq, 0);
        again.send(world.now, seq, 1);
        world.carry(&mut [&mut again, &mut player], Duration::from_millis(20));
    }
    assert_eq!(player.packets.len(), 10, "of the microphone alone, as it asked");
}

#[test]
fn an_encoder_that_falls_silent_is_waited_for_until_the_grace_is_over() {
    let mut world = world();
    world.join(1, &ours(), "bob", "demo");
    let (mut alice, id, tag) = encoder(&mut world);
    world.news();
    let wait = |world: &mut World, fars: &mut [&mut Far], seconds| {
        for _ in 0..seconds {
            world.carry(fars, Duration::from_secs(1));
            world.ask(1, crate::protocol::Ask::Ping { at: 0 });
        }
    };
    wait(&mut world, &mut [&mut alice], 40);
    // What it asks is a sign of life, too.
    for (seconds, patched) in [(18, StatusCode::NO_CONTENT), (21, StatusCode::NOT_FOUND)] {
        wait(&mut world, &mut [], seconds);
        assert_eq!(world.whip(patch(&id, "alice", Some(&tag), "")).status(), patched);
        let has_left = |news: &News| matches!(news, News::UserLeft { reason: Left::TimedOut, .. });
        assert_eq!(world.news().iter().any(has_left), patched == StatusCode::NOT_FOUND);
    }
}

#[test]
fn a_second_encoder_of_a_user_ends_the_first_and_players_do_not() {
    let mut world = world();
    let (mut alice, id, _) = encoder(&mut world);
    let mut others: Vec<_> = (1..=3).map(|at| Far::new(world.now, 4_000 + at, Direction::RecvOnly)).collect();
    for other in &mut others {
        let offer = other.offer();
        other.take(&world.whip(post(whep("alice"), "alice", offer)));
    }
    assert_eq!(world.whip(patch(&id, "alice", Some("*"), "")).status(), StatusCode::NO_CONTENT);
    assert_eq!(world.hall.ways()[&Way::Whep], 3);
    let mut second = Far::new(world.now, 4_009, Direction::SendOnly);
    second.take(&world.whip(post(whip(), "alice", second.offer())));
    assert_eq!(world.whip(patch(&id, "alice", Some("*"), "")).status(), StatusCode::NOT_FOUND);
    assert_eq!((world.hall.ways()[&Way::Whip], world.hall.ways()[&Way::Whep]), (1, 3));
    world.carry(&mut [&mut alice], Duration::from_secs(1));
}

#[test]
fn ice_goes_on_by_patch_and_only_where_it_is_said_which() {
    let mut world = world();
    let (mut alice, id, tag) = encoder(&mut world);
    let candidate = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 4001 typ host\r\n";
    let cases = [
        (None, candidate, StatusCode::PRECONDITION_REQUIRED),
        (Some("\"0\""), candidate, StatusCode::PRECONDITION_FAILED),
        (Some("W/\"1\""), candidate, StatusCode::PRECONDITION_FAILED),
        (Some(&*tag), candidate, StatusCode::NO_CONTENT),
        (Some(&*tag), "a=candidate:what is that\r\na=end-of-candidates\r\n", StatusCode::NO_CONTENT),
        (Some(&*tag), "no fragment", StatusCode::BAD_REQUEST),
        (Some("*"), "a=ice-ufrag:wxyz\r\n", StatusCode::BAD_REQUEST),
    ];
    for (matches, body, status) in cases {
        let response = world.whip(patch(&id, "alice", matches, body));
        assert_eq!(response.status(), status, "{matches:?} {body}: {}", response.body());
        assert!(status != StatusCode::NO_CONTENT || response.body().is_empty());
    }
    let wrong = Ask { kind: SDP, ..patch(&id, "alice", Some(&tag), candidate) };
    assert_eq!(world.whip(wrong).status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(world.whip(patch(&id, "bob", Some(&tag), candidate)).status(), StatusCode::NOT_FOUND);
    // A restart: other credentials on both sides, the same media.
    let mut changes = alice.rtc.sdp_api();
    let creds = changes.ice_restart(true);
    alice.pending = changes.apply().map(|(_, pending)| pending);
    let body = format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", creds.ufrag, creds.pass);
    let response = world.whip(patch(&id, "alice", Some("*"), &body));
    assert_eq!(response.status(), StatusCode::OK, "{}", response.body());
    let newer = response.headers()["etag"].to_str().expect("text").to_owned();
    assert_ne!(newer, tag);
    let ice = crate::protocol::sdp::Ice::read(response.body()).expect("a fragment");
    assert!(ice.is_lite && ice.credentials.is_some() && ice.candidates.len() == 1, "{}", response.body());
    assert_eq!(
        world.whip(patch(&id, "alice", Some(&tag), candidate)).status(),
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(world.whip(patch(&id, "alice", Some(&newer), candidate)).status(), StatusCode::NO_CONTENT);
    alice.accept(&crate::protocol::sdp::restarted(&alice.answer, &ice).expect("an answer"));
    // Were it not for the restart, nobody would be asked any more.
    world.carry(&mut [&mut alice], Duration::from_secs(60));
    let before = world.hall.counts().packets_in();
    alice.send(world.now, 1, 0);
    world.carry(&mut [&mut alice], Duration::from_millis(100));
    assert_eq!(world.hall.counts().packets_in(), before + 1);
    // More than may be asked.
    let codes: Vec<_> =
        (0..300).map(|_| world.whip(patch(&id, "alice", Some(&newer), "")).status()).collect();
    assert!(codes.contains(&StatusCode::TOO_MANY_REQUESTS));
}

#[test]
fn what_does_not_keep_to_whip_or_whep_is_refused_and_leaves_nothing() {
    let mut world = world();
    world.join(1, &ours(), "bob", "demo");
    world.told(1);
    let (sends, takes) = {
        let far = |direction| Far::new(world.now, 4_000, direction).offer();
        (far(Direction::SendOnly), far(Direction::RecvOnly))
    };
    let with = |ask: Ask<'static>, token: Option<String>| Ask { token, ..ask };
    let screen = Endpoint::Whip { room: "demo".into(), is_screen: true };
    let elsewhere = Endpoint::Whip { room: "else".into(), is_screen: false };
    let body = |ask: Ask<'static>, body| Ask { body, ..ask };
    let offer = || post(whip(), "alice", sends.clone());
    let camera = |grants: &mut Grants| grants.publish = vec![Source::Camera];
    let mut twice = Far::new(world.now, 4_000, Direction::SendOnly);
    let mut changes = twice.rtc.sdp_api();
    for _ in 0..2 {
        changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
    }
    let twice = changes.apply().expect("an offer").0.to_sdp_string();
    let cases = [
        (with(offer(), None), StatusCode::UNAUTHORIZED, Code::TokenInvalid),
        (with(offer(), Some("x".into())), StatusCode::UNAUTHORIZED, Code::TokenInvalid),
        (with(offer(), Some("x".repeat(5_000))), StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge),
        (
            with(offer(), Some(pass("alice", |grants| grants.join = false))),
            StatusCode::FORBIDDEN,
            Code::NotPermittedJoin,
        ),
        (with(offer(), Some(pass("alice", camera))), StatusCode::FORBIDDEN, Code::NotPermittedPublish),
        (
            with(offer(), Some(pass("alice", |grants| grants.hidden = true))),
            StatusCode::FORBIDDEN,
            Code::NotPermittedPublish,
        ),
        (
            with(post(screen, "alice", sends.clone()), Some(pass("alice", camera))),
            StatusCode::FORBIDDEN,
            Code::NotPermittedPublish,
        ),
        (post(elsewhere, "alice", sends.clone()), StatusCode::FORBIDDEN, Code::RoomInvalid),
        (Ask { kind: "text/plain", ..offer() }, StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::BadMessage),
        (Ask { method: Method::GET, ..offer() }, StatusCode::METHOD_NOT_ALLOWED, Code::BadMessage),
        (Ask { method: Method::DELETE, ..offer() }, StatusCode::METHOD_NOT_ALLOWED, Code::BadMessage),
        (
            Ask { method: Method::POST, ..delete("1", "alice") },
            StatusCode::METHOD_NOT_ALLOWED,
            Code::BadMessage,
        ),
        (body(offer(), Err(Code::TooLarge)), StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge),
        (body(offer(), Ok(String::new())), StatusCode::BAD_REQUEST, Code::BadSdp),
        (body(offer(), Ok("v=0\r\n?".into())), StatusCode::BAD_REQUEST, Code::BadSdp),
        (body(offer(), Ok(takes.clone())), StatusCode::BAD_REQUEST, Code::BadSdp),
        (body(offer(), Ok(twice)), StatusCode::UNPROCESSABLE_ENTITY, Code::TooManyStreams),
        (body(offer(), Ok(sends.replace("VP8", "H263"))), StatusCode::UNPROCESSABLE_ENTITY, Code::Codec),
        (post(whep("alice"), "carol", takes.clone()), StatusCode::CONFLICT, Code::StreamUnknown),
        (post(whep("\n"), "carol", takes.clone()), StatusCode::CONFLICT, Code::StreamUnknown),
        (
            with(
                post(whep("alice"), "carol", takes.clone()),
                Some(pass("carol", |grants| grants.subscribe = false)),
            ),
            StatusCode::FORBIDDEN,
            Code::NotPermittedSubscribe,
        ),
        (delete("0123", "alice"), StatusCode::NOT_FOUND, Code::SessionUnknown),
    ];
    let count = cases.len();
    for (at, (ask, status, code)) in cases.into_iter().enumerate() {
        let response = world.whip(ask);
        let word = serde_json::to_string(&code).expect("JSON");
        assert_eq!(response.status(), status, "case {at}: {}", response.body());
        assert!(response.body().contains(&word), "case {at}: {} {word}", response.body());
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(response.headers().contains_key("www-authenticate"), status == StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.hall.counts().refused.values().sum::<u64>(), count as u64, "each is counted once");
    assert_eq!(world.news(), [], "nobody saw any of it");
    assert_eq!(world.hall.sizes(), (1, 1, 0));
    // And when there is something to play, but not for this player.
    let _alice = encoder(&mut world);
    let deaf = takes.replace("VP8", "H264");
    assert_eq!(world.whip(post(whep("alice"), "carol", deaf)).status(), StatusCode::UNPROCESSABLE_ENTITY);
    world.hall.drain(world.now, Duration::from_secs(1));
    let response = world.whip(post(whip(), "dave", sends));
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
}

#[test]
fn browsers_are_told_what_they_may_ask() {
    let mut world = world();
    let options = |place| Ask { method: Method::OPTIONS, token: None, ..post(place, "x", String::new()) };
    for (place, takes, methods) in [
        (whip(), ("accept-post", SDP), "POST, OPTIONS"),
        (whep("alice"), ("accept-post", SDP), "POST, OPTIONS"),
        (Endpoint::Resource("1".into()), ("accept-patch", FRAGMENT), "PATCH, DELETE, OPTIONS"),
    ] {
        let response = world.whip(options(place));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[takes.0], takes.1);
        assert_eq!(response.headers()["access-control-allow-methods"], methods);
    }
}
