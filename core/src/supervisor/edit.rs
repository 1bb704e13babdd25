//! Editing the running graph: what is new is made off the lanes, and swapped in
//! between two calls; what goes is ended, drains, and comes back to be dropped
//! here.
//!
//! A node is kept where the new graph names one of the same kind that differs
//! in nothing but live parameters, and a link where both its nodes are kept and
//! it reads the same. All else of the old graph goes and all else of the new one
//! is made. So that no frame overtakes another where a stream is led another
//! way (`a -> b` becomes `a -> x -> b`, or back), the new link into a node is
//! held until the old one, its predecessor, has ended and is empty, and goes by
//! its name from then on: the node sees one stream.
//!
//! Effects that say how they change nothing (`ParamSpec::neutral`) begin there
//! when they are put in, and are turned there before they are taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::context::RAMP;
use crate::control::{Control, Through};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::edit::Change;
use crate::engine::Update;
use crate::event::{EventKind, Key};
use crate::frame::AudioFormat;
use crate::graph::Graph;
use crate::lane::{Lane, Message, Tuning};
use crate::lane_thread::LaneSettings;
use crate::ledger::NodeId;
use crate::link::LinkId;
use crate::media_type::MediaType;
use crate::param::Value;
use crate::schedule::{self, Schedule};
use crate::timestamp::Timestamp;
use crate::transaction::Transaction;

use super::plan::{Plan, Slot, Wish, WishedLink, neutral_values};
use super::{Edits, Instance, LaneDriver, Supervisor, Wanted, post};

/// How long an effect may take to turn to where it changes nothing, when frames
/// come slowly or not at all.
const PATIENCE: Duration = Duration::from_millis(500);
/// The shortest frame that sound comes in; where nothing is known it is taken to
/// be this.
const SHORTEST: Duration = Duration::from_micros(2_500);

/// An edit that waits until what it takes out changes nothing any more.
pub(super) struct Fading {
    edits: Edits,
    fresh: Vec<(usize, Lane, LaneSettings)>,
    nodes: Vec<FadingNode>,
    until: Timestamp,
}

/// What a node is told before it goes so that it changes nothing when it does,
/// and in how many frames it turns there.
struct Fade {
    id: NodeId,
    sets: Vec<(&'static str, Value)>,
    frames: u64,
}

/// A node that turns to where it changes nothing.
struct FadingNode {
    id: NodeId,
    /// The edit that its lane gives back when it has told the node.
    told: u32,
    /// What it had taken then, and how much more it is to take.
    begun: Option<u64>,
    frames: u64,
}

/// Where a stream comes from, as far as an edit leaves it alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Output(NodeId, usize, Option<Key>),
    Source(Arc<str>),
}

impl Supervisor {
    /// Changes the running graph as `transaction` says; tells what changed. Where
    /// that cannot be, nothing has changed.
    pub(crate) fn edit(
        &mut self,
        transaction: Transaction,
        drivers: &mut LaneDriver,
    ) -> Result<Change, Diagnostics> {
        let refuse =
            |found: Vec<Diagnostic>, graph: &Graph| Err(Diagnostics::new(found, Arc::clone(&graph.sources)));
        if self.closed || self.is_stopping() {
            let over = Diagnostic::error("the run is ending: nothing can be changed any more");
            return refuse(vec![over], &self.graph);
        }
        let mut plan = Plan { keeps_set: !transaction.is_whole(), ..Plan::default() };
        let mut graph = transaction.apply(&self.graph)?;
        let mut schedule = Schedule::compile(&graph, schedule::cores(&self.clock));
        let mut slots = self.known_slots(&schedule, &graph);
        self.plan_nodes(&mut graph, &schedule, &mut plan, &mut slots);
        self.plan_members(&graph, &schedule, &mut plan, &mut slots);
        if !plan.failures.is_empty() {
            for wish in plan.nodes {
                // Numbers of old are not lost.
                if let Some((account, ..)) = wish.made.filter(|(account, ..)| !account.lane.is_empty()) {
                    self.retired.node(account);
                }
            }
            return refuse(plan.failures, &graph);
        }
        // Files that were opened have told more of what comes.
        schedule.size_pools(&graph);
        let of_members = plan.members.iter().flat_map(|made| &schedule.templates[made.template].pools);
        for (wish, pools) in plan.nodes.iter_mut().zip(schedule.pools.iter().chain(of_members)) {
            wish.pools.clone_from(pools);
        }
        Ok(self.change(graph, schedule, plan, &slots, drivers))
    }

