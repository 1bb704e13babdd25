//! What is done to a server by those who mean no good: each attack is refused and
//! counted, and a call on the same server goes on as if nothing were.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto};
use sidetone_room::protocol::{
    Ask, Candidate, Code, Kind, MOST_BYTES, Mute, Offer, Play, Request, SUBPROTOCOL, Send, SlotOf, Source,
    StreamId, Told, Wish,
};
use sidetone_room::server::claims::Grants;
use sidetone_room::server::config::Config;
use sidetone_room::server::http::Server;
use str0m::rtp::Ssrc;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::client::{Client, PATIENCE, connect, get, join, refused, runtime, server, token, token_of, wall};

/// Two participants who mind their own business.
struct Bystanders {
    alice: Client,
    bob: Client,
    seq: u64,
}

impl Bystanders {
    async fn meet(server: SocketAddr) -> Self {
        let mut alice = Client::join(server, "alice").await;
        alice.publish().await;
        let mut bob = Client::join(server, "bob").await;
        bob.publish().await;
        let mut both = Self { alice, bob, seq: 0 };
        let meet = timeout(PATIENCE, async {
            while both.last().contains(&0) {
                both.send(true);
                both.step().await;
            }
            while both.last() != [both.seq; 2] {
                both.step().await;
            }
        });
        assert!(meet.await.is_ok(), "alice and bob do not meet");
        both
    }

    fn send(&mut self, is_key: bool) {
        self.seq += 1;
        self.alice.send(self.seq, is_key);
        self.bob.send(self.seq, is_key);
    }

    async fn step(&mut self) {
        tokio::join!(self.alice.step(), self.bob.step());
    }

    /// The number of the packet that came last to each.
    fn last(&self) -> [u64; 2] {
        [&self.alice, &self.bob].map(|it| numbers(it).last().copied().unwrap_or(0))
    }

    /// Goes on for so many packets each way: all come, and by their sequence numbers in
    /// order (one that the system lost is sent again).
    async fn go_on(&mut self, packets: usize) {
        let before = self.seq;
        for client in [&mut self.alice, &mut self.bob] {
            client.packets.clear();
            client.ask(Ask::Ping { at: 0 }).await;
        }
        // What came while they did not look.
        self.step().await;
        for at in 0..packets {
            // What was silent for long goes on from a key frame.
            self.send(at == 0);
            self.step().await;
        }
        let come = timeout(PATIENCE, async {
            while [&self.alice, &self.bob].iter().any(|it| it.packets.len() < packets) {
                self.step().await;
            }
        });
        let have_come = come.await.is_ok();
        let told = [&self.alice, &self.bob].map(|it| &it.told[it.told.len().saturating_sub(8)..]);
        assert!(have_come, "{:?} came of {before} to {}; they were told {told:?}", self.last(), self.seq);
        for it in [&mut self.alice, &mut self.bob] {
            it.packets.sort_by_key(|packet| packet.seq_no);
            assert_eq!(numbers(it), (before + 1..=self.seq).collect::<Vec<_>>(), "{}", it.user);
            let failed =
                it.told.iter().any(|told| matches!(told, Told::Failed { .. } | Told::MediaFailed { .. }));
            assert!(!failed && it.closed.is_none(), "{} was told {:?}", it.user, it.told);
        }
    }

    /// Suffers an attack, which does not disturb them; what came of it.
    async fn suffer<T>(&mut self, attack: impl Future<Output = T>) -> T {
        let attack = timeout(PATIENCE, attack);
        let (outcome, ()) = tokio::join!(attack, self.go_on(5));
        self.go_on(5).await;
        outcome.expect("an attack that ends")
    }
}

/// The numbers in the packets that came to somebody.
fn numbers(client: &Client) -> Vec<u64> {
    let number =
        |packet: &str0m::rtp::RtpPacket| packet.payload.last_chunk().map(|it| u64::from_be_bytes(*it));
    client.packets.iter().filter_map(number).collect()
}

