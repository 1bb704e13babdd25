//! What the supervisor tells of a run: stalls, progress, and the report.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::{Progress, Update};
use crate::event::EventKind;
use crate::ledger::Step;
use crate::report::{EndToEnd, LinkReport, Path, Report, Stage};
use crate::timestamp::Timestamp;

use super::{Supervisor, node_id};

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
                    Stage::of(&entry.node.name, entry.node.spec.kind, lane, &entry.ledger)
                })
                .collect(),
            links: self
                .links
                .iter()
                .map(|link| LinkReport::of(&link.from, &link.to, link.capacity, link.overflow, &link.ledger))
                .collect(),
            lost_events: self.lanes.iter().map(|lane| lane.ledger.lost_notices.get()).sum(),
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
