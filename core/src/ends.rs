//! The ends of links: which port of which node each name means.

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Place};
use crate::expand::Expander;
use crate::graph::LinkPlace;
use crate::graph_file::{EndDecl, LinkDecl, MAX_LINKS, PortDecl, shorten};
use crate::media_type::MediaType;
use crate::negotiate::Order;
use crate::net::{Candidate, Loose, Net, NetLink};
use crate::registry::NodeSpec;
use crate::setting;
use crate::suggest;

/// What the names of a file mean, as its links see them.
pub(crate) type Names = HashMap<String, Entry>;

/// What a name means.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Node(usize),
    /// A part, by its own ports.
    Part {
        inputs: Vec<Candidate>,
        outputs: Vec<Candidate>,
        broken: bool,
    },
    /// A member of a group of a hub's outputs.
    Member {
        hub: usize,
        group: &'static str,
        template: usize,
    },
    /// Something was wrong with it, and told.
    Broken,
}

/// The ports that come into question for both ends of a link, and the template
/// whose member it comes from, if it does.
pub(crate) struct Ports {
    pub(crate) from: Vec<Candidate>,
    pub(crate) to: Vec<Candidate>,
    pub(crate) member: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    /// A link leaves from it.
    From,
    /// A link leads to it.
    To,
}

