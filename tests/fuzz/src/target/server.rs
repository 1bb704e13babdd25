//! What a room server and its participants read of each other: tokens, messages, offers,
//! datagrams. A panic inside str0m is caught where the server calls it, ends that
//! participant's media alone and is counted; whether that happened is asserted here, so
//! that one that an input finds is seen.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sidetone::Timestamp;
use sidetone_room::client::session::{self, Command, ConnectionId, Options, Publish, Session};
use sidetone_room::protocol::{
    Ask, Client, Join, Kind, Offer, Request, RoomName, Send, SlotOf, Source, StreamId, Told, UserName,
    VERSION,
};
use sidetone_room::server::claims::Grants;
use sidetone_room::server::config::Config;
use sidetone_room::server::hall::{Datagram, Hall, Word};
use sidetone_room::server::room::LinkId;
use sidetone_room::server::token::{self, App, Pass};

use crate::Target;

/// What time it is, since 1970.
const WALL: Duration = Duration::from_secs(1_800_000_000);
const ASKS: &str = include_str!("../../../../nodes/room/tests/data/asks.jsonl");
const TOLD: &str = include_str!("../../../../nodes/room/tests/data/told.jsonl");
/// As browsers make them, shortened: sound, pictures in three sizes, room for pictures.
const OFFER: &str = include_str!("server/offer.sdp");

fn minted(user: &str, room: Option<&str>) -> String {
    let admin = room.is_none();
    let grants = Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, hidden: false, admin };
    let room = room.map(|room| RoomName::new(room).expect("a name"));
    let pass = Pass { user: UserName::new(user).expect("a name"), room, grants };
    App::development().mint(&pass, WALL, Duration::from_secs(60))
}

/// A token.
pub(crate) const TOKEN: Target = Target {
    name: "room_token",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let now = Timestamp::from_nanos(7);
        match token::check(&[App::development()], text, now, WALL) {
            Ok(checked) => {
                assert!(text.len() <= token::MOST_BYTES && checked.claims.until > now);
                true
            }
            Err(_) => false,
        }
    },
    seeds: || [Some("demo"), None].map(|room| minted("alice", room).into_bytes()).into(),
    words: &["eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", ".", "=", "e30", "eyJ"],
    most_mib: 1,
};

/// A server on which alice and bob are in a room, and what was said since.
struct World {
    hall: Hall,
    now: Instant,
    told: Vec<Told>,
    sent: Vec<Datagram>,
}

const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 7_880);

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut secrets = 0_u128;
        let random = Box::new(move || {
            secrets += 1;
            secrets.to_be_bytes()
        });
        let apps = vec![App::development()];
        let hall = Hall::new(&Config::default(), apps, vec![SERVER.into()], now, random).expect("a hall");
        let mut world = Self { hall, now, told: Vec::new(), sent: Vec::new() };
        for (link, user) in [(1, "alice"), (2, "bob")] {
            world.hall.opened(now, LinkId(link));
            let client = Client { name: "fuzz".into(), version: "1".into() };
            let token = minted(user, Some("demo"));
            world.ask(link, Ask::Join(Join { v: VERSION, token, auto_play: true, client, resume: None }));
        }
        assert!(world.told.iter().filter(|told| matches!(told, Told::Joined(_))).count() == 2);
        world.told.clear();
        world
    }

    fn ask(&mut self, link: u64, ask: Ask) {
        let text = serde_json::to_string(&Request { n: 1, ask }).expect("JSON");
        self.say(link, &text);
    }

    fn say(&mut self, link: u64, text: &str) {
        self.hall.message(self.now, WALL, LinkId(link), text);
        self.gather();
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        self.hall.tick(self.now);
        self.gather();
        assert!(self.hall.due().is_none_or(|due| due > self.now), "what is due is done");
    }

    fn gather(&mut self) {
        self.sent.extend(self.hall.take_datagrams());
        for word in self.hall.take_words() {
            if let Word::Tell(_, told) = word {
                serde_json::to_string(&told).expect("JSON");
                self.told.push(told);
            }
        }
        assert!(self.told.len() < 10_000 && self.sent.len() < 10_000, "it says ever more");
        assert_eq!(self.hall.counts().panics, 0, "str0m panicked");
    }

    /// Alice offers this.
    fn offer(&mut self, g: u32, sdp: &str) -> bool {
        let send = |mid: &str, stream: &str, source| Send {
            mid: mid.into(),
            stream: StreamId::new(stream).expect("an id"),
            source,
            muted: false,
            layers: Vec::new(),
        };
        let send = vec![
            send("0", "alice/microphone", Source::Microphone),
            send("1", "alice/camera", Source::Camera),
        ];
        let recv = vec![SlotOf { mid: "2".into(), kind: Kind::Video }];
        self.ask(1, Ask::Offer(Offer { g, sdp: sdp.into(), send, recv }));
        self.told.iter().any(|told| matches!(told, Told::Answer { g: answered, .. } if *answered == g))
    }
}

