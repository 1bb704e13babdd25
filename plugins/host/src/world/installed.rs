//! `Installed`: what is known of an effect of another format without running it.
//!
//! frei0r, LADSPA and CLAP describe themselves by code, so describing one runs
//! foreign code. It is done once, in a child process ([`Cache`](crate::cache::Cache)),
//! and what comes of it is plain data: this.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manifest::{self, Given, Kind, PORTS, Port};

/// A format of effects that others defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Video effects, frei0r 1.2.
    Frei0r,
    /// Audio effects, LADSPA 1.1.
    Ladspa,
    /// Audio effects, CLAP 1.
    Clap,
}

impl Format {
    /// All of them. \[any\]
    pub const ALL: [Self; 3] = [Self::Frei0r, Self::Ladspa, Self::Clap];

    /// As graph files and the command write it. \[any\]
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Frei0r => "frei0r",
            Self::Ladspa => "ladspa",
            Self::Clap => "clap",
        }
    }

    /// The format that `word` stands for. \[any\]
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word() == word)
    }

    /// What the effects of the library at `path` say of themselves. Runs foreign
    /// code, which may crash or never return: call it in a child process. \[control\]
    ///
    /// # Errors
    /// Why the library is none of this format, in a sentence.
    pub fn describe(self, path: &Path) -> Result<Vec<Installed>, String> {
        match self {
            Self::Frei0r => {
                crate::world::frei0r::describe(path).map(|one| vec![one]).map_err(|why| why.to_string())
            }
            Self::Ladspa => crate::world::ladspa::describe(path).map_err(|why| why.to_string()),
            Self::Clap => crate::world::clap::describe(path).map_err(|why| why.to_string()),
        }
    }

    /// Every library on this format's search path, none of them opened; where two
    /// have one name the first on the path holds. \[control\]
    #[must_use]
    pub fn libraries(self) -> Vec<PathBuf> {
        match self {
            Self::Frei0r => crate::world::search::libraries(&crate::world::search::frei0r(), "so", 1),
            Self::Ladspa => crate::world::search::libraries(&crate::world::search::ladspa(), "so", 0),
            Self::Clap => crate::world::search::libraries(&crate::world::search::clap(), "clap", 4),
        }
    }
}

/// An effect of another format that is installed here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// Which format.
    pub format: Format,
    /// The library it is in.
    pub path: PathBuf,
    /// What the library calls it: nothing for frei0r, where a library is one
    /// effect; LADSPA's label; CLAP's identifier.
    pub key: String,
    /// Its name for people.
    pub name: String,
    /// Who made it.
    pub author: String,
    /// Its version; empty where the format has none.
    pub version: String,
    /// What it says of itself.
    pub doc: String,
    /// How many pictures, or channels of sound, it takes at a time.
    pub inputs: u32,
    /// How many it gives.
    pub outputs: u32,
    /// Samples by which it delays sound, with its defaults at 48000 Hz.
    pub latency_samples: u32,
    /// Its parameters, in its own order.
    pub params: Vec<Param>,
    /// Why no graph can use it, where it is of a sort that no node stands for.
    pub unusable: Option<String>,
}

impl Installed {
    /// The name of its library, without folder and ending. \[any\]
    #[must_use]
    pub fn stem(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A parameter of an installed effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Its name in graph files: snake_case, unit included, unique in its effect.
    pub name: String,
    /// Where it stands with its effect: frei0r's index, LADSPA's port, CLAP's id.
    pub index: u32,
    /// Which part of it: 1 is the second number of a frei0r position.
    pub part: u8,
    /// What values it takes.
    pub values: Values,
    /// Its unit as people write it; empty where the format has none.
    pub unit: String,
    /// What it says of itself.
    pub doc: String,
}

/// What values a parameter takes, and which it has when nobody says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// True or false.
    Bool {
        /// When nobody says.
        default: bool,
    },
    /// A whole number.
    Int {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
        /// When nobody says.
        default: i64,
    },
    /// A number.
    Float {
        /// Least, where there is one.
        min: Option<f64>,
        /// Greatest, where there is one.
        max: Option<f64>,
        /// When nobody says.
        default: f64,
    },
    /// Text.
    Text {
        /// When nobody says.
        default: String,
    },
    /// A colour, written `#rrggbb`.
    Color {
        /// When nobody says.
        default: String,
    },
}

