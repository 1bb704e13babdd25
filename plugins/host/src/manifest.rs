//! `Manifest`: what a plugin says of itself, in `NAME.sidetone.toml` beside its
//! library and, the same, in the table that is compiled into it. Graphs are
//! checked against the file alone, so that checking runs no foreign code.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sidetone_plugin_abi as abi;

/// The version of the format that this reads and writes.
const FORMAT: u32 = 1;
/// How the names of manifest files end.
pub const ENDING: &str = ".sidetone.toml";
/// No manifest is longer, in bytes.
pub(crate) const LONGEST: u64 = 1 << 20;
/// Ports of one direction.
pub(crate) const PORTS: usize = 8;
/// Parameters of a kind, and kinds of a plugin.
pub(crate) const MANY: usize = 256;
/// Words of a choice.
pub(crate) const CHOICES: usize = 64;

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub sidetone_plugin: u32,
    /// The first word of each of its kinds.
    pub id: String,
    /// The plugin's version.
    pub version: String,
    /// The version of the interface that it was built for: "1.0".
    pub abi: String,
    /// Who made it.
    #[serde(default)]
    pub vendor: String,
    /// Its licence, an SPDX expression.
    #[serde(default)]
    pub license: String,
    /// The library's file name, where it is not the usual one.
    #[serde(default)]
    pub library: Option<String>,
    /// Its kinds of node.
    #[serde(default, rename = "kind")]
    pub kinds: Vec<Kind>,
}

/// A kind of node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Its name in graph files.
    pub kind: String,
    /// One sentence.
    pub summary: String,
    /// All that a user should know.
    #[serde(default)]
    pub doc: String,
    /// The time that it adds, its work aside.
    #[serde(default)]
    pub latency_ns: u64,
    /// Words of [`KIND_FLAGS`].
    #[serde(default)]
    pub flags: Vec<String>,
    /// Its inputs.
    pub inputs: Vec<Port>,
    /// Its outputs.
    #[serde(default)]
    pub outputs: Vec<Port>,
    /// Its parameters.
    #[serde(default)]
    pub params: Vec<Param>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name in graph files.
    pub name: String,
    /// A word of [`MEDIA`].
    pub media: String,
    /// A word of [`FORMATS`].
    #[serde(default = "any")]
    pub format: String,
    /// The shape of data.
    #[serde(default)]
    pub shape: String,
    /// The one sample rate that it takes; 0 is any.
    #[serde(default)]
    pub rate: u32,
    /// The one number of channels that it takes; 0 is any.
    #[serde(default)]
    pub channels: u32,
    /// Words of [`PORT_FLAGS`].
    #[serde(default)]
    pub flags: Vec<String>,
    /// What it carries.
    #[serde(default)]
    pub doc: String,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// Its number.
    pub id: u32,
    /// Its name in graph files.
    pub name: String,
    /// A word of [`TYPES`].
    #[serde(rename = "type")]
    pub kind: String,
    /// The least number.
    #[serde(default)]
    pub min: f64,
    /// The greatest number.
    #[serde(default)]
    pub max: f64,
    /// By how much a control should step.
    #[serde(default)]
    pub step: f64,
    /// What it is when the graph does not say; left out where it must be given.
    #[serde(default)]
    pub default: Option<Given>,
    /// Its unit.
    #[serde(default)]
    pub unit: String,
    /// The words of a choice.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Words of [`PARAM_FLAGS`].
    #[serde(default)]
    pub flags: Vec<String>,
    /// What it does.
    #[serde(default)]
    pub doc: String,
}

/// The value of a parameter as a manifest writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Given {
    /// A truth value.
    Bool(bool),
    /// A number, whole or not.
    Number(f64),
    /// Text, a path, or the word of a choice.
    Text(String),
}

fn any() -> String {
    "any".into()
}

/// The words for what the interface says in numbers.
pub type Words = &'static [(&'static str, u32)];

