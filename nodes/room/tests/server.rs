//! The whole server in one process: participants of a kind that nobody ships (a
//! WebSocket, a UDP socket and a str0m each) meet in it over loopback.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{SinkExt, StreamExt};
use sidetone_room::protocol::{
    Ask, Code, Join, Kind, MOST_BYTES, News, Offer, Request, RoomName, SUBPROTOCOL, Send, SlotOf, Source,
    StreamId, Told, UserName, VERSION,
};
use sidetone_room::server::claims::Grants;
use sidetone_room::server::config::Config;
use sidetone_room::server::http::Server;
use sidetone_room::server::token::{App, Pass};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Nothing here takes as long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

fn server() -> Server {
    let config = Config::parse("listen = \"127.0.0.1:0\"").unwrap();
    Server::start(&config).unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn token(user: &str, ttl: Duration) -> String {
    let grants = Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, ..Grants::default() };
    let pass =
        Pass { user: UserName::new(user).unwrap(), room: Some(RoomName::new("demo").unwrap()), grants };
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    App::development().mint(&pass, wall, ttl)
}

type Socket = WebSocketStream<TcpStream>;

async fn connect(server: SocketAddr, protocol: &str) -> Option<Socket> {
    let mut request = format!("ws://{server}/room").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let stream = TcpStream::connect(server).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.ok().map(|(socket, _)| socket)
}

struct Client {
    user: &'static str,
    socket: Socket,
    udp: UdpSocket,
    rtc: Rtc,
    n: u32,
    told: Vec<Told>,
    packets: Vec<RtpPacket>,
    key_frames_wanted: usize,
    is_connected: bool,
    pending: Option<SdpPendingOffer>,
    sends: Option<Mid>,
}

impl Client {
    async fn join(server: SocketAddr, user: &'static str) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut rtc = Rtc::builder().set_rtp_mode(true).clear_codecs().enable_av1(true).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(udp.local_addr().unwrap(), "udp").unwrap()).unwrap();
        let socket = connect(server, SUBPROTOCOL).await.unwrap();
        let mut client = Self {
            user,
            socket,
            udp,
            rtc,
            n: 0,
            told: Vec::new(),
            packets: Vec::new(),
            key_frames_wanted: 0,
            is_connected: false,
            pending: None,
            sends: None,
        };
        client.ask(join(token(user, Duration::from_secs(60)))).await;
        client.until("it is in", |it| matches!(it.told.first(), Some(Told::Joined(_)))).await;
        client
    }

    async fn ask(&mut self, ask: Ask) {
        self.n += 1;
        let text = serde_json::to_string(&Request { n: self.n, ask }).unwrap();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Offers to send a camera's pictures, and room for those of another.
    async fn publish(&mut self) {
        let mut changes = self.rtc.sdp_api();
        let sends = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let takes = changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        (self.pending, self.sends) = (Some(pending), Some(sends));
        let offer = Offer {
            g: 1,
            sdp: offer.to_sdp_string(),
            send: vec![Send {
                mid: sends.to_string(),
                stream: StreamId::new(&format!("{}/camera", self.user)).unwrap(),
                source: Source::Camera,
                muted: false,
                layers: Vec::new(),
            }],
            recv: vec![SlotOf { mid: takes.to_string(), kind: Kind::Video }],
        };
        self.ask(Ask::Offer(offer)).await;
        self.until("its media are connected", |it| it.is_connected).await;
    }

    /// Sends one packet of a picture, which begins a key frame or does not.
    fn send(&mut self, seq: u64, is_key: bool) {
        let params = self.rtc.codec_config().params().iter();
        let pt = params.clone().find(|params| params.spec().codec == Codec::Av1).unwrap().pt();
        let head = if is_key { 0x18 } else { 0x10 };
        let payload = [&[head, 0x32][..], self.user.as_bytes(), &seq.to_be_bytes()].concat();
        let write =
            RtpWrite::new(pt, seq.into(), u32::try_from(seq).unwrap() * 3_000, Instant::now(), payload);
        let mut api = self.rtc.direct_api();
        api.stream_tx_by_mid(self.sends.unwrap(), None).unwrap().write_rtp(write.marker(true).nackable(true));
    }

    /// Goes on until something is so.
    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let user = self.user;
        let went = timeout(PATIENCE, async {
            while !is_so(self) {
                self.step().await;
            }
        });
        assert!(went.await.is_ok(), "{user}: {what}; it was told {:?}", self.told);
    }

