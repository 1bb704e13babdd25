//! A participant of a kind that nobody ships: a WebSocket, a UDP socket and a str0m.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{SinkExt, StreamExt};
use sidetone_room::protocol::{
    Ask, Code, Join, Kind, Offer, Request, RoomName, SUBPROTOCOL, Send, SlotOf, Source, StreamId, Told,
    UserName, VERSION,
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
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn server() -> Server {
    let config = Config::parse("listen = \"127.0.0.1:0\"").unwrap();
    Server::start(&config).unwrap()
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn token(user: &str, ttl: Duration) -> String {
    let grants = Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, ..Grants::default() };
    token_of(user, "demo", grants, ttl)
}

pub(crate) fn token_of(user: &str, room: &str, grants: Grants, ttl: Duration) -> String {
    let pass = Pass { user: UserName::new(user).unwrap(), room: Some(RoomName::new(room).unwrap()), grants };
    App::development().mint(&pass, wall(), ttl)
}

/// The time since 1970 (UTC).
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

pub(crate) type Socket = WebSocketStream<TcpStream>;

pub(crate) async fn connect(server: SocketAddr, protocol: &str) -> Option<Socket> {
    let mut request = format!("ws://{server}/room").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let stream = TcpStream::connect(server).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.ok().map(|(socket, _)| socket)
}

pub(crate) struct Client {
    pub(crate) user: &'static str,
    pub(crate) socket: Socket,
    pub(crate) udp: UdpSocket,
    pub(crate) rtc: Rtc,
    pub(crate) n: u32,
    pub(crate) told: Vec<Told>,
    pub(crate) packets: Vec<RtpPacket>,
    pub(crate) key_frames_wanted: usize,
    pub(crate) is_connected: bool,
    /// With which code the server closed the link, if it did.
    pub(crate) closed: Option<Option<u16>>,
    pub(crate) pending: Option<SdpPendingOffer>,
    pub(crate) sends: Option<Mid>,
    /// What it reads in an answer: for those who mean no good.
    pub(crate) read_answer: fn(&str) -> String,
}

impl Client {
    pub(crate) async fn join(server: SocketAddr, user: &'static str) -> Self {
        Self::join_with(server, user, token(user, Duration::from_secs(60))).await
    }

    pub(crate) async fn join_with(server: SocketAddr, user: &'static str, token: String) -> Self {
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
            closed: None,
            pending: None,
            sends: None,
            read_answer: str::to_owned,
        };
        client.ask(join(token)).await;
        client.until("it is in", |it| matches!(it.told.first(), Some(Told::Joined(_)))).await;
        client
    }

    pub(crate) async fn ask(&mut self, ask: Ask) {
        self.n += 1;
        let text = serde_json::to_string(&Request { n: self.n, ask }).unwrap();
        // The server may have closed it.
        let _ = self.socket.send(Message::text(text)).await;
    }

    /// Offers to send a camera's pictures, and room for those of another.
    pub(crate) async fn publish(&mut self) {
        let offer = self.offer();
        self.ask(Ask::Offer(offer)).await;
        self.until("its media are connected", |it| it.is_connected).await;
    }

    pub(crate) fn offer(&mut self) -> Offer {
        let mut changes = self.rtc.sdp_api();
        let sends = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let takes = changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        (self.pending, self.sends) = (Some(pending), Some(sends));
        Offer {
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
        }
    }

    /// Sends one packet of a picture, which begins a key frame or does not.
    pub(crate) fn send(&mut self, seq: u64, is_key: bool) {
        let head = if is_key { 0x18 } else { 0x10 };
        let payload = [&[head, 0x32][..], self.user.as_bytes(), &seq.to_be_bytes()].concat();
        self.send_payload(seq, payload);
    }

    pub(crate) fn send_payload(&mut self, seq: u64, payload: Vec<u8>) {
        let params = self.rtc.codec_config().params().iter();
        let pt = params.clone().find(|params| params.spec().codec == Codec::Av1).unwrap().pt();
        let write =
            RtpWrite::new(pt, seq.into(), u32::try_from(seq).unwrap() * 3_000, Instant::now(), payload);
        let mut api = self.rtc.direct_api();
        api.stream_tx_by_mid(self.sends.unwrap(), None).unwrap().write_rtp(write.marker(true).nackable(true));
    }

    /// Says goodbye to the server's end of the media, and not over the link.
    pub(crate) fn close_media(&mut self) {
        self.rtc.close().unwrap();
    }

    /// Goes on until something is so.
    pub(crate) async fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let user = self.user;
        let went = timeout(PATIENCE, async {
            while !is_so(self) {
                self.step().await;
            }
        });
        assert!(went.await.is_ok(), "{user}: {what}; it was told {:?}", self.told);
    }

    /// Sends what is to be sent, and says until when it has nothing to do.
    async fn settle(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(due) if due > Instant::now() => return due,
                Output::Timeout(_) => self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap(),
                Output::Transmit(send) => {
                    self.udp.send_to(&send.contents, send.destination).await.unwrap();
                }
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::RtpPacket(packet)) => self.packets.push(packet),
                Output::Event(Event::KeyframeRequest(_)) => self.key_frames_wanted += 1,
                Output::Event(_) => {}
            }
        }
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        let local = self.udp.local_addr().unwrap();
        let receive = Receive::new(Protocol::Udp, from, local, datagram).unwrap();
        self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
    }

    /// Takes what comes first.
    pub(crate) async fn step(&mut self) {
        let due = self.settle().await;
        let mut bytes = vec![0; 2_048];
        tokio::select! {
            biased;
            came = self.udp.readable() => {
                came.unwrap();
                // All that waits is taken at once, lest the system's buffer flow over.
                while let Ok((length, from)) = self.udp.try_recv_from(&mut bytes) {
                    self.receive(from, &bytes[..length]);
                    self.settle().await;
                }
            }
            // No longer than until the other participant's turn is to come.
            () = sleep_until(due.min(Instant::now() + Duration::from_millis(5)).into()) => {
                self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            }
            message = self.socket.next(), if self.closed.is_none() => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Close(frame))) => {
                        self.closed = Some(frame.map(|frame| frame.code.into()));
                        return;
                    }
                    Some(Ok(_)) => return,
                    None | Some(Err(_)) => {
                        self.closed = Some(None);
                        return;
                    }
                };
                let told = serde_json::from_str(&text).unwrap();
                if let Told::Answer { sdp, .. } = &told {
                    let answer = SdpAnswer::from_sdp_string(&(self.read_answer)(sdp)).unwrap();
                    self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
                }
                self.told.push(told);
            }
        }
    }
}

pub(crate) fn join(token: String) -> Ask {
    let client = sidetone_room::protocol::Client { name: "test".into(), version: "1".into() };
    Ask::Join(Join { v: VERSION, token, auto_play: true, client, resume: None })
}

/// What is told to somebody who sends this, and the code that the server closes with.
pub(crate) async fn refused(server: SocketAddr, messages: &[Message]) -> (Option<Code>, Option<u16>) {
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

pub(crate) async fn get(server: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}
