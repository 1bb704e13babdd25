//! `Net`: all nodes and links of a graph on one level, templates included,
//! while it is being checked.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::cell::OnFault;
use crate::diagnostic::Place;
use crate::graph::LinkPlace;
use crate::lanes::GraphLane;
use crate::link::Overflow;
use crate::media_type::MediaType;
use crate::param::Params;
use crate::port::PortSpec;
use crate::registry::{Foreign, NodeSpec};

/// The most nodes a graph has, those of templates counted once.
pub(crate) const MAX_NODES: usize = 4_096;

/// All nodes and links of a graph on one level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    pub(crate) nodes: Vec<NetNode>,
    pub(crate) links: Vec<NetLink>,
    pub(crate) templates: Vec<NetTemplate>,
    pub(crate) budgets: Vec<Budget>,
    /// Settings of lanes.
    pub(crate) lanes: Vec<GraphLane>,
    /// Links for whose ends several ports come into question.
    pub(crate) loose: Vec<Loose>,
    /// Inputs of a template's parts that are to be fed by what fits.
    pub(crate) open: Vec<Open>,
    /// The inputs that are ports of the part, if a part is checked by itself.
    pub(crate) open_inputs: Vec<(usize, usize)>,
    /// The nodes of which an output is a port of that part.
    pub(crate) open_outputs: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct NetNode {
    /// Its name from the outermost graph: "remote/jitter", or
    /// "bobs/remote_audio/jitter" in the template `bobs`.
    pub(crate) name: String,
    pub(crate) template: Option<usize>,
    pub(crate) spec: &'static NodeSpec,
    pub(crate) params: Params,
    /// Where the file gives its parameters.
    pub(crate) given_at: Vec<GivenAt>,
    /// Parameters that hold the member's name, and the text around it.
    pub(crate) fills: Vec<(&'static str, Vec<String>)>,
    pub(crate) lane: Option<Arc<str>>,
    pub(crate) on_fault: OnFault,
    pub(crate) place: Place,
    /// Its parameters are not all known, so nothing is concluded from them.
    pub(crate) unsure: bool,
    /// A link to or from it is broken, so nothing is said about links that
    /// seem to be missing.
    pub(crate) touched: bool,
    pub(crate) inputs: Vec<Option<MediaType>>,
    pub(crate) outputs: Vec<MediaType>,
    pub(crate) latency: Duration,
    pub(crate) foreign: Foreign,
    /// How long a call of somebody else's code may take: until `set_deadlines`
    /// only where the node says.
    pub(crate) deadline: Option<Duration>,
}

/// Where a parameter is given.
#[derive(Clone, Debug)]
pub(crate) struct GivenAt {
    pub(crate) param: &'static str,
    pub(crate) place: Place,
    /// Where its value comes from, if that is a parameter of the graph or part.
    pub(crate) from: Option<Place>,
}

#[derive(Clone, Debug)]
pub(crate) struct NetLink {
    pub(crate) from: (usize, usize),
    pub(crate) to: (usize, usize),
    /// The template whose member it comes from, if it does.
    pub(crate) member: Option<usize>,
    /// The template in which it is given, if it is.
    pub(crate) template: Option<usize>,
    pub(crate) capacity: Option<usize>,
    pub(crate) overflow: Overflow,
    /// Where it is marked as closing a loop.
    pub(crate) mark: Option<Place>,
    /// Whether it does.
    pub(crate) is_loop: bool,
    pub(crate) media: MediaType,
    pub(crate) place: LinkPlace,
}

#[derive(Clone, Debug)]
pub(crate) struct NetTemplate {
    pub(crate) most: Option<usize>,
    pub(crate) name: String,
    pub(crate) hub: usize,
    pub(crate) group: &'static str,
    pub(crate) place: Place,
}

/// A port that comes into question for an end of a link.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) node: usize,
    pub(crate) port: usize,
    /// Its name where the link is given: "in", whatever the inner port of a
    /// part is called.
    pub(crate) name: String,
}

/// A link for whose ends several ports come into question.
#[derive(Clone, Debug)]
pub(crate) struct Loose {
    pub(crate) from: Vec<Candidate>,
    pub(crate) to: Vec<Candidate>,
    /// The names of the nodes or parts at its ends.
    pub(crate) names: (String, String),
    /// The rest of the link; its ends mean nothing.
    pub(crate) link: NetLink,
}

/// An input of a template's part that is to be fed by what fits.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) template: usize,
    /// The part's name.
    pub(crate) part: String,
    pub(crate) to: Candidate,
    pub(crate) place: Place,
}

