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
//!
//! While it runs, a graph is changed through the engine's [`Handle`], by a
//! [`Transaction`] or to another graph:
//!
//! ```
//! # use sidetone::{Clock, Engine, Graph, LoadOptions, Options, Transaction, registry};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let text = r#"
//! # sidetone = 1
//! # links = ["tone -> ear.reference", "tone -> ear.in"]
//! # nodes.tone = { kind = "test.tone" }
//! # nodes.ear = { kind = "test.compare_audio" }
//! # "#;
//! # let options = LoadOptions { read: &|_| Ok(text.into()), ..LoadOptions::default() };
//! # let (graph, _) = Graph::load(std::path::Path::new("ear.toml"), &registry(), &options)?;
//! # let limit = Some(std::time::Duration::from_secs(1));
//! # let engine = Engine::new(graph, Options { clock: Clock::virtual_time(), limit, ..Options::default() })?;
//! let softer = Transaction::new()
//!     .add("softer", "audio.gain", &[("gain_db", (-6.0).into())])
//!     .unlink("tone -> ear.in")
//!     .link("tone -> softer -> ear.in");
//! let pending = engine.handle().edit(softer);
//! engine.run(|_update| {});
//! assert_eq!(pending.wait()?.to_string(), "+softer");
//! # Ok(())
//! # }
//! ```

pub mod plugins;
pub mod room;

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
