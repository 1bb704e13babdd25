//! `Graph`: nodes and links after checking: types agree, parameters are in
//! range. Made by `Graph::load` from a graph file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::cell::OnFault;
use crate::diagnostic::{Diagnostics, Place, Sources};
use crate::expand::Expander;
use crate::frame::WhenDry;
use crate::graph_file::MAX_BYTES;
pub use crate::lanes::GraphLane;
use crate::link::Overflow;
use crate::media_type::MediaType;
use crate::negotiate::{Known, Order};
use crate::net::{Net, NetLink, NetNode, NetTemplate};
use crate::param::{Params, Value};
use crate::registry::{Foreign, NodeSpec, Placement, Registry};
use crate::scope::Given;
use crate::setting::{self, NoSetting, Setting, Settings};

/// A checked graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The stem of the file's name: "call".
    pub name: String,
    /// The file, as it was named to `Graph::load`.
    pub file: String,
    /// What the graph is for: the comment that the file begins with.
    pub about: String,
    /// How long frames may take: capture to render, and along paths.
    pub budgets: Vec<Budget>,
    /// What becomes of a frame for which an output has no free buffer.
    pub when_dry: WhenDry,
    /// How the threads of lanes run that the file has settings for.
    pub lanes: Vec<GraphLane>,
    /// The parameters that the file declares, in the file's order.
    pub params: Vec<GraphParam>,
    /// The nodes, in the file's order; those of parts have names such as "remote/jitter".
    pub nodes: Vec<GraphNode>,
    /// The links, in the file's order.
    pub links: Vec<GraphLink>,
    /// What is made for each member of a group.
    pub templates: Vec<Template>,
    /// The text of every file that was read, so that later findings can still
    /// point at their lines.
    pub sources: Arc<Sources>,
    /// The kinds it was checked with.
    pub(crate) registry: Registry,
    /// What is known of outputs since nodes were made.
    pub(crate) known: Known,
    /// What `--set` reaches.
    pub(crate) settings: Settings,
}

/// What a graph is loaded with, beside its file. \[control\]
pub struct LoadOptions<'a> {
    /// Parameters given from outside: ("bitrate", "3") for one of the graph's
    /// own, ("cam.fps", "15") for a node's, ("remote/jitter.max_ms", "80") for
    /// that of a node in a part or template (or "remote\[\]/jitter.max_ms", as
    /// plans name the latter). Of two for one parameter the later holds.
    pub overrides: &'a [(String, String)],
    /// The environment, for `${env:NAME}`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl Default for LoadOptions<'_> {
    /// No overrides, this process's environment, files of the file system.
    fn default() -> Self {
        Self { overrides: &[], env: &|name| std::env::var(name).ok(), read: &read }
    }
}

/// The bytes of a file, up to what a graph file may have and one more.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES as u64 + 1), &mut bytes)?;
    Ok(bytes)
}

/// What a file that checks holds.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Whether it is a part, which runs in graphs that use it.
    pub is_part: bool,
    /// How many nodes it has, those of templates aside.
    pub nodes: usize,
    /// How many links it has, those of templates aside.
    pub links: usize,
    /// How many templates it has.
    pub templates: usize,
    /// What is hardly meant so.
    pub warnings: Diagnostics,
}

/// A parameter that a graph file declares, and what it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphParam {
    /// Its name, as `--set NAME=VALUE` takes it.
    pub name: String,
    /// The word for its type in graph files: "path".
    pub word: &'static str,
    /// What values it takes, as a phrase: "a whole number from 1 to 60".
    pub takes: String,
    /// What it is when nothing is given; `None` where something must be.
    pub default: Option<Value>,
    /// What it is this time, where that is known.
    pub value: Option<Value>,
    /// What it does, in a sentence.
    pub meaning: String,
}

/// A node of a checked graph.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// Its name in the graph.
    pub name: Arc<str>,
    /// Its kind.
    pub spec: &'static NodeSpec,
    /// Its checked parameters.
    pub params: Params,
    /// The lane it is to run on, where the graph says.
    pub lane: Option<Arc<str>>,
    /// What happens when it fails.
    pub on_fault: OnFault,
    /// What comes to each input; `None` where nothing is linked. Where several
    /// links feed one input, what they have in common.
    pub inputs: Vec<Option<MediaType>>,
    /// What each output carries.
    pub outputs: Vec<MediaType>,
    /// The time it declares to add.
    pub latency: Duration,
    /// Whose code it runs.
    pub foreign: Foreign,
    /// How long one of its calls may take, if it runs somebody else's code.
    pub deadline: Option<Duration>,
    /// Where the graph file names it.
    pub place: Place,
}

