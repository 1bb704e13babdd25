//! `Schedule`: the compiled form of a graph: lanes, the order inside each,
//! buffers and their sizes. Compiling is a pure function of the graph and of
//! how many cores there are.
//!
//! Placement: a node with a lane in the graph file runs there; a node whose
//! kind asks for a lane of its own (it blocks or burns) gets one; the rest share
//! a lane with those of their kind they are linked to, so that a hop between
//! them is a call. Beyond what the cores can run such lanes are packed together
//! (`placement.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::graph::{End, Graph, GraphNode, Template};
use crate::lane_thread::LaneSettings;
use crate::media_type::MediaType;
pub use crate::placement::Class;
use crate::placement::{self, Group, gather, groups, topological};
use crate::pool_plan::{self, PoolPlan};
use crate::registry::Placement;

/// How many cores a run in virtual time counts on: the same on every machine,
/// so that its runs take the same steps everywhere.
pub const VIRTUAL_CORES: usize = 4;

/// How many cores a run by `clock` counts on: this machine's, or
/// [`VIRTUAL_CORES`]. \[control\]
#[must_use]
pub fn cores(clock: &Clock) -> usize {
    if clock.is_virtual() {
        VIRTUAL_CORES
    } else {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }
}

/// A compiled graph.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// The lanes, in the order of their first nodes; after them those on which
    /// parts of templates alone run.
    pub lanes: Vec<LanePlan>,
    /// The lane of each of the graph's nodes.
    pub lane_of: Vec<usize>,
    /// The graph's nodes, upstream before downstream.
    pub order: Vec<usize>,
    /// How each of the graph's links is made.
    pub links: Vec<LinkPlan>,
    /// The pools of each of the graph's nodes: one for every output.
    pub pools: Vec<Vec<PoolPlan>>,
    /// How each of the graph's templates is placed when a member appears.
    pub templates: Vec<TemplatePlan>,
    /// For each class, the lanes that members of templates take turns on.
    pub member_lanes: [Vec<usize>; Class::ALL.len()],
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanePlan {
    /// The name the graph gives it, or its first node's.
    pub name: Arc<str>,
    /// Whether the graph names it.
    pub is_named: bool,
    /// How its thread runs.
    pub settings: LaneSettings,
    /// Its nodes, upstream before downstream.
    pub nodes: Vec<usize>,
    /// Whether all its nodes keep the real-time rules, those of templates
    /// included.
    pub real_time: bool,
}

/// How a link is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPlan {
    /// Frames that may wait in it.
    pub capacity: usize,
    /// Whether it leads from lane to lane, by a ring and a wake.
    pub crosses: bool,
}

/// Where a node of a template runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateLane {
    /// On a lane of the graph around it.
    Outer(usize),
    /// On one of the template's own lanes.
    Own(usize),
    /// On one of the lanes that members take turns on:
    /// [`Schedule::member_lane`].
    Members(Class),
}

/// How a template is placed.
#[derive(Clone, Debug, Default)]
pub struct TemplatePlan {
    /// Lanes made for each member.
    pub lanes: Vec<LanePlan>,
    /// The lane of each of the template's nodes.
    pub lane_of: Vec<TemplateLane>,
    /// The template's nodes, upstream before downstream.
    pub order: Vec<usize>,
    /// How each of the template's links is made.
    pub links: Vec<LinkPlan>,
    /// The pools of each of the template's nodes: one for every output.
    pub pools: Vec<Vec<PoolPlan>>,
}

