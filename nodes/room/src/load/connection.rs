//! `Connection`: one WebRTC connection of a simulated participant: sends patterns and
//! counts what comes, without encoding or decoding anything.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendto, setsockopt, sockopt::ReceiveTimestampns,
};
use sidetone_core::histogram::Histogram;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Rtc};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::LoadError;
use super::pattern::{Media, Pattern, interval_of};
use super::stamp::{self, Stamp, wall};
use super::tally::Tally;
use crate::address::plain;
use crate::protocol::Kind;
use crate::rtc::{self, Identity};

/// How long it may take until media flow.
const PATIENCE: Duration = Duration::from_secs(20);
/// Datagrams that are taken before what is due is looked at again.
const BATCH: usize = 32;
const LONGEST: usize = 2_048;

/// What all connections of a run share.
pub struct Common {
    identity: Identity,
    /// The time of the measurement, from and to, in nanoseconds since 1970.
    pub(super) window: OnceLock<(u64, u64)>,
    /// Packets that came to anybody, and those among them that were sent within the
    /// time of the measurement.
    pub(super) delivered: [AtomicU64; 2],
}

impl Common {
    /// What a run's connections need. \[any\]
    ///
    /// # Errors
    /// This machine's cryptography makes no certificate.
    pub fn new() -> Result<Self, LoadError> {
        Ok(Self { identity: Identity::new()?, window: OnceLock::new(), delivered: Default::default() })
    }

    fn is_measured(&self, sent: u64) -> bool {
        self.window.get().is_some_and(|(from, to)| (*from..*to).contains(&sent))
    }
}

/// A stream that is sent.
pub struct Sends {
    /// Sound or pictures.
    pub kind: Kind,
    /// What is sent.
    pub media: Media,
    /// The stream's number in the run.
    pub stream: u32,
}

/// How what comes is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// By stream: every one is to come, from its first packet to its last.
    Stream(u32),
    /// By slot: the server chooses what comes there, so that nothing may be missing from
    /// the first to the last of its own numbers.
    Slot(Mid),
}

/// What a connection sent and what came to it.
#[derive(Default)]
pub(super) struct Traffic {
    /// Of each stream the packets that were sent within the time of the measurement.
    pub(super) sent: Vec<(u32, std::ops::Range<u64>)>,
    pub(super) came: BTreeMap<Of, Tally>,
    /// Whether streams of sound, and of pictures, are told apart by slot.
    pub(super) by_slot: [bool; 2],
    /// When the last of each that came was sent, of packets that were sent within the time
    /// of the measurement, in nanoseconds since 1970.
    pub(super) last: [u64; 2],
    /// From sending to the other socket, of packets that were sent within that time.
    pub(super) latency: Histogram,
    /// Why it ended before it was to.
    pub(super) broken: Option<String>,
}

/// A WebRTC connection.
pub struct Connection {
    common: Arc<Common>,
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    pending: Option<SdpPendingOffer>,
    sends: Vec<(Mid, Sends)>,
    sendings: Vec<Sending>,
    is_connected: bool,
    /// When the system had the datagram that is being looked at.
    came_at: u64,
    events: Vec<Event>,
    traffic: Traffic,
}

/// A stream that is being sent.
struct Sending {
    mid: Mid,
    pt: Pt,
    stream: u32,
    kind: Kind,
    pattern: Pattern,
    due: Instant,
    timestamp: u32,
    count: u32,
    sizes: Vec<usize>,
}