impl GraphNode {
    /// Where it asks to run. The calls of a node whose code runs in another
    /// process block on that, whatever its kind says. \[any\]
    #[must_use]
    pub const fn placement(&self) -> Placement {
        match self.foreign {
            Foreign::Apart => Placement::Own,
            Foreign::No | Foreign::InProcess => self.spec.placement,
        }
    }
}

/// A link of a checked graph.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphLink {
    /// The sending end: the index of the node and of its output.
    pub from: (usize, usize),
    /// The receiving end: the index of the node and of its input.
    pub to: (usize, usize),
    /// How many frames may wait in it, where the graph says.
    pub capacity: Option<usize>,
    /// What happens to a frame for which there is no room.
    pub overflow: Overflow,
    /// Whether it closes a loop, which the graph allows.
    pub is_loop: bool,
    /// What it carries.
    pub media: MediaType,
    /// Where the graph file names both ends.
    pub place: LinkPlace,
}

/// Where a graph file names the ends of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkPlace {
    /// The sending end.
    pub from: Place,
    /// The receiving end.
    pub to: Place,
}

/// What is made for each member of a group of ports, while it is there.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its name, which stands for the member in its links: "remote".
    pub name: Arc<str>,
    /// The index of the node whose members it is made for.
    pub hub: usize,
    /// The group of that node's outputs: "participant".
    pub group: &'static str,
    /// For how many members at once, at most; more get nothing.
    pub most: Option<usize>,
    /// What is made; a name such as "remote_audio/jitter" becomes
    /// "remote\[bob\]/remote_audio/jitter".
    pub nodes: Vec<GraphNode>,
    /// How it is linked.
    pub links: Vec<TemplateLink>,
    /// Where the graph file names it.
    pub place: Place,
    /// Text parameters that hold the member's name.
    pub(crate) fills: Vec<Fill>,
}

/// A link of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateLink {
    /// The sending end.
    pub from: End,
    /// The receiving end.
    pub to: End,
    /// How many frames may wait in it, where the graph says.
    pub capacity: Option<usize>,
    /// What happens to a frame for which there is no room.
    pub overflow: Overflow,
    /// Whether it closes a loop, which the graph allows.
    pub is_loop: bool,
    /// What it carries.
    pub media: MediaType,
    /// Where the graph file names both ends.
    pub place: LinkPlace,
}

/// An end of a template's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An output of the hub, for this member.
    Member {
        /// Which of the hub's outputs.
        port: usize,
    },
    /// A node of the template.
    Inside {
        /// Its index in the template.
        node: usize,
        /// Which of its ports.
        port: usize,
    },
    /// A node of the graph around it.
    Outside {
        /// Its index in the graph.
        node: usize,
        /// Which of its ports.
        port: usize,
    },
}

/// A text parameter of a template's node that holds the member's name.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    pub(crate) node: usize,
    pub(crate) param: &'static str,
    pub(crate) is_path: bool,
    /// The text around the name: one more piece than there are names.
    pub(crate) pieces: Vec<String>,
}

impl Graph {
    /// Loads the graph file at `path` and the parts that it names, and checks
    /// them. Opens no device, socket or codec. With the graph come the warnings.
    /// \[control\]
    ///
    /// # Errors
    /// All that is wrong, warnings included.
    pub fn load(
        path: &Path,
        registry: &Registry,
        options: &LoadOptions<'_>,
    ) -> Result<(Self, Diagnostics), Diagnostics> {
        Self::load_any(path, registry, options, false).map(|(graph, _, warnings)| (graph, warnings))
    }

    /// Checks the file at `path`, which may be a part: its parameters then take
    /// their defaults, and its ports count as linked to what fits. \[control\]
    ///
    /// # Errors
    /// All that is wrong, warnings included.
    pub fn check(
        path: &Path,
        registry: &Registry,
        options: &LoadOptions<'_>,
    ) -> Result<Checked, Diagnostics> {
        let (graph, is_part, warnings) = Self::load_any(path, registry, options, true)?;
        let (nodes, links, templates) = (graph.nodes.len(), graph.links.len(), graph.templates.len());
        Ok(Checked { is_part, nodes, links, templates, warnings })
    }

