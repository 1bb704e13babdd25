//! `Supervisor`: the control side of a running graph. It makes nodes and links,
//! places them on lanes, makes and removes the parts of templates, makes failed
//! nodes anew, and keeps the ledgers of all that ever ran.

mod account;
mod budgets;
mod edit;
mod lane_driver;
mod making;
mod plan;
pub(crate) mod retired;
mod templates;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::cell::OnFault;
use crate::clock::Clock;
use crate::control::{Control, Through};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::engine::{Options, Saying, Update, What};
use crate::event::{Event, EventKind, Figure, Key};
use crate::fault::FaultKind;
use crate::frame::{Buffer, FrameBody, FramePool};
use crate::frame_pool::shared_pools;
use crate::graph::{Graph, GraphLane, GraphNode};
use crate::histogram::Blocks;
use crate::lane::{CELLS, Edit, Lane, LaneLedger, Mailbox, Message, Notice};
use crate::ledger::{BLOCKS_TO_SHARE, NodeId, NodeLedger, TrailRecord, trail_pool};
use crate::link::{LinkId, Overflow, Shell};
use crate::node::{Node, Shared};
use crate::param::Value;
use crate::pool::{Places, Pool, places};
use crate::registry::NodeSpec;
use crate::report::{Breach, FaultReport};
use crate::schedule::Schedule;
use crate::timestamp::Timestamp;
use crate::trace::{LaneTrace, Tracer};
use crate::waker::NodeWaker;

use edit::Fading;
pub(crate) use lane_driver::LaneDriver;
use making::{build, cannot_be_made};
use retired::{LinkAccount, Retired};

/// Frames under way that the ledger follows at once, at most.
const TRAILS: usize = 4_096;
/// Frames that a node may be expected to hold.
const HELD: usize = 64;
/// Trails made ahead: more than a call or a thousand streams have under way.
const TRAILS_AHEAD: usize = 1_024;
/// A node that fails is made anew at most this often.
const RESTART: Duration = Duration::from_secs(1);

struct LaneEntry {
    name: Arc<str>,
    mailbox: Mailbox,
    ledger: Arc<LaneLedger>,
    seen_turns: u64,
    /// Since when it is there.
    since: Timestamp,
    /// Whether it was told to end.
    ending: bool,
    /// Cells that it has room for.
    room: usize,
}

struct NodeEntry {
    node: GraphNode,
    lane: usize,
    ledger: Arc<NodeLedger>,
    waker: NodeWaker,
    ended: bool,
    /// Since when it is on its way out: it drains, and is then removed.
    leaving: Option<Timestamp>,
    /// Whether its lane was told to remove it.
    removed: bool,
    /// Builds in a row that failed.
    failed_builds: u32,
    /// Calls seen when the node was last looked at, and since when no more.
    still: (u64, Timestamp),
    stalled: bool,
    /// Whether its cell knows what to do for budgets.
    dutiful: bool,
    /// How much less than usual it was told to do.
    level: Option<i64>,
}

/// The numbers that are given out next.
#[derive(Default)]
struct Next {
    lane: usize,
    node: u32,
    link: u32,
    /// Which of the lanes that members share is the next one's.
    turn: usize,
    /// The number of an edit whose coming back is waited for.
    edit: u32,
}

/// Changes under way to lanes, by lane.
#[derive(Default)]
struct Edits(BTreeMap<usize, Edit>);

impl Edits {
    fn to(&mut self, lane: usize) -> &mut Edit {
        self.0.entry(lane).or_default()
    }
}

/// A link, and whether it is on its way out.
struct LinkEntry {
    from: (NodeId, Through),
    to: (NodeId, usize),
    is_loop: bool,
    /// By what name its receiver knows it.
    stream: LinkId,
    leaving: bool,
    account: LinkAccount,
}

/// A member of a group of ports, while it is there.
struct Member {
    hub: NodeId,
    group: &'static str,
    key: Key,
    name: Arc<str>,
}

/// The parts made for one member by one template.
struct Instance {
    template: usize,
    /// The template's name.
    name: Arc<str>,
    hub: NodeId,
    key: Key,
    nodes: Vec<NodeId>,
    /// Whether the member is gone, and what was made for it drains.
    gone: bool,
    /// The lanes of its nodes.
    lanes: Vec<usize>,
    /// Whose turn it was on the lanes that members share.
    turn: usize,
}

/// A link to be made: sender, receiver, and how.
struct Wanted {
    from: (NodeId, Through),
    to: (NodeId, usize),
    capacity: usize,
    overflow: Overflow,
    is_loop: bool,
    /// The link that it goes on for, and whether it takes its name over.
    after: Option<(LinkId, bool)>,
}

