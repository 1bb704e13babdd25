//! `Transaction`: what is to change of a running graph, as a list of operations.
//!
//! An operation is read and checked as a line of a graph file would be, and what
//! comes of all of them by the checker of graph files; so mistakes are told in the
//! same way, with the operation where the line would stand.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, Sources};
use crate::ends::{Entry, Names, Ports};
use crate::expand::{Expander, Loaded};
use crate::graph::{Graph, LoadOptions};
use crate::graph_file::{GraphFile, LinkDecl, NodeDecl, Reader, check_name};
use crate::item::{self, At, Item};
use crate::negotiate::Known;
use crate::net::{Net, NetLink, NetTemplate, Stuck};
use crate::param::Value;
use crate::scope::Scope;
use crate::setting;
use crate::suggest;

/// What messages call the text of operations.
const LABEL: &str = "the transaction";

/// What is to change of a running graph, in one step: see
/// [`Handle::edit`](crate::Handle::edit).
///
/// Nodes go by the names that plans, reports and events give them, those of parts
/// and templates included: "alice_picture/beauty", "remote/remote_audio/jitter". Links
/// are written as in graph files. First links are taken out, then nodes change in
/// the order given, then links are made; so links may name what is added, whatever
/// stands first.
///
/// ```
/// use sidetone_core::{Change, Diagnostics, Handle, Transaction};
///
/// /// Puts a limiter between two nodes of a running graph.
/// fn limit(call: &Handle) -> Result<Change, Diagnostics> {
///     let transaction = Transaction::new()
///         .add("limiter", "audio.gain", &[("gain_db", (-3.0).into()), ("lane", "audio".into())])
///         .unlink("mix -> speaker")
///         .link("mix -> limiter -> speaker");
///     call.edit(transaction).wait()
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// The graph to begin with, where that is not the running one.
    base: Option<Box<Graph>>,
    operations: Vec<Operation>,
}

/// One thing to change. As text it is what messages about it show.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// See [`Transaction::add`].
    Add(String, NodeLine),
    /// See [`Transaction::remove`].
    Remove(String),
    /// See [`Transaction::replace`].
    Replace(String, NodeLine),
    /// See [`Transaction::link`] and [`Transaction::link_with`].
    Link(String, Vec<(String, Value)>),
    /// See [`Transaction::unlink`].
    Unlink(String),
    /// See [`Transaction::set`].
    Set(String, String, Value),
}

/// What the line of a node in a graph file says.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeLine {
    /// The kind.
    pub kind: String,
    /// The rest: parameters, `lane`, `on_fault`.
    pub rest: Vec<(String, Value)>,
}

/// The whole graph in place of what runs.
impl From<Graph> for Transaction {
    fn from(graph: Graph) -> Self {
        Self { base: Some(Box::new(graph)), operations: Vec::new() }
    }
}

impl Transaction {
    /// One that changes nothing yet. \[any\]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node; one whose name begins with a template's, "remote/limiter", for
    /// every member. `rest` is what a graph file gives beside its kind: parameters,
    /// and `lane` and `on_fault` if need be. \[control\]
    #[must_use]
    pub fn add(self, node: &str, kind: &str, rest: &[(&str, Value)]) -> Self {
        self.and(Operation::Add(node.to_owned(), NodeLine::new(kind, rest)))
    }

    /// Removes a node with its links; of one that others join as members, what
    /// templates make for these, too. \[control\]
    #[must_use]
    pub fn remove(self, node: &str) -> Self {
        self.and(Operation::Remove(node.to_owned()))
    }

    /// Gives a node another kind or other parameters, as if its line in the graph
    /// file were written anew: what `rest` does not give has its default. Its links
    /// stay: at the ports of the same names, or else at the only ones there are.
    /// \[control\]
    #[must_use]
    pub fn replace(self, node: &str, kind: &str, rest: &[(&str, Value)]) -> Self {
        self.and(Operation::Replace(node.to_owned(), NodeLine::new(kind, rest)))
    }

    /// Links nodes: "mix -> limiter -> speaker". \[control\]
    #[must_use]
    pub fn link(self, path: &str) -> Self {
        self.link_with(path, &[])
    }

    /// The same with a link's options: `capacity`, `overflow`, `loop`. \[control\]
    #[must_use]
    pub fn link_with(self, path: &str, options: &[(&str, Value)]) -> Self {
        self.and(Operation::Link(path.to_owned(), owned(options)))
    }

