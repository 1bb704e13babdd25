//! Sidetone nodes that change or compose pictures.

mod fit;
mod mirror;
mod resample;
mod scale;
mod skin_filter;
mod smooth_skin;
mod tile;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] = &[&mirror::SPEC, &scale::SPEC, &smooth_skin::SPEC, &tile::SPEC];
