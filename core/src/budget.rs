//! `Budget`: how long frames may take along a path, and what is done when they
//! take longer; and whether what nodes declare to add fits into it.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Place};
use crate::graph::Graph;
use crate::media_type::Medium;
use crate::negotiate::Order;
use crate::net::{Net, NetLink};
use crate::param::DEGRADE;
use crate::registry::Registry;
use crate::suggest;

/// How long frames may take, and what is done when they take longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Along which path; `None` stands for capture to render, at every sink.
    pub path: Option<BudgetPath>,
    /// 95 % of a second's frames may take at most this.
    pub limit: Duration,
    /// What is done when they take longer.
    pub remedy: Remedy,
    /// Where the file gives the limit.
    pub(crate) place: Place,
}

/// From which node to which, both included: from the instant at which `from`
/// takes a frame (or captures it) to that at which `to` lets it go (or renders it).
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetPath {
    /// Where it begins, as `sidetone plan` names it, "\[\]" left out: "mic", or
    /// "remote/remote_audio/jitter" in the template `remote`.
    pub from: Arc<str>,
    /// Where it ends.
    pub to: Arc<str>,
    /// Where the file names both.
    pub(crate) places: (Place, Place),
}

/// What is done when a budget is not kept, until it is kept again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// It is told, no more.
    #[default]
    Report,
    /// The guilty stage drops frames that would come too late.
    DropLate,
    /// Nodes on the path that can do less do less.
    Degrade,
}

impl Remedy {
    /// The words of the graph file.
    pub const WORDS: [(&'static str, Self); 3] =
        [("report", Self::Report), ("drop_late", Self::DropLate), ("degrade", Self::Degrade)];

    /// The word for it in graph files. \[any\]
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize].0
    }
}

impl Budget {
    /// One for capture to render, told and no more. \[control\]
    #[must_use]
    pub fn whole(limit: Duration) -> Self {
        Self { path: None, limit, remedy: Remedy::Report, place: Place::default() }
    }

    /// The same with a remedy. \[control\]
    #[must_use]
    pub fn remedy(self, remedy: Remedy) -> Self {
        Self { remedy, ..self }
    }

    /// The same along the path between two nodes. \[control\]
    #[must_use]
    pub fn between(self, from: &str, to: &str) -> Self {
        let path = BudgetPath { from: from.into(), to: to.into(), places: Default::default() };
        Self { path: Some(path), ..self }
    }
}

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
    /// What capture to render may take, if the graph says. \[any\]
    #[must_use]
    pub fn budget(&self) -> Option<Duration> {
        self.budgets.iter().find(|budget| budget.path.is_none()).map(|budget| budget.limit)
    }

    /// The path on which declared latencies add up to most: its nodes, and what
    /// each adds. \[control\]
    #[must_use]
    pub fn slowest_path(&self) -> Vec<(String, Duration)> {
        let net = self.net();
        let path = net.slowest(None, None).unwrap_or_default();
        path.into_iter().map(|node| (net.nodes[node].name.clone(), net.nodes[node].latency)).collect()
    }

    /// What declared latencies add up to along the path of `budget`; zero where
    /// there is none. \[control\]
    #[must_use]
    pub fn declared_latency(&self, budget: &Budget) -> Duration {
        let net = self.net();
        let path = net.path_of(budget).unwrap_or_default();
        path.iter().map(|node| net.nodes[*node].latency).sum()
    }
}

impl Net {
    /// Says which budgets cannot be kept, and which are none.
    pub(crate) fn check_budgets(&self, registry: &Registry, found: &mut Vec<Diagnostic>) {
        for budget in &self.budgets {
            match self.path_of(budget) {
                Some(path) => {
                    found.extend(self.too_slow(budget, &path));
                    found.extend(self.nobody_degrades(budget, registry));
                }
                None => found.extend(self.no_path(budget)),
            }
        }
    }

    /// The slowest path that `budget` is about; `None` where nothing leads from
    /// its beginning to its end.
    fn path_of(&self, budget: &Budget) -> Option<Vec<usize>> {
        match &budget.path {
            None => self.slowest(None, None),
            Some(path) => self.slowest(Some(self.node_named(&path.from)?), Some(self.node_named(&path.to)?)),
        }
    }

