//! `Watch`: the ledger of a running engine, read from another thread.
//!
//! The supervisor is asked once a reading for its `Books`: the names of all
//! that runs, and a share of each ledger. Every counter in them has one writer
//! and may be read by anyone, so what costs time (quantiles, sums, text) is done
//! on the thread that asks. The lanes notice nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::event::Figure;
use crate::histogram::{Blocks, Histogram, Summary};
use crate::lane::{LaneLedger, Notice};
use crate::ledger::{NodeId, PathLedger};
use crate::report::{
    Breach, EndToEnd, FaultReport, FigureReport, LaneReport, LinkReport, Path, Report, Stage,
};
use crate::supervisor::retired::{LinkAccount, NodeAccount};
use crate::timestamp::{Timestamp, duration_nanos};
use crate::waker::LaneWaker;

/// How long a supervisor may take to answer. It is away for longer only while
/// it makes a node that takes long to open.
const ANSWER: Duration = Duration::from_secs(2);
/// Blocks of histograms that a copy of a node's may be expected to need.
const BLOCKS: usize = 32;

/// Reads the ledger of one running engine, again and again; what happened
/// between two readings is told apart. Got from `Handle::watch`. \[control\]
pub struct Watch {
    asks: Sender<Notice>,
    before: Option<Reading>,
}

/// What a running engine shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// All since the start, as `Engine::run` will give it in the end.
    #[serde(flatten)]
    pub report: Report,
    /// Members of templates present.
    pub members: usize,
    /// What happened since the reading before (since the start, at the first).
    pub recent: Recent,
}

/// What happened lately.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recent {
    /// Within how many seconds.
    pub seconds: f64,
    /// Capture to render, by medium.
    pub end_to_end_ms: EndToEnd,
    /// Every lane that is still there.
    pub lanes: Vec<RecentLane>,
    /// Every node that is still there, in the order of the report.
    pub stages: Vec<RecentStage>,
}

/// One lane, lately.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecentLane {
    /// Its name.
    pub lane: String,
    /// The share of the time that it was awake, 0 to 1.
    pub utilisation: f64,
    /// Turns through its nodes.
    pub turns: u64,
    /// Times that it was woken from sleep.
    pub wakes: u64,
}

/// One node, lately. A summary's greatest is that since the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecentStage {
    /// Its name.
    pub node: String,
    /// The lane it runs on.
    pub lane: String,
    /// Frames put out (or taken, by a sink).
    pub frames: u64,
    /// Frames let go.
    pub dropped: u64,
    /// The share of the time that it was in a call, 0 to 1.
    pub utilisation: f64,
    /// Waiting before it, per frame put out.
    pub wait_ms: Summary,
    /// Being worked on in it.
    pub work_ms: Summary,
    /// Held in it.
    pub buffer_ms: Summary,
}

/// Every ledger of an engine, with its names.
pub(crate) struct Books {
    pub(crate) graph: String,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    pub(crate) started: Timestamp,
    pub(crate) members: usize,
    pub(crate) lanes: Vec<LaneBook>,
    /// Every node that is there or remembered.
    pub(crate) nodes: Vec<NodeAccount>,
    /// Those that are there.
    pub(crate) live: BTreeSet<NodeId>,
    pub(crate) links: Vec<LinkAccount>,
    pub(crate) figures: BTreeMap<(NodeId, &'static str), Figure>,
    pub(crate) faults: Vec<FaultReport>,
    pub(crate) breaches: Vec<Breach>,
    pub(crate) forgotten: u64,
    /// Events that found no room on their way from lanes that are gone.
    pub(crate) lost_events: u64,
}

pub(crate) struct LaneBook {
    pub(crate) id: usize,
    pub(crate) name: Arc<str>,
    pub(crate) real_time: bool,
    /// Since when it is there.
    pub(crate) since: Timestamp,
    pub(crate) ledger: Arc<LaneLedger>,
    pub(crate) waker: Arc<LaneWaker>,
}

/// What was read at one time.
struct Reading {
    at: Timestamp,
    lanes: BTreeMap<usize, LaneReading>,
    nodes: BTreeMap<NodeId, NodeReading>,
}

#[derive(Default)]
struct LaneReading {
    busy: u64,
    turns: u64,
    wakes: u64,
}

struct NodeReading {
    frames: u64,
    dropped: u64,
    followed: u64,
    busy: u64,
    /// Waiting, working, buffering.
    shares: [Histogram; 3],
    rendered: Histogram,
}

impl Watch {
    pub(crate) const fn new(asks: Sender<Notice>) -> Self {
        Self { asks, before: None }
    }

