//! Fuzz targets for everything that reads bytes from files, peers and plugins.
//!
//! A target takes any bytes and must not panic, hang, or set aside memory
//! without bound. [`TARGETS`] is the table of them; `smoke` tries each on
//! mutated seeds in ordinary tests, the programs in `fuzz_targets` under
//! libFuzzer. The README says how to run both.

pub mod meter;
mod mutator;
mod nodes;
mod script;
pub mod smoke;
mod target;

use target::{codec, file, graph, net, plugin, recording, room, rtp, server};

/// Something that reads foreign bytes.
pub struct Target {
    /// What it is called: a file of `fuzz_targets` has the same name.
    pub name: &'static str,
    /// Reads the bytes; whether they were taken for what they should be.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are taken, made by Sidetone's own writers.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces of the format that mutation would hardly hit upon.
    pub words: &'static [&'static str],
    /// The most memory that a run may hold at once, in MiB.
    pub most_mib: usize,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    codec::AV1_DECODE,
    codec::OPUS_DECODE,
    file::AV1_UNIT,
    file::IVF,
    file::WAV,
    file::Y4M,
    graph::GRAPH_FILE,
    net::TRACE,
    plugin::DATA_SHAPE,
    plugin::MANIFEST,
    recording::RECORDING,
    room::DATAGRAM,
    room::URL,
    server::DATAGRAMS,
    server::MESSAGES,
    server::MESSAGES_TOLD,
    server::OFFERS,
    server::TOKEN,
    rtp::AV1_PAYLOADS,
    rtp::JITTER_AV1,
    rtp::JITTER_OPUS,
    rtp::PACKET,
];

/// The target called `name`.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// What a program of `fuzz_targets` does with each input.
///
/// # Panics
/// If there is no target called `name`, and if the target does.
pub fn run(name: &str, bytes: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("there is no target {name}"));
    (target.run)(bytes);
}
