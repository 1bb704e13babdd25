//! `Scope`: what `${…}` means in one use of a graph file, and the values that
//! parameters get from it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use crate::diagnostic::{Diagnostic, Place};
use crate::expand::{Expander, Loaded};
use crate::item::{At, Item, Table, Text};
use crate::param::{ParamKind, ParamSpec, Value};
use crate::splice::{Piece, pieces};
use crate::suggest;
use crate::takes::{self, Takes};

/// One use of a graph file.
pub(crate) struct Scope {
    pub(crate) loaded: Rc<Loaded>,
    /// The folder that paths of parts start from.
    pub(crate) folder: PathBuf,
    /// What the names of its nodes begin with: "remote/", or nothing.
    pub(crate) prefix: String,
    /// The template that it is part of.
    pub(crate) template: Option<usize>,
    /// The parameters of the file.
    pub(crate) values: HashMap<String, Given>,
    /// Where those that are known are given.
    pub(crate) origins: HashMap<String, Place>,
    /// The files that led here, itself included.
    pub(crate) trail: Vec<PathBuf>,
}

/// What a parameter is given.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    Value(Value),
    /// Text from outside the graph file, to be read as what is wanted.
    Raw(String),
    /// Text with the member's name in it: the pieces around the name.
    Filled(Vec<String>),
    /// A problem was found, and told.
    Unknown,
}

impl Given {
    /// As text, in pieces around the member's name.
    fn into_pieces(self) -> Option<Vec<String>> {
        Some(match self {
            Self::Value(Value::Text(text)) => vec![text.to_string()],
            Self::Value(Value::Size(size)) => vec![size.to_string()],
            Self::Value(value) => vec![value.to_string()],
            Self::Raw(text) => vec![text],
            Self::Filled(pieces) => pieces,
            Self::Unknown => return None,
        })
    }

    /// The value of a parameter that takes `takes`, with the text around the
    /// member's name if it holds that; or what is wrong with it.
    pub(crate) fn fit(self, takes: &Takes) -> Result<(Value, Option<Vec<String>>), String> {
        match self {
            Self::Value(value) => Ok((takes.accept(&value)?, None)),
            Self::Raw(text) => Ok((takes.read(&text)?, None)),
            Self::Filled(pieces) if matches!(takes, Takes::Text | Takes::Path) => {
                Ok((Value::Text(pieces.join("participant").into()), Some(pieces)))
            }
            Self::Filled(_) => Err(format!("must be {takes}, not a participant's name")),
            Self::Unknown => Err(String::new()),
        }
    }
}

