//! `Link`: one connection to a server, by WebSocket: a task that carries messages both
//! ways until it is dropped.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
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
        id: ConnectionId,
        heard: mpsc::Sender<(ConnectionId, Heard)>,
    ) -> Self {
        let (say, said) = mpsc::channel(WAITING);
        let url = url.clone();
        let task = tokio::spawn(async move {
            let why = match talk(&url, id, said, &heard).await {
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
    id: ConnectionId,
    mut said: mpsc::Receiver<Request>,
    heard: &mpsc::Sender<(ConnectionId, Heard)>,
) -> Result<String, tungstenite::Error> {
    let mut socket = connect(url).await?;
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

async fn connect(url: &ServerUrl) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    stream.set_nodelay(true)?;
    // What is still to be sent when it is given up goes nowhere: the link is broken.
    stream.set_zero_linger()?;
    let mut request = url.to_string().into_client_request()?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let config =
        WebSocketConfig::default().max_message_size(Some(MOST_BYTES)).max_frame_size(Some(MOST_BYTES));
    let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}