    /// The graph, or the part if `parts` allows that, and whether it is one.
    fn load_any(
        path: &Path,
        registry: &Registry,
        options: &LoadOptions<'_>,
        parts: bool,
    ) -> Result<(Self, bool, Diagnostics), Diagnostics> {
        let mut expander = Expander::new(registry, options);
        let expanded = expander.graph(path, parts);
        if expanded.is_some() {
            expander.settle();
        }
        let Expander { sources, mut found, mut net, settings, .. } = expander;
        let sources = Arc::new(sources);
        let Some((loaded, values)) = expanded else { return Err(Diagnostics::new(found, sources)) };
        net.check(&sources, &Known::new(), registry, &mut found);
        let is_part = loaded.parsed.ports.is_some();
        let found = Diagnostics::new(found, Arc::clone(&sources));
        if found.has_errors() {
            return Err(found);
        }
        let params = loaded.parsed.params.iter().map(|decl| {
            let mut param = decl.describe();
            if let Some(Given::Value(value)) = values.get(&decl.name.it) {
                param.value = Some(value.clone());
            }
            param
        });
        let mut graph = Self {
            name: path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            file: path.display().to_string(),
            about: loaded.parsed.about.clone(),
            when_dry: loaded.parsed.when_dry.as_ref().map_or_else(WhenDry::default, |dry| dry.it),
            lanes: std::mem::take(&mut net.lanes),
            params: params.collect(),
            sources,
            registry: registry.clone(),
            settings,
            ..Self::default()
        };
        graph.take(net);
        Ok((graph, is_part, found))
    }

    /// The parameter that `--set NAME=…` reaches, by the same NAME. \[control\]
    ///
    /// # Errors
    /// What is not there, and what was meant.
    pub fn setting(&self, name: &str) -> Result<&Setting, NoSetting> {
        let (address, param) = setting::split(name);
        self.settings.find(&address, param)?.ok_or_else(|| NoSetting {
            // Not in a graph that checked.
            message: format!("{name} cannot be given"),
            help: String::new(),
        })
    }

    /// Lets types flow again from `node`, whose outputs turned out to carry
    /// `outputs` when it was made (an entry a port, `None` where nothing new is
    /// known). If that does not fit, the graph stays as it was. \[control\]
    ///
    /// # Errors
    /// What no longer fits, with the places of the graph file.
    pub fn renegotiate(&mut self, node: usize, outputs: &[Option<MediaType>]) -> Result<(), Diagnostics> {
        if node >= self.nodes.len() || outputs.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut known = self.known.clone();
        known.retain(|(earlier, _)| *earlier != node);
        known.push((node, outputs.to_vec()));
        let mut net = self.net();
        let mut found = Vec::new();
        Order::of(&net).negotiate(&mut net, &known, Some((&mut found, &self.registry)));
        if found.is_empty() {
            net.check_budgets(&self.registry, &mut found);
        }
        let found = Diagnostics::new(found, Arc::clone(&self.sources));
        if found.has_errors() {
            return Err(found);
        }
        self.known = known;
        self.take(net);
        Ok(())
    }

    /// The index of the node named `name`. \[any\]
    #[must_use]
    pub fn node(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| &*node.name == name)
    }
}

impl Template {
    /// The template's nodes for the member `member`, in the order of
    /// `Template::nodes`, under their own names and with the member's name in
    /// the parameters that ask for it. In paths, what would lead to another
    /// folder is replaced. \[control\]
    #[must_use]
    pub fn instantiate(&self, member: &str) -> Vec<GraphNode> {
        let mut nodes = self.nodes.clone();
        for node in &mut nodes {
            node.name = format!("{}[{member}]/{}", self.name, node.name).into();
        }
        for fill in &self.fills {
            let name = if fill.is_path { file_name(member) } else { member.to_owned() };
            let text = fill.pieces.join(&name);
            nodes[fill.node].params.set(fill.param, Value::Text(text.into()));
        }
        nodes
    }
}

