//! Rooms in virtual time, by what participants are told.

use super::*;
use crate::protocol::{Client, Kind, Layer, Mute, Play, Request, Send, Source};

/// A room, and what was told to whom so far.
struct World {
    room: Room,
    now: Timestamp,
    told: Vec<(LinkId, Told)>,
    closed: Vec<LinkId>,
    orders: Vec<Order>,
    facts: Vec<Fact>,
    secrets: u32,
}

const ALL: Grants = Grants { join: true, publish: Vec::new(), subscribe: true, hidden: false, admin: false };

impl World {
    fn new() -> Self {
        let room = Room::new(RoomName::new("demo").expect("a name"), Settings::default());
        let now = Timestamp::from_nanos(1_000_000_000_000);
        let (told, closed, orders, facts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { room, now, told, closed, orders, facts, secrets: 0 }
    }

    fn claims(&self, user: &str) -> Claims {
        let grants = Grants { publish: Source::ALL.to_vec(), ..ALL };
        Claims {
            user: UserName::new(user).expect("a name"),
            until: self.now + Duration::from_secs(3_600),
            grants,
        }
    }

    fn join(&mut self, link: u64, user: &str, resume: Option<Resume>) {
        let claims = self.claims(user);
        self.join_with(link, claims, resume);
    }

    fn join_with(&mut self, link: u64, claims: Claims, resume: Option<Resume>) {
        let client = Client { name: "test".into(), version: "1".into() };
        let join = Join { v: VERSION, token: String::new(), auto_play: true, client, resume };
        self.secrets += 1;
        let secrets = [format!("session {}", self.secrets), format!("secret {}", self.secrets)];
        self.room.join(self.now, LinkId(link), 1, claims, &join, secrets);
        self.gather();
    }

    fn ask(&mut self, link: u64, ask: Ask) {
        self.room.ask(self.now, LinkId(link), 7, ask);
        self.gather();
    }

    /// Publishes these streams of the participant at `link`, and no others.
    fn publish(&mut self, link: u64, g: u32, streams: &[&str]) {
        let send = streams.iter().map(|stream| send(stream)).collect();
        self.ask(link, Ask::Offer(Offer { g, sdp: "offer".into(), send, recv: Vec::new() }));
        let Some(Order::Offer { person, send, .. }) = self.orders.pop() else { return };
        let codecs = send.iter().map(|(_, no)| (*no, "av1".to_owned())).collect();
        self.room.answered(person, g, Ok(("answer".into(), codecs)));
        self.gather();
    }

    /// Time goes on, while all who are there ping but those at `silent`.
    fn pass(&mut self, seconds: u64, talking: &[u64]) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            for link in talking {
                self.room.ask(self.now, LinkId(*link), 0, Ask::Ping { at: 0 });
            }
            self.room.tick(self.now);
            self.gather();
            assert!(self.room.next_tick().is_none_or(|next| next > self.now), "what is due is done");
        }
        self.told.retain(|(_, told)| !matches!(told, Told::Pong { .. }));
    }

    fn gather(&mut self) {
        for output in self.room.take() {
            match output {
                Output::Tell(link, told) => self.told.push((link, told)),
                Output::Close(link) => self.closed.push(link),
                Output::Media(order) => self.orders.push(order),
                Output::Fact(fact) => self.facts.push(fact),
            }
        }
    }

    /// What was told at `link` since this was last asked.
    fn told(&mut self, link: u64) -> Vec<Told> {
        let (its, others) = self.told.drain(..).partition(|(to, _)| *to == LinkId(link));
        self.told = others;
        let its: Vec<(LinkId, Told)> = its;
        its.into_iter().map(|(_, told)| told).collect()
    }

    /// The same, of it the events in short.
    fn news(&mut self, link: u64) -> Vec<String> {
        let short = |told: &Told| match told {
            Told::Event { e, .. } => Some(match e {
                News::UserJoined { user } => format!("+{user}"),
                News::UserLeft { user, reason } => format!("-{user} {reason:?}"),
                News::StreamAdded { stream } => format!("+{}", stream.id),
                News::StreamRemoved { stream, reason } => format!("-{stream} {reason:?}"),
                News::StreamMuted { stream, muted } => format!("{stream} {muted}"),
            }),
            _ => None,
        };
        self.told(link).iter().filter_map(short).collect()
    }

    fn joined(&mut self, link: u64) -> Joined {
        let told = self.told(link);
        let joined = told.into_iter().find_map(|told| match told {
            Told::Joined(joined) => Some(*joined),
            _ => None,
        });
        joined.expect("somebody who joined")
    }

    fn refused(&mut self, link: u64) -> Option<Code> {
        let told = self.told(link);
        told.iter().find_map(|told| match told {
            Told::Failed { code, .. } | Told::Error { code, .. } => Some(*code),
            _ => None,
        })
    }
}

