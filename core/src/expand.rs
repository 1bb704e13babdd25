//! Expansion: parameters take their values, alternatives are chosen, parts
//! become the nodes and links they hold. What comes out is a `Net`.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::cell::OnFault;
use crate::diagnostic::{Diagnostic, Place, Sources};
use crate::ends::{Entry, Names};
use crate::graph::LoadOptions;
use crate::graph_file::{
    Alternative, GraphFile, MAX_BYTES, NodeDecl, ParamDecl, TemplateDecl, What, is_name,
};
use crate::item::{At, Item, Table, Text};
use crate::net::{GivenAt, MAX_NODES, Net, NetNode, NetTemplate, Open};
use crate::param::{ParamDefault, ParamSpec, Params, Value};
use crate::registry::{Foreign, NodeSpec, Registry};
use crate::scope::{Given, Scope, stand_in};
use crate::setting::{self, NoSetting, Setting, Settings};
use crate::suggest;
use crate::takes::Takes;

/// How deep parts may stand in parts.
const MAX_DEPTH: usize = 16;
/// How many problems get advice that takes a search.
const SEARCHES: usize = 200;
/// How messages show what is given from outside.
const SET: &str = "--set ";
/// The most templates a graph has.
const MAX_TEMPLATES: usize = 64;

/// Turns files into a net.
pub(crate) struct Expander<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) options: &'a LoadOptions<'a>,
    pub(crate) sources: Sources,
    pub(crate) found: Vec<Diagnostic>,
    pub(crate) net: Net,
    overrides: Vec<Override>,
    /// What `--set` may name.
    pub(crate) settings: Settings,
    files: HashMap<PathBuf, Option<Rc<Loaded>>>,
    /// Whether it is a part, checked by itself, that is expanded.
    pub(crate) is_part: bool,
}

/// A file that was read.
pub(crate) struct Loaded {
    pub(crate) file: u32,
    pub(crate) parsed: GraphFile,
}

impl Loaded {
    /// The parameters that it declares; of those that are broken, the names.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let declared = self.parsed.params.iter().map(|param| (param.name.it.clone(), param.takes.clone()));
        let broken = self.parsed.broken_params.iter().map(|name| (name.clone(), Takes::Text));
        declared.chain(broken).map(|(name, takes)| Setting::new(name, takes, "")).collect()
    }
}

/// A value given by `--set`.
struct Override {
    /// The node or part, empty for the graph itself.
    address: String,
    name: String,
    value: String,
    whole: Place,
    used: bool,
}

impl<'a> Expander<'a> {
    pub(crate) fn new(registry: &'a Registry, options: &'a LoadOptions<'a>) -> Self {
        Self {
            registry,
            options,
            sources: Sources::default(),
            found: Vec::new(),
            net: Net::default(),
            overrides: Vec::new(),
            settings: Settings::default(),
            files: HashMap::new(),
            is_part: false,
        }
    }

