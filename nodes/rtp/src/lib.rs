//! Sidetone nodes that packetize, order and depacketize RTP.
//!
//! The parsers are public, so that they can be fuzzed: `packet` reads RTP
//! headers, `av1` and `opus` read payloads. All of them take any bytes.

mod audio_jitter;
pub mod av1;
mod delay_estimate;
mod jitter_buffer;
pub mod opus;
mod pack_av1;
mod pack_opus;
pub mod packet;
mod sender;
mod sequence;
mod unpack_av1;
mod unpack_opus;
mod video_jitter;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] =
    &[&jitter_buffer::SPEC, &pack_av1::SPEC, &pack_opus::SPEC, &unpack_av1::SPEC, &unpack_opus::SPEC];
