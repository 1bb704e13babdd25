//! `Wire`: the thread that asks a WHIP or WHEP server and carries media to it or from it.
//! Node and thread share two bounded lock-free queues, a few words, and a pipe that
//! wakes the thread.

use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use hyper::Method;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sidetone_core::frame::FramePool;
use sidetone_core::{Format, Frame, Header, NodeError, NodeWaker, Setup, Timestamp};
use url::Url;

use super::http::{Client, server};
use crate::client::link::trust;
use crate::client::peer_connection::{Incoming, News, Outgoing, PeerConfig, PeerConnection};
use crate::client::session::{OfferKind, OfferWanted, Publish};
use crate::packets;
use crate::protocol::{Kind, Limits, Slot, Source, StreamId};
use crate::rtp_header::RtpHeader;

/// Packets that wait, each way.
const WAITING: usize = 2_048;
/// The longest packet that is taken, in bytes.
const MOST_BYTES: usize = 2_048;
/// Datagrams that are taken before what is to be sent is looked at again.
const BATCH: usize = 64;
/// How long media may take to come up, and how long nothing may come of them after.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long until it is tried again: doubled each time, up to the second.
const FIRST_WAIT: Duration = Duration::from_millis(300);
const MOST_WAIT: Duration = Duration::from_secs(7);
/// The longest that the thread sleeps.
const NAP: Duration = Duration::from_millis(200);

/// What the thread tells the node.
pub(crate) enum Came {
    /// A packet, as a frame of RTP.
    Packet(Frame, Kind, RtpHeader),
    /// Those who play what is sent need a key frame.
    KeyFrameWanted,
    /// So many bits per second get through.
    Estimate(u64),
    /// The server refuses for good.
    Refused,
}

struct Shared {
    out: ArrayQueue<(Source, Outgoing)>,
    came: ArrayQueue<Came>,
    overflow: AtomicU64,
    unsent: AtomicU64,
    wants_key_frame: AtomicBool,
    stop: AtomicBool,
}

/// The node's end.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Starts the thread, which sends these; it sends nothing and takes all where there are
    /// none. \[control\]
    ///
    /// # Errors
    /// The parameters do not do, time is virtual, or the system lacks something.
    pub(crate) fn open(setup: &Setup<'_>, sends: Vec<Source>) -> Result<Self, NodeError> {
        let url = server(setup.params)?;
        if setup.virtual_time {
            return Err(NodeError::Unavailable(
                "WHIP and WHEP need real time, since the other side lives in it: run in real time".into(),
            ));
        }
        let failed =
            |why: &dyn std::fmt::Display| NodeError::Unavailable(format!("cannot have media: {why}"));
        let peers = Arc::new(PeerConfig::new().map_err(|why| failed(&why))?);
        let ca_file = Some(setup.params.text("ca_file")).filter(|file| !file.is_empty()).map(PathBuf::from);
        if url.scheme() == "https" {
            let trusted = trust(ca_file.as_deref());
            trusted.map_err(|why| NodeError::Param { name: "ca_file", why: why.to_string() })?;
        }
        let (token, may_leave) = (setup.params.text("token").to_owned(), setup.params.bool("allow_remote"));
        let client = Client::new(url, token, ca_file, may_leave).map_err(|why| failed(&why))?;
        let (wake, awoken) = UnixStream::pair().map_err(|why| failed(&why))?;
        wake.set_nonblocking(true).map_err(|why| failed(&why))?;
        awoken.set_nonblocking(true).map_err(|why| failed(&why))?;
        let shared = Arc::new(Shared {
            out: ArrayQueue::new(WAITING),
            came: ArrayQueue::new(WAITING),
            overflow: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            wants_key_frame: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let carrier = Carrier {
            client,
            sends,
            peers,
            shared: Arc::clone(&shared),
            awoken,
            waker: setup.waker.clone(),
            pool: FramePool::new(WAITING),
            start: Instant::now(),
            news: Vec::new(),
            bytes: Vec::with_capacity(MOST_BYTES),
        };
        let spawned = std::thread::Builder::new().name("room whip".into()).spawn(move || carrier.run());
        let thread = Some(spawned.map_err(|why| failed(&why))?);
        Ok(Self { shared, wake, thread })
    }

    /// Sends a packet. Whether there was room for it.
    pub(crate) fn send(&self, source: Source, packet: Outgoing) -> bool {
        let has_room = self.shared.out.push((source, packet)).is_ok();
        self.wake();
        has_room
    }

    /// What came next.
    pub(crate) fn take(&self) -> Option<Came> {
        self.shared.came.pop()
    }

    /// Asks for a key frame of the pictures that come.
    pub(crate) fn ask_key_frame(&self) {
        self.shared.wants_key_frame.store(true, Ordering::Release);
        self.wake();
    }

    /// How many that came found no room, and how many could not be sent, since it was
    /// last asked.
    pub(crate) fn lost(&self) -> (u64, u64) {
        (self.shared.overflow.swap(0, Ordering::Relaxed), self.shared.unsent.swap(0, Ordering::Relaxed))
    }

    fn wake(&self) {
        // A full pipe wakes as well as one more byte.
        let _ = (&self.wake).write(&[0]);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It panicked, or is over; either way it is gone.
            let _ = thread.join();
        }
    }
}