    /// The slowest path through `node` that `budget` is about, if there is one.
    pub(crate) fn path_through(&self, node: usize, budget: &Budget) -> Option<Vec<usize>> {
        let (from, to) = match &budget.path {
            None => (None, None),
            Some(path) => (Some(self.node_named(&path.from)?), Some(self.node_named(&path.to)?)),
        };
        let mut path = self.longest(from, Some(node))?;
        path.extend(self.longest(Some(node), to)?.into_iter().skip(1));
        Some(path)
    }

    /// Says that declared latencies add up to more than `budget`, if so.
    fn too_slow(&self, budget: &Budget, path: &[usize]) -> Option<Diagnostic> {
        let sum: Duration = path.iter().map(|node| self.nodes[*node].latency).sum();
        if sum <= budget.limit {
            return None;
        }
        let terms = path.iter().map(|node| &self.nodes[*node]).filter(|node| !node.latency.is_zero());
        let shown: Vec<_> = terms.clone().map(|node| format!("{} {}", node.name, ms(node.latency))).collect();
        let (what, allowed, key) = match &budget.path {
            None => ("the slowest path".to_owned(), "the graph promises", "budget_ms"),
            Some(path) => (format!("the way from {} to {}", path.from, path.to), "it is to take", "ms"),
        };
        let more = ms(sum - budget.limit);
        let mut problem = Diagnostic::error(format!("{what} takes {}, {more} more than the budget", ms(sum)))
            .at(budget.place, format!("{allowed} {}", ms(budget.limit)));
        if let Some(worst) = terms.max_by_key(|node| node.latency) {
            problem = problem.at(worst.place, format!("{} adds most: {}", worst.name, ms(worst.latency)));
        }
        let names: Vec<_> = path.iter().map(|node| self.nodes[*node].name.as_str()).collect();
        let enough = sum.as_nanos().div_ceil(1_000_000);
        Some(
            problem
                .help(format!("the path: {}", names.join(" -> ")))
                .help(format!("its sum: {} = {}", shown.join(" + "), ms(sum)))
                .help(format!("make a part of it faster, or set {key} = {enough}")),
        )
    }

    /// Says that nothing leads from the beginning of a budget's path to its end.
    fn no_path(&self, budget: &Budget) -> Option<Diagnostic> {
        let path = budget.path.as_ref()?;
        let (from, to) = (self.node_named(&path.from)?, self.node_named(&path.to)?);
        let problem = Diagnostic::error(format!("nothing leads from {} to {}", path.from, path.to))
            .at(path.places.0, "from here")
            .at(path.places.1, "to here");
        Some(match self.slowest(Some(to), Some(from)) {
            Some(_) => problem
                .help(format!("it is the other way round, from {} to {}; swap them", path.to, path.from)),
            None => problem.help("name two nodes that links, or a room, lead between"),
        })
    }

