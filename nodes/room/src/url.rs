//! `Url`: where a room is and which transport leads there.

use std::fmt;
use std::net::SocketAddr;

/// The longest URL that is looked at, in bytes.
const MOST_BYTES: usize = 512;

/// Where a room is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Url {
    /// `mem://ROOM`: a room of this engine.
    Mem {
        /// Its name.
        room: String,
    },
    /// `udp://LOCAL_IP:PORT?remote=IP:PORT`: plain RTP between two addresses.
    Udp {
        /// Ours.
        local: SocketAddr,
        /// The other's.
        remote: SocketAddr,
    },
    /// `ws://HOST:PORT` or `wss://HOST:PORT`: a room server.
    Server(ServerUrl),
}

/// Where a room server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// Whether by TLS.
    pub secure: bool,
    /// A name, or an address; one of IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// From the first slash on.
    pub path: String,
}

impl ServerUrl {
    /// Whether it is this machine, as far as its name says. \[any\]
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secure, host, port, path } = self;
        let scheme = if *secure { "wss" } else { "ws" };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

impl Url {
    /// Reads a URL. \[control\]
    ///
    /// # Errors
    /// A phrase that completes "url …": what is wrong and what would do.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("is longer than {MOST_BYTES} bytes: use {FORMS}"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("\"{text}\" names no transport: use {FORMS}"));
        };
        match scheme {
            "mem" => mem(text, rest),
            "udp" => udp(text, rest),
            "ws" | "wss" => server(text, scheme == "wss", rest),
            _ => Err(format!("\"{text}\" names the transport \"{scheme}\", which is not known: use {FORMS}")),
        }
    }
}

const FORMS: &str = "mem://ROOM, udp://LOCAL_IP:PORT?remote=IP:PORT or ws://HOST:PORT";

/// The port of a URL that names none, RFC 6455 § 3.
const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn server(text: &str, secure: bool, rest: &str) -> Result<Url, String> {
    let bad = |what: &str| {
        Err(format!("\"{text}\" {what}: write it like ws://127.0.0.1:7880 or wss://rooms.example.org"))
    };
    if rest.contains(['?', '#', '@']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        // A token in it would be written to logs on its way.
        return bad("has more than a server, a port and a path (the token has a parameter of its own)");
    }
    let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
        }
        Some(_) => return bad("has no IPv6 address in its brackets"),
        None => place.split_once(':').map_or((place, Some("")), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return bad("names no server");
    }
    let port = match port {
        Some("") => Some(default_port(secure)),
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => None,
    };
    let Some(port) = port else { return bad("has a port that is none") };
    Ok(Url::Server(ServerUrl { secure, host: host.to_owned(), port, path: path.to_owned() }))
}

fn mem(text: &str, room: &str) -> Result<Url, String> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if room.is_empty() {
        return Err(format!("\"{text}\" names no room: use mem:// and a name, such as mem://demo"));
    }
    if room.chars().count() > 64 || !room.chars().all(fits) {
        return Err(format!(
            "\"{text}\" has a room name that does not do: use at most 64 letters, digits, \"-\", \"_\" and \".\""
        ));
    }
    Ok(Url::Mem { room: room.to_owned() })
}

fn udp(text: &str, rest: &str) -> Result<Url, String> {
    let Some((local, query)) = rest.split_once('?') else {
        return Err(format!(
            "\"{text}\" does not say whom to talk to: add ?remote=IP:PORT, such as ?remote=127.0.0.1:5002"
        ));
    };
    let Some(remote) = query.strip_prefix("remote=") else {
        return Err(format!("\"{text}\" has \"?{query}\" where only ?remote=IP:PORT is known"));
    };
    let local = address(text, "local", local)?;
    let remote = address(text, "remote", remote)?;
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(format!("\"{text}\" mixes IPv4 and IPv6: use the same for both addresses"));
    }
    if local == remote {
        return Err(format!("\"{text}\" talks to itself: give two different addresses or ports"));
    }
    Ok(Url::Udp { local, remote })
}

fn address(text: &str, which: &str, address: &str) -> Result<SocketAddr, String> {
    let parsed: SocketAddr = address.parse().map_err(|_| {
        format!(
            "\"{text}\" has the {which} address \"{address}\", which is not IP:PORT: \
             write it like 127.0.0.1:5000 or [::1]:5000 (names are not looked up)"
        )
    })?;
    if parsed.port() == 0 {
        return Err(format!("\"{text}\" has port 0 in its {which} address: give a port from 1 to 65535"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_this_engine_and_plain_addresses_are_read() {
        assert_eq!(Url::parse("mem://team-1.x"), Ok(Url::Mem { room: "team-1.x".into() }));
        assert_eq!(
            Url::parse("udp://127.0.0.1:5000?remote=127.0.0.1:5002"),
            Ok(Url::Udp { local: ([127, 0, 0, 1], 5000).into(), remote: ([127, 0, 0, 1], 5002).into() })
        );
        assert!(Url::parse("udp://[::1]:5000?remote=[::1]:5002").is_ok());
    }

    #[test]
    fn servers_are_read_and_written() {
        let cases = [
            ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880/"),
            ("ws://[::1]:7880/room", "ws://[::1]:7880/room"),
            ("wss://rooms.example.org", "wss://rooms.example.org:443/"),
            ("ws://here", "ws://here:80/"),
            ("ws://[::1]", "ws://[::1]:80/"),
        ];
        for (text, full) in cases {
            let Ok(Url::Server(server)) = Url::parse(text) else { panic!("{text}") };
            assert_eq!(server.to_string(), full);
        }
    }

    #[test]
    fn mistakes_are_told_with_what_would_do() {
        let cases = [
            ("demo", "names no transport"),
            ("tcp://x", "\"tcp\", which is not known"),
            ("ws://", "names no server"),
            ("ws://:7880", "names no server"),
            ("ws://here:0", "a port that is none"),
            ("ws://here:x/", "a port that is none"),
            ("ws://[::1]x", "a port that is none"),
            ("ws://[here]:1", "no IPv6 address"),
            ("ws://here/?token=x", "a parameter of its own"),
            ("mem://", "names no room"),
            ("mem://a/b", "room name"),
            ("udp://127.0.0.1:5000", "add ?remote="),
            ("udp://127.0.0.1:5000?to=x", "?to=x"),
            ("udp://localhost:5000?remote=127.0.0.1:1", "\"localhost:5000\""),
            ("udp://127.0.0.1:0?remote=127.0.0.1:1", "port 0 in its local"),
            ("udp://127.0.0.1:1?remote=[::1]:1", "mixes"),
            ("udp://127.0.0.1:1?remote=127.0.0.1:1", "itself"),
        ];
        for (text, why) in cases {
            let message = Url::parse(text).unwrap_err();
            assert!(message.contains(why), "{text}: {message}");
        }
        assert!(Url::parse(&"x".repeat(10_000)).unwrap_err().len() < 200);
    }
}
