//! `Graph`: nodes and links after checking: types agree, parameters are in
//! range. Made by `Graph::load` from a graph file.

use std::sync::Arc;
use std::time::Duration;

use crate::cell::OnFault;
use crate::diagnostic::{Place, Sources};
use crate::link::Overflow;
use crate::media_type::MediaType;
use crate::param::{Params, Value};
use crate::registry::NodeSpec;

/// A checked graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The stem of the file's name: "call".
    pub name: String,
    /// The file, as it was named to `Graph::load`.
    pub file: String,
    /// What the graph is for: the comment that the file begins with.
    pub about: String,
    /// Capture to render, at most.
    pub budget: Option<Duration>,
    /// The parameters that the file declares, in the file's order.
    pub params: Vec<GraphParam>,
    /// The nodes, by name; those of parts have names such as "remote/jitter".
    pub nodes: Vec<GraphNode>,
    /// The links, in the file's order.
    pub links: Vec<GraphLink>,
    /// What is made for each member of a group, by name.
    pub templates: Vec<Template>,
    /// The text of every file that was read, so that later findings can still
    /// point at their lines.
    pub sources: Arc<Sources>,
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
    /// What it is this time.
    pub value: Value,
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
    /// Where the graph file names it.
    pub place: Place,
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

/// `member` as part of a file's name: letters, digits, `-` and `_` stay, and
/// what else there is becomes `_`, so that no name leads to another folder.
fn file_name(member: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let name: String = member.chars().take(64).map(safe).collect();
    if name.is_empty() { "_".into() } else { name }
}
