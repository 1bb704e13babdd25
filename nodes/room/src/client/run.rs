//! The loop around a [`Session`] and its [`PeerConnection`]: their sockets, their clock
//! and their connection to the server. One task of a tokio runtime; programs talk to it
//! by a queue.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use sidetone_core::Timestamp;
use str0m::net::Transmit;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::client::link::{Heard, Link};
use crate::client::peer_connection::{Incoming, News, Outgoing, PeerConfig, PeerConnection, REPORT_EVERY};
use crate::client::session::{Command, ConnectionId, OfferKind, OfferWanted, Options, Output, Session};
use crate::events::RoomEvent;
use crate::protocol::{self, Kind, Limits, StreamId};
use crate::reception::{Interval, Reception};
use crate::rtc::Gone;
use crate::statistics::{self, Statistics};
use crate::stun;
use crate::url::ServerUrl;

/// How long nothing may come of media that are up.
const SILENCE: Duration = Duration::from_millis(1_500);
/// Room for others' streams grows by so many of a kind at a time, so that a few more do
/// not each cost an offer.
const ROOM_STEP: u32 = 4;
/// Datagrams and orders that are taken in one turn.
const BATCH: usize = 64;
/// Datagrams that may wait at a socket: more than its buffer has room for.
const MOST_WAITING: usize = 4_096;
/// The longest datagram that is looked at.
const MOST_DATAGRAM: usize = 2_048;
/// What is wanted to get through of each stream of pictures, in bits per second: so much
/// is looked for.
const WANTED_OF_PICTURES: u64 = 2_500_000;
/// Messages heard that wait.
const HEARD: usize = 64;

/// What a participant takes part with.
pub struct Settings {
    /// Where the server is.
    pub url: ServerUrl,
    /// How TLS connects, for a server that wants that: see [`trust`](crate::client::link::trust).
    pub tls: Option<Arc<ClientConfig>>,
    /// How it takes part.
    pub options: Options,
    /// What its media connections are made of.
    pub peers: Arc<PeerConfig>,
    /// Where its chances come from.
    pub rng: fastrand::Rng,
}

/// What a program wants of a running participant.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // nearly all are packets
pub enum Order {
    /// Something of its session.
    Command(Command),
    /// A packet of a stream of its own to be sent.
    Packet(StreamId, Outgoing),
    /// A key frame of another's stream, by its number.
    KeyFrame(u32),
}

/// What a program is told.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // nearly all are packets
pub enum Happening {
    /// Something happened in the room.
    Event(RoomEvent),
    /// A packet of another's stream came.
    Packet(Incoming),
    /// Those who play a stream of its own need a key frame of it.
    KeyFrameWanted(StreamId),
    /// So many bits per second get through to the server.
    Estimate(u64),
    /// A packet of its own could not be sent: muted, not connected, or too late.
    Unsent,
}

