//! From the shell to the first frame (row `start`).

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Row;
use crate::machine::status;
use crate::reading::{Readings, quantile};

pub(super) const ROW: Row = Row {
    name: "start",
    title: "Start-up: five nodes, from the shell to the first frame",
    how: "`sidetone run benches/five.toml` (a tone through a resampler, gain and level meter into a WAV file), and the same by \
          `gst-launch-1.0` (`audiotestsrc`, `audioconvert`, `volume`, `level`, `fdsink`), both writing 60 ms frames of stereo float to a pipe. Taken: \
          from starting the program to the first sound in the pipe, and the most memory held up to then; \
          medians of ten starts.",
    cases: &["5"],
    quick: &["5"],
    measure,
};

/// More than any header, less than a frame.
const FIRST: usize = 1_024;

fn measure(_: &str, quick: bool) -> Result<Readings, String> {
    let graph = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/five.toml");
    first_frame(&[env!("CARGO_BIN_EXE_sidetone"), "run", graph, "--quiet"], quick)
}

/// Starts a program that writes media to its standard output, and takes the
/// time to its first frame.
pub(crate) fn first_frame(command: &[&str], quick: bool) -> Result<Readings, String> {
    let (program, arguments) = command.split_first().ok_or("name a program to start")?;
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..if quick { 3 } else { 10 } {
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| format!("{program} does not start: {why}"))?;
        let mut first = [0; FIRST];
        let came = child.stdout.as_mut().map(|pipe| pipe.read_exact(&mut first));
        let took = begun.elapsed();
        let held = status(child.id(), "VmHWM");
        let _ = child.kill();
        let _ = child.wait();
        let Some(Ok(())) = came else { return Err(format!("{program} ended before its first frame")) };
        times.push(crate::reading::nanos(took));
        memory.push(held.ok_or("the program's memory cannot be read")? as u64);
    }
    times.sort_unstable();
    memory.sort_unstable();
    Ok(vec![
        ("first_frame_ms", quantile(&times, 0.5) as f64 / 1e6),
        ("peak_rss_mb", quantile(&memory, 0.5) as f64 / 1024.0),
    ])
}