    /// Whether an edit waits for what it takes out to fade.
    pub(crate) const fn is_fading(&self) -> bool {
        self.fading.is_some()
    }

    /// Carries a plan out.
    fn change(
        &mut self,
        graph: Graph,
        schedule: Schedule,
        mut plan: Plan,
        slots: &BTreeMap<Slot, usize>,
        drivers: &mut LaneDriver,
    ) -> Change {
        let mut change = Change::default();
        let mut edits = Edits::default();
        let mut fresh = Vec::new();
        for lane in plan.fresh.drain(..) {
            self.lanes.insert(lane.number, lane.entry);
            fresh.push((lane.number, lane.lane, lane.settings));
        }

        let kept: BTreeSet<_> = plan.nodes.iter().filter_map(|wish| wish.kept).collect();
        let goes = |id: &NodeId| self.nodes[id].leaving.is_none() && !kept.contains(id);
        let gone: Vec<_> = self.nodes.keys().copied().filter(goes).collect();
        let faded = gone.iter().filter_map(|id| self.fade(*id)).collect::<Vec<_>>();
        let replaced: BTreeSet<_> =
            plan.nodes.iter().filter(|wish| wish.replaces).map(|wish| Arc::clone(&wish.node.name)).collect();
        for id in &gone {
            let name = &self.nodes[id].node.name;
            if !replaced.contains(name) {
                change.removed.push(name.to_string());
            }
        }
        self.let_go(&gone, &mut edits);

        // What is there already, and what goes though its nodes stay.
        let mut matched = vec![None; plan.links.len()];
        let same = |plan: &Plan, link: &WishedLink, there: &super::LinkEntry| {
            let ids = (plan.nodes[link.from.0].kept, plan.nodes[link.to.0].kept);
            ids == (Some(there.from.0), Some(there.to.0))
                && (link.from.1, link.to.1) == (there.from.1, there.to.1)
                && (link.capacity, link.overflow) == (there.account.capacity, there.account.overflow)
                && link.is_loop == there.is_loop
                && !there.leaving
        };
        for (link, matched) in plan.links.iter().zip(&mut matched) {
            *matched = self.links.iter().find(|(_, there)| same(&plan, link, there)).map(|(id, _)| *id);
        }
        let stays: BTreeSet<_> = matched.iter().flatten().copied().collect();
        let unlinked: Vec<_> = self
            .links
            .iter()
            .filter(|(id, link)| !link.leaving && !stays.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for link in unlinked {
            let account = &self.links[&link].account;
            change.unlinked.push((account.from.clone(), account.to.clone()));
            self.end_link(link, &mut edits);
        }

        self.adopt(graph, schedule, &plan, slots);
        let mut sets = Vec::new();
        let mut ids = Vec::with_capacity(plan.nodes.len());
        for at in 0..plan.nodes.len() {
            let id = self.settle_node(&mut plan, at, &mut edits, &mut sets, &mut change);
            ids.push(id);
        }
        self.ids = ids[..self.graph.nodes.len()].to_vec();
        self.link_plan(&plan, &ids, &matched, &mut edits, &mut change);
        for (wish, id) in plan.nodes.iter().zip(&ids) {
            self.tune(wish, *id, &plan, &mut edits);
        }
        self.adopt_members(&plan, &ids);
        for (id, param, value) in sets {
            change.set.push((self.nodes[&id].node.name.to_string(), param, value.clone()));
            self.send_set(id, param, value);
        }
        if faded.is_empty() {
            self.swap(edits, fresh, drivers);
        } else {
            self.begin_fade(faded, edits, fresh);
        }
        change
    }

    /// Takes the new graph and its schedule for its own.
    fn adopt(&mut self, graph: Graph, schedule: Schedule, plan: &Plan, slots: &BTreeMap<Slot, usize>) {
        for instance in &mut self.instances {
            instance.name = Arc::clone(&self.graph.templates[instance.template].name);
        }
        let lane_of = |index: usize| {
            let of_nodes = || schedule.lanes[index].nodes.first().map(|node| plan.nodes[*node].lane);
            slots.get(&Slot::Planned(index)).copied().or_else(of_nodes)
        };
        self.lane_ids = (0..schedule.lanes.len()).map(|index| lane_of(index).unwrap_or(usize::MAX)).collect();
        if self.graph.budgets != graph.budgets {
            self.renumber_budgets();
        }
        self.graph = graph;
        self.schedule = schedule;
    }

    /// Makes a cell of a node that is new, and looks what changes of one that
    /// stays.
    fn settle_node(
        &mut self,
        plan: &mut Plan,
        at: usize,
        edits: &mut Edits,
        sets: &mut Vec<(NodeId, &'static str, Value)>,
        change: &mut Change,
    ) -> NodeId {
        let wish = &mut plan.nodes[at];
        let node = wish.node.clone();
        let (Some((account, made, waker)), None) = (wish.made.take(), wish.kept) else {
            let id = wish.kept.unwrap_or_default();
            let Some(entry) = self.nodes.get_mut(&id) else { return id };
            for (param, value) in node.params.iter() {
                if entry.node.params.get(param) != Some(value) {
                    sets.push((id, param, value.clone()));
                }
            }
            entry.node = node;
            return id;
        };
        let names = if wish.replaces { &mut change.replaced } else { &mut change.added };
        names.push(node.name.to_string());
        let (lane, rank, pools) = (wish.lane, wish.rank, std::mem::take(&mut wish.pools));
        let mut cell = self.cell_of(account, node.clone(), &pools, lane, made, waker, rank);
        for (param, value) in neutral_values(&node) {
            let wanted = node.params.get(param).filter(|wanted| **wanted != value);
            let control = wanted.map(|value| Control::Set { param, value: value.clone() });
            cell.controls.extend(control.map(|control| (control, None)));
        }
        let id = cell.id;
        edits.to(lane).add.push(cell);
        id
    }

    /// Makes the links that are new; one that goes on for another waits for it.
    fn link_plan(
        &mut self,
        plan: &Plan,
        ids: &[NodeId],
        matched: &[Option<LinkId>],
        edits: &mut Edits,
        change: &mut Change,
    ) {
        let mut succeeded: BTreeSet<LinkId> = BTreeSet::new();
        for (link, _) in plan.links.iter().zip(matched).filter(|(_, matched)| matched.is_none()) {
            let to = (ids[link.to.0], link.to.1);
            let many = self.nodes[&to.0].node.spec.inputs[to.1].many;
            let going = self.links.iter().filter(|(_, there)| there.leaving && there.to == to);
            let going: Vec<_> = going.map(|(id, there)| (*id, there.from)).collect();
            let comes_from = new_origins(plan, ids, link.from);
            let before = going
                .into_iter()
                .rev()
                .find(|(_, from)| !many || !comes_from.is_disjoint(&self.old_origins(*from)));
            let after = before.map(|(before, _)| (before, succeeded.insert(before)));
            let wanted = Wanted {
                from: (ids[link.from.0], link.from.1),
                to,
                capacity: link.capacity,
                overflow: link.overflow,
                is_loop: link.is_loop,
                after,
            };
            let made = self.link(&wanted, edits);
            let account = &self.links[&made].account;
            change.linked.push((account.from.clone(), account.to.clone()));
        }
    }

    /// Where a stream came from that goes: from nodes that stay, or from sources
    /// by their names.
    fn old_origins(&self, from: (NodeId, Through)) -> BTreeSet<Origin> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some((id, through)) = open.pop() {
            let Some(entry) = self.nodes.get(&id) else { continue };
            if entry.leaving.is_none() {
                found.insert(Origin::Output(id, through.port, through.key));
                continue;
            }
            if !seen.insert(id) {
                continue;
            }
            let before = open.len();
            open.extend(self.links.values().filter(|link| link.to.0 == id).map(|link| link.from));
            if open.len() == before {
                found.insert(Origin::Source(Arc::clone(&entry.node.name)));
            }
        }
        found
    }

    /// Tells a node that stays how it stands now.
    fn tune(&mut self, wish: &Wish, id: NodeId, plan: &Plan, edits: &mut Edits) {
        let index = self.ids.iter().position(|known| *known == id);
        let awaited = |template: usize| {
            let hub = self.ids[self.graph.templates[template].hub];
            !self.nodes[&hub].ended
        };
        let expected = index.map_or(0, |index| self.templates_feeding(index).filter(|t| awaited(*t)).count());
        let linked = plan.links.iter().any(|link| plan.nodes[link.to.0].node.name == wish.node.name);
        let is_part = wish.member.is_some() && !wish.node.spec.inputs.is_empty();
        let tuning = Tuning {
            node: id,
            rank: wish.rank,
            fed: expected > 0 || linked || is_part,
            expected,
            on_fault: wish.node.on_fault,
            deadline: wish.node.deadline,
        };
        self.edit_of(id, edits).tune.push(tuning);
    }

    /// Notes what was made for whom.
    fn adopt_members(&mut self, plan: &Plan, ids: &[NodeId]) {
        // Of those whose hub stays, all is in the plan; the rest goes.
        let draining: Vec<_> = self.instances.drain(..).collect();
        for (number, made) in plan.members.iter().enumerate() {
            let nodes = plan.nodes.iter().zip(ids).filter(|(wish, _)| wish.member == Some(number));
            self.instances.push(Instance {
                template: made.template,
                name: Arc::clone(&self.graph.templates[made.template].name),
                hub: ids[made.hub],
                key: made.key,
                nodes: nodes.map(|(_, id)| *id).collect(),
                gone: false,
                lanes: made.lanes.clone(),
                turn: made.turn,
            });
        }
        for mut instance in draining {
            instance.nodes.retain(|id| self.nodes.get(id).is_some_and(|entry| entry.leaving.is_some()));
            if !instance.nodes.is_empty() {
                instance.gone = true;
                self.instances.push(instance);
            }
        }
    }

    /// Hands the lanes what is to change, and starts those that are new.
    fn swap(&mut self, edits: Edits, fresh: Vec<(usize, Lane, LaneSettings)>, drivers: &mut LaneDriver) {
        self.post_edits(edits);
        for (number, lane, settings) in fresh {
            let Some(entry) = self.lanes.get(&number) else { continue };
            post(&entry.mailbox, Message::Start);
            if self.is_stopping() {
                post(&entry.mailbox, Message::Stop);
            }
            match drivers.add(&entry.name, settings, lane) {
                Ok(refused) => {
                    let name = entry.name.to_string();
                    self.refused.extend(refused.into_iter().map(|why| (format!("lane {name}"), why)));
                }
                Err(error) => {
                    let why = format!("cannot start the thread: {error}");
                    self.refused.push((format!("lane {}", entry.name), why));
                }
            }
        }
        self.sweep();
        // Lanes that had nothing but what the old schedule meant to put there.
        let idle: Vec<_> = self.lanes.keys().copied().collect();
        idle.into_iter().for_each(|lane| self.let_lane_go(lane));
    }

    /// What has to be told a node that goes so that it changes nothing when it
    /// does, and how many frames that takes.
    fn fade(&self, id: NodeId) -> Option<Fade> {
        let entry = &self.nodes[&id];
        if entry.ended {
            return None;
        }
        let away = |(param, value): &(&'static str, Value)| entry.node.params.get(param) != Some(value);
        let sets: Vec<_> = neutral_values(&entry.node).filter(away).collect();
        let frame = match entry.node.inputs.first() {
            Some(Some(MediaType::Audio { rate: Some(rate), samples: Some(samples), .. })) => {
                AudioFormat { rate: *rate, channels: 1, samples: *samples }.duration()
            }
            _ => SHORTEST,
        };
        let frames = RAMP.as_nanos().div_ceil(frame.as_nanos().max(1));
        (!sets.is_empty()).then(|| Fade { id, sets, frames: u64::try_from(frames).unwrap_or(1) })
    }

    /// Turns effects to where they change nothing, and keeps the edit till then.
    fn begin_fade(&mut self, faded: Vec<Fade>, edits: Edits, fresh: Vec<(usize, Lane, LaneSettings)>) {
        let mut asks = Edits::default();
        let mut nodes = Vec::new();
        for Fade { id, sets, frames } in faded {
            for (param, value) in sets {
                self.send_set(id, param, value);
            }
            let ask = self.edit_of(id, &mut asks);
            if ask.number == 0 {
                self.next.edit += 1;
                ask.number = self.next.edit;
            }
            nodes.push(FadingNode { id, told: ask.number, begun: None, frames });
        }
        self.post_edits(asks);
        let until = self.clock.now() + PATIENCE;
        self.fading = Some(Fading { edits, fresh, nodes, until });
    }

    /// Deals with an edit that a lane has applied.
    pub(super) fn applied(&mut self, edit: &crate::lane::Edit) {
        let Some(fading) = &mut self.fading else { return };
        for node in fading.nodes.iter_mut().filter(|node| node.told == edit.number) {
            node.begun = self.nodes.get(&node.id).map(|entry| entry.ledger.taken.get());
        }
    }

    /// Does what is due: ends fades, cuts off what does not drain, tells of it.
    pub(crate) fn tend(
        &mut self,
        now: Timestamp,
        drivers: &mut LaneDriver,
        observe: &mut dyn FnMut(Update<'_>),
    ) -> bool {
        let mut any = self.restart_due(now, observe);
        let has_faded = |fading: &mut Fading| {
            let is_neutral = |node: &FadingNode| {
                let entry = self.nodes.get(&node.id).filter(|entry| !entry.ended);
                let taken = entry.map(|entry| entry.ledger.taken.get());
                taken.is_none_or(|taken| node.begun.is_some_and(|begun| taken >= begun + node.frames))
            };
            now >= fading.until || fading.nodes.iter().all(is_neutral)
        };
        if let Some(fading) = self.fading.take_if(has_faded) {
            any = true;
            self.swap(fading.edits, fading.fresh, drivers);
            while let Some(event) = self.deferred.pop_front() {
                self.act_on(&event, drivers, observe);
            }
        }
        self.let_strays_go();
        let late = |entry: &super::NodeEntry| entry.leaving.is_some_and(|since| now >= since + self.drain);
        if self.nodes.values().any(|entry| !entry.ended && !entry.removed && late(entry)) {
            any = true;
            self.sweep();
        }
        for name in std::mem::take(&mut self.cut) {
            let why = format!("did not drain in {} s and was cut off", self.drain.as_secs());
            observe(Update::Event {
                at: self.seconds(now),
                node: &name,
                kind: &EventKind::Notice(why.into()),
            });
        }
        for (lane, why) in std::mem::take(&mut self.refused) {
            observe(Update::Event {
                at: self.seconds(now),
                node: &lane,
                kind: &EventKind::Notice(why.into()),
            });
        }
        any
    }
}

impl Fading {
    /// When it is over at the latest.
    pub(super) const fn until(&self) -> Timestamp {
        self.until
    }
}

/// Where a stream is to come from: from nodes that stay, or from sources by
/// their names.
fn new_origins(plan: &Plan, ids: &[NodeId], from: (usize, Through)) -> BTreeSet<Origin> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some((node, through)) = open.pop() {
        let wish = &plan.nodes[node];
        if wish.kept.is_some() {
            found.insert(Origin::Output(ids[node], through.port, through.key));
            continue;
        }
        if !seen.insert(node) {
            continue;
        }
        let before = open.len();
        open.extend(plan.links.iter().filter(|link| link.to.0 == node).map(|link| link.from));
        if open.len() == before {
            found.insert(Origin::Source(Arc::clone(&wish.node.name)));
        }
    }
    found
}
