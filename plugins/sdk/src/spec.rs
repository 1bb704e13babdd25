//! What a kind says of itself. `effect!` writes it; the compiler checks it.

use std::path::PathBuf;

use sidetone_plugin_abi as abi;

/// A kind of node, as `effect!` has described it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name in graph files: `acme.sepia`.
    pub kind: &'static str,
    /// All that a user should know, as Markdown; its first paragraph is the summary.
    pub doc: &'static str,
    /// `SIDETONE_KIND_*`, added up.
    pub flags: u32,
    /// How much later frames go out than they come in, in nanoseconds.
    pub latency_ns: u64,
    /// The inputs.
    pub inputs: &'static [Port],
    /// The outputs.
    pub outputs: &'static [Port],
    /// The parameters.
    pub params: &'static [Param],
    /// Whether it has state that can be saved.
    pub saves: bool,
}

/// A port, as `effect!` has described it.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Its name in graph files.
    pub name: &'static str,
    /// What it carries.
    pub doc: &'static str,
    /// `SIDETONE_MEDIA_*`.
    pub media: u32,
    /// `SIDETONE_FORMAT_*`.
    pub format: u32,
    /// `SIDETONE_PORT_*`, added up.
    pub flags: u32,
    /// The shape of data; else empty.
    pub shape: &'static str,
    /// The one sample rate that it takes; 0 for any.
    pub rate: u32,
    /// The one number of channels that it takes; 0 for any.
    pub channels: u32,
}

/// A parameter, as `effect!` has described it.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its number: the kind's own, the same in all versions of it.
    pub id: u32,
    /// Its name in graph files.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// `SIDETONE_PARAM_BOOL` and so on.
    pub param_type: u32,
    /// `SIDETONE_PARAM_LIVE`, `SIDETONE_PARAM_REQUIRED`, added up.
    pub flags: u32,
    /// Its unit as people write it.
    pub unit: &'static str,
    /// The least number.
    pub min: f64,
    /// The greatest number.
    pub max: f64,
    /// By how much a control should step; 0 where that does not matter.
    pub step: f64,
    /// What it is when the graph does not say.
    pub default_number: f64,
    /// The same, of text or a path.
    pub default_text: &'static str,
    /// The words of a choice.
    pub choices: &'static [&'static str],
}

/// The value of a parameter, as the host has it.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// Of numbers, booleans and choices.
    pub number: f64,
    /// Of text and paths.
    pub text: &'a str,
}

/// What the fields of an effect that are parameters may be: `bool`, `i64`, `i32`,
/// `u32`, `usize`, `f32`, `f64`, `String`, `PathBuf`, and what
/// [`choice!`](crate::choice!) makes.
pub trait ParamType: Sized {
    /// `SIDETONE_PARAM_BOOL` and so on.
    const TYPE: u32;
    /// The words of a choice.
    const CHOICES: &'static [&'static str] = &[];
    /// The field's value. \[real-time\], but for `String` and `PathBuf`
    fn from_value(value: Value<'_>) -> Self;
}

macro_rules! numbers {
    ($($type:ty: $code:ident, $convert:expr;)*) => {
        $(impl ParamType for $type {
            const TYPE: u32 = abi::$code;
            fn from_value(value: Value<'_>) -> Self {
                let convert: fn(f64) -> $type = $convert;
                convert(value.number)
            }
        })*
    };
}

numbers! {
    bool: SIDETONE_PARAM_BOOL, |number| number != 0.0;
    i64: SIDETONE_PARAM_INT, |number| number.round() as i64;
    i32: SIDETONE_PARAM_INT, |number| number.round() as i32;
    u32: SIDETONE_PARAM_INT, |number| number.round() as u32;
    usize: SIDETONE_PARAM_INT, |number| number.round() as usize;
    f32: SIDETONE_PARAM_FLOAT, |number| number as f32;
    f64: SIDETONE_PARAM_FLOAT, |number| number;
}

impl ParamType for String {
    const TYPE: u32 = abi::SIDETONE_PARAM_TEXT;
    fn from_value(value: Value<'_>) -> Self {
        value.text.to_owned()
    }
}

impl ParamType for PathBuf {
    const TYPE: u32 = abi::SIDETONE_PARAM_PATH;
    fn from_value(value: Value<'_>) -> Self {
        value.text.into()
    }
}

impl Param {
    /// A parameter of a field's type.
    pub const fn of<T: ParamType>(id: u32, name: &'static str, doc: &'static str) -> Self {
        let max = match T::TYPE {
            abi::SIDETONE_PARAM_BOOL => 1.0,
            abi::SIDETONE_PARAM_CHOICE => (T::CHOICES.len() - 1) as f64,
            _ => 0.0,
        };
        Self {
            id,
            name: plain(name),
            doc: doc.trim_ascii(),
            param_type: T::TYPE,
            flags: 0,
            unit: "",
            min: 0.0,
            max,
            step: 0.0,
            default_number: 0.0,
            default_text: "",
            choices: T::CHOICES,
        }
    }

