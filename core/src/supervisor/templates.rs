//! What the supervisor does when members of a group come and go: it makes the
//! parts of their templates, and takes them away when they have drained.

use crate::control::Through;
use crate::event::Key;
use crate::graph::{End, TemplateLink};
use crate::lane::Message;
use crate::lane_thread::LaneSettings;
use crate::ledger::NodeId;
use crate::schedule::{Class, TemplateLane};

use super::{Edits, Instance, LaneDriver, Supervisor, Wanted, build, new_lane, post};

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
        let before = self.rank_before(&template.links);
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

        let mut instance = Instance {
            template: index,
            hub: self.ids[template.hub],
            key,
            nodes: ids.iter().copied().flatten().collect(),
            leaving: Vec::new(),
            entering: Vec::new(),
            gone: false,
            lanes: own,
        };
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
            };
            let made = self.link(&wanted, &mut edits);
            if matches!(link.to, End::Outside { .. }) {
                instance.leaving.push((to.0, to.1, made));
            }
            if !matches!(link.from, End::Inside { .. }) {
                instance.entering.push((from.0, made));
            }
        }
        let own = instance.lanes.clone();
        self.instances.push(instance);
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

    /// Where a template's nodes rank on a lane that they join: before the nodes
    /// that they feed.
    fn rank_before(&self, links: &[TemplateLink]) -> u64 {
        let fed = links.iter().filter_map(|link| match link.to {
            End::Outside { node, .. } => self.schedule.order.iter().position(|&other| other == node),
            _ => None,
        });
        fed.min().map_or(0, |place| ((place as u64 + 1) << 16) - (1 << 15))
    }

    /// Whether an input that takes one link has one that is open.
    fn is_taken(&self, node: NodeId, port: usize) -> bool {
        let spec = self.nodes[&node].node.spec;
        let open =
            |instance: &Instance| instance.leaving.iter().any(|(to, at, _)| *to == node && *at == port);
        !spec.inputs[port].many && self.instances.iter().any(open)
    }

    /// Ends what leads into the parts of a member that is gone (of all members of
    /// the hub, where none is named), and the sources among them, so that they
    /// drain.
    pub(super) fn vanish(&mut self, hub: NodeId, key: Option<Key>) {
        let mut edits = Edits::default();
        let of = |instance: &&Instance| instance.hub == hub && key.is_none_or(|key| instance.key == key);
        for instance in self.instances.iter().filter(of) {
            for (from, link) in &instance.entering {
                self.edit_of(*from, &mut edits).end.push((*from, *link));
            }
            for id in &instance.nodes {
                if self.nodes[id].node.spec.inputs.is_empty() {
                    self.edit_of(*id, &mut edits).stop.push(*id);
                }
            }
        }
        self.post_edits(edits);
        for instance in &mut self.instances {
            instance.gone |= instance.hub == hub && key.is_none_or(|key| instance.key == key);
        }
        self.sweep();
    }

    /// Takes away parts that have drained.
    pub(super) fn sweep(&mut self) {
        let drained = |instance: &mut Instance| {
            (instance.gone || !instance.nodes.is_empty())
                && instance.nodes.iter().all(|id| self.nodes.get(id).is_none_or(|entry| entry.ended))
        };
        let drained: Vec<_> = self.instances.extract_if(.., drained).collect();
        for instance in drained {
            let mut edits = Edits::default();
            for id in instance.nodes {
                self.edit_of(id, &mut edits).remove.push(id);
            }
            let leaving = instance.leaving.into_iter().map(|(node, _, link)| (node, link));
            for (node, link) in leaving.chain(instance.entering) {
                self.edit_of(node, &mut edits).unlink.push((node, link));
            }
            self.post_edits(edits);
            for lane in instance.lanes {
                self.end_lane(lane);
            }
        }
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