fn send(stream: &str) -> Send {
    let id = StreamId::new(stream).expect("an id");
    let word = stream.rsplit('/').next().unwrap_or_default();
    let source = Source::ALL.into_iter().find(|source| source.word() == word).unwrap_or(Source::Camera);
    Send { mid: stream.into(), stream: id, source, muted: false, layers: Vec::new() }
}

fn stream(id: &str) -> StreamId {
    StreamId::new(id).expect("an id")
}

fn back(joined: &Joined) -> Option<Resume> {
    Some(Resume { session: joined.session.clone(), secret: joined.secret.clone(), after: joined.seq })
}

#[test]
fn who_joins_sees_who_is_there_and_is_seen() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.publish(1, 1, &["alice/camera", "alice/microphone"]);
    world.join(2, "bob", None);
    let joined = world.joined(2);
    let seen: Vec<_> =
        joined.people.iter().flat_map(|person| &person.streams).map(|s| s.id.as_str()).collect();
    assert_eq!(seen, ["alice/camera", "alice/microphone"]);
    assert!(!joined.again);
    assert_eq!(world.news(1), ["+bob"]);
    world.publish(2, 1, &["bob/screen"]);
    assert_eq!(world.news(1), ["+bob/screen"]);
    assert!(world.news(2).is_empty(), "nobody is told what they did");
    world.ask(2, Ask::Leave);
    assert_eq!(world.news(1), ["-bob/screen PublisherLeft", "-bob Left"]);
    assert_eq!(world.closed, [LinkId(2)]);
    assert!(matches!(world.orders.last(), Some(Order::Forget(_))));
}

#[test]
fn a_short_break_is_seen_by_nobody_and_loses_no_event() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.join(2, "bob", None);
    let bob = world.joined(2);
    world.publish(2, 1, &["bob/camera"]);
    world.news(1);
    world.room.lost(LinkId(2));
    world.pass(5, &[1]);
    world.join(3, "carol", None);
    world.publish(3, 1, &["carol/camera"]);
    world.pass(5, &[1, 3]);
    world.join(4, "bob", back(&bob));
    let told = world.told(4);
    assert!(matches!(told[0], Told::Resumed { media_kept: true, .. }), "{told:?}");
    assert_eq!(told.len(), 3, "carol, and her camera: {told:?}");
    assert_eq!(world.news(1), ["+carol", "+carol/camera"], "of bob nothing was seen");
    world.ask(4, Ask::Mute(Mute { stream: stream("bob/camera"), muted: true }));
    assert_eq!(world.news(1), ["bob/camera true"]);
}

#[test]
fn a_long_break_is_a_leave_and_who_comes_back_is_in_again_at_once() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.join(2, "bob", None);
    let bob = world.joined(2);
    world.publish(2, 1, &["bob/camera"]);
    world.news(1);
    // Nobody says that the link broke: it just falls silent.
    world.pass(5, &[1]);
    assert!(world.closed.is_empty());
    world.pass(1, &[1]);
    assert_eq!(world.closed, [LinkId(2)], "three pings are missing");
    world.pass(13, &[1]);
    assert!(world.news(1).is_empty());
    world.pass(1, &[1]);
    assert_eq!(world.news(1), ["-bob/camera PublisherLeft", "-bob TimedOut"]);
    world.pass(20, &[1]);
    world.join(3, "bob", back(&bob));
    let again = world.joined(3);
    assert!(again.again);
    assert_ne!(again.session, bob.session);
    assert_eq!(world.news(1), ["+bob"]);
}

