//! Placement: which nodes share a lane, and in what order a lane calls them.
//! What the schedule does with it is in `schedule.rs`.
//!
//! Shared nodes that are linked form a component, which stays whole: a hop
//! inside it is a call. Where there are far more of them than the machine has
//! cores, more threads would only take turns, so they are packed, the largest
//! first, each onto the lane with the fewest nodes: sound onto as many lanes as
//! there are cores, pictures onto four times as many, since a picture takes
//! milliseconds, for which all else on its lane waits. Sound that keeps the
//! real-time rules is a class of its own, so that no disk stands before it.
//!
//! Nodes that ask for lanes of their own get them, however many they are. Some
//! block (devices, sockets, files), and whatever shared a lane with one would
//! wait with it; others burn (encoders, decoders), and the system's scheduler
//! deals the cores out among their threads in slices, where a shared lane would
//! make each wait for the whole pictures of the others. A graph that would have
//! them share names a lane for them: `lane = "encoders"`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::graph::GraphNode;
use crate::media_type::Medium;
use crate::registry::Placement;

/// What may share a lane with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Sound, and nothing that breaks the real-time rules.
    Sound,
    /// Sound, with something that breaks them: files, for one.
    SlowSound,
    /// All else.
    Pictures,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Sound, Self::SlowSound, Self::Pictures];

    /// How many lanes the class is packed onto on a machine of `cores` cores.
    pub(crate) fn lanes(self, cores: usize) -> usize {
        let each = if self == Self::Pictures { 4 } else { 1 };
        cores.max(1).saturating_mul(each)
    }

    /// Of some nodes together.
    pub(crate) fn of<'a>(nodes: impl IntoIterator<Item = &'a GraphNode>) -> Self {
        let one = |node: &GraphNode| {
            let mut ports = node.inputs.iter().flatten().chain(&node.outputs);
            match ports.any(|media| media.medium() == Some(Medium::Video)) {
                true => Self::Pictures,
                false if node.spec.real_time => Self::Sound,
                false => Self::SlowSound,
            }
        };
        nodes.into_iter().map(one).max().unwrap_or(Self::Sound)
    }
}

/// What a node runs with: nodes of one group share a lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Named(Arc<str>),
    /// The component of shared nodes whose first, in order, this is.
    Shared(usize),
    /// On a lane of its own.
    Own(usize),
    /// One of the lanes onto which the components of a class are packed.
    Packed(Class, usize),
}

/// Nodes upstream before downstream; what is linked stands together, so that
/// a lane finishes one stream before it turns to the next. Nodes of equal
/// standing, and whatever is left of loops, in index order.
pub(crate) fn topological(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut leader: Vec<usize> = (0..nodes).collect();
    edges.iter().for_each(|&(from, to)| join(&mut leader, from, to));
    let leader: Vec<usize> = (0..nodes).map(|node| find(&mut leader, node)).collect();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    let mut indegree = vec![0usize; nodes];
    for &(from, to) in edges {
        next[from].push(to);
        indegree[to] += 1;
    }
    let mut ready: BTreeSet<(usize, usize)> =
        (0..nodes).filter(|&node| indegree[node] == 0).map(|node| (leader[node], node)).collect();
    let mut order = Vec::with_capacity(nodes);
    while let Some((_, node)) = ready.pop_first() {
        order.push(node);
        for &to in &next[node] {
            indegree[to] -= 1;
            if indegree[to] == 0 {
                ready.insert((leader[to], to));
            }
        }
    }
    order.extend((0..nodes).filter(|node| indegree[*node] > 0));
    order
}

/// The component, the name or the node itself that decides where each node
/// runs, before packing.
pub(crate) fn groups(nodes: &[GraphNode], edges: &[(usize, usize)], order: &[usize]) -> Vec<Group> {
    let shares = |node: usize| nodes[node].lane.is_none() && nodes[node].placement() == Placement::Shared;
    let mut leader: Vec<usize> = (0..nodes.len()).collect();
    for &(from, to) in edges.iter().filter(|&&(from, to)| shares(from) && shares(to)) {
        join(&mut leader, from, to);
    }
    let mut first = BTreeMap::new();
    for &node in order.iter().filter(|&&node| shares(node)) {
        first.entry(find(&mut leader, node)).or_insert(node);
    }
    let mut group = |node: usize| match &nodes[node].lane {
        Some(name) => Group::Named(Arc::clone(name)),
        None if shares(node) => Group::Shared(first[&find(&mut leader, node)]),
        None => Group::Own(node),
    };
    (0..nodes.len()).map(&mut group).collect()
}

