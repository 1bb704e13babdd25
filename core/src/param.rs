//! Parameters: what a node declares, and the checked values it is given.

use std::fmt;
use std::sync::Arc;

use crate::media_type::Size;

/// The parameter of every kind that can do less than usual when time is short.
/// The remedy `degrade` of a budget raises it; a graph may set it, too. What
/// each level means stands in the kind's data sheet.
pub const DEGRADE: ParamSpec =
    ParamSpec::int("degrade", 0, 0, 3, "How much less it does than usual; 0 is all.").live();

/// What values a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamKind {
    /// `true` or `false`.
    Bool,
    /// A whole number from `min` to `max`, both included.
    Int {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// A number from `min` to `max`, both included.
    Float {
        /// Least.
        min: f64,
        /// Greatest.
        max: f64,
    },
    /// Any text.
    Text,
    /// The path of a file, relative to the folder the command runs in.
    Path,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// `[width, height]` in pixels.
    Size,
}

impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Int { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Float { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Text => f.write_str("text"),
            Self::Path => f.write_str("the path of a file"),
            Self::Choice(words) => {
                f.write_str("one of ")?;
                for (index, word) in words.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}\"{word}\"")?;
                }
                Ok(())
            }
            Self::Size => f.write_str("a size such as [640, 360]"),
        }
    }
}

/// What a parameter is when the graph does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamDefault {
    /// The graph must say.
    Required,
    /// Nothing; the node's documentation says what that means.
    Unset,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text, a path or a choice.
    Text(&'static str),
    /// A size.
    Size(Size),
}

impl ParamDefault {
    /// The value it stands for. \[any\]
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        Some(match *self {
            Self::Required | Self::Unset => return None,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::Text(value) => Value::Text(value.into()),
            Self::Size(value) => Value::Size(value),
        })
    }
}

/// A parameter that a kind of node declares.
#[derive(Clone, Copy, Debug)]
pub struct ParamSpec {
    /// Its name in graph files, snake_case, unit included: `bitrate_kbps`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: ParamKind,
    /// What it is when the graph does not say.
    pub default: ParamDefault,
    /// Its unit as people write it: "dB", "ms"; empty where it has none.
    pub unit: &'static str,
    /// One sentence that says what it does.
    pub doc: &'static str,
    /// Whether it may change while running, through `Control::Set`.
    pub live: bool,
    /// For a path of a node that hands frames on: whether the node writes the
    /// file. That of a node without outputs is written in any case.
    pub writes: bool,
    /// At which value a live number changes nothing, if there is one: a node that
    /// is put into a running graph begins there, and one that is taken out is
    /// turned there first, each over [`RAMP`](crate::context::RAMP).
    pub neutral: Option<f64>,
}

impl ParamSpec {
    const fn new(name: &'static str, kind: ParamKind, default: ParamDefault, doc: &'static str) -> Self {
        Self { name, kind, default, unit: "", doc, live: false, writes: false, neutral: None }
    }

    /// A truth value. \[any\]
    #[must_use]
    pub const fn bool(name: &'static str, default: bool, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Bool, ParamDefault::Bool(default), doc)
    }

    /// A whole number from `min` to `max`. \[any\]
    #[must_use]
    pub const fn int(name: &'static str, default: i64, min: i64, max: i64, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Int { min, max }, ParamDefault::Int(default), doc)
    }

    /// A number from `min` to `max`. \[any\]
    #[must_use]
    pub const fn float(name: &'static str, default: f64, min: f64, max: f64, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Float { min, max }, ParamDefault::Float(default), doc)
    }

    /// Text. \[any\]
    #[must_use]
    pub const fn text(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Text, ParamDefault::Text(default), doc)
    }

    /// The path of a file, which the graph must give. \[any\]
    #[must_use]
    pub const fn path(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Path, ParamDefault::Required, doc)
    }

    /// One of `words`. \[any\]
    #[must_use]
    pub const fn choice(
        name: &'static str,
        default: &'static str,
        words: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self::new(name, ParamKind::Choice(words), ParamDefault::Text(default), doc)
    }

    /// A picture size. \[any\]
    #[must_use]
    pub const fn size(name: &'static str, default: Size, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Size, ParamDefault::Size(default), doc)
    }

    /// The same, in `unit`. \[any\]
    #[must_use]
    pub const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// The same, changeable while running. \[any\]
    #[must_use]
    pub const fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// The same, of a file that the node writes, though it hands frames on. \[any\]
    #[must_use]
    pub const fn writes(mut self) -> Self {
        self.writes = true;
        self
    }

    /// The same, with the value at which it changes nothing. \[any\]
    #[must_use]
    pub const fn neutral(mut self, value: f64) -> Self {
        self.neutral = Some(value);
        self
    }

    /// The same, but the graph must give it. \[any\]
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.default = ParamDefault::Required;
        self
    }

    /// The same, but with no default: left unset unless the graph gives it. \[any\]
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.default = ParamDefault::Unset;
        self
    }

    /// `value` as this parameter takes it (a whole number where a number is
    /// wanted is widened), or what is wrong with it. \[control\]
    ///
    /// # Errors
    /// A phrase that completes "NAME …": "must be a number from 0 to 1, not 2".
    pub fn accept(&self, value: &Value) -> Result<Value, String> {
        let fits = match (self.kind, value) {
            (ParamKind::Bool, Value::Bool(_)) | (ParamKind::Text | ParamKind::Path, Value::Text(_)) => {
                Some(value.clone())
            }
            (ParamKind::Int { min, max }, Value::Int(n)) => (min..=max).contains(n).then_some(Value::Int(*n)),
            (ParamKind::Float { min, max }, Value::Float(_) | Value::Int(_)) => {
                let number = value.as_float();
                (min..=max).contains(&number).then_some(Value::Float(number))
            }
            (ParamKind::Choice(words), Value::Text(text)) => {
                words.contains(&text.as_ref()).then(|| value.clone())
            }
            (ParamKind::Size, Value::Size(size)) => {
                let side = 1..=Size::MAX_SIDE;
                (side.contains(&size.width) && side.contains(&size.height)).then_some(Value::Size(*size))
            }
            _ => None,
        };
        fits.ok_or_else(|| format!("must be {}, not {value}", self.kind))
    }
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// A size.
    Size(Size),
}