#[test]
fn media_that_come_keep_a_session_whose_link_is_gone_but_not_for_ever() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.join(2, "bob", None);
    let Some(bob) = world.room.people.last().map(|member| member.id) else { panic!("nobody") };
    world.news(1);
    world.room.lost(LinkId(2));
    for _ in 0..58 {
        world.room.heard(world.now, bob);
        world.pass(1, &[1]);
    }
    assert!(world.news(1).is_empty());
    world.room.heard(world.now, bob);
    world.pass(2, &[1]);
    assert_eq!(world.news(1), ["-bob TimedOut"]);
}

#[test]
fn a_second_login_ends_the_first_which_does_not_come_back() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.join(2, "bob", None);
    let first = world.joined(2);
    world.news(1);
    world.join(3, "bob", None);
    assert_eq!(world.refused(2), Some(Code::DuplicateIdentity));
    assert_eq!(world.closed, [LinkId(2)]);
    assert_eq!(world.news(1), ["-bob Replaced", "+bob"]);
    world.join(4, "bob", back(&first));
    assert_eq!(world.refused(4), Some(Code::DuplicateIdentity));
    assert!(world.room.has(LinkId(3)), "the second stays");
}

#[test]
fn secrets_hold_until_a_later_one_has_surely_come() {
    let mut world = World::new();
    world.join(1, "alice", None);
    let first = world.joined(1);
    world.room.lost(LinkId(1));
    // The answers to these are lost, however many they are.
    for link in 2..40 {
        world.join(link, "alice", back(&first));
    }
    let told = world.told(39);
    let Told::Resumed { secret, .. } = &told[0] else { panic!("{told:?}") };
    assert_eq!(world.refused(38), Some(Code::SessionUnknown), "the link before is given up");
    // One of them was but held back, and takes over from the link that was told.
    world.join(40, "alice", back(&first));
    let last = Joined { secret: secret.clone(), ..first.clone() };
    world.join(41, "alice", back(&last));
    assert!(matches!(world.told(41)[0], Told::Resumed { .. }));
    world.ask(41, Ask::Ping { at: 1 });
    for (link, user, shown) in [(42, "alice", &first), (43, "alice", &last), (44, "mallory", &first)] {
        world.join(link, user, back(shown));
        assert_eq!(world.refused(link), Some(Code::SessionUnknown), "{user}");
    }
}

#[test]
fn a_session_that_ended_for_a_reason_that_passes_may_begin_anew() {
    let mut world = World::new();
    let mut claims = world.claims("alice");
    claims.until = world.now + Duration::from_secs(10);
    world.join_with(1, claims, None);
    let alice = world.joined(1);
    world.pass(15, &[1]);
    assert_eq!(world.refused(1), Some(Code::TokenExpired));
    world.join(2, "alice", back(&alice));
    let alice = world.joined(2);
    assert!(alice.again);
    world.room.close(world.now, Code::ShuttingDown);
    world.gather();
    assert_eq!(world.refused(2), Some(Code::ShuttingDown));
    world.join(3, "alice", back(&alice));
    assert!(world.joined(3).again, "the server is there again");
}

