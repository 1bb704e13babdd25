//! A small HTTP/1.1 server for a run's figures: `/metrics` for Prometheus and
//! `/report.json` for `sidetone top` and scripts.
//!
//! It serves nothing but these two pages, to few clients at a time, and trusts
//! none: a request has a bounded head and a time limit for all of it, an answer
//! has one too, and who is one too many is told so. The engine notices nothing
//! of a client but that somebody asks for a snapshot.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a request that are read at most.
const HEAD: usize = 8 << 10;
/// Header lines that a request may have.
const HEADERS: usize = 64;
/// Clients served at once.
const CLIENTS: usize = 8;
/// How long one client may take, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(5);

/// A page, made when it is asked for; `None` when the run is over.
pub(crate) type Page = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What is served where.
pub(crate) struct Site {
    /// Path, type of contents, and the page.
    pub(crate) pages: Vec<(&'static str, &'static str, Page)>,
}

/// Reads `--metrics`: a port, or an address and a port. A port alone is one of
/// this machine's own, which nobody else reaches.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let local = text.replacen("localhost:", "127.0.0.1:", 1);
    local.parse().map_err(|_| {
        "give a port of this machine, such as 9100, or an address with a port, such as 0.0.0.0:9100 or [::1]:9100"
            .to_owned()
    })
}

/// Listens at `address` (port 0: any that is free) and serves until the process
/// ends; gives the address.
pub(crate) fn serve(address: SocketAddr, site: Site) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    let site = Arc::new(site);
    let clients = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new().name("metrics".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors, most likely: asking again at once would spin.
                std::thread::park_timeout(Duration::from_millis(50));
                continue;
            };
            let (site, clients) = (Arc::clone(&site), Arc::clone(&clients));
            if clients.fetch_add(1, Ordering::AcqRel) >= CLIENTS {
                clients.fetch_sub(1, Ordering::AcqRel);
                refuse(&stream);
                continue;
            }
            let counted = Arc::clone(&clients);
            let body = move || {
                // A client that is gone has had its answer.
                let _ = attend(stream, &site);
                counted.fetch_sub(1, Ordering::AcqRel);
            };
            if std::thread::Builder::new().name("metrics client".into()).spawn(body).is_err() {
                clients.fetch_sub(1, Ordering::AcqRel);
            }
        }
    })?;
    Ok(bound)
}

/// Tells a client that there are too many, without waiting for it.
fn refuse(stream: &TcpStream) {
    let answer = Answer::plain("503 Service Unavailable", "Too many clients at once; try again.\n");
    let sent = stream.set_nonblocking(true).and_then(|()| (&mut &*stream).write_all(&answer.bytes(true)));
    // It is told as far as it listens.
    drop(sent);
}

/// Serves one client.
fn attend(mut stream: TcpStream, site: &Site) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let (answer, with_body) = match read_head(&mut stream, until)? {
        Ok(request) => (site.answer(&request), request.method != "HEAD"),
        Err(answer) => (answer, true),
    };
    let bytes = answer.bytes(with_body);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        let written = stream.write(rest)?;
        if written == 0 {
            break;
        }
        rest = &rest[written..];
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // What the client still sends is read, so that the answer is not reset away.
    let mut scrap = [0; 1_024];
    let linger = until.min(Instant::now() + Duration::from_millis(500));
    while let Ok(limit) = left(linger) {
        stream.set_read_timeout(Some(limit))?;
        if stream.read(&mut scrap)? == 0 {
            break;
        }
    }
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

struct Request {
    method: String,
    path: String,
}

