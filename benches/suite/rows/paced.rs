//! Many live sounds at once (row `paced`).

use super::{Row, Window, run};
use crate::kinds::take_found;
use crate::reading::{Readings, quantile};

pub(super) const ROW: Row = Row {
    name: "paced",
    title: "Paced streams: 20 ms of sound at a time, 48 kHz, mono",
    how: "As many independent streams as the case says, each `test.tone` → `audio.gain` → (lane) → `audio.gain` \
          → a sink, in real time for some seconds after the first. Taken: processor time of the whole process, \
          in percent of one processor; how much later than its tick (its stream's start and n times 20 ms) each \
          frame reached its sink; threads; memory held. `ticks`: frames that came, in percent of those due. \
          The first two nodes of every stream are on one lane, the others on another; `N auto`: placed by \
          Sidetone. Nothing is pinned.",
    cases: &["50", "200", "1000", "50 auto", "200 auto", "1000 auto"],
    quick: &["50", "200"],
    measure,
};

fn measure(case: &str, quick: bool) -> Result<Readings, String> {
    let (streams, placed) = match case.strip_suffix(" auto") {
        Some(streams) => (streams, false),
        None => (case, true),
    };
    let streams: u32 = streams.parse().map_err(|_| format!("\"{case}\" is no number of streams"))?;
    let mut window = Window::new(1.0, if quick { 1.0 } else { 4.0 });
    run(graph(streams, placed), |handle, update| window.look(handle, &update))?;
    let taken = window.taken()?;

    let mut late = take_found().delays;
    if late.is_empty() {
        return Err("no frame reached its sink".to_owned());
    }
    late.sort_unstable();
    let ms = |share: f64| quantile(&late, share) as f64 / 1e6;
    let due = f64::from(streams) * taken.wall.as_secs_f64() * 50.0;
    Ok(vec![
        ("cpu_percent", taken.cpu_percent()),
        ("late_p50_ms", ms(0.5)),
        ("late_p99_ms", ms(0.99)),
        ("threads", taken.threads),
        ("rss_mb", taken.resident_mb),
        ("ticks_percent", 100.0 * late.len() as f64 / due),
    ])
}

pub(super) fn graph(streams: u32, placed: bool) -> String {
    let lane = |name: &str| if placed { format!(", lane = \"{name}\"") } else { String::new() };
    let (a, b) = (lane("a"), lane("b"));
    let links: Vec<_> =
        (0..streams).map(|n| format!("tone{n} -> first{n} -> second{n} -> sink{n}")).collect();
    let mut text = format!("# Bench.\nsidetone = 1\nlinks = {links:?}\n[nodes]\n");
    for n in 0..streams {
        text += &format!(
            "tone{n} = {{ kind = \"test.tone\", frame_ms = 20{a} }}\n\
             first{n} = {{ kind = \"audio.gain\", gain_db = -6{a} }}\n\
             second{n} = {{ kind = \"audio.gain\", gain_db = 3{b} }}\n\
             sink{n} = {{ kind = \"bench.meter\"{b} }}\n"
        );
    }
    text
}
