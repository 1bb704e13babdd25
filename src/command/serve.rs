//! `sidetone serve`: runs the room server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::Args;
use sidetone_room::server::config::Config;
use sidetone_room::server::http::Server;

use super::{FAILED, FINE, WRONG, note, say};

/// Run a room server: `room.join` joins it at ws://ADDRESS, with a token of `sidetone token`
///
/// It serves until Ctrl-C or a request to terminate; then it lets nobody in any more and
/// gives everyone time to leave. Once more, and it ends at once.
#[derive(Args)]
#[command(after_help = "For example:\n  \
    sidetone serve\n  \
    sidetone serve --listen 192.0.2.1:7880 --config server.toml\n\n\
    docs/server.toml has every setting of a configuration, and what it means.\n\
    GET /healthz says whether it serves, GET /metrics how much, for Prometheus.")]
pub(super) struct Serve {
    /// Where to serve HTTP, WebSocket and, by UDP, media; instead of what the configuration says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The configuration
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(&self) -> u8 {
        let mut config = match self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::load) {
            Ok(config) => config,
            Err(why) => return wrong(&why.to_string()),
        };
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        let server = match Server::start(&config) {
            Ok(server) => server,
            Err(why) => return wrong(&why.to_string()),
        };
        let (asked, asks) = sync_channel::<()>(1);
        let mut asked = Some(asked);
        let hurry = Arc::new(AtomicBool::new(false));
        let hurries = Arc::clone(&hurry);
        let handler = move || match asked.take() {
            Some(asked) => drop(asked.try_send(())),
            None => hurries.store(true, Ordering::Relaxed),
        };
        if let Err(why) = ctrlc::set_handler(handler) {
            note(&format!("error: cannot be told to end: {why}\n"));
            return FAILED;
        }
        let media: Vec<_> = server.media.iter().map(SocketAddr::to_string).collect();
        let scheme = if server.is_secure { "wss" } else { "ws" };
        say(&format!("serving at {scheme}://{}, media at udp {}\n", server.address, media.join(", ")));
        if asks.recv().is_err() {
            return FAILED;
        }
        note(&format!("closing within {} s; once more to end at once\n", config.drain_s));
        let counts = server.end(Duration::from_secs(config.drain_s), &hurry);
        note(&format!("{} joined, {} packets forwarded\n", counts.joins, counts.packets_out));
        FINE
    }
}

fn wrong(why: &str) -> u8 {
    note(&format!("error: {why}\n"));
    WRONG
}