/// A server's figures.
struct Figures(String);

impl Figures {
    async fn of(server: SocketAddr) -> Self {
        Self(get(server, "/metrics").await)
    }

    fn of_name(&self, name: &str) -> u64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix("sidetone_room_")?.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }
}

fn counter(code: Code) -> String {
    format!("refused_total{{code={}}}", serde_json::to_string(&code).unwrap())
}

fn text(ask: Ask) -> Message {
    Message::text(serde_json::to_string(&Request { n: 1, ask }).unwrap())
}

fn ends(server: Server) {
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!(counts.panics, 0);
}

const SECRET: &[u8] = b"sidetone-development-key-not-for-public-use";
/// {"alg":"none","typ":"JWT"} and {"alg":"RS256","typ":"JWT"}, in base64url.
const NONE: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
const RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";

/// A token that says this beside what is as it should be.
fn forged(algorithm: Algorithm, secret: &[u8], says: &serde_json::Value) -> String {
    let mut body = serde_json::json!({
        "iss": "dev", "sub": "mallory", "room": "demo", "exp": wall().as_secs() + 60, "grants": { "join": true },
    });
    body.as_object_mut().unwrap().extend(says.as_object().unwrap().clone());
    jsonwebtoken::encode(&Header::new(algorithm), &body, &EncodingKey::from_secret(secret)).unwrap()
}

#[test]
fn tokens_that_no_application_signed_so_let_nobody_in() {
    let server = server();
    let at = server.address;
    let as_it_should_be = serde_json::json!({});
    let good = forged(Algorithm::HS256, SECRET, &as_it_should_be);
    let (_, body) = good.split_once('.').unwrap();
    let (body, signature) = body.split_once('.').unwrap();
    let says = |says| forged(Algorithm::HS256, SECRET, &says);
    let confused = format!("{RS256}.{body}");
    let confused_signature =
        crypto::sign(confused.as_bytes(), &EncodingKey::from_secret(SECRET), Algorithm::HS256).unwrap();
    let rows = [
        ("none", String::new(), Code::TokenInvalid),
        ("no JWT", "x.y.z".into(), Code::TokenInvalid),
        ("a bad signature", forged(Algorithm::HS256, b"dev", &as_it_should_be), Code::TokenInvalid),
        ("no signature", format!("{NONE}.{body}."), Code::TokenInvalid),
        ("another's signature", format!("{NONE}.{body}.{signature}"), Code::TokenInvalid),
        ("another hash", forged(Algorithm::HS512, SECRET, &as_it_should_be), Code::TokenInvalid),
        ("RS256 by HMAC", format!("{confused}.{confused_signature}"), Code::TokenInvalid),
        ("expired", says(serde_json::json!({ "exp": wall().as_secs() - 1 })), Code::TokenExpired),
        ("not yet valid", says(serde_json::json!({ "nbf": wall().as_secs() + 60 })), Code::TokenInvalid),
        ("a foreign issuer", says(serde_json::json!({ "iss": "else" })), Code::AppInvalid),
        ("all rooms", says(serde_json::json!({ "room": "*" })), Code::RoomInvalid),
        ("no name", says(serde_json::json!({ "sub": "" })), Code::UserInvalid),
        ("no leave to join", says(serde_json::json!({ "grants": {} })), Code::NotPermittedJoin),
        ("5 KiB", "x".repeat(5 << 10), Code::TooLarge),
    ];
    runtime().block_on(async {
        let mut others = Bystanders::meet(at).await;
        for (attack, token, code) in rows {
            let before = Figures::of(at).await;
            let came = others.suffer(refused(at, &[text(join(token))])).await;
            assert_eq!(came, (Some(code), Some(code.close_code())), "{attack}");
            let after = Figures::of(at).await;
            let name = counter(code);
            assert_eq!(after.of_name(&name), before.of_name(&name) + 1, "{attack}");
        }
        let good = refused(at, &[text(join(good)), text(Ask::Leave)]).await;
        assert_eq!(good, (None, Some(1_000)), "but for what is wrong with them they are good");
    });
    ends(server);
}

