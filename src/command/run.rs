//! `sidetone run`: runs a graph and shows its ledger.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, CommandFactory};
use sidetone::plugins::Shelf;
use sidetone::report::{FigureReport, Path, Report};
use sidetone::{Clock, Engine, Graph, LoadOptions, Medium, Options, Progress, Tracer, Update};

use super::watch::Watcher;
use super::{FAILED, FINE, WRONG, complain, kinds, load, note, say, setting};
use crate::metrics;
use crate::serve::{self, Page, Site};
use crate::sight::{Events, Sight, Viewer, is_news};
use crate::table::{Align, table};
use crate::trace_file::{TraceFile, Written};

/// Run a graph until it ends, the time is up or Ctrl-C is pressed
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(super) struct Run {
    /// The graph file
    #[arg(value_name = "FILE", required_unless_present = "help")]
    file: Option<PathBuf>,
    /// Give a parameter of the graph, or of a node (cam.fps=15); may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The folder for the files the graph writes: short for --set out=DIR
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// Stop after this long, and finish what is under way
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Run in virtual time, as fast as it goes; the same graph and seed give the same bytes
    #[arg(long = "virtual")]
    virtual_time: bool,
    /// The seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the ledger as JSON
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Write what every lane does, call by call, for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Serve the ledger while it runs: /metrics for Prometheus, /report.json for `sidetone top`;
    /// a port alone (9100) is 127.0.0.1's
    #[arg(long, value_name = "ADDRESS", value_parser = serve::address)]
    metrics: Option<SocketAddr>,
    /// Print the ledger as JSON instead of tables, and events as JSON lines on standard error
    #[arg(long)]
    json: bool,
    /// Change what runs whenever the graph file or one of its parts is saved, or a plugin is rebuilt
    #[arg(long)]
    watch: bool,
    /// Print no events and no progress
    #[arg(long, short)]
    quiet: bool,
    /// After FILE: what the graph is for and the parameters it takes
    #[arg(long, short)]
    help: bool,
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "give a number of seconds, such as 10 or 2.5".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|_| "give a number of seconds above zero".to_owned())
}

impl Run {
    pub(super) fn run(&self) -> u8 {
        let Some(file) = self.file.as_ref().filter(|_| !self.help) else { return self.explain() };
        let mut overrides = self.set.clone();
        overrides.extend(self.out.clone().map(|folder| ("out".to_owned(), folder)));
        let graph = match load(file, &overrides, self.json) {
            Ok(graph) => graph,
            Err(code) => return code,
        };
        let clock = if self.virtual_time { Clock::virtual_time() } else { Clock::real() };
        let (tracer, trace_file) = match self.trace_file() {
            Ok(traced) => traced.unzip(),
            Err(code) => return code,
        };
        let options =
            Options { clock, seed: self.seed, limit: self.seconds, trace: tracer, ..Options::default() };
        if self.watch {
            Shelf::get().load_copies();
        }
        let engine = match Engine::new(graph, options) {
            Ok(engine) => engine,
            Err(mistakes) => {
                complain(&mistakes, self.json);
                return WRONG;
            }
        };
        let handle = engine.handle();
        if let Err(error) = ctrlc::set_handler(move || handle.stop()) {
            note(&format!("warning: Ctrl-C will end the run without finishing its files: {error}\n"));
        }
        let events = Events::default();
        if let Some(code) = self.serve(&engine, &events) {
            return code;
        }
        let watching = self.watch.then(|| Watcher::start(file, &overrides, self.json, engine.handle()));
        if let Some(Err(error)) = &watching {
            note(&format!("error: cannot watch {}: {error}\n", file.display()));
            return FAILED;
        }
        let mut live = LiveLine::new(self.quiet, self.json, self.seconds);
        let report = engine.run(|update| {
            events.hear(&update);
            live.show(&update);
        });
        live.clear();
        let traced = trace_file.map_or(FINE, |file| self.tell_trace(file.finish()));
        self.tell(&report).max(traced)
    }

    /// Both ends of the trace that is asked for.
    fn trace_file(&self) -> Result<Option<(Tracer, TraceFile)>, u8> {
        let Some(path) = &self.trace else { return Ok(None) };
        let (tracer, reader) = sidetone::trace::trace();
        match TraceFile::create(path, reader) {
            Ok(file) => Ok(Some((tracer, file))),
            Err(error) => {
                note(&format!("error: cannot write the trace to {}: {error}\n", path.display()));
                Err(WRONG)
            }
        }
    }

