//! The rules of the house, checked by reading its files: who depends on whom,
//! one file = one node = one struct = one kind, sizes, data sheets, and words
//! that must not stand in the tree.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Every file below `folder` whose name ends with `ending`, by path.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The part of a source file before its tests.
fn code_of(source: &str) -> &str {
    let tests = ["\n#[cfg(test)]", "\n#[cfg(all(test"];
    tests.iter().fold(source, |code, tests| code.split(tests).next().unwrap())
}

/// The code of the node file at `path` and of all the files of its crate that it
/// draws on, by path: what it calls by `crate::`, and its own modules.
fn code_behind(path: &Path) -> BTreeMap<PathBuf, String> {
    let crate_root = path.parent().unwrap();
    let mut found = BTreeMap::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        if found.contains_key(&path) || !path.is_file() {
            continue;
        }
        let code = code_of(&read(&path)).to_owned();
        let name =
            |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
        assert!(!code.contains("crate::{"), "{}: name each module by itself", shown(&path));
        for rest in code.split("crate::").skip(1) {
            open.push(crate_root.join(name(rest)).with_extension("rs"));
        }
        for line in code.lines().filter_map(|line| line.trim_end().strip_suffix(';')) {
            if let Some((_, module)) = line.split_once("mod ") {
                open.push(path.with_extension("").join(module).with_extension("rs"));
            }
        }
        found.insert(path, code);
    }
    found
}

fn complain(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

/// The node files: `nodes/JOB/src/WHAT.rs` with a `NodeSpec` in it.
fn node_files() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    for path in files(&root().join("nodes"), ".rs") {
        let source = read(&path);
        if code_of(&source).contains(": NodeSpec =") {
            let job = path.strip_prefix(root().join("nodes")).unwrap().iter().next().unwrap();
            found.push((job.to_string_lossy().into_owned(), path, source));
        }
    }
    assert!(found.len() >= 20, "the node files were not found");
    found
}

#[test]
fn the_top_level_holds_only_what_the_design_names() {
    let allowed = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "Makefile",
        "README.md",
        "benches",
        "clippy.toml",
        "core",
        "deny.toml",
        "docs",
        "examples",
        "graphs",
        "nodes",
        "plugins",
        "rustfmt.toml",
        "src",
        "tests",
        "out",
        "target",
    ];
    let mut mistakes = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !allowed.contains(&name.as_str()) {
            mistakes.push(format!("{name}: the top level is fixed; see ARCHITECTURE.md"));
        }
    }
    complain(&mistakes);
}

#[test]
fn nobody_depends_on_what_they_may_not() {
    let mut mistakes = Vec::new();
    let mut crates: BTreeMap<String, String> = BTreeMap::new();
    for manifest in files(&root(), "Cargo.toml") {
        crates.insert(shown(&manifest), read(&manifest));
    }
    for (path, text) in &crates {
        let dependencies: Vec<&str> = text
            .split("\n[")
            .filter(|section| {
                section.starts_with("dependencies]") || section.starts_with("build-dependencies]")
            })
            .flat_map(str::lines)
            .filter_map(|line| line.split(['.', '=', ' ']).next())
            .collect();
        let mut refuse = |bad: &dyn Fn(&str) -> bool, why: &str| {
            for dependency in dependencies.iter().filter(|name| bad(name)) {
                mistakes.push(format!("{path}: {dependency}: {why}"));
            }
        };
        let ours = |name: &str| name.starts_with("sidetone");
        if path.starts_with("core/") {
            let heavy = |name: &str| {
                ours(name)
                    || ["tokio", "mio", "socket2", "libloading", "opus", "rav1e", "cpal"].contains(&name)
            };
            refuse(&heavy, "core knows no nodes, plugins, codecs, sockets or runtime");
        } else if path.starts_with("nodes/") {
            refuse(
                &|name| ours(name) && name != "sidetone-core",
                "nodes depend on core, never on one another",
            );
        } else if path.starts_with("plugins/abi/") {
            refuse(&ours, "the ABI depends on nothing of ours");
        } else if path.starts_with("plugins/host/") {
            let fine = ["sidetone-core", "sidetone-plugin-abi"];
            refuse(&|name| ours(name) && !fine.contains(&name), "the host depends on core and abi only");
        } else if path.starts_with("plugins/sdk/") {
            refuse(&|name| ours(name) && name != "sidetone-plugin-abi", "the kit depends on the ABI only");
        }
    }
    assert!(crates.len() >= 10, "the manifests were not found");
    complain(&mistakes);
}