    /// Takes the links out that lead along "mix -> speaker". \[control\]
    #[must_use]
    pub fn unlink(self, path: &str) -> Self {
        self.and(Operation::Unlink(path.to_owned()))
    }

    /// Gives a parameter another value; a node whose parameter cannot change while
    /// running is made anew. Of what a template makes, for all members. \[control\]
    #[must_use]
    pub fn set(self, node: &str, param: &str, value: impl Into<Value>) -> Self {
        self.and(Operation::Set(node.to_owned(), param.to_owned(), value.into()))
    }

    /// The same with one more operation. \[control\]
    #[must_use]
    pub fn and(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// What is to be done, in the order given. \[any\]
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether it begins with a graph of its own, not with what runs.
    pub(crate) const fn is_whole(&self) -> bool {
        self.base.is_some()
    }

    /// What becomes of `running`: another graph, checked. \[control\]
    ///
    /// # Errors
    /// All operations that name what is not there or that do not fit; where there
    /// are none, all that is wrong with the graph they make.
    pub fn apply(self, running: &Graph) -> Result<Graph, Diagnostics> {
        let mut graph = self.base.map_or_else(|| running.clone(), |graph| *graph);
        if self.operations.is_empty() {
            return Ok(graph);
        }
        let options = LoadOptions::default();
        let registry = graph.registry.clone();
        let mut draft = Draft::new(&graph, Expander::new(&registry, &options));
        let mut used = places(&graph);
        let mut lines: Vec<_> =
            self.operations.into_iter().map(|it| (draft.write(&it, &mut used), it)).collect();
        lines.sort_by_key(|(_, operation)| operation.turn());
        for (file, operation) in &lines {
            // What one cannot do, the others are still looked at for.
            let _ = draft.perform(*file, operation);
        }
        if draft.expander.found.is_empty() {
            draft.expander.settle();
        }
        let Draft { expander: Expander { sources, mut found, mut net, settings, .. }, known, .. } = draft;
        if found.is_empty() {
            net.check(&sources, &known, &registry, &mut found);
        }
        let sources = Arc::new(sources);
        let found = Diagnostics::new(found, Arc::clone(&sources));
        if found.has_errors() {
            return Err(found);
        }
        (graph.sources, graph.known, graph.settings) = (sources, known, settings);
        graph.take(net);
        Ok(graph)
    }
}

impl NodeLine {
    fn new(kind: &str, rest: &[(&str, Value)]) -> Self {
        Self { kind: kind.to_owned(), rest: owned(rest) }
    }
}

fn owned(table: &[(&str, Value)]) -> Vec<(String, Value)> {
    table.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

impl Operation {
    /// When it has its turn.
    const fn turn(&self) -> u8 {
        match self {
            Self::Unlink(_) => 0,
            Self::Add(..) | Self::Remove(_) | Self::Replace(..) | Self::Set(..) => 1,
            Self::Link(..) => 2,
        }
    }
}

/// As a line of TOML.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(node, line) => write!(f, "add.{} = {line}", key(node)),
            Self::Remove(node) => write!(f, "remove = {}", quoted(node)),
            Self::Replace(node, line) => write!(f, "replace.{} = {line}", key(node)),
            Self::Link(path, options) if options.is_empty() => write!(f, "link = {}", quoted(path)),
            Self::Link(path, options) => {
                write!(f, "link = {{ path = {}", quoted(path))?;
                options
                    .iter()
                    .try_for_each(|(name, value)| write!(f, ", {} = {}", key(name), literal(value)))?;
                f.write_str(" }")
            }
            Self::Unlink(path) => write!(f, "unlink = {}", quoted(path)),
            Self::Set(node, param, value) => {
                write!(f, "set.{}.{} = {}", key(node), key(param), spliced(value))
            }
        }
    }
}

impl fmt::Display for NodeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ kind = {}", spliced(&Value::from(self.kind.as_str())))?;
        self.rest.iter().try_for_each(|(name, value)| write!(f, ", {} = {}", key(name), spliced(value)))?;
        f.write_str(" }")
    }
}

/// Text as TOML has it, on one line.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", c as u32),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        // What is no number is "NaN" in Rust.
        Value::Float(number) => format!("{number:?}").to_lowercase(),
        other => other.to_string(),
    }
}