/// What ports carry.
pub const MEDIA: Words = &[
    ("video", abi::SIDETONE_MEDIA_VIDEO),
    ("audio", abi::SIDETONE_MEDIA_AUDIO),
    ("packet", abi::SIDETONE_MEDIA_PACKET),
    ("data", abi::SIDETONE_MEDIA_DATA),
];
/// In which format.
pub const FORMATS: Words = &[
    ("any", abi::SIDETONE_FORMAT_ANY),
    ("i420", abi::SIDETONE_FORMAT_I420),
    ("f32", abi::SIDETONE_FORMAT_F32),
    ("opus", abi::SIDETONE_FORMAT_OPUS),
    ("av1", abi::SIDETONE_FORMAT_AV1),
];
/// What is true of ports.
pub const PORT_FLAGS: Words =
    &[("optional", abi::SIDETONE_PORT_OPTIONAL), ("own_format", abi::SIDETONE_PORT_OWN_FORMAT)];
/// What parameters are.
pub const TYPES: Words = &[
    ("bool", abi::SIDETONE_PARAM_BOOL),
    ("int", abi::SIDETONE_PARAM_INT),
    ("float", abi::SIDETONE_PARAM_FLOAT),
    ("choice", abi::SIDETONE_PARAM_CHOICE),
    ("text", abi::SIDETONE_PARAM_TEXT),
    ("path", abi::SIDETONE_PARAM_PATH),
];
/// What is true of parameters.
pub const PARAM_FLAGS: Words =
    &[("live", abi::SIDETONE_PARAM_LIVE), ("required", abi::SIDETONE_PARAM_REQUIRED)];
/// What is true of kinds.
pub const KIND_FLAGS: Words = &[
    ("in_place", abi::SIDETONE_KIND_IN_PLACE),
    ("real_time", abi::SIDETONE_KIND_REAL_TIME),
    ("deterministic", abi::SIDETONE_KIND_DETERMINISTIC),
    ("identity_at_zero", abi::SIDETONE_KIND_IDENTITY_AT_ZERO),
    ("isolate", abi::SIDETONE_KIND_ISOLATE),
];

/// First words that are the framework's own.
const TAKEN: &[&str] =
    &["audio", "codec", "device", "effect", "file", "host", "net", "room", "rtp", "sidetone", "test"];
/// Names that graph files use for something else on every node.
const NOT_PARAMS: &[&str] = &["deadline_ms", "effect", "isolate", "kind", "lane", "on_fault"];

/// What is wrong with a manifest, or with the table that it is compared with.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no TOML, or lacks what it must have.
    #[error("{}: {why}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong and where.
        why: String,
    },
    /// It says something that cannot be.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
}

impl Manifest {
    /// Reads and checks a manifest file. \[control\]
    ///
    /// # Errors
    /// What is wrong with it, all at once.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let read = |source| ManifestError::Read { path: path.to_owned(), source };
        let about = std::fs::metadata(path).map_err(read)?;
        let length = about.len();
        if !about.is_file() {
            let why = "it is no file".into();
            return Err(ManifestError::Syntax { path: path.to_owned(), why });
        }
        if length > LONGEST {
            let why = format!("it has {length} bytes, and no manifest needs more than {LONGEST}");
            return Err(ManifestError::Syntax { path: path.to_owned(), why });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(&text).map_err(|why| match why {
            ManifestError::Syntax { why, .. } => ManifestError::Syntax { path: path.to_owned(), why },
            ManifestError::Wrong(list) => ManifestError::Wrong(
                list.into_iter().map(|why| format!("{}: {why}", path.display())).collect(),
            ),
            other => other,
        })
    }