impl Value {
    /// The number it is, or 0. \[any\]
    #[must_use]
    pub fn as_float(&self) -> f64 {
        match self {
            #[allow(clippy::cast_precision_loss)] // graph files hold no number near 2^53
            Self::Int(n) => *n as f64,
            Self::Float(x) => *x,
            _ => 0.0,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            // With its point, so that 40.0 is told from 40.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "\"{value}\""),
            Self::Size(value) => write!(f, "[{}, {}]", value.width, value.height),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}
impl From<Size> for Value {
    fn from(value: Size) -> Self {
        Self::Size(value)
    }
}

/// The checked parameters of one node.
///
/// # Panics
/// The typed getters panic when asked for a name the node's kind does not
/// declare, or by the wrong type: a mistake in the node, which its contract
/// test finds.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// Shared by copies, until one of them is set.
    values: Arc<[(&'static str, Value)]>,
}

impl Params {
    /// The defaults of `specs`, overridden by `given`. \[control\]
    ///
    /// # Errors
    /// Names the first parameter that is unknown, missing or does not fit.
    pub fn new(specs: &'static [ParamSpec], given: &[(&str, Value)]) -> Result<Self, String> {
        if let Some((name, _)) = given.iter().find(|(name, _)| specs.iter().all(|spec| spec.name != *name)) {
            return Err(format!("{name} is not a parameter here"));
        }
        let mut values = Vec::with_capacity(specs.len());
        for spec in specs {
            let value = match given.iter().find(|(name, _)| *name == spec.name) {
                Some((_, value)) => Some(spec.accept(value).map_err(|why| format!("{} {why}", spec.name))?),
                None if spec.default == ParamDefault::Required => {
                    return Err(format!("{} must be given", spec.name));
                }
                None => spec.default.value(),
            };
            values.extend(value.map(|value| (spec.name, value)));
        }
        Ok(Self { values: values.into() })
    }

    /// The value of `name`, if it is set. \[any\]
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Gives `name` another value; whoever calls has checked that it fits.
    pub(crate) fn set(&mut self, name: &'static str, value: Value) {
        match Arc::make_mut(&mut self.values).iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.values = self.values.iter().cloned().chain([(name, value)]).collect(),
        }
    }

    /// Every value that is set, by name. \[any\]
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }

    /// A truth value. \[any\]
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Bool(value)) => *value,
            other => undeclared(name, other),
        }
    }

    /// A whole number. \[any\]
    #[must_use]
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Value::Int(value)) => *value,
            other => undeclared(name, other),
        }
    }

    /// A number. \[any\]
    #[must_use]
    pub fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Value::Float(value)) => *value,
            other => undeclared(name, other),
        }
    }

    /// Text, a path or a choice. \[any\]
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Value::Text(value)) => value,
            other => undeclared(name, other),
        }
    }

    /// A size. \[any\]
    #[must_use]
    pub fn size(&self, name: &str) -> Size {
        match self.get(name) {
            Some(Value::Size(value)) => *value,
            other => undeclared(name, other),
        }
    }
}

fn undeclared(name: &str, found: Option<&Value>) -> ! {
    panic!("the node asks for a parameter `{name}` that its kind does not declare so: {found:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[ParamSpec] = &[
        ParamSpec::float("gain_db", 0.0, -60.0, 20.0, "Gain."),
        ParamSpec::choice("mode", "fast", &["fast", "good"], "Mode."),
        ParamSpec::path("path", "File.").optional(),
    ];

    #[test]
    fn defaults_hold_until_overridden() {
        let params = Params::new(SPECS, &[("gain_db", Value::Int(-6))]).unwrap();
        assert_eq!((params.float("gain_db"), params.text("mode")), (-6.0, "fast"));
        assert!(params.get("path").is_none());
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        let message = Params::new(SPECS, &[("gain_db", Value::Float(f64::NAN))]).unwrap_err();
        assert_eq!(message, "gain_db must be a number from -60 to 20, not NaN");
        assert!(Params::new(SPECS, &[("mode", "slow".into())]).unwrap_err().contains("\"fast\", \"good\""));
        assert!(Params::new(SPECS, &[("gian", Value::Int(1))]).unwrap_err().contains("gian"));
    }
}
