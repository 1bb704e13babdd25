//! What the supervisor tells of a run: stalls, progress, and the report.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::{Progress, Update};
use crate::event::EventKind;
use crate::ledger::NodeLedger;
use crate::report::{EndToEnd, Report};
use crate::timestamp::Timestamp;
use crate::watch::{Books, LaneBook};

use super::Supervisor;
use super::retired::NodeAccount;

/// A node that cannot be called for this long is named.
const STALL: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Names nodes that have had something to do for a while and were not
    /// called: which waits for which.
    pub(crate) fn watch(&mut self, now: Timestamp, observe: &mut dyn FnMut(Update<'_>)) {
        let in_call: HashMap<u32, bool> = self
            .lanes
            .values_mut()
            .map(|lane| {
                let turns = lane.ledger.turns.get();
                let same = turns == lane.seen_turns;
                lane.seen_turns = turns;
                (lane.ledger.current.load(Ordering::Relaxed), same)
            })
            .collect();
        let mut found = Vec::new();
        for (&id, entry) in &mut self.nodes {
            if entry.ended {
                continue;
            }
            let calls = entry.ledger.calls.get();
            let stuck = in_call.get(&(id.0 + 1)).is_some_and(|same| *same);
            let blocked = entry.ledger.blocked();
            let why = match blocked {
                Some(link) => self
                    .links
                    .get(&link)
                    .map(|link| format!("waits for room in its link to {}", link.account.to)),
                None if stuck => Some("has not come back from one call".to_owned()),
                None => None,
            };
            if calls != entry.still.0 || why.is_none() {
                entry.still = (calls, now);
                entry.stalled = false;
            } else if now.since(entry.still.1) >= STALL && !entry.stalled {
                entry.stalled = true;
                found.extend(why.map(|why| (Arc::clone(&entry.node.name), why)));
            }
        }
        for (name, why) in found {
            let kind = EventKind::Notice(format!("stalled for {} s: {why}", STALL.as_secs()).into());
            observe(Update::Event { at: self.seconds(now), node: &name, kind: &kind });
        }
    }

    pub(crate) fn progress(&self, now: Timestamp) -> Progress {
        let live = self.nodes.values().map(|entry| &*entry.ledger);
        let ledgers = live.chain(self.retired.nodes.iter().map(|account| &*account.ledger));
        let sinks = ledgers.clone().filter_map(|ledger| ledger.rendered.of_medium());
        let mut rendered = [0; 2];
        for (medium, end_to_end) in sinks.clone() {
            rendered[medium as usize] += end_to_end.count();
        }
        let links = self.links.values().map(|link| &link.account).chain(&self.retired.links);
        Progress {
            elapsed: now.since(self.started),
            rendered,
            dropped: ledgers.map(NodeLedger::drops).sum::<u64>()
                + links.map(|link| link.ledger.dropped.get()).sum::<u64>()
                + self.retired.dropped,
            end_to_end_ms: EndToEnd::of(sinks),
            members: self.members(),
        }
    }

    /// All nodes that there are, and those remembered, in the order in which
    /// they were first made.
    fn node_accounts(&self) -> Vec<NodeAccount> {
        let live = self.nodes.iter().map(|(id, entry)| NodeAccount {
            id: *id,
            name: Arc::clone(&entry.node.name),
            spec: entry.node.spec,
            lane: self.lanes.get(&entry.lane).map_or("".into(), |lane| Arc::clone(&lane.name)),
            ledger: Arc::clone(&entry.ledger),
        });
        let mut all: Vec<_> = live.chain(self.retired.nodes.iter().cloned()).collect();
        all.sort_by_key(|account| account.id);
        all
    }

    pub(crate) fn report(&self) -> Report {
        let undrained = self.nodes.values().filter(|entry| !entry.ended);
        Report {
            undrained: undrained.map(|entry| entry.node.name.to_string()).collect(),
            ..self.books().report(self.ended)
        }
    }

    /// Every ledger, to be read on another thread.
    pub(crate) fn books(&self) -> Books {
        let lanes = self.lanes.iter().map(|(&id, lane)| LaneBook {
            id,
            name: Arc::clone(&lane.name),
            real_time: self
                .nodes
                .values()
                .filter(|entry| entry.lane == id)
                .all(|entry| entry.node.spec.real_time),
            since: lane.since,
            ledger: Arc::clone(&lane.ledger),
            waker: lane.mailbox.waker().clone(),
        });
        Books {
            graph: self.graph.name.clone(),
            clock: self.clock.clone(),
            seed: self.seed,
            started: self.started,
            members: self.members(),
            lanes: lanes.collect(),
            nodes: self.node_accounts(),
            live: self.nodes.keys().copied().collect(),
            links: self
                .links
                .values()
                .map(|link| &link.account)
                .chain(&self.retired.links)
                .cloned()
                .collect(),
            figures: self.figures.clone(),
            faults: self.faults.clone(),
            breaches: self.breaches.clone(),
            forgotten: self.retired.forgotten,
            lost_events: self.retired.lost_events,
        }
    }

    fn members(&self) -> usize {
        self.instances.iter().filter(|instance| !instance.gone).count()
    }
}
