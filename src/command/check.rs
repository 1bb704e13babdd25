//! `sidetone check`: what is wrong with graph files, before running.

use std::path::PathBuf;

use clap::Args;
use sidetone::{Graph, LoadOptions, registry};

use super::{FINE, WRONG, as_json, complain, say, setting};

/// Check graph files; opens no device, socket, media file or codec
#[derive(Args)]
pub(super) struct Check {
    /// The graph files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Give a parameter of the graph, or of a node (cam.fps=15)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Print one JSON object a file, with every mistake in it
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self) -> u8 {
        let options = LoadOptions { overrides: &self.set, ..LoadOptions::default() };
        let registry = registry();
        let mut code = FINE;
        for file in &self.files {
            match Graph::load(file, &registry, &options) {
                Ok((_, warnings)) if self.json => say(&format!("{}\n", as_json(&warnings))),
                Ok((graph, warnings)) => {
                    eprint!("{warnings}");
                    say(&format!(
                        "{}: fine, {} nodes, {} links, {} templates\n",
                        file.display(),
                        graph.nodes.len(),
                        graph.links.len(),
                        graph.templates.len()
                    ));
                }
                Err(mistakes) => {
                    complain(&mistakes, self.json);
                    code = WRONG;
                }
            }
        }
        code
    }
}
