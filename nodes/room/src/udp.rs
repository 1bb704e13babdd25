//! `UdpTransport`: plain RTP and RTCP between two addresses, on one port each.
//!
//! The node sends; a thread of its own (`udp_reader.rs`) receives, and hands
//! over what came by a bounded lock-free queue.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use sidetone_core::rtp::{Ssrc, ntp_of};
use sidetone_core::{
    Context, Control, DropReason, Fault, Format, Frame, Key, LeaveReason, Medium, NodeError, Setup, Timestamp,
};

use crate::packets;
use crate::peers::{Peers, ask_key_frame};
use crate::protocol::Source;
use crate::rtcp::{self, Sent, Told};
use crate::rtp_header::RtpHeader;
use crate::transport::Transport;
use crate::udp_reader::{Arrival, INBOX, Inbox, MOST_BYTES, READ_LIMIT, Reader};

/// The longest that sending may hold the node up where the system's buffer is
/// full.
const SEND_LIMIT: Duration = Duration::from_millis(1);

/// How often reports are sent, which keep the participant alive.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How long a participant's name is waited for.
const NAME_WAIT: Duration = Duration::from_millis(200);

/// How long after a goodbye packets are stragglers and not a return: they may
/// have been overtaken on the way.
const STRAGGLERS: Duration = Duration::from_millis(200);

/// How long a stream must be silent before another source may take its place.
const SOURCE_SILENCE: Duration = Duration::from_millis(500);

/// What goes over it: codecs are told apart by payload type, so there is one stream
/// of each.
pub(crate) const SOURCES: [Source; 2] = [Source::Microphone, Source::Camera];

/// One participant's way to one other.
pub(crate) struct UdpTransport {
    socket: Arc<UdpSocket>,
    remote: SocketAddr,
    user: Arc<str>,
    timeout: Duration,
    inbox: Arc<Inbox>,
    reader: Option<JoinHandle<()>>,
    /// Who reports in our name even where we send no media.
    reporter: Ssrc,
    sending: [Option<Sending>; 2],
    peer: Option<Remote>,
    next_report: Timestamp,
    /// Until when packets are stragglers of one who left.
    deaf_until: Timestamp,
    said_goodbye: bool,
    out: Vec<u8>,
}

/// A stream of ours.
struct Sending {
    sent: Sent,
    /// The media time of the last packet, and when it was captured.
    timestamp: u32,
    captured: Timestamp,
    rate: u32,
}

/// The other participant.
struct Remote {
    key: Option<Key>,
    since: Timestamp,
    heard: Timestamp,
    /// What came before the name did.
    unnamed: VecDeque<(Source, Frame)>,
    sources: [Option<(Ssrc, Timestamp)>; 2],
    reporter: Option<Ssrc>,
    packets: [u64; 2],
}

impl UdpTransport {
    /// Binds the socket and starts the thread. \[control\]
    pub(crate) fn open(
        setup: &Setup<'_>,
        local: SocketAddr,
        remote: SocketAddr,
        user: &str,
    ) -> Result<Self, NodeError> {
        if setup.virtual_time {
            return Err(NodeError::Unavailable(
                "udp:// needs real time, since the other side lives in it: run in real time, or use mem://ROOM".into(),
            ));
        }
        let refused = |what: &str, why: std::io::Error| {
            NodeError::Unavailable(format!(
                "{what}: {why}; is the port in use, or the address not this machine's?"
            ))
        };
        let socket = UdpSocket::bind(local).map_err(|why| refused(&format!("cannot use {local}"), why))?;
        let ready = socket.connect(remote).and_then(|()| {
            socket.set_read_timeout(Some(READ_LIMIT))?;
            socket.set_write_timeout(Some(SEND_LIMIT))
        });
        ready.map_err(|why| refused(&format!("cannot reach {remote}"), why))?;
        let socket = Arc::new(socket);
        let inbox = Arc::new(Inbox::new());
        let reader = {
            let (socket, inbox, waker) = (Arc::clone(&socket), Arc::clone(&inbox), setup.waker.clone());
            let thread = std::thread::Builder::new().name("room.join udp".into());
            let spawned = thread.spawn(move || Reader::new(inbox, waker).run(&socket, remote));
            spawned.map_err(|why| {
                NodeError::Unavailable(format!("cannot start a thread for the socket: {why}"))
            })?
        };
        // Both ends may run the same graph with the same seed; the ports differ.
        let mut rng = fastrand::Rng::with_seed(setup.seed ^ u64::from(local.port()) << 48);
        Ok(Self {
            socket,
            remote,
            user: user.into(),
            timeout: Duration::from_millis(setup.params.int("timeout_ms").unsigned_abs()),
            inbox,
            reader: Some(reader),
            reporter: Ssrc(rng.u32(..)),
            sending: [None, None],
            peer: None,
            // At once: whoever is there already learns our name.
            next_report: Timestamp::ZERO,
            deaf_until: Timestamp::ZERO,
            said_goodbye: false,
            out: Vec::with_capacity(MOST_BYTES),
        })
    }

