//! The loop around a [`Hall`]: one thread that has its sockets, its clock and the far
//! ends of its links. Whatever else the server does asks it by [`Handle`].

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use tokio::sync::OwnedSemaphorePermit;

use super::socket::{self, Socket};
use super::{Counts, Hall, Timing, Word};
use crate::protocol::Code;
use crate::rtc::NoCertificate;
use crate::server::config::Config;
use crate::server::room::LinkId;
use crate::server::token::App;

/// Commands that may wait.
const COMMANDS: usize = 4_096;
/// Commands that are taken in one turn.
const BATCH: usize = 64;
/// How often the sockets are read before commands are obeyed.
const MOST_READS: usize = 64;
/// The longest that the thread sleeps.
const NAP: Duration = Duration::from_secs(1);

/// What a link is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A message.
    Text(String),
    /// Nothing more: it is to be closed; with why, where that is not by choice.
    Close(Option<Code>),
}

impl Said {
    /// Bytes of its text.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Close(_) => 0,
        }
    }
}

/// The far end of a link: takes what is to be said without waiting. Whether it could.
pub type Outlet = Box<dyn FnMut(Said) -> bool + Send>;

/// What the thread is asked to do.
enum Command {
    Opened(LinkId, Outlet),
    /// With what lets the next ones of the link come.
    Message(LinkId, String, OwnedSemaphorePermit),
    Closed(LinkId, Option<Code>),
    Drain(Duration),
    Close,
    Act(Act),
}

/// Something to be done in a hall, at this instant and so long after 1970 (UTC).
type Act = Box<dyn FnOnce(&mut Hall, Instant, Duration) + Send>;

/// Asks a hall's thread. \[any\]
#[derive(Clone)]
pub struct Handle {
    /// How long the thread takes.
    pub timing: Arc<Timing>,
    commands: SyncSender<Command>,
    waker: Arc<UnixStream>,
}

/// The thread has more to do than it can, or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has more to do than it can")]
pub struct Busy;

