//! Halls in virtual time, by what is said over their links.

use str0m::Rtc;
use str0m::media::{Direction, MediaKind};

use super::*;
use crate::protocol::{Client, Left, News, Offer, Source, UserName, VERSION};
use crate::server::claims::Grants;
use crate::server::room::Way;
use crate::server::token::Pass;

mod whip;

const WALL: Duration = Duration::from_secs(1_800_000_000);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A hall, and what was said so far.
struct World {
    hall: Hall,
    now: Instant,
    words: Vec<Word>,
}

impl World {
    fn new(settings: &str) -> Self {
        Self::at(settings, vec![])
    }

    /// One that takes media there.
    fn at(settings: &str, addresses: Vec<SocketAddr>) -> Self {
        let now = Instant::now();
        let config = Config::parse(settings).expect("a configuration");
        let apps = vec![App::development(), ours()];
        let mut count = 0_u128;
        let random = Box::new(move || {
            count += 1;
            count.to_be_bytes()
        });
        let hall = Hall::new(&config, apps, addresses, now, random).expect("a hall");
        Self { hall, now, words: Vec::new() }
    }

    fn open(&mut self, link: u64) {
        self.hall.opened(self.now, LinkId(link));
        self.words.extend(self.hall.take_words());
    }

    fn say(&mut self, link: u64, text: &str) {
        self.hall.message(self.now, WALL, LinkId(link), text);
        self.words.extend(self.hall.take_words());
    }

    fn ask(&mut self, link: u64, ask: Ask) {
        self.say(link, &serde_json::to_string(&Request { n: 7, ask }).expect("JSON"));
    }

    fn join(&mut self, link: u64, app: &App, user: &str, room: &str) {
        self.open(link);
        let client = Client { name: "test".into(), version: "1".into() };
        let token = token(app, user, room);
        self.ask(link, Ask::Join(Join { v: VERSION, token, auto_play: true, client, resume: None }));
    }

    /// Time goes on by what is due, up to so many seconds.
    fn pass(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.hall.due().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.hall.tick(self.now);
            self.words.extend(self.hall.take_words());
            assert!(self.hall.due().is_none_or(|next| next > self.now), "what is due is done");
        }
        self.now = until;
    }

    /// What was told over a link, and with what code it was closed, if it was.
    fn told(&mut self, link: u64) -> (Vec<Told>, Option<Option<Code>>) {
        let (mut told, mut closed) = (Vec::new(), None);
        self.words.retain(|word| match word {
            Word::Tell(to, what) if *to == LinkId(link) => {
                told.push(what.clone());
                false
            }
            Word::Close(which, code) if *which == LinkId(link) => {
                closed = Some(*code);
                false
            }
            _ => true,
        });
        (told, closed)
    }

    fn is_in(&mut self, link: u64) -> Option<usize> {
        match self.told(link) {
            (told, None) => told.iter().find_map(|told| match told {
                Told::Joined(joined) => Some(joined.people.len()),
                _ => None,
            }),
            _ => None,
        }
    }
}

fn ours() -> App {
    App::new("ours", SECRET).expect("an application")
}

fn token(app: &App, user: &str, room: &str) -> String {
    let grants = Grants { join: true, publish: vec![Source::Camera], subscribe: true, ..Grants::default() };
    let room = Some(RoomName::new(room).expect("a name"));
    let pass = Pass { user: UserName::new(user).expect("a name"), room, grants };
    app.mint(&pass, WALL, Duration::from_secs(3_600))
}

#[test]
fn a_link_over_which_nobody_joins_is_let_go() {
    let mut world = World::new("");
    world.open(1);
    world.pass(4);
    assert_eq!(world.told(1), (vec![], None));
    world.pass(1);
    assert_eq!(world.told(1), (vec![room::failed(None, Code::TimedOut)], Some(Some(Code::TimedOut))));
    assert!(world.hall.is_empty());
}

#[test]
fn rooms_of_two_applications_are_apart_though_they_have_one_name() {
    let mut world = World::new("");
    world.join(1, &ours(), "alice", "demo");
    world.join(2, &App::development(), "bob", "demo");
    world.join(3, &ours(), "carol", "demo");
    assert_eq!(world.is_in(2), Some(0));
    assert_eq!(world.is_in(3), Some(1), "alice");
    assert_eq!(world.is_in(1), Some(0));
    for foreign in [token(&ours(), "alice", "else"), token(&App::development(), "alice", "demo")] {
        world.ask(1, Ask::Renew { token: foreign });
        assert_eq!(world.told(1).0, [room::error(7, Code::RenewedTokenInvalid)]);
    }
    world.ask(1, Ask::Renew { token: token(&ours(), "alice", "demo") });
    assert!(matches!(world.told(1).0[..], [Told::Ok { re: 7, expires_s: Some(3_600) }]));
}

