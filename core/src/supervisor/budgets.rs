//! What the supervisor does about budgets: four times a second it looks at what
//! came along each path in the last second, names the guilty stage where that
//! took too long, applies the remedy, and undoes it when the budget has held.
//!
//! - The guilty stage is the one that took most beyond what it declares, in the
//!   mean. Where that one could not be called because a link behind it was full,
//!   it is the one behind that link that did not take what came, and so on.
//! - `drop_late`: the guilty stage drops what is older than the limit less what
//!   the rest of the path takes, with a margin that grows while that does not
//!   suffice. It is undone when the budget has held, and nothing was dropped,
//!   for `HOLD`.
//! - `degrade`: every node on the path that can do less does so, by one level
//!   more each second until the budget holds; by one level less whenever it has
//!   held for `HOLD`. If that was too early, it waits twice as long next time, so
//!   that it does not go to and fro.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::budget::Remedy;
use crate::control::Control;
use crate::duties::{Duties, LateRule, PathWatch};
use crate::engine::Update;
use crate::event::EventKind;
use crate::histogram::{Histogram, Summary, millis};
use crate::lane::Message;
use crate::ledger::{Counter, NodeId, PathLedger, Step};
use crate::param::{DEGRADE, Value};
use crate::report::Breach;
use crate::timestamp::Timestamp;

use super::{Edits, NodeEntry, Supervisor, post};

/// How often budgets are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// What is judged is what came in the last so many looks: a second.
const WINDOW: usize = 4;
/// With how few frames in a second a stream is first judged.
const FEWEST: u64 = 5;
/// So long a budget must hold before its remedy is undone, or lessened.
const HOLD: Duration = Duration::from_secs(5);
/// The most that this grows to.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// So much of a limit is kept free when frames are dropped, at first, and how
/// much more each time that this did not suffice.
const MARGIN: f64 = 0.05;
const MORE_MARGIN: f64 = 0.1;
const MOST_MARGIN: f64 = 0.5;
/// Levels of doing less.
const MOST_LEVEL: i64 = 3;
/// What a rule's age must move by to be worth telling its lane.
const NOTABLE: Duration = Duration::from_millis(1);

/// The budgets of a running graph.
#[derive(Default)]
pub(super) struct Budgets {
    looked: Timestamp,
    watched: Vec<Watched>,
}

/// One budget at one node where its path ends.
struct Watched {
    /// Its place in the graph's budgets.
    budget: usize,
    end: NodeId,
    /// Where its path may begin, and what came along it; `None` for capture to
    /// render, which the node's own ledger has.
    path: Option<(Arc<[NodeId]>, Arc<PathLedger>)>,
    /// The oldest first.
    looks: VecDeque<Look>,
    /// Whether enough frames came in some second to judge by.
    judged: bool,
    /// The place of the breach among the report's, while there is one.
    breach: Option<usize>,
    /// Since when it has held, or the remedy last changed.
    since: Timestamp,
    relief: Relief,
}

/// What a path's ledger showed, and which nodes waited for which.
struct Look {
    seen: Histogram,
    sums: Vec<Step>,
    blocked: Vec<(NodeId, NodeId)>,
}

/// What is done for one budget.
#[derive(Default)]
struct Relief {
    /// What is dropped where.
    rules: Vec<Rule>,
    margin: f64,
    /// The nodes that do less, and by how much.
    able: Vec<NodeId>,
    level: i64,
    hold: Duration,
    /// When they were last told to do more again.
    lessened: Option<Timestamp>,
}

struct Rule {
    node: NodeId,
    most: Duration,
    dropped: Arc<Counter>,
    /// What it had dropped at the last look.
    seen: u64,
}

impl Relief {
    const fn is_active(&self) -> bool {
        !self.rules.is_empty() || self.level > 0
    }
}

/// What came along a path in the last second.
struct Recent {
    summary: Summary,
    /// Mean shares, in path order.
    shares: Vec<Step>,
    guilty: NodeId,
}

