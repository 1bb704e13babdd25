//! What an edit makes of a new graph: which nodes stay, which are made, on what
//! lanes; and how all is to be linked. Nothing that runs is touched yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::control::Through;
use crate::diagnostic::Diagnostic;
use crate::event::Key;
use crate::graph::{End, Graph, GraphNode, Template};
use crate::lane::Lane;
use crate::lane_thread::LaneSettings;
use crate::ledger::NodeId;
use crate::link::Overflow;
use crate::media_type::MediaType;
use crate::node::Node;
use crate::param::{ParamKind, Params, Value};
use crate::pool_plan::PoolPlan;
use crate::schedule::{self, Schedule, TemplateLane};
use crate::waker::NodeWaker;

use super::retired::NodeAccount;
use super::{LaneEntry, Supervisor, build, cannot_be_made, new_lane};

/// A node that is to run.
pub(super) struct Wish {
    pub(super) node: GraphNode,
    /// Which of `Plan::members` it is made for.
    pub(super) member: Option<usize>,
    pub(super) rank: u64,
    pub(super) lane: usize,
    pub(super) pools: Vec<PoolPlan>,
    /// The running one, if it stays.
    pub(super) kept: Option<NodeId>,
    pub(super) made: Option<(NodeAccount, Box<dyn Node>, NodeWaker)>,
    /// Whether one of its name goes for it.
    pub(super) replaces: bool,
}

/// A link that is to run, by the places of its ends in `Plan::nodes`.
pub(super) struct WishedLink {
    pub(super) from: (usize, Through),
    pub(super) to: (usize, usize),
    pub(super) capacity: usize,
    pub(super) overflow: Overflow,
    pub(super) is_loop: bool,
}

/// A member for whom a template makes parts.
pub(super) struct Made {
    pub(super) template: usize,
    pub(super) hub: usize,
    pub(super) key: Key,
    pub(super) turn: usize,
    /// The lanes of its parts.
    pub(super) lanes: Vec<usize>,
}

/// A lane that is made for an edit.
pub(super) struct Fresh {
    pub(super) number: usize,
    pub(super) entry: LaneEntry,
    pub(super) lane: Lane,
    pub(super) settings: LaneSettings,
}

/// All that is to run: the graph's own nodes first, in its order.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Wish>,
    pub(super) links: Vec<WishedLink>,
    pub(super) members: Vec<Made>,
    pub(super) fresh: Vec<Fresh>,
    pub(super) failures: Vec<Diagnostic>,
    /// Whether parameters stay that a member's nodes were given while they ran,
    /// where what its template says of them stays.
    pub(super) keeps_set: bool,
}

/// Where a node is to run, before it is known which lane that is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Planned(usize),
    Own { member: usize, lane: usize },
}

impl Supervisor {
    /// The running node of that name which is to stay for now, made for the
    /// member or for the graph itself.
    pub(super) fn running(&self, name: &str) -> Option<NodeId> {
        let is_it = |entry: &super::NodeEntry| entry.leaving.is_none() && *entry.node.name == *name;
        self.nodes.iter().find(|(_, entry)| is_it(entry)).map(|(id, _)| *id)
    }

    /// Lanes that there are already, by where the schedule puts nodes.
    pub(super) fn known_slots(&self, schedule: &Schedule, graph: &Graph) -> BTreeMap<Slot, usize> {
        let mut slots = BTreeMap::new();
        for (index, plan) in schedule.lanes.iter().enumerate() {
            let of_nodes = || {
                let running = |node: &usize| self.running(&graph.nodes[*node].name);
                plan.nodes.iter().find_map(running).map(|id| self.nodes[&id].lane)
            };
            let same = || {
                let is_it = |old: &&schedule::LanePlan| {
                    old.name == plan.name
                        && old.is_named == plan.is_named
                        && (plan.is_named || old.nodes.is_empty())
                };
                let old = self.schedule.lanes.iter().position(|old| is_it(&old))?;
                self.lane_ids.get(old).copied().filter(|lane| self.lanes.contains_key(lane))
            };
            let lane = if plan.is_named || plan.nodes.is_empty() { same() } else { of_nodes() };
            slots.extend(lane.map(|lane| (Slot::Planned(index), lane)));
        }
        slots
    }

