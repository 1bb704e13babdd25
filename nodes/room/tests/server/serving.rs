//! What the server says to those who look after it, and how: TLS, limits, administrators
//! and figures, over real connections.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sidetone_room::client::link::trust;
use sidetone_room::client::peer_connection::PeerConfig;
use sidetone_room::client::run::{Happening, Settings, run};
use sidetone_room::client::session::Options;
use sidetone_room::events::{RoomEvent, RoomState};
use sidetone_room::protocol::{
    Ask, Client, Code, Join, Left, News, Request, RoomName, SUBPROTOCOL, Source, Told, UserName, VERSION,
};
use sidetone_room::server::claims::Grants;
use sidetone_room::server::config::Config;
use sidetone_room::server::http::{ServeError, Server};
use sidetone_room::server::token::{App, Pass};
use sidetone_room::url::Url;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{PATIENCE, runtime};

fn server(settings: &str) -> Server {
    Server::start(&Config::parse(&format!("listen = \"127.0.0.1:0\"\n{settings}")).unwrap()).unwrap()
}

fn end(server: Server) {
    let _ = server.end(Duration::ZERO, &AtomicBool::new(false));
}

fn token(user: &str, room: Option<&str>, admin: bool) -> String {
    let grants = Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, hidden: false, admin };
    let room = room.map(|room| RoomName::new(room).unwrap());
    let pass = Pass { user: UserName::new(user).unwrap(), room, grants };
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    App::development().mint(&pass, wall, Duration::from_secs(60))
}

/// A participant's signalling, without media.
struct Person<S> {
    socket: WebSocketStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Person<S> {
    async fn connect(stream: S) -> Result<Self, Error> {
        let mut request = "ws://localhost/room".into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self { socket })
    }

    async fn join(stream: S, user: &str, room: &str) -> Self {
        let mut person = Self::connect(stream).await.unwrap();
        let client = Client { name: "test".into(), version: "1".into() };
        let token = token(user, Some(room), false);
        let join = Join { v: VERSION, token, auto_play: true, client, resume: None };
        person.ask(Ask::Join(join)).await;
        person.until(|told| matches!(told, Told::Joined(_))).await;
        person
    }

    async fn ask(&mut self, ask: Ask) {
        let text = serde_json::to_string(&Request { n: 1, ask }).unwrap();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Reads until something is told; gives it.
    async fn until(&mut self, is_it: impl Fn(&Told) -> bool) -> Told {
        let told = timeout(PATIENCE, async {
            loop {
                let Some(Ok(message)) = self.socket.next().await else { panic!("the server closed") };
                let Message::Text(text) = message else { continue };
                let told = serde_json::from_str(&text).unwrap();
                if is_it(&told) {
                    return told;
                }
            }
        });
        told.await.expect("it is told")
    }
}

/// What the server answers to a request: its status, and the page.
async fn request<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let text = format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an end").unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), page.to_owned())
}

/// A folder with a certificate, its key and a configuration that names them.
struct Folder {
    path: PathBuf,
    cert: CertificateDer<'static>,
}

