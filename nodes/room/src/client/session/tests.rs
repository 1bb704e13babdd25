//! Sessions in virtual time, by what they want done.

use super::*;
use crate::events::PublishState;
use crate::protocol::{Limits, Mute, Offer, Removed, RoomName, Source, StreamInfo};

/// A session, and what it wanted that was not looked at yet.
struct World {
    session: Session,
    now: Timestamp,
    wanted: Vec<Output>,
}

impl World {
    fn new(retry_for: Option<Duration>) -> Self {
        let client = Client { name: "test".into(), version: "1".into() };
        let options = Options { token: "token 1".into(), auto_play: true, client, retry_for };
        let session = Session::new(options, fastrand::Rng::with_seed(7));
        let mut world = Self { session, now: Timestamp::from_nanos(1_000_000_000_000), wanted: Vec::new() };
        world.act(|session, now| session.join(now));
        world
    }

    /// One that is in, with media; what it wanted until then is forgotten.
    fn joined(people: Vec<Person>) -> Self {
        let mut world = Self::new(None);
        world.let_in("session 1", people);
        world.wanted.clear();
        world
    }

    fn act(&mut self, act: impl FnOnce(&mut Session, Timestamp)) {
        act(&mut self.session, self.now);
        self.wanted.extend(self.session.take());
    }

    fn tell(&mut self, told: Told) {
        let id = self.session.connection().expect("a connection");
        self.act(|session, now| session.message(now, id, told));
    }

    fn open(&mut self) {
        let id = self.session.connection().expect("a connection");
        self.act(|session, now| session.opened(now, id));
    }

    fn close(&mut self) {
        let id = self.session.connection().expect("a connection");
        self.act(|session, now| session.closed(now, id));
    }

    /// Its connection opens, it is let in, its offer is answered, and media come.
    fn let_in(&mut self, session: &str, people: Vec<Person>) {
        self.open();
        self.tell(joined(session, people));
        self.answer();
        self.act(|session, now| session.media_up(now));
    }

    /// Its offer is made and sent.
    fn offer(&mut self) {
        let g = self.session.offers;
        let offer = Offer { g, sdp: "offer".into(), send: Vec::new(), recv: Vec::new() };
        self.act(|session, now| session.offered(now, offer));
    }

    fn answer(&mut self) {
        self.offer();
        let g = self.session.offers;
        self.tell(Told::Answer { re: 0, g, sdp: "answer".into() });
    }

    fn command(&mut self, command: Command) {
        self.act(|session, now| session.command(now, command));
    }

    /// Time goes on, tick by tick.
    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(next) = self.session.next_tick().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.act(Session::tick);
            assert!(self.session.next_tick().is_none_or(|next| next > self.now), "what is due is done");
        }
        self.now = end;
    }

    /// The events since this was last asked.
    fn events(&mut self) -> Vec<String> {
        let event = |output: &Output| match output {
            Output::Event(event) => Some(event.to_string()),
            _ => None,
        };
        let events = self.wanted.iter().filter_map(event).collect();
        self.wanted.retain(|output| !matches!(output, Output::Event(_)));
        events
    }

    /// What was sent since this was last asked, but pings.
    fn sent(&mut self) -> Vec<Request> {
        let sent = |output: &Output| match output {
            Output::Send(_, request) if !matches!(request.ask, Ask::Ping { .. }) => Some(request.clone()),
            _ => None,
        };
        let requests = self.wanted.iter().filter_map(sent).collect();
        self.wanted.retain(|output| !matches!(output, Output::Send(..)));
        requests
    }

    /// The offers that were wanted since this was last asked: what they have to do, and
    /// with which streams.
    fn offers(&mut self) -> Vec<(OfferKind, Vec<String>)> {
        let offer = |output: &Output| match output {
            Output::Offer(OfferWanted { kind, send, .. }) => {
                Some((*kind, send.iter().map(|publish| publish.stream.to_string()).collect()))
            }
            _ => None,
        };
        let offers = self.wanted.iter().filter_map(offer).collect();
        self.wanted.retain(|output| !matches!(output, Output::Offer(_)));
        offers
    }

    fn count(&mut self, what: fn(&Output) -> bool) -> usize {
        let count = self.wanted.iter().filter(|output| what(output)).count();
        self.wanted.retain(|output| !what(output));
        count
    }
}

