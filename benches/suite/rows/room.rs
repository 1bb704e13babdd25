//! A room server under load (row `room`).

use std::path::Path;

use sidetone_room::load::{Media, Plan, run};
use sidetone_room::server::token::App;

use super::Row;
use crate::namespace::{Case, Namespace, seconds};
use crate::reading::Readings;

pub(super) const ROW: Row = Row {
    name: "room",
    title: "A room server: packets forwarded by WebRTC",
    how: "The server runs in a network namespace of its own; simulated participants (`sidetone load`) send \
          packets of AV1's or Opus's sizes and count what comes. Taken, over the seconds in which everyone is \
          in: the server's processor time over the packets that came to subscribers, its memory, the time from \
          a publisher's socket to a subscriber's, and what was lost. Participants and server share the \
          machine's processors; nothing is pinned. It takes root.",
    cases: &["10 cameras to 20 each", "20 microphones to each other"],
    quick: &["10 cameras to 20 each"],
    measure,
};

const PORT: u16 = 7_880;
const SECRET: &str = "a secret for benches alone, of no use elsewhere";

fn measure(case: &str, quick: bool) -> Result<Readings, String> {
    let case = Case::of(case)?;
    let (ramp, seconds) = seconds(quick);
    let mut space = Namespace::new()?;
    let address = format!("{}:{PORT}", space.server);
    space.write("bench.secret", SECRET)?;
    let config = space.write(
        "server.toml",
        &format!(
            "listen = \"{address}\"\n[[app]]\nid = \"bench\"\nsecret_file = \"bench.secret\"\n\
             [room]\naudio_slots = 64\n[limits]\nsockets_per_ip = 1000\njoins_per_ip = 1000\n"
        ),
    )?;
    let program = Path::new(env!("CARGO_BIN_EXE_sidetone"));
    let pid = space.start(program, &["serve", "--config", &config.display().to_string()])?;
    space.wait(PORT)?;
    let plan = Plan {
        url: format!("ws://{address}"),
        app: App::new("bench", SECRET.as_bytes()).map_err(|why| why.to_string())?,
        rooms: case.rooms,
        publishers: case.publishers,
        subscribers: case.subscribers,
        audio: case.audio.map(Media::Made),
        video: case.video.map(Media::Made),
        seconds,
        ramp,
        churn: 0,
        threads: 1,
    };
    let report = run(plan, Some(&pid.to_string()), |_| {}).map_err(|why| why.to_string())?;
    if let Some(why) = report.failures.first() {
        return Err(why.clone());
    }
    Ok(vec![
        ("us_per_packet", report.server_us_per_packet.unwrap_or(0.0)),
        ("rss_mb", report.used.server_rss.unwrap_or(0) as f64 / 1e6),
        ("latency_p50_ms", report.latency_ms.p50),
        ("latency_p99_ms", report.latency_ms.p99),
        ("lost_percent", 100.0 * report.lost as f64 / report.expected.max(1) as f64),
    ])
}
