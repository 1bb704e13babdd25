//! What the supervisor does when members of a group come and go: it makes the
//! parts of their templates, and takes them away when they have drained.

use std::sync::Arc;

use crate::control::Through;
use crate::event::Key;
use crate::graph::{End, TemplateLink};
use crate::lane::Message;
use crate::ledger::NodeId;
use crate::link::LinkId;
use crate::schedule::TemplateLane;
use crate::waker::NodeWaker;

use super::{Instance, LaneDriver, Supervisor, Wanted, build, new_lane, node_id, post};

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
            if node_id(template.hub) != hub || template.group != group {
                continue;
            }
            let there = |instance: &&Instance| instance.template == index && !instance.nodes.is_empty();
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

        let first_lane = self.lanes.len();
        let mut idle = Vec::new();
        for lane in &plan.lanes {
            let name = format!("{}[{member}]/{}", template.name, lane.name);
            let (entry, lane) = new_lane(name.into(), &self.clock, &self.notices);
            self.lanes.push(entry);
            idle.push(lane);
        }
        let lane_of = |node: usize| match plan.lane_of[node] {
            TemplateLane::Outer(lane) => lane,
            TemplateLane::Own(lane) => first_lane + lane,
        };

        let mut edits = self.edits();
        let mut ids = vec![None; template.nodes.len()];
        let before = self.rank_before(&template.links);
        for (at, node) in template.instantiate(member).into_iter().enumerate() {
            let lane = lane_of(at);
            let waker = NodeWaker::new(Arc::clone(self.lanes[lane].mailbox.waker()));
            match build(&node, &waker, self.seed, &self.clock, &self.shared) {
                Ok(made) => {
                    let rank = before + plan.order.iter().position(|&other| other == at).unwrap_or(0) as u64;
                    ids[at] = Some(node_id(self.nodes.len()));
                    let cell = self.cell(node, lane, made, waker, rank);
                    edits[lane].add.push(cell);
                }
                Err(error) => failures.push(format!("{} cannot be made: {error}", node.name)),
            }
        }

        let mut instance = Instance {
            template: index,
            hub: node_id(template.hub),
            key,
            nodes: ids.iter().copied().flatten().collect(),
            outside: Vec::new(),
            gone: false,
        };
        for (link, link_plan) in template.links.iter().zip(&plan.links) {
            let from = match link.from {
                End::Member { port } => Some((node_id(template.hub), Through { port, key: Some(key) })),
                End::Inside { node, port } => ids[node].map(|id| (id, Through { port, key: None })),
                End::Outside { node, port } => Some((node_id(node), Through { port, key: None })),
            };
            let to = match link.to {
                End::Inside { node, port } => ids[node].map(|id| (id, port)),
                End::Outside { node, port } => Some((node_id(node), port)),
                End::Member { .. } => None,
            };
            let (Some(from), Some(to)) = (from, to) else { continue };
            if let End::Outside { node, port } = link.to {
                if self.is_taken(to.0, port) {
                    let target = &self.graph.nodes[node];
                    failures.push(format!(
                        "{}.{} is taken, so {member} is not linked to it; put a node that takes many, such as \
                         audio.mix or effect.tile, before it",
                        target.name, target.spec.inputs[port].name
                    ));
                    continue;
                }
                instance.outside.push((
                    to.0,
                    port,
                    LinkId(u32::try_from(self.links.len()).unwrap_or(u32::MAX)),
                ));
            }
            let wanted = Wanted { from, to, capacity: link_plan.capacity, overflow: link.overflow };
            self.link(&wanted, &mut edits);
        }
        self.instances.push(instance);
        self.post_edits(edits);
        for (offset, lane) in idle.into_iter().enumerate() {
            let entry = &self.lanes[first_lane + offset];
            post(&entry.mailbox, Message::Start);
            if self.is_stopping() {
                post(&entry.mailbox, Message::Stop);
            }
            if let Err(error) = drivers.add(&entry.name, lane) {
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
        let spec = self.nodes[node.0 as usize].node.spec;
        let open =
            |instance: &Instance| instance.outside.iter().any(|(to, at, _)| *to == node && *at == port);
        !spec.inputs[port].many && self.instances.iter().any(open)
    }

    /// Takes away the parts of members that are gone and have drained.
    pub(super) fn sweep(&mut self) {
        for number in 0..self.instances.len() {
            let instance = &self.instances[number];
            let drained = instance.nodes.iter().all(|id| self.nodes[id.0 as usize].ended);
            if !drained || (instance.nodes.is_empty() && instance.outside.is_empty()) {
                continue;
            }
            let mut edits = self.edits();
            let instance = &mut self.instances[number];
            for id in instance.nodes.drain(..) {
                let entry = &mut self.nodes[id.0 as usize];
                entry.removed = true;
                edits[entry.lane].remove.push(id);
            }
            for (node, _, link) in instance.outside.drain(..) {
                edits[self.nodes[node.0 as usize].lane].unlink.push((node, link));
            }
            self.post_edits(edits);
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
        let mut edits = self.edits();
        for node in self.fed_by(template) {
            edits[self.nodes[node].lane].unexpect.push(node_id(node));
        }
        self.post_edits(edits);
    }
}