/// Why a session is over.
enum End {
    /// It was to end.
    Stopped,
    /// The server refuses for good.
    Refused,
    /// It may be tried again.
    Lost,
}

impl<E: std::error::Error> From<E> for End {
    fn from(_: E) -> Self {
        Self::Lost
    }
}

struct Carrier {
    client: Client,
    sends: Vec<Source>,
    peers: Arc<PeerConfig>,
    shared: Arc<Shared>,
    awoken: UnixStream,
    waker: NodeWaker,
    pool: FramePool,
    start: Instant,
    news: Vec<News>,
    bytes: Vec<u8>,
}

/// A session that a server made.
struct Session {
    media: PeerConnection,
    socket: UdpSocket,
    made: Url,
    due: Instant,
    heard: Instant,
    /// Since when its media are up.
    up: Option<Instant>,
}

impl Carrier {
    fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let end = match self.begin() {
                Ok(mut session) => {
                    let Err(end) = self.carry(&mut session);
                    // One that was thrown out at once is not to be back at once, for ever.
                    if session.up.is_some_and(|up| up.elapsed() > PATIENCE) {
                        wait = FIRST_WAIT;
                    }
                    self.finish(&mut session);
                    end
                }
                Err(end) => end,
            };
            match end {
                End::Stopped => return,
                End::Refused => return self.tell(Came::Refused),
                End::Lost => {}
            }
            let until = Instant::now() + wait;
            wait = (wait * 2).min(MOST_WAIT);
            while Instant::now() < until {
                if self.shared.stop.load(Ordering::Acquire) {
                    return;
                }
                while self.shared.out.pop().is_some() {
                    self.shared.unsent.fetch_add(1, Ordering::Relaxed);
                }
                self.sleep(None, until);
            }
        }
    }

    /// Asks the server for a session.
    fn begin(&mut self) -> Result<Session, End> {
        // The way to the server says from which address of ours it goes.
        let socket = UdpSocket::bind((self.client.way()?, 0))?;
        socket.set_nonblocking(true)?;
        let now = Instant::now();
        let mut media = PeerConnection::new(Arc::clone(&self.peers), socket.local_addr()?, now)?;
        let send = self.sends.iter().map(|source| Publish {
            stream: stream_of(*source),
            source: *source,
            muted: false,
            layers: Vec::new(),
        });
        let wanted = OfferWanted { g: 1, kind: OfferKind::Anew, send: send.collect() };
        let slots = u32::from(self.sends.is_empty());
        let offer =
            media.offer(now, &wanted, Limits { streams: 0, audio_slots: slots, video_slots: slots })?;
        let body = Some(("application/sdp", offer.sdp.as_str()));
        let answer = self.client.ask(&Method::POST, &self.client.url, body)?;
        match answer.status.as_u16() {
            201 => {}
            // Later it may be otherwise: nobody publishes yet, too many, or being restarted.
            404 if self.sends.is_empty() => return Err(End::Lost),
            408 | 409 | 425 | 429 | 500.. => return Err(End::Lost),
            _ => return Err(End::Refused),
        }
        let slots = offer.recv.iter().zip(1..).map(|(slot, no)| Slot { mid: slot.mid.clone(), no });
        media.fed(&slots.collect::<Vec<_>>());
        let made = answer.at;
        let mut session = Session { media, socket, made, due: now, heard: now, up: None };
        if session.media.answered(1, &answer.body).is_err() {
            self.finish(&mut session);
            return Err(End::Lost);
        }
        Ok(session)
    }

    /// Carries media until the session is over.
    fn carry(&mut self, session: &mut Session) -> Result<std::convert::Infallible, End> {
        let mut bytes = [0; MOST_BYTES];
        loop {
            if self.shared.stop.load(Ordering::Acquire) {
                return Err(End::Stopped);
            }
            self.settle(session)?;
            while let Some((source, packet)) = self.shared.out.pop() {
                let at = Timestamp::ZERO + self.start.elapsed();
                if session.media.send(at, Instant::now(), &stream_of(source), packet)? {
                    self.settle(session)?;
                } else {
                    self.shared.unsent.fetch_add(1, Ordering::Relaxed);
                }
            }
            if self.shared.wants_key_frame.swap(false, Ordering::AcqRel) {
                // Of whichever of the two has pictures.
                session.media.ask_key_frame(2)?;
                self.settle(session)?;
            }
            self.sleep(Some(&session.socket), session.due);
            for _ in 0..BATCH {
                match session.socket.recv_from(&mut bytes) {
                    Ok((length, from)) => {
                        let now = Instant::now();
                        if session.media.receive(now, from, &bytes[..length])? {
                            session.heard = now;
                        }
                        self.settle(session)?;
                    }
                    // What a closed port answered is told here, too: the next may be fine.
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {}
                }
            }
            if session.heard.elapsed() > PATIENCE {
                return Err(End::Lost);
            }
        }
    }

    /// Does what is due, and tells what is new.
    fn settle(&mut self, session: &mut Session) -> Result<(), End> {
        let socket = &session.socket;
        let send = |send: str0m::net::Transmit| {
            // What the system does not take is lost, as on any network.
            let _ = socket.send_to(&send.contents, send.destination);
        };
        let due = session.media.settle(Instant::now(), send, &mut self.news);
        for news in std::mem::take(&mut self.news) {
            match news {
                News::Connected => session.up = Some(Instant::now()),
                News::Packet(incoming) => self.packet(&incoming),
                News::KeyFrameWanted(_) => self.tell(Came::KeyFrameWanted),
                News::Estimate(bps) => self.tell(Came::Estimate(bps)),
                News::Asked { .. } | News::Statistics(_) => {}
            }
        }
        session.due = due?;
        Ok(())
    }

    fn packet(&mut self, incoming: &Incoming) {
        // Of a codec that is not ours to play nothing can be done.
        let Some(codec) = incoming.codec else { return };
        let header = packets::write(&mut self.bytes, incoming, codec);
        if self.bytes.len() > MOST_BYTES {
            self.shared.overflow.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let format = Format::Rtp { codec, len: self.bytes.len() };
        let mut frame = self.pool.frame(Header::default(), format, MOST_BYTES);
        frame.bytes_mut().copy_from_slice(&self.bytes);
        let kind = match codec.medium() {
            sidetone_core::Medium::Audio => Kind::Audio,
            sidetone_core::Medium::Video => Kind::Video,
        };
        self.tell(Came::Packet(frame, kind, header));
    }

    fn tell(&self, came: Came) {
        if self.shared.came.push(came).is_err() {
            self.shared.overflow.fetch_add(1, Ordering::Relaxed);
        }
        self.waker.wake();
    }

    /// Until something comes, or is due.
    fn sleep(&self, socket: Option<&UdpSocket>, due: Instant) {
        let wait = due.saturating_duration_since(Instant::now()).min(NAP);
        let wait = u16::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u16::MAX);
        let fds = [Some(self.awoken.as_fd()), socket.map(AsFd::as_fd)];
        let mut waited: Vec<_> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Interrupted or not: what is there is read.
        let _ = poll(&mut waited, PollTimeout::from(wait));
        let mut bytes = [0; 256];
        while matches!((&self.awoken).read(&mut bytes), Ok(length) if length == bytes.len()) {}
    }

    /// Says goodbye, first by HTTP: to a server whose media end first the session is over.
    fn finish(&mut self, session: &mut Session) {
        // It is over whatever comes of that.
        let _ = self.client.ask(&Method::DELETE, &session.made, None);
        let _ = session.media.close().map(|()| self.settle(session));
    }
}

/// What a stream goes by on this side alone.
fn stream_of(source: Source) -> StreamId {
    StreamId::new(&format!("own/{}", source.word())).expect("a name, a slash and a word")
}
