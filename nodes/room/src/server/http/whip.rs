//! WHIP and WHEP: takes requests to the hall and its responses back, and no more: what
//! they mean is the hall's (`hall/whip.rs`).

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::time::{Instant, timeout};

use super::doors::Place;
use super::{PATIENCE, Shared, act};
use crate::protocol::Code;
use crate::protocol::sdp::MOST_BYTES;
use crate::server::hall::whip::Endpoint;

/// What WHIP and WHEP ask at.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/whip/{room}", any(whip))
        .route("/whep/{room}/{*stream}", any(whep))
        .route("/resource/{id}", any(resource))
}

async fn whip(State(shared): State<Arc<Shared>>, Path(room): Path<String>, request: Request) -> Response {
    let is_screen = match request.uri().query() {
        None | Some("source=camera") => false,
        Some("source=screen") => true,
        Some(_) => {
            let why = "a query is source=camera or source=screen\n";
            return (StatusCode::BAD_REQUEST, why).into_response();
        }
    };
    answer(&shared, Endpoint::Whip { room, is_screen }, request).await
}

async fn whep(
    State(shared): State<Arc<Shared>>,
    Path((room, of)): Path<(String, String)>,
    request: Request,
) -> Response {
    answer(&shared, Endpoint::Whep { room, of }, request).await
}

async fn resource(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    answer(&shared, Endpoint::Resource(id), request).await
}

async fn answer(shared: &Shared, endpoint: Endpoint, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let door = head.extensions.get::<Arc<Place>>();
    let may = head.method != Method::POST || door.is_none_or(|door| door.may_join(Instant::now()));
    let body = match timeout(PATIENCE, to_bytes(body, MOST_BYTES)).await {
        _ if !may => Err(Code::TooManyRequests),
        Ok(Ok(bytes)) => String::from_utf8(bytes.into()).map_err(|_| Code::BadSdp),
        Ok(Err(_)) => Err(Code::TooLarge),
        Err(_) => Err(Code::TimedOut),
    };
    let asked = axum::http::Request::from_parts(head, body);
    match act(shared, move |hall, now, wall| hall.whip(now, wall, &endpoint, &asked)).await {
        Some(response) => response.map(Body::from),
        None => (StatusCode::SERVICE_UNAVAILABLE, "busy\n").into_response(),
    }
}