    fn tell_trace(&self, outcome: std::io::Result<Written>) -> u8 {
        let path = self.trace.as_ref().map_or_else(String::new, |path| path.display().to_string());
        match outcome {
            Ok(Written { calls, lost }) => {
                if !self.quiet {
                    note(&format!("{calls} calls in {path}; open it at https://ui.perfetto.dev\n"));
                }
                if lost > 0 {
                    note(&format!(
                        "warning: {path} lacks {lost} calls or steps of frames, which came faster than they could \
                         be written\n"
                    ));
                }
                FINE
            }
            Err(error) => {
                note(&format!("error: the trace {path} is not whole: {error}\n"));
                FAILED
            }
        }
    }

    /// Serves the ledger, if that is asked for; gives the exit code if it cannot.
    fn serve(&self, engine: &Engine, events: &Events) -> Option<u8> {
        let address = self.metrics?;
        match serve::serve(address, site(engine, events)) {
            Ok(bound) => {
                if !self.quiet {
                    let open =
                        if bound.ip().is_loopback() { "" } else { ", to whoever reaches this machine" };
                    note(&format!("serving http://{bound}/metrics and /report.json{open}\n"));
                }
                None
            }
            Err(error) => {
                note(&format!(
                    "error: cannot serve metrics at {address}: {error}; give another port, or 0 for any\n"
                ));
                Some(WRONG)
            }
        }
    }

    fn tell(&self, report: &Report) -> u8 {
        let json = match serde_json::to_string_pretty(report) {
            Ok(json) => json,
            Err(error) => {
                note(&format!("error: cannot write the ledger as JSON: {error}\n"));
                return FAILED;
            }
        };
        say(&if self.json { format!("{json}\n") } else { as_text(report) });
        if let Some(path) = &self.report
            && let Err(error) = std::fs::write(path, json + "\n")
        {
            note(&format!("error: cannot write {}: {error}\n", path.display()));
            return FAILED;
        }
        conclude(report)
    }

    /// The help of the command, or of the graph.
    fn explain(&self) -> u8 {
        let Some(file) = &self.file else {
            let mut command = super::Cli::command();
            command.build();
            let run = command.find_subcommand_mut("run").map(|run| run.render_long_help().to_string());
            say(&run.unwrap_or_default());
            return FINE;
        };
        let options = LoadOptions { overrides: &self.set, ..LoadOptions::default() };
        match Graph::load(file, &kinds(Some(file)), &options) {
            Ok((graph, _)) => {
                say(&explain_graph(&graph));
                FINE
            }
            Err(mistakes) => {
                complain(&mistakes, false);
                WRONG
            }
        }
    }
}

/// Says what went wrong; gives the exit code.
pub(super) fn conclude(report: &Report) -> u8 {
    for fault in &report.faults {
        note(&format!("error: {fault}\n"));
    }
    for node in &report.undrained {
        note(&format!("error: {node} was cut off while it still held something\n"));
    }
    if report.faults.is_empty() && report.undrained.is_empty() { FINE } else { FAILED }
}

/// What `--metrics` serves. Each page has a viewer of its own, since what is
/// recent is since its last look.
fn site(engine: &Engine, events: &Events) -> Site {
    let page = |tell: fn(&Sight) -> Option<String>| -> Page {
        let viewer = Mutex::new(Viewer::new(engine.handle().watch(), events.clone()));
        Box::new(move || {
            let sight = viewer.lock().unwrap_or_else(PoisonError::into_inner).look()?;
            tell(&sight)
        })
    };
    let pages = vec![
        ("/metrics", metrics::CONTENT_TYPE, page(|sight| Some(metrics::metrics(&sight.snapshot)))),
        ("/report.json", "application/json", page(|sight| serde_json::to_string(sight).ok())),
    ];
    Site { pages }
}

fn explain_graph(graph: &Graph) -> String {
    let mut text = format!("{}\n", graph.about.trim_end());
    if graph.params.is_empty() {
        text.push_str("\nIt declares no parameters; --set NODE.PARAMETER=VALUE reaches any node's.\n");
        return text;
    }
    let rows: Vec<_> = graph
        .params
        .iter()
        .map(|param| {
            let default =
                param.default.as_ref().map_or_else(|| "must be given".to_owned(), ToString::to_string);
            vec![param.name.clone(), default, param.takes.clone(), param.meaning.clone()]
        })
        .collect();
    let head = ["--set NAME=", "DEFAULT", "TAKES", "MEANING"].map(|name| (name, Align::Left));
    text.push_str(&format!("\n{}", table(&head, &rows)));
    text.push_str(
        "\n--set NODE.PARAMETER=VALUE reaches any node's; `sidetone plan` names the nodes.\n\
         `sidetone run --help` has the options of run itself.\n",
    );
    text
}