    fn packet(&mut self, cx: &mut Context<'_>, peers: &mut Peers, header: &RtpHeader, mut frame: Frame) {
        let source = match frame.format().medium() {
            Medium::Audio => Source::Microphone,
            Medium::Video => Source::Camera,
        };
        let place = source as usize;
        let peer = self.peer.get_or_insert_with(|| Remote::new(cx, &mut self.next_report));
        peer.heard = cx.now();
        match &mut peer.sources[place] {
            // Two streams of one kind at once would look like endless loss.
            Some((source, heard)) if *source != header.ssrc && cx.now().since(*heard) < SOURCE_SILENCE => {
                cx.dropped(DropReason::Unlinked);
                return;
            }
            source => *source = Some((header.ssrc, cx.now())),
        }
        packets::enter(cx, &mut frame, header, &mut peer.packets[place]);
        match peer.key {
            Some(key) => peers.packet(cx, key, source, frame),
            None if peer.unnamed.len() < INBOX => peer.unnamed.push_back((source, frame)),
            None => cx.dropped(DropReason::Overflow),
        }
    }

    fn report(&mut self, cx: &mut Context<'_>, peers: &mut Peers, told: &Told<'_>, name: Option<&Arc<str>>) {
        if self.peer.is_none() && !told.goodbyes().is_empty() {
            return;
        }
        let peer = self.peer.get_or_insert_with(|| Remote::new(cx, &mut self.next_report));
        peer.heard = cx.now();
        peer.reporter = told.reporter.or(peer.reporter);
        if let (None, Some(name)) = (peer.key, name) {
            peer.introduce(cx, peers, name);
        }
        if let Some(of) = told.key_frame {
            let audio = self.sending[0].as_ref().is_some_and(|sending| sending.sent.ssrc == of);
            ask_key_frame(cx, if audio { Source::Microphone } else { Source::Camera });
        }
        if let Some((of, bps)) = told.bitrate {
            let ours =
                |place: usize| self.sending[place].as_ref().is_some_and(|sending| sending.sent.ssrc == of);
            if let Some(place) = (0..2).find(|place| ours(*place)) {
                cx.request(place, &Control::Bitrate { bps });
            }
        }
        if !told.goodbyes().is_empty() && peer.part(cx, peers, told.goodbyes()) {
            self.see_off(cx, peers, LeaveReason::Left);
            self.deaf_until = cx.now() + STRAGGLERS;
        }
    }

    fn see_off(&mut self, cx: &mut Context<'_>, peers: &mut Peers, reason: LeaveReason) {
        let Some(mut peer) = self.peer.take() else { return };
        if peer.key.is_none() && !peer.unnamed.is_empty() {
            peer.introduce(cx, peers, &self.remote.to_string().into());
        }
        if let Some(key) = peer.key {
            peers.vanish(key, reason);
        }
    }

