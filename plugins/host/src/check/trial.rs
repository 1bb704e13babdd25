//! `Trial`: one case at work on a plugin, in a process of its own: what it looks at,
//! what it says of it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sidetone_plugin_abi as abi;

use super::feed;
use super::rig::{Answer, Rig};
use super::test_frame::{Layout, Shape, TestFrame};
use crate::library::Library;
use crate::manifest::{Given, Kind, Manifest};

/// Findings after which a case ends.
const MOST: usize = 6;

/// Why a case ends before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// There is nothing to look at, and why.
    Skip(String),
    /// What was found is told, and there is no going on.
    Enough,
}

/// What a case gives.
pub(crate) type Done = Result<(), Stop>;

/// What the process of a case tells the one that started it, a line each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    /// What it is about to do.
    Doing(String),
    /// What is wrong.
    Found(String),
    /// Nothing was looked at, and why.
    Skipped(String),
    /// What another process must come to, too.
    Digest(u64),
    /// All was looked at.
    Done,
}

/// One case at work.
pub(crate) struct Trial {
    pub(crate) path: PathBuf,
    pub(crate) seed: u64,
    /// Values for parameters, by name, from whoever runs the check.
    pub(crate) given: Vec<(String, String)>,
    /// Where lines go.
    pub(crate) out: std::fs::File,
    loaded: Option<Arc<Library>>,
    found: usize,
}

impl Trial {
    pub(crate) fn new(path: PathBuf, seed: u64, given: Vec<(String, String)>, out: std::fs::File) -> Self {
        Self { path, seed, given, out, loaded: None, found: 0 }
    }

    /// Tells a line to the process that waits for it.
    pub(crate) fn tell(&mut self, line: &Line) {
        let text = serde_json::to_string(line).unwrap_or_default();
        // If nobody listens any more nobody misses it.
        let _ = self.out.write_all(format!("{text}\n").as_bytes());
    }

    /// What is done next: what a crash is told with.
    pub(crate) fn doing(&mut self, what: impl Into<String>) {
        self.tell(&Line::Doing(what.into()));
    }

    /// Something is wrong.
    pub(crate) fn found(&mut self, what: impl Into<String>) -> Done {
        self.tell(&Line::Found(what.into()));
        self.found += 1;
        if self.found < MOST { Ok(()) } else { Err(Stop::Enough) }
    }

    /// The library and its table.
    pub(crate) fn library(&mut self) -> Result<Arc<Library>, Stop> {
        if let Some(library) = &self.loaded {
            return Ok(Arc::clone(library));
        }
        self.doing("loading the library");
        match Library::load(&self.path) {
            Ok(library) => Ok(Arc::clone(self.loaded.insert(Arc::new(library)))),
            Err(why) => {
                self.found(why.to_string())?;
                Err(Stop::Enough)
            }
        }
    }

    /// The kinds of which `is_wanted`, by number; `what` says which are missing if
    /// there are none.
    pub(crate) fn kinds(
        &mut self,
        what: &str,
        is_wanted: impl Fn(&Kind) -> bool,
    ) -> Result<Vec<usize>, Stop> {
        let library = self.library()?;
        let manifest: &Manifest = &library.table;
        let all: Vec<usize> =
            (0..manifest.kinds.len()).filter(|at| is_wanted(&manifest.kinds[*at])).collect();
        if all.is_empty() { Err(Stop::Skip(format!("no kind {what}"))) } else { Ok(all) }
    }

    /// The values that a kind's parameters have when no graph says otherwise, and
    /// those that whoever runs the check gave.
    pub(crate) fn settings(&mut self, index: usize) -> Result<Vec<(u32, Given)>, Stop> {
        let library = self.library()?;
        let kind = &library.table.kinds[index];
        let mut settings = Vec::new();
        for param in &kind.params {
            let given = self.given.iter().find(|(name, _)| *name == param.name).map(|(_, text)| text);
            let value = match (given, param.kind.as_str()) {
                (Some(text), "bool") => Some(Given::Bool(text == "true")),
                (Some(text), "int" | "float") => text.parse().ok().map(Given::Number),
                (Some(text), _) => Some(Given::Text(text.clone())),
                (None, _) if param.default.is_some() => param.default.clone(),
                (None, "bool") => Some(Given::Bool(false)),
                (None, "int" | "float") => Some(Given::Number(param.min)),
                (None, "choice") => param.choices.first().cloned().map(Given::Text),
                (None, _) => None,
            };
            let Some(value) = value else {
                return Err(Stop::Skip(format!(
                    "{} needs its parameter {}: give it with --set {}=VALUE",
                    kind.kind, param.name, param.name
                )));
            };
            settings.push((param.id, value));
        }
        Ok(settings)
    }

    /// An instance of kind `index` with the usual settings.
    pub(crate) fn usual(&mut self, index: usize) -> Result<Rig, Stop> {
        let settings = self.settings(index)?;
        self.make(index, &settings, Layout::default())
    }