    /// Takes what comes first.
    async fn step(&mut self) {
        let due = loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(due) if due > Instant::now() => break due,
                Output::Timeout(_) => self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap(),
                Output::Transmit(send) => {
                    self.udp.send_to(&send.contents, send.destination).await.unwrap();
                }
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::RtpPacket(packet)) => self.packets.push(packet),
                Output::Event(Event::KeyframeRequest(_)) => self.key_frames_wanted += 1,
                Output::Event(_) => {}
            }
        };
        let mut bytes = vec![0; 2_048];
        tokio::select! {
            // No longer than until the other participant's turn is to come.
            () = sleep_until(due.min(Instant::now() + Duration::from_millis(5)).into()) => {
                self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            }
            came = self.udp.recv_from(&mut bytes) => {
                let (length, from) = came.unwrap();
                let local = self.udp.local_addr().unwrap();
                let receive = Receive::new(Protocol::Udp, from, local, &bytes[..length]).unwrap();
                self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            }
            message = self.socket.next() => {
                let Some(Ok(Message::Text(text))) = message else { return };
                let told = serde_json::from_str(&text).unwrap();
                if let Told::Answer { sdp, .. } = &told {
                    let answer = SdpAnswer::from_sdp_string(sdp).unwrap();
                    self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
                }
                self.told.push(told);
            }
        }
    }
}

fn join(token: String) -> Ask {
    let client = sidetone_room::protocol::Client { name: "test".into(), version: "1".into() };
    Ask::Join(Join { v: VERSION, token, auto_play: true, client, resume: None })
}

#[test]
fn two_participants_see_each_other_through_the_server() {
    let server = server();
    runtime().block_on(async {
        let mut alice = Client::join(server.address, "alice").await;
        alice.publish().await;
        let mut bob = Client::join(server.address, "bob").await;
        let Told::Joined(joined) = &bob.told[0] else { panic!("bob was told {:?}", bob.told) };
        assert_eq!(joined.people.len(), 1);
        let no = joined.people[0].streams[0].no;
        assert_eq!(joined.people[0].streams[0].codec, "av1");
        bob.publish().await;
        bob.until("which stream comes where", |it| {
            it.told.iter().any(|told| matches!(told, Told::Slots { slots, .. } if slots[0].no == no))
        })
        .await;
        alice
            .until("bob's stream is there", |it| {
                it.told.iter().any(|told| {
                    matches!(told, Told::Event { e: News::StreamAdded { stream }, .. } if stream.id.user() == "bob")
                })
            })
            .await;
        alice.until("a key frame is asked for", |it| it.key_frames_wanted > 0).await;
        // Both send, to each other, far apart in their numbers.
        let mut seq = 0;
        while alice.packets.len() < 50 || bob.packets.len() < 50 {
            assert!(seq < 2_000, "{} and {} packets came", alice.packets.len(), bob.packets.len());
            seq += 1;
            alice.send(40_000 + seq, seq == 3);
            bob.send(seq, seq == 3);
            for client in [&mut alice, &mut bob] {
                client.step().await;
            }
        }
        for (to, from, first) in [(&alice, "bob", 3), (&bob, "alice", 40_003_u64)] {
            let payloads = to.packets.iter().map(|packet| {
                let (head, number) = packet.payload.split_at(2 + from.len());
                assert_eq!(&head[2..], from.as_bytes());
                u64::from_be_bytes(number.try_into().unwrap())
            });
            let expected: Vec<u64> = (first..).take(to.packets.len()).collect();
            assert_eq!(payloads.collect::<Vec<_>>(), expected, "all from the key frame on, in order");
            let numbers: Vec<u64> = to.packets.iter().map(|packet| *packet.seq_no).collect();
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) && numbers[0] < 65_536);
        }
        let header = &bob.packets[0].header;
        assert_eq!(header.csrc[..header.csrc_count], [no]);
        alice.ask(Ask::Leave).await;
        bob.until("alice left", |it| {
            it.told.iter().any(|told| matches!(told, Told::Event { e: News::UserLeft { .. }, .. }))
        })
        .await;
    });
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!((counts.joins, counts.panics, counts.peers_failed), (2, 0, 0));
    assert!(counts.packets_out >= 100, "{counts:?}");
}