    /// Begins a compound packet in `out`: reports and the name of all sources.
    fn begin(&mut self, now: Timestamp) {
        self.out.clear();
        let mut sources = [self.reporter; 3];
        let mut count = 1;
        for sending in self.sending.iter().flatten() {
            let ticks = now.since(sending.captured).as_micros() * u128::from(sending.rate) / 1_000_000;
            let timestamp = sending.timestamp.wrapping_add(ticks as u32);
            rtcp::write_sender_report(&mut self.out, &sending.sent, ntp_of(now), timestamp);
            sources[count] = sending.sent.ssrc;
            count += 1;
        }
        rtcp::write_receiver_report(&mut self.out, self.reporter);
        rtcp::write_name(&mut self.out, &sources[..count], &self.user);
    }

    /// Sends what `out` holds; reports are repeated, so a lost one is no matter.
    fn flush(&self) {
        let _ = send(&self.socket, &self.out);
    }
}

impl Transport for UdpTransport {
    fn poll(&mut self, cx: &mut Context<'_>, peers: &mut Peers) -> Result<(), Fault> {
        for (count, reason) in [
            (&self.inbox.overflow, DropReason::Overflow),
            (&self.inbox.corrupt, DropReason::Corrupt),
            (&self.inbox.unknown, DropReason::Unlinked),
        ] {
            if count.load(Ordering::Relaxed) > 0 {
                (0..count.swap(0, Ordering::Relaxed)).for_each(|_| cx.dropped(reason));
            }
        }
        for _ in 0..INBOX {
            let Some(arrival) = self.inbox.queue.pop() else { break };
            let deaf = cx.now() < self.deaf_until;
            match arrival {
                Arrival::Packet { .. } if deaf => cx.dropped(DropReason::Late),
                Arrival::Packet { header, frame } => self.packet(cx, peers, &header, frame),
                Arrival::Report { .. } if deaf => {}
                Arrival::Report { told, name } => self.report(cx, peers, &told, name.as_ref()),
            }
        }
        if let Some(peer) = &mut self.peer {
            if peer.key.is_none() && cx.now() >= peer.since + NAME_WAIT {
                peer.introduce(cx, peers, &self.remote.to_string().into());
            }
            if cx.now() >= peer.heard + self.timeout {
                self.see_off(cx, peers, LeaveReason::TimedOut);
            }
        }
        if cx.now() >= self.next_report && !self.said_goodbye {
            self.begin(cx.now());
            self.flush();
            self.next_report = cx.now() + REPORT_EVERY;
        }
        Ok(())
    }

    fn publish(&mut self, cx: &mut Context<'_>, source: Source, frame: Frame) {
        let bytes = frame.bytes();
        let (Some(header), Format::Rtp { codec, .. }) = (RtpHeader::read(bytes), *frame.format()) else {
            cx.dropped(DropReason::Corrupt);
            return;
        };
        let Some(sending) = self.sending.get_mut(source as usize) else {
            cx.dropped(DropReason::Unlinked);
            return;
        };
        if sending.as_ref().is_none_or(|sending| sending.sent.ssrc != header.ssrc) {
            let sent = Sent { ssrc: header.ssrc, packets: 0, octets: 0 };
            let rate = codec.clock_rate();
            *sending = Some(Sending { sent, timestamp: 0, captured: Timestamp::ZERO, rate });
        }
        if let Some(sending) = sending {
            sending.sent.packets = sending.sent.packets.wrapping_add(1);
            // Headers are left out, RFC 3550 § 6.4.1; extensions are few.
            sending.sent.octets = sending.sent.octets.wrapping_add(bytes.len() as u32 - 12);
            (sending.timestamp, sending.captured) = (header.timestamp, frame.header.captured);
        }
        if let Err(why) = send(&self.socket, bytes) {
            cx.dropped(match why {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => DropReason::Overflow,
                // Nobody listens there, for now.
                _ => DropReason::Unlinked,
            });
        }
    }

    fn cease(&mut self, source: Source, now: Timestamp) {
        if let Some(Some(sending)) = self.sending.get_mut(source as usize).map(Option::take) {
            self.begin(now);
            rtcp::write_goodbye(&mut self.out, &[sending.sent.ssrc]);
            self.flush();
        }
    }

