//! A hop from one lane to another (row `hop`).

use super::{Row, run};
use crate::kinds::take_found;
use crate::reading::{Readings, quantile};

pub(super) const ROW: Row = Row {
    name: "hop",
    title: "Thread hop: from one lane to another",
    how: "A source on one lane, a sink on another. `busy`: the source gives 16-byte frames as fast as the link \
          takes them; wall time and the processor time of both lanes over the frames, each lane on a \
          processor of its own. `inline`: the same with both on one lane, for what a frame costs without the hop; `added by the hop` is \
          the difference in processor time. (The ring and the channel carry values that somebody has made already.) \
          `wake …`: a frame every 5 ms, from just before it is pushed to the beginning of the call that takes it, \
          with the lanes pinned to two processors (`apart`), to one (`together`), or left to the scheduler (`free`).",
    cases: &["busy", "inline", "wake apart", "wake together", "wake free"],
    quick: &["busy", "wake apart"],
    measure,
};

fn measure(case: &str, quick: bool) -> Result<Readings, String> {
    let wakes = if quick { 200 } else { 1_000 };
    match case {
        "busy" => busy("two", 1, if quick { 100_000 } else { 1_000_000 }),
        "inline" => busy("one", 0, if quick { 100_000 } else { 1_000_000 }),
        "wake apart" => wake(0, 1, wakes),
        "wake together" => wake(1, 1, wakes),
        "wake free" => wake(-1, -1, wakes),
        _ => Err(format!("there is no case \"{case}\"")),
    }
}

fn graph(sink_lane: &str, source: &str, sink: &str) -> String {
    format!(
        "# Bench.\nsidetone = 1\nlinks = [\"source -> sink\"]\n[nodes]\n\
         source = {{ kind = \"bench.source\", lane = \"one\", {source} }}\n\
         sink = {{ kind = \"bench.sink\", lane = \"{sink_lane}\", {sink} }}\n"
    )
}

fn busy(sink_lane: &str, sink_cpu: i32, frames: u64) -> Result<Readings, String> {
    let warm = frames / 10;
    let both = format!("frames = {frames}, warm = {warm}, cpu =");
    run(graph(sink_lane, &format!("{both} 0"), &format!("{both} {sink_cpu}")), |_, _| {})?;
    let found = take_found();
    let (Some(sent), Some(all_sent), Some(came), Some(all_came)) =
        (found.source.0, found.source.1, found.sink.0, found.sink.1)
    else {
        return Err("not all frames came".to_owned());
    };
    let each = |nanos: u128| nanos as f64 / (frames - warm) as f64;
    let sender = all_sent.cpu.saturating_sub(sent.cpu).as_nanos();
    let receiver = all_came.cpu.saturating_sub(came.cpu).as_nanos();
    Ok(vec![
        ("wall_ns_per_buffer", each((all_came.at - came.at).as_nanos())),
        // On one lane both clocks are the same thread's.
        ("cpu_ns_per_buffer", each(if sink_lane == "one" { receiver } else { sender + receiver })),
    ])
}

fn wake(source_cpu: i32, sink_cpu: i32, wakes: u64) -> Result<Readings, String> {
    let (warm, frames) = (20, wakes + 20);
    let source = format!("frames = {frames}, every_us = 5000, cpu = {source_cpu}");
    let sink = format!("frames = {frames}, warm = {warm}, times = true, cpu = {sink_cpu}");
    run(graph("two", &source, &sink), |_, _| {})?;
    let mut delays = take_found().delays;
    if delays.len() as u64 != wakes {
        return Err(format!("{} frames came of {wakes}", delays.len()));
    }
    delays.sort_unstable();
    let us = |share: f64| quantile(&delays, share) as f64 / 1e3;
    Ok(vec![("p50_us", us(0.5)), ("p99_us", us(0.99)), ("p999_us", us(0.999))])
}