impl Folder {
    fn new(name: &str, settings: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sidetone-serving-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        std::fs::write(path.join("our.crt"), made.cert.pem()).unwrap();
        std::fs::write(path.join("our.key"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(path.join("server.toml"), settings).unwrap();
        Self { path, cert: made.cert.der().clone() }
    }

    fn config(&self) -> Config {
        Config::load(&self.path.join("server.toml")).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// What happens first of this sort to a participant who trusts whom `ca_file` has.
async fn by_wss(at: SocketAddr, ca_file: &Path, is_it: impl Fn(&RoomEvent) -> bool) -> RoomEvent {
    let Ok(Url::Server(url)) = Url::parse(&format!("wss://localhost:{}", at.port())) else { panic!("a URL") };
    let client = Client { name: "test".into(), version: "1".into() };
    let options =
        Options { token: token("bob", Some("demo"), false), auto_play: true, client, retry_for: None };
    let settings = Settings {
        url,
        tls: Some(trust(ca_file.into()).unwrap()),
        options,
        peers: Arc::new(PeerConfig::new().unwrap()),
        rng: fastrand::Rng::with_seed(1),
    };
    // It leaves when nobody is left to give orders.
    let (_orders, asked) = mpsc::channel(1);
    let (tell, mut told) = mpsc::unbounded_channel();
    tokio::spawn(run(settings, asked, move |happening| drop(tell.send(happening))));
    let event = timeout(PATIENCE, async {
        loop {
            match told.recv().await.expect("it runs") {
                Happening::Event(event) if is_it(&event) => return event,
                _ => {}
            }
        }
    });
    event.await.expect("it is told")
}

#[test]
fn a_server_with_a_certificate_is_joined_by_wss() {
    let settings = "listen = \"127.0.0.1:0\"\n[tls]\ncert = \"our.crt\"\nkey = \"our.key\"";
    let folder = Folder::new("tls", settings);
    let server = Server::start(&folder.config()).unwrap();
    let at = server.address;
    assert!(server.is_secure);
    let mut roots = RootCertStore::empty();
    roots.add(folder.cert.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    runtime().block_on(async {
        let connect = async || {
            let stream = TcpStream::connect(at).await.unwrap();
            connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
        };
        let mut alice = Person::join(connect().await, "alice", "demo").await;
        alice.ask(Ask::Ping { at: 7 }).await;
        alice.until(|told| matches!(told, Told::Pong { at: 7, .. })).await;
        assert_eq!(request(connect().await, "GET /healthz HTTP/1.1", "").await, (200, "ok\n".into()));
        // Who does not speak TLS is no more than counted.
        let mut plain = TcpStream::connect(at).await.unwrap();
        plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"));
        let page = request(connect().await, "GET /metrics HTTP/1.1", "").await.1;
        assert!(page.contains("sidetone_room_turned_away_total{why=\"tls\"} 1"), "{page}");
        // A participant of ours comes in where it trusts the certificate, and says why not
        // where it does not.
        let other = Folder::new("other", "");
        let [ours, theirs] = [&folder, &other].map(|folder| folder.path.join("our.crt"));
        let joined = by_wss(at, &ours, |event| matches!(event, RoomEvent::State(_))).await;
        assert!(matches!(joined, RoomEvent::State(RoomState::Joined { .. })), "{joined}");
        alice.until(|told| matches!(told, Told::Event { e: News::UserJoined { .. }, .. })).await;
        let lost = by_wss(at, &theirs, |event| {
            matches!(event, RoomEvent::State(_) | RoomEvent::ConnectionLost { .. })
        });
        let lost = lost.await.to_string();
        assert!(lost.contains("certificate"), "{lost}");
        alice.ask(Ask::Leave).await;
    });
    end(server);
}

#[test]
fn a_server_does_not_start_with_a_key_that_is_not_its_certificates() {
    let folder = Folder::new("mismatch", "[tls]\ncert = \"our.crt\"\nkey = \"other.key\"");
    assert!(matches!(Server::start(&folder.config()), Err(ServeError::Tls(_))), "there is no such file");
    let other = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    std::fs::write(folder.path.join("other.key"), other.signing_key.serialize_pem()).unwrap();
    let Err(ServeError::Tls(why)) = Server::start(&folder.config()) else { panic!("it started") };
    assert!(why.to_string().contains("other.key\" is not the key of"), "{why}");
}

#[test]
fn one_address_has_so_many_connections_and_joins_so_often() {
    let server = server("[limits]\nsockets_per_ip = 3\njoins_per_ip = 2");
    let at = server.address;
    runtime().block_on(async {
        let connect = async || TcpStream::connect(at).await.unwrap();
        let alice = Person::join(connect().await, "alice", "demo").await;
        let bob = Person::join(connect().await, "bob", "demo").await;
        // The third asks for a page and stays for more.
        let mut third = connect().await;
        third.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_ne!(third.read(&mut [0; 512]).await.unwrap(), 0);
        let mut fourth = connect().await;
        let _ = fourth.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(fourth.read(&mut [0; 512]).await.unwrap_or(0), 0, "it is closed at once");
        drop(third);
        // Another address of this machine has connections of its own.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let other = socket.connect(at).await.unwrap();
        let page = request(other, "GET /metrics HTTP/1.1", "").await.1;
        assert!(page.contains("sidetone_room_turned_away_total{why=\"sockets_per_ip\"} 1"), "{page}");
        drop((alice, bob));
    });
    end(server);
}

/// What the server answers an administrator who shows `token`.
async fn admin(
    server: &Server,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, serde_json::Value) {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("{method} /admin/rooms{path} HTTP/1.1\r\nauthorization: Bearer {token}");
    let (status, page) = request(stream, &head, body).await;
    (status, serde_json::from_str(&page).unwrap_or_default())
}

#[test]
fn administrators_see_rooms_put_out_mute_and_close() {
    let server = server("");
    let root = token("root", None, true);
    runtime().block_on(async {
        let join = async |user| {
            let stream = TcpStream::connect(server.address).await.unwrap();
            Person::join(stream, user, "demo").await
        };
        let ask = async |method, path, body| admin(&server, &root, method, path, body).await;
        let mut alice = join("alice").await;
        let mut bob = join("bob").await;
        let rooms = serde_json::json!({"rooms": [{"room": "demo", "people": 2, "streams": 0}]});
        assert_eq!(ask("GET", "", "").await, (200, rooms));
        let (status, room) = ask("GET", "/demo", "").await;
        assert_eq!((status, &room["room"], &room["people"][1]["user"]), (200, &"demo".into(), &"bob".into()));
        assert_eq!(room["people"][0]["away"], false);
        assert_eq!(ask("POST", "/demo/mute", r#"{"user":"bob","muted":true}"#).await.0, 200);
        let done = (200, serde_json::json!({}));
        assert_eq!(ask("POST", "/demo/kick", r#"{"user":"bob"}"#).await, done);
        let code = |told: &Told| match told {
            Told::Failed { code, .. } => Some(*code),
            _ => None,
        };
        let out = bob.until(|told| code(told).is_some()).await;
        assert_eq!(code(&out), Some(Code::Kicked));
        let left = |told: &Told| {
            matches!(told, Told::Event { e: News::UserLeft { user, reason: Left::Kicked }, .. } if user.as_str() == "bob")
        };
        alice.until(left).await;
        let mut bob = join("bob").await;
        assert_eq!(ask("POST", "/demo/kick", r#"{"user":"bob","ban_s":600}"#).await, done);
        let out = bob.until(|told| code(told).is_some()).await;
        assert_eq!(code(&out), Some(Code::Banned));
        assert_eq!(ask("POST", "/demo/kick", r#"{"user":"carol","ban_s":600}"#).await, done, "in advance");
        assert_eq!(ask("DELETE", "/demo", "").await, done);
        let out = alice.until(|told| code(told).is_some()).await;
        assert_eq!(code(&out), Some(Code::RoomClosed));
    });
    end(server);
}

#[test]
fn who_is_no_administrator_of_a_room_is_told_so() {
    let server = server("");
    let (root, of_demo) = (token("root", None, true), token("root", Some("demo"), true));
    let user = token("alice", Some("demo"), false);
    let expired = {
        let grants = Grants { admin: true, ..Grants::default() };
        let pass = Pass { user: UserName::new("root").unwrap(), room: None, grants };
        App::development().mint(&pass, Duration::from_secs(1_000), Duration::from_secs(60))
    };
    let foreign = App::new("dev", b"another secret that is long enough").unwrap();
    let grants = Grants { admin: true, ..Grants::default() };
    let pass = Pass { user: UserName::new("root").unwrap(), room: None, grants };
    let foreign = foreign.mint(&pass, Duration::from_secs(4_000_000_000), Duration::from_secs(60));
    runtime().block_on(async {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let alice = Person::join(stream, "alice", "demo").await;
        let kick = |user: &str| format!("{{\"user\":\"{user}\"}}");
        let long = format!("{{\"user\":\"{}\"}}", "x".repeat(5_000));
        let cases = [
            (&*user, "GET", "", "", 403, Code::NotPermittedAdmin),
            (&user, "POST", "/demo/kick", &*kick("alice"), 403, Code::NotPermittedAdmin),
            (&user, "POST", "/demo/kick", "?", 403, Code::NotPermittedAdmin),
            (&user, "DELETE", "/demo", "", 403, Code::NotPermittedAdmin),
            ("", "GET", "", "", 401, Code::TokenInvalid),
            (&foreign, "GET", "", "", 401, Code::TokenInvalid),
            (&expired, "GET", "", "", 401, Code::TokenExpired),
            (&of_demo, "GET", "/other", "", 403, Code::RoomInvalid),
            (&root, "GET", "/other", "", 404, Code::RoomUnknown),
            (&root, "GET", "/a%20b", "", 404, Code::RoomUnknown),
            (&root, "POST", "/demo/kick", &*kick("bob"), 404, Code::UserUnknown),
            (&root, "POST", "/demo/mute", r#"{"user":"bob","muted":true}"#, 404, Code::UserUnknown),
            (&root, "POST", "/demo/mute", r#"{"stream":"alice/x","muted":true}"#, 404, Code::StreamUnknown),
            (&root, "POST", "/demo/mute", r#"{"muted":true}"#, 400, Code::BadMessage),
            (&root, "POST", "/demo/kick", r#"{"user":"alice","ban_s":0}"#, 400, Code::BadMessage),
            (&root, "POST", "/demo/kick", r#"{"user":"alice","why":"?"}"#, 400, Code::BadMessage),
            (&root, "POST", "/demo/kick", "{", 400, Code::BadMessage),
            (&root, "POST", "/demo/kick", &*long, 413, Code::TooLarge),
        ];
        for (token, method, path, body, status, code) in cases {
            let (was, page) = admin(&server, token, method, path, body).await;
            let expected = serde_json::json!({"code": code, "number": code.number(), "text": code.text()});
            assert_eq!((was, page), (status, expected), "{method} {path} {body}");
        }
        assert_eq!(admin(&server, &of_demo, "GET", "/demo", "").await.0, 200);
        assert_eq!(admin(&server, &root, "PUT", "/demo", "").await.0, 405);
        drop(alice);
    });
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!(counts.refused[&Code::NotPermittedAdmin], 4);
}

/// A network that translates addresses: what comes to `public` goes to the server, and
/// back.
async fn translate(public: UdpSocket, server: SocketAddr) {
    let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    inside.connect(server).await.unwrap();
    let (mut out, mut back, mut client) = ([0; 2_048], [0; 2_048], None);
    loop {
        tokio::select! {
            came = public.recv_from(&mut out) => {
                let (length, from) = came.unwrap();
                client = Some(from);
                inside.send(&out[..length]).await.unwrap();
            }
            came = inside.recv(&mut back) => {
                let Some(to) = client else { continue };
                public.send_to(&back[..came.unwrap()], to).await.unwrap();
            }
        }
    }
}

#[test]
fn participants_reach_a_server_at_the_address_that_it_advertises() {
    let runtime = runtime();
    // In another network than the server's.
    let public = runtime.block_on(UdpSocket::bind("127.0.0.9:0")).unwrap();
    let at = public.local_addr().unwrap();
    let media = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = server(&format!("udp = [\"{media}\"]\nadvertise = [\"{at}\"]"));
    assert_eq!(server.media, [at]);
    runtime.block_on(async {
        tokio::spawn(translate(public, media));
        let mut alice = crate::client::Client::join(server.address, "alice").await;
        // Until its media are connected.
        alice.publish().await;
        let Told::Joined(joined) = &alice.told[0] else { panic!("alice was told {:?}", alice.told) };
        assert_eq!(joined.udp, [at.to_string()]);
        assert!(
            alice
                .told
                .iter()
                .any(|told| matches!(told, Told::Answer { sdp, .. } if sdp.contains("127.0.0.9")))
        );
        drop(alice);
    });
    end(server);
}

#[test]
fn figures_are_a_page_that_prometheus_reads() {
    let server = server("");
    runtime().block_on(async {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let mut alice = Person::join(stream, "alice", "demo").await;
        alice.ask(Ask::Leave).await;
        while !matches!(alice.socket.next().await, None | Some(Err(_))) {}
        let page = crate::client::get(server.address, "/metrics").await;
        let (_, page) = page.split_once("\r\n\r\n").unwrap();
        let mut types = std::collections::BTreeMap::new();
        for line in page.lines() {
            if let Some(about) = line.strip_prefix("# TYPE ") {
                let (name, kind) = about.split_once(' ').unwrap();
                assert!(types.insert(name, kind).is_none(), "{name} is there twice");
                continue;
            }
            let Some((name, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else {
                continue;
            };
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
            let name = name.split('{').next().unwrap();
            let of_summary = ["_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let kind = types.get(name).or_else(|| types.get(of_summary.unwrap_or(name)));
            assert!(kind.is_some(), "{line} has no type before it");
        }
        for line in [
            "sidetone_room_joins_total{code=\"ok\"} 1",
            "sidetone_room_leaves_total{reason=\"left\"} 1",
            "sidetone_room_resumes_total{result=\"kept\"} 0",
            "sidetone_room_packets_total{dir=\"in\",medium=\"video\"} 0",
            "sidetone_room_queue_full_total{queue=\"commands\"} 0",
            "sidetone_room_forward_seconds_count 0",
        ] {
            assert!(page.contains(line), "{line} is not in {page}");
        }
        for name in
            ["sidetone_room_hall_turn_seconds_count ", "process_resident_memory_bytes ", "process_open_fds "]
        {
            let value = page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            assert!(value.parse::<u64>().unwrap() > 0, "{name}{value}");
        }
        assert!(page.contains("process_cpu_seconds_total "), "{page}");
    });
    end(server);
}