impl Supervisor {
    /// When budgets are looked at next, if there are any.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        (!self.graph.budgets.is_empty()).then(|| self.budgets.looked + LOOK)
    }

    /// Has every budget judged anew, as where an edit changes which there are:
    /// what was done for the old ones is undone at the next look.
    pub(super) fn renumber_budgets(&mut self) {
        self.budgets.watched.iter_mut().for_each(|one| one.budget = usize::MAX);
    }

    /// Begins to measure the paths of budgets.
    pub(super) fn begin_budgets(&mut self, now: Timestamp) {
        self.budgets.looked = now;
        let mut dirty = BTreeSet::new();
        self.find_paths(now, &mut dirty);
        self.post_duties(&dirty);
    }

    /// Judges every budget, if that is due; tells of breaches when they begin
    /// and when they are over, and of what is done about them.
    pub(crate) fn look_at_budgets(&mut self, now: Timestamp, observe: &mut dyn FnMut(Update<'_>)) {
        if self.next_look().is_none_or(|next| now < next) {
            return;
        }
        self.budgets.looked = now;
        let mut dirty = BTreeSet::new();
        self.find_paths(now, &mut dirty);
        let mut events = Vec::new();
        let mut watched = std::mem::take(&mut self.budgets.watched);
        for one in &mut watched {
            if let Some(recent) = self.recent(one) {
                self.judge(one, &recent, now, &mut events);
                let before: Vec<_> = one.relief.rules.iter().map(|rule| (rule.node, rule.most)).collect();
                self.relieve(one, &recent, now, &mut events);
                let after: Vec<_> = one.relief.rules.iter().map(|rule| (rule.node, rule.most)).collect();
                if before != after {
                    dirty.extend(before.iter().chain(&after).map(|(node, _)| *node));
                }
            }
        }
        self.budgets.watched = watched;
        self.post_duties(&dirty);
        self.post_levels(&mut events);
        let at = self.seconds(now);
        for (node, kind) in events {
            if let Some(entry) = self.nodes.get(&node) {
                observe(Update::Event { at, node: &entry.node.name, kind: &kind });
            }
        }
    }

    /// Finds the ends of every budget's path among the nodes there are now;
    /// nodes whose duties change by that are added to `dirty`.
    fn find_paths(&mut self, now: Timestamp, dirty: &mut BTreeSet<NodeId>) {
        let mut ends = Vec::new();
        for (budget, asked) in self.graph.budgets.iter().enumerate() {
            let Some(path) = &asked.path else {
                let renders = |entry: &NodeEntry| entry.ledger.rendered.medium().is_some();
                let sinks = self.nodes.iter().filter(|(_, entry)| renders(entry));
                ends.extend(sinks.map(|(end, _)| (budget, *end, None)));
                continue;
            };
            let named = |name: &str| {
                let nodes = self.nodes.iter().filter(|(_, entry)| declared_name(&entry.node.name) == name);
                nodes.map(|(id, _)| *id).collect::<Vec<_>>()
            };
            let starts: Arc<[NodeId]> = named(&path.from).into();
            ends.extend(named(&path.to).into_iter().map(|end| (budget, end, Some(starts.clone()))));
        }
        let mut before = std::mem::take(&mut self.budgets.watched);
        for (budget, end, starts) in ends {
            let known = before.iter().position(|one| one.budget == budget && one.end == end);
            let mut one = match known {
                Some(place) => before.swap_remove(place),
                None => Watched::new(budget, end, now),
            };
            let known = one.path.as_ref().map(|(starts, _)| starts);
            if known != starts.as_ref()
                && let Some(starts) = starts
            {
                let (before, ledger) = match one.path.take() {
                    Some((before, ledger)) => (before, ledger),
                    None => ([].into(), Arc::new(PathLedger::prepared())),
                };
                dirty.extend(before.iter().chain(&*starts));
                dirty.insert(end);
                one.path = Some((starts, ledger));
            }
            self.budgets.watched.push(one);
        }
        // What is left was about nodes that are gone, or a budget that is.
        dirty.extend(before.iter().flat_map(Watched::nodes));
        // A node that came back knows nothing of what it did before.
        let asked: Vec<_> = self.budgets.watched.iter().flat_map(Watched::nodes).collect();
        dirty.extend(asked.into_iter().filter(|id| self.nodes.get(id).is_some_and(|entry| !entry.dutiful)));
    }

    /// Looks at one path; gives what came in the last second, once it can be
    /// judged.
    fn recent(&self, one: &mut Watched) -> Option<Recent> {
        let ledger = match &one.path {
            Some((_, ledger)) => ledger,
            None => &self.nodes.get(&one.end)?.ledger.rendered,
        };
        let seen = Histogram::default();
        ledger.end_to_end().into_iter().for_each(|end_to_end| seen.merge(end_to_end));
        let sums = ledger.sums();
        let blocked = sums.iter().filter_map(|step| Some((step.node, self.blocked_by(step.node)?))).collect();
        one.looks.push_back(Look { seen, sums, blocked });
        if one.looks.len() <= WINDOW {
            return None;
        }
        let then = if one.looks.len() > WINDOW + 1 { one.looks.pop_front() } else { None };
        drop(then);
        let (first, last) = (one.looks.front()?, one.looks.back()?);
        let summary = last.seen.since(&first.seen).summary();
        if summary.count < if one.judged { 1 } else { FEWEST } {
            return None;
        }
        one.judged = true;
        let shares: Vec<_> = last.sums.iter().map(|step| mean(step, &first.sums, summary.count)).collect();
        let guilty = self.guilty(&shares, &one.looks)?;
        Some(Recent { summary, shares, guilty })
    }

    /// The node for whose want of taking frames `node` cannot be called.
    fn blocked_by(&self, node: NodeId) -> Option<NodeId> {
        let link = self.nodes.get(&node)?.ledger.blocked()?;
        self.links.get(&link).map(|link| link.account.taker)
    }

    /// The node that took most beyond what it declares, or the one that it had
    /// to wait for.
    fn guilty(&self, shares: &[Step], looks: &VecDeque<Look>) -> Option<NodeId> {
        let beyond = |step: &Step| {
            let declared = self.nodes.get(&step.node).map_or(Duration::ZERO, |entry| entry.node.latency);
            all(step).saturating_sub(declared)
        };
        let mut guilty = shares.iter().max_by_key(|step| beyond(step))?.node;
        let mut passed = vec![guilty];
        loop {
            let mut waited: BTreeMap<NodeId, usize> = BTreeMap::new();
            for (_, by) in looks.iter().flat_map(|look| &look.blocked).filter(|(node, _)| *node == guilty) {
                *waited.entry(*by).or_default() += 1;
            }
            // A link that is full now and then is no cause.
            let next = waited.into_iter().filter(|(_, times)| 2 * times > WINDOW).max_by_key(|(_, n)| *n);
            match next {
                Some((by, _)) if !passed.contains(&by) => guilty = by,
                _ => break,
            }
            passed.push(guilty);
        }
        Some(guilty).filter(|guilty| self.nodes.contains_key(guilty))
    }

    /// Compares a path with its budget.
    fn judge(
        &mut self,
        one: &mut Watched,
        recent: &Recent,
        now: Timestamp,
        events: &mut Vec<(NodeId, EventKind)>,
    ) {
        let budget = &self.graph.budgets[one.budget];
        let (budget_ms, p95_ms) = (millis(budget.limit), recent.summary.p95);
        let from = budget.path.as_ref().map(|path| Arc::clone(&path.from));
        let at = self.seconds(now);
        match (one.breach, p95_ms > budget_ms) {
            (None, true) => {
                let stage = self.name_of(recent.guilty);
                let share = recent.shares.iter().find(|step| step.node == recent.guilty);
                let stage_ms = share.map_or(0.0, |step| millis(all(step)));
                let remedy = budget.remedy;
                one.breach = Some(self.breaches.len());
                self.breaches.push(Breach {
                    at,
                    until: None,
                    from: from.as_ref().map(ToString::to_string),
                    sink: self.name_of(one.end).to_string(),
                    p95_ms,
                    budget_ms,
                    stage: stage.to_string(),
                    stage_ms,
                    remedy,
                });
                let kind = EventKind::OverBudget { from, p95_ms, budget_ms, stage, stage_ms, remedy };
                events.push((one.end, kind));
            }
            (Some(breach), false) => {
                one.breach = None;
                one.since = now;
                if let Some(breach) = self.breaches.get_mut(breach) {
                    breach.until = Some(at);
                }
                events.push((one.end, EventKind::WithinBudget { from }));
            }
            _ => {}
        }
    }

    /// Applies, tightens or undoes the remedy of one budget.
    fn relieve(
        &mut self,
        one: &mut Watched,
        recent: &Recent,
        now: Timestamp,
        events: &mut Vec<(NodeId, EventKind)>,
    ) {
        let remedy = self.graph.budgets[one.budget].remedy;
        match (remedy, one.breach.is_some()) {
            (Remedy::Report, _) => {}
            (Remedy::DropLate, true) => self.drop_late(one, recent, now, events),
            (Remedy::Degrade, true) => self.degrade(one, recent, now),
            (_, false) if !one.relief.is_active() => {}
            (_, false) => one.recover(now, events),
        }
    }

    /// Has the guilty stage drop what cannot come in time any more.
    fn drop_late(
        &self,
        one: &mut Watched,
        recent: &Recent,
        now: Timestamp,
        events: &mut Vec<(NodeId, EventKind)>,
    ) {
        // A source takes nothing that it could drop; the one after it does.
        let place = recent.shares.iter().position(|step| step.node == recent.guilty);
        let takes =
            |node: &NodeId| self.nodes.get(node).is_some_and(|entry| !entry.node.spec.inputs.is_empty());
        let on_path = recent.shares.iter().skip(place.unwrap_or(0)).map(|step| step.node);
        let Some(node) = std::iter::once(recent.guilty).chain(on_path).find(takes) else {
            return;
        };
        let limit = self.graph.budgets[one.budget].limit;
        let relief = &mut one.relief;
        if !relief.is_active() {
            (relief.margin, one.since) = (MARGIN, now);
        } else if now.since(one.since) > LOOK * WINDOW as u32 {
            // What is judged came after the rule by now, and is too late still.
            (relief.margin, one.since) = ((relief.margin + MORE_MARGIN).min(MOST_MARGIN), now);
        }
        let place = recent.shares.iter().position(|step| step.node == node);
        let own =
            place.map_or(Duration::ZERO, |place| recent.shares[place].buffer + recent.shares[place].work);
        let rest: Duration =
            recent.shares.iter().skip(place.map_or(usize::MAX, |place| place + 1)).map(all).sum();
        let most = limit.mul_f64(1.0 - relief.margin).saturating_sub(own + rest);
        match relief.rules.iter_mut().find(|rule| rule.node == node) {
            Some(rule) if rule.most.abs_diff(most) < NOTABLE => {}
            Some(rule) => rule.most = most,
            None => {
                let rule = Rule { node, most, dropped: Arc::default(), seen: 0 };
                relief.rules.push(rule);
                events.push((node, EventKind::DropsLate { older_than_ms: Some(millis(most)) }));
            }
        }
    }

    /// Has the nodes on the path do less that can, and less yet where that was
    /// not enough.
    fn degrade(&self, one: &mut Watched, recent: &Recent, now: Timestamp) {
        let can = |node: &NodeId| {
            self.nodes.get(node).is_some_and(|entry| entry.node.spec.param(DEGRADE.name).is_some())
        };
        let relief = &mut one.relief;
        for node in recent.shares.iter().map(|step| step.node).filter(can) {
            if !relief.able.contains(&node) {
                relief.able.push(node);
            }
        }
        let too_early = relief.lessened.is_some_and(|at| now.since(at) < relief.hold);
        let settled = relief.level == 0 || now.since(one.since) > LOOK * WINDOW as u32;
        if relief.able.is_empty() || relief.level == MOST_LEVEL || !(settled || too_early) {
            return;
        }
        if too_early {
            relief.hold = (relief.hold * 2).min(LONGEST_HOLD);
        } else if relief.level == 0 {
            relief.hold = HOLD;
        }
        relief.lessened = None;
        relief.level += 1;
        one.since = now;
    }

    /// Hands `nodes` what they are to do for budgets.
    fn post_duties(&mut self, nodes: &BTreeSet<NodeId>) {
        let mut edits = Edits::default();
        for &node in nodes {
            let Some(entry) = self.nodes.get_mut(&node) else { continue };
            entry.dutiful = true;
            let mut duties = Duties::default();
            for one in &self.budgets.watched {
                if let Some((starts, ledger)) = &one.path {
                    duties.begins |= starts.contains(&node);
                    if one.end == node {
                        let (starts, ledger) = (Arc::clone(starts), Arc::clone(ledger));
                        duties.paths.push(PathWatch { starts, ledger });
                    }
                }
                let rules = one.relief.rules.iter().filter(|rule| rule.node == node);
                duties.late.extend(rules.map(|rule| LateRule {
                    starts: one.path.as_ref().map(|(starts, _)| Arc::clone(starts)),
                    most: rule.most,
                    dropped: Arc::clone(&rule.dropped),
                }));
            }
            let duties = (!duties.is_idle()).then(|| Box::new(duties));
            edits.to(entry.lane).duties.push((node, duties));
        }
        self.post_edits(edits);
    }

    /// Tells nodes how much less to do, where that changed: the most that any
    /// budget wants, and no less than the graph says.
    fn post_levels(&mut self, events: &mut Vec<(NodeId, EventKind)>) {
        let mut wanted: BTreeMap<NodeId, i64> = BTreeMap::new();
        for relief in self.budgets.watched.iter().map(|one| &one.relief) {
            for node in &relief.able {
                let level = wanted.entry(*node).or_default();
                *level = relief.level.max(*level);
            }
        }
        for (&id, entry) in &mut self.nodes {
            let level = wanted.get(&id).copied();
            if level.is_none() && entry.level.is_none() {
                continue;
            }
            let given = entry.node.params.int(DEGRADE.name);
            let level = level.unwrap_or(0).max(given);
            if entry.level.unwrap_or(given) == level {
                continue;
            }
            entry.level = Some(level);
            let control = Control::Set { param: DEGRADE.name, value: Value::Int(level) };
            if let Some(lane) = self.lanes.get(&entry.lane) {
                post(&lane.mailbox, Message::Control { node: id, control, through: None });
            }
            events.push((id, EventKind::Degraded { level }));
        }
    }

    fn name_of(&self, node: NodeId) -> Arc<str> {
        self.nodes.get(&node).map_or_else(|| "".into(), |entry| Arc::clone(&entry.node.name))
    }
}