pub(crate) struct Supervisor {
    graph: Graph,
    schedule: Schedule,
    seed: u64,
    clock: Clock,
    shared: Shared,
    trails: Arc<Pool<TrailRecord>>,
    bodies: Arc<Places<FrameBody>>,
    /// The pools that outputs of the graph's own nodes share, until these are made.
    shared_pools: BTreeMap<usize, Arc<Pool<Buffer>>>,
    blocks: Arc<Blocks>,
    notices: Sender<Notice>,
    trace: Option<Tracer>,
    lanes: BTreeMap<usize, LaneEntry>,
    nodes: BTreeMap<NodeId, Box<NodeEntry>>,
    links: BTreeMap<LinkId, Box<LinkEntry>>,
    /// Which node each of the graph's own is.
    ids: Vec<NodeId>,
    /// Which lane each of the schedule's is.
    lane_ids: Vec<usize>,
    /// What is given out next: lanes, nodes and links have numbers of their own
    /// that are not used again.
    next: Next,
    retired: Retired,
    members: Vec<Member>,
    instances: Vec<Instance>,
    /// An edit under way, and what came meanwhile and waits for it.
    fading: Option<Fading>,
    deferred: VecDeque<Event>,
    /// Nodes that were cut off, of which the caller is yet to be told.
    cut: Vec<Arc<str>>,
    /// Buffers of nodes that are gone, until the last frame in them is back.
    stray: Vec<FramePool>,
    /// How long what leaves may take to drain.
    drain: Duration,
    faults: Vec<FaultReport>,
    breaches: Vec<Breach>,
    /// What nodes measured: the last of each node and name.
    figures: BTreeMap<(NodeId, &'static str), Figure>,
    budgets: budgets::Budgets,
    restarts: VecDeque<(Timestamp, NodeId)>,
    started: Timestamp,
    stopped: Option<Timestamp>,
    ended: Timestamp,
    closed: bool,
    /// Lanes, and what the system did not grant to their threads.
    refused: Vec<(String, String)>,
}

impl Drop for Supervisor {
    /// However a run ends, its lanes do.
    fn drop(&mut self) {
        self.post_all(|| Message::Quit);
    }
}

impl Supervisor {
    /// Makes the graph's own nodes and lanes. Lanes do nothing before `start`.
    pub(crate) fn new(
        mut graph: Graph,
        schedule: Schedule,
        options: &Options,
        notices: Sender<Notice>,
        drivers: &mut LaneDriver,
    ) -> Result<Self, Diagnostics> {
        let clock = options.clock.clone();
        let missing: Vec<_> = graph.lanes.iter().filter_map(GraphLane::check_cpu).collect();
        if !clock.is_virtual() && !missing.is_empty() {
            return Err(Diagnostics::new(missing, Arc::clone(&graph.sources)));
        }
        if let Some(tracer) = &options.trace {
            tracer.begin(clock.now(), &graph.name);
        }
        let shared = Shared::default();
        let mut lanes = BTreeMap::new();
        let mut idle = Vec::new();
        for (number, plan) in schedule.lanes.iter().enumerate() {
            let trace = options.trace.as_ref().map(|tracer| tracer.lane(number, &plan.name));
            let (entry, lane) = new_lane(Arc::clone(&plan.name), &clock, &notices, trace);
            lanes.insert(number, entry);
            idle.push(lane);
        }

        let mut failures = Vec::new();
        let mut made: Vec<Option<(Box<dyn Node>, NodeWaker)>> = graph.nodes.iter().map(|_| None).collect();
        for &index in &schedule.order {
            let lane = lanes[&schedule.lane_of[index]].mailbox.waker();
            // Numbers are given out in the graph's order, below.
            let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
            let waker = NodeWaker::new(Arc::clone(lane), id);
            let node = &graph.nodes[index];
            match build(node, &waker, options.seed, &clock, &shared) {
                Ok(made_node) => {
                    let types = made_node.output_types();
                    made[index] = Some((made_node, waker));
                    if types.iter().any(Option::is_some)
                        && let Err(mismatch) = graph.renegotiate(index, &types)
                    {
                        failures.extend(mismatch.list);
                    }
                }
                Err(error) => failures.push(cannot_be_made(node, &error)),
            }
        }
        if !failures.is_empty() {
            return Err(Diagnostics::new(failures, Arc::clone(&graph.sources)));
        }

        // What waits in a link is followed, and so is what nodes hold.
        let waiting: usize = schedule.links.iter().map(|link| link.capacity).sum();
        let trails = (waiting + HELD * graph.nodes.len()).min(TRAILS);
        let blocks = Blocks::default();
        blocks.promise(BLOCKS_TO_SHARE);
        let mut supervisor = Self {
            seed: options.seed,
            clock,
            shared,
            trails: Arc::new(trail_pool(trails, TRAILS_AHEAD)),
            bodies: Arc::new(places(trails)),
            shared_pools: BTreeMap::new(),
            blocks: Arc::new(blocks),
            notices,
            trace: options.trace.clone(),
            next: Next { lane: lanes.len(), ..Next::default() },
            lanes,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            ids: Vec::new(),
            lane_ids: (0..schedule.lanes.len()).collect(),
            retired: Retired::default(),
            members: Vec::new(),
            instances: Vec::new(),
            fading: None,
            deferred: VecDeque::new(),
            cut: Vec::new(),
            stray: Vec::new(),
            drain: options.drain,
            faults: Vec::new(),
            breaches: Vec::new(),
            figures: BTreeMap::new(),
            budgets: budgets::Budgets::default(),
            restarts: VecDeque::new(),
            started: Timestamp::ZERO,
            stopped: None,
            ended: Timestamp::ZERO,
            closed: false,
            refused: Vec::new(),
            graph,
            schedule,
        };
        // Opening files told more of what outputs carry.
        supervisor.schedule.size_pools(&supervisor.graph);
        supervisor.shared_pools = shared_pools(supervisor.schedule.pools.iter().flatten());
        let mut edits = Edits::default();
        for (index, made) in made.into_iter().enumerate() {
            let Some((node, waker)) = made else { continue };
            let rank = supervisor.schedule.order.iter().position(|&other| other == index).unwrap_or(0);
            let entry = supervisor.graph.nodes[index].clone();
            let lane = supervisor.schedule.lane_of[index];
            let pools = supervisor.schedule.pools[index].clone();
            let mut cell = supervisor.cell(entry, &pools, lane, node, waker, (rank as u64 + 1) << 16);
            cell.expected = supervisor.templates_feeding(index).count();
            cell.fed = cell.expected > 0;
            supervisor.ids.push(cell.id);
            edits.to(lane).add.push(cell);
        }
        supervisor.shared_pools.clear();
        for (link, plan) in supervisor.graph.links.clone().iter().zip(supervisor.schedule.links.clone()) {
            let wanted = Wanted {
                from: (supervisor.ids[link.from.0], Through { port: link.from.1, key: None }),
                to: (supervisor.ids[link.to.0], link.to.1),
                capacity: plan.capacity,
                overflow: link.overflow,
                is_loop: link.is_loop,
                after: None,
            };
            supervisor.link(&wanted, &mut edits);
        }
        supervisor.post_edits(edits);
        for ((entry, plan), lane) in supervisor.lanes.values().zip(&supervisor.schedule.lanes).zip(idle) {
            match drivers.add(&entry.name, plan.settings, lane) {
                Ok(refused) => {
                    let of = |why| (format!("lane {}", entry.name), why);
                    supervisor.refused.extend(refused.into_iter().map(of));
                }
                Err(error) => {
                    let diagnostic =
                        Diagnostic::error(format!("cannot start the thread of lane {}: {error}", entry.name));
                    return Err(Diagnostics::new(vec![diagnostic], Arc::clone(&supervisor.graph.sources)));
                }
            }
        }
        Ok(supervisor)
    }