impl Expander<'_> {
    /// Adds the links of a chain. Names that are not known are added to
    /// `unknown`.
    pub(crate) fn link(
        &mut self,
        names: &Names,
        decl: &LinkDecl,
        template: Option<usize>,
        unknown: &mut Vec<(String, Place)>,
    ) {
        let last = decl.ends.len() - 1;
        for pair in 0..last {
            let (from, to) = decl.pair(pair);
            if self.net.links.len() + self.net.loose.len() >= MAX_LINKS {
                let message = format!("the graph has more than {MAX_LINKS} links");
                if self.found.iter().all(|found| found.message != message) {
                    self.found.push(Diagnostic::error(message).at(from.place, ""));
                }
                return;
            }
            let Some(Ports { from: froms, to: tos, member }) = self.ports(names, decl, pair, unknown) else {
                self.touch(names, &from.node.it);
                self.touch(names, &to.node.it);
                continue;
            };
            let link = NetLink {
                from: (0, 0),
                to: (0, 0),
                member,
                template,
                capacity: decl.capacity,
                overflow: decl.overflow,
                mark: decl.is_loop,
                is_loop: false,
                media: MediaType::Events,
                place: LinkPlace { from: from.place, to: to.place },
            };
            let names = (from.node.it.clone(), to.node.it.clone());
            self.net.loose.push(Loose { from: froms, to: tos, names, link });
        }
    }

    /// The ports that link number `pair` of a chain may mean; `None` where a
    /// problem was found.
    pub(crate) fn ports(
        &mut self,
        names: &Names,
        decl: &LinkDecl,
        pair: usize,
        unknown: &mut Vec<(String, Place)>,
    ) -> Option<Ports> {
        let (from, to) = decl.pair(pair);
        let member = match names.get(&from.node.it) {
            Some(Entry::Member { template, .. }) => Some(*template),
            _ => None,
        };
        let from = self.end(names, from, Side::From, pair > 0, unknown);
        let to = self.end(names, to, Side::To, pair + 2 < decl.ends.len(), unknown);
        Some(Ports { from: from?, to: to?, member })
    }

    /// The ports that `decl` may mean; `None` where a problem was found.
    fn end(
        &mut self,
        names: &Names,
        decl: &EndDecl,
        side: Side,
        middle: bool,
        unknown: &mut Vec<(String, Place)>,
    ) -> Option<Vec<Candidate>> {
        let Some(entry) = names.get(&decl.node.it) else {
            unknown.push((decl.node.it.clone(), decl.node.place));
            return None;
        };
        let (inputs, outputs) = match entry {
            Entry::Broken => return None,
            Entry::Node(node) => {
                let spec = self.net.nodes[*node].spec;
                (inputs(spec, *node), outputs(spec, *node, None))
            }
            Entry::Part { inputs, outputs, .. } => (inputs.clone(), outputs.clone()),
            Entry::Member { hub, group, .. } => {
                (Vec::new(), outputs(self.net.nodes[*hub].spec, *hub, Some(group)))
            }
        };
        let (mine, other) = match side {
            Side::From => (outputs, inputs),
            Side::To => (inputs, outputs),
        };
        let name = &decl.node.it;
        if let Some(port) = &decl.port {
            if let Some(found) = mine.iter().find(|candidate| candidate.name == port.it) {
                return Some(vec![found.clone()]);
            }
            let is_other = other.iter().any(|candidate| candidate.name == port.it);
            if !(middle && is_other) {
                // In the middle of a chain an unknown port is told once.
                if !(middle && side == Side::From) {
                    self.no_such_port(entry, decl, side, &mine, is_other);
                }
                return None;
            }
        }
        let default = if side == Side::From { "out" } else { "in" };
        if let Some(found) = mine.iter().find(|candidate| candidate.name == default) {
            return Some(vec![found.clone()]);
        }
        if mine.is_empty() {
            if let Some(found) = self.each_port(entry, decl, side) {
                self.found.push(found);
                return None;
            }
            if matches!(entry, Entry::Part { broken: true, .. }) {
                return None;
            }
            let message = match side {
                Side::From => format!("nothing comes out of {name}"),
                Side::To => format!("nothing goes into {name}"),
            };
            let note = format!(
                "{} has no {}",
                self.what(entry),
                if side == Side::From { "outputs" } else { "inputs" }
            );
            let help = match side {
                Side::From => format!("a chain can end at {name}, but not go on from there"),
                Side::To => format!("a chain can begin at {name}, but not lead there"),
            };
            self.found.push(Diagnostic::error(message).at(decl.place, note).help(help));
            return None;
        }
        let by_name = |candidate: &Candidate| {
            let spec = self.net.nodes[candidate.node].spec;
            let ports = if side == Side::From { spec.outputs } else { spec.inputs };
            ports[candidate.port].by_name
        };
        Some(mine.into_iter().filter(|candidate| !by_name(candidate)).collect())
    }

    /// Says that an output is one for each member, if that is the trouble.
    fn each_port(&self, entry: &Entry, decl: &EndDecl, side: Side) -> Option<Diagnostic> {
        let Entry::Node(node) = entry else { return None };
        let each = |port: &&crate::PortSpec| {
            port.each.is_some() && decl.port.as_ref().is_none_or(|named| named.it == port.name)
        };
        let port = self.net.nodes[*node].spec.outputs.iter().find(each)?;
        let group = port.each.filter(|_| side == Side::From)?;
        let name = &decl.node.it;
        Some(
            Diagnostic::error(format!("{name}.{} is one for every {group}", port.name))
                .at(decl.place, "a single link cannot take them all")
                .help(format!("link it in a template:\n[each.remote]\nof = \"{name}.{group}\"\nlinks = [\"remote.{} -> …\"]", port.name)),
        )
    }

    fn no_such_port(
        &mut self,
        entry: &Entry,
        decl: &EndDecl,
        side: Side,
        mine: &[Candidate],
        is_other: bool,
    ) {
        let Some(port) = &decl.port else { return };
        if matches!(entry, Entry::Part { broken: true, .. }) {
            return;
        }
        if let Some(found) = self.each_port(entry, decl, side) {
            self.found.push(found);
            return;
        }
        let (what, ports) = match side {
            Side::From => ("output", "outputs"),
            Side::To => ("input", "inputs"),
        };
        let name = &decl.node.it;
        let known = mine.iter().map(|candidate| candidate.name.as_str());
        let found = if is_other {
            let message = match side {
                Side::From => format!("{name}.{} is an input; nothing comes out of it", port.it),
                Side::To => format!("{name}.{} is an output; nothing goes into it", port.it),
            };
            let help = match mine {
                [] => format!("{} has no {ports}", self.what(entry)),
                _ => format!("{ports} of {name}: {}", suggest::list(known)),
            };
            Diagnostic::error(message).at(decl.place, "").help(help)
        } else {
            Diagnostic::error(format!("{name} has no {what} {}", port.it))
                .at(port.place, "")
                .help(suggest::names(&port.it, ports, known))
        };
        self.found.push(found);
    }

    /// What `entry` is, for messages: its kind.
    fn what(&self, entry: &Entry) -> &'static str {
        match entry {
            Entry::Node(node) => self.net.nodes[*node].spec.kind,
            Entry::Part { .. } => "the part",
            Entry::Member { .. } => "a member",
            Entry::Broken => "it",
        }
    }

    /// Remembers that a link of the nodes behind `name` is broken.
    pub(crate) fn touch(&mut self, names: &Names, name: &str) {
        match names.get(name) {
            Some(Entry::Node(node)) => self.net.nodes[*node].touched = true,
            Some(Entry::Part { inputs, outputs, .. }) => {
                for candidate in inputs.iter().chain(outputs) {
                    self.net.nodes[candidate.node].touched = true;
                }
            }
            _ => {}
        }
    }

    /// Says which nodes are not known, each once.
    pub(crate) fn unknown_nodes(&mut self, names: &Names, mut unknown: Vec<(String, Place)>) {
        unknown.sort();
        unknown.dedup();
        let mut known: Vec<_> = names.keys().map(String::as_str).collect();
        known.sort_unstable();
        for uses in unknown.chunk_by(|a, b| a.0 == b.0) {
            let mut places = uses.iter().map(|(_, place)| *place);
            let (Some((name, _)), Some(first)) = (uses.first(), places.next()) else { continue };
            let inside = name.contains('/');
            let message = match inside {
                true => format!("\"{}\" is no node of this file", shorten(name)),
                false => format!("there is no node {name}"),
            };
            let mut found = Diagnostic::error(message).at(first, "");
            for place in places.take(3) {
                found = found.at(place, "here, too");
            }
            if inside {
                let help =
                    "a part's inner nodes are reached through its ports; name one in the part's [ports]";
                found = found.help(help);
            } else if self.may_search() {
                found = found.help(suggest::names(name, "nodes", known.iter().copied()));
                // The one that was meant lacks this link.
                if let Some(meant) = suggest::meant(name, known.iter().copied()) {
                    self.touch(names, meant);
                }
            }
            self.found.push(found);
        }
    }

    /// The node that stands as `given` under the names that begin with `prefix`,
    /// "[]" after a template's name or not; `None` where a problem was found.
    pub(crate) fn node_called(&mut self, prefix: &str, given: &str, place: Place) -> Option<usize> {
        let name = format!("{prefix}{}", setting::address_of(given));
        let node = self.net.node_named(&name);
        if node.is_some() || self.is_broken(&name) {
            return node;
        }
        let known: Vec<_> = self.net.nodes.iter().filter_map(|node| node.name.strip_prefix(prefix)).collect();
        let inside = format!("{given}/");
        let mut parts = known.iter().copied().filter(|known| known.starts_with(&inside)).peekable();
        let (message, help) = if parts.peek().is_some() {
            let help = format!("name one of them: {}", suggest::list(parts.collect::<Vec<_>>()));
            (format!("{given} is several nodes"), help)
        } else {
            let help = if self.may_search() { suggest::names(given, "nodes", known) } else { String::new() };
            (format!("there is no node {given}"), help)
        };
        self.found.push(Diagnostic::error(message).at(place, "").help(help));
        None
    }

    /// The part whose ports are `ports`, as links see it.
    pub(crate) fn part_ports(&mut self, names: &Names, ports: &[PortDecl], broken: bool) -> Entry {
        let mut broken = broken;
        let (mut ins, mut outs) = (Vec::new(), Vec::new());
        let mut unknown = Vec::new();
        for PortDecl { name, end } in ports {
            let (inputs, outputs) = match names.get(&end.node.it) {
                None => {
                    unknown.push((end.node.it.clone(), end.node.place));
                    broken = true;
                    continue;
                }
                Some(Entry::Node(node)) => {
                    let spec = self.net.nodes[*node].spec;
                    (inputs(spec, *node), outputs(spec, *node, None))
                }
                Some(Entry::Part { inputs, outputs, broken: false }) => (inputs.clone(), outputs.clone()),
                Some(_) => {
                    broken = true;
                    continue;
                }
            };
            let named = |candidates: Vec<Candidate>| -> Vec<Candidate> {
                let wanted = end.port.as_ref().map(|port| &port.it);
                candidates.into_iter().filter(|c| wanted.is_none_or(|wanted| c.name == *wanted)).collect()
            };
            let (all_inputs, all_outputs) = (inputs.clone(), outputs.clone());
            match (named(inputs).as_slice(), named(outputs).as_slice()) {
                ([input], []) => ins.push(Candidate { name: name.it.clone(), ..input.clone() }),
                ([], [output]) => outs.push(Candidate { name: name.it.clone(), ..output.clone() }),
                ([], []) => {
                    broken = true;
                    let port = end.port.as_ref();
                    let place = port.map_or(end.place, |port| port.place);
                    let known =
                        all_inputs.iter().chain(&all_outputs).map(|candidate| candidate.name.as_str());
                    let wanted = port.map_or("", |port| &port.it);
                    let message = match wanted {
                        "" => format!("{} has no ports", end.node.it),
                        _ => format!("{} has no port {wanted}", end.node.it),
                    };
                    let found = Diagnostic::error(message).at(place, "");
                    self.found.push(found.help(suggest::names(wanted, "ports", known)));
                }
                (some, more) => {
                    broken = true;
                    self.touch(names, &end.node.it);
                    let known = some.iter().chain(more);
                    let known: Vec<_> = known.map(|c| format!("{}.{}", end.node.it, c.name)).collect();
                    let message = format!("which port of {} does {} stand for?", end.node.it, name.it);
                    let found = Diagnostic::error(message).at(end.place, "");
                    self.found.push(found.help(format!("one of {}", known.join(", "))));
                }
            }
        }
        self.unknown_nodes(names, unknown);
        for candidate in ins.iter().chain(&outs).filter(|_| broken) {
            self.net.nodes[candidate.node].touched = true;
        }
        Entry::Part { inputs: ins, outputs: outs, broken }
    }

    /// Settles which ports the links mean whose ends leave that open: first by
    /// what ports declare, then by what comes to them.
    pub(crate) fn settle(&mut self) {
        let mut loose = std::mem::take(&mut self.net.loose);
        loop {
            let before = loose.len();
            let mut rest = Vec::new();
            for link in loose {
                rest.extend(self.settle_link(link));
            }
            self.net.open = self.settle_open(rest.is_empty());
            if rest.is_empty() || rest.len() == before {
                loose = rest;
                break;
            }
            loose = rest;
            self.net.negotiate_quietly();
        }
        loose.iter().for_each(|loose| self.undecided(loose));
        // Places of the file decide the order, whenever an end was settled.
        self.net.links.sort_by_key(|link| (link.place.from.file, link.place.from.start, link.to));
    }

    /// Adds the link if its ends are clear; gives it back if not.
    fn settle_link(&mut self, loose: Loose) -> Option<Loose> {
        let net = &self.net;
        let fits = |from: &Candidate, to: &Candidate| {
            let gives = net.nodes[from.node].outputs[from.port];
            gives.meet(&net.declared_input((to.node, to.port))).is_some()
        };
        let clear = match (loose.from.as_slice(), loose.to.as_slice()) {
            ([from], [to]) => Some((from, to)),
            (froms, tos) => {
                let pairs = froms.iter().flat_map(|from| tos.iter().map(move |to| (from, to)));
                let mut fitting = pairs.filter(|(from, to)| fits(from, to));
                fitting.next().filter(|_| fitting.next().is_none())
            }
        };
        let Some((from, to)) = clear else { return Some(loose) };
        let media = net.declared_input((to.node, to.port));
        let link = NetLink { from: (from.node, from.port), to: (to.node, to.port), media, ..loose.link };
        self.net.links.push(link);
        None
    }

    /// Says that the ports of a link are not clear.
    fn undecided(&mut self, loose: &Loose) {
        let (Loose { from, to, names, link }, net) = (loose, &self.net);
        let ends: Vec<_> = from.iter().chain(to).map(|candidate| candidate.node).collect();
        if from.iter().any(|candidate| net.nodes[candidate.node].touched) {
            // What comes to it is not clear either, which is told.
            ends.into_iter().for_each(|node| self.net.nodes[node].touched = true);
            return;
        }
        let pairs = from.iter().flat_map(|a| to.iter().map(move |b| (a, b)));
        let gives = |candidate: &Candidate| net.nodes[candidate.node].outputs[candidate.port];
        let takes = |candidate: &Candidate| net.declared_input((candidate.node, candidate.port));
        let fit = pairs.filter(|(a, b)| gives(a).meet(&takes(b)).is_some()).count();
        if self.is_part && fit > 0 {
            // What is linked to the part may settle it.
            ends.into_iter().for_each(|node| self.net.nodes[node].touched = true);
            return;
        }
        let one =
            |candidates: &[Candidate], name: &str, media: &dyn Fn(&Candidate) -> MediaType, verb: &str| {
                let each = |c: &Candidate| format!("{name}.{} {verb} {}", c.name, media(c));
                candidates.iter().map(each).collect::<Vec<_>>().join("; ")
            };
        let froms = one(from, &names.0, &gives, "gives");
        let tos = one(to, &names.1, &takes, "takes");
        let found = if fit == 0 {
            Diagnostic::error(format!("{} has nothing that {} takes", names.0, names.1))
        } else {
            Diagnostic::error(format!("several ports fit between {} and {}", names.0, names.1))
        };
        let mut found = found.at(link.place.from, froms).at(link.place.to, tos);
        if fit == 0 {
            let pairs = from.iter().flat_map(|a| to.iter().map(move |b| (a, b)));
            let ways = pairs
                .filter_map(|(a, b)| Some((suggest::converters(&gives(a), &takes(b), self.registry)?, b)));
            if let Some((kinds, to)) = ways.min_by_key(|(kinds, _)| kinds.len()) {
                found = found.help(format!("for {}.{}, {}", names.1, to.name, between(&kinds)));
            }
        } else {
            let from = from.first().map_or("", |candidate| &candidate.name);
            let to = to.first().map_or("", |candidate| &candidate.name);
            found = found.help(format!("say which, for example \"{}.{from} -> {}.{to}\"", names.0, names.1));
        }
        self.found.push(found);
        ends.into_iter().for_each(|node| self.net.nodes[node].touched = true);
    }

    /// Links the inputs of templates' parts to the outputs of the hub that they
    /// can take; gives back those for which that is not clear. `last`: whether
    /// nothing more will become known.
    fn settle_open(&mut self, last: bool) -> Vec<crate::net::Open> {
        let open = std::mem::take(&mut self.net.open);
        if !last || open.is_empty() {
            return open;
        }
        let order = Order::of(&self.net);
        for open in open {
            let to = (open.to.node, open.to.port);
            if self.net.links.iter().any(|link| link.to == to) {
                continue;
            }
            let template = &self.net.templates[open.template];
            let (hub, group) = (template.hub, template.group);
            let gives = |candidate: &Candidate| self.net.nodes[hub].outputs[candidate.port];
            let is_named = |c: &Candidate| open.to.name.contains(&c.name) || open.part.contains(&c.name);
            let mut all = outputs(self.net.nodes[hub].spec, hub, Some(group));
            all.retain(|c| is_named(c) || !self.net.nodes[hub].spec.outputs[c.port].by_name);
            let fits = |candidate: &&Candidate| order.trial(&self.net, to, gives(candidate));
            let mut fitting: Vec<_> = all.iter().filter(fits).collect();
            if fitting.len() > 1 {
                // Of several that fit, the one that the names speak of.
                let named: Vec<_> = fitting.iter().copied().filter(|c| is_named(c)).collect();
                if named.len() == 1 {
                    fitting = named;
                }
            }
            let member = template.name.rsplit('/').next().unwrap_or_default();
            if let [from] = fitting.as_slice() {
                let media = self.net.declared_input(to);
                let place = LinkPlace { from: template.place, to: open.place };
                self.net.links.push(NetLink {
                    from: (from.node, from.port),
                    to,
                    member: Some(open.template),
                    template: Some(open.template),
                    capacity: None,
                    overflow: Default::default(),
                    mark: None,
                    is_loop: false,
                    media,
                    place,
                });
                continue;
            }
            let part = format!("{}.{}", open.part, open.to.name);
            let (message, note, help) = if fitting.is_empty() {
                let takes = self.net.declared_input(to);
                let help = all.iter().find_map(|candidate| {
                    let kinds = suggest::converters(&gives(candidate), &takes, self.registry)?;
                    Some(format!("inside the part, {}", between(&kinds)))
                });
                let message = format!("nothing that a {group} has fits {part}");
                (message, "takes none of these", help.unwrap_or_default())
            } else {
                let first = all.first().map_or("", |candidate| &candidate.name);
                let help = format!("say which: links = [\"{member}.{first} -> {part}\"]");
                (format!("several outputs of a {group} fit {part}"), "could take each of these", help)
            };
            let each = |c: &Candidate| format!("{member}.{} carries {}", c.name, gives(c));
            let found = Diagnostic::error(message)
                .at(template.place, all.iter().map(each).collect::<Vec<_>>().join("; "))
                .at(open.place, format!("{part} {note}"))
                .help(help);
            self.found.push(found);
            self.net.nodes[to.0].touched = true;
        }
        Vec::new()
    }
}