/// Takes part in a room until it left or failed for good, by order or because nobody is
/// left to give any. Ends within a second of that. To be run within a runtime with time
/// and network.
pub async fn run(settings: Settings, mut orders: mpsc::Receiver<Order>, tell: impl FnMut(Happening)) {
    let Settings { url, tls, options, peers, rng } = settings;
    let (hear, mut heard) = mpsc::channel(HEARD);
    let start = Instant::now();
    let mut this = Participant {
        start,
        url,
        tls,
        peers,
        session: Session::new(options, rng),
        link: None,
        hear,
        media: None,
        socket: None,
        due: None,
        came: start,
        is_up: false,
        news: Vec::new(),
        muted: HashSet::new(),
        receptions: HashMap::new(),
        report: start + REPORT_EVERY,
        knocker: None,
        lost: String::new(),
        tell,
    };
    this.session.join(this.now());
    let mut has_orders = true;
    let (mut bytes, mut answer) = (vec![0; MOST_DATAGRAM], [0; 64]);
    loop {
        this.act();
        if this.session.is_over() {
            break;
        }
        let due = this.next();
        tokio::select! {
            order = orders.recv(), if has_orders => match order {
                Some(order) => {
                    this.obey(order);
                    for _ in 1..BATCH {
                        let Ok(order) = orders.try_recv() else { break };
                        this.obey(order);
                    }
                }
                None => {
                    has_orders = false;
                    this.session.command(this.now(), Command::Leave);
                }
            },
            came = receive(this.socket.as_ref(), &mut bytes) => {
                let mut came = Some(came);
                for _ in 0..BATCH {
                    match came.take() {
                        Some(Ok((length, from))) => this.datagram(from, &bytes[..length]),
                        // What an address that takes nothing answered is told here: the
                        // next may be fine.
                        Some(Err(why)) if why.kind() != io::ErrorKind::WouldBlock => {}
                        _ => break,
                    }
                    came = this.socket.as_ref().map(|socket| socket.reads.try_recv_from(&mut bytes));
                }
            }
            knocked = receive(this.knocker.as_ref().map(|(socket, _)| socket), &mut answer) => {
                this.knocked(knocked.ok().and_then(|(length, _)| answer.get(..length)));
            }
            Some((id, heard)) = heard.recv() => {
                let now = this.now();
                match heard {
                    Heard::Opened => this.session.opened(now, id),
                    Heard::Told(told) => this.session.message(now, id, *told),
                    Heard::Closed(why) => {
                        // What was sent before that is there by now.
                        this.drain(&mut bytes);
                        this.lost(why);
                        this.session.closed(now, id);
                    }
                }
            }
            () = sleep_until(due.into()) => {}
        }
        this.tick();
    }
    this.say_goodbye();
}

struct Participant<F> {
    /// What was the beginning on the session's clock.
    start: Instant,
    url: ServerUrl,
    tls: Option<Arc<ClientConfig>>,
    peers: Arc<PeerConfig>,
    session: Session,
    link: Option<Link>,
    hear: mpsc::Sender<(ConnectionId, Heard)>,
    media: Option<PeerConnection>,
    socket: Option<Socket>,
    /// When the media are to be settled again.
    due: Option<Instant>,
    /// When something last came of the media, and whether that goes on.
    came: Instant,
    is_up: bool,
    news: Vec<News>,
    /// Streams of its own that are held back.
    muted: HashSet<StreamId>,
    /// How well each stream comes, by its number, since it comes in the slot that it does.
    receptions: HashMap<u32, (u32, Reception)>,
    report: Instant,
    /// What knocks, and with which number.
    knocker: Option<(Socket, [u8; 12])>,
    /// Why the connection was last lost, as told.
    lost: String,
    tell: F,
}

