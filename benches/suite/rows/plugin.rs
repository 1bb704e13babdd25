//! Plugins: what a call of one costs, in this process and in one of its own (row
//! `plugin`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sidetone::LoadOptions;
use sidetone::plugins::{PluginOptions, registry_for};

use super::{Row, Window, run_file};
use crate::kinds;
use crate::kinds::take_found;
use crate::reading::Readings;

pub(super) const ROW: Row = Row {
    name: "plugin",
    title: "Plugins: a call in this process, and in one of its own",
    how: "`benches/plugin/bench_plugin.c`, built by `cc -O3`. `call`: 50 nodes in a row on one lane change the sign \
          of frames of 16 samples, first the built-in `bench.turn_sound`, then the plugin, five times in turns; taken \
          is the processor time of the lane's thread a node, the least of the five. `round trip`: a plugin copies \
          pictures of 1280x720, one every 8 ms, in this process, and then the copy once more with `isolate = \
          \"process\"`; taken are the medians of both nodes' work in the ledger.",
    cases: &["call", "round trip"],
    quick: &["call", "round trip"],
    measure,
};

/// Nodes in a row.
const NODES: u64 = 50;
/// Turns of built-in and plugin.
const TURNS: usize = 5;

fn measure(case: &str, quick: bool) -> Result<Readings, String> {
    match case {
        "call" => call(if quick { 20_000 } else { 100_000 }),
        "round trip" => round_trip(if quick { 2.0 } else { 6.0 }),
        _ => Err(format!("\"{case}\" is no case, such as call")),
    }
}

fn call(frames: u64) -> Result<Readings, String> {
    let (mut built_in, mut plugin) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        built_in.push(chain("bench.turn_sound", frames)?);
        plugin.push(chain("bench_plugin.turn", frames)?);
    }
    let (built_in, plugin) = (least(&built_in), least(&plugin));
    Ok(vec![
        ("built_in_ns_per_call", built_in),
        ("plugin_ns_per_call", plugin),
        ("added_ns_per_call", plugin - built_in),
    ])
}

/// Nanoseconds of processor time a node and frame.
fn chain(kind: &str, frames: u64) -> Result<f64, String> {
    let names: String = (0..NODES).map(|node| format!(" -> p{node}")).collect();
    let nodes: String =
        (0..NODES).map(|node| format!("p{node} = {{ kind = \"{kind}\", lane = \"one\" }}\n")).collect();
    let text = format!(
        "# Bench.\nsidetone = 1\nlinks = [\"samples{names} -> sink\"]\n[nodes]\n{nodes}samples = {{ kind = \
         \"bench.samples\", samples = {}, chunk = 16, lane = \"one\" }}\nsink = {{ kind = \"bench.samples_sink\", \
         lane = \"one\" }}\n",
        16 * frames
    );
    run(text, |_, _| {})?;
    let found = take_found();
    let (Some(first), Some(last)) = (found.source.0, found.sink.1) else {
        return Err("not all frames came".to_owned());
    };
    Ok(last.cpu.saturating_sub(first.cpu).as_nanos() as f64 / (frames * NODES) as f64)
}

fn round_trip(seconds: f64) -> Result<Readings, String> {
    let text = "# Bench.\nsidetone = 1\nlinks = [\"pictures -> here -> apart -> sink.video\"]\n[nodes]\npictures = { kind = \
                \"bench.pictures\", every_us = 8000 }\nhere = { kind = \"bench_plugin.copy\", lane = \"here\" }\napart = \
                { kind = \"bench_plugin.copy\", isolate = \"process\", lane = \"apart\" }\nsink = { kind = \
                \"bench.render\" }\n";
    let mut window = Window::new(0.5, seconds);
    let report = run(text.to_owned(), |handle, update| window.look(handle, &update))?;
    let work = |node: &str| -> Result<f64, String> {
        let stage = report.stages.iter().find(|stage| stage.node == node).ok_or("no picture was copied")?;
        Ok(stage.work_ms.p50 * 1_000.0)
    };
    let (here, apart) = (work("here")?, work("apart")?);
    Ok(vec![("in_process_p50_us", here), ("isolated_p50_us", apart), ("added_p50_us", apart - here)])
}

/// The least: whatever disturbs a run makes it longer.
fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn run(
    text: String,
    observe: impl FnMut(&super::Handle, sidetone::Update<'_>),
) -> Result<sidetone::Report, String> {
    let folder = folder()?;
    let options = PluginOptions { folders: vec![folder.clone()], ..PluginOptions::default() };
    let (mut registry, wrong) = registry_for(None, &options);
    if let Some(why) = wrong.first() {
        return Err(why.to_string());
    }
    kinds::add(&mut registry);
    let read = |_: &Path| Ok(text.clone().into_bytes());
    let options = LoadOptions { read: &read, ..LoadOptions::default() };
    run_file(Path::new("bench.toml"), &registry, &options, observe)
}

/// The folder in which the plugin stands, built.
fn folder() -> Result<&'static PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref().map_err(Clone::clone)
}

fn build() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench_plugin");
    std::fs::create_dir_all(&folder).map_err(|why| why.to_string())?;
    let source = root.join("benches/plugin");
    let manifest = "bench_plugin.sidetone.toml";
    std::fs::copy(source.join(manifest), folder.join(manifest)).map_err(|why| why.to_string())?;
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O3", "-o"])
        .arg(folder.join("libbench_plugin.so"))
        .arg("-I")
        .arg(root.join("plugins/include"))
        .arg(source.join("bench_plugin.c"))
        .status();
    match built {
        Ok(status) if status.success() => Ok(folder),
        Ok(status) => Err(format!("cc failed: {status}")),
        Err(why) => Err(format!("cannot run cc: {why}")),
    }
}
