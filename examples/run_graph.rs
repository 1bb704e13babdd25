//! Runs a graph file from a program: watches its events and changes a live
//! parameter while it runs.
//!
//! ```sh
//! cargo run --release --example run_graph graphs/self_view.toml
//! ```

use std::path::PathBuf;
use std::time::Duration;

use sidetone::{Engine, Graph, LoadOptions, Options, Update, registry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file: PathBuf = std::env::args().nth(1).unwrap_or_else(|| "graphs/self_view.toml".into()).into();

    // Checking opens nothing; mistakes come with file, line and column.
    let (graph, warnings) = Graph::load(&file, &registry(), &LoadOptions::default())?;
    eprint!("{warnings}");

    // Making the engine opens files and sockets.
    let limit = Some(Duration::from_secs(4));
    let engine = Engine::new(graph, Options { limit, ..Options::default() })?;

    // A handle works from any thread while `run` has this one.
    let handle = engine.handle();
    let mut plain = false;
    let report = engine.run(|update| match update {
        Update::Event { at, node, kind } => println!("{at:7.3} s  {node}: {kind}"),
        Update::Progress(progress) if progress.elapsed > Duration::from_secs(2) && !plain => {
            plain = true;
            println!("{:7.3} s  no more smoothing", progress.elapsed.as_secs_f64());
            handle.set("beauty", "smooth", 0.0.into());
        }
        Update::Progress(_) => {}
        // Nobody edits this run; see `Handle::edit`.
        Update::Edited { .. } => {}
    });

    for path in &report.paths {
        println!("{}: {:.1} ms from capture to render", path.sink, path.end_to_end_ms.p50);
    }
    Ok(())
}
