//! STUN as far as it is not a peer's own (RFC 8489): whom a request is for, and the
//! answer to one that is for nobody, by which a participant whose link broke learns that
//! the way to the server is open again.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const USERNAME: u16 = 0x0006;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// The longest request for nobody that is answered, in bytes: a header and a few
/// attributes.
const MOST_KNOCK: usize = 64;

/// Whether a datagram is STUN at all (RFC 7983 § 7).
pub(crate) fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4)
        && datagram.get(4..8) == Some(&COOKIE)
        && datagram.len() >= HEADER
}

/// The server's own part of the user name in a request (RFC 8445 § 7.2.2), if there is
/// one: which peer it is for.
pub(crate) fn local_name(datagram: &[u8]) -> Option<&str> {
    let mut attributes = datagram.get(HEADER..)?;
    while let [a, b, c, d, rest @ ..] = attributes {
        let (kind, length) = (u16::from_be_bytes([*a, *b]), usize::from(u16::from_be_bytes([*c, *d])));
        let value = rest.get(..length)?;
        if kind == USERNAME {
            return std::str::from_utf8(value).ok()?.split_once(':').map(|(local, _)| local);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The answer to a knock: a binding request with no user name.
pub(crate) fn answer(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    if datagram.len() > MOST_KNOCK || datagram.get(..2)? != BINDING_REQUEST {
        return None;
    }
    let transaction = datagram.get(8..HEADER)?;
    let port = from.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    let key = COOKIE.iter().chain(transaction);
    let (family, address): (u8, Vec<u8>) = match from.ip() {
        IpAddr::V4(ip) => (1, ip.octets().iter().zip(key).map(|(a, b)| a ^ b).collect()),
        IpAddr::V6(ip) => (2, ip.octets().iter().zip(key).map(|(a, b)| a ^ b).collect()),
    };
    let length = u8::try_from(4 + address.len()).ok()?;
    let mut answer = Vec::with_capacity(HEADER + 4 + usize::from(length));
    answer.extend(BINDING_SUCCESS);
    answer.extend([0, 4 + length]);
    answer.extend(COOKIE);
    answer.extend(transaction);
    answer.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
    answer.extend([0, length, 0, family]);
    answer.extend(port.to_be_bytes());
    answer.extend(address);
    Some(answer)
}

/// A knock: a binding request that is for nobody.
pub(crate) fn knock(transaction: [u8; 12]) -> Vec<u8> {
    [&BINDING_REQUEST[..], &[0, 0], &COOKIE, &transaction].concat()
}

/// Whether a datagram answers the knock of this transaction.
pub(crate) fn answers(datagram: &[u8], transaction: [u8; 12]) -> bool {
    is_stun(datagram) && datagram.starts_with(&BINDING_SUCCESS) && datagram[8..HEADER] == transaction
}

/// How many knocks are answered in a second: of everybody, and of one network.
const MOST: u32 = 1_000;
const MOST_OF_ONE: u32 = 100;

/// Counts the knocks of the present second.
#[derive(Debug)]
pub(crate) struct Knocks {
    second: Instant,
    all: u32,
    /// At most as many as `MOST`.
    networks: HashMap<IpAddr, u32>,
}

impl Knocks {
    pub(crate) fn new(now: Instant) -> Self {
        Self { second: now, all: 0, networks: HashMap::new() }
    }

    /// Whether one more is answered.
    pub(crate) fn may(&mut self, now: Instant, from: IpAddr) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.all) = (now, 0);
            self.networks.clear();
        }
        if self.all >= MOST {
            return false;
        }
        let count = self.networks.entry(network(from)).or_default();
        if *count >= MOST_OF_ONE {
            return false;
        }
        *count += 1;
        self.all += 1;
        true
    }
}

/// The network of an address: what is likely one customer's.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) => (u32::from(ip) & 0xffff_ff00).to_be_bytes().into(),
        IpAddr::V6(ip) => (u128::from(ip) & !(u128::MAX >> 48)).to_be_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).expect("short");
        [&BINDING_REQUEST[..], &length.to_be_bytes(), &COOKIE, b"abcdefghijkl", attributes].concat()
    }

    #[test]
    fn a_request_names_the_peer_that_it_is_for() {
        let named = request(b"\0\x06\0\x07ours:it\0\0\x24\0\x04\0\0\0\0");
        assert!(is_stun(&named));
        assert_eq!(local_name(&named), Some("ours"));
        let behind = request(b"\0\x24\0\x03\0\0\0\0\0\x06\0\x07ours:it\0");
        assert_eq!(local_name(&behind), Some("ours"), "after a padded attribute");
        assert_eq!(local_name(&request(b"")), None);
        assert_eq!(local_name(&request(b"\0\x06\0\x04ours")), None);
        assert_eq!(local_name(&request(b"\0\x06\xff\xffours:it")), None, "longer than the datagram");
        for end in 0..named.len() {
            let _ = (is_stun(&named[..end]), local_name(&named[..end]));
        }
    }

    #[test]
    fn a_knock_is_answered_with_where_it_came_from() {
        // RFC 5769 § 2.2 and 2.3 have these mapped addresses, with this transaction.
        let transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let knock = knock(transaction);
        let answered = answer(&knock, "192.0.2.1:32853".parse().expect("an address")).expect("an answer");
        assert_eq!(answered[20..], [0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        assert_eq!(answered[..4], [1, 1, 0, 12]);
        assert_eq!(answered[4..20], knock[4..20]);
        let six = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().expect("an address");
        let mapped = [
            0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79,
            0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        assert_eq!(answer(&knock, six).expect("an answer")[20..], mapped);
        assert_eq!(answer(&answered, six), None, "an answer is not answered");
        assert!(answers(&answered, transaction) && !answers(&answered, [0; 12]));
        assert!(!answers(&knock, transaction) && !answers(&answered[..8], transaction));
        assert_eq!(answer(&request(&[0; 48]), six), None, "too long");
    }

    #[test]
    fn knocks_are_answered_up_to_a_rate() {
        let start = Instant::now();
        let mut knocks = Knocks::new(start);
        let from = |net: u8, host: u8| IpAddr::from([198, 51, net, host]);
        let of_one = (0..=255).filter(|host| knocks.may(start, from(1, *host))).count();
        assert_eq!(of_one, 100, "one network");
        let of_all = (0..=255).flat_map(|host| (2..=255).map(move |net| (net, host)));
        let of_all = of_all.filter(|(net, host)| knocks.may(start, from(*net, *host))).count();
        assert_eq!(of_all, 900, "all together");
        assert!(knocks.may(start + Duration::from_secs(1), from(1, 1)));
    }
}