fn joined(session: &str, people: Vec<Person>) -> Told {
    Told::Joined(Box::new(Joined {
        re: 1,
        v: VERSION,
        session: session.into(),
        secret: format!("{session}'s secret"),
        again: false,
        room: RoomName::new("demo").expect("a name"),
        user: UserName::new("alice").expect("a name"),
        seq: 41,
        people,
        grace_ms: 20_000,
        ping_ms: 2_000,
        udp: vec!["192.0.2.1:7882".into()],
        limits: Limits { streams: 8, audio_slots: 16, video_slots: 16 },
    }))
}

fn resumed() -> Told {
    Told::Resumed { re: 1, secret: "another secret".into(), media_kept: true }
}

fn refusal(code: Code) -> Told {
    Told::Failed { re: None, code, number: code.number(), text: code.text().into(), retry: code.retry() }
}

fn error(re: u32, code: Code) -> Told {
    Told::Error { re, code, number: code.number(), text: code.text().into() }
}

fn id(stream: &str) -> StreamId {
    StreamId::new(stream).expect("an id")
}

fn camera(stream: &str, no: u32) -> StreamInfo {
    StreamInfo {
        id: id(stream),
        no,
        source: Source::Camera,
        codec: "av1".into(),
        muted: false,
        layers: Vec::new(),
    }
}

fn bob(no: u32) -> Person {
    Person { user: UserName::new("bob").expect("a name"), streams: vec![camera("bob/camera", no)] }
}

fn publish(stream: &str) -> Command {
    let source = Source::Camera;
    Command::Publish(Publish { stream: id(stream), source, muted: false, layers: Vec::new() })
}

#[test]
fn who_joins_is_told_who_is_there_and_offers_at_once() {
    let mut world = World::new(None);
    world.command(publish("alice/camera"));
    world.pass(250);
    world.open();
    let Ask::Join(join) = &world.sent()[0].ask else { panic!("no join") };
    assert_eq!((join.token.as_str(), &join.resume), ("token 1", &None));
    world.tell(joined("session 1", vec![bob(1)]));
    assert_eq!(
        world.events(),
        [
            "publishing alice/camera: publishing",
            "joined after 250 ms",
            "there are bob",
            "bob joined",
            "bob/camera is there, camera as av1",
        ]
    );
    assert_eq!(world.offers(), [(OfferKind::Anew, vec!["alice/camera".to_owned()])]);
    world.answer();
    assert_eq!(world.events(), ["publishing alice/camera: published"]);
    world.pass(100);
    world.act(|session, now| session.frame(now, 1));
    world.act(|session, now| session.frame(now, 1));
    assert_eq!(world.events(), ["the first frame of bob/camera came 100 ms after joining"]);
}

#[test]
fn a_short_break_while_media_come_is_told_to_nobody_and_loses_no_request() {
    let mut world = World::joined(vec![bob(1)]);
    world.command(Command::Play(Play { stream: id("bob/camera"), quality: Wish::Low }));
    world.tell(Told::Event { seq: 57, e: News::StreamMuted { stream: id("bob/camera"), muted: true } });
    world.events();
    world.close();
    assert_eq!(world.count(|output| matches!(output, Output::Open(_))), 1, "the first attempt is at once");
    world.sent();
    world.pass(1_000);
    world.open();
    let Ask::Join(join) = &world.sent()[0].ask else { panic!("no join") };
    let resume = Resume { session: "session 1".into(), secret: "session 1's secret".into(), after: 57 };
    assert_eq!(join.resume, Some(resume));
    world.tell(resumed());
    assert!(world.events().is_empty());
    let asks: Vec<_> = world.sent().into_iter().map(|request| request.ask).collect();
    assert_eq!(asks, [Ask::Play(Play { stream: id("bob/camera"), quality: Wish::Low })]);
    assert_eq!(world.offers(), [(OfferKind::Restart, vec![])]);
    world.tell(Told::Event { seq: 57, e: News::StreamMuted { stream: id("bob/camera"), muted: true } });
    assert_eq!((world.events().len(), world.session.unfit()), (0, 1), "an event comes once");
}