    /// An instance of kind `index`; `layout` is that of its outputs.
    pub(crate) fn make(
        &mut self,
        index: usize,
        settings: &[(u32, Given)],
        layout: Layout,
    ) -> Result<Rig, Stop> {
        let library = self.library()?;
        let name = library.table.kinds[index].kind.clone();
        self.doing(format!(
            "{name}: making an instance with {}",
            shown(&library.table.kinds[index], settings)
        ));
        match Rig::new(&library, index, settings, self.seed, layout) {
            Ok(mut rig) => {
                self.wrong(&mut rig)?;
                Ok(rig)
            }
            Err(why) => {
                let values = shown(&library.table.kinds[index], settings);
                self.found(format!("{name}: create gave null with {values}: {why}"))?;
                Err(Stop::Enough)
            }
        }
    }

    /// Calls `process` with good frames, which must go well.
    pub(crate) fn call(&mut self, rig: &mut Rig, inputs: &[Option<Box<TestFrame>>]) -> Result<Answer, Stop> {
        self.call_with(rig, inputs, &[])
    }

    /// The same, with events.
    pub(crate) fn call_with(
        &mut self,
        rig: &mut Rig,
        inputs: &[Option<Box<TestFrame>>],
        events: &[abi::Event],
    ) -> Result<Answer, Stop> {
        let what = described(rig, inputs, events);
        self.doing(what.clone());
        let answer = rig.call(inputs, events);
        self.wrong(rig)?;
        let media_known = rig.kind().inputs.iter().all(feed::is_known);
        if answer.code < 0 && (media_known || answer.code != abi::SIDETONE_ERROR_MEDIA)
            || answer.code > abi::SIDETONE_END
        {
            let said = rig.said().map(|said| format!(" and said \"{said}\"")).unwrap_or_default();
            self.found(format!("{what}: process gave {}{said}", code_name(answer.code)))?;
            return Err(Stop::Enough);
        }
        if let Some(at) = not_finite(&answer) {
            self.found(format!(
                "{what}: output {} has samples that are not finite",
                rig.kind().outputs[at].name
            ))?;
        }
        Ok(answer)
    }

    /// Tells what the rig noted.
    pub(crate) fn wrong(&mut self, rig: &mut Rig) -> Done {
        let name = rig.kind().kind.clone();
        for why in rig.take_wrong() {
            self.found(format!("{name}: {why}"))?;
        }
        Ok(())
    }
}

/// What a call is, for a person.
pub(crate) fn described(rig: &Rig, inputs: &[Option<Box<TestFrame>>], events: &[abi::Event]) -> String {
    let shape = inputs.first().and_then(Option::as_deref).map(TestFrame::shape);
    let mut text = format!("{}: process with ", rig.kind().kind);
    match shape {
        Some(shape) => text.push_str(&shape.to_string()),
        None => text.push_str("no frame"),
    }
    for event in events {
        let param = rig.kind().params.iter().find(|param| param.id == event.id);
        let name = param.map_or("an unknown event or parameter", |param| &param.name);
        text.push_str(&format!(", {name} = {}", event.number));
    }
    text
}

/// Parameters and their values, for a person.
pub(crate) fn shown(kind: &Kind, settings: &[(u32, Given)]) -> String {
    if settings.is_empty() {
        return "no parameters".into();
    }
    let each = settings.iter().map(|(id, value)| {
        let name = kind.params.iter().find(|param| param.id == *id).map_or("?", |param| &param.name);
        match value {
            Given::Bool(value) => format!("{name} = {value}"),
            Given::Number(value) => format!("{name} = {value}"),
            Given::Text(value) => format!("{name} = \"{value}\""),
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

/// A return code by its name.
pub(crate) fn code_name(code: i32) -> String {
    match code {
        abi::SIDETONE_OK => "SIDETONE_OK".into(),
        abi::SIDETONE_DROP => "SIDETONE_DROP".into(),
        abi::SIDETONE_NEED_MORE => "SIDETONE_NEED_MORE".into(),
        abi::SIDETONE_END => "SIDETONE_END".into(),
        abi::SIDETONE_ERROR => "SIDETONE_ERROR".into(),
        abi::SIDETONE_ERROR_FORMAT => "SIDETONE_ERROR_FORMAT (its table says that it takes this)".into(),
        abi::SIDETONE_ERROR_MEDIA => "SIDETONE_ERROR_MEDIA, of media that are not damaged".into(),
        abi::SIDETONE_ERROR_MEMORY => "SIDETONE_ERROR_MEMORY".into(),
        abi::SIDETONE_ERROR_PANIC => "SIDETONE_ERROR_PANIC: it panicked".into(),
        abi::SIDETONE_ERROR_RESOURCE => "SIDETONE_ERROR_RESOURCE".into(),
        other => format!("{other}, which is no return code"),
    }
}

/// The first output of sound with a sample that is not finite.
pub(crate) fn not_finite(answer: &Answer) -> Option<usize> {
    answer.outputs.iter().position(|output| {
        output.as_ref().is_some_and(|output| {
            matches!(output.shape, Shape::Audio { .. }) && samples(&output.content).any(|it| !it.is_finite())
        })
    })
}

/// The samples of sound.
pub(crate) fn samples(content: &[u8]) -> impl Iterator<Item = f32> + '_ {
    content.chunks_exact(4).map(|it| f32::from_ne_bytes([it[0], it[1], it[2], it[3]]))
}