/// Why a hall cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be had.
    #[error("cannot take media at udp {address}: {why}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        why: io::Error,
    },
    /// The system has no more of something.
    #[error("cannot start the thread for media: {0}")]
    System(#[from] io::Error),
    /// There is no certificate for DTLS.
    #[error(transparent)]
    Certificate(#[from] NoCertificate),
}

/// A hall's thread.
pub struct Running {
    /// Where media are taken.
    pub addresses: Vec<SocketAddr>,
    handle: Handle,
    thread: JoinHandle<Counts>,
}

impl Running {
    /// Binds the sockets and starts the thread. \[control\]
    ///
    /// # Errors
    /// An address cannot be had, or the system lacks something.
    pub fn start(config: &Config, apps: Vec<App>) -> Result<Self, RunError> {
        let bind = |address| Socket::bind(address).map_err(|why| RunError::Bind { address, why });
        let sockets = config.media().into_iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        // From here on a socket goes by the address that participants are told.
        let told = |(place, mut socket): (usize, Socket)| {
            socket.address = config.told(place, socket.address);
            socket
        };
        let sockets: Vec<_> = sockets.into_iter().enumerate().map(told).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.address).collect();
        let random = Box::new(|| {
            let mut bytes = [0; 16];
            // A system without randomness could not have made a certificate.
            getrandom::fill(&mut bytes).expect("the system's randomness");
            bytes
        });
        let hall = Hall::new(config, apps, addresses.clone(), Instant::now(), random)?;
        let (commands, inbox) = sync_channel(COMMANDS);
        let (waker, awoken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        awoken.set_nonblocking(true)?;
        let timing = Arc::new(Timing::default());
        let turner = Turner {
            hall,
            sockets,
            inbox,
            awoken,
            outlets: HashMap::new(),
            has_more: false,
            is_over: false,
            timing: Arc::clone(&timing),
        };
        let thread = std::thread::Builder::new().name("sidetone-hall".into()).spawn(|| turner.run())?;
        Ok(Self { addresses, handle: Handle { timing, commands, waker: Arc::new(waker) }, thread })
    }

    /// What asks the thread. \[any\]
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Puts everyone out, ends the thread and gives what it counted. \[control\]
    #[must_use]
    pub fn end(self) -> Counts {
        while self.handle.send(Command::Close).is_err() && !self.thread.is_finished() {
            std::thread::yield_now();
        }
        self.thread.join().unwrap_or_default()
    }
}

impl Handle {
    /// A link is there; what is to be said over it goes to `outlet`.
    ///
    /// # Errors
    /// There is too much to do.
    pub fn opened(&self, link: LinkId, outlet: Outlet) -> Result<(), Busy> {
        self.send(Command::Opened(link, outlet))
    }

    /// A message came; `permit` is let go when it has been looked at.
    ///
    /// # Errors
    /// There is too much to do.
    pub fn message(&self, link: LinkId, text: String, permit: OwnedSemaphorePermit) -> Result<(), Busy> {
        self.send(Command::Message(link, text, permit))
    }

    /// A link is gone; with why, where what came over it was no message.
    ///
    /// # Errors
    /// There is too much to do: to be said again, else the link counts as there.
    pub fn closed(&self, link: LinkId, why: Option<Code>) -> Result<(), Busy> {
        self.send(Command::Closed(link, why))
    }

    /// Nobody is let in any more, and all are told to leave within this time.
    ///
    /// # Errors
    /// There is too much to do.
    pub fn drain(&self, within: Duration) -> Result<(), Busy> {
        self.send(Command::Drain(within))
    }

    /// Does something in the hall, on its thread; it is given the time, also since 1970
    /// (UTC).
    ///
    /// # Errors
    /// There is too much to do.
    pub fn act(&self, act: impl FnOnce(&mut Hall, Instant, Duration) + Send + 'static) -> Result<(), Busy> {
        self.send(Command::Act(Box::new(act)))
    }

    fn send(&self, command: Command) -> Result<(), Busy> {
        match self.commands.try_send(command) {
            Ok(()) => {
                // A full pipe wakes as well as one more byte.
                let _ = (&*self.waker).write(&[0]);
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.timing.count_full();
                Err(Busy)
            }
        }
    }
}

struct Turner {
    hall: Hall,
    sockets: Vec<Socket>,
    inbox: Receiver<Command>,
    awoken: UnixStream,
    outlets: HashMap<LinkId, Outlet>,
    /// There are more commands than were taken.
    has_more: bool,
    is_over: bool,
    timing: Arc<Timing>,
}

impl Turner {
    fn run(mut self) -> Counts {
        while !self.is_over {
            self.sleep();
            let start = Instant::now();
            let commands = self.heard();
            // What a participant sent before saying something is taken before that is
            // obeyed: of who leaves no packet is lost.
            let reads = if commands.is_empty() { 1 } else { MOST_READS };
            for _ in 0..reads {
                if !self.read() {
                    break;
                }
            }
            self.obey(commands);
            self.hall.tick(Instant::now());
            self.say();
            self.send();
            self.timing.turned(start.elapsed());
        }
        self.hall.counts().clone()
    }

    /// Until something comes or is due.
    fn sleep(&self) {
        let now = Instant::now();
        let due = if self.has_more { Some(now) } else { self.hall.due() };
        let wait = due.map_or(NAP, |due| due.saturating_duration_since(now).min(NAP));
        // Up to the next millisecond: too early would be for nothing.
        let wait = u16::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u16::MAX);
        let sockets = self.sockets.iter().map(Socket::as_fd);
        let mut waited: Vec<_> =
            sockets.chain([self.awoken.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Interrupted or not: what is there is read.
        let _ = poll(&mut waited, PollTimeout::from(wait));
    }

    /// Takes what came, and sends it on. Whether there may be more.
    fn read(&mut self) -> bool {
        let mut is_more = false;
        for at in 0..self.sockets.len() {
            let before = self.hall.counts().packets_out();
            let came = self.sockets[at].receive();
            is_more |= came.len() == socket::BATCH;
            let taken = Instant::now();
            for came in came {
                self.hall.datagram(taken, came);
            }
            self.hall.flush(Instant::now());
            self.send();
            self.timing.went(self.hall.counts().packets_out() - before, taken);
        }
        is_more
    }

    /// The commands that came.
    fn heard(&mut self) -> Vec<Command> {
        let mut bytes = [0; 256];
        while matches!((&self.awoken).read(&mut bytes), Ok(length) if length == bytes.len()) {}
        let commands: Vec<_> = self.inbox.try_iter().take(BATCH).collect();
        self.has_more = commands.len() == BATCH;
        commands
    }

    fn obey(&mut self, commands: Vec<Command>) {
        for command in commands {
            let now = Instant::now();
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            match command {
                Command::Opened(link, outlet) => {
                    self.outlets.insert(link, outlet);
                    self.hall.opened(now, link);
                }
                Command::Message(link, text, _permit) => self.hall.message(now, wall, link, &text),
                Command::Closed(link, why) => {
                    self.outlets.remove(&link);
                    match why {
                        Some(why) => self.hall.broken(now, link, why),
                        None => self.hall.closed(now, link),
                    }
                }
                Command::Drain(within) => self.hall.drain(now, within),
                Command::Close => {
                    self.hall.close(now);
                    self.is_over = true;
                }
                Command::Act(act) => act(&mut self.hall, now, wall),
            }
        }
    }

    fn say(&mut self) {
        for word in self.hall.take_words() {
            match word {
                Word::Tell(link, told) => {
                    let Some(outlet) = self.outlets.get_mut(&link) else { continue };
                    // It has names, numbers and texts alone.
                    let Ok(text) = serde_json::to_string(&told) else { continue };
                    if !outlet(Said::Text(text)) {
                        // It does not read: it is let go, and may come back.
                        self.outlets.remove(&link);
                        self.hall.stuck(Instant::now(), link);
                    }
                }
                Word::Close(link, code) => {
                    if let Some(mut outlet) = self.outlets.remove(&link) {
                        // One that does not even take this sees that its outlet is gone.
                        let _ = outlet(Said::Close(code));
                    }
                    self.hall.closed(Instant::now(), link);
                }
            }
        }
    }

    fn send(&mut self) {
        let datagrams = self.hall.take_datagrams();
        for run in datagrams.chunk_by(|a, b| a.local == b.local) {
            if let Some(socket) = self.sockets.iter_mut().find(|socket| socket.address == run[0].local) {
                for _ in 0..socket.send(run) {
                    self.timing.count_unsent();
                }
            }
        }
    }
}
