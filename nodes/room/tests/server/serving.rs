//! What the server says to those who look after it, and how: TLS, limits, administrators
//! and figures, over real connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sidetone_room::protocol::{
    Ask, Client, Join, Request, RoomName, SUBPROTOCOL, Source, Told, UserName, VERSION,
};
use sidetone_room::server::claims::Grants;
use sidetone_room::server::config::Config;
use sidetone_room::server::http::{ServeError, Server};
use sidetone_room::server::token::{App, Pass};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
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
