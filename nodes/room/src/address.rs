//! Addresses, as the system gives them.

use std::net::SocketAddr;

use nix::sys::socket::SockaddrStorage;

/// The address of IPv4 or IPv6 that this is. \[any\]
pub(crate) fn plain(address: &SockaddrStorage) -> Option<SocketAddr> {
    let four = address.as_sockaddr_in().map(|four| SocketAddr::V4((*four).into()));
    four.or_else(|| address.as_sockaddr_in6().map(|six| SocketAddr::V6((*six).into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_went() {
        for address in ["192.0.2.1:7", "[2001:db8::1]:65535"] {
            let address: SocketAddr = address.parse().expect("an address");
            assert_eq!(plain(&SockaddrStorage::from(address)), Some(address));
        }
    }
}