/// Between a net and a graph: in a net the nodes of templates stand among the
/// others.
impl Graph {
    pub(crate) fn take(&mut self, mut net: Net) {
        net.set_deadlines();
        let Net { nodes, links, templates, budgets, .. } = net;
        self.budgets = budgets;
        // Where each node goes.
        let mut places = Vec::with_capacity(nodes.len());
        let mut kept: Vec<Vec<GraphNode>> = templates.iter().map(|_| Vec::new()).collect();
        let mut outer = Vec::new();
        let mut fills: Vec<Vec<Fill>> = templates.iter().map(|_| Vec::new()).collect();
        for node in nodes {
            let (list, begin) = match node.template {
                Some(template) => {
                    let index = kept[template].len();
                    fills[template].extend(node.fills.iter().map(|(param, pieces)| Fill {
                        node: index,
                        param,
                        is_path:
                            node.spec.param(param).is_some_and(|spec| spec.kind == crate::ParamKind::Path),
                        pieces: pieces.clone(),
                    }));
                    (&mut kept[template], templates[template].name.len() + 1)
                }
                None => (&mut outer, 0),
            };
            places.push((node.template, list.len()));
            list.push(GraphNode {
                name: node.name[begin..].into(),
                spec: node.spec,
                params: node.params,
                lane: node.lane,
                on_fault: node.on_fault,
                inputs: node.inputs,
                outputs: node.outputs,
                latency: node.latency,
                foreign: node.foreign,
                deadline: node.deadline,
                place: node.place,
            });
        }
        let mut inner: Vec<Vec<TemplateLink>> = templates.iter().map(|_| Vec::new()).collect();
        let mut outer_links = Vec::new();
        for link in links {
            let NetLink { capacity, overflow, is_loop, media, place, .. } = link;
            let end = |(node, port): (usize, usize)| match places[node] {
                (Some(_), node) => End::Inside { node, port },
                (None, node) => End::Outside { node, port },
            };
            match link.template {
                Some(template) => {
                    let from = match link.member {
                        Some(_) => End::Member { port: link.from.1 },
                        None => end(link.from),
                    };
                    let to = end(link.to);
                    inner[template].push(TemplateLink {
                        from,
                        to,
                        capacity,
                        overflow,
                        is_loop,
                        media,
                        place,
                    });
                }
                None => {
                    let from = (places[link.from.0].1, link.from.1);
                    let to = (places[link.to.0].1, link.to.1);
                    outer_links.push(GraphLink { from, to, capacity, overflow, is_loop, media, place });
                }
            }
        }
        self.nodes = outer;
        self.links = outer_links;
        let parts = kept.into_iter().zip(inner).zip(fills);
        self.templates = templates
            .into_iter()
            .zip(parts)
            .map(|(template, ((nodes, links), fills))| Template {
                name: template.name.into(),
                hub: places[template.hub].1,
                group: template.group,
                most: template.most,
                nodes,
                links,
                place: template.place,
                fills,
            })
            .collect();
    }

    /// All of it on one level: the graph's nodes first, then those of templates.
    pub(crate) fn net(&self) -> Net {
        let mut net = Net { budgets: self.budgets.clone(), ..Net::default() };
        let node =
            |node: &GraphNode, template: Option<usize>, name: String, fills: &[Fill], index: usize| NetNode {
                name,
                template,
                spec: node.spec,
                params: node.params.clone(),
                given_at: Vec::new(),
                fills: fills
                    .iter()
                    .filter(|fill| fill.node == index)
                    .map(|fill| (fill.param, fill.pieces.clone()))
                    .collect(),
                lane: node.lane.clone(),
                on_fault: node.on_fault,
                place: node.place,
                unsure: false,
                touched: false,
                inputs: node.inputs.clone(),
                outputs: node.outputs.clone(),
                latency: node.latency,
                foreign: node.foreign,
                deadline: node.deadline,
            };
        for outer in &self.nodes {
            net.nodes.push(node(outer, None, outer.name.to_string(), &[], 0));
        }
        net.links.extend(self.links.iter().map(NetLink::from));
        for (index, template) in self.templates.iter().enumerate() {
            let begin = net.nodes.len();
            for (at, inner) in template.nodes.iter().enumerate() {
                let name = format!("{}/{}", template.name, inner.name);
                net.nodes.push(node(inner, Some(index), name, &template.fills, at));
            }
            for link in &template.links {
                let end = |end: End| match end {
                    End::Member { port } => (template.hub, port),
                    End::Inside { node, port } => (begin + node, port),
                    End::Outside { node, port } => (node, port),
                };
                let member = matches!(link.from, End::Member { .. }).then_some(index);
                let TemplateLink { capacity, overflow, is_loop, media, place, .. } = *link;
                let (from, to) = (end(link.from), end(link.to));
                let link = GraphLink { from, to, capacity, overflow, is_loop, media, place };
                net.links.push(NetLink { member, template: Some(index), ..NetLink::from(&link) });
            }
            net.templates.push(NetTemplate {
                most: template.most,
                name: template.name.to_string(),
                hub: template.hub,
                group: template.group,
                place: template.place,
            });
        }
        net
    }
}

/// One that is given outside templates.
impl From<&GraphLink> for NetLink {
    fn from(link: &GraphLink) -> Self {
        let GraphLink { from, to, capacity, overflow, is_loop, media, place } = *link;
        let mark = is_loop.then_some(place.from);
        Self { from, to, member: None, template: None, capacity, overflow, mark, is_loop, media, place }
    }
}

/// `member` as part of a file's name: letters, digits, `-` and `_` stay, and
/// what else there is becomes `_`, so that no name leads to another folder.
fn file_name(member: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let name: String = member.chars().take(64).map(safe).collect();
    if name.is_empty() { "_".into() } else { name }
}
