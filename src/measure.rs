//! One graph, run once: what `bench` repeats and `tune` compares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use sidetone::histogram::Summary;
use sidetone::report::{FigureReport, Stage};
use sidetone::{Clock, Diagnostics, Engine, Graph, Handle, Options, Report};

/// How a graph is run.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) seconds: Duration,
    pub(crate) virtual_time: bool,
    pub(crate) seed: u64,
}

/// A number that a run showed, under the name by which people ask for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Reading {
    /// `audio.latency.p95`, `cpu`, `NODE.work.p50`, `NODE.psnr`.
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
}

/// What one run showed.
pub(crate) struct Measured {
    pub(crate) report: Report,
    pub(crate) readings: Vec<Reading>,
}

/// Runs `graph` in an engine of its own, and reads off what it showed.
///
/// # Errors
/// What kept the engine from being made.
pub(crate) fn measure(graph: &Graph, run: Run, interrupt: &Interrupt) -> Result<Measured, Diagnostics> {
    let clock = if run.virtual_time { Clock::virtual_time() } else { Clock::real() };
    let options = Options { clock, seed: run.seed, limit: Some(run.seconds), ..Options::default() };
    let engine = Engine::new(graph.clone(), options)?;
    interrupt.watch(engine.handle());
    let before = cpu();
    let report = engine.run(|_| {});
    let busy = cpu().saturating_sub(before);
    let readings = readings(&report, busy);
    Ok(Measured { report, readings })
}

/// The processor time that this process has used, on all its threads.
fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(used.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), nanos)
}

fn readings(report: &Report, busy: Duration) -> Vec<Reading> {
    let mut list = Vec::new();
    let mut add = |name: String, unit: &str, value: f64| {
        // Someone who left and came again has two nodes of one name: the first
        // stands for both.
        if value.is_finite() && list.iter().all(|known: &Reading| known.name != name) {
            list.push(Reading { name, unit: unit.to_owned(), value });
        }
    };
    let media = [("audio", report.end_to_end_ms.audio), ("video", report.end_to_end_ms.video)];
    for (medium, summary) in media.iter().filter_map(|(name, summary)| Some((name, (*summary)?))) {
        for (quantile, value) in [("p50", summary.p50), ("p95", summary.p95), ("p99", summary.p99)] {
            add(format!("{medium}.latency.{quantile}"), "ms", value);
        }
    }
    add("cpu".into(), "%", 100.0 * busy.as_secs_f64() / report.seconds);
    let figures = |name: &str| {
        let some = report.figures.iter().filter(move |figure| figure.name == name);
        some.map(|figure| figure.value).collect::<Vec<_>>()
    };
    let rates = figures("kbps");
    if !rates.is_empty() {
        add("bitrate".into(), "kbit/s", rates.iter().sum());
    }
    add("late".into(), "%", late(&report.stages));
    add("lost".into(), "%", lost(report));
    add("dropped".into(), "frames", dropped(report) as f64);
    for FigureReport { node, name, unit, value } in &report.figures {
        add(format!("{node}.{name}"), unit, *value);
    }
    for stage in &report.stages {
        let shares = [("wait", &stage.wait_ms), ("work", &stage.work_ms), ("buffer", &stage.buffer_ms)];
        for (share, Summary { count, p50, p95, .. }) in shares {
            if *count > 0 {
                add(format!("{}.{share}.p50", stage.node), "ms", *p50);
                add(format!("{}.{share}.p95", stage.node), "ms", *p95);
            }
        }
    }
    list
}

/// Of what came to nodes that let late frames go, the share that was late, in
/// percent.
fn late(stages: &[Stage]) -> f64 {
    let late_at = |stage: &Stage| {
        let found = stage.dropped_by_reason.iter().find(|(reason, _)| *reason == "late");
        found.map(|(_, count)| (*count, count + stage.frames))
    };
    let (late, came) =
        stages.iter().filter_map(late_at).fold((0, 0), |sum, (late, came)| (sum.0 + late, sum.1 + came));
    percent(late, came)
}

/// Frames that went anywhere on the way, as a share of those and the rendered,
/// in percent.
fn lost(report: &Report) -> f64 {
    let count = |summary: Option<Summary>| summary.map_or(0, |summary| summary.count);
    let rendered = count(report.end_to_end_ms.audio) + count(report.end_to_end_ms.video);
    let lost = dropped(report);
    percent(lost, lost + rendered)
}

/// Frames let go by nodes and links, but for those that had no taker or were
/// under way when the run ended.
fn dropped(report: &Report) -> u64 {
    let counts = |stage: &Stage| {
        let some = stage
            .dropped_by_reason
            .iter()
            .filter(|(reason, _)| !["unlinked", "stopped"].contains(&reason.as_str()));
        some.map(|(_, count)| count).sum::<u64>()
    };
    report.stages.iter().map(counts).sum::<u64>() + report.links.iter().map(|link| link.dropped).sum::<u64>()
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Ctrl-C during many runs: the present one is stopped, and none begins.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
    present: Arc<Mutex<Option<Handle>>>,
}

impl Interrupt {
    /// Heeds Ctrl-C from now on.
    ///
    /// # Errors
    /// The system's, if it has no such thing.
    pub(crate) fn on_ctrl_c() -> Result<Self, ctrlc::Error> {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        ctrlc::set_handler(move || heard.ask())?;
        Ok(interrupt)
    }

    /// Whether it was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        if let Some(handle) = &*self.present.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.stop();
        }
    }

    fn watch(&self, handle: Handle) {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.clone());
        // It may have been asked for before there was anything to stop.
        if self.is_asked() {
            handle.stop();
        }
    }
}
