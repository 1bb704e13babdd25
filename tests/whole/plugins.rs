//! Plugins as authors meet them: begun by the command, compiled by whoever is there,
//! loaded by the host.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sidetone::plugins::{Library, Manifest, manifest};

use crate::{scratch, shipped};

pub(crate) fn done(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Begins a plugin in `folder` by the command.
fn begin(folder: &Path, args: &[&str]) -> Output {
    let sidetone = env!("CARGO_BIN_EXE_sidetone");
    Command::new(sidetone).args(["plugin", "new"]).args(args).current_dir(folder).output().unwrap()
}

pub(crate) fn compile(compiler: &str, args: &[&str], include: &str, source: &str, library: &Path) {
    let flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-pedantic", "-Werror", "-o"];
    let mut command = Command::new(compiler);
    command.args(flags).arg(library).args(args).arg("-I").arg(shipped(include)).arg(shipped(source));
    done(&command.output().unwrap());
}

/// Samples that are no crates: their names, how their files end, and who compiles them.
pub(crate) const SAMPLES: [(&str, &str, &str, &str); 2] =
    [("sepia_c", "c", "cc", "-std=c99"), ("tint_cpp", "cpp", "c++", "-std=c++17")];

/// Loads a library and gives what differs between it and its manifest file.
fn differences(library: &Path, manifest: &Path) -> Vec<String> {
    let file = Manifest::read(manifest).unwrap_or_else(|why| panic!("{why}"));
    let library = Library::load(library).unwrap_or_else(|why| panic!("{why}"));
    file.differences(&library.table)
}

#[test]
fn a_new_plugin_in_rust_builds_offline_and_its_tests_pass() {
    let folder = scratch();
    let said = done(&begin(Path::new(&folder.path("")), &["glow"]));
    assert!(said.contains("cargo build --release") && said.contains("my.glow"), "{said}");
    let glow = PathBuf::from(folder.path("glow"));
    let source = std::fs::read_to_string(glow.join("src/lib.rs")).unwrap();
    assert!(source.lines().count() <= 30, "{source}");
    let cargo = |args: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(args).arg("--offline").current_dir(&glow).env("CARGO_TARGET_DIR", glow.join("target"));
        cargo.env_remove("RUSTFLAGS").env("CARGO_BUILD_JOBS", "2");
        done(&cargo.output().unwrap())
    };
    let said = cargo(&["test"]);
    assert!(said.contains("3 passed") && !said.contains("warning"), "{said}");
    cargo(&["build"]);
    let library = glow.join("target/debug/libglow.so");
    assert_eq!(differences(&library, &glow.join("glow.sidetone.toml")), Vec::<String>::new());
}

#[test]
fn a_new_plugin_in_c_builds_with_a_plain_compiler() {
    let folder = scratch();
    let said = done(&begin(Path::new(&folder.path("")), &["soft_glow", "--lang", "c", "--id", "acme"]));
    assert!(said.contains("make") && said.contains("acme.soft_glow"), "{said}");
    let glow = PathBuf::from(folder.path("soft_glow"));
    let said = done(&Command::new("make").current_dir(&glow).output().unwrap());
    assert!(!said.contains("warning"), "{said}");
    let library = glow.join("libsoft_glow.so");
    assert_eq!(differences(&library, &glow.join("soft_glow.sidetone.toml")), Vec::<String>::new());
}

#[test]
fn a_folder_that_is_there_and_a_name_that_is_none_are_refused() {
    let folder = scratch();
    std::fs::create_dir(folder.path("glow")).unwrap();
    for (args, why) in [
        (&["glow"][..], "glow is there already"),
        (&["Glow"], "\"Glow\" is no name"),
        (&["bloom", "--id", "effect"], "the framework's own"),
    ] {
        let output = begin(Path::new(&folder.path("")), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(std::fs::read_dir(folder.path("glow")).unwrap().count(), 0);
}

#[test]
fn samples_in_c_and_cpp_are_what_their_manifests_say() {
    let folder = scratch();
    for (name, ending, compiler, standard) in SAMPLES {
        let library = PathBuf::from(folder.path(&format!("lib{name}.so")));
        let source = format!("plugins/{name}/{name}.{ending}");
        compile(compiler, &[standard], "plugins/include", &source, &library);
        let file = shipped(&format!("plugins/{name}/{name}{}", manifest::ENDING));
        assert_eq!(differences(&library, &file), Vec::<String>::new(), "{name}");
    }
    let lines = std::fs::read_to_string(shipped("plugins/sepia_c/sepia_c.c")).unwrap().lines().count();
    assert!(lines <= 80, "{lines} lines");
}
