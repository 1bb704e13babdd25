//! Sidetone nodes that change, mix and measure sound.

mod gain;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] = &[&gain::SPEC];
