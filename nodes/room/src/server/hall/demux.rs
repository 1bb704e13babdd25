//! `Demux`: whose a datagram is that came to one of the server's sockets.
//!
//! A peer's address is learnt from requests that it signed (RFC 8445 § 7.2.2), never
//! from anything else, so that nobody's media come under another's address.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::PeerId;
use crate::stun;

/// Addresses that are known of one peer; the oldest is forgotten for another.
const MOST_ADDRESSES: usize = 4;

/// Whose a datagram may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// It comes from where this peer's come from.
    Theirs(PeerId),
    /// It names this peer, who knows whether it is signed; then [`Demux::learn`].
    Signed(PeerId),
    /// It is a request for nobody.
    Knock,
    /// Nobody's.
    Nobody,
}

/// Which peer is where.
#[derive(Debug, Default)]
pub(super) struct Demux {
    names: HashMap<String, PeerId>,
    addresses: HashMap<SocketAddr, PeerId>,
    /// Of each peer its name, and its addresses from the oldest.
    peers: HashMap<PeerId, (String, VecDeque<SocketAddr>)>,
}

impl Demux {
    pub(super) fn whose(&self, from: SocketAddr, datagram: &[u8]) -> Whose {
        if !stun::is_stun(datagram) {
            return self.addresses.get(&from).map_or(Whose::Nobody, |peer| Whose::Theirs(*peer));
        }
        match stun::local_name(datagram) {
            Some(name) => self.names.get(name).map_or(Whose::Nobody, |peer| Whose::Signed(*peer)),
            None => Whose::Knock,
        }
    }

    /// A peer goes by this name from now on: its part of the ICE credentials.
    pub(super) fn name(&mut self, peer: PeerId, name: &str) {
        let (before, _) = self.peers.entry(peer).or_default();
        let before = std::mem::replace(before, name.into());
        self.names.remove(&before);
        self.names.insert(name.into(), peer);
    }

    /// A request from there was signed by this peer.
    pub(super) fn learn(&mut self, peer: PeerId, from: SocketAddr) {
        let Some((_, addresses)) = self.peers.get_mut(&peer) else { return };
        if addresses.contains(&from) {
            return;
        }
        if addresses.len() == MOST_ADDRESSES
            && let Some(oldest) = addresses.pop_front()
        {
            self.addresses.remove(&oldest);
        }
        addresses.push_back(from);
        let before = self.addresses.insert(from, peer);
        if let Some((_, addresses)) = before.and_then(|before| self.peers.get_mut(&before)) {
            addresses.retain(|address| *address != from);
        }
    }

    pub(super) fn forget(&mut self, peer: PeerId) {
        if let Some((name, addresses)) = self.peers.remove(&peer) {
            self.names.remove(&name);
            for address in addresses {
                self.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::StageId;
    use super::*;
    use crate::server::replay::PersonId;

    const ONE: PeerId = PeerId { stage: StageId(0), person: PersonId(1) };
    const TWO: PeerId = PeerId { stage: StageId(1), person: PersonId(1) };
    const RTP: &[u8] = &[0x80, 111, 0, 1];

    fn request(name: &str) -> Vec<u8> {
        let name = format!("{name}:x");
        let length = u16::try_from(name.len()).expect("short").to_be_bytes();
        let mut bytes =
            [b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl\0\x06", &length[..], name.as_bytes()].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn only_signed_requests_say_where_a_peer_is() {
        let mut demux = Demux::default();
        demux.name(ONE, "one");
        assert_eq!(demux.whose(at(1), RTP), Whose::Nobody);
        assert_eq!(demux.whose(at(1), &request("one")), Whose::Signed(ONE));
        assert_eq!(demux.whose(at(1), &request("two")), Whose::Nobody);
        assert_eq!(demux.whose(at(1), &request("one")[..20]), Whose::Knock);
        assert_eq!(demux.whose(at(1), RTP), Whose::Nobody, "asking alone teaches nothing");
        demux.learn(ONE, at(1));
        assert_eq!(demux.whose(at(1), RTP), Whose::Theirs(ONE));
        // After a restart of ICE.
        demux.name(ONE, "uno");
        assert_eq!(demux.whose(at(1), &request("one")), Whose::Nobody);
        assert_eq!(demux.whose(at(1), &request("uno")), Whose::Signed(ONE));
        demux.forget(ONE);
        assert_eq!(demux.whose(at(1), RTP), Whose::Nobody);
        assert_eq!(demux.whose(at(1), &request("uno")), Whose::Nobody);
        assert!(demux.peers.is_empty() && demux.names.is_empty() && demux.addresses.is_empty());
    }

    #[test]
    fn a_peer_has_few_addresses_and_an_address_one_peer() {
        let mut demux = Demux::default();
        demux.name(ONE, "one");
        demux.name(TWO, "two");
        for port in 1..=6 {
            demux.learn(ONE, at(port));
            demux.learn(ONE, at(port));
        }
        let known = (1..=6).filter(|port| demux.whose(at(*port), RTP) == Whose::Theirs(ONE));
        assert_eq!(known.collect::<Vec<_>>(), [3, 4, 5, 6]);
        demux.learn(TWO, at(6));
        assert_eq!(demux.whose(at(6), RTP), Whose::Theirs(TWO));
        demux.forget(ONE);
        assert_eq!(demux.whose(at(6), RTP), Whose::Theirs(TWO), "what is another's by now stays");
        demux.learn(ONE, at(7));
        assert_eq!(demux.whose(at(7), RTP), Whose::Nobody, "one who is forgotten learns nothing");
        assert_eq!(demux.addresses.len(), 1);
    }
}
