//! A link: a participant's WebSocket. Takes texts to the hall and back, and no more:
//! who may do what is the hall's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use super::Shared;
use super::doors::Place;
use crate::protocol::{Code, MOST_BYTES, SUBPROTOCOL};
use crate::server::hall::run::Said;
use crate::server::room::LinkId;

/// Messages that wait for a participant who reads slowly; with one more it is let go.
const WAITING: usize = 256;
/// Bytes of such messages; with more before it a message is one too many.
const MOST_WAITING: usize = 1 << 20;
/// Messages of one link that wait to be looked at.
const TURNS: usize = 8;
/// Bytes that are read at once: more than most messages have. The library's 128 KiB are
/// kept for every link, and cleared before every read.
const READ: usize = 4 << 10;
/// How long it may take until one is written.
const PATIENCE: Duration = Duration::from_secs(5);
/// RFC 6455 § 7.4.1: it is as was wished.
const NORMAL: u16 = 1_000;
/// RFC 6455 § 7.4.1: no WebSocket, not the kind of data that is taken here, no UTF-8.
const PROTOCOL: u16 = 1_002;
const UNSUPPORTED: u16 = 1_003;
const NO_TEXT: u16 = 1_007;
/// RFC 6455, IANA's registry: try again later.
const LATER: u16 = 1_013;

/// Makes a WebSocket of a request.
pub(super) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(place): Extension<Arc<Place>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !place.may_join(Instant::now()) {
        let why = "that are more joins in a second than one address may ask for: try again\n";
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], why).into_response();
    }
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(MOST_BYTES)
        .max_frame_size(MOST_BYTES)
        .read_buffer_size(READ)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MOST_BYTES);
    if upgrade.selected_protocol().is_none() {
        let why = format!("this server speaks the WebSocket subprotocol {SUBPROTOCOL}: ask for it\n");
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    upgrade.on_upgrade(move |socket| async move {
        attend(socket, shared).await;
        // The connection counts until then.
        drop(place);
    })
}

async fn attend(mut socket: WebSocket, shared: Arc<Shared>) {
    let link = LinkId(shared.next_link.fetch_add(1, Ordering::Relaxed));
    let (said, mut words) = mpsc::channel(WAITING);
    let waiting = Arc::new(AtomicUsize::new(0));
    let queued = Arc::clone(&waiting);
    let outlet = move |word: Said| {
        let before = queued.fetch_add(word.bytes(), Ordering::Relaxed);
        before <= MOST_WAITING && said.try_send(word).is_ok()
    };
    if shared.hall.opened(link, Box::new(outlet)).is_err() {
        return close(&mut socket, LATER, Code::TooManyRequests.text()).await;
    }
    shared.links.send_modify(|links| *links += 1);
    let End { close: (code, why), fault } = talk(&mut socket, &shared, link, &mut words, &waiting).await;
    // Else the hall would take it for a participant who is silent.
    while shared.hall.closed(link, fault).is_err() && !words.is_closed() {
        sleep(Duration::from_millis(10)).await;
    }
    close(&mut socket, code, why).await;
    shared.links.send_modify(|links| *links -= 1);
}

/// How a link ends.
struct End {
    /// The code and the text of the close frame.
    close: (u16, &'static str),
    /// What came that was no message, where that is why.
    fault: Option<Code>,
}

impl End {
    const fn new(code: u16, why: &'static str) -> Self {
        Self { close: (code, why), fault: None }
    }

    /// Of one over which something came that was no WebSocket message.
    fn of(error: axum::Error) -> Self {
        let error = error.into_inner();
        let (code, fault) = match error.downcast_ref() {
            Some(Error::Capacity(_)) => (Code::TooLarge.close_code(), Code::TooLarge),
            Some(Error::Utf8(_)) => (NO_TEXT, Code::BadMessage),
            // It closed without saying so, as one that breaks does.
            Some(Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return Self::new(NORMAL, "");
            }
            _ => (PROTOCOL, Code::BadMessage),
        };
        Self { close: (code, fault.text()), fault: Some(fault) }
    }
}

/// Until one side ends it.
async fn talk(
    socket: &mut WebSocket,
    shared: &Shared,
    link: LinkId,
    words: &mut mpsc::Receiver<Said>,
    waiting: &AtomicUsize,
) -> End {
    let turns = Arc::new(Semaphore::new(TURNS));
    loop {
        tokio::select! {
            word = words.recv() => match word {
                Some(Said::Text(text)) => {
                    waiting.fetch_sub(text.len(), Ordering::Relaxed);
                    let sent = timeout(PATIENCE, socket.send(Message::Text(text.into()))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        return End::new(LATER, "it does not read");
                    }
                }
                Some(Said::Close(Some(code))) => return End::new(code.close_code(), code.text()),
                Some(Said::Close(None)) => return End::new(NORMAL, ""),
                // More was to be said than it read.
                None => return End::new(LATER, "it does not read"),
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    // Nothing more of it is read until it has its turn: the queue is
                    // everyone's.
                    let turn = Arc::clone(&turns).acquire_owned().await;
                    let text = text.as_str().to_owned();
                    let taken = turn.map(|turn| shared.hall.message(link, text, turn));
                    if !matches!(taken, Ok(Ok(()))) {
                        return End::new(LATER, Code::TooManyRequests.text());
                    }
                }
                Some(Ok(Message::Binary(_))) => {
                    let close = (UNSUPPORTED, "messages are text");
                    return End { close, fault: Some(Code::BadMessage) };
                }
                // Pings are answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return End::new(NORMAL, ""),
                Some(Err(error)) => return End::of(error),
            },
        }
    }
}

/// Closes as RFC 6455 § 7 has it: says so, and waits a little for the other side to.
async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let goodbye = async {
        let frame = CloseFrame { code, reason: reason.into() };
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while matches!(socket.recv().await, Some(Ok(_))) {}
        }
    };
    // One that does not answer is closed without.
    let _ = timeout(Duration::from_secs(1), goodbye).await;
}