#[test]
fn what_is_no_message_ends_the_link_it_came_over_and_no_other() {
    let server = server();
    let at = server.address;
    let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
    let garbage = Message::Frame(Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true));
    let compressed = {
        let mut frame = Frame::message("{}", OpCode::Data(Data::Text), true);
        frame.header_mut().rsv1 = true;
        Message::Frame(frame)
    };
    let closed = |code: Code| (Some(code), Some(code.close_code()), code);
    let rows = [
        ("empty", Message::text(""), closed(Code::BadMessage)),
        ("a torn object", Message::text("{"), closed(Code::BadMessage)),
        ("10,000 deep", Message::text(deep(10_000)), closed(Code::BadMessage)),
        (
            "10,000 deep, inside",
            Message::text(format!("{{\"n\":1,\"t\":\"leave\",\"more\":{}}}", deep(10_000))),
            closed(Code::BadMessage),
        ),
        ("a long list", Message::text(format!("[{}0]", "0,".repeat(32_000))), closed(Code::BadMessage)),
        ("an unknown message", Message::text("{\"n\":1,\"t\":\"dance\"}"), closed(Code::UnknownMessage)),
        ("the second before the first", text(Ask::Leave), closed(Code::BadMessage)),
        (
            "a byte too much",
            Message::text("x".repeat(MOST_BYTES + 1)),
            (None, Some(Code::TooLarge.close_code()), Code::TooLarge),
        ),
        (
            "a list of a million",
            Message::text(format!("[{}0]", "0,".repeat(999_999))),
            (None, Some(Code::TooLarge.close_code()), Code::TooLarge),
        ),
        ("a binary frame", Message::binary(vec![1]), (None, Some(1_003), Code::BadMessage)),
        ("no UTF-8", garbage, (None, Some(1_007), Code::BadMessage)),
        ("a frame with reserved bits", compressed, (None, Some(1_002), Code::BadMessage)),
    ];
    runtime().block_on(async {
        let mut others = Bystanders::meet(at).await;
        for (attack, message, (told, close, counted)) in rows {
            let before = Figures::of(at).await;
            let came = others.suffer(refused(at, &[message])).await;
            assert_eq!(came, (told, close), "{attack}");
            let after = Figures::of(at).await;
            let name = counter(counted);
            assert_eq!(after.of_name(&name), before.of_name(&name) + 1, "{attack}");
            assert_eq!(after.of_name("links"), 2, "{attack}");
        }
        let before = Figures::of(at).await;
        let flood = vec![text(Ask::Ping { at: 0 }); 300];
        let flood: Vec<_> = [text(join(token("mallory", PATIENCE)))].into_iter().chain(flood).collect();
        let came = others.suffer(refused(at, &flood)).await;
        let code = Code::TooManyRequests;
        assert_eq!(came, (Some(code), Some(code.close_code())), "a flood");
        let after = Figures::of(at).await;
        assert_eq!(after.of_name(&counter(code)), before.of_name(&counter(code)) + 1);
        assert!(connect(at, "chat").await.is_none(), "another subprotocol");
        assert!(get(at, "/healthz").await.ends_with("\r\n\r\nok\n"));
    });
    ends(server);
}

/// A participant with this leave asks this: what it is answered.
async fn answered(at: SocketAddr, grants: Grants, asks: Vec<Ask>) -> Vec<Code> {
    let token = token_of("mallory", "demo", Grants { join: true, ..grants }, PATIENCE);
    let mut mallory = Client::join_with(at, "mallory", token).await;
    mallory.read_answer = |_| panic!("this offer is to be refused");
    for ask in asks {
        mallory.ask(ask).await;
    }
    let n = mallory.n + 1;
    mallory.ask(Ask::Ping { at: 0 }).await;
    mallory
        .until("all is answered", |it| matches!(it.told.last(), Some(Told::Pong { re, .. }) if *re == n))
        .await;
    mallory.ask(Ask::Leave).await;
    mallory.until("it is closed", |it| it.closed.is_some()).await;
    assert_eq!(mallory.closed, Some(Some(1_000)), "it stays in until it leaves");
    let code = |told: &Told| match told {
        Told::Error { code, .. } => Some(*code),
        _ => None,
    };
    mallory.told.iter().filter_map(code).collect()
}

