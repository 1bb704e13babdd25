//! The rows of the results: for each its cases, how they are measured, and how
//! its figures are to be read.

mod call;
mod chain;
mod copies;
mod hop;
mod paced;
mod plugin;
mod room;
mod start;
mod watched;

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use sidetone::{Clock, Engine, Graph, LoadOptions, Options, Registry, Report, Update};

use crate::kinds::{CLOCK, registry};
use crate::reading::Readings;

/// One row.
pub(crate) struct Row {
    /// Its name, as measuring programs print it.
    pub(crate) name: &'static str,
    /// What people read above it.
    pub(crate) title: &'static str,
    /// How each figure is taken, in a few sentences.
    pub(crate) how: &'static str,
    /// Its cases.
    pub(crate) cases: &'static [&'static str],
    /// Those of a quick run.
    pub(crate) quick: &'static [&'static str],
    /// Takes one measurement of a case. With `quick` in a fraction of the time,
    /// and as much less exactly.
    pub(crate) measure: fn(case: &str, quick: bool) -> Result<Readings, String>,
}

/// Every row, in the order of the results.
pub(crate) const ROWS: &[Row] = &[
    chain::INLINE,
    hop::ROW,
    chain::FANOUT,
    paced::ROW,
    copies::ROW,
    call::ROW,
    watched::ROW,
    plugin::ROW,
    room::ROW,
    start::ROW,
];

/// Runs a graph to its end, or as long as `observe` lets it.
fn run(text: String, observe: impl FnMut(&Handle, Update<'_>)) -> Result<Report, String> {
    // Handed over, so that nothing that a user would not hold is held while it runs.
    let text = Cell::new(text);
    let read = |_: &Path| Ok(text.take().into_bytes());
    let options = LoadOptions { read: &read, ..LoadOptions::default() };
    run_file(Path::new("bench.toml"), &registry(), &options, observe)
}

type Handle = sidetone::Handle;

/// The same for a graph file.
fn run_file(
    file: &Path,
    registry: &Registry,
    options: &LoadOptions<'_>,
    mut observe: impl FnMut(&Handle, Update<'_>),
) -> Result<Report, String> {
    let (graph, _) = Graph::load(file, registry, options).map_err(|why| why.to_string())?;
    let clock = CLOCK.get_or_init(Clock::real).clone();
    let engine =
        Engine::new(graph, Options { clock, ..Options::default() }).map_err(|why| why.to_string())?;
    let handle = engine.handle();
    let report = engine.run(|update| observe(&handle, update));
    match report.faults.first() {
        Some(fault) => Err(fault.to_string()),
        None => Ok(report),
    }
}

/// A stretch of a run, its beginning left out, over which processor time is
/// taken.
struct Window {
    from: Duration,
    until: Duration,
    begun: Option<(Duration, Duration, [u64; 2])>,
    taken: Option<Taken>,
}

/// What a window found.
#[derive(Clone, Copy)]
struct Taken {
    /// How long it was.
    wall: Duration,
    /// Processor time of the whole process meanwhile.
    cpu: Duration,
    /// Nanoseconds of it in codecs and in sources, where they are counted.
    apart: [u64; 2],
    /// Threads at its end.
    threads: f64,
    /// Memory at its end.
    resident_mb: f64,
}

impl Window {
    /// `seconds` long, after `settle` seconds.
    fn new(settle: f64, seconds: f64) -> Self {
        let from = Duration::from_secs_f64(settle);
        Self { from, until: from + Duration::from_secs_f64(seconds), begun: None, taken: None }
    }

    /// Looks at the time whenever the engine tells of progress; stops the run
    /// when the window is over. Sinks measure within it.
    fn look(&mut self, handle: &Handle, update: &Update<'_>) {
        use crate::kinds::MEASURING;
        use crate::machine::{process_cpu, resident_mb, threads};
        use crate::timed::used;
        use std::sync::atomic::Ordering;

        let Update::Progress(progress) = update else { return };
        match self.begun {
            None if progress.elapsed >= self.from => {
                self.begun = Some((progress.elapsed, process_cpu(), used()));
                MEASURING.store(true, Ordering::Relaxed);
            }
            Some((wall, cpu, apart)) if self.taken.is_none() && progress.elapsed >= self.until => {
                MEASURING.store(false, Ordering::Relaxed);
                self.taken = Some(Taken {
                    wall: progress.elapsed.saturating_sub(wall),
                    cpu: process_cpu().saturating_sub(cpu),
                    apart: std::array::from_fn(|index| used()[index].saturating_sub(apart[index])),
                    threads: threads(),
                    resident_mb: resident_mb(),
                });
                handle.stop();
            }
            _ => {}
        }
    }

    /// What it found.
    fn taken(&self) -> Result<Taken, String> {
        self.taken.ok_or_else(|| "the run ended before its window did".to_owned())
    }
}

impl Taken {
    /// Processor time as a share of one processor, in percent.
    fn cpu_percent(&self) -> f64 {
        self.percent(self.cpu)
    }

    /// The same of what was counted apart: codecs, sources.
    fn apart_percent(&self) -> [f64; 2] {
        self.apart.map(|nanos| self.percent(Duration::from_nanos(nanos)))
    }

    fn percent(&self, cpu: Duration) -> f64 {
        100.0 * cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}
