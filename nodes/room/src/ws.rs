//! `WsTransport`: a room server, over WebSocket and WebRTC.
//!
//! A thread of its own runs the participant ([`client::run`](crate::client::run)); the
//! node and it talk by bounded queues. Events go by a queue of their own, so that no
//! flood of packets displaces one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_queue::{ArrayQueue, SegQueue};
use sidetone_core::frame::FramePool;
use sidetone_core::{
    Context, Control, DropReason, EventKind, Fault, FaultKind, Format, Frame, Header, Key, LeaveReason,
    NodeError, NodeWaker, Own, Setup, Timestamp,
};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::client::link;
use crate::client::peer_connection::{Incoming, PeerConfig};
use crate::client::run::{self, Happening, Order, Settings};
use crate::client::session::{Command, Options, Publish};
use crate::events::{RoomEvent, RoomState};
use crate::login::Login;
use crate::packets;
use crate::peers::{Peers, SOURCES, ask_key_frame};
use crate::protocol::{Client, Kind, Left, Source, StreamId, UserName};
use crate::rtp_header::RtpHeader;
use crate::transport::Transport;
use crate::udp_reader::MOST_BYTES;
use crate::url::ServerUrl;

/// Packets that wait for the node, and orders that wait for the participant.
const INBOX: usize = 2_048;
const ORDERS: usize = 1_024;
/// Of what gets through this part is used: the rest is for the headers of pictures, and
/// for what is sent again.
const USED: f64 = 0.85;
/// So much of it is left to each stream of sound, in bits per second, or half of what
/// there is where that is less: 32 kbit/s of Opus with its headers fit in …
const SOUND_BPS: u64 = 64_000;
/// … which take so much, at 20 ms a packet: 50 times a second RTP with its extensions,
/// SRTP, UDP and IP.
const SOUND_HEADERS_BPS: u64 = 28_000;
/// Less makes no sound that can be understood.
const LEAST_SOUND_BPS: u64 = 12_000;
/// An encoder is asked for another bitrate when that differs by so much of it.
const STEP: f64 = 0.05;

/// One participant's way to a room server.
pub(crate) struct WsTransport {
    user: UserName,
    orders: mpsc::Sender<Order>,
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
    /// Streams are published when their first packet comes.
    auto_publish: bool,
    /// The streams of our own, once they were published.
    published: [Option<StreamId>; SOURCES],
    people: BTreeMap<UserName, Key>,
    /// Others' streams, by number.
    streams: BTreeMap<u32, Stream>,
    /// What the server wants of a stream at most, what gets through of all, and what the
    /// encoders were asked for, in bits per second.
    limits: [Option<u64>; SOURCES],
    estimate: Option<u64>,
    asked: [Option<u64>; SOURCES],
    has_joined: bool,
    is_over: bool,
}

/// Somebody else's stream.
struct Stream {
    id: StreamId,
    key: Key,
    source: Source,
    packets: u64,
}

/// What comes from the participant's thread.
struct Inbox {
    packets: ArrayQueue<Packet>,
    told: SegQueue<Told>,
    /// Packets that found no room, and that could not be sent.
    overflow: AtomicU64,
    unsent: AtomicU64,
}

struct Packet {
    no: u32,
    header: RtpHeader,
    frame: Frame,
}

enum Told {
    Event(RoomEvent),
    KeyFrameWanted(StreamId),
    Estimate(u64),
}