#[test]
fn one_file_is_one_node_one_struct_one_kind() {
    let mut mistakes = Vec::new();
    for (job, path, source) in node_files() {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let code = code_of(&source);
        let at = shown(&path);
        if code.matches(": NodeSpec =").count() != 1 {
            mistakes.push(format!("{at}: more than one kind in a file"));
        }
        if !code.contains(&format!("kind: \"{job}.{stem}\"")) {
            mistakes.push(format!("{at}: its kind must be {job}.{stem}"));
        }
        let name: String = stem.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        let defines = |line: &str| {
            ["struct ", "pub(crate) struct ", "pub struct "]
                .iter()
                .filter_map(|before| line.strip_prefix(before))
                .any(|rest| {
                    rest.strip_prefix(name.as_str())
                        .is_some_and(|rest| rest.starts_with([' ', ';', '(', '<']))
                })
        };
        if !code.lines().any(defines) {
            mistakes.push(format!("{at}: its struct must be {name}"));
        }
    }
    complain(&mistakes);
}

#[test]
fn every_node_begins_with_its_data_sheet() {
    let mut mistakes = Vec::new();
    for (job, path, source) in node_files() {
        let at = shown(&path);
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let sheet = sidetone::registry::leading_comment(&source);
        if !sheet.starts_with(&format!("//! `{job}.{stem}`: ")) {
            mistakes.push(format!("{at}: the sheet must begin with `{job}.{stem}`: what it is for"));
        }
        for part in ["Ports:", "Parameters", "Latency:", "Method", "```toml"] {
            if !sheet.contains(part) {
                mistakes.push(format!("{at}: the sheet lacks \"{part}\""));
            }
        }
        let registry = sidetone::registry();
        let Some(spec) = registry.get(&format!("{job}.{stem}")) else {
            mistakes.push(format!("{at}: its crate does not list it among its KINDS"));
            continue;
        };
        for param in spec.params {
            if !sheet.contains(&format!("`{}`", param.name)) {
                mistakes.push(format!("{at}: the sheet does not tell of `{}`", param.name));
            }
        }
    }
    complain(&mistakes);
}

#[test]
fn nothing_on_a_real_time_lane_names_a_lock_a_clock_or_a_thread() {
    let words = "Mutex RwLock Condvar Barrier LazyLock parking_lot Instant:: SystemTime std::thread print! \
                 println! .recv() TcpStream UdpSocket";
    // The thread that takes a recording to the disk, and the sleep of a lane.
    let allowed = [("nodes/net/src/recorder.rs", "std::thread"), ("core/src/waker.rs", "std::thread")];
    // What of core a node's call, a link and a frame consist of.
    let core = "cell context frame histogram ledger link pool ready ring timers waker";
    let core = core.split(' ').map(|file| root().join("core/src").join(file).with_extension("rs"));
    let mut sources: BTreeMap<PathBuf, String> =
        core.map(|path| (path.clone(), code_of(&read(&path)).to_owned())).collect();
    let mut kinds = Vec::new();
    for (job, path, source) in node_files() {
        if code_of(&source).contains("real_time: true") {
            kinds.push(format!("{job}.{}", path.file_stem().unwrap().to_string_lossy()));
            sources.append(&mut code_behind(&path));
        }
    }
    let registered: Vec<_> =
        sidetone::registry().iter().filter(|spec| spec.real_time).map(|spec| spec.kind.to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, registered, "the files of all real-time kinds");
    assert!(sources.keys().any(|path| path.ends_with("audio_jitter.rs")), "what nodes draw on was not found");
    let mut mistakes = Vec::new();
    for (path, code) in &sources {
        let at = shown(path);
        for word in
            words.split_whitespace().filter(|word| code.contains(word) && !allowed.contains(&(&at, word)))
        {
            mistakes.push(format!("{at}: what runs on a real-time lane must not use {word}"));
        }
    }
    complain(&mistakes);
}

