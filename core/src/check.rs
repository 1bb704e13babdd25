//! Checks of a net's structure: loops, doubled and missing links, files that
//! two nodes would write.

use std::collections::HashMap;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Place, Severity, Sources};
use crate::expand::normal;
use crate::negotiate::{Known, Order};
use crate::net::{Net, NetLink, NetNode, NetTemplate};
use crate::param::{ParamKind, Value};
use crate::registry::Registry;
use crate::suggest;

impl Net {
    /// Lets types flow through the net and says all that is wrong with it, given
    /// what is `known` of outputs since nodes were made.
    pub(crate) fn check(
        &mut self,
        sources: &Sources,
        known: &Known,
        registry: &Registry,
        found: &mut Vec<Diagnostic>,
    ) {
        self.find_loops(sources, found);
        Order::of(self).negotiate(self, known, Some((found, registry)));
        self.check_links(registry, found);
        self.check_paths(found);
        if found.iter().all(|one| one.severity != Severity::Error) {
            self.check_budgets(registry, found);
        }
    }

    /// Decides which of the marked links close loops, and says which unmarked
    /// ones do.
    fn find_loops(&mut self, sources: &Sources, found: &mut Vec<Diagnostic>) {
        for link in self.links.iter().filter(|link| link.from.0 == link.to.0) {
            let name = &self.nodes[link.to.0].name;
            let message = format!("{name} is linked to itself");
            let help = "a node cannot feed itself; put what is to come between into the link";
            found.push(
                Diagnostic::error(message)
                    .at(link.place.from, "from here")
                    .at(link.place.to, "to here")
                    .help(help),
            );
        }
        let is_self = |link: &NetLink| link.from.0 == link.to.0;
        let mut forward = Forward::new(self.nodes.len());
        for link in self.links.iter().filter(|link| link.mark.is_none() && !is_self(link)) {
            forward.next[link.from.0].push(link.to.0);
        }
        let mut closes: HashMap<Place, bool> = HashMap::new();
        for index in 0..self.links.len() {
            let link = &self.links[index];
            let Some(mark) = link.mark else { continue };
            let is_loop = is_self(link) || forward.reaches(link.to.0, link.from.0);
            if !is_loop {
                forward.next[link.from.0].push(link.to.0);
            }
            *closes.entry(mark).or_default() |= is_loop;
            self.links[index].is_loop = is_loop;
        }
        for (mark, _) in closes.into_iter().filter(|(_, closes)| !closes) {
            let message = "this link is marked as a loop, but closes none";
            found.push(Diagnostic::warning(message).at(mark, "").help("take the mark off"));
        }
        for cycle in self.unmarked_cycles() {
            let names: Vec<_> =
                cycle.iter().map(|link| self.nodes[self.links[*link].from.0].name.as_str()).collect();
            let chain = match names.as_slice() {
                [a, .., z] if names.len() > 8 => format!("{a} -> … -> {z} -> {a}"),
                _ => names.iter().chain(names.first()).copied().collect::<Vec<_>>().join(" -> "),
            };
            let mut problem = Diagnostic::error(format!("the links go round in a loop: {chain}"));
            for index in cycle.iter().take(8) {
                let LinkEnds { from, to, place } = self.ends(&self.links[*index]);
                problem = problem.at(place, format!("{from} feeds {to}"));
            }
            let back = self.links[cycle[cycle.len() - 1]].place;
            let help = format!(
                "take one of these links out, or mark the one that may bring old frames back: {{ path = \"{} -> {}\", loop = true }}",
                sources.text(back.from),
                sources.text(back.to)
            );
            found.push(problem.help(help));
        }
    }

    /// For each knot of unmarked links that go round, one loop: its links in
    /// order.
    fn unmarked_cycles(&self) -> Vec<Vec<usize>> {
        let order = Order::of(self);
        // Nodes that no order reaches stand in loops, or behind them.
        let mut placed = vec![false; self.nodes.len()];
        let mut cycles = Vec::new();
        for &node in &order.nodes {
            let is_free = |link: &usize| {
                let link = &self.links[*link];
                link.is_loop || link.from.0 == link.to.0 || placed[link.from.0]
            };
            if order.into[node].iter().all(is_free) {
                placed[node] = true;
            }
        }
        let mut seen = vec![false; self.nodes.len()];
        for start in 0..self.nodes.len() {
            // Walk upstream along links from nodes that have no place, until a
            // node comes twice on one walk.
            let mut walk: Vec<usize> = Vec::new();
            let mut at = start;
            let mut on_walk: HashMap<usize, usize> = HashMap::new();
            while !placed[at] && !seen[at] {
                seen[at] = true;
                on_walk.insert(at, walk.len());
                let blocked = |link: &&usize| {
                    let link = &self.links[**link];
                    !link.is_loop && link.from.0 != link.to.0 && !placed[link.from.0]
                };
                let Some(&link) = order.into[at].iter().find(blocked) else { break };
                walk.push(link);
                at = self.links[link].from.0;
                if let Some(&begin) = on_walk.get(&at) {
                    let mut cycle = walk[begin..].to_vec();
                    cycle.reverse();
                    // Begin where the file does.
                    let first = (0..cycle.len()).min_by_key(|index| self.links[cycle[*index]].place.from);
                    cycle.rotate_left(first.unwrap_or(0));
                    cycles.push(cycle);
                    break;
                }
            }
        }
        cycles
    }