impl WsTransport {
    /// Starts the participant. \[control\]
    ///
    /// # Errors
    /// The run is in virtual time, TLS or DTLS cannot be had, or a thread.
    pub(crate) fn open(setup: &Setup<'_>, server: &ServerUrl, login: &Login<'_>) -> Result<Self, NodeError> {
        let unavailable = |why: String| NodeError::Unavailable(why);
        if setup.virtual_time {
            return Err(unavailable(
                "ws:// needs real time, since the server lives in it: run in real time, or use mem://ROOM"
                    .into(),
            ));
        }
        let user = UserName::new(&login.user).map_err(|why| unavailable(why.to_string()))?;
        let ca_file = Some(setup.params.text("ca_file")).filter(|file| !file.is_empty()).map(Path::new);
        let tls = server.secure.then(|| link::trust(ca_file)).transpose();
        let tls = tls.map_err(|why| NodeError::Param { name: "ca_file", why: why.to_string() })?;
        let settings = Settings {
            url: server.clone(),
            tls,
            options: Options {
                token: login.token.to_owned(),
                auto_play: setup.params.bool("auto_play"),
                client: Client { name: "sidetone".into(), version: env!("CARGO_PKG_VERSION").into() },
                retry_for: None,
            },
            peers: Arc::new(PeerConfig::new().map_err(|why| unavailable(why.to_string()))?),
            rng: fastrand::Rng::new(),
        };
        let (orders, asks) = mpsc::channel(ORDERS);
        let inbox = Arc::new(Inbox {
            packets: ArrayQueue::new(INBOX),
            told: SegQueue::new(),
            overflow: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
        });
        let mut teller = Teller {
            inbox: Arc::clone(&inbox),
            waker: setup.waker.clone(),
            pool: FramePool::new(INBOX),
            bytes: Vec::with_capacity(MOST_BYTES),
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| unavailable(format!("cannot watch sockets: {why}")))?;
        let thread = std::thread::Builder::new().name("room.join ws".into());
        let thread = thread.spawn(move || {
            runtime.block_on(run::run(settings, asks, |happening| teller.tell(happening)));
            runtime.shutdown_background();
        });
        let thread = thread.map_err(|why| unavailable(format!("cannot start a thread: {why}")))?;
        Ok(Self {
            user,
            orders,
            inbox,
            thread: Some(thread),
            auto_publish: setup.params.bool("auto_publish"),
            published: Default::default(),
            people: BTreeMap::new(),
            streams: BTreeMap::new(),
            limits: [None; SOURCES],
            estimate: None,
            asked: [None; SOURCES],
            has_joined: false,
            is_over: false,
        })
    }

    fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// The id that a stream of ours has where nobody says otherwise.
    fn id(&self, source: Source) -> Option<StreamId> {
        StreamId::new(&format!("{}/{}", self.user, source.word())).ok()
    }

    /// A source of ours, by its stream's id.
    fn source(&self, stream: &StreamId) -> Option<Source> {
        let place = self.published.iter().position(|published| published.as_ref() == Some(stream))?;
        Source::ALL.get(place).copied()
    }

    fn happened(
        &mut self,
        cx: &mut Context<'_>,
        peers: &mut Peers,
        mut event: RoomEvent,
    ) -> Result<(), Fault> {
        let mut fault = None;
        match &event {
            RoomEvent::State(RoomState::Joined { .. }) => self.has_joined = true,
            RoomEvent::State(RoomState::Left { .. } | RoomState::Failed { .. }) => {
                self.is_over = true;
                self.people.clear();
                self.streams.clear();
                peers.vanish_all(cx, LeaveReason::Closed);
                if !self.has_joined && matches!(event, RoomEvent::State(RoomState::Failed { .. })) {
                    fault = Some("the room server let it not in: the event before says why");
                }
            }
            RoomEvent::TokenWanted { code } if !self.has_joined => {
                fault = Some("the room server does not take the token: the event before says why");
                event = RoomEvent::State(RoomState::Failed { code: *code, call_ms: 0 });
            }
            RoomEvent::UserJoined { user } => {
                let key = peers.appear(cx, &user.as_str().into());
                self.people.insert(user.clone(), key);
            }
            RoomEvent::UserLeft { user, reason } => {
                if let Some(key) = self.people.remove(user) {
                    self.streams.retain(|_, stream| stream.key != key);
                    peers.vanish(key, leave_reason(*reason));
                }
            }
            RoomEvent::StreamAdded { stream } => {
                let key = self.people.iter().find(|(user, _)| user.as_str() == stream.id.user());
                if let Some((_, key)) = key {
                    let (id, key, source) = (stream.id.clone(), *key, stream.source);
                    self.streams.insert(stream.no, Stream { id, key, source, packets: 0 });
                }
            }
            RoomEvent::StreamRemoved { stream, .. } => {
                self.streams.retain(|_, known| {
                    let is_over = known.id == *stream;
                    if is_over {
                        peers.stream_ended(cx, known.key, known.source);
                    }
                    !is_over
                });
            }
            RoomEvent::Limit { stream, bps, .. } => {
                if let Some(source) = self.source(stream) {
                    self.limits[source as usize] = Some(u64::from(*bps));
                    self.pass_bitrates(cx);
                }
            }
            _ => {}
        }
        cx.emit(EventKind::Own(Own::new(event)));
        fault.map_or(Ok(()), |why| Err(Fault::new(FaultKind::Io, why)))
    }

