//! Sidetone nodes that impair and record packet links.

mod delay_line;
mod impair;
mod model;
mod record;
mod recorder;
mod replay;
pub mod trace;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] = &[&impair::SPEC, &record::SPEC, &replay::SPEC];