    /// Reads and checks the text of a manifest. \[any\]
    ///
    /// # Errors
    /// What is wrong with it, all at once.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)
            .map_err(|why| ManifestError::Syntax { path: "manifest".into(), why: why.to_string() })?;
        let wrong = manifest.mistakes();
        if wrong.is_empty() { Ok(manifest) } else { Err(ManifestError::Wrong(wrong)) }
    }

    /// All that cannot be, in sentences. \[any\]
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.sidetone_plugin != FORMAT {
            found.push(format!("sidetone_plugin is {}, and this host reads {FORMAT}", self.sidetone_plugin));
        }
        if !is_word(&self.id) || TAKEN.contains(&self.id.as_str()) {
            found.push(format!(
                "id \"{}\" must be one word in snake_case, and none of {}",
                self.id,
                TAKEN.join(", ")
            ));
        }
        if let Some(why) = major(&self.abi).err() {
            found.push(why);
        }
        if let Some(library) = &self.library
            && (library.is_empty() || library.contains(['/', '\\', '\0']))
        {
            found.push(format!("library \"{library}\" must be the name of a file beside the manifest"));
        }
        if self.kinds.is_empty() || self.kinds.len() > MANY {
            found.push(format!("it has {} kinds, and must have 1 to {MANY}", self.kinds.len()));
        }
        let mut seen = HashSet::new();
        for kind in self.kinds.iter().take(MANY) {
            if !seen.insert(&kind.kind) {
                found.push(format!("there are two kinds {}", kind.kind));
            }
            let mut wrong = |why: String| found.push(format!("kind {}: {why}", kind.kind));
            match kind.kind.split_once('.') {
                Some((first, second)) if first == self.id && is_word(second) => {}
                _ => wrong(format!("its name must be \"{}.\" and a word in snake_case", self.id)),
            }
            kind.check(&mut wrong);
        }
        found
    }

    /// Where this, a file, differs from what the library's own table says, in
    /// sentences. What only people read may differ. \[any\]
    #[must_use]
    pub fn differences(&self, table: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, file: &str, library: &str| {
            if file != library {
                found.push(format!("{what} is {file} in the manifest and {library} in the library"));
            }
        };
        compare("id", &self.id, &table.id);
        compare("version", &self.version, &table.version);
        compare("abi", &self.abi, &table.abi);
        let names = |of: &Self| of.kinds.iter().map(|kind| kind.kind.clone()).collect::<Vec<_>>().join(", ");
        compare("the list of kinds", &names(self), &names(table));
        for (file, library) in self.kinds.iter().zip(&table.kinds).filter(|(a, b)| a.kind == b.kind) {
            let mut compare =
                |what: &str, a: String, b: String| compare(&format!("{}: {what}", file.kind), &a, &b);
            compare("latency_ns", file.latency_ns.to_string(), library.latency_ns.to_string());
            compare("flags", sorted(&file.flags), sorted(&library.flags));
            for (what, a, b) in
                [("inputs", &file.inputs, &library.inputs), ("outputs", &file.outputs, &library.outputs)]
            {
                compare(what, list(a.iter().map(Port::plain)), list(b.iter().map(Port::plain)));
            }
            let params = |kind: &Kind| list(kind.params.iter().map(Param::plain));
            compare("params", params(file), params(library));
        }
        found
    }

    /// The text of a manifest file that says this. \[any\]
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "sidetone_plugin = {}\nid = {}\nversion = {}\nabi = {}\n",
            self.sidetone_plugin,
            quoted(&self.id),
            quoted(&self.version),
            quoted(&self.abi)
        );
        let library = self.library.as_deref().unwrap_or_default();
        for (name, value) in
            [("vendor", self.vendor.as_str()), ("license", &self.license), ("library", library)]
        {
            if !value.is_empty() {
                let _ = writeln!(text, "{name} = {}", quoted(value));
            }
        }
        for kind in &self.kinds {
            let _ = write!(
                text,
                "\n[[kind]]\nkind = {}\nsummary = {}\n",
                quoted(&kind.kind),
                quoted(&kind.summary)
            );
            if !kind.doc.is_empty() {
                let _ = writeln!(text, "doc = {}", quoted(&kind.doc));
            }
            if kind.latency_ns > 0 {
                let _ = writeln!(text, "latency_ns = {}", kind.latency_ns);
            }
            if !kind.flags.is_empty() {
                let _ = writeln!(text, "flags = {}", words(&kind.flags));
            }
            for (name, rows) in [
                ("inputs", kind.inputs.iter().map(Port::row).collect::<Vec<_>>()),
                ("outputs", kind.outputs.iter().map(Port::row).collect()),
                ("params", kind.params.iter().map(Param::row).collect()),
            ] {
                if !rows.is_empty() {
                    let _ = writeln!(text, "{name} = [\n  {},\n]", rows.join(",\n  "));
                }
            }
        }
        text
    }
}

