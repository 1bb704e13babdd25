//! Recordings of whole graphs: made, played back, and compared.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value as Json;
use sidetone::recording::walk;
use sidetone::{Clock, Engine, Options, Report};

use crate::{Scratch, load, scratch};

/// Three seconds of a graph in virtual time; what the nodes said.
fn run(folder: &Scratch, graph: &str, seed: u64) -> (Report, Vec<String>) {
    run_for(folder, graph, seed, Some(Duration::from_secs(3)))
}

/// Runs a graph until its sources end.
fn play(folder: &Scratch, graph: &str, seed: u64) -> (Report, Vec<String>) {
    run_for(folder, graph, seed, None)
}

fn run_for(folder: &Scratch, graph: &str, seed: u64, limit: Option<Duration>) -> (Report, Vec<String>) {
    let file = folder.path("graph.toml");
    std::fs::write(&file, graph.replace("OUT", &folder.path(""))).unwrap();
    let options = Options { clock: Clock::virtual_time(), limit, seed, ..Options::default() };
    let engine = Engine::new(load(file.as_ref(), &[]), options).unwrap_or_else(|why| panic!("{why}"));
    let mut said = Vec::new();
    let report = engine.run(|update| {
        if let sidetone::Update::Event { node, kind, .. } = update {
            said.push(format!("{node}: {kind}"));
        }
    });
    assert!(report.faults.is_empty() && report.undrained.is_empty(), "{:?}", report.faults);
    (report, said)
}

fn read(folder: &Scratch, name: &str) -> Vec<u8> {
    std::fs::read(folder.path(name)).unwrap()
}

fn diff(folder: &Scratch, args: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .arg("diff")
        .args(args)
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    (output, said)
}

/// Sound and pictures, tapped raw, encoded, and as RTP behind a bad network.
const CALL: &str = r#"
    sidetone = 1
    links = [
      "mic -> opus -> pack -> path -> jitter -> unpack -> decode -> heard",
      "mic -> raw_sound", "opus -> packets", "path -> rtp", "cam -> av1 -> units", "cam -> raw_pictures",
    ]
    [nodes]
    mic = { kind = "test.clicks" }
    opus = { kind = "codec.opus_encode" }
    pack = { kind = "rtp.pack_opus" }
    path = { kind = "net.impair", preset = "bad" }
    jitter = { kind = "rtp.jitter_buffer" }
    unpack = { kind = "rtp.unpack_opus" }
    decode = { kind = "codec.opus_decode" }
    heard = { kind = "file.wav_sink", path = "OUT/heard.wav" }
    cam = { kind = "test.scene", size = [66, 50] }
    av1 = { kind = "codec.av1_encode" }
    raw_sound = { kind = "file.frames_sink", path = "OUT/raw_sound.frames" }
    packets = { kind = "file.frames_sink", path = "OUT/packets.frames" }
    rtp = { kind = "file.frames_sink", path = "OUT/rtp.frames" }
    units = { kind = "file.frames_sink", path = "OUT/units.frames" }
    raw_pictures = { kind = "file.frames_sink", path = "OUT/raw_pictures.frames" }"#;

#[test]
fn a_recording_of_a_playback_is_the_same_file_whatever_it_holds() {
    let folder = scratch();
    run(&folder, CALL, 5);
    for name in ["raw_sound", "packets", "rtp", "units", "raw_pictures"] {
        let replay = format!(
            r#"
            sidetone = 1
            links = ["tape -> again"]
            nodes.tape = {{ kind = "file.frames_source", path = "OUT/{name}.frames" }}
            nodes.again = {{ kind = "file.frames_sink", path = "OUT/again.frames" }}"#
        );
        play(&folder, &replay, 5);
        let (first, again) = (read(&folder, &format!("{name}.frames")), read(&folder, "again.frames"));
        assert!(walk(&first).unwrap() > 50, "{name}");
        assert!(first == again, "{name} came out differently");
    }
}

