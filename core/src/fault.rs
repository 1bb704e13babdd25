//! `Fault`: why a node failed while running, small and copyable; `NodeError`:
//! its loud sibling at load time.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::budget::ms;

/// What sort of failure it was: what the graph's author can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A file or stream is damaged.
    BadMedia,
    /// A frame came that the node cannot take; a converter is missing.
    WrongFormat,
    /// The operating system refused to read, write or send.
    Io,
    /// A codec or other library failed.
    Library,
    /// The node panicked: a defect in it.
    Panic,
    /// Calls of somebody else's code came back after their deadline again and
    /// again: give them more time, a smaller picture or a faster machine.
    Late,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadMedia => "bad media",
            Self::WrongFormat => "wrong format",
            Self::Io => "input or output failed",
            Self::Library => "library failed",
            Self::Panic => "panic",
            Self::Late => "late",
        })
    }
}

/// Why a node failed while running. \[real-time\]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What sort of failure.
    pub kind: FaultKind,
    /// What happened, in a phrase, and what to do where that is plain.
    pub why: &'static str,
    /// Where in the file, in bytes from its start, for bad media and I/O.
    pub offset: Option<u64>,
    /// The deadline that was missed, by a node that is late.
    #[serde(rename = "deadline_ms", serialize_with = "as_millis", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
}

impl Fault {
    /// A fault with no place. \[real-time\]
    #[must_use]
    pub const fn new(kind: FaultKind, why: &'static str) -> Self {
        Self { kind, why, offset: None, deadline: None }
    }

    /// The same, at byte `offset` of the node's file. \[real-time\]
    #[must_use]
    pub const fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The same, of a node whose calls may take `deadline`. \[real-time\]
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.why)?;
        if let Some(offset) = self.offset {
            write!(f, ", at byte {offset}")?;
        }
        if let Some(deadline) = self.deadline {
            write!(f, " of {}", ms(deadline))?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

fn as_millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64() * 1e3).serialize(serializer)
}

/// Why a node could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file could not be opened or created; check the path and permissions.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was opened and is not what the node reads.
    #[error("{}: {why}, at byte {offset}", path.display())]
    BadMedia {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// Where, in bytes from the start.
        offset: u64,
    },
    /// A parameter, in range by itself, cannot be met; change it.
    #[error("{name} {why}")]
    Param {
        /// Which parameter.
        name: &'static str,
        /// What is wrong and what would do.
        why: String,
    },
    /// Something the node needs is not there or refused.
    #[error("{0}")]
    Unavailable(String),
}
