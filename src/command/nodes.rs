//! `sidetone nodes`: the catalogue, and a node's data sheet.

use clap::Args;
use serde_json::{Value as Json, json};
use sidetone::{Family, NodeSpec, ParamKind, ParamSpec, Placement, PortSpec, Registry, Value};

use super::{FINE, WRONG, kinds, note, say};
use crate::table::{Align, table};

/// List the kinds of nodes, or show one's data sheet
#[derive(Args)]
pub(super) struct Nodes {
    /// A kind such as codec.opus_encode, or the beginning of some: codec. Of kinds
    /// that run what is installed, what they may run; with /NAME, that
    #[arg(value_name = "KIND")]
    kind: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Nodes {
    pub(super) fn run(&self) -> u8 {
        match told(&kinds(None), self.kind.as_deref().unwrap_or(""), self.json) {
            Ok(text) => {
                say(&text);
                FINE
            }
            Err(text) => {
                note(&text);
                WRONG
            }
        }
    }
}

/// What is told about `wanted`: a kind, a family of kinds, one of its members, or
/// the beginning of some kinds; or that there is none.
fn told(registry: &Registry, wanted: &str, json: bool) -> Result<String, String> {
    let of_family = registry.member(wanted);
    let family = registry.family(wanted);
    if let Some(spec) = registry.get(wanted).or(of_family.and_then(|(_, member)| member)) {
        return Ok(if json { listing([as_json(spec)]) } else { data_sheet(spec) });
    }
    if let Some(family) = family {
        return Ok(members(family, "", json));
    }
    if let Some((family, None)) = of_family {
        let begun = (family.all)().iter().any(|member| member.kind.starts_with(wanted));
        if begun {
            return Ok(members(family, wanted, json));
        }
        let advice = family.advice(&wanted[family.kind.len() + 1..]);
        return Err(format!("error: there is no kind \"{wanted}\"\n   = {advice}\n"));
    }
    // How many members a family has is not told here: to count them would be to
    // look at all that is installed.
    let several = |family: &Family| {
        let (kind, by) = (family.kind, family.chosen_by);
        format!(
            "{}; `sidetone nodes {kind}` lists what its parameter {by} may be.",
            family.summary.trim_end_matches('.')
        )
    };
    let specs = registry.iter().map(|spec| (spec.kind, spec.summary.to_owned(), as_json(spec)));
    let families = registry.families().map(|family| (family.kind, several(family), family_as_json(family)));
    let mut some: Vec<_> = specs.chain(families).filter(|(kind, ..)| kind.starts_with(wanted)).collect();
    some.sort_unstable_by_key(|(kind, ..)| *kind);
    if some.is_empty() {
        let advice = registry.advice(wanted);
        return Err(format!(
            "error: there is no kind \"{wanted}\"\n   = {advice}\n   = `sidetone nodes` lists them all\n"
        ));
    }
    Ok(if json {
        listing(some.into_iter().map(|(.., json)| json))
    } else {
        rows(some.into_iter().map(|(kind, summary, _)| (kind, summary)))
            + "\n`sidetone nodes KIND` shows a kind's ports, parameters, latency and an example.\n"
    })
}

/// The members of `family` whose kinds begin with `wanted`.
fn members(family: &Family, wanted: &str, json: bool) -> String {
    let mut members = (family.all)();
    members.retain(|member| member.kind.starts_with(wanted));
    if json {
        return listing(members.iter().map(|member| as_json(member)));
    }
    let (kind, by) = (family.kind, family.chosen_by);
    let mut text = paragraphs(family.sheet);
    if members.is_empty() {
        return text + "\nNothing that it could run was found.\n";
    }
    text.push_str(&format!("\nWhat its parameter {by} may be:\n\n"));
    text.push_str(&rows(members.iter().map(|member| (family.name_of(member), member.summary.to_owned()))));
    text + &format!("\n`sidetone nodes {kind}/NAME` shows the ports and parameters that it then has.\n")
}

fn rows(kinds: impl Iterator<Item = (&'static str, String)>) -> String {
    let rows: Vec<_> = kinds.map(|(kind, summary)| vec![kind.into(), summary]).collect();
    table(&[("KIND", Align::Left), ("WHAT IT DOES", Align::Left)], &rows)
}

fn listing(list: impl IntoIterator<Item = Json>) -> String {
    format!("{:#}\n", list.into_iter().collect::<Json>())
}

/// A data sheet without the marks of a comment.
fn paragraphs(sheet: &str) -> String {
    sheet
        .lines()
        .map(|line| line.trim_start_matches("//!").trim_start_matches(' ').to_owned() + "\n")
        .collect()
}

fn data_sheet(spec: &NodeSpec) -> String {
    let mut text = paragraphs(spec.sheet);
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

fn family_as_json(family: &Family) -> Json {
    json!({ "kind": family.kind, "summary": family.summary, "chosen_by": family.chosen_by })
}

fn as_json(spec: &NodeSpec) -> Json {
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

#[cfg(test)]
mod tests {
    use super::*;

    const EFFECT: &[ParamSpec] = &[ParamSpec::text("effect", "", "Which effect.").required()];

    const fn effect(kind: &'static str, summary: &'static str) -> NodeSpec {
        NodeSpec {
            kind,
            summary,
            sheet: "//! What it is for.\n",
            inputs: &[],
            outputs: &[],
            params: EFFECT,
            placement: Placement::Shared,
            real_time: false,
            negotiate: &sidetone::registry::declared,
            build: &|_| Err(sidetone::NodeError::Unavailable("a mock".into())),
        }
    }

    const EFFECTS: &[NodeSpec] =
        &[effect("host.mock/cartoon", "draws edges"), effect("host.mock/glow", "shines")];

    fn with(all: &'static (dyn Fn() -> Vec<&'static NodeSpec> + Sync)) -> Registry {
        let mut registry = sidetone::registry();
        registry.add_family(Box::leak(Box::new(Family {
            kind: "host.mock",
            summary: "runs effects of others.",
            sheet: "//! `host.mock`: runs effects.\n",
            chosen_by: "effect",
            find: &|name| EFFECTS.iter().find(|effect| effect.kind == format!("host.mock/{name}")),
            all,
        })));
        registry
    }

    #[test]
    fn the_overview_has_a_line_for_a_family_and_does_not_look_for_its_members() {
        let registry = with(&|| unreachable!("nobody asked for the members"));
        let text = told(&registry, "", false).unwrap();
        let line = text.lines().find(|line| line.starts_with("host.mock ")).unwrap();
        assert!(line.contains("runs effects of others; `sidetone nodes host.mock` lists"), "{line}");
        let json: Json = serde_json::from_str(&told(&registry, "host", true).unwrap()).unwrap();
        assert_eq!(json[0]["chosen_by"], "effect");
    }

    #[test]
    fn a_family_is_told_with_its_members_and_a_member_like_any_kind() {
        let registry = with(&|| EFFECTS.iter().collect());
        let text = told(&registry, "host.mock", false).unwrap();
        assert!(text.starts_with("`host.mock`: runs effects.\n"), "{text}");
        assert!(text.contains("cartoon  draws edges\n") && text.contains("glow     shines\n"), "{text}");
        let json: Json = serde_json::from_str(&told(&registry, "host.mock", true).unwrap()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 2);

        let text = told(&registry, "host.mock/glow", false).unwrap();
        assert!(text.starts_with("What it is for.\n") && text.contains("effect     must be given"), "{text}");
        let json: Json = serde_json::from_str(&told(&registry, "host.mock/glow", true).unwrap()).unwrap();
        assert_eq!(json[0]["params"][0]["name"], "effect");
        assert!(!told(&registry, "host.mock/gl", false).unwrap().contains("cartoon"));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_was_meant() {
        let registry = with(&|| EFFECTS.iter().collect());
        let said = told(&registry, "host.mock/glwo", false).unwrap_err();
        assert!(said.contains("did you mean \"glow\"? (there are cartoon, glow;"), "{said}");
        let said = told(&registry, "host.mokc", false).unwrap_err();
        assert!(said.contains("did you mean \"host.mock\"?"), "{said}");
        let text = told(&with(&Vec::new), "host.mock", false).unwrap();
        assert!(text.ends_with("Nothing that it could run was found.\n"), "{text}");
    }
}
