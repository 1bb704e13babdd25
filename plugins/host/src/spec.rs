//! A plugin's kinds as kinds of node: what its manifest says, as a `NodeSpec`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sidetone_core::registry::{Negotiated, NodeSpec};
use sidetone_core::{
    Codec, Foreign, MediaType, Node, NodeError, ParamDefault, ParamKind, ParamSpec, Params, Placement,
    PortSpec, Setup, Value,
};

use crate::manifest::{Given, Kind, Param, Port};
use crate::node::{Plan, PluginNode};
use crate::shelf::Shelf;
use crate::source::{Origin, Source};

/// Whether a node runs in a process of its own: the words of its parameter
/// `isolate`, the second of which says that it does.
pub(crate) const ISOLATE: &[&str] = &["none", "process"];

/// The kind `kind` of the plugin at `library`, as graphs name it. It is made to
/// last as long as the process. \[control\]
#[must_use]
pub fn spec(library: &Path, kind: &Kind, isolate_all: bool, shelf: &'static Shelf) -> &'static NodeSpec {
    let must_isolate = kind.has("isolate") || isolate_all;
    let origin = Origin::Plugin { library: library.to_owned(), kind: kind.kind.clone() };
    node_spec(origin, kind, Isolation::new(must_isolate, must_isolate), shelf)
}

/// Whether a kind's nodes run in a process of their own.
#[derive(Clone, Copy, Debug)]
pub struct Isolation {
    /// When the graph does not say.
    by_default: bool,
    /// Whatever the graph says.
    always: bool,
}

impl Isolation {
    /// By default, and always. \[any\]
    #[must_use]
    pub const fn new(by_default: bool, always: bool) -> Self {
        Self { by_default, always }
    }
}

/// An effect of any interface as a kind of node. It is made to last as long as the
/// process. \[control\]
#[must_use]
pub fn node_spec(
    origin: Origin,
    kind: &Kind,
    isolation: Isolation,
    shelf: &'static Shelf,
) -> &'static NodeSpec {
    let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
    let mut params: Vec<ParamSpec> = kind.params.iter().map(param).collect();
    let words = if isolation.always { &ISOLATE[1..] } else { ISOLATE };
    params.push(ParamSpec::choice(
        "isolate",
        if isolation.by_default { "process" } else { "none" },
        words,
        "Whether it runs in a process of its own: it is slower there, and cannot harm the engine.",
    ));
    params.push(
        ParamSpec::float(
            "deadline_ms",
            0.0,
            0.1,
            60_000.0,
            "How long a call may take before it counts as late; its share of the budget where not given.",
        )
        .unit("ms")
        .optional(),
    );
    let params: &'static [ParamSpec] = Box::leak(params.into());
    let ports = |ports: &[Port]| -> &'static [PortSpec] {
        let made = ports.iter().map(|port| {
            let spec = PortSpec::new(leak(&port.name), media(port), leak(&port.doc));
            if port.has("optional") { spec.optional() } else { spec }
        });
        Box::leak(made.collect::<Vec<_>>().into())
    };
    let inputs = ports(&kind.inputs);
    let outputs = ports(&kind.outputs);
    let own_format: Vec<bool> = kind.outputs.iter().map(|port| port.has("own_format")).collect();
    let latency = Duration::from_nanos(kind.latency_ns);
    let plan = Plan::of(kind, |name| params.iter().find(|param| param.name == name).map(|param| param.name));
    let ids: Vec<(u32, String)> = kind.params.iter().map(|param| (param.id, param.name.clone())).collect();
    let path_ids: Vec<u32> =
        kind.params.iter().filter(|param| param.kind == "path").map(|param| param.id).collect();
    let shapes: Vec<String> = kind.outputs.iter().map(|port| port.shape.clone()).collect();
    let kind_name = leak(&kind.kind);
    let described = kind.clone();
    let in_place = plan.in_place;
    Box::leak(Box::new(NodeSpec {
        kind: kind_name,
        summary: leak(&kind.summary),
        sheet: leak(&sheet(kind, &origin)),
        inputs,
        outputs,
        params,
        placement: Placement::Shared,
        real_time: kind.has("real_time"),
        negotiate: Box::leak(Box::new(move |offer: &sidetone_core::Offer<'_>| {
            let first = offer.inputs.first().copied().flatten();
            let carried = outputs.iter().zip(&own_format).map(|(port, own)| {
                if *own {
                    port.media
                } else {
                    first.and_then(|it| it.meet(&port.media)).unwrap_or(port.media)
                }
            });
            let foreign = if is_apart(offer.params) { Foreign::Apart } else { Foreign::InProcess };
            let answer = Negotiated::new(carried.collect::<Vec<_>>()).latency(latency).foreign(foreign);
            Ok(match deadline(offer.params) {
                Some(deadline) => answer.deadline(deadline),
                None => answer,
            })
        })),
        build: Box::leak(Box::new(move |setup: Setup<'_>| -> Result<Box<dyn Node>, NodeError> {
            shelf.is_still(&origin, &described).map_err(NodeError::Unavailable)?;
            let given: Vec<(u32, Given)> =
                ids.iter().filter_map(|(id, name)| Some((*id, given(setup.params.get(name)?)))).collect();
            let is_apart = is_apart(setup.params);
            // What runs apart does not write where the engine's other nodes read:
            // its process makes the output what the input is.
            let plan = Plan { in_place: plan.in_place && !is_apart, ..plan.clone() };
            let paths = given.iter().filter_map(|(id, value)| match value {
                Given::Text(path) if path_ids.contains(id) && !path.is_empty() => Some(path.into()),
                _ => None,
            });
            let source = Source {
                origin: origin.clone(),
                paths: paths.collect(),
                params: given,
                shapes: shapes.clone(),
                in_place,
                seed: setup.seed,
                call_ns: setup.deadline.map_or(0, |deadline| deadline.as_nanos() as u64),
            };
            let effect = if is_apart { shelf.apart(&source) } else { shelf.make(&source) };
            let effect = effect.map_err(NodeError::Unavailable)?;
            Ok(Box::new(PluginNode::new(effect, plan)))
        })),
    }))
}