#[test]
fn who_says_too_much_is_let_go_and_is_away_until_the_grace_is_over() {
    let mut world = World::new("");
    world.join(1, &ours(), "alice", "demo");
    world.join(2, &ours(), "bob", "demo");
    for _ in 0..199 {
        world.ask(1, Ask::Ping { at: 0 });
    }
    assert_eq!(world.told(1).1, None, "as much as may be at once, the join among it");
    world.pass(1);
    for _ in 0..50 {
        world.ask(1, Ask::Ping { at: 0 });
    }
    assert_eq!(world.told(1).1, None, "as much as in a second");
    world.ask(1, Ask::Ping { at: 0 });
    let (told, closed) = world.told(1);
    assert_eq!(
        (told, closed),
        (vec![room::failed(None, Code::TooManyRequests)], Some(Some(Code::TooManyRequests)))
    );
    world.told(2);
    for _ in 0..21 {
        world.ask(2, Ask::Ping { at: 0 });
        world.pass(1);
    }
    let left =
        |told: &Told| matches!(told, Told::Event { e: News::UserLeft { reason: Left::TimedOut, .. }, .. });
    assert_eq!(world.told(2).0.iter().filter(|told| left(told)).count(), 1);
}

#[test]
fn one_in_a_room_who_says_what_is_no_message_is_told_and_stays() {
    let mut world = World::new("");
    world.join(1, &ours(), "alice", "demo");
    world.told(1);
    world.say(1, "{\"n\":9,\"t\":\"dance\"}");
    world.say(1, "{\"n\":9,\"t\":\"stop\",\"stream\":\"nobody\"}");
    world.say(1, "?");
    let codes = [(9, Code::UnknownMessage), (9, Code::BadMessage), (0, Code::BadMessage)];
    assert_eq!(world.told(1), (codes.map(|(n, code)| room::error(n, code)).to_vec(), None));
    assert_eq!(world.hall.counts().refused[&Code::BadMessage], 2);
}

#[test]
fn media_that_do_not_come_up_are_given_up_and_another_offer_is_as_the_first() {
    let mut world = World::new("");
    world.join(1, &ours(), "alice", "demo");
    world.told(1);
    for g in [1, 2] {
        let mut rtc = Rtc::builder().build(world.now);
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let (offer, _) = changes.apply().expect("an offer");
        let offer = Offer { g, sdp: offer.to_sdp_string(), send: vec![], recv: vec![] };
        world.ask(1, Ask::Offer(offer));
        assert!(matches!(world.told(1).0[..], [Told::Answer { .. }, Told::Slots { .. }]));
        for _ in 0..9 {
            world.ask(1, Ask::Ping { at: 0 });
            world.pass(1);
        }
        assert!(world.told(1).0.iter().all(|told| matches!(told, Told::Pong { .. } | Told::Quality { .. })));
        assert_eq!(world.hall.sizes(), (1, 1, 1));
        world.pass(1);
        let told = world.told(1);
        assert!(told.0.contains(&Told::MediaFailed { g }) && told.1.is_none(), "{told:?}");
        assert_eq!(world.hall.sizes(), (1, 1, 0));
        assert_eq!(world.hall.counts().peers_failed, u64::from(g));
    }
}

#[test]
fn there_are_so_many_rooms_and_links_and_no_more() {
    let mut world = World::new("limits = { rooms = 1, links = 3 }");
    world.join(1, &ours(), "alice", "one");
    world.join(2, &ours(), "bob", "two");
    let refused = Some(Some(Code::TooManyRequests));
    assert_eq!(world.told(2).1, refused, "a room more");
    world.join(3, &ours(), "bob", "one");
    assert!(world.is_in(3).is_some());
    world.open(4);
    world.open(5);
    assert_eq!((world.told(4).1, world.told(5).1), (None, refused), "a link more");
    for link in [1, 3] {
        world.ask(link, Ask::Leave);
        assert_eq!(world.told(link).1, Some(None), "by choice");
        world.hall.closed(world.now, LinkId(link));
    }
    assert_eq!(world.hall.sizes(), (1, 1, 0), "who left may ask for the session yet");
    world.pass(61);
    assert_eq!(world.hall.sizes(), (0, 0, 0));
    world.join(6, &ours(), "carol", "two");
    assert!(world.is_in(6).is_some());
}

#[test]
fn nobody_is_let_in_while_the_server_ends() {
    let mut world = World::new("");
    world.join(1, &ours(), "alice", "demo");
    world.told(1);
    world.hall.drain(world.now, Duration::from_secs(30));
    world.words.extend(world.hall.take_words());
    assert_eq!(world.told(1), (vec![Told::Closing { in_s: 30 }], None));
    world.join(2, &ours(), "bob", "demo");
    assert_eq!(world.told(2).1, Some(Some(Code::ShuttingDown)));
    world.open(3);
    world.hall.close(world.now);
    world.words.extend(world.hall.take_words());
    for link in [1, 3] {
        let out = (vec![room::failed(None, Code::ShuttingDown)], Some(Some(Code::ShuttingDown)));
        assert_eq!(world.told(link), out);
    }
}