impl Schedule {
    /// Compiles a checked graph for a machine of `cores` cores; none is read as
    /// one. \[control\]
    #[must_use]
    pub fn compile(graph: &Graph, cores: usize) -> Self {
        let cores = cores.max(1);
        let edges: Vec<_> =
            graph.links.iter().filter(|link| !link.is_loop).map(|link| (link.from.0, link.to.0)).collect();
        let order = topological(graph.nodes.len(), &edges);
        let mut groups = groups(&graph.nodes, &edges, &order);
        placement::pack(&graph.nodes, &mut groups, &order, cores);
        let (gathered, lane_of) = gather(&groups, &order);
        let lanes = gathered.into_iter().map(|nodes| LanePlan::of(&graph.nodes, nodes)).collect();
        let links = graph
            .links
            .iter()
            .map(|link| LinkPlan {
                capacity: link.capacity.unwrap_or_else(|| default_capacity(&link.media)),
                crosses: lane_of[link.from.0] != lane_of[link.to.0],
            })
            .collect();
        let mut schedule = Self { lanes, lane_of, order, links, ..Self::default() };
        schedule.templates =
            graph.templates.iter().map(|template| schedule.place_template(template, graph)).collect();
        schedule.add_member_lanes(graph, cores);
        schedule.note_rules(graph);
        schedule.size_pools(graph);
        for lane in schedule.lanes.iter_mut().filter(|lane| lane.is_named) {
            let given = graph.lanes.iter().find(|given| given.name == lane.name);
            lane.settings = given.map(|given| given.settings).unwrap_or_default();
        }
        schedule
    }

    /// Sizes the pools anew, as where opening a file told what a graph could
    /// not. \[control\]
    pub(crate) fn size_pools(&mut self, graph: &Graph) {
        let (own, templates) = pool_plan::plan(graph, &self.lane_of);
        self.pools = own;
        for (plan, pools) in self.templates.iter_mut().zip(templates) {
            plan.pools = pools;
        }
    }

    /// The lane on which the parts of a class of the `turn`th member run, those
    /// that share lanes with other members'. \[any\]
    #[must_use]
    pub fn member_lane(&self, class: Class, turn: usize) -> usize {
        let lanes = &self.member_lanes[class as usize];
        lanes.get(turn % lanes.len().max(1)).copied().unwrap_or_default()
    }

    /// The runs of a lane: its nodes in the order in which they are called,
    /// divided where no link leads on inside the lane. \[control\]
    #[must_use]
    pub fn runs(&self, graph: &Graph, lane: usize) -> Vec<Vec<usize>> {
        placement::runs(&self.lanes[lane].nodes, graph.links.iter().map(|link| (link.from.0, link.to.0)))
    }

    /// A template's nodes join the lane of the shared nodes they feed outside;
    /// other shared ones share lanes with other members', and the rest have
    /// lanes of their own.
    fn place_template(&mut self, template: &Template, graph: &Graph) -> TemplatePlan {
        let edges: Vec<_> = template
            .links
            .iter()
            .filter(|link| !link.is_loop)
            .filter_map(|link| match (link.from, link.to) {
                (End::Inside { node: from, .. }, End::Inside { node: to, .. }) => Some((from, to)),
                _ => None,
            })
            .collect();
        let order = topological(template.nodes.len(), &edges);
        let groups = groups(&template.nodes, &edges, &order);

        let mut joined: BTreeMap<&Group, usize> = BTreeMap::new();
        for link in &template.links {
            if let (End::Inside { node, .. }, End::Outside { node: outside, .. }) = (link.from, link.to) {
                let to = &graph.nodes[outside];
                let may_join = to.lane.is_none() && to.placement() == Placement::Shared;
                if may_join && matches!(groups[node], Group::Shared(_)) {
                    joined.entry(&groups[node]).or_insert(self.lane_of[outside]);
                }
            }
        }

        let (gathered, place_of) = gather(&groups, &order);
        let mut lanes = Vec::new();
        let places: Vec<TemplateLane> = gathered
            .into_iter()
            .map(|nodes| match (&groups[nodes[0]], joined.get(&groups[nodes[0]])) {
                // A lane that the graph file names is one lane, inside templates too.
                (Group::Named(name), _) => TemplateLane::Outer(self.named(name)),
                (_, Some(&outer)) => TemplateLane::Outer(outer),
                (Group::Own(_), None) => {
                    lanes.push(LanePlan::of(&template.nodes, nodes));
                    TemplateLane::Own(lanes.len() - 1)
                }
                _ => TemplateLane::Members(Class::of(nodes.iter().map(|&node| &template.nodes[node]))),
            })
            .collect();
        let lane_of: Vec<_> = place_of.into_iter().map(|place| places[place]).collect();
        let lane = |end: End| match end {
            End::Inside { node, .. } => lane_of[node],
            End::Outside { node, .. } => TemplateLane::Outer(self.lane_of[node]),
            End::Member { .. } => TemplateLane::Outer(self.lane_of[template.hub]),
        };
        let links = template
            .links
            .iter()
            .map(|link| LinkPlan {
                capacity: link.capacity.unwrap_or_else(|| default_capacity(&link.media)),
                crosses: lane(link.from) != lane(link.to),
            })
            .collect();
        TemplatePlan { lanes, lane_of, order, links, pools: Vec::new() }
    }

