//! `GraphFile`: the parsed text of a graph or a part, every item with its place.
//! What names mean is not looked at yet.

use std::sync::Arc;

use crate::budget_decl::BudgetDecl;
use crate::diagnostic::{Diagnostic, Diagnostics, Place, Sources};
use crate::frame::WhenDry;
use crate::graph::GraphParam;
use crate::item::{self, At, Item, Table, Text};
use crate::link::Overflow;
use crate::param::Value;
use crate::suggest;
use crate::takes::{self, Takes};

/// The largest graph file that is read, in bytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The most links a graph has.
pub(crate) const MAX_LINKS: usize = 8_192;

/// The version of the language that is read here.
const VERSION: i64 = 1;

/// The parsed text of a graph or a part.
#[derive(Clone, Debug, Default)]
pub struct GraphFile {
    pub(crate) about: String,
    pub(crate) budgets: Vec<BudgetDecl>,
    /// What becomes of a frame for which an output has no buffer.
    pub(crate) when_dry: Option<At<WhenDry>>,
    pub(crate) lanes: Vec<LaneDecl>,
    pub(crate) params: Vec<ParamDecl>,
    pub(crate) nodes: Vec<NodeDecl>,
    pub(crate) links: Vec<LinkDecl>,
    pub(crate) templates: Vec<TemplateDecl>,
    /// Given in parts alone.
    pub(crate) ports: Option<At<Vec<PortDecl>>>,
    /// Parameters that are declared, but not as they must be.
    pub(crate) broken_params: Vec<String>,
    /// What stands in links that are no chains of arrows.
    pub(crate) broken_links: String,
    /// Whether something was wrong with the file's form.
    pub(crate) broken: bool,
}

/// A parameter of the graph or part itself.
#[derive(Clone, Debug)]
pub(crate) struct ParamDecl {
    pub(crate) name: At<String>,
    pub(crate) takes: Takes,
    pub(crate) default: Option<At<Value>>,
    pub(crate) meaning: String,
}

/// The settings of a named lane.
#[derive(Clone, Debug)]
pub(crate) struct LaneDecl {
    pub(crate) name: At<String>,
    pub(crate) settings: Table,
}

/// A node, or the alternatives for one.
#[derive(Clone, Debug)]
pub(crate) struct NodeDecl {
    pub(crate) name: At<String>,
    /// None where something was wrong with them.
    pub(crate) alternatives: Vec<Alternative>,
}

/// What a node may be.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    pub(crate) place: Place,
    pub(crate) what: What,
    pub(crate) when: Option<At<Item>>,
    pub(crate) lane: Option<At<Item>>,
    pub(crate) on_fault: Option<At<Item>>,
    /// The rest: the parameters of the kind or part.
    pub(crate) params: Table,
}

/// What a node is made of.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Kind(Text),
    Part(Text),
}

/// A chain of arrows.
#[derive(Clone, Debug)]
pub(crate) struct LinkDecl {
    pub(crate) ends: Vec<EndDecl>,
    pub(crate) capacity: Option<usize>,
    pub(crate) overflow: Overflow,
    /// Where it is marked as closing a loop.
    pub(crate) is_loop: Option<Place>,
}

impl LinkDecl {
    /// The two ends of one of the chain's links.
    pub(crate) fn pair(&self, index: usize) -> (&EndDecl, &EndDecl) {
        (&self.ends[index], &self.ends[index + 1])
    }
}

/// A node, and perhaps one of its ports: "cam.out".
#[derive(Clone, Debug)]
pub(crate) struct EndDecl {
    pub(crate) place: Place,
    pub(crate) node: At<String>,
    pub(crate) port: Option<At<String>>,
}

/// What is made for each member of a group.
#[derive(Clone, Debug)]
pub(crate) struct TemplateDecl {
    pub(crate) name: At<String>,
    pub(crate) of: EndDecl,
    pub(crate) parts: Vec<PartUse>,
    pub(crate) links: Option<Vec<LinkDecl>>,
    pub(crate) most: Option<usize>,
}

/// A part of a template, with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct PartUse {
    pub(crate) place: Place,
    pub(crate) part: Text,
    pub(crate) params: Table,
}

