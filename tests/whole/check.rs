//! The checker on every shipped graph and on every broken one.

use std::path::{Path, PathBuf};
use std::process::Command;

use sidetone::plugins::{PluginOptions, registry_for};
use sidetone::{Graph, LoadOptions, registry};

use crate::{load, shipped};

fn graph_files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_shipped_graph_checks_without_a_warning() {
    let graphs = graph_files(&shipped("graphs"));
    assert!(graphs.len() >= 5);
    for graph in graphs {
        load(&graph, &[]);
    }
    let parts = graph_files(&shipped("graphs/parts"));
    assert!(parts.len() >= 4);
    for part in parts {
        let checked = Graph::check(&part, &registry(), &LoadOptions::default());
        let checked = checked.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(checked.is_part && checked.warnings.list.is_empty(), "{}", checked.warnings);
    }
}

/// Whether a graph checks, and what is said about it; its lines `# --set a=b`
/// count as given.
fn said_about(graph: &Path) -> (bool, String) {
    let folder = graph.parent().unwrap();
    let text = String::from_utf8_lossy(&std::fs::read(graph).unwrap()).into_owned();
    let overrides: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# --set ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // Messages name files as they were given, so the folder is left out.
    let read = |path: &Path| std::fs::read(folder.join(path));
    let options = LoadOptions { overrides: &overrides, env: &|_| None, read: &read };
    // As the command has it: with what runs installed effects, which is not looked for.
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_sidetone")));
    let (registry, _) = registry_for(None, &PluginOptions { program, ..PluginOptions::default() });
    match Graph::check(Path::new(graph.file_name().unwrap()), &registry, &options) {
        Ok(checked) => (true, checked.warnings.to_string()),
        Err(mistakes) => (false, mistakes.to_string()),
    }
}

#[test]
fn every_broken_graph_is_refused_in_the_words_that_stand_beside_it() {
    let mut wrong = Vec::new();
    for (folder, least, checks) in [("", 50, false), ("warned", 2, true), ("with_settings", 1, false)] {
        let graphs = graph_files(&shipped("tests/broken").join(folder));
        assert!(graphs.len() >= least, "only {} in {folder}", graphs.len());
        for graph in graphs {
            let (checked, said) = said_about(&graph);
            let beside = graph.with_extension("txt");
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&beside, &said).unwrap();
            }
            let expected = std::fs::read_to_string(&beside).unwrap_or_default();
            if said != expected || said.is_empty() || checked != checks {
                wrong.push(format!("{}:\n--- expected\n{expected}\n--- said\n{said}", graph.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_megabyte_of_nesting_is_refused_in_a_few_lines() {
    let text = format!("sidetone = 1\nx = {}\n", "[".repeat(1_000_000));
    let read = |_: &Path| Ok(text.clone().into_bytes());
    let options = LoadOptions { overrides: &[], env: &|_| None, read: &read };
    let said = Graph::check(Path::new("deep.toml"), &registry(), &options).unwrap_err().to_string();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "error: this is nested too deeply");
    assert!(lines[1].starts_with("  --> deep.toml:2:"), "{}", lines[1]);
    assert!(said.len() < 1_000, "{} bytes are said", said.len());
}

#[test]
fn the_command_tells_parts_and_machines_what_they_are_told_of() {
    let check = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
        let output = command.arg("check").args(args).current_dir(shipped("")).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let part = "graphs/parts/remote_audio.toml";
    let (said, code) = check(&[part]);
    assert!(said.starts_with(&format!("{part}: fine, a part: ")) && said.ends_with(" links\n"), "{said}");
    assert_eq!(code, Some(0));
    let (said, code) = check(&["--json", part, "tests/broken/unknown_kind.toml"]);
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), code), (2, Some(2)));
    assert_eq!(lines[0], serde_json::json!({ "file": part, "ok": true, "problems": [] }));
    assert_eq!((&lines[1]["ok"], &lines[1]["problems"][0]["severity"]), (&false.into(), &"error".into()));
}

#[test]
fn the_command_says_the_same_and_exits_with_2() {
    for graph in graph_files(&shipped("tests/broken")) {
        let output = Command::new(env!("CARGO_BIN_EXE_sidetone"))
            .arg("check")
            .arg(graph.file_name().unwrap())
            .current_dir(graph.parent().unwrap())
            .output()
            .unwrap();
        let expected = std::fs::read_to_string(graph.with_extension("txt")).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected, "{}", graph.display());
        assert_eq!(output.status.code(), Some(2), "{}", graph.display());
    }
}
