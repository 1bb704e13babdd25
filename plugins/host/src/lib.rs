//! Loads plugins and runs their effects as nodes of a graph.
//!
//! `manifest` is what a plugin says of itself, `search` finds plugins by it (`cache`
//! keeps what it said), and
//! `spec` makes kinds of node of it; up to there no foreign code runs. When a
//! graph runs, `shelf` loads the `library`, reads its `table`, and makes an
//! `instance`: an `effect`, which `node` runs as a node.

#![allow(unsafe_code)] // foreign code is called here; each use names its invariant

pub mod apart;
pub mod cache;
pub mod check;
pub mod effect;
mod image;
mod instance;
pub mod library;
pub mod manifest;
pub mod node;
pub mod search;
pub mod shelf;
pub mod source;
pub mod spec;
mod table;
pub mod world;

pub use effect::{Desk, Effect, Job, Outcome};
pub use library::{Library, LoadError};
pub use manifest::{Manifest, ManifestError};
pub use shelf::{Reload, Shelf};
pub use source::{Origin, Source};