/// A port of a part, and the port of an inner node that it stands for.
#[derive(Clone, Debug)]
pub(crate) struct PortDecl {
    pub(crate) name: At<String>,
    pub(crate) end: EndDecl,
}

impl GraphFile {
    /// Parses `text`; `label` names it in messages. \[control\]
    ///
    /// # Errors
    /// All that is wrong with its form: no TOML, unknown keys, values of the
    /// wrong sort, links that are no chains of arrows.
    pub fn parse(label: &str, text: &str) -> Result<Self, Diagnostics> {
        let mut sources = Sources::default();
        let file = sources.add(label, text);
        let mut found = Vec::new();
        let parsed = Self::parse_into(file, text, &mut found);
        let found = Diagnostics::new(found, Arc::new(sources));
        if found.has_errors() { Err(found) } else { Ok(parsed.unwrap_or_default()) }
    }

    /// What the file is for: the comment that it begins with. \[any\]
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The parameters that it declares, with their defaults. \[control\]
    #[must_use]
    pub fn params(&self) -> Vec<GraphParam> {
        self.params.iter().map(ParamDecl::describe).collect()
    }

    /// As `parse`, for file number `file`; gives nothing where the text is no
    /// TOML, so that nothing else is said about it.
    pub(crate) fn parse_into(file: u32, text: &str, found: &mut Vec<Diagnostic>) -> Option<Self> {
        let start = Place { file, start: 0, end: 0 };
        if text.len() > MAX_BYTES {
            let message = format!("the file has {} bytes; a graph file has at most {MAX_BYTES}", text.len());
            found.push(Diagnostic::error(message).at(start, "").help("is this the file you meant?"));
            return None;
        }
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            let help = "begin with:\nsidetone = 1\nlinks = [\"tone -> file\"]\nnodes.tone = { kind = \"test.tone\" }\nnodes.file = { kind = \"file.wav_sink\", path = \"tone.wav\" }";
            found.push(Diagnostic::error("the file is empty").at(start, "").help(help));
            return None;
        }
        let before = found.len();
        let table = item::parse(file, text, found);
        if found.len() > before {
            return None;
        }
        let mut parsed = Self { about: leading_comment(text), ..Self::default() };
        // What is missing altogether is missed where the comments end.
        let is_first = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let first =
            text.split_inclusive('\n').take_while(|line| !is_first(line)).map(str::len).sum::<usize>();
        let start = Place { file, start: first as u32, end: first as u32 };
        Reader { found }.file(start, table, &mut parsed);
        parsed.broken = found.len() > before;
        Some(parsed)
    }
}

impl ParamDecl {
    /// The parameter as those see it who use the graph.
    pub(crate) fn describe(&self) -> GraphParam {
        let default = self.default.as_ref().map(|default| default.it.clone());
        GraphParam {
            name: self.name.it.clone(),
            word: self.takes.word(),
            takes: self.takes.to_string(),
            value: default.clone(),
            default,
            meaning: self.meaning.clone(),
        }
    }
}

/// Whether `name` may name a node, a port, a parameter or a lane.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Says that `name` is no name, if so.
pub(crate) fn check_name(what: &str, name: &At<String>, found: &mut Vec<Diagnostic>) -> bool {
    if is_name(&name.it) {
        return true;
    }
    let message = format!("\"{}\" cannot name {what}", shorten(&name.it));
    let rule = "small letters, digits and _, a letter first, at most 64";
    found.push(Diagnostic::error(message).at(name.place, rule).help(better_name(&name.it)));
    false
}

fn better_name(name: &str) -> String {
    let mut better = String::new();
    for c in name.chars().take(64) {
        if c.is_ascii_uppercase() && better.ends_with(|c: char| c.is_ascii_lowercase()) {
            better.push('_');
        }
        better.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    let better = better.trim_matches('_');
    if is_name(better) { format!("for example {better}") } else { String::new() }
}

pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 { text.into() } else { text.chars().take(39).chain(['…']).collect() }
}

