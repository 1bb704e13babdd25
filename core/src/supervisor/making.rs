//! How nodes and links are made, and handed to the lanes that run them.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::cell::Cell;
use crate::clock::Clock;
use crate::context::Wiring;
use crate::control::Control;
use crate::deadline::Deadline;
use crate::diagnostic::Diagnostic;
use crate::engine::Update;
use crate::event::{EventKind, Renewal};
use crate::fault::NodeError;
use crate::frame::FramePool;
use crate::graph::GraphNode;
use crate::lane::{Edit, Message, Room};
use crate::ledger::{NodeId, NodeLedger};
use crate::link::{self, Crossing, Inlet, LinkId, Outlet, Overflow, Source, Taker, Waking};
use crate::media_type::MediaType;
use crate::node::{Node, Setup, Shared};
use crate::param::{DEGRADE, Value};
use crate::pool_plan::PoolPlan;
use crate::waker::{NodeWaker, Place};

use super::retired::{LinkAccount, NodeAccount};
use super::{Edits, LinkEntry, NodeEntry, Supervisor, Wanted, post};

/// Items that the shortest queue, and what is spilled beside a ring, have room for
/// without growing.
const BURST: usize = 16;

impl Supervisor {
    pub(super) fn post_edits(&mut self, edits: Edits) {
        for (number, mut edit) in edits.0 {
            if edit.is_empty() {
                continue;
            }
            self.make_room(number, &mut edit);
            if let Some(lane) = self.lanes.get(&number) {
                post(&lane.mailbox, Message::Edit(Box::new(edit)));
            }
        }
    }

    /// Gives an edit what its lane would else have to allocate.
    fn make_room(&mut self, number: usize, edit: &mut Edit) {
        let cells = self.nodes.values().filter(|entry| entry.lane == number).count();
        if let Some(lane) = self.lanes.get_mut(&number).filter(|lane| lane.room < cells) {
            lane.room = (2 * cells).next_power_of_two();
            edit.room = Some(Room::new(lane.room));
        }
        let receivers = edit.inlets.iter().map(|(node, _)| *node);
        let linked = receivers.chain(edit.outlets.iter().map(|(node, _)| *node));
        // A few more for those that were there: a link whose other end is gone
        // already may still be.
        let mut ends: BTreeMap<_, _> = linked.map(|node| (node, [4, 4])).collect();
        for cell in &edit.add {
            ends.entry(cell.id).and_modify(|ends| *ends = [0, 0]);
        }
        for link in self.links.values() {
            ends.entry(link.to.0).and_modify(|[inlets, _]| *inlets += 1);
            ends.entry(link.from.0).and_modify(|[_, outlets]| *outlets += 1);
        }
        edit.ends.extend(ends.into_iter().map(|(node, [inlets, outlets])| {
            (node, Vec::with_capacity(inlets), Vec::with_capacity(outlets))
        }));
    }

