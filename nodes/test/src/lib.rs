//! Sidetone nodes that make test signals: sound and pictures that tell, after
//! any journey, when they began it and what became of them.

mod backdrop;
pub mod clicks;
mod compare_audio;
mod compare_video;
mod comparison;
mod counter;
mod cutout;
mod figure;
mod noise;
mod pace;
mod portrait;
mod reference;
pub mod scene;
mod slow;
mod sound;
mod tone;
mod wave;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] =
    &[&tone::SPEC, &clicks::SPEC, &compare_audio::SPEC, &compare_video::SPEC, &scene::SPEC, &slow::SPEC];