#[test]
fn what_a_participant_may_not_do_is_refused_and_the_participant_stays() {
    let server = server();
    let at = server.address;
    let stream = |id: &str| StreamId::new(id).unwrap();
    let send = |mid: &str, id: &str, source| Send {
        mid: mid.into(),
        stream: stream(id),
        source,
        muted: false,
        layers: Vec::new(),
    };
    let offer = |sdp: &str, send, recv| Ask::Offer(Offer { g: 1, sdp: sdp.into(), send, recv });
    let sections = |count| {
        let head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
        head.to_owned() + &"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n".repeat(count)
    };
    let play = |id: &str| Ask::Play(Play { stream: stream(id), quality: Wish::High });
    let candidate = |n: u32| {
        let candidate = format!("candidate:{n} 1 udp 1 192.0.2.1 {} typ host", 1_000 + n);
        Ask::Candidate(Candidate { g: 1, candidate })
    };
    let nothing = Grants::default;
    let camera = || Grants { publish: vec![Source::Camera], ..nothing() };
    let slots =
        |count| (0..count).map(|mid: u32| SlotOf { mid: mid.to_string(), kind: Kind::Video }).collect();
    let of_camera = |mid: &str, id: &str| send(mid, id, Source::Camera);
    let rows = [
        (
            "publishing",
            nothing(),
            offer("", vec![of_camera("0", "mallory/x")], vec![]),
            Code::NotPermittedPublish,
        ),
        (
            "another source",
            camera(),
            offer("", vec![send("0", "mallory/x", Source::Microphone)], vec![]),
            Code::NotPermittedPublish,
        ),
        (
            "another's id",
            camera(),
            offer("", vec![of_camera("0", "alice/x")], vec![]),
            Code::NotPermittedPublish,
        ),
        (
            "another's stream",
            camera(),
            offer("", vec![of_camera("0", "alice/camera")], vec![]),
            Code::NotPermittedPublish,
        ),
        (
            "an id twice",
            camera(),
            offer("", vec![of_camera("0", "mallory/x"), of_camera("1", "mallory/x")], vec![]),
            Code::StreamExists,
        ),
        (
            "more streams than may be",
            camera(),
            offer("", (0..9).map(|n| of_camera(&n.to_string(), &format!("mallory/{n}"))).collect(), vec![]),
            Code::TooManyStreams,
        ),
        ("more room than may be", camera(), offer("", vec![], slots(17)), Code::TooManyStreams),
        ("a slot twice", camera(), offer("", vec![], [slots(1), slots(1)].concat()), Code::BadMessage),
        (
            "a long name",
            camera(),
            offer("", vec![of_camera(&"x".repeat(17), "mallory/x")], vec![]),
            Code::BadMessage,
        ),
        ("garbage for SDP", camera(), offer("v=0\r\nm=\u{fffd}", vec![], vec![]), Code::BadSdp),
        ("no SDP", camera(), offer("", vec![], vec![]), Code::BadSdp),
        ("long garbage", camera(), offer(&"a=x\n".repeat(12_000), vec![], vec![]), Code::BadSdp),
        ("65 sections", camera(), offer(&sections(65), vec![], vec![]), Code::BadSdp),
        ("257 candidates", camera(), offer(&"a=candidate:1\r\n".repeat(257), vec![], vec![]), Code::BadSdp),
        ("playing", camera(), play("alice/camera"), Code::NotPermittedSubscribe),
        ("joining twice", camera(), join(token("mallory", PATIENCE)), Code::BadMessage),
        (
            "muting another's",
            camera(),
            Ask::Mute(Mute { stream: stream("alice/camera"), muted: true }),
            Code::StreamUnknown,
        ),
        (
            "ending another's",
            camera(),
            Ask::Unpublish { stream: stream("alice/camera") },
            Code::StreamUnknown,
        ),
        ("a bad token", camera(), Ask::Renew { token: "x".into() }, Code::TokenInvalid),
        (
            "another's token",
            camera(),
            Ask::Renew { token: token("alice", PATIENCE) },
            Code::RenewedTokenInvalid,
        ),
    ];
    runtime().block_on(async {
        let mut others = Bystanders::meet(at).await;
        // In another room there is something to see, too.
        let grants = Grants { join: true, publish: vec![Source::Camera], ..nothing() };
        let mut dave = Client::join_with(at, "dave", token_of("dave", "else", grants, PATIENCE)).await;
        others.suffer(dave.publish()).await;
        let all = Grants { subscribe: true, ..nothing() };
        let across = ("playing across rooms", all, play("dave/camera"), Code::StreamUnknown);
        for (attack, grants, ask, code) in rows.into_iter().chain([across]) {
            let before = Figures::of(at).await;
            let came = others.suffer(answered(at, grants, vec![ask])).await;
            assert_eq!(came, [code], "{attack}");
            let after = Figures::of(at).await;
            assert_eq!(after.of_name(&counter(code)), before.of_name(&counter(code)) + 1, "{attack}");
        }
        let offers = (0..30).map(|_| offer("", vec![], vec![])).collect();
        let came = others.suffer(answered(at, nothing(), offers)).await;
        assert_eq!(
            came.iter().filter(|code| **code == Code::TooManyRequests).count(),
            10,
            "a flood of offers"
        );
        // A flood of candidates, by one who has media.
        let grants = Grants { join: true, publish: vec![Source::Camera], ..nothing() };
        let mut mallory =
            Client::join_with(at, "mallory", token_of("mallory", "demo", grants, PATIENCE)).await;
        others.suffer(mallory.publish()).await;
        let before = Figures::of(at).await;
        others
            .suffer(async {
                for n in 0..100 {
                    mallory.ask(candidate(n)).await;
                }
                mallory.ask(Ask::Leave).await;
                mallory.until("it is closed", |it| it.closed.is_some()).await;
            })
            .await;
        let after = Figures::of(at).await;
        let name = counter(Code::TooManyRequests);
        assert_eq!(after.of_name(&name), before.of_name(&name) + 100 - 32, "a flood of candidates");
    });
    ends(server);
}

