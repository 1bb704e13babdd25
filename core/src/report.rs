//! `Report`: what a run's ledger shows, for people and for machines.

use serde::{Deserialize, Serialize};

use crate::budget::Remedy;
use crate::histogram::{Histogram, Summary};
use crate::ledger::{DropReason, NodeLedger, Step};
use crate::link::Overflow;
use crate::media_type::Medium;
use crate::registry::NodeSpec;

/// What a run showed. Its JSON form is the one that `--report` writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The graph's name.
    pub graph: String,
    /// How long it ran, by its clock, draining included.
    pub seconds: f64,
    /// Whether time was virtual.
    pub virtual_time: bool,
    /// The seed of every random choice.
    pub seed: u64,
    /// Capture to render, by medium.
    pub end_to_end_ms: EndToEnd,
    /// Capture to render at each sink, with the share of every node on the way.
    pub paths: Vec<Path>,
    /// Every lane that is still there.
    #[serde(default)]
    pub lanes: Vec<LaneReport>,
    /// Every node.
    pub stages: Vec<Stage>,
    /// Every link.
    pub links: Vec<LinkReport>,
    /// What nodes measured of the media, in the order of nodes and names.
    pub figures: Vec<FigureReport>,
    /// What failed.
    pub faults: Vec<FaultReport>,
    /// When the budget was not kept.
    pub breaches: Vec<Breach>,
    /// Nodes that had to be cut off while they still held something.
    pub undrained: Vec<String>,
    /// Nodes that are long gone and of which nothing is told here.
    pub forgotten: u64,
    /// Events that found no room on their way here.
    pub lost_events: u64,
}

/// Capture to render over all sinks, in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EndToEnd {
    /// Sound; absent if none was rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Summary>,
    /// Pictures; absent if none were rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Summary>,
}

/// One sink, and the way to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Path {
    /// The sink.
    pub sink: String,
    /// Sound or pictures: "audio" or "video".
    pub medium: String,
    /// Capture to render, in milliseconds.
    pub end_to_end_ms: Summary,
    /// Mean share of each node, in path order. They add up to the mean of
    /// `end_to_end_ms`.
    pub shares: Vec<Share>,
}

/// A node's mean share of a path's time, in milliseconds a frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    /// The node.
    pub node: String,
    /// Waiting before it.
    pub wait_ms: f64,
    /// Being worked on in it.
    pub work_ms: f64,
    /// Held in it.
    pub buffer_ms: f64,
}

/// One lane: a thread, and the nodes that run on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaneReport {
    /// Its name.
    pub lane: String,
    /// Whether all its nodes keep the real-time rules.
    pub real_time: bool,
    /// The share of its time that it was awake, 0 to 1; 0 in virtual time.
    pub utilisation: f64,
    /// Turns through its nodes.
    pub turns: u64,
    /// Times that it was woken from sleep.
    pub wakes: u64,
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// The lane it ran on.
    pub lane: String,
    /// Frames put out (or taken, by a sink).
    pub frames: u64,
    /// Frames let go.
    pub dropped: u64,
    /// The same by reason, where there were any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_by_reason: Vec<(String, u64)>,
    /// Frames for which its pools had no buffer.
    #[serde(default)]
    pub pool_dry: u64,
    /// Calls of somebody else's code that came back after their deadline.
    #[serde(default)]
    pub late_calls: u64,
    /// Time inside its calls, altogether; 0 in virtual time.
    pub busy_ms: f64,
    /// Waiting before it, per frame put out.
    pub wait_ms: Summary,
    /// Being worked on in it.
    pub work_ms: Summary,
    /// Held in it.
    pub buffer_ms: Summary,
}

/// One link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkReport {
    /// "node.port".
    pub from: String,
    /// "node.port".
    pub to: String,
    /// Frames put in.
    pub frames: u64,
    /// Frames its policy let go.
    pub dropped: u64,
    /// The most that ever waited in it.
    pub high_water: u64,
    /// How many may.
    pub capacity: usize,
    /// What happens to those for which there is no room.
    pub overflow: String,
}

/// What a node measured of the media that passed it, over the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureReport {
    /// The node.
    pub node: String,
    /// What it is called: "psnr".
    pub name: String,
    /// Its unit; empty where it has none.
    pub unit: String,
    /// How much it is.
    pub value: f64,
}