    /// The edit of the lane that a node runs on.
    pub(super) fn edit_of<'a>(&self, node: NodeId, edits: &'a mut Edits) -> &'a mut Edit {
        edits.to(self.nodes.get(&node).map_or(usize::MAX, |entry| entry.lane))
    }

    pub(super) fn cell(
        &mut self,
        node: GraphNode,
        pools: &[PoolPlan],
        lane: usize,
        made: Box<dyn Node>,
        waker: NodeWaker,
        rank: u64,
    ) -> Box<Cell> {
        let account = self.claim(&node);
        self.cell_of(account, node, pools, lane, made, waker, rank)
    }

    /// The number and the ledger of a node to be made: its own of old, if it
    /// comes back.
    pub(super) fn claim(&mut self, node: &GraphNode) -> NodeAccount {
        self.retired.take_node(&node.name, node.spec).unwrap_or_else(|| {
            self.next.node += 1;
            let ledger = NodeLedger::sharing(&self.blocks);
            if node.spec.outputs.is_empty() {
                ledger.rendered.prepare();
            }
            NodeAccount {
                id: NodeId(self.next.node - 1),
                name: Arc::clone(&node.name),
                spec: node.spec,
                lane: "".into(),
                ledger: Arc::new(ledger),
            }
        })
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn cell_of(
        &mut self,
        account: NodeAccount,
        node: GraphNode,
        pools: &[PoolPlan],
        lane: usize,
        made: Box<dyn Node>,
        waker: NodeWaker,
        rank: u64,
    ) -> Box<Cell> {
        let NodeAccount { id, ledger, .. } = account;
        let shared = |plan: &PoolPlan| self.shared_pools.get(&plan.shared?).cloned();
        let pools =
            pools.iter().map(|plan| FramePool::planned(*plan, &self.bodies, shared(plan), &ledger)).collect();
        if let Some(tracer) = &self.trace {
            tracer.node(id, &node.name, node.spec.kind);
        }
        let wiring = Wiring::new(id, pools, Arc::clone(&self.trails), Arc::clone(&ledger));
        let mut cell = Cell::new(id, node.spec, made, wiring, waker.clone(), node.on_fault);
        cell.rank = rank;
        cell.deadline = node.deadline.map(Deadline::new);
        let entry = NodeEntry {
            node,
            lane,
            ledger,
            waker,
            ended: false,
            leaving: None,
            removed: false,
            failed_builds: 0,
            still: (0, self.clock.now()),
            stalled: false,
            dutiful: false,
            level: None,
        };
        self.nodes.insert(id, Box::new(entry));
        Box::new(cell)
    }

    /// Makes every node of these kinds anew that runs or was passed by, and sends it
    /// to its lane.
    pub(crate) fn renew(&mut self, kinds: &[String], observe: &mut dyn FnMut(Update<'_>)) {
        let is_meant = |entry: &NodeEntry| {
            !entry.ended && entry.leaving.is_none() && kinds.iter().any(|kind| kind == entry.node.spec.kind)
        };
        let meant: Vec<_> =
            self.nodes.iter().filter(|(_, entry)| is_meant(entry)).map(|(id, _)| *id).collect();
        for id in meant {
            let Some(entry) = self.nodes.get(&id) else { continue };
            let mailbox = &self.lanes[&entry.lane].mailbox;
            match self.made_anew(&entry.node, &entry.waker) {
                Ok(with) => {
                    self.restarts.retain(|(_, other)| *other != id);
                    post(mailbox, Message::Renew { node: id, with });
                    if let Some(level) = entry.level {
                        let control = Control::Set { param: DEGRADE.name, value: Value::Int(level) };
                        post(mailbox, Message::Control { node: id, control, through: None });
                    }
                }
                Err(why) => {
                    let kind = EventKind::Renewed(Renewal::Kept(why.into()));
                    let at = self.seconds(self.clock.now());
                    observe(Update::Event { at, node: &entry.node.name, kind: &kind });
                }
            }
        }
    }

    /// Another node like one that runs, or why there can be none beside it.
    fn made_anew(&self, node: &GraphNode, waker: &NodeWaker) -> Result<Box<dyn Node>, String> {
        if node.spec.outputs.iter().any(|port| port.each.is_some()) {
            return Err("it has members, who would have to come anew".into());
        }
        if let Some(why) = self.is_being_written(node) {
            return Err(why.message);
        }
        build(node, waker, self.seed, &self.clock, &self.shared).map_err(|error| error.to_string())
    }

    /// What wakes a node that is about to be made, under the number that it will
    /// have.
    pub(super) fn waker_for(&self, node: &GraphNode, lane: usize) -> NodeWaker {
        let id = self.retired.number_of(&node.name, node.spec).unwrap_or(NodeId(self.next.node));
        NodeWaker::new(Arc::clone(self.lanes[&lane].mailbox.waker()), id)
    }

    /// Makes both ends of a link and enters them in the edits of their lanes.
    pub(super) fn link(&mut self, wanted: &Wanted, edits: &mut Edits) -> LinkId {
        let link = LinkId(self.next.link);
        self.next.link += 1;
        let before = wanted.after.filter(|(_, takes_over)| *takes_over);
        let before = before.and_then(|(before, _)| self.links.get(&before));
        let stream = before.map_or(link, |before| before.stream);
        let (from, through) = wanted.from;
        let (to, port) = wanted.to;
        let (sending, receiving) = (&self.nodes[&from], &self.nodes[&to]);
        let from_name = format!("{}.{}", sending.node.name, sending.node.spec.outputs[through.port].name);
        let to_name = format!("{}.{}", receiving.node.name, receiving.node.spec.inputs[port].name);
        let ledger = self.retired.take_link(&from_name, &to_name).unwrap_or_default();
        let account = LinkAccount {
            from: from_name,
            to: to_name,
            taker: to,
            capacity: wanted.capacity,
            overflow: wanted.overflow,
            ledger: Arc::clone(&ledger),
        };
        let (is_loop, leaving) = (wanted.is_loop, false);
        let entry = LinkEntry { from: wanted.from, to: wanted.to, is_loop, stream, leaving, account };
        self.links.insert(link, Box::new(entry));
        let crossing = (sending.lane != receiving.lane).then(|| {
            let waking = |lane: usize, node: NodeId| Waking {
                lane: Arc::clone(self.lanes[&lane].mailbox.waker()),
                place: Place::of(node),
            };
            Arc::new(Crossing::new(waking(sending.lane, from), waking(receiving.lane, to)))
        });
        // Inside a lane, a call that puts out more than there is room for finds some.
        let waits_here = crossing.is_none() && wanted.overflow == Overflow::Wait;
        let room = if waits_here { wanted.capacity.max(BURST - 1) } else { wanted.capacity };
        let (sender, receiver) = link::path(room, wanted.overflow);
        let outlet = Outlet {
            port: through.port,
            key: through.key,
            link,
            sender,
            taker: crossing.clone().map_or(Taker::Cell { node: to, cell: 0 }, Taker::Lane),
            capacity: wanted.capacity,
            room,
            overflow: wanted.overflow,
            spill: VecDeque::with_capacity(if waits_here { 0 } else { BURST }),
            closing: false,
            untold: false,
            ledger,
            shell: Some(Box::default()),
        };
        let source = Source { lane: self.lanes[&sending.lane].mailbox.clone(), node: from, through };
        let inlet = Inlet {
            stream,
            after: wanted.after.map(|(link, _)| link),
            crossing,
            is_loop: wanted.is_loop,
            source: Some(source),
            shell: Some(Box::default()),
            ..Inlet::new(port, link, receiver)
        };
        edits.to(sending.lane).outlets.push((from, outlet));
        edits.to(receiving.lane).inlets.push((to, inlet));
        link
    }
}

pub(super) fn build(
    node: &GraphNode,
    waker: &NodeWaker,
    seed: u64,
    clock: &Clock,
    shared: &Shared,
) -> Result<Box<dyn Node>, NodeError> {
    let inputs: &[Option<MediaType>] = &node.inputs;
    let setup = Setup {
        name: &node.name,
        params: &node.params,
        inputs,
        seed: seed_of(seed, &node.name),
        run_seed: seed,
        waker: waker.clone(),
        virtual_time: clock.is_virtual(),
        deadline: node.deadline,
        shared,
    };
    catch_unwind(AssertUnwindSafe(|| (node.spec.build)(setup))).unwrap_or_else(|_| {
        Err(NodeError::Unavailable("panicked while it was made; this is a defect in it".into()))
    })
}

/// That it could not be, and why.
pub(super) fn cannot_be_made(node: &GraphNode, why: &NodeError) -> Diagnostic {
    let label = format!("{} cannot be made", node.spec.kind);
    let mut diagnostic = Diagnostic::error(format!("{}: {why}", node.name)).at(node.place, label);
    diagnostic.refused = match why {
        NodeError::Open { source, .. } => Some(source.kind()),
        _ => None,
    };
    diagnostic
}

/// A node's own seed, from the run's seed and its name: FNV-1a, then the
/// finaliser of SplitMix64, so that names that differ little give seeds that
/// differ much.
fn seed_of(seed: u64, name: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
