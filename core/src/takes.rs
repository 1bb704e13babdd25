//! `Takes`: what values a graph's own parameter takes, and how values are read
//! from text that comes from outside the graph file.

use std::fmt;

use crate::item::Item;
use crate::media_type::Size;
use crate::param::{ParamKind, Value};

/// What values a parameter takes; as `ParamKind`, but the choices may come from
/// a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Takes {
    Bool,
    Int { min: i64, max: i64 },
    Float { min: f64, max: f64 },
    Text,
    Path,
    Choice(Vec<String>),
    Size,
}

impl From<ParamKind> for Takes {
    fn from(kind: ParamKind) -> Self {
        match kind {
            ParamKind::Bool => Self::Bool,
            ParamKind::Int { min, max } => Self::Int { min, max },
            ParamKind::Float { min, max } => Self::Float { min, max },
            ParamKind::Text => Self::Text,
            ParamKind::Path => Self::Path,
            ParamKind::Choice(words) => Self::Choice(words.iter().map(|&word| word.into()).collect()),
            ParamKind::Size => Self::Size,
        }
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => ParamKind::Bool.fmt(f),
            Self::Int { min: i64::MIN, max: i64::MAX } => f.write_str("a whole number"),
            Self::Int { min, max: i64::MAX } => write!(f, "a whole number of at least {min}"),
            Self::Int { min: i64::MIN, max } => write!(f, "a whole number of at most {max}"),
            Self::Int { min, max } => ParamKind::Int { min: *min, max: *max }.fmt(f),
            Self::Float { min, max } if *min == f64::MIN && *max == f64::MAX => f.write_str("a number"),
            Self::Float { min, max } if *max == f64::MAX => write!(f, "a number of at least {min}"),
            Self::Float { min, max } if *min == f64::MIN => write!(f, "a number of at most {max}"),
            Self::Float { min, max } => ParamKind::Float { min: *min, max: *max }.fmt(f),
            Self::Text => ParamKind::Text.fmt(f),
            Self::Path => ParamKind::Path.fmt(f),
            Self::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                write!(f, "one of {}", words.join(", "))
            }
            Self::Size => ParamKind::Size.fmt(f),
        }
    }
}

impl Takes {
    /// The word for it in graph files.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int { .. } => "int",
            Self::Float { .. } => "float",
            Self::Text => "text",
            Self::Path => "path",
            Self::Choice(_) => "choice",
            Self::Size => "size",
        }
    }

    /// Those words.
    pub(crate) const WORDS: [&'static str; 7] = ["text", "path", "int", "float", "bool", "choice", "size"];

    /// `value` as this takes it, or what is wrong with it, as a phrase after
    /// the parameter's name.
    pub(crate) fn accept(&self, value: &Value) -> Result<Value, String> {
        let fits = match (self, value) {
            (Self::Bool, Value::Bool(_)) | (Self::Text | Self::Path, Value::Text(_)) => Some(value.clone()),
            (Self::Int { min, max }, Value::Int(n)) => (min..=max).contains(&n).then(|| value.clone()),
            (Self::Float { min, max }, Value::Int(_) | Value::Float(_)) => {
                let number = value.as_float();
                (*min..=*max).contains(&number).then_some(Value::Float(number))
            }
            (Self::Choice(words), Value::Text(text)) => {
                words.iter().any(|word| **word == **text).then(|| value.clone())
            }
            (Self::Size, Value::Size(size)) => {
                let side = 1..=Size::MAX_SIDE;
                (side.contains(&size.width) && side.contains(&size.height)).then(|| value.clone())
            }
            _ => None,
        };
        fits.ok_or_else(|| self.refuse(value))
    }

    fn refuse(&self, what: impl fmt::Display) -> String {
        format!("must be {self}, not {what}")
    }

    /// `text`, given on the command line or by the environment, as this takes
    /// it, or what is wrong with it.
    pub(crate) fn read(&self, text: &str) -> Result<Value, String> {
        let word = text.trim();
        let value = match self {
            Self::Bool => word.parse().ok().map(Value::Bool),
            Self::Int { .. } => word.parse().ok().map(Value::Int),
            // As it was written, in case it is refused: 99 is told as 99.
            Self::Float { .. } => {
                word.parse().map(Value::Int).or_else(|_| word.parse().map(Value::Float)).ok()
            }
            Self::Text | Self::Path | Self::Choice(_) => Some(Value::Text(text.into())),
            Self::Size => {
                let sides = word.trim_matches(['[', ']']).split_once(['x', ',']);
                let side = |text: &str| text.trim().parse().ok();
                sides.and_then(|(w, h)| Some(Value::Size(Size::new(side(w)?, side(h)?))))
            }
        };
        value.map_or_else(|| Err(self.refuse(Value::from(text))), |value| self.accept(&value))
    }
}

/// A value of a graph file as a parameter may hold it, or what it is instead.
pub(crate) fn value(item: &Item) -> Result<Value, &'static str> {
    Ok(match item {
        Item::Bool(value) => Value::Bool(*value),
        Item::Int(value) => Value::Int(*value),
        Item::Float(value) => Value::Float(*value),
        Item::Text(text) => Value::Text(text.text.as_str().into()),
        Item::Array(items) => match items.as_slice() {
            [w, h] => match (&w.it, &h.it) {
                (Item::Int(w), Item::Int(h)) => {
                    let side = |n: i64| u32::try_from(n).map_err(|_| "a list of numbers no picture has");
                    Value::Size(Size::new(side(*w)?, side(*h)?))
                }
                _ => return Err("a list of other things"),
            },
            _ => return Err("a list"),
        },
        Item::Table(_) | Item::Other(_) => return Err(item.what()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_becomes_what_is_wanted_or_says_why_not() {
        let int = Takes::Int { min: 1, max: 60 };
        assert_eq!(int.read("30"), Ok(Value::Int(30)));
        assert_eq!(int.read("90").unwrap_err(), "must be a whole number from 1 to 60, not 90");
        assert_eq!(int.read("abc").unwrap_err(), "must be a whole number from 1 to 60, not \"abc\"");
        assert_eq!(Takes::Size.read("640x360"), Ok(Value::Size(Size::new(640, 360))));
        assert_eq!(Takes::Size.read("[640, 360]"), Ok(Value::Size(Size::new(640, 360))));
        assert!(Takes::Size.read("0x360").is_err());
        assert!(Takes::Float { min: f64::MIN, max: f64::MAX }.read("nan").is_err());
        assert!(Takes::Choice(vec!["a".into()]).read("b").unwrap_err().contains("\"a\""));
    }
}