    fn ask(&mut self, key: Key, source: Source, control: &Control) {
        let Some(peer) = self.peer.as_ref().filter(|peer| peer.key == Some(key)) else { return };
        let Some(Some((media, _))) = peer.sources.get(source as usize).copied() else { return };
        self.out.clear();
        rtcp::write_receiver_report(&mut self.out, self.reporter);
        rtcp::write_name(&mut self.out, &[self.reporter], &self.user);
        match control {
            Control::KeyFrame => rtcp::write_picture_loss(&mut self.out, self.reporter, media),
            Control::Bitrate { bps } => rtcp::write_bitrate(&mut self.out, self.reporter, media, *bps),
            Control::Set { .. } | Control::Own(_) => return,
        }
        self.flush();
    }

    fn say_goodbye(&mut self, now: Timestamp) {
        if std::mem::replace(&mut self.said_goodbye, true) {
            return;
        }
        self.begin(now);
        let mut sources = [self.reporter; 3];
        let mut count = 1;
        for sending in self.sending.iter().flatten() {
            sources[count] = sending.sent.ssrc;
            count += 1;
        }
        rtcp::write_goodbye(&mut self.out, &sources[..count]);
        self.flush();
    }

    fn is_alone(&self) -> bool {
        self.peer.is_none()
    }

    fn leave(&mut self) {
        self.inbox.stop.store(true, Ordering::Release);
    }

    fn next_call(&self) -> Option<Timestamp> {
        let report = (!self.said_goodbye).then_some(self.next_report);
        let peer = self.peer.as_ref().map(|peer| {
            let silent = peer.heard + self.timeout;
            if peer.key.is_none() { silent.min(peer.since + NAME_WAIT) } else { silent }
        });
        report.into_iter().chain(peer).min()
    }
}

impl Drop for UdpTransport {
    fn drop(&mut self) {
        // A node that is torn down without its end still takes its leave.
        let last = self.sending.iter().flatten().map(|sending| sending.captured).max();
        self.say_goodbye(last.unwrap_or_default());
        self.leave();
        if let Some(reader) = self.reader.take() {
            reader.thread().unpark();
            let _ = reader.join();
        }
    }
}

impl Remote {
    /// Somebody of whom we hear for the first time; they want a key frame and
    /// our name.
    fn new(cx: &mut Context<'_>, next_report: &mut Timestamp) -> Self {
        *next_report = cx.now();
        ask_key_frame(cx, Source::Camera);
        Self {
            key: None,
            since: cx.now(),
            heard: cx.now(),
            unnamed: VecDeque::new(),
            sources: [None; 2],
            reporter: None,
            packets: [0; 2],
        }
    }

    fn introduce(&mut self, cx: &mut Context<'_>, peers: &mut Peers, name: &Arc<str>) {
        let key = peers.appear(cx, name);
        self.key = Some(key);
        for (source, frame) in self.unnamed.drain(..) {
            peers.packet(cx, key, source, frame);
        }
    }

    /// Takes the goodbye of `sources`; whether the participant itself leaves:
    /// its reporter does, or, where it has none, its last stream.
    fn part(&mut self, cx: &mut Context<'_>, peers: &mut Peers, sources: &[Ssrc]) -> bool {
        for source in SOURCES {
            let known = &mut self.sources[source as usize];
            if known.is_some_and(|(ssrc, _)| sources.contains(&ssrc)) {
                *known = None;
                if let Some(key) = self.key {
                    peers.stream_ended(cx, key, source);
                }
            }
        }
        match self.reporter {
            Some(reporter) => sources.contains(&reporter),
            None => self.sources.iter().all(Option::is_none),
        }
    }
}

/// Sends a datagram. An error that an earlier one met (nobody listened) comes
/// up here in place of sending, so that this one is tried once more.
fn send(socket: &UdpSocket, bytes: &[u8]) -> Result<(), ErrorKind> {
    let sent = socket.send(bytes).or_else(|why| match why.kind() {
        ErrorKind::ConnectionRefused => socket.send(bytes),
        _ => Err(why),
    });
    sent.map(|_| ()).map_err(|why| why.kind())
}