    /// What the engine shows now; `None` once its run is over. Waits for the
    /// engine to answer, at most two seconds: neither an engine that does not run
    /// yet answers, nor one that is asked from its own `observe`. \[control\]
    pub fn snapshot(&mut self) -> Option<Snapshot> {
        let (answer, answers): (_, Receiver<Books>) = crossbeam_channel::bounded(1);
        // A full channel means that the supervisor is far behind; it will read.
        self.asks.send_timeout(Notice::Asked(answer), ANSWER).ok()?;
        let books = answers.recv_timeout(ANSWER).ok()?;
        let now = Reading::of(&books);
        let recent = now.since(self.before.as_ref(), &books);
        let snapshot = Snapshot { report: books.report(now.at), members: books.members, recent };
        self.before = Some(now);
        Some(snapshot)
    }
}

impl Books {
    /// The report of a run that has come as far as `until`.
    pub(crate) fn report(&self, until: Timestamp) -> Report {
        let names: BTreeMap<NodeId, &str> = self.nodes.iter().map(|node| (node.id, &*node.name)).collect();
        let name = |id: NodeId| names.get(&id).map_or_else(String::new, |name| (*name).to_owned());
        let rendered = self.nodes.iter().map(|node| &node.ledger.rendered);
        let figures = self.figures.iter().map(|((node, _), figure)| FigureReport {
            node: name(*node),
            name: figure.name.to_owned(),
            unit: figure.unit.to_owned(),
            value: figure.value,
        });
        let lost_events = self.lanes.iter().map(|lane| lane.ledger.lost_notices.get()).sum::<u64>();
        Report {
            graph: self.graph.clone(),
            seconds: until.since(self.started).as_secs_f64(),
            virtual_time: self.clock.is_virtual(),
            seed: self.seed,
            end_to_end_ms: EndToEnd::of(rendered.filter_map(PathLedger::of_medium)),
            paths: self
                .nodes
                .iter()
                .filter_map(|node| Path::of(&node.name, &node.ledger, |step| name(step.node)))
                .collect(),
            lanes: self
                .lanes
                .iter()
                .map(|lane| lane.report(until.since(self.started.max(lane.since))))
                .collect(),
            stages: self
                .nodes
                .iter()
                .map(|node| Stage::of(&node.name, node.spec, &node.lane, &node.ledger))
                .collect(),
            links: self
                .links
                .iter()
                .map(|link| LinkReport::of(&link.from, &link.to, link.capacity, link.overflow, &link.ledger))
                .collect(),
            figures: figures.collect(),
            faults: self.faults.clone(),
            breaches: self.breaches.clone(),
            undrained: Vec::new(),
            forgotten: self.forgotten,
            lost_events: lost_events + self.lost_events,
        }
    }