/// One line that says how the run goes, rewritten in place on a terminal, with
/// events above it.
struct LiveLine {
    quiet: bool,
    json: bool,
    terminal: bool,
    limit: Option<Duration>,
}

impl LiveLine {
    fn new(quiet: bool, json: bool, limit: Option<Duration>) -> Self {
        Self { quiet, json, terminal: std::io::stderr().is_terminal(), limit }
    }

    fn show(&mut self, update: &Update<'_>) {
        match update {
            Update::Edited { at, outcome: Ok(change) } if self.json => {
                note(&format!("{}\n", serde_json::json!({ "at": at, "edit": change })));
            }
            Update::Edited { outcome: Ok(change), .. } => {
                self.clear();
                note(&format!("edit: {change}\n"));
            }
            Update::Edited { outcome: Err(mistakes), .. } => {
                self.clear();
                complain(mistakes, self.json);
                note("edit: not made; what runs goes on as it was\n");
            }
            Update::Event { at, node, kind } if self.json && !self.quiet => {
                let event = serde_json::json!({ "at": at, "node": node, "event": kind });
                note(&format!("{event}\n"));
            }
            // Faults are told at the end, and here.
            Update::Event { at, node, kind } if !self.quiet && is_news(kind) => {
                self.clear();
                note(&format!("{at:8.3} s  {node}: {kind}\n"));
            }
            Update::Progress(progress) if !self.quiet && !self.json && self.terminal => {
                note(&format!("\r\x1b[K{}", self.line(progress)));
            }
            _ => {}
        }
    }

    fn line(&self, progress: &Progress) -> String {
        let limit = self.limit.map_or_else(String::new, |limit| format!(" of {:.0}", limit.as_secs_f64()));
        let late = |name: &str, summary: Option<&sidetone::histogram::Summary>| {
            summary.map_or_else(String::new, |summary| format!("   {name} {:.1} ms", summary.p50))
        };
        format!(
            "{:6.1}{limit} s   {} sound and {} picture frames rendered   {} dropped{}{}",
            progress.elapsed.as_secs_f64(),
            progress.of(Medium::Audio),
            progress.of(Medium::Video),
            progress.dropped,
            late("audio", progress.end_to_end_ms.audio.as_ref()),
            late("video", progress.end_to_end_ms.video.as_ref()),
        )
    }

    fn clear(&self) {
        if self.terminal && !self.quiet {
            note("\r\x1b[K");
        }
    }
}

/// The ledger as tables.
pub(super) fn as_text(report: &Report) -> String {
    let time = if report.virtual_time { "virtual" } else { "real" };
    let mut text = format!("{}: {:.2} s of {time} time\n\n", report.graph, report.seconds);
    let three = |summary: &sidetone::histogram::Summary| {
        [summary.p50, summary.p95, summary.p99].map(|ms| format!("{ms:.2}"))
    };
    let rows: Vec<Vec<String>> = report
        .stages
        .iter()
        .map(|stage| {
            let reasons: Vec<_> =
                stage.dropped_by_reason.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            let drops = if reasons.is_empty() { "0".to_owned() } else { reasons.join(", ") };
            let mut row = vec![stage.node.clone(), stage.frames.to_string(), drops];
            for summary in [&stage.wait_ms, &stage.work_ms, &stage.buffer_ms] {
                row.extend(three(summary));
            }
            row
        })
        .collect();
    let head = [
        ("STAGE", Align::Left),
        ("FRAMES", Align::Right),
        ("DROPS", Align::Right),
        ("WAIT p50", Align::Right),
        ("p95", Align::Right),
        ("p99", Align::Right),
        ("WORK p50", Align::Right),
        ("p95", Align::Right),
        ("p99", Align::Right),
        ("BUFFER p50", Align::Right),
        ("p95", Align::Right),
        ("p99 ms", Align::Right),
    ];
    text.push_str(&table(&head, &rows));
    for stage in report.stages.iter().filter(|stage| stage.late_calls > 0) {
        text.push_str(&format!("{} calls of {} came back late\n", stage.late_calls, stage.node));
    }

    let dropping: Vec<_> = report
        .links
        .iter()
        .filter(|link| link.dropped > 0)
        .map(|link| vec![link.from.clone(), link.to.clone(), link.dropped.to_string(), link.overflow.clone()])
        .collect();
    if !dropping.is_empty() {
        let head = [
            ("LINK FROM", Align::Left),
            ("TO", Align::Left),
            ("DROPS", Align::Right),
            ("POLICY", Align::Left),
        ];
        text.push_str(&format!("\n{}", table(&head, &dropping)));
    }
    text.push_str(&breaches(report));
    if !report.figures.is_empty() {
        let rows: Vec<_> = report
            .figures
            .iter()
            .map(|FigureReport { node, name, unit, value }| {
                vec![node.clone(), name.clone(), format!("{value:.2}"), unit.clone()]
            })
            .collect();
        let head =
            [("MEASURED BY", Align::Left), ("WHAT", Align::Left), ("VALUE", Align::Right), ("", Align::Left)];
        text.push_str(&format!("\n{}", table(&head, &rows)));
    }
    for path in &report.paths {
        text.push_str(&format!("\n{}", where_time_went(path)));
    }
    text.push_str(&format!("\n{}", end_to_end(report)));
    text
}

