//! `sidetone bench`: a graph again and again, and what its figures are worth.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use sidetone::{Graph, Report};

use super::run::seconds;
use super::{FAILED, FINE, WRONG, complain, load, note, say, setting};
use crate::measure::{Interrupt, Measured, Run, measure};
use crate::statistics::{FEWEST_PAIRS, LEVEL, RESAMPLES, Ratio, Spread};
use crate::table::{Align, table};

/// Run a graph many times, and show medians and spread
///
/// Each repeat is a fresh engine with the next seed. With --against two graphs
/// take turns, A B A B, so that a machine that grows slower slows both; the ratio
/// of their medians comes with a 95 % interval. Ctrl-C shows what was measured so
/// far.
///
/// cpu is the processor time of the whole process on all cores, as a share of the
/// time that passed in the call: 100 % is one core. late is the share of frames
/// that came too late for their turn in a jitter buffer; lost the share of frames
/// that were let go anywhere.
#[derive(Args)]
#[command(after_help = "For example:\n  \
    sidetone bench graphs/voice_low_latency.toml --seconds 5 --repeat 9\n  \
    sidetone bench graphs/call.toml --set smooth=0 --against graphs/call.toml --seconds 5 --repeat 9")]
pub(super) struct Bench {
    /// The graph file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Give a parameter of the graph, or of a node (cam.fps=15); may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Another graph to take turns with; it may be the same file
    #[arg(long, value_name = "OTHER.toml")]
    against: Option<PathBuf>,
    /// As --set, for the other graph
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting, requires = "against")]
    against_set: Vec<(String, String)>,
    /// The folder for the files the graphs write: short for --set out=DIR
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// How long each run takes
    #[arg(long, value_name = "N", value_parser = seconds, default_value = "5")]
    seconds: Duration,
    /// How many runs of each graph
    #[arg(long, value_name = "R", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,
    /// Run each graph so long first without counting it: files and code are then in memory
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "1")]
    warmup: Duration,
    /// Run in virtual time: latency is then exact and without work, and cpu is all that is spent
    #[arg(long = "virtual")]
    virtual_time: bool,
    /// The seed of the first repeat; each takes the next, the same for both graphs
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print JSON: every figure with its spread and values, and the ledger of every run
    #[arg(long)]
    json: bool,
    /// Print no progress
    #[arg(long, short)]
    quiet: bool,
}

/// A graph that takes its turn.
struct Contender {
    letter: char,
    file: String,
    set: Vec<(String, String)>,
    graph: Graph,
    runs: Vec<Measured>,
}

impl Bench {
    pub(super) fn run(&self) -> u8 {
        let mut contenders = match self.contenders() {
            Ok(contenders) => contenders,
            Err(code) => return code,
        };
        let interrupt = Interrupt::on_ctrl_c().unwrap_or_else(|error| {
            note(&format!("warning: Ctrl-C will end the bench without its figures: {error}\n"));
            Interrupt::default()
        });
        if let Err(code) = self.take_turns(&mut contenders, &interrupt) {
            return code;
        }
        if contenders.iter().any(|contender| contender.runs.is_empty()) {
            note("error: stopped before the first run was complete\n");
            return FAILED;
        }
        say(&if self.json { self.as_json(&contenders) } else { self.as_text(&contenders) });
        let mut code = FINE;
        for (contender, run) in contenders.iter().flat_map(|c| c.runs.iter().map(move |run| (c, run))) {
            for trouble in troubles(&run.report) {
                note(&format!("error: {}: {trouble}\n", contender.file));
                code = FAILED;
            }
        }
        code
    }

    fn contenders(&self) -> Result<Vec<Contender>, u8> {
        let first = (&self.file, &self.set);
        let second = self.against.as_ref().map(|file| (file, &self.against_set));
        let mut contenders = Vec::new();
        for (letter, (file, set)) in ('A'..).zip([Some(first), second].into_iter().flatten()) {
            let mut set = set.clone();
            set.extend(self.out.clone().map(|folder| ("out".to_owned(), folder)));
            let graph = load(file, &set, self.json)?;
            contenders.push(Contender {
                letter,
                file: file.display().to_string(),
                set,
                graph,
                runs: Vec::new(),
            });
        }
        Ok(contenders)
    }