/// The same where graph files splice `${…}` into text, which values have not.
fn spliced(value: &Value) -> String {
    literal(value).replace('$', "$$")
}

/// The texts that a graph points into.
fn places(graph: &Graph) -> BTreeSet<u32> {
    let net = graph.net();
    let links = net.links.iter().flat_map(|link| [link.place.from, link.place.to]);
    let nodes = net.nodes.iter().map(|node| node.place);
    let templates = net.templates.iter().map(|template| template.place);
    nodes.chain(links).chain(templates).map(|place| place.file).collect()
}

/// A graph while operations change it.
struct Draft<'a> {
    expander: Expander<'a>,
    /// What is known of outputs since nodes were made, of nodes that stay as they
    /// are.
    known: Known,
    /// Nodes that could not be added, which is told.
    broken: Vec<String>,
}

impl<'a> Draft<'a> {
    fn new(graph: &Graph, mut expander: Expander<'a>) -> Self {
        expander.sources = Sources::clone(&graph.sources);
        expander.settings = graph.settings.clone();
        expander.net = graph.net();
        Self { expander, known: graph.known.clone(), broken: Vec::new() }
    }

    /// Writes an operation down so that messages can point at it; `used` are the
    /// texts that something points at.
    fn write(&mut self, operation: &Operation, used: &mut BTreeSet<u32>) -> u32 {
        let file = self.expander.sources.add_anew(LABEL, operation.to_string(), used);
        used.insert(file);
        file
    }

    /// Performs an operation; `None` where it cannot be, which is told.
    fn perform(&mut self, file: u32, operation: &Operation) -> Option<()> {
        let found = &mut self.expander.found;
        let before = found.len();
        let text = self.expander.sources.whole(file);
        let (_, item) = item::parse(file, text, found).pop().filter(|_| found.len() == before)?;
        match operation {
            Operation::Add(..) => {
                let (name, line) = only(item)?;
                self.add(file, name, line)
            }
            Operation::Remove(_) => self.remove(&text_of(item)?),
            Operation::Replace(..) => {
                let (name, line) = only(item)?;
                self.replace(file, name, line)
            }
            Operation::Link(..) => {
                let (decl, names) = self.chain(item)?;
                self.link(&decl, &names)
            }
            Operation::Unlink(_) => {
                let (decl, names) = self.chain(item)?;
                self.unlink(&decl, &names)
            }
            Operation::Set(..) => {
                let (name, rest) = only(item)?;
                self.set(file, &name, rest)
            }
        }
    }

    fn add(&mut self, file: u32, mut name: At<String>, line: At<Item>) -> Option<()> {
        name.it = setting::address_of(&name.it);
        let Expander { net, found, .. } = &mut self.expander;
        let node = net.node_named(&name.it).map(|node| net.nodes[node].place);
        let template = net.templates.iter().find(|template| template.name == name.it);
        if let Some(place) = node.or(template.map(|template| template.place)) {
            let message = format!("there is a node {} already", name.it);
            let problem = Diagnostic::error(message).at(name.place, "").at(place, "this one");
            found.push(problem.help("give the new one another name, or replace the old one"));
            return None;
        }
        let is_inside =
            |of: &NetTemplate| name.it.strip_prefix(&of.name).is_some_and(|rest| rest.starts_with('/'));
        let template = net.templates.iter().position(is_inside);
        let mut pieces = name.it.split('/').map(|piece| At::new(name.place, piece.to_owned()));
        let made = match pieces.all(|piece| check_name("a node", &piece, found)) {
            true => self.make(file, name.clone(), line, template),
            false => None,
        };
        if made.is_none() {
            self.broken.push(name.it);
        }
        made
    }

    /// Makes a node, the last one of the net.
    fn make(&mut self, file: u32, name: At<String>, line: At<Item>, template: Option<usize>) -> Option<()> {
        self.expander.settings.forget(&name.it);
        let alternatives = Reader { found: &mut self.expander.found }.alternatives(&name, line)?;
        match self.expander.node(&scope(file, template), &NodeDecl { name, alternatives }) {
            Entry::Node(_) => Some(()),
            _ => None,
        }
    }

