//! What the supervisor does when members of a group come and go: it makes the
//! parts of their templates, and takes them away when they have drained.

use std::sync::Arc;

use crate::control::Through;
use crate::event::Key;
use crate::graph::{End, TemplateLink};
use crate::lane::Message;
use crate::lane_thread::LaneSettings;
use crate::ledger::NodeId;
use crate::link::LinkId;
use crate::schedule::{Class, Schedule, TemplateLane};

use super::{Edits, Instance, LaneDriver, LinkEntry, Supervisor, Wanted, build, new_lane, post};

impl Supervisor {
    /// Makes the parts of every template for a member that appeared; tells what
    /// could not be made.
    pub(super) fn appear(
        &mut self,
        hub: NodeId,
        group: &str,
        key: Key,
        member: &str,
        drivers: &mut LaneDriver,
    ) -> Vec<String> {
        let mut failures = Vec::new();
        for index in 0..self.graph.templates.len() {
            let template = &self.graph.templates[index];
            if self.ids[template.hub] != hub || template.group != group {
                continue;
            }
            let there = |instance: &&Instance| instance.template == index;
            let full = template.most.filter(|most| self.instances.iter().filter(there).count() >= *most);
            if let Some(most) = full {
                failures
                    .push(format!("{member} is one more than the {most} that {} is made for", template.name));
            } else {
                failures.extend(self.instantiate(index, key, member, drivers));
            }
        }
        failures
    }

    fn instantiate(&mut self, index: usize, key: Key, member: &str, drivers: &mut LaneDriver) -> Vec<String> {
        let plan = self.schedule.templates[index].clone();
        let template = self.graph.templates[index].clone();
        let mut failures = Vec::new();

        let mut own = Vec::new();
        let mut idle = Vec::new();
        for lane in &plan.lanes {
            let name: std::sync::Arc<str> = format!("{}[{member}]/{}", template.name, lane.name).into();
            let trace = self.trace.as_ref().map(|tracer| tracer.lane(self.next.lane, &name));
            let (entry, lane) = new_lane(name, &self.clock, &self.notices, trace);
            own.push(self.next.lane);
            self.lanes.insert(self.next.lane, entry);
            self.next.lane += 1;
            idle.push(lane);
        }
        let turn = self.next.turn;
        self.next.turn += 1;
        let members = Class::ALL.map(|class| self.schedule.member_lane(class, turn));
        let lane_ids = &self.lane_ids;
        let lane_of = plan.lane_of.iter().map(|lane| match *lane {
            TemplateLane::Outer(lane) => lane_ids[lane],
            TemplateLane::Own(lane) => own[lane],
            TemplateLane::Members(class) => lane_ids[members[class as usize]],
        });
        let lane_of: Vec<_> = lane_of.collect();

        let mut edits = Edits::default();
        let mut ids = vec![None; template.nodes.len()];
        let before = rank_before(&self.schedule, &template.links);
        for (at, node) in template.instantiate(member).into_iter().enumerate() {
            let lane = lane_of[at];
            let waker = self.waker_for(&node, lane);
            match build(&node, &waker, self.seed, &self.clock, &self.shared) {
                Ok(made) => {
                    let rank = before + plan.order.iter().position(|&other| other == at).unwrap_or(0) as u64;
                    let mut cell = self.cell(node, &plan.pools[at], lane, made, waker, rank);
                    // What feeds it may be what could not be made.
                    cell.fed = !cell.spec.inputs.is_empty();
                    ids[at] = Some(cell.id);
                    edits.to(lane).add.push(cell);
                }
                Err(error) => failures.push(format!("{} cannot be made: {error}", node.name)),
            }
        }

        for (link, link_plan) in template.links.iter().zip(&plan.links) {
            let from = match link.from {
                End::Member { port } => Some((self.ids[template.hub], Through { port, key: Some(key) })),
                End::Inside { node, port } => ids[node].map(|id| (id, Through { port, key: None })),
                End::Outside { node, port } => Some((self.ids[node], Through { port, key: None })),
            };
            let to = match link.to {
                End::Inside { node, port } => ids[node].map(|id| (id, port)),
                End::Outside { node, port } => Some((self.ids[node], port)),
                End::Member { .. } => None,
            };
            let (Some(from), Some(to)) = (from, to) else { continue };
            if let End::Outside { node, port } = link.to
                && self.is_taken(to.0, port)
            {
                let target = &self.graph.nodes[node];
                failures.push(format!(
                    "{}.{} is taken, so {member} is not linked to it; put a node that takes many, such as \
                         audio.mix or effect.tile, before it",
                    target.name, target.spec.inputs[port].name
                ));
                continue;
            }
            let wanted = Wanted {
                from,
                to,
                capacity: link_plan.capacity,
                overflow: link.overflow,
                is_loop: link.is_loop,
                after: None,
            };
            self.link(&wanted, &mut edits);
        }
        self.instances.push(Instance {
            template: index,
            name: Arc::clone(&template.name),
            turn,
            hub: self.ids[template.hub],
            key,
            nodes: ids.into_iter().flatten().collect(),
            gone: false,
            lanes: lane_of,
        });
        self.post_edits(edits);
        for (number, lane) in own.iter().zip(idle) {
            let entry = &self.lanes[number];
            post(&entry.mailbox, Message::Start);
            if self.is_stopping() {
                post(&entry.mailbox, Message::Stop);
            }
            if let Err(error) = drivers.add(&entry.name, LaneSettings::default(), lane) {
                failures.push(format!("cannot start the thread of lane {}: {error}", entry.name));
            }
        }
        failures
    }

