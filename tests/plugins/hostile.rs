//! Plugins that do what no plugin should: each is a named fault or refusal, the
//! sound goes on, and the engine outlives them.

use std::process::{Command, Output};

use sidetone::Flags;
use sidetone::recording::Record;
use sidetone::scratch::Scratch;

use crate::{built, recorded, samples, scratch, sidetone};

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
  "decode -> tape",
  "scene -> hostile -> sheet",
]
[nodes]
tone = { kind = "test.tone" }
opus = { kind = "codec.opus_encode" }
decode = { kind = "codec.opus_decode" }
ear = { kind = "test.compare_audio" }
scene = { kind = "test.scene", size = [160, 90] }
hostile = { kind = "hostile.one", isolate = "${isolate}", on_fault = "${on_fault}" }
tape = { kind = "file.frames_sink", path = "tape.frames" }
sheet = { kind = "file.contact_sheet_sink", path = "sheet.png" }
[params]
isolate = { type = "text", default = "process", meaning = "Where it runs" }
on_fault = { type = "text", default = "bypass", meaning = "What becomes of it" }
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
    command(folder, seconds, settings).arg("--virtual").output().unwrap()
}

/// Runs the graph for `seconds`.
fn command(folder: &Scratch, seconds: &str, settings: &[&str]) -> Command {
    let mut command = sidetone(folder);
    command.args(["run", "graph.toml", "--seconds", seconds, "--json"]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command
}

/// The faults of a run, and how many pictures came through.
fn outcome(output: &Output) -> (Vec<String>, u64) {
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{why}; {errors}; {:?}", output.status));
    let faults = report["faults"].as_array().unwrap().iter();
    let faults = faults.map(|fault| fault.to_string()).collect();
    let sheet = report["stages"].as_array().unwrap().iter().find(|stage| stage["node"] == "sheet");
    (faults, sheet.unwrap()["frames"].as_u64().unwrap())
}

/// The sound that came through: each frame begins where the one before ended, is the
/// next of its source, and all of it is the tone.
fn heard(folder: &Scratch) -> Vec<(Record, Vec<u8>)> {
    let frames = recorded(folder, "tape");
    for pair in frames.windows(2) {
        let [(before, _), (after, _)] = pair else { continue };
        assert_eq!(after.pts, before.pts + i64::try_from(before.duration.as_nanos()).unwrap());
        assert_eq!((after.number, after.sequence), (before.number + 1, before.sequence + 1));
    }
    // The codec's first frames rise from silence, and in its last the tone ends.
    for (record, payload) in frames.iter().take(frames.len() - 1).skip(3) {
        assert!(!record.flags.has(Flags::LOST) && !record.flags.has(Flags::DISCONTINUITY), "{record:?}");
        // A sine of 440 Hz and a tenth of full scale comes to a peak in every 2 ms.
        for part in samples(payload).chunks_exact(96) {
            let peak = part.iter().fold(0f32, |most, sample| most.max(sample.abs()));
            assert!((0.08..0.12).contains(&peak), "a peak of {peak} at {} ns", record.pts);
        }
    }
    frames
}

/// What is heard in `seconds` of virtual time when the plugin does nothing wrong.
fn undisturbed(folder: &Scratch, seconds: u64) -> Vec<(Record, Vec<u8>)> {
    let (faults, pictures) = outcome(&run(folder, &seconds.to_string(), &["hostile.does=0"]));
    let heard = heard(folder);
    assert!(faults.is_empty() && pictures == 30 * seconds + 1, "{faults:?}, {pictures}");
    assert!(heard.len() as u64 >= 50 * seconds, "{}", heard.len());
    heard
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
    let all = undisturbed(&folder, 2);
    for (does, kind, why) in DEEDS {
        let output = run(&folder, "2", &[&format!("hostile.{does}")]);
        let (faults, pictures) = outcome(&output);
        assert_eq!(faults.len(), 1, "{does}: {faults:?}");
        assert!(faults[0].contains(kind) && faults[0].contains(why), "{does}: {faults:?}");
        assert_eq!(pictures, 60, "{does}: all but the picture that it died of");
        assert!(heard(&folder) == all, "{does}: the sound is what it is without");
    }
}

#[test]
fn each_policy_holds_for_a_plugin_that_crashes() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let all = undisturbed(&folder, 2);
    for (policy, left) in [("stop", 9), ("bypass", 60), ("black", 60)] {
        let settings = ["hostile.does=1", &format!("on_fault={policy}")];
        let (faults, pictures) = outcome(&run(&folder, "2", &settings));
        assert_eq!((faults.len(), pictures), (1, left), "{policy}");
        assert!(heard(&folder) == all, "{policy}");
    }
    // Made anew at most once a second, it dies again at its tenth picture.
    let all = undisturbed(&folder, 4);
    let (faults, pictures) = outcome(&run(&folder, "4", &["hostile.does=1", "on_fault=restart"]));
    assert!(faults.len() >= 3, "{faults:?}");
    assert!(pictures >= 9 * faults.len() as u64, "{pictures}");
    assert!(heard(&folder) == all, "restart");
}