/// A participant with media, from whose address anything can be sent.
async fn mallory(at: SocketAddr) -> Client {
    let mut mallory = Client::join(at, "mallory").await;
    mallory.publish().await;
    mallory
}

/// RTP of this sender that nobody's keys encrypted.
fn rtp(ssrc: u32, seq: u16, len: usize) -> Vec<u8> {
    let mut bytes = [&[0x80, 96][..], &seq.to_be_bytes(), &[0; 4], &ssrc.to_be_bytes()].concat();
    bytes.resize(len, 0x5a);
    bytes
}

#[test]
fn datagrams_of_those_who_are_nobody_go_nowhere() {
    let server = server();
    let (at, media) = (server.address, server.media[0]);
    runtime().block_on(async {
        let mut others = Bystanders::meet(at).await;
        let alice = others.alice.udp.local_addr().unwrap();
        let mid = others.alice.sends.unwrap();
        let ssrc = *others.alice.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().ssrc();
        let knock = b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl".to_vec();
        let named = [&b"\0\x01\0\x0c\x21\x12\xa4\x42abcdefghijkl\0\x06\0\x08nobody:x"[..]].concat();
        let dtls = [&[22, 254, 253][..], &[0; 8], &[0, 100], &[0x5a; 100]].concat();
        let foreign = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert_ne!(foreign.local_addr().unwrap(), alice);
        let rows = [
            ("alice's RTP from elsewhere", rtp(ssrc, 7, 200), 100, "unknown_total"),
            ("RTP for nobody", rtp(0xdead, 7, 200), 100, "unknown_total"),
            ("DTLS for nobody", dtls.clone(), 100, "unknown_total"),
            ("noise", vec![0xff; 300], 100, "unknown_total"),
            ("a request for nobody", named, 100, "unknown_total"),
            ("what is too long", vec![0x80; 1_501], 100, "oversized_total"),
            ("nothing", Vec::new(), 100, "unknown_total"),
            ("a long knock", [knock.clone(), vec![0; 60]].concat(), 100, "unknown_total"),
        ];
        for (attack, datagram, count, name) in rows {
            let before = Figures::of(at).await;
            let came = others.suffer(async {
                for _ in 0..count {
                    foreign.send_to(&datagram, media).await.unwrap();
                }
                let mut after = Figures::of(at).await;
                while after.of_name(name) < before.of_name(name) + count {
                    after = Figures::of(at).await;
                }
                after.of_name(name) - before.of_name(name)
            });
            assert_eq!(came.await, count, "{attack}");
        }
        // Knocks are answered, up to a rate.
        let before = Figures::of(at).await;
        let names = ["knocks_total", "knocks_refused_total"];
        let [answered, refused] = others
            .suffer(async {
                for _ in 0..2_000 {
                    foreign.send_to(&knock, media).await.unwrap();
                    tokio::task::yield_now().await;
                }
                loop {
                    let after = Figures::of(at).await;
                    let rose = names.map(|name| after.of_name(name) - before.of_name(name));
                    if rose.iter().sum::<u64>() == 2_000 {
                        break rose;
                    }
                }
            })
            .await;
        assert!(answered >= 100 && refused >= 1_000, "{answered} were answered, {refused} refused");
    });
    ends(server);
}