/// Messages, one a line: of alice where the line begins with a space, else of bob. An
/// empty line is two seconds.
pub(crate) const MESSAGES: Target = Target {
    name: "room_messages",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let mut world = World::new();
        for line in text.lines() {
            match line.strip_prefix(' ') {
                _ if line.is_empty() => world.pass(Duration::from_secs(2)),
                Some(line) => world.say(1, line),
                None => world.say(2, line),
            }
        }
        world.pass(Duration::from_secs(60));
        world.told.iter().any(|told| matches!(told, Told::Ok { .. } | Told::Pong { .. }))
    },
    seeds: || {
        let offer = serde_json::to_string(OFFER).expect("JSON");
        let publish = format!(
            " {{\"n\":2,\"t\":\"offer\",\"g\":1,\"sdp\":{offer},\"send\":[{{\"mid\":\"1\",\"stream\":\"alice/camera\",\
             \"source\":\"camera\"}}],\"recv\":[{{\"mid\":\"2\",\"kind\":\"video\"}}]}}\n"
        );
        let play = publish.clone() + &ASKS.replace("bob/", "alice/") + "\n\n\n";
        let token = minted("bob", Some("demo"));
        let renew = format!("{{\"n\":1,\"t\":\"renew\",\"token\":\"{token}\"}}\n");
        vec![play.into_bytes(), (publish + ASKS).into_bytes(), renew.into_bytes()]
    },
    words: &[
        "\n",
        "\n\n",
        " {",
        "\"t\":",
        "\"n\":",
        "play",
        "stop",
        "mute",
        "unpublish",
        "alice/camera",
        "bob/camera",
        "candidate",
        "received",
        "leave",
        "1e999",
        "-1",
        "18446744073709551616",
        "[[[[",
        "\\u0000",
    ],
    most_mib: 64,
};

/// An offer of media, and once more after it, as a restart.
pub(crate) const OFFERS: Target = Target {
    name: "room_offer",
    run: |bytes| {
        let Ok(sdp) = std::str::from_utf8(bytes) else { return false };
        let mut world = World::new();
        let is_taken = world.offer(1, sdp);
        world.offer(2, sdp);
        world.offer(3, OFFER);
        world.pass(Duration::from_secs(11));
        is_taken
    },
    seeds: || vec![OFFER.as_bytes().to_vec()],
    words: &[
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
        "a=sctp-port:5000\r\n",
        "a=mid:",
        "a=sendrecv\r\n",
        "a=inactive\r\n",
        "a=ssrc:1 cname:x\r\n",
        "a=ssrc-group:FID 1 2\r\n",
        "a=rid:x send\r\n",
        "a=simulcast:send x;~y,z\r\n",
        "a=rtpmap:127 AV1/90000\r\n",
        "a=fmtp:",
        "a=extmap:15 urn:x\r\n",
        "a=extmap:0 ",
        "a=ice-lite\r\n",
        "a=setup:passive\r\n",
        "a=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n",
        "4294967296",
        "-1",
    ],
    most_mib: 64,
};

