//! Requests by HTTP and HTTPS, one connection each: all that WHIP and WHEP need.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use sidetone_core::{NodeError, Params};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use url::{Host, Url};

use crate::client::link::{dial, trust};

/// The longest URL that is looked at, and the longest answer, in bytes.
const MOST_URL: usize = 512;
const MOST_ANSWER: usize = 256 << 10;
/// How long a request may take, whatever comes meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// Redirections that are followed (RFC 9725 § 4.5).
const MOST_REDIRECTIONS: usize = 3;

/// Reads where a server is.
///
/// # Errors
/// A phrase that completes "url …".
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let bad = |what: &str| {
        let text: String = text.chars().take(80).collect();
        Err(format!("\"{}\" {what}: write it like http://127.0.0.1:7880/whip/demo", text.escape_debug()))
    };
    if text.len() > MOST_URL || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return bad("is too long, or has white space in it");
    }
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return bad("does not begin with http:// or https://");
    }
    match Url::parse(text) {
        Err(why) => bad(&format!("is no URL ({why})")),
        Ok(url) if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() => {
            bad("has more than a server, a port and a path (the token has a parameter of its own)")
        }
        Ok(url) if url.port() == Some(0) => bad("has a port that is none"),
        Ok(url) => Ok(url),
    }
}

/// Where a node's parameters say that the server is, if it may be spoken to. \[control\]
///
/// # Errors
/// It is none, or may not.
pub(crate) fn server(params: &Params) -> Result<Url, NodeError> {
    let refused = |why| NodeError::Param { name: "url", why };
    let url = parse(params.text("url")).map_err(refused)?;
    if !is_safe(&url) && !params.bool("allow_remote") {
        return Err(refused(format!(
            "leaves this machine ({url}) and not all is encrypted: use an address such as 127.0.0.1, \
             https://, or set allow_remote = true"
        )));
    }
    Ok(url)
}

/// Whether a token may go there: to this machine, or so that nobody else reads it.
pub(crate) fn is_safe(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    is_local || url.scheme() == "https"
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
    /// Where it was answered, and of what was made, where that is.
    pub(crate) at: Url,
}

/// What asks one server.
pub(crate) struct Client {
    pub(crate) url: Url,
    /// Goes to that server alone.
    token: String,
    ca_file: Option<PathBuf>,
    may_leave: bool,
    runtime: Runtime,
}

impl Client {
    /// One that asks the server of `url`. \[control\]
    ///
    /// # Errors
    /// The system lacks something.
    pub(crate) fn new(
        url: Url,
        token: String,
        ca_file: Option<PathBuf>,
        may_leave: bool,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { url, token, ca_file, may_leave, runtime })
    }

    /// The address of ours from which the server is reached. \[control\]
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn way(&self) -> io::Result<IpAddr> {
        let (host, port) = place(&self.url)?;
        let connected = self.within(async { TcpStream::connect((host.as_str(), port)).await });
        Ok(connected?.local_addr()?.ip())
    }

    /// Asks, and follows redirections. \[control\]
    ///
    /// # Errors
    /// Nothing came of it.
    pub(crate) fn ask(&self, method: &Method, url: &Url, body: Option<(&str, &str)>) -> io::Result<Answer> {
        self.within(async {
            let mut at = url.clone();
            for _ in 0..=MOST_REDIRECTIONS {
                let (status, location, text) = self.once(method, &at, body).await?;
                let names = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
                let made = location.filter(|_| names || status == StatusCode::CREATED);
                let made = made.map(|location| at.join(&location).map_err(io::Error::other)).transpose()?;
                match made {
                    Some(next) if names => at = next,
                    made => return Ok(Answer { status, body: text, at: made.unwrap_or(at) }),
                }
            }
            Err(bad("it redirects for ever"))
        })
    }

    async fn once(
        &self,
        method: &Method,
        url: &Url,
        body: Option<(&str, &str)>,
    ) -> io::Result<(StatusCode, Option<String>, String)> {
        if !self.may_leave && !is_safe(url) {
            let why = format!("{} is on another machine", url.origin().ascii_serialization());
            return Err(io::Error::new(ErrorKind::PermissionDenied, why));
        }
        let (host, port) = place(url)?;
        let tls = (url.scheme() == "https").then(|| trust(self.ca_file.as_deref()));
        let stream = dial(&host, port, tls.transpose().map_err(io::Error::other)?).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let path = url.query().map_or_else(|| url.path().into(), |query| format!("{}?{query}", url.path()));
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, &url[url::Position::BeforeHost..url::Position::AfterPort]);
        // Another server is to have no token that is not its own.
        if !self.token.is_empty() && url.origin() == self.url.origin() {
            let mut value =
                HeaderValue::try_from(format!("Bearer {}", self.token)).map_err(io::Error::other)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some((kind, _)) = body {
            request = request.header(CONTENT_TYPE, kind);
        }
        let body = Full::new(Bytes::copy_from_slice(body.map_or(b"", |(_, body)| body.as_bytes())));
        let request = request.body(body).map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let (status, location) = (response.status(), location.map(str::to_owned));
        let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
        connection.abort();
        let text = String::from_utf8(body.map_err(io::Error::other)?.to_bytes().to_vec());
        Ok((status, location, text.map_err(io::Error::other)?))
    }

    fn within<T>(&self, asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        self.runtime.block_on(async {
            timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
        })
    }
}