    /// A B A B …; a run that Ctrl-C cuts short does not count.
    fn take_turns(&self, contenders: &mut [Contender], interrupt: &Interrupt) -> Result<(), u8> {
        let run = Run { seconds: self.seconds, virtual_time: self.virtual_time, seed: self.seed };
        let attempt = |contender: &Contender, run: Run, what: &str| {
            if !self.quiet {
                note(&format!("{} {}: {what}\n", contender.letter, contender.file));
            }
            measure(&contender.graph, run, interrupt).map_err(|mistakes| {
                complain(&mistakes, self.json);
                WRONG
            })
        };
        if !self.warmup.is_zero() {
            for contender in contenders.iter() {
                attempt(contender, Run { seconds: self.warmup, ..run }, "warming up")?;
            }
        }
        for repeat in 0..self.repeat {
            for contender in contenders.iter_mut() {
                let run = Run { seed: self.seed.wrapping_add(u64::from(repeat)), ..run };
                let what = format!("run {} of {}", repeat + 1, self.repeat);
                let measured = attempt(contender, run, &what)?;
                if interrupt.is_asked() {
                    return Ok(());
                }
                contender.runs.push(measured);
            }
        }
        Ok(())
    }

    fn as_text(&self, contenders: &[Contender]) -> String {
        let mut text = String::new();
        let time = if self.virtual_time { "virtual" } else { "real" };
        for contender in contenders {
            let set: Vec<_> = contender.set.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let set = if set.is_empty() { String::new() } else { format!(" with {}", set.join(", ")) };
            let _ = writeln!(text, "{}: {}{set}", contender.letter, contender.file);
        }
        let runs = contenders.iter().map(|contender| contender.runs.len()).min().unwrap_or(0);
        let _ = writeln!(text, "{runs} runs each of {:.1} s of {time} time\n", self.seconds.as_secs_f64());
        match contenders {
            [a, b] => text.push_str(&comparison_as_text(&series(&a.runs), &series(&b.runs))),
            contenders => {
                for contender in contenders {
                    text.push_str(&spread_as_text(&series(&contender.runs)));
                }
            }
        }
        text
    }

    fn as_json(&self, contenders: &[Contender]) -> String {
        let graphs: Vec<_> = contenders
            .iter()
            .map(|contender| {
                let reports: Vec<_> = contender.runs.iter().map(|run| &run.report).collect();
                let set: BTreeMap<_, _> = contender.set.iter().cloned().collect();
                json!({ "graph": contender.letter.to_string(), "file": contender.file, "set": set,
                        "figures": series(&contender.runs), "runs": reports })
            })
            .collect();
        let comparison = match contenders {
            [a, b] => Some(compared(&series(&a.runs), &series(&b.runs))),
            _ => None,
        };
        let whole = json!({
            "seconds": self.seconds.as_secs_f64(), "warmup_seconds": self.warmup.as_secs_f64(),
            "repeat": self.repeat, "seed": self.seed, "virtual_time": self.virtual_time,
            "interval": { "level_percent": LEVEL, "resamples": RESAMPLES, "fewest_pairs": FEWEST_PAIRS,
                          "method": "percentile bootstrap of the ratio of medians over pairs of runs" },
            "graphs": graphs, "comparison": comparison,
        });
        format!("{whole:#}\n")
    }
}

/// What went wrong in a run.
pub(super) fn troubles(report: &Report) -> Vec<String> {
    let faults = report.faults.iter().map(ToString::to_string);
    let stuck =
        report.undrained.iter().map(|node| format!("{node} was cut off while it still held something"));
    faults.chain(stuck).collect()
}

/// One figure over all runs of a graph.
#[derive(Serialize)]
struct Series {
    name: String,
    unit: String,
    #[serde(flatten)]
    spread: Spread,
    /// A value for each run; `None` where it showed none.
    values: Vec<Option<f64>>,
}

/// The figures of all runs, in the order in which they were first shown.
fn series(runs: &[Measured]) -> Vec<Series> {
    let mut found: Vec<(String, &str, Vec<Option<f64>>)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        for reading in &run.readings {
            let place = found.iter().position(|(name, ..)| *name == reading.name).unwrap_or_else(|| {
                found.push((reading.name.clone(), &reading.unit, vec![None; runs.len()]));
                found.len() - 1
            });
            found[place].2[index] = Some(reading.value);
        }
    }
    found
        .into_iter()
        .filter_map(|(name, unit, values)| {
            let there: Vec<f64> = values.iter().copied().flatten().collect();
            Some(Series { name, unit: unit.to_owned(), spread: Spread::of(&there)?, values })
        })
        .collect()
}