    /// From the least to the greatest number.
    pub const fn range(mut self, min: f64, max: f64) -> Self {
        (self.min, self.max) = (min, max);
        self
    }

    /// What it is when the graph does not say.
    pub const fn default(mut self, number: f64, text: &'static str) -> Self {
        (self.default_number, self.default_text) = (number, text);
        self
    }

    /// It may change while running.
    pub const fn live(mut self) -> Self {
        self.flags |= abi::SIDETONE_PARAM_LIVE;
        self
    }

    /// The graph must give it.
    pub const fn required(mut self) -> Self {
        self.flags |= abi::SIDETONE_PARAM_REQUIRED;
        self
    }

    /// Its unit as people write it.
    pub const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// By how much a control should step.
    pub const fn step(mut self, step: f64) -> Self {
        self.step = step;
        self
    }

    /// `number`, held within the range; none where it is no number.
    pub(crate) fn held(&self, number: f64) -> Option<f64> {
        (!number.is_nan()).then(|| number.clamp(self.min, self.max))
    }

    fn has_range(&self) -> bool {
        ![abi::SIDETONE_PARAM_TEXT, abi::SIDETONE_PARAM_PATH].contains(&self.param_type)
    }

    /// A value for a field: what was given, or the default.
    pub(crate) fn value<'a>(&'a self, given: Option<Value<'a>>) -> Value<'a> {
        let default = Value { number: self.default_number, text: self.default_text };
        match given {
            Some(value) if self.has_range() => {
                Value { number: self.held(value.number).unwrap_or(default.number), text: "" }
            }
            Some(value) => value,
            None => default,
        }
    }
}

impl Port {
    const fn new(
        name: &'static str,
        doc: &'static str,
        media: u32,
        format: u32,
        shape: &'static str,
    ) -> Self {
        Self {
            name: plain(name),
            doc: doc.trim_ascii(),
            media,
            format,
            flags: 0,
            shape,
            rate: 0,
            channels: 0,
        }
    }

    /// Raw pictures.
    pub const fn video(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, abi::SIDETONE_MEDIA_VIDEO, abi::SIDETONE_FORMAT_I420, "")
    }

    /// Raw sound.
    pub const fn audio(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, abi::SIDETONE_MEDIA_AUDIO, abi::SIDETONE_FORMAT_F32, "")
    }

    /// Opus packets.
    pub const fn opus(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, abi::SIDETONE_MEDIA_PACKET, abi::SIDETONE_FORMAT_OPUS, "")
    }

    /// AV1 packets.
    pub const fn av1(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, abi::SIDETONE_MEDIA_PACKET, abi::SIDETONE_FORMAT_AV1, "")
    }

    /// Packets of any codec.
    pub const fn packets(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, abi::SIDETONE_MEDIA_PACKET, abi::SIDETONE_FORMAT_ANY, "")
    }

    /// Data of a shape of one's own.
    pub const fn data(name: &'static str, doc: &'static str, shape: &'static str) -> Self {
        Self::new(name, doc, abi::SIDETONE_MEDIA_DATA, abi::SIDETONE_FORMAT_ANY, shape)
    }

    /// Data that says where faces are.
    pub const fn face_landmarks(name: &'static str, doc: &'static str) -> Self {
        Self::data(name, doc, abi::SIDETONE_SHAPE_FACE_LANDMARKS)
    }

    /// Data that says what is in front.
    pub const fn mask(name: &'static str, doc: &'static str) -> Self {
        Self::data(name, doc, abi::SIDETONE_SHAPE_MASK)
    }

    /// It may stay unlinked.
    pub const fn optional(mut self) -> Self {
        self.flags |= abi::SIDETONE_PORT_OPTIONAL;
        self
    }

    /// The effect makes its frames itself, by [`Call::make`](crate::Call::make).
    pub const fn own_format(mut self) -> Self {
        self.flags |= abi::SIDETONE_PORT_OWN_FORMAT;
        self
    }

    /// The one sample rate that it takes, in Hz.
    pub const fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// The one number of channels that it takes.
    pub const fn channels(mut self, channels: u32) -> Self {
        self.channels = channels;
        self
    }
}

impl Spec {
    /// A kind without ports, parameters or promises.
    pub const fn new(kind: &'static str, doc: &'static str) -> Self {
        Self {
            kind,
            doc: doc.trim_ascii(),
            flags: 0,
            latency_ns: 0,
            inputs: &[],
            outputs: &[],
            params: &[],
            saves: false,
        }
    }