impl<F: FnMut(Happening)> Participant<F> {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.start.elapsed()
    }

    /// When there is something to do, whatever comes.
    fn next(&self) -> Instant {
        let session = self.session.next_tick().map(|at| self.start + at.since(Timestamp::ZERO));
        let silent = self.is_up.then(|| self.came + SILENCE);
        [session, silent, self.due].into_iter().flatten().fold(self.report, Instant::min)
    }

    /// Does what is due.
    fn tick(&mut self) {
        let (at, now) = (self.now(), Instant::now());
        if self.is_up && now >= self.came + SILENCE {
            self.is_up = false;
            self.session.media_silent(at);
        }
        if now >= self.report {
            self.report = now + REPORT_EVERY;
            self.report();
        }
        self.settle();
        self.session.tick(at);
    }

    /// Does what the session wants done.
    fn act(&mut self) {
        loop {
            let outputs = self.session.take();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.output(output);
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Open(id) => {
                self.link = Some(Link::open(&self.url, self.tls.clone(), id, self.hear.clone()))
            }
            Output::Close(id) => {
                self.link.take_if(|link| link.id == id);
            }
            Output::Send(id, request) => {
                let is_sent = self.link.as_ref().filter(|link| link.id == id).map(|link| link.say(request));
                if is_sent == Some(false) {
                    self.link = None;
                    self.session.closed(self.now(), id);
                }
            }
            Output::Knock(addresses) => self.knock(&addresses),
            Output::Offer(wanted) => self.offer(&wanted),
            Output::Answer { g, sdp } => {
                let answered = self.media.as_mut().map(|media| {
                    media.answered(g, &sdp)?;
                    media.wants(WANTED_OF_PICTURES)
                });
                self.touched(answered);
            }
            Output::Slots { slots, .. } => {
                if let Some(media) = &mut self.media {
                    media.fed(&slots);
                }
            }
            Output::Mute(stream, true) => {
                self.muted.insert(stream);
            }
            Output::Mute(stream, false) => {
                self.muted.remove(&stream);
                (self.tell)(Happening::KeyFrameWanted(stream));
            }
            Output::Event(event) => {
                let may_need_room = matches!(event, RoomEvent::StreamAdded { .. });
                (self.tell)(Happening::Event(event));
                if may_need_room
                    && self.media.as_ref().is_some_and(|media| media.room() != self.room(media.room()))
                {
                    self.session.reoffer(self.now());
                }
            }
        }
    }

    /// A connection could not be opened, or broke: tells why, once.
    fn lost(&mut self, why: String) {
        if self.session.is_in() {
            self.lost.clear();
        }
        if !why.is_empty() && why != self.lost {
            self.lost.clone_from(&why);
            (self.tell)(Happening::Event(RoomEvent::ConnectionLost { why }));
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Command(command) => {
                self.session.command(self.now(), command);
                // What comes after it in the queue is to find it done.
                self.act();
            }
            Order::Packet(stream, packet) => {
                let (at, now) = (self.now(), Instant::now());
                let media = self.media.as_mut().filter(|_| !self.muted.contains(&stream));
                let sent = media.map_or(Ok(false), |media| media.send(at, now, &stream, packet));
                match sent {
                    // Each packet goes at once: the next is to find its way paced.
                    Ok(true) => self.settle(),
                    Ok(false) => (self.tell)(Happening::Unsent),
                    Err(gone) => self.touched(Some(Err(gone))),
                }
            }
            Order::KeyFrame(no) => {
                let asked = self.media.as_mut().map(|media| media.ask_key_frame(no));
                self.touched(asked);
            }
        }
    }

    // -----------------------------------------------------------------------
    // Media

    fn offer(&mut self, wanted: &OfferWanted) {
        match self.try_offer(wanted) {
            Ok(offer) => {
                let muted = wanted.send.iter().filter(|publish| publish.muted);
                self.muted = muted.map(|publish| publish.stream.clone()).collect();
                self.session.offered(self.now(), offer);
                self.settle();
            }
            Err(OfferError::Media(_)) => self.lose_media(),
            Err(OfferError::Unknown | OfferError::Socket(_)) => self.session.media_gone(self.now()),
        }
    }

    /// Makes an offer; where that begins anew or looks for a way, from where the server
    /// is reached by now.
    fn try_offer(&mut self, wanted: &OfferWanted) -> Result<protocol::Offer, OfferError> {
        let (_, servers) = self.session.server().ok_or(OfferError::Unknown)?;
        let ip = servers.iter().filter_map(|server| server.parse().ok()).find_map(way_to);
        let bound = self.socket.as_ref().map(|socket| socket.address);
        let bound = match (bound, ip) {
            // Where there is no way now, there may be the old one again.
            (Some(bound), None) => bound,
            (Some(bound), _) if wanted.kind == OfferKind::More => bound,
            (Some(bound), Some(ip)) if bound.ip() == ip => bound,
            (_, Some(ip)) => {
                let socket = bind(ip)?;
                let bound = socket.address;
                self.socket = Some(socket);
                if let Some(media) = &mut self.media {
                    media.moved(bound)?;
                }
                bound
            }
            (None, None) => return Err(OfferError::Unknown),
        };
        let now = Instant::now();
        // Of one that is gone the server knows still: it takes an offer that does not go
        // on with that for a beginning.
        let mut media = match self.media.take() {
            Some(media) => media,
            None => PeerConnection::new(Arc::clone(&self.peers), bound, now)?,
        };
        if wanted.kind == OfferKind::Anew {
            (self.is_up, self.due) = (false, None);
            self.receptions.clear();
        }
        let room = self.room(media.room());
        let offer = media.offer(now, wanted, room)?;
        self.media = Some(media);
        Ok(offer)
    }

    /// Room for all others' streams, in steps, and never less than there was.
    fn room(&self, was: Limits) -> Limits {
        let Some((limits, _)) = self.session.server() else { return was };
        let wanted = |kind: Kind, was: u32, most: u32| {
            let streams = self.session.roster().streams().filter(|stream| stream.source.kind() == kind);
            let wanted = u32::try_from(streams.count()).unwrap_or(u32::MAX).max(1);
            wanted.checked_next_multiple_of(ROOM_STEP).unwrap_or(u32::MAX).max(was).min(most)
        };
        Limits {
            audio_slots: wanted(Kind::Audio, was.audio_slots, limits.audio_slots),
            video_slots: wanted(Kind::Video, was.video_slots, limits.video_slots),
            ..limits
        }
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let now = Instant::now();
        let Some(media) = &mut self.media else { return };
        let received = media.receive(now, from, bytes);
        match received {
            Ok(true) => {
                self.came = now;
                if !std::mem::replace(&mut self.is_up, media.is_connected()) && self.is_up {
                    self.session.media_up(Timestamp::ZERO + now.saturating_duration_since(self.start));
                }
                self.settle();
            }
            Ok(false) => {}
            Err(gone) => self.touched(Some(Err(gone))),
        }
    }

    /// Takes what waits at the socket, up to what a system keeps there.
    fn drain(&mut self, bytes: &mut [u8]) {
        for _ in 0..MOST_WAITING {
            // By the runtime nothing would be there before it has looked.
            let Some(socket) = &self.socket else { return };
            let Ok((length, from)) = socket.writes.recv_from(bytes) else { return };
            self.datagram(from, &bytes[..length]);
        }
    }

    /// Something was done with the media.
    fn touched(&mut self, done: Option<Result<(), Gone>>) {
        match done {
            Some(Ok(())) => self.settle(),
            Some(Err(_)) => self.lose_media(),
            None => {}
        }
    }

    /// The media are of no more use: others are made.
    fn lose_media(&mut self) {
        (self.media, self.due, self.is_up) = (None, None, false);
        self.session.media_gone(self.now());
    }

    /// Sends what the media have to send and takes their news.
    fn settle(&mut self) {
        let Some(media) = &mut self.media else { return };
        let now = Instant::now();
        let socket = self.socket.as_ref();
        let send = |transmit: Transmit| {
            // What the system does not take is lost, as on any network.
            let _ = socket.map(|socket| socket.writes.send_to(&transmit.contents, transmit.destination));
        };
        let mut news = std::mem::take(&mut self.news);
        let mut told = Vec::new();
        let settled = media.settle(now, send, &mut news);
        for item in news.drain(..) {
            match item {
                News::Connected => {
                    (self.came, self.is_up) = (now, true);
                    self.session.media_up(self.now());
                }
                News::Packet(packet) => self.packet(now, packet),
                News::KeyFrameWanted(stream) => (self.tell)(Happening::KeyFrameWanted(stream)),
                News::Estimate(bps) => (self.tell)(Happening::Estimate(bps)),
                News::Asked { no, nacks, plis } => {
                    if let Some((_, reception)) = self.receptions.get_mut(&no) {
                        reception.asked(nacks, plis);
                    }
                }
                News::Statistics(statistics) => told.push(statistics),
            }
        }
        self.news = news;
        if !told.is_empty() {
            self.tell_statistics(told);
        }
        match settled {
            Ok(due) => self.due = Some(due),
            Err(_) => self.lose_media(),
        }
    }

    fn packet(&mut self, now: Instant, packet: Incoming) {
        let (seq, timestamp) = (*packet.packet.seq_no, packet.packet.header.timestamp);
        let (bytes, rate) = (packet.packet.payload.len(), packet.packet.time.frequency().get());
        match self.receptions.get_mut(&packet.no) {
            Some((feed, reception)) if *feed == packet.feed => {
                reception.packet(now, seq, timestamp, bytes, rate)
            }
            _ => {
                self.receptions.insert(packet.no, (packet.feed, Reception::new(now, seq, timestamp, bytes)));
                self.session.frame(self.now(), packet.no);
            }
        }
        (self.tell)(Happening::Packet(packet));
    }

    /// Tells the server how well streams come, and forgets those that are over.
    fn report(&mut self) {
        let roster = self.session.roster();
        self.receptions.retain(|no, _| roster.stream(*no).is_some());
        let streams = self.receptions.iter_mut().map(|(no, (_, reception))| {
            let Interval { expected, lost, jitter_ms } = reception.look();
            protocol::Receive { no: *no, expected, lost, jitter_ms }
        });
        let streams: Vec<_> = streams.filter(|stream| stream.expected > 0).collect();
        self.session.received(streams);
    }

    /// Tells the program how all media do, of which the rest is known.
    fn tell_statistics(&mut self, mut list: Vec<Statistics>) {
        let (timestamp, roster) = (statistics::timestamp(), self.session.roster());
        list.extend(self.receptions.iter().filter_map(|(no, (_, reception))| {
            let stream = roster.stream(*no)?;
            let kind = stream.source.kind();
            Some(statistics::inbound(timestamp, kind, stream.id.clone(), &reception.totals()))
        }));
        let call_ms = self.session.call_ms(self.now());
        (self.tell)(Happening::Event(RoomEvent::Statistics { call_ms, list }));
    }

    fn say_goodbye(&mut self) {
        let closed = self.media.as_mut().map(PeerConnection::close);
        if let Some(Ok(())) = closed {
            self.settle();
        }
    }

    // -----------------------------------------------------------------------
    // Knocks

    fn knock(&mut self, addresses: &[String]) {
        let addresses: Vec<SocketAddr> = addresses.iter().filter_map(|text| text.parse().ok()).collect();
        let Some(first) = addresses.first() else { return };
        // Anew each time: after a move the one before may lead nowhere.
        let Ok(socket) = way_to(*first).map_or(Err(io::ErrorKind::NetworkUnreachable.into()), bind) else {
            self.knocker = None;
            return;
        };
        let number: [u8; 12] = std::array::from_fn(|_| fastrand::u8(..));
        for address in addresses {
            // Nobody may be there: that is what it asks.
            let _ = socket.writes.send_to(&stun::knock(number), address);
        }
        self.knocker = Some((socket, number));
    }

    fn knocked(&mut self, answer: Option<&[u8]>) {
        if let (Some((_, number)), Some(answer)) = (&self.knocker, answer)
            && stun::answers(answer, *number)
        {
            self.knocker = None;
            self.session.knock_answered(self.now());
        }
    }
}

/// Why there is no offer.
#[derive(Debug, thiserror::Error)]
enum OfferError {
    #[error("no address of the server can be reached")]
    Unknown,
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Media(#[from] Gone),
}

/// The address of this machine from which the system would send to that one, if it
/// would.
fn way_to(server: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Nothing is sent: connecting a datagram socket looks the way up.
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(server).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// A datagram socket.
struct Socket {
    address: SocketAddr,
    /// What is written to: by the runtime nothing could be before it has seen that the
    /// socket takes something, and the first datagram is the one that is waited for.
    writes: std::net::UdpSocket,
    reads: UdpSocket,
}

fn bind(ip: IpAddr) -> io::Result<Socket> {
    let writes = std::net::UdpSocket::bind((ip, 0))?;
    writes.set_nonblocking(true)?;
    let (address, reads) = (writes.local_addr()?, UdpSocket::from_std(writes.try_clone()?)?);
    Ok(Socket { address, writes, reads })
}

/// What comes next by a socket, if there is one.
async fn receive(socket: Option<&Socket>, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.reads.recv_from(bytes).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
