//! What Sidetone costs, beside what people would otherwise use.
//!
//! ```sh
//! make bench                                         # everything; writes benches/RESULTS.md
//! cargo bench --bench suite -- run --rows inline,hop # some rows
//! cargo bench --bench suite -- measure inline 100    # one measurement, as JSON lines
//! ```
//!
//! A measurement is a process of its own, so that none inherits the memory or
//! the threads of another. `run` starts them in turns (ours, a peer's, ours,
//! …), so that what else the machine does falls on all alike.

mod kinds;
mod machine;
#[path = "../peers/janus/namespace.rs"]
mod namespace;
mod peers;
mod plots;
mod reading;
mod results;
mod rows;
mod runner;
mod targets;
mod timed;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::peers::Peers;
use crate::reading::Reading;
use crate::results::Results;
use crate::rows::ROWS;
use crate::runner::{Run, keep, recall};

/// Measure Sidetone, and run its peers beside it
#[derive(Parser)]
struct Suite {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run all programs in turns and write benches/RESULTS.md and its plots
    Run(Run),
    /// Write benches/RESULTS.md and its plots again, of what was measured last
    Write,
    /// Take one measurement and print it as JSON lines
    Measure {
        /// The row, such as inline
        row: String,
        /// The case, such as 100
        case: String,
        /// In a fraction of the time, and as much less exactly
        #[arg(long)]
        quick: bool,
    },
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == sidetone::plugins::ARGUMENT) {
        return sidetone::plugins::process::main();
    }
    // `cargo bench` adds an argument of its own.
    let given = std::env::args().filter(|argument| argument != "--bench");
    let outcome = match Suite::parse_from(given).what {
        What::Run(run) => run_all(&run),
        What::Write => write(&recall(), &[]),
        What::Measure { row, case, quick } => measure(&row, &case, quick),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(run: &Run) -> Result<(), String> {
    let (readings, complaints) = run.run()?;
    complaints.iter().for_each(|complaint| eprintln!("note: {complaint}"));
    if !run.counts() {
        println!("{}", Results::new(&readings).page(None, &complaints));
        return Ok(());
    }
    write(&keep(&readings)?, &complaints)
}

fn write(readings: &[Reading], complaints: &[String]) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let results = Results::new(readings);
    let peers = Peers::read().ok();
    let page = folder.join("RESULTS.md");
    std::fs::write(&page, results.page(peers.as_ref(), complaints))
        .map_err(|why| format!("cannot write {}: {why}", page.display()))?;
    plots::draw(&results, &folder.join("plots"))?;
    eprintln!("written: benches/RESULTS.md and benches/plots/");
    Ok(())
}

fn measure(row: &str, case: &str, quick: bool) -> Result<(), String> {
    let known = ROWS.iter().find(|known| known.name == row);
    let known = known.ok_or_else(|| {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        format!("there is no row \"{row}\"; there are {}", names.join(", "))
    })?;
    for (metric, value) in (known.measure)(case, quick)? {
        let reading = Reading {
            row: row.to_owned(),
            who: "sidetone".to_owned(),
            case: case.to_owned(),
            metric: metric.to_owned(),
            value,
        };
        println!("{}", serde_json::to_string(&reading).map_err(|why| why.to_string())?);
    }
    Ok(())
}