    /// Decides of each of the graph's nodes whether it stays, and makes those
    /// that are new, upstream first.
    pub(super) fn plan_nodes(
        &mut self,
        graph: &mut Graph,
        schedule: &Schedule,
        plan: &mut Plan,
        slots: &mut BTreeMap<Slot, usize>,
    ) {
        let mut wishes: Vec<Option<Wish>> = graph.nodes.iter().map(|_| None).collect();
        let turned = reversed(&Flow::of_graph(&self.graph), &Flow::of_graph(graph));
        for (place, &index) in schedule.order.iter().enumerate() {
            let node = graph.nodes[index].clone();
            let slot = Slot::Planned(schedule.lane_of[index]);
            let neighbours = graph.links.iter().filter_map(|link| match (link.from.0, link.to.0) {
                (other, to) if to == index => Some(other),
                (from, other) if from == index => Some(other),
                _ => None,
            });
            let near = neighbours
                .filter(|other| schedule.lane_of[*other] == schedule.lane_of[index])
                .find_map(|other| {
                    let planned = wishes[other].as_ref().map(|wish| wish.lane);
                    planned.or_else(|| self.running(&graph.nodes[other].name).map(|id| self.nodes[&id].lane))
                });
            let ended_for_good = |id: NodeId| {
                self.nodes[&id].ended
                    && graph.links.iter().filter(|link| link.to.0 == index).any(|link| {
                        let from = wishes[link.from.0].as_ref();
                        from.is_some_and(|wish| wish.kept.is_none_or(|id| !self.nodes[&id].ended))
                    })
            };
            let running = self.running(&node.name);
            let kept = running
                .filter(|id| !turned.contains(&node.name) && self.stays(*id, &node) && !ended_for_good(*id));
            let named = &schedule.lanes[schedule.lane_of[index]];
            let (name, settings) = (Arc::clone(&named.name), named.settings);
            let known = kept.and_then(|id| self.known_of(id));
            let wish = self.wish(node, None, slot, near, (name, settings), kept, running, plan, slots);
            let types = match &wish.made {
                Some((_, made, _)) => made.output_types(),
                None => known.unwrap_or_default(),
            };
            if types.iter().any(Option::is_some)
                && let Err(mismatch) = graph.renegotiate(index, &types)
            {
                plan.failures.extend(mismatch.list);
            }
            wishes[index] = Some(Wish { rank: (place as u64 + 1) << 16, ..wish });
        }
        plan.nodes = wishes.into_iter().flatten().collect();
        for (wish, node) in plan.nodes.iter_mut().zip(&graph.nodes) {
            // Types may have become known since.
            wish.node.inputs.clone_from(&node.inputs);
            wish.node.outputs.clone_from(&node.outputs);
        }
        plan.links.extend(graph.links.iter().zip(&schedule.links).map(|(link, how)| WishedLink {
            from: (link.from.0, Through { port: link.from.1, key: None }),
            to: link.to,
            capacity: how.capacity,
            overflow: link.overflow,
            is_loop: link.is_loop,
        }));
    }

