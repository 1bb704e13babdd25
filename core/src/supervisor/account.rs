//! What the supervisor tells of a run: stalls, progress, and the report.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::{Progress, Update};
use crate::event::{EventKind, Figure};
use crate::histogram::{Histogram, millis};
use crate::ledger::{NodeId, Step};
use crate::report::{Breach, EndToEnd, FigureReport, LinkReport, Path, Report, Stage};
use crate::timestamp::Timestamp;

use super::{Supervisor, node_id};

/// How often the budget is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Fewer frames in a second tell nothing of it.
const FEWEST: u64 = 5;
/// A node that cannot be called for this long is named.
const STALL: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Names nodes that have had something to do for a while and were not
    /// called: which waits for which.
    pub(crate) fn watch(&mut self, now: Timestamp, observe: &mut dyn FnMut(Update<'_>)) {
        let in_call: HashMap<u32, bool> = self
            .lanes
            .iter_mut()
            .map(|lane| {
                let turns = lane.ledger.turns.get();
                let same = turns == lane.seen_turns;
                lane.seen_turns = turns;
                (lane.ledger.current.load(Ordering::Relaxed), same)
            })
            .collect();
        let mut found = Vec::new();
        for index in 0..self.nodes.len() {
            let entry = &self.nodes[index];
            if entry.ended || entry.removed {
                continue;
            }
            let calls = entry.ledger.calls.get();
            let stuck = in_call.get(&(node_id(index).0 + 1)).is_some_and(|same| *same);
            let blocked = entry.ledger.blocked();
            let why = match blocked {
                Some(link) => self
                    .links
                    .get(link.0 as usize)
                    .map(|link| format!("waits for room in its link to {}", link.to)),
                None if stuck => Some("has not come back from one call".to_owned()),
                None => None,
            };
            let entry = &mut self.nodes[index];
            if calls != entry.still.0 || why.is_none() {
                entry.still = (calls, now);
                entry.stalled = false;
            } else if now.since(entry.still.1) >= STALL && !entry.stalled {
                entry.stalled = true;
                found.extend(why.map(|why| (index, why)));
            }
        }
        for (index, why) in found {
            let kind = EventKind::Notice(format!("stalled for {} s: {why}", STALL.as_secs()).into());
            observe(Update::Event { at: self.seconds(now), node: &self.nodes[index].node.name, kind: &kind });
        }
    }

    /// When the budget is looked at next, if there is one.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        self.graph.budget.map(|_| self.looked + LOOK)
    }

    /// Compares what each sink rendered in the last second with the budget; tells
    /// of a breach when it begins and when it is over.
    pub(crate) fn look_at_budget(&mut self, now: Timestamp, observe: &mut dyn FnMut(Update<'_>)) {
        let Some(budget) = self.graph.budget.filter(|_| now >= self.looked + LOOK) else { return };
        self.looked = now;
        let at = self.seconds(now);
        let budget_ms = millis(budget);
        for index in 0..self.nodes.len() {
            let path = &self.nodes[index].ledger.rendered;
            if path.medium().is_none() {
                continue;
            }
            let all = Histogram::default();
            all.merge(&path.end_to_end);
            let sums = path.sums();
            let then = self.looks.insert(index, (all, sums.clone()));
            let (before, before_sums) = then.unwrap_or_default();
            let recent = path.end_to_end.since(&before).summary();
            if recent.count < FEWEST {
                continue;
            }
            let name = Arc::clone(&self.nodes[index].node.name);
            let over = recent.p95 > budget_ms;
            if over == self.over_budget.contains(&index) {
                continue;
            }
            let kind = if over {
                self.over_budget.insert(index);
                let (stage, taken) = slowest(&sums, &before_sums);
                #[allow(clippy::cast_precision_loss)]
                let stage_ms = millis(taken) / recent.count as f64;
                let stage =
                    self.nodes.get(stage.0 as usize).map_or("".into(), |entry| Arc::clone(&entry.node.name));
                self.breaches.push(Breach {
                    at,
                    sink: name.to_string(),
                    p95_ms: recent.p95,
                    budget_ms,
                    stage: stage.to_string(),
                    stage_ms,
                });
                EventKind::OverBudget { p95_ms: recent.p95, budget_ms, stage, stage_ms }
            } else {
                self.over_budget.remove(&index);
                EventKind::WithinBudget
            };
            observe(Update::Event { at, node: &name, kind: &kind });
        }
    }

    pub(crate) fn progress(&self, now: Timestamp) -> Progress {
        let mut rendered = [0; 2];
        for entry in &self.nodes {
            if let Some(medium) = entry.ledger.rendered.medium() {
                rendered[medium as usize] += entry.ledger.rendered.end_to_end.summary().count;
            }
        }
        Progress {
            elapsed: now.since(self.started),
            rendered,
            dropped: self.nodes.iter().map(|entry| entry.ledger.drops()).sum::<u64>()
                + self.links.iter().map(|link| link.ledger.dropped.get()).sum::<u64>(),
            end_to_end_ms: EndToEnd::of(self.nodes.iter().map(|entry| &*entry.ledger)),
            members: self.instances.iter().filter(|instance| !instance.nodes.is_empty()).count(),
        }
    }

    fn figure(&self, node: NodeId, figure: Figure) -> FigureReport {
        let node =
            self.nodes.get(node.0 as usize).map_or_else(String::new, |entry| entry.node.name.to_string());
        FigureReport { node, figure }
    }

    pub(crate) fn report(&self) -> Report {
        let name = |step: &Step| {
            self.nodes.get(step.node.0 as usize).map_or_else(String::new, |entry| entry.node.name.to_string())
        };
        Report {
            graph: self.graph.name.clone(),
            seconds: self.seconds(self.ended),
            virtual_time: self.clock.is_virtual(),
            seed: self.seed,
            end_to_end_ms: EndToEnd::of(self.nodes.iter().map(|entry| &*entry.ledger)),
            paths: self
                .nodes
                .iter()
                .filter_map(|entry| Path::of(&entry.node.name, &entry.ledger, name))
                .collect(),
            stages: self
                .nodes
                .iter()
                .map(|entry| {
                    let lane = &self.lanes[entry.lane].name;
                    Stage::of(&entry.node.name, entry.node.spec, lane, &entry.ledger)
                })
                .collect(),
            links: self
                .links
                .iter()
                .map(|link| LinkReport::of(&link.from, &link.to, link.capacity, link.overflow, &link.ledger))
                .collect(),
            lost_events: self.lanes.iter().map(|lane| lane.ledger.lost_notices.get()).sum(),
            figures: self.figures.iter().map(|((node, _), figure)| self.figure(*node, *figure)).collect(),
            breaches: self.breaches.clone(),
            faults: self.faults.clone(),
            undrained: self
                .nodes
                .iter()
                .filter(|entry| !entry.ended && !entry.removed)
                .map(|entry| entry.node.name.to_string())
                .collect(),
        }
    }
}

/// The node whose shares grew most, and by how much.
fn slowest(now: &[Step], before: &[Step]) -> (NodeId, Duration) {
    let whole = |step: &Step| step.wait + step.buffer + step.work;
    now.iter()
        .map(|step| {
            let then = before.iter().find(|other| other.node == step.node).map_or(Duration::ZERO, whole);
            (step.node, whole(step).saturating_sub(then))
        })
        .max_by_key(|(_, grown)| *grown)
        .unwrap_or_default()
}