#[test]
fn a_long_break_is_told_step_by_step_and_all_is_as_before_after_it() {
    let mut world = World::joined(vec![bob(1)]);
    world.command(publish("alice/camera"));
    world.answer();
    world.command(Command::Stop(id("bob/camera")));
    world.events();
    world.close();
    world.pass(2_999);
    assert!(world.events().is_empty(), "media still come");
    world.pass(1);
    assert_eq!(world.events(), ["reconnecting"]);
    world.pass(17_000);
    assert_eq!(world.events(), ["disconnected"]);
    world.pass(20_000);
    world.wanted.clear();
    while !matches!(world.session.link, Link::Opening { .. }) {
        world.pass(100);
    }
    let ms = world.now.nanos() / 1_000_000 - 1_000_000;
    world.open();
    world.tell(joined("session 2", vec![bob(9)]));
    assert_eq!(
        world.events(),
        [
            &*format!("joined again after {ms} ms"),
            "there are bob",
            "bob/camera is over",
            "bob/camera is there, camera as av1",
            "publishing alice/camera: publishing",
        ]
    );
    assert_eq!(world.sent().pop().map(|request| request.ask), Some(Ask::Stop { stream: id("bob/camera") }));
    assert_eq!(world.offers(), [(OfferKind::Anew, vec!["alice/camera".to_owned()])]);
}

#[test]
fn whoever_is_muted_here_is_not_played_until_that_is_over_and_then_as_before() {
    let mut world = World::joined(vec![bob(1)]);
    let everyone = |muted| Command::MuteRemote(MuteRemote { user: None, kind: Kind::Video, muted });
    let camera = id("bob/camera");
    let stop = Ask::Stop { stream: camera.clone() };
    let asks = |world: &mut World| world.sent().into_iter().map(|request| request.ask).collect::<Vec<_>>();
    world.command(Command::MuteRemote(MuteRemote { user: None, kind: Kind::Audio, muted: true }));
    assert_eq!(asks(&mut world), [], "he publishes no sound");
    world.command(everyone(true));
    assert_eq!(asks(&mut world), std::slice::from_ref(&stop));
    world.command(Command::Play(Play { stream: camera.clone(), quality: Wish::Low }));
    assert_eq!(asks(&mut world), std::slice::from_ref(&stop), "the wish is kept for later");
    world.tell(Told::Event {
        seq: 57,
        e: News::StreamRemoved { stream: camera.clone(), reason: Removed::Unpublished },
    });
    let stream = bob(3).streams.remove(0);
    world.tell(Told::Event { seq: 58, e: News::StreamAdded { stream } });
    assert_eq!(asks(&mut world), std::slice::from_ref(&stop), "another one of his, too");
    let of_bob = MuteRemote { user: UserName::new("bob").ok(), kind: Kind::Video, muted: false };
    world.command(Command::MuteRemote(of_bob));
    assert_eq!(asks(&mut world), [Ask::Play(Play { stream: camera.clone(), quality: Wish::Low })]);
    world.command(everyone(true));
    assert_eq!(asks(&mut world), [stop], "who was excepted is not any more");
    world.command(everyone(false));
    assert_eq!(asks(&mut world), [Ask::Play(Play { stream: camera, quality: Wish::Low })]);
}

#[test]
fn a_knock_that_is_answered_ends_a_delay_once() {
    let mut world = World::joined(Vec::new());
    world.act(|session, now| session.media_silent(now));
    while world.session.connection().is_some() {
        world.close();
    }
    world.wanted.clear();
    let mut knocks = 0;
    for _ in 0..50 {
        world.pass(100);
        knocks += world.count(|output| matches!(output, Output::Knock(_)));
    }
    assert!((20..=26).contains(&knocks), "one in 200 ms: {knocks}");
    world.wanted.clear();
    world.act(|session, now| session.knock_answered(now));
    assert_eq!(world.count(|output| matches!(output, Output::Open(_))), 1);
    assert_eq!(world.count(|output| matches!(output, Output::Close(_))), 1, "what was under way is stale");
    world.close();
    assert!(matches!(world.session.link, Link::Waiting { .. }), "{:?}", world.session.link);
    world.act(|session, now| session.knock_answered(now));
    assert_eq!(world.count(|output| matches!(output, Output::Open(_))), 0);
}

