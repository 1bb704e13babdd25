//! `Family`: kinds of node that go by one name in graph files, told apart by one
//! of their parameters, which says what other parameters there are:
//! `{ kind = "host.frei0r", effect = "cartoon", triplevel = 0.6 }`.

use std::fmt;

use crate::diagnostic::{Diagnostic, Place};
use crate::expand::Expander;
use crate::graph_file::{Alternative, What};
use crate::item::{At, Item, Text};
use crate::param::Value;
use crate::registry::{NodeSpec, Registry};
use crate::scope::Scope;
use crate::suggest;
use crate::takes::Takes;

/// Kinds of node that go by one name in graph files.
pub struct Family {
    /// `job.what`. A member's kind is this, "/" and the member's name.
    pub kind: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What all members have in common, as the header comment of a node's file.
    pub sheet: &'static str,
    /// The text parameter that names the member. Members declare it, too.
    pub chosen_by: &'static str,
    /// The member of a name. It may look at what is installed, so it is called
    /// only for a graph or a listing that names the family. \[control\]
    pub find: &'static (dyn Fn(&str) -> Option<&'static NodeSpec> + Sync),
    /// Every member there is, by name; called as `find` is. \[control\]
    pub all: &'static (dyn Fn() -> Vec<&'static NodeSpec> + Sync),
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Family {
    /// What `member` is called among the members. \[any\]
    #[must_use]
    pub fn name_of(&self, member: &NodeSpec) -> &'static str {
        member.kind.strip_prefix(self.kind).and_then(|rest| rest.strip_prefix('/')).unwrap_or(member.kind)
    }

    /// Advice for who named no member that there is: the one that was meant,
    /// and which there are. \[control\]
    #[must_use]
    pub fn advice(&self, given: &str) -> String {
        let all = (self.all)();
        let names = || all.iter().map(|member| self.name_of(member));
        if all.is_empty() {
            return format!("nothing that {} could run was found", self.kind);
        }
        let there =
            format!("there are {}; `sidetone nodes {}` lists them", suggest::list(names()), self.kind);
        match suggest::meant(given, names()) {
            Some(name) => format!("did you mean \"{name}\"? ({there})"),
            None => there,
        }
    }
}

impl Registry {
    /// The family and, if there is one, its member that "host.frei0r/cartoon"
    /// names. \[control\]
    #[must_use]
    pub fn member(&self, kind: &str) -> Option<(&'static Family, Option<&'static NodeSpec>)> {
        let (family, name) = kind.split_once('/')?;
        let family = self.family(family)?;
        Some((family, (family.find)(name)))
    }

    /// The family that `spec` is a member of. \[any\]
    #[must_use]
    pub(crate) fn family_of(&self, spec: &NodeSpec) -> Option<&'static Family> {
        self.family(spec.kind.split_once('/')?.0)
    }
}

impl Expander<'_> {
    /// The kind of the node at `address`, called at `place`, that `chosen` with
    /// its `kind` describes; `None` where a problem was found, and told.
    pub(crate) fn kind_of(
        &mut self,
        scope: &Scope,
        address: &str,
        place: Place,
        kind: &Text,
        chosen: &Alternative,
    ) -> Option<&'static NodeSpec> {
        let name = self.plain_text(scope, kind, "kind")?;
        let Some(family) = self.registry.family(&name) else {
            return self.spec(&name, kind.whole());
        };
        let by = family.chosen_by;
        let item = chosen.params.iter().find(|(key, _)| key.it == by).map(|(_, item)| item);
        let (value, at, from) = match (self.overridden(address, by, &Takes::Text), item) {
            (Some(value), _) => (value?, self.overridden_at(address, by)?, None),
            (None, Some(item)) => match self.fitted(scope, by, &Takes::Text, "", item)? {
                (value, None) => (value, within(item), self.origin(scope, item)),
                (_, Some(_)) => {
                    let found = Diagnostic::error(format!("{by} cannot hold a participant's name"));
                    self.found.push(found.at(item.place, "it says which node this is"));
                    return None;
                }
            },
            (None, None) => {
                let help = if self.may_search() { family.advice("") } else { String::new() };
                let found = Diagnostic::error(format!("{} needs {by}", family.kind))
                    .at(place, format!("{by} is not given here"));
                self.found.push(found.help(help));
                return None;
            }
        };
        let Value::Text(name) = value else { return None };
        let member = (family.find)(&name);
        if member.is_none() {
            let help = if self.may_search() { family.advice(&name) } else { String::new() };
            let found = Diagnostic::error(format!("{} has no {by} \"{name}\"", family.kind)).at(at, "");
            let found = from.into_iter().fold(found, |found, from| found.at(from, "given here"));
            self.found.push(found.help(help));
        }
        member
    }

    /// Says what is wrong with an alternative that was not chosen, whatever
    /// values it would get. That it names no member of its family is not: what
    /// is installed may have been the reason for the choice.
    pub(crate) fn check_unchosen(&mut self, alternative: &Alternative) {
        let What::Kind(kind) = &alternative.what else { return };
        if kind.text.contains('$') {
            return;
        }
        let spec = match self.registry.family(&kind.text) {
            None => self.spec(&kind.text, kind.whole()),
            Some(family) => alternative.params.iter().find_map(|(key, item)| match &item.it {
                Item::Text(name) if key.it == family.chosen_by => (family.find)(&name.text),
                _ => None,
            }),
        };
        for (key, _) in spec.iter().flat_map(|_| &alternative.params) {
            spec.and_then(|spec| self.known_param(spec, key));
        }
    }
}

/// Where `item` stands, the quotes of text aside.
fn within(item: &At<Item>) -> Place {
    match &item.it {
        Item::Text(text) => text.whole(),
        _ => item.place,
    }
}