    pub(crate) fn start(&mut self, now: Timestamp, observe: &mut dyn FnMut(Update<'_>)) {
        for (lane, why) in self.refused.drain(..) {
            observe(Update::Event { at: 0.0, node: &lane, kind: &EventKind::Notice(why.into()) });
        }
        self.started = now;
        self.ended = now;
        self.nodes.values_mut().for_each(|entry| entry.still.1 = now);
        self.begin_budgets(now);
        self.post_all(|| Message::Start);
    }

    pub(crate) const fn started(&self) -> Timestamp {
        self.started
    }

    pub(crate) fn stop(&mut self, now: Timestamp) {
        self.stopped.get_or_insert(now);
        self.post_all(|| Message::Stop);
    }

    /// Makes nothing more: the lanes are gone.
    pub(crate) const fn close(&mut self) {
        self.closed = true;
    }

    /// Ends a run in which virtual time no longer passes, and says so.
    pub(crate) fn give_up(&mut self, now: Timestamp, observe: &mut dyn FnMut(Update<'_>)) {
        self.stopped.get_or_insert(now);
        self.closed = true;
        let busy =
            self.nodes.values().filter(|entry| !entry.ended).max_by_key(|entry| entry.ledger.calls.get());
        let name = busy.map_or("", |entry| &entry.node.name);
        let why = "time does not pass: this node is called again and again at one instant; pace its source by \
                   the clock";
        observe(Update::Event { at: self.seconds(now), node: name, kind: &EventKind::Notice(why.into()) });
    }

    pub(crate) const fn is_stopping(&self) -> bool {
        self.stopped.is_some()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.closed || self.nodes.values().all(|entry| entry.ended)
    }

    pub(crate) fn is_overdue(&self, now: Timestamp, drain: Duration) -> bool {
        self.drain_end(drain).is_some_and(|end| now >= end)
    }

    pub(crate) fn drain_end(&self, drain: Duration) -> Option<Timestamp> {
        self.stopped.map(|at| at + drain)
    }

    /// When something is to be done here, if not before.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        let restart = self.restarts.front().map(|(at, _)| *at);
        let draining = self.nodes.values().filter(|entry| !entry.ended).filter_map(|entry| entry.leaving);
        let cut = draining.min().map(|since| since + self.drain);
        [restart, cut, self.fading.as_ref().map(Fading::until)].into_iter().flatten().min()
    }

    pub(crate) fn post_all(&self, message: impl Fn() -> Message) {
        for lane in self.lanes.values() {
            post(&lane.mailbox, message());
        }
    }

    /// Says something to a node: a live parameter's new value, or words of its own.
    pub(crate) fn say(&mut self, saying: Saying, observe: &mut dyn FnMut(Update<'_>)) {
        let Saying { node: name, what } = saying;
        let found = self.nodes.iter().find(|(_, entry)| entry.leaving.is_none() && *entry.node.name == *name);
        let said = match (found, what) {
            (None, _) => Err(format!("there is no node {name}")),
            (Some((&id, entry)), What::Own(words)) => {
                self.send(id, entry.lane, Control::Own(words));
                Ok(())
            }
            (Some((&id, entry)), What::Set { param, value }) => {
                accept(entry.node.spec, &param, &value).map(|(param, value)| self.send_set(id, param, value))
            }
        };
        if let Err(why) = said {
            let kind = EventKind::Notice(why.into());
            observe(Update::Event { at: self.seconds(self.clock.now()), node: &name, kind: &kind });
        }
    }

    fn send_set(&mut self, id: NodeId, param: &'static str, value: Value) {
        let Some(entry) = self.nodes.get_mut(&id) else { return };
        entry.node.params.set(param, value.clone());
        // So that a transaction finds it as it is.
        let described = self.ids.iter().position(|known| *known == id);
        if let Some(node) = described.and_then(|index| self.graph.nodes.get_mut(index)) {
            node.params.set(param, value.clone());
        }
        let lane = entry.lane;
        self.send(id, lane, Control::Set { param, value });
    }

    fn send(&self, node: NodeId, lane: usize, control: Control) {
        post(&self.lanes[&lane].mailbox, Message::Control { node, control, through: None });
    }

    /// Deals with what a lane says.
    pub(crate) fn heed(
        &mut self,
        notice: Notice,
        drivers: &mut LaneDriver,
        observe: &mut dyn FnMut(Update<'_>),
    ) {
        match notice {
            Notice::Event(event) => self.heed_event(&event, drivers, observe),
            Notice::Left(left) => drop(left),
            Notice::Applied(edit) => self.applied(&edit),
            Notice::Parted(shell) => {
                if let Shell::Inlet(inlet) = &*shell {
                    self.retire_link(inlet.link);
                }
            }
            Notice::Gone(cell) => self.retire(cell),
            // Who asked may have tired of waiting.
            Notice::Asked(answer) => drop(answer.try_send(self.books())),
        }
    }

    fn heed_event(&mut self, event: &Event, drivers: &mut LaneDriver, observe: &mut dyn FnMut(Update<'_>)) {
        let Some(entry) = self.nodes.get(&event.node) else { return };
        let name = Arc::clone(&entry.node.name);
        let at = self.seconds(event.at);
        observe(Update::Event { at, node: &name, kind: &event.kind });
        let comes_or_goes = matches!(event.kind, EventKind::Appeared { .. } | EventKind::Vanished { .. });
        if comes_or_goes && self.fading.is_some() {
            self.deferred.push_back(event.clone());
            return;
        }
        self.act_on(event, drivers, observe);
    }

    /// Does what an event asks for, of which the caller was told.
    fn act_on(&mut self, event: &Event, drivers: &mut LaneDriver, observe: &mut dyn FnMut(Update<'_>)) {
        let Some(entry) = self.nodes.get(&event.node) else { return };
        let name = Arc::clone(&entry.node.name);
        let at = self.seconds(event.at);
        match &event.kind {
            EventKind::Appeared { group, key, name: member } if !self.closed => {
                let there = Member { hub: event.node, group, key: *key, name: Arc::clone(member) };
                self.members.push(there);
                for why in self.appear(event.node, group, *key, member, drivers) {
                    observe(Update::Event { at, node: &name, kind: &EventKind::Notice(why.into()) });
                }
            }
            EventKind::Figure(figure) => {
                self.figures.insert((event.node, figure.name), *figure);
            }
            EventKind::Vanished { key, .. } => {
                self.vanish(event.node, Some(*key));
            }
            EventKind::Ended => {
                self.nodes.entry(event.node).and_modify(|entry| entry.ended = true);
                self.ended = self.ended.max(event.at);
                for template in 0..self.graph.templates.len() {
                    if self.ids[self.graph.templates[template].hub] == event.node {
                        self.unexpect(template);
                    }
                }
                self.sweep();
            }
            EventKind::Fault { fault, action } => {
                let node = &entry.node;
                let path = node.params.get("path").map(|path| path.to_string().trim_matches('"').to_owned());
                self.faults.push(FaultReport {
                    at,
                    node: name.to_string(),
                    kind: node.spec.kind.to_owned(),
                    path,
                    what: fault.to_string(),
                    action: (*action).to_owned(),
                });
                match node.on_fault {
                    OnFault::Stop => {}
                    // It is not made anew, since it would be as late.
                    _ if fault.kind == FaultKind::Late => self.vanish(event.node, None),
                    // The members of a hub that failed are not there any more;
                    // a new node will name its own.
                    OnFault::Restart => {
                        self.vanish(event.node, None);
                        self.restarts.push_back((event.at + RESTART, event.node));
                    }
                    OnFault::Bypass | OnFault::Black => self.vanish(event.node, None),
                }
            }
            _ => {}
        }
    }

    /// Makes anew the nodes that failed long enough ago.
    fn restart_due(&mut self, now: Timestamp, observe: &mut dyn FnMut(Update<'_>)) -> bool {
        let mut any = false;
        while let Some((_, id)) = self.restarts.front().copied().filter(|(at, _)| *at <= now && !self.closed)
        {
            self.restarts.pop_front();
            any = true;
            let Some(entry) = self.nodes.get_mut(&id).filter(|entry| !entry.ended) else { continue };
            let built = build(&entry.node, &entry.waker, self.seed, &self.clock, &self.shared);
            entry.failed_builds = if built.is_ok() { 0 } else { entry.failed_builds + 1 };
            let mailbox = &self.lanes[&entry.lane].mailbox;
            match built {
                Ok(with) => post(mailbox, Message::Replace { node: id, with }),
                Err(error) if entry.failed_builds >= 5 || self.stopped.is_some() => {
                    let why = format!("cannot be made anew: {error}; the node stops");
                    let kind = EventKind::Notice(why.into());
                    post(mailbox, Message::GiveUp { node: id });
                    let name = Arc::clone(&entry.node.name);
                    observe(Update::Event { at: self.seconds(now), node: &name, kind: &kind });
                }
                Err(_) => self.restarts.push_back((now + RESTART, id)),
            }
        }
        any
    }

    pub(crate) fn seconds(&self, at: Timestamp) -> f64 {
        at.since(self.started).as_secs_f64()
    }
}

fn new_lane(
    name: Arc<str>,
    clock: &Clock,
    notices: &Sender<Notice>,
    trace: Option<LaneTrace>,
) -> (LaneEntry, Lane) {
    let lane = Lane::new(clock.clone(), notices.clone(), trace);
    (
        LaneEntry {
            name,
            mailbox: lane.mailbox(),
            ledger: lane.ledger(),
            seen_turns: 0,
            since: clock.now(),
            ending: false,
            room: CELLS,
        },
        lane,
    )
}

/// Posts what must not be lost. The box is far larger than what the supervisor
/// ever has under way, so it is full only if the lane is stuck, and then nothing
/// it is told matters any more.
/// A live parameter of a kind as it declares it, and a value for it as it takes it.
fn accept(spec: &NodeSpec, param: &str, value: &Value) -> Result<(&'static str, Value), String> {
    let param = spec.param(param).ok_or_else(|| format!("{} has no parameter {param}", spec.kind))?;
    if !param.live {
        return Err(format!("{} of {} cannot change while running", param.name, spec.kind));
    }
    let value = param.accept(value).map_err(|why| format!("{} {why}", param.name))?;
    Ok((param.name, value))
}

fn post(mailbox: &Mailbox, message: Message) {
    let _ = mailbox.post(message);
}
