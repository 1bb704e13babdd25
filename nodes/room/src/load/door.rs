//! How simulated participants get into a room of a Sidetone server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::LoadError;
use super::connection::{Common, Connection, Sends, over};
use crate::protocol::{
    Ask, Client, Join, Joined, Kind, Offer, PlayState, Request, SUBPROTOCOL, Send, SlotOf, Source, StreamId,
    Told, UserName, VERSION,
};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A participant who is in a room.
pub(super) struct Guest {
    pub(super) connection: Connection,
    pub(super) link: Link,
}

/// A participant's WebSocket.
pub(super) struct Link {
    socket: Socket,
    next: u32,
    ping: Duration,
}

/// Who comes in, and what with.
pub(super) struct Visit {
    pub(super) url: String,
    pub(super) token: String,
    pub(super) user: UserName,
    pub(super) sends: Vec<Sends>,
    /// Streams of sound, and of pictures, that are to be received.
    pub(super) plays: [u32; 2],
}

impl Visit {
    /// Joins, offers, and goes on until media are connected.
    pub(super) async fn enter(self, common: &Arc<Common>) -> Result<Guest, LoadError> {
        let mut request = self.url.as_str().into_client_request().map_err(http)?;
        let protocol = SUBPROTOCOL.parse().map_err(|_| http("the subprotocol is no header"))?;
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let connected = timeout(PATIENCE, connect_async(request)).await;
        let (socket, _) = connected.map_err(|_| http("it does not answer"))?.map_err(http)?;
        let ip = local(&socket)?;
        let mut link = Link { socket, next: 0, ping: PATIENCE };

        let client = Client { name: "sidetone load".into(), version: env!("CARGO_PKG_VERSION").into() };
        let join = Join { v: VERSION, token: self.token, auto_play: true, client, resume: None };
        link.ask(Ask::Join(join)).await?;
        let joined: Box<Joined> = link
            .until(|told| match told {
                Told::Joined(joined) => Some(joined),
                _ => None,
            })
            .await?;
        link.ping = Duration::from_millis(joined.ping_ms.max(1).into());

        let mut connection = Connection::open(common, ip)?;
        let rooms = [joined.limits.audio_slots, joined.limits.video_slots];
        let mut slots = self.plays;
        for (kind, (slots, room)) in [Kind::Audio, Kind::Video].into_iter().zip(slots.iter_mut().zip(rooms)) {
            if *slots > room {
                *slots = room;
                connection.tell_by_slot(kind);
            }
        }
        let sent: Vec<Kind> = self.sends.iter().map(|send| send.kind).collect();
        let (sdp, sections) = connection.offer(self.sends, slots)?;
        let (ours, theirs) = sections.split_at(sent.len());
        let send = ours.iter().map(|(mid, kind)| {
            let source = if *kind == Kind::Audio { Source::Microphone } else { Source::Camera };
            let stream = StreamId::new(&format!("{}/{}", self.user, source.word()));
            let stream = stream.map_err(|why| LoadError::Refused(why.to_string()))?;
            Ok(Send { mid: mid.clone(), stream, source, muted: false, layers: Vec::new() })
        });
        let send = send.collect::<Result<Vec<_>, LoadError>>()?;
        let recv = theirs.iter().map(|(mid, kind)| SlotOf { mid: mid.clone(), kind: *kind }).collect();
        link.ask(Ask::Offer(Offer { g: 1, sdp, send, recv })).await?;
        let answer = link
            .until(|told| match told {
                Told::Answer { sdp, .. } => Some(sdp),
                _ => None,
            })
            .await?;
        connection.accept(&answer)?;
        connection.connect().await?;
        Ok(Guest { connection, link })
    }
}

impl Link {
    async fn ask(&mut self, ask: Ask) -> Result<(), LoadError> {
        self.next += 1;
        let text = serde_json::to_string(&Request { n: self.next, ask }).map_err(http)?;
        self.socket.send(Message::text(text)).await.map_err(http)
    }

    /// What the server says next; nothing where it is no message.
    async fn told(&mut self) -> Result<Option<Told>, LoadError> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let told = serde_json::from_str(&text).map_err(http)?;
                match told {
                    Told::Failed { text, .. } | Told::Error { text, .. } => Err(LoadError::Refused(text)),
                    told => Ok(Some(told)),
                }
            }
            Some(Ok(Message::Close(_))) | None => Err(http("it closed the connection")),
            Some(Ok(_)) => Ok(None),
            Some(Err(why)) => Err(http(why)),
        }
    }

    /// The first of what the server says that is wanted.
    async fn until<T>(&mut self, wanted: impl Fn(Told) -> Option<T>) -> Result<T, LoadError> {
        let came = async {
            loop {
                if let Some(found) = self.told().await?.and_then(&wanted) {
                    return Ok(found);
                }
            }
        };
        timeout(PATIENCE, came).await.map_err(|_| http("it does not answer"))?
    }

    /// Stays in the room until it is told to leave, or is put out. How often a stream
    /// was held back from it.
    pub(super) async fn stay(mut self, mut end: watch::Receiver<bool>) -> Result<u64, LoadError> {
        let mut pings = interval(self.ping);
        let mut held_back = 0;
        loop {
            tokio::select! {
                told = self.told() => {
                    let is_held_back = matches!(told?, Some(Told::Playing { state: PlayState::Paused, .. }));
                    held_back += u64::from(is_held_back);
                }
                _ = pings.tick() => self.ask(Ask::Ping { at: 0 }).await?,
                () = over(&mut end) => break,
            }
        }
        self.ask(Ask::Leave).await?;
        // The server closes it then. To be gone before, with something unread, would take
        // the word back: a reset.
        let closed = async { while matches!(self.socket.next().await, Some(Ok(_))) {} };
        let _ = timeout(PATIENCE, closed).await;
        Ok(held_back)
    }
}

/// This machine's address on the way to the server.
fn local(socket: &Socket) -> Result<IpAddr, LoadError> {
    let stream = match socket.get_ref() {
        MaybeTlsStream::Plain(stream) => stream,
        _ => return Err(http("only ws:// is spoken")),
    };
    Ok(stream.local_addr().map(|address: SocketAddr| address.ip())?)
}

fn http(why: impl ToString) -> LoadError {
    LoadError::Server(why.to_string())
}
