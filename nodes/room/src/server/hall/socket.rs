//! `Socket`: one of the server's UDP sockets. It takes and sends many datagrams in one
//! call of the system, which costs more than all else that is done with a packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, SndBuf, SndBufForce};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, sendmsg, setsockopt,
};

use super::Datagram;
use crate::address::plain;

/// Datagrams that are taken or sent in one call.
pub(super) const BATCH: usize = 32;
/// Longer than any datagram that is looked at, so that one that is cut is seen to be
/// too long.
const BUFFER: usize = 2_048;
/// Bytes that the system may hold for a socket, each way: bursts wait there while the
/// thread does other things.
const SOCKET_BUFFER: usize = 4 << 20;
/// Linux takes so many datagrams as one to be cut (`UDP_MAX_SEGMENTS`, the least of its
/// versions), of so many bytes together.
const MOST_SEGMENTS: usize = 64;
const MOST_BYTES: usize = 60_000;

/// Where the system is told of many datagrams. Afresh for every call: what one left
/// there, pointers to addresses among it, the next would use.
fn headers() -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(BATCH, None)
}

/// One of the server's sockets.
pub(super) struct Socket {
    /// By which participants know it.
    pub(super) address: SocketAddr,
    socket: UdpSocket,
    came: [Datagram; BATCH],
    /// Whether the system cuts what is sent as one, as far as is known, and whether it did.
    cuts: bool,
    has_cut: bool,
}

