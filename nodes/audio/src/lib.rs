//! Sidetone nodes that change, mix and measure sound.

mod gain;
mod level;
mod limiter;
mod mix;
mod mix_queue;
mod rate_converter;
mod resample;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] = &[&gain::SPEC, &level::SPEC, &mix::SPEC, &resample::SPEC];
