//! The checker on every shipped graph and on every broken one.

use std::path::Path;

use sidetone::{Graph, LoadOptions, registry};

use crate::{load, shipped};

fn graph_files(folder: &Path) -> Vec<std::path::PathBuf> {
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
}

#[test]
fn every_broken_graph_is_refused_in_the_words_that_stand_beside_it() {
    let folder = shipped("tests/broken");
    let graphs = graph_files(&folder);
    assert!(graphs.len() >= 50, "only {} broken graphs", graphs.len());
    let mut mistakes = Vec::new();
    for graph in graphs {
        let name = graph.file_name().unwrap().to_string_lossy().into_owned();
        // Messages name files as they were given, so the folder is left out.
        let read = |path: &Path| std::fs::read(folder.join(path));
        let options = LoadOptions { read: &read, ..LoadOptions::default() };
        let said = match Graph::load(Path::new(&name), &registry(), &options) {
            Ok(_) => "it checks\n".to_owned(),
            Err(why) => why.to_string(),
        };
        let beside = graph.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&beside, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if said != expected {
            mistakes.push(format!("{name}:\n--- expected\n{expected}\n--- said\n{said}"));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}
