//! `Source`: everything that an effect is made from, as data, so that another
//! process can make the same one.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manifest::Given;
use crate::world::installed::Installed;

/// Which effect, and of which interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// A kind of a Sidetone plugin.
    Plugin {
        /// The library.
        library: PathBuf,
        /// The kind's name.
        kind: String,
    },
    /// An effect of another format. The numbers of its parameters are their places.
    Installed(Box<Installed>),
}

impl Origin {
    /// The library that it is in. \[any\]
    #[must_use]
    pub fn library(&self) -> &Path {
        match self {
            Self::Plugin { library, .. } => library,
            Self::Installed(effect) => &effect.path,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Plugin { library, kind } => write!(f, "{kind} of {}", library.display()),
            Origin::Installed(effect) => write!(f, "{} of {}", effect.name, effect.path.display()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin { library, .. } => write!(f, "{}", library.display()),
            Self::Installed(effect) => write!(f, "{}", effect.path.display()),
        }
    }
}

/// Everything that an effect is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Which effect.
    pub origin: Origin,
    /// The values of its parameters, by number.
    pub params: Vec<(u32, Given)>,
    /// Files and folders that its parameters name: it may read them.
    pub paths: Vec<PathBuf>,
    /// Of each output: the shape of its data, or nothing.
    pub shapes: Vec<String>,
    /// Whether its first output is to hold what its first input does.
    pub in_place: bool,
    /// The only randomness that it may use.
    pub seed: u64,
    /// How long a call should take, in nanoseconds; 0 where nothing is known.
    pub call_ns: u64,
}

impl Source {
    /// Of an effect without parameters, to be looked at and not run. \[any\]
    #[must_use]
    pub const fn bare(origin: Origin) -> Self {
        Self {
            origin,
            params: Vec::new(),
            paths: Vec::new(),
            shapes: Vec::new(),
            in_place: false,
            seed: 0,
            call_ns: 0,
        }
    }
}
