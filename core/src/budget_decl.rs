//! `BudgetDecl`: what a graph file says of a budget, and what is meant by it.

use std::time::Duration;

use crate::budget::{Budget, BudgetPath, Remedy};
use crate::diagnostic::{Diagnostic, Place};
use crate::expand::Expander;
use crate::graph_file::Reader;
use crate::item::{At, Item, Text};
use crate::scope::Scope;
use crate::suggest;
use crate::takes::Takes;

/// The most budgets a graph has.
const MAX_BUDGETS: usize = 256;
/// What a limit may be, in milliseconds.
const LIMIT: Takes = Takes::Float { min: 0.1, max: 60_000.0 };

/// A budget, as the file gives it.
#[derive(Clone, Debug)]
pub(crate) struct BudgetDecl {
    /// The names of the nodes at its ends, where it is not the whole graph's.
    path: Option<(Text, Text)>,
    ms: At<Item>,
    remedy: Option<At<Item>>,
}

impl Reader<'_> {
    /// What `budget_ms` and `budget_remedy` say.
    pub(crate) fn whole_budget(
        &mut self,
        ms: Option<At<Item>>,
        remedy: Option<(Place, At<Item>)>,
    ) -> Option<BudgetDecl> {
        if let (None, Some((place, _))) = (&ms, &remedy) {
            let help = "say what it is for: budget_ms = 150";
            self.error("budget_remedy stands without budget_ms", *place, "", help);
        }
        Some(BudgetDecl { path: None, ms: ms?, remedy: remedy.map(|(_, item)| item) })
    }

    /// What `budgets` says.
    pub(crate) fn budgets(&mut self, item: At<Item>) -> Vec<BudgetDecl> {
        let place = item.place;
        let example = "[{ from = \"mic\", to = \"speaker\", ms = 60 }]";
        let list = self.list("budgets", example, item).unwrap_or_default();
        if list.len() > MAX_BUDGETS {
            let message = format!("these are {} budgets; a graph has at most {MAX_BUDGETS}", list.len());
            self.error(message, place, "", "");
            return Vec::new();
        }
        list.into_iter().filter_map(|item| self.budget(item)).collect()
    }

    fn budget(&mut self, item: At<Item>) -> Option<BudgetDecl> {
        let example = "{ from = \"mic\", to = \"speaker\", ms = 60 }";
        let whole = item.place;
        let Item::Table(table) = item.it else {
            return self.wrong("a budget", &format!("a table such as {example}"), &item);
        };
        let (mut from, mut to, mut ms, mut remedy) = (None, None, None, None);
        for (key, item) in table {
            match key.it.as_str() {
                "from" => from = Some(self.text("from", item)?),
                "to" => to = Some(self.text("to", item)?),
                "ms" => ms = Some(item),
                "remedy" => remedy = Some(item),
                _ => self.unknown(&key, "in a budget", &["from", "to", "ms", "remedy"]),
            }
        }
        let (Some(from), Some(to), Some(ms)) = (from, to, ms) else {
            let message = "a budget names two nodes and the time between them";
            self.error(message, whole, "", format!("for example {example}"));
            return None;
        };
        Some(BudgetDecl { path: Some((from, to)), ms, remedy })
    }
}

impl Expander<'_> {
    /// Adds the budgets of `scope`'s file, whose nodes are there already.
    pub(crate) fn budgets(&mut self, scope: &Scope) {
        for decl in &scope.loaded.parsed.budgets {
            let place = decl.ms.place;
            if decl.path.is_none() && scope.loaded.parsed.ports.is_some() {
                let found = Diagnostic::error("a part has no budget_ms of its own").at(place, "");
                let help = "give it in the graph that uses the part; here budgets may name a path: \
                            budgets = [{ from = \"…\", to = \"…\", ms = 60 }]";
                self.found.push(found.help(help));
                continue;
            }
            let name = if decl.path.is_some() { "ms" } else { "budget_ms" };
            let limit = self.fitted(scope, name, &LIMIT, "ms", &decl.ms).map(|(value, _)| value.as_float());
            let remedy = match &decl.remedy {
                Some(item) => self.remedy(scope, item),
                None => Some(Remedy::default()),
            };
            let path = match &decl.path {
                Some((from, to)) => match (self.budget_end(scope, from), self.budget_end(scope, to)) {
                    (Some((from, a)), Some((to, b))) => {
                        Some(BudgetPath { from: from.into(), to: to.into(), places: (a, b) })
                    }
                    _ => continue,
                },
                None => None,
            };
            let (Some(limit), Some(remedy)) = (limit, remedy) else { continue };
            if self.net.budgets.len() >= MAX_BUDGETS {
                let message = format!("the graph has more than {MAX_BUDGETS} budgets");
                self.found.push(Diagnostic::error(message).at(place, ""));
                return;
            }
            let limit = Duration::from_secs_f64(limit / 1e3);
            self.net.budgets.push(Budget { path, limit, remedy, place });
        }
    }

    /// The whole name of the node that a budget of `scope`'s file calls `text`.
    fn budget_end(&mut self, scope: &Scope, text: &Text) -> Option<(String, Place)> {
        let place = text.whole();
        let given = self.plain_text(scope, text, "the end of a budget's path")?;
        let node = self.node_called(&scope.prefix, &given, place)?;
        Some((self.net.nodes[node].name.clone(), place))
    }

    fn remedy(&mut self, scope: &Scope, item: &At<Item>) -> Option<Remedy> {
        let known = || Remedy::WORDS.iter().map(|(word, _)| *word);
        let Item::Text(text) = &item.it else {
            let message =
                format!("a remedy must be one of {}, not {}", suggest::list(known()), item.it.what());
            self.found.push(Diagnostic::error(message).at(item.place, ""));
            return None;
        };
        let word = self.plain_text(scope, text, "a remedy")?;
        let remedy = Remedy::WORDS.iter().find(|(known, _)| *known == word).map(|(_, remedy)| *remedy);
        if remedy.is_none() {
            let found = Diagnostic::error(format!("a remedy cannot be \"{word}\"")).at(text.whole(), "");
            self.found.push(found.help(suggest::names(&word, "what it may be", known())));
        }
        remedy
    }
}
