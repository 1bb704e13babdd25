//! What Janus's videoroom is asked over WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Rooms have numbers of their own.
const FIRST_ROOM: u32 = 1_000;

/// A session with a handle for each connection.
pub(crate) struct Janus {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<u64>,
    next: u64,
}

impl Janus {
    /// Opens a session.
    pub(crate) async fn open(url: &str) -> Result<Self, String> {
        let mut request = url.into_client_request().map_err(|why| why.to_string())?;
        let protocol = "janus-protocol".parse().map_err(|_| "a header")?;
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, _) = connect_async(request).await.map_err(|why| why.to_string())?;
        let mut janus = Self { socket, session: None, next: 0 };
        janus.session = janus.ask(json!({"janus": "create"})).await?["data"]["id"].as_u64();
        Ok(janus)
    }

    /// Makes a room without a bound on bitrates.
    pub(crate) async fn create(&mut self, room: u32) -> Result<(), String> {
        let handle = self.attach().await?;
        let body = json!({
            "request": "create", "room": FIRST_ROOM + room, "publishers": 100, "bitrate": 0,
            "audiocodec": "opus", "videocodec": "av1", "audiolevel_ext": true
        });
        self.say(handle, body, None).await.map(drop)
    }

    /// Publishes what is offered: what subscribers ask for, and the answer.
    pub(crate) async fn publish(&mut self, room: u32, offer: String) -> Result<(u64, String), String> {
        let handle = self.attach().await?;
        let body = json!({"request": "join", "ptype": "publisher", "room": FIRST_ROOM + room});
        let joined = self.say(handle, body, None).await?;
        let feed = joined["plugindata"]["data"]["id"].as_u64().ok_or_else(|| joined.to_string())?;
        let body = json!({"request": "publish", "audiocodec": "opus", "videocodec": "av1"});
        let answer = self.say(handle, body, Some(("offer", offer))).await?;
        Ok((feed, sdp(&answer)?))
    }

    /// Subscribes to what these publish: a handle, and the offer.
    pub(crate) async fn subscribe(
        &mut self,
        room: u32,
        feeds: impl Iterator<Item = u64>,
    ) -> Result<(u64, String), String> {
        let handle = self.attach().await?;
        let streams: Vec<Value> = feeds.map(|feed| json!({"feed": feed})).collect();
        let body =
            json!({"request": "join", "ptype": "subscriber", "room": FIRST_ROOM + room, "streams": streams});
        let mut tries = 0;
        loop {
            match self.say(handle, body.clone(), None).await {
                Ok(offer) => return Ok((handle, sdp(&offer)?)),
                // It learns a little after its publishers that they are connected.
                Err(_) if tries < 50 => tries += 1,
                Err(why) => return Err(why),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts what was subscribed to.
    pub(crate) async fn start(&mut self, handle: u64, answer: String) -> Result<(), String> {
        self.say(handle, json!({"request": "start"}), Some(("answer", answer))).await.map(drop)
    }

    async fn attach(&mut self) -> Result<u64, String> {
        let attached = self.ask(json!({"janus": "attach", "plugin": "janus.plugin.videoroom"})).await?;
        attached["data"]["id"].as_u64().ok_or_else(|| attached.to_string())
    }

    async fn say(&mut self, handle: u64, body: Value, jsep: Option<(&str, String)>) -> Result<Value, String> {
        let mut message = json!({"janus": "message", "handle_id": handle, "body": body});
        if let Some((kind, sdp)) = jsep {
            message["jsep"] = json!({"type": kind, "sdp": sdp});
        }
        self.ask(message).await
    }

    /// Asks, and waits for what comes of it.
    async fn ask(&mut self, mut what: Value) -> Result<Value, String> {
        self.next += 1;
        let transaction = self.next.to_string();
        what["transaction"] = transaction.clone().into();
        if let Some(session) = self.session {
            what["session_id"] = session.into();
        }
        self.socket.send(Message::text(what.to_string())).await.map_err(|why| why.to_string())?;
        loop {
            let said = self.socket.next().await.ok_or("Janus closed the connection")?;
            let Message::Text(text) = said.map_err(|why| why.to_string())? else { continue };
            let said: Value = serde_json::from_str(&text).map_err(|why| why.to_string())?;
            if said["transaction"] != transaction.as_str() || said["janus"] == "ack" {
                continue;
            }
            let error = &said["plugindata"]["data"]["error"];
            if said["janus"] == "error" || !error.is_null() {
                return Err(format!("Janus: {said}"));
            }
            return Ok(said);
        }
    }
}

fn sdp(said: &Value) -> Result<String, String> {
    said["jsep"]["sdp"].as_str().map(str::to_owned).ok_or_else(|| format!("no SDP: {said}"))
}
