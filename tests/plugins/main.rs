//! Plugins from their libraries to the graphs that they run in.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

mod first_release;
mod hostile;
mod reload;
mod wrong;

use std::path::Path;
use std::process::Command;

use sidetone::recording::{Next, Reader, Record};
use sidetone::scratch::Scratch;

/// A folder of a test's own, beside what is built.
fn scratch() -> Scratch {
    Scratch::within(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// The command in `folder`, which keeps there what it keeps between runs.
fn sidetone(folder: &Scratch) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
    command.current_dir(folder.path("")).env("XDG_CACHE_HOME", folder.path("cache"));
    command
}

/// What `cc` makes of a C file of this folder, as the bytes of a library.
fn built(source: &str, defines: &[&str]) -> Vec<u8> {
    let defines: Vec<_> = defines.iter().map(|define| format!("-D{define}")).collect();
    let flags: Vec<_> = defines.iter().map(String::as_str).collect();
    compiled(&format!("tests/plugins/{source}"), "plugins/include", &flags)
}

/// What `cc` makes of a C file of this repository with the headers in `include`.
fn compiled(source: &str, include: &str, flags: &[&str]) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = scratch();
    let library = folder.path("library.so");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", &library])
        .args(flags)
        .arg("-I")
        .arg(root.join(include))
        .arg(root.join(source))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(library).unwrap()
}

/// The frames of a recording.
fn recorded(folder: &Scratch, name: &str) -> Vec<(Record, Vec<u8>)> {
    let bytes = std::fs::read(folder.path(&format!("{name}.frames"))).unwrap();
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let mut frames = Vec::new();
    while let Next::Frame(record) = reader.read().unwrap() {
        frames.push((record, reader.payload().to_vec()));
    }
    frames
}

/// The samples of a frame of sound, one channel after another.
fn samples(payload: &[u8]) -> Vec<f32> {
    payload.chunks(4).map(|at| f32::from_ne_bytes(at.try_into().unwrap())).collect()
}
