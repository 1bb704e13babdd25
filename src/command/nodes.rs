//! `sidetone nodes`: the catalogue, and a node's data sheet.

use clap::Args;
use serde_json::{Value as Json, json};
use sidetone::{NodeSpec, ParamKind, ParamSpec, Placement, PortSpec, Value};

use super::{FINE, WRONG, kinds, note, say};
use crate::table::{Align, table};

/// List the kinds of nodes, or show one's data sheet
#[derive(Args)]
pub(super) struct Nodes {
    /// A kind such as codec.opus_encode, or the beginning of some: codec
    #[arg(value_name = "KIND")]
    kind: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Nodes {
    pub(super) fn run(&self) -> u8 {
        let registry = kinds(None);
        let wanted = self.kind.as_deref().unwrap_or("");
        let exact = registry.get(wanted);
        let some: Vec<&NodeSpec> = match exact {
            Some(spec) => vec![spec],
            None => registry.iter().filter(|spec| spec.kind.starts_with(wanted)).collect(),
        };
        if some.is_empty() {
            let advice = registry.advice(wanted);
            note(&format!(
                "error: there is no kind \"{wanted}\"\n   = {advice}\n   = `sidetone nodes` lists them all\n"
            ));
            return WRONG;
        }
        if self.json {
            let list: Vec<_> = some.iter().map(|spec| as_json(spec)).collect();
            say(&format!("{:#}\n", serde_json::Value::from(list)));
        } else if let Some(spec) = exact {
            say(&data_sheet(spec));
        } else {
            let rows: Vec<_> = some.iter().map(|spec| vec![spec.kind.into(), spec.summary.into()]).collect();
            say(&table(&[("KIND", Align::Left), ("WHAT IT DOES", Align::Left)], &rows));
            say("\n`sidetone nodes KIND` shows a kind's ports, parameters, latency and an example.\n");
        }
        FINE
    }
}

fn data_sheet(spec: &NodeSpec) -> String {
    let mut text: String = spec
        .sheet
        .lines()
        .map(|line| line.trim_start_matches("//!").trim_start_matches(' ').to_owned() + "\n")
        .collect();
    text.push('\n');
    let ports = |ports: &[PortSpec], way: &str| -> Vec<Vec<String>> {
        let row = |port: &PortSpec| {
            let mut notes = Vec::new();
            notes.extend((way == "in" && !port.required).then(|| "may stay unlinked".to_owned()));
            notes.extend(port.many.then(|| "takes many links".to_owned()));
            notes.extend(port.each.map(|group| format!("one for each {group}")));
            vec![way.into(), port.name.into(), port.media.to_string(), notes.join(", "), port.doc.into()]
        };
        ports.iter().map(row).collect()
    };
    let rows = [ports(spec.inputs, "in"), ports(spec.outputs, "out")].concat();
    let head = ["PORT", "NAME", "CARRIES", "", "WHAT"].map(|name| (name, Align::Left));
    text.push_str(&table(&head, &rows));
    if !spec.params.is_empty() {
        let row = |param: &ParamSpec| {
            let default = match param.default.value() {
                Some(value) => value.to_string(),
                None if param.default == sidetone::ParamDefault::Required => "must be given".into(),
                None => "unset".into(),
            };
            let live = if param.live { "yes" } else { "" };
            vec![
                param.name.into(),
                default,
                param.unit.into(),
                param.kind.to_string(),
                live.into(),
                param.doc.into(),
            ]
        };
        let rows: Vec<_> = spec.params.iter().map(row).collect();
        let head = ["PARAMETER", "DEFAULT", "UNIT", "TAKES", "LIVE", "WHAT"].map(|name| (name, Align::Left));
        text.push('\n');
        text.push_str(&table(&head, &rows));
    }
    let lane = match spec.placement {
        Placement::Shared => "shares a lane with its neighbours",
        Placement::Own => "asks for a lane of its own",
    };
    let real_time = if spec.real_time { "keeps the real-time rules" } else { "may block or allocate" };
    text.push_str(&format!("\nIt {lane} and {real_time}.\n"));
    text
}

/// The word for what a parameter takes in graph files, the ends of its range
/// and its choices; null where it has none.
fn typed(kind: &ParamKind) -> (&'static str, Json, Json, Json) {
    const NONE: Json = Json::Null;
    match *kind {
        ParamKind::Bool => ("bool", NONE, NONE, NONE),
        ParamKind::Int { min, max } => ("int", min.into(), max.into(), NONE),
        ParamKind::Float { min, max } => ("float", min.into(), max.into(), NONE),
        ParamKind::Text => ("text", NONE, NONE, NONE),
        ParamKind::Path => ("path", NONE, NONE, NONE),
        ParamKind::Choice(words) => ("choice", NONE, NONE, words.into()),
        ParamKind::Size => ("size", NONE, NONE, NONE),
    }
}

/// `value` as a graph file would hold it.
fn value(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) => (**text).into(),
        Value::Size(size) => json!([size.width, size.height]),
    }
}

fn as_json(spec: &NodeSpec) -> serde_json::Value {
    let port = |port: &PortSpec| {
        json!({ "name": port.name, "media": port.media.to_string(), "required": port.required, "many": port.many,
                "each": port.each, "doc": port.doc })
    };
    let param = |param: &ParamSpec| {
        let (word, min, max, choices) = typed(&param.kind);
        json!({ "name": param.name, "type": word, "min": min, "max": max, "choices": choices,
                "takes": param.kind.to_string(), "unit": param.unit, "live": param.live,
                "default": param.default.value().as_ref().map(value),
                "required": param.default == sidetone::ParamDefault::Required, "doc": param.doc })
    };
    json!({
        "kind": spec.kind,
        "summary": spec.summary,
        "inputs": spec.inputs.iter().map(port).collect::<Vec<_>>(),
        "outputs": spec.outputs.iter().map(port).collect::<Vec<_>>(),
        "params": spec.params.iter().map(param).collect::<Vec<_>>(),
        "own_lane": spec.placement == Placement::Own,
        "real_time": spec.real_time,
    })
}