impl Kind {
    /// Whether it has the flag `word`. \[any\]
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.flags.iter().any(|flag| flag == word)
    }

    fn check(&self, wrong: &mut dyn FnMut(String)) {
        known("flag", &self.flags, KIND_FLAGS, wrong);
        if self.inputs.is_empty() || self.inputs.len() > PORTS || self.outputs.len() > PORTS {
            wrong(format!("it must have 1 to {PORTS} inputs and at most {PORTS} outputs"));
        }
        if self.params.len() > MANY {
            wrong(format!("it has {} parameters, and may have {MANY}", self.params.len()));
        }
        if self.latency_ns > 10_000_000_000 {
            wrong(format!("latency_ns is {}, more than ten seconds", self.latency_ns));
        }
        for (way, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            unique(way, ports.iter().map(|port| port.name.as_str()), wrong);
            for (index, port) in ports.iter().enumerate() {
                let mut wrong = |why: String| wrong(format!("{way} {}: {why}", port.name));
                port.check(&mut wrong);
                let optional = port.has("optional");
                if optional && (way == "output" || index == 0) {
                    wrong("only inputs after the first can be optional".into());
                }
                if way == "input" && port.has("own_format") {
                    wrong("only outputs have an own_format".into());
                }
            }
        }
        if let Some(first) = self.inputs.first() {
            for output in self.outputs.iter().filter(|output| !output.has("own_format")) {
                if (&output.media, &output.shape) != (&first.media, &first.shape) {
                    wrong(format!(
                        "output {}: it carries {}, and its frames are to be like those of {}, {}; give it the flag \
                         own_format and make its frames with frame_new",
                        output.name, output.media, first.name, first.media
                    ));
                }
            }
        }
        if self.has("in_place") && self.outputs.first().is_none_or(|output| output.has("own_format")) {
            wrong("in_place needs a first output without own_format".into());
        }
        if self.has("identity_at_zero") && self.outputs.is_empty() {
            wrong("identity_at_zero needs an output".into());
        }
        unique("parameter", self.params.iter().map(|param| param.name.as_str()), wrong);
        let mut ids = HashSet::new();
        for param in self.params.iter().take(MANY) {
            let mut wrong = |why: String| wrong(format!("parameter {}: {why}", param.name));
            if !ids.insert(param.id) {
                wrong(format!("its id {} is another's, too", param.id));
            }
            param.check(&mut wrong);
        }
    }
}

impl Port {
    /// Whether it has the flag `word`. \[any\]
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.flags.iter().any(|flag| flag == word)
    }

    fn check(&self, wrong: &mut dyn FnMut(String)) {
        if !is_word(&self.name) {
            wrong("its name must be a word in snake_case".into());
        }
        known("flag", &self.flags, PORT_FLAGS, wrong);
        known("media", std::slice::from_ref(&self.media), MEDIA, wrong);
        known("format", std::slice::from_ref(&self.format), FORMATS, wrong);
        let formats: &[&str] = match self.media.as_str() {
            "video" => &["any", "i420"],
            "audio" => &["any", "f32"],
            "packet" => &["any", "opus", "av1"],
            _ => &["any"],
        };
        if !formats.contains(&self.format.as_str()) {
            wrong(format!("{} cannot be {}; it can be {}", self.media, self.format, formats.join(", ")));
        }
        if (self.media == "data") == self.shape.is_empty() {
            wrong("data need a shape, such as \"sidetone.mask/1\", and nothing else has one".into());
        }
        if self.media != "audio" && (self.rate, self.channels) != (0, 0) {
            wrong("only audio has a rate and channels".into());
        }
        if self.rate > 768_000 || self.channels > 8 {
            wrong("a rate is at most 768000, and channels are at most 8".into());
        }
    }

    fn plain(&self) -> Self {
        Self { doc: String::new(), flags: sorted_list(&self.flags), ..self.clone() }
    }

    fn row(&self) -> String {
        let mut row = format!(
            "{{ name = {}, media = {}, format = {}",
            quoted(&self.name),
            quoted(&self.media),
            quoted(&self.format)
        );
        if !self.shape.is_empty() {
            let _ = write!(row, ", shape = {}", quoted(&self.shape));
        }
        for (name, number) in [("rate", self.rate), ("channels", self.channels)] {
            if number > 0 {
                let _ = write!(row, ", {name} = {number}");
            }
        }
        if !self.flags.is_empty() {
            let _ = write!(row, ", flags = {}", words(&self.flags));
        }
        let _ = write!(row, ", doc = {} }}", quoted(&self.doc));
        row
    }
}