impl Values {
    /// In a manifest's words: the type, least and greatest, and the default.
    fn words(&self) -> (&'static str, f64, f64, Given) {
        match self {
            Self::Bool { default } => ("bool", 0.0, 0.0, Given::Bool(*default)),
            Self::Int { min, max, default } => {
                ("int", *min as f64, *max as f64, Given::Number(*default as f64))
            }
            Self::Float { min, max, default } => {
                let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
                ("float", min, max, Given::Number(*default))
            }
            Self::Text { default } | Self::Color { default } => {
                ("text", 0.0, 0.0, Given::Text(default.clone()))
            }
        }
    }
}

impl Installed {
    /// It as a kind of node called `kind`, which the parameter `effect` with the value
    /// `name` chooses. The numbers of its parameters are their places. \[any\]
    #[must_use]
    pub fn kind(&self, kind: &str, name: &str) -> Kind {
        let is_video = self.format == Format::Frei0r;
        let port = |name: &str, channels: u32, own_format: bool, doc: &str| Port {
            name: name.into(),
            media: if is_video { "video" } else { "audio" }.into(),
            format: if is_video { "i420" } else { "f32" }.into(),
            shape: String::new(),
            rate: 0,
            channels: if is_video || (self.inputs, self.outputs) == (1, 1) { 0 } else { channels },
            flags: if own_format { vec!["own_format".into()] } else { Vec::new() },
            doc: doc.into(),
        };
        let inputs = match (is_video, self.inputs) {
            (true, 2..) => (1..=self.inputs)
                .map(|number| {
                    let doc = if number == 1 {
                        "The picture that sets the pace."
                    } else {
                        "The latest of these is mixed in."
                    };
                    port(&format!("in_{number}"), 0, false, doc)
                })
                .collect(),
            _ => vec![port("in", self.inputs, false, "What it works on.")],
        };
        let own_format = !is_video && self.inputs != self.outputs;
        let about = [self.doc.as_str(), &self.made_by()].join("\n");
        let mut params = vec![manifest::Param {
            id: u32::MAX,
            name: "effect".into(),
            kind: "text".into(),
            min: 0.0,
            max: 0.0,
            step: 0.0,
            default: Some(Given::Text(name.into())),
            unit: String::new(),
            choices: Vec::new(),
            flags: Vec::new(),
            doc: "Which effect.".into(),
        }];
        params.extend(self.params.iter().enumerate().map(|(place, param)| {
            let (word, min, max, default) = param.values.words();
            let is_live = !matches!(param.values, Values::Text { .. } | Values::Color { .. });
            manifest::Param {
                id: place as u32,
                name: param.name.clone(),
                kind: word.into(),
                min,
                max,
                step: 0.0,
                default: Some(default),
                unit: param.unit.clone(),
                choices: Vec::new(),
                flags: if is_live { vec!["live".into()] } else { Vec::new() },
                doc: if param.doc.is_empty() { param.name.replace('_', " ") } else { param.doc.clone() },
            }
        }));
        Kind {
            kind: kind.into(),
            summary: if self.name.is_empty() { name.into() } else { self.name.clone() },
            doc: about.trim().into(),
            latency_ns: u64::from(self.latency_samples) * 1_000_000_000 / 48_000,
            flags: Vec::new(),
            inputs,
            outputs: vec![port("out", self.outputs, own_format, "What becomes of it.")],
            params,
        }
    }

    /// Why no node can stand for an effect of sound with as many inputs and outputs. \[any\]
    #[must_use]
    pub(crate) fn unfit_for_sound(inputs: u32, outputs: u32) -> Option<String> {
        let most = PORTS as u32;
        match (inputs, outputs) {
            (0, _) => Some("it takes no sound, and a node of this kind does".into()),
            (_, 0) => Some("it gives no sound, and a node of this kind does".into()),
            _ if inputs > most || outputs > most => {
                Some(format!("it has {} channels, and frames have at most {most}", inputs.max(outputs)))
            }
            _ => None,
        }
    }

    fn made_by(&self) -> String {
        let version = if self.version.is_empty() { String::new() } else { format!(" {}", self.version) };
        let author = if self.author.is_empty() { String::new() } else { format!(", by {}", self.author) };
        format!("{}{version}{author} ({}).", self.name, self.format.word())
    }
}

/// The value of a parameter as its effect takes it. \[real-time\]
pub(crate) fn setting(value: &Given) -> Setting<'_> {
    match value {
        Given::Bool(value) => Setting::Number(f64::from(u8::from(*value))),
        Given::Number(number) => Setting::Number(*number),
        Given::Text(text) => Setting::Text(text),
    }
}

/// The value of a parameter of an installed effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting<'a> {
    /// A number; truth is 1, untruth 0.
    Number(f64),
    /// Text or a colour.
    Text(&'a str),
}