/// A name or an address without its brackets, and a port.
fn place(url: &Url) -> io::Result<(String, u16)> {
    let host = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned());
    host.zip(url.port_or_known_default()).ok_or_else(|| bad("it names no server"))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    use super::*;

    #[test]
    fn urls_are_read_and_what_is_wrong_with_them_is_said() {
        let url = parse("http://[::1]:7880/whip/demo?source=screen").expect("a URL");
        assert_eq!(place(&url).expect("a place"), ("::1".into(), 7_880));
        assert!(is_safe(&url) && parse("http://localhost/x").is_ok_and(|url| is_safe(&url)));
        assert!(!is_safe(&parse("http://rooms.example.org/whip/x").expect("a URL")));
        assert!(is_safe(&parse("https://rooms.example.org/whip/x").expect("a URL")));
        for (text, why) in [
            ("ws://a/b", "http://"),
            ("http:///", "no URL"),
            ("http://a:0/b", "port"),
            ("http://a:x/b", "port"),
            ("http://[a]/b", "IPv6"),
            ("http://u:p@a/b", "token"),
            ("http://a/b c", "white space"),
            (&format!("http://a/{}", "b".repeat(600)), "long"),
        ] {
            let said = parse(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    /// A server that answers so once, and what it was asked.
    fn answers(answer: impl Into<String>) -> (u16, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (port, answer) = (listener.local_addr().expect("bound").port(), answer.into());
        let asked = spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut bytes = [0; 2_048];
            let length = stream.read(&mut bytes).expect("a question");
            stream.write_all(answer.as_bytes()).expect("it is heard");
            String::from_utf8_lossy(&bytes[..length]).to_lowercase()
        });
        (port, asked)
    }

    fn client(port: u16) -> Client {
        let url = parse(&format!("http://127.0.0.1:{port}/whip/demo")).expect("a URL");
        Client::new(url, "secret".into(), None, false).expect("a client")
    }

    #[test]
    fn who_redirects_or_names_a_resource_elsewhere_has_no_token_for_that_server() {
        let made = "HTTP/1.1 201 Created\r\nlocation: made/1\r\ncontent-length: 3\r\n\r\nv=0";
        let (far, far_asked) = answers(made);
        let (near, near_asked) = answers(format!(
            "HTTP/1.1 308 Elsewhere\r\nlocation: http://127.0.0.1:{far}/a/b\r\ncontent-length: 0\r\n\r\n"
        ));
        let client = client(near);
        let body = Some(("application/sdp", "v=0\r\n"));
        let answer = client.ask(&Method::POST, &client.url, body).expect("an answer");
        let at = format!("http://127.0.0.1:{far}/a/made/1");
        assert_eq!((answer.status, &*answer.body, answer.at.as_str()), (StatusCode::CREATED, "v=0", &*at));
        let near_asked = near_asked.join().expect("it was asked");
        assert!(
            near_asked.contains("bearer secret") && near_asked.contains("application/sdp"),
            "{near_asked}"
        );
        let far_asked = far_asked.join().expect("it was asked");
        assert!(far_asked.starts_with("post /a/b ") && !far_asked.contains("secret"), "{far_asked}");
        // Nor when it is asked to end what it made.
        let (far, asked) = answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let made = Url::parse(&format!("http://127.0.0.1:{far}/made/1")).expect("a URL");
        client.ask(&Method::DELETE, &made, None).expect("an answer");
        assert!(!asked.join().expect("it was asked").contains("secret"));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for answer in ["", "SIP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nv=0"] {
            let (port, asked) = answers(answer);
            let client = client(port);
            assert!(client.ask(&Method::POST, &client.url, None).is_err(), "{answer:?}");
            let _ = asked.join();
        }
        let away = "HTTP/1.1 307 Away\r\nlocation: http://192.0.2.1/x\r\ncontent-length: 0\r\n\r\n";
        let (port, asked) = answers(away);
        let client = client(port);
        let refused = client.ask(&Method::POST, &client.url, None).expect_err("it may not leave");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        let _ = asked.join();
    }
}