    /// The same for what templates make for the members that are there.
    pub(super) fn plan_members(
        &mut self,
        graph: &Graph,
        schedule: &Schedule,
        plan: &mut Plan,
        slots: &mut BTreeMap<Slot, usize>,
    ) {
        for (index, template) in graph.templates.iter().enumerate() {
            let how = &schedule.templates[index];
            // A hub that is made anew will name its members itself.
            let Some(hub) = plan.nodes[template.hub].kept else { continue };
            let there =
                self.members.iter().filter(|member| member.hub == hub && member.group == template.group);
            let there: Vec<_> = there.map(|member| (member.key, Arc::clone(&member.name))).collect();
            for (key, name) in there.into_iter().take(template.most.unwrap_or(usize::MAX)) {
                let member = plan.members.len();
                let old = self.instances.iter().find(|instance| {
                    instance.hub == hub
                        && instance.key == key
                        && self.graph.templates[instance.template].name == template.name
                });
                let own: Vec<usize> = old.map_or_else(Vec::new, |instance| instance.lanes.clone());
                let turn = old.map_or(self.next.turn, |instance| instance.turn);
                self.next.turn += usize::from(old.is_none());
                plan.members.push(Made { template: index, hub: template.hub, key, turn, lanes: Vec::new() });
                let was = old.map(|instance| Flow::of_template(&self.graph.templates[instance.template]));
                let turned =
                    was.map_or_else(BTreeSet::new, |was| reversed(&was, &Flow::of_template(template)));
                let said = old.filter(|_| plan.keeps_set);
                let said = said.map(|old| self.graph.templates[old.template].instantiate(&name));
                let begin = plan.nodes.len();
                let before = super::templates::rank_before(schedule, &template.links);
                for (at, mut node) in template.instantiate(&name).into_iter().enumerate() {
                    if let Some(was) = said.iter().flatten().find(|was| was.name == node.name) {
                        self.keep_set(&mut node, was);
                    }
                    let turned = turned.contains(&template.nodes[at].name);
                    let (slot, lane_name) = match how.lane_of[at] {
                        TemplateLane::Outer(lane) => {
                            (Slot::Planned(lane), Arc::clone(&schedule.lanes[lane].name))
                        }
                        TemplateLane::Members(class) => {
                            let lane = schedule.member_lane(class, turn);
                            (Slot::Planned(lane), Arc::clone(&schedule.lanes[lane].name))
                        }
                        TemplateLane::Own(lane) => {
                            let lane_name = format!("{}[{name}]/{}", template.name, how.lanes[lane].name);
                            (Slot::Own { member, lane }, lane_name.into())
                        }
                    };
                    let running = self.running(&node.name);
                    let kept =
                        running.filter(|id| !turned && self.stays(*id, &node) && !self.nodes[id].ended);
                    // What was put on a lane of its own stays there.
                    let near = running
                        .map(|id| self.nodes[&id].lane)
                        .filter(|lane| !matches!(slot, Slot::Own { .. }) || own.contains(lane));
                    let settings = Default::default();
                    let wish = self.wish(
                        node,
                        Some(member),
                        slot,
                        near,
                        (lane_name, settings),
                        kept,
                        running,
                        plan,
                        slots,
                    );
                    let place = how.order.iter().position(|&other| other == at).unwrap_or(0) as u64;
                    plan.nodes.push(Wish { rank: before + place, ..wish });
                }
                plan.members[member].lanes = plan.nodes[begin..].iter().map(|wish| wish.lane).collect();
                plan_template_links(template, how, key, begin, plan);
            }
        }
    }