    fn packet(&mut self, cx: &mut Context<'_>, peers: &mut Peers, packet: Packet) {
        let Packet { no, header, mut frame } = packet;
        let Some(stream) = self.streams.get_mut(&no) else {
            cx.dropped(DropReason::Unlinked);
            return;
        };
        packets::enter(cx, &mut frame, &header, &mut stream.packets);
        peers.packet(cx, stream.key, stream.source, frame);
    }

    /// Asks encoders for what gets through, shared among them, and what the server wants
    /// of each.
    fn pass_bitrates(&mut self, cx: &mut Context<'_>) {
        let count = |kind: Kind| {
            let sent = Source::ALL.into_iter().filter(|source| self.published[*source as usize].is_some());
            sent.filter(|source| source.kind() == kind).count() as u64
        };
        let shares = self.estimate.map(|bps| shares(bps, count(Kind::Audio), count(Kind::Video)));
        for source in Source::ALL {
            let place = source as usize;
            let share = shares.map(|(audio, video)| match source.kind() {
                Kind::Audio => audio,
                Kind::Video => video,
            });
            let wanted = self.limits[place].into_iter().chain(share).min();
            let Some(bps) = wanted.filter(|_| self.published[place].is_some()) else { continue };
            #[allow(clippy::cast_precision_loss)] // bits per second of a connection
            let is_new =
                self.asked[place].is_none_or(|asked| (bps as f64 - asked as f64).abs() > STEP * asked as f64);
            if is_new {
                self.asked[place] = Some(bps);
                let bps = u32::try_from(bps).unwrap_or(u32::MAX);
                cx.request(place, &Control::Bitrate { bps });
            }
        }
    }
}

/// What the encoders of each of so many streams of sound and of pictures may make of what
/// gets through, in bits per second. Sound comes first where there is little, and may take
/// what pictures leave.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as above
fn shares(estimate: u64, audios: u64, videos: u64) -> (u64, u64) {
    let used = (estimate as f64 * USED) as u64;
    let half = used / 2;
    let each = if videos > 0 { half } else { used } / audios.max(1);
    let audio = each.saturating_sub(SOUND_HEADERS_BPS).max(LEAST_SOUND_BPS);
    let left = (SOUND_BPS * audios).min(half.max((LEAST_SOUND_BPS + SOUND_HEADERS_BPS) * audios));
    (audio, used.saturating_sub(left) / videos.max(1))
}

impl Transport for WsTransport {
    fn poll(&mut self, cx: &mut Context<'_>, peers: &mut Peers) -> Result<(), Fault> {
        for (count, reason) in
            [(&self.inbox.overflow, DropReason::Overflow), (&self.inbox.unsent, DropReason::Declined)]
        {
            if count.load(Ordering::Relaxed) > 0 {
                (0..count.swap(0, Ordering::Relaxed)).for_each(|_| cx.dropped(reason));
            }
        }
        // Packets of before are of streams that events of before told of.
        let packets = self.inbox.packets.len();
        while let Some(told) = self.inbox.told.pop() {
            match told {
                Told::Event(event) => self.happened(cx, peers, event)?,
                Told::KeyFrameWanted(stream) => {
                    if let Some(source) = self.source(&stream) {
                        ask_key_frame(cx, source);
                    }
                }
                Told::Estimate(bps) => {
                    self.estimate = Some(bps);
                    self.pass_bitrates(cx);
                }
            }
        }
        for _ in 0..packets {
            let Some(packet) = self.inbox.packets.pop() else { break };
            self.packet(cx, peers, packet);
        }
        if !self.inbox.packets.is_empty() {
            cx.wake_at(cx.now());
        }
        Ok(())
    }

    fn publish(&mut self, cx: &mut Context<'_>, source: Source, frame: Frame) {
        let Some(packet) = packets::outgoing(frame.bytes()) else {
            cx.dropped(DropReason::Corrupt);
            return;
        };
        if self.is_over {
            cx.dropped(DropReason::Declined);
            return;
        }
        let place = source as usize;
        if self.published[place].is_none()
            && self.auto_publish
            && let Some(stream) = self.id(source)
        {
            let publish = Publish { stream: stream.clone(), source, muted: false, layers: Vec::new() };
            if self.order(Order::Command(Command::Publish(publish))) {
                self.published[place] = Some(stream);
            }
        }
        let Some(stream) = self.published[place].clone() else {
            cx.dropped(DropReason::Declined);
            return;
        };
        if !self.order(Order::Packet(stream, packet)) {
            cx.dropped(DropReason::Overflow);
        }
    }