/// Reads a request's head, or gives what to answer to one that is none.
fn read_head(stream: &mut TcpStream, until: Instant) -> io::Result<Result<Request, Answer>> {
    let mut head = Vec::with_capacity(1_024);
    let mut part = [0; 1_024];
    loop {
        let Ok(limit) = left(until) else {
            return Ok(Err(Answer::plain("408 Request Timeout", "The request took too long.\n")));
        };
        stream.set_read_timeout(Some(limit))?;
        match stream.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => head.extend_from_slice(&part[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Some(outcome) = parse(&head) {
            return Ok(outcome);
        }
    }
}

/// The request that a head makes, what to answer if it makes none, or `None` if
/// there is more to come.
fn parse(head: &[u8]) -> Option<Result<Request, Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.unwrap_or("/");
            let path = path.split(['?', '#']).next().unwrap_or("/").to_owned();
            Some(Ok(Request { method: request.method.unwrap_or("").to_owned(), path }))
        }
        Ok(httparse::Status::Partial) if head.len() <= HEAD => None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Some(Err(Answer::plain("431 Request Header Fields Too Large", "The request is too long.\n")))
        }
        Err(error) => {
            Some(Err(Answer::plain("400 Bad Request", &format!("This is no HTTP request: {error}.\n"))))
        }
    }
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Site {
    fn answer(&self, request: &Request) -> Answer {
        if !["GET", "HEAD"].contains(&&*request.method) {
            return Answer::plain("405 Method Not Allowed", "Only GET and HEAD are answered.\n");
        }
        let Some((_, kind, page)) = self.pages.iter().find(|(path, ..)| *path == request.path) else {
            let paths: Vec<_> = self.pages.iter().map(|(path, ..)| *path).collect();
            return Answer::plain("404 Not Found", &format!("There are: {}\n", paths.join(", ")));
        };
        match page() {
            Some(body) => Answer { status: "200 OK", kind, body },
            None => Answer::plain("503 Service Unavailable", "The run is over, or too busy to answer.\n"),
        }
    }
}

impl Answer {
    fn plain(status: &'static str, text: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: text.to_owned() }
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        let Self { status, kind, body } = self;
        let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), if with_body { body.as_bytes() } else { &[] }].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> SocketAddr {
        let page: Page = Box::new(|| Some("hello\n".into()));
        let over: Page = Box::new(|| None);
        let pages = vec![("/metrics", "text/plain", page), ("/over", "text/plain", over)];
        serve(address("0").unwrap(), Site { pages }).unwrap()
    }

    fn ask(at: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(at).unwrap();
        // A server that has heard enough may answer before all is written.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn a_port_alone_is_this_machines_own() {
        assert_eq!(address("9100").unwrap(), "127.0.0.1:9100".parse().unwrap());
        assert_eq!(address("localhost:1").unwrap(), "127.0.0.1:1".parse().unwrap());
        assert_eq!(address("[::]:9100").unwrap(), "[::]:9100".parse().unwrap());
        assert!(address("example.org:80").is_err() && address("70000").is_err());
    }

    #[test]
    fn every_request_is_answered_for_what_it_is() {
        let at = site();
        for (request, wanted) in [
            (&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[..], "200 OK"),
            (b"GET /metrics?name=1 HTTP/1.0\r\n\r\n", "200 OK"),
            (b"GET /other HTTP/1.1\r\n\r\n", "404 Not Found"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            (b"GET /over HTTP/1.1\r\n\r\n", "503 Service Unavailable"),
            (b"\x16\x03\x01\x00\xa5\x01", "400 Bad Request"),
            (&[b"GET / HTTP/1.1\r\nA: ", &[b'x'; 2 * HEAD][..]].concat(), "431 Request"),
            (&[b"GET / HTTP/1.1\r\n", &b"A: 1\r\n".repeat(HEADERS + 1)[..], b"\r\n"].concat(), "431 Request"),
        ] {
            let answer = ask(at, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{wanted}: {answer}");
        }
        assert!(ask(at, b"GET /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nhello\n"));
        let head = ask(at, b"HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.contains("Content-Length: 6\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn clients_that_say_nothing_keep_nobody_else_out_for_long() {
        let at = site();
        let silent: Vec<_> = (0..3 * CLIENTS).map(|_| TcpStream::connect(at).unwrap()).collect();
        let mut answer = ask(at, b"GET /metrics HTTP/1.1\r\n\r\n");
        assert!(answer.is_empty() || answer.contains("503 Service Unavailable"), "{answer}");
        drop(silent);
        while !answer.contains("hello") {
            answer = ask(at, b"GET /metrics HTTP/1.1\r\n\r\n");
        }
    }
}
