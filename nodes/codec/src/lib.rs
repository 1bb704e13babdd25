//! Sidetone nodes that encode and decode.

#[cfg(all(feature = "rav1d", feature = "dav1d-c"))]
compile_error!(
    "features rav1d and dav1d-c exclude each other: both libraries export the same C symbols. \
     Build with --no-default-features --features dav1d-c"
);
#[cfg(not(any(feature = "rav1d", feature = "dav1d-c")))]
compile_error!("choose an AV1 decoder: feature rav1d (default) or dav1d-c");

mod aom;
mod av1_decode;
mod av1_encode;
mod av1_settings;
mod av1_timing;
mod opus_decode;
mod opus_encode;
mod opus_settings;
mod opus_stream;
#[cfg(test)]
mod opus_test_speech;
mod rav1e_encoder;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] =
    &[&av1_decode::SPEC, &av1_encode::SPEC, &opus_decode::SPEC, &opus_encode::SPEC];
