//! What is kept of nodes and links that are gone, so that the report tells of
//! all that ever ran, and memory stays flat however often things come and go.
//!
//! A node that comes back under its name and kind goes on with its number and
//! its ledger, and so does a link between the same ports. Of what does not come
//! back the latest are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cell::Cell;
use crate::lane::Message;
use crate::ledger::{LinkLedger, NodeId, NodeLedger};
use crate::link::{LinkId, Overflow};
use crate::registry::NodeSpec;

use super::{NodeEntry, Supervisor, post};

/// Nodes, and links, that are remembered after they are gone.
const REMEMBERED: usize = 256;

/// What the report says of a node.
#[derive(Clone)]
pub(crate) struct NodeAccount {
    pub(crate) id: NodeId,
    pub(crate) name: Arc<str>,
    pub(crate) spec: &'static NodeSpec,
    pub(crate) lane: Arc<str>,
    pub(crate) ledger: Arc<NodeLedger>,
}

/// What the report says of a link.
#[derive(Clone)]
pub(crate) struct LinkAccount {
    pub(crate) from: String,
    pub(crate) to: String,
    /// The node that takes from it.
    pub(crate) taker: NodeId,
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) ledger: Arc<LinkLedger>,
}

/// Those that are gone, the latest last.
#[derive(Default)]
pub(super) struct Retired {
    pub(super) nodes: VecDeque<NodeAccount>,
    pub(super) links: VecDeque<LinkAccount>,
    /// Nodes of which nothing is kept any more.
    pub(super) forgotten: u64,
    /// What those dropped, and the links that are forgotten.
    pub(super) dropped: u64,
    /// Events that found no room on their way from lanes that are gone.
    pub(super) lost_events: u64,
}

impl Retired {
    /// Keeps the account of a node; gives the node that is forgotten for it.
    pub(super) fn node(&mut self, account: NodeAccount) -> Option<NodeId> {
        self.nodes.push_back(account);
        let oldest = if self.nodes.len() > REMEMBERED { self.nodes.pop_front()? } else { return None };
        self.forgotten += 1;
        self.dropped += oldest.ledger.drops();
        Some(oldest.id)
    }

    /// The account of a node that comes back.
    pub(super) fn take_node(&mut self, name: &str, spec: &'static NodeSpec) -> Option<NodeAccount> {
        let at = self.place_of(name, spec)?;
        self.nodes.remove(at)
    }

    /// The number that a node which comes back will have again.
    pub(super) fn number_of(&self, name: &str, spec: &'static NodeSpec) -> Option<NodeId> {
        self.place_of(name, spec).map(|at| self.nodes[at].id)
    }

    fn place_of(&self, name: &str, spec: &'static NodeSpec) -> Option<usize> {
        self.nodes.iter().position(|known| *known.name == *name && known.spec.kind == spec.kind)
    }

    pub(super) fn link(&mut self, account: LinkAccount) {
        let same = |known: &&LinkAccount| known.from == account.from && known.to == account.to;
        if let Some(known) = self.links.iter().find(same) {
            known.ledger.frames.add(account.ledger.frames.get());
            known.ledger.dropped.add(account.ledger.dropped.get());
            known.ledger.high_water.raise(account.ledger.high_water.get());
            return;
        }
        self.links.push_back(account);
        if self.links.len() > REMEMBERED
            && let Some(oldest) = self.links.pop_front()
        {
            self.dropped += oldest.ledger.dropped.get();
        }
    }

    /// The ledger of a link that comes back.
    pub(super) fn take_link(&mut self, from: &str, to: &str) -> Option<Arc<LinkLedger>> {
        let at = self.links.iter().position(|known| known.from == from && known.to == to)?;
        self.links.remove(at).map(|account| account.ledger)
    }
}

impl Supervisor {
    /// Keeps of a node that is gone what the report tells, and lets its lane go
    /// if it was the last there.
    pub(super) fn retire(&mut self, cell: Box<Cell>) {
        for inlet in &cell.wiring.inlets {
            self.retire_link(inlet.link);
        }
        self.members.retain(|member| member.hub != cell.id);
        for instance in self.instances.iter_mut().filter(|instance| instance.gone) {
            instance.nodes.retain(|node| *node != cell.id);
        }
        self.instances.retain(|instance| !(instance.gone && instance.nodes.is_empty()));
        self.let_strays_go();
        let Cell { id, wiring, .. } = *cell;
        self.stray.extend(wiring.pools);
        let Some(entry) = self.nodes.remove(&id) else { return };
        let lane = self.lanes.get(&entry.lane).map_or("".into(), |lane| Arc::clone(&lane.name));
        let NodeEntry { node, ledger, .. } = *entry;
        let account = NodeAccount { id, name: node.name, spec: node.spec, lane, ledger };
        if let Some(forgotten) = self.retired.node(account) {
            self.figures.retain(|(node, _), _| *node != forgotten);
        }
        self.let_lane_go(entry.lane);
    }

    /// Ends a lane whose nodes are removed.
    pub(super) fn end_lane(&mut self, number: usize) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        post(&lane.mailbox, Message::Quit);
        lane.ending = true;
        self.let_lane_go(number);
    }

    /// Forgets a lane that ends, once its last node is gone.
    pub(super) fn let_lane_go(&mut self, number: usize) {
        if self.nodes.values().any(|entry| entry.lane == number) {
            return;
        }
        // What the schedule names may be needed again; the others are not.
        let named = self.lane_ids.contains(&number);
        if self.lanes.get(&number).is_some_and(|lane| !lane.ending && !named) {
            self.end_lane(number);
        } else if self.lanes.get(&number).is_some_and(|lane| lane.ending)
            && let Some(lane) = self.lanes.remove(&number)
        {
            self.retired.lost_events += lane.ledger.lost_notices.get();
        }
    }

    pub(super) fn retire_link(&mut self, link: LinkId) {
        if let Some(entry) = self.links.remove(&link) {
            self.retired.link(entry.account);
        }
    }

    /// Lets buffers go whose frames are all back: earlier, the last handle to
    /// each would free it on a lane.
    pub(super) fn let_strays_go(&mut self) {
        self.stray.retain(|pool| !pool.is_home());
    }
}
