//! `sidetone plugin check` finds each defect that was planted in a plugin, and none
//! in the same plugin without it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

/// What is planted, by its number in `wrong.c`, and the case that must find it.
const DEFECTS: &[(u32, &str, &str)] = &[
    (1, "refuses a value that its table allows", "params"),
    (2, "does not free what create made", "create_destroy"),
    (3, "keeps frames and lets none go", "kept_frames"),
    (4, "aborts at an event that it does not know", "params_live"),
    (5, "allocates in process and frees it at once", "real_time"),
    (6, "calls the system in process", "real_time"),
    (7, "holds more memory with each call", "memory"),
    (8, "hangs", "deterministic"),
    (9, "ends the process", "deterministic"),
    (10, "reads a clock in process", "real_time"),
    (11, "never ends", "ends"),
    (12, "has its instances share a variable", "many_at_once"),
    (13, "goes by the size of a plane, not plane_stride", "later_host"),
    (14, "writes a row too many of odd pictures", "bounds_after"),
    (15, "leaves the last column of odd pictures unwritten", "all_written"),
    (16, "reads the row above the first", "bounds_before"),
    (17, "uses what lies between the rows", "padding"),
    (18, "is no identity at zero", "identity_at_zero"),
    (19, "writes its input", "input_untouched"),
    (20, "draws on addresses", "deterministic"),
    (21, "uses an input after process has returned", "kept_frames"),
    (22, "puts out a frame that is not the host's", "bounds_after"),
    (23, "refuses small pictures", "bounds_after"),
    (24, "gives a return code that there is not", "params"),
    (25, "works only where output and input are the same", "in_place"),
    (26, "keeps what is not finite for ever", "not_finite"),
    (27, "delays by more than it declares", "latency"),
    (28, "takes an optional input for granted", "optional_inputs"),
    (29, "believes the lengths in its data", "garbage_media"),
    (30, "saves a state that lacks what matters", "state"),
    (31, "goes by the size of a value, not param_stride", "later_host"),
    (32, "believes the length in a state", "state_garbage"),
    (33, "takes one rate, and its table says any", "bounds_after"),
    (34, "has a text that is no UTF-8", "table"),
    (35, "has a flag that there is not", "table"),
    (36, "declares a latency that it has not", "latency"),
    (37, "has another version than its manifest", "manifest"),
    (38, "uses a function that is nowhere", "loads"),
    (39, "refuses later minor versions", "versions"),
    (40, "takes any version", "versions"),
];

/// Compiles `wrong.c` with a defect into a folder of its own, with the manifest of
/// the flawless one.
fn plugin(defect: u32) -> PathBuf {
    plugin_in("found", defect)
}

/// The same, in another folder for each test.
fn plugin_in(test: &str, defect: u32) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wrong/{test}/{defect}"));
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("libwrong.so");
    let done = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared"])
        .arg(format!("-DDEFECT={defect}"))
        .arg("-I")
        .arg(root.join("plugins/include"))
        .arg("-o")
        .arg(&library)
        .arg(root.join("tests/plugins/wrong/wrong.c"))
        .status();
    assert!(done.unwrap().success(), "wrong.c does not compile with defect {defect}");
    library
}

fn sidetone(args: &[&str], library: &Path) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
    command.args(["plugin", args[0]]).arg(library).args(&args[1..]).output().unwrap()
}

/// What `plugin check` says, as JSON.
fn check(library: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = ["check", "--json", "--limit", "3"].iter().chain(args).copied().collect();
    let output = sidetone(&args, library);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A case's verdict and what was seen.
fn verdict(report: &Value, name: &str) -> (String, String) {
    let cases = report["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    (case["verdict"].as_str().unwrap().to_owned(), case["why"].to_string())
}

/// Cases that the system may not let be checked.
fn is_skipped_here(case: &str) -> bool {
    case == "real_time" && !cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

#[test]
fn a_flawless_plugin_passes_every_case() {
    let library = plugin_in("flawless", 0);
    assert!(sidetone(&["manifest", "--write"], &library).status.success());
    let report = check(&library, &[]);
    for case in report["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        assert!(case["verdict"] == "ok" || is_skipped_here(name), "{case:#}");
    }
    assert_eq!(report["failed"], 0);
    assert!(sidetone(&["check"], &library).status.success());
}

#[test]
fn the_guide_lists_every_case() {
    let guide = include_str!("../../docs/plugins.md");
    for case in sidetone::plugins::check::CASES {
        let row = format!("| `{}` | {} |", case.name, case.shows);
        assert!(guide.contains(&row), "docs/plugins.md lacks the row {row}");
    }
}

#[test]
fn each_planted_defect_is_found_by_the_case_for_it() {
    let numbers: Vec<u32> = DEFECTS.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>(), "each defect is listed once");
    let open = Mutex::new(DEFECTS.iter());
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = open.lock().unwrap().next();
                    let Some(&(defect, what, case)) = next else { break };
                    if is_skipped_here(case) {
                        continue;
                    }
                    let library = plugin(defect);
                    // The manifest of 37 is that of the plugin before it changed.
                    let source = if defect == 37 { plugin_in("before", 0) } else { library.clone() };
                    sidetone(&["manifest", "--write"], &source);
                    if defect == 37 {
                        let name = "wrong.sidetone.toml";
                        std::fs::copy(source.with_file_name(name), library.with_file_name(name)).unwrap();
                    }
                    let report = check(&library, &["--only", case]);
                    let (verdict, why) = verdict(&report, case);
                    if verdict != "failed" {
                        missed.lock().unwrap().push(format!("{defect}: {what}: {case} is {verdict} ({why})"));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "\n{}", missed.join("\n"));
}

#[test]
fn findings_say_what_happened_where_and_what_to_do() {
    let said = |defect: u32, case: &str| {
        let report = check(&plugin_in("said", defect), &["--only", case, "--seed", "7"]);
        let case = &report["cases"][0];
        assert!(case["advice"].as_str().is_some_and(|advice| advice.len() > 20), "{case:#}");
        assert!(
            case["again"]
                .as_str()
                .unwrap()
                .ends_with(&format!("--only {} --seed 7", case["name"].as_str().unwrap()))
        );
        case["why"].to_string()
    };
    for (defect, case, words) in [
        (
            14,
            "bounds_after",
            ["SIGSEGV", "after the end of plane 0 of input", "picture of 1x1", "libwrong.so+"],
        ),
        (16, "bounds_before", ["SIGSEGV", "bytes before plane 0 of input", "process with", "libwrong.so+"]),
        (
            19,
            "input_untouched",
            ["SIGSEGV", "byte 0 of plane 1 of input", "which may not be written", "127x65"],
        ),
        (21, "kept_frames", ["SIGSEGV", "which was given back", "of input", "wrong.picture"]),
        (8, "deterministic", ["did not come back within 3 s", "wrong.picture", "process with", "127x65"]),
        (
            9,
            "deterministic",
            ["ended the process, with exit code 0", "wrong.picture", "process with", "127x65"],
        ),
        (5, "real_time", ["allocates (malloc)", "frees (free)", "libwrong.so+", "wrong.picture"]),
        (6, "real_time", ["calls the system (read)", "in call 4", "wrong.picture", "process"]),
    ] {
        if is_skipped_here(case) {
            continue;
        }
        let why = said(defect, case);
        for word in words {
            assert!(why.contains(word), "{defect}: {case}: \"{word}\" is not in {why}");
        }
    }
}