#[test]
fn what_is_asked_for_and_then_ended_or_forbidden_is_not_published_by_a_late_answer() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.join(2, "bob", None);
    world.publish(1, 1, &["alice/camera"]);
    world.told.clear();
    let offer = |g, streams: &[&str]| {
        let send = streams.iter().map(|stream| send(stream)).collect();
        Ask::Offer(Offer { g, sdp: "offer".into(), send, recv: Vec::new() })
    };
    let answer = || Ok(("answer".into(), Vec::new()));
    world.ask(1, offer(2, &["alice/camera", "alice/microphone"]));
    world.ask(1, Ask::Unpublish { stream: stream("alice/camera") });
    world.room.answered(PersonId(0), 2, answer());
    world.gather();
    assert_eq!(world.news(2), ["-alice/camera Unpublished", "+alice/microphone"]);
    world.told.clear();
    world.ask(1, offer(3, &["alice/microphone", "alice/screen"]));
    let mut claims = world.claims("alice");
    claims.grants.publish = vec![Source::Microphone];
    world.room.renew(world.now, LinkId(1), 9, Ok(claims));
    world.room.answered(PersonId(0), 3, answer());
    world.gather();
    assert_eq!(world.refused(1), Some(Code::NotPermittedPublish));
    assert!(world.news(2).is_empty());
    assert_eq!(world.room.people[0].streams.len(), 1);
}

#[test]
fn more_events_than_are_kept_are_told_as_a_roster() {
    let mut world = World::new();
    world.room.replay = Replay::new(2);
    world.join(1, "alice", None);
    world.publish(1, 1, &["alice/camera"]);
    let alice = world.joined(1);
    world.room.lost(LinkId(1));
    world.room.mute_by_admin(&stream("alice/camera"), true).expect("a stream");
    for (link, user) in [(2, "bob"), (3, "carol"), (4, "dave")] {
        world.join(link, user, None);
    }
    world.ask(3, Ask::Leave);
    world.join(5, "alice", back(&alice));
    let told = world.told(5);
    let Told::Roster { seq, people } = &told[1] else { panic!("{told:?}") };
    let users: Vec<_> = people.iter().map(|person| person.user.as_str()).collect();
    assert_eq!((*seq, users), (world.room.replay.seq(), vec!["bob", "dave", "alice"]));
    assert!(people[2].streams[0].muted, "what became of its own, too");
}

#[test]
fn nobody_does_what_their_token_does_not_allow() {
    let mut world = World::new();
    let mut claims = world.claims("bob");
    claims.grants = Grants { publish: vec![Source::Microphone], subscribe: false, ..ALL };
    world.join_with(1, claims, None);
    world.join(2, "alice", None);
    world.publish(2, 1, &["alice/camera"]);
    world.told.clear();
    for (wrong, code) in [
        (vec!["bob/camera"], Code::NotPermittedPublish),
        (vec!["alice/microphone"], Code::NotPermittedPublish),
        (vec!["bob/microphone", "bob/microphone"], Code::StreamExists),
    ] {
        world.publish(1, 1, &wrong);
        assert_eq!(world.refused(1), Some(code), "{wrong:?}");
    }
    world.ask(1, Ask::Play(Play { stream: stream("alice/camera"), quality: Wish::High }));
    assert_eq!(world.refused(1), Some(Code::NotPermittedSubscribe));
    world.ask(2, Ask::Play(Play { stream: stream("alice/camera"), quality: Wish::High }));
    assert_eq!(world.refused(2), Some(Code::StreamUnknown), "one's own");
    let mut none = world.claims("eve");
    none.grants.join = false;
    world.join_with(3, none, None);
    assert_eq!(world.refused(3), Some(Code::NotPermittedJoin));
    assert!(!world.orders.iter().any(|order| matches!(order, Order::Play(PersonId(0), ..))));
}

#[test]
fn who_plays_all_plays_what_comes_but_what_they_stopped() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.join(2, "bob", None);
    world.publish(2, 1, &["bob/camera", "bob/microphone"]);
    let alice = PersonId(0);
    let [Order::Publish(owner, camera), first, Order::Publish(_, microphone), second] = &world.orders[..]
    else {
        panic!("{:?}", world.orders);
    };
    assert_eq!((*owner, camera.no, camera.codec.as_str(), microphone.no), (PersonId(1), 1, "av1", 2));
    assert_eq!([first, second], [&Order::Play(alice, 1, Wish::High), &Order::Play(alice, 2, Wish::High)]);
    world.orders.clear();
    world.ask(1, Ask::Stop { stream: stream("bob/camera") });
    world.ask(1, Ask::Play(Play { stream: stream("bob/microphone"), quality: Wish::Low }));
    assert_eq!(world.orders, [Order::Stop(alice, 1), Order::Play(alice, 2, Wish::Low)]);
    world.publish(2, 2, &["bob/microphone"]);
    assert_eq!(world.news(1), ["+bob", "+bob/camera", "+bob/microphone", "-bob/camera Unpublished"]);
    assert_eq!(world.orders.last(), Some(&Order::End(1)));
}