impl Expander<'_> {
    /// What `item` stands for in `scope`.
    pub(crate) fn given(&mut self, scope: &Scope, item: &At<Item>) -> Result<Given, &'static str> {
        match &item.it {
            Item::Text(text) => Ok(self.text(scope, text)),
            Item::Array(items) => {
                // "[w, h]", of which each may be "${…}".
                let mut plain = Vec::new();
                for item in items {
                    plain.push(match self.given(scope, item)? {
                        Given::Value(Value::Int(n)) => At::new(item.place, Item::Int(n)),
                        Given::Raw(text) => match text.trim().parse() {
                            Ok(n) => At::new(item.place, Item::Int(n)),
                            Err(_) => return Err("a list of other things"),
                        },
                        Given::Unknown => return Ok(Given::Unknown),
                        _ => return Err("a list of other things"),
                    });
                }
                takes::value(&Item::Array(plain)).map(Given::Value)
            }
            other => takes::value(other).map(Given::Value),
        }
    }

    /// Where the value of `item` comes from, if a parameter of the file is in it.
    pub(crate) fn origin(&self, scope: &Scope, item: &At<Item>) -> Option<Place> {
        match &item.it {
            Item::Text(text) => pieces(&text.text).ok()?.into_iter().find_map(|piece| match piece {
                Piece::Param(name, _) => scope.origins.get(name).copied(),
                _ => None,
            }),
            Item::Array(items) => items.iter().take(2).find_map(|item| self.origin(scope, item)),
            _ => None,
        }
    }

    /// What `text` stands for in `scope`.
    pub(crate) fn text(&mut self, scope: &Scope, text: &Text) -> Given {
        let pieces = match pieces(&text.text) {
            Ok(pieces) => pieces,
            Err((range, message, help)) => {
                let place = text.place(range.start, range.end);
                self.found.push(Diagnostic::error(message).at(place, "").help(help));
                return Given::Unknown;
            }
        };
        let alone = pieces.len() == 1;
        let mut whole = vec![String::new()];
        let mut unknown = false;
        for piece in pieces {
            let given = match piece {
                Piece::Plain(plain) => Given::Value(Value::Text(plain.into())),
                Piece::Param(name, range) => self.param(scope, name, text.place(range.start, range.end)),
                Piece::Env(name, default, range) => match (self.options.env)(name) {
                    Some(value) => Given::Raw(value),
                    None => match default {
                        Some(default) => Given::Raw(default.to_owned()),
                        None => {
                            let found = Diagnostic::error(format!("the environment has no {name}"))
                                .at(text.place(range.start, range.end), "")
                                .help(format!("set it, or give a default: ${{env:{name}:-default}}"));
                            self.found.push(found);
                            Given::Unknown
                        }
                    },
                },
            };
            if alone {
                return given;
            }
            match given.into_pieces() {
                None => unknown = true,
                Some(pieces) => {
                    for (index, piece) in pieces.into_iter().enumerate() {
                        match whole.last_mut() {
                            Some(last) if index == 0 => last.push_str(&piece),
                            _ => whole.push(piece),
                        }
                    }
                }
            }
        }
        match whole.len() {
            _ if unknown => Given::Unknown,
            1 => Given::Value(Value::Text(whole.remove(0).into())),
            _ => Given::Filled(whole),
        }
    }

    /// `text` as plain text: the name of a kind, a file or a lane.
    pub(crate) fn plain_text(&mut self, scope: &Scope, text: &Text, what: &str) -> Option<String> {
        match self.text(scope, text) {
            Given::Filled(_) => {
                let message = format!("{what} cannot hold a participant's name");
                self.found.push(Diagnostic::error(message).at(text.whole(), ""));
                None
            }
            Given::Raw(text) => Some(text),
            Given::Value(Value::Text(text)) => Some(text.to_string()),
            Given::Value(value) => {
                let message = format!("{what} must be text, not {value}");
                self.found.push(Diagnostic::error(message).at(text.whole(), ""));
                None
            }
            Given::Unknown => None,
        }
    }

    fn param(&mut self, scope: &Scope, name: &str, place: Place) -> Given {
        if name == "participant" {
            // A part by itself may be meant for templates.
            if scope.template.is_some() || self.is_part {
                return Given::Filled(vec![String::new(), String::new()]);
            }
            let found = Diagnostic::error("${participant} has a meaning in templates alone")
                .at(place, "made once, for no participant")
                .help("parts that [each.NAME] makes may use it");
            self.found.push(found);
            return Given::Unknown;
        }
        if let Some(given) = scope.values.get(name) {
            return given.clone();
        }
        let known = scope.values.keys().map(String::as_str);
        let help = match scope.values.is_empty() {
            true => format!("declare it:\n[params]\n{name} = {{ type = \"text\", meaning = \"…\" }}"),
            false => {
                let mut known: Vec<_> = known.collect();
                known.sort_unstable();
                suggest::names(name, "parameters", known)
            }
        };
        self.found.push(Diagnostic::error(format!("there is no parameter {name}")).at(place, "").help(help));
        Given::Unknown
    }

    /// The value of the parameter `spec` of a kind, given as `item`; `None`
    /// where a problem was found, and told.
    pub(crate) fn kind_param(
        &mut self,
        scope: &Scope,
        spec: &ParamSpec,
        item: &At<Item>,
    ) -> Option<(Value, Option<Vec<String>>)> {
        self.fitted(scope, spec.name, &spec.kind.into(), spec.unit, item)
    }

    /// The value of a parameter called `name`, given as `item`.
    pub(crate) fn fitted(
        &mut self,
        scope: &Scope,
        name: &str,
        takes: &Takes,
        unit: &str,
        item: &At<Item>,
    ) -> Option<(Value, Option<Vec<String>>)> {
        let given = match self.given(scope, item) {
            Ok(Given::Unknown) => return None,
            Ok(given) => given,
            Err(what) => {
                let message = format!("{name} must be {takes}, not {what}");
                self.found.push(Diagnostic::error(message).at(item.place, unit_note(unit)));
                return None;
            }
        };
        match given.fit(takes) {
            Ok(fitted) => Some(fitted),
            Err(why) => {
                let mut found = Diagnostic::error(format!("{name} {why}")).at(item.place, unit_note(unit));
                if let Some(from) = self.origin(scope, item) {
                    found = found.at(from, "given here");
                }
                if let (Takes::Choice(words), Item::Text(text)) = (takes, &item.it) {
                    let meant = suggest::meant(&text.text, words.iter().map(String::as_str));
                    found =
                        found.help(meant.map_or(String::new(), |word| format!("did you mean \"{word}\"?")));
                }
                self.found.push(found);
                None
            }
        }
    }

    /// The values of the parameters that `loaded` declares, given by `table`
    /// and by `--set ADDRESS.name`. `place` is where the file is used.
    pub(crate) fn part_values(
        &mut self,
        scope: &Scope,
        loaded: &Loaded,
        table: &Table,
        address: &str,
        place: Place,
    ) -> HashMap<String, Given> {
        let mut values: HashMap<_, _> =
            loaded.parsed.broken_params.iter().map(|name| (name.clone(), Given::Unknown)).collect();
        let label = self.sources.label(loaded.file).to_owned();
        for (key, _) in table {
            let known = || loaded.parsed.params.iter().map(|param| param.name.it.as_str());
            if known().all(|name| name != key.it) && !loaded.parsed.broken_params.contains(&key.it) {
                let found = Diagnostic::error(format!("{label} has no parameter {}", key.it))
                    .at(key.place, "")
                    .help(suggest::names(&key.it, "parameters", known()));
                self.found.push(found);
            }
        }
        self.settings.note(address, Some(loaded.settings()));
        for param in &loaded.parsed.params {
            let name = &param.name.it;
            let item = table.iter().find(|(key, _)| key.it == *name).map(|(_, item)| item);
            let given = if let Some(value) = self.overridden(address, name, &param.takes) {
                value.map_or(Given::Unknown, Given::Value)
            } else if let Some(item) = item {
                match self.fitted(scope, name, &param.takes, "", item) {
                    Some((_, Some(pieces))) => Given::Filled(pieces),
                    Some((value, None)) => Given::Value(value),
                    None => Given::Unknown,
                }
            } else if let Some(default) = &param.default {
                Given::Value(default.it.clone())
            } else {
                let found = Diagnostic::error(format!("{label} needs {name}"))
                    .at(place, format!("{name} is not given here"))
                    .at(param.name.place, format!("declared here without a default: {}", param.takes));
                self.found.push(found);
                Given::Unknown
            };
            values.insert(name.clone(), given);
        }
        values
    }

    /// Whether `item`, a node's `when`, holds.
    pub(crate) fn holds(&mut self, scope: &Scope, item: &At<Item>) -> Option<bool> {
        let wants = "when must be text, true or false, or a number";
        match self.given(scope, item) {
            Ok(Given::Unknown) => None,
            Ok(Given::Filled(_)) => Some(true),
            Ok(Given::Raw(text)) => Some(!text.is_empty()),
            Ok(Given::Value(Value::Text(text))) => Some(!text.is_empty()),
            Ok(Given::Value(Value::Bool(value))) => Some(value),
            Ok(Given::Value(value @ (Value::Int(_) | Value::Float(_)))) => Some(value.as_float() != 0.0),
            Ok(Given::Value(Value::Size(_))) => {
                let help = "a size is always something; use a text, bool or number parameter";
                self.found
                    .push(Diagnostic::error(format!("{wants}, not a size")).at(item.place, "").help(help));
                None
            }
            Err(what) => {
                let help = "for example when = \"${path}\", which holds where path is not empty";
                let message = format!("{wants}, not {what}");
                self.found.push(Diagnostic::error(message).at(item.place, "").help(help));
                None
            }
        }
    }
}

/// A value that any parameter of a kind takes, for one whose own is unknown.
pub(crate) fn stand_in(kind: &ParamKind) -> Value {
    match *kind {
        ParamKind::Bool => Value::Bool(false),
        ParamKind::Int { min, .. } => Value::Int(min),
        ParamKind::Float { min, .. } => Value::Float(min),
        ParamKind::Text | ParamKind::Path => Value::Text("".into()),
        ParamKind::Choice(words) => Value::Text(words.first().copied().unwrap_or_default().into()),
        ParamKind::Size => Value::Size(crate::media_type::Size::new(640, 360)),
    }
}

fn unit_note(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!("in {unit}") }
}
