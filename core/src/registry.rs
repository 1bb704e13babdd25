//! `Registry`: kind name → constructor, ports, parameters, documentation.

use std::fmt;
use std::time::Duration;

use crate::family::Family;
use crate::fault::NodeError;
use crate::media_type::MediaType;
use crate::node::{Node, Setup};
use crate::param::{ParamSpec, Params};
use crate::port::PortSpec;

/// Where a kind of node asks to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// With its neighbours.
    Shared,
    /// On a lane of its own, because it blocks or burns: sockets, devices,
    /// encoders, decoders.
    Own,
}

/// A kind of node: all that is known without making one.
pub struct NodeSpec {
    /// `job.what`.
    pub kind: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The whole data sheet: the header comment of the node's file, by
    /// [`data_sheet!`](crate::data_sheet).
    pub sheet: &'static str,
    /// Its inputs, in order.
    pub inputs: &'static [PortSpec],
    /// Its outputs, in order.
    pub outputs: &'static [PortSpec],
    /// Its parameters, in order.
    pub params: &'static [ParamSpec],
    /// Where it asks to run.
    pub placement: Placement,
    /// Whether it keeps the real-time rules: nothing allocates, locks, reads a
    /// clock or calls the system in its calls.
    pub real_time: bool,
    /// What its outputs carry, given what comes in. Pure: opens nothing.
    pub negotiate: &'static Negotiate,
    /// Makes one. \[control\]
    pub build: &'static Build,
}

/// What a kind makes of what comes to it.
pub type Negotiate = dyn Fn(&Offer<'_>) -> Result<Negotiated, Mismatch> + Sync;

/// Makes a node of some kind.
pub type Build = dyn Fn(Setup<'_>) -> Result<Box<dyn Node>, NodeError> + Sync;

/// What comes to a node, as far as is known.
pub struct Offer<'a> {
    /// Its checked parameters.
    pub params: &'a Params,
    /// What each input port is linked to; `None` where it is not.
    pub inputs: &'a [Option<MediaType>],
}

/// Whose code a node runs, and where: what follows for its lane, for the memory
/// of its frames, and for how long its calls may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Foreign {
    /// The framework's own.
    #[default]
    No,
    /// Somebody else's, in this process.
    InProcess,
    /// Somebody else's, in a process of its own: the node's calls wait for that
    /// process, and frames reach it in shared memory.
    Apart,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "the framework's own",
            Self::InProcess => "in this process",
            Self::Apart => "in a process of its own",
        })
    }
}

/// What a node makes of what comes to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Negotiated {
    /// What each output carries.
    pub outputs: Vec<MediaType>,
    /// The time it adds between a frame's taking and its letting go, its work
    /// aside: lookahead, frame assembly, the least it buffers.
    pub latency: Duration,
    /// Whose code it runs.
    pub foreign: Foreign,
    /// How long one call of somebody else's code may take, where the graph says;
    /// else it is the node's share of its budget.
    pub deadline: Option<Duration>,
}

impl Negotiated {
    /// Outputs that carry `outputs`, with no time added, by the framework's own
    /// code. \[control\]
    #[must_use]
    pub fn new(outputs: impl Into<Vec<MediaType>>) -> Self {
        Self { outputs: outputs.into(), ..Self::default() }
    }

    /// The same, with `latency` added. \[control\]
    #[must_use]
    pub const fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The same, by the code of `foreign`. \[control\]
    #[must_use]
    pub const fn foreign(mut self, foreign: Foreign) -> Self {
        self.foreign = foreign;
        self
    }

    /// The same, where one call of somebody else's code may take `deadline`. \[control\]
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// Why a node cannot take what comes to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Which input.
    pub port: usize,
    /// What it takes, as a phrase after its name: "takes 48000 Hz".
    pub takes: String,
    /// What to do: "put { kind = \"audio.resample\" } between them".
    pub help: String,
}

/// For kinds that check their parameters alike when the graph is checked and
/// when the node is made: the parameter is named, and the help says what is
/// wrong and what would do.
impl From<NodeError> for Mismatch {
    fn from(why: NodeError) -> Self {
        let takes = match why {
            NodeError::Param { name, .. } => format!("cannot run with this {name}"),
            _ => "cannot run so".into(),
        };
        Self { port: 0, takes, help: why.to_string() }
    }
}

/// The outputs carry what the kind's ports declare, whatever comes in. \[control\]
///
/// # Errors
/// None.
pub fn declared(_: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    // `NodeSpec::negotiated` fills in what is not given here.
    Ok(Negotiated::default())
}

