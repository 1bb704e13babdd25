//! The graphs of `graphs/plugins`: that each runs, and that what its effect does is
//! seen or heard.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sidetone::harness::Harness;
use sidetone::plugins::manifest;
use sidetone::scratch::Scratch;
use sidetone::{Frame, Size, Value, registry};
use sidetone_plugin_host::world::search as world;

use crate::plugins::{SAMPLES, build, done};
use crate::{pictures, scratch, shipped, sound};

/// Samples that are crates.
const CRATES: [&str; 3] = ["vignette", "robot_voice", "pixelate_faces"];

/// Effects that graphs name and that may be installed here: the graph, the variable
/// that says where, and the library.
const INSTALLED: [(&str, &str, &str); 2] =
    [("frei0r_cartoon", "FREI0R_PATH", "cartoon.so"), ("ladspa_hall", "LADSPA_PATH", "plate_1423.so")];

/// A graph for pictures, and what holds of each before and after its effect.
type Seen = (&'static str, fn(&Frame, &Frame));

const SEEN: [Seen; 6] = [
    ("vignette", only_corners_are_dark),
    ("sepia_c", colours_are_nearly_one),
    ("tint_cpp", colours_are_shifted),
    ("posterize_zig", shades_are_few),
    ("pixelate_faces", what_changed_is_in_blocks),
    ("frei0r_cartoon", smooth_parts_are_flat),
];

/// A graph for sound, its source, and what holds of the sound before and after its
/// effect.
type Heard = (&'static str, &'static str, &'static [(&'static str, f64)], fn(&[f32], &[f32]));

const HEARD: [Heard; 2] = [
    ("robot_voice", "test.tone", &[("frequency_hz", 330.0), ("am_hz", 4.0)], the_tone_became_others),
    ("ladspa_hall", "test.clicks", &[], clicks_ring_on),
];

#[test]
fn every_graph_for_plugins_shows_what_its_effect_does() {
    for entry in std::fs::read_dir(shipped("graphs/plugins")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        // `make plugins` puts manifests there.
        let Some(graph) = name.strip_suffix(".toml").filter(|name| !name.contains('.')) else { continue };
        let mut known = SEEN.iter().map(|(known, _)| known).chain(HEARD.iter().map(|(known, ..)| known));
        assert!(known.any(|known| *known == graph), "{name} is not tried");
    }
    let plugins = Plugins::build();
    let scene = [("size", Size::new(640, 360).into())];
    for (graph, holds) in SEEN {
        let Some(folder) = plugins.run(graph) else { continue };
        let after = pictures(&folder.path(&format!("{graph}.y4m")));
        assert_eq!(after.len(), 16, "{graph}");
        for (before, after) in source("test.scene", &scene).iter().zip(&after) {
            holds(before, after);
        }
    }
    for (graph, kind, params, holds) in HEARD {
        let Some(folder) = plugins.run(graph) else { continue };
        let params: Vec<_> = params.iter().map(|(name, value)| (*name, Value::Float(*value))).collect();
        let before: Vec<f32> =
            source(kind, &params).iter().flat_map(|frame| frame.channel(0).to_vec()).collect();
        let (after, rate) = sound(&folder.path(&format!("{graph}.wav")));
        assert_eq!((after.len(), before.len(), rate), (24_000, 24_000, 48_000), "{graph}");
        holds(&before, &after);
    }
}

/// What a source gives in half a second.
fn source(kind: &str, params: &[(&str, Value)]) -> Vec<Frame> {
    let mut source = Harness::new(registry().get(kind).unwrap(), params);
    source.advance(Duration::from_millis(500));
    source.take(0)
}

/// The mean of a square of luma.
fn mean(frame: &Frame, left: usize, top: usize) -> f64 {
    let side = 32;
    let rows = (top..top + side).flat_map(|y| &frame.plane(0).row(y)[left..left + side]);
    rows.map(|sample| f64::from(*sample)).sum::<f64>() / (side * side) as f64
}

/// The rows of a plane, before and after.
fn rows<'a>(before: &'a Frame, after: &'a Frame, plane: usize) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let (before, after) = (before.plane(plane), after.plane(plane));
    assert_eq!((before.width, before.height), (after.width, after.height));
    (0..before.height).map(move |y| (before.row(y), after.row(y)))
}

/// Samples of a plane, before and after.
fn samples(before: &Frame, after: &Frame, plane: usize) -> Vec<(f64, f64)> {
    let pairs = rows(before, after, plane).flat_map(|(before, after)| before.iter().zip(after));
    pairs.map(|(before, after)| (f64::from(*before), f64::from(*after))).collect()
}

fn only_corners_are_dark(before: &Frame, after: &Frame) {
    for (left, top) in [(608, 0), (0, 328), (608, 328)] {
        let (before, after) = (mean(before, left, top) - 16.0, mean(after, left, top) - 16.0);
        assert!(before > 10.0 && after < 0.3 * before, "{before} became {after}");
    }
    let (before, after) = (mean(before, 304, 164), mean(after, 304, 164));
    assert!((before - after).abs() < 2.0, "{before} became {after}");
}

fn colours_are_nearly_one(before: &Frame, after: &Frame) {
    assert!(rows(before, after, 0).all(|(before, after)| before == after));
    for (plane, brown) in [(1, 102.0), (2, 146.0)] {
        for (before, after) in samples(before, after, plane) {
            assert!((after - brown).abs() <= 0.2 * (before - brown).abs() + 0.5, "{before} became {after}");
        }
    }
}