/// Datagrams, each after its length in two bytes, to a server where alice has media that
/// are not connected yet.
pub(crate) const DATAGRAMS: Target = Target {
    name: "room_datagrams",
    run: |bytes| {
        let mut world = World::new();
        assert!(world.offer(1, OFFER), "the offer is one: {:?}", world.told);
        let mut rest = bytes;
        while let [a, b, after @ ..] = rest {
            let (datagram, after) = after.split_at(after.len().min(u16::from_be_bytes([*a, *b]).into()));
            rest = after;
            let (local, remote) = (SocketAddr::from(SERVER), SocketAddr::from(([198, 51, 100, 1], 5_000)));
            world.hall.datagram(world.now, &Datagram { local, remote, bytes: datagram.into() });
            world.pass(Duration::from_millis(20));
        }
        !world.sent.is_empty()
    },
    seeds: || {
        let framed = |datagram: &[u8]| {
            let length = u16::try_from(datagram.len()).expect("short");
            [&length.to_be_bytes(), datagram].concat()
        };
        let knock = b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl";
        // The name that the peer has: a secret of the ones that are counted up.
        let name = format!("{:032x}:abcd", 6);
        let mut named =
            [&b"\0\x01\0\x50\x21\x12\xa4\x42abcdefghijkl\0\x06\0\x25"[..], name.as_bytes(), &[0; 3]].concat();
        named.extend(b"\0\x24\0\x04\x7f\0\0\xff\x80\x2a\0\x08abcdefgh\0\x08\0\x14");
        named.resize(named.len() + 20, 7);
        let dtls = [&[22, 254, 253][..], &[0; 8], &[0, 10], &[1; 10]].concat();
        let rtp = [&[0x90, 111, 0, 1][..], &[0; 8], &[0xbe, 0xde, 0, 1, 0x40, b'0', 0, 0], &[9; 30]].concat();
        let all = [framed(knock), framed(&named), framed(&dtls), framed(&rtp)];
        vec![all[0].clone(), all[..2].concat(), all.concat()]
    },
    words: &["\0\x01", "\x01\x01", "\x21\x12\u{a4}B", "\0\x06", "\0\x08\0\x14", "\u{80}(\0\x04"],
    most_mib: 64,
};

/// A server's messages to a participant, one a line. An empty line is a second.
pub(crate) const MESSAGES_TOLD: Target = Target {
    name: "room_told",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let client = Client { name: "fuzz".into(), version: "1".into() };
        let options = Options { token: "x".into(), auto_play: true, client, retry_for: None };
        let mut session = Session::new(options, fastrand::Rng::with_seed(1));
        let mut now = Timestamp::from_nanos(1_000_000_000);
        session.join(now);
        let stream = StreamId::new("alice/camera").expect("an id");
        let publish = Publish { stream, source: Source::Camera, muted: false, layers: Vec::new() };
        session.command(now, Command::Publish(publish));
        let (mut link, mut has_any) = (ConnectionId(0), false);
        for line in text.lines() {
            // Whatever it wants done is done.
            for _ in 0..10 {
                for output in session.take() {
                    match output {
                        session::Output::Open(id) => {
                            link = id;
                            session.opened(now, id);
                        }
                        session::Output::Offer(wanted) => {
                            let offer = Offer { g: wanted.g, sdp: String::new(), send: vec![], recv: vec![] };
                            session.offered(now, offer);
                        }
                        _ => {}
                    }
                }
            }
            if line.is_empty() {
                now += Duration::from_secs(1);
                session.tick(now);
                assert!(session.next_tick().is_none_or(|next| next > now), "what is due is done");
            } else if let Ok(told) = serde_json::from_str(line) {
                has_any = true;
                session.message(now, link, told);
            }
        }
        has_any
    },
    seeds: || {
        let lines: Vec<&str> = TOLD.lines().collect();
        let joined = |rest: &[&str]| [&lines[..1], rest].concat().join("\n").into_bytes();
        vec![TOLD.as_bytes().to_vec(), joined(&lines[4..]), joined(&["", "", ""])]
    },
    words: &[
        "\n",
        "\n\n",
        "\"t\":",
        "\"seq\":",
        "joined",
        "resumed",
        "failed",
        "roster",
        "event",
        "stream_added",
        "slots",
        "alice",
        "bob/camera",
        "\"no\":12",
        "18446744073709551615",
        "4294967295",
        "\"again\":true",
        "null",
    ],
    most_mib: 16,
};