#[test]
fn refusals_end_a_session_or_are_tried_again_as_their_code_says() {
    for (code, event) in [
        (Code::Kicked, "failed: somebody who may do so put this user out"),
        (Code::DuplicateIdentity, "failed: the same user joined again elsewhere"),
    ] {
        let mut world = World::joined(Vec::new());
        world.tell(refusal(code));
        assert_eq!(world.events(), [event]);
        assert!(world.session.is_over());
        assert_eq!(world.count(|output| matches!(output, Output::Close(_))), 1);
        world.pass(100_000);
        assert!(world.wanted.is_empty());
    }
    let mut world = World::new(None);
    world.open();
    world.tell(refusal(Code::TokenExpired));
    assert_eq!(world.events(), ["another token is wanted: the token has expired"]);
    world.pass(100_000);
    world.wanted.clear();
    world.command(Command::Renew("token 2".into()));
    world.open();
    let Ask::Join(join) = &world.sent()[0].ask else { panic!("no join") };
    assert_eq!(join.token, "token 2");
    world.tell(refusal(Code::RoomFull));
    assert_eq!(world.events(), ["not let in for now: the room is full"]);
    world.pass(7_000);
    assert!(world.count(|output| matches!(output, Output::Open(_))) >= 1);
    assert_eq!(world.count(|output| matches!(output, Output::Knock(_))), 0);
}

#[test]
fn a_session_that_another_connection_took_over_goes_on() {
    let mut world = World::joined(Vec::new());
    world.tell(refusal(Code::SessionUnknown));
    world.pass(10);
    world.open();
    let Ask::Join(join) = &world.sent().pop().expect("a request").ask else { panic!("no join") };
    assert!(join.resume.is_some());
    world.tell(refusal(Code::SessionUnknown));
    world.pass(400);
    world.open();
    let Ask::Join(join) = &world.sent().pop().expect("a request").ask else { panic!("no join") };
    assert!(join.resume.is_none(), "it is over");
}

#[test]
fn a_server_that_falls_silent_is_given_up_sooner_where_media_do_too() {
    let mut world = World::joined(Vec::new());
    world.pass(5_999);
    assert_eq!(world.count(|output| matches!(output, Output::Close(_))), 0);
    assert_eq!(world.count(|output| matches!(output, Output::Send(..))), 2, "a ping in 2 s");
    world.pass(1);
    assert_eq!(world.count(|output| matches!(output, Output::Close(_))), 1);

    let mut world = World::joined(Vec::new());
    world.pass(1_500);
    world.act(|session, now| session.media_silent(now));
    world.pass(500);
    world.tell(Told::Pong { re: 1, at: 0 });
    assert_eq!(world.offers(), [(OfferKind::Restart, vec![])]);
    world.pass(1_500);
    assert_eq!(world.count(|output| matches!(output, Output::Close(_))), 0, "it answered in time");
    world.act(|session, now| session.media_up(now));
    assert!(world.events().is_empty());
    world.act(|session, now| session.media_silent(now));
    world.pass(1_000);
    assert_eq!(world.count(|output| matches!(output, Output::Close(_))), 1);
    assert_eq!(world.events(), ["reconnecting"]);
}

#[test]
fn of_streams_that_are_refused_together_those_that_may_be_are_published() {
    let mut world = World::joined(Vec::new());
    world.command(publish("alice/camera"));
    world.answer();
    world.command(publish("alice/screen"));
    world.command(publish("alice/window"));
    world.offer();
    world.answer();
    world.wanted.clear();
    // All at once after a break that others saw.
    world.close();
    world.open();
    world.tell(joined("session 2", Vec::new()));
    world.offer();
    let re = world.sent().pop().expect("an offer").n;
    world.tell(error(re, Code::NotPermittedPublish));
    let camera = "alice/camera".to_owned();
    assert_eq!(world.offers().pop(), Some((OfferKind::Anew, vec![camera.clone()])));
    world.answer();
    assert_eq!(world.offers(), [(OfferKind::More, vec![camera.clone(), "alice/screen".to_owned()])]);
    world.offer();
    let re = world.sent().pop().expect("an offer").n;
    world.events();
    world.tell(error(re, Code::NotPermittedPublish));
    assert_eq!(
        world.events(),
        ["publishing alice/screen: failed (the token does not allow to publish this)"]
    );
    assert_eq!(world.offers(), [(OfferKind::More, vec![camera, "alice/window".to_owned()])]);
    world.answer();
    assert_eq!(world.events(), ["publishing alice/window: published"]);
}

