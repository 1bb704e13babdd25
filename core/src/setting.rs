//! `Settings`: every parameter that `--set` reaches in a graph, by address.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::param::{ParamKind, ParamSpec, Value};
use crate::registry::NodeSpec;
use crate::suggest;
use crate::takes::Takes;

/// A parameter that can be given from outside: one of the graph's own, of a
/// part's, of a node's or of a lane's.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    name: String,
    takes: Takes,
    unit: &'static str,
}

impl From<&ParamSpec> for Setting {
    fn from(spec: &ParamSpec) -> Self {
        Self::new(spec.name.to_owned(), spec.kind.into(), spec.unit)
    }
}

/// Why there is no such parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSetting {
    /// What is not there.
    pub message: String,
    /// What was meant, and what there is.
    pub help: String,
}

/// What can be given from outside, by the address of a graph (""), a part or a
/// node in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// `None` where a mistake hides what there is.
    addresses: Vec<(String, Option<Arc<[Setting]>>)>,
    /// What nodes of a kind have, which they share.
    kinds: BTreeMap<&'static str, Arc<[Setting]>>,
}

impl Setting {
    pub(crate) const fn new(name: String, takes: Takes, unit: &'static str) -> Self {
        Self { name, takes, unit }
    }

    /// Its unit as people write it; empty where it has none or none is
    /// declared. \[any\]
    #[must_use]
    pub const fn unit(&self) -> &'static str {
        self.unit
    }

    /// What values it takes, as a phrase: "a number from 0 to 1". \[control\]
    #[must_use]
    pub fn takes(&self) -> String {
        self.takes.to_string()
    }

    /// The kind of a parameter with such values; the words of a choice are not
    /// in it. \[any\]
    #[must_use]
    pub const fn kind(&self) -> ParamKind {
        match self.takes {
            Takes::Bool => ParamKind::Bool,
            Takes::Int { min, max } => ParamKind::Int { min, max },
            Takes::Float { min, max } => ParamKind::Float { min, max },
            Takes::Text => ParamKind::Text,
            Takes::Path => ParamKind::Path,
            Takes::Choice(_) => ParamKind::Choice(&[]),
            Takes::Size => ParamKind::Size,
        }
    }

    /// `text` as this takes it. \[control\]
    ///
    /// # Errors
    /// A phrase that completes "NAME …": "must be a number from 0 to 1, not 2",
    /// with the word that was meant, if there is one.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        self.takes.read(text).map_err(|why| match &self.takes {
            Takes::Choice(words) => match suggest::meant(text, words.iter().map(String::as_str)) {
                Some(word) => format!("{why}; did you mean \"{word}\"?"),
                None => why,
            },
            _ => why,
        })
    }
}

impl Settings {
    /// Remembers what is at `address`; `None` where a mistake hides it.
    pub(crate) fn note(&mut self, address: &str, there: Option<Vec<Setting>>) {
        self.addresses.push((address.to_owned(), there.map(Arc::from)));
    }

    /// Remembers that a node of kind `spec` is at `address`.
    pub(crate) fn note_node(&mut self, address: &str, spec: &NodeSpec) {
        let there = || spec.params.iter().map(Setting::from).collect();
        let there = Arc::clone(self.kinds.entry(spec.kind).or_insert_with(there));
        self.addresses.push((address.to_owned(), Some(there)));
    }

    /// Forgets what is at `address`.
    pub(crate) fn forget(&mut self, address: &str) {
        self.addresses.retain(|(known, _)| known != address);
    }

    /// Whether a mistake hides what is at `address`.
    pub(crate) fn is_hidden(&self, address: &str) -> bool {
        self.addresses.iter().any(|(known, there)| known == address && there.is_none())
    }

    /// The parameter `name` at `address`; `Ok(None)` where a mistake hides what
    /// there is.
    pub(crate) fn find(&self, address: &str, name: &str) -> Result<Option<&Setting>, NoSetting> {
        match self.addresses.iter().find(|(known, _)| known == address) {
            Some((_, None)) => Ok(None),
            Some((_, Some(there))) => {
                there.iter().find(|setting| setting.name == name).map(Some).ok_or_else(|| NoSetting {
                    message: format!(
                        "{} has no parameter {name}",
                        if address.is_empty() { "the graph" } else { address }
                    ),
                    help: suggest::names(
                        name,
                        "parameters",
                        there.iter().map(|setting| setting.name.as_str()),
                    ),
                })
            }
            None => {
                let known = self.addresses.iter().map(|(address, _)| address.as_str());
                let known: Vec<_> = known.filter(|address| !address.is_empty()).collect();
                Err(NoSetting {
                    message: format!("there is no node {address}"),
                    help: suggest::names(address, "nodes", known),
                })
            }
        }
    }
}

/// The address and the name of a parameter as `--set` gives them. Where plans
/// end a template's name with \[\], addresses do not.
pub(crate) fn split(target: &str) -> (String, &str) {
    let (address, name) = target.rsplit_once('.').unwrap_or(("", target));
    (address_of(address), name)
}

/// The address of a node, by the name that plans give it.
pub(crate) fn address_of(name: &str) -> String {
    name.replace("[]/", "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        let quantile = Setting::new("quantile".into(), Takes::Float { min: 0.5, max: 0.999 }, "");
        settings.note("remote/jitter", Some(vec![quantile]));
        settings.note("", Some(Vec::new()));
        settings.note("odd", None);
        settings
    }

    #[test]
    fn a_parameter_is_found_by_the_name_that_plans_give_it() {
        let (address, name) = split("remote[]/jitter.quantile");
        let settings = settings();
        let found = settings.find(&address, name).unwrap().unwrap();
        assert_eq!(found.read("0.9"), Ok(Value::Float(0.9)));
        assert_eq!(found.read("2").unwrap_err(), "must be a number from 0.5 to 0.999, not 2");
        assert_eq!(found.kind(), ParamKind::Float { min: 0.5, max: 0.999 });
    }

    #[test]
    fn what_is_not_there_is_told_with_what_was_meant() {
        let why = settings().find("remote/jiter", "quantile").unwrap_err();
        assert!(
            why.message == "there is no node remote/jiter" && why.help.contains("remote/jitter?"),
            "{why:?}"
        );
        let why = settings().find("remote/jitter", "quantil").unwrap_err();
        assert!(why.help.starts_with("did you mean quantile?"), "{why:?}");
        assert_eq!(settings().find("", "a").unwrap_err().message, "the graph has no parameter a");
        assert_eq!(settings().find("odd", "a"), Ok(None));
    }

    #[test]
    fn a_word_that_is_no_choice_is_told_which_was_meant() {
        let words = Takes::Choice(vec!["home".into(), "mobile".into()]);
        let why = Setting::new("network".into(), words, "").read("mobil").unwrap_err();
        assert!(why.ends_with("did you mean \"mobile\"?"), "{why}");
    }
}
