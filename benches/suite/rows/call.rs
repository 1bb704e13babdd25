//! A whole call in real time (row `call`).

use std::path::Path;

use sidetone::LoadOptions;

use super::{Row, Window, run_file};
use crate::kinds::registry;
use crate::reading::Readings;
use crate::timed::{Count, count};

pub(super) const ROW: Row = Row {
    name: "call",
    title: "A whole call: Opus 10 ms and AV1 352x288 at 30 fps, there and back",
    how: "`benches/call.toml` in real time: a tone and a drawn scene are encoded, packed as RTP, held in jitter \
          buffers for at least the time of the case, unpacked and decoded. Taken: processor time of the whole \
          process over the seconds of the call, in percent of one processor; capture to render from the ledger. \
          `outside`: without the work of encoders and decoders, the time they hold frames, and, for sound, the \
          10 ms that a frame takes to be captured; of processor time, without that of codecs and of the two \
          sources, by their threads' clocks around every call. Nothing is pinned.",
    cases: &["jitter 20 ms", "jitter 0 ms"],
    quick: &["jitter 20 ms"],
    measure,
};

const CODECS: [&str; 4] = ["opus", "hear", "av1", "see"];
/// Kinds whose processor time is counted apart.
const APART: [(&str, Count); 6] = [
    ("codec.opus_encode", Count::Codecs),
    ("codec.opus_decode", Count::Codecs),
    ("codec.av1_encode", Count::Codecs),
    ("codec.av1_decode", Count::Codecs),
    ("test.tone", Count::Sources),
    ("test.scene", Count::Sources),
];
/// How long capturing a frame of sound takes, in milliseconds.
const SOUND_MS: f64 = 10.0;

fn measure(case: &str, quick: bool) -> Result<Readings, String> {
    let jitter = case.strip_prefix("jitter ").and_then(|rest| rest.strip_suffix(" ms"));
    let jitter = jitter.ok_or_else(|| format!("\"{case}\" is no case, such as jitter 20 ms"))?;
    let overrides = [("jitter_ms".to_owned(), jitter.to_owned())];
    let options = LoadOptions { overrides: &overrides, ..LoadOptions::default() };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/call.toml");
    let mut window = Window::new(1.0, if quick { 2.0 } else { 8.0 });
    let mut registry = registry();
    for (kind, apart) in APART {
        count(&mut registry, kind, apart);
    }
    let report = run_file(&file, &registry, &options, |handle, update| window.look(handle, &update))?;
    let taken = window.taken()?;

    let [codecs, sources] = taken.apart_percent();
    let mut readings = vec![
        ("cpu_percent", taken.cpu_percent()),
        ("codec_cpu_percent", codecs),
        ("source_cpu_percent", sources),
        ("outside_cpu_percent", taken.cpu_percent() - codecs - sources),
        ("threads", taken.threads),
        ("rss_mb", taken.resident_mb),
    ];
    for (medium, names) in [
        ("audio", ["audio_p50_ms", "audio_p99_ms", "audio_outside_ms"]),
        ("video", ["video_p50_ms", "video_p99_ms", "video_outside_ms"]),
    ] {
        let path = report.paths.iter().find(|path| path.medium == medium);
        let path = path.ok_or_else(|| format!("no {medium} was rendered"))?;
        let whole = &path.end_to_end_ms;
        let inside: f64 = path
            .shares
            .iter()
            .filter(|share| CODECS.contains(&share.node.as_str()))
            .map(|share| share.work_ms + share.buffer_ms)
            .sum();
        let captured = if medium == "audio" { SOUND_MS } else { 0.0 };
        readings.push((names[0], whole.p50));
        readings.push((names[1], whole.p99));
        readings.push((names[2], whole.mean - inside - captured));
    }
    Ok(readings)
}