    /// Expands the graph at `path`; gives the file and the values of its
    /// parameters, if it could be read at all. `parts`: whether it may be a part.
    pub(crate) fn graph(&mut self, path: &Path, parts: bool) -> Option<(Rc<Loaded>, HashMap<String, Given>)> {
        let bytes = match (self.options.read)(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = match error.kind() {
                    io::ErrorKind::NotFound => format!("there is no file {}", path.display()),
                    _ => format!("cannot read {}: {error}", path.display()),
                };
                self.found.push(Diagnostic::error(message).help("give the path of a graph file"));
                return None;
            }
        };
        let loaded = self.parse(path, &bytes)?;
        self.read_overrides();
        self.is_part = parts && loaded.parsed.ports.is_some();
        if let Some(ports) = loaded.parsed.ports.as_ref().filter(|_| !parts) {
            let found = Diagnostic::error("this file is a part: it has [ports]")
                .at(ports.place, "")
                .help("a part runs in a graph that uses it: node = { part = \"this_file.toml\" }");
            self.found.push(found);
        }
        let path = normal(path);
        let mut scope = Scope {
            loaded: Rc::clone(&loaded),
            folder: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            prefix: String::new(),
            template: None,
            values: HashMap::new(),
            origins: HashMap::new(),
            trail: vec![path],
        };
        scope.values = self.graph_values(&loaded);
        scope.origins = self.origins("", &loaded);
        let names = self.file(&scope);
        if let Some(ports) = &loaded.parsed.ports {
            // What is linked to them is for those to say who use it.
            let entry = self.part_ports(&names, &ports.it, !parts);
            if let Entry::Part { inputs, outputs, broken: false } = entry {
                self.net.open_inputs = inputs.iter().map(|input| (input.node, input.port)).collect();
                self.net.open_outputs = outputs.iter().map(|output| output.node).collect();
            }
            self.not_in_parts(&loaded);
        } else {
            self.net.lanes = self.lanes(&scope);
            self.unused_lanes(&scope);
        }
        self.unused_overrides();
        Some((loaded, scope.values))
    }

    fn graph_values(&mut self, loaded: &Loaded) -> HashMap<String, Given> {
        let broken = loaded.parsed.broken_params.iter().map(|name| (name.clone(), Given::Unknown));
        let mut values: HashMap<_, _> = broken.collect();
        self.settings.note("", Some(loaded.settings()));
        for param in &loaded.parsed.params {
            let name = &param.name.it;
            let given = match self.overridden("", name, &param.takes) {
                Some(value) => value.map_or(Given::Unknown, Given::Value),
                None => match &param.default {
                    Some(default) => Given::Value(default.it.clone()),
                    // Those who use a part give it.
                    None if self.is_part => Given::Unknown,
                    None => {
                        let found = Diagnostic::error(format!("the graph needs {name}"))
                            .at(param.name.place, format!("{}, with no default", param.takes))
                            .help(format!("give it with --set {name}=…, or give it a default here"));
                        self.found.push(found);
                        Given::Unknown
                    }
                },
            };
            values.insert(name.clone(), given);
        }
        values
    }

    fn parse(&mut self, path: &Path, bytes: &[u8]) -> Option<Rc<Loaded>> {
        let label = path.display().to_string();
        // What is far too large is not kept, either.
        let kept = &bytes[..bytes.len().min(MAX_BYTES + 1)];
        let text = String::from_utf8_lossy(kept).into_owned();
        let before = self.found.len();
        let parsed = match std::str::from_utf8(kept) {
            Err(error) if kept.len() <= MAX_BYTES => {
                let offset = error.valid_up_to();
                let file = self.sources.add(label, text);
                let place = Place { file, start: offset as u32, end: offset as u32 };
                let message = format!("the file is not UTF-8 text: byte {offset} does not belong there");
                let help = "save it as UTF-8; is it the file you meant?";
                self.found.push(Diagnostic::error(message).at(place, "").help(help));
                return None;
            }
            _ => {
                let file = self.sources.add(label, text.as_str());
                GraphFile::parse_into(file, &text, &mut self.found).map(|parsed| Loaded { file, parsed })
            }
        };
        debug_assert!(parsed.is_some() || self.found.len() > before);
        parsed.map(Rc::new)
    }

    /// Expands what `scope`'s file holds; gives what its names mean.
    fn file(&mut self, scope: &Scope) -> Names {
        let loaded = Rc::clone(&scope.loaded);
        let mut names = Names::new();
        for decl in &loaded.parsed.nodes {
            let entry = self.node(scope, decl);
            names.insert(decl.name.it.clone(), entry);
        }
        let mut unknown = Vec::new();
        for link in &loaded.parsed.links {
            self.link(&names, link, scope.template, &mut unknown);
        }
        self.unknown_nodes(&names, unknown);
        let broken = &loaded.parsed.broken_links;
        let words = broken.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| !word.is_empty()).for_each(|word| self.touch(&names, word));
        for decl in &loaded.parsed.templates {
            self.template(scope, decl, &names);
        }
        self.budgets(scope);
        self.unused_params(&loaded);
        names
    }

    /// Says which parameters of a file nothing in it uses.
    fn unused_params(&mut self, loaded: &Loaded) {
        if loaded.parsed.params.is_empty() {
            return;
        }
        let text = self.sources.whole(loaded.file);
        let used: HashSet<_> =
            text.split("${").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect();
        for param in loaded.parsed.params.iter().filter(|param| !used.contains(param.name.it.as_str())) {
            let name = &param.name.it;
            let found =
                Diagnostic::warning(format!("nothing uses the parameter {name}")).at(param.name.place, "");
            self.found.push(found.help(format!("a node uses it as \"${{{name}}}\"")));
        }
    }

    pub(crate) fn node(&mut self, scope: &Scope, decl: &NodeDecl) -> Entry {
        let address = format!("{}{}", scope.prefix, decl.name.it);
        let entry = self.chosen(scope, decl).and_then(|chosen| {
            if self.net.nodes.len() >= MAX_NODES {
                self.too_many(decl.name.place);
                return None;
            }
            match &chosen.what {
                What::Kind(kind) => self.kind_node(scope, &address, decl.name.place, kind, chosen),
                What::Part(part) => {
                    for (key, item) in [("lane", &chosen.lane), ("on_fault", &chosen.on_fault)] {
                        if let Some(item) = item {
                            let found = Diagnostic::error(format!("a part has no {key}")).at(item.place, "");
                            self.found.push(found.help("give it to the nodes inside the part"));
                        }
                    }
                    self.part(scope, &address, decl.name.place, part, &chosen.params, scope.template)
                }
            }
        });
        if entry.is_none() {
            self.settings.note(&address, None);
        }
        entry.unwrap_or(Entry::Broken)
    }

    fn too_many(&mut self, place: Place) {
        let message = format!("the graph has more than {MAX_NODES} nodes");
        if self.found.iter().all(|found| found.message != message) {
            self.found.push(Diagnostic::error(message).at(place, "this one is too many"));
        }
    }

    /// The alternative that holds.
    fn chosen<'d>(&mut self, scope: &Scope, decl: &'d NodeDecl) -> Option<&'d Alternative> {
        let mut chosen = None;
        let mut unsure = false;
        let mut always: Option<Place> = None;
        for alternative in &decl.alternatives {
            if let Some(place) = always.take() {
                let found =
                    Diagnostic::warning(format!("this alternative of {} is never chosen", decl.name.it))
                        .at(alternative.place, "")
                        .at(place, "this one has no \"when\", so it always holds");
                self.found.push(found.help("put the one without \"when\" last"));
            }
            let holds = match &alternative.when {
                Some(when) => self.holds(scope, when),
                None => {
                    always = Some(alternative.place);
                    Some(true)
                }
            };
            unsure |= holds.is_none();
            if holds == Some(true) && chosen.is_none() && !unsure {
                chosen = Some(alternative);
            } else {
                self.check_unchosen(alternative);
            }
        }
        if chosen.is_none() && !unsure && !decl.alternatives.is_empty() {
            let mut found = Diagnostic::error(format!("no alternative of {} holds", decl.name.it))
                .at(decl.name.place, "nothing to make it of");
            for when in decl.alternatives.iter().filter_map(|alternative| alternative.when.as_ref()).take(4) {
                found = found.at(when.place, "does not hold");
            }
            let help = "end with an alternative that has no \"when\": it always holds";
            self.found.push(found.help(help));
        }
        chosen
    }

    pub(crate) fn spec(&mut self, kind: &str, place: Place) -> Option<&'static NodeSpec> {
        let spec = self.registry.get(kind);
        if spec.is_none() {
            let help =
                if self.found.len() < SEARCHES { suggest::kinds(kind, self.registry) } else { String::new() };
            let found = Diagnostic::error(format!("there is no kind \"{kind}\"")).at(place, "").help(help);
            self.found.push(found);
        }
        spec
    }

    pub(crate) fn known_param(
        &mut self,
        spec: &'static NodeSpec,
        key: &At<String>,
    ) -> Option<&'static ParamSpec> {
        let param = spec.param(&key.it);
        if param.is_none() {
            let known = spec.params.iter().map(|param| param.name);
            let found = Diagnostic::error(format!("{} has no parameter {}", spec.kind, key.it))
                .at(key.place, "")
                .help(suggest::names(&key.it, "parameters", known));
            self.found.push(found);
        }
        param
    }

    fn kind_node(
        &mut self,
        scope: &Scope,
        address: &str,
        place: Place,
        kind: &Text,
        chosen: &Alternative,
    ) -> Option<Entry> {
        let spec = self.kind_of(scope, address, place, kind, chosen)?;
        self.settings.note_node(address, spec);
        let mut given = Vec::new();
        let mut given_at = Vec::new();
        let mut fills = Vec::new();
        let mut unsure = false;
        for (key, item) in &chosen.params {
            let Some(param) = self.known_param(spec, key) else { continue };
            let from = self.origin(scope, item);
            given_at.push(GivenAt { param: param.name, place: item.place, from });
            // What --set gives is looked at in its place.
            if self.is_overridden(address, param.name) {
                continue;
            }
            match self.kind_param(scope, param, item) {
                Some((value, filled)) => {
                    given.push((param.name, value));
                    fills.extend(filled.map(|pieces| (param.name, pieces)));
                }
                None => unsure = true,
            }
        }
        for param in spec.params {
            match self.overridden(address, param.name, &param.kind.into()) {
                Some(Some(value)) => given.push((param.name, value)),
                Some(None) => unsure = true,
                None => {}
            }
            if let Some(place) = self.overridden_at(address, param.name) {
                given_at.retain(|at| at.param != param.name);
                given_at.push(GivenAt { param: param.name, place, from: None });
            }
            let is_given = chosen.params.iter().any(|(key, _)| key.it == param.name)
                || given.iter().any(|(name, _)| *name == param.name);
            if param.default == ParamDefault::Required && !is_given {
                let found = Diagnostic::error(format!("{} needs {}", spec.kind, param.name))
                    .at(place, format!("{} is not given here", param.name))
                    .help(format!("{}: {} ({})", param.name, param.doc.trim_end_matches('.'), param.kind));
                self.found.push(found);
                unsure = true;
            }
        }
        if unsure {
            let missing = |param: &&crate::ParamSpec| given.iter().all(|(name, _)| *name != param.name);
            let missing =
                spec.params.iter().filter(|param| param.default == ParamDefault::Required).filter(missing);
            let stand_ins: Vec<_> = missing.map(|param| (param.name, stand_in(&param.kind))).collect();
            given.extend(stand_ins);
        }
        let lane = chosen.lane.as_ref().and_then(|item| self.lane(scope, item));
        let on_fault = chosen.on_fault.as_ref().and_then(|item| self.on_fault(scope, item, spec));
        // Each value was accepted above; what cannot be is left at its default.
        let params = Params::new(spec.params, &given).unwrap_or_default();
        self.net.nodes.push(NetNode {
            name: address.to_owned(),
            template: scope.template,
            spec,
            params,
            given_at,
            fills,
            lane,
            on_fault: on_fault.unwrap_or_default(),
            place,
            unsure,
            touched: false,
            inputs: vec![None; spec.inputs.len()],
            outputs: spec.outputs.iter().map(|port| port.media).collect(),
            latency: Duration::ZERO,
            foreign: Foreign::No,
            deadline: None,
        });
        Some(Entry::Node(self.net.nodes.len() - 1))
    }

    fn lane(&mut self, scope: &Scope, item: &At<Item>) -> Option<Arc<str>> {
        let Item::Text(text) = &item.it else {
            let message = format!("lane must be the name of a lane, not {}", item.it.what());
            self.found.push(Diagnostic::error(message).at(item.place, ""));
            return None;
        };
        let lane = self.plain_text(scope, text, "lane")?;
        if !is_name(&lane) {
            let rule = "small letters, digits and _, a letter first, at most 64";
            let message = format!("\"{lane}\" cannot name a lane");
            self.found.push(Diagnostic::error(message).at(text.whole(), rule));
            return None;
        }
        Some(lane.into())
    }

    fn on_fault(&mut self, scope: &Scope, item: &At<Item>, spec: &NodeSpec) -> Option<OnFault> {
        let known = OnFault::WORDS.iter().map(|(word, _)| *word);
        let Item::Text(text) = &item.it else {
            let message = format!("on_fault must be one of {}, not {}", suggest::list(known), item.it.what());
            self.found.push(Diagnostic::error(message).at(item.place, ""));
            return None;
        };
        let word = self.plain_text(scope, text, "on_fault")?;
        let Some(on_fault) = OnFault::WORDS.iter().find(|(known, _)| *known == word).map(|(_, it)| *it)
        else {
            let help = suggest::names(&word, "what it may be", known);
            let message = format!("on_fault cannot be \"{word}\"");
            self.found.push(Diagnostic::error(message).at(text.whole(), "").help(help));
            return None;
        };
        if let Some(why) = on_fault.refused(spec) {
            let message = format!("{} {why}", spec.kind);
            self.found.push(Diagnostic::error(message).at(text.whole(), "").help("use stop or restart"));
            return None;
        }
        Some(on_fault)
    }

    /// The nodes of the part that `text` names, under `address`.
    fn part(
        &mut self,
        scope: &Scope,
        address: &str,
        place: Place,
        text: &Text,
        params: &Table,
        template: Option<usize>,
    ) -> Option<Entry> {
        let named = self.plain_text(scope, text, "part")?;
        let path = normal(&scope.folder.join(&named));
        let here = text.whole();
        if scope.trail.contains(&path) {
            let start = scope.trail.iter().position(|file| *file == path).unwrap_or(0);
            let chain = scope.trail[start..].iter().chain([&path]).map(|file| file.display().to_string());
            let found = Diagnostic::error("a part cannot hold itself")
                .at(here, "")
                .help(chain.collect::<Vec<_>>().join(" uses "));
            self.found.push(found);
            return None;
        }
        if scope.trail.len() > MAX_DEPTH {
            let message = format!("parts stand in parts more than {MAX_DEPTH} deep");
            self.found.push(Diagnostic::error(message).at(here, "").help("flatten them"));
            return None;
        }
        let loaded = self.load_part(&path, &named, here)?;
        let Some(ports) = &loaded.parsed.ports else {
            let message = format!("{named} is no part: it has no [ports]");
            let found = Diagnostic::error(message).at(here, "");
            self.found.push(found.help("a part says what may be linked:\n[ports]\nin = \"jitter.in\""));
            return None;
        };
        self.not_in_parts(&loaded);
        let values = self.part_values(scope, &loaded, params, address, place);
        let mut origins = self.origins(address, &loaded);
        for (key, item) in params {
            if !self.is_overridden(address, &key.it) {
                origins.insert(key.it.clone(), self.origin(scope, item).unwrap_or(item.place));
            }
        }
        let inner = Scope {
            folder: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            prefix: format!("{address}/"),
            template,
            values,
            origins,
            trail: scope.trail.iter().cloned().chain([path]).collect(),
            loaded: Rc::clone(&loaded),
        };
        let names = self.file(&inner);
        Some(self.part_ports(&names, &ports.it, loaded.parsed.broken))
    }

    /// Says which keys of a part are the whole graph's to give.
    fn not_in_parts(&mut self, part: &Loaded) {
        let when_dry = part.parsed.when_dry.as_ref().map(|dry| ("when_dry", "when_dry", dry.place));
        let lanes = part.parsed.lanes.first().map(|lane| ("[lanes]", "[lanes]", lane.name.place));
        for (what, key, place) in [when_dry, lanes].into_iter().flatten() {
            let found = Diagnostic::error(format!("a part has no {what} of its own")).at(place, "");
            self.found.push(found.help(format!("give {key} in the graph that uses the part")));
        }
    }

    fn load_part(&mut self, path: &Path, named: &str, place: Place) -> Option<Rc<Loaded>> {
        if let Some(known) = self.files.get(path) {
            return known.clone();
        }
        let loaded = match (self.options.read)(path) {
            Ok(bytes) => self.parse(path, &bytes),
            Err(error) => {
                let looked =
                    format!("looked for {}, from the folder of the file that names it", path.display());
                let message = match error.kind() {
                    io::ErrorKind::NotFound => format!("there is no part {named}"),
                    _ => format!("cannot read part {named}: {error}"),
                };
                self.found.push(Diagnostic::error(message).at(place, "").help(looked));
                return None;
            }
        };
        self.files.insert(path.to_path_buf(), loaded.clone());
        loaded
    }

    fn template(&mut self, scope: &Scope, decl: &TemplateDecl, outer: &Names) {
        if scope.template.is_some() {
            let found = Diagnostic::error("a template cannot hold another one").at(decl.name.place, "");
            self.found
                .push(found.help("this part is made by an [each] of its own; move this [each] out of it"));
            return;
        }
        if self.net.templates.len() >= MAX_TEMPLATES {
            let message = format!("the graph has more than {MAX_TEMPLATES} templates");
            self.found.push(Diagnostic::error(message).at(decl.name.place, ""));
            return;
        }
        let Some((hub, group)) = self.hub(decl, outer) else { return };
        let address = format!("{}{}", scope.prefix, decl.name.it);
        let template = self.net.templates.len();
        self.net.templates.push(NetTemplate {
            name: address.clone(),
            hub,
            group,
            most: decl.most,
            place: decl.name.place,
        });
        let mut names = outer.clone();
        let member = Entry::Member { hub, group, template };
        if names.insert(decl.name.it.clone(), member).is_some() {
            let found = Diagnostic::error(format!("both a node and a template are called {}", decl.name.it));
            self.found.push(found.at(decl.name.place, "").help("rename one of them"));
        }
        let mut parts = Vec::new();
        for part in &decl.parts {
            let text = part.part.whole();
            let stem =
                Path::new(&part.part.text).file_stem().map_or(String::new(), |s| s.to_string_lossy().into());
            if !is_name(&stem) {
                let found = Diagnostic::error(format!("\"{stem}\" cannot name a part's nodes"))
                    .at(text, "small letters, digits and _, a letter first, at most 64");
                self.found.push(
                    found.help("a template calls its parts by the names of their files; rename the file"),
                );
                continue;
            }
            let inside = format!("{address}/{stem}");
            let inner = Scope {
                loaded: Rc::clone(&scope.loaded),
                folder: scope.folder.clone(),
                prefix: scope.prefix.clone(),
                template: Some(template),
                values: scope.values.clone(),
                origins: scope.origins.clone(),
                trail: scope.trail.clone(),
            };
            let entry = self
                .part(&inner, &inside, part.place, &part.part, &part.params, Some(template))
                .unwrap_or(Entry::Broken);
            if names.insert(stem.clone(), entry.clone()).is_some() {
                let found = Diagnostic::error(format!("two things are called {stem} here")).at(text, "");
                let help =
                    "a template calls its parts by the names of their files; rename the node or the file";
                self.found.push(found.help(help));
            }
            parts.push((stem, entry, text));
        }
        match &decl.links {
            Some(links) => {
                let mut unknown = Vec::new();
                for link in links {
                    self.link(&names, link, Some(template), &mut unknown);
                }
                self.unknown_nodes(&names, unknown);
            }
            None => {
                for (stem, entry, place) in parts {
                    let Entry::Part { inputs, .. } = entry else { continue };
                    let open =
                        inputs.iter().map(|to| Open { template, part: stem.clone(), to: to.clone(), place });
                    self.net.open.extend(open);
                }
            }
        }
        if decl.parts.is_empty() && decl.links.as_ref().is_none_or(Vec::is_empty) {
            let found =
                Diagnostic::error(format!("each.{} makes nothing", decl.name.it)).at(decl.name.place, "");
            self.found.push(found.help("give it parts, links, or both"));
        }
    }

    /// The node and the group whose members a template is made for.
    fn hub(&mut self, decl: &TemplateDecl, outer: &Names) -> Option<(usize, &'static str)> {
        let node = &decl.of.node;
        let hub = match outer.get(&node.it) {
            Some(Entry::Node(node)) => *node,
            Some(Entry::Part { .. }) => {
                let found = Diagnostic::error(format!("{} is a part, not a node with members", node.it));
                self.found.push(found.at(node.place, "").help("put this [each] into the part's own file"));
                return None;
            }
            Some(_) => return None,
            None => {
                self.unknown_nodes(outer, vec![(node.it.clone(), node.place)]);
                return None;
            }
        };
        let spec = self.net.nodes[hub].spec;
        let mut groups: Vec<_> = spec.outputs.iter().filter_map(|port| port.each).collect();
        groups.dedup();
        let found = match (&decl.of.port, groups.as_slice()) {
            (_, []) => {
                let hubs =
                    self.registry.iter().filter(|spec| spec.outputs.iter().any(|port| port.each.is_some()));
                let hubs: Vec<_> = hubs.map(|spec| spec.kind).collect();
                Diagnostic::error(format!("{} ({}) has no members", node.it, spec.kind))
                    .at(decl.of.place, "")
                    .help(format!("kinds that have members: {}", suggest::list(hubs)))
            }
            (None, [group]) => return Some((hub, group)),
            (Some(port), groups) => match groups.iter().find(|group| **group == port.it) {
                Some(group) => return Some((hub, group)),
                None => Diagnostic::error(format!("{} has no group {}", node.it, port.it))
                    .at(port.place, "")
                    .help(suggest::names(&port.it, "groups", groups.iter().copied())),
            },
            (None, groups) => Diagnostic::error(format!("{} has several groups", node.it))
                .at(decl.of.place, "")
                .help(format!("say which: {}", suggest::list(groups.iter().copied()))),
        };
        self.found.push(found);
        None
    }

    /// Whether a problem with the node or part at `address` was told.
    pub(crate) fn is_broken(&self, address: &str) -> bool {
        self.settings.is_hidden(address)
    }

    /// Whether searching advice is still worth its time.
    pub(crate) fn may_search(&self) -> bool {
        self.found.len() < SEARCHES
    }

    // Values given by --set.

    fn read_overrides(&mut self) {
        let text: String =
            self.options.overrides.iter().map(|(name, value)| format!("{SET}{name}={value}\n")).collect();
        if text.is_empty() {
            return;
        }
        let file = self.sources.add_given("the command line", text);
        let mut start = SET.len();
        for (target, value) in self.options.overrides {
            let length = target.len() + 1 + value.len();
            let (address, name) = setting::split(target);
            self.overrides.push(Override {
                address,
                name: name.to_owned(),
                value: value.clone(),
                whole: Place { file, start: start as u32, end: (start + length) as u32 },
                used: false,
            });
            start += length + 1 + SET.len();
        }
    }

    fn is_overridden(&self, address: &str, name: &str) -> bool {
        self.overridden_at(address, name).is_some()
    }

    /// Where `--set` gives parameter `name` at `address`.
    pub(crate) fn overridden_at(&self, address: &str, name: &str) -> Option<Place> {
        let mut given = self.overrides.iter().rev();
        given.find(|given| given.address == address && given.name == name).map(|given| given.whole)
    }

    /// Where the parameters of a file used at `address` get their values: from
    /// `--set`, or from their defaults.
    fn origins(&self, address: &str, loaded: &Loaded) -> HashMap<String, Place> {
        let origin = |param: &ParamDecl| {
            let default = param.default.as_ref().map(|default| default.place);
            let place = self.overridden_at(address, &param.name.it).or(default)?;
            Some((param.name.it.clone(), place))
        };
        loaded.parsed.params.iter().filter_map(origin).collect()
    }

    /// The value that `--set` gives to parameter `name` at `address`;
    /// `Some(None)` where it does not fit, which is told.
    pub(crate) fn overridden(&mut self, address: &str, name: &str, takes: &Takes) -> Option<Option<Value>> {
        let mut value = None;
        for given in &mut self.overrides {
            if given.address == address && given.name == name {
                given.used = true;
                // The last one holds.
                value = Some(match takes.read(&given.value) {
                    Ok(value) => Some(value),
                    Err(why) => {
                        self.found.push(Diagnostic::error(format!("{name} {why}")).at(given.whole, ""));
                        None
                    }
                });
            }
        }
        value
    }

    fn unused_overrides(&mut self) {
        for given in self.overrides.iter().filter(|given| !given.used) {
            if let Err(NoSetting { message, help }) = self.settings.find(&given.address, &given.name) {
                self.found.push(Diagnostic::error(message).at(given.whole, "").help(help));
            }
        }
    }
}

/// `path` without `.` and `..`, as far as that can be told from the text.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(normal.components().next_back(), Some(Component::Normal(_))) => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