#[test]
fn tokens_run_out_after_warnings_and_can_be_renewed() {
    let mut world = World::new();
    let mut claims = world.claims("alice");
    claims.until = world.now + Duration::from_secs(100);
    world.join_with(1, claims.clone(), None);
    world.join(2, "bob", None);
    world.pass(95, &[1, 2]);
    let warned: Vec<_> =
        world.told(1).into_iter().filter(|told| matches!(told, Told::Expiring { .. })).collect();
    assert_eq!(warned, [Told::Expiring { in_s: 60 }, Told::Expiring { in_s: 10 }]);
    world.room.renew(world.now, LinkId(1), 9, Ok(world.claims("mallory")));
    world.gather();
    assert_eq!(world.refused(1), Some(Code::RenewedTokenInvalid));
    claims.until = world.now + Duration::from_secs(20);
    claims.grants.hidden = true;
    world.room.renew(world.now, LinkId(1), 9, Ok(claims));
    world.gather();
    assert_eq!(world.told(1).pop(), Some(Told::Ok { re: 9, expires_s: Some(20) }));
    assert_eq!(world.news(2), ["-alice Hidden"]);
    world.pass(26, &[1, 2]);
    assert_eq!(world.refused(1), Some(Code::TokenExpired));
    assert!(world.news(2).is_empty(), "nobody saw them any more");
}

#[test]
fn administrators_put_out_mute_and_close() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.join(2, "bob", None);
    let bob = world.joined(2);
    world.publish(2, 1, &["bob/microphone"]);
    world.news(1);
    world.room.mute_by_admin(&stream("bob/microphone"), true).expect("a stream");
    world.gather();
    assert_eq!(
        (world.news(1), world.news(2)),
        (vec!["bob/microphone true".into()], vec!["bob/microphone true".into()])
    );
    let user = UserName::new("bob").expect("a name");
    assert!(world.room.kick(world.now, &user, Some(Duration::from_secs(30))));
    world.gather();
    assert_eq!(world.refused(2), Some(Code::Banned));
    assert_eq!(world.news(1), ["-bob/microphone PublisherLeft", "-bob Kicked"]);
    world.join(3, "bob", back(&bob));
    assert_eq!(world.refused(3), Some(Code::Banned));
    world.pass(31, &[1]);
    world.join(4, "bob", None);
    assert_eq!(world.news(1), ["+bob"]);
    world.room.close(world.now, Code::RoomClosed);
    world.gather();
    assert_eq!((world.refused(1), world.refused(4)), (Some(Code::RoomClosed), Some(Code::RoomClosed)));
    assert!(!world.room.is_over());
    world.pass(61, &[]);
    assert!(world.room.is_over(), "nothing is left of anyone");
}

