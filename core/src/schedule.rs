//! `Schedule`: the compiled form of a graph: lanes, the order inside each,
//! buffers and their sizes. Compiling is a pure function of the graph.
//!
//! Placement: a node with a lane in the graph file runs there; a node whose
//! kind asks for a lane of its own (it blocks or burns) gets one; the rest share
//! a lane with those of their kind they are linked to, so that a hop between
//! them is a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::graph::{End, Graph, GraphNode, Template};
use crate::media_type::MediaType;
use crate::registry::Placement;

/// A compiled graph.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// The lanes, in the order of their first nodes.
    pub lanes: Vec<LanePlan>,
    /// The lane of each of the graph's nodes.
    pub lane_of: Vec<usize>,
    /// The graph's nodes, upstream before downstream.
    pub order: Vec<usize>,
    /// How each of the graph's links is made.
    pub links: Vec<LinkPlan>,
    /// How each of the graph's templates is placed when a member appears.
    pub templates: Vec<TemplatePlan>,
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanePlan {
    /// The name the graph gives it, or its first node's.
    pub name: Arc<str>,
    /// Its nodes, upstream before downstream.
    pub nodes: Vec<usize>,
    /// Whether all its nodes keep the real-time rules.
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
}

impl Schedule {
    /// Compiles a checked graph. \[control\]
    #[must_use]
    pub fn compile(graph: &Graph) -> Self {
        let edges: Vec<_> =
            graph.links.iter().filter(|link| !link.is_loop).map(|link| (link.from.0, link.to.0)).collect();
        let order = topological(graph.nodes.len(), &edges);
        let groups = groups(&graph.nodes, &edges, &order);
        let (lanes, lane_of) = lanes(&graph.nodes, &groups, &order);
        let links = graph
            .links
            .iter()
            .map(|link| LinkPlan {
                capacity: link.capacity.unwrap_or_else(|| default_capacity(&link.media)),
                crosses: lane_of[link.from.0] != lane_of[link.to.0],
            })
            .collect();
        let templates =
            graph.templates.iter().map(|template| place_template(template, graph, &lane_of)).collect();
        Self { lanes, lane_of, order, links, templates }
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

/// How many buffers an output of `media` keeps at most. Packets are small and
/// wait in jitter buffers and simulated networks; pictures are large, and what
/// may wait of them is bounded by their links.
#[must_use]
pub(crate) const fn pool_slots(media: &MediaType) -> usize {
    match media {
        MediaType::Video { .. } => 32,
        _ => 2_048,
    }
}

/// Nodes upstream before downstream; nodes of equal standing, and whatever is
/// left of loops, in index order.
fn topological(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut indegree = vec![0usize; nodes];
    edges.iter().for_each(|&(_, to)| indegree[to] += 1);
    let mut ready: std::collections::BTreeSet<usize> =
        (0..nodes).filter(|&node| indegree[node] == 0).collect();
    let mut order = Vec::with_capacity(nodes);
    while let Some(node) = ready.pop_first() {
        order.push(node);
        for &(_, to) in edges.iter().filter(|&&(from, _)| from == node) {
            indegree[to] -= 1;
            if indegree[to] == 0 {
                ready.insert(to);
            }
        }
    }
    let rest: Vec<_> = (0..nodes).filter(|node| indegree[*node] > 0).collect();
    order.extend(rest);
    order
}

/// What a node runs with: nodes of one group share a lane.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Named(Arc<str>),
    /// The component of shared nodes whose first, in order, this is; or a node
    /// on a lane of its own.
    From(usize),
}

fn groups(nodes: &[GraphNode], edges: &[(usize, usize)], order: &[usize]) -> Vec<Group> {
    let shares = |node: usize| nodes[node].lane.is_none() && nodes[node].spec.placement == Placement::Shared;
    let mut leader: Vec<usize> = (0..nodes.len()).collect();
    let rank = |node: usize| order.iter().position(|&other| other == node);
    for &(from, to) in edges.iter().filter(|&&(from, to)| shares(from) && shares(to)) {
        let (a, b) = (leader[from], leader[to]);
        let (first, other) = if rank(a) <= rank(b) { (a, b) } else { (b, a) };
        leader.iter_mut().filter(|lead| **lead == other).for_each(|lead| *lead = first);
    }
    (0..nodes.len())
        .map(|node| match &nodes[node].lane {
            Some(name) => Group::Named(Arc::clone(name)),
            None => Group::From(leader[node]),
        })
        .collect()
}

fn lanes(nodes: &[GraphNode], groups: &[Group], order: &[usize]) -> (Vec<LanePlan>, Vec<usize>) {
    let mut places: BTreeMap<&Group, usize> = BTreeMap::new();
    let mut lanes: Vec<LanePlan> = Vec::new();
    let mut lane_of = vec![0; nodes.len()];
    for &node in order {
        let lane = *places.entry(&groups[node]).or_insert_with(|| {
            let name = match &groups[node] {
                Group::Named(name) => Arc::clone(name),
                Group::From(_) => Arc::clone(&nodes[node].name),
            };
            lanes.push(LanePlan { name, nodes: Vec::new(), real_time: true });
            lanes.len() - 1
        });
        lanes[lane].nodes.push(node);
        lanes[lane].real_time &= nodes[node].spec.real_time;
        lane_of[node] = lane;
    }
    (lanes, lane_of)
}

/// A template's nodes join the lane of the shared nodes they feed outside, and
/// get lanes of their own otherwise.
fn place_template(template: &Template, graph: &Graph, outer: &[usize]) -> TemplatePlan {
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
            let may_join = |node: &GraphNode| node.lane.is_none() && node.spec.placement == Placement::Shared;
            if may_join(&template.nodes[node]) && may_join(&graph.nodes[outside]) {
                joined.entry(&groups[node]).or_insert(outer[outside]);
            }
        }
    }
    for (node, group) in groups.iter().enumerate() {
        // A lane that the graph file names is one lane, inside templates too.
        let named = template.nodes[node].lane.as_ref();
        let same = graph.nodes.iter().position(|other| named.is_some() && other.lane.as_ref() == named);
        if let Some(other) = same {
            joined.insert(group, outer[other]);
        }
    }

    let (lanes, lane_of) = lanes(&template.nodes, &groups, &order);
    // Lanes that turned out to be outer ones go; the others close ranks.
    let mut kept = Vec::new();
    let mut renumbered = vec![TemplateLane::Own(0); lanes.len()];
    for (index, lane) in lanes.into_iter().enumerate() {
        renumbered[index] = match joined.get(&groups[lane.nodes[0]]) {
            Some(&outer) => TemplateLane::Outer(outer),
            None => {
                kept.push(lane);
                TemplateLane::Own(kept.len() - 1)
            }
        };
    }
    let lane_of: Vec<_> = lane_of.into_iter().map(|lane| renumbered[lane]).collect();
    let lane = |end: End| match end {
        End::Inside { node, .. } => lane_of[node],
        End::Outside { node, .. } => TemplateLane::Outer(outer[node]),
        End::Member { .. } => TemplateLane::Outer(outer[template.hub]),
    };
    let links = template
        .links
        .iter()
        .map(|link| LinkPlan {
            capacity: link.capacity.unwrap_or_else(|| default_capacity(&link.media)),
            crosses: lane(link.from) != lane(link.to),
        })
        .collect();
    TemplatePlan { lanes: kept, lane_of, order, links }
}