    /// Says that no node on the path can do less, where that is the remedy.
    fn nobody_degrades(&self, budget: &Budget, registry: &Registry) -> Option<Diagnostic> {
        if budget.remedy != Remedy::Degrade {
            return None;
        }
        let ends = budget.path.as_ref().map(|path| (self.node_named(&path.from), self.node_named(&path.to)));
        let lies_on_it = |node: usize| {
            ends.is_none_or(|(from, to)| {
                self.slowest(from, Some(node)).is_some() && self.slowest(Some(node), to).is_some()
            })
        };
        let mut able =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].spec.param(DEGRADE.name).is_some());
        if able.any(lies_on_it) {
            return None;
        }
        let kinds = registry.iter().filter(|spec| spec.param(DEGRADE.name).is_some()).map(|spec| spec.kind);
        let problem = Diagnostic::warning("no node on this budget's path can do less").at(budget.place, "");
        let kinds = suggest::list(kinds.collect::<Vec<_>>());
        Some(problem.help(format!("use drop_late or report, or one of the kinds that can: {kinds}")))
    }

    /// The nodes of the path with the greatest declared time, among those that
    /// begin at `start` and end at `end`, where these are given; `None` where
    /// there is no such path.
    fn slowest(&self, start: Option<usize>, end: Option<usize>) -> Option<Vec<usize>> {
        let path = self.longest(start, end)?;
        // Without an end named, a graph of nothing but instant nodes has no
        // slowest path.
        let is_instant = |path: &Vec<usize>| path.iter().all(|node| self.nodes[*node].latency.is_zero());
        Some(Some(path).filter(|path| end.is_some() || !is_instant(path)).unwrap_or_default())
    }

    /// The same, but of instant nodes alone it is the path of most of them.
    fn longest(&self, start: Option<usize>, end: Option<usize>) -> Option<Vec<usize>> {
        let order = Order::of(self);
        // Rooms first see how long what is published takes to reach them; a
        // second round lets that go on to those who listen. Media do not mix.
        let mut ways: Vec<Vec<Option<Way>>> = Vec::new();
        let media = [None, Some(Medium::Audio), Some(Medium::Video)];
        for _ in 0..2 {
            ways = media
                .iter()
                .enumerate()
                .map(|(kind, medium)| {
                    self.ways(&order, *medium, start, ways.get(kind).map_or(&[], Vec::as_slice))
                })
                .collect();
        }
        let mut longest: Option<(Way, usize, usize)> = None;
        for (kind, ways) in ways.iter().enumerate() {
            for (node, way) in ways.iter().enumerate() {
                let Some(way) = way.filter(|_| end.is_none_or(|end| end == node)) else { continue };
                if longest.is_none_or(|(best, ..)| way.length() > best.length()) {
                    longest = Some((way, kind, node));
                }
            }
        }
        let (_, kind, node) = longest?;
        let mut path = Vec::new();
        let mut at = Some(node);
        while let Some(node) = at {
            path.push(node);
            // Two rooms of one place may stand behind each other.
            if path.len() > 2 * self.nodes.len() || Some(node) == start {
                break;
            }
            let before = ways[kind][node].and_then(|way| way.before);
            at = before.filter(|before| !path.contains(before));
        }
        path.reverse();
        Some(path)
    }

    /// The slowest way from `start` (or any source) to each node for one medium
    /// (or for what is of none), given the ways into rooms of the round before.
    fn ways(
        &self,
        order: &Order,
        medium: Option<Medium>,
        start: Option<usize>,
        earlier: &[Option<Way>],
    ) -> Vec<Option<Way>> {
        let mut ways: Vec<Option<Way>> = vec![None; self.nodes.len()];
        for &node in &order.nodes {
            let begins = start.is_none_or(|start| start == node);
            let mut best = begins.then(Way::default);
            for link in order.into[node].iter().map(|index| &self.links[*index]) {
                let of_medium = link.media.medium().is_none_or(|carried| Some(carried) == medium);
                if link.is_loop || !of_medium || start == Some(node) {
                    continue;
                }
                let way = self.through(link, start, &ways, earlier);
                let is_longer = |way: &Way| best.is_none_or(|best| way.length() >= best.length());
                best = way.filter(is_longer).or(best);
            }
            ways[node] = best.map(|best| Way {
                sum: best.sum + self.nodes[node].latency,
                nodes: best.nodes + 1,
                before: best.before,
            });
        }
        ways
    }

    /// The slowest way along `link`: for what a room hands out, that of the
    /// slowest who publishes into it elsewhere.
    fn through(
        &self,
        link: &NetLink,
        start: Option<usize>,
        ways: &[Option<Way>],
        earlier: &[Option<Way>],
    ) -> Option<Way> {
        let hub = link.from.0;
        if link.member.is_none() {
            return ways[hub].map(|here| Way { before: Some(hub), ..here });
        }
        let alone = Way { sum: self.nodes[hub].latency, nodes: 1, before: Some(hub) };
        let alone = start.is_none_or(|start| start == hub).then_some(alone);
        let Some(url) = self.url(hub).filter(|_| start != Some(hub)) else { return alone };
        let others = (0..self.nodes.len()).filter(|other| *other != hub && self.url(*other) == Some(url));
        let others = others.filter_map(|other| Some(Way { before: Some(other), ..(*earlier.get(other)?)? }));
        others.max_by_key(Way::length).or(alone)
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
pub(crate) fn ms(duration: Duration) -> String {
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