impl Param {
    /// Whether it has the flag `word`. \[any\]
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.flags.iter().any(|flag| flag == word)
    }

    fn check(&self, wrong: &mut dyn FnMut(String)) {
        if !is_word(&self.name) || NOT_PARAMS.contains(&self.name.as_str()) {
            wrong(format!("its name must be a word in snake_case, and none of {}", NOT_PARAMS.join(", ")));
        }
        known("flag", &self.flags, PARAM_FLAGS, wrong);
        known("type", std::slice::from_ref(&self.kind), TYPES, wrong);
        if !(self.min.is_finite() && self.max.is_finite() && self.step.is_finite() && self.step >= 0.0) {
            wrong("min, max and step must be finite, and step at least 0".into());
        }
        let is_number = matches!(self.kind.as_str(), "int" | "float");
        if is_number && self.min > self.max {
            wrong(format!("its range {} to {} is empty", self.min, self.max));
        }
        let most = (1_u64 << 53) as f64;
        if self.kind == "int" && [self.min, self.max].iter().any(|end| end.fract() != 0.0 || end.abs() > most)
        {
            wrong("the ends of its range must be whole numbers within 2^53".into());
        }
        if (self.kind == "choice") == self.choices.is_empty() || self.choices.len() > CHOICES {
            wrong(format!("a choice has 1 to {CHOICES} choices, and nothing else has any"));
        }
        if self.has("live") && matches!(self.kind.as_str(), "text" | "path") {
            wrong("text and paths cannot be live".into());
        }
        let fits = match (&self.default, self.kind.as_str()) {
            (None, _) => self.has("required"),
            (Some(Given::Bool(_)), "bool") | (Some(Given::Text(_)), "text" | "path") => true,
            (Some(Given::Number(it)), "float") => (self.min..=self.max).contains(it),
            (Some(Given::Number(it)), "int") => (self.min..=self.max).contains(it) && it.fract() == 0.0,
            (Some(Given::Text(word)), "choice") => self.choices.contains(word),
            _ => false,
        };
        if !fits {
            wrong("its default is missing, of another type, or out of range".into());
        }
    }

    fn plain(&self) -> Self {
        // A parameter that must be given has no default that matters.
        let default = self.default.clone().filter(|_| !self.has("required"));
        Self { doc: String::new(), default, flags: sorted_list(&self.flags), ..self.clone() }
    }

    fn row(&self) -> String {
        let mut row =
            format!("{{ id = {}, name = {}, type = {}", self.id, quoted(&self.name), quoted(&self.kind));
        if matches!(self.kind.as_str(), "int" | "float") {
            let _ = write!(row, ", min = {:?}, max = {:?}", self.min, self.max);
        }
        if self.step > 0.0 {
            let _ = write!(row, ", step = {:?}", self.step);
        }
        match &self.default {
            Some(Given::Bool(value)) => drop(write!(row, ", default = {value}")),
            Some(Given::Number(value)) => drop(write!(row, ", default = {value:?}")),
            Some(Given::Text(value)) => drop(write!(row, ", default = {}", quoted(value))),
            None => {}
        }
        if !self.choices.is_empty() {
            let _ = write!(row, ", choices = {}", words(&self.choices));
        }
        if !self.unit.is_empty() {
            let _ = write!(row, ", unit = {}", quoted(&self.unit));
        }
        if !self.flags.is_empty() {
            let _ = write!(row, ", flags = {}", words(&self.flags));
        }
        let _ = write!(row, ", doc = {} }}", quoted(&self.doc));
        row
    }
}