/// Packs the components of each class that has more of them than lanes.
pub(crate) fn pack(nodes: &[GraphNode], groups: &mut [Group], order: &[usize], cores: usize) {
    // Components by their first nodes, with all their nodes.
    let mut components: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
    for (place, &node) in order.iter().enumerate() {
        if let Group::Shared(first) = groups[node] {
            components.entry(first).or_insert((place, Vec::new())).1.push(node);
        }
    }
    for class in Class::ALL {
        let mut members: Vec<&(usize, Vec<usize>)> = components
            .values()
            .filter(|(_, members)| Class::of(members.iter().map(|&node| &nodes[node])) == class)
            .collect();
        let lanes = class.lanes(cores);
        if members.len() <= lanes {
            continue;
        }
        members.sort_by_key(|(place, members)| (std::cmp::Reverse(members.len()), *place));
        let mut load: BTreeSet<(usize, usize)> = (0..lanes).map(|lane| (0, lane)).collect();
        for (_, members) in members {
            let Some((nodes, lane)) = load.pop_first() else { continue };
            members.iter().for_each(|&node| groups[node] = Group::Packed(class, lane));
            load.insert((nodes + members.len(), lane));
        }
    }
}

/// The nodes of each group, groups in the order of their first nodes and nodes
/// in `order`; and the place of each node's group among them.
pub(crate) fn gather(groups: &[Group], order: &[usize]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut places: BTreeMap<&Group, usize> = BTreeMap::new();
    let mut gathered: Vec<Vec<usize>> = Vec::new();
    let mut place_of = vec![0; groups.len()];
    for &node in order {
        let place = *places.entry(&groups[node]).or_insert_with(|| {
            gathered.push(Vec::new());
            gathered.len() - 1
        });
        gathered[place].push(node);
        place_of[node] = place;
    }
    (gathered, place_of)
}

/// Runs of nodes between which every hop is a call: the parts of `nodes`, which
/// share a lane, that hang together by `edges`.
pub(crate) fn runs(nodes: &[usize], edges: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
    let place: BTreeMap<usize, usize> = nodes.iter().enumerate().map(|(at, node)| (*node, at)).collect();
    let mut leader: Vec<usize> = (0..nodes.len()).collect();
    for (from, to) in edges {
        if let (Some(&from), Some(&to)) = (place.get(&from), place.get(&to)) {
            join(&mut leader, from, to);
        }
    }
    let mut runs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, &node) in nodes.iter().enumerate() {
        runs.entry(find(&mut leader, at)).or_default().push(node);
    }
    runs.into_values().collect()
}

/// The one that stands for the set that `node` is in.
fn find(leader: &mut [usize], mut node: usize) -> usize {
    while leader[node] != node {
        leader[node] = leader[leader[node]];
        node = leader[node];
    }
    node
}

/// Makes one set of two; the smaller index stands for it.
fn join(leader: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find(leader, a), find(leader, b));
    leader[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stand_one_after_another_each_upstream_first() {
        // Two streams whose nodes are named in turns, one of them backwards.
        let edges = [(4, 2), (2, 0), (1, 3), (3, 5)];
        assert_eq!(topological(6, &edges), [4, 2, 0, 1, 3, 5]);
    }

    #[test]
    fn what_goes_round_still_has_an_order() {
        assert_eq!(topological(3, &[(0, 1), (1, 2), (2, 1)]), [0, 1, 2]);
    }

    #[test]
    fn a_run_is_what_hangs_together_on_one_lane() {
        let edges = [(3, 1), (1, 9), (9, 2)].into_iter();
        assert_eq!(runs(&[3, 1, 2], edges), [vec![3, 1], vec![2]]);
    }
}