/// One figure of two graphs.
#[derive(Serialize)]
struct Compared {
    name: String,
    unit: String,
    a: Option<f64>,
    b: Option<f64>,
    /// A over B, with its interval; absent where B's median is zero or no run
    /// showed both.
    #[serde(flatten)]
    ratio: Option<Ratio>,
}

fn compared(a: &[Series], b: &[Series]) -> Vec<Compared> {
    let one = |mine: &Series| {
        let other = b.iter().find(|other| other.name == mine.name);
        let pairs: Vec<_> = other.map_or_else(Vec::new, |other| {
            mine.values.iter().zip(&other.values).filter_map(|(a, b)| Some(((*a)?, (*b)?))).collect()
        });
        Compared {
            name: mine.name.clone(),
            unit: mine.unit.clone(),
            a: Some(mine.spread.median),
            b: other.map(|other| other.spread.median),
            ratio: Ratio::of(&pairs),
        }
    };
    let only_b = b.iter().filter(|other| a.iter().all(|mine| mine.name != other.name));
    let alone = |other: &Series| Compared {
        name: other.name.clone(),
        unit: other.unit.clone(),
        a: None,
        b: Some(other.spread.median),
        ratio: None,
    };
    a.iter().map(one).chain(only_b.map(alone)).collect()
}

fn spread_as_text(series: &[Series]) -> String {
    let row = |one: &Series| {
        let Spread { median, min, max, .. } = one.spread;
        vec![one.name.clone(), number(median), number(min), number(max), one.unit.clone()]
    };
    let head = [
        ("FIGURE", Align::Left),
        ("MEDIAN", Align::Right),
        ("MIN", Align::Right),
        ("MAX", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<_> = worth_a_row(series.iter(), |one| one.spread.max).map(row).collect();
    table(&head, &rows) + LEFT_OUT
}

fn comparison_as_text(a: &[Series], b: &[Series]) -> String {
    let all = compared(a, b);
    let row = |one: &Compared| {
        let median = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        let (ratio, interval, verdict) = match &one.ratio {
            None => ("-".to_owned(), String::new(), ""),
            Some(ratio) => {
                let doubt = if ratio.trusted { "" } else { " ?" };
                let verdict = match ratio.shows_a_difference() {
                    true if ratio.ratio < 1.0 => "A less",
                    true => "A more",
                    false => "",
                };
                let interval = format!("{:.3}..{:.3}{doubt}", ratio.low, ratio.high);
                (format!("{:.3}", ratio.ratio), interval, verdict)
            }
        };
        let medians = [median(one.a), median(one.b), one.unit.clone()];
        [vec![one.name.clone()], medians.to_vec(), vec![ratio, interval, verdict.to_owned()]].concat()
    };
    let head = [
        ("MEDIAN OF", Align::Left),
        ("A", Align::Right),
        ("B", Align::Right),
        ("", Align::Left),
        ("A/B", Align::Right),
        ("INTERVAL", Align::Left),
        ("", Align::Left),
    ];
    let most = |one: &Compared| one.a.unwrap_or(0.0).max(one.b.unwrap_or(0.0));
    let mut text = table(&head, &worth_a_row(all.iter(), most).map(row).collect::<Vec<_>>());
    text.push_str(LEFT_OUT);
    let _ = writeln!(
        text,
        "INTERVAL holds the true A/B with {LEVEL} %: percentile bootstrap of the ratio of medians over pairs of \
         runs, {RESAMPLES} resamples."
    );
    let pairs = a.iter().map(|one| one.values.len()).max().unwrap_or(0);
    if pairs < FEWEST_PAIRS {
        let _ = writeln!(
            text,
            "Do not trust the intervals (marked ?): {pairs} pairs of runs are too few for {LEVEL} %; give --repeat \
             {FEWEST_PAIRS} or more."
        );
    }
    text
}

/// Below this a figure is not shown as a row. All are in the JSON.
const WORTH_A_ROW: f64 = 0.05;

/// What the tables say of the others.
const LEFT_OUT: &str = "\nWhat stayed below 0.05 is left out; --json has everything.\n";

/// Those of which at least one value tells somebody something.
fn worth_a_row<'a, T: 'a>(
    all: impl Iterator<Item = &'a T>,
    most: impl Fn(&T) -> f64,
) -> impl Iterator<Item = &'a T> {
    all.filter(move |one| most(one).abs() >= WORTH_A_ROW)
}

fn number(value: f64) -> String {
    format!("{value:.2}")
}
