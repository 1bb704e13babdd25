//! Requests by HTTP, one connection each: all that WHIP and WHEP need.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The longest URL that is looked at, and the longest answer, in bytes.
const MOST_URL: usize = 512;
const MOST_ANSWER: usize = 256 << 10;
/// How long connecting may take, and each wait for more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Redirections that are followed (RFC 9725 § 4.5).
const MOST_REDIRECTIONS: usize = 3;

/// `http://HOST:PORT/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpUrl {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl HttpUrl {
    /// Reads one.
    ///
    /// # Errors
    /// A phrase that completes "url …".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = |what: &str| {
            let text: String = text.chars().take(80).collect();
            Err(format!("\"{}\" {what}: write it like http://127.0.0.1:7880/whip/demo", text.escape_debug()))
        };
        if text.len() > MOST_URL || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return bad("is too long, or has white space in it");
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return bad("does not begin with http:// (https is not spoken here yet)");
        };
        if rest.contains(['#', '@']) {
            return bad("has more than a server, a port and a path (the token has a parameter of its own)");
        }
        let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
            Some(_) => return bad("has no IPv6 address in its brackets"),
            None => place.find(':').map_or((place, ""), |at| place.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => Some(80),
            port => port.and_then(|port| port.parse().ok()).filter(|port| *port > 0),
        };
        match (host.is_empty(), port) {
            (true, _) => bad("names no server"),
            (_, None) => bad("has a port that is none"),
            (_, Some(port)) => Ok(Self { host: host.into(), port, path: path.into() }),
        }
    }

    /// Whether it stays on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Another one, as a server names it: whole, or by its path alone.
    fn join(&self, location: &str) -> Result<Self, String> {
        if location.starts_with('/') && !location.starts_with("//") {
            let sound = !location.contains(|c: char| c.is_whitespace() || c.is_control());
            let path = Some(location.to_owned()).filter(|path| sound && path.len() <= MOST_URL);
            return Ok(Self { path: path.ok_or("names no path")?, ..self.clone() });
        }
        Self::parse(location)
    }

    fn is_same_server(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl HttpUrl {
    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// What is asked, and with what.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) token: &'a str,
    /// The kind of the body, and the body.
    pub(crate) body: Option<(&'a str, &'a str)>,
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    location: Option<String>,
    pub(crate) body: String,
}

/// Asks, follows redirections, and says where in the end, and with which address of
/// ours. \[control\]
///
/// # Errors
/// Nothing came of it.
pub(crate) fn ask(
    url: &HttpUrl,
    ask: &Ask<'_>,
    may_leave: bool,
) -> io::Result<(Answer, HttpUrl, SocketAddr)> {
    let mut at = url.clone();
    for _ in 0..=MOST_REDIRECTIONS {
        if !may_leave && !at.is_local() {
            return Err(io::Error::new(ErrorKind::PermissionDenied, format!("{at} is on another machine")));
        }
        // Another server is to have no token that is not its own.
        let token = if at.is_same_server(url) { ask.token } else { "" };
        let (answer, local) = once(&at, &Ask { token, ..*ask })?;
        let made = answer.location.as_deref().map(|location| at.join(location).map_err(bad)).transpose()?;
        match (answer.status, made) {
            (307, Some(next)) => at = next,
            (_, made) => return Ok((answer, made.unwrap_or(at), local)),
        }
    }
    Err(bad("it redirects for ever"))
}

fn bad(why: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.into())
}

fn once(url: &HttpUrl, ask: &Ask<'_>) -> io::Result<(Answer, SocketAddr)> {
    let address = (url.host.as_str(), url.port).to_socket_addrs()?.next();
    let address = address.ok_or_else(|| bad(format!("{} has no address", url.host)))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let local = stream.local_addr()?;
    let Ask { method, token, body } = ask;
    // HTTP/1.0, so that the answer comes in one piece and ends with the connection.
    let mut text = format!("{method} {} HTTP/1.0\r\nhost: {}\r\n", url.path, url.authority());
    if !token.is_empty() {
        text += &format!("authorization: Bearer {token}\r\n");
    }
    if let Some((kind, body)) = body {
        text += &format!("content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    } else {
        text += "\r\n";
    }
    stream.write_all(text.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(MOST_ANSWER as u64).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| bad("the answer is no text"))?;
    Ok((read(&text).ok_or_else(|| bad("the answer is not HTTP's"))?, local))
}

/// Reads an answer.
fn read(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut location = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("location") {
            location = Some(value.trim().into());
        }
    }
    Some(Answer { status, location, body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_what_is_wrong_with_them_is_said() {
        let url = HttpUrl::parse("http://[::1]:7880/whip/demo?source=screen").expect("a URL");
        assert_eq!((&*url.host, url.port, &*url.path), ("::1", 7_880, "/whip/demo?source=screen"));
        assert_eq!(url.to_string(), "http://[::1]:7880/whip/demo?source=screen");
        assert!(url.is_local() && HttpUrl::parse("http://localhost/x").is_ok_and(|url| url.is_local()));
        assert!(!HttpUrl::parse("http://rooms.example.org/whip/x").expect("a URL").is_local());
        for (text, why) in [
            ("https://a/b", "https"),
            ("ws://a/b", "http://"),
            ("http:///b", "server"),
            ("http://a:0/b", "port"),
            ("http://a:x/b", "port"),
            ("http://[a]/b", "IPv6"),
            ("http://u:p@a/b", "token"),
            ("http://a/b c", "white space"),
            (&format!("http://a/{}", "b".repeat(600)), "long"),
        ] {
            let said = HttpUrl::parse(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_resource_is_where_the_answer_says() {
        let url = HttpUrl::parse("http://127.0.0.1:1/whip/demo").expect("a URL");
        let join = |location: &str| url.join(location).map(|url| url.to_string());
        assert_eq!(join("/resource/1"), Ok("http://127.0.0.1:1/resource/1".into()));
        assert_eq!(join("http://127.0.0.1:2/x"), Ok("http://127.0.0.1:2/x".into()));
        assert!(join("//elsewhere/x").is_err() && join("x").is_err() && join("/a\tb").is_err());
    }

    #[test]
    fn answers_are_read_and_what_is_none_is_not() {
        let answer = read("HTTP/1.0 201 Created\r\nLocation:  /r/1\r\nx: y\r\n\r\nv=0\r\n").expect("one");
        assert_eq!(answer, Answer { status: 201, location: Some("/r/1".into()), body: "v=0\r\n".into() });
        for wrong in ["", "HTTP/1.1 200 OK", "SIP/2.0 200 OK\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
