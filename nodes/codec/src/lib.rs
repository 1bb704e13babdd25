//! Sidetone nodes that encode and decode.

mod opus_decode;
mod opus_encode;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] = &[&opus_decode::SPEC, &opus_encode::SPEC];