impl Watched {
    fn new(budget: usize, end: NodeId, now: Timestamp) -> Self {
        Self {
            budget,
            end,
            path: None,
            looks: VecDeque::new(),
            judged: false,
            breach: None,
            since: now,
            relief: Relief { hold: HOLD, ..Relief::default() },
        }
    }

    /// The nodes whose lanes have something to do for it.
    fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let measures = self.path.iter().flat_map(|(starts, _)| starts.iter().copied().chain([self.end]));
        measures.chain(self.relief.rules.iter().map(|rule| rule.node))
    }

    /// Undoes the remedy, or some of it, when the budget has held for long
    /// enough.
    fn recover(&mut self, now: Timestamp, events: &mut Vec<(NodeId, EventKind)>) {
        for rule in &mut self.relief.rules {
            let dropped = rule.dropped.get();
            if dropped != rule.seen {
                // It holds because of what is dropped.
                (rule.seen, self.since) = (dropped, now);
            }
        }
        if now.since(self.since) < self.relief.hold {
            return;
        }
        self.since = now;
        for rule in self.relief.rules.drain(..) {
            events.push((rule.node, EventKind::DropsLate { older_than_ms: None }));
        }
        if self.relief.level > 0 {
            self.relief.level -= 1;
            self.relief.lessened = Some(now);
        }
    }
}

/// The name of a node as the graph file has it: without the member's name where
/// a template made it.
fn declared_name(name: &str) -> String {
    match (name.find('['), name.rfind("]/")) {
        (Some(begin), Some(end)) if begin < end => format!("{}{}", &name[..begin], &name[end + 1..]),
        _ => name.to_owned(),
    }
}

fn all(step: &Step) -> Duration {
    step.wait + step.buffer + step.work
}

/// What `now`'s node took in the mean of `count` frames since `before`.
fn mean(now: &Step, before: &[Step], count: u64) -> Step {
    let then = before.iter().find(|then| then.node == now.node).copied().unwrap_or_default();
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    Step {
        node: now.node,
        wait: now.wait.saturating_sub(then.wait) / count,
        buffer: now.buffer.saturating_sub(then.buffer) / count,
        work: now.work.saturating_sub(then.work) / count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_be_called_anything() {
        for (name, declared) in [
            ("mic", "mic"),
            ("remote[bob]/remote_audio/jitter", "remote/remote_audio/jitter"),
            ("remote[a]/b[c]/opus", "remote/opus"),
        ] {
            assert_eq!(declared_name(name), declared);
        }
    }
}
