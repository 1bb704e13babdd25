//! The `sidetone` command as people and scripts meet it.

use std::process::{Command, Output};

use crate::{scratch, shipped};

pub(crate) fn sidetone(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidetone")).args(args).current_dir(shipped("")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn exit_codes_tell_fine_from_failed_from_wrong() {
    let folder = scratch();
    let fine = sidetone(&[
        "run",
        "graphs/self_view.toml",
        "--virtual",
        "--seconds",
        "0.5",
        "--out",
        &folder.path(""),
    ]);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stderr));

    // A camera file that ends inside a picture fails while it runs.
    std::fs::write(folder.path("cut.y4m"), [&b"YUV4MPEG2 W64 H48 F30:1\nFRAME\n"[..], &[128; 100]].concat())
        .unwrap();
    let cam = format!("cam={}", folder.path("cut.y4m"));
    let failed =
        sidetone(&["run", "graphs/self_view.toml", "--virtual", "--set", &cam, "--out", &folder.path("")]);
    let said = text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("cut.y4m") && said.contains("at byte"), "{said}");

    for args in [
        &["run", "graphs/self_view.toml", "--set", "smoth=1"][..],
        &["run", "nowhere.toml"],
        &["check", "tests/broken/unknown_kind.toml"],
        &["nodes", "no.such"],
        &["plan"],
    ] {
        let wrong = sidetone(args);
        assert_eq!(wrong.status.code(), Some(2), "{args:?}: {}", text(&wrong.stderr));
        assert!(!wrong.stderr.is_empty(), "{args:?} says nothing");
    }
}

#[test]
fn the_report_has_the_shape_that_scripts_rely_on() {
    let folder = scratch();
    let path = folder.path("r.json");
    let args = ["--virtual", "--seconds", "2", "--out", &folder.path(""), "--report", &path];
    let output = sidetone(&[&["run", "graphs/call.toml"][..], &args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(report["graph"], "call");
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds >= 2.0));
    for medium in ["audio", "video"] {
        for figure in ["p50", "p95", "p99", "max"] {
            assert!(report["end_to_end_ms"][medium][figure].is_f64(), "{medium} {figure}");
        }
    }
    let stages = report["stages"].as_array().unwrap();
    assert!(stages.len() > 20);
    for stage in stages {
        assert!(stage["node"].is_string() && stage["kind"].is_string() && stage["lane"].is_string());
        assert!(stage["frames"].is_u64() && stage["dropped"].is_u64());
        for share in ["wait_ms", "work_ms", "buffer_ms"] {
            for figure in ["p50", "p95", "p99"] {
                assert!(stage[share][figure].is_f64(), "{stage}");
            }
        }
    }
    for link in report["links"].as_array().unwrap() {
        assert!(link["from"].is_string() && link["to"].is_string());
        assert!(link["frames"].is_u64() && link["dropped"].is_u64() && link["high_water"].is_u64());
    }
    assert_eq!(report["faults"], serde_json::json!([]));
}

#[test]
fn every_view_of_a_graph_and_of_the_catalogue_is_printed() {
    let nodes = text(&sidetone(&["nodes"]).stdout);
    assert!(nodes.contains("codec.opus_encode") && nodes.lines().count() > 25, "{nodes}");
    let sheet = text(&sidetone(&["nodes", "audio.gain"]).stdout);
    assert!(sheet.contains("gain_db") && sheet.contains("from -60 to 20"), "{sheet}");
    let catalogue: serde_json::Value =
        serde_json::from_slice(&sidetone(&["nodes", "--json"]).stdout).unwrap();
    assert!(catalogue.as_array().is_some_and(|kinds| kinds.len() > 25));

    let plan = text(&sidetone(&["plan", "graphs/call.toml"]).stdout);
    assert!(
        plan.contains("ring and wake")
            && plan.contains("RTP packets of AV1")
            && plan.contains("capture to render")
            && plan.contains("BUFFERS OF"),
        "{plan}"
    );
    let plan: serde_json::Value =
        serde_json::from_slice(&sidetone(&["plan", "graphs/call.toml", "--json"]).stdout).unwrap();
    assert!(plan["lanes"].as_array().is_some_and(|lanes| lanes.len() > 4));
    assert_eq!(plan["lanes"][0]["priority"], "normal");
    let [declared, budget, slack] =
        ["declared_ms", "budget_ms", "slack_ms"].map(|key| plan["budgets"][0][key].as_f64().unwrap());
    assert!(budget == 450.0 && declared > 0.0 && (budget - declared - slack).abs() < 1e-9, "{plan:#}");
    assert!(plan["lanes"][0]["runs"][0].is_array(), "{plan:#}");
    let pools = plan["pools"].as_array().unwrap();
    let mic = pools.iter().find(|pool| pool["output"] == "alice_mic.out").unwrap();
    assert_eq!((mic["bytes"].as_u64(), mic["when_dry"].as_str()), (Some(1_920), Some("allocate")));
    assert!(plan["pool_bytes"]["at_start"].as_u64() < plan["pool_bytes"]["at_most"].as_u64());

    for (format, start) in [("svg", "<svg"), ("dot", "digraph"), ("mermaid", "flowchart")] {
        let drawn = text(&sidetone(&["draw", "graphs/call.toml", "--format", format]).stdout);
        assert!(drawn.starts_with(start) && drawn.contains("alice_cam"), "{drawn}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&sidetone(&["completions", shell]).stdout).contains("sidetone"));
    }
    let help = text(&sidetone(&["run", "graphs/call.toml", "--help"]).stdout);
    assert!(help.contains("alice_cam") && help.contains("network"), "{help}");
}

#[test]
fn mistakes_come_as_json_for_machines() {
    let output = sidetone(&["check", "tests/broken/unknown_kind.toml", "--json"]);
    let mistakes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(mistakes.to_string().contains("unknown_kind.toml"), "{mistakes}");
}