    /// The lane that the graph file calls `name`, made if no node of the graph
    /// itself runs on it.
    fn named(&mut self, name: &Arc<str>) -> usize {
        // A lane that goes by its first node's name may bear the same one.
        let known = self.lanes.iter().position(|lane| lane.is_named && lane.name == *name);
        known.unwrap_or_else(|| {
            self.lanes.push(LanePlan { is_named: true, ..LanePlan::empty(Arc::clone(name)) });
            self.lanes.len() - 1
        })
    }

    /// Makes the lanes that members take turns on: as many as there are cores,
    /// or as there can be members.
    fn add_member_lanes(&mut self, graph: &Graph, cores: usize) {
        let mut number = 0;
        for class in Class::ALL {
            let uses = |plan: &TemplatePlan| plan.lane_of.contains(&TemplateLane::Members(class));
            let members = graph.templates.iter().zip(&self.templates).filter(|(_, plan)| uses(plan));
            let most = members.map(|(template, _)| template.most.unwrap_or(cores)).sum::<usize>();
            for _ in 0..most.min(cores) {
                number += 1;
                self.member_lanes[class as usize].push(self.lanes.len());
                self.lanes.push(LanePlan::empty(format!("members {number}").into()));
            }
        }
    }

    /// Notes which lanes templates put nodes on that break the real-time rules.
    fn note_rules(&mut self, graph: &Graph) {
        for (template, plan) in graph.templates.iter().zip(&self.templates) {
            let loose = template.nodes.iter().zip(&plan.lane_of).filter(|(node, _)| !node.spec.real_time);
            for (_, lane) in loose {
                match *lane {
                    TemplateLane::Outer(lane) => self.lanes[lane].real_time = false,
                    TemplateLane::Members(class) => {
                        for &lane in &self.member_lanes[class as usize] {
                            self.lanes[lane].real_time = false;
                        }
                    }
                    TemplateLane::Own(_) => {}
                }
            }
        }
    }
}

impl LanePlan {
    /// A lane of `nodes`, which are not none.
    fn of(graph: &[GraphNode], nodes: Vec<usize>) -> Self {
        let first = &graph[nodes[0]];
        Self {
            name: Arc::clone(first.lane.as_ref().unwrap_or(&first.name)),
            is_named: first.lane.is_some(),
            settings: LaneSettings::default(),
            real_time: nodes.iter().all(|&node| graph[node].spec.real_time),
            nodes,
        }
    }

    fn empty(name: Arc<str>) -> Self {
        Self { name, is_named: false, settings: LaneSettings::default(), nodes: Vec::new(), real_time: true }
    }
}

/// How many frames may wait in a link of `media` where the graph does not say:
/// a sixth of a second of sound, a few pictures, a burst of packets. \[any\]
#[must_use]
pub const fn default_capacity(media: &MediaType) -> usize {
    match media {
        MediaType::Audio { .. } => 16,
        MediaType::Video { .. } => 4,
        // Large enough for packets, small enough for pictures.
        MediaType::Packets { .. } | MediaType::Any => 32,
        MediaType::Rtp { .. } => 512,
        MediaType::Events | MediaType::Data(_) => 64,
    }
}
