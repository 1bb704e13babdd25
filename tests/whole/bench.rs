//! `sidetone bench`: the same figures from the same seeds, and no more certainty
//! than the repeats allow.

use std::process::{Command, Output};

use serde_json::Value;

use crate::{scratch, shipped};

fn bench(args: &[&str]) -> Output {
    let folder = scratch();
    let out = folder.path("");
    let all =
        [&["bench", "graphs/voice_low_latency.toml", "--virtual", "--seconds", "0.5", "--out", &out], args];
    Command::new(env!("CARGO_BIN_EXE_sidetone")).args(all.concat()).current_dir(shipped("")).output().unwrap()
}

fn as_json(args: &[&str]) -> Value {
    let output = bench(&[args, &["--json", "--quiet"]].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn figure<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|figure| figure["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {name} in {list:#}"))
}

#[test]
fn every_repeat_is_a_run_of_its_own_and_the_median_stands_between_the_ends() {
    let bench = as_json(&["--repeat", "3", "--set", "network=home", "--seed", "7"]);
    let graph = &bench["graphs"][0];
    let runs = graph["runs"].as_array().unwrap();
    let seeds: Vec<_> = runs.iter().map(|run| run["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [7, 8, 9]);
    for name in ["audio.latency.p50", "audio.latency.p99", "cpu", "voice/network.buffer.p95"] {
        let figure = figure(&graph["figures"], name);
        let values: Vec<_> =
            figure["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let (least, most) = values.iter().fold((f64::MAX, 0f64), |(a, b), v| (a.min(*v), b.max(*v)));
        assert_eq!((figure["min"].as_f64(), figure["max"].as_f64()), (Some(least), Some(most)), "{name}");
        assert!((least..=most).contains(&figure["median"].as_f64().unwrap()) && most > 0.0, "{name}");
    }
    for (run, value) in
        runs.iter().zip(figure(&graph["figures"], "audio.latency.p95")["values"].as_array().unwrap())
    {
        assert_eq!(run["end_to_end_ms"]["audio"]["p95"], *value, "the ledger of each run is there");
    }
    assert_eq!(bench["comparison"], Value::Null);
}

#[test]
fn two_graphs_take_turns_and_the_ratio_has_an_interval() {
    let against = ["--against", "graphs/voice_low_latency.toml", "--against-set", "frame_ms=10"];
    let bench = as_json(&[&["--repeat", "6"][..], &against].concat());
    let latency = figure(&bench["comparison"], "audio.latency.p50");
    // 1 ms in the jitter buffer and one frame: 6 ms against 11, give or take a
    // histogram's bucket.
    let ratio = latency["ratio"].as_f64().unwrap();
    assert!((ratio - 6.0 / 11.0).abs() < 0.01, "{latency}");
    assert!(latency["low"].as_f64().unwrap() <= ratio && ratio <= latency["high"].as_f64().unwrap());
    assert_eq!(latency["trusted"], true);
    let same = figure(&bench["comparison"], "met_by_bob[alice]/remote_audio/jitter.buffer.p50");
    assert_eq!((same["low"].as_f64(), same["high"].as_f64()), (Some(1.0), Some(1.0)));
}

#[test]
fn few_repeats_are_not_given_more_weight_than_they_have() {
    let against = ["--against", "graphs/voice_low_latency.toml"];
    let output = bench(&[&["--repeat", "2"][..], &against].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Do not trust the intervals") && text.contains("--repeat 6"), "{text}");
    let bench = as_json(&[&["--repeat", "2"][..], &against].concat());
    assert_eq!(figure(&bench["comparison"], "audio.latency.p95")["trusted"], false);
}

#[test]
fn what_cannot_run_is_told_before_any_run() {
    for args in [&["--repeat", "0"][..], &["--against", "nowhere.toml"], &["--against-set", "frame_ms=10"]] {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}