/// The end of a link for which a node of another kind has no port.
#[derive(Debug)]
pub(crate) struct Stuck {
    /// The port that it had.
    pub(crate) port: &'static str,
    pub(crate) is_input: bool,
    pub(crate) place: Place,
}

impl Net {
    /// What input `to` declares to take.
    pub(crate) fn declared_input(&self, to: (usize, usize)) -> MediaType {
        self.nodes[to.0].spec.inputs[to.1].media
    }

    /// The node named `name`.
    pub(crate) fn node_named(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// Which nodes go when `node` does: it, and what is made for its members.
    pub(crate) fn goes_with(&self, node: usize) -> Vec<bool> {
        let is_of = |template: usize| self.templates[template].hub == node;
        let goes = |(index, other): (usize, &NetNode)| index == node || other.template.is_some_and(is_of);
        self.nodes.iter().enumerate().map(goes).collect()
    }

    /// Takes the nodes out that go, with their links and the templates of their
    /// members; tells where each node is now. Links that are not settled are not
    /// looked at.
    pub(crate) fn remove(&mut self, goes: &[bool]) -> Vec<Option<usize>> {
        let nodes = renumbered(goes.iter().copied());
        let templates = renumbered(self.templates.iter().map(|template| goes[template.hub]));
        let stays = |node: usize| nodes[node].is_some();
        self.links.retain(|link| stays(link.from.0) && stays(link.to.0));
        self.templates.retain(|template| stays(template.hub));
        let mut going = goes.iter();
        self.nodes.retain(|_| going.next() == Some(&false));
        // What stays has a number.
        let node = |old: &mut usize| *old = nodes[*old].unwrap_or_default();
        let template = |old: &mut Option<usize>| *old = old.and_then(|old| templates[old]);
        for link in &mut self.links {
            node(&mut link.from.0);
            node(&mut link.to.0);
            template(&mut link.member);
            template(&mut link.template);
        }
        self.nodes.iter_mut().for_each(|node| template(&mut node.template));
        self.templates.iter_mut().for_each(|template| node(&mut template.hub));
        nodes
    }

    /// The ports at the ends of every link if `node` were of the kind `spec`: those
    /// of the same names, or else the only ones that there are; or the links for
    /// which there is none.
    pub(crate) fn moved(&self, node: usize, spec: &NodeSpec) -> Result<Vec<(usize, usize)>, Vec<Stuck>> {
        let old = self.nodes[node].spec;
        let mut stuck = Vec::new();
        let mut port = |end: (usize, usize), was: &[PortSpec], is: &[PortSpec], place, is_input| {
            if end.0 != node {
                return end.1;
            }
            alike(&was[end.1], is).unwrap_or_else(|| {
                stuck.push(Stuck { port: was[end.1].name, is_input, place });
                end.1
            })
        };
        let mut ends = Vec::with_capacity(self.links.len());
        for NetLink { from, to, place, .. } in &self.links {
            let from = port(*from, old.outputs, spec.outputs, place.from, false);
            ends.push((from, port(*to, old.inputs, spec.inputs, place.to, true)));
        }
        if stuck.is_empty() { Ok(ends) } else { Err(stuck) }
    }

    /// "cam.out"
    pub(crate) fn output_name(&self, from: (usize, usize)) -> String {
        let node = &self.nodes[from.0];
        format!("{}.{}", node.name, node.spec.outputs[from.1].name)
    }

    /// "cam.out", or "bobs.audio" where it is a member's.
    pub(crate) fn sender_name(&self, link: &NetLink) -> String {
        match link.member {
            Some(template) => {
                let port = self.nodes[link.from.0].spec.outputs[link.from.1].name;
                format!("{}.{port}", self.templates[template].name)
            }
            None => self.output_name(link.from),
        }
    }

    /// "speaker.in"
    pub(crate) fn receiver_name(&self, to: (usize, usize)) -> String {
        let node = &self.nodes[to.0];
        format!("{}.{}", node.name, node.spec.inputs[to.1].name)
    }
}

/// For each thing, its place among those that do not go.
fn renumbered(goes: impl Iterator<Item = bool>) -> Vec<Option<usize>> {
    let mut next = 0;
    let place = |goes: bool| {
        let place = (!goes).then_some(next);
        next += usize::from(!goes);
        place
    };
    goes.map(place).collect()
}

/// Which of `ports` stands for `old`.
fn alike(old: &PortSpec, ports: &[PortSpec]) -> Option<usize> {
    let mut those = ports.iter().enumerate().filter(|(_, port)| port.each == old.each);
    let named = those.clone().find(|(_, port)| port.name == old.name);
    named.or_else(|| those.next().filter(|_| those.next().is_none())).map(|(index, _)| index)
}
