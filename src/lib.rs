//! Sidetone: a modular media-pipeline framework for real-time calls.
//!
//! A call is a graph file: typed nodes for capture, effects, encoding,
//! packetizing, jitter buffering, decoding and rendering, joined by links, with
//! the room as one node among them. This crate is the facade: it re-exports the
//! engine and knows every kind of node that Sidetone ships.
//!
//! ```
//! use sidetone::{Clock, Engine, Graph, LoadOptions, Options, registry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = std::env::temp_dir().join("sidetone-doc");
//! std::fs::create_dir_all(&folder)?;
//! let file = folder.join("beep.toml");
//! std::fs::write(&file, r#"
//! sidetone = 1
//! links = ["tone -> softer -> file"]
//! [nodes]
//! tone = { kind = "test.tone" }
//! softer = { kind = "audio.gain", gain_db = -6 }
//! file = { kind = "file.wav_sink", path = "${path}" }
//! [params]
//! path = { type = "path", meaning = "Where the beep goes" }
//! "#)?;
//! let wav = folder.join("beep.wav").display().to_string();
//! let overrides = [("path".to_owned(), wav)];
//! let options = LoadOptions { overrides: &overrides, ..LoadOptions::default() };
//! let (graph, _warnings) = Graph::load(&file, &registry(), &options)?;
//! let one_second = Some(std::time::Duration::from_secs(1));
//! let engine = Engine::new(graph, Options { clock: Clock::virtual_time(), limit: one_second, ..Options::default() })?;
//! let report = engine.run(|_update| {});
//! assert_eq!(report.stages[2].frames, 100);
//! # Ok(())
//! # }
//! ```

pub use sidetone_core::*;

/// Every kind of node that Sidetone ships. \[control\]
#[must_use]
pub fn registry() -> Registry {
    let crates = [
        sidetone_audio::KINDS,
        sidetone_codec::KINDS,
        sidetone_effect::KINDS,
        sidetone_file::KINDS,
        sidetone_net::KINDS,
        sidetone_room::KINDS,
        sidetone_rtp::KINDS,
        sidetone_test::KINDS,
    ];
    Registry::new(crates.into_iter().flatten().copied())
}