    fn ends(&self, link: &NetLink) -> LinkEnds<'_> {
        let (a, b) = (link.place.from, link.place.to);
        let one = a.file == b.file && a.end <= b.start && b.end - a.start < 200;
        LinkEnds {
            from: &self.nodes[link.from.0].name,
            to: &self.nodes[link.to.0].name,
            place: if one { Place { end: b.end, ..a } } else { a },
        }
    }

    /// Says what is doubled, missing or goes nowhere.
    fn check_links(&self, registry: &Registry, found: &mut Vec<Diagnostic>) {
        let mut into: HashMap<(usize, usize), &NetLink> = HashMap::new();
        let mut seen: HashMap<_, &NetLink> = HashMap::new();
        for link in &self.links {
            let (from, to) = (self.sender_name(link), self.receiver_name(link.to));
            if let Some(first) = seen.insert((link.from, link.to, link.member), link) {
                let problem = Diagnostic::error(format!("{from} and {to} are linked twice"))
                    .at(link.place.from, "")
                    .at(link.place.to, "the second time")
                    .at(first.place.from, "the first time");
                found.push(problem.help("take one of them out"));
                continue;
            }
            let input = &self.nodes[link.to.0].spec.inputs[link.to.1];
            if input.many {
                continue;
            }
            let help = || {
                let kind = suggest::mixer(&input.media, registry);
                kind.map_or("take one of them out".into(), |kind| {
                    format!("put {{ kind = \"{kind}\" }} before it, which takes any number, or take one of them out")
                })
            };
            if let Some(first) = into.get(&link.to) {
                let problem = Diagnostic::error(format!("{to} takes one link, but two lead to it"))
                    .at(link.place.to, format!("{from} leads to it"))
                    .at(first.place.to, format!("{} does, too", self.sender_name(first)));
                found.push(problem.help(help()));
                continue;
            }
            into.insert(link.to, link);
            let outside = self.nodes[link.to.0].template.is_none();
            let template = link.template.map(|template| &self.templates[template]);
            let single = |template: &&NetTemplate| template.most == Some(1);
            if let Some(template) =
                template.filter(|template| outside && !self.is_misplaced(link) && !single(template))
            {
                let message =
                    format!("{to} takes one link, but one for every {} leads to it", template.group);
                let problem = Diagnostic::error(message).at(link.place.to, "");
                let kind = suggest::mixer(&input.media, registry);
                found.push(problem.help(kind.map_or(String::new(), |kind| {
                    format!(
                        "put {{ kind = \"{kind}\" }} before it, outside the template, which takes any number; or \
                         say `most = 1` in the template"
                    )
                })));
            }
        }
        for link in &self.links {
            if self.is_misplaced(link) {
                let message = "this link has no end in the template";
                let problem = Diagnostic::error(message).at(link.place.from, "").at(link.place.to, "");
                found.push(
                    problem.help("it would be made again for every member; move it to the graph's links"),
                );
            }
        }
        self.check_nodes(found);
    }

    /// Whether a link stands in a template with which it has nothing to do.
    fn is_misplaced(&self, link: &NetLink) -> bool {
        let inside = |node: usize| self.nodes[node].template.is_some();
        link.template.is_some() && link.member.is_none() && !inside(link.from.0) && !inside(link.to.0)
    }

    fn check_nodes(&self, found: &mut Vec<Diagnostic>) {
        let mut fed: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut feeds = vec![false; self.nodes.len()];
        for link in &self.links {
            fed.entry(link.to.0).or_default().push(link.to.1);
            feeds[link.from.0] = true;
        }
        for &(node, port) in &self.open_inputs {
            fed.entry(node).or_default().push(port);
        }
        for &node in &self.open_outputs {
            feeds[node] = true;
        }
        if self.nodes.is_empty() && found.iter().all(|one| one.severity != Severity::Error) {
            found.push(
                Diagnostic::error("the graph has no nodes")
                    .at(Place::default(), "")
                    .help("name them under [nodes], for example tone = { kind = \"test.tone\" }"),
            );
        }
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.touched) {
            let ports = fed.get(&index).map_or(&[][..], Vec::as_slice);
            let missing: Vec<_> = (0..node.spec.inputs.len())
                .filter(|port| node.spec.inputs[*port].required && !ports.contains(port))
                .collect();
            let name = &node.name;
            if let Some(&port) = missing.first() {
                let input = &node.spec.inputs[port];
                let problem = Diagnostic::error(format!("nothing feeds {name}.{}", input.name))
                    .at(node.place, format!("{} needs {} there", node.spec.kind, input.media));
                let given =
                    self.nodes.iter().enumerate().find(|(from, other)| {
                        *from != index
                            && other.template == node.template
                            && other.outputs.iter().zip(other.spec.outputs).any(|(media, port)| {
                                port.each.is_none() && media.meet(&input.media).is_some()
                            })
                            && !feeds[*from]
                    });
                let from = given.map_or("…", |(_, other)| local(&other.name));
                let name = local(name);
                found.push(problem.help(format!("link it, for example \"{from} -> {name}.{}\"", input.name)));
            } else if ports.is_empty() && !feeds[index] && !self.is_hub(index) {
                let problem = Diagnostic::warning(format!("nothing is linked to {name}")).at(node.place, "");
                found.push(problem.help("link it, or take it out"));
            } else if !feeds[index] && !self.is_hub(index) && !node.spec.outputs.is_empty() {
                let own = node.spec.outputs.iter().any(|port| port.each.is_none());
                if own {
                    let what: Vec<_> = node.outputs.iter().map(ToString::to_string).collect();
                    let problem = Diagnostic::warning(format!("what {name} gives goes nowhere"))
                        .at(node.place, format!("gives {}", what.join("; ")));
                    found.push(problem.help("link it to something, or take it out"));
                }
            }
        }
    }

    /// Says which nodes would write the same file, or one that another plays.
    fn check_paths(&self, found: &mut Vec<Diagnostic>) {
        let mut writers: HashMap<_, &NetNode> = HashMap::new();
        for node in self.nodes.iter().filter(|node| !node.unsure && node.writes()) {
            let Some((path, text)) = node.path() else { continue };
            // What no member's name tells apart from others is one file for all.
            let member = node.fills.iter().find(|(name, _)| *name == "path");
            let whose = member.map(|(_, pieces)| (node.template, pieces));
            let Some(first) = writers.insert((path, whose), node) else { continue };
            let (here, there) = (node.path_place(), first.path_place());
            let message = format!("{} and {} write the same file, {text}", first.name, node.name);
            let mut problem = Diagnostic::error(message);
            let help = if here == there {
                problem = problem.at(here, "both write here");
                "hand the path in as a parameter of the part, and give each use its own"
            } else {
                problem = problem.at(here, "").at(there, "the same file");
                "give each its own path"
            };
            found.push(problem.help(help));
        }
        for node in self.nodes.iter().filter(|node| !node.unsure && node.spec.inputs.is_empty()) {
            let Some((path, text)) = node.path() else { continue };
            // Where a member's name tells files apart, they are others.
            let Some(writer) = writers.get(&(path, None)).filter(|_| node.fills.is_empty()) else { continue };
            let message = format!("{} would write over {text}, which {} plays", writer.name, node.name);
            let problem = Diagnostic::error(message)
                .at(writer.path_place(), "emptied when the graph starts")
                .at(node.path_place(), "played from here");
            found.push(problem.help("let one of them use another file"));
        }
    }

    fn is_hub(&self, node: usize) -> bool {
        self.templates.iter().any(|template| template.hub == node)
    }
}