    fn remove(&mut self, name: &At<String>) -> Option<()> {
        let node = self.expander.node_called("", &name.it, name.place)?;
        let goes = self.expander.net.goes_with(node);
        let net = &self.expander.net;
        for budget in &net.budgets {
            let Some(path) = &budget.path else { continue };
            for (end, place) in [(&path.from, path.places.0), (&path.to, path.places.1)] {
                if net.node_named(end).is_some_and(|end| goes[end]) {
                    let found = Diagnostic::error(format!("a budget names {end}"))
                        .at(name.place, "goes")
                        .at(place, "");
                    let help = "replace it instead, or edit with a graph whose budgets name other nodes";
                    self.expander.found.push(found.help(help));
                    return None;
                }
            }
        }
        let gone = net.nodes.iter().zip(&goes).filter(|(_, goes)| **goes).map(|(node, _)| node.name.clone());
        for name in gone.collect::<Vec<_>>() {
            self.expander.settings.forget(&name);
        }
        let places = self.expander.net.remove(&goes);
        self.known.retain_mut(|(node, _)| places[*node].map(|place| *node = place).is_some());
        Some(())
    }

    fn replace(&mut self, file: u32, mut name: At<String>, line: At<Item>) -> Option<()> {
        let index = self.expander.node_called("", &name.it, name.place)?;
        name.it.clone_from(&self.expander.net.nodes[index].name);
        let template = self.expander.net.nodes[index].template;
        let at = name.place;
        self.make(file, name, line, template)?;
        let (net, found) = (&mut self.expander.net, &mut self.expander.found);
        let node = net.nodes.pop()?;
        let kind = node.spec.kind;
        let lacks = |group: &str| node.spec.outputs.iter().all(|port| port.each != Some(group));
        let mut made = net.templates.iter().filter(|template| template.hub == index);
        if let Some(template) = made.find(|template| lacks(template.group)) {
            let problem = Diagnostic::error(format!("{kind} has no group {}", template.group))
                .at(at, "")
                .at(template.place, "made for its members");
            found.push(problem.help("remove the node and add another, without what is made for members"));
            return None;
        }
        let ends = match net.moved(index, node.spec) {
            Ok(ends) => ends,
            Err(stuck) => {
                found.extend(stuck.into_iter().map(|Stuck { port, is_input, place }| {
                    let (what, ports) =
                        if is_input { ("input", node.spec.inputs) } else { ("output", node.spec.outputs) };
                    let names = ports.iter().map(|port| port.name);
                    Diagnostic::error(format!("{kind} has no {what} {port}"))
                        .at(at, "")
                        .at(place, "linked here")
                        .help(suggest::names(port, &format!("{what}s"), names))
                }));
                return None;
            }
        };
        for (link, ends) in net.links.iter_mut().zip(ends) {
            (link.from.1, link.to.1) = ends;
        }
        net.nodes[index] = node;
        self.known.retain(|(node, _)| *node != index);
        Some(())
    }

    fn set(&mut self, file: u32, name: &At<String>, rest: At<Item>) -> Option<()> {
        let (param, value) = only(rest)?;
        let index = self.expander.node_called("", &name.it, name.place)?;
        let node = &self.expander.net.nodes[index];
        let (spec, template) = (node.spec, node.template);
        let family = self.expander.registry.family_of(spec);
        if let Some(family) = family.filter(|family| family.chosen_by == param.it) {
            let message = format!("{} says which node {} is", param.it, name.it);
            let found = Diagnostic::error(message).at(param.place, "");
            let help =
                format!("replace the node by one with kind = \"{}\" and that {}", family.kind, param.it);
            self.expander.found.push(found.help(help));
            return None;
        }
        let spec = self.expander.known_param(spec, &param)?;
        let (value, _) = self.expander.kind_param(&scope(file, template), spec, &value)?;
        let node = &mut self.expander.net.nodes[index];
        node.params.set(spec.name, value);
        node.fills.retain(|(param, _)| *param != spec.name);
        if !spec.live {
            self.known.retain(|(node, _)| *node != index);
        }
        Some(())
    }

