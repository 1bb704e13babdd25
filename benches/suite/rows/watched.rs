//! What it costs to be watched (row `watched`).

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Row;
use crate::machine::cpu_of;
use crate::reading::Readings;

pub(super) const ROW: Row = Row {
    name: "watched",
    title: "Tracing and metrics on, against off",
    how: "`sidetone run` in real time, plain and with `--trace` into a file and `--metrics`, from which the ledger \
          is fetched every second: off, on, on, off. Taken: processor time of all threads over the same seconds \
          of each run, in percent of one processor, and the ratio. `call`: the call of row `call`, into `/dev/null`; \
          `1000 streams`: those of row `paced`, metered by `audio.level`; `100 nodes`: 100 `audio.gain` at 0 dB, a \
          frame every 2.5 ms in each of 20 chains.",
    cases: &["call", "1000 streams", "100 nodes"],
    quick: &["call"],
    measure,
};

const SIDETONE: &str = env!("CARGO_BIN_EXE_sidetone");

fn measure(case: &str, quick: bool) -> Result<Readings, String> {
    let help = Command::new(SIDETONE).args(["run", "--help"]).output().map_err(|why| why.to_string())?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    if !(help.contains("--trace") && help.contains("--metrics")) {
        return Err("this `sidetone run` has no --trace and --metrics to switch on".to_owned());
    }
    let text = match case {
        "call" => call()?,
        "1000 streams" => super::paced::graph(1000, true).replace("bench.meter", "audio.level"),
        "100 nodes" => chains(20, 100),
        _ => return Err(format!("there is no case \"{case}\"")),
    };
    let folder = std::env::temp_dir().join(format!("sidetone-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|why| why.to_string())?;
    let graph = folder.join("graph.toml");
    fs::write(&graph, text).map_err(|why| why.to_string())?;
    let seconds = if quick { 1.0 } else { 2.5 };
    let found = [false, true, true, false].map(|watched| once(&graph, &folder, watched, seconds));
    let _ = fs::remove_dir_all(&folder);
    let [off, on, on_too, off_too] = found;
    let (off, on) = ((off? + off_too?) / 2.0, (on? + on_too?) / 2.0);
    Ok(vec![("off_percent", off), ("on_percent", on), ("on_to_off", on / off)])
}

/// The call of row `call`, with sinks that `sidetone run` knows.
fn call() -> Result<String, String> {
    const SINKS: [(&str, &str); 2] = [("speaker", "file.wav_sink"), ("screen", "file.y4m_sink")];
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/call.toml"));
    let text = text.map_err(|why| format!("benches/call.toml: {why}"))?;
    Ok(SINKS.iter().fold(text, |text, (name, kind)| {
        text.replace(
            &format!("{name} = {{ kind = \"bench.render\" }}"),
            &format!("{name} = {{ kind = \"{kind}\", path = \"/dev/null\" }}"),
        )
    }))
}

fn chains(chains: u32, nodes: u32) -> String {
    let mut links = Vec::new();
    let mut text = String::new();
    for chain in 0..chains {
        let names: String = (0..nodes).map(|node| format!(" -> g{chain}_{node}")).collect();
        links.push(format!("tone{chain}{names} -> level{chain}"));
        text += &format!("tone{chain} = {{ kind = \"test.tone\", frame_ms = 2.5, lane = \"one\" }}\n");
        for node in 0..nodes {
            text += &format!("g{chain}_{node} = {{ kind = \"audio.gain\", lane = \"one\" }}\n");
        }
        text += &format!("level{chain} = {{ kind = \"audio.level\", lane = \"one\" }}\n");
    }
    format!("# Bench.\nsidetone = 1\nlinks = {links:?}\n[nodes]\n{text}")
}

/// Processor time of one run in percent of one processor, its first second and
/// a half left out.
fn once(graph: &Path, folder: &Path, watched: bool, seconds: f64) -> Result<f64, String> {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.map_err(|why| format!("no port is free: {why}"))?;
    let mut command = Command::new(SIDETONE);
    command.arg("run").arg(graph).arg("--quiet");
    if watched {
        command.arg("--trace").arg(folder.join("trace.json")).arg("--metrics").arg(address.to_string());
    }
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.spawn().map_err(|why| format!("sidetone does not start: {why}"))?;
    let outcome = look(&child, watched.then_some(address), seconds);
    if !matches!(child.try_wait(), Ok(None)) {
        return Err("the run ended too soon".to_owned());
    }
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

fn look(child: &Child, address: Option<SocketAddr>, seconds: f64) -> Result<f64, String> {
    let over = || "the run ended too soon".to_owned();
    wait(Duration::from_millis(1_500));
    let (begun, before) = (Instant::now(), cpu_of(child.id()).ok_or_else(over)?);
    while begun.elapsed().as_secs_f64() < seconds {
        if let Some(address) = address {
            fetch(address).map_err(|why| format!("the metrics cannot be fetched: {why}"))?;
        }
        wait(Duration::from_secs_f64((seconds - begun.elapsed().as_secs_f64()).clamp(0.0, 1.0)));
    }
    let (after, took) = (cpu_of(child.id()).ok_or_else(over)?, begun.elapsed());
    Ok(100.0 * after.saturating_sub(before).as_secs_f64() / took.as_secs_f64())
}

fn wait(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Fetches the metrics once, as Prometheus does.
fn fetch(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(())
}
