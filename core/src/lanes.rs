//! `[lanes.NAME]`: how the thread of a named lane runs, read and checked. The
//! settings are parameters like those of a kind, so `--set lanes.audio.cpu=1`
//! reaches them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Place};
use crate::expand::Expander;
use crate::graph_file::LaneDecl;
use crate::lane_thread::{LaneSettings, Priority, cpus};
use crate::param::{ParamSpec, Params, Value};
use crate::scope::Scope;
use crate::setting::Setting;
use crate::suggest;

/// The settings of a lane.
static SETTINGS: [ParamSpec; 3] = [
    ParamSpec::int("cpu", 0, 0, 1_023, "The CPU that its thread stays on.").optional(),
    ParamSpec::choice("priority", "normal", &Priority::WORDS, "Whether it comes before other threads."),
    ParamSpec::int("spin_us", 0, 0, 10_000, "How long it looks for work before it sleeps.").unit("µs"),
];

/// A lane that a graph file has settings for.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphLane {
    /// Its name.
    pub name: Arc<str>,
    /// How its thread runs.
    pub settings: LaneSettings,
    /// Where the file gives its CPU, or names it.
    pub place: Place,
}

impl GraphLane {
    /// Whether this machine has its CPU, or what is wrong. \[control\]
    pub(crate) fn check_cpu(&self) -> Option<Diagnostic> {
        let known = cpus();
        let cpu = self.settings.cpu.filter(|cpu| !known.is_empty() && !known.contains(cpu))?;
        let message = format!("lane {} is to stay on CPU {cpu}, which this program may not use", self.name);
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        let known = suggest::list(known.iter().map(String::as_str));
        Some(Diagnostic::error(message).at(self.place, "").help(format!("here it may use {known}")))
    }
}

impl Expander<'_> {
    /// The settings of the graph's lanes.
    pub(crate) fn lanes(&mut self, scope: &Scope) -> Vec<GraphLane> {
        let loaded = std::rc::Rc::clone(&scope.loaded);
        loaded.parsed.lanes.iter().map(|decl| self.lane_settings(scope, decl)).collect()
    }

    fn lane_settings(&mut self, scope: &Scope, decl: &LaneDecl) -> GraphLane {
        let address = format!("lanes.{}", decl.name.it);
        self.settings.note(&address, Some(SETTINGS.iter().map(Setting::from).collect()));
        let mut given: Vec<(&str, Value)> = Vec::new();
        let mut place = decl.name.place;
        for (key, item) in &decl.settings {
            let Some(spec) = SETTINGS.iter().find(|spec| spec.name == key.it) else {
                let known = SETTINGS.iter().map(|spec| spec.name);
                let found = Diagnostic::error(format!("a lane has no setting {}", key.it)).at(key.place, "");
                self.found.push(found.help(suggest::names(&key.it, "settings", known)));
                continue;
            };
            if spec.name == "cpu" {
                place = item.place;
            }
            if self.overridden_at(&address, spec.name).is_none()
                && let Some((value, _)) = self.kind_param(scope, spec, item)
            {
                given.push((spec.name, value));
            }
        }
        for spec in &SETTINGS {
            if let Some(Some(value)) = self.overridden(&address, spec.name, &spec.kind.into()) {
                given.push((spec.name, value));
            }
            if let Some(at) = self.overridden_at(&address, spec.name).filter(|_| spec.name == "cpu") {
                place = at;
            }
        }
        // Each value was accepted above.
        let params = Params::new(&SETTINGS, &given).unwrap_or_default();
        GraphLane { name: decl.name.it.as_str().into(), settings: settings(&params), place }
    }

    /// Says which lanes have settings and no nodes.
    pub(crate) fn unused_lanes(&mut self, scope: &Scope) {
        let used: BTreeSet<&str> = self.net.nodes.iter().filter_map(|node| node.lane.as_deref()).collect();
        for LaneDecl { name, .. } in &scope.loaded.parsed.lanes {
            if !used.contains(name.it.as_str()) {
                let found =
                    Diagnostic::warning(format!("no node runs on lane {}", name.it)).at(name.place, "");
                let help = match suggest::meant(&name.it, used.iter().copied()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("a node asks for it with lane = \"{}\"", name.it),
                };
                self.found.push(found.help(help));
            }
        }
    }
}

fn settings(params: &Params) -> LaneSettings {
    let number = |name: &str| match params.get(name) {
        Some(Value::Int(n)) => u64::try_from(*n).ok(),
        _ => None,
    };
    let realtime =
        matches!(params.get("priority"), Some(Value::Text(word)) if **word == *Priority::Realtime.word());
    LaneSettings {
        cpu: number("cpu").and_then(|cpu| usize::try_from(cpu).ok()),
        priority: if realtime { Priority::Realtime } else { Priority::Normal },
        spin: Duration::from_micros(number("spin_us").unwrap_or_default()),
    }
}