/// A time at which the budget was not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Breach {
    /// Seconds since the start at which it was noticed.
    pub at: f64,
    /// The same at which it was over; `None` if it lasted to the end.
    pub until: Option<f64>,
    /// Where the path begins; `None` is where frames are captured.
    pub from: Option<String>,
    /// Where the path ends: the sink.
    pub sink: String,
    /// 95 % of a second's frames came within this many milliseconds.
    pub p95_ms: f64,
    /// As many are allowed.
    pub budget_ms: f64,
    /// The node that took most of it.
    pub stage: String,
    /// Its mean share, in milliseconds.
    pub stage_ms: f64,
    /// What was done about it.
    pub remedy: Remedy,
}

/// One failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultReport {
    /// Seconds since the start.
    pub at: f64,
    /// Which node.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// The file it works on, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What happened.
    pub what: String,
    /// What the graph's policy made of it.
    pub action: String,
}

impl std::fmt::Display for FaultReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.node, self.kind)?;
        if let Some(path) = &self.path {
            write!(f, ", {path}")?;
        }
        write!(f, ": {}; {}", self.what, self.action)
    }
}

impl EndToEnd {
    /// Over these sinks: what each renders, and how late. \[control\]
    pub(crate) fn of<'a>(sinks: impl Iterator<Item = (Medium, &'a Histogram)>) -> Self {
        let all = [Histogram::default(), Histogram::default()];
        for (medium, end_to_end) in sinks {
            all[medium as usize].merge(end_to_end);
        }
        let some = |histogram: &Histogram| Some(histogram.summary()).filter(|summary| summary.count > 0);
        Self { audio: some(&all[Medium::Audio as usize]), video: some(&all[Medium::Video as usize]) }
    }
}

impl Stage {
    /// Frames put out. A sink that only looks on renders nothing, and still took
    /// what it took. \[control\]
    pub(crate) fn frames(spec: &NodeSpec, ledger: &NodeLedger) -> u64 {
        if spec.outputs.is_empty() { ledger.taken.get() } else { ledger.frames.get() }
    }

    pub(crate) fn of(node: &str, spec: &NodeSpec, lane: &str, ledger: &NodeLedger) -> Self {
        Self {
            node: node.to_owned(),
            kind: spec.kind.to_owned(),
            lane: lane.to_owned(),
            frames: Self::frames(spec, ledger),
            dropped: ledger.drops(),
            dropped_by_reason: DropReason::ALL
                .iter()
                .map(|reason| (reason.name().to_owned(), ledger.dropped[*reason as usize].get()))
                .filter(|(_, count)| *count > 0)
                .collect(),
            pool_dry: ledger.pool_dry.get(),
            late_calls: ledger.late_calls.get(),
            busy_ms: crate::histogram::millis(std::time::Duration::from_nanos(ledger.busy.get())),
            wait_ms: ledger.wait(),
            work_ms: ledger.work(),
            buffer_ms: ledger.buffer(),
        }
    }
}

impl Path {
    /// The way to a sink that rendered something; `name` names nodes. \[control\]
    pub(crate) fn of(sink: &str, ledger: &NodeLedger, name: impl Fn(&Step) -> String) -> Option<Self> {
        let (medium, end_to_end) = ledger.rendered.of_medium()?;
        let end_to_end_ms = end_to_end.summary();
        #[allow(clippy::cast_precision_loss)]
        let frames = end_to_end_ms.count.max(1) as f64;
        let mean = |sum: std::time::Duration| crate::histogram::millis(sum) / frames;
        let shares = ledger
            .rendered
            .sums()
            .iter()
            .map(|step| Share {
                node: name(step),
                wait_ms: mean(step.wait),
                work_ms: mean(step.work),
                buffer_ms: mean(step.buffer),
            })
            .collect();
        Some(Self { sink: sink.to_owned(), medium: medium.to_string(), end_to_end_ms, shares })
    }
}

impl LinkReport {
    pub(crate) fn of(
        from: &str,
        to: &str,
        capacity: usize,
        overflow: Overflow,
        ledger: &crate::ledger::LinkLedger,
    ) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            frames: ledger.frames.get(),
            dropped: ledger.dropped.get(),
            high_water: ledger.high_water.get(),
            capacity,
            overflow: overflow.word().to_owned(),
        }
    }
}