fn is_apart(params: &Params) -> bool {
    params.text("isolate") == ISOLATE[1]
}

fn deadline(params: &Params) -> Option<Duration> {
    params.get("deadline_ms").map(|ms| Duration::from_secs_f64(ms.as_float() / 1_000.0))
}

pub(crate) fn media(port: &Port) -> MediaType {
    let known = |number: u32| (number > 0).then_some(number);
    match port.media.as_str() {
        "video" => MediaType::i420(None, None),
        "audio" => MediaType::Audio {
            rate: known(port.rate),
            channels: known(port.channels).map(|channels| channels as u16),
            samples: None,
        },
        "packet" => MediaType::Packets {
            codec: match port.format.as_str() {
                "opus" => Some(Codec::Opus),
                "av1" => Some(Codec::Av1),
                _ => None,
            },
        },
        _ => MediaType::Data(interned(&port.shape)),
    }
}

/// One `&'static str` for each name of a shape.
pub(crate) fn interned(name: &str) -> &'static str {
    static KNOWN: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.iter().find(|known| **known == name) {
        return known;
    }
    let leaked: &'static str = Box::leak(name.into());
    known.push(leaked);
    leaked
}

fn param(param: &Param) -> ParamSpec {
    let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
    let (name, doc) = (leak(&param.name), leak(&param.doc));
    let kind = match param.kind.as_str() {
        "bool" => ParamKind::Bool,
        "int" => ParamKind::Int { min: param.min as i64, max: param.max as i64 },
        "float" => ParamKind::Float { min: param.min, max: param.max },
        "choice" => {
            let words: Vec<&'static str> = param.choices.iter().map(|word| leak(word)).collect();
            ParamKind::Choice(Box::leak(words.into()))
        }
        "path" => ParamKind::Path,
        _ => ParamKind::Text,
    };
    let default = match &param.default {
        _ if param.has("required") => ParamDefault::Required,
        Some(Given::Bool(value)) => ParamDefault::Bool(*value),
        Some(Given::Number(value)) if param.kind == "int" => ParamDefault::Int(*value as i64),
        Some(Given::Number(value)) => ParamDefault::Float(*value),
        Some(Given::Text(text)) => ParamDefault::Text(leak(text)),
        None => ParamDefault::Unset,
    };
    let spec = ParamSpec { kind, default, ..ParamSpec::text(name, "", doc) }.unit(leak(&param.unit));
    if param.has("live") { spec.live() } else { spec }
}

/// The value of a node's parameter, as manifests write it.
fn given(value: &Value) -> Given {
    match value {
        Value::Bool(value) => Given::Bool(*value),
        Value::Text(text) => Given::Text(text.to_string()),
        other => Given::Number(other.as_float()),
    }
}

/// The data sheet of a foreign kind, in the shape of those of the framework's own.
fn sheet(kind: &Kind, origin: &Origin) -> String {
    let mut text = format!("//! `{}`: {}\n", kind.kind, kind.summary);
    for line in kind.doc.lines().take(if kind.doc == kind.summary { 0 } else { usize::MAX }) {
        text.push_str(format!("//! {line}").trim_end());
        text.push('\n');
    }
    text.push_str(&format!(
        "//!\n//! Latency: {} ms.\n//!\n//! From {origin}.\n",
        kind.latency_ns as f64 / 1e6
    ));
    text
}