#[test]
fn datagrams_from_a_participants_address_that_are_not_theirs_disturb_not_even_them() {
    let server = server();
    let (at, media) = (server.address, server.media[0]);
    runtime().block_on(async {
        let mut others = Bystanders::meet(at).await;
        let mid = others.alice.sends.unwrap();
        let alice = &mut others.alice;
        let ssrc = *alice.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().ssrc();
        let mut named = rtp(0xdead, 7, 200);
        (named[0], named[1]) = (0x90, 45);
        // RFC 8285 § 4.2: one word of extensions, the fourth of which is the section's name.
        named[12..20].copy_from_slice(&[&[0xbe, 0xde, 0, 1, 4 << 4 | 2], mid.as_bytes()].concat());
        let rows = [
            ("her sender, from far ahead", rtp(ssrc, 20_000, 200)),
            ("her sender, from far behind", rtp(ssrc, 60_000, 200)),
            ("another sender", rtp(0xdead, 7, 200)),
            ("a short packet", rtp(ssrc, 8, 13)),
            ("another sender of her section", named),
        ];
        for (attack, datagram) in rows {
            let before = Figures::of(at).await;
            for _ in 0..50 {
                others.alice.udp.send_to(&datagram, media).await.unwrap();
            }
            others.go_on(10).await;
            let after = Figures::of(at).await;
            let rose = after.of_name("fruitless_total") - before.of_name("fruitless_total");
            assert!(rose >= 50, "{attack}: {rose}");
        }
        for (attack, datagram) in [
            ("DTLS", [&[22, 254, 253][..], &[0; 8], &[0, 100], &[0x5a; 100]].concat()),
            ("half of DTLS", vec![22, 254, 253, 0, 0]),
            ("RTCP", [&[0x80, 200, 0, 6][..], &[0x5a; 40]].concat()),
            ("an answer to no request", b"\x01\x01\0\0\x21\x12\xa4\x42abcdefghijkl".to_vec()),
            ("noise", vec![0xff; 300]),
        ] {
            for _ in 0..50 {
                others.alice.udp.send_to(&datagram, media).await.unwrap();
            }
            others.go_on(10).await;
            assert_eq!(Figures::of(at).await.of_name("peers_failed_total"), 0, "{attack}");
        }
    });
    ends(server);
}