#[test]
fn files_stay_small_enough_to_read() {
    let mut mistakes = Vec::new();
    for path in files(&root(), ".rs") {
        let lines = read(&path).lines().count();
        if lines > 800 {
            mistakes.push(format!("{}: {lines} lines; 800 at most", shown(&path)));
        }
    }
    for (_, path, source) in node_files() {
        let lines = code_of(&source).lines().count();
        if lines > 300 {
            mistakes.push(format!("{}: {lines} lines before its tests; 300 at most", shown(&path)));
        }
    }
    for path in files(&root().join("examples"), ".rs") {
        let lines = read(&path).lines().count();
        if lines > 60 {
            mistakes.push(format!("{}: {lines} lines; an example has 60 at most", shown(&path)));
        }
    }
    complain(&mistakes);
}

#[test]
fn every_graph_file_says_what_it_is_for() {
    let graphs = files(&root().join("graphs"), ".toml");
    assert!(graphs.len() >= 5, "the graph files were not found");
    let silent: Vec<_> = graphs
        .iter()
        .filter(|path| !read(path).starts_with("# "))
        .map(|path| format!("{}: must begin with a comment that says what it is for", shown(path)))
        .collect();
    complain(&silent);
}

#[test]
fn unsafe_code_stands_only_where_it_is_needed() {
    // Pools and rings hand memory from thread to thread, shared memory hands it to other processes; the
    // buffer's blocks are plain data; libaom is a C library; an allocator that counts is unsafe by its trait;
    // the plugin kit reads and writes what a host lends it through C.
    let allowed = [
        "core/src/pool.rs",
        "core/src/ring.rs",
        "core/src/frame.rs",
        "core/src/shared_memory.rs",
        "nodes/codec/src/aom.rs",
        "plugins/host/src/lib.rs",
        "plugins/sdk/src/call.rs",
        "plugins/sdk/src/frame.rs",
        "plugins/sdk/src/harness.rs",
        "plugins/sdk/src/harness/host.rs",
        "plugins/sdk/src/macros.rs",
        "plugins/sdk/src/table.rs",
        "plugins/sdk/tests/kit.rs",
        "nodes/room/tests/steady.rs",
        "nodes/rtp/tests/jitter/allocation.rs",
        "tests/contract.rs",
        "tests/edit.rs",
        "tests/fuzz/src/meter.rs",
    ];
    let mut mistakes = Vec::new();
    for path in files(&root(), ".rs") {
        let at = shown(&path);
        if at != "tests/tidy.rs"
            && read(&path).contains("allow(unsafe_code)")
            && !allowed.contains(&at.as_str())
        {
            mistakes.push(format!("{at}: unsafe code is not expected here"));
        }
    }
    complain(&mistakes);
}

#[test]
fn miri_runs_the_tests_of_all_of_cores_unsafe_code() {
    let makefile = read(&root().join("Makefile"));
    let miri = makefile.split("\nmiri:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut found = 0;
    let mut mistakes = Vec::new();
    for path in files(&root().join("core/src"), ".rs") {
        let source = read(&path);
        if !source.contains("allow(unsafe_code)") {
            continue;
        }
        found += 1;
        let module = path.file_stem().unwrap().to_string_lossy();
        if !source.contains("#[test]") || !miri.contains(&format!(" {module}::")) {
            mistakes.push(format!("{}: it has unsafe code, but no tests that make miri runs", shown(&path)));
        }
    }
    assert!(found >= 3, "the unsafe code was not found");
    complain(&mistakes);
}

#[test]
fn no_test_is_silenced_and_none_sleeps() {
    let mut mistakes = Vec::new();
    for path in files(&root(), ".rs") {
        let at = shown(&path);
        if at == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            for word in ["#[ignore", "todo!(", "unimplemented!(", "thread::sleep", "assert!(true)"] {
                if line.contains(word) {
                    mistakes.push(format!("{at}:{}: {word}", number + 1));
                }
            }
        }
    }
    complain(&mistakes);
}

#[test]
fn files_are_named_for_what_is_in_them() {
    let vague = ["utils.rs", "util.rs", "common.rs", "manager.rs", "helpers.rs", "misc.rs"];
    let mistakes: Vec<_> = files(&root(), ".rs")
        .iter()
        .filter(|path| vague.contains(&&*path.file_name().unwrap().to_string_lossy()))
        .map(|path| format!("{}: name it for what is in it", shown(path)))
        .collect();
    complain(&mistakes);
}
