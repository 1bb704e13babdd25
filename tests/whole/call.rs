//! The call of `graphs/call.toml`, in virtual time.

use sidetone::harness::Harness;
use sidetone::{Report, Size, registry};
use sidetone_test::scene::read_counter;
use std::time::Duration;

use crate::{correlation, pictures, psnr, run_virtual, scratch, sound};

/// Speech-like sound: a gliding voice with a few harmonics, in syllables, with
/// pauses between words. Not periodic, so that it aligns in one place only.
fn voice(seconds: f32, rate: u32) -> Vec<f32> {
    let mut phase = 0.0f32;
    (0..(seconds * rate as f32) as usize)
        .map(|index| {
            let time = index as f32 / rate as f32;
            let pitch = 140.0 + 40.0 * (time * 2.1).sin() + 25.0 * (time * 0.7).cos();
            phase += pitch / rate as f32;
            let tone: f32 = (1..=8)
                .map(|n| (std::f32::consts::TAU * phase * n as f32).sin() / (n as f32).powf(1.2))
                .sum();
            let syllable = (std::f32::consts::TAU * time * 3.3).sin().max(0.0);
            let word = if (time * 0.9).fract() < 0.8 { 1.0 } else { 0.0 };
            0.15 * tone * syllable * word
        })
        .collect()
}

fn write_wav(path: &str, samples: &[f32]) {
    let mut sink = Harness::new(registry().get("file.wav_sink").unwrap(), &[("path", path.into())]);
    sink.push(0, sink.audio(48_000, &[samples]));
    sink.end(0);
    sink.run();
}

/// The scene that Alice's camera shows, as it was before encoding.
fn scene(frames: usize) -> Vec<sidetone::Frame> {
    let params = [("size", Size::new(640, 360).into()), ("frames", (frames as i64).into())];
    let mut source = Harness::new(registry().get("test.scene").unwrap(), &params);
    source.advance(Duration::from_secs(60));
    source.take(0)
}

fn assert_shares_add_up(report: &Report) {
    assert!(report.paths.len() >= 4, "both media, both ways");
    for path in &report.paths {
        let sum: f64 = path.shares.iter().map(|share| share.wait_ms + share.work_ms + share.buffer_ms).sum();
        let whole = path.end_to_end_ms.mean;
        assert!((sum - whole).abs() <= 0.01 * whole, "{}: {sum} of {whole} ms", path.sink);
    }
}

#[test]
fn a_clean_call_shows_and_sounds_what_was_sent() {
    let folder = scratch();
    let spoken = voice(3.0, 48_000);
    write_wav(&folder.path("mic.wav"), &spoken);
    let settings = [
        ("network", "clean"),
        ("alice_mic", &*folder.path("mic.wav")),
        ("smooth", "0"),
        ("alice_picture/beauty.whiten", "0"),
        ("alice_picture/beauty.rosy", "0"),
        ("out", &*folder.path("")),
    ];
    let (report, events) = run_virtual("graphs/call.toml", &settings, 4.0);

    let sent = scene(130);
    let seen = pictures(&folder.path("bob_sees.y4m"));
    assert!(seen.len() >= 118, "{} of 120 pictures came", seen.len());
    let mut quality = Vec::new();
    let mut last = None;
    for picture in &seen {
        let number = read_counter(picture).expect("the number of every picture can be read");
        assert!(last.is_none_or(|last| number > last), "{number} after {last:?}");
        last = Some(number);
        quality.push(psnr(&picture.plane(0), &sent[number as usize].plane(0)));
    }
    let mean = quality.iter().sum::<f64>() / quality.len() as f64;
    let worst = quality.iter().copied().fold(f64::MAX, f64::min);
    assert!(mean >= 34.0 && worst >= 30.0, "{mean:.1} dB on average, {worst:.1} dB at worst");

    let (heard, rate) = sound(&folder.path("bob_hears.wav"));
    assert_eq!(rate, 48_000);
    let part = &spoken[4_800..3 * 48_000 - 4_800];
    let likeness = correlation(part, &heard, 24_000);
    assert!(likeness >= 0.97, "what Bob hears is like what Alice said by {likeness:.3}");

    let sheet = std::fs::read(folder.path("contact_sheet.png")).unwrap();
    assert!(sheet.starts_with(b"\x89PNG") && sheet.len() > 10_000);
    assert_shares_add_up(&report);
    for who in ["alice: participant bob joined", "bob: participant alice joined"] {
        assert!(events.iter().any(|event| event.contains(who)), "{events:#?}");
    }
}

#[test]
fn a_bad_network_gives_the_same_bytes_twice_and_the_call_recovers() {
    let run = || {
        let folder = scratch();
        let out = folder.path("");
        let settings = [
            ("network", "bad"),
            ("out", &*out),
            ("alice_cam.size", "[320, 180]"),
            ("bob_cam.size", "[320, 180]"),
        ];
        let (report, _) = run_virtual("graphs/call.toml", &settings, 20.0);
        let files =
            ["alice_sees.y4m", "alice_hears.wav", "bob_sees.y4m", "bob_hears.wav", "contact_sheet.png"]
                .map(|name| std::fs::read(folder.path(name)).unwrap());
        let pictures = pictures(&folder.path("bob_sees.y4m"));
        let (heard, _) = sound(&folder.path("bob_hears.wav"));
        (serde_json::to_string(&report).unwrap(), files, pictures, heard, report)
    };
    let (first, second) = (run(), run());
    assert!(first.0 == second.0, "two runs gave two reports");
    assert!(first.1 == second.1, "two runs gave different files");

    let (_, _, pictures, heard, report) = first;
    let network = |node: &str| report.stages.iter().find(|stage| stage.node == node).unwrap();
    for node in ["alice_voice/network", "alice_picture/network"] {
        let (lost, sent) = (network(node).dropped as f64, network(node).frames as f64);
        assert!(lost / (lost + sent) >= 0.04, "{node} lost {lost} of {}", lost + sent);
    }
    // Concealment leaves no hole in time, and fades to silence only in long
    // bursts.
    assert!(heard.len() >= 48_000 * 199 / 10, "{} samples of 20 s", heard.len());
    let begun = heard.iter().position(|sample| sample.abs() > 0.01).unwrap() + 4_800;
    let quiet = heard[begun..18 * 48_000]
        .chunks(960)
        .filter(|stretch| stretch.iter().all(|sample| sample.abs() < 1e-4))
        .count();
    assert!(quiet <= 6, "{quiet} of 900 stretches of 20 ms are silent");
    // Pictures come to the end, in order, after each loss.
    let numbers: Vec<u32> = pictures.iter().filter_map(read_counter).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(numbers.last().is_some_and(|last| *last > 550), "the last picture is {:?}", numbers.last());
    assert!(numbers.len() > 300, "{} of 600 pictures came", numbers.len());
    assert_shares_add_up(&report);
}