    /// Says of one node where it runs and whether it stays, and makes it if not.
    #[allow(clippy::too_many_arguments)]
    fn wish(
        &mut self,
        mut node: GraphNode,
        member: Option<usize>,
        slot: Slot,
        near: Option<usize>,
        (lane_name, settings): (Arc<str>, LaneSettings),
        kept: Option<NodeId>,
        running: Option<NodeId>,
        plan: &mut Plan,
        slots: &mut BTreeMap<Slot, usize>,
    ) -> Wish {
        let replaces = kept.is_none() && running.is_some();
        if let Some(id) = kept {
            let lane = self.nodes[&id].lane;
            slots.entry(slot).or_insert(lane);
            return Wish { node, member, rank: 0, lane, pools: Vec::new(), kept, made: None, replaces };
        }
        let lane = near.or_else(|| slots.get(&slot).copied()).unwrap_or_else(|| {
            let number = self.next.lane;
            self.next.lane += 1;
            let trace = self.trace.as_ref().map(|tracer| tracer.lane(number, &lane_name));
            let (entry, lane) = new_lane(lane_name, &self.clock, &self.notices, trace);
            plan.fresh.push(Fresh { number, entry, lane, settings });
            number
        });
        slots.entry(slot).or_insert(lane);
        if let Some(why) = self.is_being_written(&node) {
            plan.failures.push(why);
            return Wish { node, member, rank: 0, lane, pools: Vec::new(), kept, made: None, replaces };
        }
        let account = self.claim(&node);
        let fresh = plan.fresh.iter().find(|fresh| fresh.number == lane).map(|fresh| &fresh.entry);
        let Some(entry) = fresh.or_else(|| self.lanes.get(&lane)) else {
            return Wish { node, member, rank: 0, lane, pools: Vec::new(), kept, made: None, replaces };
        };
        let waker = NodeWaker::new(Arc::clone(entry.mailbox.waker()), account.id);
        let wanted = std::mem::take(&mut node.params);
        node.params = neutral(&node, &wanted);
        let made = build(&node, &waker, self.seed, &self.clock, &self.shared);
        node.params = wanted;
        let made = match made {
            Ok(made) => Some((account, made, waker)),
            Err(error) => {
                plan.failures.push(cannot_be_made(&node, &error));
                None
            }
        };
        Wish { node, member, rank: 0, lane, pools: Vec::new(), kept, made, replaces }
    }

    /// Whether the running node `id` is what `node` asks for, but for what can
    /// change while it runs.
    fn stays(&self, id: NodeId, node: &GraphNode) -> bool {
        let old = &self.nodes[&id].node;
        let same = |param: &crate::param::ParamSpec| {
            let (was, is) = (old.params.get(param.name), node.params.get(param.name));
            was == is || (param.live && is.is_some())
        };
        // What comes to it must be of the sort that it was made for.
        let mut media = old.inputs.iter().zip(&node.inputs);
        let fits = |was: &Option<MediaType>, is: &Option<MediaType>| match (was, is) {
            (Some(was), Some(is)) => was.meet(is).is_some(),
            _ => true,
        };
        // A library that was loaded anew describes its kinds anew.
        std::ptr::eq(old.spec, node.spec)
            && old.lane == node.lane
            && node.spec.params.iter().all(same)
            && media.all(|(was, is)| fits(was, is))
    }

    /// Gives `node` the parameters that the running one of its name was given while
    /// it ran, where it is to be what it `was`.
    fn keep_set(&self, node: &mut GraphNode, was: &GraphNode) {
        let Some(id) = self.running(&node.name).filter(|_| std::ptr::eq(node.spec, was.spec)) else { return };
        for param in node.spec.params.iter().filter(|param| param.live) {
            let now = self.nodes[&id].node.params.get(param.name);
            if let Some(now) = now.filter(|_| node.params.get(param.name) == was.params.get(param.name)) {
                node.params.set(param.name, now.clone());
            }
        }
    }

    /// What is known of the outputs of one of the graph's own nodes since it was
    /// made.
    fn known_of(&self, id: NodeId) -> Option<Vec<Option<MediaType>>> {
        let index = self.ids.iter().position(|known| *known == id)?;
        self.graph.known.iter().find(|(node, _)| *node == index).map(|(_, types)| types.clone())
    }

    /// A file that a node would make while another still writes it: both would
    /// be spoilt.
    pub(super) fn is_being_written(&self, node: &GraphNode) -> Option<Diagnostic> {
        let paths = |node: &GraphNode| {
            let is_sink = node.spec.outputs.is_empty();
            let files = node.spec.params.iter().filter(|param| param.kind == ParamKind::Path);
            files
                .filter_map(|param| Some((node.params.get(param.name)?.clone(), is_sink || param.writes)))
                .collect::<Vec<(Value, bool)>>()
        };
        let wanted = paths(node);
        let collides = |(path, writes): &(Value, bool)| {
            wanted.iter().any(|(wanted, also)| wanted == path && (*also || *writes))
        };
        let other =
            self.nodes.values().find(|other| !other.ended && paths(&other.node).iter().any(collides))?;
        let name = &other.node.name;
        let message =
            format!("{} would be made anew while its file is still being written by {name}", node.name);
        let help = "give it another path, or leave it and what comes to it as they are while it writes";
        Some(Diagnostic::error(message).at(node.place, "").help(help))
    }
}