    /// The first output is worked out in the first input's place.
    pub const fn in_place(mut self) -> Self {
        self.flags |= abi::SIDETONE_KIND_IN_PLACE;
        self
    }

    /// `process` neither allocates, locks, nor calls the system.
    pub const fn real_time(mut self) -> Self {
        self.flags |= abi::SIDETONE_KIND_REAL_TIME;
        self
    }

    /// The same input, parameters and seed give the same bytes.
    pub const fn deterministic(mut self) -> Self {
        self.flags |= abi::SIDETONE_KIND_DETERMINISTIC;
        self
    }

    /// With every number parameter at 0 the input goes out unchanged.
    pub const fn identity_at_zero(mut self) -> Self {
        self.flags |= abi::SIDETONE_KIND_IDENTITY_AT_ZERO;
        self
    }

    /// It must run in a process of its own.
    pub const fn isolate(mut self) -> Self {
        self.flags |= abi::SIDETONE_KIND_ISOLATE;
        self
    }

    /// How much later frames go out than they come in, in nanoseconds.
    pub const fn latency_ns(mut self, latency_ns: u64) -> Self {
        self.latency_ns = latency_ns;
        self
    }

    /// What the doc comment says first.
    pub(crate) fn summary(&self) -> String {
        let first = self.doc.split("\n\n").next().unwrap_or_default();
        first.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn param(&self, id: u32) -> Option<&'static Param> {
        self.params.iter().find(|param| param.id == id)
    }

    /// Panics, when the effect is compiled, if this cannot be what its author meant.
    pub const fn check(&self) {
        assert!(two_words(self.kind), "a kind is two words in snake_case with a dot: acme.sepia");
        assert!(!self.doc.is_empty(), "an effect needs a doc comment: its first sentence is the summary");
        assert!(!self.inputs.is_empty() && self.inputs.len() <= 8, "an effect has 1 to 8 inputs");
        assert!(self.outputs.len() <= 8, "an effect has at most 8 outputs");
        assert!(self.params.len() <= 256, "an effect has at most 256 parameters");
        check_ports(self.inputs);
        check_ports(self.outputs);
        if self.flags & abi::SIDETONE_KIND_IN_PLACE != 0 {
            let same = !self.outputs.is_empty()
                && self.outputs[0].media == self.inputs[0].media
                && self.outputs[0].flags & abi::SIDETONE_PORT_OWN_FORMAT == 0;
            assert!(same, "what works in place gives out first what it takes in first");
        }
        let mut at = 0;
        while at < self.params.len() {
            let param = &self.params[at];
            assert!(one_word(param.name), "a parameter's name is snake_case");
            let mut other = 0;
            while other < at {
                assert!(self.params[other].id != param.id, "two parameters have the same number");
                other += 1;
            }
            match param.param_type {
                abi::SIDETONE_PARAM_TEXT | abi::SIDETONE_PARAM_PATH => {
                    assert!(param.flags & abi::SIDETONE_PARAM_LIVE == 0, "text and paths cannot be live");
                }
                _ => {
                    assert!(
                        param.min < param.max || param.choices.len() == 1,
                        "a number needs range(0.0..=1.0)"
                    );
                    let within = param.default_number >= param.min && param.default_number <= param.max;
                    assert!(within, "a parameter's default lies outside its range");
                }
            }
            assert!(param.choices.len() <= 64, "a choice has at most 64 words");
            at += 1;
        }
    }
}

const fn check_ports(ports: &[Port]) {
    let mut at = 0;
    while at < ports.len() {
        assert!(one_word(ports[at].name), "a port's name is snake_case");
        at += 1;
    }
}

/// A name without the `r#` that lets a field be called `in`.
const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

const fn one_word(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let fine =
            bytes[at].is_ascii_lowercase() || at > 0 && (bytes[at].is_ascii_digit() || bytes[at] == b'_');
        if !fine {
            return false;
        }
        at += 1;
    }
    at > 0
}

const fn two_words(kind: &str) -> bool {
    let bytes = kind.as_bytes();
    let mut dot = 0;
    while dot < bytes.len() && bytes[dot] != b'.' {
        dot += 1;
    }
    if dot == bytes.len() {
        return false;
    }
    let (id, rest) = kind.split_at(dot);
    one_word(id) && one_word(rest.split_at(1).1)
}

/// Whether a kind's first word is its bundle's id.
#[doc(hidden)]
pub const fn belongs(kind: &str, id: &str) -> bool {
    let (kind, id) = (kind.as_bytes(), id.as_bytes());
    let mut at = 0;
    while at < id.len() && at < kind.len() {
        if kind[at] != id[at] {
            return false;
        }
        at += 1;
    }
    at == id.len() && at < kind.len() && kind[at] == b'.'
}
