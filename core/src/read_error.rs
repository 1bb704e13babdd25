//! `ReadError`: why a file of media could not be read on.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use crate::fault::{Fault, FaultKind, NodeError};

/// Why a file could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not what it should be, or damaged, or ends too early.
    #[error("{why}, at byte {offset}")]
    Bad {
        /// What is wrong, in a phrase.
        why: Cow<'static, str>,
        /// Where, in bytes from the start; where the data ends, if it ends too
        /// early.
        offset: u64,
    },
    /// The system refused to read.
    #[error("cannot be read: {source}, at byte {offset}")]
    Io {
        /// What it said.
        source: io::Error,
        /// Where, in bytes from the start.
        offset: u64,
    },
}

impl ReadError {
    /// A damaged file. \[any\]
    #[must_use]
    pub fn bad(why: impl Into<Cow<'static, str>>, offset: u64) -> Self {
        Self::Bad { why: why.into(), offset }
    }

    /// Where, in bytes from the start. \[any\]
    #[must_use]
    pub const fn offset(&self) -> u64 {
        match self {
            Self::Bad { offset, .. } | Self::Io { offset, .. } => *offset,
        }
    }

    /// The same, as a node gives it while running. \[real-time\]
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Bad { why: Cow::Borrowed(why), offset } => Fault::new(FaultKind::BadMedia, why).at(*offset),
            Self::Bad { offset, .. } => Fault::new(FaultKind::BadMedia, "the file is damaged").at(*offset),
            Self::Io { offset, .. } => Fault::new(FaultKind::Io, "the file could not be read").at(*offset),
        }
    }

    /// The same, as a node gives it when it is made. \[control\]
    #[must_use]
    pub fn opening(self, path: &Path) -> NodeError {
        let path = path.to_owned();
        match self {
            Self::Bad { why, offset } => NodeError::BadMedia { path, why: why.into_owned(), offset },
            Self::Io { source, .. } => NodeError::Open { path, source },
        }
    }
}