/// The major version in "1.0", if this host works with it.
pub(crate) fn major(version: &str) -> Result<u32, String> {
    let number = version.split_once('.').and_then(|(major, minor)| {
        minor.parse::<u32>().ok()?;
        major.parse::<u32>().ok()
    });
    match number {
        Some(major) if major == abi::SIDETONE_ABI_MAJOR => Ok(major),
        Some(_) => Err(format!(
            "it is built for version {version} of the plugin interface, and this host has {}.{}; another build of the \
             plugin is needed",
            abi::SIDETONE_ABI_MAJOR,
            abi::SIDETONE_ABI_MINOR
        )),
        None => Err(format!("abi \"{version}\" must be two numbers, such as \"1.0\"")),
    }
}

/// Whether `text` is a word in snake_case, of at most 64 letters.
pub(crate) fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn known(what: &str, given: &[String], words: Words, wrong: &mut dyn FnMut(String)) {
    for word in given.iter().filter(|word| words.iter().all(|(known, _)| known != word)) {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        wrong(format!("there is no {what} \"{word}\"; there are {}", known.join(", ")));
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>, wrong: &mut dyn FnMut(String)) {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            wrong(format!("there are two of {what} {name}"));
        }
    }
}

fn sorted_list(flags: &[String]) -> Vec<String> {
    let mut flags = flags.to_vec();
    flags.sort();
    flags.dedup();
    flags
}

fn sorted(flags: &[String]) -> String {
    words(&sorted_list(flags))
}

fn words(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
}

fn list<T: Rows>(rows: impl Iterator<Item = T>) -> String {
    format!("[{}]", rows.map(|row| row.to_row()).collect::<Vec<_>>().join(", "))
}

/// What is written as one line of a manifest.
trait Rows {
    fn to_row(&self) -> String;
}

impl Rows for Port {
    fn to_row(&self) -> String {
        self.row()
    }
}

impl Rows for Param {
    fn to_row(&self) -> String {
        self.row()
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const SEPIA: &str = r#"
sidetone_plugin = 1
id = "acme"
version = "0.1.0"
abi = "1.0"

[[kind]]
kind = "acme.sepia"
summary = "Makes pictures brown."
flags = ["deterministic", "in_place"]
inputs = [{ name = "in", media = "video", format = "i420", doc = "The pictures." }]
outputs = [{ name = "out", media = "video", format = "i420", doc = "Brown." }]
params = [
  { id = 1, name = "amount", type = "float", min = 0.0, max = 1.0, step = 0.01, default = 0.5, flags = ["live"], doc = "How brown." },
  { id = 2, name = "mode", type = "choice", default = "warm", choices = ["warm", "cold"] },
]
"#;

    #[test]
    fn what_is_written_reads_as_the_same() {
        let manifest = Manifest::parse(SEPIA).unwrap();
        assert_eq!(Manifest::parse(&manifest.to_text()).unwrap(), manifest);
        assert!(manifest.differences(&manifest).is_empty());
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let text = SEPIA
            .replace("abi = \"1.0\"", "abi = \"2.0\"")
            .replace("\"in_place\"", "\"inplace\"")
            .replace("default = 0.5", "default = 5.5")
            .replace("acme.sepia", "other.sepia");
        let Err(ManifestError::Wrong(found)) = Manifest::parse(&text) else { panic!("nothing was found") };
        assert_eq!(found.len(), 4, "{found:#?}");
    }

    #[test]
    fn a_library_that_says_otherwise_is_told_from_its_file() {
        let file = Manifest::parse(SEPIA).unwrap();
        let mut library = file.clone();
        library.kinds[0].params[0].max = 2.0;
        library.kinds[0].summary = "May be said otherwise.".into();
        let found = file.differences(&library);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("acme.sepia: params is"), "{found:?}");
    }
}