#[test]
fn requests_that_are_not_signed_with_the_peers_password_teach_nothing() {
    let server = server();
    let at = server.address;
    runtime().block_on(async {
        let mut others = Bystanders::meet(at).await;
        let before = Figures::of(at).await;
        let mut mallory = others.suffer(Client::join(at, "mallory")).await;
        mallory.read_answer = |sdp| {
            let line = sdp.lines().find(|line| line.starts_with("a=ice-pwd:")).unwrap();
            sdp.replace(line, &format!("a=ice-pwd:{}", "x".repeat(22)))
        };
        let offer = mallory.offer();
        mallory.ask(Ask::Offer(offer)).await;
        let mut page = Figures::of(at).await;
        while page.of_name("unknown_total") < before.of_name("unknown_total") + 3 {
            others.suffer(mallory.step()).await;
            page = Figures::of(at).await;
        }
        assert!(!mallory.is_connected);
        assert_eq!(page.of_name("peers"), 3, "it is there, and cannot be reached");
    });
    ends(server);
}

#[test]
fn who_sends_too_much_is_cut_down_or_off() {
    let config = "listen = \"127.0.0.1:0\"\nlimits = { ingress_kbps = 100, messages_per_s = 10000 }";
    let server = Server::start(&Config::parse(config).unwrap()).unwrap();
    let at = server.address;
    runtime().block_on(async {
        let mut others = Bystanders::meet(at).await;
        for (attack, payload, name) in [
            ("above the cap", 1_000, "dropped_total{why=\"flood\"}"),
            ("packets too long", 1_401, "dropped_total{why=\"too_long\"}"),
        ] {
            let mut mallory = others.suffer(mallory(at)).await;
            let before = Figures::of(at).await;
            let rose = others.suffer(async {
                for seq in 1..=60 {
                    mallory.send_payload(seq, vec![0x10; payload]);
                    mallory.step().await;
                }
                let after = Figures::of(at).await;
                mallory.ask(Ask::Leave).await;
                mallory.until("it is closed", |it| it.closed.is_some()).await;
                after.of_name(name) - before.of_name(name)
            });
            let rose = rose.await;
            assert!(rose >= 20, "{attack}: {rose}");
        }
        let mut mallory = others.suffer(mallory(at)).await;
        let before = Figures::of(at).await;
        others
            .suffer(async {
                let mid = mallory.sends.unwrap();
                for n in 1..=100 {
                    let (ssrc, rtx): (Ssrc, Ssrc) = (n.into(), (1_000 + n).into());
                    mallory.rtc.direct_api().reset_stream_tx(mid, None, ssrc, Some(rtx)).unwrap();
                    mallory.send(n.into(), true);
                    mallory.step().await;
                }
                let failed =
                    |it: &mut Client| it.told.iter().any(|told| matches!(told, Told::MediaFailed { g: 1 }));
                mallory.until("its media are given up", failed).await;
            })
            .await;
        let name = "peers_failed_total";
        assert_eq!(Figures::of(at).await.of_name(name), before.of_name(name) + 1, "100 senders");
        drop(mallory);
        // One that asks and asks and never reads.
        let before = Figures::of(at).await;
        let mut deaf = connect(at, SUBPROTOCOL).await.unwrap();
        others
            .suffer(async {
                use futures_util::SinkExt;
                let _ = deaf.send(text(join(token("deaf", PATIENCE)))).await;
                while Figures::of(at).await.of_name("stuck_total") == before.of_name("stuck_total") {
                    for _ in 0..500 {
                        let _ = deaf.feed(text(Ask::Ping { at: u64::MAX })).await;
                    }
                    let _ = deaf.flush().await;
                }
            })
            .await;
    });
    ends(server);
}
