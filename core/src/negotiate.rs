//! Negotiation: what each link carries, found by letting types flow from the
//! sources on, each node answering for itself.

use std::collections::HashMap;

use crate::diagnostic::Diagnostic;
use crate::ends::between;
use crate::media_type::MediaType;
use crate::net::{GivenAt, Net, NetLink};
use crate::registry::{Mismatch, Offer, Registry};
use crate::suggest;

/// What is known of outputs since nodes were made: by node, an entry a port.
pub(crate) type Known = Vec<(usize, Vec<Option<MediaType>>)>;

/// The nodes of a net in an order in which each comes after those that feed
/// it, loops aside; and who feeds whom.
pub(crate) struct Order {
    pub(crate) nodes: Vec<usize>,
    /// For each node, the links that lead to it.
    pub(crate) into: Vec<Vec<usize>>,
}

impl Order {
    pub(crate) fn of(net: &Net) -> Self {
        let mut into = vec![Vec::new(); net.nodes.len()];
        let mut out = vec![Vec::new(); net.nodes.len()];
        let mut waits = vec![0usize; net.nodes.len()];
        for (index, link) in net.links.iter().enumerate() {
            into[link.to.0].push(index);
            if !link.is_loop {
                out[link.from.0].push(link.to.0);
                waits[link.to.0] += 1;
            }
        }
        let mut nodes: Vec<_> = (0..net.nodes.len()).filter(|node| waits[*node] == 0).collect();
        let mut next = 0;
        while let Some(&node) = nodes.get(next) {
            next += 1;
            for &to in &out[node] {
                waits[to] -= 1;
                if waits[to] == 0 {
                    nodes.push(to);
                }
            }
        }
        // What is left stands in loops that nobody marked, which is told elsewhere.
        nodes.extend((0..net.nodes.len()).filter(|node| waits[*node] > 0));
        Self { nodes, into }
    }

    /// Lets types flow through `net`. Problems go to `tell`, with advice from
    /// the registry.
    pub(crate) fn negotiate(
        &self,
        net: &mut Net,
        known: &[(usize, Vec<Option<MediaType>>)],
        mut tell: Option<(&mut Vec<Diagnostic>, &Registry)>,
    ) {
        // What a loop carries back is known after the first round.
        let rounds = if net.links.iter().any(|link| link.is_loop) { 2 } else { 1 };
        for round in 1..=rounds {
            for &node in &self.nodes {
                let found = self.node(net, node, known, tell.as_ref().map(|(_, registry)| *registry));
                if let Some((tell, _)) = tell.as_mut().filter(|_| round == rounds) {
                    tell.extend(found);
                }
            }
        }
        // Loops lead back to nodes that came before those that feed them.
        for index in 0..net.links.len() {
            let link = &net.links[index];
            if let Some(media) =
                net.nodes[link.from.0].outputs[link.from.1].meet(&net.declared_input(link.to))
            {
                net.links[index].media = media;
            }
        }
    }