#[test]
fn a_plugin_in_a_process_of_its_own_reaches_nothing_outside() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let output = run(&folder, "1", &["hostile.does=12"]);
    let said = String::from_utf8_lossy(&output.stderr);
    for what in ["a socket", "another process", "a new file", "a signal to the engine", "memory to write"] {
        assert!(said.contains(&format!("{what}: refused")), "{what}: {said}");
    }
    assert!(!said.contains("ALLOWED"), "{said}");
}

#[test]
fn what_another_plugins_process_made_is_there_to_be_read_alone() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let graph = GRAPH
        .replace("scene -> hostile", "scene -> first -> hostile")
        .replace("links = [", "links = [\n  \"first -> pictures\",")
        .replace(
            "[nodes]",
            "[nodes]\nfirst = { kind = \"hostile.one\", isolate = \"process\" }\n\
             pictures = { kind = \"file.frames_sink\", path = \"pictures.frames\" }",
        );
    std::fs::write(folder.path("graph.toml"), graph).unwrap();
    let (faults, pictures) = outcome(&run(&folder, "1", &["hostile.does=5"]));
    assert_eq!((faults.len(), pictures), (1, 30), "{faults:?}");
    assert!(faults[0].contains("\"hostile\"") && faults[0].contains("(SIGSEGV)"), "{faults:?}");
    // The first leaves the memory as it is, zero: what the second writes would stay.
    let recorded = recorded(&folder, "pictures");
    assert_eq!(recorded.len(), 31);
    assert!(recorded.iter().all(|(_, payload)| payload.iter().all(|byte| *byte == 0)));
}

#[test]
fn errors_of_a_plugin_in_this_process_are_faults_of_its_node() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let all = undisturbed(&folder, 2);
    for (does, kind, why) in [
        ("does=9", "panic", "panicked"),
        ("does=10", "library", "a return code that there is not"),
        ("does=11", "library", "a frame that the host did not make"),
    ] {
        let output = run(&folder, "2", &[&format!("hostile.{does}"), "isolate=none"]);
        let (faults, pictures) = outcome(&output);
        assert!(
            faults.len() == 1 && faults[0].contains(kind) && faults[0].contains(why),
            "{does}: {faults:?}"
        );
        assert_eq!(pictures, 60, "{does}");
        assert!(heard(&folder) == all, "{does}");
    }
}

#[test]
fn a_plugin_may_print_where_the_engine_writes_its_errors_to_a_file() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let errors = std::fs::File::create(folder.path("errors.txt")).unwrap();
    let mut command = command(&folder, "1", &["hostile.does=13"]);
    let (faults, pictures) = outcome(&command.arg("--virtual").stderr(errors).output().unwrap());
    assert!(faults.is_empty() && pictures == 31, "{faults:?}, {pictures}");
}

#[test]
fn a_plugin_that_is_late_again_and_again_is_passed_by() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    for isolate in ["isolate=none", "isolate=process"] {
        // In real time: each call from the tenth on takes several times its share.
        let output = command(&folder, "3", &[isolate, "hostile.does=3"]).output().unwrap();
        let (faults, _) = outcome(&output);
        assert!(faults.len() == 1 && faults[0].contains("late"), "{isolate}: {faults:?}");
        assert!(faults[0].contains("the node is bypassed"), "{isolate}: {faults:?}");
        assert!(!heard(&folder).is_empty(), "{isolate}");
    }
}

#[test]
fn sound_goes_on_in_real_time_while_all_of_them_fail_at_once() {
    let folder = folder(&built("hostile.c", &[]), MANIFEST);
    let mut graph = GRAPH.to_owned();
    for (deed, _, _) in DEEDS {
        let name = deed.replace('=', "_");
        graph = graph.replace("links = [", &format!("links = [\n  \"scene -> {name} -> sheet\","));
        let node = format!("{name} = {{ kind = \"hostile.one\", {deed}, isolate = \"process\" }}\n");
        graph = graph.replace("[nodes]\n", &format!("[nodes]\n{node}"));
    }
    std::fs::write(folder.path("graph.toml"), graph).unwrap();
    let (faults, _) = outcome(&command(&folder, "3", &[]).output().unwrap());
    for (deed, kind, why) in DEEDS {
        let name = format!("\"{}\"", deed.replace('=', "_"));
        let is_it = |fault: &&String| fault.contains(&name) && fault.contains(kind) && fault.contains(why);
        assert_eq!(faults.iter().filter(is_it).count(), 1, "{deed}: {faults:?}");
    }
    assert!(!heard(&folder).is_empty());
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
    for command in ["check", "plan"] {
        let output = sidetone(&folder).args([command, "graph.toml"]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
