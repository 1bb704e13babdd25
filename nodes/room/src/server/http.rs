//! What the server says by HTTP: `/room` is the room protocol over WebSocket, and so is
//! `/`, since a plain URL is enough to join; `/whip`, `/whep` and `/resource` are WHIP
//! and WHEP; `/healthz`, `/metrics` and `/admin` are for who looks after the server.
//! [`Server`] is all of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use self::doors::Doors;
use self::tls::{Tls, TlsError};

use crate::server::config::{Config, ConfigError};
use crate::server::hall::run::{Handle, RunError, Running};
use crate::server::hall::{Counts, Hall};

mod admin;
mod doors;
mod link;
mod listen;
mod metrics;
mod tls;
mod whip;

/// How long a page may take to be had.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long links may take to close in the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration cannot be had.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No media can be taken.
    #[error(transparent)]
    Media(#[from] RunError),
    /// The address cannot be had.
    #[error("cannot listen at {address}: {why}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        why: io::Error,
    },
    /// The certificate or its key cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no more of something.
    #[error("cannot start the server: {0}")]
    System(io::Error),
}

/// A room server.
pub struct Server {
    /// Where HTTP and WebSocket are served.
    pub address: SocketAddr,
    /// Whether that is by TLS: `https` and `wss`.
    pub is_secure: bool,
    /// Where media are taken.
    pub media: Vec<SocketAddr>,
    runtime: Runtime,
    running: Running,
    shared: Arc<Shared>,
    /// Whether no more connections are taken.
    stop: watch::Sender<bool>,
}

/// What all requests share.
struct Shared {
    hall: Handle,
    next_link: AtomicU64,
    is_draining: AtomicBool,
    /// How many links are there.
    links: watch::Sender<usize>,
    doors: Arc<Doors>,
    /// Held by whoever makes a page of figures.
    page: Mutex<()>,
}

impl Server {
    /// Starts a server: its threads go on until [`Server::end`]. \[control\]
    ///
    /// # Errors
    /// The configuration does not do, or an address or thread cannot be had.
    pub fn start(config: &Config) -> Result<Self, ServeError> {
        let apps = config.apps()?;
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let running = Running::start(config, apps)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("sidetone-http")
            .enable_all()
            .build()
            .map_err(ServeError::System)?;
        let bound = runtime.block_on(TcpListener::bind(config.listen));
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|why| ServeError::Listen { address: config.listen, why })?;
        let shared = Arc::new(Shared {
            hall: running.handle(),
            next_link: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            links: watch::channel(0).0,
            doors: Doors::new(&config.limits, Instant::now()),
            page: Mutex::new(()),
        });
        let app = Router::new()
            .route("/", get(link::upgrade))
            .route("/room", get(link::upgrade))
            .route("/healthz", get(health))
            .route("/metrics", get(figures))
            .merge(whip::routes())
            .merge(admin::routes())
            .with_state(Arc::clone(&shared));
        let is_secure = tls.is_some();
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(listen::listen(listener, tls, app, Arc::clone(&shared.doors), stopped));
        info!(%address, tls = is_secure, media = ?running.addresses, "serving");
        Ok(Self { address, is_secure, media: running.addresses.clone(), runtime, running, shared, stop })
    }

    /// Ends the server: lets nobody in any more, tells everyone and waits until they
    /// are gone, for `within` at most, or until `hurry` says so; then puts them out.
    /// Gives what it counted. \[control\]
    #[must_use]
    pub fn end(self, within: Duration, hurry: &AtomicBool) -> Counts {
        self.shared.is_draining.store(true, Ordering::Relaxed);
        let links = self.shared.links.subscribe();
        // Should the thread be too busy for that, it puts everyone out below all the same.
        let _ = self.shared.hall.drain(within);
        self.runtime.block_on(async {
            let until = Instant::now() + within;
            while *links.borrow() > 0 && Instant::now() < until && !hurry.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(50)).await;
            }
        });
        let counts = self.running.end();
        let _ = self.stop.send(true);
        let mut links = links;
        // Each has said goodbye by then, or never will.
        let _ = self
            .runtime
            .block_on(async { timeout(GOODBYE, links.wait_for(|links| *links == 0)).await.is_ok() });
        self.runtime.shutdown_timeout(GOODBYE);
        counts
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    // Whether the thread that does all the work answers.
    match look(&shared, |_| ()).await {
        Some(()) => "ok\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "busy\n").into_response(),
    }
}

async fn figures(State(shared): State<Arc<Shared>>) -> Response {
    let doors = Arc::clone(&shared.doors);
    let timing = Arc::clone(&shared.hall.timing);
    // One page at a time, however many ask.
    let _turn = shared.page.lock().await;
    let look = look(&shared, metrics::Look::at).await;
    let page = spawn_blocking(move || look.map(|look| metrics::page(&look, &doors, &timing))).await;
    match page.ok().flatten() {
        Some(page) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "busy\n").into_response(),
    }
}

/// What a look at the hall sees, if that is not too busy.
async fn look<T: Send + 'static>(
    shared: &Shared,
    look: impl FnOnce(&Hall) -> T + Send + 'static,
) -> Option<T> {
    act(shared, move |hall, _, _| look(hall)).await
}

/// What comes of something done in the hall, now and so long since 1970 (UTC), if that
/// is not too busy.
async fn act<T: Send + 'static>(
    shared: &Shared,
    act: impl FnOnce(&mut Hall, std::time::Instant, Duration) -> T + Send + 'static,
) -> Option<T> {
    let (done, does) = oneshot::channel();
    let acts = move |hall: &mut Hall, now: std::time::Instant, wall: Duration| {
        // Who asked may have gone.
        let _ = done.send(act(hall, now, wall));
    };
    shared.hall.act(acts).ok()?;
    timeout(PATIENCE, does).await.ok()?.ok()
}
