//! The budget: whether what nodes declare to add, along the slowest path from
//! a source to a sink, fits into what the graph allows.

use std::time::Duration;

use crate::diagnostic::{Diagnostic, Place};
use crate::graph::Graph;
use crate::media_type::Medium;
use crate::negotiate::Order;
use crate::net::{Net, NetLink};

/// The slowest way to a node: what it adds up to, over how many nodes (of two
/// that take the same time the longer goes on to a sink), and the node before it.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    sum: Duration,
    nodes: usize,
    before: Option<usize>,
}

impl Way {
    const fn length(&self) -> (Duration, usize) {
        (self.sum, self.nodes)
    }
}

impl Graph {
    /// The path on which declared latencies add up to most: its nodes, and what
    /// each adds. \[control\]
    #[must_use]
    pub fn slowest_path(&self) -> Vec<(String, Duration)> {
        let net = self.net();
        net.slowest()
            .into_iter()
            .map(|node| (net.nodes[node].name.clone(), net.nodes[node].latency))
            .collect()
    }
}

impl Net {
    /// Says if the slowest path takes longer than `budget`, given at `place`.
    pub(crate) fn check_budget(&self, budget: Duration, place: Place, found: &mut Vec<Diagnostic>) {
        let path = self.slowest();
        let sum: Duration = path.iter().map(|node| self.nodes[*node].latency).sum();
        if sum <= budget {
            return;
        }
        let terms = path.iter().map(|node| &self.nodes[*node]).filter(|node| !node.latency.is_zero());
        let shown: Vec<_> = terms.clone().map(|node| format!("{} {}", node.name, ms(node.latency))).collect();
        let mut problem = Diagnostic::error(format!(
            "the slowest path takes {}, {} more than the budget",
            ms(sum),
            ms(sum - budget)
        ))
        .at(place, format!("the graph promises {}", ms(budget)));
        if let Some(worst) = terms.max_by_key(|node| node.latency) {
            problem = problem.at(worst.place, format!("{} adds most: {}", worst.name, ms(worst.latency)));
        }
        let names: Vec<_> = path.iter().map(|node| self.nodes[*node].name.as_str()).collect();
        found.push(
            problem
                .help(format!("the path: {}", names.join(" -> ")))
                .help(format!("its sum: {} = {}", shown.join(" + "), ms(sum)))
                .help(format!(
                    "make a part of it faster, or set budget_ms = {}",
                    sum.as_nanos().div_ceil(1_000_000)
                )),
        );
    }

    /// The nodes of the path with the greatest declared time.
    fn slowest(&self) -> Vec<usize> {
        let order = Order::of(self);
        // Rooms first see how long what is published takes to reach them; a
        // second round lets that go on to those who listen. Media do not mix.
        let mut ways: Vec<Vec<Way>> = Vec::new();
        let media = [None, Some(Medium::Audio), Some(Medium::Video)];
        for _ in 0..2 {
            ways = media
                .iter()
                .enumerate()
                .map(|(kind, medium)| self.ways(&order, *medium, ways.get(kind).map_or(&[], Vec::as_slice)))
                .collect();
        }
        let mut longest: ((Duration, usize), usize, usize) = Default::default();
        for (kind, ways) in ways.iter().enumerate() {
            for (node, way) in ways.iter().enumerate() {
                if way.length() > longest.0 {
                    longest = (way.length(), kind, node);
                }
            }
        }
        let Some(ways) = ways.get(longest.1) else { return Vec::new() };
        let mut path = Vec::new();
        let mut at = Some(longest.2).filter(|_| longest.0.0 > Duration::ZERO);
        while let Some(node) = at {
            path.push(node);
            // Two rooms of one place may stand behind each other.
            if path.len() > 2 * self.nodes.len() {
                break;
            }
            at = ways[node].before.filter(|before| !path.contains(before));
        }
        path.reverse();
        path
    }

    /// The slowest way to each node for one medium (or for what is of none),
    /// given the ways into rooms of the round before.
    fn ways(&self, order: &Order, medium: Option<Medium>, earlier: &[Way]) -> Vec<Way> {
        let mut ways = vec![Way::default(); self.nodes.len()];
        for &node in &order.nodes {
            let mut best = Way::default();
            for link in order.into[node].iter().map(|index| &self.links[*index]) {
                let of_medium = link.media.medium().is_none_or(|carried| Some(carried) == medium);
                if link.is_loop || !of_medium {
                    continue;
                }
                let way = self.through(link, &ways, earlier);
                if way.length() >= best.length() {
                    best = way;
                }
            }
            best.sum += self.nodes[node].latency;
            best.nodes += 1;
            ways[node] = best;
        }
        ways
    }

    /// The slowest way along `link`: for what a room hands out, that of the
    /// slowest who publishes into it elsewhere.
    fn through(&self, link: &NetLink, ways: &[Way], earlier: &[Way]) -> Way {
        let hub = link.from.0;
        let here = Way { before: Some(hub), ..ways[hub] };
        if link.member.is_none() {
            return here;
        }
        let alone = Way { sum: self.nodes[hub].latency, nodes: 1, before: Some(hub) };
        let Some(url) = self.url(hub) else { return alone };
        let others = (0..self.nodes.len()).filter(|other| *other != hub && self.url(*other) == Some(url));
        let others = others.filter_map(|other| Some(Way { before: Some(other), ..*earlier.get(other)? }));
        others.max_by_key(Way::length).unwrap_or(alone)
    }

    /// Where a node with members meets others.
    fn url(&self, node: usize) -> Option<&str> {
        let node = &self.nodes[node];
        let is_hub = node.spec.outputs.iter().any(|port| port.each.is_some());
        match node.params.get("url") {
            Some(crate::Value::Text(url)) if is_hub => Some(url),
            _ => None,
        }
    }
}

/// "12.5 ms"
fn ms(duration: Duration) -> String {
    let text = format!("{:.2}", duration.as_secs_f64() * 1_000.0);
    format!("{} ms", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use crate::graph_tests::call;

    #[test]
    fn the_slowest_path_goes_on_to_a_sink() {
        let path = call(&[]).slowest_path();
        let names: Vec<_> = path.iter().map(|(name, _)| name.as_str()).collect();
        assert!(path.last().is_some_and(|(_, latency)| latency.is_zero()), "{path:?}");
        assert!(matches!(names.last(), Some(&("heard" | "alices/remote_video/file"))), "{names:?}");
    }
}