impl Socket {
    /// Binds it; port 0 is any that is free.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // As much as the system grants: more than its usual most to those it trusts.
        let _ = setsockopt(&socket, RcvBufForce, &SOCKET_BUFFER)
            .or_else(|_| setsockopt(&socket, RcvBuf, &SOCKET_BUFFER));
        let _ = setsockopt(&socket, SndBufForce, &SOCKET_BUFFER)
            .or_else(|_| setsockopt(&socket, SndBuf, &SOCKET_BUFFER));
        let address = socket.local_addr()?;
        let empty = Datagram { local: address, remote: address, bytes: Vec::new() };
        let came = std::array::from_fn(|_| empty.clone());
        Ok(Self { address, socket, came, cuts: true, has_cut: false })
    }

    /// What came, up to some dozen.
    pub(super) fn receive(&mut self) -> &[Datagram] {
        let (mut count, mut headers) = (0, headers());
        let mut lengths = [(0, None); BATCH];
        let mut parts = self.came.each_mut().map(|datagram| {
            datagram.bytes.resize(BUFFER, 0);
            [IoSliceMut::new(&mut datagram.bytes)]
        });
        let fd = self.socket.as_raw_fd();
        // What a peer's closed port answered is told here, too; the rest waits for the
        // next turn.
        if let Ok(came) = recvmmsg(fd, &mut headers, parts.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            for (message, length) in came.zip(&mut lengths) {
                *length = (message.bytes, message.address.as_ref().and_then(plain));
                count += 1;
            }
        }
        for (datagram, (length, remote)) in self.came[..count].iter_mut().zip(lengths) {
            datagram.bytes.truncate(length);
            datagram.local = self.address;
            // There is none that UDP could not answer.
            datagram.remote = remote.unwrap_or(self.address);
        }
        &self.came[..count]
    }

    /// Sends these, all from this socket. What the system does not take is lost, as on
    /// any network: how many.
    pub(super) fn send(&mut self, datagrams: &[Datagram]) -> usize {
        let mut rest = datagrams;
        let (mut single, mut unsent) = (0, 0);
        while single < rest.len() {
            let together = if self.cuts { segments(&rest[single..]) } else { 1 };
            if together == 1 {
                single += 1;
                continue;
            }
            let (before, after) = rest.split_at(single);
            unsent += self.send_each(before);
            let (one, after) = after.split_at(together);
            unsent += self.send_as_one(one);
            (rest, single) = (after, 0);
        }
        unsent + self.send_each(rest)
    }

    fn send_each(&self, datagrams: &[Datagram]) -> usize {
        let (mut rest, mut unsent) = (datagrams, 0);
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(BATCH)];
            let parts: Vec<_> = batch.iter().map(|datagram| [IoSlice::new(&datagram.bytes)]).collect();
            let to: Vec<_> =
                batch.iter().map(|datagram| Some(SockaddrStorage::from(datagram.remote))).collect();
            let fd = self.socket.as_raw_fd();
            let mut headers = headers();
            let sent = sendmmsg(fd, &mut headers, &parts, to, [], MsgFlags::MSG_DONTWAIT);
            let sent = sent.map_or(0, Iterator::count);
            // Where none went there is an error, and it is of the first.
            unsent += usize::from(sent == 0);
            rest = &rest[sent.max(1)..];
        }
        unsent
    }

    /// Sends several to the same address, of the same length but the last, by one walk
    /// through the system's network.
    fn send_as_one(&mut self, datagrams: &[Datagram]) -> usize {
        let parts: Vec<_> = datagrams.iter().map(|datagram| IoSlice::new(&datagram.bytes)).collect();
        let to = SockaddrStorage::from(datagrams[0].remote);
        let length = u16::try_from(datagrams[0].bytes.len()).unwrap_or(u16::MAX);
        let cut = [ControlMessage::UdpGsoSegments(&length)];
        let fd = self.socket.as_raw_fd();
        match sendmsg(fd, &parts, &cut, MsgFlags::MSG_DONTWAIT, Some(&to)) {
            // An old system, or a network card of which it does not know how; where it cut
            // before, a way that carries no packets of this length.
            Err(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT) => {
                self.cuts = self.has_cut;
                self.send_each(datagrams)
            }
            Err(_) => datagrams.len(),
            Ok(_) => {
                self.has_cut = true;
                0
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How many of the first of these can go as one.
fn segments(datagrams: &[Datagram]) -> usize {
    let Some(first) = datagrams.first() else { return 0 };
    let (length, most) = (first.bytes.len(), MOST_SEGMENTS.min(MOST_BYTES / first.bytes.len().max(1)));
    let mut count = 1;
    for datagram in datagrams[1..].iter().take(most.saturating_sub(1)) {
        if datagram.remote != first.remote || !(1..=length).contains(&datagram.bytes.len()) {
            break;
        }
        count += 1;
        if datagram.bytes.len() < length {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(local: SocketAddr, remote: SocketAddr, byte: u8, length: usize) -> Datagram {
        Datagram { local, remote, bytes: vec![byte; length] }
    }

    #[test]
    fn what_goes_to_one_address_in_equal_parts_goes_as_one() {
        let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let cases: [(&[(u16, usize)], usize); 7] = [
            (&[(1, 100)], 1),
            (&[(1, 100), (1, 100), (1, 100)], 3),
            (&[(1, 100), (1, 40), (1, 40)], 2),
            (&[(1, 40), (1, 100)], 1),
            (&[(1, 100), (2, 100)], 1),
            (&[(1, 100), (1, 0)], 1),
            (&[(1, 1_200); 70], 50),
        ];
        for (sent, expected) in cases {
            let sent = sent.iter().map(|(port, length)| datagram(at(9), at(*port), 0, *length));
            assert_eq!(segments(&sent.collect::<Vec<_>>()), expected);
        }
    }

    #[test]
    fn all_that_is_sent_comes_in_order() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (mut here, mut there) = (Socket::bind(any).expect("a port"), Socket::bind(any).expect("a port"));
        for cuts in [true, false] {
            here.cuts = cuts;
            // Singles, runs of equal ones, and more than fit into one call.
            let lengths = [1, 1_200, 1_200, 700, 80, 90, 1_500, 1_500, 0, 7];
            let lengths = lengths.into_iter().chain((0..50).map(|n| 100 + n));
            let sent: Vec<_> = lengths
                .zip(0..)
                .map(|(length, byte)| datagram(here.address, there.address, byte, length))
                .collect();
            assert_eq!(here.send(&sent), 0);
            let mut came = Vec::new();
            while came.len() < sent.len() {
                let before = came.len();
                came.extend(there.receive().iter().cloned());
                assert!(came.len() > before, "{} of {} came", before, sent.len());
            }
            let expected =
                sent.into_iter().map(|sent| Datagram { local: there.address, remote: here.address, ..sent });
            assert_eq!(came, expected.collect::<Vec<_>>());
        }
    }
}