impl Connection {
    /// A connection from this machine's address `ip`. \[any\]
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn open(common: &Arc<Common>, ip: IpAddr) -> Result<Self, LoadError> {
        let socket = std::net::UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, ReceiveTimestampns, &true).map_err(io::Error::from)?;
        let local = socket.local_addr()?;
        let mut rtc = rtc::config(&common.identity).build(Instant::now());
        let host = Candidate::host(local, Protocol::Udp).map_err(refused)?;
        rtc.add_local_candidate(host);
        Ok(Self {
            common: Arc::clone(common),
            rtc,
            socket: UdpSocket::from_std(socket)?,
            local,
            pending: None,
            sends: Vec::new(),
            sendings: Vec::new(),
            is_connected: false,
            came_at: 0,
            events: Vec::new(),
            traffic: Traffic::default(),
        })
    }

    /// Offers to send these, and room for so many streams of sound and of pictures: the
    /// offer, and the names of its media sections, in this order. \[any\]
    ///
    /// # Errors
    /// It has offered before.
    pub fn offer(
        &mut self,
        sends: Vec<Sends>,
        slots: [u32; 2],
    ) -> Result<(String, Vec<(String, Kind)>), LoadError> {
        let mut changes = self.rtc.sdp_api();
        let mut sections = Vec::new();
        for send in sends {
            let mid = changes.add_media(of(send.kind), Direction::SendOnly, None, None, None);
            sections.push((mid.to_string(), send.kind));
            self.sends.push((mid, send));
        }
        for (kind, count) in [Kind::Audio, Kind::Video].into_iter().zip(slots) {
            for _ in 0..count {
                let mid = changes.add_media(of(kind), Direction::RecvOnly, None, None, None);
                sections.push((mid.to_string(), kind));
            }
        }
        let (offer, pending) = changes.apply().ok_or_else(|| refused("nothing to offer"))?;
        self.pending = Some(pending);
        Ok((offer.to_sdp_string(), sections))
    }

    /// Takes the answer to what it offered. \[any\]
    ///
    /// # Errors
    /// The answer is none.
    pub fn accept(&mut self, answer: &str) -> Result<(), LoadError> {
        let answer = SdpAnswer::from_sdp_string(answer).map_err(refused)?;
        let pending = self.pending.take().ok_or_else(|| refused("nothing was offered"))?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(refused)
    }

    /// Answers an offer of the server. \[any\]
    ///
    /// # Errors
    /// The offer is none.
    pub fn answer(&mut self, offer: &str) -> Result<String, LoadError> {
        let offer = SdpOffer::from_sdp_string(offer).map_err(refused)?;
        Ok(self.rtc.sdp_api().accept_offer(offer).map_err(refused)?.to_sdp_string())
    }

    /// Streams of sound, or of pictures, are told apart by slot, since there are more
    /// than slots. \[any\]
    pub const fn tell_by_slot(&mut self, kind: Kind) {
        self.traffic.by_slot[kind as usize] = true;
    }

    /// Whether they are. \[any\]
    #[must_use]
    pub const fn tells_by_slot(&self, kind: Kind) -> bool {
        self.traffic.by_slot[kind as usize]
    }

    /// Goes on until ICE and DTLS are through. \[control\]
    ///
    /// # Errors
    /// They do not come through.
    pub async fn connect(&mut self) -> Result<(), LoadError> {
        let connected = async {
            let mut buffer = vec![0; LONGEST];
            while !self.is_connected {
                let due = self.settle()?;
                self.step(due, &mut buffer).await?;
            }
            Ok(())
        };
        timeout(PATIENCE, connected).await.map_err(|_| LoadError::NoMedia(PATIENCE.as_secs()))?
    }

    /// Sends, and counts what comes, until it is told to end or breaks. What is sent
    /// ends with the time of the measurement.
    pub(super) async fn run(mut self, mut end: watch::Receiver<bool>) -> Traffic {
        let ran = async {
            self.prepare()?;
            let mut buffer = vec![0; LONGEST];
            loop {
                self.send(Instant::now())?;
                let due = self.settle()?;
                tokio::select! {
                    biased;
                    went = self.step(due, &mut buffer) => went?,
                    () = over(&mut end) => break,
                }
            }
            Ok::<(), LoadError>(())
        }
        .await;
        // In the end the server may be the first to close it.
        if let Err(why) = ran
            && !*end.borrow()
        {
            self.traffic.broken = Some(why.to_string());
        }
        // A goodbye, so that the server need not find out.
        if self.rtc.close().is_ok() {
            let _ = self.settle();
        }
        self.traffic
    }

    /// Makes ready what is to be sent.
    fn prepare(&mut self) -> Result<(), LoadError> {
        let now = Instant::now();
        for (mid, Sends { kind, media, stream }) in std::mem::take(&mut self.sends) {
            let section = self.rtc.media(mid).filter(|section| section.direction().is_sending());
            let pt = section.and_then(|section| section.remote_pts().first().copied());
            let pt = pt.ok_or_else(|| refused("the server takes no such stream"))?;
            let pattern = Pattern::new(kind, media, stream.into());
            // Not all at once: a room's publishers have no common beat.
            let due = now + interval_of(kind).mul_f64(f64::from(stream % 16) / 16.0);
            self.traffic.sent.push((stream, 0..0));
            let (timestamp, count) = (0, 0);
            self.sendings.push(Sending {
                mid,
                pt,
                stream,
                kind,
                pattern,
                due,
                timestamp,
                count,
                sizes: Vec::new(),
            });
        }
        Ok(())
    }

    /// Sends what is due.
    fn send(&mut self, now: Instant) -> Result<(), LoadError> {
        for (sending, (_, measured)) in self.sendings.iter_mut().zip(&mut self.traffic.sent) {
            while sending.due <= now {
                let step = sending.pattern.next(&mut sending.sizes);
                sending.due += step.interval;
                let sent = wall();
                if self.common.window.get().is_some_and(|(_, to)| sent >= *to) {
                    continue;
                }
                let last = sending.sizes.len().saturating_sub(1);
                for (at, size) in sending.sizes.iter().enumerate() {
                    let stamp = Stamp { sent, stream: sending.stream, count: sending.count };
                    let payload = stamp.payload(sending.kind, step.is_key && at == 0, *size);
                    let n = u64::from(sending.count);
                    let mut ext = ExtensionValues::default();
                    if sending.kind == Kind::Audio {
                        // Some are louder than others.
                        let level = i8::try_from(sending.stream % 30).unwrap_or(0);
                        (ext.audio_level, ext.voice_activity) = (Some(-20 - level), Some(true));
                    }
                    // RFC 3711 § 3.3.1: the rollover counter begins at 0.
                    let write = RtpWrite::new(sending.pt, (n + 1).into(), sending.timestamp, now, payload)
                        .marker(sending.kind == Kind::Video && at == last)
                        .nackable(sending.kind == Kind::Video)
                        .ext_vals(ext);
                    let mut api = self.rtc.direct_api();
                    let stream = api.stream_tx_by_mid(sending.mid, None);
                    stream.ok_or_else(|| refused("a stream is gone"))?.write_rtp(write);
                    if self.common.is_measured(sent) {
                        if measured.is_empty() {
                            measured.start = n;
                        }
                        measured.end = n + 1;
                    }
                    sending.count += 1;
                }
                sending.timestamp = sending.timestamp.wrapping_add(step.ticks);
            }
        }
        Ok(())
    }

    /// Does what is due in str0m; gives when there is something to do next.
    fn settle(&mut self) -> Result<Instant, LoadError> {
        let mut events = std::mem::take(&mut self.events);
        let fd = self.socket.as_raw_fd();
        let send = |transmit: Transmit| {
            let to = SockaddrStorage::from(transmit.destination);
            // What the system does not take is lost, and is counted as lost.
            let _ = sendto(fd, &transmit.contents, &to, MsgFlags::MSG_DONTWAIT);
        };
        let due = rtc::settle(&mut self.rtc, Instant::now(), false, send, &mut events).map_err(broken)?;
        for event in events.drain(..) {
            match event {
                Event::RtpPacket(packet) => self.count(&packet),
                Event::Connected => self.is_connected = true,
                Event::KeyframeRequest(request) => {
                    let asked = self.sendings.iter_mut().find(|sending| sending.mid == request.mid);
                    if let Some(sending) = asked {
                        sending.pattern.want_key_frame();
                    }
                }
                _ => {}
            }
        }
        self.events = events;
        Ok(self.sendings.iter().map(|sending| sending.due).fold(due, Instant::min))
    }

    /// Takes what came by now, or waits until `due`.
    async fn step(&mut self, due: Instant, buffer: &mut [u8]) -> Result<(), LoadError> {
        tokio::select! {
            biased;
            ready = self.socket.readable() => ready?,
            () = sleep_until(due.into()) => {
                return self.rtc.handle_input(Input::Timeout(Instant::now())).map_err(broken);
            }
        }
        for _ in 0..BATCH {
            let (length, from, at) =
                match self.socket.try_io(Interest::READABLE, || receive(&self.socket, buffer)) {
                    Ok(came) => came,
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                    // What the other side's closed port answers comes here, too.
                    Err(_) => continue,
                };
            let Ok(receive) = Receive::new(Protocol::Udp, from, self.local, &buffer[..length]) else {
                continue;
            };
            // When it came, and not when its turn was: estimates of bandwidth go by that.
            let now = Instant::now();
            let came = now.checked_sub(Duration::from_nanos(wall().saturating_sub(at))).unwrap_or(now);
            let input = Input::Receive(came, receive);
            self.came_at = at;
            self.rtc.handle_input(input).map_err(broken)?;
            self.settle()?;
        }
        Ok(())
    }

    /// Counts a packet that came.
    fn count(&mut self, packet: &RtpPacket) {
        let Some(stamp) = Stamp::of(&packet.payload) else { return };
        let is_measured = self.common.is_measured(stamp.sent);
        let kind = stamp::kind_of(&packet.payload) as usize;
        let key = if self.traffic.by_slot[kind] {
            let mid = self.rtc.direct_api().stream_rx(&packet.header.ssrc).map(|stream| stream.mid());
            let Some(mid) = mid else { return };
            (Of::Slot(mid), *packet.seq_no)
        } else {
            (Of::Stream(stamp.stream), u64::from(stamp.count))
        };
        if !self.traffic.came.entry(key.0).or_default().add(key.1, is_measured) {
            return;
        }
        self.common.delivered[0].fetch_add(1, Ordering::Relaxed);
        if is_measured {
            self.traffic.last[kind] = self.traffic.last[kind].max(stamp.sent);
            self.common.delivered[1].fetch_add(1, Ordering::Relaxed);
            self.traffic.latency.record(Duration::from_nanos(self.came_at.saturating_sub(stamp.sent)));
        }
    }
}

/// Takes a datagram: its length, from where, and when the system had it, in nanoseconds
/// since 1970.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, u64)> {
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let came = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let stamped = came.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(at) => u64::try_from(Duration::from(at).as_nanos()).ok(),
        _ => None,
    });
    let from = came
        .address
        .as_ref()
        .and_then(plain)
        .ok_or_else(|| io::Error::other("a datagram without an address"))?;
    Ok((came.bytes, from, stamped.unwrap_or_else(wall)))
}

/// Waits until something is over, or nobody is left who could say so.
pub(super) async fn over(end: &mut watch::Receiver<bool>) {
    let _ = end.wait_for(|is_over| *is_over).await;
}

const fn of(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    }
}

fn refused(why: impl ToString) -> LoadError {
    LoadError::Refused(why.to_string())
}

fn broken(why: impl ToString) -> LoadError {
    LoadError::Media(why.to_string())
}
