//! Janus, forwarding the same packets of the same participants as Sidetone's server.
//!
//! ```sh
//! cargo bench --bench janus -- janus "10 cameras to 20 each"
//! ```
//!
//! Debian's Janus with the videoroom plugin, spoken to over WebSocket; who is in the
//! rooms is `sidetone_room::load`, as for Sidetone's server, in the same kind of network
//! namespace. `janus` is as it is installed: a thread for each connection; `janus_loops`
//! has `event_loops = 2`. Both answer NACKs and give transport-wide feedback. Other than
//! Sidetone's server it does not estimate what subscribers' connections carry, and has
//! two connections for one who both sends and receives. Everybody hears everybody: Janus
//! has no choice of the loudest.

mod namespace;
mod signalling;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namespace::{Case, Namespace, seconds};
use sidetone_room::load::{Connection, Crowd, Media, Report, Sends};
use sidetone_room::protocol::Kind;
use signalling::Janus;

const PORT: u16 = 8_188;
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu/janus";

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (quick, given): (Vec<_>, Vec<_>) = given.into_iter().partition(|argument| argument == "--quick");
    let [who, case] = given.as_slice() else {
        eprintln!("usage: janus janus|janus_loops CASE [--quick]");
        return ExitCode::from(2);
    };
    match measure(who, case, !quick.is_empty()) {
        Ok(report) => {
            for (metric, value) in namespace_metrics(&report) {
                let reading = serde_json::json!({
                    "row": "room", "who": who, "case": case, "metric": metric, "value": value
                });
                println!("{reading}");
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// As `benches/suite/rows/room.rs` gives them.
fn namespace_metrics(report: &Report) -> BTreeMap<&'static str, f64> {
    #[allow(clippy::cast_precision_loss)] // far from that many
    BTreeMap::from([
        ("us_per_packet", report.server_us_per_packet.unwrap_or(0.0)),
        ("rss_mb", report.used.server_rss.unwrap_or(0) as f64 / 1e6),
        ("latency_p50_ms", report.latency_ms.p50),
        ("latency_p99_ms", report.latency_ms.p99),
        ("lost_percent", 100.0 * report.lost as f64 / report.expected.max(1) as f64),
    ])
}

fn measure(who: &str, case: &str, quick: bool) -> Result<Report, String> {
    let loops = match who {
        "janus" => "",
        "janus_loops" => "event_loops = 2;",
        _ => return Err(format!("{who} is neither janus nor janus_loops")),
    };
    let case = Case::of(case)?;
    let program = Path::new("/usr/bin/janus");
    if !program.exists() {
        return Err("skipped: there is no /usr/bin/janus; apt-get install janus".into());
    }
    let mut space = Namespace::new()?;
    let (folder, address) = (space.folder.display().to_string(), space.server.clone());
    // Only what takes part: its other plugins open ports and threads of their own.
    for (kind, library) in [("plugins", "libjanus_videoroom.so"), ("transports", "libjanus_websockets.so")] {
        let own = space.folder.join(kind);
        std::fs::create_dir_all(&own).map_err(|why| why.to_string())?;
        let installed = Path::new(LIBRARIES).join(kind).join(library);
        std::os::unix::fs::symlink(&installed, own.join(library)).map_err(|why| why.to_string())?;
    }
    let config = format!(
        "general: {{ configs_folder = \"{folder}\"; plugins_folder = \"{folder}/plugins\"; \
         transports_folder = \"{folder}/transports\"; debug_level = 1; {loops} }}\n\
         media: {{ rtp_port_range = \"20000-29999\"; nack_optimizations = true }}\n\
         nat: {{ ice_lite = true; ice_enforce_list = \"{address}\" }}\n"
    );
    let config = space.write("janus.jcfg", &config)?;
    space.write(
        "janus.transport.websockets.jcfg",
        &format!("general: {{ ws = true; ws_port = {PORT}; ws_ip = \"{address}\" }}\nadmin: {{ admin_ws = false }}\n"),
    )?;
    space.write("janus.plugin.videoroom.jcfg", "general: { }\n")?;
    let pid = space.start(program, &["-C", &config.display().to_string(), "-F", &folder])?;
    space.wait(PORT)?;
    let here: IpAddr = space.here.parse().map_err(|_| "an address")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let url = format!("ws://{address}:{PORT}");
    runtime.map_err(|why| why.to_string())?.block_on(all(case, &url, here, pid, seconds(quick).1))
}

/// Brings everyone in, and measures.
async fn all(case: &Case, url: &str, here: IpAddr, pid: u32, seconds: u64) -> Result<Report, String> {
    let load = |why: sidetone_room::load::LoadError| why.to_string();
    let mut crowd = Crowd::new().map_err(load)?;
    let mut janus = Janus::open(url).await?;
    let common = Arc::clone(crowd.common());
    let mut feeds: BTreeMap<u32, Vec<(u32, u64, Vec<u32>)>> = BTreeMap::new();
    for room in 0..case.rooms {
        janus.create(room).await?;
    }
    for who in 0..case.publishers {
        for room in 0..case.rooms {
            let begun = Instant::now();
            let first = (room * case.publishers + who) * 2;
            let sends = [(Kind::Audio, case.audio), (Kind::Video, case.video)].into_iter().zip(first..);
            let sends: Vec<Sends> = sends
                .filter_map(|((kind, bps), stream)| Some(Sends { kind, media: Media::Made(bps?), stream }))
                .collect();
            let streams = sends.iter().map(|sends| sends.stream).collect();
            let mut connection = Connection::open(&common, here).map_err(load)?;
            let (offer, _) = connection.offer(sends, [0, 0]).map_err(load)?;
            let (feed, answer) = janus.publish(room, offer).await?;
            connection.accept(&answer).map_err(load)?;
            connection.connect().await.map_err(load)?;
            crowd.joined(begun.elapsed());
            crowd.stays(connection, Vec::new());
            feeds.entry(room).or_default().push((who, feed, streams));
        }
    }
    for who in 0..case.publishers + case.subscribers {
        for room in 0..case.rooms {
            let all = feeds.get(&room).into_iter().flatten();
            let others: Vec<_> = all.filter(|(publisher, ..)| *publisher != who).collect();
            if others.is_empty() {
                continue;
            }
            let begun = Instant::now();
            let (handle, offer) = janus.subscribe(room, others.iter().map(|(_, feed, _)| *feed)).await?;
            let mut connection = Connection::open(&common, here).map_err(load)?;
            let answer = connection.answer(&offer).map_err(load)?;
            janus.start(handle, answer).await?;
            connection.connect().await.map_err(load)?;
            crowd.joined(begun.elapsed());
            crowd.stays(connection, others.into_iter().flat_map(|(.., streams)| streams.clone()).collect());
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = crowd.measure(seconds, Some(&pid.to_string()), async |_, _| ()).await.map_err(load)?;
    let report = crowd.end_and_report(used).await;
    match report.failures.first() {
        Some(why) => Err(why.clone()),
        None => Ok(report),
    }
}