#[test]
fn offers_are_bounded_in_number_and_in_what_they_name() {
    let mut world = World::new();
    world.join(1, "alice", None);
    world.told(1);
    let offer = |g, send: Vec<Send>, recv: &[&str]| {
        let recv = recv.iter().map(|mid| SlotOf { mid: (*mid).into(), kind: Kind::Audio }).collect();
        Ask::Offer(Offer { g, sdp: "offer".into(), send, recv })
    };
    let long = "m".repeat(17);
    let layer = |rid: &str| Layer { rid: rid.into(), width: 1, height: 1, max_bps: 1 };
    let sized = |layers| vec![Send { layers, ..send("alice/camera") }];
    let refused = [
        (offer(1, vec![Send { mid: long.clone(), ..send("alice/camera") }], &[]), Code::BadMessage),
        (offer(1, vec![Send { mid: String::new(), ..send("alice/camera") }], &[]), Code::BadMessage),
        (offer(1, sized(vec![layer(&long)]), &[]), Code::BadMessage),
        (offer(1, vec![], &["mid ö"]), Code::BadMessage),
        (offer(1, vec![], &["a", "b", "a"]), Code::BadMessage),
        (offer(1, sized(vec![layer("q"); 5]), &[]), Code::TooManyStreams),
    ];
    for (ask, code) in refused {
        world.ask(1, ask.clone());
        assert_eq!(world.refused(1), Some(code), "{ask:?}");
    }
    world.ask(1, offer(1, sized(vec![layer("q"); 4]), &["a", "b"]));
    assert!(matches!(world.orders.pop(), Some(Order::Offer { .. })));
    let answered = (2..100).take_while(|g| {
        world.ask(1, offer(*g, vec![], &[]));
        world.refused(1).is_none()
    });
    assert_eq!(answered.count(), 20 - 7, "twenty at once");
    world.pass(1, &[1]);
    let answered = (100..200).take_while(|g| {
        world.ask(1, offer(*g, vec![], &[]));
        world.refused(1).is_none()
    });
    assert_eq!(answered.count(), 2, "and two in a second");
}

#[test]
fn what_happens_is_a_fact_for_those_who_look_after_the_server() {
    let mut world = World::new();
    let user = |name: &str| UserName::new(name).expect("a name");
    world.join(1, "alice", None);
    let alice = world.joined(1);
    world.publish(1, 1, &["alice/camera"]);
    let mut hidden = world.claims("watcher");
    hidden.grants.hidden = true;
    world.join_with(2, hidden, None);
    world.room.lost(LinkId(1));
    let away = |world: &World| world.room.overview().iter().map(|one| one.away).collect::<Vec<_>>();
    assert_eq!(away(&world), [true, false]);
    world.join(3, "alice", back(&alice));
    assert_eq!(away(&world), [false, false]);
    let overview = world.room.overview();
    assert_eq!(overview.iter().map(|one| one.hidden).collect::<Vec<_>>(), [false, true]);
    assert_eq!(overview[0].streams[0].id, stream("alice/camera"));
    world.room.kick(world.now, &user("alice"), None);
    world.ask(2, Ask::Leave);
    let stream = overview[0].streams[0].clone();
    let (alice, watcher) = (user("alice"), user("watcher"));
    let left = |user: &UserName, reason, code| Fact::Left { user: user.clone(), reason, code };
    let facts = [
        Fact::Joined { user: alice.clone(), again: false, hidden: false },
        Fact::Published { user: alice.clone(), stream },
        Fact::Joined { user: watcher.clone(), again: false, hidden: true },
        Fact::Resumed { user: alice.clone() },
        left(&alice, Left::Kicked, Some(Code::Kicked)),
        left(&watcher, Left::Left, None),
    ];
    assert_eq!(world.facts, facts);
}

#[test]
fn late_answers_and_old_offers_change_nothing() {
    let mut world = World::new();
    world.join(1, "alice", None);
    let offer = |g| {
        Ask::Offer(Offer {
            g,
            sdp: "offer".into(),
            send: vec![send("alice/camera")],
            recv: vec![SlotOf { mid: "r".into(), kind: Kind::Audio }],
        })
    };
    world.ask(1, offer(1));
    world.ask(1, offer(2));
    world.told(1);
    world.room.answered(PersonId(0), 1, Ok(("late".into(), Vec::new())));
    world.gather();
    assert!(world.told(1).is_empty());
    world.room.answered(PersonId(0), 2, Err(Code::BadSdp));
    world.gather();
    assert_eq!(world.refused(1), Some(Code::BadSdp));
    world.ask(1, offer(2));
    assert_eq!(world.refused(1), Some(Code::BadMessage), "offers count up");
    assert_eq!(world.room.people[0].streams.len(), 0);
    let request = Request { n: 1, ask: offer(3) };
    world.ask(1, request.ask);
    assert!(matches!(world.orders.last(), Some(Order::Offer { g: 3, .. })));
}
