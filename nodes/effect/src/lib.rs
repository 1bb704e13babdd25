//! Sidetone nodes that change or compose pictures.

mod adapt;
mod adapt_level;
mod fit;
mod mirror;
mod resample;
mod scale;
mod skin_filter;
mod smooth_skin;
mod tile;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] = &[&adapt::SPEC, &mirror::SPEC, &scale::SPEC, &smooth_skin::SPEC, &tile::SPEC];