/// Advice to put `kinds` between two ports.
pub(crate) fn between(kinds: &[&str]) -> String {
    match kinds {
        [one] => format!("put {} between them, for example {{ kind = \"{one}\" }}", suggest::noun(one)),
        several => {
            let kinds: Vec<_> = several.iter().map(|kind| format!("{{ kind = \"{kind}\" }}")).collect();
            let nouns: Vec<_> = several.iter().map(|kind| suggest::noun(kind)).collect();
            format!("put {} between them, for example {}", nouns.join(" and then "), kinds.join(", then "))
        }
    }
}

fn inputs(spec: &NodeSpec, node: usize) -> Vec<Candidate> {
    let ports = spec.inputs.iter().enumerate();
    ports.map(|(port, input)| Candidate { node, port, name: input.name.into() }).collect()
}

/// The outputs of `spec` that are one for each member of `group`, or those that
/// are one alone.
fn outputs(spec: &NodeSpec, node: usize, group: Option<&str>) -> Vec<Candidate> {
    let ports = spec.outputs.iter().enumerate().filter(|(_, output)| output.each == group);
    ports.map(|(port, output)| Candidate { node, port, name: output.name.into() }).collect()
}

impl Net {
    /// Negotiates with what is settled so far, telling nothing.
    fn negotiate_quietly(&mut self) {
        let order = Order::of(self);
        order.negotiate(self, &[], None);
    }
}