#[test]
fn a_recorded_link_sounds_the_same_when_it_is_played_again() {
    let folder = scratch();
    run(&folder, CALL, 5);
    let heard = read(&folder, "heard.wav");
    let replay = r#"
        sidetone = 1
        links = ["tape -> jitter -> unpack -> decode -> heard"]
        [nodes]
        tape = { kind = "file.frames_source", path = "OUT/rtp.frames" }
        jitter = { kind = "rtp.jitter_buffer" }
        unpack = { kind = "rtp.unpack_opus" }
        decode = { kind = "codec.opus_decode" }
        heard = { kind = "file.wav_sink", path = "OUT/again.wav" }"#;
    // Another seed: nothing that is heard may hang on this run's dice.
    play(&folder, replay, 6);
    assert!(heard.len() > 48_000 * 4, "{} bytes", heard.len());
    assert!(heard == read(&folder, "again.wav"), "the sound differs");
}

#[test]
fn a_recorder_in_the_path_changes_nothing_and_its_replay_sounds_the_same() {
    let folder = scratch();
    run(&folder, CALL, 5);
    let bare = read(&folder, "heard.wav");
    let beside = read(&folder, "rtp.frames");
    let tape = "[nodes]\n    tape = { kind = \"net.record\", path = \"OUT/passed.frames\" }";
    let recorded = CALL.replace("path -> jitter", "path -> tape -> jitter").replace("[nodes]", tape);
    run(&folder, &recorded, 5);
    assert!(read(&folder, "heard.wav") == bare, "the recorder is heard");
    assert!(read(&folder, "passed.frames") == beside, "in the path and beside it the same is recorded");

    let replay = r#"
        sidetone = 1
        links = ["replay -> tape -> jitter -> unpack -> decode -> heard"]
        [nodes]
        replay = { kind = "net.replay", path = "OUT/passed.frames" }
        tape = { kind = "net.record", path = "OUT/again.frames" }
        jitter = { kind = "rtp.jitter_buffer" }
        unpack = { kind = "rtp.unpack_opus" }
        decode = { kind = "codec.opus_decode" }
        heard = { kind = "file.wav_sink", path = "OUT/again.wav" }"#;
    play(&folder, replay, 5);
    assert!(read(&folder, "again.wav") == bare, "the replay sounds different");
    assert!(read(&folder, "again.frames") == beside, "the replay is recorded differently");
}