/// Who feeds whom, loops aside.
struct Flow<'a> {
    names: Vec<&'a Arc<str>>,
    feeds: Vec<Vec<usize>>,
}

impl<'a> Flow<'a> {
    fn new(nodes: &'a [GraphNode], links: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut feeds = vec![Vec::new(); nodes.len()];
        links.for_each(|(from, to)| feeds[from].push(to));
        Self { names: nodes.iter().map(|node| &node.name).collect(), feeds }
    }

    fn of_graph(graph: &'a Graph) -> Self {
        let links = graph.links.iter().filter(|link| !link.is_loop);
        Self::new(&graph.nodes, links.map(|link| (link.from.0, link.to.0)))
    }

    fn of_template(template: &'a Template) -> Self {
        let links = template.links.iter().filter(|link| !link.is_loop);
        let inside = links.filter_map(|link| match (link.from, link.to) {
            (End::Inside { node: from, .. }, End::Inside { node: to, .. }) => Some((from, to)),
            _ => None,
        });
        Self::new(&template.nodes, inside)
    }

    /// What comes after a node, by name.
    fn after(&self, node: usize) -> BTreeSet<&'a Arc<str>> {
        let mut seen = BTreeSet::new();
        let mut open = self.feeds[node].clone();
        while let Some(next) = open.pop() {
            if seen.insert(self.names[next]) {
                open.extend(&self.feeds[next]);
            }
        }
        seen
    }
}

/// Nodes that stood before one which is now to stand before them. What the two
/// hold would change places, so one of each pair is made anew, and drains.
fn reversed(was: &Flow<'_>, is: &Flow<'_>) -> BTreeSet<Arc<str>> {
    let mut found = BTreeSet::new();
    let mut orders: BTreeMap<&Arc<str>, BTreeSet<&Arc<str>>> = BTreeMap::new();
    for (node, name) in is.names.iter().enumerate() {
        orders.insert(name, is.after(node));
    }
    for (node, name) in was.names.iter().enumerate().filter(|(_, name)| orders.contains_key(*name)) {
        let turned = |later: &&Arc<str>| {
            !found.contains(*later) && orders.get(*later).is_some_and(|after| after.contains(*name))
        };
        if was.after(node).iter().any(turned) {
            found.insert(Arc::clone(name));
        }
    }
    found
}

/// The links that a template makes for one member, whose nodes begin at
/// `begin`.
fn plan_template_links(
    template: &Template,
    how: &schedule::TemplatePlan,
    key: Key,
    begin: usize,
    plan: &mut Plan,
) {
    for (link, how) in template.links.iter().zip(&how.links) {
        let from = match link.from {
            End::Member { port } => (template.hub, Through { port, key: Some(key) }),
            End::Inside { node, port } => (begin + node, Through { port, key: None }),
            End::Outside { node, port } => (node, Through { port, key: None }),
        };
        let to = match link.to {
            End::Inside { node, port } => (begin + node, port),
            End::Outside { node, port } => (node, port),
            End::Member { .. } => continue,
        };
        let (capacity, overflow, is_loop) = (how.capacity, link.overflow, link.is_loop);
        plan.links.push(WishedLink { from, to, capacity, overflow, is_loop });
    }
}

/// The parameters with which an effect changes nothing, where it says how.
fn neutral(node: &GraphNode, params: &Params) -> Params {
    let mut params = params.clone();
    for (param, value) in neutral_values(node) {
        params.set(param, value);
    }
    params
}

pub(super) fn neutral_values(node: &GraphNode) -> impl Iterator<Item = (&'static str, Value)> + use<> {
    node.spec.params.iter().filter_map(|param| Some((param.name, Value::Float(param.neutral?))))
}