/// What is told to somebody who sends this, and the code that the server closes with.
async fn refused(server: SocketAddr, messages: &[Message]) -> (Option<Code>, Option<u16>) {
    let mut socket = connect(server, SUBPROTOCOL).await.unwrap();
    for message in messages {
        // It may have been closed already.
        let _ = socket.send(message.clone()).await;
    }
    let mut code = None;
    let last = timeout(PATIENCE, async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(Told::Failed { code: why, .. }) = serde_json::from_str(&text) {
                        code = Some(why);
                    }
                }
                Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                _ => break None,
            }
        }
    });
    let last = last.await.expect("an end");
    (code, last)
}

async fn get(server: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

#[test]
fn who_does_not_keep_to_the_protocol_is_refused_and_counted() {
    let server = server();
    let at = server.address;
    runtime().block_on(async {
        let text = |ask: Ask| Message::text(serde_json::to_string(&Request { n: 1, ask }).unwrap());
        let cases = [
            (text(join(String::new())), Code::TokenInvalid),
            (text(join("x".repeat(5_000))), Code::TooLarge),
            (text(join(token("alice", Duration::ZERO))), Code::TokenExpired),
            (text(Ask::Leave), Code::BadMessage),
            (Message::text("{"), Code::BadMessage),
            (Message::text("[".repeat(10_000)), Code::BadMessage),
            (Message::text("{\"n\":1,\"t\":\"dance\"}"), Code::UnknownMessage),
        ];
        for (message, code) in cases {
            let expected = (Some(code), Some(code.close_code()));
            assert_eq!(refused(at, &[message]).await, expected);
        }
        let long = Message::text("x".repeat(MOST_BYTES + 1));
        assert!(refused(at, &[long]).await.0.is_none(), "it is not even read");
        assert_eq!(refused(at, &[Message::binary(vec![1])]).await, (None, Some(1_003)));
        let many = vec![text(Ask::Ping { at: 0 }); 2];
        assert_eq!(refused(at, &many).await.0, Some(Code::BadMessage));
        assert!(connect(at, "chat").await.is_none(), "another subprotocol");
        // None of that disturbs anybody.
        let alice = Client::join(at, "alice").await;
        let page = get(at, "/metrics").await;
        for line in [
            "sidetone_room_joins_total 1",
            "sidetone_room_rooms 1",
            "refused_total{code=\"unknown_message\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not in {page}");
        }
        assert!(get(at, "/healthz").await.ends_with("\r\n\r\nok\n"));
        drop(alice);
    });
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!(counts.joins, 1);
    assert_eq!(counts.refused[&Code::BadMessage], 4);
}

#[test]
fn a_server_that_ends_says_so_and_puts_everyone_out() {
    let server = server();
    let at = server.address;
    let runtime = runtime();
    let mut alice = runtime.block_on(Client::join(at, "alice"));
    let ending = std::thread::spawn(move || server.end(Duration::from_secs(60), &AtomicBool::new(false)));
    runtime.block_on(async {
        alice.until("it closes", |it| matches!(it.told.last(), Some(Told::Closing { in_s: 60 }))).await;
        let bob = Message::text(
            serde_json::to_string(&Request { n: 1, ask: join(token("bob", PATIENCE)) }).unwrap(),
        );
        assert_eq!(refused(at, &[bob]).await.0, Some(Code::ShuttingDown));
        assert!(get(at, "/healthz").await.starts_with("HTTP/1.1 503"));
        alice.ask(Ask::Leave).await;
        while !matches!(alice.socket.next().await, None | Some(Err(_))) {}
    });
    assert_eq!(ending.join().unwrap().joins, 1);
}
