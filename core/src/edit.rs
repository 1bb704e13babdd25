//! `Change`: what an edit of a running graph came to.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::param::Value;

/// What an edit of a running graph changed, by the names of the graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Change {
    /// Nodes that were not there before.
    pub added: Vec<String>,
    /// Nodes that are not there any more; what they held drains.
    pub removed: Vec<String>,
    /// Nodes that were made anew, since they differ in more than live parameters.
    pub replaced: Vec<String>,
    /// Live parameters that changed: node, parameter, new value.
    #[serde(serialize_with = "as_text")]
    pub set: Vec<(String, &'static str, Value)>,
    /// Links that are new, from port to port.
    pub linked: Vec<(String, String)>,
    /// Links that are gone though their nodes are not.
    pub unlinked: Vec<(String, String)>,
}

impl Change {
    /// Whether nothing changed. \[any\]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// In one line: `-smooth ~gain.gain_db +x`, where `~` stands before what was
/// changed or made anew. Links are told of where no node came or went.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.removed.iter().map(|name| format!("-{name}")));
        words.extend(self.replaced.iter().map(|name| format!("~{name}")));
        words.extend(self.set.iter().map(|(name, param, _)| format!("~{name}.{param}")));
        words.extend(self.added.iter().map(|name| format!("+{name}")));
        if self.added.is_empty() && self.removed.is_empty() && self.replaced.is_empty() {
            words.extend(self.unlinked.iter().map(|(from, to)| format!("-({from} -> {to})")));
            words.extend(self.linked.iter().map(|(from, to)| format!("+({from} -> {to})")));
        }
        if words.is_empty() {
            words.push("nothing changed".to_owned());
        }
        f.write_str(&words.join(" "))
    }
}

/// Values as graph files write them.
fn as_text<S: Serializer>(set: &[(String, &'static str, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(set.iter().map(|(node, param, value)| (node, param, value.to_string())))
}
