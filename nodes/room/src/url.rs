//! `Url`: where a room is and which transport leads there.

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
            "ws" | "wss" => Err(format!(
                "\"{text}\" needs the room server's transport, which is not built in yet: use {FORMS}"
            )),
            _ => Err(format!("\"{text}\" names the transport \"{scheme}\", which is not known: use {FORMS}")),
        }
    }
}

const FORMS: &str = "mem://ROOM or udp://LOCAL_IP:PORT?remote=IP:PORT";

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
    fn both_transports_are_read() {
        assert_eq!(Url::parse("mem://team-1.x"), Ok(Url::Mem { room: "team-1.x".into() }));
        assert_eq!(
            Url::parse("udp://127.0.0.1:5000?remote=127.0.0.1:5002"),
            Ok(Url::Udp { local: ([127, 0, 0, 1], 5000).into(), remote: ([127, 0, 0, 1], 5002).into() })
        );
        assert!(Url::parse("udp://[::1]:5000?remote=[::1]:5002").is_ok());
    }

    #[test]
    fn mistakes_are_told_with_what_would_do() {
        let cases = [
            ("demo", "names no transport"),
            ("tcp://x", "\"tcp\", which is not known"),
            ("wss://example.org/room", "not built in yet"),
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