    /// Whether an input that takes one link has one.
    fn is_taken(&self, node: NodeId, port: usize) -> bool {
        let spec = self.nodes[&node].node.spec;
        !spec.inputs[port].many && self.links.values().any(|link| link.to == (node, port))
    }

    /// Lets the parts go of a member that is gone (of all members of the hub,
    /// where none is named).
    pub(super) fn vanish(&mut self, hub: NodeId, key: Option<Key>) {
        let is_of = |of: NodeId, its: Key| of == hub && key.is_none_or(|key| key == its);
        self.members.retain(|member| !is_of(member.hub, member.key));
        let mut edits = Edits::default();
        let mut nodes = Vec::new();
        for instance in self.instances.iter_mut().filter(|instance| is_of(instance.hub, instance.key)) {
            instance.gone = true;
            nodes.extend(&instance.nodes);
        }
        // What a template links from the member to nodes around it.
        let straight = |link: &LinkEntry| {
            link.from.0 == hub && link.from.1.key.is_some_and(|its| is_of(hub, its)) && !link.leaving
        };
        let straight: Vec<_> =
            self.links.iter().filter(|(_, link)| straight(link)).map(|(id, _)| *id).collect();
        straight.into_iter().for_each(|link| self.end_link(link, &mut edits));
        self.let_go(&nodes, &mut edits);
        self.instances.retain(|instance| !(instance.gone && instance.nodes.is_empty()));
        self.post_edits(edits);
        self.sweep();
    }

    /// Ends what leads into nodes that are to go, and the sources among them, so
    /// that they drain.
    pub(super) fn let_go(&mut self, nodes: &[NodeId], edits: &mut Edits) {
        let now = self.clock.now();
        for id in nodes {
            let Some(entry) = self.nodes.get_mut(id) else { continue };
            entry.leaving.get_or_insert(now);
            self.edit_of(*id, edits).stop.push(*id);
        }
        let touched =
            |link: &LinkEntry| !link.leaving && (nodes.contains(&link.from.0) || nodes.contains(&link.to.0));
        let touched: Vec<_> =
            self.links.iter().filter(|(_, link)| touched(link)).map(|(id, _)| *id).collect();
        touched.into_iter().for_each(|link| self.end_link(link, edits));
    }

    /// Ends a link from a node that stays; the receiving end goes when it is
    /// empty.
    pub(super) fn end_link(&mut self, link: LinkId, edits: &mut Edits) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        entry.leaving = true;
        let (from, to) = (entry.from.0, entry.to.0);
        // A node that goes ends its links itself, after its last frame.
        if self.nodes.get(&from).is_some_and(|entry| entry.leaving.is_none()) {
            self.edit_of(from, edits).end.push((from, link));
        }
        self.edit_of(to, edits).unlink.push((to, link));
    }

    /// Takes away nodes that have drained, and those that do not.
    pub(super) fn sweep(&mut self) {
        let now = self.clock.now();
        let mut edits = Edits::default();
        let mut cut = Vec::new();
        for (id, entry) in &mut self.nodes {
            let Some(since) = entry.leaving.filter(|_| !entry.removed) else { continue };
            if !entry.ended && now < since + self.drain {
                continue;
            }
            if !entry.ended {
                cut.push(Arc::clone(&entry.node.name));
            }
            entry.removed = true;
            edits.to(entry.lane).remove.push(*id);
        }
        self.post_edits(edits);
        self.cut.extend(cut);
    }

    /// Nodes around a template's parts that they feed, once each.
    fn fed_by(&self, template: usize) -> Vec<usize> {
        let mut fed: Vec<usize> = self.graph.templates[template]
            .links
            .iter()
            .filter_map(|link| match link.to {
                End::Outside { node, .. } => Some(node),
                _ => None,
            })
            .collect();
        fed.sort_unstable();
        fed.dedup();
        fed
    }

    pub(super) fn templates_feeding(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.graph.templates.len()).filter(move |&template| self.fed_by(template).contains(&node))
    }

    /// No more members come: what its parts fed may end.
    pub(super) fn unexpect(&mut self, template: usize) {
        let mut edits = Edits::default();
        for node in self.fed_by(template) {
            let id = self.ids[node];
            self.edit_of(id, &mut edits).unexpect.push(id);
        }
        self.post_edits(edits);
    }
}

/// Where a template's nodes rank on a lane that they join: before the nodes
/// that they feed.
pub(super) fn rank_before(schedule: &Schedule, links: &[TemplateLink]) -> u64 {
    let fed = links.iter().filter_map(|link| match link.to {
        End::Outside { node, .. } => schedule.order.iter().position(|&other| other == node),
        _ => None,
    });
    fed.min().map_or(0, |place| ((place as u64 + 1) << 16) - (1 << 15))
}