#[test]
fn a_tap_changes_nothing_that_the_ledger_says_of_the_path() {
    let folder = scratch();
    let (tapped, _) = run(&folder, CALL, 5);
    let bare = CALL.replace(r#""mic -> raw_sound", "opus -> packets", "path -> rtp", "#, "");
    let bare: Vec<_> = bare
        .lines()
        .filter(|line| !["raw_sound =", "packets =", "rtp ="].iter().any(|tap| line.trim().starts_with(tap)))
        .collect();
    let (bare, _) = run(&folder, &bare.join("\n"), 5);
    let sound = |report: &Report| serde_json::to_string(&report.end_to_end_ms.audio).unwrap();
    assert_eq!(sound(&tapped), sound(&bare));
}

#[test]
fn what_a_recording_holds_is_checked_against_the_graph_when_it_is_opened() {
    let folder = scratch();
    run(&folder, CALL, 5);
    let graph = folder.path("wrong.toml");
    let text = r#"
        sidetone = 1
        links = ["tape -> file"]
        nodes.tape = { kind = "file.frames_source", path = "OUT/rtp.frames" }
        nodes.file = { kind = "file.wav_sink", path = "OUT/no.wav" }"#;
    std::fs::write(&graph, text.replace("OUT", &folder.path(""))).unwrap();
    let options = Options { clock: Clock::virtual_time(), ..Options::default() };
    let refused = Engine::new(load(graph.as_ref(), &[]), options).err().unwrap().to_string();
    for part in [
        "an RTP port cannot feed a raw audio port",
        "tape.out gives RTP packets of Opus",
        "file.in takes raw audio",
        "rtp.unpack_opus",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn a_recording_that_breaks_off_plays_to_there_and_both_commands_say_so() {
    let folder = scratch();
    run(&folder, CALL, 5);
    let whole = read(&folder, "packets.frames");
    std::fs::write(folder.path("cut.frames"), &whole[..whole.len() / 2]).unwrap();
    let replay = r#"
        sidetone = 1
        links = ["tape -> again"]
        nodes.tape = { kind = "file.frames_source", path = "OUT/cut.frames" }
        nodes.again = { kind = "file.frames_sink", path = "OUT/again.frames" }"#;
    let (_, said) = play(&folder, replay, 5);
    let frames = walk(&read(&folder, "again.frames")).unwrap();
    let told = format!("breaks off at byte {}, after {frames} whole frames", whole.len() / 2);
    assert!(said.iter().any(|said| said.starts_with("tape: ") && said.contains(&told)), "{said:?}");

    let (output, said) = diff(&folder, &["packets.frames", "cut.frames"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&told) && said.contains(&format!("at frame {frames} of A")), "{said}");
    assert!(said.contains("B lacks it"), "{said}");
}

#[test]
fn diff_tells_where_in_what_and_how_far_two_recordings_part() {
    let folder = scratch();
    run(&folder, CALL, 5);
    for (a, _) in [("rtp", ()), ("raw_pictures", ())] {
        let name = format!("{a}.frames");
        let (output, said) = diff(&folder, &[&name, &name]);
        assert!(output.status.success() && said.contains("the same"), "{said}");
    }

    // A louder voice of the same times, over a network that loses others.
    let louder = CALL.replace("mic -> opus", "mic -> gain -> opus").replace("mic -> raw", "gain -> raw");
    let gain = "[nodes]\n    gain = { kind = \"audio.gain\", gain_db = 1 }";
    let louder = louder.replace("[nodes]", gain);
    let other = scratch();
    run(&other, &louder.replace("preset = \"bad\"", "preset = \"bad\", seed = 9"), 5);
    let there = |name: &str| other.path(&format!("{name}.frames"));

    let (output, said) = diff(&folder, &["raw_sound.frames", &there("raw_sound"), "--json"]);
    let found: Json = serde_json::from_str(&said).unwrap();
    assert_eq!((output.status.code(), &found["same"]), (Some(1), &Json::from(false)));
    let snr = found["sound"]["snr_db"].as_f64().unwrap();
    // 1 dB more is an error of 10^(1/20) − 1 times the signal.
    assert!((snr - 18.27).abs() < 0.3, "{snr} dB");
    assert_eq!(found["differences"]["payload"]["first_at_frame"], found["first"]["a"]["frame"]);
    assert_eq!(found["differences"].as_object().unwrap().len(), 1, "{found:#}");

    let (_, said) = diff(&folder, &["rtp.frames", &there("rtp"), "--json"]);
    let found: Json = serde_json::from_str(&said).unwrap();
    let [a, b] = ["a", "b"].map(|side| found[side]["frames"].as_u64().unwrap());
    let [only_a, only_b] = ["a", "b"].map(|side| found[side]["alone"].as_u64().unwrap());
    assert!(only_a > 0 && only_b > 0 && found["differences"]["arrival"]["largest_ms"].as_f64() > Some(1.0));
    assert_eq!(found["pairs"].as_u64().unwrap(), a - only_a);
    assert_eq!(a - only_a, b - only_b);
    assert_eq!(found["differences"]["sequence"], Json::Null, "pairs are of the same packet");

    let (output, said) = diff(&folder, &["raw_pictures.frames", &there("raw_pictures")]);
    assert!(output.status.success(), "{said}");
    let (output, _) = diff(&folder, &["raw_sound.frames", &there("raw_sound"), "--ignore", "payload"]);
    assert!(output.status.success());
}

#[test]
fn diff_says_what_it_cannot_read_and_exits_with_2() {
    let folder = scratch();
    run(&folder, CALL, 5);
    let mut damaged = read(&folder, "rtp.frames");
    damaged[200] ^= 1;
    std::fs::write(folder.path("damaged.frames"), damaged).unwrap();
    for (other, why) in [
        ("nowhere.frames", "cannot open nowhere.frames"),
        ("heard.wav", "heard.wav: this is no recording"),
        ("damaged.frames", "damaged.frames: a record's checksum"),
    ] {
        let (output, _) = diff(&folder, &["rtp.frames", other]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(why), "{said}");
    }
}