fn colours_are_shifted(before: &Frame, after: &Frame) {
    assert!(rows(before, after, 0).all(|(before, after)| before == after));
    for (plane, by) in [(1, 24.0), (2, -8.0)] {
        for (before, after) in samples(before, after, plane) {
            assert_eq!((before + by).clamp(16.0, 240.0), after);
        }
    }
}

fn shades_are_few(before: &Frame, after: &Frame) {
    let shades: BTreeSet<u8> = rows(before, after, 0).flat_map(|(_, after)| after.to_vec()).collect();
    assert_eq!(shades.into_iter().collect::<Vec<_>>(), [16, 60, 104, 147, 191, 235]);
    for plane in [1, 2] {
        assert!(rows(before, after, plane).all(|(before, after)| before == after));
    }
}

fn what_changed_is_in_blocks(before: &Frame, after: &Frame) {
    const SIDE: usize = 16;
    let plane = after.plane(0);
    let (mut changed, mut blocks) = (0, 0);
    for top in (0..plane.height).step_by(SIDE) {
        for left in (0..plane.width).step_by(SIDE) {
            let part = |frame: &Frame| -> Vec<u8> {
                let rows = top..(top + SIDE).min(plane.height);
                rows.flat_map(|y| frame.plane(0).row(y)[left..left + SIDE].to_vec()).collect()
            };
            let (before, after) = (part(before), part(after));
            blocks += 1;
            if before != after {
                changed += 1;
                assert!(after.iter().all(|sample| *sample == after[0]), "the block at {left}, {top}");
            }
        }
    }
    // The face, and neither nothing nor all around it.
    assert!((blocks / 50..blocks / 2).contains(&changed), "{changed} of {blocks} blocks");
}

/// How many neighbours in a row are alike.
fn flat(frame: &Frame) -> usize {
    let plane = frame.plane(0);
    (0..plane.height).map(|y| plane.row(y).windows(2).filter(|pair| pair[0] == pair[1]).count()).sum()
}

fn smooth_parts_are_flat(before: &Frame, after: &Frame) {
    let (before, after) = (flat(before), flat(after));
    assert!(after > 3 * before, "{before} neighbours were alike, and {after} are");
}

fn rms(samples: impl Iterator<Item = f32> + Clone) -> f64 {
    (samples.clone().map(|sample| f64::from(sample).powi(2)).sum::<f64>() / samples.count() as f64).sqrt()
}

fn the_tone_became_others(before: &[f32], after: &[f32]) {
    let dot: f64 = before.iter().zip(after).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let (was, is) = (rms(before.iter().copied()), rms(after.iter().copied()));
    let likeness = dot / (was * is * before.len() as f64);
    // A sine times 0.1 and 0.9 of another: 0.64 as loud, and a tenth of it as it was.
    assert!((0.6..0.7).contains(&(is / was)), "{was} became {is}");
    assert!((0.1..0.2).contains(&likeness), "{likeness}");
}

fn clicks_ring_on(before: &[f32], after: &[f32]) {
    let silent: Vec<usize> = (0..before.len()).filter(|at| before[*at] == 0.0).collect();
    assert!(silent.len() > before.len() / 2);
    let tail = rms(silent.iter().map(|at| after[*at]));
    assert!(tail > 1e-3, "there was silence, and there is {tail}");
}

/// The sample plugins, built, and those installed effects that graphs name.
struct Plugins(Scratch);

impl Plugins {
    fn build() -> Self {
        let folder = scratch();
        let to = |name: &str| PathBuf::from(folder.path(name));
        // Outside that folder, so that they are built once.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("samples");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--offline", "--locked"]).args(CRATES.iter().flat_map(|name| ["-p", name]));
        cargo.current_dir(shipped("")).env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS");
        done(&cargo.output().unwrap());
        for name in CRATES {
            let library = format!("lib{name}.so");
            std::fs::copy(target.join("debug").join(&library), to(&library)).unwrap();
            let file = format!("{name}{}", manifest::ENDING);
            std::fs::copy(shipped(&format!("plugins/{name}/{file}")), to(&file)).unwrap();
        }
        for sample in SAMPLES {
            build(sample, &folder);
        }
        // Of what is installed the command sees these alone: to describe all takes long.
        let all = [world::frei0r(), world::ladspa()].map(|folders| world::libraries(&folders, "so", 1));
        for (graph, _, library) in INSTALLED {
            std::fs::create_dir(to(graph)).unwrap();
            if let Some(path) = all.iter().flatten().find(|path| path.ends_with(library)) {
                std::os::unix::fs::symlink(path, to(graph).join(library)).unwrap();
            }
        }
        Self(folder)
    }

    /// What a graph leaves in its folder after half a second; nothing where its effect
    /// is not installed, or there is no compiler for it.
    fn run(&self, graph: &str) -> Option<Scratch> {
        let (here, out) = (&self.0, scratch());
        let installed = INSTALLED.iter().find(|(of, ..)| *of == graph);
        let library = match installed {
            Some((.., library)) => format!("{graph}/{library}"),
            None => format!("lib{graph}.so"),
        };
        if !Path::new(&here.path(&library)).exists() {
            eprintln!("graphs/plugins/{graph}.toml is not tried: there is no {library} here");
            return None;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
        command.args(["run", "--virtual", "--seconds", "0.5", "--plugins", &here.path("")]);
        command.arg(shipped(&format!("graphs/plugins/{graph}.toml")));
        command.args(["--set", &format!("out={}", out.path(""))]);
        command.env("XDG_CACHE_HOME", here.path("cache"));
        for (graph, variable, _) in INSTALLED {
            command.env(variable, here.path(graph));
        }
        let said = done(&command.output().unwrap());
        assert!(!said.contains("fault:"), "{graph}: {said}");
        Some(out)
    }
}