/// The comment that a file begins with, without its `#`.
fn leading_comment(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().skip_while(|line| line.trim().is_empty());
    let comment = lines.map_while(|line| line.trim_start().strip_prefix('#'));
    let lines: Vec<_> = comment.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}

/// Reads tables, and remembers what is wrong with them.
pub(crate) struct Reader<'a> {
    pub(crate) found: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    pub(crate) fn error(
        &mut self,
        message: impl Into<String>,
        place: Place,
        label: &str,
        help: impl Into<String>,
    ) {
        self.found.push(Diagnostic::error(message).at(place, label).help(help));
    }

    /// Says that `name` wants `wanted`; gives nothing, for its callers to give.
    pub(crate) fn wrong<T>(&mut self, name: &str, wanted: &str, item: &At<Item>) -> Option<T> {
        let what = match takes::value(&item.it) {
            Ok(value) if !matches!(value, Value::Text(_)) => value.to_string(),
            _ => item.it.what().to_owned(),
        };
        self.error(format!("{name} must be {wanted}, not {what}"), item.place, "", "");
        None
    }

    pub(crate) fn unknown(&mut self, key: &At<String>, what: &str, known: &[&str]) {
        let message = format!("there is no key {} {what}", shorten(&key.it));
        self.error(message, key.place, "", suggest::names(&key.it, "keys", known.iter().copied()));
    }

    fn table(&mut self, name: &str, item: At<Item>) -> Option<Table> {
        match item.it {
            Item::Table(table) => Some(table),
            _ => self.wrong(name, "a table", &item),
        }
    }

    pub(crate) fn list(&mut self, name: &str, example: &str, item: At<Item>) -> Option<Vec<At<Item>>> {
        match item.it {
            Item::Array(list) => Some(list),
            _ => self.wrong(name, &format!("a list such as {example}"), &item),
        }
    }

    pub(crate) fn text(&mut self, name: &str, item: At<Item>) -> Option<Text> {
        match item.it {
            Item::Text(text) => Some(text),
            _ => self.wrong(name, "text", &item),
        }
    }

    fn whole(&mut self, name: &str, min: i64, max: i64, item: &At<Item>) -> Option<i64> {
        match item.it {
            Item::Int(n) if (min..=max).contains(&n) => Some(n),
            _ => self.wrong(name, &format!("a whole number from {min} to {max}"), item),
        }
    }

    fn truth(&mut self, name: &str, item: &At<Item>) -> Option<bool> {
        match item.it {
            Item::Bool(value) => Some(value),
            _ => self.wrong(name, "true or false", item),
        }
    }

    /// One of a few words.
    fn word<T: Copy>(&mut self, name: &str, words: &[(&'static str, T)], item: At<Item>) -> Option<T> {
        let place = item.place;
        let text = self.text(name, item)?;
        let known = words.iter().map(|(word, _)| *word);
        let value = words.iter().find(|(word, _)| *word == text.text).map(|(_, value)| *value);
        if value.is_none() {
            let message = format!("{name} cannot be \"{}\"", shorten(&text.text));
            self.error(message, place, "", suggest::names(&text.text, "what it may be", known));
        }
        value
    }

    fn file(&mut self, start: Place, table: Table, parsed: &mut GraphFile) {
        let keys = [
            "sidetone",
            "budget_ms",
            "budget_remedy",
            "budgets",
            "when_dry",
            "links",
            "params",
            "lanes",
            "nodes",
            "each",
            "ports",
        ];
        let (mut version, mut budget, mut remedy) = (None, None, None);
        for (key, item) in table {
            match key.it.as_str() {
                "sidetone" => version = Some(item),
                "budget_ms" => budget = Some(item),
                "budget_remedy" => remedy = Some((key.place, item)),
                "budgets" => parsed.budgets = self.budgets(item),
                "when_dry" => {
                    let place = item.place;
                    let word = self.word("when_dry", &WhenDry::WORDS, item);
                    parsed.when_dry = word.map(|word| At::new(place, word));
                }
                "lanes" => parsed.lanes = self.lanes(item),
                "links" => parsed.links = self.links(item, &mut parsed.broken_links),
                "params" => {
                    for (name, item) in self.table("params", item).unwrap_or_default() {
                        let text = name.it.clone();
                        match self.param(name, item) {
                            Some(param) => parsed.params.push(param),
                            None => parsed.broken_params.push(text),
                        }
                    }
                }
                "nodes" => {
                    let nodes = self.table("nodes", item).unwrap_or_default();
                    parsed.nodes = nodes.into_iter().map(|(name, node)| self.node(name, node)).collect();
                }
                "each" => {
                    let each = self.table("each", item).unwrap_or_default();
                    parsed.templates = each
                        .into_iter()
                        .filter_map(|(name, each)| self.template(name, each, &mut parsed.broken_links))
                        .collect();
                }
                "ports" => parsed.ports = Some(At::new(key.place, self.ports(item))),
                _ => self.unknown(&key, "here", &keys),
            }
        }
        parsed.budgets.extend(self.whole_budget(budget, remedy));
        self.version(start, version);
    }

    fn version(&mut self, start: Place, version: Option<At<Item>>) {
        let help = "this is the version of the graph language that the file is written in";
        match version {
            Some(At { it: Item::Int(VERSION), .. }) => {}
            Some(At { it: Item::Int(n), place }) => {
                let message = format!("graph files of version {n} are not known here");
                self.error(message, place, "", format!("this program reads version {VERSION}: sidetone = 1"));
            }
            Some(item) => self.wrong("sidetone", "the number 1", &item).unwrap_or_default(),
            None => self.error("the line \"sidetone = 1\" is missing", start, "put it here", help),
        }
    }

    fn lanes(&mut self, item: At<Item>) -> Vec<LaneDecl> {
        let lanes = self.table("lanes", item).unwrap_or_default();
        let lane = |(name, item): (At<String>, At<Item>)| {
            let named = check_name("a lane", &name, self.found);
            let settings = self.table(&format!("lane {}", name.it), item)?;
            named.then_some(LaneDecl { name, settings })
        };
        lanes.into_iter().filter_map(lane).collect()
    }

    fn param(&mut self, name: At<String>, item: At<Item>) -> Option<ParamDecl> {
        let keys = ["type", "default", "meaning", "min", "max", "choices"];
        let named = check_name("a parameter", &name, self.found);
        if name.it == "participant" {
            let help = "in templates ${participant} stands for the member's name; choose another name";
            self.error("a parameter cannot be called participant", name.place, "", help);
            return None;
        }
        let whole = item.place;
        let (mut word, mut default, mut meaning) = (None, None, String::new());
        let (mut min, mut max, mut choices) = (None, None, None);
        for (key, item) in self.table(&format!("parameter {}", name.it), item)? {
            match key.it.as_str() {
                "type" => word = Some((item.place, self.text("type", item)?.text)),
                "default" => default = Some(item),
                "meaning" => meaning = self.text("meaning", item).map(|text| text.text).unwrap_or_default(),
                "min" => min = Some((key, item)),
                "max" => max = Some((key, item)),
                "choices" => choices = Some((key, item)),
                _ => self.unknown(&key, "in a parameter", &keys),
            }
        }
        let Some((place, word)) = word else {
            let help = format!("give it one: {}", Takes::WORDS.join(", "));
            self.error(format!("parameter {} has no type", name.it), name.place, "", help);
            return None;
        };
        let takes = self.takes(At::new(place, word), min, max, choices, whole)?;
        let default = match default {
            None => None,
            Some(item) => {
                let value = takes::value(&item.it)
                    .map_err(|what| format!("must be {takes}, not {what}"))
                    .and_then(|value| takes.accept(&value));
                match value {
                    Ok(value) => Some(At::new(item.place, value)),
                    Err(why) => {
                        self.error(format!("the default of {} {why}", name.it), item.place, "", "");
                        return None;
                    }
                }
            }
        };
        named.then_some(ParamDecl { name, takes, default, meaning })
    }

    /// What values a parameter of the type `word` takes.
    fn takes(
        &mut self,
        word: At<String>,
        min: Option<(At<String>, At<Item>)>,
        max: Option<(At<String>, At<Item>)>,
        choices: Option<(At<String>, At<Item>)>,
        whole: Place,
    ) -> Option<Takes> {
        let is_number = matches!(word.it.as_str(), "int" | "float");
        for (key, _) in [&min, &max].into_iter().flatten().filter(|_| !is_number) {
            let help = "int and float have a min and a max, choice has choices";
            self.error(format!("{} parameters have no {}", word.it, key.it), key.place, "", help);
        }
        if let Some((key, _)) = choices.as_ref().filter(|_| word.it != "choice") {
            let help = "type = \"choice\" has choices";
            self.error(format!("{} parameters have no choices", word.it), key.place, "", help);
        }
        let ends = min.as_ref().map(|(_, item)| item.place);
        let takes = match word.it.as_str() {
            "text" => Takes::Text,
            "path" => Takes::Path,
            "bool" => Takes::Bool,
            "size" => Takes::Size,
            "int" => {
                let end = |reader: &mut Self, end: Option<(At<String>, At<Item>)>, open: i64| match end {
                    Some((key, item)) => reader.whole(&key.it, i64::MIN, i64::MAX, &item),
                    None => Some(open),
                };
                Takes::Int { min: end(self, min, i64::MIN)?, max: end(self, max, i64::MAX)? }
            }
            "float" => {
                let end = |reader: &mut Self, end: Option<(At<String>, At<Item>)>, open: f64| match end {
                    Some((_, At { it: Item::Float(x), .. })) if x.is_finite() => Some(x),
                    #[allow(clippy::cast_precision_loss)] // ends of ranges are small
                    Some((_, At { it: Item::Int(n), .. })) => Some(n as f64),
                    Some((key, item)) => reader.wrong(&key.it, "a number", &item),
                    None => Some(open),
                };
                Takes::Float { min: end(self, min, f64::MIN)?, max: end(self, max, f64::MAX)? }
            }
            "choice" => {
                let Some((_, item)) = choices else {
                    let help = "say which: choices = [\"fast\", \"good\"]";
                    self.error("a choice needs choices", whole, "", help);
                    return None;
                };
                let place = item.place;
                let list = self.list("choices", "[\"fast\", \"good\"]", item)?;
                let words: Option<Vec<_>> =
                    list.into_iter().map(|item| self.text("a choice", item).map(|text| text.text)).collect();
                let words = words?;
                if words.is_empty() {
                    self.error("there is nothing to choose from", place, "", "");
                    return None;
                }
                Takes::Choice(words)
            }
            other => {
                let message = format!("\"{}\" is no type", shorten(other));
                self.error(message, word.place, "", suggest::names(other, "types", Takes::WORDS));
                return None;
            }
        };
        let empty = match &takes {
            Takes::Int { min, max } => min > max,
            Takes::Float { min, max } => min > max,
            _ => false,
        };
        if let Some(place) = ends.filter(|_| empty) {
            self.error("min is greater than max", place, "", "");
            return None;
        }
        Some(takes)
    }

    fn node(&mut self, name: At<String>, item: At<Item>) -> NodeDecl {
        let named = check_name("a node", &name, self.found);
        let alternatives = self.alternatives(&name, item).filter(|_| named).unwrap_or_default();
        NodeDecl { name, alternatives }
    }

    pub(crate) fn alternatives(&mut self, name: &At<String>, item: At<Item>) -> Option<Vec<Alternative>> {
        let example = "{ kind = \"audio.gain\" }";
        let place = item.place;
        match item.it {
            Item::Table(table) => Some(vec![self.alternative(name, place, table)?]),
            Item::Array(list) if list.is_empty() => {
                let help = format!("give at least one: {} = [{example}]", name.it);
                self.error(format!("node {} has no alternatives", name.it), place, "", help);
                None
            }
            Item::Array(list) => {
                let mut alternatives = Vec::new();
                let mut whole = true;
                for item in list {
                    let place = item.place;
                    let table = self.table("an alternative", item);
                    let alternative = table.and_then(|table| self.alternative(name, place, table));
                    whole &= alternative.is_some();
                    alternatives.extend(alternative);
                }
                whole.then_some(alternatives)
            }
            _ => self.wrong(&format!("node {}", name.it), &format!("a table such as {example}"), &item),
        }
    }

    fn alternative(&mut self, name: &At<String>, place: Place, table: Table) -> Option<Alternative> {
        let (mut kind, mut part) = (None, None);
        let (mut when, mut lane, mut on_fault) = (None, None, None);
        let mut params = Table::new();
        for (key, item) in table {
            match key.it.as_str() {
                "kind" => kind = Some((key.place, self.text("kind", item)?)),
                "part" => part = Some((key.place, self.text("part", item)?)),
                "when" => when = Some(item),
                "lane" => lane = Some(item),
                "on_fault" => on_fault = Some(item),
                _ => params.push((key, item)),
            }
        }
        let what = match (kind, part) {
            (Some((_, kind)), None) => What::Kind(kind),
            (None, Some((_, part))) => What::Part(part),
            (None, None) => {
                let help = "say what it is: kind = \"audio.gain\", or part = \"parts/some_part.toml\"";
                self.error(format!("node {} has no kind", name.it), name.place, "", help);
                return None;
            }
            (Some((first, _)), Some((second, _))) => {
                let found = Diagnostic::error(format!("node {} has both a kind and a part", name.it));
                self.found.push(found.at(second, "").at(first, "").help("keep one of them"));
                return None;
            }
        };
        Some(Alternative { place, what, when, lane, on_fault, params })
    }

    fn links(&mut self, item: At<Item>, broken: &mut String) -> Vec<LinkDecl> {
        let place = item.place;
        let mut list = self.list("links", "[\"mic -> gain -> speaker\"]", item).unwrap_or_default();
        if list.len() > MAX_LINKS {
            let message = format!("these are {} links; a graph has at most {MAX_LINKS}", list.len());
            self.error(message, place, "", "");
            list.clear();
        }
        list.into_iter().filter_map(|item| self.link(item, broken)).collect()
    }

    pub(crate) fn link(&mut self, item: At<Item>, broken: &mut String) -> Option<LinkDecl> {
        let mut link = LinkDecl { ends: Vec::new(), capacity: None, overflow: Overflow::Wait, is_loop: None };
        let whole = item.place;
        let mut path = None;
        match item.it {
            Item::Text(text) => path = Some(text),
            Item::Table(table) => {
                for (key, item) in table {
                    match key.it.as_str() {
                        "path" => path = Some(self.text("path", item)?),
                        "capacity" => {
                            let capacity = self.whole("capacity", 1, 4_096, &item);
                            link.capacity = capacity.and_then(|n| usize::try_from(n).ok());
                        }
                        "overflow" => {
                            link.overflow = self.word("overflow", &Overflow::WORDS, item).unwrap_or_default();
                        }
                        "loop" => {
                            link.is_loop = self.truth("loop", &item).and_then(|yes| yes.then_some(key.place));
                        }
                        _ => self.unknown(&key, "in a link", &["path", "capacity", "overflow", "loop"]),
                    }
                }
            }
            _ => return self.wrong("a link", "text such as \"mic -> speaker\"", &item),
        }
        let Some(path) = path else {
            let help = "say what it links: { path = \"mic -> speaker\", capacity = 4 }";
            self.error("this link has no path", whole, "", help);
            return None;
        };
        let Some(ends) = self.chain(&path) else {
            broken.push_str(&path.text);
            broken.push('\n');
            return None;
        };
        link.ends = ends;
        Some(link)
    }

    /// The ends of "a -> b.in -> c".
    fn chain(&mut self, path: &Text) -> Option<Vec<EndDecl>> {
        let example = "links are drawn with ->, for example \"mic -> gain -> speaker\"";
        for wrong in ["→", "=>", "-->", "—>", "–>", "<-"] {
            if let Some(at) = path.text.find(wrong) {
                let place = path.place(at, at + wrong.len());
                self.error(format!("{wrong} is no arrow"), place, "", example);
                return None;
            }
        }
        let mut ends = Vec::new();
        let mut start = 0;
        for piece in path.text.split("->") {
            ends.push(self.end(path, start, piece, example)?);
            start += piece.len() + 2;
        }
        if let [end] = ends.as_slice() {
            let place = end.place;
            self.error("a link needs two ends", place, "linked to nothing", example);
            return None;
        }
        Some(ends)
    }

    /// An end, `piece`, that begins at byte `start` of `text`.
    fn end(&mut self, text: &Text, start: usize, piece: &str, example: &str) -> Option<EndDecl> {
        let word = piece.trim();
        let from = start + (piece.len() - piece.trim_start().len());
        let place = text.place(from, from + word.len());
        if word.is_empty() {
            let end = (start + piece.len() + 2).min(text.text.len());
            let place = if text.text.trim().is_empty() {
                text.whole()
            } else {
                text.place(start.saturating_sub(2), end)
            };
            self.error("an end of this link is missing", place, "", example);
            return None;
        }
        if word.contains(char::is_whitespace) || word.contains(',') {
            self.error(format!("there is no arrow in \"{}\"", shorten(word)), place, "", example);
            return None;
        }
        let (node, port) = match word.split_once('.') {
            Some((node, port)) => (node, Some(port)),
            None => (word, None),
        };
        let node = At::new(text.place(from, from + node.len()), node.to_owned());
        let port = port
            .map(|port| At::new(text.place(from + node.it.len() + 1, from + word.len()), port.to_owned()));
        Some(EndDecl { place, node, port })
    }

    fn template(&mut self, name: At<String>, item: At<Item>, broken: &mut String) -> Option<TemplateDecl> {
        let named = check_name("a template", &name, self.found);
        let example = "of = \"room.participant\"";
        let (mut of, mut parts, mut links, mut most) = (None, Vec::new(), None, None);
        let mut whole = true;
        for (key, item) in self.table(&format!("each.{}", name.it), item)? {
            match key.it.as_str() {
                "of" => of = Some(self.text("of", item)?),
                "parts" => {
                    for item in self.list("parts", "[\"parts/remote_audio.toml\"]", item)? {
                        let part = self.part_use(item);
                        whole &= part.is_some();
                        parts.extend(part);
                    }
                }
                "links" => links = Some(self.links(item, broken)),
                "most" => most = Some(self.whole("most", 1, 1_000, &item)? as usize),
                _ => self.unknown(&key, "in a template", &["of", "parts", "links", "most"]),
            }
        }
        let Some(of) = of else {
            let help = format!("say of which node's members: {example}");
            self.error(format!("each.{} has no \"of\"", name.it), name.place, "", help);
            return None;
        };
        let of = self.end(&of, 0, &of.text, example)?;
        (named && whole).then_some(TemplateDecl { name, of, parts, links, most })
    }

    fn part_use(&mut self, item: At<Item>) -> Option<PartUse> {
        let place = item.place;
        let example = "text or a table such as { part = \"parts/remote_audio.toml\", volume = 3 }";
        match item.it {
            Item::Text(part) => Some(PartUse { place, part, params: Table::new() }),
            Item::Table(table) => {
                let (mut part, mut params) = (None, Table::new());
                for (key, item) in table {
                    if key.it == "part" {
                        part = Some(self.text("part", item)?);
                    } else {
                        params.push((key, item));
                    }
                }
                let Some(part) = part else { return self.missing_part(place) };
                Some(PartUse { place, part, params })
            }
            _ => self.wrong("a part", example, &item),
        }
    }

    fn missing_part<T>(&mut self, place: Place) -> Option<T> {
        let help = "name its file: part = \"parts/remote_audio.toml\"";
        self.error("this part has no file", place, "", help);
        None
    }

    fn ports(&mut self, item: At<Item>) -> Vec<PortDecl> {
        let mut ports = Vec::new();
        for (name, item) in self.table("ports", item).unwrap_or_default() {
            let named = check_name("a port", &name, self.found);
            let Some(text) = self.text(&format!("port {}", name.it), item) else { continue };
            let example = format!("name a port of a node: {} = \"jitter.in\"", name.it);
            let end = self.end(&text, 0, &text.text, &example);
            ports.extend(end.filter(|_| named).map(|end| PortDecl { name, end }));
        }
        ports
    }
}
