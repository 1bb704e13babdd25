//! `sidetone tune`: every setting measured as `run` would show it, a frontier that
//! nothing beats, and mistakes that point at their place.

use std::process::{Command, Output};

use serde_json::Value;

use crate::{run_virtual, scratch, shipped};

fn tune(graph: &str, args: &[&str]) -> Output {
    let all = [&["tune", graph, "--virtual", "--quiet"], args].concat();
    Command::new(env!("CARGO_BIN_EXE_sidetone")).args(all).current_dir(shipped("")).output().unwrap()
}

fn as_json(graph: &str, args: &[&str]) -> Value {
    let output = tune(graph, &[args, &["--json"]].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const VOICE: &str = "graphs/tune_voice.toml";

#[test]
fn a_grid_is_measured_whole_and_shows_what_a_run_shows() {
    let args = [
        &["--seconds", "3", "--set", "network=home", "--subject", "snr>=5dB,late<=50%"][..],
        &["--over", "enc.frame_ms=5,20 jitter.quantile=0.6,0.9,0.99"],
    ];
    let result = as_json(VOICE, &args.concat());
    assert_eq!(result["search"], "grid");
    let trials = result["trials"].as_array().unwrap();
    let sets: Vec<_> = trials
        .iter()
        .map(|trial| ["enc.frame_ms", "jitter.quantile"].map(|name| trial["set"][name].as_str().unwrap()))
        .collect();
    let all = ["5", "20"].into_iter().flat_map(|ms| ["0.6", "0.9", "0.99"].map(|quantile| [ms, quantile]));
    assert_eq!(sets, all.collect::<Vec<_>>());

    let (report, _) =
        run_virtual(VOICE, &[("network", "home"), ("enc.frame_ms", "20"), ("jitter.quantile", "0.9")], 3.0);
    let snr = report.figures.iter().find(|figure| figure.name == "snr").unwrap();
    let shown = [report.end_to_end_ms.audio.unwrap().p95, snr.value];
    for (value, shown) in [&trials[4]["objective"], &trials[4]["subjects"][0]].into_iter().zip(shown) {
        // As far as JSON keeps numbers.
        assert!((value.as_f64().unwrap() - shown).abs() < 1e-9, "{value} {shown}");
    }

    // Nothing beats what is on the frontier, and something all that is not.
    let values = |trial: &Value| {
        let number = |value: &Value| value.as_f64().unwrap();
        [number(&trial["objective"]), -number(&trial["subjects"][0]), number(&trial["subjects"][1])]
    };
    for trial in trials {
        let mine = values(trial);
        let beaten = trials
            .iter()
            .map(values)
            .any(|theirs| theirs.iter().zip(&mine).all(|(theirs, mine)| theirs <= mine) && theirs != mine);
        assert_eq!(trial["on_frontier"] == true, !beaten, "{trial}");
    }
    let best = &trials[result["best"].as_u64().unwrap() as usize];
    assert!(best["on_frontier"] == true && best["keeps"] == true);
    assert!(trials.iter().all(|trial| trial["keeps"] == false || values(trial)[0] >= values(best)[0]));
}

#[test]
fn a_search_prints_the_frontier_and_a_picture_and_is_the_same_every_time() {
    let folder = scratch();
    let plot = folder.path("frontier.svg");
    let args = [
        &["--seconds", "2", "--trials", "12", "--subject", "snr>=5", "--plot", &plot][..],
        &["--over", "enc.bitrate_kbps=12..64 jitter.quantile=0.5..0.99"],
    ]
    .concat();
    let output = tune(VOICE, &args);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains("a search through 12 settings") && text.contains("snr, dB"), "{text}");
    assert!(
        text.contains("\nbest: --set enc.bitrate_kbps=") && text.contains(" --set jitter.quantile=0."),
        "{text}"
    );
    assert_eq!(tune(VOICE, &args).stdout, output.stdout);
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.matches("<circle").count() == 12, "{svg}");
    assert!(svg.contains("<title>enc.bitrate_kbps="), "{svg}");
}

#[test]
fn pictures_are_compared_too_and_more_bits_make_them_better() {
    let folder = scratch();
    let graph = folder.path("picture.toml");
    let text = r#"# A small picture through AV1 and RTP.
        sidetone = 1
        links = [
          "cam -> enc -> pack -> jitter -> unpack -> dec -> seen.in",
          "cam -> seen.reference",
        ]
        [nodes]
        cam = { kind = "test.scene", size = [160, 120], fps = 15 }
        enc = { kind = "codec.av1_encode", bitrate_kbps = 100 }
        pack = { kind = "rtp.pack_av1" }
        jitter = { kind = "rtp.jitter_buffer" }
        unpack = { kind = "rtp.unpack_av1" }
        dec = { kind = "codec.av1_decode" }
        seen = { kind = "test.compare_video" }"#;
    std::fs::write(&graph, text).unwrap();
    let over = ["--over", "enc.bitrate_kbps=400,30", "--subject", "missing<=0.1%,bitrate<=600kbps"];
    let result = as_json(&graph, &[&["--seconds", "2", "--maximise", "psnr"][..], &over].concat());
    let trials = result["trials"].as_array().unwrap();
    let psnr = |index: usize| trials[index]["objective"].as_f64().unwrap();
    assert!(psnr(0) > psnr(1) + 3.0 && psnr(0) < 60.0 && psnr(1) > 15.0, "{} {}", psnr(0), psnr(1));
    let bitrate = |index: usize| trials[index]["subjects"][1].as_f64().unwrap();
    assert!(bitrate(0) > 2.0 * bitrate(1) && bitrate(0) < 600.0, "{} {}", bitrate(0), bitrate(1));
    assert_eq!((&result["best"], &trials[0]["subjects"][0]), (&0.into(), &0.0.into()));
}

#[test]
fn mistakes_point_at_their_place_and_end_before_any_search() {
    for (args, parts) in [
        (["--over", "enc.frame_ms=5 jiter.quantile=0.9"], ["--> --over:1:16", "did you mean jitter?"]),
        (["--over", "enc.frame_ms=5,99"], ["--> --over:1:16", "must be a number from 2.5 to 60, not 99"]),
    ] {
        let output = tune(VOICE, &args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(output.stdout.is_empty() && parts.iter().all(|part| told.contains(part)), "{told}");
    }
    let over = ["--over", "enc.frame_ms=5,10", "--seconds", "0.5"];
    for (args, parts) in [
        (["--subject", "psnr>=34"], ["--> --subject:1:1", "test.compare_video"]),
        (["--minimise", "latncy"], ["--> --minimise:1:1", "did you mean latency?"]),
        (["--subject", "late<=1ms"], ["late has %, not ms", "--> --subject:1:1"]),
        (["--subject", "late"], ["--> --subject:1:1", "for example"]),
    ] {
        let output = tune(VOICE, &[&over[..], &args].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    }
}

#[test]
fn settings_that_cannot_run_are_told_and_what_nobody_keeps_is_a_failure() {
    // 25 ms is not a length that Opus has.
    let over = ["--over", "enc.frame_ms=10,25", "--seconds", "0.5"];
    let result = as_json(VOICE, &over);
    assert!(result["trials"][1]["failed"].as_str().unwrap().contains("frame_ms"), "{result:#}");
    assert_eq!(result["best"], 0);

    let output = tune(VOICE, &[&over[..], &["--subject", "snr>=90"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let (text, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(text.contains("1 settings could not be measured; enc.frame_ms=25"), "{text}");
    assert!(told.contains("no setting keeps to every subject"), "{told}");
}
