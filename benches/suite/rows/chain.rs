//! Nodes of one lane, one after another (row `inline`) or side by side (row
//! `fanout`).

use super::{Row, run};
use crate::kinds::take_found;
use crate::reading::Readings;

pub(super) const INLINE: Row = Row {
    name: "inline",
    title: "Inline chain: pass-through nodes in one lane",
    how: "A source, as many nodes as the case says, and a sink that renders, all on one lane, pinned. \
          The source gives one 16-byte frame a call, as live sources do, and the chain runs to completion before \
          the next. Taken: the processor time of the lane's thread from the first frame after warming up to the \
          last, over the frames. `N in batches`: the source gives 32 frames a call. The slope from 10 to 100 \
          nodes is what one more hop costs.",
    cases: &["1", "10", "100", "10 in batches", "100 in batches"],
    quick: &["1", "10", "100"],
    measure: inline,
};

pub(super) const FANOUT: Row = Row {
    name: "fanout",
    title: "Fan-out: one source to several sinks",
    how: "A source linked to as many sinks as the case says, all on one lane, pinned; payloads are shared by \
          counting and touched by nobody. Taken: processor time of the lane's thread over the frames that the \
          source gave. The time must not depend on the payload's size.",
    cases: &["1x1KiB", "4x1KiB", "16x1KiB", "1x64KiB", "4x64KiB", "16x64KiB", "1x4MiB", "4x4MiB", "16x4MiB"],
    quick: &["1x1KiB", "16x1KiB", "16x4MiB"],
    measure: fanout,
};

/// Processor that single lanes stay on: the last of two, since the first serves
/// the machine's interrupts.
const CPU: usize = 1;

fn inline(case: &str, quick: bool) -> Result<Readings, String> {
    let (nodes, batch) = match case.strip_suffix(" in batches") {
        Some(nodes) => (nodes, 32),
        None => (case, 1),
    };
    let nodes: u64 = nodes.parse().map_err(|_| format!("\"{case}\" is no number of nodes"))?;
    let hops = if quick { 400_000 } else { 6_000_000 };
    let frames = (hops / (nodes + 1)).min(1_000_000);
    let names: String = (0..nodes).map(|node| format!(" -> p{node}")).collect();
    let passes: String =
        (0..nodes).map(|node| format!("p{node} = {{ kind = \"bench.pass\", lane = \"one\" }}\n")).collect();
    let each = per_frame(&[format!("source{names} -> sink0")], &passes, (1, frames, batch, 16))?;
    Ok(vec![("cpu_ns_per_buffer", each)])
}

fn fanout(case: &str, quick: bool) -> Result<Readings, String> {
    let (sinks, size) = case.split_once('x').ok_or("a case is such as 4x64KiB")?;
    let sinks: u64 = sinks.parse().map_err(|_| "a case is such as 4x64KiB")?;
    let bytes = bytes(size).ok_or_else(|| format!("{size} is no size, such as 64KiB"))?;
    let links: Vec<_> = (0..sinks).map(|sink| format!("source -> sink{sink}")).collect();
    let frames = if quick { 20_000 } else { 200_000 };
    Ok(vec![("cpu_ns_per_buffer", per_frame(&links, "", (sinks, frames, 1, bytes))?)])
}

fn bytes(size: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20)];
    units.into_iter().find_map(|(unit, scale)| Some(size.strip_suffix(unit)?.parse::<u64>().ok()? * scale))
}

/// Nanoseconds of the lane's processor time for each frame.
fn per_frame(
    links: &[String],
    between: &str,
    (sinks, frames, batch, bytes): (u64, u64, u64, u64),
) -> Result<f64, String> {
    let warm = frames / 10 / batch * batch;
    let mut text = format!("# Bench.\nsidetone = 1\nlinks = {links:?}\n[nodes]\n{between}");
    text += &format!(
        "source = {{ kind = \"bench.source\", lane = \"one\", frames = {frames}, warm = {warm}, \
         batch = {batch}, bytes = {bytes}, cpu = {CPU} }}\n"
    );
    for sink in 0..sinks {
        text += &format!(
            "sink{sink} = {{ kind = \"bench.sink\", lane = \"one\", frames = {frames}, warm = {warm} }}\n"
        );
    }
    run(text, |_, _| {})?;
    let found = take_found();
    let (Some(first), Some(last)) = (found.source.0, found.sink.1) else {
        return Err("not all frames came".to_owned());
    };
    Ok(last.cpu.saturating_sub(first.cpu).as_nanos() as f64 / (frames - warm) as f64)
}