    fn cease(&mut self, source: Source, _: Timestamp) {
        if let Some(stream) = self.published[source as usize].take() {
            self.asked[source as usize] = None;
            self.order(Order::Command(Command::Unpublish(stream)));
        }
    }

    fn ask(&mut self, key: Key, source: Source, control: &Control) {
        // How much gets through is found out hop by hop: only key frames are asked for.
        if *control != Control::KeyFrame {
            return;
        }
        let of = |stream: &Stream| stream.key == key && stream.source == source;
        if let Some((no, _)) = self.streams.iter().find(|(_, stream)| of(stream)) {
            self.order(Order::KeyFrame(*no));
        }
    }

    fn command(&mut self, command: Command) {
        match &command {
            Command::Publish(publish) => {
                self.published[publish.source as usize] = Some(publish.stream.clone());
            }
            Command::Unpublish(stream) => {
                self.published.iter_mut().for_each(|published| {
                    published.take_if(|published| published == stream);
                });
            }
            _ => {}
        }
        self.order(Order::Command(command));
    }

    fn say_goodbye(&mut self, _: Timestamp) {
        self.order(Order::Command(Command::Leave));
    }

    fn is_alone(&self) -> bool {
        self.is_over
    }

    fn leave(&mut self) {
        self.order(Order::Command(Command::Leave));
    }

    fn next_call(&self) -> Option<Timestamp> {
        None
    }
}

impl Drop for WsTransport {
    fn drop(&mut self) {
        // Nobody gives orders any more: it leaves, within half a second.
        self.orders = mpsc::channel(1).0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The participant's end of the inbox.
struct Teller {
    inbox: Arc<Inbox>,
    waker: NodeWaker,
    pool: FramePool,
    bytes: Vec<u8>,
}

impl Teller {
    fn tell(&mut self, happening: Happening) {
        match happening {
            Happening::Packet(packet) => self.packet(&packet),
            Happening::Event(event) => self.inbox.told.push(Told::Event(event)),
            Happening::KeyFrameWanted(stream) => self.inbox.told.push(Told::KeyFrameWanted(stream)),
            Happening::Estimate(bps) => self.inbox.told.push(Told::Estimate(bps)),
            Happening::Unsent => {
                self.inbox.unsent.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.waker.wake();
    }

    /// Makes the RTP packet that the graph's nodes know of one that came.
    fn packet(&mut self, incoming: &Incoming) {
        // A codec that is not ours to play: the server told of it.
        let Some(codec) = incoming.codec else { return };
        let header = packets::write(&mut self.bytes, incoming, codec);
        if self.bytes.len() > MOST_BYTES {
            self.inbox.overflow.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let format = Format::Rtp { codec, len: self.bytes.len() };
        let mut frame = self.pool.frame(Header::default(), format, MOST_BYTES);
        frame.bytes_mut().copy_from_slice(&self.bytes);
        if self.inbox.packets.push(Packet { no: incoming.no, header, frame }).is_err() {
            self.inbox.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn leave_reason(reason: Option<Left>) -> LeaveReason {
    match reason {
        Some(Left::Left) => LeaveReason::Left,
        Some(Left::TimedOut) => LeaveReason::TimedOut,
        Some(Left::Kicked) => LeaveReason::Kicked,
        Some(Left::Hidden) => LeaveReason::Hidden,
        Some(Left::Replaced) => LeaveReason::Replaced,
        None => LeaveReason::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn sound_and_pictures_share_what_gets_through() {
        // What gets through, streams of sound and of pictures, and what each may take.
        for (estimate, audios, videos, expected) in [
            (2_000_000, 1, 1, (822_000, 1_636_000)),
            (2_000_000, 1, 2, (822_000, 818_000)),
            (2_000_000, 0, 1, (822_000, 1_700_000)),
            (200_000, 1, 1, (57_000, 106_000)),
            (120_000, 1, 1, (23_000, 51_000)),
            (120_000, 1, 0, (74_000, 51_000)),
            (60_000, 1, 1, (12_000, 11_000)),
            (20_000, 2, 1, (12_000, 0)),
            (0, 0, 0, (12_000, 0)),
        ] {
            assert_eq!(shares(estimate, audios, videos), expected, "{estimate} for {audios} and {videos}");
        }
    }
}
