//! Plugins that do what no plugin should: each is a named fault or refusal, the
//! sound goes on, and the engine outlives them.

use std::path::Path;
use std::process::{Command, Output};

use sidetone::scratch::Scratch;

use crate::{built, scratch};

const MANIFEST: &str = r#"
sidetone_plugin = 1
id = "hostile"
version = "1.0.0"
abi = "1.0"

[[kind]]
kind = "hostile.one"
summary = "Does what it should not."
inputs = [{ name = "in", media = "video", format = "i420" }]
outputs = [{ name = "out", media = "video", format = "i420" }]
params = [{ id = 1, name = "does", type = "int", min = 0.0, max = 100.0, default = 0.0 }]
"#;

/// Sound beside pictures that pass the plugin.
const GRAPH: &str = r#"
sidetone = 1
links = [
  "tone -> ear.reference",
  "tone -> opus -> decode -> ear.in",
  "scene -> hostile -> sheet",
]
[nodes]
tone = { kind = "test.tone" }
opus = { kind = "codec.opus_encode" }
decode = { kind = "codec.opus_decode" }
ear = { kind = "test.compare_audio" }
scene = { kind = "test.scene", size = [160, 90] }
hostile = { kind = "hostile.one", isolate = "${isolate}", on_fault = "${on_fault}" }
sheet = { kind = "file.contact_sheet_sink", path = "${sheet}" }
[params]
isolate = { type = "text", default = "process", meaning = "Where it runs" }
on_fault = { type = "text", default = "bypass", meaning = "What becomes of it" }
sheet = { type = "path", meaning = "Where pictures go" }
"#;

/// A folder with the plugin and its manifest, and the graph beside them.
fn folder(library: &[u8], manifest: &str) -> Scratch {
    let folder = scratch();
    std::fs::write(folder.path("libhostile.so"), library).unwrap();
    std::fs::write(folder.path("hostile.sidetone.toml"), manifest).unwrap();
    std::fs::write(folder.path("graph.toml"), GRAPH).unwrap();
    folder
}

/// Runs the graph for `seconds` of virtual time.
fn run(folder: &Scratch, seconds: &str, settings: &[&str]) -> Output {
    let sheet = format!("sheet={}", folder.path("sheet.png"));
    Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .args([
            "run",
            &folder.path("graph.toml"),
            "--virtual",
            "--seconds",
            seconds,
            "--json",
            "--set",
            &sheet,
        ])
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .output()
        .unwrap()
}

/// The faults of a run, and how many frames of sound and of pictures came through.
fn outcome(output: &Output) -> (Vec<String>, u64, u64) {
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{why}; {errors}; {:?}", output.status));
    let faults = report["faults"].as_array().unwrap().iter();
    let faults = faults.map(|fault| fault.to_string()).collect();
    let frames = |name: &str| {
        let stage = report["stages"].as_array().unwrap().iter().find(|stage| stage["node"] == name);
        stage.unwrap()["frames"].as_u64().unwrap()
    };
    (faults, frames("ear"), frames("sheet"))
}

/// What it does, by the numbers of hostile.c, and the fault that comes of it.
const DEEDS: [(&str, &str, &str); 10] = [
    ("does=1", "library", "bad memory access (SIGSEGV)"),
    ("does=2", "late", "hung"),
    ("does=4", "library", "bad memory access (SIGSEGV)"),
    ("does=5", "library", "bad memory access (SIGSEGV)"),
    ("does=6", "library", "failed"),
    ("does=7", "library", "ended its process"),
    ("does=8", "library", "aborted (SIGABRT)"),
    ("does=9", "panic", "panicked"),
    ("does=10", "library", "failed"),
    ("does=11", "library", "failed"),
];

#[test]
fn whatever_a_plugin_does_in_a_process_of_its_own_is_a_fault_of_its_node() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let (none, all, pictures) = outcome(&run(&folder, "2", &["hostile.does=0"]));
    assert!(none.is_empty() && all >= 200 && pictures == 61, "{none:?}, {all}, {pictures}");
    for (does, kind, why) in DEEDS {
        let output = run(&folder, "2", &[&format!("hostile.{does}")]);
        let (faults, sound, pictures) = outcome(&output);
        assert_eq!(faults.len(), 1, "{does}: {faults:?}");
        assert!(faults[0].contains(kind) && faults[0].contains(why), "{does}: {faults:?}");
        assert_eq!((sound, pictures), (all, 60), "{does}: all but the picture that it died of");
    }
}