/// The one output carries what comes to the first input. \[control\]
///
/// # Errors
/// None.
pub fn same(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    Ok(Negotiated::new(offer.inputs.first().copied().flatten().into_iter().collect::<Vec<_>>()))
}

impl fmt::Debug for NodeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeSpec").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl NodeSpec {
    /// What it makes of what comes to it: the kind's own answer, with the
    /// ports' declared types where it gives none. \[control\]
    ///
    /// # Errors
    /// The kind's own `Mismatch`.
    pub fn negotiated(&self, offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
        let mut answer = (self.negotiate)(offer)?;
        for port in self.outputs.iter().skip(answer.outputs.len()) {
            answer.outputs.push(port.media);
        }
        Ok(answer)
    }

    /// Whether it can be bypassed: what comes to its first input may go out
    /// through its first output. \[any\]
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!((self.inputs, self.outputs), ([i, ..], [o, ..]) if i.media.same_family(&o.media))
    }

    /// The place of input `name`. \[any\]
    #[must_use]
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|port| port.name == name)
    }

    /// The place of output `name`. \[any\]
    #[must_use]
    pub fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|port| port.name == name)
    }

    /// The parameter `name`. \[any\]
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'static ParamSpec> {
        self.params.iter().find(|param| param.name == name)
    }
}

/// Every kind of node that a graph file may name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    specs: Vec<&'static NodeSpec>,
    families: Vec<&'static Family>,
}

impl Registry {
    /// With the kinds of `specs`; of two with one name the later holds. \[control\]
    #[must_use]
    pub fn new(specs: impl IntoIterator<Item = &'static NodeSpec>) -> Self {
        let mut registry = Self::default();
        specs.into_iter().for_each(|spec| registry.add(spec));
        registry
    }

    /// Adds a kind. \[control\]
    pub fn add(&mut self, spec: &'static NodeSpec) {
        self.specs.retain(|known| known.kind != spec.kind);
        let place = self.specs.partition_point(|known| known.kind < spec.kind);
        self.specs.insert(place, spec);
    }

    /// Adds a family of kinds. \[control\]
    pub fn add_family(&mut self, family: &'static Family) {
        self.families.retain(|known| known.kind != family.kind);
        let place = self.families.partition_point(|known| known.kind < family.kind);
        self.families.insert(place, family);
    }

    /// The kind named `kind`. \[any\]
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&'static NodeSpec> {
        self.specs.iter().find(|spec| spec.kind == kind).copied()
    }

    /// The family named `kind`. \[any\]
    #[must_use]
    pub fn family(&self, kind: &str) -> Option<&'static Family> {
        self.families.iter().find(|family| family.kind == kind).copied()
    }

    /// Every family, by name. \[any\]
    pub fn families(&self) -> impl Iterator<Item = &'static Family> + '_ {
        self.families.iter().copied()
    }

    /// Every kind that is no family's, by name. \[any\]
    pub fn iter(&self) -> impl Iterator<Item = &'static NodeSpec> + '_ {
        self.specs.iter().copied()
    }
}

/// The leading `//!` lines of a source file: a node's data sheet, kept where its
/// code is. Used as `sheet: sidetone_core::data_sheet!("gain.rs")`.
#[macro_export]
macro_rules! data_sheet {
    ($file:literal) => {
        $crate::registry::leading_comment(include_str!($file))
    };
}

/// The part of `source` before its first line that is no `//!` comment. \[any\]
#[must_use]
pub const fn leading_comment(source: &str) -> &str {
    let bytes = source.as_bytes();
    let mut at = 0;
    while at + 3 <= bytes.len() && bytes[at] == b'/' && bytes[at + 1] == b'/' && bytes[at + 2] == b'!' {
        while at < bytes.len() && bytes[at] != b'\n' {
            at += 1;
        }
        if at < bytes.len() {
            at += 1;
        }
    }
    source.split_at(at).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_cannot_be_met_is_named_with_what_would_do() {
        let why = Mismatch::from(NodeError::Param { name: "bits", why: "must be 16 or 24".into() });
        assert_eq!(
            (why.takes.as_str(), why.help.as_str()),
            ("cannot run with this bits", "bits must be 16 or 24")
        );
    }

    #[test]
    fn the_sheet_is_the_leading_comment_alone() {
        assert_eq!(leading_comment("//! A.\n//!\n//! B\n\nuse x;\n"), "//! A.\n//!\n//! B\n");
        assert_eq!(leading_comment("use x;"), "");
        assert_eq!(leading_comment("//! all"), "//! all");
    }
}
