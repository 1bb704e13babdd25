//! Sidetone nodes that read and write media files.
//!
//! Every format's reader is in [`parse`], apart from nodes and files, so that it
//! can be tried on any bytes. Only the sources and sinks open files.

mod contact_sheet_sink;
mod frames_sink;
mod frames_source;
mod ivf_sink;
mod ivf_source;
mod new_file;
mod opened;
mod pace;
pub mod parse;
mod wav_sink;
mod wav_source;
mod y4m_sink;
mod y4m_source;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] = &[
    &contact_sheet_sink::SPEC,
    &frames_sink::SPEC,
    &frames_source::SPEC,
    &ivf_sink::SPEC,
    &ivf_source::SPEC,
    &wav_sink::SPEC,
    &wav_source::SPEC,
    &y4m_sink::SPEC,
    &y4m_source::SPEC,
];