    fn live(&self) -> impl Iterator<Item = &NodeAccount> {
        self.nodes.iter().filter(|node| self.live.contains(&node.id))
    }
}

impl LaneBook {
    fn report(&self, elapsed: Duration) -> LaneReport {
        LaneReport {
            lane: self.name.to_string(),
            real_time: self.real_time,
            utilisation: utilisation(self.ledger.busy.get(), elapsed),
            turns: self.ledger.turns.get(),
            wakes: self.waker.wakes(),
        }
    }
}

/// The share of `elapsed` that was busy.
#[allow(clippy::cast_precision_loss)]
fn utilisation(busy: u64, elapsed: Duration) -> f64 {
    let nanos = duration_nanos(elapsed).max(1);
    (busy as f64 / nanos as f64).min(1.0)
}

impl Reading {
    fn of(books: &Books) -> Self {
        let blocks = Arc::<Blocks>::default();
        blocks.promise(books.live.len() * BLOCKS);
        Self {
            at: books.clock.now(),
            lanes: books.lanes.iter().map(|lane| (lane.id, LaneReading::of(lane))).collect(),
            nodes: books.live().map(|node| (node.id, NodeReading::of(node, &blocks))).collect(),
        }
    }

    /// What happened since `before`.
    fn since(&self, before: Option<&Self>, books: &Books) -> Recent {
        let began = before.map_or(books.started, |before| before.at);
        let elapsed = self.at.since(began);
        let mut recent = Recent { seconds: elapsed.as_secs_f64(), ..Recent::default() };
        let no_lane = LaneReading::default();
        for book in &books.lanes {
            let Some(now) = self.lanes.get(&book.id) else { continue };
            let then = before.and_then(|before| before.lanes.get(&book.id)).unwrap_or(&no_lane);
            recent.lanes.push(RecentLane {
                lane: book.name.to_string(),
                utilisation: utilisation(now.busy.saturating_sub(then.busy), elapsed),
                turns: now.turns.saturating_sub(then.turns),
                wakes: now.wakes.saturating_sub(then.wakes),
            });
        }
        let mut rendered = Vec::new();
        for node in books.live() {
            let Some(now) = self.nodes.get(&node.id) else { continue };
            let then = before.and_then(|before| before.nodes.get(&node.id));
            let less = |now: u64, then: Option<u64>| now.saturating_sub(then.unwrap_or(0));
            let since = |now: &Histogram, then: Option<&Histogram>| {
                now.since(then.unwrap_or(&Histogram::sharing(&Arc::default())))
            };
            let path = since(&now.rendered, then.map(|then| &then.rendered));
            rendered.extend(node.ledger.rendered.medium().map(|medium| (medium, path)));
            let followed = less(now.followed, then.map(|then| then.followed));
            let share = |index: usize| {
                since(&now.shares[index], then.map(|then| &then.shares[index])).summary_of(followed)
            };
            recent.stages.push(RecentStage {
                node: node.name.to_string(),
                lane: node.lane.to_string(),
                frames: less(now.frames, then.map(|then| then.frames)),
                dropped: less(now.dropped, then.map(|then| then.dropped)),
                utilisation: utilisation(less(now.busy, then.map(|then| then.busy)), elapsed),
                wait_ms: share(0),
                work_ms: share(1),
                buffer_ms: share(2),
            });
        }
        recent.end_to_end_ms = EndToEnd::of(rendered.iter().map(|(medium, path)| (*medium, path)));
        recent
    }
}

impl LaneReading {
    fn of(lane: &LaneBook) -> Self {
        Self { busy: lane.ledger.busy.get(), turns: lane.ledger.turns.get(), wakes: lane.waker.wakes() }
    }
}

impl NodeReading {
    fn of(node: &NodeAccount, blocks: &Arc<Blocks>) -> Self {
        let ledger = &node.ledger;
        let copy = |live: &Histogram| {
            let copy = Histogram::sharing(blocks);
            copy.merge(live);
            copy
        };
        Self {
            frames: Stage::frames(node.spec, ledger),
            dropped: ledger.drops(),
            followed: ledger.followed.get(),
            busy: ledger.busy.get(),
            shares: ledger.shares().map(copy),
            rendered: ledger.rendered.end_to_end().map_or_else(|| Histogram::sharing(blocks), copy),
        }
    }
}