/// Breaches that tables show, at most.
const BREACHES: usize = 20;

/// When budgets were not kept, and why.
fn breaches(report: &Report) -> String {
    let rows: Vec<_> = report
        .breaches
        .iter()
        .take(BREACHES)
        .map(|breach| {
            let lasted = match breach.until {
                Some(until) => format!("{:.2}", until - breach.at),
                None => "to the end".into(),
            };
            vec![
                format!("{} -> {}", breach.from.as_deref().unwrap_or("capture"), breach.sink),
                format!("{:.2}", breach.at),
                lasted,
                format!("{:.1}", breach.p95_ms),
                format!("{:.1}", breach.budget_ms),
                breach.stage.clone(),
                format!("{:.1}", breach.stage_ms),
                breach.remedy.word().into(),
            ]
        })
        .collect();
    let head = [
        ("BUDGET NOT KEPT", Align::Left),
        ("AT s", Align::Right),
        ("LASTED s", Align::Right),
        ("p95 ms", Align::Right),
        ("ALLOWED", Align::Right),
        ("GUILTY STAGE", Align::Left),
        ("ITS ms", Align::Right),
        ("REMEDY", Align::Left),
    ];
    let more = match report.breaches.len().saturating_sub(BREACHES) {
        0 => String::new(),
        more => format!("and {more} more times, which --json and --report tell of\n"),
    };
    if rows.is_empty() { String::new() } else { format!("\n{}{more}", table(&head, &rows)) }
}

fn end_to_end(report: &Report) -> String {
    let media = [("audio", report.end_to_end_ms.audio), ("video", report.end_to_end_ms.video)];
    let rows: Vec<_> = media
        .into_iter()
        .filter_map(|(name, summary)| summary.map(|summary| (name, summary)))
        .map(|(name, summary)| {
            let figures = [summary.p50, summary.p95, summary.p99, summary.max].map(|ms| format!("{ms:.1}"));
            [vec![name.to_owned(), summary.count.to_string()], figures.to_vec()].concat()
        })
        .collect();
    let head = [
        ("CAPTURE TO RENDER", Align::Left),
        ("FRAMES", Align::Right),
        ("p50", Align::Right),
        ("p95", Align::Right),
        ("p99", Align::Right),
        ("max ms", Align::Right),
    ];
    table(&head, &rows)
}

/// The mean way of a frame to one sink, as bars.
fn where_time_went(path: &Path) -> String {
    const WIDTH: f64 = 40.0;
    let whole = path.end_to_end_ms.mean.max(1e-9);
    let parts = path.shares.iter().flat_map(|share| {
        [("waiting for", share.wait_ms), ("working in", share.work_ms), ("held in", share.buffer_ms)]
            .map(|(how, ms)| (how, share.node.as_str(), ms))
    });
    // What is under a hundredth of the whole tells nobody anything.
    let rows: Vec<_> = parts
        .filter(|(.., ms)| *ms >= whole / 100.0)
        .map(|(how, node, ms)| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bar = "█".repeat((ms / whole * WIDTH).round().max(1.0) as usize);
            vec![format!("  {how} {node}"), format!("{ms:.2}"), bar]
        })
        .collect();
    let title = format!("{} to {}: {:.2} ms on average", path.medium, path.sink, path.end_to_end_ms.mean);
    table(&[(title.as_str(), Align::Left), ("ms", Align::Right), ("", Align::Left)], &rows)
}
