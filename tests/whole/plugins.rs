//! Plugins as authors meet them: begun by the command, compiled by whoever is there,
//! loaded by the host.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sidetone::plugins::{Library, Manifest, manifest};
use sidetone::scratch::Scratch;

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

/// Samples that are no crates, and how their sources end.
pub(crate) const SAMPLES: [(&str, &str); 3] =
    [("sepia_c", "c"), ("tint_cpp", "cpp"), ("posterize_zig", "zig")];

/// Builds a sample into `folder` and puts its manifest beside it; gives the library,
/// or nothing where there is no compiler for it.
pub(crate) fn build((name, ending): (&str, &str), folder: &Scratch) -> Option<PathBuf> {
    let library = PathBuf::from(folder.path(&format!("lib{name}.so")));
    let source = shipped(&format!("plugins/{name}/{name}.{ending}"));
    match ending {
        "c" => compile("cc", "-std=c99", &source, &library),
        "cpp" => compile("c++", "-std=c++17", &source, &library),
        _ => compile_zig(&zig()?, &source, &library),
    }
    let manifest = format!("{name}{}", manifest::ENDING);
    std::fs::copy(shipped(&format!("plugins/{name}/{manifest}")), folder.path(&manifest)).unwrap();
    Some(library)
}

fn compile(compiler: &str, standard: &str, source: &Path, library: &Path) {
    let flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-pedantic", "-Werror", standard, "-o"];
    let mut command = Command::new(compiler);
    command.args(flags).arg(library).arg("-I").arg(shipped("plugins/include")).arg(source);
    done(&command.output().unwrap());
}

/// The words of the command that is the Zig compiler, if there is one.
fn zig() -> Option<Vec<&'static str>> {
    let is_there = |words: &Vec<&str>| {
        let version = Command::new(words[0]).args(&words[1..]).arg("version").output();
        version.is_ok_and(|output| output.status.success())
    };
    let found = [vec!["zig"], vec!["python3", "-m", "ziglang"]].into_iter().find(is_there);
    if found.is_none() {
        eprintln!("there is no Zig compiler here, so the sample in Zig is not tried");
    }
    found
}

fn compile_zig(words: &[&str], source: &Path, library: &Path) {
    // What Zig builds for itself stays, since that takes a minute.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("zig");
    let zig = || {
        let mut zig = Command::new(words[0]);
        zig.args(&words[1..]).env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
        zig
    };
    let include = shipped("plugins/include");
    let header = include.join("sidetone_plugin.h");
    let translated = zig().args(["translate-c", "-lc", "-I"]).arg(include).arg(header).output().unwrap();
    assert!(translated.status.success(), "{}", String::from_utf8_lossy(&translated.stderr));
    let module = library.with_file_name("sidetone_plugin.zig");
    std::fs::write(&module, translated.stdout).unwrap();
    let mut build = zig();
    build.args(["build-lib", "-dynamic", "-OReleaseFast", "--dep", "sidetone_plugin"]);
    build.arg(format!("-Mroot={}", source.display()));
    build.arg(format!("-Msidetone_plugin={}", module.display()));
    build.arg(format!("-femit-bin={}", library.display()));
    done(&build.output().unwrap());
}

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
fn samples_in_c_cpp_and_zig_pass_their_check() {
    let folder = scratch();
    for library in SAMPLES.into_iter().filter_map(|sample| build(sample, &folder)) {
        let check =
            Command::new(env!("CARGO_BIN_EXE_sidetone")).args(["plugin", "check"]).arg(library).output();
        let said = done(&check.unwrap());
        assert!(said.contains(" 0 failed"), "{said}");
    }
    for (file, most) in [("sepia_c/sepia_c.c", 80), ("posterize_zig/posterize_zig.zig", 100)] {
        let lines = std::fs::read_to_string(shipped(&format!("plugins/{file}"))).unwrap().lines().count();
        assert!(lines <= most, "{file}: {lines} lines");
    }
}
