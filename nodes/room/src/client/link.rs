//! `Link`: one connection to a server, by WebSocket: a task that carries messages both
//! ways until it is dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::session::ConnectionId;
use crate::protocol::{Request, SUBPROTOCOL, Told};
use crate::url::ServerUrl;

/// The longest message of a server that is taken, in bytes: who is in a large room, and
/// what they publish.
const MOST_BYTES: usize = 1 << 20;
/// Messages that wait to be sent; with one more the connection is given up.
const WAITING: usize = 256;

/// Whom this machine trusts, by Debian's place for it.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why no server can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file of certificates cannot be read.
    #[error("{}: {why}; name a PEM file of the certificates to trust by ca_file", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        why: pem::Error,
    },
    /// There is none in it.
    #[error("{} holds no certificate that can be trusted", .0.display())]
    Empty(PathBuf),
    /// This machine's cryptography does not do.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// How to connect by TLS to servers whose certificates these in a PEM file vouch for, or
/// those that this machine trusts. \[control\]
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn trust(file: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let file = file.unwrap_or(Path::new(TRUSTED));
    let refused = |why| TrustError::Read { file: file.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(refused)? {
        // One that rustls does not take vouches for nobody.
        let _ = roots.add(certificate.map_err(refused)?);
    }
    if roots.is_empty() {
        return Err(TrustError::Empty(file.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// What is heard over a connection.
#[derive(Debug)]
pub(super) enum Heard {
    /// It is open.
    Opened,
    /// The server told something.
    Told(Box<Told>),
    /// It could not be opened, or is closed; with why, where that is known.
    Closed(String),
}

/// A connection to a server, opened or being opened. Dropped, it is gone at once.
pub(super) struct Link {
    pub(super) id: ConnectionId,
    say: mpsc::Sender<Request>,
    task: AbortHandle,
}

impl Link {
    /// Opens a connection; what is heard over it comes by `heard`. To be called within a
    /// runtime.
    pub(super) fn open(
        url: &ServerUrl,
        tls: Option<Arc<ClientConfig>>,
        id: ConnectionId,
        heard: mpsc::Sender<(ConnectionId, Heard)>,
    ) -> Self {
        let (say, said) = mpsc::channel(WAITING);
        let url = url.clone();
        let task = tokio::spawn(async move {
            let why = match talk(&url, tls, id, said, &heard).await {
                Ok(why) => why,
                Err(why) => why.to_string(),
            };
            // Nobody may be left who wants to know.
            let _ = heard.send((id, Heard::Closed(why))).await;
        });
        Self { id, say, task: task.abort_handle() }
    }

    /// Sends a message. Whether it could.
    pub(super) fn say(&self, request: Request) -> bool {
        self.say.try_send(request).is_ok()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects, and carries messages until one side ends it.
async fn talk(
    url: &ServerUrl,
    tls: Option<Arc<ClientConfig>>,
    id: ConnectionId,
    mut said: mpsc::Receiver<Request>,
    heard: &mpsc::Sender<(ConnectionId, Heard)>,
) -> Result<String, tungstenite::Error> {
    let mut socket = connect(url, tls).await?;
    if heard.send((id, Heard::Opened)).await.is_err() {
        return Ok(String::new());
    }
    loop {
        tokio::select! {
            request = said.recv() => {
                let Some(request) = request else { return Ok(String::new()) };
                // It has names, numbers and texts alone.
                let text = serde_json::to_string(&request).unwrap_or_default();
                socket.send(Message::text(text)).await?;
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    // What is not known is let be: the server may know more.
                    let Ok(told) = serde_json::from_str(&text) else { continue };
                    if heard.send((id, Heard::Told(Box::new(told)))).await.is_err() {
                        return Ok(String::new());
                    }
                }
                // Pings are answered by the library.
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    return Ok(frame.map(|frame| frame.reason.to_string()).unwrap_or_default());
                }
                Some(Err(why)) => return Err(why),
                None => return Ok(String::new()),
            },
        }
    }
}

/// What a connection is made of: TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to a server, a name or an address, whichever of its addresses answers.
pub(crate) async fn dial(
    host: &str,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    // What is still to be sent when it is given up goes nowhere: the link is broken.
    stream.set_zero_linger()?;
    Ok(match tls {
        None => Box::new(stream),
        Some(tls) => {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            Box::new(TlsConnector::from(tls).connect(name, stream).await?)
        }
    })
}

async fn connect(
    url: &ServerUrl,
    tls: Option<Arc<ClientConfig>>,
) -> Result<WebSocketStream<Box<dyn Stream>>, tungstenite::Error> {
    let stream = dial(&url.host, url.port, tls).await?;
    let mut request = url.to_string().into_client_request()?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let config =
        WebSocketConfig::default().max_message_size(Some(MOST_BYTES)).max_frame_size(Some(MOST_BYTES));
    let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}
