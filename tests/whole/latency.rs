//! What the pipeline adds, read off what it puts out.

use crate::{run_virtual, scratch, sound};

#[test]
fn a_low_latency_voice_is_late_by_two_frames_and_the_codecs_lookahead() {
    let folder = scratch();
    let settings = [("out", &*folder.path("")), ("bob_hears.timeline", "clock")];
    let (report, _) = run_virtual("graphs/voice_low_latency.toml", &settings, 5.0);
    let (heard, rate) = sound(&folder.path("bob_hears.wav"));
    let clicks = sidetone_test::clicks::find(&heard, rate);
    assert!(clicks.len() >= 8, "{clicks:?}");
    // One frame is captured (5 ms), one may wait in the jitter buffer (5 ms),
    // and the codec looks ahead by 2.5 ms.
    for click in &clicks {
        let late = click / f64::from(rate) * 1e3 % 500.0;
        assert!((7.0..=5.0 + 2.5 + 5.0 + 2.0).contains(&late), "a click is {late:.2} ms late");
    }
    let ledger = report.end_to_end_ms.audio.unwrap();
    assert!((5.0..=12.0).contains(&ledger.p50), "{ledger:?}");
}

#[test]
fn pictures_wait_for_nothing_but_the_encoder_where_there_is_no_network() {
    let folder = scratch();
    let (report, _) =
        run_virtual("graphs/call.toml", &[("network", "clean"), ("out", &folder.path(""))], 3.0);
    // Work takes no virtual time, so what is left is all that the pipeline itself
    // holds back.
    let video = report.end_to_end_ms.video.unwrap();
    assert!(video.count > 150 && video.p95 <= 5.0, "{video:?}");
}
