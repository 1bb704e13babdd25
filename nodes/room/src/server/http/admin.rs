//! What administrators ask by HTTP, in JSON; what it means is the hall's.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{PATIENCE, Shared, act};
use crate::protocol::{Code, RoomName, StreamId, UserName};
use crate::server::hall::{AdminAsk, Mute};
use crate::server::token;

/// The longest body, in bytes.
const MOST_BODY: usize = 4 << 10;
/// The longest ban, in seconds: ten years.
const MOST_BAN: u64 = 10 * 365 * 24 * 3_600;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/admin/rooms", get(rooms))
        .route("/admin/rooms/{room}", get(room).delete(close))
        .route("/admin/rooms/{room}/kick", post(kick))
        .route("/admin/rooms/{room}/mute", post(mute))
}

/// To whom: what all of them need.
type To = State<Arc<Shared>>;

async fn rooms(State(shared): To, headers: HeaderMap) -> Response {
    answer(&shared, &headers, Ok(AdminAsk::Rooms)).await
}

async fn room(State(shared): To, headers: HeaderMap, Path(room): Path<String>) -> Response {
    answer(&shared, &headers, name(&room).map(AdminAsk::Room)).await
}

async fn close(State(shared): To, headers: HeaderMap, Path(room): Path<String>) -> Response {
    answer(&shared, &headers, name(&room).map(AdminAsk::Close)).await
}

async fn kick(State(shared): To, headers: HeaderMap, Path(room): Path<String>, body: Body) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Kick {
        user: UserName,
        ban_s: Option<u64>,
    }
    let ask = read(body).await.and_then(|Kick { user, ban_s }| {
        if ban_s.is_some_and(|ban| !(1..=MOST_BAN).contains(&ban)) {
            return Err(Code::BadMessage);
        }
        Ok(AdminAsk::Kick { room: name(&room)?, user, ban: ban_s.map(Duration::from_secs) })
    });
    answer(&shared, &headers, ask).await
}

async fn mute(State(shared): To, headers: HeaderMap, Path(room): Path<String>, body: Body) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        user: Option<UserName>,
        stream: Option<StreamId>,
        muted: bool,
    }
    let ask = read(body).await.and_then(|Body { user, stream, muted }| {
        let what = match (user, stream) {
            (Some(user), None) => Mute::User(user),
            (None, Some(stream)) => Mute::Stream(stream),
            _ => return Err(Code::BadMessage),
        };
        Ok(AdminAsk::Mute { room: name(&room)?, what, muted })
    });
    answer(&shared, &headers, ask).await
}

/// A name that is none is no room's.
fn name(room: &str) -> Result<RoomName, Code> {
    RoomName::new(room).map_err(|_| Code::RoomUnknown)
}

async fn read<T: for<'de> Deserialize<'de>>(body: Body) -> Result<T, Code> {
    let bytes = timeout(PATIENCE, to_bytes(body, MOST_BODY)).await.map_err(|_| Code::TimedOut)?;
    let bytes = bytes.map_err(|_| Code::TooLarge)?;
    serde_json::from_slice(&bytes).map_err(|_| Code::BadMessage)
}

async fn answer(shared: &Shared, headers: &HeaderMap, ask: Result<AdminAsk, Code>) -> Response {
    // Without a token it is one that does not hold.
    let token = token::bearer(headers).unwrap_or_default().to_owned();
    match act(shared, move |hall, now, wall| hall.administer(now, wall, &token, ask)).await {
        Some(Ok(answer)) => json(StatusCode::OK, &answer),
        Some(Err(code)) => refusal(code),
        None => refusal(Code::TooManyRequests),
    }
}

fn refusal(code: Code) -> Response {
    #[derive(Serialize)]
    struct Refusal {
        code: Code,
        number: u16,
        text: &'static str,
    }
    let status = match code {
        Code::TokenInvalid | Code::TokenExpired | Code::AppInvalid | Code::UserInvalid => {
            StatusCode::UNAUTHORIZED
        }
        Code::NotPermittedAdmin | Code::RoomInvalid => StatusCode::FORBIDDEN,
        Code::RoomUnknown | Code::UserUnknown | Code::StreamUnknown => StatusCode::NOT_FOUND,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::TimedOut => StatusCode::REQUEST_TIMEOUT,
        Code::TooManyRequests => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut response = json(status, &Refusal { code, number: code.number(), text: code.text() });
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
    }
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (status, [(CONTENT_TYPE, "application/json")], text).into_response(),
        // It has names, numbers and texts alone.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