#[test]
fn each_policy_holds_for_a_plugin_that_crashes() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let (_, all, _) = outcome(&run(&folder, "2", &["hostile.does=0"]));
    for (policy, left, faults) in [("stop", 9, 1), ("bypass", 60, 1), ("black", 60, 1)] {
        let settings = ["hostile.does=1", &format!("on_fault={policy}")];
        let found = outcome(&run(&folder, "2", &settings));
        assert_eq!((found.0.len(), found.1, found.2), (faults, all, left), "{policy}");
    }
    // Made anew at most once a second, it dies again at its tenth picture.
    let (_, all, _) = outcome(&run(&folder, "4", &["hostile.does=0"]));
    let (faults, sound, pictures) = outcome(&run(&folder, "4", &["hostile.does=1", "on_fault=restart"]));
    assert!(faults.len() >= 3, "{faults:?}");
    assert!(sound == all && pictures >= 9 * faults.len() as u64, "{sound} of {all}, {pictures}");
}

#[test]
fn a_plugin_in_a_process_of_its_own_reaches_nothing_outside() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let output = run(&folder, "1", &["hostile.does=12"]);
    let said = String::from_utf8_lossy(&output.stderr);
    for what in ["a socket", "another process", "a new file", "a signal to the engine"] {
        assert!(said.contains(&format!("{what}: refused")), "{what}: {said}");
    }
    assert!(!said.contains("ALLOWED"), "{said}");
}

#[test]
fn errors_of_a_plugin_in_this_process_are_faults_of_its_node() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let (_, all, _) = outcome(&run(&folder, "2", &["hostile.does=0", "isolate=none"]));
    for (does, kind, why) in [
        ("does=9", "panic", "panicked"),
        ("does=10", "library", "a return code that there is not"),
        ("does=11", "library", "a frame that the host did not make"),
    ] {
        let output = run(&folder, "2", &[&format!("hostile.{does}"), "isolate=none"]);
        let (faults, sound, pictures) = outcome(&output);
        assert!(
            faults.len() == 1 && faults[0].contains(kind) && faults[0].contains(why),
            "{does}: {faults:?}"
        );
        assert_eq!((sound, pictures), (all, 60), "{does}");
    }
}

#[test]
fn a_plugin_may_print_where_the_engine_writes_its_errors_to_a_file() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let sheet = format!("sheet={}", folder.path("sheet.png"));
    let output = Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .args(["run", &folder.path("graph.toml"), "--virtual", "--seconds", "1", "--json", "--set", &sheet])
        .args(["--set", "hostile.does=13"])
        .stderr(std::fs::File::create(folder.path("errors.txt")).unwrap())
        .output()
        .unwrap();
    let (faults, _, pictures) = outcome(&output);
    assert!(faults.is_empty() && pictures == 31, "{faults:?}, {pictures}");
}

#[test]
fn a_plugin_that_is_late_again_and_again_is_passed_by() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let sheet = format!("sheet={}", folder.path("sheet.png"));
    for isolate in ["isolate=none", "isolate=process"] {
        // In real time: each call from the tenth on takes several times its share.
        let output = Command::new(env!("CARGO_BIN_EXE_sidetone"))
            .args(["run", &folder.path("graph.toml"), "--seconds", "3", "--json"])
            .args(["--set", &sheet, "--set", isolate, "--set", "hostile.does=3"])
            .output()
            .unwrap();
        let (faults, _, _) = outcome(&output);
        assert!(faults.len() == 1 && faults[0].contains("late"), "{isolate}: {faults:?}");
        assert!(faults[0].contains("the node is bypassed"), "{isolate}: {faults:?}");
    }
}

#[test]
fn what_is_no_plugin_is_refused_by_name() {
    let whole = built("hostile.c", &[]);
    let lying = MANIFEST.replace("max = 100.0", "max = 50.0");
    for (what, library, manifest, why) in [
        ("a lie", whole.clone(), lying.as_str(), "is not what its manifest says"),
        (
            "another version",
            built("hostile.c", &["OTHER_ABI"]),
            MANIFEST,
            "version 2.0 of the plugin interface",
        ),
        ("no table", built("hostile.c", &["NO_TABLE"]), MANIFEST, "does not work with version 1.0"),
        ("no symbol", built("hostile.c", &["NO_ENTRY"]), MANIFEST, "no symbol sidetone_plugin_entry"),
        ("cut off", whole[..whole.len() / 3].to_vec(), MANIFEST, "its end is missing"),
        ("no library", b"This is a text.".to_vec(), MANIFEST, "no 64-bit ELF file"),
    ] {
        for isolate in ["isolate=none", "isolate=process"] {
            let folder = folder(&library, manifest);
            let output = run(&folder, "1", &[isolate]);
            // In JSON mistakes go to standard output.
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
            );
            assert!(said.contains(why), "{what}, {isolate}: {said}");
            assert_eq!(output.status.code(), Some(2), "{what}: {said}");
        }
    }
}

#[test]
fn checking_a_graph_runs_no_code_of_its_plugins() {
    // Loading this would be refused: it is no library at all.
    let folder = folder(b"This is a text.", MANIFEST);
    let graph = folder.path("graph.toml");
    for command in ["check", "plan"] {
        let output = Command::new(env!("CARGO_BIN_EXE_sidetone"))
            .args([command, &graph, "--set", "sheet=sheet.png"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(Path::new(&graph).exists());
}