#[test]
fn what_the_server_did_last_is_whether_a_stream_is_muted() {
    let mut world = World::joined(Vec::new());
    world.command(publish("alice/camera"));
    world.answer();
    world.sent();
    world.command(Command::Mute(Mute { stream: id("alice/camera"), muted: false }));
    let re = world.sent().pop().expect("a request").n;
    // An administrator was faster than the request, which was done after all.
    world.tell(Told::Event { seq: 50, e: News::StreamMuted { stream: id("alice/camera"), muted: true } });
    assert!(world.session.published_now().all(|(_, muted)| muted));
    world.tell(Told::Ok { re, expires_s: None });
    assert!(world.session.published_now().all(|(_, muted)| !muted));
    let mutes: Vec<_> = world.wanted.iter().filter(|output| matches!(output, Output::Mute(..))).collect();
    assert_eq!(mutes.last(), Some(&&Output::Mute(id("alice/camera"), false)), "the media follow");
    let twice = Command::Publish(Publish {
        stream: id("alice/camera"),
        source: Source::Screen,
        muted: false,
        layers: Vec::new(),
    });
    world.events();
    world.command(twice);
    let event = RoomEvent::Published {
        stream: id("alice/camera"),
        state: PublishState::Failed,
        code: Some(Code::StreamExists),
    };
    assert_eq!(world.events(), [event.to_string()]);
    assert_eq!(world.session.published_now().count(), 1, "the first one goes on");
}

#[test]
fn who_leaves_is_out_when_the_server_knows_or_soon() {
    let mut world = World::joined(Vec::new());
    world.command(Command::Leave);
    assert_eq!(world.sent().pop().map(|request| request.ask), Some(Ask::Leave));
    world.close();
    assert_eq!(world.events(), ["left"]);
    let mut world = World::joined(Vec::new());
    world.command(Command::Leave);
    world.pass(499);
    assert!(world.events().is_empty());
    world.pass(1);
    assert_eq!(
        (world.events(), world.session.is_over()),
        (vec!["left after a call of 500 ms".to_owned()], true)
    );
    let mut world = World::joined(Vec::new());
    world.close();
    world.command(Command::Leave);
    assert_eq!(world.events(), ["left"], "at once where nobody can be told");
}

#[test]
fn a_connection_that_cannot_be_had_fails_when_it_was_tried_for_long_enough() {
    let mut world = World::new(Some(Duration::from_secs(30)));
    let mut attempts = 0;
    for _ in 0..299 {
        if matches!(world.session.link, Link::Opening { .. }) {
            attempts += 1;
            world.close();
        }
        world.pass(100);
    }
    assert!(!world.session.is_over());
    world.pass(100);
    assert_eq!(world.events(), ["failed: it was tried as often as allowed"]);
    assert!((6..=30).contains(&attempts), "{attempts} attempts");
}

#[test]
fn a_token_that_comes_while_joining_is_shown_once_in() {
    let mut world = World::new(None);
    world.open();
    world.command(Command::Renew("token 2".into()));
    world.sent();
    world.tell(joined("session 1", Vec::new()));
    let request = world.sent().remove(0);
    assert_eq!(request.ask, Ask::Renew { token: "token 2".into() });
    world.events();
    world.tell(Told::Ok { re: request.n, expires_s: Some(60) });
    assert_eq!(world.events(), ["the new token expires in 60 s"]);
    assert!(!format!("{:?}", Command::Renew("token 3".into())).contains("token 3"), "tokens are not shown");
}