    /// The chain of a link, and what its names mean.
    fn chain(&mut self, item: At<Item>) -> Option<(LinkDecl, Names)> {
        let mut decl = Reader { found: &mut self.expander.found }.link(item, &mut String::new())?;
        let mut names: Names = HashMap::new();
        let net = &self.expander.net;
        names.extend(self.broken.iter().map(|name| (name.clone(), Entry::Broken)));
        names.extend(
            net.nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), Entry::Node(index))),
        );
        names.extend(net.templates.iter().enumerate().map(|(template, it)| {
            (it.name.clone(), Entry::Member { hub: it.hub, group: it.group, template })
        }));
        let mut whole = true;
        for end in &mut decl.ends {
            end.node.it = setting::address_of(&end.node.it);
            if !names.contains_key(&end.node.it) {
                whole = false;
                self.expander.node_called("", &end.node.it, end.node.place);
            }
        }
        whole.then_some((decl, names))
    }

    fn link(&mut self, decl: &LinkDecl, names: &Names) -> Option<()> {
        let before = self.expander.net.loose.len();
        self.expander.link(names, decl, None, &mut Vec::new());
        let Expander { net: Net { nodes, templates, loose, .. }, found, .. } = &mut self.expander;
        for loose in &mut loose[before..] {
            let from = loose.link.member.or(nodes[loose.from.first()?.node].template);
            let to = nodes[loose.to.first()?.node].template;
            if let (Some(a), Some(b)) = (from, to)
                && a != b
            {
                let place = loose.link.place;
                let message = "a link cannot lead from one template to another";
                found.push(
                    Diagnostic::error(message)
                        .at(place.from, format!("made by {}", templates[a].name))
                        .at(place.to, format!("made by {}", templates[b].name))
                        .help("lead it over a node of the graph that takes many"),
                );
            }
            loose.link.template = from.or(to);
        }
        Some(())
    }

    fn unlink(&mut self, decl: &LinkDecl, names: &Names) -> Option<()> {
        for pair in 0..decl.ends.len() - 1 {
            let Some(Ports { from, to, member }) = self.expander.ports(names, decl, pair, &mut Vec::new())
            else {
                continue;
            };
            let net = &self.expander.net;
            let is_it = |link: &NetLink| {
                link.member == member
                    && from.iter().any(|end| (end.node, end.port) == link.from)
                    && to.iter().any(|end| (end.node, end.port) == link.to)
            };
            let those: Vec<_> = net.links.iter().filter(|link| is_it(link)).collect();
            let said =
                |link: &NetLink| format!("{} -> {}", net.sender_name(link), net.receiver_name(link.to));
            let (a, b) = decl.pair(pair);
            let (message, help) = match those.as_slice() {
                [_] => {
                    let at = net.links.iter().position(is_it);
                    at.map(|at| self.expander.net.links.remove(at));
                    continue;
                }
                [] => {
                    let here = net.links.iter().filter(|link| {
                        link.member == member && from.iter().any(|end| end.node == link.from.0)
                    });
                    let here: Vec<_> = here.map(said).collect();
                    let help = match here.as_slice() {
                        [] => format!("nothing is linked to what {} gives", a.node.it),
                        here => {
                            format!("links from there: {}", suggest::list(here.iter().map(String::as_str)))
                        }
                    };
                    (format!("{} is not linked to {}", a.node.it, b.node.it), help)
                }
                several => {
                    let several: Vec<_> = several.iter().map(|link| said(link)).collect();
                    let help = format!("say which: {}", suggest::list(several.iter().map(String::as_str)));
                    (format!("several links lead from {} to {}", a.node.it, b.node.it), help)
                }
            };
            self.expander.found.push(Diagnostic::error(message).at(a.place, "").at(b.place, "").help(help));
        }
        Some(())
    }
}

/// Where an operation stands: nothing but what it says has a meaning there.
fn scope(file: u32, template: Option<usize>) -> Scope {
    Scope {
        loaded: Rc::new(Loaded { file, parsed: GraphFile::default() }),
        folder: PathBuf::new(),
        prefix: String::new(),
        template,
        values: HashMap::new(),
        origins: HashMap::new(),
        trail: Vec::new(),
    }
}

/// The one entry of a table.
fn only(item: At<Item>) -> Option<(At<String>, At<Item>)> {
    match item.it {
        Item::Table(mut table) => table.pop(),
        _ => None,
    }
}

fn text_of(item: At<Item>) -> Option<At<String>> {
    match item.it {
        Item::Text(text) => Some(At::new(text.whole(), text.text)),
        _ => None,
    }
}
