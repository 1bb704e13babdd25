//! `sidetone serve`: runs the room server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::Args;
use sidetone_room::server::config::{Config, LogConfig};
use sidetone_room::server::http::Server;
use sidetone_room::server::log::{self, Format, Level};

use super::{FAILED, FINE, WRONG, note, say};

/// Run a room server: `room.join` joins it at ws://ADDRESS, with a token of `sidetone token`
///
/// It serves until Ctrl-C or a request to terminate; then it lets nobody in any more and
/// gives everyone time to leave. Once more, and it ends at once.
#[derive(Args)]
#[command(after_help = "For example:\n  \
    sidetone serve\n  \
    sidetone serve --listen 192.0.2.1:7880 --config server.toml\n\n\
    docs/server.toml has every setting of a configuration, and what it means;\n\
    docs/serving.md how to look after a server.\n\
    GET /healthz says whether it serves, GET /metrics how much, for Prometheus;\n\
    /admin/rooms is for administrators, with a token of `sidetone token --admin`.")]
pub(super) struct Serve {
    /// Where to serve HTTP, WebSocket and, by UDP, media; instead of what the configuration says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The configuration
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// How the log is written, to stderr; instead of what the configuration says
    #[arg(long, value_name = "FORMAT", value_parser = log_format)]
    log_format: Option<Format>,
    /// The least that is logged: error, warn, info or debug; instead of what the configuration says
    #[arg(long, value_name = "LEVEL", value_parser = log_level)]
    log_level: Option<Level>,
}

fn log_format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("give text or json".into()),
    }
}

fn log_level(text: &str) -> Result<Level, String> {
    match text {
        "error" => Ok(Level::Error),
        "warn" => Ok(Level::Warn),
        "info" => Ok(Level::Info),
        "debug" => Ok(Level::Debug),
        _ => Err("give error, warn, info or debug".into()),
    }
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
        let LogConfig { format, level } = &mut config.log;
        *format = self.log_format.unwrap_or(*format);
        *level = self.log_level.unwrap_or(*level);
        if tracing::subscriber::set_global_default(log::subscriber(*format, *level, std::io::stderr)).is_err()
        {
            return wrong("something else writes the log already");
        }
        // A panic is an event as any other: where it was, and what it says.
        std::panic::set_hook(Box::new(|panic| {
            let at = panic.location().map(ToString::to_string);
            let why = panic.payload();
            let why = why.downcast_ref::<&str>().copied().or(why.downcast_ref::<String>().map(|why| &**why));
            tracing::error!(at, why, "a panic, which is a defect");
        }));
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
        note(&format!("{} joined, {} packets forwarded\n", counts.joins, counts.packets_out()));
        FINE
    }
}

fn wrong(why: &str) -> u8 {
    note(&format!("error: {why}\n"));
    WRONG
}
