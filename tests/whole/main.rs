//! Whole graphs, from their files to what they leave behind.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

mod adapt;
mod bench;
mod budget;
mod call;
mod check;
mod command;
mod edit;
mod latency;
mod plugins;
mod record;
mod room;
mod room_api;
mod samples;
mod tune;
mod udp;
mod views;
mod world;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sidetone::scratch::Scratch;
use sidetone::{
    Clock, Engine, Format, Frame, Graph, Header, LoadOptions, Options, Plane, Report, Update, VideoFormat,
    registry,
};
use sidetone_file::parse::{wav, y4m};

/// A folder of a test's own, beside what is built: some hold many pictures.
fn scratch() -> Scratch {
    Scratch::within(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// A file of this repository.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Loads a graph that must check.
fn load(file: &Path, settings: &[(&str, &str)]) -> Graph {
    let overrides: Vec<_> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    match Graph::load(file, &registry(), &LoadOptions { overrides: &overrides, ..LoadOptions::default() }) {
        Ok((graph, warnings)) => {
            assert!(warnings.list.is_empty(), "{warnings}");
            graph
        }
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// Runs a shipped graph in virtual time; gives the report and its events.
fn run_virtual(graph: &str, settings: &[(&str, &str)], seconds: f64) -> (Report, Vec<String>) {
    let options = Options {
        clock: Clock::virtual_time(),
        limit: Some(Duration::from_secs_f64(seconds)),
        ..Options::default()
    };
    let engine = Engine::new(load(&shipped(graph), settings), options).unwrap_or_else(|why| panic!("{why}"));
    let mut events = Vec::new();
    let report = engine.run(|update| {
        if let Update::Event { at, node, kind } = update {
            events.push(format!("{at:.3} {node}: {kind}"));
        }
    });
    assert!(
        report.faults.is_empty() && report.undrained.is_empty(),
        "{:?} {:?}",
        report.faults,
        report.undrained
    );
    (report, events)
}

/// Every picture of a Y4M file.
fn pictures(path: &str) -> Vec<Frame> {
    let file = File::open(path).unwrap_or_else(|why| panic!("{path}: {why}"));
    let mut reader = y4m::Reader::new(BufReader::new(file), None).unwrap();
    let format = Format::Video(VideoFormat::i420(reader.y4m().size));
    let mut frames = Vec::new();
    while reader.next_picture().unwrap() {
        let mut frame = Frame::unpooled(Header::default(), format);
        reader.read_picture(&mut frame).unwrap();
        frames.push(frame);
    }
    frames
}

/// The samples of a WAV file's first channel, and its rate.
fn sound(path: &str) -> (Vec<f32>, u32) {
    let bytes = std::fs::read(path).unwrap_or_else(|why| panic!("{path}: {why}"));
    let mut reader = wav::Reader::new(bytes.as_slice()).unwrap();
    let wav = reader.wav();
    let samples = reader.read(usize::MAX / 16).unwrap();
    (samples.iter().step_by(usize::from(wav.channels)).copied().collect(), wav.rate)
}

/// Peak signal-to-noise ratio of two planes of one size, in dB.
fn psnr(a: &Plane<'_>, b: &Plane<'_>) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let squares: f64 = (0..a.height)
        .flat_map(|y| a.row(y).iter().zip(b.row(y)))
        .map(|(p, q)| (f64::from(*p) - f64::from(*q)).powi(2))
        .sum();
    10.0 * (255.0 * 255.0 * (a.width * a.height) as f64 / squares.max(1e-9)).log10()
}

/// The greatest normalised correlation of `part` with a stretch of `whole` that
/// begins in its first `most` samples.
fn correlation(part: &[f32], whole: &[f32], most: usize) -> f64 {
    let norm = |samples: &[f32]| samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>().sqrt();
    let at = |start: usize| {
        let there = &whole[start..start + part.len()];
        let dot: f64 = part.iter().zip(there).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        dot / (norm(part) * norm(there)).max(1e-12)
    };
    (0..most.min(whole.len() - part.len())).map(at).fold(-1.0, f64::max)
}
