//! Runs every program in turns, and keeps what they print.
//!
//! A round is each case of each row once: ours, then each peer's, in the other
//! order every other round, so that neither a machine that slows down nor the
//! state that one program leaves behind favours anybody.

use std::collections::BTreeSet;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers::{Peer, Peers};
use crate::reading::Reading;
use crate::rows::{ROWS, Row};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// Only these rows, such as inline,hop
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// How often each case is measured; medians are over rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A taste: few cases, a fraction of the time, nothing written
    #[arg(long)]
    quick: bool,
    /// Without the peers
    #[arg(long)]
    alone: bool,
}

/// One program and case, to be run once a round.
struct Turn<'a> {
    row: &'static Row,
    who: &'a str,
    case: String,
    command: Vec<String>,
}

impl Run {
    /// Runs all of it; the readings, and what could not be measured and why.
    pub(crate) fn run(&self) -> Result<(Vec<Reading>, Vec<String>), String> {
        let unknown = self.rows.iter().find(|name| ROWS.iter().all(|row| row.name != **name));
        if let Some(name) = unknown {
            let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
            return Err(format!("there is no row \"{name}\"; there are {}", names.join(", ")));
        }
        let mut complaints: Vec<String> = busy().into_iter().collect();
        let peers =
            if self.alone { Vec::new() } else { built(Peers::read()?.all, &self.rows, &mut complaints) };
        let wanted =
            |row: &&'static Row| self.rows.is_empty() || self.rows.iter().any(|name| name == row.name);
        let rows: Vec<&'static Row> = ROWS.iter().filter(wanted).collect();
        let turns: Vec<Turn<'_>> = rows.iter().flat_map(|row| self.turns(row, &peers)).collect();

        let mut readings = Vec::new();
        let mut failed = BTreeSet::new();
        let mut progress = Progress::new(turns.len() * self.rounds);
        for round in 0..self.rounds {
            for index in 0..turns.len() {
                let turn = &turns[if round % 2 == 0 { index } else { turns.len() - 1 - index }];
                progress.next(&format!("{} {} {}", turn.row.name, turn.case, turn.who));
                match readings_of(&turn.command) {
                    Ok(found) => readings.extend(found),
                    Err(why) => {
                        failed.insert(format!("{} {} of {}: {why}", turn.row.name, turn.case, turn.who));
                    }
                }
            }
        }
        progress.over();
        complaints.extend(failed);
        Ok((readings, complaints))
    }

    /// Whether what was measured is worth writing down.
    pub(crate) fn counts(&self) -> bool {
        !self.quick
    }

    fn turns<'a>(&self, row: &'static Row, peers: &'a [Peer]) -> Vec<Turn<'a>> {
        let own = std::env::current_exe().unwrap_or_default().display().to_string();
        let quick = self.quick.then(|| "--quick".to_owned());
        let cases = if self.quick { row.quick } else { row.cases };
        let mut turns = Vec::new();
        for case in cases {
            let mut command: Vec<String> = [&own, "measure", row.name, case].map(str::to_owned).to_vec();
            command.extend(quick.clone());
            turns.push(Turn { row, who: "sidetone", case: (*case).to_owned(), command });
            for peer in peers.iter().filter(|peer| peer.row == row.name) {
                if let Some(command) = peer.command(case, self.quick) {
                    turns.push(Turn { row, who: &peer.who, case: (*case).to_owned(), command });
                }
            }
        }
        turns
    }
}

/// A word about a machine that has other work to do.
fn busy() -> Option<String> {
    let load = crate::machine::load()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    (load > cores / 4.0).then(|| {
        format!("the machine had other work when the run began (load average {load}): figures may be off")
    })
}

/// The peers of `rows` whose programs could be built.
fn built(peers: Vec<Peer>, rows: &[String], complaints: &mut Vec<String>) -> Vec<Peer> {
    let mut ready = Vec::new();
    let mut tried: Vec<(Vec<String>, bool)> = Vec::new();
    for peer in peers.into_iter().filter(|peer| rows.is_empty() || rows.contains(&peer.row)) {
        let known = tried.iter().find(|(build, _)| *build == peer.build).map(|(_, went)| *went);
        let went = known.unwrap_or_else(|| {
            eprintln!("building {} for {}", peer.who, peer.row);
            let outcome = peer.build();
            if let Err(why) = &outcome {
                complaints.push(format!("{} cannot be built: {why}", peer.who));
            }
            tried.push((peer.build.clone(), outcome.is_ok()));
            outcome.is_ok()
        });
        if went {
            ready.push(peer);
        }
    }
    ready
}

/// Runs a measuring program: what it printed, or what it complained of.
fn readings_of(command: &[String]) -> Result<Vec<Reading>, String> {
    /// No measurement takes half as long.
    const LIMIT: Duration = Duration::from_secs(60);

    let (program, arguments) = command.split_first().ok_or("it names no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| format!("{program} does not start: {why}"))?;
    // Readings are a few lines, which a pipe holds.
    let began = Instant::now();
    while child.try_wait().map_err(|why| why.to_string())?.is_none() {
        if began.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it did not end within {} s", LIMIT.as_secs()));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let said = child.wait_with_output().map_err(|why| why.to_string())?;
    if !said.status.success() {
        let complaint = String::from_utf8_lossy(&said.stderr);
        return Err(complaint.lines().last().unwrap_or("it failed without a word").to_owned());
    }
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    let lines = lines.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).map_err(|why| format!("it printed {line}: {why}"))).collect()
}

/// Where readings are kept between runs, so that some rows can be measured
/// again and the results written of all: beside what cargo builds.
fn kept() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors().nth(3).unwrap_or(Path::new("target")).join("bench-readings.jsonl")
}

/// Keeps `readings` instead of earlier ones of the same rows.
pub(crate) fn keep(readings: &[Reading]) -> Result<Vec<Reading>, String> {
    let rows: BTreeSet<&str> = readings.iter().map(|reading| reading.row.as_str()).collect();
    let mut all = recall();
    all.retain(|reading| !rows.contains(reading.row.as_str()));
    all.extend_from_slice(readings);
    let lines: Vec<String> = all.iter().filter_map(|reading| serde_json::to_string(reading).ok()).collect();
    fs::write(kept(), lines.join("\n") + "\n")
        .map_err(|why| format!("cannot write {}: {why}", kept().display()))?;
    Ok(all)
}

/// What earlier runs kept.
pub(crate) fn recall() -> Vec<Reading> {
    let text = fs::read_to_string(kept()).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How far the run has come, on standard error.
struct Progress {
    begun: Instant,
    done: usize,
    all: usize,
}

impl Progress {
    fn new(all: usize) -> Self {
        Self { begun: Instant::now(), done: 0, all }
    }

    fn next(&mut self, what: &str) {
        let gone = self.begun.elapsed();
        let left = gone.mul_f64((self.all - self.done) as f64 / self.done.max(1) as f64);
        let about = if self.done == 0 { String::new() } else { format!(", about {} to go", minutes(left)) };
        self.done += 1;
        let line = format!("[{:3}/{}] {} gone{about}   {what}", self.done, self.all, minutes(gone));
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    fn over(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        eprintln!("{} measurements in {}", self.all, minutes(self.begun.elapsed()));
    }
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
