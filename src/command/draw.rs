//! `sidetone draw`: a picture of a graph.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{FAILED, FINE, load, say, setting};

/// Draw a graph file
#[derive(Args)]
pub(super) struct Draw {
    /// The graph file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Give a parameter of the graph, or of a node (cam.fps=15)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// What to draw it as
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    format: Format,
    /// Where to write it; standard output if not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A picture for a browser
    Svg,
    /// For Graphviz: dot -Tpng
    Dot,
    /// For Markdown that draws Mermaid
    Mermaid,
}

impl Draw {
    pub(super) fn run(&self) -> u8 {
        let graph = match load(&self.file, &self.set, false) {
            Ok(graph) => graph,
            Err(code) => return code,
        };
        let picture = match self.format {
            Format::Svg => sidetone::draw::svg(&graph),
            Format::Dot => sidetone::draw::dot(&graph),
            Format::Mermaid => sidetone::draw::mermaid(&graph),
        };
        match &self.output {
            None => say(&picture),
            Some(path) => {
                if let Err(error) = std::fs::write(path, picture) {
                    eprintln!("error: cannot write {}: {error}", path.display());
                    return FAILED;
                }
            }
        }
        FINE
    }
}