impl NetNode {
    /// Whether it writes the file that it is told to use.
    fn writes(&self) -> bool {
        self.spec.outputs.is_empty() || self.spec.param("path").is_some_and(|param| param.writes)
    }

    /// The file it is told to use, and that as a message says it.
    fn path(&self) -> Option<(std::path::PathBuf, &Value)> {
        self.spec.param("path").filter(|param| param.kind == ParamKind::Path)?;
        let value = self.params.get("path")?;
        match value {
            // What is written to the null device is not kept.
            Value::Text(text) if !text.is_empty() && &**text != "/dev/null" => {
                Some((normal(Path::new(&**text)), value))
            }
            _ => None,
        }
    }

    fn path_place(&self) -> Place {
        self.given_at.iter().find(|at| at.param == "path").map_or(self.place, |at| at.place)
    }
}

/// The name of a node inside its own file.
fn local(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

struct LinkEnds<'a> {
    from: &'a str,
    to: &'a str,
    place: Place,
}

/// Which nodes come directly after each.
struct Forward {
    next: Vec<Vec<usize>>,
    /// When each node was last visited.
    visited: Vec<usize>,
    visit: usize,
}

impl Forward {
    fn new(nodes: usize) -> Self {
        Self { next: vec![Vec::new(); nodes], visited: vec![0; nodes], visit: 0 }
    }

    fn reaches(&mut self, from: usize, to: usize) -> bool {
        self.visit += 1;
        let mut open = vec![from];
        while let Some(node) = open.pop() {
            if node == to {
                return true;
            }
            if std::mem::replace(&mut self.visited[node], self.visit) != self.visit {
                open.extend(&self.next[node]);
            }
        }
        false
    }
}