    fn node(
        &self,
        net: &mut Net,
        node: usize,
        known: &[(usize, Vec<Option<MediaType>>)],
        registry: Option<&Registry>,
    ) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let spec = net.nodes[node].spec;
        let mut inputs = vec![None; spec.inputs.len()];
        for (_, port) in net.open_inputs.iter().filter(|(open, _)| *open == node) {
            inputs[*port] = Some(spec.inputs[*port].media);
        }
        for &index in &self.into[node] {
            let link = &net.links[index];
            let gives = net.nodes[link.from.0].outputs[link.from.1];
            let takes = spec.inputs[link.to.1].media;
            let media = gives.meet(&takes).unwrap_or_else(|| {
                found.extend(registry.map(|registry| mismatch(net, link, gives, takes, registry)));
                takes
            });
            let port = link.to.1;
            inputs[port] = Some(inputs[port].map_or(media, |other| common(other, media, takes)));
            net.links[index].media = media;
        }
        let mut outputs: Vec<_> = spec.outputs.iter().map(|port| port.media).collect();
        let this = &net.nodes[node];
        if registry.is_some() && found.is_empty() && !this.unsure && !this.touched {
            found.extend(self.refused_alone(net, node, &inputs));
        }
        if !this.unsure {
            match spec.negotiated(&Offer { params: &this.params, inputs: &inputs }) {
                Ok(answer) => {
                    outputs.iter_mut().zip(answer.outputs).for_each(|(output, media)| *output = media);
                    let this = &mut net.nodes[node];
                    (this.latency, this.foreign, this.deadline) =
                        (answer.latency, answer.foreign, answer.deadline);
                }
                Err(why) if found.is_empty() && !this.touched && registry.is_some() => {
                    found.push(self.refusal(net, node, &why, &inputs));
                }
                Err(_) => {}
            }
        }
        for (_, told) in known.iter().filter(|(known, _)| *known == node) {
            outputs.iter_mut().zip(told).for_each(|(output, told)| *output = told.unwrap_or(*output));
        }
        net.nodes[node].inputs = inputs;
        net.nodes[node].outputs = outputs;
        found
    }

    /// Of several links into one port, those that are refused by themselves,
    /// though what they have in common is not.
    fn refused_alone(&self, net: &Net, node: usize, inputs: &[Option<MediaType>]) -> Vec<Diagnostic> {
        let this = &net.nodes[node];
        let into = self.into[node].iter().map(|index| &net.links[*index]);
        let differs = into.filter(|link| inputs[link.to.1] != Some(link.media));
        let refused = differs.filter_map(|link| {
            let mut alone = inputs.to_vec();
            alone[link.to.1] = Some(link.media);
            let why = this.spec.negotiated(&Offer { params: &this.params, inputs: &alone }).err()?;
            (why.port == link.to.1).then(|| refusal(net, link, &why))
        });
        refused.collect()
    }

    /// Says why a node refuses what comes to it.
    fn refusal(&self, net: &Net, node: usize, why: &Mismatch, inputs: &[Option<MediaType>]) -> Diagnostic {
        let this = &net.nodes[node];
        let port = why.port.min(this.spec.inputs.len().saturating_sub(1));
        let anything: Vec<_> =
            inputs.iter().zip(this.spec.inputs).map(|(input, port)| input.map(|_| port.media)).collect();
        if this.spec.negotiated(&Offer { params: &this.params, inputs: &anything }).is_err() {
            // Its parameters are to blame, whatever comes.
            let words: Vec<_> = why.takes.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            let given = this.given_at.iter().find(|at| words.contains(&at.param));
            let found = Diagnostic::error(format!("{} {}", this.name, why.takes));
            let found = match given {
                None => found.at(this.place, ""),
                Some(GivenAt { place, from: None, .. }) => found.at(*place, ""),
                Some(GivenAt { param, place, from: Some(from) }) => {
                    let value = this.params.get(param).map(|value| format!("{param} is {value}"));
                    found.at(*place, value.unwrap_or_default()).at(*from, "given here")
                }
            };
            return found.help(why.help.as_str());
        }
        // Of several links into the port, the one that is refused by itself.
        let refused = |link: &&NetLink| {
            let mut alone = inputs.to_vec();
            alone[port] = Some(link.media);
            this.spec.negotiated(&Offer { params: &this.params, inputs: &alone }).is_err()
        };
        let into = || self.into[node].iter().map(|index| &net.links[*index]).filter(|link| link.to.1 == port);
        let Some(link) = into().find(refused).or_else(|| into().next()) else {
            let message = format!("{} {}", this.name, why.takes);
            return Diagnostic::error(message).at(this.place, "").help(why.help.as_str());
        };
        refusal(net, link, why)
    }

    /// Whether input `to` and what follows it can take `media`.
    pub(crate) fn trial(&self, net: &Net, to: (usize, usize), media: MediaType) -> bool {
        if net.declared_input(to).meet(&media).is_none() {
            return false;
        }
        let mut changed: HashMap<usize, Vec<MediaType>> = HashMap::new();
        for &node in &self.nodes {
            let fed = self.into[node].iter().any(|link| changed.contains_key(&net.links[*link].from.0));
            if !(fed || node == to.0) || changed.contains_key(&node) {
                continue;
            }
            let this = &net.nodes[node];
            let mut inputs = this.inputs.clone();
            if node == to.0 {
                inputs[to.1] = net.declared_input(to).meet(&media);
            }
            for link in self.into[node].iter().map(|index| &net.links[*index]) {
                let Some(outputs) = changed.get(&link.from.0) else { continue };
                let takes = net.declared_input(link.to);
                match outputs[link.from.1].meet(&takes) {
                    Some(media) => inputs[link.to.1] = Some(media),
                    None => return false,
                }
            }
            let mut outputs: Vec<_> = this.spec.outputs.iter().map(|port| port.media).collect();
            if !this.unsure {
                match this.spec.negotiated(&Offer { params: &this.params, inputs: &inputs }) {
                    Ok(answer) => outputs.iter_mut().zip(answer.outputs).for_each(|(old, new)| *old = new),
                    Err(_) => return false,
                }
            }
            changed.insert(node, outputs);
        }
        true
    }
}

