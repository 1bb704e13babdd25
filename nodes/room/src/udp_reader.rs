//! `Reader`: the thread that receives for `UdpTransport`.
//!
//! It blocks on the socket, checks each datagram's lengths, puts what it holds
//! into a bounded lock-free queue, in a pooled buffer, and wakes the node.
//! Nothing is shared with the node but the socket, the queue, three counters
//! and the word to stop.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use sidetone_core::frame::FramePool;
use sidetone_core::rtp::codec_of;
use sidetone_core::{Format, Frame, Header, NodeWaker};

use crate::rtcp::{self, Told};
use crate::rtp_header::{RtpHeader, is_rtcp};

/// The longest datagram that is taken; senders keep to the path's MTU, about
/// 1,500 bytes.
pub(crate) const MOST_BYTES: usize = 2_048;

/// The most packets that wait for the node.
pub(crate) const INBOX: usize = 2_048;

/// How often the thread looks whether it should end.
pub(crate) const READ_LIMIT: Duration = Duration::from_millis(50);

/// What the reading thread and the node share.
pub(crate) struct Inbox {
    pub(crate) queue: ArrayQueue<Arrival>,
    /// Datagrams for which there was no room, that were damaged, and of codecs
    /// that are not known.
    pub(crate) overflow: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) stop: AtomicBool,
}

/// What a datagram held.
pub(crate) enum Arrival {
    Packet { header: RtpHeader, frame: Frame },
    Report { told: Told<'static>, name: Option<Arc<str>> },
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            queue: ArrayQueue::new(INBOX),
            overflow: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }
}

/// The thread that reads the socket.
pub(crate) struct Reader {
    inbox: Arc<Inbox>,
    waker: NodeWaker,
    pool: FramePool,
    /// The name last told, so that repeating it allocates nothing.
    name: Option<Arc<str>>,
}

impl Reader {
    pub(crate) fn new(inbox: Arc<Inbox>, waker: NodeWaker) -> Self {
        Self { inbox, waker, pool: FramePool::new(INBOX), name: None }
    }

    /// Reads until it is told to stop.
    pub(crate) fn run(mut self, socket: &UdpSocket, remote: SocketAddr) {
        // One byte more than is taken, so that a longer datagram shows.
        let mut bytes = [0; MOST_BYTES + 1];
        while !self.inbox.stop.load(Ordering::Acquire) {
            match socket.recv_from(&mut bytes) {
                Ok((length, from)) if (from.ip(), from.port()) == (remote.ip(), remote.port()) => {
                    self.take(&bytes[..length]);
                    self.waker.wake();
                }
                // Queued before the socket was connected.
                Ok(_) => {}
                // The last says that a datagram of ours found nobody.
                Err(why) => match why.kind() {
                    ErrorKind::WouldBlock
                    | ErrorKind::TimedOut
                    | ErrorKind::Interrupted
                    | ErrorKind::ConnectionRefused => {}
                    // The network is down: try again, but do not spin.
                    _ => std::thread::park_timeout(READ_LIMIT),
                },
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let arrival = if bytes.len() > MOST_BYTES {
            Err(&self.inbox.corrupt)
        } else if is_rtcp(bytes) {
            rtcp::read(bytes).map(|told| self.report(&told)).ok_or(&self.inbox.corrupt)
        } else {
            match RtpHeader::read(bytes) {
                None => Err(&self.inbox.corrupt),
                Some(header) => match codec_of(header.payload_type) {
                    None => Err(&self.inbox.unknown),
                    Some(codec) => {
                        let format = Format::Rtp { codec, len: bytes.len() };
                        let mut frame = self.pool.frame(Header::default(), format, MOST_BYTES);
                        frame.bytes_mut().copy_from_slice(bytes);
                        Ok(Arrival::Packet { header, frame })
                    }
                },
            }
        };
        let count = match arrival {
            Ok(arrival) => self.inbox.queue.push(arrival).err().map(|_| &self.inbox.overflow),
            Err(count) => Some(count),
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn report(&mut self, told: &Told<'_>) -> Arrival {
        if let Some(name) = told.name.filter(|name| self.name.as_deref() != Some(name)) {
            self.name = Some(name.into());
        }
        let name = told.name.and(self.name.clone());
        Arrival::Report { told: told.without_name(), name }
    }
}