/// Says why the node at the end of `link` refuses what comes along it.
fn refusal(net: &Net, link: &NetLink, why: &Mismatch) -> Diagnostic {
    let (from, to) = (net.sender_name(link), net.receiver_name(link.to));
    Diagnostic::error(format!("{} cannot take what {} gives", first(&to), first(&from)))
        .at(link.place.from, format!("{from} gives {}", link.media))
        .at(link.place.to, format!("{to} {}", why.takes))
        .help(why.help.as_str())
}

/// Says that a link's ends do not fit.
fn mismatch(
    net: &Net,
    link: &NetLink,
    gives: MediaType,
    takes: MediaType,
    registry: &Registry,
) -> Diagnostic {
    let (from, to) = (net.sender_name(link), net.receiver_name(link.to));
    let message = if gives.same_family(&takes) {
        format!("{} cannot take what {} gives", first(&to), first(&from))
    } else {
        format!("{} port cannot feed {} port", gives.family(), takes.family())
    };
    let found = Diagnostic::error(message)
        .at(link.place.from, format!("{from} gives {gives}"))
        .at(link.place.to, format!("{to} takes {takes}"));
    // Another input of the same node may be the one that was meant.
    let spec = net.nodes[link.to.0].spec;
    let other = spec.inputs.iter().find(|port| port.media.meet(&gives).is_some());
    if let Some(port) = other {
        let name = first(&to);
        return found.help(format!("did you mean {name}.{}? It takes {}", port.name, port.media));
    }
    found.help(advice(&gives, &takes, registry))
}

/// What to put between two ports that do not fit.
fn advice(gives: &MediaType, takes: &MediaType, registry: &Registry) -> String {
    let same_family = |kind: &str, params: String| match registry.get(kind) {
        Some(_) => format!("put {{ kind = \"{kind}\"{params} }} between them"),
        None => String::new(),
    };
    match (gives, takes) {
        (MediaType::Audio { rate: a, .. }, MediaType::Audio { rate: Some(b), .. }) if *a != Some(*b) => {
            same_family("audio.resample", format!(", rate = {b}"))
        }
        (MediaType::Video { size: a, .. }, MediaType::Video { size: Some(b), .. }) if *a != Some(*b) => {
            same_family("effect.scale", format!(", size = [{}, {}]", b.width, b.height))
        }
        _ => suggest::converters(gives, takes, registry).map_or(String::new(), |kinds| between(&kinds)),
    }
}

/// The node of "cam.out".
fn first(end: &str) -> &str {
    end.rsplit_once('.').map_or(end, |(node, _)| node)
}

/// What `a` and `b` have in common, both being fit for a port of `declared`.
fn common(a: MediaType, b: MediaType, declared: MediaType) -> MediaType {
    fn same<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<T> {
        if a == b { a } else { None }
    }
    match (a, b) {
        (
            MediaType::Audio { rate: r, channels: c, samples: s },
            MediaType::Audio { rate, channels, samples },
        ) => MediaType::Audio { rate: same(r, rate), channels: same(c, channels), samples: same(s, samples) },
        (MediaType::Video { format: f, size: s, fps: r }, MediaType::Video { format, size, fps }) => {
            MediaType::Video { format: same(f, format), size: same(s, size), fps: same(r, fps) }
        }
        (a, b) if a == b => a,
        (a, b) if a.same_family(&b) => match a {
            MediaType::Packets { .. } => MediaType::PACKETS,
            MediaType::Rtp { .. } => MediaType::RTP,
            _ => declared,
        },
        _ => declared,
    }
}
